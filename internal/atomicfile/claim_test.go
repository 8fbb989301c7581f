package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// plain is a folder on a file system that has nothing but files and renames.
func plain(t *testing.T) (*Folder, string) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	d := &Folder{Root: root, Prefix: ".tmp-"}
	d.Calls.Flock = func(*os.File, int) error { return syscall.ENOLCK }
	d.Calls.Link = func(*os.Root, string, string) error { return syscall.EPERM }
	d.Calls.RenameNew = func(*os.Root, string, string) error { return syscall.EINVAL }
	d.Calls.SyncDir = func(*os.File) error { return syscall.EINVAL }
	return d, dir
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// exited is a process that ran on this machine and is no more.
func exited(t *testing.T) string {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Skip(err)
	}
	f := strings.Split(fsys.Self().String(), "-")
	return f[0] + "-" + f[1] + "-" + strconv.Itoa(cmd.Process.Pid) + "-1"
}

const elsewhere = "000000000000-111111111111-1-1"

// A claim whose writer is dead is broken, at once where that is known, and what that
// writer had ready is removed first. That of a living writer is waited for.
func TestClaimsOfOthers(t *testing.T) {
	defer func(a, b time.Duration) { staleAfter, patience = a, b }(staleAfter, patience)
	staleAfter, patience = 10*time.Second, 300*time.Millisecond
	for name, c := range map[string]struct {
		owner  string // of the claim; none for one that is empty
		age    time.Duration
		broken bool
	}{
		"dead":                 {exited(t), 0, true},
		"alive":                {fsys.Self().String(), time.Hour, false},
		"elsewhere, young":     {elsewhere, 0, false},
		"elsewhere, old":       {elsewhere, time.Minute, true},
		"empty, young":         {"", 0, false},
		"empty, old":           {"", time.Minute, true},
		"elsewhere, of future": {elsewhere, -time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, dir := plain(t)
			claim := filepath.Join(dir, ".tmp-"+claimPrefix+short("file"))
			ready, held := ".tmp-"+c.owner+"-READY", ""
			if c.owner != "" {
				held = ready + "\nfile\n"
				if err := os.WriteFile(filepath.Join(dir, ready), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(claim, []byte(held), 0o600); err != nil {
				t.Fatal(err)
			}
			then := time.Now().Add(-c.age)
			os.Chtimes(claim, then, then)
			err := d.Create(t.Context(), "file", 0o600, text("new"))
			if (err == nil) != c.broken {
				t.Errorf("Create: %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "remove .tmp-claim-") {
				t.Errorf("the error does not say what to do: %v", err)
			}
			_, err = os.Stat(filepath.Join(dir, ready))
			if gone := errors.Is(err, fs.ErrNotExist); c.owner != "" && gone != c.broken {
				t.Errorf("what the other had ready: %v", err)
			}
			want := 2
			if c.broken || c.owner == "" {
				want = 1
			}
			if left, _ := os.ReadDir(dir); len(left) != want {
				t.Errorf("the folder holds %v", left)
			}
		})
	}
}

// A writer that was stopped while it held a claim, and that others took for dead,
// changes nothing when it wakes up.
func TestSleepingWriterIsFenced(t *testing.T) {
	defer func(a time.Duration) { staleAfter = a }(staleAfter)
	staleAfter = 20 * time.Millisecond
	for _, op := range []string{"Create", "Replace"} {
		t.Run(op, func(t *testing.T) {
			d, dir := plain(t)
			file := filepath.Join(dir, "file")
			if op == "Replace" {
				if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run := func(d *Folder, s string) error {
				if op == "Create" {
					return d.Create(t.Context(), "file", 0o600, text(s))
				}
				return d.Replace(t.Context(), "file", 0o600, []byte("old"), []byte(s))
			}
			other := *d
			d.Calls.Rename = func(root *os.Root, old, name string) error {
				// It sleeps here. To the others it is one of another machine.
				claim := filepath.Join(dir, ".tmp-"+claimPrefix+short("file"))
				b, err := os.ReadFile(claim)
				if err != nil {
					t.Fatal(err)
				}
				foreign := strings.Replace(string(b), fsys.Self().String(), elsewhere, 1)
				if err := os.WriteFile(claim, []byte(foreign), 0o600); err != nil {
					t.Fatal(err)
				}
				mine, _, _ := strings.Cut(foreign, "\n")
				if err := os.Rename(filepath.Join(dir, old), filepath.Join(dir, mine)); err != nil {
					t.Fatal(err)
				}
				if err := run(&other, "the other's"); err != nil {
					t.Error(err)
				}
				return root.Rename(mine, name)
			}
			if err := run(d, "the sleeper's"); !errors.Is(err, errFenced) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the sleeper was told %v", err)
			}
			if b, err := os.ReadFile(file); string(b) != "the other's" {
				t.Errorf("the file holds %q, %v", b, err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("the folder holds %v", left)
			}
		})
	}
}

// A file system that tells at the end only that it has no room is believed.
func TestWritesThatFailLate(t *testing.T) {
	d, dir := plain(t)
	d.Calls.SyncFile = func(f *os.File) error { f.Close(); return syscall.EINVAL } // a descriptor that fails
	for name, err := range map[string]error{
		"Put":    d.Put(t.Context(), "file", 0o600, text("x")),
		"Create": d.Create(t.Context(), "file", 0o600, text("x")),
	} {
		if err == nil {
			t.Errorf("%s has not failed", name)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("the folder holds %v", left)
	}
}
