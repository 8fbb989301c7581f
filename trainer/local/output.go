package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vaultpack/vaultpack/internal/workers"
)

// An outlet passes on what a command writes to the job's writers. Its pipes are not those
// of package exec: Wait there waits for all that hold them, which may be processes that
// the command has left behind, and these are ended only when it has.
type outlet struct {
	guard  *workers.Guard
	mu     sync.Mutex // the two writers may be one
	theirs []*os.File // of the command
	ours   []*os.File
	copied sync.WaitGroup
	err    error // the first of the writers
}

// lingering is how long a process that has left the command's group may keep its end.
const lingering = 5 * time.Second

// to is what a command is to write to for its output to come to w. A file stays what it
// is: it is passed to the command.
func (o *outlet) to(w io.Writer) (io.Writer, error) {
	if _, ok := w.(*os.File); ok || w == nil {
		return w, nil
	}
	r, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.ours, o.theirs = append(o.ours, r), append(o.theirs, pipe)
	o.copied.Go(func() {
		if _, err := io.Copy(guardedWriter{o, w}, r); err != nil && !errors.Is(err, os.ErrClosed) {
			o.failed(err)
		}
		r.Close() // whoever writes on is told
	})
	return pipe, nil
}

// started releases what the command holds by now.
func (o *outlet) started() {
	for _, f := range o.theirs {
		f.Close()
	}
	o.theirs = nil
}

func (o *outlet) failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = fmt.Errorf("passing on the job's output: %w", err)
	}
}

// close returns when all that was written has been passed on, or why it has not been.
func (o *outlet) close() error {
	o.started()
	late := time.AfterFunc(lingering, func() {
		for _, f := range o.ours {
			f.Close()
		}
	})
	defer late.Stop()
	o.copied.Wait()
	return o.err
}

// A guardedWriter is a writer for a goroutine where a panic of it has nobody who recovers
// it: it continues where the job is run.
type guardedWriter struct {
	o *outlet
	w io.Writer
}

func (w guardedWriter) Write(p []byte) (n int, err error) {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	// Beside it, since a writer that ends its goroutine would end the copying unseen.
	ended := make(chan bool, 1)
	go func() {
		ok := false
		defer func() { ended <- ok }()
		ok = w.o.guard.Call(func() { n, err = w.w.Write(p) })
	}()
	if !<-ended {
		return 0, errors.New("the writer of the job's output panicked")
	}
	return n, err
}
