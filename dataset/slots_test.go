package dataset_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// A keysWorld is a dataset whose owner has a local key, with two more keys.
type keysWorld struct {
	*dataset.Dataset
	owner    *envelope.LocalKey
	friend   *envelope.LocalKey
	recovery *envelope.Identity
}

func newKeysWorld(t *testing.T) keysWorld {
	t.Helper()
	d := datasettest.New(t)
	t.Cleanup(d.Close)
	id, err := envelope.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := objects.Of(d).NewKey(ctx); err != nil {
		t.Fatal(err)
	}
	return keysWorld{d, objects.Of(d).Vault.Keys.Open[0].(*envelope.LocalKey), envelope.GenerateLocalKey(), id}
}

// opens reports whether each data key of the dataset, of which there are n, opens
// with a key alone, as another process reads them.
func (w keysWorld) opens(t *testing.T, n int, key envelope.KeyWrapper) bool {
	t.Helper()
	rings, err := w.Keyrings(ctx)
	if err != nil || len(rings) != n {
		t.Fatalf("%d keyrings, %v", len(rings), err)
	}
	for _, ring := range rings {
		if _, err := ring.Unwrap(ctx, objects.Of(w).Context(), key); err != nil {
			return false
		}
	}
	return true
}

// plant changes a keyring as somebody does who can write to the vault and has no key.
func (w keysWorld) plant(t *testing.T, change func([]envelope.Slot) []envelope.Slot) {
	t.Helper()
	rings, err := w.Keyrings(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range rings {
		var j struct {
			Format     string          `json:"format"`
			KeyID      string          `json:"key_id"`
			Commitment []byte          `json:"commitment"`
			Slots      []envelope.Slot `json:"slots"`
		}
		if err := json.Unmarshal(ring.Bytes(), &j); err != nil {
			t.Fatal(err)
		}
		j.Slots = change(j.Slots)
		b, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Vault().Put(ctx, objects.Of(w).KeyName(ring.ID()), func(dst io.Writer) error { _, err := dst.Write(b); return err }); err != nil {
			t.Fatal(err)
		}
	}
}

func garbage(s envelope.Slot) envelope.Slot {
	s.Wrapped = slices.Clone(s.Wrapped)
	rand.Read(s.Wrapped)
	return s
}

// Whatever somebody has put into a keyring, the key that is added opens it, the
// one that is removed does not, and the owner's does.
func TestPlantedSlots(t *testing.T) {
	w := newKeysWorld(t)
	if _, err := objects.Of(w).NewKey(ctx); err != nil { // two keyrings
		t.Fatal(err)
	}
	other := newKeysWorld(t)
	for _, key := range []envelope.KeyWrapper{other.friend, other.recovery} {
		if _, err := other.AddSlot(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	own, _ := w.owner.Wrap(ctx, make([]byte, 32), envelope.EncryptionContext{})
	friend, _ := w.friend.Wrap(ctx, make([]byte, 32), envelope.EncryptionContext{})
	recovery, _ := w.recovery.Wrap(ctx, make([]byte, 32), envelope.EncryptionContext{})
	for name, change := range map[string]func([]envelope.Slot) []envelope.Slot{
		"nothing":    func(s []envelope.Slot) []envelope.Slot { return s },
		"each twice": func(s []envelope.Slot) []envelope.Slot { return append(s, s...) },
		"garbage":    func(s []envelope.Slot) []envelope.Slot { return append(s, garbage(friend), garbage(recovery)) },
		"garbage first": func(s []envelope.Slot) []envelope.Slot {
			return append([]envelope.Slot{garbage(own), garbage(friend), garbage(recovery)}, s...)
		},
		"garbage on both sides": func(s []envelope.Slot) []envelope.Slot {
			return slices.Concat([]envelope.Slot{garbage(friend), garbage(own)}, s, []envelope.Slot{garbage(own), garbage(friend)})
		},
	} {
		w.plant(t, change)
		for _, key := range []envelope.KeyWrapper{w.friend, w.recovery.Recipient(), w.owner} {
			if _, err := w.AddSlot(ctx, key); err != nil {
				t.Fatalf("%s: adding %v: %v", name, key, err)
			}
		}
		for _, key := range []envelope.KeyWrapper{w.owner, w.friend, w.recovery} {
			if !w.opens(t, 2, key) {
				t.Errorf("%s: %v was added, and does not open the dataset", name, key)
			}
		}
		w.plant(t, change)
		for _, key := range []struct {
			kind, key string
			w         envelope.KeyWrapper
		}{{"local", w.friend.Fingerprint(), w.friend}, {"hpke", w.recovery.Fingerprint(), w.recovery}} {
			if n, err := w.RemoveSlot(ctx, key.kind, key.key); err != nil || n != 2 {
				t.Fatalf("%s: removing %v: %d, %v", name, key.w, n, err)
			}
			rings, _ := w.Keyrings(ctx)
			if slotOf(rings[0], key.kind, key.key) || slotOf(rings[1], key.kind, key.key) {
				t.Errorf("%s: %v was removed, and has a slot", name, key.w)
			}
		}
		if !w.opens(t, 2, w.owner) {
			t.Fatalf("%s: the owner's key opens nothing any more", name)
		}
		// The same by rewrapping: to and fro.
		w.plant(t, change)
		if _, err := w.Rewrap(ctx, "local", w.owner.Fingerprint(), w.friend); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if w.opens(t, 2, w.owner) || !w.opens(t, 2, w.friend) {
			t.Errorf("%s: the old key opens it, or the new one does not", name)
		}
		if _, err := w.Rewrap(ctx, "local", w.friend.Fingerprint(), w.owner); err != nil {
			t.Fatalf("%s: and back: %v", name, err)
		}
		if !w.opens(t, 2, w.owner) {
			t.Fatalf("%s: and back: the owner's key opens nothing", name)
		}
	}
}

// A key is not removed where nothing else is shown to open the dataset, whatever
// slots there are.
func TestLastKeyStays(t *testing.T) {
	w := newKeysWorld(t)
	remove := func() error {
		_, err := w.RemoveSlot(ctx, "local", w.owner.Fingerprint())
		return err
	}
	if err := remove(); err == nil {
		t.Error("the last slot was removed")
	}
	w.plant(t, func(s []envelope.Slot) []envelope.Slot { return append(s, s...) })
	if err := remove(); err == nil {
		t.Error("both slots of the last key were removed")
	}
	slot, _ := w.recovery.Wrap(ctx, make([]byte, 32), envelope.EncryptionContext{})
	w.plant(t, func(s []envelope.Slot) []envelope.Slot { return append(s, garbage(slot)) })
	if err := remove(); !errors.Is(err, dataset.ErrLastKey) {
		t.Errorf("beside a slot that holds nothing: %v", err)
	}
	w.Vault().Keys.Open = append(w.Vault().Keys.Open, w.recovery)
	if err := remove(); err == nil {
		t.Error("beside a slot of a configured key that holds nothing: the last key was removed")
	}
	if !w.opens(t, 1, w.owner) {
		t.Fatal("the owner's key opens nothing any more")
	}
	if _, err := w.AddSlot(ctx, w.recovery.Recipient()); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil || !w.opens(t, 1, w.recovery) {
		t.Errorf("beside a key that opens it: %v", err)
	}
	if _, err := w.RemoveSlot(ctx, "local", w.owner.Fingerprint()); !errors.Is(err, dataset.ErrNoSuchSlot) {
		t.Errorf("once more: %v", err)
	}
}

// A keyring that cannot be changed is told, and keeps no other from being changed;
// what the store does not keep is not taken for done.
func TestKeyringsThatCannotBeChanged(t *testing.T) {
	w := newKeysWorld(t)
	var broken envelope.KeyID
	for range 3 {
		key, err := objects.Of(w).NewKey(ctx)
		if err != nil {
			t.Fatal(err)
		}
		broken = key.ID()
	}
	full := w.Vault().Store
	refused := errors.New("refused")
	w.Vault().Store = &replaceStore{full, func(name string, data []byte) error {
		if strings.Contains(name, broken.String()) {
			return refused
		}
		return nil
	}}
	n, err := w.AddSlot(ctx, w.friend)
	if n != 3 || !errors.Is(err, refused) || !strings.Contains(err.Error(), broken.String()) {
		t.Errorf("%d changed: %v", n, err)
	}
	w.Vault().Store = &replaceStore{full, func(string, []byte) error { return errForget }}
	if _, err := w.RemoveSlot(ctx, "local", w.friend.Fingerprint()); err == nil {
		t.Error("a store that forgets the change was believed")
	}
	w.Vault().Store = full
	if n, err := w.AddSlot(ctx, w.friend); n != 1 || err != nil || !w.opens(t, 4, w.friend) {
		t.Errorf("then: %d changed, %v", n, err)
	}
}

var errForget = errors.New("forget")

// A replaceStore has each Replace allowed, refused, or done in appearance only.
type replaceStore struct {
	vault.Store
	allow func(name string, data []byte) error
}

func (s *replaceStore) Unwrap() vault.Store { return s.Store }

func (s *replaceStore) Replace(ctx context.Context, name string, old, data []byte) error {
	switch err := s.allow(name, data); {
	case err == errForget:
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return s.Store.Replace(ctx, name, old, data)
}

// A shredded dataset has no keyring, or the error says so.
func TestShredTellsWhatIsLeft(t *testing.T) {
	w := newKeysWorld(t)
	if _, err := objects.Of(w).NewKey(ctx); err != nil {
		t.Fatal(err)
	}
	full := w.Vault().Store
	// A copy for a training job goes too, but not another dataset's.
	staged, others := "_vaultpack/jobs/other/j/key/d/keys/x.json", "_vaultpack/jobs/d/j/key/e/keys/x.json"
	for _, name := range []string{staged, others} {
		if err := full.Create(ctx, name, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if _, err := full.Stat(ctx, staged); err == nil {
			t.Error("the copy for a job is still there")
		}
		if _, err := full.Stat(ctx, others); err != nil {
			t.Errorf("the copy of another dataset: %v", err)
		}
	}()
	again := &deleteStore{Store: full}
	w.Vault().Store = again
	if n, err := w.Shred(ctx); n != 3 || err == nil || !strings.Contains(err.Error(), "exists again") {
		t.Errorf("while an upload makes keyrings: %d, %v", n, err)
	}
	again.refuse = true
	if n, err := w.Shred(ctx); n != 0 || !errors.Is(err, errForget) {
		t.Errorf("of what cannot be deleted: %d, %v", n, err)
	}
	w.Vault().Store = full
	if n, err := w.Shred(ctx); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// A deleteStore refuses to delete, or makes the last object again.
type deleteStore struct {
	vault.Store
	refuse bool
	done   int
}

func (s *deleteStore) Unwrap() vault.Store { return s.Store }

func (s *deleteStore) Delete(ctx context.Context, name string) error {
	if s.refuse {
		return errForget
	}
	r, err := s.Get(ctx, name, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	var b bytes.Buffer
	b.ReadFrom(r)
	if err := s.Store.Delete(ctx, name); err != nil {
		return err
	}
	if s.done++; s.done == 2 {
		return s.Store.Create(ctx, name, b.Bytes())
	}
	return nil
}

// slotOf reports whether a keyring has a slot of the key.
func slotOf(ring *envelope.Keyring, kind, key string) bool {
	return slices.ContainsFunc(ring.Slots(), func(s envelope.Slot) bool { return s.Kind == kind && s.Key == key })
}
