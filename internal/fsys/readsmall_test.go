package fsys

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What has no end is not read, and nobody is waited for.
func TestReadSmall(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file  string
		limit int64
		want  string
		ok    bool
	}{{file, 5, "12345", true}, {file, 4, "", false}, {"/dev/zero", 1000, "", false}, {pipe, 10, "", true}, {dir, 10, "", false}, {file + "x", 10, "", false}} {
		b, err := ReadSmall(c.file, c.limit)
		if (err == nil) != c.ok || string(b) != c.want {
			t.Errorf("%s, %d: %q, %v", c.file, c.limit, b, err)
		}
	}
}
