package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/keyservice"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/vault"
)

func keysCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:  "keys",
		Usage: "manage the keys that open a dataset, and share it",
		Description: "To share a dataset, your colleague runs \"vaultpack keys new identity my.key\" and sends\n" +
			"you my.key.pub. You run \"vaultpack keys add DATASET --recipient my.key.pub\". Your\n" +
			"colleague then reads with --identity my.key. See docs/KEYS.md for this, for lost keys,\n" +
			"and for locking a key out.",
		Subcommands: keysCommands(con),
		Action:      chooseCommand,
	}
}

// keysCommands are the commands below keys.
func keysCommands(con *console) []*cli.Command {
	confirm := &cli.StringFlag{Name: "confirm", Usage: "confirm with the dataset's `NAME` instead of at a prompt"}
	all := &cli.BoolFlag{Name: "all", Usage: "all datasets in the vault; failures are listed at the end"}
	return []*cli.Command{
		{
			Name: "list", Aliases: []string{"ls"}, Usage: "list the data keys of a dataset and the keys that open them", ArgsUsage: "DATASET|--all",
			Flags: []cli.Flag{all},
			Description: "This needs no key, since keyrings are public. It also means that anyone who can write to\n" +
				"the vault can change what is listed here.",
			Action: func(c *cli.Context) error { return keysList(c, con) },
		}, {
			Name: "add", Usage: "let another key open the dataset, such as a colleague's", ArgsUsage: "DATASET|--all", Flags: append(newKeyFlags(), all),
			Action: func(c *cli.Context) error { return keysAdd(c, con) },
		}, {
			Name: "remove", Aliases: []string{"rm"}, Usage: "remove a key from a dataset, by KIND and KEY as keys list shows them", ArgsUsage: "DATASET|--all KIND KEY", Flags: []cli.Flag{all},
			Description: "Another configured key (or --identity, --local-key) must open the dataset. This does not\n" +
				"revoke access: whoever has a copy of the old keyring can still open it with the removed\n" +
				"key. To lock the key out, also rotate, reseal and remove the old versions: see\n" +
				"docs/KEYS.md.",
			Action: func(c *cli.Context) error { return keysRemove(c, con) },
		}, {
			Name: "rewrap", Usage: "replace one key by another, without encrypting data again", ArgsUsage: "DATASET|--all KIND KEY", Flags: append(newKeyFlags(), all),
			Description: "This takes one small write per data key, whatever the size of the dataset. It does not\n" +
				"revoke access: see keys remove.",
			Action: func(c *cli.Context) error { return keysRewrap(c, con) },
		}, {
			Name: "rotate", Usage: "use a new data key for future uploads", ArgsUsage: "DATASET|--all", Flags: []cli.Flag{all},
			Description: "This creates a version with the same files. Existing data stays under its old data key\n" +
				"until you reseal it: see keys reseal.",
			Action: func(c *cli.Context) error {
				return onDatasets(c, con, 1, func(d *dataset.Dataset, _ []string) error { return keysRotate(c, con, d) })
			},
		}, {
			Name: "reseal", Usage: "encrypt existing data again, under the newest data key", ArgsUsage: "DATASET|--all", Flags: []cli.Flag{all},
			Description: "Use this after keys rotate. It reads every pack under an older data key, checks it,\n" +
				"writes it again under the newest one, and creates a version with the same files. Older\n" +
				"versions keep their data keys until you remove them; the commands for that are printed.\n" +
				"To continue an interrupted run, run the same command again.",
			Action: func(c *cli.Context) error {
				return onDatasets(c, con, 1, func(d *dataset.Dataset, _ []string) error { return keysReseal(c, con, d) })
			},
		}, {
			Name: "shred", Usage: "make a dataset unreadable: delete all its keyrings", ArgsUsage: "DATASET",
			Flags: []cli.Flag{confirm, &cli.BoolFlag{Name: "old-versions", Usage: "also delete the keyrings' old versions that the bucket keeps"}},
			Description: "This cannot be undone. It does not reach copies of the keyrings in backups and\n" +
				"snapshots; their keys still open the dataset. A bucket with versioning keeps deleted\n" +
				"keyrings as old versions: --old-versions deletes those too, otherwise you are asked.",
			Action: withDataset(con, 1, keysShred),
		}, {
			Name: "new", Usage: "create a local key, an identity and its recipient, or a signing key", ArgsUsage: "local|identity|signing FILE",
			Description: "An identity is a private key, in FILE. Its public half, FILE.pub, is the recipient: give\n" +
				"it to anyone (keys add --recipient, or recipients in vaultpack.yaml). Only FILE can\n" +
				"decrypt. Use an identity to share a dataset, or keep one offline for recovery. A signing\n" +
				"key opens nothing; it signs versions (--signing-key, and signers add FILE.pub).",
			Action: func(c *cli.Context) error { return keysNew(c, con) },
		},
	}
}

