package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/trust"
)

func trustCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:  "trust",
		Usage: "show or change what vaultpack remembers about datasets",
		Description: "vaultpack remembers, for each dataset, who may sign it and the newest version that was\n" +
			"seen, as SSH remembers hosts. A vault that shows something else later is refused with\n" +
			"exit code 4. See docs/SIGNERS.md.",
		Subcommands: []*cli.Command{
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list what is remembered, of all vaults",
				Action: func(c *cli.Context) error { return trustList(c, con) },
			}, {
				Name: "show", Usage: "show what is remembered of a dataset of the configured vault", ArgsUsage: "DATASET",
				Action: func(c *cli.Context) error { return trustShow(c, con) },
			}, {
				Name: "forget", Usage: "forget a dataset of the configured vault; its next use is a first contact", ArgsUsage: "DATASET",
				Description: "Do this only if you know why the dataset has changed: compare the digest of its newest\n" +
					"version with its owner.",
				Action: func(c *cli.Context) error { return trustForget(c, con) },
			}, {
				Name: "export", Usage: "write what is remembered of datasets of the configured vault, for another machine", ArgsUsage: "[DATASET...]",
				Description: "The output is JSON for trust import. It holds no secrets. Whoever changes it in transit\n" +
					"decides whom the other machine believes.",
				Action: func(c *cli.Context) error { return trustExport(c, con) },
			}, {
				Name: "import", Usage: "remember what another machine exported", ArgsUsage: "FILE",
				Description: "FILE is - for standard input. What contradicts something that is already remembered is\n" +
					"refused, unless you set --replace.",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "replace", Usage: "replace what is remembered of the same datasets"}},
				Action: func(c *cli.Context) error { return trustImport(c, con) },
			},
		},
		Action: chooseCommand,
	}
}

// memory returns what is remembered about the configured vault. The vault is not opened.
func memory(c *cli.Context, con *console) (*trust.Dir, error) {
	cfg, err := loadConfig(c, con)
	if err != nil {
		return nil, err
	}
	return cfg.Remembered()
}

func tellRecord(con *console, r *trust.Record) {
	e := event{"vault": r.Vault, "dataset": r.Dataset, "version": r.Number, "signer_sets": len(r.Links), "versions": r.Versions}
	con.emit("known", e)
	con.printf("%s in %s\n  newest version %d, set %d of signers", r.Dataset, show(r.Vault), r.Number, len(r.Links))
	for _, n := range slices.Sorted(maps.Keys(r.Versions)) {
		con.printf("  %s@%d#%s", r.Dataset, n, r.Versions[n])
	}
}

func trustList(c *cli.Context, con *console) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	path, err := config.KnownDir()
	if err != nil {
		return err
	}
	all, err := (&trust.Dir{Path: path}).List()
	for _, r := range all {
		tellRecord(con, r)
	}
	con.emit("summary", event{"command": "trust list", "datasets": len(all), "folder": path})
	if len(all) == 0 && err == nil {
		con.printf("Nothing is remembered in %s.", show(path))
	}
	return err
}

func trustShow(c *cli.Context, con *console) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	dir, err := memory(c, con)
	if err != nil {
		return err
	}
	r, err := dir.Record(args[0])
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("nothing is remembered of dataset %q in %s", args[0], dir.Vault)
	}
	tellRecord(con, r)
	con.emit("summary", event{"command": "trust show", "dataset": r.Dataset, "vault": r.Vault})
	return nil
}

func trustForget(c *cli.Context, con *console) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	if err := dataset.CheckName(args[0]); err != nil {
		return usageError{err}
	}
	dir, err := memory(c, con)
	if err != nil {
		return err
	}
	// Unreadable records are forgotten like any others.
	if r, err := dir.Record(args[0]); err == nil && r == nil {
		return fmt.Errorf("nothing is remembered of dataset %q in %s", args[0], dir.Vault)
	}
	if err := dir.Forget(c.Context, args[0]); err != nil {
		return err
	}
	con.emit("summary", event{"command": "trust forget", "dataset": args[0], "vault": dir.Vault})
	con.printf("forgot %s in %s", args[0], show(dir.Vault))
	return nil
}

func trustExport(c *cli.Context, con *console) error {
	args, err := arguments(c, 0, -1)
	if err != nil {
		return err
	}
	dir, err := memory(c, con)
	if err != nil {
		return err
	}
	all, err := dir.List()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(r *trust.Record) bool {
		return r.Vault != dir.Vault || len(args) > 0 && !slices.Contains(args, r.Dataset)
	})
	for _, name := range args {
		if !slices.ContainsFunc(all, func(r *trust.Record) bool { return r.Dataset == name }) {
			return fmt.Errorf("nothing is remembered of dataset %q in %s", name, dir.Vault)
		}
	}
	for _, r := range all {
		r.Begun = ""
	}
	con.dataOnOutput()
	w := json.NewEncoder(con.stdout)
	w.SetIndent("", "  ")
	return w.Encode(all)
}

func trustImport(c *cli.Context, con *console) (err error) {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	dir, err := memory(c, con)
	if err != nil {
		return err
	}
	var in io.Reader = os.Stdin
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	all, err := readRecords(in)
	if err != nil {
		return fmt.Errorf("%s is not what vaultpack trust export writes, and nothing of it was remembered: %w", show(args[0]), err)
	}
	for _, r := range all {
		if c.Bool("replace") {
			err = dir.Set(c.Context, r)
		} else {
			err = dir.Learn(c.Context, r.Dataset, r.Known)
		}
		if errors.Is(err, envelope.ErrAuthentication) {
			return &partialError{text: fmt.Sprintf("%s contradicts what is remembered here about dataset %s: %v", show(args[0]), r.Dataset, err), code: exitAuthentication,
				hint: "ask the dataset's owner which is right. If it is the file: " + con.next("trust", "import", args[0], "--replace")}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", r.Dataset, err)
		}
	}
	con.emit("summary", event{"command": "trust import", "datasets": len(all), "vault": dir.Vault})
	con.printf("remembered %s of %s", count(int64(len(all)), "dataset"), show(dir.Vault))
	return nil
}

// readRecords reads the output of trust export. On an error it returns nothing.
func readRecords(in io.Reader) (all []*trust.Record, err error) {
	d := json.NewDecoder(io.LimitReader(in, 64<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is data after its end")
	}
	if len(all) == 0 {
		return nil, errors.New("it is about no dataset")
	}
	for _, r := range all {
		if err := r.Check(); err != nil {
			return nil, err
		}
		if err := dataset.CheckName(r.Dataset); err != nil {
			return nil, err
		}
	}
	return all, nil
}
