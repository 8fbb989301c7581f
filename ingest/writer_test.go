package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/vault"
)

var ctx = context.Background()

// Many goroutines write many files, next to some that never continue, in little memory: all
// of them come to their end, and the bound is kept.
func TestManyWritersInLittleMemory(t *testing.T) {
	m := newWorld(t)
	w := m.writer(Options{ID: "many", PackSize: 32 << 10, buffers: 128 << 10, Concurrency: 2})
	forgotten := map[*File]string{}
	for i := range 40 {
		f, err := w.Create(fmt.Sprintf("forgotten/%d", i), Meta{})
		check(t, err)
		data := string(treetest.Bytes(int64(1000*i), 1))
		forgotten[f] = data
		_, err = io.WriteString(f, data)
		check(t, err)
	}
	want := map[string]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	over := int64(0)
	for g := range 8 {
		all.Go(func() {
			for i := range 40 {
				path, data := fmt.Sprintf("%d/%02d", g, i), string(treetest.Bytes(int64(i*i*57), byte(g)))
				f, err := w.Create(path, Meta{})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(f, iotest.OneByteReader(strings.NewReader(data[:min(len(data), 100)]))); err != nil {
					t.Error(err)
				}
				if _, err := io.WriteString(f, data[min(len(data), 100):]); err != nil {
					t.Error(err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				want[path] = data
				mu.Unlock()
				w.mu.Lock()
				over = max(over, w.used-w.limit)
				w.mu.Unlock()
			}
		})
	}
	all.Wait()
	if over > 0 {
		t.Errorf("%d bytes more than may be were in memory", over)
	}
	check(t, w.Checkpoint(ctx))
	for f, data := range forgotten {
		check(t, f.Close())
		want[f.path] = data
	}
	_, err := w.Commit(ctx)
	check(t, err)
	m.want(want)
	if w.used != 0 {
		t.Errorf("%d bytes are held in the end", w.used)
	}
}

// One goroutine that goes from file to file, each larger than its share of the memory, is
// never kept waiting for itself.
func TestOneGoroutineWritesFilesInTurns(t *testing.T) {
	m := newWorld(t)
	w := m.writer(Options{PackSize: 64 << 10, buffers: 64 << 10})
	want, open := map[string]string{}, []*File{}
	for i := range 100 {
		f, err := w.Create(fmt.Sprint(i), Meta{})
		check(t, err)
		open = append(open, f)
	}
	for round := range 20 {
		for i, f := range open {
			s := string(treetest.Bytes(int64(i*13), byte(round)))
			_, err := io.WriteString(f, s)
			check(t, err)
			want[f.path] += s
		}
	}
	for _, f := range open {
		check(t, f.Close())
	}
	_, err := w.Commit(ctx)
	check(t, err)
	m.want(want)
}

// What can be wrong with a path is told, and what was there stays.
func TestPathsThatAreTaken(t *testing.T) {
	m := newWorld(t)
	w := m.writer(Options{})
	put(t, w, "a/b", "1")
	put(t, w, "c", "1")
	put(t, w, "old", "1")
	_, err := w.Commit(ctx)
	check(t, err)

	add := m.writer(Options{})
	put(t, add, "new/file", "2")
	if _, err := add.Create("open", Meta{}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"new/file", "new", "new/file/x", "open", "open/x", "c", "a", "a/b", "a/b/c", "c/d/e"} {
		if _, err := add.Create(path, Meta{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("creating %q: %v", path, err)
		}
	}
	for _, path := range []string{"", "/", "/a", "a//b", "./a", "../a", "a/..", "a\x00", "a/", strings.Repeat("x", 5000)} {
		if f, err := add.Create(path, Meta{}); err == nil || f != nil || errors.Is(err, fs.ErrExist) {
			t.Errorf("creating %q: %v", path, err)
		}
	}
	if _, err := add.Create("dir", Meta{Mode: fs.ModeDir | 0o755}); err == nil {
		t.Error("a file of the mode of a folder was made")
	}
	for _, path := range []string{"nowhere", "a", "new", "old/x"} {
		if err := add.Remove(path); !errors.Is(err, dataset.ErrNoEntry) {
			t.Errorf("removing %q: %v", path, err)
		}
	}
	if err := add.Remove("open"); !errors.Is(err, ErrOpen) {
		t.Errorf("removing an open file: %v", err)
	}
	check(t, add.Remove("old"))
	if err := add.Remove("old"); !errors.Is(err, dataset.ErrNoEntry) {
		t.Errorf("removing it again: %v", err)
	}
	put(t, add, "old/below", "2") // there is room now
	check(t, add.Remove("c"))
	put(t, add, "c", "2")
	if _, err := add.Commit(ctx); !errors.Is(err, ErrOpen) || !strings.Contains(err.Error(), `"open"`) {
		t.Fatalf("with an open file: %v", err)
	}
	add.mu.Lock()
	f := add.open["open"]
	add.mu.Unlock()
	f.Abort()
	v, err := add.Commit(ctx)
	check(t, err)
	if err := add.Close(); err != nil {
		t.Error(err)
	}
	m.want(map[string]string{"a/b": "1", "c": "2", "new/file": "2", "old/below": "2"})
	if _, err := add.Create("late", Meta{}); !errors.Is(err, ErrEnded) {
		t.Errorf("after the commit: %v", err)
	}

	update := m.writer(Options{Mode: Update})
	put(t, update, "c", "3")
	has, err := update.Has("a/b", Meta{})
	if err != nil || !has {
		t.Errorf("the last version has a/b: %v, %v", has, err)
	}
	e, err := v.Lookup(ctx, "a/b")
	check(t, err)
	for meta, want := range map[Meta]bool{{ModTime: e.ModTime}: true, {ModTime: time.Unix(1, 0)}: false, {Mode: 0o644}: true, {Mode: 0o600}: false} {
		if has, err := update.Has("a/b", meta); err != nil || has != want {
			t.Errorf("has %+v: %v, %v", meta, has, err)
		}
	}
	_, err = update.Commit(ctx)
	check(t, err)
	m.want(map[string]string{"a/b": "1", "c": "3", "new/file": "2", "old/below": "2"})

	anew := m.writer(Options{Mode: Anew})
	if err := anew.Remove("c"); !errors.Is(err, dataset.ErrNoEntry) {
		t.Errorf("there is nothing to remove: %v", err)
	}
	if _, err := anew.Commit(ctx); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty version: %v", err)
	}
	put(t, anew, "a", "4")
	_, err = anew.Commit(ctx)
	check(t, err)
	m.want(map[string]string{"a": "4"})

	few := m.writer(Options{Mode: Update, MaxFiles: 1})
	put(t, few, "b", "5")
	if _, err := few.Create("c", Meta{}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more than there may be: %v", err)
	}
	if err := few.Remove("a"); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more than there may be: %v", err)
	}
}

// A file is complete only when its Close has returned nil, after nothing has gone wrong
// that the File could see.
func TestFilesThatAreNotComplete(t *testing.T) {
	m := newWorld(t)
	w := m.writer(Options{PackSize: 8 << 10})
	broken := errors.New("broken")
	create := func(path string) *File {
		t.Helper()
		f, err := w.Create(path, Meta{})
		check(t, err)
		return f
	}
	in := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { recover() }()
			f()
		}()
		<-done
	}
	cases := map[string]func(*File) error{
		"reader fails": func(f *File) error {
			if _, err := io.Copy(f, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
				t.Errorf("copying: %v", err)
			}
			return f.Close()
		},
		"reader panics": func(f *File) (err error) {
			in(func() { io.Copy(f, panicking{}) })
			return f.Close()
		},
		"reader exits": func(f *File) (err error) {
			in(func() { io.Copy(f, exiting{}) })
			return f.Close()
		},
		"closed while unwinding": func(f *File) (err error) {
			in(func() {
				defer func() { err = f.Close() }()
				f.Write([]byte("half"))
				panic("between writes")
			})
			return err
		},
		"closed while exiting": func(f *File) (err error) {
			in(func() {
				defer func() { err = f.Close() }()
				f.Write(make([]byte, 20<<10))
				runtime.Goexit()
			})
			return err
		},
		"aborted": func(f *File) error {
			f.Write([]byte("half"))
			f.Abort()
			if _, err := f.Write([]byte("more")); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("a write after Abort: %v", err)
			}
			return f.Close()
		},
	}
	for name, run := range cases {
		if err := run(create(name)); err == nil {
			t.Errorf("%s: Close returned nil", name)
		}
		f := create(name) // the path is free again
		f.Abort()
	}
	whole := create("whole")
	_, err := whole.Write([]byte("all of it"))
	check(t, err)
	check(t, whole.Close())
	whole.Abort()
	if err := whole.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
	if _, err := whole.Write([]byte("more")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
	_, err = w.Commit(ctx)
	check(t, err)
	m.want(map[string]string{"whole": "all of it"})
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("a reader") }

