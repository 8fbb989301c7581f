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
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

func uploadCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "encrypt-and-upload",
		Aliases:   []string{"push"},
		Usage:     "seal a folder, a file or a stream into a dataset of the vault",
		ArgsUsage: "PATH | --from-command -- COMMAND…",
		Description: "PATH is a folder, a file, or - for standard input. The dataset's name is that of the\n" +
			"folder, if --dataset names no other. Every run makes a new version, and sends only\n" +
			"contents that the vault does not have; an interrupted run goes on where it stopped.\n" +
			"A file with the same size, mode, time, inode and change time as before is not read;\n" +
			"any other is read, and sent if its contents are new. What cannot be read stays as the\n" +
			"last version has it: then the exit code is 3, and the version is marked as incomplete.\n\n" +
			"What a pipe ends with is taken for all there is: set -o pipefail comes too late to keep\n" +
			"half a dump from becoming the newest version. With --from-command, COMMAND is run, and\n" +
			"a version is made of its output only if it exits with 0.",
		Flags: append(selectionFlags(),
			&cli.StringFlag{Name: "dataset", Aliases: []string{"d"}, Usage: "the `NAME` of the dataset"},
			&cli.BoolFlag{Name: "from-command", Usage: "seal the output of the command after --, if it exits with 0"},
			&cli.StringFlag{Name: "links", Value: "keep", Usage: "what becomes of symbolic links, as `HOW`: keep seals them as links, follow seals what they point to, error refuses those that lead out of PATH"},
			&cli.BoolFlag{Name: "allow-empty", Usage: "let a source without files take the place of a version that has some"},
			&cli.StringFlag{Name: "name", Usage: "of a stream, the `NAME` of the file in the dataset (default: that of the dataset)"},
			&cli.BoolFlag{Name: "checksum", Usage: "compare files by SHA-256, not by size and time, and record it"},
			&cli.StringSliceFlag{Name: "resend", Usage: "send again what lies in the pack `ID`, which verify has found to be damaged; may be repeated"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only tell what would be done"},
			&cli.StringFlag{Name: "memory", Value: "512MiB", Usage: "the most memory that is used, as a `SIZE`"},
			&cli.IntFlag{Name: "concurrency", Usage: "write `N` packs at once", DefaultText: "by cores and memory"},
			&cli.StringFlag{Name: "pack-size", Value: "128MiB", Usage: "the most that one pack holds, as a `SIZE` in KiB, MiB or GiB"},
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
	u, err := newUpload(c, con, path)
	if err != nil {
		return err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// What waits to be collected counts too; the program itself takes the rest.
		debug.SetMemoryLimit(max(u.Memory, 256<<20) - 48<<20)
	}
	name, err := datasetName(c.String("dataset"), path)
	if err != nil {
		return err
	}
	con.dataset = name
	// Before a vault is made for it.
	if _, err := os.Stat(path); path != "-" && err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s does not exist", show(path))
		}
		return err
	}
	v, cleanUp, err := uploadVault(c, con, u.DryRun)
	if err != nil {
		return err
	}
	defer cleanUp()
	if u.Dataset, err = dataset.Open(v, name); err != nil {
		return usageError{err}
	}
	defer u.Dataset.Close()
	u.Own = append([]string{v.Location}, v.Keys.Names...)

	verb := "sealing"
	if u.DryRun {
		verb = "looking"
	}
	read, stopCounting := uploadMeter(ctx, con, u)
	stop := con.track(verb, read)
	var res *uploader.Result
	if path == "-" {
		res, err = uploadStream(ctx, u, command, cmp.Or(c.String("name"), name))
	} else {
		res, err = u.Run(ctx)
	}
	stopCounting()
	stop()
	if !isPartial(err) {
		return err
	}
	summarize(con, u, res, res.Vault, time.Since(began))
	if n := u.Failures.Load(); n > 0 {
		return &partialError{text: fmt.Sprintf("%s could not be read; the rest is safe in the vault", count(n, "file")), code: exitSomeFailed}
	}
	return nil
}

func uploadStream(ctx context.Context, u *uploader.Upload, command []string, name string) (*uploader.Result, error) {
	if command == nil {
		return u.RunStream(ctx, newInput(ctx, os.Stdin), name)
	}
	p, err := startProducer(ctx, command)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	return u.RunStream(ctx, p, name)
}

