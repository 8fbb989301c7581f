// Package exitcode defines the programs' exit codes.
package exitcode

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// The codes, as listed in the help.
const (
	Done           = 0
	Failed         = 1
	Usage          = 2
	SomeFailed     = 3
	Authentication = 4
	NotAllowed     = 5
	Interrupted    = 130
)

// Of returns the code for an error, or for nil.
func Of(err error) int {
	switch {
	case err == nil:
		return Done
	case errors.Is(err, context.Canceled):
		return Interrupted
	case Unauthentic(err):
		return Authentication
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return NotAllowed
	}
	return Failed
}

// Unauthentic reports whether err means that data was changed or removed, or that the key
// is wrong.
func Unauthentic(err error) bool {
	var noKey *envelope.NoKeyError
	return errors.Is(err, envelope.ErrAuthentication) || errors.Is(err, dataset.ErrMissing) || errors.As(err, &noKey)
}
