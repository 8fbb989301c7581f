package envelope

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A KeyWrapper is a key encryption key, wherever it is kept: in a file, a key
// management service, or as a passphrase. Implement it to use another key
// service. It must be safe for concurrent use.
type KeyWrapper interface {
	// Wrap encrypts the data key, bound to ec, and returns it in a slot that names
	// the wrapping key. It must not keep dataKey, which the caller overwrites
	// after Wrap returns.
	Wrap(ctx context.Context, dataKey []byte, ec EncryptionContext) (Slot, error)
	// Unwrap returns the data key in slot. If the slot belongs to another key, it
	// returns ErrNoSlot and calls no service. If the slot belongs to this key but
	// its contents or ec do not match, it returns ErrAuthentication. The caller
	// owns the result and overwrites it.
	Unwrap(ctx context.Context, slot Slot, ec EncryptionContext) ([]byte, error)
}

// A DataKeyGenerator is a KeyWrapper that makes data keys itself, as KMS
// GenerateDataKey does. [NewKeyring] uses it if it is the first key.
type DataKeyGenerator interface {
	KeyWrapper
	GenerateDataKey(ctx context.Context, ec EncryptionContext) (dataKey []byte, slot Slot, err error)
}

// A Slot holds a data key wrapped by one key encryption key.
type Slot struct {
	Kind    string `json:"kind"`    // how it is wrapped: "local", "aws-kms", …
	Key     string `json:"key"`     // which key encryption key: a fingerprint, an ARN, parameters
	Wrapped []byte `json:"wrapped"` // the data key, encrypted
}

// Bounds of a keyring, which is read before anything authenticates it.
const (
	maxSlots   = 64
	maxSlotKey = 2048
	maxWrapped = 16 << 10
)

func (s Slot) check() error {
	plain := func(s string) bool {
		for _, c := range []byte(s) {
			// JSON has more than one way to write the others.
			if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
				return false
			}
		}
		return s != ""
	}
	if len(s.Kind) > 32 || !plain(s.Kind) || len(s.Key) > maxSlotKey || !plain(s.Key) ||
		len(s.Wrapped) == 0 || len(s.Wrapped) > maxWrapped {
		return fmt.Errorf("a slot of the keyring is malformed: %w", ErrFormat)
	}
	return nil
}

const keyringFormat = "vaultpack-keyring/1"

// A Keyring holds one data key, wrapped once per slot. It is public: it may be
// stored beside the data that it opens. A Keyring is immutable; Add, Move and
// Remove return a new one.
type Keyring struct {
	id         KeyID
	commitment [32]byte
	slots      []Slot
}

// keyringJSON is the encoding, with its fields in their order.
type keyringJSON struct {
	Format     string `json:"format"`
	KeyID      string `json:"key_id"`
	Commitment []byte `json:"commitment"`
	Slots      []Slot `json:"slots"`
}

// NewKeyring makes a new data key and wraps it with each of the keys, bound to
// ec. At least one key is required.
func NewKeyring(ctx context.Context, ec EncryptionContext, keys ...KeyWrapper) (*Keyring, *DataKey, error) {
	if err := begin(ctx); err != nil {
		return nil, nil, err
	}
	if len(keys) == 0 {
		return nil, nil, errors.New("a data key needs at least one key to wrap it")
	}
	if err := checkKeys(keys); err != nil {
		return nil, nil, err
	}
	k := &Keyring{id: KeyID(randomBytes(len(KeyID{})))}
	full, err := ec.forKey(k.id)
	if err != nil {
		return nil, nil, err
	}
	var dataKey []byte
	if g, ok := keys[0].(DataKeyGenerator); ok {
		var slot Slot
		if dataKey, slot, err = generate(ctx, g, full); err != nil {
			return nil, nil, err
		}
		k.slots, keys = []Slot{slot}, keys[1:]
	} else {
		dataKey = randomBytes(DataKeySize)
	}
	k.commitment = [32]byte(commitment(k.id, dataKey))
	key := makeDataKey(k.id, dataKey)
	for _, w := range keys {
		if k, err = k.Add(ctx, ec, key, w); err != nil {
			key.Wipe()
			return nil, nil, err
		}
	}
	if k, err = ParseKeyring(k.Bytes()); err != nil {
		key.Wipe()
		return nil, nil, fmt.Errorf("a key service made a slot that cannot be stored: %w", err)
	}
	return k, key, nil
}