func newUpload(c *cli.Context, con *console, path string) (*uploader.Upload, error) {
	filter, err := uploader.NewFilter(c.StringSlice("include"), c.StringSlice("exclude"))
	if err != nil {
		return nil, usageError{err}
	}
	packSize, err := parseSize(c.String("pack-size"))
	if err == nil && packSize < uploader.MinPackSize {
		err = fmt.Errorf("a pack of %s bytes is smaller than the least, %s bytes (%s)", number(packSize), number(uploader.MinPackSize), size(uploader.MinPackSize))
	}
	if err != nil {
		return nil, usagef("--pack-size: %w", err)
	}
	memory, err := parseSize(c.String("memory"))
	if err != nil {
		return nil, usagef("--memory: %w", err)
	}
	if memory < uploader.MinMemory {
		return nil, usagef("--memory: %s is below the least, %s", size(memory), size(uploader.MinMemory))
	}
	if c.Int("concurrency") < 0 {
		return nil, usagef("--concurrency: %d is not a number of packs", c.Int("concurrency"))
	}
	links, err := uploader.ParseLinks(c.String("links"))
	if err != nil {
		return nil, usagef("--links: %w", err)
	}
	if path != "-" && c.IsSet("name") {
		return nil, usagef("--name goes with PATH - or --from-command, a file has its own name")
	}
	for _, flag := range []string{"include", "exclude", "links"} {
		if path == "-" && c.IsSet(flag) {
			return nil, usagef("--%s is for folders, and a stream is one file", flag)
		}
	}
	if path == "-" && c.IsSet("concurrency") {
		return nil, usagef("--concurrency: the packs of a stream are written one after another; each is sealed on all cores")
	}
	if path == "-" && c.IsSet("resend") {
		return nil, usagef("--resend: all of a stream is sent each time")
	}
	var resend []envelope.ObjectID
	for _, s := range c.StringSlice("resend") {
		id, err := envelope.ParseObjectID(s)
		if err != nil {
			return nil, usagef("--resend: %q is not the ID of a pack, such as verify tells it", s)
		}
		resend = append(resend, id)
	}
	return &uploader.Upload{
		Resend: resend,
		Source: path, Filter: filter, Links: links, AllowEmpty: c.Bool("allow-empty"), PackSize: packSize, Checksum: c.Bool("checksum"), DryRun: c.Bool("dry-run"),
		Memory: max(memory, 1), Concurrency: c.Int("concurrency"),
		Failed: con.failed,
		Warn:   con.warning,
		Skipped: func(path, kind string) {
			con.emit("skipped", event{"kind": kind}.setPath(path))
			con.notef("skipped: %s: a %s", show(path), kind)
		},
	}, nil
}

