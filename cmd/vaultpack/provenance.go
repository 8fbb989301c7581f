package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
)

func provenanceCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "provenance",
		Usage:     "show from which data a model was made, and check it",
		ArgsUsage: "MODEL",
		Description: "MODEL is a model.tar.gz, a folder with what was in one, a dataset with sealed models such as\n" +
			"scans-models@3, or a training job whose model is in the vault. Every file of the model must be\n" +
			"one that the job made, and a signer of the dataset must vouch for the job: otherwise the exit\n" +
			"code is 4.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "former-signers", Usage: "accept a statement by a signer who was removed since"}},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			return showProvenance(c, con, args[0])
		},
	}
}

func showProvenance(c *cli.Context, con *console, model string) error {
	v, err := openVault(c, con)
	if err != nil {
		return err
	}
	ver := provenance.NewVerifier(v)
	defer ver.Close()
	what, files, err := readModel(c.Context, v, ver, model)
	if errors.Is(err, provenance.ErrSealed) {
		return usagef("%w. Open it, which checks how it was made too: %s", err, con.next("model", "get", model, "DIR"))
	}
	if err != nil {
		return err
	}
	all, by, err := ver.Model(c.Context, files)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	former := 0
	for i, s := range all {
		tellStatement(con, s, by[i])
		if by[i].Former {
			former++
		}
	}
	states := map[string]provenance.InputState{}
	for _, in := range all[0].Inputs {
		state, err := ver.Input(c.Context, in)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		states[in.Channel] = state
		con.emit("input", event{"channel": in.Channel, "dataset": in.Dataset, "version": in.Version, "digest": in.Digest, "state": string(state)})
		con.printf("data      %s (channel %s, %s)", in, in.Channel, state)
	}
	if former > 0 && !c.Bool("former-signers") {
		return &partialError{code: exitAuthentication, text: fmt.Sprintf("%s: it is signed by %s, who is no longer a signer of dataset %q and may have made the statement since", what, by[0].By.ID().Short(), by[0].Dataset),
			hint: "if you know the model from before: " + con.next("provenance", model, "--former-signers")}
	}
	con.emit("summary", event{"command": "provenance", "model": what, "job": all[0].Job, "files": len(files.List)})
	con.printf("%s is what job %s made: %s", show(what), all[0].Job, count(int64(len(files.List)), "file"))
	return nil
}

// readModel reads the files of a model, wherever it is, and prints which model it reads.
func readModel(ctx context.Context, v *vault.Vault, ver *provenance.Verifier, model string) (what string, files *provenance.Files, err error) {
	info, err := os.Stat(model)
	switch {
	case err == nil && info.IsDir():
		files, err = provenance.ReadFolder(ctx, model)
		return model, files, err
	case err == nil:
		f, err := os.Open(model)
		if err != nil {
			return model, nil, err
		}
		defer f.Close()
		if files, err = provenance.ReadArchive(ctx, f); err != nil {
			err = fmt.Errorf("%s: %w", show(model), err)
		}
		return model, files, err
	case strings.ContainsRune(model, os.PathSeparator):
		return model, nil, err
	}
	ref, err := parseRef(model)
	if err == nil {
		what, files, err = readSealedModel(ctx, v, ref)
		if err == nil || !errors.Is(err, dataset.ErrUnknownDataset) {
			return what, files, err
		}
	}
	return readJobsModel(ctx, v, ver, model)
}

const modelFile = "model.tar.gz"

// readSealedModel reads the model in a version, as train --local seals it.
func readSealedModel(ctx context.Context, v *vault.Vault, ref dataset.Reference) (what string, files *provenance.Files, err error) {
	d, err := dataset.Open(v, ref.Dataset)
	if err != nil {
		return "", nil, err
	}
	defer d.Close()
	ver, err := d.Choose(ctx, ref.Choice())
	if err != nil {
		return "", nil, err
	}
	what = fmt.Sprintf("%s@%d", d.Name, ver.Number)
	f, err := ver.OpenFile(ctx, modelFile)
	if err != nil {
		return what, nil, fmt.Errorf("%s has no %s: %w", what, modelFile, err)
	}
	defer f.Close()
	files, err = provenance.ReadArchive(ctx, io.NewSectionReader(f, 0, f.Size()))
	return what, files, err
}

