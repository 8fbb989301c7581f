package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// formatExample is the worked example of docs/FORMAT.md.
type formatExample struct {
	Inputs struct {
		LocalKey      hexBytes          `json:"local_key"`
		DataKey       hexBytes          `json:"data_key"`
		KeyID         hexBytes          `json:"key_id"`
		ObjectID      hexBytes          `json:"object_id"`
		WrapSalt      hexBytes          `json:"wrap_salt"`
		SegmentSalt   hexBytes          `json:"segment_salt"`
		Context       EncryptionContext `json:"context"`
		Plaintext     string            `json:"plaintext"`
		PackObjectID  hexBytes          `json:"pack_object_id"`
		PackSalt0     hexBytes          `json:"pack_salt_0"`
		PackSalt1     hexBytes          `json:"pack_salt_1"`
		PackPlainSize int               `json:"pack_size"`
		DatasetID     hexBytes          `json:"dataset_id"`
		RootObjectID  hexBytes          `json:"root_object_id"`
		RootSalt      hexBytes          `json:"root_salt"`
	} `json:"inputs"`
	Derived map[string]string `json:"derived"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// The functions below are written from docs/FORMAT.md with nothing but the
// standard library, and use no code of this package.

func formatExpand(t *testing.T, key []byte, info string, n int) []byte {
	t.Helper()
	out, err := hkdf.Expand(sha512.New, key, info, n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// formatMessage is a Cobblestone-256 message with the values it is made from.
type formatMessage struct {
	info                   string
	key, base, commitment  []byte
	lastNonce, last, whole []byte
}

func formatSeal(t *testing.T, inputKey, salt []byte, context string, plain []byte) (m formatMessage) {
	t.Helper()
	m.info = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + string(salt) + context
	okm := formatExpand(t, inputKey, m.info, 76)
	m.key, m.base, m.commitment = okm[:32], okm[32:44], okm[44:]
	block, err := aes.NewCipher(m.key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	m.whole = slices.Concat(salt, m.commitment)
	for n := uint64(0); ; n++ {
		chunk := plain[:min(16384, len(plain))]
		plain = plain[len(chunk):]
		number := binary.BigEndian.AppendUint64(make([]byte, 4), n)
		m.lastNonce = bytes.Clone(m.base)
		for i := range m.lastNonce {
			m.lastNonce[i] ^= number[i]
		}
		m.last = gcm.Seal(nil, m.lastNonce, chunk, nil)
		m.whole = append(m.whole, m.last...)
		if len(chunk) < 16384 {
			return m
		}
	}
}

func formatPackPlaintext(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// TestFormatDocument derives every value of the worked example in docs/FORMAT.md
// from its inputs, wants each of them in that document, and opens the example's
// files with this package.
func TestFormatDocument(t *testing.T) {
	raw, err := os.ReadFile("../testdata/format/example.json")
	if err != nil {
		t.Fatal(err)
	}
	var ex formatExample
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&ex); err != nil {
		t.Fatal(err)
	}
	in := ex.Inputs
	got := map[string]string{}
	set := func(name string, value []byte) { got[name] = hex.EncodeToString(value) }

	// The local key, and the data key wrapped by it.
	got["local_key_text"] = "vaultpack-local-key-1:" + base64.StdEncoding.EncodeToString(in.LocalKey)
	fingerprint := formatExpand(t, in.LocalKey, "vaultpack/v1 local key ID", 16)
	set("local_fingerprint", fingerprint)
	wrapKey := formatExpand(t, in.LocalKey, "vaultpack/v1 local wrap", 32)
	set("local_wrap_key", wrapKey)
	signer := ed25519.NewKeyFromSeed(formatExpand(t, in.LocalKey, "vaultpack/v1 local signing key", 32))
	set("signing_seed", signer.Seed())
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	got["signer_text"] = "vaultpack-signer-1:" + base64.StdEncoding.EncodeToString(der)
	signerID := sha256.Sum256(der)
	set("signer_key_id", signerID[:])
	pairs := maps.Clone(map[string]string(in.Context))
	pairs["vaultpack:key-id"] = hex.EncodeToString(in.KeyID)
	var canonical []byte
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		for _, s := range []string{name, pairs[name]} {
			canonical = append(binary.BigEndian.AppendUint32(canonical, uint32(len(s))), s...)
		}
	}
	set("canonical_context", canonical)
	wrap := formatSeal(t, wrapKey, in.WrapSalt, string(canonical), in.DataKey)
	set("wrap_message_key", wrap.key)
	set("wrap_base_nonce", wrap.base)
	set("wrap_commitment", wrap.commitment)
	set("wrapped", wrap.whole)

	// The keyring.
	commitment := formatExpand(t, in.DataKey, "vaultpack/v1 data key commitment\x00"+string(in.KeyID), 32)
	set("key_commitment", commitment)
	b64 := base64.StdEncoding.EncodeToString
	ring := `{"format":"vaultpack-keyring/1","key_id":"` + hex.EncodeToString(in.KeyID) + `","commitment":"` + b64(commitment) +
		`","slots":[{"kind":"local","key":"` + hex.EncodeToString(fingerprint) + `","wrapped":"` + b64(wrap.whole) + `"}]}`
	got["keyring"] = ring

	// A file on its own.
	bound := "vaultpk1" + "file" + string(in.KeyID) + string(in.ObjectID)
	header := append(binary.BigEndian.AppendUint32([]byte(bound), uint32(len(ring))), ring...)
	set("header", header)
	objectKey := formatExpand(t, in.DataKey, "vaultpack/v1 object key\x00"+bound, 32)
	set("object_key", objectKey)
	context := func(i byte) string { return "vaultpack/v1 segment\x00" + string([]byte{0, 0, 0, 0, 0, 0, 0, i}) }
	set("segment_context", []byte(context(0)))
	segment := formatSeal(t, objectKey, in.SegmentSalt, context(0), []byte(in.Plaintext))
	set("segment_info", []byte(segment.info))
	set("message_key", segment.key)
	set("base_nonce", segment.base)
	set("commitment", segment.commitment)
	set("chunk_nonce", segment.lastNonce)
	set("chunk", segment.last)
	set("segment", segment.whole)
	sealed := slices.Concat(header, segment.whole)
	set("sealed", sealed)
	pin := sha256.Sum256(segment.whole[:56])
	set("sealed_pin", pin[:])

	// A pack of two segments.
	packPlain := formatPackPlaintext(in.PackPlainSize)
	packBound := "vaultpk1" + "pack" + string(in.KeyID) + string(in.PackObjectID)
	packHeader := packBound + "\x00\x00\x00\x00"
	set("pack_header", []byte(packHeader))
	packKey := formatExpand(t, in.DataKey, "vaultpack/v1 object key\x00"+packBound, 32)
	set("pack_object_key", packKey)
	first := formatSeal(t, packKey, in.PackSalt0, context(0), packPlain[:1<<20])
	set("pack_commitment_0", first.commitment)
	set("pack_segment_1_context", []byte(context(1)))
	second := formatSeal(t, packKey, in.PackSalt1, context(1), packPlain[1<<20:])
	set("pack_message_key_1", second.key)
	set("pack_base_nonce_1", second.base)
	set("pack_commitment_1", second.commitment)
	set("pack_chunk_nonce_1_1", second.lastNonce)
	set("pack_last_chunk", second.last)
	packSealed := slices.Concat([]byte(packHeader), first.whole, second.whole)
	sum := sha256.Sum256(packSealed)
	set("pack_sealed_sha256", sum[:])
	packPin := sha256.Sum256(slices.Concat(first.whole[:56], second.whole[:56]))
	set("pack_pin", packPin[:])

	formatRoot(t, &ex, got, signer, commitment)

	if !maps.Equal(got, ex.Derived) {
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if got[name] != ex.Derived[name] {
				t.Errorf("%s is %s, the example says %q", name, got[name], ex.Derived[name])
			}
		}
		t.Fatalf("%d values derived, the example has %d", len(got), len(ex.Derived))
	}
	testFormatText(t, raw)

	// What the document says is what the package reads.
	local, err := ParseLocalKey([]byte(got["local_key_text"]))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(ctx, bytes.NewReader(sealed), in.Context, local)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(r); err != nil || string(plain) != in.Plaintext {
		t.Errorf("the file on its own opens to %q, %v", plain, err)
	}
	if want := (Pin{int64(len(sealed)), pin}); r.Pin() != want {
		t.Errorf("pin %x, want %x", r.Pin(), want)
	}
	parsed, err := ParseKeyring([]byte(ring))
	if err != nil {
		t.Fatal(err)
	}
	key, err := parsed.Unwrap(ctx, in.Context, local)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = NewReader(bytes.NewReader(packSealed), KindPack, key); err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(r); err != nil || !bytes.Equal(plain, packPlain) {
		t.Errorf("the pack opens to %d bytes, %v", len(plain), err)
	}
	if want := (Pin{int64(len(packSealed)), packPin}); r.Pin() != want {
		t.Errorf("pin of the pack %x, want %x", r.Pin(), want)
	}
}

