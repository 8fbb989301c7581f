package envelope

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// Each use of a secret that is not there is refused: of a wiped one, a zero value,
// nil, a copy, and a copy of a wiped one.
func TestGoneKeys(t *testing.T) {
	owner := GenerateLocalKey()
	id := testIdentity(t)
	dataKeyUses := map[string]func(*DataKey) error{
		"NewWriter":      func(k *DataKey) error { _, err := NewWriter(io.Discard, KindFile, k); return err },
		"NewContentHash": func(k *DataKey) error { _, err := NewContentHash(k); return err },
	}
	ring, whole, err := NewKeyring(ctx, nil, owner)
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, whole, pattern(100))
	h, _ := ReadHeader(bytes.NewReader(sealed))
	dataKeyUses["Add"] = func(k *DataKey) error { _, err := ring.Add(ctx, nil, k, owner); return err }
	dataKeyUses["NewReader"] = func(k *DataKey) error { _, err := NewReader(bytes.NewReader(sealed), KindFile, k); return err }
	dataKeyUses["OpenExact"] = func(k *DataKey) error { _, err := h.OpenExact(bytes.NewReader(sealed), k); return err }
	dataKeyUses["OpenRange"] = func(k *DataKey) error {
		_, err := h.OpenRange(bytes.NewReader(sealed[HeaderSize:]), k, 100, 0, 1)
		return err
	}
	dataKeyUses["NewReaderAt"] = func(k *DataKey) error {
		_, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindFile, k)
		return err
	}
	open := func() *DataKey {
		k, err := ring.Unwrap(ctx, nil, owner)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	wiped := open()
	wiped.Wipe()
	kept := copied(wiped)
	for state, k := range map[string]*DataKey{"wiped": wiped, "nil": nil, "zero": {}, "a copy": copied(whole), "a copy of a wiped one": kept} {
		for use, f := range dataKeyUses {
			if err := f(k); !errors.Is(err, ErrKeyUnusable) || errors.Is(err, ErrAuthentication) {
				t.Errorf("data key, %s: %s: %v", state, use, err)
			}
		}
		k.Wipe()
		_, _ = k.ID(), k.String()
	}
	whole = open()
	survivor := copied(whole)
	whole.Wipe()
	if survivor.secret.bytes() != nil {
		t.Error("a copy keeps the wiped key")
	}

	goneLocal, goneID, gonePass := GenerateLocalKey(), testIdentity(t), quick(t, "secret")
	slotOf := func(k KeyWrapper) Slot {
		r, _, err := NewKeyring(ctx, nil, k)
		if err != nil {
			t.Fatal(err)
		}
		return r.Slots()[0]
	}
	slots := []Slot{slotOf(goneLocal), slotOf(goneID), slotOf(gonePass)}
	goneLocal.Wipe()
	goneID.Wipe()
	gonePass.Wipe()
	for name, k := range map[string]KeyWrapper{
		"wiped local": goneLocal, "nil local": (*LocalKey)(nil), "zero local": &LocalKey{}, "copied local": copied(owner),
		"wiped identity": goneID, "nil identity": (*Identity)(nil), "zero identity": &Identity{}, "copied identity": copied(id),
		"wiped passphrase": gonePass, "nil passphrase": (*Passphrase)(nil), "zero passphrase": &Passphrase{}, "copied passphrase": copied(quick(t, "x")),
		"nil recipient": (*Recipient)(nil), "zero recipient": &Recipient{}, "nil": nil,
	} {
		if _, _, err := NewKeyring(ctx, nil, k); !errors.Is(err, ErrKeyUnusable) {
			t.Errorf("%s: NewKeyring: %v", name, err)
		}
		if _, _, err := NewKeyring(ctx, nil, owner, k); !errors.Is(err, ErrKeyUnusable) {
			t.Errorf("%s: NewKeyring with another: %v", name, err)
		}
		var out bytes.Buffer
		if w, err := Seal(ctx, &out, nil, k); !errors.Is(err, ErrKeyUnusable) || w != nil || out.Len() != 0 {
			t.Errorf("%s: Seal: %v", name, err)
		}
		if _, err := ring.Unwrap(ctx, nil, k); !errors.Is(err, ErrKeyUnusable) {
			t.Errorf("%s: Unwrap: %v", name, err)
		}
		if k == nil {
			continue
		}
		for _, slot := range slots {
			if b, err := k.Unwrap(ctx, slot, nil); !errors.Is(err, ErrKeyUnusable) || b != nil {
				t.Errorf("%s: Unwrap of a slot: %v", name, err)
			}
		}
		if got, err := ring.Unwrap(ctx, nil, k, owner); err != nil || got.ID() != ring.ID() {
			t.Errorf("%s keeps another from opening: %v", name, err)
		}
		// Nothing that tells of it panics.
		for _, m := range []string{"String", "Fingerprint", "Wipe", "EncodeSecret", "Encode", "Recipient"} {
			if m == "Wipe" && strings.HasPrefix(name, "copied") {
				continue // which is the owner's, too
			}
			if f := reflect.ValueOf(k).MethodByName(m); f.IsValid() {
				if out := f.Call(nil); m == "EncodeSecret" && out[0].Len() != 0 {
					t.Errorf("%s: EncodeSecret writes something", name)
				}
			}
		}
	}
}