type exiting struct{}

func (exiting) Read([]byte) (int, error) { runtime.Goexit(); return 0, nil }

// The files of a sample share a pack, whatever is written beside it; those of one that is
// dropped are in no version, and one for which there is no room is refused.
func TestSamplesStayTogether(t *testing.T) {
	m := newWorld(t)
	w := m.writer(Options{PackSize: 16 << 10, buffers: 128 << 10})
	want, together := map[string]string{}, [][]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 40 {
				mu.Lock()
				put(t, w, fmt.Sprintf("alone/%d-%d", g, i), "alone")
				want[fmt.Sprintf("alone/%d-%d", g, i)] = "alone"
				mu.Unlock()
				s, err := w.Sample()
				if err != nil {
					t.Error(err)
					return
				}
				var paths []string
				for _, kind := range []string{"img", "json", "txt"} {
					path, data := fmt.Sprintf("%s/%d-%d", kind, g, i), string(treetest.Bytes(int64(i*40), byte(g)))
					f, err := s.Create(path, Meta{Mode: 0o600})
					if err != nil {
						t.Error(err)
						return
					}
					io.WriteString(f, data)
					if err := f.Close(); err != nil {
						t.Error(err)
					}
					mu.Lock()
					want[path] = data
					mu.Unlock()
					paths = append(paths, path)
				}
				if i%10 == 9 {
					s.Abort()
					mu.Lock()
					for _, path := range paths {
						delete(want, path)
					}
					mu.Unlock()
					continue
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				together = append(together, paths)
				mu.Unlock()
			}
		})
	}
	all.Wait()

	large, err := w.Sample()
	check(t, err)
	f, err := large.Create("large", Meta{})
	check(t, err)
	if _, err := f.Write(make([]byte, 17<<10)); !errors.Is(err, ErrSample) {
		t.Errorf("a sample of more than a pack: %v", err)
	}
	if _, err := w.Commit(ctx); !errors.Is(err, ErrOpen) {
		t.Errorf("a commit with an open sample: %v", err)
	}
	if err := f.Close(); !errors.Is(err, ErrSample) {
		t.Errorf("closing its file: %v", err)
	}
	if err := large.Close(); !errors.Is(err, ErrSample) {
		t.Errorf("closing it: %v", err)
	}
	// Open samples hold half of the memory at most, and others go on meanwhile.
	var open []*Sample
	for i := 0; ; i++ {
		s, err := w.Sample()
		check(t, err)
		open = append(open, s)
		f, err := s.Create(fmt.Sprintf("many/%d", i), Meta{})
		check(t, err)
		if _, err := f.Write(make([]byte, 10<<10)); err != nil {
			if !errors.Is(err, ErrSample) || i < 3 {
				t.Errorf("after %d samples: %v", i, err)
			}
			break
		}
	}
	put(t, w, "between", strings.Repeat("x", 200<<10))
	want["between"] = strings.Repeat("x", 200<<10)
	for _, s := range open {
		s.Abort()
	}
	if w.sampled != 0 {
		t.Errorf("samples hold %d bytes in the end", w.sampled)
	}
	_, err = w.Commit(ctx)
	check(t, err)
	v := m.want(want)
	for _, paths := range together {
		packs := map[string]bool{}
		for _, path := range paths {
			e, err := v.Lookup(ctx, path)
			check(t, err)
			if e.Mode != 0o600 || len(e.Extents) != 1 {
				t.Errorf("%q: %+v", path, e)
			}
			packs[e.Extents[0].Pack.ID.String()] = true
		}
		if len(packs) != 1 {
			t.Errorf("%q lie in %d packs", paths, len(packs))
		}
	}
}

