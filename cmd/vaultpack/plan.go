package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/uploader"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

func planCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "divide an upload among many workers",
		ArgsUsage: "SOURCE --shards N | status PLAN | give-up PLAN",
		Description: "plan walks SOURCE, a folder or s3://bucket/prefix that all workers see, once, and stores\n" +
			"a plan in the vault: N shards of about the same size. Each worker runs\n" +
			"\"vaultpack work PLAN\", which takes the number of its shard from the environment of\n" +
			"Slurm, Kubernetes, AWS Batch or SageMaker.\n" +
			"\"vaultpack commit PLAN\" then makes one version of all shards. See docs/SCALE.md.\n\n" +
			"While a plan is open, gc deletes nothing from the dataset.",
		Flags: append(slices.Concat(selectionFlags(), bucketFlags()),
			&cli.IntFlag{Name: "shards", DefaultText: "none, it is required", Usage: "cut the source into `N` shards, numbered from 0"},
			&cli.StringFlag{Name: "dataset", Aliases: []string{"d"}, Usage: "`NAME` of the dataset"},
			&cli.StringFlag{Name: "links", Value: "keep", Usage: "`HOW` to treat symbolic links: keep, follow or error, as in push"},
			&cli.BoolFlag{Name: "allow-empty", Usage: "allow a source without files to replace a version that has files"},
			&cli.BoolFlag{Name: "shuffle", Usage: "mix small files from all folders of a shard in each pack; for training"},
			&cli.BoolFlag{Name: "checksum", Usage: "compare files by SHA-256 instead of size and time, and record it"},
			&cli.StringFlag{Name: "pack-size", Value: "128MiB", Usage: "maximum `SIZE` of a pack, in KiB, MiB or GiB"},
		),
		Subcommands: []*cli.Command{
			{
				Name: "status", Usage: "show the progress of a plan", ArgsUsage: "PLAN",
				Description: "The list has the shards that are running, stale or failed, and the stragglers. --json has\n" +
					"all of them. A shard is stale if its worker has given no sign of life for three minutes.",
				Action: func(c *cli.Context) error { return planStatus(c, con) },
			}, {
				Name: "give-up", Usage: "end a plan without making a version", ArgsUsage: "PLAN",
				Description: "Its workers end in vain, and the next gc deletes what they have stored. To keep what is\n" +
					"finished, run \"vaultpack commit PLAN --partial\" first.",
				Action: func(c *cli.Context) error { return planGiveUp(c, con) },
			},
		},
		Action: func(c *cli.Context) error { return makePlan(c, con) },
	}
}

func makePlan(c *cli.Context, con *console) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	path, began := args[0], time.Now()
	if !c.IsSet("shards") {
		return usagef("say among how many workers the upload is to be divided, with --shards N")
	}
	if n := c.Int("shards"); n < 1 || n > plans.MaxShards {
		return usagef("--shards: %d must be 1 to %d", n, plans.MaxShards)
	}
	source, err := sourceOptions(c, con)
	if err != nil {
		return err
	}
	if err := checkBucketFlags(c, path); err != nil {
		return err
	}
	opts := plans.MakeOptions{Shards: c.Int("shards"), Upload: source}
	name, err := datasetName(c.String("dataset"), path)
	if err != nil {
		return err
	}
	con.dataset = name
	bucket, err := isThere(c, con, path) // before a vault is made for it
	if err != nil {
		return err
	}
	v, err := openForWriting(c, con)
	if err != nil {
		return err
	}
	d, err := dataset.Open(v, name)
	if err != nil {
		return usageError{err}
	}
	defer d.Close()
	opts.Upload.Own = append([]string{v.Location}, v.Keys.Names...)
	opts.Upload.Progress = &uploader.Progress{}
	stop := con.track("looking", func() (int64, int64, int64, int64) {
		s := opts.Upload.Progress.Stats()
		return s.Bytes, 0, s.Files, s.Failures
	})
	p, err := planOf(c.Context, d, path, bucket, opts)
	stop()
	if isPartial(err) && err != nil {
		return &partialError{text: err.Error(), hint: "a plan covers all of the source: make it readable, or leave it out with --exclude", code: exitFailed}
	}
	if err != nil {
		return err
	}
	con.tellUploadPlan(p, d, time.Since(began))
	return nil
}

// planOf makes a plan of a bucket, or of a folder if that is nil.
func planOf(ctx context.Context, d *dataset.Dataset, path string, bucket *s3store.Source, opts plans.MakeOptions) (*plans.Plan, error) {
	if bucket != nil {
		return plans.MakeOfBucket(ctx, d, bucket, opts)
	}
	return plans.Make(ctx, d, path, opts)
}

