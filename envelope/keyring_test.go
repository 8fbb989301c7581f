package envelope

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

var ctx = context.Background()

func TestKeyringOpensWithAnyKey(t *testing.T) {
	a, b, other := GenerateLocalKey(), GenerateLocalKey(), GenerateLocalKey()
	ec := EncryptionContext{ContextDataset: "digits", "project": "p"}
	ring, key, err := NewKeyring(ctx, ec, a, b)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseKeyring(ring.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []KeyWrapper{a, b} {
		got, err := parsed.Unwrap(ctx, ec, other, k)
		if err != nil || !bytes.Equal(got.secret.bytes(), key.secret.bytes()) {
			t.Errorf("Unwrap: %v", err)
		}
	}
	var noKey *NoKeyError
	if _, err := parsed.Unwrap(ctx, ec, other); !errors.As(err, &noKey) || !strings.Contains(err.Error(), a.Fingerprint()) {
		t.Errorf("with no key: %v", err)
	}
	for _, wrong := range []EncryptionContext{nil, {ContextDataset: "faces", "project": "p"}, {ContextDataset: "digits"}} {
		if _, err := parsed.Unwrap(ctx, wrong, a); !errors.Is(err, ErrAuthentication) {
			t.Errorf("with context %v: %v", wrong, err)
		}
	}
	smaller, err := parsed.Remove(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := smaller.Unwrap(ctx, ec, a); !errors.As(err, &noKey) {
		t.Errorf("a removed slot still opens: %v", err)
	}
	if _, err := smaller.Remove(0); err == nil {
		t.Error("the last slot was removed")
	}
}

// A slot moved to another keyring unwraps to nothing, even where the wrapping
// itself would allow it: the commitment is of another data key.
func TestCommitmentIsChecked(t *testing.T) {
	loose := looseWrapper{}
	one, _, err := NewKeyring(ctx, nil, loose)
	if err != nil {
		t.Fatal(err)
	}
	two, _, _ := NewKeyring(ctx, nil, loose)
	one.slots = two.slots
	if _, err := one.Unwrap(ctx, nil, loose); !errors.Is(err, ErrAuthentication) {
		t.Errorf("a data key without its commitment: %v", err)
	}
}

// looseWrapper does not encrypt, and ignores the context.
type looseWrapper struct{}

func (looseWrapper) Wrap(_ context.Context, key []byte, _ EncryptionContext) (Slot, error) {
	return Slot{Kind: "loose", Key: "k", Wrapped: bytes.Clone(key)}, nil
}

func (looseWrapper) Unwrap(_ context.Context, s Slot, _ EncryptionContext) ([]byte, error) {
	return bytes.Clone(s.Wrapped), nil
}

func TestKeyringHasOneEncoding(t *testing.T) {
	ring, _, err := NewKeyring(ctx, nil, GenerateLocalKey(), GenerateLocalKey())
	if err != nil {
		t.Fatal(err)
	}
	good := string(ring.Bytes())
	if strings.ContainsAny(good, " \n") {
		t.Errorf("unexpected white space in %s", good)
	}
	swap := func(old, new string) string {
		out := strings.Replace(good, old, new, 1)
		if out == good {
			t.Fatalf("%q is not in %s", old, good)
		}
		return out
	}
	for what, bad := range map[string]string{
		"empty":              "",
		"a newline":          good + "\n",
		"a space":            swap(`":`, `": `),
		"trailing data":      good + "{}",
		"an unknown field":   swap(`{"format"`, `{"x":1,"format"`),
		"a field twice":      swap(`{"format"`, `{"key_id":"00","format"`),
		"another case":       swap(`"format"`, `"Format"`),
		"fields exchanged":   swap(`"format":"vaultpack-keyring/1","key_id":"`+ring.ID().String()+`"`, `"key_id":"`+ring.ID().String()+`","format":"vaultpack-keyring/1"`),
		"another format":     swap("keyring/1", "keyring/2"),
		"upper-case hex":     swap(ring.ID().String(), strings.ToUpper(ring.ID().String()[:31])+"A"),
		"a short key ID":     swap(ring.ID().String(), ring.ID().String()[2:]),
		"no slot":            good[:strings.Index(good, `"slots":`)] + `"slots":[]}`,
		"null slots":         good[:strings.Index(good, `"slots":`)] + `"slots":null}`,
		"an escaped letter":  swap("local", `\u006cocal`),
		"an empty kind":      swap(`"local"`, `""`),
		"a kind with markup": swap(`"local"`, `"<b>"`),
		"a short commitment": swap(`"commitment":"`, `"commitment":"AAAA`),
		"65 KiB":             swap(`"local"`, `"`+strings.Repeat("x", 65<<10)+`"`),
	} {
		if _, err := ParseKeyring([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ParseKeyring([]byte(good)); err != nil {
		t.Fatal(err)
	}
}

// A keyring that has grown too large to be read again must not come about.
func TestKeyringStaysReadable(t *testing.T) {
	ring, key, err := NewKeyring(ctx, nil, GenerateLocalKey())
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		if _, perr := ParseKeyring(ring.Bytes()); perr != nil {
			t.Fatalf("with %d slots: %v", len(ring.Slots()), perr)
		}
		next, aerr := ring.Add(ctx, nil, key, fatWrapper{})
		if err = aerr; err == nil {
			ring = next
		}
	}
	if len(ring.Slots()) < 2 {
		t.Errorf("no slot could be added: %v", err)
	}
}

// fatWrapper makes slots of the largest size.
type fatWrapper struct{ looseWrapper }

func (fatWrapper) Wrap(context.Context, []byte, EncryptionContext) (Slot, error) {
	return Slot{Kind: "fat", Key: strings.Repeat("k", maxSlotKey), Wrapped: make([]byte, maxWrapped)}, nil
}

func TestContext(t *testing.T) {
	got := EncryptionContext{"b": "2", "a": "1", "aa": "é"}.Canonical()
	want := "\x00\x00\x00\x01a\x00\x00\x00\x011\x00\x00\x00\x02aa\x00\x00\x00\x02\xc3\xa9\x00\x00\x00\x01b\x00\x00\x00\x012"
	if string(got) != want {
		t.Errorf("canonical context %q, want %q", got, want)
	}
	for _, bad := range []EncryptionContext{{"": "x"}, {"x": ""}, {"vaultpack:key-id": "x"}, {"vaultpack:other": "x"},
		{"a\n": "b"}, {"a": "\xff"}, {"a": strings.Repeat("x", 1025)}} {
		if _, _, err := NewKeyring(ctx, bad, GenerateLocalKey()); err == nil {
			t.Errorf("context %q was taken", bad)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	local := GenerateLocalKey()
	_, key, err := NewKeyring(ctx, nil, local)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{key.secret.bytes(), local.secret.bytes(), local.wrap.bytes()} {
		for _, v := range []any{key, *key, local, *local, struct{ k *DataKey }{key}, struct{ k DataKey }{*key}, struct{ k LocalKey }{*local}} {
			j, _ := json.Marshal(v)
			for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				text := fmt.Sprintf(form, v) + string(j)
				for _, leak := range []string{string(secret), fmt.Sprintf("%x", secret), fmt.Sprint(secret), fmt.Sprintf("%#v", secret)} {
					if strings.Contains(text, strings.Trim(leak, "[]")) {
						t.Errorf("%T printed with %s tells the key", v, form)
					}
				}
			}
		}
	}
	key.Wipe()
	if _, err := NewWriter(io.Discard, KindFile, key); err == nil {
		t.Error("a wiped key seals")
	}
}

func TestLocalKeyText(t *testing.T) {
	k := GenerateLocalKey()
	text := string(k.EncodeSecret())
	got, err := ParseLocalKey([]byte("# a comment\n\n" + text + "\r\n"))
	if err != nil || got.Fingerprint() != k.Fingerprint() {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "# only this", text + text, text[1:], text[:len(text)-3], "vaultpack-local-key-1:AAAA"} {
		if _, err := ParseLocalKey([]byte(bad)); err == nil {
			t.Errorf("%d bytes were taken", len(bad))
		} else if bad != "" && len(bad) > 30 && strings.Contains(err.Error(), bad[25:30]) {
			t.Error("the error tells the key")
		}
	}
}
