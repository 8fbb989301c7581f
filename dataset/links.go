package dataset

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// A pathOrder follows the paths of an index in their order, and finds those that lie
// below a file or a link, or are both a file and a folder. No tree of files has such.
type pathOrder struct {
	above []string // files and links whose paths begin the one that came last
}

func (o *pathOrder) check(p string) error {
	n := len(o.above)
	for n > 0 && !strings.HasPrefix(p, o.above[n-1]) {
		n--
	}
	o.above = o.above[:n]
	for _, a := range o.above {
		if p[len(a)] == '/' {
			return fmt.Errorf("the index has a file or a link %q, below which nothing can lie", a)
		}
	}
	if p != "" && !strings.HasSuffix(p, "/") {
		o.above = append(o.above, p)
	}
	return nil
}

// checkLink refuses a link that leads out of the destination.
func (r *Restore) checkLink(e *tree.Entry) error {
	if !r.UnsafeLinks && (leaves(e) || r.leadsOut(e)) {
		return fmt.Errorf("the link leads out of the destination, to %q; it is made only with --unsafe-links", e.Link)
	}
	return nil
}

// link makes a symbolic link, under another name first.
func (r *Restore) link(ctx context.Context, e *tree.Entry) error {
	if err := r.checkLink(e); err != nil {
		return err
	}
	dir, err := r.makeParent(e)
	if err != nil {
		return err
	}
	if readlink(dir, path.Base(e.Path)) == e.Link {
		if r.Overwrite >= OverwriteIfNewer {
			return nil
		}
		return r.setTime(dir, path.Base(e.Path), e.ModTime)
	}
	name := r.stageName()
	err = retry("symlink", e.Path, func() error { return unix.Symlinkat(e.Link, r.stageFD, name) })
	if fsys.NoAttributes(err) {
		return fmt.Errorf("the file system of the destination has no symbolic links: %w", err)
	}
	if err != nil {
		return err
	}
	if err = r.setTime(r.stageFD, name, e.ModTime); err == nil {
		err = r.put(ctx, name, e)
	}
	if err != nil {
		unix.Unlinkat(r.stageFD, name, 0)
	}
	return err
}

// leaves reports whether a link's target may lie outside the restored tree.
// Leading ".." elements start from a real folder, since no entry is placed below a
// link, and can be counted. Later ones may start from another link, so they are not
// trusted.
func leaves(e *tree.Entry) bool {
	if filepath.IsAbs(e.Link) {
		return true
	}
	depth := strings.Count(parentOf(e), "/")
	down := false
	for elem := range strings.SplitSeq(e.Link, "/") {
		switch elem {
		case "", ".":
		case "..":
			if depth--; depth < 0 || down {
				return true
			}
		default:
			down = true
		}
	}
	return false
}

// maxLinks is how many links the system follows in one path, at most.
const maxLinks = 40

// leadsOut reports whether the link would lead out of the destination through a link
// that is there: links of the index lead nowhere else, but others may.
func (r *Restore) leadsOut(e *tree.Entry) bool {
	var at []string // the real folder that has been come to
	if dir := strings.TrimSuffix(parentOf(e), "/"); dir != "" {
		at = strings.Split(dir, "/")
	}
	rest := strings.Split(e.Link, "/")
	for links := 0; len(rest) > 0; {
		elem := rest[0]
		rest = rest[1:]
		switch elem {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return true
			}
			at = at[:len(at)-1]
			continue
		}
		dir := strings.Join(at, "/")
		if dir != "" {
			dir += "/"
		}
		target := ""
		if fd, err := r.openDir(dir); err == nil {
			target = readlink(fd, elem)
		}
		if target == "" {
			at = append(slices.Clip(at), elem)
			continue
		}
		if links++; links > maxLinks {
			return false // nobody gets through
		}
		if filepath.IsAbs(target) {
			return true
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return false
}

// parentOf is the path of the folder that the entry lies in.
func parentOf(e *tree.Entry) string {
	p := strings.TrimSuffix(e.Path, "/")
	return p[:strings.LastIndexByte(p, '/')+1]
}
