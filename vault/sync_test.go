package vault_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/vault"
)

// An object has its name only once its bytes are on disk, and it is stored only once
// the folder is that has the name, and the folders above it that were made for it.
func TestObjectsAreSyncedBeforeTheyAreNamed(t *testing.T) {
	const name, data = "d/packs/o", "all of the object"
	for what, store := range map[string]func(s vault.Store) error{
		"Put": func(s vault.Store) error {
			return s.Put(t.Context(), name, func(w io.Writer) error { _, err := io.WriteString(w, data); return err })
		},
		"Create": func(s vault.Store) error { return s.Create(t.Context(), name, []byte(data)) },
	} {
		dir := t.TempDir()
		object := filepath.Join(dir, name)
		there := func(file string) bool {
			_, err := os.Lstat(file)
			return err == nil
		}
		files, folders := 0, map[string]bool{} // of folders, whether the object was there
		var calls fsys.Calls
		calls.SyncFile = func(f *os.File) error {
			b, err := os.ReadFile(f.Name())
			if !filepath.IsAbs(f.Name()) {
				b, err = os.ReadFile(filepath.Join(dir, f.Name()))
			}
			if err != nil || string(b) != data {
				t.Errorf("%s: %q is synced, %v", what, b, err)
			}
			if there(object) {
				t.Errorf("%s: the object has its name before it is synced", what)
			}
			files++
			return f.Sync()
		}
		calls.SyncDir = func(f *os.File) error {
			rel := strings.TrimPrefix(strings.TrimPrefix(filepath.Clean(f.Name()), dir), "/")
			if rel == "" {
				rel = "."
			}
			folders[rel] = there(object)
			return f.Sync()
		}
		s, err := vault.OpenDirOn(dir, calls)
		if err != nil {
			t.Fatal(err)
		}
		if err := store(s); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if files != 1 {
			t.Errorf("%s: %d files were synced", what, files)
		}
		for folder, after := range map[string]bool{".": false, "d": false, "d/packs": true} {
			if got, synced := folders[folder]; !synced || got != after {
				t.Errorf("%s: the folder %s: synced %v, with the object there %v", what, folder, synced, got)
			}
		}
	}
}

// An error of a sync is one of the call, and what could not be synced has no name.
func TestErrorsOfSyncsAreTold(t *testing.T) {
	for what, set := range map[string]func(c *fsys.Calls){
		"file":   func(c *fsys.Calls) { c.SyncFile = func(*os.File) error { return syscall.EIO } },
		"folder": func(c *fsys.Calls) { c.SyncDir = func(*os.File) error { return syscall.EIO } },
	} {
		dir := t.TempDir()
		var calls fsys.Calls
		set(&calls)
		s, err := vault.OpenDirOn(dir, calls)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"o", "d/o"} {
			err := s.Put(t.Context(), name, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err })
			cerr := s.Create(t.Context(), name+"2", []byte("x"))
			if !errors.Is(err, syscall.EIO) || !errors.Is(cerr, syscall.EIO) {
				t.Errorf("%s of %s: %v, %v", what, name, err, cerr)
			}
			if what == "file" {
				for _, n := range []string{name, name + "2"} {
					if _, err := os.Lstat(filepath.Join(dir, n)); err == nil {
						t.Errorf("%s has its name and is not on disk", n)
					}
				}
			}
		}
	}
}
