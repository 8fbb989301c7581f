package commit

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// Large files have many packs, and all of them are in the part of the index
// that names the file. No part may grow past what a reader takes.
func TestPartsOfLargeFiles(t *testing.T) {
	defer func(n int) { partPathLen = n }(partPathLen)
	partPathLen = 64 << 10
	d := newDataset(t)
	key, err := objects.Of(d).NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const files, pieces = 50, 100
	w := NewIndex(d, key, nil)
	for i := range files {
		e := &tree.Entry{Path: fmt.Sprintf("%04d", i)}
		for k := range pieces {
			var id envelope.ObjectID
			binary.BigEndian.PutUint32(id[:], uint32(i*pieces+k))
			pack := &tree.Object{ID: id, KeyID: key.ID(), Pin: envelope.Pin{Size: envelope.SealedSize(100)}}
			e.Extents = append(e.Extents, tree.Extent{Pack: pack, Length: 100, At: e.Size})
			e.Size += 100
		}
		if err := w.Add(ctx, e, Step{}); err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Parts {
		b, err := objects.Of(d).ReadPinned(ctx, envelope.KindIndex, objects.Of(d).IndexName(p.ID), p.Object)
		if err != nil {
			t.Fatal(err)
		}
		if b, err = inflate(b); err != nil || len(b) > 2*partPathLen {
			t.Errorf("a part of %d files has %d bytes, %v", p.Entries, len(b), err)
		}
	}
}

func inflate(list []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(list, nil)
}
