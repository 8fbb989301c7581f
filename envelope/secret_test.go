package envelope

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// No verb, encoder or logger prints a secret: of a value, of a pointer, or in a
// struct, where package fmt calls no method.
func TestNothingPrintsSecrets(t *testing.T) {
	ctx := context.Background()
	local, id := GenerateLocalKey(), testIdentity(t)
	text := "a passphrase to look for"
	pass := quick(t, text)
	_, key, err := NewKeyring(ctx, nil, local)
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte("some plaintext to look for")
	sealed := seal(t, key, plain)
	w, err := NewWriter(io.Discard, KindFile, key, Workers(1))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(plain)
	r, err := NewReader(bytes.NewReader(sealed), KindFile, key)
	if err != nil {
		t.Fatal(err)
	}
	r.Read(make([]byte, 1))
	ra, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindFile, key)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{
		"data key": key.secret.bytes(), "local key": local.secret.bytes(), "local wrapping key": local.wrap.bytes(),
		"passphrase": []byte(text), "identity": id.seed.bytes(), "plaintext": plain, "rest of the plaintext": plain[1:],
		"writer's key": w.key.bytes(), "reader's key": r.key.bytes(), "readerat's key": ra.key.bytes(),
	}
	values := []any{
		key, struct{ k *DataKey }{key}, struct{ K *DataKey }{key}, []*DataKey{key},
		local, struct{ k *LocalKey }{local}, pass, struct{ p *Passphrase }{pass}, id, struct{ i *Identity }{id},
		w, struct{ w *Writer }{w}, r, struct{ r *Reader }{r},
		ra, struct{ r *ReaderAt }{ra}, struct{ R *ReaderAt }{ra},
		struct{ w KeyWrapper }{local}, map[string]KeyWrapper{"k": id},
	}
	// Copies are refused wherever they are used, and must not print either.
	values = slices.Concat(values, copies(key), copies(local), copies(pass), copies(id), copies(w), copies(r), copies(ra))
	forms := func(secret []byte) []string {
		list := func(s string) string { return strings.Trim(s, "[]") }
		return []string{string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
			list(fmt.Sprint(secret)), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
			list(fmt.Sprintf("% x", secret)), list(fmt.Sprintf("%o", secret)), list(fmt.Sprintf("%b", secret)),
			base64.StdEncoding.EncodeToString(secret)}
	}
	// The forms are the right ones: they find a secret that is printed.
	for _, verb := range []string{"%v", "%#v", "%s", "%x", "%X", "% x", "%o", "%b", "%d"} {
		naked := fmt.Sprintf(verb, struct{ b []byte }{secrets["data key"]})
		found := false
		for _, f := range forms(secrets["data key"]) {
			found = found || strings.Contains(naked, f)
		}
		if !found {
			t.Fatalf("the test would not notice a key printed with %s: %s", verb, naked)
		}
	}
	for _, v := range values {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%t", "%e", "%p", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		json.NewEncoder(&out).Encode(v)
		xml.NewEncoder(&out).Encode(v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		for name, secret := range secrets {
			for _, f := range forms(secret) {
				if strings.Contains(out.String(), f) {
					t.Errorf("%T prints the %s", v, name)
				}
			}
		}
	}
}

// What is done with is zero.
func TestWiped(t *testing.T) {
	ctx := context.Background()
	local, id, pass := GenerateLocalKey(), testIdentity(t), quick(t, "x")
	_, key, err := NewKeyring(ctx, nil, local)
	if err != nil {
		t.Fatal(err)
	}
	plain := pattern(3 << 20)
	sealed := seal(t, key, plain)
	w, _ := NewWriter(io.Discard, KindFile, key)
	broken, _ := NewWriter(&lyingWriter{bad: 2, count: func(int) int { return 0 }, err: errBroken}, KindFile, key)
	r, _ := NewReader(bytes.NewReader(sealed), KindFile, key)
	bad, _ := NewReader(bytes.NewReader(sealed[:len(sealed)-1]), KindFile, key)
	ra, _ := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindFile, key)
	kept := map[string][]byte{
		"closed writer": w.key.bytes(), "failed writer": broken.key.bytes(), "reader at the end": r.key.bytes(),
		"failed reader": bad.key.bytes(), "readerat": ra.key.bytes(), "data key": key.secret.bytes(),
		"local key": local.secret.bytes(), "local wrapping key": local.wrap.bytes(), "identity": id.seed.bytes(), "passphrase": pass.text.bytes(),
	}
	for name, b := range kept {
		if len(bytes.Trim(b, "\x00")) == 0 {
			t.Fatalf("%s: zero before its time", name)
		}
	}
	w.Write(plain)
	broken.Write(plain)
	io.Copy(io.Discard, r)
	io.Copy(io.Discard, bad)
	for _, c := range []io.Closer{w, broken, ra} {
		c.Close()
	}
	key.Wipe()
	local.Wipe()
	id.Wipe()
	pass.Wipe()
	for name, b := range kept {
		if len(bytes.Trim(b, "\x00")) != 0 {
			t.Errorf("%s: not wiped", name)
		}
	}
	if _, err := ra.ReadAt(make([]byte, 1), 0); err != errReaderAtClosed {
		t.Errorf("ReadAt after Close: %v", err)
	}
}