// generate has the key service make a data key, and copies it.
func generate(ctx context.Context, g DataKeyGenerator, ec EncryptionContext) ([]byte, Slot, error) {
	made, slot, err := g.GenerateDataKey(ctx, ec)
	if err != nil {
		clear(made)
		return nil, Slot{}, fmt.Errorf("generating a data key: %w", err)
	}
	dataKey := bytes.Clone(made)
	clear(made)
	if err := checkDataKey(dataKey); err != nil {
		clear(dataKey)
		return nil, Slot{}, fmt.Errorf("the key service generated %w", err)
	}
	return dataKey, slot, nil
}

// checkKeys refuses keys that are not there.
func checkKeys(keys []KeyWrapper) error {
	for i, k := range keys {
		if k == nil {
			return fmt.Errorf("%w: key %d of %d is nil", ErrKeyUnusable, i+1, len(keys))
		}
	}
	return nil
}

// ParseKeyring parses a keyring. A keyring has only one encoding: if b does not
// marshal back to the same bytes, the error wraps ErrFormat.
func ParseKeyring(b []byte) (*Keyring, error) {
	bad := func(why string) (*Keyring, error) {
		return nil, fmt.Errorf("keyring: %s: %w", why, ErrFormat)
	}
	if len(b) > maxKeyring {
		return bad(fmt.Sprintf("larger than %d bytes", maxKeyring))
	}
	var j keyringJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return bad("malformed JSON")
	}
	if j.Format != keyringFormat {
		return bad(fmt.Sprintf("unknown format %q", j.Format))
	}
	id, err := ParseKeyID(j.KeyID)
	if err != nil {
		return bad("malformed key_id")
	}
	if len(j.Commitment) != 32 {
		return bad("malformed commitment")
	}
	if len(j.Slots) == 0 || len(j.Slots) > maxSlots {
		return bad(fmt.Sprintf("%d slots, want 1 to %d", len(j.Slots), maxSlots))
	}
	for _, s := range j.Slots {
		if err := s.check(); err != nil {
			return nil, err
		}
	}
	if err := checkWork(j.Slots); err != nil {
		return nil, err
	}
	k := &Keyring{id: id, commitment: [32]byte(j.Commitment), slots: j.Slots}
	if !bytes.Equal(k.Bytes(), b) {
		return bad("not in its one encoding")
	}
	return k, nil
}

// ID returns the ID of the keyring's data key.
func (k *Keyring) ID() (id KeyID) {
	if k != nil {
		id = k.id
	}
	return id
}

// usable is the error of a keyring that is none.
func (k *Keyring) usable() error {
	if k == nil || len(k.slots) == 0 {
		return errors.New("the keyring is nil or a zero value: it is got from NewKeyring or ParseKeyring")
	}
	return nil
}

// Slots returns a copy of the keyring's slots.
func (k *Keyring) Slots() []Slot {
	if k == nil {
		return nil
	}
	out := slices.Clone(k.slots)
	for i := range out {
		out[i].Wrapped = slices.Clone(out[i].Wrapped)
	}
	return out
}

// Bytes returns the keyring's encoding.
func (k *Keyring) Bytes() []byte {
	if k == nil {
		return nil
	}
	b, err := json.Marshal(keyringJSON{keyringFormat, k.id.String(), k.commitment[:], k.slots})
	if err != nil {
		panic("envelope: marshaling a keyring: " + err.Error()) // strings and byte slices only
	}
	return b
}

