package dataset

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
)

// Keyrings reads the keyrings of the dataset, in the order of their key IDs. They
// show which keys claim to open the dataset, and prove nothing.
func (d *Dataset) Keyrings(ctx context.Context) ([]*envelope.Keyring, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	var rings []*envelope.Keyring
	for o, err := range d.set().Vault.List(ctx, d.Name+"/keys/") {
		if err != nil {
			return nil, fmt.Errorf("listing the keyrings: %w", err)
		}
		id, err := envelope.ParseKeyID(strings.TrimSuffix(path.Base(o.Name), ".json"))
		if err != nil || d.set().KeyName(id) != o.Name {
			continue
		}
		ring, err := d.set().Keyring(ctx, id)
		if err != nil {
			return nil, err
		}
		rings = append(rings, ring)
	}
	if len(rings) == 0 {
		return nil, fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
	}
	return rings, nil
}
