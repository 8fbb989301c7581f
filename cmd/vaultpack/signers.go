package main

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/signers"
)

func signersCommand(con *console) *cli.Command {
	all := &cli.BoolFlag{Name: "all", Usage: "all datasets in the vault; failures are listed at the end"}
	return &cli.Command{
		Name:  "signers",
		Usage: "manage who may add versions to a dataset",
		Description: "Whoever holds a key that opens a dataset may read it; only its signers may add versions. To\n" +
			"let a colleague add versions, your colleague runs \"vaultpack signers key\" and sends you\n" +
			"the line. You run \"vaultpack signers add DATASET KEY\". See docs/SIGNERS.md.",
		Subcommands: []*cli.Command{
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list the signers of a dataset", ArgsUsage: "DATASET",
				Flags:  versionFlags(),
				Action: func(c *cli.Context) error { return signersList(c, con) },
			}, {
				Name: "key", Usage: "print your public signing key, for an owner to add",
				Action: func(c *cli.Context) error { return signersKey(c, con) },
			}, {
				Name: "add", Usage: "let a key add versions", ArgsUsage: "DATASET|--all KEY",
				Flags: []cli.Flag{all, &cli.BoolFlag{Name: "owner", Usage: "let it also change the signers and rotate data keys"}},
				Description: "KEY is a public signing key, or a file with one: as signers key prints it, an OpenSSH\n" +
					"public key (ssh-ed25519 or ecdsa-sha2-nistp256), or a PEM block PUBLIC KEY. An owner can\n" +
					"be replaced by any other owner, so keep the key of a second one in a safe place. This\n" +
					"creates a version with the same files.",
				Action: func(c *cli.Context) error { return signersAdd(c, con) },
			}, {
				Name: "remove", Aliases: []string{"rm"}, Usage: "stop a key from adding versions", ArgsUsage: "DATASET|--all ID", Flags: []cli.Flag{all},
				Description: "ID is that of signers list, or the beginning of it. What the key has signed stays. If its\n" +
					"owner must not read what is added from now on either, also run keys rotate. This creates\n" +
					"a version with the same files.",
				Action: func(c *cli.Context) error { return signersRemove(c, con) },
			}, {
				Name: "init", Usage: "begin a new set of signers, because all owners' keys are lost", ArgsUsage: "DATASET",
				Flags: []cli.Flag{&cli.StringFlag{Name: "confirm", Usage: "confirm with the dataset's `NAME` instead of at a prompt"}},
				Description: "Your signing key becomes the only owner. Everybody who has used the dataset before refuses\n" +
					"the new version, with exit code 4, until they run \"vaultpack trust forget DATASET\": ask\n" +
					"them to compare the digest with you first. This creates a version with the same files.",
				Action: func(c *cli.Context) error { return signersInit(c, con) },
			},
		},
		Action: chooseCommand,
	}
}

func signersList(c *cli.Context, con *console) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	d, v, err := openVersion(c, con, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	for _, s := range v.Signers() {
		role := "writer"
		if s.Owner {
			role = "owner"
		}
		con.emit("signer", event{"role": role, "id": s.Key.ID().String(), "key": s.Key.String()})
		con.printf("%-7s %s\n        %s", role, s.Key.ID(), s.Key)
	}
	con.emit("summary", event{"command": "signers list", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "signed_by": v.Signer.ID().String()})
	return nil
}

// signersKey makes the signing key if there is none: somebody who should become a
// signer runs it first.
func signersKey(c *cli.Context, con *console) error {
	cfg, err := configAlone(c, con)
	if err != nil {
		return err
	}
	keys, keysErr := config.ReadableKeys(c.Context, cfg)
	s, err := config.EnsureSigningKey(c.Context, cfg, keys)
	if err != nil {
		return errors.Join(err, keysErr)
	}
	con.emit("summary", event{"command": "signers key", "id": s.Public().ID().String(), "key": s.Public().String()})
	con.printf("%s", s.Public())
	return nil
}

func signersAdd(c *cli.Context, con *console) error {
	role, a, add := "writer", "a writer", signers.AddWriter
	if c.Bool("owner") {
		role, a, add = "owner", "an owner", signers.AddOwner
	}
	return onDatasets(c, con, 2, func(d *dataset.Dataset, args []string) error {
		key, err := config.ReadSigner(args[0], args[0])
		if err != nil {
			return usageError{err}
		}
		v, err := add(c.Context, d, key)
		return tellSigners(c, con, d, v, err, event{"command": "signers add", "role": role, "id": key.ID().String()}, key.ID().Short()+" is "+a)
	})
}

func signersRemove(c *cli.Context, con *console) error {
	return onDatasets(c, con, 2, func(d *dataset.Dataset, args []string) error {
		id := strings.ToLower(args[0])
		if key, err := config.ReadSigner(args[0], args[0]); err == nil {
			id = key.ID().String()
		}
		v, err := signers.Remove(c.Context, d, id)
		return tellSigners(c, con, d, v, err, event{"command": "signers remove", "id": id}, id+" adds no more versions")
	})
}

func signersInit(c *cli.Context, con *console) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	con.notef("Everybody who has used %s before refuses the version that this creates, until they run: vaultpack trust forget %s", args[0], args[0])
	if err := confirmed(c.Context, c, con, args[0]); err != nil {
		return err
	}
	return withDataset(con, 1, func(c *cli.Context, con *console, d *dataset.Dataset, _ []string) error {
		v, err := signers.Init(c.Context, d)
		if err := tellSigners(c, con, d, v, err, event{"command": "signers init"}, "your signing key is the only owner"); err != nil {
			return err
		}
		return tellLeftBehind(c, con, d, v.KeyID)
	})(c)
}

// tellSigners prints the changed signers of a dataset.
func tellSigners(c *cli.Context, con *console, d *dataset.Dataset, made *dataset.Version, err error, e event, done string) error {
	if errors.Is(err, signers.ErrUnchanged) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	e["dataset"], e["version"], e["digest"] = d.Name, made.Number, made.Digest()
	con.emit(perDataset(c), e)
	con.printf("%s, version %d: %s\ndigest   %s", d.Name, made.Number, done, made.Digest())
	return nil
}
