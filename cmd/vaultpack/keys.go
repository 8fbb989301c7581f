package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/vault"
)

func keysCommand(con *console) *cli.Command {
	confirm := &cli.StringFlag{Name: "confirm", Usage: "the dataset's `NAME` once more, where nobody can be asked"}
	return &cli.Command{
		Name:  "keys",
		Usage: "the keys that open a dataset: list, add, remove, rewrap, rotate, shred",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list the data keys of a dataset, and the keys that they are wrapped for", ArgsUsage: "DATASET",
				Action: withDataset(con, 1, keysList),
			}, {
				Name: "add", Usage: "wrap the data keys for one more key", ArgsUsage: "DATASET", Flags: newKeyFlags(),
				Action: withDataset(con, 1, keysAdd),
			}, {
				Name: "remove", Usage: "remove the slots of a key, as keys list names it", ArgsUsage: "DATASET KIND KEY",
				Description: "Who has a copy of the old keyring can still open it with the removed key: this is no\nrevocation. Rotate, and upload anew what must be out of its reach.",
				Action:      withDataset(con, 3, keysRemove),
			}, {
				Name: "rewrap", Usage: "put another key in the place of one, without sealing anything again", ArgsUsage: "DATASET KIND KEY", Flags: newKeyFlags(),
				Description: "One small write for a dataset of any size. It is no revocation: see keys remove.",
				Action:      withDataset(con, 3, keysRewrap),
			}, {
				Name: "rotate", Usage: "seal what is uploaded from now on under a new data key", ArgsUsage: "DATASET",
				Description: "This makes a version with the same files. What is there already stays under its key.",
				Action:      withDataset(con, 1, keysRotate),
			}, {
				Name: "shred", Usage: "delete all keyrings of a dataset, so that nobody can read it any more", ArgsUsage: "DATASET",
				Flags:       []cli.Flag{confirm, &cli.BoolFlag{Name: "old-versions", Usage: "delete the old versions of the keyrings too that a bucket keeps"}},
				Description: "This cannot be undone. It does not reach copies of the keyrings in backups and snapshots.\nWhile one is left, its keys open the dataset. A bucket with versioning keeps what is\ndeleted as an old version: --old-versions deletes those too, else you are asked.",
				Action:      withDataset(con, 1, keysShred),
			}, {
				Name: "new", Usage: "make a local key, or an identity with its recipient", ArgsUsage: "local|identity FILE",
				Description: "An identity is for recovery, and kept offline: its public half, FILE.pub, wraps data keys\n(keys add --recipient, or recipients in vaultpack.yaml), and only FILE opens them.",
				Action:      func(c *cli.Context) error { return keysNew(c, con) },
			},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("there is no command \"keys %s\"; see: vaultpack keys --help", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

// newKeyFlags name one key to wrap for.
func newKeyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "recipient", Usage: "wrap for the public key in `FILE`"},
		&cli.StringFlag{Name: "new-kms-key", Usage: "wrap with the AWS KMS key of this `ARN` (or alias)"},
		&cli.StringFlag{Name: "new-local-key", Usage: "wrap with the local key in `FILE`, made by: keys new local FILE"},
		&cli.StringFlag{Name: "new-passphrase-file", Usage: "wrap with the passphrase in the one line of `FILE`"},
	}
}

func newKey(c *cli.Context) (envelope.KeyWrapper, error) {
	var found envelope.KeyWrapper
	n := 0
	for name, read := range map[string]func(vault.Setting) (envelope.KeyWrapper, error){
		"new-kms-key": func(s vault.Setting) (envelope.KeyWrapper, error) {
			cfg, err := loadConfig(c)
			if err != nil {
				return nil, err
			}
			return vault.KMSKey(c.Context, cfg, s.Value)
		},
		"recipient": func(s vault.Setting) (envelope.KeyWrapper, error) { return vault.ReadRecipient(s) },
		"new-local-key": func(s vault.Setting) (envelope.KeyWrapper, error) {
			return vault.ReadLocalKey(&vault.Config{LocalKey: s})
		},
		"new-passphrase-file": func(s vault.Setting) (envelope.KeyWrapper, error) { return vault.ReadPassphrase(s) },
	} {
		if file := c.String(name); file != "" {
			n++
			var err error
			if found, err = read(vault.Setting{Value: file, Source: "flag --" + name}); err != nil {
				return nil, err
			}
		}
	}
	if n != 1 {
		return nil, usagef("name one key to wrap for: --new-kms-key, --recipient, --new-local-key or --new-passphrase-file")
	}
	return found, nil
}

