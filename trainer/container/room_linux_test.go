package container_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/internal/treetest"
)

// Opening takes the room of the packs in flight beside that of the packs, and where
// even that is missing it says so before it writes anything.
func TestRoom(t *testing.T) {
	s := seal(t, "d", func(dir string) {
		for i := range 400 {
			write(t, filepath.Join(dir, fmt.Sprintf("%03d", i)), treetest.Bytes(40<<10, byte(i)))
		}
		write(t, filepath.Join(dir, "large"), treetest.Bytes(16<<20, 9))
	})
	var need int64 // of the packs, in pages
	for _, p := range newJob(t, s).packs("training") {
		info, err := os.Stat(p)
		check(t, err)
		need += (info.Size() + 4095) &^ 4095
	}
	for _, c := range []struct {
		extra int64
		fits  bool
	}{{2 << 20, false}, {6 << 20, true}} {
		j := newJob(t, s)
		small := t.TempDir()
		err := unix.Mount("tmpfs", small, "tmpfs", 0, fmt.Sprintf("size=%d", need+c.extra))
		if errors.Is(err, unix.EPERM) {
			t.Skip("mounting a small file system is not allowed here")
		}
		check(t, err)
		t.Cleanup(func() { unix.Unmount(small, unix.MNT_DETACH) })
		check(t, os.CopyFS(small, os.DirFS(j.dir("training"))))
		check(t, os.RemoveAll(j.dir("training")))
		check(t, os.Symlink(small, j.dir("training")))
		err = j.open()
		if c.fits {
			check(t, err)
			treetest.Equal(t, s.src, small)
		} else if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "give the job a larger volume") {
			t.Errorf("with %d bytes more: %v", c.extra, err)
		} else if n := onlyTrueFiles(t, s.src, small); n != 0 {
			t.Errorf("%d files were written", n)
		}
	}
}
