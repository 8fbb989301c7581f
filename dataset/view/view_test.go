package view_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, b, 0o644))
}

// sealed makes a vault with one dataset of what fill writes.
func sealed(t testing.TB, packSize int64, fill func(src string)) (v *dataset.Version, src string, store *datasettest.Watched) {
	t.Helper()
	dir := t.TempDir()
	src = filepath.Join(dir, "src")
	must(t, os.Mkdir(src, 0o750))
	fill(src)
	vlt, store := datasettest.NewWatched(t, dir)
	d, err := dataset.Open(vlt, "d")
	must(t, err)
	t.Cleanup(d.Close)
	res, err := uploader.Upload(t.Context(), d, src, uploader.Options{PackSize: packSize})
	must(t, err)
	return res.Version, src, store
}

func open(t testing.TB, v *dataset.Version, o view.Options) *view.View {
	t.Helper()
	f, err := view.Open(t.Context(), v, o)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// A view is a file system as testing/fstest wants it, in parts of the index of two entries
// too, and folders without entries.
func TestFS(t *testing.T) {
	v, _, _ := sealed(t, 64<<10, func(src string) {
		for i := range 40 {
			write(t, filepath.Join(src, fmt.Sprintf("%d/%d-%d/f%d.txt", i%3, i%2, i%4, i)), treetest.Bytes(int64(i*i*10), byte(i)))
		}
		for _, name := range []string{"a", "a-b", "a.d/x", "b/y", "b-c/z", "b0", "large"} {
			write(t, filepath.Join(src, name), treetest.Bytes(int64(len(name))*30_000, 1))
		}
		must(t, os.Mkdir(filepath.Join(src, "empty"), 0o755))
		must(t, os.Symlink("../b", filepath.Join(src, "a.d/to-folder")))
		must(t, os.Symlink("a.d/x", filepath.Join(src, "to-file")))
	})
	must(t, fstest.TestFS(open(t, v, view.Options{}), "a", "b", "a.d/x", "b0", "empty", "0/0-0/f0.txt", "to-file"))

	names, contents := []string{"a/b-", "a/b/c", "x"}, map[string]string{"a/b/c": "1", "a/b-": "2", "x": "3"}
	bare := open(t, datasettest.Packed(t, datasettest.New(t), names, contents), view.Options{})
	must(t, fstest.TestFS(bare, "a", "a/b", "a/b-", "a/b/c", "x"))
}

// Every file, folder and link of a tree with all that is odd is there, with its contents.
func TestSameAsSource(t *testing.T) {
	const packSize = 128 << 10
	v, src, _ := sealed(t, packSize, func(src string) { treetest.Odd(t, src, packSize) })
	f := open(t, v, view.Options{IndexMemory: 1})
	seen := 0
	var walk func(dir string)
	walk = func(dir string) {
		want, err := os.ReadDir(filepath.Join(src, dir))
		must(t, err)
		got, err := f.ReadDir(dir)
		must(t, err)
		if len(got) != len(want) {
			t.Fatalf("%q has %v, want %v", dir, got, want)
		}
		for i, w := range want {
			name := filepath.Join(dir, w.Name())
			if got[i].Name() != w.Name() || got[i].Type() != w.Type() {
				t.Fatalf("%q: %v, want %v", dir, got[i], w)
			}
			seen++
			wi, err := w.Info()
			must(t, err)
			gi, err := f.Lstat(name)
			must(t, err)
			if gi.Mode() != wi.Mode() && !(wi.Mode()&fs.ModeSymlink != 0) || !gi.ModTime().Equal(wi.ModTime()) || !wi.IsDir() && gi.Size() != wi.Size() {
				t.Errorf("%q: %v %v %d, want %v %v %d", name, gi.Mode(), gi.ModTime(), gi.Size(), wi.Mode(), wi.ModTime(), wi.Size())
			}
			switch {
			case w.IsDir():
				walk(name)
			case w.Type() == fs.ModeSymlink:
				wl, err := os.Readlink(filepath.Join(src, name))
				must(t, err)
				if gl, err := f.ReadLink(name); err != nil || gl != wl {
					t.Errorf("%q: %q, %v, want %q", name, gl, err, wl)
				}
				wb, werr := os.ReadFile(filepath.Join(src, name))
				gb, gerr := f.ReadFile(name)
				if (werr == nil) != (gerr == nil) || !bytes.Equal(wb, gb) {
					t.Errorf("%q: %v, want %v", name, gerr, werr)
				}
			default:
				wb, err := os.ReadFile(filepath.Join(src, name))
				must(t, err)
				if gb, err := f.ReadFile(name); err != nil || !bytes.Equal(wb, gb) {
					t.Errorf("%q: %v", name, err)
				}
			}
		}
	}
	walk(".")
	if seen < 250 {
		t.Errorf("only %d were looked at", seen)
	}
}

// Links are followed inside of the version, and never out of it.
func TestLinks(t *testing.T) {
	v, _, _ := sealed(t, 64<<10, func(src string) {
		write(t, filepath.Join(src, "in/deep/file"), []byte("here"))
		for name, to := range map[string]string{"out": "/etc/passwd", "up": "../../etc/passwd", "in/up": "../in/deep", "loop": "loop", "a": "b", "b": "a",
			"folder": "in/deep", "in/deep/back": "../../folder", "sneaky": "in/deep/../../../x", "dot": "."} {
			must(t, os.Symlink(to, filepath.Join(src, name)))
		}
	})
	f := open(t, v, view.Options{})
	for _, name := range []string{"folder/file", "in/up/file", "in/deep/back/file", "folder/back/back/file", "dot/dot/folder/file"} {
		if b, err := f.ReadFile(name); err != nil || string(b) != "here" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for _, name := range []string{"out", "up", "sneaky"} {
		if _, err := f.Open(name); !errors.Is(err, view.ErrOutside) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"loop", "a", "loop/x"} {
		if _, err := f.Stat(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"in/deep/file/x", "nothing", "folder/nothing", "in/dee"} {
		if _, err := f.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, link := range map[string]bool{"folder": true, "out": true, "in/deep": false, "in/deep/": false, "folder/file": false} {
		if e, err := f.Lookup(name); err != nil || e.IsLink() != link {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	for _, name := range []string{"nothing", "../x", "in/deep/file/x", "loop/x", "sneaky/x", ""} {
		if _, err := f.Lookup(name); !errors.Is(err, dataset.ErrNoEntry) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := f.Open("../x"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// Many readers of any range of large and small files get the bytes of the source, with
// less memory than they ask for at one time.
func TestRandomRanges(t *testing.T) {
	const packSize = 9 << 20
	data := map[string][]byte{"empty": nil, "one": {7}, "small": treetest.Bytes(5000, 1), "compared": treetest.Bytes(1<<20, 4),
		"pieces": treetest.Bytes(3*packSize+77, 2), "other": treetest.Bytes(2*packSize, 3)}
	for i := range 50 {
		data[fmt.Sprintf("many/%d", i)] = treetest.Bytes(100_000, byte(i))
	}
	var names []string
	v, _, _ := sealed(t, packSize, func(src string) {
		for name, b := range data {
			write(t, filepath.Join(src, name), b)
			names = append(names, name)
		}
	})
	f := open(t, v, view.Options{Memory: 1}) // which is taken for the least
	ranges := 60
	if race.Enabled {
		ranges = 2
	}
	var all sync.WaitGroup
	for g := range 32 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range ranges {
				name := names[rng.IntN(len(names))]
				want := data[name]
				got, err := f.Open(name)
				if err != nil {
					t.Error(err)
					return
				}
				off := rng.IntN(len(want) + 10)
				p := make([]byte, rng.IntN([]int{20, 100_000, 12 << 20}[rng.IntN(3)/(1+rng.IntN(3))]))
				n, err := got.(io.ReaderAt).ReadAt(p, int64(off))
				rest := want[min(off, len(want)):]
				k := min(len(p), len(rest))
				if n != k || !bytes.Equal(p[:n], rest[:k]) || (err == io.EOF) != (len(p) > k) || err != nil && err != io.EOF {
					t.Errorf("%s: %d bytes from %d of %d: %d, %v", name, len(p), off, len(want), n, err)
				}
				must(t, got.Close())
			}
		})
	}
	all.Wait()
	for name, want := range data {
		got, err := f.Open(name)
		must(t, err)
		if len(want) < 1<<20 {
			must(t, iotest.TestReader(got, want))
			continue
		}
		var b bytes.Buffer
		if _, err := got.(io.WriterTo).WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s: %v", name, err)
		}
		// From the middle, and beside others.
		if _, err := got.(io.Seeker).Seek(-int64(len(want)/2), io.SeekEnd); err != nil {
			t.Error(err)
		}
		if b, err := io.ReadAll(struct{ io.Reader }{got}); err != nil || !bytes.Equal(b, want[len(want)-len(want)/2:]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An open version costs one request for a part of the index and one for its pages; what
// lies beside it costs none, and large files are read in few requests.
func TestRequests(t *testing.T) {
	v, _, store := sealed(t, 32<<20, func(src string) {
		for i := range 300 {
			write(t, filepath.Join(src, fmt.Sprintf("many/%03d", i)), treetest.Bytes(10_000, byte(i)))
		}
		write(t, filepath.Join(src, "large"), treetest.Bytes(64<<20, 1))
	})
	cost := func(f func()) int64 {
		before := store.Gets.Load()
		f()
		return store.Gets.Load() - before
	}
	f := open(t, v, view.Options{})
	read := func(name string) {
		if _, err := f.ReadFile(name); err != nil {
			t.Error(err)
		}
	}
	if n := cost(func() { read("many/007") }); n != 2 {
		t.Errorf("the first byte took %d requests", n)
	}
	if n := cost(func() { read("many/008"); must2(f.ReadDir("many")) }); n != 0 {
		t.Errorf("what lies beside it took %d requests", n)
	}
	big, err := f.Open("large")
	must(t, err)
	for range 10 {
		off := rand.Int64N(63 << 20)
		if n := cost(func() { must2(big.(io.ReaderAt).ReadAt(make([]byte, 100<<10), off)) }); n > 2 {
			t.Errorf("100 KiB took %d requests", n) // 2 where they lie in two packs
		}
	}
	// Here and there, a read fetches its own pages; the first one of a segment, where nothing
	// can be passed over, what is before them, too.
	var fetched atomic.Int64
	store.Spoil(func(_ string, _ int64, r io.ReadCloser) (io.ReadCloser, error) { return counted{r, &fetched}, nil })
	for i, name := range []string{"many/000", "many/095", "many/050", "many/075"} {
		fetched.Store(0)
		if read(name); fetched.Load() < 10_000 || i > 0 && fetched.Load() > 3*64<<10 {
			t.Errorf("to read 10 kB of %s, %d bytes were fetched", name, fetched.Load())
		}
	}
	store.Spoil(nil)
	f2 := open(t, v, view.Options{})
	if n := cost(func() {
		got, err := f2.Open("large")
		must(t, err)
		must2(io.Copy(io.Discard, got))
	}); n > 20 {
		t.Errorf("64 MiB in order took %d requests", n)
	}
	if n := cost(func() {
		for i := range 300 {
			must2(f2.ReadFile(fmt.Sprintf("many/%03d", i)))
		}
	}); n > 6 {
		t.Errorf("300 small files in order took %d requests", n)
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Whatever byte of a pack is changed, a read of what lies there fails, and no other bytes
// than the source's are returned.
func TestTampered(t *testing.T) {
	race.Skip(t, "there is one reader at a time")
	want := treetest.Bytes(3<<20+100, 1)
	small := treetest.Bytes(3000, 2)
	v, _, store := sealed(t, 32<<20, func(src string) {
		write(t, filepath.Join(src, "large"), want)
		write(t, filepath.Join(src, "small"), small)
	})
	for range 30 {
		f := open(t, v, view.Options{})
		if _, err := f.Stat("large"); err != nil { // the index is read whole
			t.Fatal(err)
		}
		at, hit := rand.Int64N(4<<20), atomic.Bool{}
		store.Spoil(func(name string, off int64, r io.ReadCloser) (io.ReadCloser, error) {
			if !strings.Contains(name, "/packs/") {
				return r, nil
			}
			return &flip{r, off, at, &hit}, nil
		})
		for name, want := range map[string][]byte{"large": want, "small": small} {
			hit.Store(false)
			got, err := f.ReadFile(name)
			if err == nil && !bytes.Equal(got, want) || !bytes.Equal(got, want[:len(got)]) {
				t.Fatalf("byte %d: %s has other contents", at, name)
			}
			if err != nil && !errors.Is(err, envelope.ErrAuthentication) {
				t.Errorf("%v", err)
			}
			if err == nil && hit.Load() && name == "large" && at < 3<<20 {
				t.Errorf("byte %d: %s was read without an error", at, name)
			}
		}
		store.Spoil(nil)
		must(t, f.Close())
	}
}

type flip struct {
	io.ReadCloser
	off, at int64
	hit     *atomic.Bool
}

func (f *flip) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.at >= f.off && f.at < f.off+int64(n) {
		p[f.at-f.off] ^= 1
		f.hit.Store(true)
	}
	f.off += int64(n)
	return n, err
}

// Packs that end anywhere in a chunk, a page and a segment are read to their ends, in order
// and from the end on.
func TestEndsOfPacks(t *testing.T) {
	const chunk, page = envelope.ChunkSize, 4 * envelope.ChunkSize
	d, sizes := datasettest.New(t), map[string]int64{}
	for _, at := range []int64{0, page, 2 * page, 3*page + chunk, envelope.SegmentSize - page, envelope.SegmentSize, 2*envelope.SegmentSize + 5*page} {
		for _, more := range []int64{-chunk, -1, 0, 1, 100, chunk - 1, chunk, chunk + 1} {
			if at+more > 0 {
				sizes[fmt.Sprintf("%08d", at+more)] = at + more
			}
		}
	}
	v := datasettest.CommitWith(t, d, func(key *envelope.DataKey) (entries []*tree.Entry) {
		for name, n := range sizes {
			pack := must2(objects.Of(d).WritePack(t.Context(), key, func(w io.Writer) error { _, err := w.Write(treetest.Bytes(n, 1)); return err }))
			entries = append(entries, &tree.Entry{Path: name, Size: n, Mode: 0o644, ModTime: time.Unix(2, 0), Extents: []tree.Extent{{Pack: &pack, Length: n}}})
		}
		slices.SortFunc(entries, func(a, b *tree.Entry) int { return strings.Compare(a.Path, b.Path) })
		return entries
	})
	whole, backwards := open(t, v, view.Options{}), open(t, v, view.Options{})
	for name, n := range sizes {
		want := treetest.Bytes(n, 1)
		if got, err := whole.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
		f := must2(backwards.Open(name)).(*view.File)
		for off := n; off > 0; {
			p := make([]byte, min(off, chunk+rand.Int64N(3*page)))
			off -= int64(len(p))
			if _, err := f.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:off+int64(len(p))]) {
				t.Errorf("%s, %d bytes from %d: %v", name, len(p), off, err)
			}
		}
	}
}

// A reader of the dataset who can write to the vault can put another pack in the place of
// one, which opens with the data key. Its contents then do not have the sums in the signed
// version, as here.
func TestForgedContents(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.CommitWith(t, d, func(key *envelope.DataKey) (entries []*tree.Entry) {
		lies := treetest.Bytes(2<<20, 1)
		pack := must2(objects.Of(d).WritePack(t.Context(), key, func(w io.Writer) error { _, err := w.Write(lies); return err }))
		h := must2(envelope.NewContentHash(key))
		for name, n := range map[string]int64{"large": 2 << 20, "small": 4} {
			h.Write(treetest.Bytes(n, 9))
			entries = append(entries, &tree.Entry{Path: name, Size: n, Mode: 0o644, ModTime: time.Unix(2, 0),
				Extents: []tree.Extent{{Pack: &pack, Length: n, Sum: h.Sum()}}})
		}
		slices.SortFunc(entries, func(a, b *tree.Entry) int { return strings.Compare(a.Path, b.Path) })
		return entries
	})
	f := open(t, v, view.Options{})
	for _, name := range []string{"small", "large"} {
		got, err := f.Open(name)
		must(t, err)
		b, err := io.ReadAll(got)
		if !errors.Is(err, envelope.ErrAuthentication) || name == "small" && len(b) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		if _, err := got.Read(make([]byte, 1)); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s, read again: %v", name, err)
		}
		if n, err := got.(io.ReaderAt).ReadAt(make([]byte, 2), 0); n > 0 || !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s, read at an offset: %d, %v", name, n, err)
		}
	}
}

// An error of the store is of the read that met it, and not of the next.
func TestErrorsPass(t *testing.T) {
	v, _, store := sealed(t, 32<<20, func(src string) { write(t, filepath.Join(src, "large"), treetest.Bytes(20<<20, 1)) })
	f := open(t, v, view.Options{})
	broken := errors.New("the network is down")
	store.Spoil(func(_ string, _ int64, r io.ReadCloser) (io.ReadCloser, error) { r.Close(); return nil, broken })
	if _, err := f.ReadFile("large"); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	store.Spoil(func(name string, off int64, r io.ReadCloser) (io.ReadCloser, error) {
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(r, 3<<20), iotest.ErrReader(broken)), r}, nil
	})
	if b, err := f.ReadFile("large"); !errors.Is(err, broken) || b != nil {
		t.Errorf("%v", err)
	}
	store.Spoil(nil)
	if b, err := f.ReadFile("large"); err != nil || !bytes.Equal(b, treetest.Bytes(20<<20, 1)) {
		t.Errorf("%v", err)
	}
}

// A read ends when its context does, and Close ends all of them. Nothing is left behind,
// and later reads say what they cannot.
func TestEnds(t *testing.T) {
	v, _, store := sealed(t, 32<<20, func(src string) { write(t, filepath.Join(src, "large"), treetest.Bytes(20<<20, 1)) })
	stuck, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	block := func(name string, _ int64, r io.ReadCloser) (io.ReadCloser, error) {
		if strings.Contains(name, "/packs/") {
			once.Do(func() { close(stuck) })
			<-release
		}
		return r, nil
	}
	f := open(t, v, view.Options{})
	must2(f.Stat("large"))
	store.Spoil(block)
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan error)
	go func() { _, err := f.WithContext(ctx).ReadFile("large"); read <- err }()
	<-stuck
	cancel()
	if err := <-read; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	go func() { _, err := f.ReadFile("large"); read <- err }()
	time.Sleep(10 * time.Millisecond)
	closed := make(chan error)
	go func() { closed <- f.Close() }()
	for f.WithContext(t.Context()) != nil {
		if _, err := f.Stat("large"); errors.Is(err, fs.ErrClosed) {
			break
		}
	}
	close(release)
	if err := <-read; !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%v", err)
	}
	must(t, <-closed)
	if _, err := f.ReadFile("large"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%v", err)
	}
	for _, err := range f.Entries("") {
		if err == nil {
			t.Error("entries of a closed view")
		}
	}
}

// A panic of the store is the reader's, and the view goes on.
func TestPanics(t *testing.T) {
	v, _, store := sealed(t, 32<<20, func(src string) { write(t, filepath.Join(src, "a"), treetest.Bytes(2<<20, 1)) })
	for _, folder := range []string{"/index/", "/packs/"} {
		f := open(t, v, view.Options{})
		store.Spoil(func(name string, _ int64, r io.ReadCloser) (io.ReadCloser, error) {
			if strings.Contains(name, folder) {
				r.Close()
				panic("thrown")
			}
			return r, nil
		})
		thrown := func() (v any) {
			defer func() { v = recover() }()
			f.ReadFile("a")
			return nil
		}()
		if thrown == nil {
			t.Errorf("%s: no panic", folder)
		}
		store.Spoil(nil)
		if b, err := f.ReadFile("a"); err != nil || !bytes.Equal(b, treetest.Bytes(2<<20, 1)) {
			t.Errorf("%s: %v", folder, err)
		}
	}
}

func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	v, _, err := config.Init(ctx, &config.Config{Vault: config.Setting{Value: dir + "/vault"}, LocalKey: config.Setting{Value: dir + "/key"}})
	if err != nil {
		panic(err)
	}
	d, err := dataset.Open(v, "letters")
	if err != nil {
		panic(err)
	}
	defer d.Close()
	if _, err := uploader.UploadStream(ctx, d, strings.NewReader("abcdefgh"), "lower.txt", uploader.Options{}); err != nil {
		panic(err)
	}
	version, err := d.Latest(ctx)
	if err != nil {
		panic(err)
	}

	files, err := view.Open(ctx, version, view.Options{})
	if err != nil {
		panic(err)
	}
	defer files.Close()
	fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		fmt.Println(path)
		return err
	})
	f, err := files.Open("lower.txt")
	if err != nil {
		panic(err)
	}
	p := make([]byte, 3)
	if _, err := f.(io.ReaderAt).ReadAt(p, 2); err != nil {
		panic(err)
	}
	fmt.Printf("%s of %s\n", p, f.(*view.File).Entry().Path)
	// Output:
	// .
	// lower.txt
	// cde of lower.txt
}

