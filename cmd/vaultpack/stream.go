package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset/samples"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

func streamCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "stream",
		Usage:     "write a dataset's samples to standard output, as a tar",
		ArgsUsage: "DATASET[@VERSION] [PATH...]",
		Description: "Files whose names differ only after the first dot, such as 7.png and 7.json, are a sample, and are\n" +
			"adjacent in the tar: the format that WebDataset reads. Folders and links are left out.\n" +
			"No plaintext is written to disk, and every byte is authentic. If reading fails, stream ends with an\n" +
			"error, and the tar ends in the middle of a file, so that no reader takes it for complete.\n\n" +
			"--shard I/N streams one of N parts. --shard env takes I and N from RANK and WORLD_SIZE, and\n" +
			"from WORKER and NUM_WORKERS, as PyTorch's launchers and WebDataset set them.\n\n" +
			"--shuffle SEED mixes the samples; the same seed and epoch give the same order everywhere. To\n" +
			"continue after the first 5000 samples of a shard, run the same command with --from 5000.\n" +
			"To continue with another number of shards, give the positions of all shards, which\n" +
			"--position prints. docs/SAMPLES.md specifies the order and the positions.",
		Flags: append(append(append(selectionFlags(), versionFlags()...), cacheFlags()...),
			&cli.StringFlag{Name: "shard", Usage: "stream part `I/N` of the samples, where I is from 0 to N-1; or env"},
			&cli.Uint64Flag{Name: "shuffle", DefaultText: "unmixed", Usage: "mix the samples, by this `SEED`"},
			&cli.Uint64Flag{Name: "epoch", DefaultText: "the first, 0", Usage: "mix them as in epoch `E`; needs --shuffle"},
			&cli.StringSliceFlag{Name: "from", Usage: "leave out the first `N` samples of the shard; or a position: a file with it, or its JSON"},
			&cli.BoolFlag{Name: "position", Usage: "print the position that the stream would start at, and stream nothing"},
			&cli.StringFlag{Name: "memory", Value: "256MiB", Usage: "keep at most `SIZE` of contents in memory, from 64MiB on"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, -1)
			if err != nil {
				return err
			}
			return stream(c, con, args[0], args[1:])
		},
	}
}

func stream(c *cli.Context, con *console, ref string, paths []string) error {
	sel, err := newSelection(c, paths)
	if err != nil {
		return err
	}
	start, err := parseStart(c)
	if err != nil {
		return err
	}
	memory, err := parseSize(c.String("memory"))
	if err != nil {
		return usagef("--memory: %w", err)
	}
	if memory < 64<<20 {
		return usagef("--memory: %s is too little; give 64MiB or more", size(memory))
	}
	d, v, err := openVersion(c, con, ref)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := sel.check(c.Context, con, v); err != nil {
		return err
	}
	disk, closeCache, err := openCache(c, con)
	if err != nil {
		return err
	}
	defer closeCache()
	files, err := view.Open(c.Context, v, view.Options{Memory: memory, Cache: disk})
	if err != nil {
		return err
	}
	defer files.Close()
	return streamFiles(c, con, files, sel, start)
}

// streamFiles streams the selected files of a version.
func streamFiles(c *cli.Context, con *console, files *view.View, sel *selection, start start) error {
	selects := sel.selects
	if sel.all() {
		selects = nil
	}
	plan, err := samples.New(c.Context, files, selects)
	if err != nil {
		return err
	}
	pos, err := start.of(plan)
	if err == nil {
		err = plan.Check(pos)
	}
	if err != nil {
		return usagef("--from: %w", err)
	}
	if c.Bool("position") {
		b, err := json.Marshal(pos)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(con.stdout, "%s\n", b)
		return err
	}
	con.tellIncomplete(files.Version())
	signal.Ignore(syscall.SIGPIPE) // otherwise it ends the program at once
	var done, bytes atomic.Int64
	stop := con.track("streaming", func() (int64, int64, int64, int64) { return bytes.Load(), 0, done.Load(), 0 })
	err = plan.WriteTar(c.Context, con.stdout, pos, func(n int64) { bytes.Add(n); done.Add(1) })
	stop()
	if errors.Is(err, syscall.EPIPE) {
		return nil // the reader has closed the pipe
	}
	return err
}

// A start says where a stream begins, according to the flags.
type start struct {
	epoch         samples.Epoch
	shard, shards int64 // shards is 0 if none was named
	skip          int64
	positions     []samples.Position
}

