// Package envelopetest helps to test code that uses package envelope.
package envelopetest

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/vaultpack/vaultpack/envelope"
)

// A KeyService is a key of a key service in memory: an [envelope.DataKeyGenerator],
// [envelope.ServiceKey] and [envelope.Rewrapper] that really encrypts, counts its calls,
// and can be made to fail. It is safe for concurrent use.
type KeyService struct {
	name string
	key  *envelope.LocalKey

	mu    sync.Mutex
	fail  error
	calls Calls
}

// Calls counts the calls that a key service has answered. It does not count
// calls that fail because of KeyService.Fail, nor slots of another key, which
// cause no call.
type Calls struct{ Generate, Wrap, Unwrap, Rewrap int }

// NewKeyService returns a service with its own key. Its slots have the kind
// "test" and the key's name.
func NewKeyService(name string) *KeyService {
	return &KeyService{name: name, key: envelope.GenerateLocalKey()}
}

// Fail makes every later call fail with err, or none if err is nil.
func (s *KeyService) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Calls returns the calls so far.
func (s *KeyService) Calls() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// call counts a call, unless it has to fail.
func (s *KeyService) call(ctx context.Context, count func(*Calls)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.fail != nil {
		return s.fail
	}
	count(&s.calls)
	return nil
}

// GenerateDataKey implements [envelope.DataKeyGenerator].
func (s *KeyService) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) ([]byte, envelope.Slot, error) {
	if err := s.call(ctx, func(c *Calls) { c.Generate++ }); err != nil {
		return nil, envelope.Slot{}, err
	}
	dataKey := make([]byte, envelope.DataKeySize)
	rand.Read(dataKey)
	slot, err := s.wrap(ctx, dataKey, ec)
	return dataKey, slot, err
}

// Wrap implements [envelope.KeyWrapper].
func (s *KeyService) Wrap(ctx context.Context, dataKey []byte, ec envelope.EncryptionContext) (envelope.Slot, error) {
	if err := s.call(ctx, func(c *Calls) { c.Wrap++ }); err != nil {
		return envelope.Slot{}, err
	}
	return s.wrap(ctx, dataKey, ec)
}

func (s *KeyService) wrap(ctx context.Context, dataKey []byte, ec envelope.EncryptionContext) (envelope.Slot, error) {
	slot, err := s.key.Wrap(ctx, dataKey, ec)
	return envelope.Slot{Kind: "test", Key: s.name, Wrapped: slot.Wrapped}, err
}

var (
	_ envelope.DataKeyGenerator = (*KeyService)(nil)
	_ envelope.ServiceKey       = (*KeyService)(nil)
	_ envelope.Rewrapper        = (*KeyService)(nil)
)

// Describe implements [envelope.ServiceKey].
func (s *KeyService) Describe() (kind, key string) { return "test", s.name }

// Matches implements [envelope.SlotMatcher].
func (s *KeyService) Matches(slot envelope.Slot) bool {
	return slot.Kind == "test" && slot.Key == s.name
}

// Rewrap implements [envelope.Rewrapper], for another KeyService.
func (s *KeyService) Rewrap(ctx context.Context, slot envelope.Slot, ec envelope.EncryptionContext, to envelope.KeyWrapper, toEC envelope.EncryptionContext) (envelope.Slot, error) {
	other, ok := to.(*KeyService)
	switch {
	case !ok:
		return envelope.Slot{}, errors.ErrUnsupported
	case !s.Matches(slot):
		return envelope.Slot{}, envelope.ErrNoSlot
	}
	if err := s.call(ctx, func(c *Calls) { c.Rewrap++ }); err != nil {
		return envelope.Slot{}, err
	}
	dataKey, err := s.unwrap(ctx, slot, ec)
	if err != nil {
		return envelope.Slot{}, err
	}
	defer clear(dataKey)
	return other.wrap(ctx, dataKey, toEC)
}

// Unwrap implements [envelope.KeyWrapper].
func (s *KeyService) Unwrap(ctx context.Context, slot envelope.Slot, ec envelope.EncryptionContext) ([]byte, error) {
	if !s.Matches(slot) {
		return nil, envelope.ErrNoSlot
	}
	if err := s.call(ctx, func(c *Calls) { c.Unwrap++ }); err != nil {
		return nil, err
	}
	return s.unwrap(ctx, slot, ec)
}

func (s *KeyService) unwrap(ctx context.Context, slot envelope.Slot, ec envelope.EncryptionContext) ([]byte, error) {
	return s.key.Unwrap(ctx, envelope.Slot{Kind: "local", Key: s.key.Fingerprint(), Wrapped: slot.Wrapped}, ec)
}
