package commit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// recorded is a dataset with an upload that was broken off after it had recorded a file, and
// the data key of that.
func recorded(t *testing.T, source string) (*dataset.Dataset, *envelope.DataKey) {
	t.Helper()
	d := newDataset(t)
	l, err := Begin(ctx, d, source)
	if err != nil {
		t.Fatal(err)
	}
	key, err := l.NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Record(ctx, key, []*tree.Entry{{Path: "a"}}), l.End(ctx)); err != nil {
		t.Fatal(err)
	}
	return d, key
}

// Every way to change a pending record makes it one that cannot be read, never
// one that is believed, nor one that stops an upload.
func TestPendingRecordChanged(t *testing.T) {
	d, key := recorded(t, "src")
	files, err := filepath.Glob(filepath.Join(objects.Of(d).Vault.Location, "d/pending/*/*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	ring, err := os.ReadFile(filepath.Join(objects.Of(d).Vault.Location, objects.Of(d).KeyName(key.ID())))
	if err != nil {
		t.Fatal(err)
	}
	withRing := bytes.Clone(good[:envelope.HeaderSize])
	withRing[62], withRing[63] = byte(len(ring)>>8), byte(len(ring))
	withRing = append(append(withRing, ring...), good[envelope.HeaderSize:]...)
	// An index part is of the same kind.
	part, err := codec.EncodeList(codec.IndexFormat, "d", "", []*tree.Entry{{Path: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	var index bytes.Buffer
	w, err := envelope.NewWriter(&index, envelope.KindIndex, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(part); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{"with a keyring": withRing, "empty": {}, "an index part": index.Bytes()}
	for i := range good {
		bad[fmt.Sprintf("byte %d changed", i)] = append(append(bytes.Clone(good[:i]), good[i]^1), good[i+1:]...)
	}
	broken := "0000000001-" + strings.Repeat("u", 26)
	for what, b := range bad {
		err := objects.Of(d).Vault.Put(ctx, "d/pending/"+broken+"/00000001.vpk", func(w io.Writer) error { _, err := w.Write(b); return err })
		if err != nil {
			t.Fatal(err)
		}
		p := pendingOf(t, d)
		if len(p.lists) != 1 || len(p.Unreadable) != 1 {
			t.Fatalf("%s: %d lists, unreadable %v", what, len(p.lists), p.Unreadable)
		}
		// Where the key ID is another, there is no such keyring.
		if err := p.Unreadable[0]; !errors.Is(err, envelope.ErrAuthentication) && !errors.Is(err, dataset.ErrMissing) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// pendingOf is what an upload that begins now finds.
func pendingOf(t *testing.T, d *dataset.Dataset) *Pending {
	t.Helper()
	l, err := Begin(ctx, d, "reader")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.End(ctx); err != nil {
		t.Fatal(err)
	}
	return l.Pending()
}
