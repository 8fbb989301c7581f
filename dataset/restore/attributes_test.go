package restore

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/place"
)

// Where modes or times cannot be set, a restore leaves them out and says so, and the
// second one knows files again as far as that can be told; an error of the disk is one.
func TestRestoreWithoutModesOrTimes(t *testing.T) {
	defer func() { place.Fchmod, place.Utimesat = unix.Fchmod, unix.UtimesNanoAt }()
	noChmod := func(err error) func() {
		return func() { place.Fchmod = func(int, uint32) error { return err } }
	}
	noTimes := func(err error) func() {
		return func() { place.Utimesat = func(int, string, []unix.Timespec, int) error { return err } }
	}
	type outcome struct {
		noModes, noTimes bool
		unchanged        int64 // in the second run
		err              error
	}
	modes, times := outcome{true, false, 2, nil}, outcome{false, true, 0, nil}
	for _, c := range []struct {
		what string
		weak func()
		want outcome
	}{
		{"all is kept", func() {}, outcome{false, false, 2, nil}},
		{"chmod: EPERM", noChmod(syscall.EPERM), modes},
		{"chmod: ENOTSUP", noChmod(syscall.ENOTSUP), modes},
		{"chmod: ENOSYS", noChmod(syscall.ENOSYS), modes},
		{"chmod: EINVAL", noChmod(syscall.EINVAL), modes},
		{"chmod: EACCES", noChmod(syscall.EACCES), modes},
		{"chmod does nothing", noChmod(nil), modes},
		{"chmod: EIO", noChmod(syscall.EIO), outcome{err: syscall.EIO}},
		{"chmod: EROFS", noChmod(syscall.EROFS), outcome{err: syscall.EROFS}},
		{"utimensat: EPERM", noTimes(syscall.EPERM), times},
		{"utimensat: ENOSYS", noTimes(syscall.ENOSYS), times},
		{"utimensat does nothing", noTimes(nil), times},
		{"utimensat: EIO", noTimes(syscall.EIO), outcome{err: syscall.EIO}},
	} {
		place.Fchmod, place.Utimesat = unix.Fchmod, unix.UtimesNanoAt
		d := datasettest.New(t)
		v := datasettest.Commit(t, d, []*tree.Entry{
			{Path: "", Mode: 0o750, ModTime: time.Unix(1000, 0)},
			{Path: "a", Mode: 0o400, ModTime: time.Unix(1001, 0)},
			{Path: "b/", Mode: 0o555, ModTime: time.Unix(1002, 0)},
			{Path: "b/c", Mode: 0o640, ModTime: time.Unix(1003, 0)},
			{Path: "b/link", Link: "c", ModTime: time.Unix(1004, 0)},
		})
		there, missing := t.TempDir(), filepath.Join(t.TempDir(), "out")
		c.weak()
		for _, dir := range []string{there, missing} {
			for run, unchanged := range []int64{0, c.want.unchanged} {
				res, err := Run(ctx, v, dir, Options{})
				if c.want.err != nil {
					if !errors.Is(err, c.want.err) {
						t.Errorf("%s: run %d gives %v", c.what, run, err)
					}
					continue
				}
				got := outcome{res.NoModes, res.NoTimes, res.Unchanged, err}
				if want := (outcome{c.want.noModes, c.want.noTimes, unchanged, nil}); got != want {
					t.Errorf("%s: run %d to %s gives %+v, want %+v", c.what, run, dir, got, want)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("%s: left behind: %q", c.what, left)
			}
			if _, err := os.Stat(filepath.Join(dir, "b/c")); c.want.err == nil && err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		}
	}
}