// newKeyFlags name one key to wrap for.
func newKeyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "recipient", Usage: "add the recipient in `FILE`"},
		&cli.StringFlag{Name: "new-kms-key", Usage: "add the AWS KMS key with this `ARN` or alias"},
		&cli.StringFlag{Name: "new-local-key", Usage: "add the local key in `FILE`, created by: keys new local FILE"},
		&cli.StringFlag{Name: "new-passphrase-file", Usage: "add the passphrase in `FILE` (one line)"},
	}
}

func newKey(c *cli.Context, con *console) (envelope.KeyWrapper, error) {
	var found envelope.KeyWrapper
	n := 0
	for name, read := range map[string]func(config.Setting) (envelope.KeyWrapper, error){
		"new-kms-key": func(s config.Setting) (envelope.KeyWrapper, error) {
			cfg, err := loadConfig(c, con)
			if err != nil {
				return nil, err
			}
			return config.ServiceKey(c.Context, cfg, s.Value)
		},
		"recipient": func(s config.Setting) (envelope.KeyWrapper, error) { return config.ReadRecipient(s) },
		"new-local-key": func(s config.Setting) (envelope.KeyWrapper, error) {
			return config.ReadLocalKey(&config.Config{LocalKey: s})
		},
		"new-passphrase-file": func(s config.Setting) (envelope.KeyWrapper, error) { return config.ReadPassphrase(s) },
	} {
		if file := c.String(name); file != "" {
			n++
			var err error
			if found, err = read(config.Setting{Value: file, Source: "flag --" + name}); err != nil {
				return nil, err
			}
		}
	}
	if n != 1 {
		return nil, usagef("set one key to add: --new-kms-key, --recipient, --new-local-key or --new-passphrase-file")
	}
	return found, nil
}

// withDataset calls f with the dataset named by the first of n arguments.
func withDataset(con *console, n int, f func(*cli.Context, *console, *dataset.Dataset, []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		args, err := arguments(c, n, n)
		if err != nil {
			return err
		}
		v, err := openVault(c, con)
		if err != nil {
			return err
		}
		d, err := dataset.Open(v, args[0])
		if err != nil {
			return usageError{err}
		}
		defer d.Close()
		con.dataset = d.Name
		return f(c, con, d, args[1:])
	}
}

// onDatasets calls f with the dataset named by the first of n arguments or, with --all,
// with each dataset of the vault. If one fails, it continues with the others.
func onDatasets(c *cli.Context, con *console, n int, f func(*dataset.Dataset, []string) error) error {
	if !c.Bool("all") {
		return withDataset(con, n, func(_ *cli.Context, _ *console, d *dataset.Dataset, rest []string) error { return f(d, rest) })(c)
	}
	args, err := arguments(c, n-1, n-1)
	if err != nil {
		return err
	}
	v, err := openVault(c, con)
	if err != nil {
		return err
	}
	return onEach(c, con, v, func(d *dataset.Dataset) error { return f(d, args) })
}

// onEach calls f with each dataset of the vault, and names those that failed.
func onEach(c *cli.Context, con *console, v *vault.Vault, f func(*dataset.Dataset) error) error {
	names, err := dataset.List(c.Context, v)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("the vault %s: %w", show(v.Location), dataset.ErrUnknownDataset)
	}
	var failed []string
	code := exitDone
	for _, name := range names {
		err := func() error {
			d, err := dataset.Open(v, name)
			if err != nil {
				return err
			}
			defer d.Close()
			return f(d)
		}()
		if c.Context.Err() != nil {
			return c.Context.Err()
		}
		if err != nil {
			failed, code = append(failed, name), worse(code, exitCode(err))
			con.emit("failed", event{"dataset": name, "error": err.Error()})
			con.warnf("failed: dataset %s: %v", name, err)
		}
	}
	con.emit("summary", event{"command": strings.TrimPrefix(c.Command.HelpName, c.App.Name+" "), "datasets": len(names), "failed": len(failed)})
	if len(failed) == 0 {
		return nil
	}
	if code == exitFailed && len(failed) < len(names) {
		code = exitSomeFailed
	}
	return &partialError{text: fmt.Sprintf("%d of %s failed: %s", len(failed), count(int64(len(names)), "dataset"), strings.Join(failed, ", ")), code: code}
}

// perDataset returns the event for one dataset: the summary, unless others follow.
func perDataset(c *cli.Context) string {
	if c.Bool("all") {
		return "dataset"
	}
	return "summary"
}

// changed prints how many keyrings a command changed, and which keys now open them.
func changed(c *cli.Context, con *console, command string, d *dataset.Dataset, n int, what string) {
	con.emit(perDataset(c), event{"command": "keys " + command, "dataset": d.Name, "keyrings": n})
	con.printf("%s: %s of %s", what, count(int64(n), "keyring"), d.Name)
	if command == "add" {
		return
	}
	rings, err := d.Keyrings(c.Context)
	if err != nil {
		con.warning(err)
		return
	}
	seen := map[string]bool{}
	for _, ring := range rings {
		for _, s := range ring.Slots() {
			if name := s.Kind + " " + s.Key; !seen[name] {
				seen[name] = true
				con.printf("still there: %s", name)
			}
		}
	}
}