// Unwrap returns the data key, opened with the first of the keys that can open
// it. ec is the context that the caller expects; none is read from the keyring.
// If no key has a slot, the error is a [*NoKeyError]. If a key has a slot and
// cannot open it, the error is that key's.
func (k *Keyring) Unwrap(ctx context.Context, ec EncryptionContext, keys ...KeyWrapper) (*DataKey, error) {
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	if err := checkKeys(keys); err != nil {
		return nil, err
	}
	full, err := ec.forKey(k.id)
	if err != nil {
		return nil, err
	}
	var failed error
	var near []error
	for _, w := range keys {
		// Each key has the slots and the context for itself, whatever it does to them.
		for _, slot := range k.Slots() {
			secret, err := w.Unwrap(ctx, slot, maps.Clone(full))
			if errors.Is(err, ErrNoSlot) {
				if err != ErrNoSlot {
					near = append(near, err)
				}
				continue
			}
			if err == nil {
				var key *DataKey
				if key, err = newDataKey(k.id, secret, k.commitment[:]); err == nil {
					return key, nil
				}
			}
			if failed == nil || !errors.Is(failed, err) {
				failed = errors.Join(failed, err)
			}
			if ctx.Err() != nil {
				return nil, failed
			}
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, &NoKeyError{KeyID: k.id, Slots: k.Slots(), Near: near}
}

// ready is the error of a use that must not begin.
func (k *Keyring) ready(ctx context.Context) error {
	if err := begin(ctx); err != nil {
		return err
	}
	return k.usable()
}

// Add returns a keyring with a new slot for the key w. Existing slots for the
// same key are removed: what they hold is unknown, and one slot is enough.
func (k *Keyring) Add(ctx context.Context, ec EncryptionContext, key *DataKey, w KeyWrapper) (*Keyring, error) {
	if err := begin(ctx); err != nil {
		return nil, err
	}
	if err := key.usable(); err != nil {
		return nil, err
	}
	if err := checkKeys([]KeyWrapper{w}); err != nil {
		return nil, err
	}
	if key.id != k.ID() {
		return nil, fmt.Errorf("%v is not the key of keyring %s", key, k.ID())
	}
	full, err := ec.forKey(k.id)
	if err != nil {
		return nil, err
	}
	shared, err := key.secret.acquire()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", key, err)
	}
	secret := slices.Clone(shared)
	key.secret.release()
	defer clear(secret)
	slot, err := w.Wrap(ctx, secret, full)
	if err != nil {
		return nil, fmt.Errorf("wrapping the data key: %w", err)
	}
	if err := slot.check(); err != nil {
		return nil, err
	}
	slot.Wrapped = slices.Clone(slot.Wrapped)
	out := *k
	out.slots = append(k.without(slot.Kind, slot.Key), slot)
	if len(out.slots) > maxSlots {
		return nil, fmt.Errorf("the keyring has %d slots already, which is the limit", maxSlots)
	}
	if n := len(out.Bytes()); n > maxKeyring {
		return nil, fmt.Errorf("with one more slot the keyring has %d bytes, the limit is %d", n, maxKeyring)
	}
	if err := checkWork(out.slots); err != nil {
		return nil, err
	}
	return &out, nil
}

// Move returns a keyring in which slot i is replaced by the result of move. It is
// for key services that can rewrap a data key without revealing it. move is passed
// the context that the slot is bound to. Move does not verify that the new slot
// holds the data key; the next Unwrap does.
func (k *Keyring) Move(ec EncryptionContext, i int, move func(Slot, EncryptionContext) (Slot, error)) (*Keyring, error) {
	if err := k.usable(); err != nil {
		return nil, err
	}
	if move == nil {
		return nil, errors.New("move is nil")
	}
	if i < 0 || i >= len(k.slots) {
		return nil, fmt.Errorf("the keyring has no slot %d", i)
	}
	full, err := ec.forKey(k.id)
	if err != nil {
		return nil, err
	}
	slot, err := move(k.Slots()[i], full)
	if err != nil {
		return nil, fmt.Errorf("wrapping the data key anew: %w", err)
	}
	out := *k
	out.slots = slices.Clone(k.slots)
	out.slots[i] = Slot{} // has no name, so it stays
	out.slots = out.without(slot.Kind, slot.Key)
	out.slots[slices.IndexFunc(out.slots, func(s Slot) bool { return s.Kind == "" })] = slot
	return ParseKeyring(out.Bytes())
}

// Remove returns a keyring without the slots of one key, given by their kind and
// key. There may be several: anyone who can write a keyring can add a slot twice.
// If there is none, the error wraps [ErrNoSlot]. The slots of the last key cannot
// be removed.
func (k *Keyring) Remove(kind, key string) (*Keyring, error) {
	if err := k.usable(); err != nil {
		return nil, err
	}
	out := *k
	out.slots = k.without(kind, key)
	switch len(out.slots) {
	case len(k.slots):
		return nil, fmt.Errorf("%s %s: %w", kind, key, ErrNoSlot)
	case 0:
		return nil, errors.New("the keyring's last key cannot be removed: nobody could open the data after that")
	}
	return &out, nil
}

// without is a copy of the slots, less those of one key.
func (k *Keyring) without(kind, key string) []Slot {
	return slices.DeleteFunc(slices.Clone(k.slots), func(s Slot) bool { return s.Kind == kind && s.Key == key })
}
