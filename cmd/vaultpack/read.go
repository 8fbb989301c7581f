package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/exitcode"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/uploader"
)

// failures reports and collects what fails in single parts of a listing.
type failures struct {
	con *console
	all jobs.Failures
}

func (f *failures) path(path string, err error) {
	f.con.failed(path, err)
	f.all.Add(err)
}

func (f *failures) any(err error) {
	f.con.damaged(err)
	f.all.Add(err)
}

// err returns nil if nothing failed.
func (f *failures) err(what, rest string) error { return partly(f.all.Err("list"), what, rest) }

// partly returns the error of a command whose job returned err. If individual files
// failed, which have all been reported already, the error says how many, and what became
// of the rest.
func partly(err error, what, rest string) error {
	var p *dataset.PartialError
	if !errors.As(err, &p) || err != error(p) {
		return err // nil, or what stopped it
	}
	text := count(p.Count, what) + " failed; " + rest
	code := exitSomeFailed
	switch {
	case exitcode.Unauthentic(p):
		code = exitAuthentication
		text += ". Some of the data does not authenticate: it was changed or removed, or the key is wrong"
	case errors.Is(p, fs.ErrPermission), errors.Is(p, syscall.EROFS):
		code = exitNotAllowed
	}
	e := &partialError{text: text, code: code}
	var damaged *dataset.DamagedError
	var pack *dataset.DamagedPackError
	if errors.As(p, &damaged) || errors.As(p, &pack) {
		e.hint = hint(p)
	}
	return e
}

// isPartial reports whether the job ran to its end, with or without failures.
func isPartial(err error) bool {
	var p *dataset.PartialError
	return err == nil || errors.As(err, &p) && err == error(p)
}

func speed(n int64, d time.Duration) string {
	return fmt.Sprintf("in %s at %s/s", took(d), size(int64(float64(n)/max(d.Seconds(), 1e-3))))
}

func catCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "cat",
		Usage:     "write files of a dataset to standard output",
		ArgsUsage: "DATASET[@VERSION] PATH...",
		Flags:     append(versionFlags(), cacheFlags()...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 2, -1)
			if err != nil {
				return err
			}
			d, v, err := openVersion(c, con, args[0])
			if err != nil {
				return err
			}
			defer d.Close()
			disk, closeCache, err := openCache(c, con)
			if err != nil {
				return err
			}
			defer closeCache()
			files, err := view.Open(c.Context, v, view.Options{Cache: disk})
			if err != nil {
				return err
			}
			defer files.Close()
			write := cat
			if disk != nil {
				write = catCached
			}
			for _, path := range args[1:] {
				if err := write(c.Context, con.stdout, files, path); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// cat writes a file to w.
func cat(ctx context.Context, w io.Writer, files *view.View, path string) error {
	e, err := lookupFile(files, path)
	if err == nil && e.Size > maxViewed {
		if err = files.Version().WriteFile(ctx, w, e); err != nil { // all its sums are compared
			err = fmt.Errorf("%s: %w", show(path), err)
		}
		return err
	}
	return catCached(ctx, w, files, path)
}

// catCached writes a file to w, through what the view keeps. All its sums are compared.
func catCached(_ context.Context, w io.Writer, files *view.View, path string) error {
	e, err := lookupFile(files, path)
	if err != nil {
		return err
	}
	f, err := files.OpenEntry(e)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if e.Sum != nil {
		w = io.MultiWriter(w, sum)
	}
	_, err = f.WriteTo(w)
	if err == nil && e.Sum != nil && !bytes.Equal(sum.Sum(nil), e.Sum) {
		err = fmt.Errorf("the contents do not have the recorded SHA-256: %w", envelope.ErrAuthentication)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", show(path), err)
	}
	return nil
}

// lookupFile returns the entry of a file, and none of a folder or a link.
func lookupFile(files *view.View, path string) (*tree.Entry, error) {
	e, err := files.Lookup(path)
	switch {
	case err != nil:
		return nil, err
	case e.IsDir():
		return nil, fmt.Errorf("%s is a folder; use vaultpack restore for folders", show(path))
	case e.IsLink():
		return nil, fmt.Errorf("%s is a link to %s", show(path), show(e.Link))
	}
	return e, nil
}

// maxViewed is the size up to which cat reads a file through the segments that are in
// memory: with those beside it, and compared with its sums before.
const maxViewed = 1 << 20

func verifyCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check that a version is complete and authentic",
		ArgsUsage: "DATASET[@VERSION]",
		Description: "verify authenticates the index, every byte of every pack, and the roots of earlier\n" +
			"versions, and compares recorded checksums with the contents. It writes nothing.\n\n" +
			"With --against, it compares a folder with the version and reports files that only one of\n" +
			"them has. Use the same --include, --exclude and --links as for the upload.\n\n" +
			"--shard verifies one of N shards, and says nothing about the others. Each keeps its result\n" +
			"in the folder --results; then --join says whether all of them are there and sound.",
		Flags: append(append(versionFlags(),
			&cli.StringFlag{Name: "sample", Value: "100%", Usage: "read only a random `SHARE` of the packs, such as 1%"},
			&cli.StringFlag{Name: "against", Usage: "compare the version with the folder `DIR`"},
			shardFlag("verify"),
			&cli.StringFlag{Name: "results", Usage: "with --shard: keep its result in the folder `DIR`"},
			&cli.StringFlag{Name: "join", Usage: "check that the folder `DIR` has results of all shards"}),
			append(againstFlags(), &cli.StringFlag{Name: "links", Value: "keep",
				Usage: "with --against: `HOW` the upload treated symbolic links, keep or follow"})...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			if c.IsSet("join") {
				return joinVerified(c, con, args[0])
			}
			return verifyVersion(c, con, args[0])
		},
	}
}

