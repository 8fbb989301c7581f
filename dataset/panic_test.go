package dataset_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trainer/container/unpack"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// errTrap is what a trap panics with.
var errTrap = errors.New("the caller's code panics")

// A trap is in all of the caller's code that vaultpack calls. It counts the calls, and
// in one of them it panics, or ends the goroutine.
type trap struct {
	calls atomic.Int64
	at    atomic.Int64 // 0 is never
	exits bool
	does  func() // instead of both
	sound bool   // no pack is damaged
}

func (t *trap) step() {
	if t.calls.Add(1) != t.at.Load() {
		return
	}
	if t.does != nil {
		t.does()
		return
	}
	if t.exits {
		runtime.Goexit()
	}
	panic(errTrap)
}

// A trapStore and a trapKey are a caller's.
type trapStore struct {
	vault.Store
	t *trap
}

func (s trapStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	s.t.step()
	return s.Store.Put(ctx, name, func(w io.Writer) error {
		return write(writerFunc(func(p []byte) (int, error) { s.t.step(); return w.Write(p) }))
	})
}

func (s trapStore) Create(ctx context.Context, name string, data []byte) error {
	s.t.step()
	return s.Store.Create(ctx, name, data)
}

func (s trapStore) Replace(ctx context.Context, name string, old, data []byte) error {
	s.t.step()
	return s.Store.Replace(ctx, name, old, data)
}

func (s trapStore) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	s.t.step()
	r, err := s.Store.Get(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{trapReader{r, s.t}, r}, nil
}

func (s trapStore) Stat(ctx context.Context, name string) (vault.Object, error) {
	s.t.step()
	return s.Store.Stat(ctx, name)
}

func (s trapStore) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	return func(yield func(vault.Object, error) bool) {
		for o, err := range s.Store.List(ctx, prefix) {
			s.t.step()
			if !yield(o, err) {
				return
			}
		}
	}
}

func (s trapStore) Delete(ctx context.Context, name string) error {
	s.t.step()
	return s.Store.Delete(ctx, name)
}

type trapReader struct {
	r io.Reader
	t *trap
}

