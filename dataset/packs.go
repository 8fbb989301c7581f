package dataset

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
)

// Packs lists the packs that the vault has of the dataset, with their sealed sizes
// in bytes. The list is the vault's word.
func (d *Dataset) Packs(ctx context.Context) (map[envelope.ObjectID]int64, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	packs := map[envelope.ObjectID]int64{}
	for o, err := range d.vault.List(ctx, d.Name+"/packs/") {
		if err != nil {
			return nil, fmt.Errorf("listing the packs: %w", err)
		}
		id, err := envelope.ParseObjectID(strings.TrimSuffix(path.Base(o.Name), ".vpk"))
		if err == nil && d.PackName(id) == o.Name {
			packs[id] = o.Size
		}
	}
	return packs, nil
}

// Empty reports whether unfinished uploads have recorded nothing.
func (p *Pending) Empty() bool { return len(p.lists) == 0 }
