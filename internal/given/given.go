// Package given has the checks of arguments that an entry point begins with.
package given

import (
	"context"
	"errors"
)

var errNilContext = errors.New("a nil context was given; use context.Background()")

// Check returns missing unless there is true, which says that the caller has given every
// required argument; otherwise it returns the error of Context.
func Check(ctx context.Context, there bool, missing error) error {
	if !there {
		return missing
	}
	return Context(ctx)
}

// Context returns an error if a context is nil or has already ended. On an error,
// the entry point does nothing.
func Context(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	return ctx.Err()
}
