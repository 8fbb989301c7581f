package vault_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/vault"
	"github.com/vaultpack/vaultpack/vault/storetest"
)

func noLocks(err error) func(*fsys.Calls) {
	return func(c *fsys.Calls) { c.Flock = func(*os.File, int) error { return err } }
}

func noFolderSync(err error) func(*fsys.Calls) {
	return func(c *fsys.Calls) { c.SyncDir = func(*os.File) error { return err } }
}

func noFileSync(err error) func(*fsys.Calls) {
	return func(c *fsys.Calls) { c.SyncFile = func(*os.File) error { return err } }
}

func noLinks(err error) func(*fsys.Calls) {
	return func(c *fsys.Calls) { c.Link = func(*os.Root, string, string) error { return err } }
}

func noRenameNew(err error) func(*fsys.Calls) {
	return func(c *fsys.Calls) { c.RenameNew = func(*os.Root, string, string) error { return err } }
}

func openOn(t *testing.T, dir string, weak ...func(*fsys.Calls)) vault.Store {
	var calls fsys.Calls
	for _, w := range weak {
		w(&calls)
	}
	s, err := vault.OpenDirOn(dir, calls)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The conformance suite holds on file systems that can do less.
func TestDirStoreOnWeakFileSystems(t *testing.T) {
	race.Skip(t, "TestDirStore and TestWeakProcessesRace are there")
	const eperm, einval, enolck = syscall.EPERM, syscall.EINVAL, syscall.ENOLCK
	for name, weak := range map[string][]func(*fsys.Calls){
		"no links":                {noLinks(eperm)},
		"no links, plain renames": {noLinks(eperm), noRenameNew(einval)},
		"no locks":                {noLocks(enolck)},
		"no folder sync":          {noFolderSync(einval)},
		"none of them":            {noLinks(eperm), noRenameNew(einval), noLocks(enolck), noFolderSync(einval), noFileSync(einval)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) vault.Store { return openOn(t, t.TempDir(), weak...) }, nil)
		})
	}
}

// Each error by which file systems refuse a call is got around, and each by which a
// disk fails is told.
func TestErrorsOfWeakFileSystems(t *testing.T) {
	const (
		eperm, einval, enosys, eacces = syscall.EPERM, syscall.EINVAL, syscall.ENOSYS, syscall.EACCES
		enotsup, eopnotsupp, ebadf    = syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.EBADF
	)
	disk := []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS}
	for name, c := range map[string]struct {
		weak        func(error) func(*fsys.Calls)
		tolerated   []error
		onlyCreates bool
	}{
		"flock":          {noLocks, []error{syscall.ENOLCK, ebadf, enotsup, eopnotsupp, enosys, einval}, false},
		"fsync folder":   {noFolderSync, []error{einval, enotsup, eopnotsupp, enosys, eacces, ebadf}, false},
		"fsync file":     {noFileSync, []error{einval, enotsup, eopnotsupp, enosys}, false},
		"link":           {noLinks, []error{eperm, enotsup, eopnotsupp, enosys, syscall.EMLINK, einval, eacces}, true},
		"rename to none": {func(err error) func(*fsys.Calls) { return both(noLinks(eperm), noRenameNew(err)) }, []error{einval, enosys, enotsup}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, err := range append(c.tolerated, disk...) {
				dir := t.TempDir()
				s := openOn(t, dir, c.weak(err))
				good := !isOneOf(err, disk)
				put := s.Put(t.Context(), "d/put", func(w io.Writer) error { _, err := io.WriteString(w, "put"); return err })
				create := s.Create(t.Context(), "d/made", []byte("made"))
				if want := good || c.onlyCreates; (put == nil) != want || put != nil && !errors.Is(put, err) {
					t.Errorf("%v: Put gives %v", err, put)
				}
				if (create == nil) != good || create != nil && !errors.Is(create, err) {
					t.Errorf("%v: Create gives %v", err, create)
				}
				if left := leftovers(dir); len(left) > 0 {
					t.Errorf("%v: left behind: %q", err, left)
				}
				if !good || create != nil {
					continue
				}
				if err := s.Create(t.Context(), "d/made", []byte("other")); !errors.Is(err, fs.ErrExist) {
					t.Errorf("%v: Create of what is there: %v", err, err)
				}
				if err := s.Replace(t.Context(), "d/made", []byte("made"), []byte("new")); err != nil {
					t.Errorf("%v: Replace: %v", err, err)
				}
				if err := s.Replace(t.Context(), "d/made", []byte("made"), []byte("newer")); !errors.Is(err, vault.ErrChanged) {
					t.Errorf("%v: Replace of what has changed: %v", err, err)
				}
			}
		})
	}
}

func both(weak ...func(*fsys.Calls)) func(*fsys.Calls) {
	return func(c *fsys.Calls) {
		for _, w := range weak {
			w(c)
		}
	}
}

