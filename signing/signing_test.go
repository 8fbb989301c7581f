package signing_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

var ctx = context.Background()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The key of a local key is the one that the worked example of docs/FORMAT.md has.
func TestOfLocalKey(t *testing.T) {
	var ex struct {
		Inputs  struct{ Local_key string }
		Derived map[string]string
	}
	raw, err := os.ReadFile("../testdata/format/example.json")
	check(t, err)
	check(t, json.Unmarshal(raw, &ex))
	secret, err := hex.DecodeString(ex.Inputs.Local_key)
	check(t, err)
	local, err := envelope.ParseLocalKey([]byte("vaultpack-local-key-1:" + base64.StdEncoding.EncodeToString(secret)))
	check(t, err)
	key, err := signing.OfLocalKey(local)
	check(t, err)
	if key.Public().String() != ex.Derived["signer_text"] || key.Public().ID().String() != ex.Derived["signer_key_id"] {
		t.Errorf("%s, %s", key.Public(), key.Public().ID())
	}
	local.Wipe()
	if _, err := signing.OfLocalKey(local); !errors.Is(err, signing.ErrKeyUnusable) {
		t.Errorf("of a wiped local key: %v", err)
	}
	if _, err := signing.OfLocalKey(nil); !errors.Is(err, signing.ErrKeyUnusable) {
		t.Errorf("of no local key: %v", err)
	}
}

func spki(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	check(t, err)
	return der
}

// A public key has one encoding in each form, and other algorithms are refused.
func TestPublicKeys(t *testing.T) {
	ed := signing.GenerateKey().Public()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	authorized := func(key any) []byte {
		k, err := ssh.NewPublicKey(key)
		check(t, err)
		return append(bytes.TrimSpace(ssh.MarshalAuthorizedKey(k)), " ann@laptop\n"...)
	}
	asPEM := func(kind string, key any) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: spki(t, key)})
	}
	text := func(der []byte) []byte { return []byte("vaultpack-signer-1:" + base64.StdEncoding.EncodeToString(der)) }
	for name, b := range map[string][]byte{"text": []byte(ed.String()), "text with white space": []byte(" " + ed.String() + "\n"), "OpenSSH": authorized(ed.Key()), "PEM": ed.PEM()} {
		got, err := signing.ParsePublicKey(b)
		if err != nil || got != ed {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, b := range map[string][]byte{"text": text(spki(t, p256.Public())), "OpenSSH": authorized(p256.Public()), "PEM": asPEM("PUBLIC KEY", p256.Public())} {
		got, err := signing.ParsePublicKey(b)
		if want, _ := signing.NewPublicKey(p256.Public()); err != nil || got != want {
			t.Errorf("P-256 as %s: %v, %v", name, got, err)
		}
	}
	der := spki(t, ed.Key())
	for name, b := range map[string][]byte{
		"nothing": nil, "RSA": authorized(rsaKey.Public()), "RSA in PEM": asPEM("PUBLIC KEY", rsaKey.Public()), "RSA as text": text(spki(t, rsaKey.Public())),
		"P-384": authorized(p384.Public()), "P-384 as text": text(spki(t, p384.Public())), "a private key's block": asPEM("PRIVATE KEY", ed.Key()),
		"two blocks": append(ed.PEM(), ed.PEM()...), "two lines": append(authorized(ed.Key()), authorized(ed.Key())...), "base64 with a tail": []byte(ed.String() + "="),
		"base64 with other bits": []byte(strings.TrimSuffix(ed.String(), "=") + "B="), "DER with a tail": text(append(bytes.Clone(der), 0)), "a cut DER": text(der[:43]),
		"a hardware key": []byte("sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIPkpDkmL2cF7nW8u1PqFiBmQ5wKpSS1NR2XgC3Iu1nKjAAAABHNzaDo="),
	} {
		if got, err := signing.ParsePublicKey(b); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	var k signing.PublicKey
	if err := k.UnmarshalText(authorized(ed.Key())); err == nil {
		t.Error("in a signed payload, a key has one form")
	}
	if _, err := k.MarshalText(); err == nil || k.Verify([]byte("m"), nil) == nil || !k.IsZero() || k.String() != "" {
		t.Error("a zero value is a key")
	}
}

// Every change of an envelope makes it one that is refused.
func TestEnvelopes(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.MarshalECPrivateKey(p256)
	check(t, err)
	ecKey, err := signing.ParseOpenSSH(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	check(t, err)
	for _, s := range []signing.Signer{signing.GenerateKey(), ecKey} {
		b, err := signing.Sign(ctx, s, "text/plain", []byte("a message"))
		check(t, err)
		got, err := signing.Open(b, "text/plain", s.Public())
		if err != nil || string(got) != "a message" {
			t.Fatalf("%q, %v", got, err)
		}
		if id, said, err := signing.Unverified(b); err != nil || id != s.Public().ID() || string(said) != "a message" {
			t.Errorf("%v, %q, %v", id, said, err)
		}
		for i := range b {
			for _, x := range []byte{1, 0x20} {
				bad := bytes.Clone(b)
				bad[i] ^= x
				if _, err := signing.Open(bad, "text/plain", s.Public()); !errors.Is(err, envelope.ErrAuthentication) {
					t.Fatalf("byte %d changed: %v", i, err)
				}
			}
			if _, err := signing.Open(b[:i], "text/plain", s.Public()); !errors.Is(err, envelope.ErrAuthentication) {
				t.Fatalf("cut at %d: %v", i, err)
			}
		}
		if _, err := signing.Open(b, "text/html", s.Public()); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("another type: %v", err)
		}
		if _, err := signing.Open(b, "text/plain", signing.GenerateKey().Public()); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("another key: %v", err)
		}
		if _, err := signing.Open(append(bytes.Clone(b), '\n'), "text/plain", s.Public()); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("one byte more: %v", err)
		}
	}
	if _, err := signing.Sign(ctx, signing.GenerateKey(), "t", make([]byte, signing.MaxEnvelope)); err == nil {
		t.Error("an envelope beyond the bound is signed")
	}
}

