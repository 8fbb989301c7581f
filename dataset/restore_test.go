package dataset

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Folders have their modes and times in the end, those too that are too many to be
// kept in memory.
func TestRestoreFolders(t *testing.T) {
	defer func(n int) { maxFolders = n }(maxFolders)
	maxFolders = 3
	d := newDataset(t)
	var entries []*Entry
	for i, p := range []string{"", "a/", "a/b/", "a/b/c/", "a/d/", "b/", "b/e/", "c/"} {
		entries = append(entries, &Entry{Path: p, Mode: fs.FileMode(0o700 + i), ModTime: time.Unix(int64(1000+i), int64(i))})
	}
	v := commitEntries(t, d, entries)
	dir := filepath.Join(t.TempDir(), "out")
	r := &Restore{Failed: func(path string, err error) { t.Errorf("%s: %v", path, err) }}
	if err := r.Run(ctx, v, dir); err != nil {
		t.Fatal(err)
	}
	if n := r.Folders.Load(); n != int64(len(entries)) {
		t.Errorf("%d folders were restored of %d", n, len(entries))
	}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Path))
		if err != nil || info.Mode().Perm() != e.Mode || !info.ModTime().Equal(e.ModTime) {
			t.Errorf("%q: %v, %v %v, want %v %v", e.Path, err, info.Mode(), info.ModTime(), e.Mode, e.ModTime)
		}
	}
}

// commitEntries makes the first version of a dataset, of entries without contents.
func commitEntries(t *testing.T, d *Dataset, entries []*Entry) *Version {
	t.Helper()
	l, err := d.Lease(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.End(ctx)
	key, err := l.NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := d.NewIndexWriter(key, nil)
	for _, e := range entries {
		if err := w.Add(ctx, e, false, false); err != nil {
			t.Fatal(err)
		}
	}
	parts, totals, _, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := l.Commit(ctx, key, parts, totals, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
