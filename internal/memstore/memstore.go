// Package memstore keeps a vault in memory, for tests that need many vaults, or set
// the time.
package memstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/vault"
)

// A Store is a vault.Store in memory.
type Store struct {
	// Now returns the time at which an object is stored; nil means time.Now.
	Now func() time.Time

	mu      sync.Mutex
	objects map[string]object
}

type object struct {
	data     []byte
	modified time.Time
}

var (
	_ vault.Store         = (*Store)(nil)
	_ vault.Sweeper       = (*Store)(nil)
	_ vault.VersionKeeper = (*Store)(nil)
)

// checked makes the checks that every operation begins with.
func checked(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !fs.ValidPath(strings.TrimSuffix("./"+name, "/")[2:]) || name == "." {
		return fmt.Errorf("%q: %w", name, fs.ErrInvalid)
	}
	return nil
}

func (s *Store) get(name string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if !ok {
		return o, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return o, nil
}

// put stores the object if allowed returns no error for the existing one.
func (s *Store) put(name string, data []byte, allowed func(old object, there bool) error) error {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, there := s.objects[name]
	if err := allowed(old, there); err != nil {
		return &fs.PathError{Op: "create", Path: name, Err: err}
	}
	if s.objects == nil {
		s.objects = map[string]object{}
	}
	s.objects[name] = object{data, now()}
	return nil
}

func (s *Store) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := checked(ctx, name); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := write(ctxio.Writer(ctx, &b)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.put(name, b.Bytes(), func(object, bool) error { return nil })
}

func (s *Store) Create(ctx context.Context, name string, data []byte) error {
	if err := checked(ctx, name); err != nil {
		return err
	}
	return s.put(name, slices.Clone(data), func(_ object, there bool) error {
		if there {
			return fs.ErrExist
		}
		return nil
	})
}

func (s *Store) Replace(ctx context.Context, name string, old, data []byte) error {
	if err := checked(ctx, name); err != nil {
		return err
	}
	return s.put(name, slices.Clone(data), func(o object, there bool) error {
		switch {
		case !there:
			return fs.ErrNotExist
		case !bytes.Equal(o.data, old):
			return vault.ErrChanged
		}
		return nil
	})
}

func (s *Store) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := checked(ctx, name); err != nil {
		return nil, err
	}
	o, err := s.get(name)
	if err != nil {
		return nil, err
	}
	b := o.data[min(off, int64(len(o.data))):]
	if n >= 0 {
		b = b[:min(n, int64(len(b)))]
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *Store) Stat(ctx context.Context, name string) (vault.Object, error) {
	if err := checked(ctx, name); err != nil {
		return vault.Object{}, err
	}
	o, err := s.get(name)
	return vault.Object{Name: name, Size: int64(len(o.data)), Modified: o.modified}, err
}

// names returns the names that begin with prefix, in order.
func (s *Store) names(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.objects)), func(name string) bool { return !strings.HasPrefix(name, prefix) })
}

// List looks at each object only when it reaches it, like a store that lists page
// by page.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	return func(yield func(vault.Object, error) bool) {
		for _, name := range s.names(prefix) {
			if err := ctx.Err(); err != nil {
				yield(vault.Object{}, err)
				return
			}
			o, err := s.get(name)
			if err == nil && !yield(vault.Object{Name: name, Size: int64(len(o.data)), Modified: o.modified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(vault.Object{}, err)
		}
	}
}

func (s *Store) Folders(ctx context.Context, prefix string) ([]string, error) {
	var folders []string
	for _, name := range s.names(prefix) {
		if folder, _, below := strings.Cut(name[len(prefix):], "/"); below {
			folders = append(folders, folder)
		}
	}
	slices.Sort(folders) // "a/" comes after "a-b/", but "a" before "a-b"
	return slices.Compact(folders), ctx.Err()
}

func (s *Store) Delete(ctx context.Context, name string) error {
	if err := checked(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

// Sweep does nothing: nothing is ever half-written.
func (s *Store) Sweep(ctx context.Context, prefix string) error { return ctx.Err() }

// CountOld returns 0: what is replaced or deleted is gone.
func (s *Store) CountOld(ctx context.Context, prefix string) (int, error) { return 0, ctx.Err() }

// DeleteOld has nothing to delete.
func (s *Store) DeleteOld(ctx context.Context, prefix string) (int, error) { return 0, ctx.Err() }

// Age makes every object older by d.
func (s *Store) Age(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, o := range s.objects {
		s.objects[name] = object{o.data, o.modified.Add(-d)}
	}
}
