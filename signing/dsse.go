package signing

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/vaultpack/vaultpack/envelope"
)

// MaxEnvelope is the maximum size of a signed envelope, in bytes.
const MaxEnvelope = 1 << 20

// Sign returns a DSSE envelope of the payload, as JSON, with one signature. It verifies
// the signature first, so that a key service that signs with the wrong key is detected
// here and not by the first reader.
func Sign(ctx context.Context, s Signer, payloadType string, payload []byte) ([]byte, error) {
	if s == nil {
		return nil, errors.New("signing: no signer")
	}
	es, err := dsse.NewEnvelopeSigner(providerOf{s})
	if err != nil {
		return nil, err
	}
	env, err := es.SignPayload(ctx, payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	b, err := json.Marshal(env)
	if err != nil {
		return nil, err
	}
	if len(b) > MaxEnvelope {
		return nil, fmt.Errorf("signing: an envelope of %d bytes, and the bound is %d", len(b), MaxEnvelope)
	}
	if _, err := Open(b, payloadType, s.Public()); err != nil {
		return nil, fmt.Errorf("signing: what the signing key %s returned does not verify with its public key: %w", s.Public().ID().Short(), err)
	}
	return b, nil
}

// providerOf is a Signer for package dsse.
type providerOf struct{ Signer }

func (p providerOf) KeyID() (string, error) { return p.Public().ID().String(), nil }

// Unverified returns the key ID and the payload that an envelope claims to have,
// without verifying the signature. It is for finding the key to open the envelope
// with.
func Unverified(b []byte) (by KeyID, payload []byte, err error) {
	env, err := parseEnvelope(b)
	if err != nil {
		return by, nil, err
	}
	if by, err = ParseKeyID(env.Signatures[0].KeyID); err != nil {
		return by, nil, fmt.Errorf("%w: %w", err, envelope.ErrAuthentication)
	}
	payload, err = env.DecodeB64Payload()
	return by, payload, err
}

// Open returns the payload of an envelope of the given type that the key has
// signed. For any other envelope it returns an error that wraps
// envelope.ErrAuthentication.
func Open(b []byte, payloadType string, key PublicKey) ([]byte, error) {
	env, err := parseEnvelope(b)
	if err != nil {
		return nil, err
	}
	if env.PayloadType != payloadType || key.IsZero() {
		return nil, envelope.ErrAuthentication
	}
	v, err := dsse.NewEnvelopeVerifier(verifierOf{key})
	if err != nil {
		return nil, err
	}
	_, payload, err := v.VerifyAndDecode(context.Background(), env)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, envelope.ErrAuthentication)
	}
	return payload, nil
}

type verifierOf struct{ key PublicKey }

func (v verifierOf) Verify(_ context.Context, data, sig []byte) error { return v.key.Verify(data, sig) }
func (v verifierOf) KeyID() (string, error)                           { return v.key.ID().String(), nil }
func (v verifierOf) Public() crypto.PublicKey                         { return v.key.Key() }

// parseEnvelope reads an envelope that has one signature, in the one encoding that Sign
// writes: what two readers could understand in two ways is refused.
func parseEnvelope(b []byte) (*dsse.Envelope, error) {
	if len(b) > MaxEnvelope {
		return nil, fmt.Errorf("a signed envelope of %d bytes, and the bound is %d: %w", len(b), MaxEnvelope, envelope.ErrAuthentication)
	}
	var env dsse.Envelope
	if err := json.Unmarshal(b, &env); err != nil || len(env.Signatures) != 1 {
		return nil, envelope.ErrAuthentication
	}
	again, err := json.Marshal(env)
	if err != nil || !bytes.Equal(again, b) {
		return nil, envelope.ErrAuthentication
	}
	for _, s := range []string{env.Payload, env.Signatures[0].Sig} {
		if _, err := base64.StdEncoding.Strict().DecodeString(s); err != nil {
			return nil, envelope.ErrAuthentication
		}
	}
	return &env, nil
}
