package place

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// CheckLink rejects a link that leads out of the destination.
func (d *Dest) CheckLink(e *tree.Entry) error {
	if leaves(e) || d.leadsOut(e) {
		return fmt.Errorf("the link leaves the destination, to %q; only restore --unsafe-links creates it", e.Link)
	}
	return nil
}

// leaves reports whether a link's target may lie outside the restored tree. Leading ".."
// elements start from a real folder, since no entry is placed below a link, and can be
// counted. Later ones may start from another link, so they are not trusted.
func leaves(e *tree.Entry) bool {
	if filepath.IsAbs(e.Link) {
		return true
	}
	depth := strings.Count(ParentOf(e), "/")
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

// maxLinks is the most links that the system follows in one path.
const maxLinks = 40

// leadsOut reports whether the link would lead out of the destination through an existing
// link: links of the index do not lead out, but others may.
func (d *Dest) leadsOut(e *tree.Entry) bool {
	var at []string // the real folder that has been reached
	if dir := strings.TrimSuffix(ParentOf(e), "/"); dir != "" {
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
		if fd, err := d.OpenDir(dir); err == nil {
			target = Readlink(fd, elem)
		}
		if target == "" {
			at = append(slices.Clip(at), elem)
			continue
		}
		if links++; links > maxLinks {
			return false // no process can resolve it
		}
		if filepath.IsAbs(target) {
			return true
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return false
}

// ParentOf returns the path of the folder that the entry lies in.
func ParentOf(e *tree.Entry) string {
	p := strings.TrimSuffix(e.Path, "/")
	return p[:strings.LastIndexByte(p, '/')+1]
}
