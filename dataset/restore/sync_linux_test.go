package restore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/walk"
)

// recordSyncs has every sync of a file system recorded by look, and then done, and
// reports how many there were.
func recordSyncs(t *testing.T, look func() error) (count *int) {
	count = new(int)
	old := syncfs
	t.Cleanup(func() { syncfs = old })
	syncfs = func(fd int) error {
		*count++
		if err := look(); err != nil {
			return err
		}
		return old(fd)
	}
	return count
}

// inodes are the regular files below dir, by inode number, and whether they are in
// the staging folder.
func inodes(t *testing.T, dir string) map[uint64]string {
	t.Helper()
	found := map[uint64]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			found[info.Sys().(*syscall.Stat_t).Ino] = strings.TrimPrefix(name, dir+"/")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A file takes its place once it is on disk, and not before; and the last that a
// restore does is to have the folders on disk that say where the files are.
func TestRestoredFilesAreSyncedBeforeTheyArePlaced(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.Packed(t, d, []string{"a", "b", "c"}, map[string]string{"a": "first", "b": "second"})
	dir := filepath.Join(t.TempDir(), "out")
	synced := map[uint64]bool{} // files that were not yet in their places
	var last map[uint64]string
	recordSyncs(t, func() error {
		last = inodes(t, dir)
		for ino, name := range last {
			switch {
			case strings.HasPrefix(name, walk.StagingPrefix):
				synced[ino] = true
			case !synced[ino]:
				t.Errorf("%s was in its place before it was synced", name)
			}
		}
		return nil
	})
	if _, err := Run(ctx, v, dir, Options{Failed: func(path string, err error) { t.Errorf("%s: %v", path, err) }}); err != nil {
		t.Fatal(err)
	}
	now := inodes(t, dir)
	for ino, name := range now {
		if !synced[ino] {
			t.Errorf("%s was never synced", name)
		}
		if last[ino] != name {
			t.Errorf("%s was not in its place at the last sync", name)
		}
	}
	if len(now) != 3 {
		t.Errorf("%d files were restored", len(now))
	}
}

// A sync that fails fails the restore, and nothing is placed that is not on disk.
func TestFailedSyncFailsTheRestore(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.Packed(t, d, []string{"a"}, map[string]string{"a": "first"})
	for _, failing := range []int{1, 2} {
		dir := filepath.Join(t.TempDir(), "out")
		calls := 0
		count := recordSyncs(t, func() error {
			if calls++; calls == failing {
				return unix.EIO
			}
			return nil
		})
		_, err := Run(ctx, v, dir, Options{})
		if !errors.Is(err, unix.EIO) {
			t.Errorf("sync %d fails: %v", failing, err)
		}
		if *count < failing {
			t.Errorf("there were %d syncs", *count)
		}
		if _, err := os.Stat(filepath.Join(dir, "a")); failing == 1 && err == nil {
			t.Error("a file was placed that is not on disk")
		}
	}
}
