package restore

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/walk"
)

var ctx = context.Background()

// Folders have their modes and times in the end, those too that are too many to be
// kept in memory.
func TestRestoreFolders(t *testing.T) {
	defer func(n int) { maxFolders = n }(maxFolders)
	maxFolders = 3
	d := datasettest.New(t)
	var entries []*tree.Entry
	for i, p := range []string{"", "a/", "a/b/", "a/b/c/", "a/d/", "b/", "b/e/", "c/"} {
		entries = append(entries, &tree.Entry{Path: p, Mode: fs.FileMode(0o700 + i), ModTime: time.Unix(int64(1000+i), int64(i))})
	}
	v := datasettest.Commit(t, d, entries)
	dir := filepath.Join(t.TempDir(), "out")
	var progress Progress
	res, err := Run(ctx, v, dir, Options{Progress: &progress, Failed: func(path string, err error) { t.Errorf("%s: %v", path, err) }})
	if err != nil {
		t.Fatal(err)
	}
	if progress.Stats() != res.Stats {
		t.Errorf("the progress is %+v, the result %+v", progress.Stats(), res.Stats)
	}
	if n := res.Folders; n != int64(len(entries)) {
		t.Errorf("%d folders were restored of %d", n, len(entries))
	}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Path))
		if err != nil || info.Mode().Perm() != e.Mode || !info.ModTime().Equal(e.ModTime) {
			t.Errorf("%q: %v, %v %v, want %v %v", e.Path, err, info.Mode(), info.ModTime(), e.Mode, e.ModTime)
		}
	}
}

// Without locks, what a killed restore has left is removed, what a living one works in
// stays, and what may be either is told.
func TestRestoreLeftoversWithoutLocks(t *testing.T) {
	defer func() { calls = fsys.Calls{} }()
	calls.Flock = func(*os.File, int) error { return syscall.ENOLCK }
	const random = "-AAAAAAAAAAAAAAAAAAAAAAAAAA"
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Skip(err)
	}
	self := fsys.Self().String()
	f := strings.Split(self, "-")
	dead := walk.StagingPrefix + strings.Join([]string{f[0], f[1], strconv.Itoa(ended.Process.Pid), "1"}, "-") + random
	alive, elsewhere := walk.StagingPrefix+self+random, walk.StagingPrefix+"000000000000-111111111111-1-1"+random
	dir := t.TempDir()
	for _, name := range []string{dead, alive, elsewhere} {
		if err := os.MkdirAll(filepath.Join(dir, name, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	v := datasettest.Commit(t, datasettest.New(t), []*tree.Entry{{Path: "", Mode: 0o755, ModTime: time.Unix(1, 0)}})
	res, err := Run(ctx, v, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if want := []string{elsewhere, alive}; !slices.Equal(left, want) && !slices.Equal(left, []string{alive, elsewhere}) {
		t.Errorf("there are %q, want %q", left, want)
	}
	if !slices.Equal(res.Leftovers, []string{elsewhere}) {
		t.Errorf("told: %q", res.Leftovers)
	}
}
