// Package shards divides the reading of a version among several workers: each restores or
// verifies a run of its entries.
//
//	s, err := shards.Cut(ctx, version, 3, 64)
//	res, err := restore.Run(ctx, version, "/shared/out", restore.Options{Shard: s})
//
// All workers come to the same shards, since these follow from the version alone.
package shards

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/cut"
	"github.com/vaultpack/vaultpack/internal/jobs"
)

// Max is the maximum number of shards.
const Max = codec.MaxShards

// readParts is how many parts of an index are read to find where to cut. If there are more,
// every so many is read, and those up to the next count as alike. A variable for the tests only.
var readParts = 512

// insidePack is the weight after which a shard may begin inside of a pack, which is then
// read for both.
const insidePack = 256 << 20

// A Shard is a run of the entries of a version. A nil Shard is the whole version.
type Shard struct {
	// Number is from 0 to Of-1.
	Number, Of int
	// From is the path of the first entry, and To that of the first one of the next shard.
	// To is empty if there is none.
	From, To string
	// First is how many entries there are before From, and Entries how many the shard has;
	// 0 if there is nothing in it.
	First, Entries int64
	// Files and Bytes are about how many it has.
	Files, Bytes int64

	version envelope.Pin
}

// Cut returns shard number of n of a version: together they have each entry once, and about
// the same number of files and bytes each. Where that is possible a shard begins with a
// pack. Cut reads at most 512 parts of the index, so that of very large versions the sizes
// are estimates.
func Cut(ctx context.Context, v *dataset.Version, number, n int) (*Shard, error) {
	if err := jobs.Check(ctx, v); err != nil {
		return nil, err
	}
	if n < 1 || n > Max || number < 0 || number >= n {
		return nil, fmt.Errorf("there is no shard %d of %d: they are numbered from 0, and %d is the most", number, n, Max)
	}
	c := &cutter{version: v, cut: cut.New(n)}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	runs := c.cut.Runs(n)
	r := runs[number]
	s := &Shard{Number: number, Of: n, From: r.Path, First: r.Entries, Entries: r.Length.Entries, Files: r.Length.Files, Bytes: r.Length.Bytes, version: v.Pin}
	for _, next := range runs[number+1:] {
		if next.Length.Entries > 0 {
			s.To = next.Path
			break
		}
	}
	return s, nil
}

// A cutter finds where to cut a version.
type cutter struct {
	version *dataset.Version
	cut     *cut.Cutter
	last    envelope.ObjectID // the pack of the last file
	fresh   int64             // the weight at the last place
}

func (c *cutter) run(ctx context.Context) error {
	parts := c.version.Parts
	group := (len(parts) + readParts - 1) / readParts
	for i := 0; i < len(parts); i += group {
		before := c.cut.Total()
		entries, err := c.version.ReadPart(ctx, i)
		if err != nil {
			return err
		}
		for _, e := range entries {
			c.add(e)
		}
		after := c.cut.Total()
		for _, part := range parts[i+1 : min(i+group, len(parts))] {
			share := func(n int64) int64 { return int64(float64(n) / float64(len(entries)) * float64(part.Entries)) }
			c.cut.Add(cut.Possible, part.First, cut.Place{Entries: int64(part.Entries), Files: share(after.Files - before.Files), Bytes: share(after.Bytes - before.Bytes)})
		}
	}
	return nil
}

func (c *cutter) add(e *tree.Entry) {
	what := cut.Place{Entries: 1}
	if e.IsFile() {
		what.Files, what.Bytes = 1, e.Size
	}
	q, now := cut.Never, c.cut.Total().Weight()
	if n := len(e.Extents); n > 0 {
		if e.Extents[0].Pack.ID != c.last {
			q = cut.Good
		}
		c.last = e.Extents[n-1].Pack.ID
	}
	if q == cut.Never && now-c.fresh >= insidePack {
		q = cut.Possible
	}
	if q != cut.Never {
		c.fresh = now
	}
	c.cut.Add(q, e.Path, what)
}

