package vault

import (
	"context"
	"time"
)

// As returns the first T among the store and the stores that it wraps. T is one of the
// optional interfaces below. A store that wraps another has a method
//
//	Unwrap() Store
//
// so that the other store's capabilities stay available. A caller must not assume a
// capability that a store does not have.
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

// A Sweeper removes half-written objects of writers that died.
type Sweeper interface {
	// Sweep removes half-written files below prefix. It does not touch files that a live
	// process is writing.
	Sweep(ctx context.Context, prefix string) error
}

// An UploadKeeper keeps the parts of incomplete uploads. Only their age distinguishes
// those of dead writers from those of live ones.
type UploadKeeper interface {
	// StaleAge returns the age from which Sweep considers an upload abandoned by a
	// writer that died.
	StaleAge() time.Duration
	// AbortStale aborts the uploads below prefix that were begun at least age ago, and
	// returns how many it aborted.
	AbortStale(ctx context.Context, prefix string, age time.Duration) (aborted int, err error)
	// CountStale returns how many uploads AbortStale would abort.
	CountStale(ctx context.Context, prefix string, age time.Duration) (n int, err error)
	// MeasureStale also returns how many bytes their parts hold. If that cannot be
	// determined, n is still correct, and the error says why bytes is not.
	MeasureStale(ctx context.Context, prefix string, age time.Duration) (n int, bytes int64, err error)
}

// A VersionKeeper may keep old versions of objects that were deleted or replaced.
type VersionKeeper interface {
	// CountOld returns how many old versions there are below prefix.
	CountOld(ctx context.Context, prefix string) (n int, err error)
	// DeleteOld deletes them permanently, and returns how many it deleted.
	DeleteOld(ctx context.Context, prefix string) (deleted int, err error)
}

// A Linker can give an object a second name in a file system.
type Linker interface {
	// Link fails if file would be on another file system. The caller must not
	// write to the file.
	Link(name, file string) error
}

// A Buffered store has a bound on how much of an object it keeps in memory until the
// object is stored. A caller that must limit its memory has to assume that any other
// store keeps whole objects.
type Buffered interface {
	// PutMemory returns the maximum number of bytes that a Put keeps in memory, whatever
	// the object's size.
	PutMemory() int64
}

// A Metered store makes requests to a service that bills them.
type Metered interface {
	// Usage returns the requests made so far.
	Usage() Requests
	// PutRequests returns the requests that a Put of size bytes makes without
	// retries. ListRequests returns how many requests it takes to list n objects.
	PutRequests(size int64) Requests
	ListRequests(n int) int64
}

// Requests counts requests as S3 bills them, including retries.
type Requests struct {
	Puts    int64 `json:"puts"`    // PUT and POST
	Lists   int64 `json:"lists"`   // billed like Puts
	Gets    int64 `json:"gets"`    // GET and HEAD
	Deletes int64 `json:"deletes"` // free
	// Retries counts how many of the requests above are retries.
	Retries int64 `json:"retries"`
	// BytesSent and BytesReceived count the bytes of bodies.
	BytesSent     int64 `json:"bytes_sent"`
	BytesReceived int64 `json:"bytes_received"`
}

// A Prober can test the file system that it stores objects in.
type Prober interface {
	// Abilities tests what the file system can do, with files that it removes afterwards.
	Abilities(ctx context.Context) (Abilities, error)
}

// A Planner is the store of a plan: see [Vault.Plan].
type Planner interface {
	// PlanPut counts a Put of size bytes.
	PlanPut(ctx context.Context, name string, size int64) error
}
