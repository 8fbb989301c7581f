package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestCreateAndReplace(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	put := func(text string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}
	}
	broken := errors.New("broken")
	breaks := func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	}
	want := func(text string) {
		t.Helper()
		if b, err := os.ReadFile(name); err != nil || string(b) != text {
			t.Errorf("the file holds %q, %v, want %q", b, err, text)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("the folder holds %v", entries)
		}
	}
	if err := Create(name, 0o600, breaks); err != broken {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if err := Create(name, 0o600, put("one")); err != nil {
		t.Error(err)
	}
	want("one")
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := Create(name, 0o600, put("two")); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	want("one")
	if err := Replace(name, 0o644, breaks); err != broken {
		t.Error(err)
	}
	want("one")
	if err := Replace(name, 0o644, put("three")); err != nil {
		t.Error(err)
	}
	want("three")
}
