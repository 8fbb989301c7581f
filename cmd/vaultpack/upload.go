package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

func uploadCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "encrypt-and-upload",
		Aliases:   []string{"push"},
		Usage:     "encrypt a folder, a bucket, a file or a stream and store it in the vault",
		ArgsUsage: "PATH | --from-command -- COMMAND…",
		Description: "PATH is a folder, a file, s3://bucket/prefix, or - for standard input. The dataset is named\n" +
			"after the folder unless you set --dataset. Every run creates a new version and sends only\n" +
			"contents that the vault does not have. To continue an interrupted run, run the same\n" +
			"command again.\n\n" +
			"A file is not read if its size, mode, times and inode are unchanged. If a file cannot be\n" +
			"read, the new version keeps the file from the last version, is marked as incomplete, and\n" +
			"the exit code is 3.\n\n" +
			"A pipe cannot tell vaultpack that the command before it failed, so half a dump could\n" +
			"become the newest version. Use --from-command instead: it runs COMMAND and creates a\n" +
			"version only if COMMAND exits with 0.",
		Flags: append(slices.Concat(selectionFlags(), bucketFlags()),
			&cli.StringFlag{Name: "dataset", Aliases: []string{"d"}, Usage: "`NAME` of the dataset"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "describe the new version with `TEXT`, which is signed too"},
			atLeastFlag(),
			&cli.StringFlag{Name: "digest", Usage: "fail unless the newest version has the digest `HEX`"},
			&cli.BoolFlag{Name: "from-command", Usage: "upload the output of the command after --, if it exits with 0"},
			&cli.StringFlag{Name: "links", Value: "keep", Usage: "`HOW` to treat symbolic links: keep stores them as links, follow stores their targets, error fails on links that leave PATH"},
			&cli.BoolFlag{Name: "allow-empty", Usage: "allow an upload without files to replace a version that has files"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the file that a stream becomes (default: the dataset's name)"},
			&cli.BoolFlag{Name: "shuffle", Usage: "mix small files from all folders in each pack, so that shards have all classes; for training"},
			&cli.BoolFlag{Name: "checksum", Usage: "compare files by SHA-256 instead of size and time, and record it"},
			&cli.StringSliceFlag{Name: "resend", Usage: "upload the contents of pack `ID` again, which verify reported as damaged; can be repeated"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "show what would be done, and change nothing"},
			&cli.StringFlag{Name: "memory", Value: "512MiB", Usage: "use at most `SIZE` of memory"},
			&cli.IntFlag{Name: "concurrency", Usage: "upload `N` packs in parallel", DefaultText: "by cores and memory"},
			&cli.StringFlag{Name: "pack-size", Value: "128MiB", Usage: "maximum `SIZE` of a pack, in KiB, MiB or GiB"},
		),
		Action: func(c *cli.Context) error {
			if c.Bool("from-command") {
				args, err := arguments(c, 1, -1)
				if err != nil {
					return err
				}
				return upload(c, con, "-", args)
			}
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			return upload(c, con, args[0], nil)
		},
	}
}

// upload uploads a path, or standard input, or the output of a command.
func upload(c *cli.Context, con *console, path string, command []string) error {
	ctx, began := c.Context, time.Now()
	opts, err := uploadOptions(c, con, path)
	if err != nil {
		return err
	}
	limitMemory(opts.Memory)
	name, err := datasetName(c.String("dataset"), path)
	if err != nil {
		return err
	}
	con.dataset = name
	bucket, err := isThere(c, con, path) // before a vault is created for it
	if err != nil {
		return err
	}
	open := uploadVault
	if opts.DryRun {
		open = dryRunVault
	}
	v, cleanUp, err := open(c, con)
	if err != nil {
		return err
	}
	defer cleanUp()
	d, err := dataset.Open(v, name)
	if err != nil {
		return usageError{err}
	}
	defer d.Close()
	if err := isAsPinned(c, d); err != nil {
		return err
	}
	opts.Own = append([]string{v.Location}, v.Keys.Names...)
	opts.Progress = &uploader.Progress{}
	verb := "sealing"
	if opts.DryRun {
		verb = "looking"
	}
	read, stopCounting := uploadMeter(ctx, con, path, opts)
	stop := con.track(verb, read)
	var res *uploader.Result
	switch {
	case path == "-":
		res, err = uploadStream(ctx, con, d, opts, command, cmp.Or(c.String("name"), name))
	case bucket != nil:
		res, err = uploader.UploadBucket(ctx, d, bucket, opts)
	default:
		res, err = uploader.Upload(ctx, d, path, opts)
	}
	stopCounting()
	stop()
	if !isPartial(err) {
		return err
	}
	summarize(con, d, path, opts.DryRun, res, time.Since(began))
	return unread(res.Stats.Failures)
}

