package ingest

import (
	"errors"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
)

var errNoID = errors.New("a writer without an ID records nothing")

func unixTime(r record) time.Time { return time.Unix(r.seconds, int64(r.nanos)) }

// resume takes over what earlier Writers with the ID have recorded. It first rewrites
// their records, and then removes them: if several of them had recorded the same
// path, nobody could later determine which record is the last.
func (w *Writer) resume(pending *commit.Pending, source string) error {
	objects := map[envelope.ObjectID]int32{}
	object := func(o *tree.Object) int32 {
		i, ok := objects[o.ID]
		if !ok {
			i = int32(len(w.objects))
			objects[o.ID] = i
			w.objects = append(w.objects, o)
		}
		return i
	}
	take := func(e *tree.Entry) error {
		if !e.IsFile() || !w.inVault(e) {
			return nil
		}
		if old, ok := w.files[e.Path]; ok {
			w.forget(e.Path, old)
		}
		r := record{size: e.Size, mode: e.Mode, seconds: e.ModTime.Unix(), nanos: int32(e.ModTime.Nanosecond()), resumed: true}
		if x := e.Extents[0]; len(e.Extents) == 1 {
			r.object, r.offset, r.sum = object(x.Pack), x.Offset, x.Sum
		} else {
			r.pieces = e.Extents
		}
		w.files[e.Path] = r
		w.below(e.Path, 1)
		w.stats.Files++
		w.stats.Bytes += e.Size
		w.stats.Resumed++
		if len(w.files) > w.opts.MaxFiles {
			return fmt.Errorf("an earlier writer of the ID %q has recorded more: %w, %d", w.opts.ID, ErrTooMany, w.opts.MaxFiles)
		}
		return nil
	}
	for _, u := range pending.Uploads(source) {
		if done, err := w.committed(u); err != nil {
			return err
		} else if done {
			continue
		}
		for e, err := range u.Entries(w.ctx) {
			if err != nil {
				return err
			}
			if err := take(e); err != nil {
				return err
			}
		}
	}
	if err := w.recordAnew(); err != nil {
		return err
	}
	return pending.Remove(w.ctx, source)
}

// recordAnew records all files under this Writer's own number.
func (w *Writer) recordAnew() error {
	const batch = 4096
	var entries []*tree.Entry
	for path, r := range w.files {
		if entries = append(entries, w.entry(path, r)); len(entries) == batch {
			if err := w.record(entries); err != nil {
				return err
			}
			entries = nil
		}
	}
	if len(entries) > 0 {
		return w.record(entries)
	}
	return nil
}

// committed reports whether an earlier Writer has made its version, and was ended before
// it could remove its records. Later versions may have other files by now, which these
// must not replace. The version with its number is its own if it has any of the files: a
// Writer that leaves none of them in its version removes its records first.
func (w *Writer) committed(u commit.PendingUpload) (bool, error) {
	prev := w.lease.Previous()
	if prev == nil || u.Number > prev.Number {
		return false, nil
	}
	v, err := w.dataset.Version(w.ctx, u.Number)
	if errors.Is(err, dataset.ErrUnknownVersion) {
		return true, nil // it was removed: if in doubt, files are written again
	}
	if err != nil {
		return false, err
	}
	made := newBase(v)
	for e, err := range u.Entries(w.ctx) {
		if err != nil {
			return false, err
		}
		there, err := made.file(w.ctx, e.Path)
		if err != nil {
			return false, err
		}
		if there != nil && sameContents(e, there) {
			return true, nil
		}
	}
	return false, nil
}

// inVault reports whether the vault has the whole file, as far as that can be
// determined without reading it.
func (w *Writer) inVault(e *tree.Entry) bool {
	at := int64(0)
	for _, x := range e.Extents {
		if size, ok := w.there[x.Pack.ID]; !ok || size != x.Pack.Pin.Size || x.At != at {
			return false
		}
		at += x.Length
	}
	return len(e.Extents) > 0 && at == e.Size
}
