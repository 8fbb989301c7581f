package uploader

import (
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// A Filter chooses files by patterns like those of gitignore: a pattern with a
// slash before its end is relative to the uploaded folder, one without matches
// at any depth; a slash at the end means folders only; ** matches any number of
// folders; of the exclude patterns the last that matches counts, and one that
// begins with ! takes a file in again. The nil Filter chooses everything.
type Filter struct {
	include, exclude []rule
}

type rule struct {
	glob     string
	negated  bool
	dirsOnly bool
}

// NewFilter takes in what include matches, or everything if it is empty, without
// what exclude matches.
func NewFilter(include, exclude []string) (*Filter, error) {
	f := &Filter{}
	for _, p := range include {
		r, err := parseRule(p)
		if err != nil {
			return nil, err
		}
		if r.negated {
			return nil, fmt.Errorf("the include pattern %q begins with !: use an exclude pattern instead", p)
		}
		f.include = append(f.include, r)
	}
	for _, p := range exclude {
		r, err := parseRule(p)
		if err != nil {
			return nil, err
		}
		f.exclude = append(f.exclude, r)
	}
	return f, nil
}

func parseRule(pattern string) (r rule, err error) {
	p := pattern
	p, r.negated = strings.CutPrefix(p, "!")
	p, r.dirsOnly = strings.CutSuffix(p, "/")
	anchored := strings.Contains(p, "/")
	p = strings.TrimPrefix(p, "/")
	if p == "" || !doublestar.ValidatePattern(p) {
		return r, fmt.Errorf("%q is not a valid pattern", pattern)
	}
	if !anchored {
		p = "**/" + p
	}
	r.glob = p
	return r, nil
}

func (r rule) matches(path string, isDir bool) bool {
	if r.dirsOnly && !isDir {
		return false
	}
	ok, _ := doublestar.Match(r.glob, path) // the pattern has been validated
	return ok
}

// excluded tells whether the path, without the slash of a folder, is left out
// and with it all that lies below.
func (f *Filter) excluded(path string, isDir bool) bool {
	if f == nil {
		return false
	}
	out := false
	for _, r := range f.exclude {
		if r.matches(path, isDir) {
			out = !r.negated
		}
	}
	return out
}

// Selects tells whether a path of a version, that of a folder with its slash, is
// chosen, as an upload would choose it.
func (f *Filter) Selects(path string) bool {
	if f == nil {
		return true
	}
	for i, c := range []byte(path) {
		if c == '/' && f.excluded(path[:i], true) {
			return false
		}
	}
	if path == "" || strings.HasSuffix(path, "/") {
		return len(f.include) == 0 || path != "" && f.included(path)
	}
	return !f.excluded(path, false) && f.included(path)
}

// included tells whether a file, or a folder above it, is asked for.
func (f *Filter) included(path string) bool {
	if f == nil || len(f.include) == 0 {
		return true
	}
	for _, r := range f.include {
		if r.matches(path, false) {
			return true
		}
		for i, c := range []byte(path) {
			if c == '/' && r.matches(path[:i], true) {
				return true
			}
		}
	}
	return false
}
