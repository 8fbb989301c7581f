package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// A DamagedPackError says that a pack does not authenticate, or is missing. It wraps the
// cause.
type DamagedPackError struct {
	Pack envelope.ObjectID
	Err  error
}

func (e *DamagedPackError) Error() string { return e.Err.Error() }

func (e *DamagedPackError) Unwrap() error { return e.Err }

// A KeyringError is returned for a keyring that does not open. It may be damaged, but
// more often the key or the encryption context is wrong.
type KeyringError struct{ error }

func (e *KeyringError) Unwrap() error { return e.error }

// Unauthentic reports whether err means that something was changed or removed.
func Unauthentic(err error) bool {
	var noKey *envelope.NoKeyError
	return !errors.As(err, &noKey) && (errors.Is(err, envelope.ErrAuthentication) || errors.Is(err, ErrMissing))
}

// damagedPack returns err, with the name of the pack, as a *DamagedPackError if the pack
// is damaged.
func (s *Set) damagedPack(pack *tree.Object, err error) error {
	var ring *KeyringError
	if !Unauthentic(err) || errors.As(err, &ring) {
		return err
	}
	return &DamagedPackError{pack.ID, err}
}

// PackReaders returns how many packs are read at once: more than there are cores, since
// each waits in turn for the store, for its own segments and for the disk. openWorkers is
// how many segments of each are opened at once. Together they take about 3 MiB for each
// segment.
func PackReaders() int { return min(max(4, 2*runtime.GOMAXPROCS(0)), 16) }

func openWorkers() int { return min(max(2, 2*runtime.GOMAXPROCS(0)/PackReaders()), 12) }

// OpenPack opens a whole pack. After io.EOF, the caller must compare its Pin.
func (s *Set) OpenPack(ctx context.Context, pack *tree.Object) (*envelope.Reader, io.Closer, error) {
	key, err := s.Key(ctx, pack.KeyID)
	if err != nil {
		return nil, nil, err
	}
	src, err := s.open(ctx, s.PackName(pack.ID), 0, -1)
	if err != nil {
		return nil, nil, s.damagedPack(pack, err)
	}
	r, err := headerOf(*pack, envelope.KindPack).OpenExact(src, key, envelope.Workers(openWorkers()))
	if err != nil {
		src.Close()
		return nil, nil, s.PackError(pack, err)
	}
	return r, src, nil
}

// OpenRange opens n bytes from off of a pack, with one request.
func (s *Set) OpenRange(ctx context.Context, pack *tree.Object, size, off, n int64) (*envelope.Reader, io.Closer, error) {
	key, err := s.Key(ctx, pack.KeyID)
	if err != nil {
		return nil, nil, err
	}
	from, length := envelope.SegmentRange(size, off, n)
	src, err := s.open(ctx, s.PackName(pack.ID), from, length)
	if err != nil {
		return nil, nil, s.damagedPack(pack, err)
	}
	r, err := headerOf(*pack, envelope.KindPack).OpenRange(src, key, size, off, n, envelope.Workers(openWorkers()))
	if err != nil {
		src.Close()
		return nil, nil, s.PackError(pack, err)
	}
	return r, src, nil
}

// PackBytes opens n sealed bytes at offset off of a pack, with one request.
func (s *Set) PackBytes(ctx context.Context, pack *tree.Object, off, n int64) (io.ReadCloser, error) {
	src, err := s.open(ctx, s.PackName(pack.ID), off, n)
	if err != nil {
		return nil, s.damagedPack(pack, err)
	}
	return src, nil
}

// PackOver opens the sealed bytes that src has of a pack whose plaintext is size bytes long.
func (s *Set) PackOver(ctx context.Context, pack *tree.Object, size int64, src io.ReaderAt) (*envelope.ReaderAt, error) {
	key, err := s.Key(ctx, pack.KeyID)
	if err != nil {
		return nil, err
	}
	r, err := headerOf(*pack, envelope.KindPack).OpenAt(src, key, size)
	if err != nil {
		return nil, s.PackError(pack, err)
	}
	return r, nil
}

func (s *Set) PackError(pack *tree.Object, err error) error {
	return s.damagedPack(pack, fmt.Errorf("%s: %w", s.PackName(pack.ID), err))
}

// ContentHash returns a hash for the sums of contents of packs under a data key.
func (s *Set) ContentHash(ctx context.Context, id envelope.KeyID) (*envelope.ContentHash, error) {
	pool, ok := s.hashes.Load(id)
	if ok {
		if h, ok := pool.(*sync.Pool).Get().(*envelope.ContentHash); ok {
			return h, nil
		}
	}
	key, err := s.Key(ctx, id)
	if err != nil {
		return nil, err
	}
	return envelope.NewContentHash(key)
}

// ReleaseHash keeps a hash for the next caller.
func (s *Set) ReleaseHash(id envelope.KeyID, h *envelope.ContentHash) {
	if h == nil {
		return
	}
	h.Reset()
	pool, _ := s.hashes.LoadOrStore(id, new(sync.Pool))
	pool.(*sync.Pool).Put(h)
}

// Packs lists the packs of the dataset in the vault, with their sealed sizes in bytes.
// The list is not authenticated.
func (s *Set) Packs(ctx context.Context) (map[envelope.ObjectID]int64, error) {
	packs := map[envelope.ObjectID]int64{}
	for o, err := range s.Vault.List(ctx, s.Name+"/packs/") {
		if err != nil {
			return nil, fmt.Errorf("listing the packs: %w", err)
		}
		id, err := envelope.ParseObjectID(strings.TrimSuffix(path.Base(o.Name), ".vpk"))
		if err == nil && s.PackName(id) == o.Name {
			packs[id] = o.Size
		}
	}
	return packs, nil
}

// HasPack reports whether the vault has the pack, with its pinned size. A record of
// an unfinished upload may outlive its packs.
func (s *Set) HasPack(ctx context.Context, o *tree.Object) bool {
	got, err := s.Vault.Stat(ctx, s.PackName(o.ID))
	return err == nil && got.Size == o.Pin.Size
}
