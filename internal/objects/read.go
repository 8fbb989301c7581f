package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
)

// Tampered turns the error for a malformed object into the one for an object that does
// not authenticate. In a vault, both mean that somebody changed it.
func Tampered(err error) error {
	if errors.Is(err, envelope.ErrFormat) || errors.Is(err, envelope.ErrNoKeyring) {
		return envelope.ErrAuthentication
	}
	return err
}

// Get reads a small object completely.
func (s *Set) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	r, err := s.open(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", name, limit, envelope.ErrAuthentication)
	}
	return b, nil
}

// open reads an object that the dataset names.
func (s *Set) open(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := s.Vault.Get(ctx, name, off, n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, nil
}

// ReadIndex reads and checks a part of an index.
func (s *Set) ReadIndex(ctx context.Context, part tree.Part) ([]*tree.Entry, error) {
	o := part.Object
	b, err := s.ReadPinned(ctx, envelope.KindIndex, s.IndexName(o.ID), o)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(b) != part.Sum {
		return nil, fmt.Errorf("%s: %w", s.IndexName(o.ID), envelope.ErrAuthentication)
	}
	_, entries, err := codec.DecodeList(codec.IndexFormat, s.Name, b)
	if err != nil {
		return nil, s.malformed(o, err)
	}
	for _, e := range entries {
		if err := codec.CheckExtents(e); err != nil {
			return nil, s.malformed(o, err)
		}
	}
	return entries, nil
}

// malformed returns the error for a part that no honest writer would make. Its bytes
// are authentic, so it was made by somebody who holds the key.
func (s *Set) malformed(o tree.Object, err error) error {
	if errors.Is(err, envelope.ErrAuthentication) {
		return fmt.Errorf("%s: %w", s.IndexName(o.ID), err)
	}
	return fmt.Errorf("%s: %w: %w", s.IndexName(o.ID), err, envelope.ErrAuthentication)
}

// ReadPinned reads a whole pinned object into memory.
func (s *Set) ReadPinned(ctx context.Context, kind envelope.Kind, name string, o tree.Object) ([]byte, error) {
	size, err := o.PlaintextSize()
	if err != nil || size > codec.MaxList {
		return nil, fmt.Errorf("%s has a size of %d bytes, and the bound is %d: %w", name, o.Pin.Size, codec.MaxList, envelope.ErrAuthentication)
	}
	key, err := s.Key(ctx, o.KeyID)
	if err != nil {
		return nil, err
	}
	src, err := s.open(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	r, err := headerOf(o, kind).OpenExact(src, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var b bytes.Buffer
	b.Grow(int(size) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(r, size+1)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(b.Len()) != size || r.Pin() != o.Pin {
		return nil, fmt.Errorf("%s: %w", name, envelope.ErrAuthentication)
	}
	return b.Bytes(), nil
}

// headerOf returns the header that the object must have.
func headerOf(o tree.Object, kind envelope.Kind) envelope.Header {
	return envelope.Header{Kind: kind, KeyID: o.KeyID, ObjectID: o.ID}
}

// ReadRecord reads a record of an unfinished upload, and returns the data key that it is
// sealed under. The caller checks who signed it.
func (s *Set) ReadRecord(ctx context.Context, name string) (r *codec.Record, id envelope.KeyID, err error) {
	b, id, err := s.ReadSealed(ctx, name, codec.MaxList)
	if err != nil {
		return nil, id, err
	}
	r, err = codec.DecodeRecord(b)
	return r, id, err
}

// Listed returns the entries of a record of an unfinished upload.
func (s *Set) Listed(r *codec.Record) (codec.Header, []*tree.Entry, error) {
	return codec.DecodeList(codec.PendingFormat, s.Name, r.List)
}

// ReadPrivateList reads a list in the format of records. Nobody else can have
// written it: it is not in a vault.
func (s *Set) ReadPrivateList(ctx context.Context, name string) (h codec.Header, entries []*tree.Entry, err error) {
	b, _, err := s.ReadSealed(ctx, name, codec.MaxList)
	if err != nil {
		return h, nil, err
	}
	return codec.DecodeList(codec.PendingFormat, s.Name, b)
}

// ReadSealed reads a whole object of kind index that nothing pins, and returns the data
// key that it is sealed under. Only its contents identify it: another object of that kind
// may be in its place.
func (s *Set) ReadSealed(ctx context.Context, name string, limit int64) (b []byte, id envelope.KeyID, err error) {
	src, err := s.open(ctx, name, 0, -1)
	if err != nil {
		return nil, id, err
	}
	defer src.Close()
	header, err := envelope.ReadHeader(src)
	if err != nil {
		return nil, id, err
	}
	if header.Keyring != nil {
		return nil, id, envelope.ErrAuthentication // no writer puts one there
	}
	key, err := s.Key(ctx, header.KeyID)
	if err != nil {
		return nil, id, err
	}
	r, err := header.Open(src, envelope.KindIndex, key)
	if err != nil {
		return nil, id, err
	}
	b, err = io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = codec.Beyond("more bytes", int(limit))
	}
	return b, header.KeyID, err
}