// withDataset opens the dataset that the first of n arguments names.
func withDataset(con *console, n int, f func(*cli.Context, *console, *dataset.Dataset, []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		args, err := arguments(c, n, n)
		if err != nil {
			return err
		}
		v, err := openVault(c)
		if err != nil {
			return err
		}
		d, err := dataset.Open(v, args[0])
		if err != nil {
			return usageError{err}
		}
		defer d.Close()
		return f(c, con, d, args[1:])
	}
}

func keysList(c *cli.Context, con *console, d *dataset.Dataset, _ []string) error {
	rings, err := d.Keyrings(c.Context)
	if err != nil {
		return err
	}
	current := envelope.KeyID{}
	if v, err := d.Latest(c.Context); err == nil {
		current = v.KeyID
	} else if !errors.Is(err, dataset.ErrUnknownDataset) {
		con.warning(err)
	}
	for _, ring := range rings {
		use := ""
		if ring.ID() == current {
			use = "  (new data is sealed under it)"
		}
		con.printf("data key %s%s", ring.ID(), use)
		var slots []event
		for _, s := range ring.Slots() {
			con.printf("  %-10s %s", s.Kind, s.Key)
			slots = append(slots, event{"kind": s.Kind, "key": s.Key})
		}
		con.emit("keyring", event{"key_id": ring.ID().String(), "current": ring.ID() == current, "slots": slots})
	}
	return nil
}

// changed tells how many keyrings a command has changed.
func changed(con *console, command string, d *dataset.Dataset, n int, what string) {
	con.emit("summary", event{"command": "keys " + command, "dataset": d.Name, "keyrings": n})
	con.printf("%s: %s of %s", what, count(int64(n), "keyring"), d.Name)
}

func keysAdd(c *cli.Context, con *console, d *dataset.Dataset, _ []string) error {
	w, err := newKey(c)
	if err != nil {
		return err
	}
	n, err := d.AddSlot(c.Context, w)
	if err != nil {
		return err
	}
	changed(con, "add", d, n, fmt.Sprintf("wrapped for %v", w))
	return nil
}

func keysRemove(c *cli.Context, con *console, d *dataset.Dataset, slot []string) error {
	n, err := d.RemoveSlot(c.Context, slot[0], slot[1])
	if err != nil {
		return err
	}
	changed(con, "remove", d, n, "removed "+strings.Join(slot, " "))
	con.notef("Copies of the old keyring, in backups or snapshots, still open with the removed key.")
	return nil
}

func keysRewrap(c *cli.Context, con *console, d *dataset.Dataset, slot []string) error {
	w, err := newKey(c)
	if err != nil {
		return err
	}
	n, err := d.Rewrap(c.Context, slot[0], slot[1], w)
	if err != nil {
		return err
	}
	changed(con, "rewrap", d, n, fmt.Sprintf("wrapped for %v in the place of %s", w, strings.Join(slot, " ")))
	con.notef("Copies of the old keyring, in backups or snapshots, still open with the old key.")
	return nil
}

func keysRotate(c *cli.Context, con *console, d *dataset.Dataset, _ []string) error {
	v, err := d.Rotate(c.Context)
	if err != nil {
		return err
	}
	con.emit("summary", event{"command": "keys rotate", "dataset": d.Name, "version": v.Number, "key_id": v.KeyID.String(), "digest": v.Digest()})
	con.printf("%s, version %d: what is uploaded from now on is sealed under data key %s", d.Name, v.Number, v.KeyID)
	return nil
}