// A lyingSigner signs with another key than it says.
type lyingSigner struct{ signing.Signer }

func (lyingSigner) Public() signing.PublicKey { return signing.GenerateKey().Public() }

func TestSignersThatFail(t *testing.T) {
	key := signing.GenerateKey()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for name, c := range map[string]struct {
		ctx context.Context
		s   signing.Signer
	}{
		"no signer": {ctx, nil}, "another key": {ctx, lyingSigner{key}}, "an ended context": {cancelled, key}, "no key": {ctx, (*signing.PrivateKey)(nil)}, "a zero key": {ctx, new(signing.PrivateKey)},
	} {
		if b, err := signing.Sign(c.ctx, c.s, "t", []byte("m")); err == nil {
			t.Errorf("%s: %s", name, b)
		}
	}
	text := key.EncodeSecret()
	again, err := signing.ParsePrivateKey(append([]byte("# a comment\n\n"), text...))
	if err != nil || again.Public() != key.Public() {
		t.Fatal(err)
	}
	key.Wipe()
	if _, err := key.Sign(ctx, []byte("m")); !errors.Is(err, signing.ErrKeyUnusable) || key.EncodeSecret() != nil {
		t.Errorf("a wiped key: %v", err)
	}
	for _, bad := range []string{"", "vaultpack-signing-key-1:", "vaultpack-signing-key-1:AAAA", string(text) + string(text), "vaultpack-local-key-1:" + strings.Repeat("A", 43) + "="} {
		if _, err := signing.ParsePrivateKey([]byte(bad)); err == nil || len(bad) > 40 && strings.Contains(err.Error(), bad[30:40]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	key := signing.GenerateKey()
	secret := strings.TrimSpace(strings.TrimPrefix(string(key.EncodeSecret()), "vaultpack-signing-key-1:"))
	seed, err := base64.StdEncoding.DecodeString(secret)
	check(t, err)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", key)
		fmt.Fprintf(&out, verb+"\n", struct{ K *signing.PrivateKey }{key})
		fmt.Fprintf(&out, verb+"\n", struct{ k *signing.PrivateKey }{key})
	}
	j, err := json.Marshal(map[string]any{"k": key})
	check(t, err)
	out.Write(j)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "k", key)
	for _, s := range []string{secret, hex.EncodeToString(seed), strings.ToUpper(hex.EncodeToString(seed)), strings.Trim(fmt.Sprint(seed), "[]")} {
		if strings.Contains(out.String(), s) {
			t.Errorf("the key is printed:\n%s", out.String())
		}
	}
}