func parseStart(c *cli.Context) (s start, err error) {
	if c.IsSet("epoch") && !c.IsSet("shuffle") {
		return s, usagef("--epoch needs --shuffle SEED: without it, every epoch has the same order")
	}
	if c.IsSet("shuffle") {
		seed := c.Uint64("shuffle")
		s.epoch = samples.Epoch{Shuffle: &seed, Number: c.Uint64("epoch")}
	}
	if c.IsSet("shard") {
		if s.shard, s.shards, err = parseShard(c.String("shard"), os.Getenv); err != nil {
			return s, usagef("--shard: %w", err)
		}
	}
	from := c.StringSlice("from")
	if len(from) == 1 {
		if n, err := strconv.ParseInt(from[0], 10, 64); err == nil {
			if n < 0 {
				return s, usagef("--from: %d is below zero", n)
			}
			s.skip = n
			return s, nil
		}
	}
	for _, text := range from {
		p, err := readPosition(text)
		if err != nil {
			return s, usagef("--from: %w", err)
		}
		s.positions = append(s.positions, p)
	}
	if len(s.positions) > 0 && c.IsSet("shuffle") {
		return s, usagef("a position given by --from has its own seed and epoch; leave out --shuffle and --epoch")
	}
	return s, nil
}

// maxPosition limits the size of a position's file, in bytes.
const maxPosition = 16 << 20

// readPosition reads a position from a file, or from its text.
func readPosition(text string) (samples.Position, error) {
	b := []byte(text)
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		var err error
		if b, err = fsys.ReadSmall(text, maxPosition); err != nil {
			return samples.Position{}, err
		}
	}
	p, err := samples.ParsePosition(b)
	if err != nil && len(text) < 256 && !strings.HasPrefix(text, "{") {
		return p, fmt.Errorf("%s: %w", show(text), err)
	}
	return p, err
}

// of returns the position in a plan.
func (s start) of(plan *samples.Plan) (samples.Position, error) {
	shards := max(s.shards, 1)
	switch all := s.positions; {
	case len(all) == 0:
		p, err := plan.Begin(s.epoch, s.shard, shards)
		if err != nil {
			return p, err
		}
		return p.After(s.skip)
	case len(all) == 1 && (s.shards == 0 || all[0].Shard == s.shard && all[0].Shards == s.shards):
		return all[0], nil // the same shard continues
	default:
		p, err := samples.Merge(all)
		if err != nil {
			return p, err
		}
		return p.Divide(s.shard, shards)
	}
}

// parseShard reads I/N, or what the environment says if it is env.
func parseShard(s string, getenv func(string) string) (shard, shards int64, err error) {
	if s == "env" {
		return environmentShard(getenv)
	}
	i, n, found := strings.Cut(s, "/")
	if found {
		shard, err = strconv.ParseInt(i, 10, 64)
		if err == nil {
			shards, err = strconv.ParseInt(n, 10, 64)
		}
	}
	if !found || err != nil || shards < 1 || shard < 0 || shard >= shards {
		return 0, 0, fmt.Errorf("%q is not of the form I/N with I from 0 to N-1, such as 0/8, and not env", s)
	}
	return shard, shards, nil
}

// environmentShard returns the shard of the worker with a rank.
func environmentShard(getenv func(string) string) (shard, shards int64, err error) {
	pair := func(which, of string) (int64, int64, error) {
		i, n := getenv(which), getenv(of)
		if i == "" && n == "" {
			return 0, 1, nil
		}
		a, b, err := parseShard(i+"/"+n, nil)
		if err != nil {
			return 0, 0, fmt.Errorf("the environment has %s=%q and %s=%q: both must be numbers, the first below the second", which, i, of, n)
		}
		return a, b, nil
	}
	if getenv("RANK")+getenv("WORLD_SIZE")+getenv("WORKER")+getenv("NUM_WORKERS") == "" {
		return 0, 0, errors.New("the environment has neither RANK and WORLD_SIZE nor WORKER and NUM_WORKERS")
	}
	rank, world, err := pair("RANK", "WORLD_SIZE")
	if err != nil {
		return 0, 0, err
	}
	worker, workers, err := pair("WORKER", "NUM_WORKERS")
	if err != nil {
		return 0, 0, err
	}
	return rank*workers + worker, world * workers, nil
}
