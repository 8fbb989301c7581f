package envelope

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
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
	smaller, err := parsed.Remove("local", a.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := smaller.Unwrap(ctx, ec, a); !errors.As(err, &noKey) {
		t.Errorf("a removed slot still opens: %v", err)
	}
	if _, err := smaller.Remove("local", b.Fingerprint()); err == nil {
		t.Error("the last slot was removed")
	}
	if _, err := smaller.Remove("local", a.Fingerprint()); !errors.Is(err, ErrNoSlot) {
		t.Errorf("a slot that is not there: %v", err)
	}
}

// Whoever can write a keyring can put slots into it twice, and such as hold
// nothing. They do not keep the others from opening; the key that is removed is
// gone with all of its slots; the one that is added has one slot, which opens.
func TestSlotsOfOneKey(t *testing.T) {
	a, b := GenerateLocalKey(), GenerateLocalKey()
	ring, key, err := NewKeyring(ctx, nil, a, b)
	if err != nil {
		t.Fatal(err)
	}
	of := func(k *LocalKey, n int) Slot {
		slot := Slot{Kind: "local", Key: k.Fingerprint(), Wrapped: make([]byte, wrappedSize)}
		if n == 0 {
			slot.Wrapped = ring.slots[slices.IndexFunc(ring.slots, k.Matches)].Wrapped
		}
		return slot
	}
	const good, bad = 0, 1
	for name, slots := range map[string][]Slot{
		"twice":             {of(a, good), of(b, good), of(a, good)},
		"bad before good":   {of(a, bad), of(b, good), of(a, good)},
		"bad behind good":   {of(a, good), of(a, bad), of(b, good)},
		"bad alone":         {of(b, good), of(a, bad)},
		"not there":         {of(b, good)},
		"others' bad twice": {of(b, bad), of(b, good), of(a, good)},
	} {
		planted := *ring
		planted.slots = slots
		parsed, err := ParseKeyring(planted.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := parsed.Unwrap(ctx, nil, b); err != nil {
			t.Errorf("%s: the other key opens nothing: %v", name, err)
		}
		mine := slices.ContainsFunc(parsed.slots, a.Matches)
		without, err := parsed.Remove("local", a.Fingerprint())
		if mine != (err == nil) || err == nil && slices.ContainsFunc(without.slots, a.Matches) {
			t.Errorf("%s: removed: %v, %v", name, without.Slots(), err)
		}
		added, err := parsed.Add(ctx, nil, key, a)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n := 0
		for _, s := range added.slots {
			if a.Matches(s) {
				n++
			}
		}
		if _, err := added.Unwrap(ctx, nil, a); err != nil || n != 1 {
			t.Errorf("%s: added: %d slots, %v", name, n, err)
		}
		moved, err := parsed.Move(nil, 0, func(Slot, EncryptionContext) (Slot, error) { return of(a, good), nil })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if moved.slots[0].Key != a.Fingerprint() || slices.ContainsFunc(moved.slots[1:], a.Matches) {
			t.Errorf("%s: moved: %v", name, moved.Slots())
		}
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
		next, aerr := ring.Add(ctx, nil, key, fatWrapper{n: len(ring.slots)})
		if err = aerr; err == nil {
			ring = next
		}
	}
	if len(ring.Slots()) < 2 {
		t.Errorf("no slot could be added: %v", err)
	}
}

// fatWrapper makes slots of the largest size, for the key n.
type fatWrapper struct {
	looseWrapper
	n int
}

func (w fatWrapper) Wrap(context.Context, []byte, EncryptionContext) (Slot, error) {
	return Slot{Kind: "fat", Key: fmt.Sprintf("%0*d", maxSlotKey, w.n), Wrapped: make([]byte, maxWrapped)}, nil
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
		for _, v := range slices.Concat([]any{key, local, struct{ k *DataKey }{key}}, copies(key), copies(local)) {
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
