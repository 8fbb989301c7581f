package commit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/race"
)

// Records of unfinished uploads lie side by side in memory as far as there is room.
// The others are told, and what they name is sent again.
func TestRecordsOfMuchMemory(t *testing.T) {
	race.Skip(t, "the race detector takes memory of its own")
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
	l, err := Begin(ctx, d, "source")
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
	p := pendingOf(t, d)
	if len(p.Unreadable) > 0 {
		t.Fatal(p.Unreadable)
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

// Who ends an upload of one source removes the records of that source alone.
func TestRecordsOfOtherSourcesStay(t *testing.T) {
	d := newDataset(t)
	for _, source := range []string{"a", "b"} {
		l, err := Begin(ctx, d, source)
		if err != nil {
			t.Fatal(err)
		}
		key, err := l.NewKey(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Record(ctx, key, []*tree.Entry{{Path: source}}), l.End(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	of := func(source string) (paths []string) {
		p := pendingOf(t, d)
		for _, u := range p.Uploads(source) {
			for e, err := range u.Entries(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				paths = append(paths, e.Path)
			}
		}
		return paths
	}
	p := pendingOf(t, d)
	if err := p.Remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if a, b := of("a"), of("b"); len(a) > 0 || !slices.Equal(b, []string{"b"}) {
		t.Errorf("the records of a are %v, and those of b %v", a, b)
	}
}

// A record is read again as it was when it was vouched for, and no other in its place.
func TestRecordExchangedMeanwhile(t *testing.T) {
	d, key := recorded(t, "source")
	p := pendingOf(t, d)
	r, _, err := objects.Of(d).ReadRecord(ctx, p.lists[0].name)
	if err != nil {
		t.Fatal(err)
	}
	if r.List, err = codec.EncodeList(codec.PendingFormat, "d", "source", []*tree.Entry{{Path: "planted"}}); err != nil {
		t.Fatal(err)
	}
	b, err := codec.EncodeRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := objects.Of(d).SealData(ctx, key, p.lists[0].name, b); err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range p.Entries(ctx) {
		if n++; !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("the entry %+v is taken, %v", e, err)
		}
	}
	for r, err := range p.Records(ctx, "source") {
		t.Errorf("the record %+v is taken, %v", r, err)
	}
	if n != 1 {
		t.Errorf("%d entries", n)
	}
}