// formatRoot derives the root of a first version without files: a link, a grant, the
// contents that hold both, the statement, and the digest of the version. That it opens is
// tested where roots are read.
func formatRoot(t *testing.T, ex *formatExample, got map[string]string, signer ed25519.PrivateKey, commitment []byte) {
	t.Helper()
	in := ex.Inputs
	id, b64 := hex.EncodeToString(in.DatasetID), base64.StdEncoding.EncodeToString
	// sign makes a signed envelope: DSSE 1.0.2.
	sign := func(kind, payload string) (signed, envelope string) {
		signed = fmt.Sprintf("DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)
		return signed, `{"payloadType":"` + kind + `","payload":"` + b64([]byte(payload)) + `","signatures":[{"keyid":"` + got["signer_key_id"] +
			`","sig":"` + b64(ed25519.Sign(signer, []byte(signed))) + `"}]}`
	}
	sum := func(text string) string {
		d := sha256.Sum256([]byte(text))
		return hex.EncodeToString(d[:])
	}
	got["link"] = `{"format":"vaultpack-signers/1","dataset":"digits","id":"` + id + `","sequence":1,"previous":"","created":"2026-11-24T22:07:31Z",` +
		`"after":0,"epoch":0,"owners":["` + got["signer_text"] + `"],"writers":[]}`
	got["link_digest"] = sum(got["link"])
	got["link_signed"], got["link_envelope"] = sign("application/vnd.vaultpack.signers+json", got["link"])
	got["grant"] = `{"format":"vaultpack-data-key/1","dataset":"digits","id":"` + id + `","key_id":"` + hex.EncodeToString(in.KeyID) +
		`","commitment":"` + b64(commitment) + `","epoch":0,"sequence":1}`
	_, got["grant_envelope"] = sign("application/vnd.vaultpack.data-key+json", got["grant"])
	const created = `"2026-11-24T22:07:31.768035658Z"`
	got["root_contents"] = `{"format":"vaultpack-version/1","dataset":"digits","number":1,"created":` + created +
		`,"totals":{"files":0,"folders":0,"links":0,"bytes":0,"packs":0,"sealed_bytes":0},"signers":[` + got["link_envelope"] +
		`],"keys":[` + got["grant_envelope"] + `],"message":"first","parts":[]}`
	got["root_contents_sha256"] = sum(got["root_contents"])
	got["statement"] = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"digits@1","digest":{"sha256":"` + got["root_contents_sha256"] +
		`"}}],"predicateType":"https://github.com/vaultpack/vaultpack/version/v1","predicate":{"dataset":"digits","dataset_id":"` + id +
		`","number":1,"created":` + created + `,"signers":1,"message":"first"}}`
	_, got["root_statement"] = sign("application/vnd.in-toto+json", got["statement"])
	bound := "vaultpk1" + "vers" + string(in.KeyID) + string(in.RootObjectID)
	key := formatExpand(t, in.DataKey, "vaultpack/v1 object key\x00"+bound, 32)
	segment := formatSeal(t, key, in.RootSalt, "vaultpack/v1 segment\x00"+strings.Repeat("\x00", 8), []byte(got["root_contents"]+"\n"+got["root_statement"]+"\n"))
	got["version_digest"] = sum(string(segment.whole[:56]))
}

// testFormatText wants every string of the example in the document, which may
// break them into lines.
func testFormatText(t *testing.T, example []byte) {
	t.Helper()
	doc, err := os.ReadFile("../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	text := squeeze(string(doc))
	var tree any
	if err := json.Unmarshal(example, &tree); err != nil {
		t.Fatal(err)
	}
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(k, x)
			}
		case string:
			if !strings.Contains(text, squeeze(v)) {
				t.Errorf("docs/FORMAT.md does not hold the example's %s: %s", name, v)
			}
		}
	}
	walk("", tree)
}
