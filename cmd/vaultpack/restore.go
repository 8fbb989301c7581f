package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/tree"
)

func restoreCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Aliases:   []string{"pull"},
		Usage:     "restore a dataset, or some of its files, to a folder",
		ArgsUsage: "DATASET[@VERSION] [PATH...] DIR",
		Description: "Each file is decrypted to a temporary file and moved into place only when all of it is\n" +
			"authentic. Existing files with the same size, time and mode are left alone. Files that\n" +
			"the version does not have are kept, unless you set --delete. To continue an interrupted\n" +
			"restore, run the same command again.\n\n" +
			"PATH is a file or folder in the dataset, or a pattern such as 'train/*.json' or\n" +
			"'**/labels'. It is restored to the same place below DIR.\n\n" +
			"Where a file replaces a folder, or a folder a file, restore replaces it only if it is\n" +
			"empty or identical to its state in another version. --overwrite always replaces\n" +
			"any file, and --delete any folder. An existing DIR keeps its mode and time.\n\n" +
			"--shard restores one of N shards. Run all of them, on any machines that share DIR, at\n" +
			"the same time or not: when all have ended with exit code 0, DIR is as after one restore,\n" +
			"and has the mode and time of the version. env/N takes I from the environment, as work\n" +
			"does. See docs/SCALE.md.",
		Flags: append(append(selectionFlags(), versionFlags()...),
			&cli.StringFlag{Name: "overwrite", DefaultText: "what differs in size, time or mode",
				Usage: "`WHEN` to overwrite existing files: always, if-newer or never"},
			shardFlag("restore"),
			&cli.BoolFlag{Name: "delete", Usage: "delete selected files in DIR that the version does not have"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "show what would be done, and change nothing"},
			&cli.BoolFlag{Name: "unsafe-links", Usage: "also create symbolic links that leave DIR"},
			&cli.BoolFlag{Name: "allow-incomplete", Usage: "allow --delete with an incomplete version"},
			&cli.BoolFlag{Name: "preserve-setid", Usage: "restore set-user-ID and set-group-ID bits, although owners are not restored"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 2, -1)
			if err != nil {
				return err
			}
			last := len(args) - 1
			return restoreFolder(c, con, args[0], args[1:last], args[last])
		},
	}
}

func parseOverwrite(c *cli.Context) (restore.Overwrite, error) {
	if !c.IsSet("overwrite") {
		return restore.OverwriteChanged, nil
	}
	switch s := c.String("overwrite"); s {
	case "always":
		return restore.OverwriteAlways, nil
	case "if-newer":
		return restore.OverwriteIfNewer, nil
	case "never":
		return restore.OverwriteNever, nil
	default:
		return 0, usagef("--overwrite: %q must be always, if-newer or never", s)
	}
}

func restoreFolder(c *cli.Context, con *console, ref string, paths []string, dir string) error {
	sel, err := newSelection(c, paths)
	if err != nil {
		return err
	}
	sel.folder = c.Bool("delete")
	overwrite, err := parseOverwrite(c)
	if err != nil {
		return err
	}
	if dir == "" {
		return usagef("the destination is empty; use . for the current folder")
	}
	number, of, err := shardOfVersion(c, con)
	if err != nil {
		return err
	}
	d, v, err := openVersion(c, con, ref)
	if err != nil {
		return err
	}
	defer d.Close()
	shard, err := cutShard(c, v, number, of)
	if err != nil {
		return err
	}
	if err := sel.check(c.Context, con, v); err != nil {
		return err
	}
	began := time.Now()
	cfg, err := loadConfig(c, con)
	if err != nil {
		return err
	}
	var progress restore.Progress
	opts := restore.Options{Progress: &progress, Keep: cfg.Files, Shard: shard, Select: sel.selects, UnsafeLinks: c.Bool("unsafe-links"), PreserveSetID: c.Bool("preserve-setid"),
		Overwrite: overwrite, Delete: c.Bool("delete"), DryRun: c.Bool("dry-run"), AllowIncomplete: c.Bool("allow-incomplete"), Failed: con.failed}
	if opts.Delete || opts.DryRun {
		opts.Told = con.told(opts.DryRun)
	}
	total := bytesOf(v, shard)
	if !sel.all() {
		total = 0 // unknown
	}
	stop := con.track("restoring", func() (int64, int64, int64, int64) {
		s := progress.Stats()
		return s.Bytes + s.UnchangedBytes, total, s.Files + s.Unchanged, s.Failures
	})
	res, err := restore.Run(c.Context, v, dir, opts)
	stop()
	if !isPartial(err) {
		return err
	}
	if opts.Delete && shard == nil {
		sel.checkFolder(con, v, dir)
	}
	con.restored(opts, res, d, v, dir, time.Since(began))
	return partly(err, "entry", "existing files in their place are kept, and the rest is restored")
}

