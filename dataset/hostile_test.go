package dataset

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
)

// A part that is pinned to a size beyond the bound is refused before anything of it
// is read.
func TestPinOfMuchMemory(t *testing.T) {
	d := newDataset(t)
	o := tree.Object{Pin: envelope.Pin{Size: envelope.SealedSize(codec.MaxList + 1)}}
	if _, err := d.set().ReadIndex(ctx, o); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("a part of %d bytes: %v", o.Pin.Size, err)
	}
}

// Records of unfinished uploads lie side by side in memory as far as there is room.
// The others are told, and what they name is sent again.
func TestRecordsOfMuchMemory(t *testing.T) {
	p := &Pending{}
	for i := range 8 {
		p.lists = append(p.lists, pendingList{name: fmt.Sprint(i), first: "a", last: "z", weight: codec.MaxWeight / 4})
	}
	p.lists = append(p.lists, pendingList{name: "after", first: "zz", last: "zzz", weight: codec.MaxWeight / 4})
	p.arrange()
	if len(p.runs) != 4 || len(p.Unreadable) != 4 || len(p.runs[0]) != 2 {
		t.Errorf("%d runs, %d left out, the first of %d lists", len(p.runs), len(p.Unreadable), len(p.runs[0]))
	}
}

// A checkpoint of any number of files makes records that can be read.
func TestRecordsStayWithinTheBounds(t *testing.T) {
	d := newDataset(t)
	l, err := d.Lease(ctx, "source")
	if err != nil {
		t.Fatal(err)
	}
	defer l.End(ctx)
	key, err := l.NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var entries []*tree.Entry
	path := strings.Repeat("p", 4000)
	for i := range 5000 {
		entries = append(entries, &tree.Entry{Path: fmt.Sprintf("%s%06d", path, i)})
	}
	if err := l.Record(ctx, key, entries); err != nil {
		t.Fatal(err)
	}
	p, err := d.pending(ctx, 0)
	if err != nil || len(p.Unreadable) > 0 {
		t.Fatal(err, p.Unreadable)
	}
	n := 0
	for e, err := range p.Entries(ctx) {
		if err != nil || e.Path != entries[n].Path {
			t.Fatal(err, n)
		}
		n++
	}
	if n != len(entries) || len(p.lists) < 2 {
		t.Errorf("%d of %d entries in %d records", n, len(entries), len(p.lists))
	}
}
