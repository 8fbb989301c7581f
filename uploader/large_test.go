package uploader_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// A smallPacks keeps packs of up to 64 MiB, and of the others only that they were sent.
type smallPacks struct{ vault.Store }

func (s smallPacks) Unwrap() vault.Store { return s.Store }

func (s smallPacks) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if !strings.Contains(name, "/packs/") {
		return s.Store.Put(ctx, name, write)
	}
	var kept firstBytes
	if err := write(&kept); err != nil {
		return err
	}
	if kept.more {
		return nil
	}
	return s.Store.Put(ctx, name, func(w io.Writer) error { _, err := w.Write(kept.Bytes()); return err })
}

// A firstBytes is a Buffer that lets go of what it has when that becomes too much.
type firstBytes struct {
	bytes.Buffer
	more bool
}

func (b *firstBytes) Write(p []byte) (int, error) {
	if b.more = b.more || b.Len()+len(p) > 64<<20; b.more {
		b.Buffer = bytes.Buffer{}
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// Offsets in a file, and its size, do not end at 4 GiB.
func TestPastFourGiB(t *testing.T) {
	race.Skip(t, "it takes a minute with it")
	t.Parallel()
	const size = 4<<30 + 16<<20
	src := t.TempDir()
	f, err := os.Create(filepath.Join(src, "large"))
	if err != nil {
		t.Fatal(err)
	}
	end := treetest.Bytes(6<<20, 1) // what comes before it is a hole
	_, err = f.WriteAt(end, size-int64(len(end)))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	v := newVault(t)
	v.Store = smallPacks{v.Store}
	_, res := upload(t, v, "d", src, func(o *uploader.Options) { o.PackSize = 512 << 20 })
	files, err := view.Open(t.Context(), res.Version, view.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	large, err := files.Open("large")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := large.Stat(); err != nil || info.Size() != size {
		t.Fatalf("%v, %v", info, err)
	}
	got := make([]byte, len(end))
	if n, err := large.(io.ReaderAt).ReadAt(got, size-int64(len(end))); n != len(end) || err != nil && err != io.EOF || !bytes.Equal(got, end) {
		t.Errorf("%d bytes, %v; they are those of the source: %v", n, err, bytes.Equal(got, end))
	}
	if n, err := large.(io.ReaderAt).ReadAt(got, size); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
}