func (c *console) tellUploadPlan(p *plans.Plan, d *dataset.Dataset, elapsed time.Duration) {
	used, least, most := 0, int64(-1), int64(0)
	for _, s := range p.Shards {
		if s.Entries > 0 {
			used++
		}
		if least < 0 || s.Bytes < least {
			least = s.Bytes
		}
		most = max(most, s.Bytes)
	}
	ref := p.Reference.String()
	c.emit("summary", event{"command": "plan", "dataset": d.Name, "vault": d.Vault().Location, "plan": ref, "source": p.Source, "base": p.Base,
		"shards": len(p.Shards), "empty": len(p.Shards) - used, "files": p.Totals.Files, "folders": p.Totals.Folders, "links": p.Totals.Links, "bytes": p.Totals.Bytes,
		"least_bytes": least, "most_bytes": most, "seconds": elapsed.Seconds()})
	c.printf("plan     %s", ref)
	c.printf("source   %s: %s, %s, %s", show(p.Source), count(p.Totals.Files, "file"), count(p.Totals.Folders, "folder"), size(p.Totals.Bytes))
	c.printf("shards   0 to %d, of %s to %s", len(p.Shards)-1, size(least), size(most))
	if n := len(p.Shards) - used; n > 0 {
		c.printf("         %s: it cannot be divided further", count(int64(n), "empty shard"))
	}
	if p.Base > 0 {
		c.printf("base     version %d: what is unchanged since then is not sent", p.Base)
	}
	c.printf("vault    %s", show(d.Vault().Location))
	c.tellUsage(d.Vault())
	c.printf("\nNext, for each shard, and then once:")
	c.printf("  %s", c.next("work", ref, "--shard", "0"))
	c.printf("  %s", c.next("commit", ref))
}

// openPlan opens the dataset of a plan.
func openPlan(c *cli.Context, con *console) (*dataset.Dataset, plans.Reference, error) {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return nil, plans.Reference{}, err
	}
	ref, err := plans.ParseReference(args[0])
	if err != nil {
		return nil, ref, usageError{err}
	}
	v, err := openVault(c, con)
	if err != nil {
		return nil, ref, err
	}
	if con.store != nil {
		v.Store = con.store(v.Store)
	}
	con.dataset = ref.Dataset
	d, err := dataset.Open(v, ref.Dataset)
	if err != nil {
		return nil, ref, usageError{err}
	}
	return d, ref, nil
}

func planGiveUp(c *cli.Context, con *console) error {
	d, ref, err := openPlan(c, con)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := plans.GiveUp(c.Context, d, ref); err != nil {
		return err
	}
	con.emit("summary", event{"command": "plan give-up", "dataset": d.Name, "plan": ref.String()})
	con.printf("the plan %s/%s has ended; to delete what its workers have stored: %s", ref.Dataset, ref.ID, con.next("gc", d.Name))
	return nil
}

func planStatus(c *cli.Context, con *console) error {
	d, ref, err := openPlan(c, con)
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := plans.ReadStatus(c.Context, d, ref)
	if err != nil {
		return err
	}
	for _, st := range s.Shards {
		con.tellShard(st)
	}
	n := func(p plans.Phase) int { return s.Count[p] }
	con.emit("summary", event{"command": "plan status", "dataset": d.Name, "plan": s.Plan.Reference.String(), "source": s.Plan.Source, "ended": s.Ended,
		"shards": len(s.Shards), "done": n(plans.Done), "running": n(plans.Running), "stale": n(plans.Stale), "failed": n(plans.Failed), "waiting": n(plans.Waiting),
		"files": s.Plan.Totals.Files, "bytes": s.Plan.Totals.Bytes, "done_files": s.Files, "done_bytes": s.Bytes,
		"bytes_per_second": s.Rate, "seconds_left": s.Left.Seconds()})
	con.printf("plan     %s/%s, of %s", ref.Dataset, ref.ID, show(s.Plan.Source))
	con.printf("shards   %d: %d done, %d running, %d stale, %d failed, %d waiting", len(s.Shards), n(plans.Done), n(plans.Running), n(plans.Stale), n(plans.Failed), n(plans.Waiting))
	con.printf("files    %s of %s, %s of %s", number(s.Files), count(s.Plan.Totals.Files, "file"), size(s.Bytes), size(s.Plan.Totals.Bytes))
	if s.Rate > 0 {
		con.printf("rate     %s/s", size(s.Rate))
	}
	if s.Left > 0 {
		con.printf("left     about %s, at this rate", s.Left)
	}
	switch {
	case s.Ended:
		con.printf("ended    it was committed, or given up")
	case n(plans.Done) == len(s.Shards):
		con.printf("\nNext:\n  %s", con.next("commit", ref.String()))
	}
	return nil
}

// tellShard shows a shard that is of interest.
func (c *console) tellShard(st plans.ShardStatus) {
	e := event{"shard": st.Number, "phase": st.Phase, "files": st.Files, "bytes": st.Bytes, "done_files": st.DoneFiles, "done_bytes": st.DoneBytes, "straggler": st.Straggler}
	if st.Worker != "" {
		e["worker"], e["started"], e["last"] = st.Worker, st.Started, st.Last
	}
	if st.Error != "" {
		e["error"] = st.Error
	}
	c.emit("shard", e)
	if st.Phase == plans.Done || st.Phase == plans.Waiting {
		return
	}
	text := fmt.Sprintf("%s of %s", size(st.DoneBytes), size(st.Bytes))
	if st.Straggler {
		text += ", slow"
	}
	c.printf("shard %-5d %s: %s, %s, last seen %s", st.Number, st.Phase, text, show(st.Worker), timeText(st.Last))
	if st.Error != "" {
		c.printf("            %s", show(st.Error))
	}
}
