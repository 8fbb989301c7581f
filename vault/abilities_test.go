package vault_test

import (
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/vault"
)

// Each thing that a file system cannot do is found, by its name and no other, and
// the probe leaves nothing.
func TestAbilities(t *testing.T) {
	held := func(c *fsys.Calls) { c.Flock = func(*os.File, int) error { return nil } } // locks that do nothing
	for name, c := range map[string]struct {
		weak []func(*fsys.Calls)
		want []string
	}{
		"all there":               {nil, nil},
		"no links":                {[]func(*fsys.Calls){noLinks(syscall.EPERM)}, []string{vault.NoLinks}},
		"no links and no renames": {[]func(*fsys.Calls){noLinks(syscall.EPERM), noRenameNew(syscall.EINVAL)}, []string{vault.NoLinks}},
		"no locks":                {[]func(*fsys.Calls){noLocks(syscall.ENOLCK)}, []string{vault.NoLocks}},
		"locks that do nothing":   {[]func(*fsys.Calls){held}, []string{vault.NoLocks}},
		"no folder sync":          {[]func(*fsys.Calls){noFolderSync(syscall.EINVAL)}, []string{vault.NoFolderSync}},
		"no file sync":            {[]func(*fsys.Calls){noFileSync(syscall.EINVAL)}, []string{vault.NoFolderSync}},
	} {
		dir := t.TempDir()
		a, err := openOn(t, dir, c.weak...).(vault.Prober).Abilities(t.Context())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, w := range a.Weaknesses() {
			got = append(got, w.What)
			if w.Says == "" || w.Fix == "" {
				t.Errorf("%s: %+v", name, w)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	if _, err := openOn(t, t.TempDir(), noLocks(syscall.EIO)).(vault.Prober).Abilities(t.Context()); err == nil {
		t.Error("a disk that fails is no weakness")
	}
	if n := len(vault.Abilities{}.Weaknesses()); n != 5 {
		t.Errorf("a file system that can do nothing has %d weaknesses", n)
	}
}
