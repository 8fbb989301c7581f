package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// Large files have many packs, and all of them are in the part of the index
// that names the file. No part may grow past what a reader takes.
func TestPartsOfLargeFiles(t *testing.T) {
	defer func(n int) { partPathLen = n }(partPathLen)
	partPathLen = 64 << 10
	d := newDataset(t)
	key, err := d.set().NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const files, pieces = 50, 100
	w := d.NewIndexWriter(key, nil)
	for i := range files {
		e := &tree.Entry{Path: fmt.Sprintf("%04d", i)}
		for k := range pieces {
			var id envelope.ObjectID
			binary.BigEndian.PutUint32(id[:], uint32(i*pieces+k))
			pack := &tree.Object{ID: id, KeyID: key.ID(), Pin: envelope.Pin{Size: envelope.SealedSize(100)}}
			e.Extents = append(e.Extents, tree.Extent{Pack: pack, Length: 100, At: e.Size})
			e.Size += 100
		}
		if err := w.Add(ctx, e, false, false); err != nil {
			t.Fatal(err)
		}
	}
	parts, _, _, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		b, err := d.set().ReadPinned(ctx, envelope.KindIndex, d.set().IndexName(p.ID), p.Object)
		if err != nil {
			t.Fatal(err)
		}
		if b, err = inflate(b); err != nil || len(b) > 2*partPathLen {
			t.Errorf("a part of %d files has %d bytes, %v", p.Entries, len(b), err)
		}
	}
}

// The dataset's name is bound to its keys even if the user's part of the context
// names another.
func TestContextNamesTheDataset(t *testing.T) {
	d := newDataset(t)
	d.set().Vault.Context = envelope.EncryptionContext{envelope.ContextDataset: "any"}
	key, err := d.set().NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := d.set().Get(ctx, d.set().KeyName(key.ID()), 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(d.set().Vault, "other")
	if err != nil {
		t.Fatal(err)
	}
	write := func(w io.Writer) error { _, err := w.Write(ring); return err }
	if err := d.set().Vault.Put(ctx, other.set().KeyName(key.ID()), write); err != nil {
		t.Fatal(err)
	}
	if _, err := other.set().Key(ctx, key.ID()); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("a keyring moved to another dataset: %v", err)
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