// Whatever ends a Writer is told by all that comes afterwards, and makes no version.
func TestWritersThatEnd(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		m := newWorld(t)
		ctx, cancel := context.WithCancelCause(ctx)
		w, err := New(ctx, m.open(m.store), Options{buffers: 64 << 10, PackSize: 32 << 10})
		check(t, err)
		f, err := w.Create("f", Meta{})
		check(t, err)
		enough := errors.New("enough")
		cancel(enough)
		if _, err := f.Write([]byte("x")); !errors.Is(err, enough) {
			t.Errorf("a write: %v", err)
		}
		if err := f.Close(); !errors.Is(err, enough) {
			t.Errorf("closing: %v", err)
		}
		if _, err := w.Commit(context.Background()); !errors.Is(err, enough) {
			t.Errorf("a commit: %v", err)
		}
		check(t, w.Close())
		m.want(nil)
	})
	t.Run("lease lost", func(t *testing.T) {
		m := newWorld(t)
		w := m.writer(Options{ID: "x"})
		put(t, w, "f", "text")
		check(t, w.Checkpoint(ctx))
		for o, err := range m.store.List(ctx, "d/pending/") {
			check(t, err)
			if strings.HasSuffix(o.Name, ".lease") {
				check(t, m.store.Delete(ctx, o.Name))
			}
		}
		if _, err := w.Commit(ctx); !errors.Is(err, dataset.ErrCollected) {
			t.Errorf("a commit: %v", err)
		}
		if _, err := w.Create("g", Meta{}); !errors.Is(err, ErrEnded) {
			t.Errorf("afterwards: %v", err)
		}
		m.want(nil)
		again := m.writer(Options{ID: "x"})
		if has, err := again.Has("f", Meta{}); !has || err != nil {
			t.Errorf("the next writer has it: %v, %v", has, err)
		}
		_, err := again.Commit(ctx)
		check(t, err)
		m.want(map[string]string{"f": "text"})
	})
	t.Run("commit cancelled", func(t *testing.T) {
		m := newWorld(t)
		w := m.writer(Options{})
		put(t, w, "f", "text")
		done, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := w.Commit(done); !errors.Is(err, context.Canceled) {
			t.Errorf("a commit: %v", err)
		}
		_, err := w.Commit(ctx) // it was not begun
		check(t, err)
		m.want(map[string]string{"f": "text"})
	})
	t.Run("vault fails", func(t *testing.T) {
		m := newWorld(t)
		store := &mortal{Store: m.store, left: -1}
		w, err := New(ctx, m.open(store), Options{PackSize: 8 << 10, buffers: 32 << 10})
		check(t, err)
		store.mu.Lock()
		store.left = 0
		store.mu.Unlock()
		put(t, w, "small", "text") // it waits in a pack
		f, err := w.Create("large", Meta{})
		check(t, err)
		_, err = f.Write(make([]byte, 100<<10))
		if cerr := f.Close(); !errors.Is(err, errKilled) && !errors.Is(cerr, errKilled) {
			t.Errorf("a write: %v, closing: %v", err, cerr)
		}
		if _, err := w.Commit(ctx); !errors.Is(err, errKilled) {
			t.Errorf("a commit: %v", err)
		}
		w.Close()
		m.want(nil)
	})
	t.Run("vault panics", func(t *testing.T) {
		m := newWorld(t)
		w, err := New(ctx, m.open(panickingStore{m.store}), Options{PackSize: 8 << 10})
		check(t, err)
		put(t, w, "small", "text")
		if _, err := w.Commit(ctx); err == nil {
			t.Error("a commit succeeds")
		}
		defer func() {
			if v := recover(); v == nil {
				t.Error("the panic did not reach Close")
			}
			m.want(nil)
		}()
		w.Close()
	})
}

