package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/vault"
)

// localDestination returns the destination of the results. A model can reveal what it was
// trained on, so it is sealed unless something else is asked for, by a flag or by the job's
// file. It is zero if the results are to be discarded.
func localDestination(c *cli.Context, v *vault.Vault, from, file string) (to local.Destination, err error) {
	out := c.String("output")
	if file != "" && !c.IsSet("output") && !c.IsSet("output-seal") {
		out = file
	}
	switch {
	case out != "seal" && c.IsSet("output-seal"):
		return to, usagef("--output %s and --output-seal cannot be used together", out)
	case out == "none":
		return to, nil
	case strings.Contains(out, "://"):
		to.S3, err = inS3("output", out)
		return to, err
	case out != "seal":
		if to.Folder, err = filepath.Abs(out); err != nil {
			return to, err
		}
	default:
		if to.Dataset = c.String("output-seal"); to.Dataset == "" {
			to.Dataset = from + "-models"
		}
		to.Vault = v.Location
	}
	if err := to.Check(); err != nil {
		flag := "output"
		if to.Dataset != "" {
			flag = "output-seal"
		}
		return to, usagef("--%s: %w", flag, err)
	}
	return to, nil
}

// A delivery delivers results, and prints where.
type delivery struct {
	con     *console
	vault   *vault.Vault // the vault of a destination that is a dataset
	to      local.Destination
	place   local.Destination // of checkpoints
	buckets local.Buckets
	summary event
	noModel bool   // there was none among the results
	model   string // where it is now, if there was one
}

func (d *delivery) deliver(ctx context.Context, r *local.Results) error {
	d.noModel, d.model = r.Unfinished, ""
	if d.to.S3 != "" {
		return d.put(ctx, r)
	}
	if d.to.Folder != "" {
		if err := local.CopyTo(ctx, r, d.to.Folder, d.con.warning); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		d.summary["output"] = d.to.Folder
		what := "results  " + show(d.to.Folder)
		if !r.Unfinished {
			what, d.model = "model    "+show(filepath.Join(d.to.Folder, "model.tar.gz")), d.to.Folder
		}
		d.con.printf("%s (in the clear)", what)
		return nil
	}
	name := d.to.For(r)
	set, err := dataset.Open(d.vault, name)
	if err != nil {
		return err
	}
	defer set.Close()
	v, err := local.Seal(ctx, r, set, d.con.warning)
	if err != nil {
		return fmt.Errorf("sealing the model: %w", err)
	}
	d.summary["output_dataset"], d.summary["output_version"] = name, v.Number
	what := "results "
	if !r.Unfinished {
		what, d.model = "model   ", fmt.Sprintf("dataset %s, version %d", name, v.Number)
	}
	d.con.printf("%s sealed as dataset %s, version %d; open it with: %s", what, name, v.Number, d.con.next("restore", name, "./model"))
	return nil
}

// workDir returns --work-dir as an absolute path, which stays valid in another working
// folder.
func workDir(c *cli.Context) (string, error) {
	dir := c.String("work-dir")
	if dir == "" {
		return "", nil
	}
	if info, err := os.Stat(dir); err != nil {
		return "", usagef("--work-dir: %w", err)
	} else if !info.IsDir() {
		return "", usagef("--work-dir: %s is not a folder", show(dir))
	}
	return filepath.Abs(dir)
}

// undelivered says how to continue with results that were kept.
func undelivered(con *console, err error, workDir string) error {
	var kept *local.UndeliveredError
	if !errors.As(err, &kept) {
		return err
	}
	args := []string{"train", "--local", "--resume", kept.Job}
	if workDir != "" {
		args = append(args, "--work-dir", workDir)
	}
	code := exitCode(err)
	if errors.Is(err, context.Canceled) {
		code = exitInterrupted
	}
	return &partialError{text: err.Error(), code: code, hint: "once the cause is fixed, deliver it (--output PLACE delivers it elsewhere, --output none discards it): " + con.next(args...)}
}

