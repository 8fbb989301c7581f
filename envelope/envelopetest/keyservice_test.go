package envelopetest

import (
	"context"
	"errors"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
)

func TestKeyService(t *testing.T) {
	ctx := context.Background()
	ec := envelope.EncryptionContext{"a": "b"}
	first, second := NewKeyService("first"), NewKeyService("second")
	ring, key, err := envelope.NewKeyring(ctx, ec, first, second)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ring.Unwrap(ctx, ec, second); err != nil || got.ID() != key.ID() {
		t.Errorf("the second service: %v", err)
	}
	if _, err := ring.Unwrap(ctx, nil, first); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("another context: %v", err)
	}
	if _, err := ring.Unwrap(ctx, ec, NewKeyService("first")); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("another service of the same name: %v", err)
	}
	down := errors.New("service down")
	first.Fail(down)
	if _, err := ring.Unwrap(ctx, ec, first); !errors.Is(err, down) {
		t.Errorf("a service that is down: %v", err)
	}
	if first.Calls() != (Calls{Generate: 1, Unwrap: 1}) || second.Calls() != (Calls{Wrap: 1, Unwrap: 1}) {
		t.Errorf("calls: %+v, %+v", first.Calls(), second.Calls())
	}
}
