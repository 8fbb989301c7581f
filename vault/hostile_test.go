package vault

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Somebody who can write to the directory puts things there that are no objects.
// They must not make a reader wait, nor a sweep.
func TestNoObjectInAnObjectsPlace(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	d, err := openDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d/pipe", "d/" + tmpPrefix + "pipe"} {
		if err := os.MkdirAll(filepath.Join(dir, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "d/link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d/pipe", "d/link", "d", "d/missing"} {
		r, err := d.Get(ctx, name, 0, -1)
		if err == nil {
			b, _ := io.ReadAll(r)
			t.Errorf("%s was read: %q", name, b)
		}
		if missing := name == "d/missing"; errors.Is(err, fs.ErrNotExist) != missing {
			t.Errorf("%s: %v", name, err)
		}
	}
	for o, err := range d.List(ctx, "d/") {
		t.Errorf("listed %v, %v", o, err)
	}
	if err := d.Sweep(ctx, "d/"); err != nil {
		t.Error(err)
	}
}