// An OpenSSH key without a passphrase signs; one with it, or of another kind, is refused
// with what to do.
func TestOpenSSHFiles(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	file := func(key any, phrase string) []byte {
		block, err := ssh.MarshalPrivateKey(key, "ann@laptop")
		if phrase != "" {
			block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "ann@laptop", []byte(phrase))
		}
		check(t, err)
		return pem.EncodeToMemory(block)
	}
	s, err := signing.ParseOpenSSH(file(ed, ""))
	check(t, err)
	if want, _ := signing.NewPublicKey(ed.Public()); s.Public() != want {
		t.Error("another key")
	}
	if _, err := signing.Sign(ctx, s, "t", []byte("m")); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"a passphrase": {file(ed, "secret"), "encrypted with a passphrase"},
		"RSA":          {file(rsaKey, ""), "use ssh-ed25519 or ecdsa-sha2-nistp256"},
		"no key":       {[]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"), "no private key of OpenSSH"},
	} {
		if _, err := signing.ParseOpenSSH(c.text); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Other tools check what is signed: openssl, with the key in PEM.
func TestOpenSSLVerifies(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl")
	}
	key := signing.GenerateKey()
	b, err := signing.Sign(ctx, key, "text/plain", []byte("a message"))
	check(t, err)
	var env struct {
		Signatures []struct{ Sig []byte }
	}
	check(t, json.Unmarshal(b, &env))
	dir := t.TempDir()
	for name, data := range map[string][]byte{"key.pem": key.Public().PEM(), "sig": env.Signatures[0].Sig, "message": []byte("DSSEv1 10 text/plain 9 a message")} {
		check(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	verify := func() error {
		cmd := exec.Command(openssl, "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "message", "-sigfile", "sig")
		cmd.Dir = dir
		return cmd.Run()
	}
	if err := verify(); err != nil {
		t.Error(err)
	}
	check(t, os.WriteFile(filepath.Join(dir, "message"), []byte("DSSEv1 10 text/plain 9 another m"), 0o600))
	if verify() == nil {
		t.Error("openssl takes everything")
	}
}

func FuzzOpen(f *testing.F) {
	key := signing.GenerateKey()
	b, err := signing.Sign(ctx, key, "t", []byte("m"))
	check(f, err)
	for _, seed := range [][]byte{b, nil, []byte("{}"), []byte(`{"payloadType":"t","payload":"","signatures":[]}`), append(b, b...)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := signing.Open(in, "t", key.Public())
		if err == nil && (string(got) != "m" || !bytes.Equal(in, b)) {
			t.Errorf("%q is taken for what was signed", in)
		}
		if k, err := signing.ParsePublicKey(in); err == nil {
			if again, err := signing.ParsePublicKey([]byte(k.String())); err != nil || again != k {
				t.Errorf("%q is not itself again: %v", k, err)
			}
		}
	})
}

func ExampleSign() {
	key := signing.GenerateKey() // or OfLocalKey, ParsePrivateKey, ParseOpenSSH
	signed, err := signing.Sign(context.Background(), key, "text/plain", []byte("hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	payload, err := signing.Open(signed, "text/plain", key.Public())
	fmt.Printf("%s %v\n", payload, err)
	// Output: hello <nil>
}

// An envelope has one signature. One with another beside it, be it right or not, is refused:
// readers would differ in whose it is.
func TestTwoSignatures(t *testing.T) {
	a, b := signing.GenerateKey(), signing.GenerateKey()
	var one, two map[string]any
	for _, s := range []struct {
		by *signing.PrivateKey
		to *map[string]any
	}{{a, &one}, {b, &two}} {
		raw, err := signing.Sign(t.Context(), s.by, "t", []byte("m"))
		if err == nil {
			err = json.Unmarshal(raw, s.to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sig := func(m map[string]any) string {
		s, err := json.Marshal(m["signatures"].([]any)[0])
		if err != nil {
			t.Fatal(err)
		}
		var v struct{ KeyID, Sig string }
		if err := json.Unmarshal(s, &v); err != nil {
			t.Fatal(err)
		}
		return `{"keyid":"` + v.KeyID + `","sig":"` + v.Sig + `"}`
	}
	head := `{"payloadType":"t","payload":"bQ==","signatures":[`
	if _, err := signing.Open([]byte(head+sig(one)+`]}`), "t", a.Public()); err != nil {
		t.Fatal(err)
	}
	for name, sigs := range map[string]string{"two": sig(one) + "," + sig(two), "the other first": sig(two) + "," + sig(one), "one twice": sig(one) + "," + sig(one), "none": ""} {
		if _, err := signing.Open([]byte(head+sigs+`]}`), "t", a.Public()); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
