package view

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sort"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// Number returns how many of the version's entries have a path that is before path. That is
// the number of the entry at path, if there is one: entries are numbered from 0, in the order
// of their paths, and keep their numbers as the version keeps its entries.
func (v *View) Number(path string) (int64, error) {
	if v == nil || v.shared == nil {
		return 0, errNoView
	}
	done, err := v.begin()
	if err != nil {
		return 0, err
	}
	defer done()
	all := v.version.Parts
	i := sort.Search(len(all), func(i int) bool { return all[i].First > path }) - 1
	if i < 0 {
		return 0, nil
	}
	entries, err := v.parts.get(v.ctx, i)
	if err != nil {
		return 0, v.because(err)
	}
	at := sort.Search(len(entries), func(k int) bool { return entries[k].Path >= path })
	return v.before[i] + int64(at), nil
}

// Numbered returns the entry with a number: see [View.Number].
func (v *View) Numbered(n int64) (*tree.Entry, error) {
	if v == nil || v.shared == nil {
		return nil, errNoView
	}
	done, err := v.begin()
	if err != nil {
		return nil, err
	}
	defer done()
	i := sort.Search(len(v.before), func(i int) bool { return v.before[i] > n }) - 1
	if i < 0 || n-v.before[i] >= int64(v.version.Parts[i].Entries) {
		return nil, fmt.Errorf("view: the version has no entry %d: %w", n, fs.ErrNotExist)
	}
	entries, err := v.parts.get(v.ctx, i)
	if err != nil {
		return nil, v.because(err)
	}
	return entries[n-v.before[i]], nil
}

// Children yields what lies directly in a folder, behind the child after, or all if after is
// nil. The order is that of the index, in which the path of a folder ends in a slash. What
// lies deeper is passed over without being looked at. A folder that the version has only by
// its files is yielded as an entry with that path and the mode 0755.
func (v *View) Children(folder, after *tree.Entry) iter.Seq2[*tree.Entry, error] {
	return func(yield func(*tree.Entry, error) bool) {
		if v == nil || v.shared == nil {
			yield(nil, errNoView)
			return
		}
		start, err := v.startOf(folder, after)
		if err != nil {
			yield(nil, err)
			return
		}
		for i, err := range v.children(folder.Path, start) {
			if !yield(i.entry, v.because(err)) {
				return
			}
		}
	}
}

// startOf is the name from which on children begins.
func (v *View) startOf(folder, after *tree.Entry) (string, error) {
	done, err := v.begin()
	if err != nil {
		return "", err
	}
	done() // the caller may close the view while it is given the children
	if folder == nil || !folder.IsDir() {
		return "", &fs.PathError{Op: "readdir", Path: nameOf(folder), Err: errNotFolder{}}
	}
	if after == nil {
		return "", nil
	}
	name, within := strings.CutPrefix(after.Path, folder.Path)
	if !within || name == "" {
		return "", &fs.PathError{Op: "readdir", Path: nameOf(after), Err: errors.New("it is not in the folder " + nameOf(folder))}
	}
	return behind(name), nil
}
