//go:build !linux || 386 || arm

package mount_test

import (
	"errors"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/mount"
)

const childVariable = "MOUNT_TEST_CHILD"

func child() int { return 1 }

func TestUnsupported(t *testing.T) {
	if _, err := mount.Start(t.Context(), nil, "x", mount.Options{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
