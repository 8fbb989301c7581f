package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/vault"
)

// WritePack seals what fill writes as a new pack. If fill fails, nothing is stored. Every
// call makes a new object ID, so data that is read again from its source is sealed as
// another object.
func (s *Set) WritePack(ctx context.Context, key *envelope.DataKey, fill func(io.Writer) error, opts ...envelope.Option) (tree.Object, error) {
	return s.Seal(ctx, envelope.KindPack, key, s.PackName, fill, opts...)
}

func (s *Set) Seal(ctx context.Context, kind envelope.Kind, key *envelope.DataKey, name func(envelope.ObjectID) string, fill func(io.Writer) error, opts ...envelope.Option) (tree.Object, error) {
	// The name contains the object ID, so the header is made before the object.
	var dst lateWriter
	w, err := envelope.NewWriter(&dst, kind, key, opts...)
	if err != nil {
		return tree.Object{}, err
	}
	defer w.Abort()
	id := w.Header().ObjectID
	err = s.Vault.Put(ctx, name(id), func(to io.Writer) error {
		if err := dst.begin(to); err != nil {
			return err
		}
		if err := fill(w); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		return tree.Object{}, err
	}
	return tree.Object{ID: id, KeyID: key.ID(), Pin: w.Pin()}, nil
}

// SealData seals data under a name, to be read by [Set.ReadSealed].
func (s *Set) SealData(ctx context.Context, key *envelope.DataKey, name string, data []byte) error {
	_, err := s.Seal(ctx, envelope.KindIndex, key, func(envelope.ObjectID) string { return name }, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}, envelope.Workers(1))
	return err
}

// CreateData is [Set.SealData] for an object that nobody else may have made: if there is
// one, the error wraps fs.ErrExist.
func (s *Set) CreateData(ctx context.Context, key *envelope.DataKey, name string, data []byte) error {
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(&sealed, envelope.KindIndex, key, envelope.Workers(1))
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return s.Vault.Create(ctx, name, sealed.Bytes())
}

// A lateWriter holds what is written to it until it knows its destination.
type lateWriter struct {
	held []byte
	to   io.Writer
}

func (w *lateWriter) Write(p []byte) (int, error) {
	if w.to != nil {
		return w.to.Write(p)
	}
	w.held = append(w.held, p...)
	return len(p), nil
}

func (w *lateWriter) begin(to io.Writer) error {
	w.to = to
	_, err := to.Write(w.held)
	return err
}

// Planned reports whether what is written is discarded.
func (s *Set) Planned() bool {
	_, ok := vault.As[vault.Planner](s.Vault.Store)
	return ok
}

// PlanPack counts a pack of size bytes of plaintext in a planned dataset, and invents
// an object for it that takes as much room in an index as a real one.
func (s *Set) PlanPack(ctx context.Context, key *envelope.DataKey, size int64) (tree.Object, error) {
	planned, ok := vault.As[vault.Planner](s.Vault.Store)
	if !ok {
		return tree.Object{}, errors.New("a pack was planned in a dataset that is no plan")
	}
	o := tree.Object{KeyID: key.ID()}
	rand.Read(o.ID[:])
	rand.Read(o.Pin.Digest[:])
	o.Pin.Size = envelope.SealedSize(size)
	return o, planned.PlanPut(ctx, s.PackName(o.ID), o.Pin.Size)
}
