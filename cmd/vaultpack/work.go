package main

import (
	"errors"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/uploader"
)

func workCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "work",
		Usage:     "encrypt and upload a shard of a plan",
		ArgsUsage: "PLAN",
		Description: "work takes the number of the shard from VAULTPACK_SHARD, SLURM_ARRAY_TASK_ID,\n" +
			"JOB_COMPLETION_INDEX, AWS_BATCH_JOB_ARRAY_INDEX, OMPI_COMM_WORLD_RANK, RANK, or\n" +
			"SageMaker's resourceconfig.json, unless you set --shard. If two of them differ, it fails.\n\n" +
			"A shard that is run again continues from what its last worker has recorded. A shard that\n" +
			"is finished is not run again, and of two workers of a shard the first one counts. If a\n" +
			"file has changed since the plan was made, the shard fails.",
		Flags: append(bucketFlags(),
			&cli.IntFlag{Name: "shard", DefaultText: "what the environment says", Usage: "upload shard `N`, whatever the environment says"},
			&cli.StringFlag{Name: "source", Usage: "`PATH` or URL of the source on this machine (default: where the plan was made)"},
			&cli.BoolFlag{Name: "commit", Usage: "then commit the plan, if this was the last shard"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "with --commit: describe the new version with `TEXT`, which is signed too"},
			&cli.StringFlag{Name: "memory", Value: "512MiB", Usage: "use at most `SIZE` of memory"},
			&cli.IntFlag{Name: "concurrency", Usage: "upload `N` packs in parallel", DefaultText: "by cores and memory"},
		),
		Action: func(c *cli.Context) error { return work(c, con) },
	}
}

// shardOf returns the number of the shard to work on.
func shardOf(c *cli.Context, con *console) (int, error) {
	if c.IsSet("shard") {
		return c.Int("shard"), nil
	}
	n, where, err := plans.FromEnvironment(os.Getenv)
	if err != nil {
		return 0, usageError{err}
	}
	con.notef("shard    %d, by %s", n, where)
	return n, nil
}

func work(c *cli.Context, con *console) error {
	began := time.Now()
	memory, concurrency, err := uploadBounds(c)
	if err != nil {
		return err
	}
	if c.IsSet("message") && !c.Bool("commit") {
		return usagef("--message is for the version that --commit makes")
	}
	n, err := shardOf(c, con)
	if err != nil {
		return err
	}
	limitMemory(memory)
	d, ref, err := openPlan(c, con)
	if err != nil {
		return err
	}
	defer d.Close()
	opts := plans.WorkOptions{Source: c.String("source"), OpenBucket: bucketOpener(c, con), Memory: memory, Concurrency: concurrency, Failed: con.failed, Warn: con.warning, Progress: &uploader.Progress{}}
	total := int64(0)
	opts.Begun = func(p *plans.Plan) { total = p.Shards[n].Bytes }
	stop := con.track("sealing", func() (int64, int64, int64, int64) {
		s := opts.Progress.Stats()
		return s.SentBytes + s.ResumedBytes + s.SameBytes, max(total, s.Bytes), s.SentFiles + s.ResumedFiles + s.UnchangedFiles, s.Failures
	})
	res, err := plans.Work(c.Context, d, ref, n, opts)
	stop()
	if err != nil {
		return err
	}
	con.tellWork(d, ref, n, res, time.Since(began))
	if !c.Bool("commit") {
		return nil
	}
	err = commitPlan(c, con, d, ref, plans.CommitOptions{Message: c.String("message")})
	var missing *plans.MissingError
	if errors.As(err, &missing) {
		con.printf("not yet  %v", missing)
		return nil
	}
	return err
}

