package envelope

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
	"github.com/vaultpack/vaultpack/internal/race"
)

// quick is a passphrase that costs as little as a slot may ask for.
func quick(t testing.TB, text string) *Passphrase {
	t.Helper()
	p, err := NewPassphrase([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p.cost = argonCost{memory: minArgonMemory, time: 1, threads: 1}
	return p
}

func TestPassphrase(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	ctx := context.Background()
	ec := EncryptionContext{"project": "scans"}
	text := []byte("correct horse")
	first, err := NewPassphrase(text)
	if err != nil {
		t.Fatal(err)
	}
	clear(text) // it must have been copied
	ring, key, err := NewKeyring(ctx, ec, first, quick(t, "staple"))
	if err != nil {
		t.Fatal(err)
	}
	if got := ring.Slots()[0].Key; !strings.HasPrefix(got, "$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Errorf("parameters %q are not RFC 9106's", got)
	}
	if ring, err = ParseKeyring(ring.Bytes()); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"correct horse", "staple"} {
		got, err := ring.Unwrap(ctx, ec, quick(t, text))
		if err != nil || !bytes.Equal(got.secret.bytes(), key.secret.bytes()) {
			t.Errorf("%s: %v", text, err)
		}
	}
	_, err = ring.Unwrap(ctx, ec, quick(t, "correct horse "))
	if !errors.Is(err, ErrAuthentication) || err.Error() != ErrAuthentication.Error() {
		t.Errorf("another passphrase: %v", err)
	}
	if _, err := ring.Unwrap(ctx, nil, quick(t, "staple")); !errors.Is(err, ErrAuthentication) {
		t.Errorf("another context: %v", err)
	}
	var none *NoKeyError
	if _, err := ring.Unwrap(ctx, ec, GenerateLocalKey()); !errors.As(err, &none) {
		t.Errorf("a local key: %v", err)
	}
	if _, err := NewPassphrase(nil); err == nil {
		t.Error("an empty passphrase was taken")
	}
}

// The slot is what docs/FORMAT.md says, computed here by hand.
func TestPassphraseSlot(t *testing.T) {
	ec := EncryptionContext{"a": "b"}
	dataKey := bytes.Repeat([]byte{7}, 32)
	slot, err := quick(t, "Grüße").Wrap(context.Background(), dataKey, ec)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(slot.Key[len("$argon2id$v=19$m=8192,t=1,p=1$"):])
	if err != nil || slot.Kind != "passphrase" {
		t.Fatal(slot, err)
	}
	root := argon2.IDKey([]byte("Grüße"), salt, 1, 8192, 1, 32)
	wrap, _ := hkdf.Expand(sha512.New, root, "vaultpack/v1 passphrase wrap", 32)
	got, err := cobblestone.Open(nil, wrap, []byte("\x00\x00\x00\x01a\x00\x00\x00\x01b"), slot.Wrapped)
	if err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("opened by hand: %x, %v", got, err)
	}
}