// resumeLocal delivers what an earlier run could not.
func resumeLocal(c *cli.Context, con *console) error {
	if c.Args().Present() {
		return usagef("--resume takes no dataset and no command")
	}
	dir, err := workDir(c)
	if err != nil {
		return err
	}
	k, err := local.Find(c.String("resume"), dir)
	if err != nil {
		return usageError{err}
	}
	d := &delivery{con: con, to: k.To, place: k.Checkpoints, summary: event{"command": "train", "local": true, "job": k.Job, "dataset": k.Dataset, "status": k.Status, "reason": k.Reason}}
	if err := d.redirect(c, k); err != nil {
		return err
	}
	deliver, keep := d.deliver, d.keep
	drop := func(context.Context, *local.Results) error { return nil }
	if d.to == (local.Destination{}) {
		if c.String("output") != "none" && !k.Drop {
			return usagef("it is not known where the results of job %s belong: name a place with --output or --output-seal", k.Job)
		}
		deliver = drop
	}
	if d.place == (local.Destination{}) {
		keep = drop
	}
	if err := k.Deliver(c.Context, deliver, keep); err != nil {
		return undelivered(con, err, dir)
	}
	if err := recordDelivery(k, d.model); err != nil {
		con.warning(fmt.Errorf("vaultpack jobs show will not know where the model is: %w", err))
	}
	if d.noModel && k.Status == local.Completed {
		con.warning(errNoModel)
	}
	con.emit("summary", d.summary)
	con.printf("job      %s (%s): its results are delivered", k.Job, k.Status)
	return nil
}

// redirect sends the results and the checkpoints of a job where flags say, and opens the
// vault that they go to.
func (d *delivery) redirect(c *cli.Context, k *local.Kept) (err error) {
	if c.IsSet("checkpoints") && k.Checkpoints == (local.Destination{}) {
		return usagef("the checkpoints of job %s are among its results: --output says where they go", k.Job)
	}
	output := c.IsSet("output") || c.IsSet("output-seal")
	cfg, err := loadConfig(c, d.con)
	if err != nil {
		return err
	}
	d.buckets = localBuckets(cfg)
	if !output && !c.IsSet("checkpoints") && k.To.Dataset == "" && k.Checkpoints.Dataset == "" {
		return nil
	}
	if d.vault, err = config.Open(c.Context, cfg); err != nil {
		return err
	}
	if output {
		if d.to, err = localDestination(c, d.vault, k.Dataset, ""); err != nil {
			return err
		}
	}
	if c.IsSet("checkpoints") {
		if d.place, err = checkpointPlace(c, d.vault, ""); err != nil {
			return err
		}
	}
	for to, flags := range map[local.Destination]string{d.to: "--output or --output-seal", d.place: "--checkpoints"} {
		if to.Dataset != "" && to.Vault != d.vault.Location {
			return usagef("the results of job %s are for the vault %s, and this one is %s: name the vault with --vault, or another place with %s", k.Job, to.Vault, d.vault.Location, flags)
		}
	}
	return nil
}

// localJobs lists the jobs on this machine that are running, or have results left.
func localJobs(c *cli.Context, con *console) error {
	dir, err := workDir(c)
	if err != nil {
		return err
	}
	all, err := local.List(dir)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		con.notef("No job is running on this machine, and all results were delivered.")
	}
	for _, k := range all {
		e := event{"job": k.Job, "local": true, "status": k.Status, "folder": k.Dir, "created": k.Started}
		if !k.Ended.IsZero() {
			e["ended"] = k.Ended
		}
		con.emit("job", e)
		con.printf("%-45s %-11s %s  %s", k.Job, k.Status, day(k.Started), show(k.Dir))
		if k.Status != local.InProgress {
			args := []string{"train", "--local", "--resume", k.Job}
			if dir != "" {
				args = append(args, "--work-dir", dir)
			}
			con.printf("  deliver  %s", con.next(args...))
		}
	}
	return nil
}
