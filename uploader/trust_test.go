package uploader

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// A file is believed to be what it was by its times only if no further change could
// have left them as they are.
func TestTrust(t *testing.T) {
	now := time.Now()
	old := now.Add(-time.Hour)
	entry := func(modified, changed time.Time) *tree.Entry {
		return &tree.Entry{Path: "f", Size: 5, Mode: 0o644, ModTime: modified,
			Seen:   tree.Seen{Host: "h", Inode: 7, ChangeTime: changed},
			Recent: recent(modified) || recent(changed)}
	}
	for name, c := range map[string]struct {
		then   *tree.Entry
		change func(now, then *tree.Entry)
		want   bool
	}{
		"settled":                     {entry(old, old), nil, true},
		"settled for 3 s":             {entry(now.Add(-3*time.Second), now.Add(-3*time.Second)), nil, true},
		"changed 1.9 s before":        {entry(now.Add(-1900*time.Millisecond), now.Add(-1900*time.Millisecond)), nil, false},
		"changed a moment ago":        {entry(old, now), nil, false},
		"modified a moment ago":       {entry(now, old), nil, false},
		"a clock that is ahead":       {entry(now.Add(time.Minute), old), nil, false},
		"a date in the future":        {entry(now.Add(24*time.Hour), old), nil, true},
		"another inode":               {entry(old, old), func(n, _ *tree.Entry) { n.Seen.Inode++ }, false},
		"another change time":         {entry(old, old), func(n, _ *tree.Entry) { n.Seen.ChangeTime = now }, false},
		"another machine's inode":     {entry(old, old), func(n, th *tree.Entry) { n.Seen.Inode++; th.Seen.Host = "other" }, true},
		"another size":                {entry(old, old), func(n, _ *tree.Entry) { n.Size++ }, false},
		"another mode":                {entry(old, old), func(n, _ *tree.Entry) { n.Mode = 0o600 }, false},
		"another time":                {entry(old, old), func(n, _ *tree.Entry) { n.ModTime = n.ModTime.Add(1) }, false},
		"kept from before":            {entry(old, old), func(_, th *tree.Entry) { th.Flaw = tree.FlawKept }, false},
		"read while it was written":   {entry(old, old), func(_, th *tree.Entry) { th.Flaw = tree.FlawTorn }, false},
		"of another machine, changed": {entry(now, now), func(_, th *tree.Entry) { th.Seen.Host = "other" }, false},
	} {
		e := *c.then
		if c.change != nil {
			c.change(&e, c.then)
		}
		if got := (&upload{}).trusts(&e, c.then); got != c.want {
			t.Errorf("%s: trusted %v, want %v", name, got, c.want)
		}
		if (&upload{Options: Options{Checksum: true}}).trusts(&e, c.then) {
			t.Errorf("%s: trusted though all files are to be read", name)
		}
	}
}

// What the walk finds of a file that has just been written is recent, and of one
// that was written long ago is not.
func TestRecentFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want bool
	}{{name, true}, {"/etc/passwd", false}} {
		info, err := os.Stat(c.name)
		if err != nil {
			t.Fatal(err)
		}
		e := &tree.Entry{}
		describe(e, info, "h")
		if e.Recent != c.want {
			t.Errorf("%s: recent %v", c.name, e.Recent)
		}
	}
}

func TestSeries(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  bool
	}{
		{[]string{"img.001.jpg", "img.002.jpg"}, true},
		{[]string{"train.tfrecord-01-of-12", "train.tfrecord-02-of-12"}, true},
		{[]string{"log.1", "log.2", "log.10"}, true},
		{[]string{"000.jpg", "000.json"}, false},
		{[]string{"000.jpg", "000.cls.txt", "000.seg.png", "000.seg2.png.txt"}, false},
		{[]string{"a", "a.txt"}, false},
		{[]string{"0001.mp4"}, false},
	} {
		var items []*item
		for _, name := range c.names {
			items = append(items, &item{entry: &tree.Entry{Path: "dir.1/" + name}})
		}
		if got := series(items); got != c.want {
			t.Errorf("series(%q) = %v", c.names, got)
		}
	}
}

// Extents are taken for a file only if they are all of it, in order.
func TestWholeFile(t *testing.T) {
	at := func(at, n int64) tree.Extent { return tree.Extent{At: at, Length: n} }
	for _, c := range []struct {
		extents []tree.Extent
		want    bool
	}{
		{[]tree.Extent{at(0, 10)}, true},
		{[]tree.Extent{at(0, 4), at(4, 6)}, true},
		{nil, false},
		{[]tree.Extent{at(0, 9)}, false},
		{[]tree.Extent{at(0, 11)}, false},
		{[]tree.Extent{at(4, 6)}, false},
		{[]tree.Extent{at(0, 4), at(5, 6)}, false},
		{[]tree.Extent{at(4, 6), at(0, 4)}, false},
	} {
		if got := wholeFile(&tree.Entry{Size: 10, Extents: c.extents}); got != c.want {
			t.Errorf("%v: %v", c.extents, got)
		}
	}
}
