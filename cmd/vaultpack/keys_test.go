package main

import (
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
)

// A silentKey has something secret in it, and no method String.
type silentKey struct {
	envelope.KeyWrapper
	secret []byte
}

type silentServiceKey struct {
	envelope.ServiceKey
	secret []byte
}

func (silentServiceKey) Describe() (kind, key string) { return "demo", "demo:///key" }

// What is printed of a key is its name, and not what is in its fields.
func TestKeyName(t *testing.T) {
	for want, key := range map[string]envelope.KeyWrapper{
		"another key":      silentKey{secret: []byte("hidden")},
		"demo demo:///key": silentServiceKey{secret: []byte("hidden")},
	} {
		if got := keyName(key); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
