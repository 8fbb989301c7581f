package browse

import (
	"errors"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
)

// A change is a difference between two versions as the page gets it.
type change struct {
	Change dataset.ChangeKind `json:"change"`
	item
}

// A tally counts files and links that have changed below a folder at the top.
type tally struct {
	Name    string `json:"name"` // empty of those that lie in no folder
	Added   int64  `json:"added"`
	Changed int64  `json:"changed"`
	Removed int64  `json:"removed"`
}

// A comparison is a part of the differences. The page adds those of several responses up.
type comparison struct {
	Changes []change                     `json:"changes"`
	Bytes   map[dataset.ChangeKind]int64 `json:"bytes"`
	Folders []*tally                     `json:"folders"`
	Scanned int                          `json:"scanned"`
	Next    string                       `json:"next,omitempty"`
}

// diff compares the version v with an earlier one, with, as far as one request may take.
func diff(h *handler, w http.ResponseWriter, r *http.Request) error {
	q, err := parse(r)
	if err != nil {
		return err
	}
	before, err := number(r.URL.Query().Get("with"))
	if err != nil {
		return err
	}
	if before == 0 || q.version == 0 {
		return errBadRequest
	}
	old, err := h.catalog.Version(r.Context(), q.dataset, before)
	if err != nil {
		return err
	}
	later, err := h.catalog.Version(r.Context(), q.dataset, q.version)
	if err != nil {
		return err
	}
	limit := &scanLimit{until: time.Now().Add(scanTime)}
	c := comparison{Changes: []change{}, Folders: []*tally{}, Bytes: map[dataset.ChangeKind]int64{}}
	for d, err := range dataset.DiffEntries(limit.of(old.EntriesFrom(r.Context(), q.from)), limit.of(later.EntriesFrom(r.Context(), q.from))) {
		var paused *pausedError
		if errors.As(err, &paused) {
			c.Next = encodePath(paused.at)
			break
		}
		if err != nil {
			return err
		}
		if len(c.Changes) == pageSize {
			c.Next = encodePath(d.Entry.Path)
			break
		}
		c.add(d)
	}
	c.Scanned = limit.scanned
	sendJSON(w, r, http.StatusOK, c)
	return nil
}

func (c *comparison) add(d dataset.Change) {
	c.Changes = append(c.Changes, change{d.Kind, newItem(d.Entry, "")})
	if d.Entry.IsDir() {
		return
	}
	c.Bytes[d.Kind] += d.Entry.Size
	name, _, inFolder := strings.Cut(d.Entry.Path, "/")
	if name = text(name) + "/"; !inFolder {
		name = ""
	}
	// Folders come one after the other, but for the files that lie in none.
	var t *tally
	for i := len(c.Folders) - 1; i >= 0 && t == nil; i-- {
		if c.Folders[i].Name == name {
			t = c.Folders[i]
		}
	}
	if t == nil {
		t = &tally{Name: name}
		c.Folders = append(c.Folders, t)
	}
	switch d.Kind {
	case dataset.Added:
		t.Added++
	case dataset.Changed:
		t.Changed++
	case dataset.Removed:
		t.Removed++
	}
}

// A scanLimit bounds how much of two indexes is read for one response.
type scanLimit struct {
	until   time.Time
	scanned int
}

// A pausedError says that the rest is left to the next request, from a path on.
type pausedError struct{ at string }

func (*pausedError) Error() string { return "paused" }

// of passes entries on until the limit is reached. Then every entry up to the last of this sequence has been
// compared with the other: DiffEntries asks for the next only after that.
func (l *scanLimit) of(all iter.Seq2[*tree.Entry, error]) iter.Seq2[*tree.Entry, error] {
	return func(yield func(*tree.Entry, error) bool) {
		last := ""
		for e, err := range all {
			if err == nil && last != "" && (l.scanned >= scanEntries || l.scanned%256 == 0 && time.Now().After(l.until)) {
				yield(nil, &pausedError{last + "\x00"})
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
			last = e.Path
			l.scanned++
		}
	}
}
