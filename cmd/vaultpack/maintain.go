package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
)

func gcCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "gc",
		Usage:     "delete data that no version needs",
		ArgsUsage: "DATASET",
		Description: "gc deletes packs and index parts that no version uses, records of unfinished uploads,\n" +
			"and what killed processes left behind, if they are older than --grace.\n\n" +
			"While an upload is running, gc deletes nothing. An upload without a sign of life for 15\n" +
			"minutes counts as dead. If it was only suspended, it fails when it wakes up; run it\n" +
			"again.",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "grace", Value: 24 * time.Hour, Usage: "keep objects younger than `DURATION`"},
			&cli.BoolFlag{Name: "end-uploads", Usage: "do not wait for running uploads; they fail and must be run again"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "show what would be deleted, and change nothing"},
		},
		Action: withDataset(con, 1, func(c *cli.Context, con *console, d *dataset.Dataset, _ []string) error {
			if c.Duration("grace") < 0 {
				return usagef("--grace: a duration cannot be negative")
			}
			opts := dataset.CollectOptions{Grace: c.Duration("grace"), EndUploads: c.Bool("end-uploads"), DryRun: c.Bool("dry-run")}
			g, err := d.Collect(c.Context, opts)
			for _, name := range g.Strange {
				con.warning(fmt.Errorf("%s does not belong to vaultpack and is kept", show(name)))
			}
			if err != nil {
				return err
			}
			con.emit("summary", event{"command": "gc", "dataset": d.Name, "dry_run": opts.DryRun, "packs": g.Packs, "index_parts": g.Indexes,
				"records": g.Pending, "keyrings": g.Keyrings, "bytes": g.Bytes, "young": g.Young, "young_bytes": g.YoungBytes, "unfinished_uploads": g.Uploads, "leases": g.Leases, "closed": g.Closed, "plans": g.Plans})
			verb, abort := "removed", "aborted "
			if opts.DryRun {
				verb, abort = "to remove", "to abort"
			}
			con.printf("%s from %s: %s, %s, %s, %s; %s", verb, d.Name, count(int64(g.Packs), "pack"), count(int64(g.Indexes), "index part"),
				count(int64(g.Pending), "record"), count(int64(g.Keyrings), "keyring"), size(g.Bytes))
			if g.Young > 0 {
				con.printf("kept     %s, %s, unused but younger than %v; to remove them too: %s",
					count(int64(g.Young), "object"), size(g.YoungBytes), opts.Grace, con.next("gc", d.Name, "--grace", "0s"))
			}
			if g.Plans > 0 {
				con.printf("%s %s of plans that have ended", verb, count(int64(g.Plans), "object"))
			}
			if g.Uploads > 0 {
				con.printf("%s %s that had not been finished", abort, count(int64(g.Uploads), "multipart upload"))
			}
			if g.Closed > 0 {
				closed := "closed  "
				if opts.DryRun {
					closed = "to close"
				}
				con.printf("%s number %d: an unfinished upload can no longer create that version", closed, g.Closed)
			}
			return nil
		}),
	}
}

func rmCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "remove a version or a whole dataset",
		ArgsUsage: "DATASET[@VERSION]",
		Description: "The next vaultpack gc deletes the data that only the removed version used. You cannot\n" +
			"remove the newest version on its own, unless it is --damaged. You cannot remove a\n" +
			"dataset while an upload to it is running.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "damaged", Usage: "remove the version if it cannot be read with the right keys, even the newest"},
			&cli.BoolFlag{Name: "end-uploads", Usage: "for a whole dataset: do not wait for running uploads; they fail"},
			&cli.StringFlag{Name: "confirm", Usage: "for a whole dataset: confirm with its `NAME` instead of at a prompt"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			name, number := ref.Dataset, ref.Number
			if ref.Tag != "" || ref.Digest != "" {
				return usagef("%s: a version to remove is named by its number alone", args[0])
			}
			v, err := openVault(c, con)
			if err != nil {
				return err
			}
			d, err := dataset.Open(v, name)
			if err != nil {
				return usageError{err}
			}
			defer d.Close()
			switch {
			case number > 0:
				return removeVersion(c, con, d, number)
			case name != args[0]:
				return usagef("%s: to remove the whole dataset, give its name alone", args[0])
			}
			return removeDataset(c, con, d)
		},
	}
}