func keysShred(c *cli.Context, con *console, d *dataset.Dataset, _ []string) error {
	rings, err := d.Keyrings(c.Context)
	if errors.Is(err, dataset.ErrUnknownDataset) {
		// They may have been deleted before, and their old versions be there.
		if old, oerr := d.OldKeyrings(c.Context); oerr != nil || old == 0 {
			return err
		}
		err = nil
	}
	if err != nil && !errors.Is(err, envelope.ErrAuthentication) {
		return err
	}
	con.warnf("This deletes the %s of dataset %s. Nobody can read it any more after that, on no account.\n"+
		"It does not reach copies of the keyrings, in backups or snapshots.", count(int64(len(rings)), "keyring"), d.Name)
	if err := confirmed(c.Context, c, con, d.Name); err != nil {
		return err
	}
	n, err := d.Shred(c.Context)
	if err != nil {
		return err
	}
	deleted, left, err := shredOld(c, con, d)
	con.emit("summary", event{"command": "keys shred", "dataset": d.Name, "keyrings": n, "old_versions_deleted": deleted, "old_versions_left": left})
	con.printf("shredded: %s of %s", count(int64(n), "keyring"), d.Name)
	if deleted > 0 {
		con.printf("deleted: %s of them that the bucket kept", count(int64(deleted), "old version"))
	}
	if err != nil {
		return err
	}
	if left > 0 {
		con.warnf("The bucket keeps %s of the keyrings. Who can read them and use their keys can still read the dataset.\n"+
			"Delete them with: vaultpack keys shred %s --old-versions", count(int64(left), "old version"), d.Name)
	}
	con.notef("What is left in the vault can be removed with: vaultpack rm %s", d.Name)
	return nil
}

// shredOld deletes the old versions of the keyrings that a bucket keeps, if the
// user says so.
func shredOld(c *cli.Context, con *console, d *dataset.Dataset) (deleted, left int, err error) {
	left, err = d.OldKeyrings(c.Context)
	if err != nil && !c.Bool("old-versions") {
		con.warning(fmt.Errorf("it is not known whether the bucket keeps old versions of the keyrings, which would open the dataset: %w", err))
		return 0, left, nil
	}
	if err != nil || left == 0 {
		return 0, left, err
	}
	if !c.Bool("old-versions") {
		answer, err := ask(c.Context, con, fmt.Sprintf("The bucket keeps %s of the keyrings. Delete them too, for good? [y/N] ", count(int64(left), "old version")))
		if err != nil || answer != "y" && answer != "yes" {
			return 0, left, err
		}
	}
	deleted, err = d.ShredOld(c.Context)
	return deleted, left - deleted, err
}

// ask gives the line that the user types, and nothing where nobody can be asked.
func ask(ctx context.Context, con *console, question string) (string, error) {
	if con.json || !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", nil
	}
	fmt.Fprint(os.Stderr, question)
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		line <- strings.TrimSpace(s)
	}()
	select {
	case s := <-line:
		return s, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// confirmed makes sure that the user means the dataset of this name.
func confirmed(ctx context.Context, c *cli.Context, con *console, name string) error {
	answer := c.String("confirm")
	if answer == "" {
		var err error
		if answer, err = ask(ctx, con, "Type the dataset's name to go on: "); err != nil {
			return err
		}
	}
	if answer == "" {
		return usagef("nothing was done: confirm with --confirm %s", name)
	}
	if answer != name {
		return usagef("nothing was done: %q is not the name of the dataset, %s", answer, name)
	}
	return nil
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
	default:
		return usagef("%q is no kind of key: local or identity", kind)
	}
	defer clear(secret)
	if public != nil {
		if _, err := os.Lstat(file + ".pub"); err == nil {
			return fmt.Errorf("%s.pub: %w", show(file), fs.ErrExist)
		}
	}
	if err := vault.WriteSecret(file, secret); err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	con.printf("%v -> %s (keep it secret, and a copy in a safe place)", about, show(file))
	if public != nil {
		if err := os.WriteFile(file+".pub", public, 0o644); err != nil {
			return fmt.Errorf("writing the public key: %w", err)
		}
		con.printf("its recipient -> %s.pub (may be given to anybody)", show(file))
	}
	con.emit("summary", event{"command": "keys new", "kind": kind, "file": file, "name": about.String()})
	return nil
}
