package objects

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
)

// openKeys holds the data keys that have been opened.
type openKeys struct {
	mu     sync.Mutex
	closed bool
	jobs   map[*context.CancelCauseFunc]struct{} // the current users of the keys
	keys   map[envelope.KeyID]*envelope.DataKey
	// vouched holds the commitments of the data keys that are named by signed roots.
	vouched map[envelope.KeyID][32]byte
	belief  belief
	// hashes keep a ContentHash of each data key for the next file.
	hashes sync.Map // from envelope.KeyID to *sync.Pool
}

func newOpenKeys() *openKeys {
	return &openKeys{keys: map[envelope.KeyID]*envelope.DataKey{}, vouched: map[envelope.KeyID][32]byte{}, jobs: map[*context.CancelCauseFunc]struct{}{}}
}

// During calls a job that uses the keys, with a context that also ends when they are
// wiped. It returns the job's error, or ErrClosed if the job ended because of that.
func (k *openKeys) During(ctx context.Context, job func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k.Enter(&cancel)
	defer k.Leave(&cancel) // also if the job panics
	err := job(ctx)
	if context.Cause(ctx) == ErrClosed {
		return ErrClosed // also if the job considers itself complete
	}
	return err
}

// Enter arranges for cancel to be called, with ErrClosed, when the keys are wiped.
func (k *openKeys) Enter(cancel *context.CancelCauseFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		(*cancel)(ErrClosed)
	}
	k.jobs[cancel] = struct{}{}
}

// Leave undoes Enter.
func (k *openKeys) Leave(cancel *context.CancelCauseFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.jobs, cancel)
}

// Context returns the encryption context of the dataset's keyrings. It is computed, never
// read from the vault.
func (s *Set) Context() envelope.EncryptionContext {
	ec := envelope.EncryptionContext{}
	maps.Copy(ec, s.Vault.Context)
	ec[envelope.ContextDataset] = s.Name // whatever the user's part says
	return ec
}

// NewKey makes a data key for the dataset and stores its keyring.
func (s *Set) NewKey(ctx context.Context) (*envelope.DataKey, error) {
	ring, key, err := envelope.NewKeyring(ctx, s.Context(), s.Vault.Keys.Wrap...)
	if err != nil {
		return nil, err
	}
	if err := s.Vault.Create(ctx, s.KeyName(key.ID()), ring.Bytes()); err != nil {
		return nil, fmt.Errorf("storing the keyring: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		key.Wipe()
		return nil, ErrClosed
	}
	s.keys[key.ID()] = key
	return key, nil
}

// Key returns one of the dataset's data keys. It opens each key only once.
func (s *Set) Key(ctx context.Context, id envelope.KeyID) (*envelope.DataKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if key := s.keys[id]; key != nil {
		return key, nil
	}
	ring, err := s.Keyring(ctx, id)
	if err != nil {
		return nil, &KeyringError{err}
	}
	key, err := ring.Unwrap(ctx, s.Context(), s.Vault.Keys.Open...)
	if err != nil {
		return nil, &KeyringError{fmt.Errorf("%s: %w", s.KeyName(id), Tampered(err))}
	}
	if want, ok := s.vouched[id]; ok {
		if err := isCommitted(key, want); err != nil {
			key.Wipe()
			return nil, &KeyringError{fmt.Errorf("%s: %w", s.KeyName(id), err)}
		}
	}
	s.keys[id] = key
	return key, nil
}

// isCommitted returns an error unless the data key matches a commitment.
func isCommitted(key *envelope.DataKey, want [32]byte) error {
	got, err := key.Commitment()
	if err == nil && got != want {
		err = envelope.ErrAuthentication
	}
	return err
}

// Vouch records data keys that are granted: no other keys are used under their IDs.
func (s *Set) Vouch(grants []chain.Grant) error {
	if err := s.areOpen(grants); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range grants {
		if was, ok := s.vouched[g.KeyID]; ok && was != g.Commitment {
			return fmt.Errorf("two data keys of the ID %s: %w", g.KeyID, envelope.ErrAuthentication)
		}
		s.vouched[g.KeyID] = g.Commitment
	}
	return nil
}

// areOpen returns an error if an opened data key differs from the one granted under
// its ID.
func (s *Set) areOpen(grants []chain.Grant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range grants {
		if key := s.keys[g.KeyID]; key != nil {
			if err := isCommitted(key, g.Commitment); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *openKeys) IsClosed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

// Close wipes the data keys, and ends the jobs that use them.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for cancel := range s.jobs {
		(*cancel)(ErrClosed) // before anything can fail for another reason
	}
	for _, key := range s.keys {
		key.Wipe()
	}
	clear(s.keys)
	s.hashes.Clear()
}

// MaxKeyring limits a keyring, as package envelope does, in bytes.
const MaxKeyring = 64 << 10

// Keyring reads one keyring. There is exactly one encoding of it.
func (s *Set) Keyring(ctx context.Context, id envelope.KeyID) (*envelope.Keyring, error) {
	b, err := s.Get(ctx, s.KeyName(id), MaxKeyring)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	ring, err := envelope.ParseKeyring(b)
	if err == nil && ring.ID() != id {
		err = envelope.ErrAuthentication
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.KeyName(id), Tampered(err))
	}
	return ring, nil
}

// Because returns err, or ErrClosed if that is the cause: using a key while it is wiped
// fails in many ways, none of which means damage.
func (k *openKeys) Because(err error) error {
	if err != nil && k.IsClosed() {
		return ErrClosed
	}
	return err
}
