package main

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/vault"
)

// keysList needs no key: what it shows is public, and not authenticated.
func keysList(c *cli.Context, con *console) error {
	n := 1
	if c.Bool("all") {
		n = 0
	}
	args, err := arguments(c, n, n)
	if err != nil {
		return err
	}
	cfg, err := loadConfig(c, con)
	if err != nil {
		return err
	}
	v, noKey, err := config.OpenPublic(c.Context, cfg)
	if err != nil {
		return err
	}
	if len(v.Keys.Open) == 0 {
		con.notef("No configured key can be read, so the data key in use is not known: %v", noKey)
	} else if noKey != nil {
		con.warning(noKey)
	}
	total := 0
	list := func(d *dataset.Dataset) error {
		if c.Bool("all") {
			con.printf("dataset %s", d.Name)
		}
		n, err := listKeyrings(c, con, d)
		total += n
		return err
	}
	if c.Bool("all") {
		err = onEach(c, con, v, list)
	} else {
		var d *dataset.Dataset
		if d, err = dataset.Open(v, args[0]); err != nil {
			return usageError{err}
		}
		defer d.Close()
		err = list(d)
	}
	if !c.Bool("all") {
		con.emit("summary", event{"command": "keys list", "dataset": args[0], "keyrings": total})
	}
	return err
}

func listKeyrings(c *cli.Context, con *console, d *dataset.Dataset) (int, error) {
	rings, err := d.Keyrings(c.Context)
	if err != nil {
		return 0, err
	}
	current, keys := envelope.KeyID{}, d.Vault().Keys
	if len(keys.Open) > 0 {
		if v, err := d.Latest(c.Context); err == nil {
			current = v.KeyID
		} else if !errors.Is(err, dataset.ErrUnknownDataset) {
			con.warning(err)
		}
	}
	for _, ring := range rings {
		use := ""
		if ring.ID() == current {
			use = "  (in use for new data)"
		}
		con.printf("data key %s%s", ring.ID(), use)
		var slots []event
		for _, s := range ring.Slots() {
			con.printf("  %-10s %s", s.Kind, s.Key)
			e := event{"kind": s.Kind, "key": s.Key}
			if name, ok := configuredFor(keys, s); ok {
				con.printf("             which claims to be %s, configured here", show(name))
				e["configured"] = name
			}
			slots = append(slots, e)
		}
		con.emit("keyring", event{"dataset": d.Name, "key_id": ring.ID().String(), "current": ring.ID() == current, "slots": slots})
	}
	return len(rings), nil
}

// configuredFor returns the name of the configured key that a slot claims to be for.
func configuredFor(keys *vault.Keys, s envelope.Slot) (name string, ok bool) {
	for i, w := range keys.Open {
		if m, is := w.(envelope.SlotMatcher); is && m.Matches(s) {
			return keys.Names[i], true
		}
	}
	return "", false
}

func hasKind(names map[string]bool, kind string) bool {
	for name := range names {
		if strings.HasPrefix(name, kind+" ") {
			return true
		}
	}
	return false
}
