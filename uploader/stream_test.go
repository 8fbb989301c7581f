package uploader_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// A stream of any length comes back, is counted as it is, and as a dry run has said.
func TestStreamsOfAllLengths(t *testing.T) {
	const pack = 64 << 10
	v := newVault(t)
	for i, size := range []int{0, 1, pack - 1, pack, pack + 1, 3 * pack, 3*pack + 7} {
		data := treetest.Bytes(int64(size), byte(i))
		opts := uploader.Options{PackSize: pack, AllowEmpty: true, Checksum: i%2 == 0, Progress: &uploader.Progress{}, DryRun: true}
		run := func() *uploader.Result {
			res, err := uploader.UploadStream(ctx, open(t, v, "d"), bytes.NewReader(data), "dir/s", opts)
			if err != nil {
				t.Fatal(err)
			}
			if opts.Progress.Stats() != res.Stats {
				t.Errorf("%d bytes: the progress ends with %+v, the result has %+v", size, opts.Progress.Stats(), res.Stats)
			}
			return res
		}
		planned := run()
		opts.DryRun = false
		res := run()
		want := uploader.Stats{Files: 1, Bytes: int64(size), SentFiles: 1, SentBytes: int64(size), Packs: int64(max(1, (size+pack-1)/pack)), Changed: 1}
		if want.SealedBytes = res.Version.Totals.SealedBytes; i == 0 {
			want.Added, want.Changed = 1, 0
		}
		if planned.Stats != want || res.Stats != want {
			t.Errorf("%d bytes:\nplanned %+v\nrun     %+v\nwant    %+v", size, planned.Stats, res.Stats, want)
		}
		e, err := res.Version.Lookup(ctx, "dir/s")
		if err != nil {
			t.Fatal(err)
		}
		var back bytes.Buffer
		if err := res.Version.WriteFile(ctx, &back, e); err != nil || !bytes.Equal(back.Bytes(), data) || e.Size != int64(size) || (e.Sum != nil) != opts.Checksum {
			t.Errorf("%d bytes: %d came back, %v, entry %+v", size, back.Len(), err, e)
		}
	}
}

// A stream's next pack is read while the one before is still on its way, and no more
// packs than Concurrency are: that is what bounds its memory.
func TestStreamsKeepToTheirConcurrency(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		v := newVault(t)
		slow := &slowStore{Store: v.Store, full: make(chan struct{}), want: n}
		v.Store = slow
		data := treetest.Bytes(40<<10, 1)
		if _, err := uploader.UploadStream(ctx, open(t, v, "d"), bytes.NewReader(data), "s", uploader.Options{PackSize: 4 << 10, Concurrency: n}); err != nil {
			t.Fatal(err)
		}
		if slow.most != n {
			t.Errorf("%d packs were on their way at once, want %d", slow.most, n)
		}
	}
}

// A slowStore keeps each pack on its way until so many are as are wanted, and then
// lets all go.
type slowStore struct {
	vault.Store
	want int
	full chan struct{}

	mu        sync.Mutex
	now, most int
}

func (s *slowStore) Unwrap() vault.Store { return s.Store }

func (s *slowStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if !strings.Contains(name, "/packs/") {
		return s.Store.Put(ctx, name, write)
	}
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	if s.now == s.want && s.most == s.want {
		select {
		case <-s.full:
		default:
			close(s.full)
		}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	return s.Store.Put(ctx, name, func(w io.Writer) error {
		if err := write(w); err != nil {
			return err
		}
		select {
		case <-s.full:
			runtime.Gosched()
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// A stream that fails in its midst makes no version.
func TestStreamsThatFail(t *testing.T) {
	v := newVault(t)
	broken := errors.New("broken")
	for _, at := range []int{0, 1, 4 << 10, 9000} {
		r := io.MultiReader(bytes.NewReader(make([]byte, at)), iotestErr{broken})
		_, err := uploader.UploadStream(ctx, open(t, v, "d"), r, "s", uploader.Options{PackSize: 4 << 10})
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", at, err)
		}
	}
	if _, err := uploader.UploadStream(ctx, open(t, v, "d"), nil, "s", uploader.Options{}); err == nil {
		t.Error("no reader was taken")
	}
	if n, err := open(t, v, "d").Versions(ctx); err != nil || len(n) != 0 {
		t.Errorf("versions %v, %v", n, err)
	}
}

type iotestErr struct{ err error }

func (r iotestErr) Read([]byte) (int, error) { return 0, fmt.Errorf("reading: %w", r.err) }
