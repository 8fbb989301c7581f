package verify

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// partFormat is the format of a Part as JSON.
const partFormat = "vaultpack-verified/1"

// maxPart is the maximum size of a Part as JSON.
const maxPart = 1 << 20

// A Part says that a shard of a version was verified and is sound. Whoever can change a
// Part can make it say so: it is as trustworthy as where it is kept.
type Part struct {
	Dataset string
	Version int64
	Digest  string // of the version, in hex
	// Against is the folder that the shard was compared with, empty if its packs were read.
	Against string
	// Number, Of, From, First and Entries are those of the shard. From is a path.
	Number, Of     int
	From           string
	First, Entries int64
	Packs, Bytes   int64 // that were read
	Tree           [][32]byte
	// At is when it was found sound, by the clock of the worker.
	At time.Time
}

type partJSON struct {
	Format  string    `json:"format"`
	Dataset string    `json:"dataset"`
	Version int64     `json:"version"`
	Digest  string    `json:"digest"`
	Against string    `json:"against"`
	Number  int       `json:"shard"`
	Of      int       `json:"shards"`
	From    []byte    `json:"from"`
	First   int64     `json:"first"`
	Entries int64     `json:"entries"`
	Packs   int64     `json:"packs"`
	Bytes   int64     `json:"bytes"`
	Tree    []string  `json:"tree"`
	At      time.Time `json:"at"`
}

// PartOf returns the Part of a shard that [Run] or [Against] has verified without an error.
// against is the folder, or empty.
func PartOf(v *dataset.Version, s *shards.Shard, against string, res Result) (*Part, error) {
	if v == nil || s == nil {
		return nil, errNoPart
	}
	if err := s.Check(v); err != nil {
		return nil, err
	}
	if res.Failures > 0 || against == "" && res.Entries != s.Entries {
		return nil, fmt.Errorf("%v of version %d was not verified", s, v.Number)
	}
	return &Part{v.Dataset(), v.Number, v.Digest(), against, s.Number, s.Of, s.From, s.First, s.Entries, res.Packs, res.Bytes, res.Tree, time.Now().UTC().Truncate(time.Second)}, nil
}

var errNoPart = errors.New("verify: no version, or no shard of one")

// Write writes the Part as JSON.
func (p *Part) Write(w io.Writer) error {
	if p == nil || w == nil {
		return errNoPart
	}
	j := partJSON{partFormat, p.Dataset, p.Version, p.Digest, p.Against, p.Number, p.Of, []byte(p.From), p.First, p.Entries, p.Packs, p.Bytes, []string{}, p.At}
	for _, n := range p.Tree {
		j.Tree = append(j.Tree, hex.EncodeToString(n[:]))
	}
	return json.NewEncoder(w).Encode(j)
}

// ReadPart reads what Write has written.
func ReadPart(r io.Reader) (*Part, error) {
	if r == nil {
		return nil, errNoPart
	}
	d := json.NewDecoder(io.LimitReader(r, maxPart))
	d.DisallowUnknownFields()
	var j partJSON
	if err := d.Decode(&j); err != nil {
		return nil, fmt.Errorf("it is not the result of a shard: %w", err)
	}
	if j.Format != partFormat || d.More() {
		return nil, fmt.Errorf("it is not the result of a shard, but of the format %q", j.Format)
	}
	p := &Part{j.Dataset, j.Version, j.Digest, j.Against, j.Number, j.Of, string(j.From), j.First, j.Entries, j.Packs, j.Bytes, nil, j.At}
	for _, s := range j.Tree {
		b, err := hex.DecodeString(s)
		if err != nil || len(b) != 32 {
			return nil, fmt.Errorf("it has the hash %q", s)
		}
		p.Tree = append(p.Tree, [32]byte(b))
	}
	return p, nil
}

// Join returns nil if the parts are of all shards of the version, each entry of it is in one of them, and
// their entries are those that were signed. It sorts the parts. It returns what was read in
// all; a pack that several shards have counts for each.
func Join(ctx context.Context, v *dataset.Version, parts []*Part) (total Stats, err error) {
	if err := jobs.Check(ctx, v); err != nil {
		return total, err
	}
	slices.SortFunc(parts, func(a, b *Part) int { return a.Number - b.Number })
	var files tree.Merkle
	root := objects.RootOf(v)
	packs := len(parts) > 0 && parts[0].Against == ""
	for n, p := range parts {
		switch {
		case p.Dataset != v.Dataset() || p.Digest != v.Digest():
			return total, fmt.Errorf("there is a result of %s, version %d, with the digest %s, and not of %s, version %d, with %s", p.Dataset, p.Version, p.Digest, v.Dataset(), v.Number, v.Digest())
		case p.Of != parts[0].Of || p.Against != parts[0].Against:
			return total, errors.New("there are results of two verifications: of another number of shards, or against another folder")
		case p.Number > n:
			return total, fmt.Errorf("%w: shard %d of %d", ErrMissing, n, p.Of)
		case p.Number < n:
			return total, fmt.Errorf("there are two results of shard %d of %d", p.Number, p.Of)
		case p.First != total.Entries && p.Entries > 0:
			return total, fmt.Errorf("shard %d of %d begins with entry %d, and those before end at %d: they were not all cut by the same program", n, p.Of, p.First, total.Entries)
		}
		total.Entries += p.Entries
		total.Packs += p.Packs
		total.Bytes += p.Bytes
		if packs && root.HasTree && p.Entries > 0 {
			if err := files.Append(p.Tree, p.Entries); err != nil {
				return total, fmt.Errorf("shard %d of %d: %w", n, p.Of, err)
			}
		}
	}
	want := v.Totals.Files + v.Totals.Folders + v.Totals.Links
	switch {
	case len(parts) == 0:
		return total, fmt.Errorf("%w: all", ErrMissing)
	case len(parts) < parts[0].Of:
		return total, fmt.Errorf("%w: shard %d of %d", ErrMissing, len(parts), parts[0].Of)
	case total.Entries != want:
		return total, fmt.Errorf("the shards have %d entries, and version %d has %d", total.Entries, v.Number, want)
	}
	if packs && root.HasTree {
		if sum, ok := files.Sum(); !ok || sum != root.Tree {
			return total, unlike(v)
		}
	}
	return total, nil
}

// ErrMissing is returned by Join if there is no result of some shard.
var ErrMissing = errors.New("a shard was not verified, or was not found sound")
