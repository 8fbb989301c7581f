package envelope

import (
	"bytes"
	"context"
	"crypto/hpke"
	"errors"
	"strings"
	"testing"
)

func testIdentity(t testing.TB) *Identity {
	t.Helper()
	id, err := GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestRecipient(t *testing.T) {
	ctx := context.Background()
	ec := EncryptionContext{"project": "scans"}
	id, local := testIdentity(t), GenerateLocalKey()
	ring, key, err := NewKeyring(ctx, ec, local, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if ring, err = ParseKeyring(ring.Bytes()); err != nil {
		t.Fatal(err)
	}
	got, err := ring.Unwrap(ctx, ec, id)
	if err != nil || !bytes.Equal(got.secret.bytes(), key.secret.bytes()) {
		t.Errorf("the identity: %v", err)
	}
	var none *NoKeyError
	for what, k := range map[string]KeyWrapper{"the recipient": id.Recipient(), "another identity": testIdentity(t)} {
		if _, err := ring.Unwrap(ctx, ec, k); !errors.As(err, &none) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ring.Unwrap(ctx, nil, id); !errors.Is(err, ErrAuthentication) {
		t.Errorf("another context: %v", err)
	}
}

// The slot is what docs/FORMAT.md says, opened here by hand, and nothing else
// opens.
func TestRecipientSlot(t *testing.T) {
	ctx := context.Background()
	ec := EncryptionContext{"a": "b"}
	id := testIdentity(t)
	dataKey := bytes.Repeat([]byte{7}, 32)
	slot, err := id.Recipient().Wrap(ctx, dataKey, ec)
	if err != nil {
		t.Fatal(err)
	}
	if slot.Kind != "hpke" || slot.Key != id.Fingerprint() || len(slot.Wrapped) != 1120+32+16 {
		t.Errorf("slot %s %s of %d bytes", slot.Kind, slot.Key, len(slot.Wrapped))
	}
	kem, _ := hpke.NewKEM(0x647a)
	kdf, _ := hpke.NewKDF(0x0003)
	aead, _ := hpke.NewAEAD(0x0002)
	private, err := kem.NewPrivateKey(id.seed.bytes())
	if err != nil {
		t.Fatal(err)
	}
	info := []byte("vaultpack/v1 hpke wrap\x00\x00\x00\x00\x01a\x00\x00\x00\x01b")
	if got, err := hpke.Open(private, kdf, aead, info, slot.Wrapped); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("opened by hand: %x, %v", got, err)
	}

	open := func(wrapped []byte) error {
		_, err := id.Unwrap(ctx, Slot{slot.Kind, slot.Key, wrapped}, ec)
		return err
	}
	if err := open(slot.Wrapped); err != nil {
		t.Fatal(err)
	}
	for i := range slot.Wrapped {
		bad := bytes.Clone(slot.Wrapped)
		bad[i] ^= 1 << (i % 8)
		if err := open(bad); err != ErrAuthentication {
			// X25519 leaves out the point's top bit (RFC 7748), but the KEM binds
			// the ciphertext.
			t.Fatalf("bit %d of byte %d: %v", i%8, i, err)
		}
	}
	for _, bad := range [][]byte{nil, slot.Wrapped[:len(slot.Wrapped)-1], append(bytes.Clone(slot.Wrapped), 0)} {
		if err := open(bad); err != ErrAuthentication {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

func TestIdentityText(t *testing.T) {
	id := testIdentity(t)
	secret, public := id.EncodeSecret(), id.Recipient().Encode()
	gotID, err := ParseIdentity(append([]byte("# my recovery key\n"), secret...))
	if err != nil || gotID.Fingerprint() != id.Fingerprint() || !bytes.Equal(gotID.EncodeSecret(), secret) {
		t.Errorf("identity: %v", err)
	}
	gotPublic, err := ParseRecipient(public)
	if err != nil || gotPublic.Fingerprint() != id.Fingerprint() || !bytes.Equal(gotPublic.Encode(), public) {
		t.Errorf("recipient: %v", err)
	}
	for what, bad := range map[string]string{
		"empty": "", "twice": string(secret) + string(secret), "cut": string(secret[:len(secret)-3]), "the public half": string(public),
	} {
		if _, err := ParseIdentity([]byte(bad)); err == nil || strings.Contains(err.Error(), string(secret[25:30])) {
			t.Errorf("identity, %s: %v", what, err)
		}
	}
	broken := bytes.Clone(public)
	copy(broken[len(recipientPrefix):], strings.Repeat("/", 8)) // no coefficients below q
	for what, bad := range map[string][]byte{"empty": nil, "cut": public[:1000], "the private half": secret, "no key": broken} {
		if _, err := ParseRecipient(bad); err == nil {
			t.Errorf("recipient, %s: taken", what)
		}
	}
}
