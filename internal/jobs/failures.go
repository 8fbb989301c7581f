package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// firstCauses is how many causes are kept, of any kind.
const firstCauses = 16

// causeClasses are the kinds of errors of which the first is kept, however late it comes.
var causeClasses = []error{
	envelope.ErrAuthentication, envelope.ErrFormat, dataset.ErrMissing, dataset.ErrDiffers,
	fs.ErrPermission, fs.ErrNotExist, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EMFILE,
	context.Canceled, context.DeadlineExceeded,
}

// Failures collects the failures of a job that continues, in little memory. The
// zero value is ready. It is safe for concurrent use.
type Failures struct {
	mu     sync.Mutex
	n      int64
	causes []error
	seen   map[error]bool // the classes that causes has
	noKey  bool
}

// Add adds a failure; nil is ignored.
func (f *Failures) Add(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	keep := len(f.causes) < firstCauses
	for _, class := range causeClasses {
		if !f.seen[class] && errors.Is(err, class) {
			if f.seen == nil {
				f.seen = map[error]bool{}
			}
			f.seen[class], keep = true, true
		}
	}
	var noKey *envelope.NoKeyError
	if !f.noKey && errors.As(err, &noKey) {
		f.noKey, keep = true, true
	}
	if keep {
		f.causes = append(f.causes, err)
	}
}

// Err returns nil if nothing has failed, and otherwise a *PartialError for the job.
func (f *Failures) Err(job string) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == 0 {
		return nil
	}
	return &dataset.PartialError{Job: job, Count: f.n, Causes: slices.Clone(f.causes)}
}

// End returns the error that the job returns; err is what stopped it, or nil if it ran to its
// end.
func (f *Failures) End(job string, err error) error {
	partial := f.Err(job)
	switch {
	case err == nil:
		return partial
	case partial == nil:
		return err
	}
	return fmt.Errorf("%w (before that, %w)", err, partial)
}