// readJobsModel reads the model of a job in SageMaker from the vault.
func readJobsModel(ctx context.Context, v *vault.Vault, ver *provenance.Verifier, job string) (what string, files *provenance.Files, err error) {
	object, err := jobsModel(ctx, v, ver, job)
	if err != nil {
		return "", nil, err
	}
	r, err := v.Get(ctx, object, 0, -1)
	if err != nil {
		return "", nil, fmt.Errorf("the model of job %s: %w", job, err)
	}
	defer r.Close()
	files, err = provenance.ReadArchive(ctx, r)
	return object, files, err
}

// jobsModel returns the name of the object with the model of a job, from its launch
// record.
func jobsModel(ctx context.Context, v *vault.Vault, ver *provenance.Verifier, job string) (object string, err error) {
	unknown := usagef("%q is not a file, a dataset of this vault, or a training job", job)
	sets, err := provenance.Datasets(ctx, v)
	if err != nil {
		return "", err
	}
	for _, name := range sets {
		l, err := ver.Launch(ctx, name, job)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if l.Err != nil {
			return "", fmt.Errorf("the record of job %s: %w", job, l.Err)
		}
		if set, ok := strings.CutPrefix(l.Output, "vaultpack:"); ok {
			return "", usagef("job %s ran on the launcher's machine and sealed its model as dataset %s: name that, or open it with: vaultpack restore %s DIR", job, set, set)
		}
		object, ok := strings.CutPrefix(path.Join(l.Output, modelFile), path.Clean(v.Location)+"/")
		if !ok {
			return "", usagef("the model of job %s is not in this vault but in %s: name the file, or a copy of it", job, l.Output)
		}
		return object, nil
	}
	return "", unknown
}

func tellStatement(con *console, s *provenance.Statement, by provenance.Signature) {
	e := event{"job": s.Job, "builder": s.Builder, "host": s.Host, "invocation": s.Invocation, "image": s.Image, "image_digest": s.ImageDigest,
		"program": s.Program, "source": s.Source, "command": s.Command, "hyperparameters": s.Hyperparameters, "instances": s.Instances, "plain": s.Plain, "output": s.Output,
		"launched": s.Launched, "started": s.Started, "finished": s.Finished, "tree": s.Tree,
		"dataset": by.Dataset, "signer": by.By.ID().String(), "former_signer": by.Former, "key": by.Key.ID().String()}
	con.emit("statement", e)
	line := func(what, value string) {
		if value != "" { // a job's script may have caused it to be signed
			con.printf("%-9s %s", what, show(value))
		}
	}
	line("job", s.Job+", host "+s.Host+", "+path.Base(path.Dir(s.Builder)))
	line("signer", by.By.ID().Short()+" of "+by.Dataset)
	if s.Invocation != s.Job {
		line("run", s.Invocation)
	}
	image := s.Image
	if s.ImageDigest != "" && !strings.Contains(s.Image, s.ImageDigest) {
		image += ", sha256:" + s.ImageDigest
	}
	if image != "" {
		line("image", image)
	}
	line("command", strings.Join(s.Command, " "))
	line("source", s.Source)
	for _, name := range slices.Sorted(maps.Keys(s.Hyperparameters)) {
		line("parameter", name+"="+s.Hyperparameters[name])
	}
	line("instances", strings.Join(s.Instances, ", "))
	for _, name := range slices.Sorted(maps.Keys(s.Plain)) {
		line("plain", name+": "+s.Plain[name]+" (nothing checked it)")
	}
	line("time", s.Started.Format("2006-01-02 15:04:05")+" to "+s.Finished.Format("2006-01-02 15:04:05")+" UTC")
}

func modelsCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "models",
		Usage:     "list the training jobs that were given a dataset, or a version of it",
		ArgsUsage: "DATASET[@VERSION]",
		Description: "Use it to find the models that saw data that must be deleted. A job is recorded at launch,\n" +
			"whether or not it succeeds, if its launcher is a signer of the dataset. A record outlives the\n" +
			"version, but once all versions are gone, nothing tells the signers and it is NOT BELIEVED.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			return listModels(c, con, args[0])
		},
	}
}

func listModels(c *cli.Context, con *console, arg string) error {
	ref, err := parseRef(arg)
	if err != nil {
		return err
	}
	v, err := openVault(c, con)
	if err != nil {
		return err
	}
	version := ref.Number
	if ref.Tag != "" || ref.Digest != "" {
		d, err := dataset.Open(v, ref.Dataset)
		if err != nil {
			return err
		}
		defer d.Close()
		chosen, err := d.Choose(c.Context, ref.Choice())
		if err != nil {
			return err
		}
		version = chosen.Number
	}
	ver := provenance.NewVerifier(v)
	defer ver.Close()
	n, wrong := 0, 0
	err = ver.Launches(c.Context, ref.Dataset, func(l *provenance.Launch) error {
		if l.Err == nil && !l.Saw(ref.Dataset, version) {
			return nil
		}
		n++
		tellLaunch(con, l)
		if l.Err != nil {
			wrong++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if wrong > 0 {
		return &partialError{code: exitAuthentication, text: fmt.Sprintf("%s cannot be believed: it may have been given any version", count(int64(wrong), "record"))}
	}
	if n == 0 {
		// A mistyped name has no jobs either, so an empty answer would mislead.
		if err := wasThere(c.Context, v, ref.Dataset, version); err != nil {
			return err
		}
		con.notef("No recorded job was given %s.", arg)
	}
	con.notef("Jobs that were launched by someone who is not a signer of %s, or with --no-provenance, are not recorded.", ref.Dataset)
	con.emit("summary", event{"command": "models", "dataset": ref.Dataset, "jobs": n})
	return nil
}

// wasThere returns an error unless the dataset exists, and the version exists or may have
// existed.
func wasThere(ctx context.Context, v *vault.Vault, name string, version int64) error {
	d, err := dataset.Open(v, name)
	if err != nil {
		return err
	}
	defer d.Close()
	newest, err := d.Latest(ctx)
	if err == nil && version > newest.Number {
		err = fmt.Errorf("dataset %q: %w %d; the newest is %d", name, dataset.ErrUnknownVersion, version, newest.Number)
	}
	return err
}

func tellLaunch(con *console, l *provenance.Launch) {
	var saw []string
	for _, in := range l.Inputs {
		saw = append(saw, fmt.Sprintf("%s@%d", in.Dataset, in.Version))
	}
	e := event{"job": l.Job, "image": l.Image, "output": l.Output, "launched": l.Launched, "signer": "", "former_signer": l.Former, "versions": append([]string{}, saw...)}
	if l.Err != nil {
		e["error"] = l.Err.Error()
		con.emit("launch", e)
		con.printf("%-45s NOT BELIEVED: %v", show(l.Job), l.Err)
		if len(saw) > 0 {
			con.printf("  says   %s", strings.Join(saw, ", "))
		}
		return
	}
	e["signer"] = l.By.ID().String()
	con.emit("launch", e)
	former := ""
	if l.Former {
		former = " (no longer a signer)"
	}
	con.printf("%-45s %s  %s, by %s%s", l.Job, day(l.Launched), strings.Join(saw, ", "), l.By.ID().Short(), former)
	if l.Output != "" {
		con.printf("  model  %s", show(l.Output))
	}
}