func keysAdd(c *cli.Context, con *console) error {
	w, err := newKey(c, con)
	if err != nil {
		return err
	}
	return onDatasets(c, con, 1, func(d *dataset.Dataset, _ []string) error {
		n, err := d.AddSlot(c.Context, w)
		if err != nil {
			return err
		}
		changed(c, con, "add", d, n, "wrapped for "+keyName(w))
		return nil
	})
}

func keysRemove(c *cli.Context, con *console) error {
	err := onSlot(c, con, func(d *dataset.Dataset, slot []string) (int, error) {
		n, err := d.RemoveSlot(c.Context, slot[0], slot[1])
		if err == nil {
			changed(c, con, "remove", d, n, "removed "+strings.Join(slot, " "))
		}
		return n, err
	})
	if err == nil {
		con.notef("Copies of the old keyring, in backups or snapshots, still open with the removed key.")
	}
	return err
}

func keysRewrap(c *cli.Context, con *console) error {
	w, err := newKey(c, con)
	if err != nil {
		return err
	}
	err = onSlot(c, con, func(d *dataset.Dataset, slot []string) (int, error) {
		n, err := d.Rewrap(c.Context, slot[0], slot[1], w)
		if err == nil {
			changed(c, con, "rewrap", d, n, "wrapped for "+keyName(w)+" in the place of "+strings.Join(slot, " "))
		}
		return n, err
	})
	if err == nil {
		con.notef("Copies of the old keyring, in backups or snapshots, still open with the old key.")
	}
	return err
}

// onSlot is onDatasets for a command about one key. With --all, it passes over datasets
// without a slot for the key, unless none has one.
func onSlot(c *cli.Context, con *console, f func(*dataset.Dataset, []string) (int, error)) error {
	found, key := false, ""
	err := onDatasets(c, con, 3, func(d *dataset.Dataset, slot []string) error {
		key = strings.Join(slot, " ")
		_, err := f(d, slot)
		if c.Bool("all") && errors.Is(err, dataset.ErrNoSuchSlot) {
			return nil
		}
		found = true
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("no dataset of the vault: %s: %w", key, dataset.ErrNoSuchSlot)
	}
	return err
}

// keyName names a key for people. Of a key that says nothing of itself, it shows nothing: what
// is in its fields may be secret.
func keyName(w envelope.KeyWrapper) string {
	if k, ok := w.(fmt.Stringer); ok {
		return k.String()
	}
	if k, ok := w.(envelope.ServiceKey); ok {
		kind, key := k.Describe()
		return kind + " " + key
	}
	return "another key"
}

// newKeyFlag is the flag of keys add for a kind of slot.
func newKeyFlag(kind string) string {
	if keyservice.IsKind(kind) {
		return "--new-kms-key"
	}
	return map[string]string{"hpke": "--recipient", "local": "--new-local-key", "passphrase": "--new-passphrase-file"}[kind]
}

func keysNew(c *cli.Context, con *console) error {
	args, err := arguments(c, 2, 2)
	if err != nil {
		return err
	}
	kind, file := args[0], args[1]
	var secret, public []byte
	var about fmt.Stringer
	switch kind {
	case "local":
		key := envelope.GenerateLocalKey()
		secret, about = key.EncodeSecret(), key
	case "identity":
		id, err := envelope.GenerateIdentity()
		if err != nil {
			return err
		}
		secret, public, about = id.EncodeSecret(), id.Recipient().Encode(), id
	case "signing":
		key := signing.GenerateKey()
		defer key.Wipe()
		secret, public, about = key.EncodeSecret(), []byte(key.Public().String()+"\n"), key
	default:
		return usagef("%q is not a kind of key: use local, identity or signing", kind)
	}
	defer clear(secret)
	if public != nil {
		if _, err := os.Lstat(file + ".pub"); err == nil {
			return fmt.Errorf("%s.pub: %w", show(file), fs.ErrExist)
		}
	}
	if err := config.WriteSecret(file, secret); err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	con.printf("%v -> %s (keep it secret, and keep a copy in a safe place)", about, show(file))
	if public != nil {
		if err := os.WriteFile(file+".pub", public, 0o644); err != nil {
			return fmt.Errorf("writing the public key: %w", err)
		}
		what := "recipient"
		if kind == "signing" {
			what = "public key"
		}
		con.printf("its %s -> %s.pub (not secret; give it to anyone)", what, show(file))
	}
	con.emit("summary", event{"command": "keys new", "kind": kind, "file": file, "name": about.String()})
	return nil
}
