package envelope

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vaultpack/vaultpack/internal/keytext"
)

// A secret holds key material, two pointers deep: package fmt calls no method on
// unexported fields, and for a verb that does not fit it prints what one pointer
// points to.
type secret struct{ p *material }

// A material is there as a whole or not at all, for whoever asks while it is
// wiped: nothing is ever done with a key that has been overwritten.
type material struct {
	mu sync.RWMutex
	b  []byte // nil once wiped
}

// newSecret takes b over.
func newSecret(b []byte) *secret {
	s := &struct { // one allocation: there is one for each sealed file
		secret
		material
	}{material: material{b: b}}
	s.secret.p = &s.material
	return &s.secret
}

// newSecretKey returns a secret of DataKeySize zeros, to be filled at once.
func newSecretKey() *secret {
	s := &struct { // one allocation, as in newSecret
		secret
		material
		key [DataKeySize]byte
	}{}
	s.material.b = s.key[:]
	s.secret.p = &s.material
	return &s.secret
}

// acquire is the key material, which stays until release, or errWiped.
func (s *secret) acquire() ([]byte, error) {
	s.p.mu.RLock()
	if s.p.b == nil {
		s.p.mu.RUnlock()
		return nil, errWiped
	}
	return s.p.b, nil
}

// release ends the use of what acquire has returned.
func (s *secret) release() { s.p.mu.RUnlock() }

// wipe overwrites the material, once nobody uses it.
func (s *secret) wipe() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	clear(s.p.b)
	s.p.b = nil
}

// A noCopy has go vet report copies of the struct that it is a field of.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

var errWiped = fmt.Errorf("%w: it has been wiped", ErrKeyUnusable)

// usable is the error of a key that is nil, of one that no constructor has made,
// or of a copy: the struct that a constructor has made points to itself.
func usable[K any](what string, key, self *K) error {
	switch {
	case key == nil:
		return fmt.Errorf("%w: the %s is nil", ErrKeyUnusable, what)
	case self == nil:
		return fmt.Errorf("%w: the %s is a zero value, not one that this package has made", ErrKeyUnusable, what)
	case self != key:
		return fmt.Errorf("%w: the %s is a copy by value; use the pointer that this package has returned", ErrKeyUnusable, what)
	}
	return nil
}

// begin is the error of a context that nothing may be begun under.
func begin(ctx context.Context) error {
	if ctx == nil {
		return errors.New("the context is nil; context.Background() is the one without an end")
	}
	return ctx.Err()
}

// encodeSecret is keytext.Encode of a secret, or nil once that has been wiped.
func encodeSecret(prefix string, s *secret) []byte {
	key, err := s.acquire()
	if err != nil {
		return nil
	}
	defer s.release()
	return keytext.Encode(prefix, key)
}
