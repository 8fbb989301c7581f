package uploader

import (
	"context"
	"fmt"

	"github.com/vaultpack/vaultpack/dataset"
)

// checkStream counts what a stream changes against the last version, whose files it
// takes the place of. One without a byte is refused: its producer may have failed.
func (u *Upload) checkStream(ctx context.Context, e *dataset.Entry) error {
	if e.Size == 0 && !u.AllowEmpty {
		return fmt.Errorf("%w: the stream ended without a byte, as it does when its producer fails. No version was made; if it is to be empty, say --allow-empty", ErrEmptied)
	}
	found := false
	if u.prev != nil {
		for old, err := range u.prev.Entries(ctx) {
			switch {
			case err != nil:
				return err
			case old.Path == e.Path && old.IsFile():
				found = true
			case old.IsFile():
				u.Removed.Add(1)
			}
		}
	}
	if found {
		u.Changed.Add(1)
	} else {
		u.Added.Add(1)
	}
	if n := u.Removed.Load(); n > 0 {
		u.Warn(fmt.Errorf("the stream takes the place of all files of version %d: %d of them are not in the new one", u.prev.Number, n))
	}
	return nil
}

// streamWorkers is how many segments of a stream's packs, which are written one
// after another, are sealed at once.
func (u *Upload) streamWorkers() int {
	want := u.Concurrency
	u.Concurrency = 1
	_, segments := u.limits()
	u.Concurrency = want
	return segments
}
