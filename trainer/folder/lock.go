package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// calls are the real system calls; tests replace them.
var calls fsys.Calls

// lockEvery is the interval between attempts to lock a folder. A waiting flock cannot
// be cancelled.
const lockEvery = 100 * time.Millisecond

// lock waits until no other process on this machine is opening a version in the folder.
// If the file system has no locks it does not wait: two concurrent processes find each
// other's files, and compare them. The lock ends when the process ends or execs another
// program.
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