// verifyFlags checks what does not go together, and returns --sample and --links.
func verifyFlags(c *cli.Context) (sample float64, links uploader.Links, err error) {
	if sample, err = parseShare(c.String("sample")); err != nil {
		return 0, links, err
	}
	against := c.String("against")
	if against != "" && c.IsSet("sample") {
		return 0, links, usagef("--against compares every file; do not combine it with --sample")
	}
	if against == "" && (c.IsSet("include") || c.IsSet("exclude") || c.IsSet("links")) {
		return 0, links, usagef("--include, --exclude and --links need --against DIR; without it, the whole version is verified")
	}
	if links, err = uploader.ParseLinks(c.String("links")); err != nil {
		return 0, links, usagef("--links: %w", err)
	}
	return sample, links, nil
}

func verifyVersion(c *cli.Context, con *console, ref string) error {
	sample, links, err := verifyFlags(c)
	if err != nil {
		return err
	}
	number, of, err := verifyShard(c, con)
	if err != nil {
		return err
	}
	sel, err := newSelection(c, nil)
	if err != nil {
		return err
	}
	against := c.String("against")
	sel.folder = against != ""
	d, v, err := openVersion(c, con, ref)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := sel.check(c.Context, con, v); err != nil {
		return err
	}
	shard, err := cutShard(c, v, number, of)
	if err != nil {
		return err
	}
	kept, err := keepIn(c.String("results"), v, shard)
	if err != nil {
		return err
	}
	began := time.Now()
	var progress verify.Progress
	opts := verify.Options{Progress: &progress, Sample: sample, Shard: shard, Failed: con.damaged, Select: sel.selects, FollowLinks: links == uploader.FollowLinks}
	total := int64(float64(bytesOf(v, shard)) * sample)
	if !sel.all() {
		total = 0
	}
	stop := con.track("verifying", func() (int64, int64, int64, int64) {
		s := progress.Stats()
		return s.Bytes, total, s.Entries, s.Failures
	})
	var res verify.Result
	if against != "" {
		res, err = verify.Against(c.Context, v, against, opts)
	} else {
		res, err = verify.Run(c.Context, v, opts)
	}
	stop()
	if !isPartial(err) {
		return err
	}
	if against != "" && shard == nil {
		sel.checkFolder(con, v, against)
	}
	err = kept.keep(v, shard, against, res, err)
	return con.tellVerified(d, v, res, verified{against, shard}, err, time.Since(began))
}

// verifyShard returns I and N of --shard, and checks what goes with it.
func verifyShard(c *cli.Context, con *console) (i, n int, err error) {
	switch {
	case c.IsSet("results") && !c.IsSet("shard"):
		return 0, 0, usagef("--results is where the shards of --shard keep what they have found")
	case c.IsSet("shard") && c.IsSet("sample"):
		return 0, 0, usagef("--shard verifies every pack of the shard; do not combine it with --sample")
	case c.IsSet("results") && (c.IsSet("include") || c.IsSet("exclude")):
		return 0, 0, usagef("--results are of all files; do not combine it with --include and --exclude")
	}
	return shardOfVersion(c, con)
}

// verified is what was verified of a version.
type verified struct {
	against string // a folder, or empty
	shard   *shards.Shard
}

// tellVerified prints the result of a verify that ended with err.
func (c *console) tellVerified(d *dataset.Dataset, v *dataset.Version, res verify.Result, what verified, err error, took time.Duration) error {
	c.tellUsage(d.Vault())
	c.emit("summary", event{"command": "verify", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "against": what.against,
		"entries": res.Entries, "packs": res.Packs, "packs_of_version": v.Totals.Packs,
		"bytes": res.Bytes, "flaws": v.Totals.Flaws, "failed": res.Failures, "seconds": took.Seconds()}.addShard(what.shard))
	c.tellIncomplete(v)
	if err := partly(err, "check", "the rest is sound"); err != nil {
		var partial *partialError
		if packs := res.DamagedPacks; len(packs) > 0 && errors.As(err, &partial) {
			partial.hint = resendHint(d.Name, packs)
		}
		return err
	}
	part, rest := "", ""
	if what.shard != nil {
		part, rest = what.shard.String()+", ", "; the other shards were not looked at"
	}
	if what.against != "" {
		c.printf("%s, version %d, %sis what is in %s: %s, %s, %s%s",
			d.Name, v.Number, part, show(what.against), count(res.Entries, "entry"), size(res.Bytes), speed(res.Bytes, took), rest)
		return nil
	}
	c.printf("%s, version %d, %sis sound: %s, %d of %s, %s, %s%s",
		d.Name, v.Number, part, count(res.Entries, "entry"), res.Packs, count(v.Totals.Packs, "pack"), size(res.Bytes), speed(res.Bytes, took), rest)
	c.printf("digest   %s", v.Digest())
	return nil
}

// resendHint says how to upload the contents of damaged packs again.
func resendHint(name string, packs []envelope.ObjectID) string {
	cmd := "encrypt-and-upload FOLDER -d " + name
	for _, id := range packs {
		cmd += " --resend " + id.String()
	}
	return "if you have a backup of the vault, restore the damaged or missing packs from it. Otherwise upload their contents again in a new version, " +
		"as far as the source folder still has them: {" + cmd + "}; older versions stay damaged: remove them with rm"
}

// parseShare parses a percentage, or a number above 0 and up to 1.
func parseShare(s string) (float64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(digits, 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f > 0 && f <= 1) {
		return 0, usagef("--sample: %q is not a percentage above 0%% and up to 100%%", s)
	}
	return f, nil
}
