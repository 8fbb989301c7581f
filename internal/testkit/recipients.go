package testkit

import (
	"crypto/hpke"
	"crypto/sha512"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// HPKE uses randomness that the standard library does not let callers choose, so
// all vectors share one wrapped data key, made once, for the key pair, key ID, data
// key and context below.
//
//go:embed hpke.txt
var hpkeWrapped string

// hpkeBuild sets the values that hpke.txt was made for, and returns its slot.
func hpkeBuild(b *build) (s slot, identity string) {
	fixed := stream{name: "hpke"}
	b.keyID, b.dataKey = fixed.bytes(16), fixed.bytes(32)
	seed := fixed.bytes(32)
	b.context = []pair{{"project", "scans"}, {"vaultpack:dataset", "digits"}}
	private, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	if err != nil {
		panic(err)
	}
	id := sha512.Sum512(append([]byte("vaultpack/v1 hpke key ID\x00"), private.PublicKey().Bytes()...))
	wrapped, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(hpkeWrapped, "\n", ""))
	if err != nil {
		panic(err)
	}
	return slot{"hpke", hex.EncodeToString(id[:16]), wrapped}, identityText(seed)
}

func identityText(seed []byte) string {
	return "vaultpack-identity-1:" + base64.StdEncoding.EncodeToString(seed)
}

func recipients() []entry {
	damaged := func(f func(b *build, s *slot)) func(*build) {
		return func(b *build) {
			s, identity := hpkeBuild(b)
			f(b, &s)
			b.ring(s)
			b.v.LocalKeys, b.v.Identities = nil, []string{identity}
		}
	}
	flip := func(i int) func(*build) { return damaged(func(_ *build, s *slot) { s.wrapped[i] ^= 1 }) }
	const kem, x25519 = 1088, 32
	return []entry{
		{"hpke", Success, "", damaged(func(*build, *slot) {})},
		{"hpke_and_local", Success, "opened by the local key", func(b *build) {
			s, _ := hpkeBuild(b)
			b.ring(s, b.wrap(b.local))
		}},
		{"hpke_other_identity", NoKey, "", func(b *build) {
			s, _ := hpkeBuild(b)
			b.ring(s)
			b.v.LocalKeys, b.v.Identities = nil, []string{identityText(b.bytes(32))}
		}},
		{"hpke_other_identity_same_name", Authentication, "wrapped for another key pair under this one's fingerprint", func(b *build) {
			s, _ := hpkeBuild(b)
			seed := b.bytes(32)
			private, _ := hpke.MLKEM768X25519().NewPrivateKey(seed)
			id := sha512.Sum512(append([]byte("vaultpack/v1 hpke key ID\x00"), private.PublicKey().Bytes()...))
			s.key = hex.EncodeToString(id[:16])
			b.ring(s)
			b.v.LocalKeys, b.v.Identities = nil, []string{identityText(seed)}
		}},
		{"hpke_kind_case", NoKey, "", damaged(func(_ *build, s *slot) { s.kind = "HPKE" })},
		{"hpke_fingerprint_case", NoKey, "", damaged(func(_ *build, s *slot) { s.key = strings.ToUpper(s.key) })},
		{"hpke_ml_kem", Authentication, "a bit of the ML-KEM ciphertext", flip(100)},
		{"hpke_x25519", Authentication, "a bit of the X25519 share", flip(kem)},
		{"hpke_x25519_high_bit", Authentication, "which X25519 itself ignores", damaged(func(_ *build, s *slot) { s.wrapped[kem+31] ^= 0x80 })},
		{"hpke_x25519_zero", Authentication, "a share of low order", damaged(func(_ *build, s *slot) { clear(s.wrapped[kem : kem+x25519]) })},
		{"hpke_key", Authentication, "a bit of the wrapped key", flip(kem + x25519)},
		{"hpke_tag", Authentication, "the last bit", flip(kem + x25519 + 47)},
		{"hpke_short", Authentication, "", damaged(func(_ *build, s *slot) { s.wrapped = s.wrapped[:len(s.wrapped)-1] })},
		{"hpke_long", Authentication, "", damaged(func(_ *build, s *slot) { s.wrapped = append(s.wrapped, 0) })},
		{"hpke_one_byte", Authentication, "", damaged(func(_ *build, s *slot) { s.wrapped = s.wrapped[:1] })},
		{"hpke_context", Authentication, "", damaged(func(b *build, _ *slot) { b.context[0].value = "faces" })},
		{"hpke_context_none", Authentication, "", damaged(func(b *build, _ *slot) { b.context = nil })},
		{"hpke_key_id", Authentication, "the slot moved to a keyring of another ID", damaged(func(b *build, _ *slot) { b.keyID = b.bytes(16) })},
		{"hpke_commitment", Authentication, "the slot opens, to another data key than the keyring's", damaged(func(b *build, _ *slot) { b.dataKey = b.bytes(32) })},
	}
}
