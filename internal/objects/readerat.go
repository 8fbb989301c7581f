package objects

import (
	"context"
	"errors"
	"io"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// OpenPackAt opens a pack for reads of any range, until ctx ends.
func (s *Set) OpenPackAt(ctx context.Context, o *tree.Object) (*envelope.ReaderAt, error) {
	key, err := s.Key(ctx, o.KeyID)
	if err != nil {
		return nil, err
	}
	r, err := envelope.NewReaderAt(&readerAt{ctx, s, s.PackName(o.ID)}, o.Pin.Size, envelope.KindPack, key)
	if err != nil {
		return nil, s.PackError(o, err)
	}
	if h := r.Header(); h.ObjectID != o.ID || h.KeyID != o.KeyID || h.Keyring != nil {
		r.Close()
		return nil, s.PackError(o, envelope.ErrAuthentication) // another pack in its place
	}
	return r, nil
}

// A readerAt reads ranges of an object.
type readerAt struct {
	ctx  context.Context
	set  *Set
	name string
}

func (o *readerAt) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r, err := o.set.open(o.ctx, o.name, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