type panickingStore struct{ vault.Store }

func (s panickingStore) Unwrap() vault.Store { return s.Store }

func (s panickingStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if strings.Contains(name, "/packs/") {
		panic("a store")
	}
	return s.Store.Put(ctx, name, write)
}

// A version that lacks something is not continued from by accident, and what it lacks the
// next one is known to lack too.
func TestIncompleteBase(t *testing.T) {
	m := newWorld(t)
	d := m.open(m.store)
	l, err := commit.Begin(ctx, d, "")
	check(t, err)
	key, err := l.NewKey(ctx)
	check(t, err)
	pack, err := objects.Of(d).WritePack(ctx, key, func(w io.Writer) error { _, err := io.WriteString(w, "kept"); return err })
	check(t, err)
	index := commit.NewIndex(d, key, nil)
	kept := &tree.Entry{Path: "kept", Size: 4, Mode: 0o644, ModTime: time.Unix(1, 0), Flaw: tree.FlawKept, Extents: []tree.Extent{{Pack: &pack, Length: 4}}}
	check(t, index.Add(ctx, kept, commit.Step{}))
	c, _, err := index.Finish(ctx)
	check(t, err)
	c.Totals.Flaws += 2 // files of which there is nothing
	_, err = l.Commit(ctx, key, c)
	check(t, err)
	check(t, l.End(ctx))

	if _, err := New(ctx, d, Options{Mode: Update}); !errors.Is(err, dataset.ErrIncomplete) {
		t.Errorf("an incomplete base: %v", err)
	}
	for i, want := range []int64{3, 2, 0} {
		w := m.writer(Options{Mode: []Mode{Update, Update, Anew}[i], AllowIncomplete: i < 2})
		put(t, w, []string{"other", "kept", "all"}[i], "new")
		v, err := w.Commit(ctx)
		check(t, err)
		if v.Totals.Flaws != want {
			t.Errorf("version %d has %d flaws, want %d", v.Number, v.Totals.Flaws, want)
		}
	}
	m.want(map[string]string{"all": "new"})
}

