package uploader

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/bmatcuk/doublestar/v4"
)

// A Filter selects files by patterns like those of gitignore. A pattern with a
// slash before its end is relative to the uploaded folder; one without matches at
// any depth. A slash at the end matches folders only. ** matches any number of
// folders. The last exclude pattern that matches decides, and one that begins with
// ! includes a file again. ./ at the beginning stands for the uploaded folder. The
// nil Filter selects everything. A Filter is safe for concurrent use.
type Filter struct {
	include, exclude []rule
}

type rule struct {
	text     string
	glob     string
	negated  bool
	dirsOnly bool
	matched  *atomic.Bool // since the Filter was made
}

// NewFilter returns a Filter that selects what include matches, or everything if
// include is empty, except what exclude matches.
func NewFilter(include, exclude []string) (*Filter, error) {
	f := &Filter{}
	for _, p := range include {
		r, err := parseRule(p)
		if err != nil {
			return nil, err
		}
		if r.negated {
			return nil, fmt.Errorf("the include pattern %q starts with !: use an exclude pattern instead", p)
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
	bad := func(why string) (rule, error) { return r, fmt.Errorf("the pattern %q %s", pattern, why) }
	r.text, r.matched = pattern, new(atomic.Bool)
	p := pattern
	p, r.negated = strings.CutPrefix(p, "!")
	p, r.dirsOnly = strings.CutSuffix(p, "/")
	anchored := strings.Contains(p, "/")
	elems := strings.Split(p, "/")
	if slices.Contains(elems, "..") {
		return bad("can match nothing: patterns are relative to the folder, without ..")
	}
	// a/./b and a//b are a/b.
	elems = slices.DeleteFunc(elems, func(e string) bool { return e == "" || e == "." })
	p = strings.Join(elems, "/")
	if p == "" {
		return bad("names no file in the folder")
	}
	if !doublestar.ValidatePattern(p) {
		return bad("is not valid")
	}
	if !anchored {
		p = "**/" + p
	}
	r.glob = p
	return r, nil
}

// A kind is the kind of thing that a path names, which matters to patterns with a slash
// at the end.
type kind bool

const (
	aFile   kind = false
	aFolder kind = true
)

func (r rule) matches(path string, is kind) bool {
	if r.dirsOnly && is != aFolder {
		return false
	}
	ok, err := doublestar.Match(r.glob, path)
	if err != nil {
		panic("uploader: " + err.Error()) // the pattern has been validated
	}
	if ok && !r.matched.Load() {
		r.matched.Store(true)
	}
	return ok
}

// all reports whether the filter selects everything.
func (f *Filter) all() bool { return f == nil || len(f.include)+len(f.exclude) == 0 }

// Unmatched returns the patterns that have matched nothing since the Filter was made.
func (f *Filter) Unmatched() (include, exclude []string) {
	if f == nil {
		return nil, nil
	}
	unmatched := func(rules []rule) (texts []string) {
		for _, r := range rules {
			if !r.matched.Load() {
				texts = append(texts, r.text)
			}
		}
		return texts
	}
	return unmatched(f.include), unmatched(f.exclude)
}

// excluded reports whether the path, without the slash of a folder, is excluded, and with
// it everything below it.
func (f *Filter) excluded(path string, is kind) bool {
	if f == nil {
		return false
	}
	out := false
	for _, r := range f.exclude {
		if r.matches(path, is) {
			out = !r.negated
		}
	}
	return out
}

// Selects reports whether an upload would select the path of a version's entry.
// The path of a folder ends in a slash.
func (f *Filter) Selects(path string) bool {
	if f == nil {
		return true
	}
	for i, c := range []byte(path) {
		if c == '/' && f.excluded(path[:i], aFolder) {
			return false
		}
	}
	if path == "" || strings.HasSuffix(path, "/") {
		return len(f.include) == 0 || path != "" && f.included(path)
	}
	return !f.excluded(path, aFile) && f.included(path)
}

// included reports whether a file, or a folder above it, is included.
func (f *Filter) included(path string) bool {
	if f == nil || len(f.include) == 0 {
		return true
	}
	in := false
	for _, r := range f.include { // all of them, to know which ones match
		if r.matches(path, aFile) {
			in = true
			continue
		}
		for i, c := range []byte(path) {
			if c == '/' && r.matches(path[:i], aFolder) {
				in = true
				break
			}
		}
	}
	return in
}
