package browse

import (
	"math/bits"
	"net/http"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// maxGroups bounds the groups of one response. What has no group of its own in it is counted as other.
const maxGroups = 1000

// A group is a part of a version's files that have something in common.
type group struct {
	ID    string `json:"id,omitempty"` // of the folder
	Name  string `json:"name"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
}

// groups collects groups.
type groups struct {
	all   []*group
	named map[string]*group
}

func (g *groups) add(name, id string, size int64) {
	one := g.named[name]
	if one == nil {
		if len(g.all) >= maxGroups {
			name, id = "\x00other", ""
		}
		if one = g.named[name]; one == nil {
			one = &group{ID: id, Name: text(strings.TrimPrefix(name, "\x00"))}
			g.named[name] = one
			g.all = append(g.all, one)
		}
	}
	one.Files++
	one.Bytes += size
}

// sizeClasses is how many classes of sizes there are: 0 bytes, 1, 2 to 3, 4 to 7, and so on.
const sizeClasses = 64

// A distribution is what is counted of the files below a folder. The page adds those of several responses up.
type distribution struct {
	Files      int64              `json:"files"`
	Bytes      int64              `json:"bytes"`
	Links      int64              `json:"links"`
	Folders    []*group           `json:"folders"` // what lies directly in the folder; an empty name is of files
	Extensions []*group           `json:"extensions"`
	Sizes      [sizeClasses]int64 `json:"sizes"`
	Scanned    int                `json:"scanned"`
	Next       string             `json:"next,omitempty"`
}

// stats counts the files below a folder, by folder, extension and size, as far as one request may take.
func stats(h *handler, w http.ResponseWriter, r *http.Request) error {
	q, v, release, err := h.open(r)
	if err != nil {
		return err
	}
	defer release()
	at, err := folderAt(v, q.path)
	if err != nil {
		return err
	}
	var d distribution
	folders, extensions := groups{named: map[string]*group{}}, groups{named: map[string]*group{}}
	d.Next, err = scan(v, at, q.from, func(e *tree.Entry, below string) error {
		if e.IsLink() {
			d.Links++
		}
		if !e.IsFile() {
			return nil
		}
		d.Files++
		d.Bytes += e.Size
		d.Sizes[min(bits.Len64(uint64(e.Size)), sizeClasses-1)]++
		name, _, inFolder := strings.Cut(below, "/")
		if inFolder {
			folders.add(name+"/", encodePath(at+name), e.Size)
		} else {
			folders.add("", "", e.Size)
		}
		extensions.add(extension(below), "", e.Size)
		return nil
	}, &d.Scanned)
	if err != nil {
		return err
	}
	d.Folders, d.Extensions = append([]*group{}, folders.all...), append([]*group{}, extensions.all...)
	sendJSON(w, r, http.StatusOK, d)
	return nil
}