// Zero values and nil are errors, and nothing panics.
func TestZeroValues(t *testing.T) {
	key := testKey(t)
	local := GenerateLocalKey()
	ring, _, _ := NewKeyring(ctx, nil, local)
	var sealed bytes.Buffer
	w, _ := Seal(ctx, &sealed, nil, local)
	w.Close()
	src := func() io.Reader { return bytes.NewReader(sealed.Bytes()) }
	r, _ := Open(ctx, src(), nil, local)
	live, _ := NewWriter(io.Discard, KindFile, key)
	h := w.Header()
	badOption := func(use func(...Option)) { use(Workers(1), nil) }
	errOf := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"NewWriter to nil":        errOf(NewWriter(nil, KindFile, key)),
		"NewWriter, nil option":   errOf(NewWriter(io.Discard, KindFile, key, nil)),
		"NewWriter, kind":         errOf(NewWriter(io.Discard, "", key)),
		"Seal to nil":             errOf(Seal(ctx, nil, nil, local)),
		"Seal, no keys":           errOf(Seal(ctx, io.Discard, nil)),
		"SealFrom nil":            errOf(SealFrom(ctx, io.Discard, nil, nil, local)),
		"Open nil":                errOf(Open(ctx, nil, nil, local)),
		"OpenAt nil":              errOf(OpenAt(ctx, nil, 10, nil, local)),
		"ReadHeader nil":          errOf(ReadHeader(nil)),
		"NewReader nil":           errOf(NewReader(nil, KindFile, key)),
		"NewReader, nil option":   errOf(NewReader(bytes.NewReader(seal(t, key, nil)), KindFile, key, nil)),
		"NewReaderAt nil":         errOf(NewReaderAt(nil, 10, KindFile, key)),
		"NewReaderAt, nil option": errOf(NewReaderAt(bytes.NewReader(seal(t, key, nil)), SealedSize(0), KindFile, key, nil)),
		"Header.Open nil":         errOf(h.Open(nil, KindFile, key)),
		"OpenExact nil":           errOf(h.OpenExact(nil, key)),
		"OpenRange nil":           errOf(h.OpenRange(nil, key, 1, 0, 1)),
		"zero Header.Open":        errOf(Header{}.Open(src(), "", key)),
		"zero Writer":             errOf(new(Writer).Write([]byte("x"))),
		"zero Writer.ReadFrom":    errOf(new(Writer).ReadFrom(src())),
		"zero Writer.Close":       new(Writer).Close(),
		"nil Writer.Close":        (*Writer)(nil).Close(),
		"copied Writer":           errOf(copied(live).Write([]byte("x"))),
		"copied Writer.Close":     copied(live).Close(),
		"ReadFrom nil":            errOf(live.ReadFrom(nil)),
		"Close after that":        live.Close(),
		"zero Reader":             errOf(new(Reader).Read(make([]byte, 1))),
		"zero Reader.WriteTo":     errOf(new(Reader).WriteTo(io.Discard)),
		"copied Reader":           errOf(copied(r).Read(make([]byte, 1))),
		"WriteTo nil":             errOf(r.WriteTo(nil)),
		"zero ReaderAt":           errOf(new(ReaderAt).ReadAt(make([]byte, 1), 0)),
		"zero ReaderAt.Close":     new(ReaderAt).Close(),
		"zero Keyring.Unwrap":     errOf(new(Keyring).Unwrap(ctx, nil, local)),
		"nil Keyring.Unwrap":      errOf((*Keyring)(nil).Unwrap(ctx, nil, local)),
		"nil Keyring.Add":         errOf((*Keyring)(nil).Add(ctx, nil, key, local)),
		"nil Keyring.Remove":      errOf((*Keyring)(nil).Remove("local", "x")),
		"nil Keyring.Move":        errOf((*Keyring)(nil).Move(nil, 0, nil)),
		"Move nil":                errOf(ring.Move(nil, 0, nil)),
		"zero ContentHash":        errOf(new(ContentHash).Write([]byte("x"))),
		"Writer.Use nil": func() error {
			w, _ := NewWriter(io.Discard, KindFile, key)
			badOption(w.Use)
			return w.Close()
		}(),
		"Reader.Use nil": func() error {
			r, _ := NewReader(bytes.NewReader(seal(t, key, nil)), KindFile, key)
			badOption(r.Use)
			_, err := r.Read(make([]byte, 1))
			return err
		}(),
		"ReaderAt.Use nil": func() error {
			r, _ := NewReaderAt(bytes.NewReader(seal(t, key, []byte("x"))), SealedSize(1), KindFile, key)
			badOption(r.Use)
			_, err := r.ReadAt(make([]byte, 1), 0)
			return err
		}(),
	} {
		if err == nil || err == io.EOF || errors.Is(err, ErrFormat) && name != "ReadHeader nil" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What returns no error does nothing.
	new(Writer).Use(nil)
	new(Writer).Abort()
	new(Reader).Use(nil)
	new(ReaderAt).Use(nil)
	_, _, _, _ = new(Writer).Header(), new(Writer).Pin(), new(Reader).Header(), new(Reader).Pin()
	_, _, _ = new(ReaderAt).Header(), new(ReaderAt).Size(), (*Keyring)(nil).Slots()
	_, _ = (*Keyring)(nil).ID(), (*Keyring)(nil).Bytes()
}

