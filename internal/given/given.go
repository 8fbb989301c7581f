// Package given is what an entry point begins with.
package given

import (
	"context"
	"errors"
)

var errNilContext = errors.New("a nil context was given; use context.Background()")

// Check returns missing unless the caller has given everything that it must, which there
// says, and otherwise the error of Context.
func Check(ctx context.Context, there bool, missing error) error {
	if !there {
		return missing
	}
	return Context(ctx)
}

// Context returns an error if a context is nil or has already ended. After an error,
// nothing is begun.
func Context(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	return ctx.Err()
}
