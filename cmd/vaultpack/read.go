package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/uploader"
)

// failures collects what went wrong with single files, and ends in one error.
type failures struct {
	con *console
	mu  sync.Mutex
	n   int
	// code is the worst exit code so far.
	code int
}

func (f *failures) add(err error) {
	code := exitSomeFailed
	if c := exitCode(err); c == exitAuthentication || c == exitNotAllowed {
		code = c
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.code = worse(f.code, code)
}

func (f *failures) path(path string, err error) {
	f.con.failed(path, err)
	f.add(err)
}

func (f *failures) any(err error) {
	f.con.damaged(err)
	f.add(err)
}

// err is nil if nothing failed.
func (f *failures) err(what, rest string) error {
	if f.n == 0 {
		return nil
	}
	text := count(int64(f.n), what) + " failed; " + rest
	if f.code == exitAuthentication {
		text += ". Some of the data does not authenticate: it was changed or removed, or the key is another one"
	}
	return &partialError{text, f.code}
}

func restoreCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Aliases:   []string{"pull"},
		Usage:     "bring a version of a dataset back to a folder",
		ArgsUsage: "DATASET[@VERSION] DIR",
		Description: "Every file is written beside the folder's files first, and takes its place only when all\n" +
			"of it is authentic. Files that are there already, with the same size, time and mode, are\n" +
			"left alone; files that the version does not have are kept.",
		Flags: append(append(selectionFlags(), versionFlags()...),
			&cli.BoolFlag{Name: "unsafe-links", Usage: "also make symbolic links that lead out of DIR"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 2, 2)
			if err != nil {
				return err
			}
			return restore(c, con, args[0], args[1])
		},
	}
}

func restore(c *cli.Context, con *console, ref, dir string) error {
	filter, err := uploader.NewFilter(c.StringSlice("include"), c.StringSlice("exclude"))
	if err != nil {
		return usageError{err}
	}
	d, v, err := openVersion(c.Context, c, ref)
	if err != nil {
		return err
	}
	defer d.Close()
	began, fails := time.Now(), &failures{con: con}
	r := &dataset.Restore{UnsafeLinks: c.Bool("unsafe-links"), Failed: fails.path,
		Select: func(e *dataset.Entry) bool { return filter.Selects(e.Path) }}
	stop := con.track("restoring", func() (int64, int64, int64, int64) {
		return r.Bytes.Load(), v.Totals.Bytes, r.Files.Load(), r.Failures.Load()
	})
	err = r.Run(c.Context, v, dir)
	stop()
	if err != nil {
		return err
	}
	took, abs := time.Since(began), dir
	if a, err := filepath.Abs(dir); err == nil {
		abs = a
	}
	defer con.emit("summary", event{"command": "restore", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "dir": abs,
		"files": r.Files.Load(), "bytes": r.Bytes.Load(), "links": r.Links.Load(), "folders": r.Folders.Load(),
		"unchanged": r.Unchanged.Load(), "failed": r.Failures.Load(), "seconds": took.Seconds()})
	con.printf("restored %s, version %d, to %s", d.Name, v.Number, show(abs))
	con.printf("files    %s, %s; %s; %s; %s",
		count(r.Files.Load(), "file"), size(r.Bytes.Load()), count(r.Links.Load(), "link"), count(r.Folders.Load(), "folder"), speed(r.Bytes.Load(), took))
	if n := r.Unchanged.Load(); n > 0 {
		con.printf("kept     %s that were there already", count(n, "file"))
	}
	con.tellUsage(d.Vault())
	return fails.err("entry", "what was in their place is still there, and the rest is restored")
}

func speed(n int64, d time.Duration) string {
	return fmt.Sprintf("in %s at %s/s", took(d), size(int64(float64(n)/max(d.Seconds(), 1e-3))))
}

func catCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "cat",
		Usage:     "write files of a dataset to standard output",
		ArgsUsage: "DATASET[@VERSION] PATH...",
		Flags:     versionFlags(),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 2, -1)
			if err != nil {
				return err
			}
			d, v, err := openVersion(c.Context, c, args[0])
			if err != nil {
				return err
			}
			defer d.Close()
			for _, path := range args[1:] {
				e, err := v.Lookup(c.Context, path)
				switch {
				case err != nil:
					return err
				case e.IsDir():
					return fmt.Errorf("%s is a folder; vaultpack restore brings folders back", show(path))
				case e.IsLink():
					return fmt.Errorf("%s is a link to %s", show(path), show(e.Link))
				}
				if err := v.WriteFile(c.Context, os.Stdout, e); err != nil {
					return fmt.Errorf("%s: %w", show(path), err)
				}
			}
			return nil
		},
	}
}

func verifyCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "read a version and check every tag, or compare it with a folder",
		ArgsUsage: "DATASET[@VERSION]",
		Description: "The whole index, and every byte of every pack that it names, is authenticated, as are the\n" +
			"roots of the versions before it. Nothing is written anywhere.",
		Flags: append(versionFlags(),
			&cli.StringFlag{Name: "sample", Value: "100%", Usage: "read a random `SHARE` of the packs only, such as 1%"},
			&cli.StringFlag{Name: "against", Usage: "compare contents, modes and times with those in `DIR`"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			return verify(c, con, args[0])
		},
	}
}

func verify(c *cli.Context, con *console, ref string) error {
	sample, err := parseShare(c.String("sample"))
	if err != nil {
		return err
	}
	against := c.String("against")
	if against != "" && c.IsSet("sample") {
		return usagef("--against compares every file; it does not go with --sample")
	}
	d, v, err := openVersion(c.Context, c, ref)
	if err != nil {
		return err
	}
	defer d.Close()
	began, fails := time.Now(), &failures{con: con}
	check := &dataset.Verify{Sample: sample, Failed: fails.any}
	total := v.Totals.Bytes
	if against == "" {
		total = int64(float64(v.Totals.SealedBytes) * sample)
	}
	stop := con.track("verifying", func() (int64, int64, int64, int64) {
		return check.Bytes.Load(), total, check.Entries.Load(), check.Failures.Load()
	})
	if against != "" {
		err = check.Against(c.Context, v, against)
	} else {
		err = check.Run(c.Context, v)
	}
	stop()
	if err != nil {
		return err
	}
	took := time.Since(began)
	con.tellUsage(d.Vault())
	con.emit("summary", event{"command": "verify", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "against": against,
		"entries": check.Entries.Load(), "packs": check.Packs.Load(), "packs_of_version": v.Totals.Packs,
		"bytes": check.Bytes.Load(), "failed": check.Failures.Load(), "seconds": took.Seconds()})
	if err := fails.err("check", "the rest is sound"); err != nil {
		return err
	}
	if against != "" {
		con.printf("%s, version %d, is what is in %s: %s, %s, %s",
			d.Name, v.Number, show(against), count(check.Entries.Load(), "entry"), size(check.Bytes.Load()), speed(check.Bytes.Load(), took))
		return nil
	}
	con.printf("%s, version %d, is sound: %s, %d of %s, %s, %s",
		d.Name, v.Number, count(check.Entries.Load(), "entry"), check.Packs.Load(), count(v.Totals.Packs, "pack"), size(check.Bytes.Load()), speed(check.Bytes.Load(), took))
	con.printf("digest   %s", v.Digest())
	return nil
}

// parseShare reads a percentage, or a number over 0 and up to 1.
func parseShare(s string) (float64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(digits, 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f > 0 && f <= 1) {
		return 0, usagef("--sample: %q is not a share: write a percentage over 0%% and up to 100%%", s)
	}
	return f, nil
}
