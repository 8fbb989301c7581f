package codec

import (
	"bytes"
	"io/fs"
	"reflect"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

func TestListRoundTrip(t *testing.T) {
	pack := &tree.Object{ID: envelope.ObjectID{1}, KeyID: envelope.KeyID{2}, Pin: envelope.Pin{Size: envelope.SealedSize(100), Digest: [32]byte{3}}}
	want := []*tree.Entry{
		{Path: "", Mode: 0o755, ModTime: time.Unix(-5, 7)},
		{Path: "\xff/", Mode: 0o700 | fs.ModeSticky | fs.ModeSetgid | fs.ModeSetuid, ModTime: time.Unix(1<<40, 0)},
		{Path: "\xff/line\nbreak", Size: 10, ModTime: time.Unix(0, 999999999), Sum: make([]byte, 32),
			Extents: []tree.Extent{{Pack: pack, Offset: 90, Length: 10}},
			Seen:    tree.Seen{Host: "h", Inode: 1<<64 - 1, ChangeTime: time.Unix(1, 2)}, Recent: true, Flaw: tree.FlawTorn},
		{Path: "\xff/link", Mode: 0o777, Link: "\xfe<&>\u2028", ModTime: time.Unix(0, 0)},
		{Path: "\xff/often", Size: 20, ModTime: time.Unix(0, 0), Extents: []tree.Extent{
			{Pack: pack, Length: 10, Sum: envelope.ContentSum{1}}, {Pack: pack, Length: 10, At: 10, Sum: envelope.ContentSum{255}}}},
		{Path: "\xff/piece", Size: 50, ModTime: time.Unix(0, 0), Extents: []tree.Extent{{Pack: pack, Length: 10, At: 40}}},
	}
	b, err := EncodeList(PendingFormat, "d", "src", want)
	if err != nil {
		t.Fatal(err)
	}
	h, got, err := DecodeList(PendingFormat, "d", b)
	if err != nil || h.Source != "src" {
		t.Fatal(err, h)
	}
	if !reflect.DeepEqual(got, want) {
		for i := range want {
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
	for _, other := range [][2]string{{IndexFormat, "d"}, {PendingFormat, "e"}} {
		if _, _, err := DecodeList(other[0], other[1], b); err == nil {
			t.Errorf("taken for %v", other)
		}
	}
}

func TestEntriesThatCannotBeRestored(t *testing.T) {
	for _, p := range []string{"/", "/a", "a//b", "a/./b", "./a", "..", "../a", "a/..", "a/../b", "a\x00b", "//"} {
		if Check(&tree.Entry{Path: p}) == nil {
			t.Errorf("path %q was taken", p)
		}
	}
	for _, p := range []string{"", "a", "a/", "a/b/", "...", "..a", "a..", "-", " "} {
		if err := Check(&tree.Entry{Path: p}); err != nil {
			t.Error(err)
		}
	}
	pack := &tree.Object{Pin: envelope.Pin{Size: envelope.SealedSize(100)}}
	for _, e := range []*tree.Entry{
		{Path: "a", Size: 5},
		{Path: "a", Size: 5, Extents: []tree.Extent{{Pack: pack, Offset: 96, Length: 5}}},
		{Path: "a", Size: 5, Extents: []tree.Extent{{Pack: pack, Offset: -1, Length: 5}}},
		{Path: "a", Size: 5, Extents: []tree.Extent{{Pack: pack, Length: 1<<63 - 1}}},
		{Path: "a", Size: 0, Extents: []tree.Extent{{Pack: pack, Length: 5}, {Pack: pack, Length: -5, At: 5}}},
		{Path: "a", Size: 5, Extents: []tree.Extent{{Pack: pack, Length: 5, At: 1}}},
	} {
		if CheckExtents(e) == nil {
			t.Errorf("extents %v of %d bytes were taken", e.Extents, e.Size)
		}
	}
}

// What no list may hold is refused when it is read. Whoever holds a data key can seal
// any.
func TestListsThatAreRefused(t *testing.T) {
	pack := &tree.Object{ID: envelope.ObjectID{1}, KeyID: envelope.KeyID{2}, Pin: envelope.Pin{Size: envelope.SealedSize(100)}}
	summed := tree.Extent{Pack: pack, Length: 10, Sum: envelope.ContentSum{1}}
	more := summed
	more.At = 10
	sound := []*tree.Entry{
		{Path: "a", ModTime: time.Unix(0, 0)},
		{Path: "b", Size: 20, ModTime: time.Unix(0, 0), Extents: []tree.Extent{summed, more}},
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	sealed, err := EncodeList(IndexFormat, "d", "", sound)
	if err != nil {
		t.Fatal(err)
	}
	text, err := dec.DecodeAll(sealed, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sumEncoding.EncodeToString(summed.Sum[:])
	for what, c := range map[string]struct{ old, now string }{
		"as it was":             {`"path":"a"`, `"path":"a"`},
		"a path twice":          {`"path":"a"`, `"path":"b"`},
		"paths out of order":    {`"path":"a"`, `"path":"c"`},
		"a sum for one extent":  {`,"` + sum + `"]`, `]`},
		"a sum for none":        {`"extents":[[0,0,10],[0,0,10]],`, ``},
		"a sum too long":        {`"` + sum + `"]`, `"` + sum + `A"]`},
		"a pack that is no one": {`[[0,0,10]`, `[[1,0,10]`},
		"a pack below zero":     {`[[0,0,10]`, `[[-1,0,10]`},
	} {
		changed := bytes.Replace(text, []byte(c.old), []byte(c.now), 1)
		if !bytes.Contains(text, []byte(c.old)) {
			t.Fatalf("%s: there is no %s in %s", what, c.old, text)
		}
		if _, _, err := DecodeList(IndexFormat, "d", enc.EncodeAll(changed, nil)); (err == nil) != (c.old == c.now) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