// Another writer's version is not overwritten, and what was written is not lost.
func TestConflict(t *testing.T) {
	m := newWorld(t)
	a, b := m.writer(Options{ID: "a"}), m.writer(Options{ID: "b"})
	put(t, a, "a", "a")
	put(t, b, "b", "b")
	_, err := a.Commit(ctx)
	check(t, err)
	if _, err := b.Commit(ctx); !errors.Is(err, dataset.ErrConflict) {
		t.Fatal(err)
	}
	b = m.writer(Options{ID: "b"})
	if has, err := b.Has("b", Meta{}); !has || err != nil {
		t.Error(has, err)
	}
	if s := b.Stats(); s.Resumed != 1 || s.Files != 1 || s.Bytes != 1 {
		t.Errorf("%+v", s)
	}
	_, err = b.Commit(ctx)
	check(t, err)
	m.want(map[string]string{"a": "a", "b": "b"})
	for o, err := range m.store.List(ctx, "d/pending/") {
		check(t, err)
		if !strings.HasSuffix(o.Name, ".lease") {
			t.Errorf("%s is left", o.Name)
		}
	}
}

// What a Writer records that was killed after its version was made is not taken up again:
// by then the file may be another.
func TestRecordsOfACommittedWriter(t *testing.T) {
	m := newWorld(t)
	store := &keepsRecords{Store: m.store}
	w, err := New(ctx, m.open(store), Options{ID: "x"})
	check(t, err)
	put(t, w, "f", "old")
	_, err = w.Commit(ctx)
	check(t, err)
	if store.kept == 0 {
		t.Fatal("no record was left")
	}
	other := m.writer(Options{Mode: Update})
	put(t, other, "f", "new")
	_, err = other.Commit(ctx)
	check(t, err)
	again := m.writer(Options{ID: "x", Mode: Update})
	if s := again.Stats(); s.Files != 0 {
		t.Errorf("%d files were taken up", s.Files)
	}
	put(t, again, "g", "new")
	_, err = again.Commit(ctx)
	check(t, err)
	m.want(map[string]string{"f": "new", "g": "new"})
}

// keepsRecords fails to remove records, as a process does that is killed before.
type keepsRecords struct {
	vault.Store
	kept int
}

func (s *keepsRecords) Unwrap() vault.Store { return s.Store }

func (s *keepsRecords) Delete(ctx context.Context, name string) error {
	if strings.Contains(name, "/pending/") && strings.HasSuffix(name, ".vpk") {
		s.kept++
		return errKilled
	}
	return s.Store.Delete(ctx, name)
}

// No plaintext is written to a disk, whatever is written.
func TestNoPlaintextOnDisk(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", filepath.Join(dir, "tmp"))
	check(t, os.Mkdir(filepath.Join(dir, "tmp"), 0o700))
	v, _, err := config.Init(ctx, &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	check(t, err)
	d, err := dataset.Open(v, "d")
	check(t, err)
	defer d.Close()
	w, err := New(ctx, d, Options{ID: "x", PackSize: 16 << 10, buffers: 64 << 10})
	check(t, err)
	defer w.Close()
	const marker = "a secret that is not to be seen. "
	look := func() {
		found := 0
		check(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(name)
			if bytes.Contains(b, []byte(marker)) || strings.Contains(name, "marker") || bytes.Contains(b, []byte("marker")) {
				t.Errorf("%s has plaintext", name)
			}
			found++
			return err
		}))
		if found == 0 {
			t.Error("there are no files")
		}
	}
	f, err := w.Create("marker/large", Meta{})
	check(t, err)
	_, err = io.WriteString(f, strings.Repeat(marker, 10_000))
	check(t, err)
	put(t, w, "marker/small", marker)
	check(t, w.Checkpoint(ctx))
	look()
	check(t, f.Close())
	_, err = w.Commit(ctx)
	check(t, err)
	look()
}

func TestOptions(t *testing.T) {
	m := newWorld(t)
	for name, o := range map[string]Options{"mode": {Mode: 3}, "pack size": {PackSize: 100}, "memory": {Memory: 1 << 20}} {
		if _, err := New(ctx, m.open(m.store), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(ctx, nil, Options{}); err == nil {
		t.Error("no dataset was taken")
	}
	w := m.writer(Options{Memory: MinMemory})
	if err := w.Checkpoint(ctx); !errors.Is(err, errNoID) {
		t.Errorf("a checkpoint without an ID: %v", err)
	}
	var none context.Context
	if _, err := w.Commit(none); err == nil {
		t.Error("a nil context was taken")
	}
}