// Entries are numbered in their order, and the children of a folder can be taken up behind
// any of them, in parts of the index of two entries too.
func TestNumbers(t *testing.T) {
	v, _, _ := sealed(t, 64<<10, func(src string) { treetest.Odd(t, src, 64<<10) })
	bare := datasettest.Packed(t, datasettest.New(t), []string{"a/b-", "a/b/c", "a/b/d/e", "x"}, map[string]string{})
	for _, v := range []*dataset.Version{v, bare} {
		f := open(t, v, view.Options{})
		n, folders := int64(0), map[string]*tree.Entry{}
		for e, err := range f.Entries("") {
			must(t, err)
			if got, err := f.Number(e.Path); err != nil || got != n {
				t.Fatalf("%q is number %d, %v, want %d", e.Path, got, err, n)
			}
			if got, err := f.Numbered(n); err != nil || got.Path != e.Path {
				t.Fatalf("number %d is %v, %v, want %q", n, got, err, e.Path)
			}
			n++
			for i, c := range e.Path {
				if c == '/' || i == 0 {
					name := e.Path[:i]
					info := must2(f.Lstat(cmp.Or(name, ".")))
					folders[name] = info.(view.Info).Entry()
				}
			}
		}
		for _, i := range []int64{-1, n} {
			if _, err := f.Numbered(i); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("number %d: %v", i, err)
			}
		}
		if got, err := f.Number("\xff\xff"); err != nil || got != n {
			t.Errorf("all are %d, %v, want %d", got, err, n)
		}
		for name, folder := range folders {
			var all []string
			var last *tree.Entry
			for range f.Children(folder, nil) { // one at a time
				for e, err := range f.Children(folder, last) {
					must(t, err)
					last = e
					all = append(all, e.Name())
					break
				}
			}
			slices.Sort(all)
			var want []string
			for _, d := range must2(f.ReadDir(cmp.Or(name, "."))) {
				want = append(want, strings.TrimPrefix(name+"/"+d.Name(), "/"))
			}
			slices.Sort(want)
			if !slices.Equal(all, want) {
				t.Errorf("%q has %q, want %q", name, all, want)
			}
		}
	}
	f := open(t, bare, view.Options{})
	for e, err := range f.Children(must2(f.Numbered(1)), nil) {
		if err == nil {
			t.Errorf("a file has the child %v", e)
		}
	}
}
