package place

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// What close says is believed: a file system may tell only then that it could not
// write what was written before.
func TestErrorOfCloseFailsTheFile(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r := NewDest(nil, int(dir.Fd()), new(atomic.Int64))
	for _, c := range []struct{ close, want error }{{nil, nil}, {unix.EIO, unix.EIO}, {unix.EDQUOT, unix.EDQUOT}, {unix.EINTR, nil}} {
		f, err := os.Create(filepath.Join(dir.Name(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		e := &tree.Entry{Path: "f", Mode: 0o644, ModTime: time.Unix(5, 0)}
		err = r.finish(e, "f", int(f.Fd()), func() error {
			f.Close()
			return c.close
		}, nil)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("close gives %v: %v", c.close, err)
		}
	}
}