// A context that is nil or over is refused before anything is done.
func TestContextsFirst(t *testing.T) {
	over, cancel := context.WithCancel(ctx)
	cancel()
	local, id, pass := GenerateLocalKey(), testIdentity(t), quick(t, "x")
	ring, key, err := NewKeyring(ctx, nil, local)
	if err != nil {
		t.Fatal(err)
	}
	untouched := readFunc(func([]byte) (int, error) { t.Error("the source is read"); return 0, io.EOF })
	silent := writeFunc(func(p []byte) (int, error) { t.Error("the destination is written to"); return len(p), nil })
	wrapped := func(k KeyWrapper) func(context.Context) error {
		return func(ctx context.Context) error {
			_, werr := k.Wrap(ctx, make([]byte, 32), nil)
			_, uerr := k.Unwrap(ctx, Slot{}, nil)
			if (werr == nil) != (uerr == nil) || uerr == ErrNoSlot {
				t.Errorf("%v: Wrap: %v, Unwrap: %v", k, werr, uerr)
			}
			return werr
		}
	}
	for name, f := range map[string]func(context.Context) error{
		"NewKeyring": func(ctx context.Context) error { _, _, err := NewKeyring(ctx, nil); return err },
		"Unwrap":     func(ctx context.Context) error { _, err := ring.Unwrap(ctx, nil); return err },
		"Add":        func(ctx context.Context) error { _, err := ring.Add(ctx, nil, key, local); return err },
		"Seal":       func(ctx context.Context) error { _, err := Seal(ctx, silent, nil, local); return err },
		"SealFrom":   func(ctx context.Context) error { _, err := SealFrom(ctx, silent, untouched, nil, local); return err },
		"Open":       func(ctx context.Context) error { _, err := Open(ctx, untouched, nil, local); return err },
		"OpenAt": func(ctx context.Context) error {
			_, err := OpenAt(ctx, readAtFunc(func(p []byte, _ int64) (int, error) { return untouched(p) }), 100, nil, local)
			return err
		},
		"local": wrapped(local), "identity": wrapped(id), "recipient": wrapped(id.Recipient()), "passphrase": wrapped(pass),
	} {
		if err := f(over); err != context.Canceled {
			t.Errorf("%s after its context: %v", name, err)
		}
		if err := f(nil); err == nil || err == context.Canceled {
			t.Errorf("%s without a context: %v", name, err)
		}
	}
}