// unread returns the error for n files that could not be read.
func unread(n int64) error {
	if n == 0 {
		return nil
	}
	return &partialError{text: fmt.Sprintf("%s could not be read; the rest is safe in the vault", count(n, "file")), code: exitSomeFailed}
}

// isThere returns an error if the source does not exist, and opens it if it is a bucket.
func isThere(c *cli.Context, con *console, path string) (*s3store.Source, error) {
	switch {
	case s3store.IsURL(path):
		return openSource(c, con, path)
	case path == "-":
		return nil, nil
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist", show(path))
	}
	return nil, err
}

// limitMemory makes the garbage collector respect the memory limit of an upload.
func limitMemory(memory int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		// Garbage waiting to be collected counts too; the program itself takes the
		// rest.
		debug.SetMemoryLimit(max(memory, 256<<20) - 48<<20)
	}
}

// isAsPinned returns an error unless the newest version satisfies --at-least and --digest.
func isAsPinned(c *cli.Context, d *dataset.Dataset) error {
	if !c.IsSet("at-least") && !c.IsSet("digest") {
		return nil
	}
	choice, err := choiceOf(c, dataset.Reference{Dataset: d.Name})
	if err != nil {
		return err
	}
	_, err = d.Choose(c.Context, choice)
	return err
}

func uploadStream(ctx context.Context, con *console, d *dataset.Dataset, opts uploader.Options, command []string, name string) (*uploader.Result, error) {
	if command == nil {
		return uploader.UploadStream(ctx, d, newInput(ctx, con.stdin), name, opts)
	}
	p, err := con.startProducer(ctx, command)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	return uploader.UploadStream(ctx, d, p, name, opts)
}

// datasetName returns the given name, or the one that the path suggests.
func datasetName(name, path string) (string, error) {
	if name != "" {
		if err := dataset.CheckName(name); err != nil {
			return "", usagef("--dataset: %w", err)
		}
		return name, nil
	}
	if path == "-" {
		return "", usagef("a stream has no name; name the dataset with --dataset NAME")
	}
	abs := path
	if name = bucketName(path); name == "" {
		var err error
		if abs, err = filepath.Abs(path); err != nil {
			return "", err
		}
		name = filepath.Base(abs)
	}
	if dataset.CheckName(name) != nil {
		return "", usagef("the name of %s cannot name a dataset; name the dataset with --dataset NAME", show(abs))
	}
	return name, nil
}

// uploadVault opens the vault, and makes the default one if it is missing.
func uploadVault(c *cli.Context, con *console) (v *vault.Vault, cleanUp func(), err error) {
	v, err = openForWriting(c, con)
	return v, func() {}, err
}

// dryRunVault opens the vault, but does not create one: if the default vault does not
// exist yet, a dry run plans against an empty one in a temporary folder.
func dryRunVault(c *cli.Context, con *console) (v *vault.Vault, cleanUp func(), err error) {
	cleanUp = func() {}
	if v, err = openVault(c, con); err == nil || !noDatasetYet(err) {
		return v, cleanUp, err
	}
	cfg, cerr := loadConfig(c, con)
	if cerr != nil || !cfg.Default {
		return nil, cleanUp, err
	}
	dir, err := os.MkdirTemp("", "vaultpack-dry-run-")
	if err != nil {
		return nil, cleanUp, err
	}
	cleanUp = func() { os.RemoveAll(dir) }
	planned := cfg.Vault.Value
	cfg.Vault.Value, cfg.LocalKey.Value = filepath.Join(dir, "vault"), filepath.Join(dir, "local.key")
	if v, _, err = config.Init(c.Context, cfg); err != nil {
		return nil, cleanUp, err
	}
	v.Location = planned
	return v, cleanUp, nil
}

// uploadMeter reads the upload's counters. On a terminal, the source is counted at the
// same time, so that the bar knows the total.
func uploadMeter(ctx context.Context, con *console, path string, opts uploader.Options) (read meter, stop func()) {
	var files, bytes atomic.Int64
	counted, cancel := make(chan struct{}), func() {}
	if con.terminal && !con.json && !con.quiet && path != "-" && !s3store.IsURL(path) {
		var countCtx context.Context
		countCtx, cancel = context.WithCancel(ctx)
		go func() {
			defer close(counted)
			uploader.Count(countCtx, path, opts, func(n, size int64) { files.Store(n); bytes.Store(size) })
		}()
	} else {
		close(counted)
	}
	read = func() (done, total, done2, errors int64) {
		s := opts.Progress.Stats()
		done = s.SentBytes + s.ResumedBytes + s.SameBytes
		total = bytes.Load()
		return done, max(total, s.Bytes), s.SentFiles + s.ResumedFiles + s.UnchangedFiles, s.Failures
	}
	return read, func() { cancel(); <-counted }
}

