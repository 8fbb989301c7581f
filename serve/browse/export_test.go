package browse

import (
	"iter"
	"maps"
	"slices"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// Routes are what a session may ask for.
func Routes() []string { return slices.Sorted(maps.Keys(routes)) }

// PageFiles are the program's own.
var PageFiles = pageFiles

// Kind returns how a file is shown whose bytes are all of head.
func Kind(name, head string) string {
	p := preview{item: item{Name: name, Size: int64(len(head))}}
	p.show([]byte(head), 0, "")
	return p.Shown
}

// Pausing passes entries on for as long as a request may take that has no time left.
func Pausing(two ...iter.Seq2[*tree.Entry, error]) (all []iter.Seq2[*tree.Entry, error]) {
	limit := &scanLimit{}
	for _, one := range two {
		all = append(all, limit.of(one))
	}
	return all
}

// Paused returns where the next request goes on, if err says so.
func Paused(err error) (at string, ok bool) {
	p, ok := err.(*pausedError)
	if ok {
		at = p.at
	}
	return at, ok
}
