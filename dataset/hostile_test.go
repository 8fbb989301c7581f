package dataset_test

import (
	"errors"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A part that is pinned to a size beyond the bound is refused before anything of it
// is read.
func TestPinOfMuchMemory(t *testing.T) {
	d := datasettest.New(t)
	o := tree.Object{Pin: envelope.Pin{Size: envelope.SealedSize(codec.MaxList + 1)}}
	if _, err := objects.Of(d).ReadIndex(ctx, tree.Part{Object: o}); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("a part of %d bytes: %v", o.Pin.Size, err)
	}
}
