package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// calls are the kernel's own; tests put others in their place.
var calls fsys.Calls

// lockEvery is how often a locked folder is tried again. A waiting flock cannot be told
// to give up.
const lockEvery = 100 * time.Millisecond

// lock waits until no other process of this machine opens a version in the folder. Where
// the file system has no locks there is nothing to wait for: two that work at once find
// each other's files, and compare them. The lock ends with the process, and when the
// process becomes another program.
func (o *opening) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.Open(o.dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder: %w", err)
	}
	told := false
	for {
		_, err := calls.TryLock(f)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, fsys.ErrLocked) {
			f.Close()
			return nil, fmt.Errorf("locking the folder: %w", err)
		}
		if !told && o.Waiting != nil {
			o.Waiting()
		}
		told = true
		select {
		case <-time.After(lockEvery):
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}
