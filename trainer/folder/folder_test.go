package folder

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/internal/walk"
	"github.com/vaultpack/vaultpack/uploader"
)

// uploaded makes a version of a folder with files, links, a piece of several packs, and
// folders that nobody may write to; its index has a sum of everything.
func uploaded(t *testing.T) (v *dataset.Version, source string) {
	t.Helper()
	source = filepath.Join(t.TempDir(), "source")
	for name, text := range map[string]string{"a": "first", "b": "other", "empty": "", "deep/c": "third", "deep/locked/d": "fourth"} {
		file := filepath.Join(source, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(text), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(source, "large"), treetest.Bytes(5<<19, 7), 0o600))
	must(t, os.Symlink("a", filepath.Join(source, "link")))
	must(t, os.Chmod(filepath.Join(source, "deep/locked"), 0o555))
	d := datasettest.New(t)
	res, err := uploader.Upload(t.Context(), d, source, uploader.Options{PackSize: 1 << 20})
	must(t, err)
	return res.Version, source
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rewrite changes a file and gives it the time that it had.
func rewrite(t *testing.T, file, text string) {
	t.Helper()
	info, err := os.Stat(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte(text), 0o644))
	must(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
}

// Whatever lies in the folder: after Open without an error it is what the version has, and
// after a refusal it is as it was.
func TestOpen(t *testing.T) {
	v, source := uploaded(t)
	sums := datasettest.New(t)
	without := datasettest.Packed(t, sums, []string{"a", "b"}, map[string]string{"a": "first", "b": "other"}) // its index has no sums
	for _, c := range []struct {
		name   string
		change func(dir string)
		says   string // the refusal; empty if there is none
		files  int64  // restored
	}{
		{"nothing", func(string) {}, "", 0},
		{"a file is missing", func(dir string) { must(t, os.Remove(dir+"/a")) }, "", 1},
		{"all is missing", func(dir string) { empty(t, dir) }, "", -1},
		{"other contents, same size and time", func(dir string) { rewrite(t, dir+"/a", "FIRST") }, `"a" (its contents differ)`, 0},
		{"other contents, same size", func(dir string) { must(t, os.WriteFile(dir+"/a", []byte("FIRST"), 0o644)) }, `"a" (`, 0},
		{"another size", func(dir string) { rewrite(t, dir+"/a", "first and more") }, `"a" (of another size)`, 0},
		{"another mode", func(dir string) { must(t, os.Chmod(dir+"/a", 0o600)) }, "", 1},
		{"an unknown file", func(dir string) { must(t, os.WriteFile(dir+"/a.txt", nil, 0o644)) }, `"a.txt" (not in the version)`, 0},
		{"an unknown folder", func(dir string) { must(t, os.Mkdir(dir+"/c", 0o755)) }, `"c" (not in the version)`, 0},
		{"an unknown pipe", func(dir string) { must(t, syscall.Mkfifo(dir+"/pipe", 0o644)) }, `"pipe" (not in the version)`, 0},
		{"a pipe for a file", func(dir string) { must(t, os.Remove(dir+"/a")); must(t, syscall.Mkfifo(dir+"/a", 0o644)) }, `"a" (of another kind)`, 0},
		{"a link for a file", func(dir string) { must(t, os.Rename(dir+"/a", dir+"/../a")); must(t, os.Symlink("../a", dir+"/a")) }, `"a" (of another kind)`, 0},
		{"a folder for a file", func(dir string) { must(t, os.Remove(dir+"/a")); must(t, os.Mkdir(dir+"/a", 0o755)) }, `"a" (not in the version)`, 0},
		{"what a living restore writes", func(dir string) { must(t, os.Mkdir(dir+"/"+staging(fsys.Self().String()), 0o700)) }, "belongs to another restore", 0},
		{"what a dead restore has written", func(dir string) {
			must(t, os.Mkdir(dir+"/"+staging(dead()), 0o700))
			must(t, os.WriteFile(dir+"/"+staging(dead())+"/1", []byte("half"), 0o600))
		}, "", 0},
	} {
		for kind, v := range map[string]*dataset.Version{"with sums": v, "without sums": without} {
			t.Run(c.name+", "+kind, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "below", "out")
				first, err := Open(t.Context(), v, dir, Options{})
				if err != nil || first.Files != v.Totals.Files || first.Bytes != v.Totals.Bytes || first.Compared != 0 {
					t.Fatalf("in a new folder: %+v, %v", first, err)
				}
				if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
					t.Errorf("the folder is %v, %v", info.Mode(), err)
				}
				c.change(dir)
				before := copyOf(t, dir)
				again, err := Open(t.Context(), v, dir, Options{Failed: func(p string, err error) { t.Errorf("%s: %v", p, err) }})
				var occupied *OccupiedError
				refused := c.says != "" && !(kind == "without sums" && strings.Contains(c.says, "contents differ"))
				switch {
				case refused && errors.As(err, &occupied) && occupied.Foreign() != strings.Contains(c.says, "not in the version"):
					t.Errorf("foreign: %v", occupied.Foreign())
				case refused && (err == nil || !strings.Contains(err.Error(), c.says)):
					t.Errorf("no refusal that says %q: %v", c.says, err)
				case refused:
					same(t, before, dir)
					return
				case err != nil:
					t.Fatal(err)
				}
				want := c.files
				if want < 0 || kind == "without sums" {
					want = v.Totals.Files // there is nothing to compare the contents with
				}
				if kind == "with sums" && again.Files != want || c.name == "all is missing" && again.Compared != 0 {
					t.Errorf("again: %+v, want %d files restored", again, want)
				}
				if c.files >= 0 && kind == "with sums" && (again.Compared != v.Totals.Files || again.ComparedBytes != v.Totals.Bytes) {
					t.Errorf("compared: %+v, want all of %+v", again, v.Totals)
				}
				if kind == "with sums" {
					same(t, source, dir)
				} else if b, err := os.ReadFile(dir + "/a"); string(b) != "first" {
					t.Errorf("a holds %q, %v", b, err)
				}
			})
		}
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	must(t, os.RemoveAll(dir))
	must(t, os.Mkdir(dir, 0o700))
}

