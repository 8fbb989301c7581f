package container_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A name that is is reserved where it opens a dataset in place is refused, be it
// of a file or of a folder, and a name that only resembles one is not.
func TestNamesOfItsOwn(t *testing.T) {
	for name, ok := range map[string]bool{".vaultpack-open-x": false, ".vaultpack-open-x/sub/file": false, "sub/.vaultpack-open-x": true, ".vaultpack-opened": true} {
		s := seal(t, "d", func(dir string) {
			check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			write(t, filepath.Join(dir, name), []byte("x"))
			write(t, filepath.Join(dir, "z"), []byte("z"))
		})
		j := newJob(t, s)
		switch err := j.open(); {
		case ok && err != nil:
			t.Errorf("%s: %v", name, err)
		case !ok && (err == nil || !strings.Contains(err.Error(), "is reserved")):
			t.Errorf("%s: %v", name, err)
		}
	}
}