// datasetName is the given name, or what the path suggests.
func datasetName(name, path string) (string, error) {
	if name != "" {
		if err := dataset.CheckName(name); err != nil {
			return "", usagef("--dataset: %w", err)
		}
		return name, nil
	}
	if path == "-" {
		return "", usagef("a stream has no name of its own; give the dataset one with --dataset NAME")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	name = filepath.Base(abs)
	if dataset.CheckName(name) != nil {
		return "", usagef("the name of %s cannot name a dataset; give it one with --dataset NAME", show(abs))
	}
	return name, nil
}

// uploadVault opens the vault. A dry run makes nothing: where the default vault
// is yet to be made, it plans against an empty one in a temporary folder.
func uploadVault(c *cli.Context, con *console, dry bool) (v *vault.Vault, cleanUp func(), err error) {
	cleanUp = func() {}
	if !dry {
		v, err = openForWriting(c.Context, c, con)
		return v, cleanUp, err
	}
	if v, err = openVault(c); err == nil || !noDatasetYet(err) {
		return v, cleanUp, err
	}
	cfg, cerr := loadConfig(c)
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

// uploadMeter reads the upload's counters. On a terminal the source is counted
// beside the upload, so that the bar knows how much is to come.
func uploadMeter(ctx context.Context, con *console, u *uploader.Upload) (read meter, stop func()) {
	var files, bytes atomic.Int64
	counted, cancel := make(chan struct{}), func() {}
	if con.terminal && !con.json && !con.quiet && u.Source != "-" {
		var countCtx context.Context
		countCtx, cancel = context.WithCancel(ctx)
		go func() {
			defer close(counted)
			u.Count(countCtx, &files, &bytes)
		}()
	} else {
		close(counted)
	}
	read = func() (done, total, done2, errors int64) {
		done = u.SentBytes.Load() + u.ResumedBytes.Load() + u.SameBytes.Load()
		total = bytes.Load()
		return done, max(total, u.Bytes.Load()), u.SentFiles.Load() + u.ResumedFiles.Load() + u.UnchangedFiles.Load(), u.Failures.Load()
	}
	return read, func() { cancel(); <-counted }
}

func summarize(con *console, u *uploader.Upload, res *uploader.Result, v *vault.Vault, d time.Duration) {
	rate := int64(float64(u.SentBytes.Load()) / max(d.Seconds(), 1e-3))
	e := event{
		"command": "encrypt-and-upload", "dataset": u.Dataset.Name, "vault": v.Location, "keys": v.Keys.Names, "dry_run": u.DryRun,
		"files": u.Files.Load(), "bytes": u.Bytes.Load(), "added": u.Added.Load(), "changed": u.Changed.Load(), "removed": u.Removed.Load(),
		"unchanged": u.UnchangedFiles.Load(), "resumed_files": u.ResumedFiles.Load(), "resumed_bytes": u.ResumedBytes.Load(),
		"sent_files": u.SentFiles.Load(), "sent_bytes": u.SentBytes.Load(), "packs": u.Packs.Load(), "sealed_bytes": u.SealedBytes.Load(),
		"resent_with_sample": u.ResentFiles.Load(), "failed": u.Failures.Load(), "skipped": u.Specials.Load(), "links": u.KeptLinks.Load(), "links_out": u.LinksOut.Load(), "seconds": d.Seconds(), "bytes_per_second": rate,
	}
	ver := res.Version
	if ver != nil {
		e["version"], e["committed"], e["digest"], e["flaws"] = ver.Number, res.Committed, ver.Digest(), ver.Totals.Flaws
	}
	defer con.emit("summary", e)

	changes := fmt.Sprintf("%d added, %d changed, %d removed, %d unchanged", u.Added.Load(), u.Changed.Load(), u.Removed.Load(), u.UnchangedFiles.Load())
	switch {
	case u.DryRun:
		con.printf("Dry run: nothing was written.\n")
		con.printf("dataset  %s", u.Dataset.Name)
		con.printf("found    %s, %s (%s)", count(u.Files.Load(), "file"), size(u.Bytes.Load()), changes)
		con.tellLinks(u)
		con.printf("to send  %s, %s in %s", count(u.SentFiles.Load(), "file"), size(u.SentBytes.Load()), count(u.Packs.Load(), "pack"))
		con.printf("vault    %s", show(v.Location))
		con.usage("to ask", v)
		return
	case !res.Committed:
		con.printf("dataset  %s: nothing has changed since version %d", u.Dataset.Name, ver.Number)
	default:
		con.printf("dataset  %s, version %d", u.Dataset.Name, ver.Number)
	}
	con.printf("files    %s, %s, %s (%s)", count(ver.Totals.Files, "file"), count(ver.Totals.Folders, "folder"), size(ver.Totals.Bytes), changes)
	if n := u.ResentFiles.Load(); n > 0 {
		con.printf("         %s of the unchanged sent again, to stay with the other files of their samples", number(n))
	}
	con.tellLinks(u)
	if n := u.ResumedFiles.Load(); n > 0 {
		con.printf("resumed  %s, %s, in the vault from an unfinished run", count(n, "file"), size(u.ResumedBytes.Load()))
	}
	if res.Committed {
		con.printf("sealed   %s in %s, %s in the vault, in %s at %s/s",
			size(u.SentBytes.Load()), count(u.Packs.Load(), "pack"), size(u.SealedBytes.Load()), took(d), size(rate))
	}
	if n := u.Specials.Load(); n > 0 {
		con.printf("skipped  %s without data (sockets, devices, the vault itself, leftovers)", count(n, "file"))
	}
	if n := ver.Totals.Flaws; n > 0 {
		con.printf("missing  %s could not be read: this version is incomplete, and keeps what the last one had there", count(n, "entry"))
	}
	con.printf("vault    %s", show(v.Location))
	con.printf("key      %s", show(strings.Join(v.Keys.Names, ", ")))
	con.tellUsage(v)
	con.printf("\nNext:")
	for _, next := range []string{"ls", "verify", "restore"} {
		args := []string{next, u.Dataset.Name}
		if next == "restore" {
			args = append(args, "./restored")
		}
		con.printf("  %s", con.next(args...))
	}
}

func (c *console) tellLinks(u *uploader.Upload) {
	n, out := u.KeptLinks.Load(), ""
	if n == 0 {
		return
	}
	if k := u.LinksOut.Load(); k > 0 {
		out = fmt.Sprintf("; %s of them %s out of the folder: what is behind that is not sealed", number(k), verb(k, "leads", "lead"))
	}
	c.printf("links    %s%s", count(n, "link"), out)
}
