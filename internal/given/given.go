// Package given is what an entry point begins with.
package given

import (
	"context"
	"errors"
)

var errNilContext = errors.New("a nil context was given; use context.Background()")

// Check is missing unless all is there that the caller has to give; else the error of a
// context that is nil, or has ended already. Nothing is begun after an error.
func Check(ctx context.Context, there bool, missing error) error {
	switch {
	case !there:
		return missing
	case ctx == nil:
		return errNilContext
	}
	return ctx.Err()
}