func TestPassphraseParams(t *testing.T) {
	salt := "AAAAAAAAAAAAAAAAAAAAAA"
	form := func(v, m, t, p any, salt string) string {
		return fmt.Sprintf("$argon2id$v=%v$m=%v,t=%v,p=%v$%s", v, m, t, p, salt)
	}
	for _, good := range []string{form(19, 65536, 3, 4, salt), form(19, 8192, 1, 1, salt), form(19, 1<<20, 4, 16, salt)} {
		if a, err := parseArgonParams(good); err != nil || a.String() != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for what, bad := range map[string]string{
		"empty":              "",
		"another version":    form(16, 65536, 3, 4, salt),
		"a leading zero":     form(19, "065536", 3, 4, salt),
		"a sign":             form(19, 65536, "+3", 4, salt),
		"a space":            form(19, 65536, " 3", 4, salt),
		"no pass":            form(19, 65536, 0, 4, salt),
		"no lane":            form(19, 65536, 3, 0, salt),
		"too many lanes":     form(19, 65536, 3, 17, salt),
		"257 lanes":          form(19, 65536, 3, 257, salt),
		"too little memory":  form(19, 8191, 3, 4, salt),
		"too much memory":    form(19, 1<<20+1, 1, 4, salt),
		"too much work":      form(19, 1<<20, 5, 4, salt),
		"overflowing memory": form(19, "4294967296", 1, 4, salt),
		"overflowing work":   form(19, 1<<20, "2147483648", 4, salt),
		"a short salt":       form(19, 65536, 3, 4, salt[:20]),
		"padding":            form(19, 65536, 3, 4, salt+"=="),
		"loose bits":         form(19, 65536, 3, 4, salt[:21]+"B"),
		"a hash after it":    form(19, 65536, 3, 4, salt+"$AAAA"),
		"another function":   strings.Replace(form(19, 65536, 3, 4, salt), "2id", "2i", 1),
	} {
		if _, err := parseArgonParams(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whoever can write a keyring cannot make its reader work for long.
func TestPassphraseWorkIsBounded(t *testing.T) {
	slot := func(m, t int) Slot {
		a := argonParams{argonCost: argonCost{memory: uint32(m), time: uint32(t), threads: 1}}
		return Slot{Kind: passphraseKind, Key: a.String(), Wrapped: make([]byte, wrappedSize)}
	}
	ring := func(slots ...Slot) error {
		_, err := ParseKeyring((&Keyring{slots: slots}).Bytes())
		return err
	}
	gib := slot(1<<20, 1)
	if err := ring(gib, gib, gib, gib, gib, gib, gib, gib); err != nil {
		t.Errorf("8 GiB: %v", err)
	}
	if err := ring(gib, gib, gib, gib, gib, gib, gib, gib, slot(minArgonMemory, 1)); !errors.Is(err, ErrFormat) {
		t.Errorf("over 8 GiB: %v", err)
	}
	if err := ring(slot(1<<20, 5)); !errors.Is(err, ErrFormat) {
		t.Errorf("a slot over 4 GiB: %v", err)
	}
	// What cannot be read is not made either.
	full := &Keyring{slots: []Slot{gib, gib, gib, gib, gib, gib, gib, gib}}
	if _, err := full.Add(context.Background(), nil, makeDataKey(KeyID{}, make([]byte, 32)), quick(t, "x")); !errors.Is(err, ErrFormat) {
		t.Errorf("Add: %v", err)
	}
	// A slot that no passphrase made is refused before the work, and a cancelled
	// context ends the wait for another derivation.
	big := slot(1<<20, 4)
	big.Wrapped = big.Wrapped[1:]
	if _, err := quick(t, "x").Unwrap(context.Background(), big, nil); err != ErrAuthentication {
		t.Errorf("a wrapped key of another size: %v", err)
	}
	argonTurn <- struct{}{}
	defer func() { <-argonTurn }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := quick(t, "x").Unwrap(ctx, gib, nil); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

// The memory of several Argon2id does not add up, whatever their sizes, whether one
// comes after the other or many keyrings are opened at once.
func TestPassphraseMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 100 MiB, and the heap of other tests counts")
	}
	var slots []Slot
	for _, mib := range []uint32{16, 32, 24, 48, 64, 64} { // growing sizes fit into no hole
		a := argonParams{argonCost: argonCost{memory: mib << 10, time: 1, threads: 1}}
		slots = append(slots, Slot{Kind: passphraseKind, Key: a.String(), Wrapped: make([]byte, wrappedSize)})
	}
	const most = 96 << 20
	debug.FreeOSMemory()
	p, base := quick(t, "x"), inUse()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		top := uint64(0)
		for {
			select {
			case <-stop:
				peak <- top
				return
			case <-time.After(time.Millisecond):
				top = max(top, inUse())
			}
		}
	}()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			ring := &Keyring{slots: slots}
			if _, err := ring.Unwrap(context.Background(), nil, p); !errors.Is(err, ErrAuthentication) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(stop)
	if top := <-peak; top > base+most {
		t.Errorf("%d MiB at once, for slots of at most 64 MiB", (top-base)>>20)
	}
}

// inUse is what the process has of the system for its heap, in bytes.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64() + s[2].Value.Uint64()
}
