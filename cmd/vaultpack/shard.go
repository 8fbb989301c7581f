package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/plans"
)

// shardFlag is --shard of commands that read a version. what they do is in its help.
func shardFlag(what string) cli.Flag {
	return &cli.StringFlag{Name: "shard", Usage: what + " only shard `I/N`, where I is from 0 to N-1, or env/N"}
}

// shardOfVersion returns I and N of --shard; n is 0 if it is not given.
func shardOfVersion(c *cli.Context, con *console) (i, n int, err error) {
	if !c.IsSet("shard") {
		return 0, 0, nil
	}
	text, where := c.String("shard"), ""
	if of, ok := strings.CutPrefix(text, "env/"); ok {
		if i, where, err = plans.FromEnvironment(os.Getenv); err != nil {
			return 0, 0, usageError{err}
		}
		text = fmt.Sprintf("%d/%s", i, of)
	}
	shard, of, err := parseShard(text, os.Getenv)
	switch {
	case text == "env":
		return 0, 0, usagef("--shard env: say how many shards there are, as env/N")
	case err != nil && where != "":
		return 0, 0, usagef("--shard %s: %s says that this is shard %d, and that is not below N", c.String("shard"), where, i)
	case err != nil:
		return 0, 0, usagef("--shard: %q is not of the form I/N with I from 0 to N-1, such as 0/8, or env/N", text)
	case of > shards.Max:
		return 0, 0, usagef("--shard: %d is the most for N", shards.Max)
	}
	if where != "" {
		con.notef("shard    %d of %d, by %s", shard, of, where)
	}
	return int(shard), int(of), nil
}

// cutShard returns the shard of the version, nil if it is the whole.
func cutShard(c *cli.Context, v *dataset.Version, i, n int) (*shards.Shard, error) {
	if n == 0 {
		return nil, nil
	}
	return shards.Cut(c.Context, v, i, n)
}

// bytesOf returns how many bytes there are to read.
func bytesOf(v *dataset.Version, s *shards.Shard) int64 {
	if s != nil {
		return s.Bytes
	}
	return v.Totals.Bytes
}

// addShard adds the shard to an event.
func (e event) addShard(s *shards.Shard) event {
	if s != nil {
		e["shard"], e["shards"] = s.Number, s.Of
	}
	return e
}

// results are a folder in which the shards of verify keep what they have found.
type results struct{ dir string }

// name returns the file of a shard.
func (r results) name(v *dataset.Version, i, n int) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s%05d-of-%05d.json", r.prefix(v), i, n))
}

func (r results) prefix(v *dataset.Version) string {
	return fmt.Sprintf("verified-%s-%d-%s-", v.Dataset(), v.Number, v.Digest()[:16])
}

// keepIn returns the results in dir, which may be empty. It removes the result of an earlier
// run of the shard: it says nothing about this one.
func keepIn(dir string, v *dataset.Version, s *shards.Shard) (r results, err error) {
	if r.dir = dir; dir == "" {
		return r, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, fmt.Errorf("--results: %w", err)
	}
	if err := os.Remove(r.name(v, s.Number, s.Of)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("--results: %w", err)
	}
	return r, nil
}

// keep keeps the result of a shard, if err says that it is sound.
func (r results) keep(v *dataset.Version, s *shards.Shard, against string, res verify.Result, err error) error {
	if r.dir == "" || err != nil {
		return err
	}
	p, err := verify.PartOf(v, s, against, res)
	if err != nil {
		return err
	}
	return atomicfile.Replace(r.name(v, s.Number, s.Of), 0o644, func(w io.Writer) error { return p.Write(w) })
}

// read reads the results of all shards of the version.
func (r results) read(v *dataset.Version) (parts []*verify.Part, err error) {
	files, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("--join: %w", err)
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), r.prefix(v)) || !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		file := filepath.Join(r.dir, f.Name())
		in, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		p, err := verify.ReadPart(in)
		in.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if file != r.name(v, p.Number, p.Of) {
			return nil, fmt.Errorf("%s: it is of shard %d of %d", file, p.Number, p.Of)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// joinVerified tells what all shards of a verify have found.
func joinVerified(c *cli.Context, con *console, ref string) error {
	for _, f := range []string{"shard", "results", "against", "sample", "include", "exclude", "links"} {
		if c.IsSet(f) {
			return usagef("--join reads the results of shards; do not combine it with --%s", f)
		}
	}
	d, v, err := openVersion(c, con, ref)
	if err != nil {
		return err
	}
	defer d.Close()
	parts, err := results{c.String("join")}.read(v)
	if err != nil {
		return err
	}
	total, err := verify.Join(c.Context, v, parts)
	if err != nil {
		return fmt.Errorf("%s, version %d, as far as %s says: %w", d.Name, v.Number, c.String("join"), err)
	}
	con.tellUsage(d.Vault())
	against, of, oldest := parts[0].Against, parts[0].Of, parts[0].At
	for _, p := range parts {
		if p.At.Before(oldest) {
			oldest = p.At
		}
	}
	con.emit("summary", event{"command": "verify", "dataset": d.Name, "version": v.Number, "digest": v.Digest(), "against": against, "joined": of, "oldest": oldest,
		"entries": total.Entries, "packs": total.Packs, "packs_of_version": v.Totals.Packs, "bytes": total.Bytes, "flaws": v.Totals.Flaws, "failed": 0, "seconds": 0.0})
	con.tellIncomplete(v)
	what := "is sound"
	if against != "" {
		what = "is what is in " + show(against)
	}
	con.printf("%s, version %d, %s, by the results of all %s: %s, %s", d.Name, v.Number, what, count(int64(of), "shard"), count(total.Entries, "entry"), size(total.Bytes))
	con.printf("digest   %s", v.Digest())
	con.printf("oldest   %s is when the first of these shards was verified", day(oldest))
	return nil
}
