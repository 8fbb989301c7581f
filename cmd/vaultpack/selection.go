package main

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/uploader"
)

// A selection is the part of a version selected by PATH arguments, --include and
// --exclude together. It remembers which of them have matched something.
type selection struct {
	paths  []*pathPattern
	filter *uploader.Filter // nil without such flags
	flags  []*flagPattern
	// folder says that a folder is compared too: what is excluded may exist only there.
	folder bool
}

// A pathPattern is a path in a dataset, or a pattern for paths.
type pathPattern struct {
	text  string // as typed
	path  string // without . and the slash at the end; empty for the whole dataset
	found bool
}

// A flagPattern is a single pattern of --include or --exclude.
type flagPattern struct {
	flag, text string
	filter     *uploader.Filter
	found      bool
}

// againstFlags are --include and --exclude, for a command in which they need --against.
func againstFlags() []cli.Flag {
	flags := selectionFlags()
	for _, f := range flags {
		if s, ok := f.(*cli.StringSliceFlag); ok {
			s.Usage = "with --against, " + s.Usage
		}
	}
	return flags
}

func newSelection(c *cli.Context, paths []string) (*selection, error) {
	s := &selection{}
	for _, text := range paths {
		p := path.Clean(strings.TrimLeft(text, "/"))
		if text == "" || p == ".." || strings.HasPrefix(p, "../") || !doublestar.ValidatePattern(p) {
			return nil, usagef("%q is not a path in a dataset or a pattern", text)
		}
		if p == "." {
			p = ""
		}
		s.paths = append(s.paths, &pathPattern{text: text, path: p})
	}
	include, exclude := c.StringSlice("include"), c.StringSlice("exclude")
	if len(include)+len(exclude) == 0 {
		return s, nil
	}
	var err error
	if s.filter, err = uploader.NewFilter(include, exclude); err != nil {
		return nil, usageError{err}
	}
	for _, p := range include {
		f, err := uploader.NewFilter([]string{p}, nil)
		if err != nil {
			return nil, usageError{err}
		}
		s.flags = append(s.flags, &flagPattern{flag: "--include", text: p, filter: f})
	}
	for _, p := range exclude {
		f, err := uploader.NewFilter(nil, []string{strings.TrimPrefix(p, "!")})
		if err != nil {
			return nil, usageError{err}
		}
		s.flags = append(s.flags, &flagPattern{flag: "--exclude", text: p, filter: f})
	}
	return s, nil
}

// all reports whether the selection is the whole version.
func (s *selection) all() bool { return s.filter == nil && len(s.paths) == 0 }

// selects reports whether an entry is chosen. Only its path matters.
func (s *selection) selects(e *tree.Entry) bool {
	if s.filter != nil && !s.filter.Selects(e.Path) {
		return false
	}
	chosen := len(s.paths) == 0
	for _, p := range s.paths {
		if p.matches(strings.TrimSuffix(e.Path, "/")) {
			p.found, chosen = true, true
		}
	}
	return chosen
}

// matches reports whether the path, or a folder above it, was selected.
func (p *pathPattern) matches(name string) bool {
	if p.path == "" || name == p.path || strings.HasPrefix(name, p.path+"/") {
		return true
	}
	if name == "" || !strings.ContainsAny(p.path, `*?[{\`) {
		return false
	}
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '/' {
			if ok, _ := doublestar.Match(p.path, name[:i]); ok { // the pattern has been validated
				return true
			}
		}
	}
	return false
}

// check checks, before anything is done, that something is selected and that each
// pattern matches something. It reads the index as far as necessary.
func (s *selection) check(ctx context.Context, con *console, v *dataset.Version) error {
	if s.all() {
		return nil
	}
	any := false
	for e, err := range v.Entries(ctx) {
		if err != nil {
			return err
		}
		any = s.selects(e) || any
		if s.note(e) && any {
			return nil
		}
	}
	for _, p := range s.paths {
		if !p.found {
			return fmt.Errorf("no selected file in dataset %s, version %d, matches %q: %w", v.Dataset(), v.Number, p.text, dataset.ErrNoEntry)
		}
	}
	for _, p := range s.flags {
		switch {
		case p.found:
		case p.flag == "--include":
			return fmt.Errorf("--include %q matches nothing in dataset %s, version %d: %w", p.text, v.Dataset(), v.Number, dataset.ErrNoEntry)
		case !s.folder:
			con.warning(fmt.Errorf("--exclude %q matches nothing in dataset %s, version %d", p.text, v.Dataset(), v.Number))
		}
	}
	if !any {
		return fmt.Errorf("--include and --exclude select nothing in dataset %s, version %d: %w", v.Dataset(), v.Number, dataset.ErrNoEntry)
	}
	return nil
}

// checkFolder warns, after the folder has been compared, about exclude patterns that
// match neither in it nor in the version.
func (s *selection) checkFolder(con *console, v *dataset.Version, dir string) {
	_, exclude := s.filter.Unmatched()
	for _, p := range exclude {
		con.warning(fmt.Errorf("--exclude %q matches nothing in dataset %s, version %d, and nothing in %s", p, v.Dataset(), v.Number, dir))
	}
}

// note takes an entry into account, and reports whether all patterns have matched.
func (s *selection) note(e *tree.Entry) bool {
	all := true
	for _, p := range s.flags {
		if !p.found && e.Path != "" && p.filter.Selects(e.Path) == (p.flag == "--include") {
			p.found = true
		}
		all = all && p.found
	}
	for _, p := range s.paths {
		all = all && p.found
	}
	return all
}
