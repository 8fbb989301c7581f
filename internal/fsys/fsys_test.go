package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOwner(t *testing.T) {
	self := Self()
	back, ok := ParseOwner(self.String() + "-and-more")
	if !ok || back != self || !back.IsSelf() || !back.Here() || !back.Known() || !back.Alive() {
		t.Errorf("%v is read back as %v, %v", self, back, ok)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	child := self
	child.pid = cmd.Process.Pid
	child.start, _ = started(child.pid)
	reused := child
	reused.start = "1"
	if !child.Alive() || child.start != "" && reused.Alive() {
		t.Errorf("a child is alive: %v; one with its pid of before: %v", child.Alive(), reused.Alive())
	}
	in.(io.Closer).Close()
	cmd.Wait()
	if child.Alive() {
		t.Error("a child that has ended is alive")
	}
	for _, s := range []string{"", "a-b-c-d", "000000000000-111111111111-0-1", "000000000000-111111111111-x-1",
		"000000000000-111111111111-1-x", "000000000000-111111111111-1", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
		if o, ok := ParseOwner(s); ok {
			t.Errorf("%q is %v", s, o)
		}
	}
	if o, ok := ParseOwner("000000000000-111111111111-1-1-X"); !ok || o.Here() || o.Known() {
		t.Errorf("one elsewhere: %v, %v", o, ok)
	}
}

// Interrupted calls are repeated, and stale ones once.
func TestAgain(t *testing.T) {
	for _, c := range []struct {
		errs  []error
		want  error
		calls int
	}{
		{[]error{nil}, nil, 1},
		{[]error{syscall.EINTR, syscall.EINTR, nil}, nil, 3},
		{[]error{syscall.ESTALE, nil}, nil, 2},
		{[]error{syscall.ESTALE, syscall.EINTR, syscall.ESTALE, nil}, syscall.ESTALE, 3},
		{[]error{syscall.EIO, nil}, syscall.EIO, 1},
	} {
		n := 0
		err := again(func() error { n++; return c.errs[n-1] })
		if err != c.want || n != c.calls {
			t.Errorf("%v: %v after %d calls", c.errs, err, n)
		}
	}
}

// A link that was made, and of which the answer was lost and the repetition refused,
// as over NFS, was made.
func TestHardLinkTwice(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"old", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Calls{Link: func(root *os.Root, old, name string) error {
		root.Link(old, name)
		return &os.LinkError{Op: "link", Old: old, New: name, Err: syscall.EEXIST}
	}}
	if linked, err := c.HardLink(root, "old", "new"); !linked || err != nil {
		t.Error(linked, err)
	}
	if linked, err := c.HardLink(root, "old", "other"); linked || !errors.Is(err, fs.ErrExist) {
		t.Error(linked, err)
	}
	if moved, err := c.MoveNew(root, "old", "other"); moved || err != nil && !errors.Is(err, fs.ErrExist) {
		t.Error(moved, err)
	}
}
