package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/vault"
)

func openVault(c *cli.Context, con *console) (*vault.Vault, error) {
	cfg, err := loadConfig(c, con)
	if err != nil {
		return nil, err
	}
	return config.Open(c.Context, cfg)
}

// openForWriting opens the vault, and says so if that created one.
func openForWriting(c *cli.Context, con *console) (*vault.Vault, error) {
	cfg, err := loadConfig(c, con)
	if err != nil {
		return nil, err
	}
	v, made, err := config.OpenForWriting(c.Context, cfg)
	if err != nil {
		return nil, err
	}
	if made {
		con.tellNewVault(v)
	}
	if con.store != nil {
		v.Store = con.store(v.Store)
	}
	return v, nil
}

func (c *console) tellNewVault(v *vault.Vault) {
	c.emit("vault-created", event{"vault": v.Location, "keys": v.Keys.WrapNames})
	keep := "It stays in its key service: without it, nobody can read the vault.\n"
	inService := func(w envelope.KeyWrapper) bool { _, ok := w.(envelope.ServiceKey); return ok }
	if !slices.ContainsFunc(v.Keys.Wrap, inService) {
		keep = fmt.Sprintf("Keep a copy of the key in a safe place: without it, nobody can read the vault.\n"+
			"In case it is lost, let a second key open your datasets, and keep that one offline:\n  %s\n  %s\n"+
			"The key also signs versions. Give your datasets a second owner, in the same way:\n  %s\n  %s\n",
			c.next("keys", "new", "identity", "FILE"), c.next("keys", "add", "--all", "--recipient", "FILE.pub"),
			c.next("keys", "new", "signing", "FILE"), c.next("signers", "add", "--all", "FILE.pub", "--owner"))
	}
	c.notef("A new vault was created:\n  vault  %s\n  key    %s\n%s", show(v.Location), show(strings.Join(v.Keys.WrapNames, ", ")), keep)
}

// tellOnlyOpen warns about keys that are configured for opening but do not open a new
// dataset: a user who relies on such a key, and loses the one that does open it, has
// lost the data.
func (c *console) tellOnlyOpen(v *vault.Vault, name string) {
	for _, key := range v.Keys.Names {
		if !slices.Contains(v.Keys.WrapNames, key) {
			c.warnf("warning: %s does not open dataset %s. To let a passphrase or an identity open it too:\n  %s\n  %s", show(key), show(name),
				c.next("keys", "add", name, "--new-passphrase-file", "FILE"), c.next("keys", "add", name, "--recipient", "FILE.pub"))
		}
	}
}

// tellSigningKey reports that a signing key was made.
func (c *console) tellSigningKey(file string) {
	c.emit("signing-key-created", event{"file": file})
	c.notef("A signing key was created, which makes versions of this vault's datasets yours:\n  key    %s\nKeep a copy of it. "+
		"Whoever loses it cannot add versions, unless another owner was added: vaultpack signers add DATASET KEY --owner", show(file))
}

// tellUsage prints the requests of the command to services that bill them.
func (c *console) tellUsage(v *vault.Vault) { c.usage("requests", v) }

func (c *console) usage(label string, v *vault.Vault) {
	u, ok := v.Usage()
	if !ok {
		return
	}
	c.emit("usage", event{"s3": u.S3, "kms_calls": u.KMSCalls})
	asked := number(u.S3.Puts+u.S3.Lists) + " PUT and LIST, " + number(u.S3.Gets) + " GET and HEAD"
	if u.S3.Deletes > 0 {
		asked += ", " + number(u.S3.Deletes) + " DELETE"
	}
	if u.S3.Retries > 0 {
		asked += ", " + number(u.S3.Retries) + " of them repeated"
	}
	c.printf("%-8s %s; %s sent, %s received; %s to KMS", label, asked, size(u.S3.BytesSent), size(u.S3.BytesReceived), count(u.KMSCalls, "call"))
}

// versionFlags choose a version, in addition to DATASET@VERSION.
func versionFlags() []cli.Flag {
	return []cli.Flag{
		atLeastFlag(),
		&cli.StringFlag{Name: "digest", Usage: "fail unless the version has the digest `HEX`; DATASET@VERSION#HEX does the same"},
	}
}

func atLeastFlag() cli.Flag {
	return &cli.Int64Flag{
		Name: "at-least", DefaultText: "any", Usage: "fail if the newest version is older than version `N`, which shows a rollback",
		Action: func(_ *cli.Context, n int64) error {
			if n < 0 {
				return usagef("--at-least %d: versions are numbered from 1", n)
			}
			return nil
		},
	}
}

// openVersion opens the dataset and version that ref names, as NAME or NAME@NUMBER. The
// caller closes the dataset.
func openVersion(c *cli.Context, con *console, ref string) (*dataset.Dataset, *dataset.Version, error) {
	r, err := parseRef(ref)
	if err != nil {
		return nil, nil, err
	}
	choice, err := choiceOf(c, r)
	if err != nil {
		return nil, nil, err
	}
	v, err := openVault(c, con)
	if err != nil {
		return nil, nil, err
	}
	d, err := dataset.Open(v, r.Dataset)
	if err != nil {
		return nil, nil, usageError{err}
	}
	con.dataset = r.Dataset
	ver, err := d.Choose(c.Context, choice)
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return d, ver, nil
}

// choiceOf returns what a reference and the flags choose.
func choiceOf(c *cli.Context, r dataset.Reference) (dataset.Choice, error) {
	choice := r.Choice()
	choice.AtLeast = c.Int64("at-least")
	if flag := c.String("digest"); flag != "" {
		digest, err := dataset.ParseDigest(flag)
		if err != nil {
			return choice, usagef("--digest: %w", err)
		}
		if choice.Digest != "" && choice.Digest != digest {
			return choice, usagef("%s and --digest name two digests", r)
		}
		choice.Digest = digest
	}
	return choice, nil
}

// parseRef parses a reference from the command line.
func parseRef(ref string) (r dataset.Reference, err error) {
	if r, err = dataset.ParseReference(ref); err != nil {
		err = usageError{err}
	}
	return r, err
}

// selection returns what the --include and --exclude flags choose.
func selectionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "include", Usage: "only files that match `PATTERN` (gitignore syntax); can be repeated"},
		&cli.StringSliceFlag{Name: "exclude", Usage: "skip files that match `PATTERN` (gitignore syntax, !PATTERN includes again); can be repeated"},
	}
}

// parseSize parses a number of bytes such as 1000, 64KiB, 128MiB or 1GiB.
func parseSize(s string) (int64, error) {
	units := map[string]int64{"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
	digits := strings.TrimRight(s, "BbKkMmGgi ")
	unit := strings.ToUpper(strings.TrimSpace(s[len(digits):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "IB"), "B")
	n, err := strconv.ParseInt(digits, 10, 64)
	factor, ok := units[unit]
	if err != nil || !ok || n < 0 || n > (1<<62)/factor {
		return 0, fmt.Errorf("%q is not a size: write a number with or without KiB, MiB or GiB", s)
	}
	return n * factor, nil
}

// noDatasetYet reports whether the error only says that nothing exists yet.
func noDatasetYet(err error) bool {
	return errors.Is(err, vault.ErrNoVault) || errors.Is(err, dataset.ErrUnknownDataset)
}

// orAllow adds what to do to the error for an incomplete version.
func orAllow(err error) error {
	return fmt.Errorf("%w; upload it again, choose another version, or use --allow-incomplete", err)
}
