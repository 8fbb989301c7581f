package sealedcheckpoints

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
)

// Options configure a Keeper. All fields must be set, except Sign and Logf.
type Options struct {
	Plain  string // the folder that the script writes to
	Sealed string // the folder that is stored
	Mark   Mark
	Host   string
	Key    *envelope.LocalKey
	// Sign returns a statement, in two lines, that the job made the set, whose digest is
	// sum. If it is nil, nothing is signed.
	Sign   func(ctx context.Context, s *Set, sum [sha256.Size]byte) ([]byte, error)
	Verify Verifier
	Logf   func(format string, args ...any)
}

// A Keeper seals the checkpoints of one host. It is not safe for concurrent use.
type Keeper struct {
	Options
	plain *os.Root
	own   string // the host's folder below Sealed
	temp  string // where files are written before they get their names

	begun bool // a file was sealed that is not in a set yet

	every, patience, rest time.Duration

	last   map[string]state // at the last look
	have   map[string]have  // what is sealed, or was opened
	since  time.Time        // when a change was first seen that is not in a set; zero if there is none
	number int64            // of the newest set
	sets   []*Set           // the newest two
	// The names of sealed files and of sets are reused, but not at once: a file that is no
	// longer in a set may be part of the last set that is complete in S3.
	objects, setNames slots
	told              map[string]bool // what was already reported
}

// A have is what is known about a file in a certain state.
type have struct {
	state state
	file  File
	// others is true for a file made by another host, which keeps it.
	others bool
}

const (
	// defaultEvery is the interval between looks at the folder. A file is finished when
	// nobody has it open for writing and two looks have seen it unchanged.
	defaultEvery = 2 * time.Second
	// defaultPatience is how long finished files wait for those that are being written.
	defaultPatience = time.Minute
	// defaultRest is how long the name of a removed file stays unused.
	defaultRest = 10 * time.Minute
)

// Open opens the contents of the sealed folder into the plain one, as [Opener.Restore]
// does, and returns a Keeper that continues from there. The caller must close it.
func Open(ctx context.Context, o Options) (k *Keeper, err error) {
	ok := o.Plain != "" && o.Sealed != "" && o.Mark.Job != "" && o.Mark.Dataset != "" && o.Host != "" && o.Key != nil && o.Verify != nil
	if err := given.Check(ctx, ok, errors.New("sealedcheckpoints: a folder, the job, the host, the key or the verifier is missing")); err != nil {
		return nil, err
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	o.Mark.Format = markFormat
	k = &Keeper{Options: o, every: defaultEvery, patience: defaultPatience, rest: defaultRest, have: map[string]have{}, told: map[string]bool{}}
	defer func() {
		if err != nil {
			k.Close()
			k = nil
		}
	}()
	if err := k.openFolders(); err != nil {
		return k, err
	}
	if err := k.restore(ctx); err != nil {
		return k, fmt.Errorf("the checkpoints in %s: %w", o.Sealed, err)
	}
	b, err := json.Marshal(o.Mark)
	if err != nil {
		return k, err
	}
	return k, k.write(MarkName, func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

// openFolders finds a place next to the stored folder for writing files. If that is on
// another file system, files are written in the stored folder, under one name.
func (k *Keeper) openFolders() (err error) {
	k.own = filepath.Join(k.Sealed, k.Host)
	k.temp = filepath.Join(filepath.Dir(filepath.Clean(k.Sealed)), ".vaultpack-sealing")
	for _, dir := range []string{k.Plain, k.own, k.temp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := k.write(temporary, func(io.Writer) error { return nil }); errors.Is(err, syscall.EXDEV) {
		k.temp = k.own
	} else if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(k.own, temporary)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	k.plain, err = os.OpenRoot(k.Plain)
	return err
}

// restore opens what is there, and records what need not be sealed again.
func (k *Keeper) restore(ctx context.Context) error {
	all, err := os.OpenRoot(k.Sealed)
	if err != nil {
		return err
	}
	defer all.Close()
	o := &Opener{Source: Folder{all}, Job: k.Mark.Job, Key: k.Key, Verify: k.Verify, Warn: func(err error) { k.Logf("warning: %v", err) }}
	m, err := ReadMark(ctx, o.Source, "")
	if err == nil && m.Job != k.Mark.Job {
		return fmt.Errorf("they are those of job %s, and each job has a key of its own: give this job another place for its checkpoints; "+
			"vaultpack checkpoints get %s DIR opens those, to be given to it as a channel", m.Job, m.Job)
	}
	if err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	sets, err := o.Restore(ctx, k.Plain)
	if errors.Is(err, ErrNone) {
		return k.beginNames()
	}
	if err != nil {
		return err
	}
	seen, err := o.sets(ctx, k.Host)
	if err != nil {
		return err
	}
	if len(seen) > 0 {
		k.number = seen[0].Number
	}
	now, err := k.look()
	if err != nil {
		return err
	}
	files := 0
	for name, s := range winners(sets) {
		i := slices.IndexFunc(s.Files, func(f File) bool { return string(f.Path) == name })
		k.have[name] = have{now[name], s.Files[i], s.Host != k.Host}
		files++
	}
	for _, s := range sets {
		if s.Host == k.Host {
			k.sets = []*Set{s}
		}
		k.Logf("opened the checkpoints of %s: set %d of %s", s.Host, s.Number, s.Made.Format("2006-01-02T15:04:05Z"))
	}
	k.last = now
	if err := k.beginNames(); err != nil {
		return err
	}
	return k.collect()
}

// Close closes the folders. It does not wipe keys.
func (k *Keeper) Close() error {
	if k == nil {
		return nil
	}
	var err error
	if k.plain != nil {
		err = k.plain.Close()
	}
	if k.temp != k.own {
		err = errors.Join(err, os.RemoveAll(k.temp))
	}
	return err
}

func (k *Keeper) usable(ctx context.Context) error {
	return given.Check(ctx, k != nil && k.plain != nil, errors.New("sealedcheckpoints: a Keeper that was not made by Open"))
}

// Keep seals what the script finishes until ctx ends. It reports failures to Logf, and
// retries.
func (k *Keeper) Keep(ctx context.Context) {
	if k.usable(ctx) != nil {
		return
	}
	pause, failed := k.every, ""
	for {
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		began := time.Now()
		err := k.pass(ctx, running)
		switch {
		case err == nil:
			failed = ""
		case ctx.Err() == nil && err.Error() != failed:
			failed = err.Error()
			k.Logf("warning: the checkpoints could not be sealed, and this is tried again: %v", err)
		}
		pause = max(k.every, time.Since(began))
	}
}

// Finish seals everything that is there, finished or not: nobody is writing it any more.
func (k *Keeper) Finish(ctx context.Context) error {
	if err := k.usable(ctx); err != nil {
		return err
	}
	var err error
	for range 3 {
		if err = k.pass(ctx, ended); !errors.Is(err, errChanges) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("sealing the last checkpoints: %w", err)
	}
	return nil
}
