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
	"time"
)

func TestOwner(t *testing.T) {
	self := Self()
	back, ok := ParseOwner(self.String() + "-and-more")
	if !ok || back != self || !back.Here() || !back.Known() || !back.Alive() {
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

// A folder of a killed process is a leftover, with locks and without; that of a
// living one, or of one on another machine, is not, unless it is old.
func TestFateOf(t *testing.T) {
	const elsewhere = "000000000000-111111111111-1-1-X"
	dead := Self()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Skip(err)
	}
	dead.pid = cmd.Process.Pid
	none := Calls{Flock: func(*os.File, int) error { return syscall.ENOLCK }}
	held := Calls{Flock: func(*os.File, int) error { return syscall.EWOULDBLOCK }}
	broken := Calls{Flock: func(*os.File, int) error { return syscall.EIO }}
	for _, c := range []struct {
		what  string
		calls Calls
		name  string
		age   time.Duration
		want  Fate
	}{
		{"dead", Calls{}, dead.String() + "-X", 0, Dead},
		{"dead, no locks", none, dead.String() + "-X", 0, Dead},
		{"alive", Calls{}, Self().String() + "-X", 100 * time.Hour, Alive},
		{"alive, no locks", none, Self().String() + "-X", 100 * time.Hour, Alive},
		{"elsewhere, locks of this machine alone", Calls{}, elsewhere, time.Hour, Unknown},
		{"elsewhere, no locks", none, elsewhere, time.Hour, Unknown},
		{"elsewhere, old", none, elsewhere, 25 * time.Hour, Dead},
		{"elsewhere, old, locked", held, elsewhere, 25 * time.Hour, Alive},
		{"nameless", Calls{}, "X", 0, Dead},
		{"nameless, locked", held, "X", 25 * time.Hour, Alive},
		{"nameless, no locks", none, "X", time.Hour, Unknown},
		{"the disk fails", broken, "X", 25 * time.Hour, Unknown},
	} {
		f, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-c.age)
		os.Chtimes(f.Name(), then, then)
		got, err := c.calls.FateOf(f, c.name)
		if got != c.want || (err != nil) != (c.what == "the disk fails") {
			t.Errorf("%s: %v, %v", c.what, got, err)
		}
		f.Close()
	}
}