// told returns a function that prints what a restore removes and, in a dry run,
// everything that it would do.
func (c *console) told(dry bool) func(restore.Action, *tree.Entry) {
	return func(a restore.Action, e *tree.Entry) {
		if !dry && a != restore.Remove {
			return
		}
		ev := event{"action": a, "dry_run": dry}
		if e.IsFile() {
			ev["bytes"] = e.Size
		}
		c.emit("change", ev.setPath(e.Path))
		switch {
		case dry:
			c.printf("%-8s %s", a, show(e.Path))
		default:
			c.notef("removed: %s", show(e.Path))
		}
	}
}

// restored prints how a restore ended.
func (c *console) restored(opts restore.Options, r restore.Result, d *dataset.Dataset, v *dataset.Version, dir string, took time.Duration) {
	abs := dir
	if a, err := filepath.Abs(dir); err == nil {
		abs = a
	}
	defer c.emit("summary", event{"command": "restore", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "dir": abs,
		"files": r.Files, "bytes": r.Bytes, "links": r.Links, "folders": r.Folders,
		"unchanged": r.Unchanged, "left": r.Left, "deleted": r.Deleted, "setid_left_out": r.SetIDs,
		"flaws": v.Totals.Flaws, "failed": r.Failures, "dry_run": opts.DryRun,
		"no_modes": r.NoModes, "no_times": r.NoTimes, "leftovers": append([]string{}, r.Leftovers...), "seconds": took.Seconds()}.addShard(opts.Shard))
	what := "restored"
	if opts.DryRun {
		what = "Dry run: nothing was changed. To be restored:"
	}
	part := ""
	if opts.Shard != nil {
		part = fmt.Sprintf(", %v", opts.Shard)
	}
	c.printf("%s %s, version %d%s, to %s", what, d.Name, v.Number, part, show(abs))
	c.printf("files    %s, %s; %s; %s; %s",
		count(r.Files, "file"), size(r.Bytes), count(r.Links, "link"), count(r.Folders, "folder"), speed(r.Bytes, took))
	if n := r.Unchanged; n > 0 {
		c.printf("kept     %s already there", count(n, "file"))
	}
	if n := r.Left; n > 0 {
		c.printf("left     %s that %s different from the version, as --overwrite says", count(n, "file"), verb(n, "is", "are"))
	}
	if n := r.Deleted; n > 0 {
		c.printf("removed  %s that the version does not have", count(n, "file"))
	}
	if n := r.SetIDs; n > 0 && !opts.PreserveSetID {
		c.notef("note: set-user-ID or set-group-ID bits of %s were not restored, since owners are not restored; --preserve-setid restores them", count(n, "file"))
	}
	if r.NoModes {
		c.notef("note: the file system of %s does not keep modes, so file modes were not restored: everyone who can read there can read these files", show(abs))
	}
	if r.NoTimes {
		c.notef("note: times cannot be set in %s, so file times were not restored, and the next restore writes every file again", show(abs))
	}
	if n := len(r.Leftovers); opts.Shard != nil && n > 0 {
		c.notef("note: in %s there are folders of %s that are running or were killed, of other shards perhaps; they are removed when they are a day old", show(abs), count(int64(n), "other restore"))
		r.Leftovers = nil
	}
	for _, name := range r.Leftovers {
		folder := filepath.Join(abs, name)
		c.notef("note: %s belongs to another restore that is running or was killed; it is removed when it is a day old. If no restore is running: rm -rf %s", show(name), quoted(folder))
	}
	c.tellIncomplete(v)
	c.tellUsage(d.Vault())
}

// tellIncomplete warns about a version that lacks some of its source, which could not be
// read.
func (c *console) tellIncomplete(v *dataset.Version) {
	if err := v.CheckComplete(); err != nil {
		c.warning(err)
	}
}
