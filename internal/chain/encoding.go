package chain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// Types of signed payloads, and the formats inside them.
const (
	linkPayload       = "application/vnd.vaultpack.signers+json"
	grantPayload      = "application/vnd.vaultpack.data-key+json"
	delegationPayload = "application/vnd.vaultpack.delegation+json"

	linkFormat       = "vaultpack-signers/1"
	grantFormat      = "vaultpack-data-key/1"
	delegationFormat = "vaultpack-delegation/1"
)

type linkJSON struct {
	Format   string              `json:"format"`
	Dataset  string              `json:"dataset"`
	ID       string              `json:"id"`
	Sequence int                 `json:"sequence"`
	Previous string              `json:"previous"`
	Created  time.Time           `json:"created"`
	After    int64               `json:"after"`
	Epoch    int                 `json:"epoch"`
	Owners   []signing.PublicKey `json:"owners"`
	Writers  []signing.PublicKey `json:"writers"`
}

func encodeLink(l *Link, previous string) ([]byte, error) {
	byID := func(a, b signing.PublicKey) int { return strings.Compare(a.ID().String(), b.ID().String()) }
	l.Owners, l.Writers = sorted(l.Owners, byID), sorted(l.Writers, byID)
	j := linkJSON{linkFormat, l.Dataset, l.ID, l.Sequence, previous, l.Created, l.After, l.Epoch, l.Owners, l.Writers}
	if err := j.check(); err != nil {
		return nil, err
	}
	return json.Marshal(j)
}

func sorted(keys []signing.PublicKey, cmp func(a, b signing.PublicKey) int) []signing.PublicKey {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, cmp)
	if keys == nil {
		keys = []signing.PublicKey{} // [] in JSON, where nil is null
	}
	return keys
}

// check checks a set of signers.
func (j *linkJSON) check() error {
	switch n := len(j.Owners) + len(j.Writers); {
	case len(j.Owners) == 0:
		return fmt.Errorf("a dataset without an owner could never change its signers")
	case n > MaxMembers:
		return fmt.Errorf("%d signers of a dataset, and the bound is %d", n, MaxMembers)
	}
	all := slices.Concat(j.Owners, j.Writers)
	for i, k := range all {
		if k.IsZero() || slices.Contains(all[:i], k) {
			return fmt.Errorf("the signer %s is there twice", k.ID().Short())
		}
	}
	ordered := func(keys []signing.PublicKey) bool {
		return slices.IsSortedFunc(keys, func(a, b signing.PublicKey) int { return strings.Compare(a.ID().String(), b.ID().String()) })
	}
	if !ordered(j.Owners) || !ordered(j.Writers) {
		return fmt.Errorf("the signers are not in the order of their key IDs")
	}
	if j.Writers == nil || len(j.ID) != 32 || j.After < 0 || j.Epoch < 0 || j.Created.Location() != time.UTC {
		return fmt.Errorf("a malformed set of signers")
	}
	return nil
}

func decodeLink(payload []byte) (l Link, previous string, err error) {
	var j linkJSON
	if err := decode(payload, &j); err != nil {
		return l, "", err
	}
	if j.Format != linkFormat {
		return l, "", fmt.Errorf("signers in the format %.50q: %w", j.Format, envelope.ErrAuthentication)
	}
	if err := j.check(); err != nil {
		return l, "", fmt.Errorf("%w: %w", err, envelope.ErrAuthentication)
	}
	return Link{Dataset: j.Dataset, ID: j.ID, Sequence: j.Sequence, Created: j.Created, After: j.After, Epoch: j.Epoch,
		Owners: j.Owners, Writers: j.Writers}, j.Previous, nil
}

// decode decodes JSON that must be in its canonical encoding.
func decode(payload []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return envelope.ErrAuthentication
	}
	again, err := json.Marshal(v)
	if err != nil || !bytes.Equal(again, payload) {
		return envelope.ErrAuthentication
	}
	return nil
}
