package config

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/keyservice"
	"github.com/vaultpack/vaultpack/vault"
)

// A MissingKeyError reports that the file of a key does not exist. It wraps
// fs.ErrNotExist.
type MissingKeyError struct {
	What    string // what the file holds
	Setting Setting
	// Others holds the non-local keys that have slots in the keyrings that were read;
	// each may open some of the vault's datasets. Looked reports whether all keyrings
	// were read.
	Others []envelope.Slot
	Looked bool
}

func (e *MissingKeyError) Error() string {
	text := fmt.Sprintf("the %s %s (from %s) does not exist; restore it from its backup, or set another with --%s",
		e.What, e.Setting.Value, e.Setting.Source, strings.ReplaceAll(e.What, " ", "-"))
	switch {
	case e.What == "signing key": // opens nothing
		text += "; if it is lost, another owner of the dataset adds the new one: vaultpack signers add DATASET FILE.pub"
	case len(e.Others) > 0:
		text += ". According to the vault, these also open its data: " + strings.Join(e.recovery(), ", ")
	case e.Looked:
		text += ". No other key opens the vault's data: without this key, nobody can read it"
	default:
		text += "; or set another key that opens the data: --identity, --passphrase-file or --kms-key"
	}
	return text
}

func (e *MissingKeyError) Unwrap() error { return fs.ErrNotExist }

// recovery says how to use each of the other keys.
func (e *MissingKeyError) recovery() (ways []string) {
	passphrase := false
	for _, s := range e.Others {
		switch s.Kind {
		case "hpke":
			ways = append(ways, "the identity of recipient "+s.Key+" (--identity FILE)")
		case "passphrase":
			passphrase = true
		default:
			if keyservice.IsKind(s.Kind) {
				ways = append(ways, "the KMS key "+s.Key+" (--kms-key "+s.Key+")")
			}
		}
	}
	if passphrase {
		ways = append(ways, "a passphrase (--passphrase-file FILE)")
	}
	return ways
}

// Limits on the search for other keys, which is made after a failure.
const (
	maxSearchedDatasets = 20
	maxSearchedKeyrings = 10
)

// findOthers looks through the public keyrings of the vault.
func (e *MissingKeyError) findOthers(ctx context.Context, store vault.Store) {
	folders, err := store.Folders(ctx, "")
	if err != nil {
		return
	}
	e.Looked = len(folders) <= maxSearchedDatasets
	for _, folder := range folders[:min(len(folders), maxSearchedDatasets)] {
		n := 0
		for o, err := range store.List(ctx, folder+"/keys/") {
			if n++; err != nil || n > maxSearchedKeyrings {
				e.Looked = false
				break
			}
			ring, err := readKeyring(ctx, store, o.Name)
			if err != nil {
				e.Looked = false
				continue
			}
			for _, s := range ring.Slots() {
				known := func(o envelope.Slot) bool { return o.Kind == s.Kind && (o.Key == s.Key || s.Kind == "passphrase") }
				if s.Kind != "local" && !slices.ContainsFunc(e.Others, known) {
					e.Others = append(e.Others, s)
				}
			}
		}
	}
}

func readKeyring(ctx context.Context, store vault.Store, name string) (*envelope.Keyring, error) {
	r, err := store.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 64<<10+1))
	if err != nil {
		return nil, err
	}
	return envelope.ParseKeyring(b)
}

// A missingKey stands in for a lost local key: it wraps nothing.
type missingKey struct{ err *MissingKeyError }

func (k missingKey) Wrap(context.Context, []byte, envelope.EncryptionContext) (envelope.Slot, error) {
	return envelope.Slot{}, k.err
}

func (k missingKey) Unwrap(context.Context, envelope.Slot, envelope.EncryptionContext) ([]byte, error) {
	return nil, envelope.ErrNoSlot
}
