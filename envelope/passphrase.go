package envelope

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"golang.org/x/crypto/argon2"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// A Passphrase is a key encryption key that a person remembers. Argon2id (RFC
// 9106) derives the key from it. It is a [KeyWrapper], never prints its text,
// and is safe for concurrent use until it is wiped. Use it only if no better
// key is available: anyone who can read the keyring can try passphrases, at the
// cost of one Argon2id each.
//
// A Passphrase must not be copied; copies are refused.
type Passphrase struct {
	_    noCopy
	self *Passphrase
	text *secret
	cost argonCost // of new slots
}

const (
	passphraseKind = "passphrase"
	saltSize       = 16
)

// NewPassphrase returns a Passphrase with a copy of text, which must not be
// empty. The text is used byte for byte, without Unicode normalisation or
// trimming: a caller that reads it from a terminal or a file must remove the
// end of the line.
func NewPassphrase(text []byte) (*Passphrase, error) {
	if len(text) == 0 {
		return nil, errors.New("the passphrase is empty")
	}
	// RFC 9106 section 4, the second recommended option.
	p := &Passphrase{text: newSecret(append([]byte(nil), text...)), cost: argonCost{memory: 64 << 10, time: 3, threads: 4}}
	p.self = p
	return p, nil
}

func (p *Passphrase) usable() error {
	if p == nil {
		return usable("passphrase", p, nil)
	}
	return usable("passphrase", p, p.self)
}

// Wipe overwrites the text, after derivations in progress have finished. Every
// later use returns an error that wraps [ErrKeyUnusable].
func (p *Passphrase) Wipe() {
	if p != nil && p.text != nil {
		p.text.wipe()
	}
}

// String never returns the text.
func (p *Passphrase) String() string { return "passphrase" }

// Format keeps every verb of fmt from printing the text.
func (p *Passphrase) Format(s fmt.State, _ rune) { fmt.Fprint(s, p.String()) }

// MarshalText keeps encoders from writing the text.
func (p *Passphrase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// LogValue keeps loggers from writing the text.
func (p *Passphrase) LogValue() slog.Value { return slog.StringValue(p.String()) }

// Wrap seals the data key as [LocalKey.Wrap] does, under a key derived with a
// fresh salt.
func (p *Passphrase) Wrap(ctx context.Context, dataKey []byte, ec EncryptionContext) (Slot, error) {
	if err := p.ready(ctx); err != nil {
		return Slot{}, err
	}
	params := argonParams{p.cost, [saltSize]byte(randomBytes(saltSize))}
	key, err := p.derive(ctx, params)
	if err != nil {
		return Slot{}, err
	}
	defer clear(key)
	wrapped, err := cobblestone.Seal(nil, key, ec.Canonical(), dataKey)
	if err != nil {
		return Slot{}, err
	}
	return Slot{Kind: passphraseKind, Key: params.String(), Wrapped: wrapped}, nil
}

// Unwrap opens what Wrap sealed. Every slot of kind "passphrase" is tried: a
// slot does not show which passphrase it is for.
func (p *Passphrase) Unwrap(ctx context.Context, slot Slot, ec EncryptionContext) ([]byte, error) {
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	if slot.Kind != passphraseKind {
		return nil, ErrNoSlot
	}
	params, err := parseArgonParams(slot.Key)
	if err != nil {
		return nil, err
	}
	if len(slot.Wrapped) != wrappedSize {
		return nil, ErrAuthentication
	}
	key, err := p.derive(ctx, params)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	dataKey, err := cobblestone.Open(nil, key, ec.Canonical(), slot.Wrapped)
	return dataKey, authentication(err)
}

// ready is the error of a passphrase that cannot be used.
func (p *Passphrase) ready(ctx context.Context) error {
	if err := begin(ctx); err != nil {
		return err
	}
	if err := p.usable(); err != nil {
		return err
	}
	if _, err := p.text.acquire(); err != nil {
		return fmt.Errorf("%v: %w", p, err)
	}
	p.text.release()
	return nil
}

// argonTurn lets one Argon2id of the process run at a time, whichever keyring it
// is for, so that their memory does not add up. It uses several cores by itself.
var argonTurn = make(chan struct{}, 1)

func (p *Passphrase) derive(ctx context.Context, a argonParams) ([]byte, error) {
	select {
	case argonTurn <- struct{}{}:
		defer func() { <-argonTurn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := p.text.acquire()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", p, err)
	}
	defer p.text.release()
	root := argon2.IDKey(text, a.salt[:], a.time, a.memory, a.threads, 32)
	defer clear(root)
	// Up to a GiB is garbage now. It goes back before another takes its turn, since
	// the collector would let several of them pile up: whoever can write a keyring
	// can have many slots tried, of different sizes.
	debug.FreeOSMemory()
	return expand(root, labelPassphraseWrap, cobblestone.KeySize), nil
}

// An argonCost is what one Argon2id takes.
type argonCost struct {
	memory  uint32 // KiB
	time    uint32 // passes over the memory
	threads uint8
}

// Bounds of what a keyring may ask for, since anybody may have written it. They
// hold before any work is done. To fill a GiB takes a core one or two seconds.
const (
	minArgonMemory  = 8 << 10 // KiB
	maxArgonMemory  = 1 << 20 // KiB: 1 GiB
	maxArgonThreads = 16
	maxSlotWork     = 4 << 20 // KiB times passes, of one slot: 4 GiB
	maxKeyringWork  = 8 << 20 // of all slots of a keyring: 8 GiB
)

func (c argonCost) work() uint64 { return uint64(c.memory) * uint64(c.time) }

// argonParams stand in the slot's Key, in the PHC string format.
type argonParams struct {
	argonCost
	salt [saltSize]byte
}

func (a argonParams) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s", argon2.Version, a.memory, a.time, a.threads,
		base64.RawStdEncoding.EncodeToString(a.salt[:]))
}

// parseArgonParams reads what String writes and nothing else, within the bounds.
func parseArgonParams(s string) (a argonParams, err error) {
	bad := fmt.Errorf("the parameters of a passphrase slot are malformed or out of bounds: %w", ErrFormat)
	var version int
	var salt string
	if _, err := fmt.Sscanf(s, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &a.memory, &a.time, &a.threads, &salt); err != nil {
		return a, bad
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(salt)
	if err != nil || len(b) != saltSize {
		return a, bad
	}
	a.salt = [saltSize]byte(b)
	if a.String() != s || a.memory < minArgonMemory || a.memory > maxArgonMemory || a.time < 1 ||
		a.threads < 1 || a.threads > maxArgonThreads || a.work() > maxSlotWork {
		return a, bad
	}
	return a, nil
}

// checkWork bounds what trying a passphrase on all slots of a keyring costs.
func checkWork(slots []Slot) error {
	total := uint64(0)
	for _, s := range slots {
		if s.Kind != passphraseKind {
			continue
		}
		a, err := parseArgonParams(s.Key)
		if err != nil {
			return err
		}
		if total += a.work(); total > maxKeyringWork {
			return fmt.Errorf("the passphrase slots of the keyring ask for too much work: %w", ErrFormat)
		}
	}
	return nil
}