// A Wipe beside a use lets it have the whole key or none.
func TestWipeBesideUse(t *testing.T) {
	rounds := 4000
	if testing.Short() {
		rounds = 500
	}
	zero := make([]byte, DataKeySize)
	for round := range rounds {
		local := GenerateLocalKey()
		text := local.EncodeSecret()
		ring, key, err := NewKeyring(ctx, nil, local)
		if err != nil {
			t.Fatal(err)
		}
		owner, _ := ParseLocalKey(text)
		var wg sync.WaitGroup
		start := make(chan struct{})
		beside := func(f func()) {
			wg.Go(func() {
				<-start
				f()
			})
		}
		var out bytes.Buffer
		var added *Keyring
		var werr, aerr, nerr error
		var fresh *Keyring
		var freshKey *DataKey
		beside(func() {
			w, err := NewWriter(&out, KindFile, key, Workers(1))
			if werr = err; err == nil {
				w.Write([]byte("secret"))
				werr = w.Close()
			}
		})
		beside(func() { added, aerr = ring.Add(ctx, nil, key, owner) })
		beside(func() { fresh, freshKey, nerr = NewKeyring(ctx, nil, local) })
		beside(func() {
			if got, err := ring.Unwrap(ctx, nil, local); err != nil && !errors.Is(err, ErrKeyUnusable) || err == nil && bytes.Equal(got.secret.bytes(), zero) {
				t.Errorf("round %d: Unwrap: %v", round, err)
			}
		})
		beside(func() {
			if b := local.EncodeSecret(); b != nil && !bytes.Equal(b, text) {
				t.Errorf("round %d: EncodeSecret: %d bytes of another key", round, len(b))
			}
		})
		wait := rand.IntN(200)
		beside(func() {
			for range wait {
				_ = key.ID()
			}
			key.Wipe()
			local.Wipe()
		})
		close(start)
		wg.Wait()
		real, err := ring.Unwrap(ctx, nil, owner)
		if err != nil {
			t.Fatal(err)
		}
		if werr == nil && !complete(real, out.Bytes()) || werr != nil && !errors.Is(werr, ErrKeyUnusable) {
			t.Fatalf("round %d: sealed under another key, or %v", round, werr)
		}
		if aerr == nil {
			if _, err := added.Unwrap(ctx, nil, owner); err != nil {
				t.Fatalf("round %d: the slot of Add: %v", round, err)
			}
		} else if !errors.Is(aerr, ErrKeyUnusable) {
			t.Fatalf("round %d: Add: %v", round, aerr)
		}
		if nerr == nil {
			if got, err := fresh.Unwrap(ctx, nil, owner); err != nil || got.ID() != freshKey.ID() {
				t.Fatalf("round %d: wrapped under another key: %v", round, err)
			}
		} else if !errors.Is(nerr, ErrKeyUnusable) {
			t.Fatalf("round %d: NewKeyring: %v", round, nerr)
		}
	}
}

