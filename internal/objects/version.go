package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/signing"
)

// A Root is the root of a version, with its data key, its exact bytes, and its signer.
type Root struct {
	*codec.Root
	KeyID envelope.KeyID
	Pin   envelope.Pin

	Chain  *chain.Chain
	Signer signing.PublicKey
	// Statement is the signed statement about it.
	Statement string
	// Grants are the grants of the data keys that it names.
	Grants  []chain.Grant
	granted map[envelope.KeyID]*chain.Grant
}

// A DamagedError says that a version cannot be read: its root, or a part of its index,
// does not authenticate, or is missing. It wraps the cause.
type DamagedError struct {
	Dataset string
	Number  int64
	Err     error
}

func (e *DamagedError) Error() string { return e.Err.Error() }

func (e *DamagedError) Unwrap() error { return e.Err }

// ReadRoot reads the root of a version.
func (s *Set) ReadRoot(ctx context.Context, number int64) (*Root, error) {
	return s.readRoot(ctx, number, nil)
}

func (s *Set) readRoot(ctx context.Context, number int64, listed Numbers) (*Root, error) {
	name := s.VersionName(number)
	b, err := s.Get(ctx, name, codec.MaxRoot)
	if errors.Is(err, ErrMissing) {
		all, lerr := s.Numbers(ctx)
		if lerr != nil {
			return nil, lerr
		}
		numbers := all.Versions()
		switch {
		case len(numbers) == 0:
			return nil, fmt.Errorf("dataset %q: %w", s.Name, ErrUnknownDataset)
		case !slices.Contains(numbers, number):
			return nil, fmt.Errorf("version %d of dataset %q, whose newest is %d: %w",
				number, s.Name, numbers[len(numbers)-1], ErrUnknownVersion)
		}
		// It was listed, so it was only just made, or the vault withholds it.
		b, err = s.Get(ctx, name, codec.MaxRoot)
	}
	if err != nil {
		return nil, s.Damaged(number, err)
	}
	if mark := string(b); mark == codec.ClosedMark || mark == codec.RemovedMark {
		return nil, s.Marked(number, mark)
	}
	v, err := s.parseRoot(ctx, number, b)
	if err != nil {
		return nil, s.Damaged(number, fmt.Errorf("%s: %w", name, Tampered(err)))
	}
	if err := s.Believe(ctx, v, listed); err != nil {
		return nil, s.Damaged(number, err)
	}
	return v, nil
}

func (s *Set) parseRoot(ctx context.Context, number int64, sealed []byte) (*Root, error) {
	src := bytes.NewReader(sealed)
	h, err := envelope.ReadHeader(src)
	if err != nil {
		return nil, err
	}
	if h.Keyring != nil {
		return nil, envelope.ErrAuthentication // it would open, but no writer puts one there
	}
	key, err := s.Key(ctx, h.KeyID)
	if err != nil {
		return nil, err
	}
	r, err := h.Open(src, envelope.KindVersion, key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	root, err := s.OpenRoot(number, b, h.KeyID)
	if err != nil {
		return nil, err
	}
	root.Pin = r.Pin()
	return root, nil
}

// OpenRoot reads the plaintext of a root that was sealed under the data key with this
// ID. Nothing in it is used before it is believed.
func (s *Set) OpenRoot(number int64, b []byte, id envelope.KeyID) (*Root, error) {
	root, err := s.openRoot(number, b)
	if err != nil {
		return nil, err
	}
	root.KeyID = id
	if err := root.Names(id); err != nil {
		return nil, err
	}
	return root, s.areOpen(root.Grants)
}

// Newest reads the root of the newest version. It returns ErrUnknownDataset if there is
// none, and a *[RollbackError] if the newest version is older than one that has been
// seen.
func (s *Set) Newest(ctx context.Context, all Numbers) (*Root, error) {
	known, err := s.Known(ctx)
	if err != nil {
		return nil, err
	}
	versions := append([]int64{0}, all.Versions()...)
	if n := versions[len(versions)-1]; n < known.Number {
		return nil, &RollbackError{s.Name, n, known.Number}
	}
	for _, t := range slices.Backward(all) {
		if t.Mark == "" {
			return s.readRoot(ctx, t.Number, all)
		}
		if err := s.CheckMark(ctx, t); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("dataset %q: %w", s.Name, ErrUnknownDataset)
}

// CheckMark reads a mark, so that an object that was merely truncated to a mark's size
// does not count as one.
func (s *Set) CheckMark(ctx context.Context, t Taken) error {
	b, err := s.Get(ctx, s.VersionName(t.Number), codec.MaxRoot)
	if err == nil && string(b) != t.Mark {
		_, err = s.parseRoot(ctx, t.Number, b)
		if err == nil {
			err = fmt.Errorf("it is not what the vault lists: %w", ErrConflict)
		}
		err = fmt.Errorf("%s: %w", s.VersionName(t.Number), Tampered(err))
	}
	return s.Damaged(t.Number, err)
}

// Marked returns the error that says why a number with a mark is not a version.
func (s *Set) Marked(number int64, mark string) error {
	if mark == codec.RemovedMark {
		return fmt.Errorf("version %d of dataset %q was removed: %w", number, s.Name, ErrUnknownVersion)
	}
	return fmt.Errorf("number %d of dataset %q was closed by a collection: %w", number, s.Name, ErrUnknownVersion)
}

// Damaged returns err as a *DamagedError if the version is damaged.
func (s *Set) Damaged(number int64, err error) error {
	var ring *KeyringError
	var known *DamagedError
	if !Unauthentic(err) || errors.As(err, &known) || errors.As(err, &ring) && !errors.Is(err, ErrMissing) {
		return err
	}
	return &DamagedError{s.Name, number, err}
}