// Check returns an error for a shard of another version, or one that Cut has not returned.
func (s *Shard) Check(v *dataset.Version) error {
	if s == nil {
		return nil
	}
	if s.Of < 1 || s.version != v.Pin {
		return errors.New("shards: a shard that was not cut of this version")
	}
	return nil
}

// String names the shard.
func (s *Shard) String() string {
	if s == nil {
		return "all"
	}
	return fmt.Sprintf("shard %d of %d", s.Number, s.Of)
}

// Empty reports whether there is nothing in the shard.
func (s *Shard) Empty() bool { return s != nil && s.Entries == 0 }

// Has reports whether a path belongs to the shard, be it in the version or not.
func (s *Shard) Has(path string) bool {
	return s == nil || s.Entries > 0 && (s.First == 0 || path >= s.From) && (s.To == "" || path < s.To)
}

// Meets reports whether anything in a folder, whose path ends in a slash, may belong to the
// shard.
func (s *Shard) Meets(folder string) bool {
	if s == nil || s.Has(folder) {
		return true
	}
	end := strings.TrimSuffix(folder, "/") + "0" // what comes after all that begins with the folder
	return s.Entries > 0 && (s.First == 0 || folder == "" || end > s.From) && (s.To == "" || folder < s.To)
}

// Shares reports whether entries in a folder belong to this shard and to others.
func (s *Shard) Shares(folder string) bool {
	return s != nil && s.Entries > 0 && (s.First > 0 && folder < s.From && strings.HasPrefix(s.From, folder) || len(s.To) > len(folder) && strings.HasPrefix(s.To, folder))
}

// All yields the entries of the shard in the order of their paths.
func (s *Shard) All(ctx context.Context, v *dataset.Version) iter.Seq2[*tree.Entry, error] {
	if s == nil {
		return v.Entries(ctx)
	}
	return func(yield func(*tree.Entry, error) bool) {
		if err := s.Check(v); err != nil {
			yield(nil, err)
			return
		}
		if s.Entries == 0 {
			return
		}
		n := int64(0)
		for e, err := range v.EntriesFrom(ctx, s.From) {
			if err == nil && !s.Has(e.Path) {
				break
			}
			if !yield(e, err) || err != nil {
				return
			}
			n++
		}
		if n != s.Entries && ctx.Err() == nil {
			yield(nil, fmt.Errorf("%v has %d entries, and %d were found: %w", s, s.Entries, n, envelope.ErrAuthentication))
		}
	}
}

// Above returns the entries of earlier shards that the first entry of this one lies in: the
// folders from the top down. A file or a link among them is no folder, and returned too.
func (s *Shard) Above(ctx context.Context, v *dataset.Version) (all []*tree.Entry, err error) {
	if s == nil || s.Entries == 0 || s.First == 0 {
		return nil, nil
	}
	if err := s.Check(v); err != nil {
		return nil, err
	}
	paths := []string{""}
	for i, r := range s.From {
		if r == '/' && i+1 < len(s.From) {
			paths = append(paths, s.From[:i], s.From[:i+1])
		}
	}
	for _, p := range paths {
		for e, err := range v.EntriesFrom(ctx, p) {
			if err != nil {
				return nil, err
			}
			if e.Path == p {
				all = append(all, e)
			}
			break
		}
	}
	return all, nil
}

// Parts returns which parts of the version's index the shard has entries in: from the first
// up to but not including the end.
func (s *Shard) Parts(v *dataset.Version) (first, end int) {
	if s == nil {
		return 0, len(v.Parts)
	}
	if s.Entries == 0 {
		return 0, 0
	}
	first = sort.Search(len(v.Parts), func(i int) bool { return v.Parts[i].First > s.From }) - 1
	end = len(v.Parts)
	if s.To != "" {
		end = sort.Search(len(v.Parts), func(i int) bool { return v.Parts[i].First >= s.To })
	}
	return max(first, 0), end
}