func summarize(con *console, d *dataset.Dataset, path string, dry bool, res *uploader.Result, elapsed time.Duration) {
	s, v := res.Stats, res.Vault
	rate := int64(float64(s.SentBytes) / max(elapsed.Seconds(), 1e-3))
	e := event{
		"command": "encrypt-and-upload", "dataset": d.Name, "vault": v.Location, "keys": v.Keys.WrapNames, "dry_run": dry,
		"files": s.Files, "bytes": s.Bytes, "added": s.Added, "changed": s.Changed, "removed": s.Removed,
		"unchanged": s.UnchangedFiles, "resumed_files": s.ResumedFiles, "resumed_bytes": s.ResumedBytes,
		"sent_files": s.SentFiles, "sent_bytes": s.SentBytes, "packs": s.Packs, "sealed_bytes": s.SealedBytes,
		"resent_with_sample": s.ResentFiles, "failed": s.Failures, "skipped": s.Specials, "links": s.KeptLinks, "links_out": s.LinksOut, "seconds": elapsed.Seconds(), "bytes_per_second": rate,
	}
	addSource(e, path, res.Source)
	ver := res.Version
	if ver != nil {
		e["version"], e["committed"], e["digest"], e["flaws"] = ver.Number, res.Committed, ver.Digest(), ver.Totals.Flaws
	}
	defer con.emit("summary", e)

	changes := fmt.Sprintf("%s added, %s changed, %s removed, %s unchanged", number(s.Added), number(s.Changed), number(s.Removed), number(s.UnchangedFiles))
	if dry {
		con.tellDryRun(d, path, res, changes)
		return
	}
	switch {
	case !res.Committed:
		con.printf("dataset  %s: nothing has changed since version %d", d.Name, ver.Number)
	default:
		con.printf("dataset  %s, version %d", d.Name, ver.Number)
	}
	con.printf("files    %s, %s, %s (%s)", count(ver.Totals.Files, "file"), count(ver.Totals.Folders, "folder"), size(ver.Totals.Bytes), changes)
	if n := s.ResentFiles; n > 0 {
		con.printf("         %s unchanged, sent again to stay with the other files of their samples", number(n))
	}
	con.tellLinks(s)
	if n := s.ResumedFiles; n > 0 {
		con.printf("resumed  %s, %s, already in the vault from an unfinished run", count(n, "file"), size(s.ResumedBytes))
	}
	if res.Committed {
		con.printf("sealed   %s in %s, %s in the vault, in %s at %s/s",
			size(s.SentBytes), count(s.Packs, "pack"), size(s.SealedBytes), took(elapsed), size(rate))
	}
	if n := s.Specials; n > 0 {
		con.printf("skipped  %s without data (sockets, devices, the vault itself, leftovers)", count(n, "file"))
	}
	if n := ver.Totals.Flaws; n > 0 {
		con.printf("missing  %s could not be read: this version is incomplete, and keeps what the last version had", count(n, "entry"))
	}
	con.printf("vault    %s", show(v.Location))
	con.printf("key      %s", show(strings.Join(v.Keys.WrapNames, ", ")))
	con.tellUsage(v)
	con.tellSource(path, res.Source)
	if res.Committed && ver.Number == 1 {
		con.tellOnlyOpen(v, d.Name)
	}
	con.tellNext(d.Name)
}

// tellNext shows what can be done with a new version.
func (c *console) tellNext(name string) {
	c.printf("\nNext:")
	for _, next := range [][]string{{"ls", name}, {"verify", name}, {"restore", name, "./restored"}} {
		c.printf("  %s", c.next(next...))
	}
}

func (c *console) tellDryRun(d *dataset.Dataset, path string, res *uploader.Result, changes string) {
	s, v := res.Stats, res.Vault
	c.printf("Dry run: nothing was changed.\n")
	c.printf("dataset  %s", d.Name)
	c.printf("found    %s, %s (%s)", count(s.Files, "file"), size(s.Bytes), changes)
	c.tellLinks(s)
	c.printf("to send  %s, %s in %s", count(s.SentFiles, "file"), size(s.SentBytes), count(s.Packs, "pack"))
	c.printf("vault    %s", show(v.Location))
	c.usage("to ask", v)
	c.tellSource(path, res.Source)
}

func (c *console) tellLinks(s uploader.Stats) {
	n, out := s.KeptLinks, ""
	if n == 0 {
		return
	}
	if k := s.LinksOut; k > 0 {
		out = fmt.Sprintf("; %s of them %s out of the folder, and their targets are not stored", number(k), verb(k, "leads", "lead"))
	}
	c.printf("links    %s%s", count(n, "link"), out)
}
