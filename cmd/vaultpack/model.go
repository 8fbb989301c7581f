package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
	"github.com/vaultpack/vaultpack/vault"
)

func modelCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:  "model",
		Usage: "open a model that a job has sealed (train --seal-model)",
		Subcommands: []*cli.Command{{
			Name:      "get",
			Usage:     "write the opened model of a job to a new folder",
			ArgsUsage: "JOB|FILE DIR",
			Description: "JOB is a training job whose model is in the vault, FILE a copy of its model.tar.gz. The statement of\n" +
				"how the model was made is checked too: without a sound one nothing is written, and the exit\n" +
				"code is 4.",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "no-provenance", Usage: "open a model without a statement of how it was made: whoever can read the dataset could have made it"},
			},
			Action: func(c *cli.Context) error {
				args, err := arguments(c, 2, 2)
				if err != nil {
					return err
				}
				return getModel(c, con, args[0], args[1])
			},
		}},
		Action: chooseCommand,
	}
}

// getModel opens a sealed model in a temporary folder, and renames that once it is complete.
func getModel(c *cli.Context, con *console, from, dir string) error {
	ctx := c.Context
	if err := isFree(dir); err != nil {
		return err
	}
	v, err := openVault(c, con)
	if err != nil {
		return err
	}
	ver := provenance.NewVerifier(v)
	defer ver.Close()
	what, job, open, err := findModel(ctx, v, ver, from)
	if err != nil {
		return err
	}
	mark, err := readMark(open)
	if errors.Is(err, sealedmodel.ErrNotSealed) {
		return fmt.Errorf("%s: %w, so it needs no opening: tar -xzf", what, err)
	}
	if err == nil && job != "" && mark.Job != job {
		err = fmt.Errorf("the mark in it is of job %s: %w", mark.Job, envelope.ErrAuthentication)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var opened sealedmodel.Opened
	err = openBeside(con, dir, func(temp string) (weak bool, err error) {
		if opened, err = openModel(ctx, v, mark, open, temp); err == nil && !c.Bool("no-provenance") {
			err = checkModel(ctx, ver, temp, mark.Job)
		}
		return opened.Weak, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	con.emit("summary", event{"command": "model get", "job": mark.Job, "dataset": mark.Dataset, "dir": dir, "files": opened.Files, "bytes": opened.Bytes})
	con.printf("%s, %s, of job %s in %s", count(int64(opened.Files), "file"), size(opened.Bytes), mark.Job, show(dir))
	return nil
}

// openBeside calls open with a temporary folder next to dir, and renames that to dir if
// open returns nil.
func openBeside(con *console, dir string, open func(temp string) (weak bool, err error)) error {
	temp := filepath.Clean(dir) + ".vaultpack-opening"
	if err := os.Mkdir(temp, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s was left by a run that was killed, or another one is running; if none is, remove it", show(temp))
		}
		return err
	}
	weak, err := open(temp)
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := os.Chmod(temp, 0o755); fsys.NoAttributes(err) {
		weak = true
	} else if err != nil {
		return err
	}
	if weak {
		con.warnf("warning: the file system of %s does not keep all modes and times, so those of the files have changed", show(dir))
	}
	os.Remove(dir) // an empty folder
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("everything is opened in %s: %w", show(temp), err)
	}
	return nil
}

// isFree returns an error unless dir does not exist or is empty.
func isFree(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return usagef("%s is not empty; name a folder that does not exist yet", show(dir))
	}
	return nil
}

// findModel finds the archive of a model: a file, or the archive of a job, whose name it
// returns in that case.
func findModel(ctx context.Context, v *vault.Vault, ver *provenance.Verifier, from string) (what, job string, open func() (io.ReadCloser, error), err error) {
	if info, err := os.Stat(from); err == nil && !info.IsDir() {
		return show(from), "", func() (io.ReadCloser, error) { return os.Open(from) }, nil
	}
	object, err := jobsModel(ctx, v, ver, from)
	if err != nil {
		return "", "", nil, err
	}
	return "the model of job " + from, from, func() (io.ReadCloser, error) { return v.Get(ctx, object, 0, -1) }, nil
}

func readMark(open func() (io.ReadCloser, error)) (sealedmodel.Mark, error) {
	r, err := open()
	if err != nil {
		return sealedmodel.Mark{}, err
	}
	defer r.Close()
	return sealedmodel.FindMark(r)
}

// openModel opens the files of a model into a folder, with the key of the job.
func openModel(ctx context.Context, v *vault.Vault, mark sealedmodel.Mark, open func() (io.ReadCloser, error), dir string) (o sealedmodel.Opened, err error) {
	d, err := dataset.Open(v, mark.Dataset)
	if err != nil {
		return o, err
	}
	defer d.Close()
	key, err := sealedmodel.KeyOf(ctx, d, mark.Job, sealedmodel.KeyName)
	if err != nil {
		return o, err
	}
	defer key.Wipe()
	r, err := open()
	if err != nil {
		return o, err
	}
	defer r.Close()
	return sealedmodel.Open(ctx, r, dir, mark.Job, key)
}

// checkModel returns an error unless signed statements show that the job made all files of the
// folder.
func checkModel(ctx context.Context, ver *provenance.Verifier, dir, job string) error {
	files, err := provenance.ReadFolder(ctx, dir)
	if err != nil {
		return err
	}
	all, by, err := ver.Model(ctx, files)
	if err != nil {
		return err
	}
	for i, s := range all {
		if s.Job != job || by[i].Former {
			return fmt.Errorf("a statement in it is of job %s, or by someone who is no longer a signer: see vaultpack provenance, and --no-provenance", s.Job)
		}
	}
	return nil
}
