package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	jobobjects "github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedcheckpoints"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
	"github.com/vaultpack/vaultpack/vault"
)

func checkpointsCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:  "checkpoints",
		Usage: "open checkpoints that a job has sealed (train --seal-checkpoints)",
		Subcommands: []*cli.Command{{
			Name:      "get",
			Usage:     "write the newest checkpoints of a job to a new folder",
			ArgsUsage: "JOB|FOLDER DIR",
			Description: "JOB is a training job whose checkpoints are in the vault, FOLDER a copy of the place\n" +
				"where a job kept them. This opens the last ones that were stored completely, of all\n" +
				"hosts. It also checks the signed statement about them: if that is missing or wrong,\n" +
				"nothing is written, and the exit code is 4.",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "no-provenance", Usage: "open checkpoints without a statement: whoever can read the dataset could have made them"},
			},
			Action: func(c *cli.Context) error {
				args, err := arguments(c, 2, 2)
				if err != nil {
					return err
				}
				return getCheckpoints(c, con, args[0], args[1])
			},
		}},
		Action: chooseCommand,
	}
}

func getCheckpoints(c *cli.Context, con *console, from, dir string) error {
	ctx := c.Context
	if err := isFree(dir); err != nil {
		return err
	}
	v, err := openVault(c, con)
	if err != nil {
		return err
	}
	o := &sealedcheckpoints.Opener{Warn: con.warning, Verify: func(context.Context, *sealedcheckpoints.Set, [sha256.Size]byte, []byte) error { return nil }}
	mark, done, err := findCheckpoints(ctx, v, from, o)
	if err != nil {
		return err
	}
	defer done()
	d, err := dataset.Open(v, mark.Dataset)
	if err != nil {
		return err
	}
	defer d.Close()
	if o.Key, err = sealedmodel.KeyOf(ctx, d, mark.Job, sealedmodel.CheckpointsKeyName); err != nil {
		return err
	}
	defer o.Key.Wipe()
	if o.Job = mark.Job; !c.Bool("no-provenance") {
		ver := provenance.NewVerifier(v)
		defer ver.Close()
		o.Verify = func(ctx context.Context, s *sealedcheckpoints.Set, sum [sha256.Size]byte, text []byte) error {
			return checkCheckpoints(ctx, ver, s, sum, text)
		}
	}
	var sets []*sealedcheckpoints.Set
	err = openBeside(con, dir, func(temp string) (weak bool, err error) {
		sets, err = o.Restore(ctx, temp)
		if err == nil && len(sets) == 0 {
			err = errors.New("none of its sets was stored whole, so there is nothing to open")
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("the checkpoints of job %s: %w", mark.Job, err)
	}
	files, bytes := 0, int64(0)
	for _, s := range sets {
		files, bytes = files+len(s.Files), bytes+s.Bytes()
		con.emit("checkpoints", event{"job": mark.Job, "host": s.Host, "set": s.Number, "made": s.Made, "files": len(s.Files), "bytes": s.Bytes()})
		con.printf("set %d of host %s, made %s: %s, %s", s.Number, s.Host, day(s.Made), count(int64(len(s.Files)), "file"), size(s.Bytes()))
	}
	con.emit("summary", event{"command": "checkpoints get", "job": mark.Job, "dataset": mark.Dataset, "dir": dir, "files": files, "bytes": bytes})
	con.printf("checkpoints of job %s in %s", mark.Job, show(dir))
	return nil
}

// findCheckpoints finds the sealed checkpoints of a job in the vault, or in a folder that
// they were copied to.
func findCheckpoints(ctx context.Context, v *vault.Vault, from string, o *sealedcheckpoints.Opener) (m sealedcheckpoints.Mark, done func(), err error) {
	done = func() {}
	if info, err := os.Stat(from); err == nil && info.IsDir() {
		root, err := os.OpenRoot(from)
		if err != nil {
			return m, done, err
		}
		o.Source = sealedcheckpoints.Folder{Root: root}
		if m, err = sealedcheckpoints.ReadMark(ctx, o.Source, ""); err != nil {
			root.Close()
			return m, done, fmt.Errorf("%s: %w", show(from), err)
		}
		return m, func() { root.Close() }, nil
	}
	o.Source = v
	sets, err := provenance.Datasets(ctx, v)
	if err != nil {
		return m, done, err
	}
	for _, name := range sets {
		o.Prefix = jobobjects.JobFolder(name, from) + "checkpoints/"
		switch m, err = sealedcheckpoints.ReadMark(ctx, v, o.Prefix); {
		case errors.Is(err, sealedcheckpoints.ErrNone):
		case err != nil:
			return m, done, err
		case m.Job != from || m.Dataset != name:
			return m, done, fmt.Errorf("the mark of the checkpoints of job %s is of job %s on %s: %w", from, m.Job, m.Dataset, envelope.ErrAuthentication)
		default:
			return m, done, nil
		}
	}
	return m, done, usagef("the vault has no sealed checkpoints of a job %s: if it keeps them in another place in S3, copy that (aws s3 cp --recursive s3://… FOLDER) and name the folder", show(from))
}

// checkCheckpoints returns an error unless a signer vouches for the job that made the set.
func checkCheckpoints(ctx context.Context, ver *provenance.Verifier, s *sealedcheckpoints.Set, sum [sha256.Size]byte, text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("they have no statement: %w; see --no-provenance", envelope.ErrAuthentication)
	}
	signed, by, err := ver.Checkpoints(ctx, text)
	switch {
	case err != nil:
		return err
	case by.Former:
		return fmt.Errorf("they are signed for by someone who is no longer a signer: %w; see --no-provenance", envelope.ErrAuthentication)
	case sum != signed.Sum || !s.Is(signed.Job, signed.Host, signed.Number, signed.Made):
		return fmt.Errorf("their statement is about other checkpoints: %w", envelope.ErrAuthentication)
	}
	return nil
}
