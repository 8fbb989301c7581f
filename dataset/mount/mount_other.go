//go:build !linux || 386 || arm

package mount

import (
	"context"

	"github.com/vaultpack/vaultpack/dataset"
)

// A Mount is a version that is mounted. On this system there is none.
type Mount struct{}

// Start returns [ErrUnsupported].
func Start(context.Context, *dataset.Version, string, Options) (*Mount, error) {
	return nil, ErrUnsupported
}

// Dir returns nothing.
func (*Mount) Dir() string { return "" }

// Done returns a channel that is closed.
func (*Mount) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Unmount returns an error.
func (*Mount) Unmount() error { return errNoMount }
