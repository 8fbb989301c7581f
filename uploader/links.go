package uploader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Links says how an upload treats symbolic links in the source.
type Links int

const (
	// KeepLinks seals each link as a link. If a link leads out of the source, its
	// target is not sealed.
	KeepLinks Links = iota
	// FollowLinks seals the targets of links in place of the links.
	FollowLinks
	// ForbidLinks is like KeepLinks, but makes no version if a link leads out of
	// the source.
	ForbidLinks
)

// ParseLinks parses keep, follow or error.
func ParseLinks(s string) (Links, error) {
	switch s {
	case "keep":
		return KeepLinks, nil
	case "follow":
		return FollowLinks, nil
	case "error":
		return ForbidLinks, nil
	}
	return 0, fmt.Errorf("%q is none of keep, follow and error", s)
}

// ErrLinksOut is passed to Options.Warn for a source with links that lead out
// of it. With ForbidLinks it is returned.
var ErrLinksOut = errors.New("what is behind links that lead out is not sealed")

var (
	errLinkLoop   = errors.New("the link leads to a folder that it lies in; what it points to is not sealed")
	errLinkMany   = fmt.Errorf("more than %d paths lead through other links to the folder that the link leads to; what it points to is not sealed here", maxWays)
	errLinkNoFile = errors.New("the link leads to what is neither a folder nor a regular file")
)

// maxWays is the number of paths on which a folder is entered through links below
// other links. Without a limit, a few links to one another's folders would form an
// endless tree.
const maxWays = 100

// A followed is a link that stands for its target.
type followed struct {
	fs.DirEntry
	target fs.FileInfo
	file   string // without links, if it is not a folder
	err    error
}

func (f *followed) IsDir() bool                { return f.err == nil && f.target.IsDir() }
func (f *followed) Info() (fs.FileInfo, error) { return f.target, f.err }

func (f *followed) Type() fs.FileMode {
	if f.err != nil {
		return fs.ModeSymlink
	}
	return f.target.Mode().Type()
}

// follow replaces links by their targets.
func (w *walker) follow(dir string, entries []fs.DirEntry) []fs.DirEntry {
	if w.links != FollowLinks {
		return entries
	}
	for i, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 {
			entries[i] = w.resolve(filepath.Join(dir, e.Name()), e)
		}
	}
	return entries
}

func (w *walker) resolve(file string, e fs.DirEntry) *followed {
	f := &followed{DirEntry: e}
	if f.file, f.err = filepath.EvalSymlinks(absolute(file)); f.err == nil {
		f.target, f.err = os.Stat(f.file)
	}
	if f.err != nil {
		f.err = fmt.Errorf("following the link: %w", f.err)
		return f
	}
	if f.target.IsDir() {
		for _, above := range w.above {
			if os.SameFile(above, f.target) {
				f.err = errLinkLoop
			}
		}
		if f.err == nil && w.behind > 0 && w.countWay(f.target) > maxWays {
			f.err = errLinkMany
		}
	} else if !f.target.Mode().IsRegular() {
		f.err = errLinkNoFile
	}
	return f
}

// countWay counts a path to a folder, and returns how many there have been.
func (w *walker) countWay(info fs.FileInfo) int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	if w.ways == nil {
		w.ways = map[[2]uint64]int{}
	}
	id := [2]uint64{uint64(st.Dev), st.Ino}
	w.ways[id]++
	return w.ways[id]
}

// ownTarget reports whether a link points into one of vaultpack's own folders.
func (w *walker) ownTarget(file string) bool {
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && w.isOwn(info) {
			return true
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// leadsOut reports whether a link of the source leads out of it: by an absolute path, or
// by its target.
func (w *walker) leadsOut(file, target string) bool {
	if filepath.IsAbs(target) {
		return true
	}
	file = absolute(file) // like the root
	end, err := filepath.EvalSymlinks(file)
	root := w.realRoot
	if err != nil { // it dangles
		end, root = filepath.Join(filepath.Dir(file), target), w.root
	}
	rel, err := filepath.Rel(root, end)
	return err != nil || rel == ".." || strings.HasPrefix(rel, "../")
}

// String returns what ParseLinks parses.
func (l Links) String() string {
	switch l {
	case FollowLinks:
		return "follow"
	case ForbidLinks:
		return "error"
	}
	return "keep"
}
