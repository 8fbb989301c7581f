package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/internal/walk"
)

// checkDelete returns an error if nothing in the destination belongs to the version:
// it is then more likely the wrong folder than an old state of the right one.
func (r *job) checkDelete(ctx context.Context, dir string) error {
	if !r.Delete || r.to.Root == nil {
		return nil
	}
	here, err := fs.ReadDir(r.to.Root.FS(), ".")
	if err != nil {
		return fmt.Errorf("reading the destination: %w", err)
	}
	names := map[string]bool{}
	for _, e := range here {
		if !r.isOwn(e.Name()) && !walk.IsStaging(e.Name()) {
			names[e.Name()] = true
		}
	}
	if len(names) == 0 {
		return nil
	}
	for e, err := range r.version.Entries(ctx) {
		if err != nil {
			return err
		}
		if first, _, _ := strings.Cut(e.Path, "/"); names[first] {
			return nil
		}
	}
	return fmt.Errorf("the version has nothing that is in %s, so all of it would be deleted; if this is the right folder, restore to it without deleting first", dir)
}

// errIsKey is reported for a file that is not removed.
var errIsKey = errors.New("it is a vaultpack key, which is never deleted; move it away")

// isKey reports whether a file in the destination is a secret key of vaultpack, for any
// vault.
func (r *job) isKey(p string) bool {
	f, err := r.to.Root.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	return err == nil && (bytes.Contains(b, []byte("\nvaultpack-local-key-")) || bytes.Contains(b, []byte("\nvaultpack-identity-")) ||
		bytes.HasPrefix(b, []byte("vaultpack-local-key-")) || bytes.HasPrefix(b, []byte("vaultpack-identity-")))
}
