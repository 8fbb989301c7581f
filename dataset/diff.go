package dataset

import (
	"context"
	"errors"
	"iter"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// A Change is a difference between two versions at one path.
type Change struct {
	Kind  ChangeKind
	Entry *tree.Entry // from the earlier version if Kind is Removed, otherwise from the later one
}

// A ChangeKind says how an entry changed.
type ChangeKind string

// The kinds of changes. Changed means a different size, time, mode or contents. The
// time of a folder does not count, since the changes of its files say the same.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

var errNoEntries = errors.New("dataset: no entries to compare were given")

// Diff yields the changes between two versions in the order of their paths. After an
// error it stops.
func Diff(ctx context.Context, from, to *Version) iter.Seq2[Change, error] {
	return DiffEntries(from.Entries(ctx), to.Entries(ctx))
}

// DiffEntries yields the changes between two sequences of entries, as versions have them, both in the
// order of their paths. It takes the next entry of a sequence only after all up to the one before are
// compared. After an error it stops.
func DiffEntries(from, to iter.Seq2[*tree.Entry, error]) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if from == nil || to == nil {
			yield(Change{}, errNoEntries)
			return
		}
		nextOld, stopOld := iter.Pull2(from)
		defer stopOld()
		nextNew, stopNew := iter.Pull2(to)
		defer stopNew()
		old, errOld, isOld := nextOld()
		later, errLater, isLater := nextNew()
		for isOld || isLater {
			for _, err := range []error{errOld, errLater} {
				if err != nil {
					yield(Change{}, err)
					return
				}
			}
			change := Change{Changed, later}
			inOld := isOld && (!isLater || old.Path <= later.Path)
			inLater := isLater && (!isOld || later.Path <= old.Path)
			switch {
			case !inLater:
				change = Change{Removed, old}
			case !inOld:
				change.Kind = Added
			case old.Equal(later) || later.IsDir() && old.Mode == later.Mode:
				change.Entry = nil
			}
			if change.Entry != nil && !yield(change, nil) {
				return
			}
			if inOld {
				old, errOld, isOld = nextOld()
			}
			if inLater {
				later, errLater, isLater = nextNew()
			}
		}
	}
}
