package local

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What a job leaves comes out as it is: links as links, and what is no file with a
// warning. A link that an earlier job has left leads no later one elsewhere.
func TestCopyOut(t *testing.T) {
	dir := t.TempDir()
	from, to, outside := filepath.Join(dir, "from"), filepath.Join(dir, "to"), filepath.Join(dir, "outside")
	write(t, filepath.Join(from, "checkpoints/step-1"), []byte("one"))
	write(t, filepath.Join(from, "file"), []byte("of the job"))
	write(t, filepath.Join(to, "kept"), []byte("kept"))
	write(t, filepath.Join(outside, "precious"), []byte("precious"))
	for link, target := range map[string]string{
		filepath.Join(from, "checkpoints/latest"): "step-1",
		filepath.Join(from, "out"):                "../outside",
		filepath.Join(to, "file"):                 filepath.Join(outside, "precious"),
	} {
		check(t, os.Symlink(target, link))
	}
	check(t, syscall.Mkfifo(filepath.Join(from, "pipe"), 0o600))
	var told string
	warn := func(err error) { told += err.Error() + "\n" }
	for range 2 {
		check(t, copyOut(t.Context(), warn, from, ".", to))
	}
	for name, want := range map[string]string{"to/checkpoints/latest": "one", "to/file": "of the job", "to/kept": "kept", "outside/precious": "precious"} {
		if got := string(read(t, filepath.Join(dir, name))); got != want {
			t.Errorf("%s holds %q", name, got)
		}
	}
	for name, want := range map[string]string{"checkpoints/latest": "step-1", "out": "../outside"} {
		if got, err := os.Readlink(filepath.Join(to, name)); got != want {
			t.Errorf("%s leads to %q, %v", name, got, err)
		}
	}
	if !strings.Contains(told, "\"pipe\" in the job's output is not a file") || !strings.Contains(told, "\"out\" in the job's output is a link that leaves") || strings.Contains(told, "latest") {
		t.Errorf("told:\n%s", told)
	}
	// A folder is no link to one.
	check(t, os.RemoveAll(filepath.Join(to, "checkpoints")))
	check(t, os.Symlink(outside, filepath.Join(to, "checkpoints")))
	if err := copyOut(t.Context(), warn, from, ".", to); err == nil || !strings.Contains(err.Error(), "is in the way") {
		t.Errorf("through a link to a folder: %v", err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(name), 0o755))
	check(t, os.WriteFile(name, b, 0o644))
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	check(t, err)
	return b
}