func (r trapReader) Read(p []byte) (int, error) { r.t.step(); return r.r.Read(p) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type trapKey struct {
	envelope.KeyWrapper
	t *trap
}

func (k trapKey) Wrap(ctx context.Context, key []byte, ec envelope.EncryptionContext) (envelope.Slot, error) {
	k.t.step()
	return k.KeyWrapper.Wrap(ctx, key, ec)
}

func (k trapKey) Unwrap(ctx context.Context, slot envelope.Slot, ec envelope.EncryptionContext) ([]byte, error) {
	k.t.step()
	return k.KeyWrapper.Unwrap(ctx, slot, ec)
}

// A trapped is what a job has to work on: a vault that a version is in, in which one
// pack is damaged, and a source.
type trapped struct {
	*trap
	t   *testing.T
	d   *dataset.Dataset
	v   func() *dataset.Version
	src string
	dir string // empty
}

// trapJobs are all that calls the caller's code, in goroutines of its own or not.
var trapJobs = map[string]func(ctx context.Context, w *trapped) error{
	"upload": func(ctx context.Context, w *trapped) error {
		_, err := uploader.Upload(ctx, w.d, w.src, w.options())
		return err
	},
	"dry run": func(ctx context.Context, w *trapped) error {
		opts := w.options()
		opts.DryRun = true
		_, err := uploader.Upload(ctx, w.d, w.src, opts)
		return err
	},
	"stream": func(ctx context.Context, w *trapped) error {
		_, err := uploader.UploadStream(ctx, w.d, trapReader{bytes.NewReader(make([]byte, 50<<10)), w.trap}, "stream", w.options())
		return err
	},
	"restore": func(ctx context.Context, w *trapped) error {
		_, err := restore.Run(ctx, w.v(), w.dir, w.restore())
		return err
	},
	"restore that deletes": func(ctx context.Context, w *trapped) error {
		opts := w.restore()
		opts.Delete = true
		_, err := restore.Run(ctx, w.v(), w.src, opts)
		return err
	},
	"verify": func(ctx context.Context, w *trapped) error {
		_, err := verify.Run(ctx, w.v(), verify.Options{Failed: func(error) { w.step() }})
		return err
	},
	"verify against": func(ctx context.Context, w *trapped) error {
		opts := verify.Options{Failed: func(error) { w.step() }, Select: func(*tree.Entry) bool { w.step(); return true }}
		_, err := verify.Against(ctx, w.v(), w.src, opts)
		return err
	},
	"entries": func(ctx context.Context, w *trapped) error {
		for _, err := range w.v().Entries(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	},
	"files": func(ctx context.Context, w *trapped) error {
		v := w.v()
		for e, err := range v.Entries(ctx) {
			if err == nil && e.IsFile() {
				err = v.WriteFile(ctx, io.Discard, e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	},
	"unpack": func(ctx context.Context, w *trapped) error {
		u, err := unpack.Prepare(ctx, w.v(), w.dir, unpack.Options{Name: "channel", Removed: func(string) { w.step() }})
		if err != nil {
			return err
		}
		defer u.Close()
		_, err = u.Run(ctx)
		return err
	},
	"rotate and reseal": func(ctx context.Context, w *trapped) error {
		if _, err := rekey.Rotate(ctx, w.d); err != nil {
			return err
		}
		_, err := rekey.Reseal(ctx, w.d, rekey.Options{})
		return err
	},
	"collection": func(ctx context.Context, w *trapped) error {
		_, err := w.d.Collect(ctx, dataset.CollectOptions{})
		return err
	},
	"slots": func(ctx context.Context, w *trapped) error {
		_, err := w.d.AddSlot(ctx, trapKey{envelope.GenerateLocalKey(), w.trap})
		return err
	},
}

// trapSigner signs what all of them make.
var trapSigner = signing.GenerateKey()

func (w *trapped) options() uploader.Options {
	return uploader.Options{PackSize: 16 << 10, Checksum: true,
		Failed:  func(string, error) { w.step() },
		Skipped: func(string, string) { w.step() },
		Warn:    func(error) { w.step() }}
}

func (w *trapped) restore() restore.Options {
	return restore.Options{
		Failed: func(string, error) { w.step() },
		Told:   func(restore.Action, *tree.Entry) { w.step() },
		Select: func(*tree.Entry) bool { w.step(); return true }}
}

// A panic, or a runtime.Goexit, of the caller's code ends the goroutine that has called
// vaultpack, whichever it happens in, and leaves nobody at work.
func TestPanicsReachTheCaller(t *testing.T) {
	defer func(n int) { commit.PartEntries = n }(commit.PartEntries)
	commit.PartEntries = 16
	origin, keys := trapVault(t)
	for name, job := range trapJobs {
		t.Run(name, func(t *testing.T) {
			run := func(at int64, exits bool) int64 {
				tr := &trap{exits: exits}
				tr.at.Store(at)
				w := newTrapped(t, tr, origin, keys)
				before := runtime.NumGoroutine()
				recovered, exited, err := endOf(func() error { return job(t.Context(), w) })
				w.d.Close()
				for range 2000 {
					if runtime.NumGoroutine() <= before {
						break
					}
					time.Sleep(time.Millisecond)
				}
				if n := runtime.NumGoroutine(); n > before {
					stacks := make([]byte, 1<<20)
					t.Fatalf("call %d: %d goroutines were left: %s", at, n-before, stacks[:runtime.Stack(stacks, true)])
				}
				reached := at > 0 && tr.calls.Load() >= at
				value, _ := recovered.(error)
				switch {
				case reached && exits && !exited, reached && !exits && !errors.Is(value, errTrap), !reached && (exited || recovered != nil):
					t.Errorf("call %d, exits %v: %v, recovered %v, exited %v", at, exits, err, recovered, exited)
				}
				return tr.calls.Load()
			}
			calls := run(0, false)
			if calls < 3 {
				t.Fatalf("the caller's code is called %d times", calls)
			}
			step := max(calls/12, 1)
			for at := int64(1); at <= calls; at += step {
				run(at, at/step%2 == 1)
			}
		})
	}
}

// endOf runs f in a goroutine and tells how it has ended.
func endOf(f func() error) (recovered any, exited bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		exited = true
		defer func() {
			if v := recover(); v != nil {
				recovered, exited = v, false
			}
		}()
		err = f()
		exited = false
	}()
	<-done
	return recovered, exited, err
}

// trapVault makes the vault that each job gets a copy of.
func trapVault(t *testing.T) (*memstore.Store, *envelope.LocalKey) {
	t.Helper()
	store, key := &memstore.Store{}, envelope.GenerateLocalKey()
	w := newTrapped(t, new(trap), store, key)
	for _, last := range []string{"1", "2"} {
		if err := os.WriteFile(filepath.Join(w.src, "z"), []byte(last), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := uploader.Upload(t.Context(), w.d, w.src, w.options()); err != nil {
			var partial *dataset.PartialError
			if !errors.As(err, &partial) {
				t.Fatal(err)
			}
		}
	}
	return store, key
}

func newTrapped(t *testing.T, tr *trap, origin *memstore.Store, key *envelope.LocalKey) *trapped {
	t.Helper()
	ctx, at := context.Background(), tr.at.Swap(0)
	store := origin
	base, packs := t.TempDir(), 0
	w := &trapped{trap: tr, t: t, src: filepath.Join(base, "src"), dir: filepath.Join(base, "dir")}
	if err := errors.Join(os.MkdirAll(filepath.Join(w.src, "f"), 0o700), os.Mkdir(w.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := os.WriteFile(filepath.Join(w.src, "f", fmt.Sprintf("%02d", i)), bytes.Repeat([]byte{byte(i)}, 2000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(w.src, "large"), make([]byte, 50<<10), 0o600), syscall.Mkfifo(filepath.Join(w.src, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for o, err := range origin.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		if store == origin {
			store = &memstore.Store{}
		}
		r, err := origin.Get(ctx, o.Name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if path.Base(path.Dir(o.Name)) == "packs" {
			if err := os.WriteFile(filepath.Join(w.dir, path.Base(o.Name)), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if packs++; packs == 2 && !tr.sound {
				clear(b) // damaged in the vault, and not in the folder
			}
		}
		if err := store.Put(ctx, o.Name, func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
			t.Fatal(err)
		}
	}
	k := trapKey{key, tr}
	v := &vault.Vault{Store: trapStore{store, tr}, Keys: &vault.Keys{Open: []envelope.KeyWrapper{k}, Wrap: []envelope.KeyWrapper{k}}, Signer: trapSigner}
	var err error
	if w.d, err = dataset.Open(v, "d"); err != nil {
		t.Fatal(err)
	}
	w.v = func() *dataset.Version {
		v, err := w.d.Latest(context.Background())
		if err != nil {
			panic(err)
		}
		return v
	}
	tr.calls.Store(0)
	tr.at.Store(at)
	return w
}