func (c *console) tellWork(d *dataset.Dataset, ref plans.Reference, n int, res *plans.WorkResult, elapsed time.Duration) {
	s, shard := res.Stats, res.Plan.Shards[n]
	rate := int64(float64(s.SentBytes) / max(elapsed.Seconds(), 1e-3))
	e := event{"command": "work", "dataset": d.Name, "plan": ref.String(), "shard": n, "shards": len(res.Plan.Shards), "finished": res.Finished,
		"files": shard.Files, "bytes": shard.Bytes, "unchanged": s.UnchangedFiles, "resumed_files": s.ResumedFiles, "resumed_bytes": s.ResumedBytes,
		"sent_files": s.SentFiles, "sent_bytes": s.SentBytes, "packs": s.Packs, "sealed_bytes": s.SealedBytes, "seconds": elapsed.Seconds(), "bytes_per_second": rate}
	if plans.IsBucket(res.Plan.Source) {
		e["source_s3"] = res.Requests
	}
	c.emit("summary", e)
	switch {
	case shard.Entries == 0:
		c.printf("shard    %d of %d has nothing in it", n, len(res.Plan.Shards))
		return
	case !res.Finished:
		c.printf("shard    %d of %d was finished before", n, len(res.Plan.Shards))
		return
	}
	c.printf("shard    %d of %d is finished: %s, %s", n, len(res.Plan.Shards), count(shard.Files, "file"), size(shard.Bytes))
	if s.ResumedFiles > 0 {
		c.printf("resumed  %s, %s, already in the vault from an earlier run", count(s.ResumedFiles, "file"), size(s.ResumedBytes))
	}
	c.printf("sealed   %s in %s, %s in the vault, in %s at %s/s", size(s.SentBytes), count(s.Packs, "pack"), size(s.SealedBytes), took(elapsed), size(rate))
	c.tellUsage(d.Vault())
	c.tellSource(res.Plan.Source, res.Requests)
}

func commitCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "commit",
		Usage:     "make one version of the shards of a plan",
		ArgsUsage: "PLAN",
		Description: "commit verifies what the workers of a plan have stored, and makes it one version: the same\n" +
			"as if one machine had uploaded the source. It may be run by every worker at its end:\n" +
			"one of them makes the version, once. It fails while a shard is missing.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "describe the new version with `TEXT`, which is signed too"},
			&cli.BoolFlag{Name: "partial", Usage: "make a version of the finished shards, marked as incomplete; the plan goes on"},
		},
		Action: func(c *cli.Context) error {
			d, ref, err := openPlan(c, con)
			if err != nil {
				return err
			}
			defer d.Close()
			return commitPlan(c, con, d, ref, plans.CommitOptions{Message: c.String("message"), Partial: c.Bool("partial")})
		},
	}
}

func commitPlan(c *cli.Context, con *console, d *dataset.Dataset, ref plans.Reference, opts plans.CommitOptions) error {
	if n := len(opts.Message); n > dataset.MaxMessage {
		return usagef("--message: it has %d bytes; it is text of at most %d", n, dataset.MaxMessage)
	}
	res, err := plans.Commit(c.Context, d, ref, opts)
	if err != nil {
		return err
	}
	v := res.Version
	con.emit("commit", event{"dataset": d.Name, "plan": ref.String(), "version": v.Number, "digest": v.Digest(), "committed": res.Committed,
		"files": v.Totals.Files, "bytes": v.Totals.Bytes, "packs": v.Totals.Packs, "index_parts": len(v.Parts), "flaws": v.Totals.Flaws, "missing": len(res.Missing)})
	if c.Command.Name == "commit" {
		con.emit("summary", event{"command": "commit", "dataset": d.Name, "plan": ref.String(), "version": v.Number, "digest": v.Digest(), "committed": res.Committed, "missing": len(res.Missing)})
	}
	if !res.Committed {
		con.printf("dataset  %s: version %d was made of the plan before", d.Name, v.Number)
		return nil
	}
	con.printf("dataset  %s, version %d", d.Name, v.Number)
	con.printf("files    %s, %s, %s in %s", count(v.Totals.Files, "file"), count(v.Totals.Folders, "folder"), size(v.Totals.Bytes), count(v.Totals.Packs, "pack"))
	if n := len(res.Missing); n > 0 {
		con.printf("missing  %s: this version is incomplete, and the plan goes on", count(int64(n), "shard"))
	}
	con.tellUsage(d.Vault())
	con.printf("\nNext:")
	for _, next := range []string{"ls", "verify"} {
		con.printf("  %s", con.next(next, d.Name))
	}
	return nil
}