func isOneOf(err error, errs []error) bool {
	for _, e := range errs {
		if err == e {
			return true
		}
	}
	return false
}

func leftovers(dir string) []string {
	left, _ := filepath.Glob(filepath.Join(dir, "*", ".tmp-*"))
	return left
}

// Of many processes on a file system without links, locks and renames that look, one
// creates each object, and each replacement is of what its writer has seen.
func TestWeakProcessesRace(t *testing.T) {
	if dir := os.Getenv("VAULTPACK_RACE"); dir != "" {
		writeAgainstOthers(t, dir)
		return
	}
	dir := t.TempDir()
	s := openOn(t, dir)
	if err := s.Create(t.Context(), "d/count", []byte("0")); err != nil {
		t.Fatal(err)
	}
	const processes = 6
	var cmds []*exec.Cmd
	var outs []*strings.Builder
	for range processes {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWeakProcessesRace$", "-test.v")
		cmd.Env = append(os.Environ(), "VAULTPACK_RACE="+dir)
		out := &strings.Builder{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	won, counted := map[string]int{}, 0
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v:\n%s", err, outs[i])
		}
		for line := range strings.Lines(outs[i].String()) {
			if name, is := strings.CutPrefix(strings.TrimSpace(line), "created "); is {
				won[name]++
			}
			if strings.HasPrefix(line, "counted") {
				counted++
			}
		}
	}
	for i := range raceRounds {
		if n := won[fmt.Sprintf("d/%d", i)]; n != 1 {
			t.Errorf("%d processes have made d/%d", n, i)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "d", "count"))
	if err != nil || string(b) != fmt.Sprint(counted) || counted != processes*raceRounds {
		t.Errorf("counted to %s, %v; %d were told that they have counted on", b, err, counted)
	}
	if left := leftovers(dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

const raceRounds = 12

func writeAgainstOthers(t *testing.T, dir string) {
	s := openOn(t, dir, noLinks(syscall.EPERM), noRenameNew(syscall.EINVAL), noLocks(syscall.ENOLCK), noFolderSync(syscall.EINVAL))
	for i := range raceRounds {
		name := fmt.Sprintf("d/%d", i)
		switch err := s.Create(t.Context(), name, fmt.Append(nil, os.Getpid())); {
		case err == nil:
			fmt.Printf("\ncreated %s\n", name)
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
		for {
			b, err := os.ReadFile(filepath.Join(dir, "d", "count"))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			fmt.Sscan(string(b), &n)
			err = s.Replace(t.Context(), "d/count", b, fmt.Append(nil, n+1))
			if err == nil {
				fmt.Printf("\ncounted\n")
				break
			}
			if !errors.Is(err, vault.ErrChanged) {
				t.Fatal(err)
			}
		}
	}
}

// What writers leave who were killed is swept, with and without locks; what the
// living write is not, nor what another machine may be writing.
func TestSweepOnWeakFileSystems(t *testing.T) {
	if dir := os.Getenv("VAULTPACK_DIE"); dir != "" { // the process that this test kills
		openOn(t, dir, noLocks(syscall.ENOLCK)).Put(t.Context(), "d/new", func(w io.Writer) error {
			io.WriteString(w, "half")
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		})
		return
	}
	for name, weak := range map[string]func(*fsys.Calls){"locks": both(), "no locks": noLocks(syscall.ENOLCK)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openOn(t, dir, weak)
			dead := exec.Command(os.Args[0], "-test.run=^TestSweepOnWeakFileSystems$")
			dead.Env = append(os.Environ(), "VAULTPACK_DIE="+dir)
			out, err := dead.CombinedOutput()
			if left := leftovers(dir); len(left) != 1 {
				t.Fatalf("the dead have left %q: %v\n%s", left, err, out)
			}
			self := fsys.Self().String()
			elsewhere := ".tmp-" + strings.Repeat("0", 12) + "-" + strings.Repeat("1", 12) + "-1-1-"
			for file, age := range map[string]time.Duration{
				".tmp-" + self + "-A": 1000 * time.Hour, elsewhere + "young": 2 * time.Hour, elsewhere + "old": 25 * time.Hour,
			} {
				file = filepath.Join(dir, "d", file)
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				then := time.Now().Add(-age)
				os.Chtimes(file, then, then)
			}
			sweeper, ok := vault.As[vault.Sweeper](s)
			if !ok {
				t.Fatal("a directory has no Sweep")
			}
			if err := sweeper.Sweep(t.Context(), "d/"); err != nil {
				t.Fatal(err)
			}
			left := leftovers(dir)
			if len(left) != 2 || !strings.HasSuffix(left[0], "young") && !strings.HasSuffix(left[1], "young") {
				t.Errorf("left: %q", left)
			}
		})
	}
}
