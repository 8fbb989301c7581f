package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/envelope"
)

func keysRotate(c *cli.Context, con *console, d *dataset.Dataset) error {
	v, err := rekey.Rotate(c.Context, d)
	if err != nil {
		return err
	}
	con.emit(perDataset(c), event{"command": "keys rotate", "dataset": d.Name, "version": v.Number, "key_id": v.KeyID.String(), "digest": v.Digest()})
	con.printf("%s, version %d: future uploads use data key %s", d.Name, v.Number, v.KeyID)
	return tellLeftBehind(c, con, d, v.KeyID)
}

func keysReseal(c *cli.Context, con *console, d *dataset.Dataset) error {
	r, err := rekey.Reseal(c.Context, d, rekey.Options{})
	if err != nil {
		if r.Packs > 0 {
			con.notef("%s %s resealed so far. Run the same command again to continue.", count(r.Packs, "pack"), verb(r.Packs, "was", "were"))
		}
		return err
	}
	v := r.Version
	older, err := rekey.UnderOtherKeys(c.Context, d, v.KeyID)
	if err != nil {
		return fmt.Errorf("version %d of %s uses only data key %s, but which older versions use other keys is not known: %w", v.Number, d.Name, v.KeyID, err)
	}
	con.emit(perDataset(c), event{"command": "keys reseal", "dataset": d.Name, "version": v.Number, "made": r.Made, "key_id": v.KeyID.String(),
		"digest": v.Digest(), "packs": r.Packs, "resumed_packs": r.Resumed, "bytes": r.Bytes, "older_versions": append([]int64{}, older...)})
	if r.Made {
		con.printf("%s, version %d: %s, %s, resealed under data key %s", d.Name, v.Number, count(r.Packs, "pack"), size(r.Bytes), v.KeyID)
		if n := r.Resumed; n > 0 {
			con.printf("%s %s already in the vault from an unfinished run", count(n, "pack"), verb(n, "was", "were"))
		}
	} else {
		con.printf("%s, version %d: nothing uses a data key older than %s", d.Name, v.Number, v.KeyID)
	}
	if len(older) == 0 {
		con.notef("To remove data keys that nothing uses: %s", con.next("gc", d.Name))
		return nil
	}
	con.notef("Older versions still use older data keys: whoever has one of these keys can read them. Remove them with:")
	for _, n := range older {
		con.notef("  %s", con.next("rm", fmt.Sprintf("%s@%d", d.Name, n)))
	}
	con.notef("and then, when it is older than --grace, the data that only they used, with their keyrings:\n  %s", con.next("gc", d.Name))
	return nil
}

// tellLeftBehind names the keys that open older data but not the new data key. They have
// to be added again, which needs their public key.
func tellLeftBehind(c *cli.Context, con *console, d *dataset.Dataset, current envelope.KeyID) error {
	rings, err := d.Keyrings(c.Context)
	if err != nil {
		return err
	}
	in, left := map[string]bool{}, map[string]envelope.Slot{}
	for _, ring := range rings {
		for _, s := range ring.Slots() {
			if name := s.Kind + " " + s.Key; ring.ID() == current {
				in[name] = true
			} else {
				left[name] = s
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		if s := left[name]; !in[name] && (s.Kind != "passphrase" || !hasKind(in, s.Kind)) {
			con.notef("%s opens older data of %s, but not new data. To let it open new data: %s", name, d.Name,
				con.next("keys", "add", d.Name, newKeyFlag(s.Kind), "FILE"))
		}
	}
	return nil
}
