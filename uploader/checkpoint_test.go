package uploader

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
)

// An interruption in the middle of a record loses nothing of what that record
// was to hold.
func TestRecordBrokenOff(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	v, _, err := config.Init(ctx, &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Open(v, "d")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := commit.Begin(ctx, d, "source")
	if err != nil {
		t.Fatal(err)
	}
	key, err := l.NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	u := &upload{dataset: d, key: key}
	c := newCheckpointer(l, key, 1)
	pack := func(n byte) *tree.Object {
		return &tree.Object{ID: envelope.ObjectID{n}, KeyID: key.ID(), Pin: envelope.Pin{Size: envelope.SealedSize(10)}}
	}
	small, large := &item{entry: &tree.Entry{Path: "a", Size: 10}}, &item{entry: &tree.Entry{Path: "b", Size: 20}}
	small.entry.Extents = []tree.Extent{{Pack: pack(1), Length: 10}}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for i, j := range []*job{
		{items: []*item{small}, pack: pack(1)},
		{items: []*item{large}, pack: pack(2), piece: true, extent: tree.Extent{Pack: pack(2), Length: 10}},
		{items: []*item{large}, pack: pack(3), piece: true, extent: tree.Extent{Pack: pack(3), Length: 10, At: 10}},
		{items: []*item{large}, piece: true}, // under way
	} {
		if i == 2 {
			if err := c.record(cancelled, c.waiting[0]); err == nil {
				t.Fatal("a record was written with a cancelled context")
			}
		}
		if j.done = make(chan struct{}); j.pack != nil {
			u.packDone(j, j.items)
			close(j.done)
		}
		now := ctx
		if i >= 2 {
			now = cancelled // there is nobody any more who records what is due
		}
		if err := c.began(now, j); err != nil && now == ctx {
			t.Fatal(err)
		}
	}
	close(c.due)
	if err := c.run(cancelled); err == nil {
		t.Error("what was due was recorded with a cancelled context")
	}
	c.interrupted(cancelled)
	next, err := commit.Begin(ctx, d, "source")
	if err := errors.Join(err, l.End(ctx)); err != nil {
		t.Fatal(err)
	}
	defer next.End(ctx)
	p := next.Pending()
	if len(p.Unreadable) > 0 {
		t.Fatal(p.Unreadable)
	}
	got := map[string]int{}
	for e, err := range p.Entries(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Path] += len(e.Extents)
	}
	if len(got) != 2 || got["a"] != 1 || got["b"] != 2 {
		t.Errorf("extents recorded: %v", got)
	}
}
