package dataset_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// indexReads counts the parts of indexes that are read.
type indexReads struct {
	vault.Store
	n atomic.Int64
}

func (s *indexReads) Unwrap() vault.Store { return s.Store }

func (s *indexReads) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if strings.Contains(name, "/index/") {
		s.n.Add(1)
	}
	return s.Store.Get(ctx, name, off, n)
}

// Who goes through a version reads each part once, one ahead of its use; who
// looks for one file reads the part that it is in.
func TestEntriesReadAhead(t *testing.T) {
	defer func(n int) { commit.PartEntries = n }(commit.PartEntries)
	commit.PartEntries = 16
	d := datasettest.New(t)
	var entries []*tree.Entry
	for i := range 64 {
		entries = append(entries, &tree.Entry{Path: fmt.Sprintf("%04d/", i), ModTime: time.Unix(1, 0)})
	}
	v := datasettest.Commit(t, d, entries)
	store := &indexReads{Store: objects.Of(d).Vault.Store}
	objects.Of(d).Vault.Store = store
	take := func(from string, most int) (n int, err error) {
		store.n.Store(0)
		for _, err := range v.EntriesFrom(ctx, from) {
			if err != nil {
				return n, err
			}
			if n++; n == most {
				break
			}
		}
		return n, nil
	}
	for _, c := range []struct {
		from              string
		most, want, reads int
	}{
		{"", 1, 1, 1}, {"0020/", 1, 1, 1}, {"", dataset.ReadAhead, dataset.ReadAhead, 1},
		{"", 17, 17, 2}, {"", 0, 64, 4}, {"0015/", 0, 49, 4}, {"0060/", 0, 4, 1}, {"x", 0, 0, 1},
	} {
		n, err := take(c.from, c.most)
		if n != c.want || err != nil || store.n.Load() != int64(c.reads) {
			t.Errorf("%d from %q: %d entries, %v, %d parts read; want %d and %d", c.most, c.from, n, err, store.n.Load(), c.want, c.reads)
		}
	}
	// A part that cannot be read is told in its place.
	if err := store.Delete(ctx, objects.Of(d).IndexName(v.Parts[2].ID)); err != nil {
		t.Fatal(err)
	}
	if n, err := take("", 0); n != 32 || !errors.Is(err, dataset.ErrMissing) {
		t.Errorf("%d entries, then %v; want 32, then that the part is missing", n, err)
	}
	if n, err := take("", 20); n != 20 || err != nil {
		t.Errorf("%d entries, %v; the missing part comes later", n, err)
	}
}
