package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A job that fills the disk of its work folder ends as its command did, and is told of it; what cannot
// be delivered is kept as what it is.
func TestLocalJobOnAFullDisk(t *testing.T) {
	p := newPlace(t)
	work := filepath.Join(p.home, "work")
	check(t, os.Mkdir(work, 0o700))
	if err := unix.Mount("tmpfs", work, "tmpfs", 0, "size=80m"); errors.Is(err, unix.EPERM) {
		t.Skip("mounting a small file system is not allowed here")
	} else {
		check(t, err)
	}
	t.Cleanup(func() { unix.Unmount(work, unix.MNT_DETACH) })
	write(t, filepath.Join(p.home, "src", "a"), []byte("a"))
	p.run(0, "push", "src", "-d", "d")
	const fill = "dd if=/dev/zero of=$SM_MODEL_DIR/m bs=1M count=100 2>/dev/null; "
	train := func(code int, script string, flags ...string) string {
		t.Helper()
		_, errs := p.run(code, append(append([]string{"train", "--local", "d", "--work-dir", work, "--output", "out"}, flags...), "--", "sh", "-c", script)...)
		says(t, errs, "is full, so what the job has written may be incomplete")
		return errs
	}
	train(0, fill+"exit 0")
	says(t, train(exitFailed, fill+"exit 7"), "exit code: 7")
	train(exitFailed, fill+"rm -r out; echo >out; exit 0", "--name", "kept")
	out, _ := p.run(0, "jobs", "local", "--work-dir", work)
	says(t, out, "kept  ", " Completed ")
	check(t, os.Remove(filepath.Join(p.home, "out")))
	p.run(0, "train", "--local", "--resume", "kept", "--work-dir", work)
	if _, err := os.Stat(filepath.Join(p.home, "out", "model.tar.gz")); err != nil {
		t.Error(err)
	}
}