// hoarder is a key service that keeps what it has returned, or been given, and
// changes all of it when told to.
type hoarder struct {
	*LocalKey
	kept [][]byte
	maps []EncryptionContext
	slot []Slot
	zero bool
}

func (h *hoarder) GenerateDataKey(ctx context.Context, ec EncryptionContext) ([]byte, Slot, error) {
	b := randomBytes(DataKeySize)
	slot, err := h.Wrap(ctx, b, ec)
	if h.zero {
		clear(b) // a deferred one, as who knows
	}
	h.kept = append(h.kept, b)
	return b, slot, err
}

func (h *hoarder) Wrap(ctx context.Context, dataKey []byte, ec EncryptionContext) (Slot, error) {
	slot, err := h.LocalKey.Wrap(ctx, dataKey, ec)
	h.maps, h.slot = append(h.maps, ec), append(h.slot, slot)
	return slot, err
}

func (h *hoarder) Unwrap(ctx context.Context, slot Slot, ec EncryptionContext) ([]byte, error) {
	b, err := h.LocalKey.Unwrap(ctx, slot, ec)
	h.kept, h.maps, h.slot = append(h.kept, b), append(h.maps, ec), append(h.slot, slot)
	clear(slot.Wrapped)
	ec["more"] = "x"
	return b, err
}

func (h *hoarder) spoil() {
	for _, b := range h.kept {
		clear(b)
	}
	for _, m := range h.maps {
		clear(m)
	}
	for _, s := range h.slot {
		clear(s.Wrapped)
	}
}

// What a key service has kept of a data key, a slot or a context is not what the
// library continues with.
func TestKeyServicesThatKeep(t *testing.T) {
	h := &hoarder{LocalKey: GenerateLocalKey()}
	ec := EncryptionContext{"a": "b"}
	ring, key, err := NewKeyring(ctx, ec, h)
	if err != nil {
		t.Fatal(err)
	}
	more, err := ring.Add(ctx, ec, key, h)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := more.Unwrap(ctx, ec, h)
	if err != nil {
		t.Fatal(err)
	}
	h.spoil()
	if len(ec) != 1 || !complete(key, seal(t, opened, pattern(10))) || bytes.Equal(key.secret.bytes(), make([]byte, DataKeySize)) {
		t.Error("the key service has changed a key or the caller's context")
	}
	for _, r := range []*Keyring{ring, more} {
		if _, err := r.Unwrap(ctx, ec, h.LocalKey); err != nil {
			t.Error(err)
		}
	}
	h.zero = true
	if _, _, err := NewKeyring(ctx, ec, h); err == nil {
		t.Error("a data key of zeros was taken")
	}
}

func TestContextsThatCannotBeSeen(t *testing.T) {
	for _, r := range []rune{0, '\t', '\n', 0x7f, 0x85, 0xa0, 0xad, 0x34f, 0x600, 0x61c, 0x115f, 0x17b4, 0x180e, 0x200b, 0x200d, 0x200e, 0x2028, 0x2029,
		0x202e, 0x2060, 0x2066, 0x2800, 0x3000, 0x3164, 0xe000, 0xfe0f, 0xfeff, 0xffa0, 0xfff9, 0xfffe, 0xe0001, 0xe0100, 0xf0000, 0x10fffd} {
		s := "a" + string(r) + "b"
		for _, ec := range []EncryptionContext{{s: "v"}, {"n": s}} {
			if _, _, err := NewKeyring(ctx, ec, GenerateLocalKey()); err == nil {
				t.Errorf("%+q was taken", s)
			}
		}
	}
	for _, s := range []string{"a b", "Größe", "データ", "עברית", "e\u0301", "🔑", "~!@#$%^&*()_+{}|:\"<>?"} {
		if err := (EncryptionContext{s: s}).Check(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}