func removeVersion(c *cli.Context, con *console, d *dataset.Dataset, number int64) error {
	remove := d.RemoveVersion
	if c.Bool("damaged") {
		remove = d.RemoveDamaged
	}
	if err := remove(c.Context, number); err != nil {
		return err
	}
	con.emit("summary", event{"command": "rm", "dataset": d.Name, "version": number})
	con.printf("removed version %d of %s; to delete the data that only it used: %s", number, d.Name, con.next("gc", d.Name))
	return nil
}

func removeDataset(c *cli.Context, con *console, d *dataset.Dataset) error {
	tell := con.warnf // before the question
	if c.String("confirm") != "" {
		tell = con.notef
	}
	if c.Bool("damaged") {
		return usagef("--damaged needs one version: write %s@NUMBER", d.Name)
	}
	con.dataset = d.Name
	tell("This removes dataset %s with all its versions from %s. It cannot be undone.", d.Name, show(d.Vault().Location))
	if err := confirmed(c.Context, c, con, d.Name); err != nil {
		return err
	}
	r, err := d.Remove(c.Context, dataset.RemoveOptions{EndUploads: c.Bool("end-uploads")})
	if err != nil {
		return err
	}
	con.emit("summary", event{"command": "rm", "dataset": d.Name, "objects": r.Deleted, "closed": r.Closed})
	con.printf("removed %s: %s", d.Name, count(int64(r.Deleted), "object"))
	if len(r.Closed) > 0 {
		con.warnf("An upload to %s has not ended. Its version number stays taken, so that it cannot create a version later.\n"+
			"When it has ended, remove that and what it wrote with: %s", d.Name, con.next("rm", d.Name))
	}
	return nil
}

func diffCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "show what changed between two versions of a dataset",
		ArgsUsage: "DATASET@VERSION [VERSION]",
		Description: "VERSION is the version to compare with (default: the newest). Output: + added, -\n" +
			"removed, M changed in size, time, mode or contents.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 2)
			if err != nil {
				return err
			}
			from, err := parseRef(args[0])
			if err != nil {
				return err
			}
			name := from.Dataset
			if from.Number == 0 && from.Tag == "" && from.Digest == "" && !strings.HasSuffix(args[0], "@latest") {
				return usagef("which version? Write %s@NUMBER", name)
			}
			to := dataset.Reference{Dataset: name}
			if len(args) == 2 {
				if to, err = parseRef(name + "@" + strings.TrimPrefix(args[1], name+"@")); err != nil {
					return err
				}
			}
			d, a, err := openVersion(c, con, args[0])
			if err != nil {
				return err
			}
			defer d.Close()
			b, err := d.Choose(c.Context, to.Choice())
			if err != nil {
				return err
			}
			return diff(c, con, a, b)
		},
	}
}

func diff(c *cli.Context, con *console, a, b *dataset.Version) error {
	marks := map[dataset.ChangeKind]string{dataset.Added: "+", dataset.Removed: "-", dataset.Changed: "M"}
	counts := map[dataset.ChangeKind]int64{}
	for change, err := range dataset.Diff(c.Context, a, b) {
		if err != nil {
			return err
		}
		counts[change.Kind]++
		con.emit(string(change.Kind), event{"size": change.Entry.Size}.setPath(change.Entry.Path))
		con.printf("%s %s", marks[change.Kind], show(change.Entry.Name()))
	}
	con.emit("summary", event{"command": "diff", "dataset": a.Dataset(), "from": a.Number, "to": b.Number,
		"added": counts[dataset.Added], "removed": counts[dataset.Removed], "changed": counts[dataset.Changed]})
	con.notef("%d to %d: %s added, %s removed, %s changed", a.Number, b.Number, number(counts[dataset.Added]), number(counts[dataset.Removed]), number(counts[dataset.Changed]))
	return nil
}