// same fails the test for every way in which what lies in folder b differs from a.
func same(t *testing.T, a, b string) {
	t.Helper()
	for _, d := range treetest.Differences(a, b) {
		if !strings.HasPrefix(d, `"." `) { // it keeps its own mode and time
			t.Error(d)
		}
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	out, err := exec.Command("cp", "-a", dir, to).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}

// staging is the name of a folder that a restore of the process works in.
func staging(owner string) string { return walk.StagingPrefix + owner + "-AAAAAAAAAAAAAAAAAAAAAAAAAA" }

// dead is a process of this machine that has ended.
var dead = sync.OnceValue(func() string {
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		panic(err)
	}
	f := strings.Split(fsys.Self().String(), "-")
	return strings.Join([]string{f[0], f[1], strconv.Itoa(ended.Process.Pid), "1"}, "-")
})

// Of several at once each returns when all is there; they wait for each other where there
// are locks, and elsewhere compare what they find.
func TestOpenAtOnce(t *testing.T) {
	defer func() { calls = fsys.Calls{} }()
	v, source := uploaded(t)
	for _, locks := range []string{"with locks", "without locks"} {
		if locks == "without locks" {
			calls.Flock = func(*os.File, int) error { return syscall.ENOLCK }
		}
		dir := filepath.Join(t.TempDir(), "out")
		var waited atomic.Int64
		var all sync.WaitGroup
		results := make([]Result, 4)
		for i := range results {
			all.Go(func() {
				var err error
				results[i], err = Open(t.Context(), v, dir, Options{Waiting: func() { waited.Add(1) }})
				var leftover *LeftoverError
				if err != nil && (locks == "with locks" || !errors.As(err, &leftover)) {
					t.Errorf("%s: %v", locks, err)
				}
			})
		}
		all.Wait()
		if locks == "with locks" {
			same(t, source, dir)
			written := int64(0)
			for _, r := range results {
				written += r.Files
			}
			if written != v.Totals.Files || waited.Load() == 0 {
				t.Errorf("%d files were written, %d have waited", written, waited.Load())
			}
		}
	}
}

// Who waits for another stops when told to.
func TestOpenStopsWaiting(t *testing.T) {
	v, _ := uploaded(t)
	dir := t.TempDir()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	if locked, err := calls.TryLock(f); err != nil || !locked {
		t.Skipf("there are no locks here: %v", err)
	}
	why := errors.New("told to")
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := Open(ctx, v, dir, Options{Waiting: func() { cancel(why) }}); !errors.Is(err, why) {
		t.Errorf("it ends with %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it has left %v, %v", left, err)
	}
}

// What cannot be a folder to open in, and a version that is not to be opened.
func TestOpenRefuses(t *testing.T) {
	v, _ := uploaded(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	location := objects.Of(v).Vault.Location
	for name, says := range map[string]string{"": "empty", dir + "/file": "not a folder", dir + "/dangling": "does not exist",
		location: "the vault itself", location + "/below": "lies in the vault", filepath.Dir(location): "holds the vault"} {
		if _, err := Open(t.Context(), v, name, Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", name, err)
		}
	}
	d := datasettest.New(t)
	torn := datasettest.Commit(t, d, []*tree.Entry{{Mode: 0o755}, {Path: "a", Mode: 0o644, Flaw: tree.FlawTorn}})
	if _, err := Open(t.Context(), torn, filepath.Join(dir, "torn"), Options{}); !errors.Is(err, dataset.ErrIncomplete) {
		t.Errorf("an incomplete version: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "torn")); err == nil {
		t.Error("a folder was made for an incomplete version")
	}
	if _, err := Open(t.Context(), torn, filepath.Join(dir, "torn"), Options{AllowIncomplete: true}); err != nil {
		t.Errorf("an incomplete version that is allowed: %v", err)
	}
	links := datasettest.Commit(t, datasettest.New(t), []*tree.Entry{{Mode: 0o755}, {Path: "out", Link: "/etc"}})
	var partial *dataset.PartialError
	if _, err := Open(t.Context(), links, filepath.Join(dir, "links"), Options{}); !errors.As(err, &partial) {
		t.Errorf("a link that leads out: %v", err)
	}
}
