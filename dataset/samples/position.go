package samples

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	positionFormat = "vaultpack-position/1"
	maxShards      = 1 << 20
	maxSamples     = 1 << 40
)

// A Position says how much of an epoch a shard has read. As JSON it can be stored, and
// passed to another implementation: docs/SAMPLES.md, section 5.
type Position struct {
	Format  string  `json:"format"`
	Version string  `json:"version"`
	Digest  string  `json:"digest"`
	Samples int64   `json:"samples"`
	Shuffle *uint64 `json:"shuffle"`
	Epoch   uint64  `json:"epoch"`
	Begun   []Range `json:"begun"`
	Shard   int64   `json:"shard"`
	Shards  int64   `json:"shards"`
	Done    []Range `json:"done"`
	// Selection is the SHA-256 of the paths of the files, if these are not all files of the
	// version.
	Selection string `json:"selection,omitempty"`
}

// ErrPosition is wrapped by the errors for positions that cannot be used.
var ErrPosition = errors.New("not a position to go on from")

func badPosition(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrPosition, fmt.Errorf(format, args...))
}

// Begin returns the position of a shard that has read nothing of an epoch. Shards are
// numbered from 0, and there are at most 1,048,576.
func (p *Plan) Begin(e Epoch, shard, shards int64) (Position, error) {
	if p == nil || p.files == nil {
		return Position{}, errNoPlan
	}
	v := p.files.Version()
	pos := Position{Format: positionFormat, Version: fmt.Sprintf("%s@%d", v.Dataset(), v.Number), Digest: v.Digest(),
		Samples: int64(len(p.samples)), Shuffle: e.Shuffle, Epoch: e.Number, Begun: []Range{}, Shard: shard, Shards: shards, Done: []Range{},
		Selection: p.selection}
	return pos, pos.Check()
}

// ParsePosition reads a position from JSON.
func ParsePosition(b []byte) (Position, error) {
	var p Position
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Position{}, badPosition("%w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Position{}, badPosition("there is data after its end")
	}
	if p.Begun == nil || p.Done == nil {
		return Position{}, badPosition("begun or done is missing")
	}
	return p, p.Check()
}

// Check returns an error that wraps ErrPosition unless the position is valid.
func (p Position) Check() error {
	switch {
	case p.Format != positionFormat:
		return badPosition("its format is %q, and this program knows %q", p.Format, positionFormat)
	case p.Samples < 0 || p.Samples >= maxSamples:
		return badPosition("%d samples", p.Samples)
	case p.Shards < 1 || p.Shards > maxShards || p.Shard < 0 || p.Shard >= p.Shards:
		return badPosition("there is no shard %d of %d: shards are numbered from 0, and there are at most %d", p.Shard, p.Shards, maxShards)
	}
	for _, list := range [][]Range{p.Begun, p.Done} {
		last := int64(-1)
		for _, r := range list {
			if r[0] <= last || r[1] <= r[0] || r[1] > p.Samples {
				return badPosition("the range [%d, %d] cannot be in this place", r[0], r[1])
			}
			last = r[1]
		}
	}
	if len(subtract(p.Done, p.own())) > 0 {
		return badPosition("it has read what is not its shard's")
	}
	return nil
}

// own returns everything that the shard reads, out of what had not been read before.
func (p Position) own() []Range {
	return divide(subtract([]Range{{0, p.Samples}}, p.Begun), p.Shard, p.Shards)
}

// rest returns what the shard still has to read.
func (p Position) rest() []Range { return subtract(p.own(), p.Done) }

// Left returns how many samples the shard still has to read.
func (p Position) Left() int64 {
	if p.Check() != nil {
		return 0
	}
	return count(p.rest())
}

// After returns the position after the next n samples of the shard.
func (p Position) After(n int64) (Position, error) {
	if err := p.Check(); err != nil {
		return p, err
	}
	rest := p.rest()
	if left := count(rest); n < 0 || n > left {
		return p, badPosition("the shard has %d samples left, and %d are to be skipped", left, n)
	}
	var done []Range
	for _, r := range rest {
		k := min(n, r[1]-r[0])
		done = append(done, Range{r[0], r[0] + k})
		n -= k
	}
	p.Done = notNil(union(p.Done, done))
	return p, nil
}

func notNil(r []Range) []Range {
	if r == nil {
		return []Range{}
	}
	return r
}

// Merge returns the position of an epoch, as that of a single shard, from the positions
// of all of its shards. Divide divides it again.
func Merge(all []Position) (Position, error) {
	if len(all) == 0 {
		return Position{}, badPosition("none was given")
	}
	one := all[0]
	begun, seen := [][]Range{one.Begun}, map[int64]bool{}
	for _, p := range all {
		if err := p.Check(); err != nil {
			return Position{}, err
		}
		if !p.sameDivision(one) {
			return Position{}, badPosition("positions of different versions, epochs or divisions cannot be joined")
		}
		if seen[p.Shard] {
			return Position{}, badPosition("shard %d is there twice", p.Shard)
		}
		seen[p.Shard] = true
		begun = append(begun, p.Done)
	}
	for i := range one.Shards {
		if !seen[i] {
			return Position{}, badPosition("to change the number of shards takes the positions of all %d: that of shard %d is missing", one.Shards, i)
		}
	}
	one.Begun, one.Shard, one.Shards, one.Done = notNil(union(begun...)), 0, 1, []Range{}
	return one, nil
}

// sameDivision reports whether both belong to shards of the same division of an epoch.
func (p Position) sameDivision(o Position) bool {
	seed := (p.Shuffle == nil) == (o.Shuffle == nil) && (p.Shuffle == nil || *p.Shuffle == *o.Shuffle)
	return seed && p.Version == o.Version && p.Digest == o.Digest && p.Samples == o.Samples && p.Epoch == o.Epoch &&
		p.Shards == o.Shards && p.Selection == o.Selection && slices.Equal(p.Begun, o.Begun)
}

// Divide returns the position of a shard of a merged position.
func (p Position) Divide(shard, shards int64) (Position, error) {
	if p.Shards != 1 || len(p.Done) > 0 {
		return p, badPosition("only what Merge has returned is divided")
	}
	p.Shard, p.Shards = shard, shards
	return p, p.Check()
}
