// Package buckettest has a bucket in memory as the source of uploads, whose objects tests change
// at any moment, and whose reads fail as tests say.
package buckettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vaultpack/vaultpack/vault"
)

// A Bucket is a bucket in memory. Its methods are safe for concurrent use.
type Bucket struct {
	// Name is its URL; empty means s3://bucket/.
	Name string
	// Versions says whether it keeps the versions of objects.
	Versions bool
	// Unlisted makes a listing fail, as without permission.
	Unlisted bool
	// Own is what Overlap returns, if it is not empty.
	Own string
	// Before is called before each Read, if it is not nil. What it returns fails the Read.
	Before func(p vault.Pinned, off, n int64) error
	// Change changes the bytes of a Read, if it is not nil.
	Change func(p vault.Pinned, b []byte) []byte

	mu      sync.Mutex
	objects map[string]state
	old     map[string]state // by name and version
	puts    int
	usage   vault.Requests
	reads   int
}

type state struct {
	vault.Pinned
	data []byte
}

// Put puts an object. Its time is the number of the Put, in seconds.
func (b *Bucket) Put(name string, data []byte) { b.PutAt(name, data, time.Time{}) }

// PutAt is Put at a time.
func (b *Bucket) PutAt(name string, data []byte, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.puts++
	if at.IsZero() {
		at = time.Unix(1_700_000_000+int64(b.puts), 0)
	}
	s := state{data: bytes.Clone(data)}
	s.Name, s.Size, s.Modified, s.ETag = name, int64(len(data)), at.UTC(), fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(data))[:32])
	if b.objects == nil {
		b.objects, b.old = map[string]state{}, map[string]state{}
	}
	if b.Versions {
		s.Version = fmt.Sprintf("v%d", b.puts)
		b.old[name+"\x00"+s.Version] = s
	}
	b.objects[name] = s
}

// Remove deletes an object.
func (b *Bucket) Remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, name)
}

// Contents returns what an object holds now.
func (b *Bucket) Contents(name string) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.objects[name]
	return s.data, ok
}

func (b *Bucket) String() string {
	if b.Name != "" {
		return b.Name
	}
	return "s3://bucket/"
}

func (b *Bucket) ID() string { return "test\x00" + b.String() }

// List lists the objects that there are when it is called.
func (b *Bucket) List(context.Context) iter.Seq2[vault.Pinned, error] {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.Lists++
	var all []vault.Pinned
	for _, name := range slices.Sorted(maps.Keys(b.objects)) {
		all = append(all, b.objects[name].Pinned)
	}
	return func(yield func(vault.Pinned, error) bool) {
		if b.Unlisted {
			yield(vault.Pinned{}, fs.ErrPermission)
			return
		}
		for _, p := range all {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (b *Bucket) Stat(_ context.Context, name string) (vault.Pinned, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.Gets++
	s, ok := b.objects[name]
	if !ok {
		return vault.Pinned{}, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return s.Pinned, nil
}

func (b *Bucket) Read(_ context.Context, p vault.Pinned, off, n int64) (io.ReadCloser, error) {
	if b.Before != nil {
		if err := b.Before(p, off, n); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.Gets++
	s, ok := b.objects[p.Name]
	if p.Version != "" {
		s, ok = b.old[p.Name+"\x00"+p.Version]
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: %w", p.Name, fs.ErrNotExist)
	case s.ETag != p.ETag:
		return nil, fmt.Errorf("%s: %w", p.Name, vault.ErrReplaced)
	}
	data := s.data[off : off+n]
	if b.Change != nil {
		data = b.Change(p, data)
	}
	b.usage.BytesReceived += int64(len(data))
	b.reads++
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Reads returns how many reads there were since the last call.
func (b *Bucket) Reads() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.reads
	b.reads = 0
	return n
}

func (b *Bucket) Overlap(vault.Store) (prefix string, among, inside bool) {
	return b.Own, b.Own != "", strings.HasPrefix(b.String(), "s3://vault/")
}

func (b *Bucket) Usage() vault.Requests {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.usage
}
