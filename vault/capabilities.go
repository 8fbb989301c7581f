package vault

import (
	"context"
	"time"
)

// As finds what a store can do besides: the first of the store, and those that it
// wraps, that is a T, which is one of the interfaces below. A store that wraps another
// has a method
//
//	Unwrap() Store
//
// and so keeps what the other can do. What a store does not say that it can do, nobody
// may take for done.
func As[T any](s Store) (t T, ok bool) {
	for s != nil {
		if t, ok = s.(T); ok {
			return t, true
		}
		w, wraps := s.(interface{ Unwrap() Store })
		if !wraps {
			break
		}
		s = w.Unwrap()
	}
	return t, false
}

// A Sweeper removes what writers that died have left half-written.
type Sweeper interface {
	// Sweep removes it below prefix. What a living process writes is left alone.
	Sweep(ctx context.Context, prefix string) error
}

// An UploadKeeper keeps the parts of uploads that are not complete, and cannot tell a
// dead writer from a living one but by age.
type UploadKeeper interface {
	// StaleAge is the age from which a Sweep takes an upload for the leftover of a
	// writer that died.
	StaleAge() time.Duration
	// AbortStale aborts the uploads below prefix that were begun at least age ago, and
	// tells how many there were.
	AbortStale(ctx context.Context, prefix string, age time.Duration) (aborted int, err error)
	// CountStale tells how many AbortStale would abort.
	CountStale(ctx context.Context, prefix string, age time.Duration) (n int, err error)
	// MeasureStale also tells how many bytes their parts hold. Where that cannot be
	// found out, n is right nevertheless, and the error says why bytes is not.
	MeasureStale(ctx context.Context, prefix string, age time.Duration) (n int, bytes int64, err error)
}

// A VersionKeeper tells what it keeps of objects that were deleted or replaced, which
// may be nothing.
type VersionKeeper interface {
	// CountOld tells how many old versions there are below prefix.
	CountOld(ctx context.Context, prefix string) (n int, err error)
	// DeleteOld deletes them for good, and tells how many are gone.
	DeleteOld(ctx context.Context, prefix string) (deleted int, err error)
}

// A Linker gives an object another name in a file system.
type Linker interface {
	// Link fails where that is another file system. Whoever uses it must not write
	// into the file.
	Link(name, file string) error
}

// A Buffered store tells what it keeps in memory of what it stores, until that is safe.
// Who has to keep to a bound takes another for one that keeps whole objects.
type Buffered interface {
	// PutMemory is how many bytes a Put takes at most, whatever the object's size.
	PutMemory() int64
}

// A Metered store asks a service that bills requests.
type Metered interface {
	// Usage tells what has been asked so far.
	Usage() Requests
	// PutRequests is what a Put of size bytes asks, if nothing is repeated, and
	// ListRequests how many requests it takes to list n objects.
	PutRequests(size int64) Requests
	ListRequests(n int) int64
}

// Requests counts requests as S3 bills them, repeated ones included.
type Requests struct {
	Puts    int64 `json:"puts"`    // PUT and POST
	Lists   int64 `json:"lists"`   // billed like Puts
	Gets    int64 `json:"gets"`    // GET and HEAD
	Deletes int64 `json:"deletes"` // free
	// Retries are those of the requests above that repeat another.
	Retries int64 `json:"retries"`
	// BytesSent and BytesReceived are those of bodies.
	BytesSent     int64 `json:"bytes_sent"`
	BytesReceived int64 `json:"bytes_received"`
}

// A Prober can tell what lies under it.
type Prober interface {
	// Abilities tries what the file system can do, with files that it removes.
	Abilities(ctx context.Context) (Abilities, error)
}

// A Planner is the store of a plan: see [Vault.Plan].
type Planner interface {
	// PlanPut counts a Put of size bytes.
	PlanPut(ctx context.Context, name string, size int64) error
}
