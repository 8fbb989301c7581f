package handover

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// Bounds on what Fetch holds in memory: the number of answers, and the size of each in bytes.
const (
	maxFetch = 16 << 20
	ahead    = 8
)

// A Fetcher reads ranges of a dataset's packs, sealed as they are, for another process. It
// needs no key.
type Fetcher struct {
	Store   vault.Store
	Dataset string
	// Code returns the exit code for an error.
	Code func(error) int
}

// An answer is the result of one request.
type answer struct {
	b   []byte
	err error
}

// Serve answers the requests in r, in order, until r ends. A request is a line
// "ID OFFSET LENGTH", about bytes of a sealed pack; at most 16 MiB. The answer is a line
// "OK LENGTH" followed by that many bytes, fewer than requested at the end of the pack,
// or a line "ERR CODE MESSAGE". Several requests are handled at the same time.
func (f *Fetcher) Serve(ctx context.Context, r io.Reader, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan answer, ahead)
	read := make(chan error, 1)
	go func() {
		defer close(queue)
		read <- f.requests(ctx, r, queue)
	}()
	out := bufio.NewWriterSize(w, 64<<10)
	err := f.answers(queue, out)
	cancel()
	for waiting := range queue {
		<-waiting
	}
	return errors.Join(err, <-read)
}

// requests reads requests from r and starts to handle them.
func (f *Fetcher) requests(ctx context.Context, r io.Reader, queue chan<- chan answer) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		id, off, n, err := parseRequest(lines.Text())
		if err != nil {
			return err
		}
		waiting := make(chan answer, 1)
		select {
		case queue <- waiting:
		case <-ctx.Done():
			return ctx.Err()
		}
		go func() {
			b, err := f.get(ctx, id, off, n)
			waiting <- answer{b, err}
		}()
	}
	return lines.Err()
}

// answers writes the answers as they arrive.
func (f *Fetcher) answers(queue <-chan chan answer, out *bufio.Writer) error {
	for waiting := range queue {
		a := <-waiting
		if a.err != nil {
			fmt.Fprintf(out, "ERR %d %s\n", f.Code(a.err), strings.ReplaceAll(a.err.Error(), "\n", "; "))
		} else {
			fmt.Fprintf(out, "OK %d\n", len(a.b))
			out.Write(a.b)
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func parseRequest(line string) (id envelope.ObjectID, off, n int64, err error) {
	words := strings.Split(line, " ")
	if len(words) == 3 {
		var b []byte
		b, err = hex.DecodeString(words[0])
		var offErr, nErr error
		off, offErr = strconv.ParseInt(words[1], 10, 64)
		n, nErr = strconv.ParseInt(words[2], 10, 64)
		if errors.Join(err, offErr, nErr) == nil && copy(id[:], b) == len(id) && len(b) == len(id) && off >= 0 && n > 0 && n <= maxFetch {
			return id, off, n, nil
		}
	}
	return id, 0, 0, fmt.Errorf("a request for a range of a pack that cannot be read: %.200q", line)
}

func (f *Fetcher) get(ctx context.Context, id envelope.ObjectID, off, n int64) ([]byte, error) {
	name := objects.NewSet(nil, f.Dataset).PackName(id)
	r, err := f.Store.Get(ctx, name, off, n)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", name, objects.ErrMissing)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, n)
	k, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the pack ends here; the other side decides what that means
	}
	return b[:k], err
}
