package samples

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// text is bytes in JSON: as they are, or in base64 under another name.
type vectorFile struct {
	Path    string
	Path64  []byte
	Size    int64
	Extents [][3]int64
}

type vectors struct {
	Files   []vectorFile
	Samples []struct {
		Key    string
		Key64  []byte
		Fields []struct {
			Field   string
			Field64 []byte
		}
	}
	Blocks [][2]uint32
	Orders []struct {
		Shuffle *uint64
		Epoch   uint64
		Order   []uint32
	}
	Divided []struct {
		Rest   []Range
		Shards int64
		Parts  [][]Range
	}
	Stages []struct {
		States []json.RawMessage
		Merged json.RawMessage
		Left   int64
	}
}

func load(t *testing.T, name string) (v vectors) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testdata/samples", name))
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func either(s string, b []byte) string {
	if b != nil {
		return string(b)
	}
	return s
}

// planOf is the plan of files in the order of their paths.
func planOf(files []vectorFile) *Plan {
	p := &Plan{pieces: map[uint32][]tree.Extent{}}
	for _, f := range files {
		made := file{path: either(f.Path, f.Path64), size: f.Size, pack: -1}
		if len(f.Extents) > 0 {
			made.pack, made.offset = int32(f.Extents[0][0]), f.Extents[0][1]
		}
		p.all = append(p.all, made)
	}
	slices.SortFunc(p.all, func(a, b file) int { return strings.Compare(a.path, b.path) })
	p.collect()
	p.sort()
	return p
}

// Samples, blocks and orders are those of the vectors, which the Python package made.
func TestVectors(t *testing.T) {
	for _, name := range []string{"names.json", "many.json", "large.json"} {
		v := load(t, name)
		p := planOf(v.Files)
		if p.Len() != len(v.Samples) || p.Len() == 0 {
			t.Fatalf("%s: %d samples, want %d", name, p.Len(), len(v.Samples))
		}
		for i, want := range v.Samples {
			s := &p.samples[i]
			if got, want := p.keyOf(s), either(want.Key, want.Key64); got != want {
				t.Fatalf("%s: sample %d is %q, want %q", name, i, got, want)
			}
			if int(s.count) != len(want.Fields) {
				t.Fatalf("%s: sample %d has %d files, want %d", name, i, s.count, len(want.Fields))
			}
			for k, f := range want.Fields {
				if got, want := field(p.all[p.members[s.first+uint32(k)]].path, int(s.key)), either(f.Field, f.Field64); got != want {
					t.Errorf("%s: sample %d, field %q, want %q", name, i, got, want)
				}
			}
		}
		starts := p.blocks()
		for i, b := range v.Blocks {
			if starts[i] != b[0] || len(starts) != len(v.Blocks) {
				t.Fatalf("%s: blocks %v, want %v", name, starts, v.Blocks)
			}
		}
		for _, o := range v.Orders {
			if got := p.order(Epoch{o.Shuffle, o.Epoch}); !slices.Equal(got, o.Order) {
				t.Errorf("%s: the order of epoch %d is %v, want %v", name, o.Epoch, got, o.Order)
			}
		}
		for _, d := range v.Divided {
			for i, want := range d.Parts {
				if got := divide(d.Rest, int64(i), d.Shards); !slices.Equal(got, want) {
					t.Errorf("%s: shard %d of %d of %v: %v, want %v", name, i, d.Shards, d.Rest, got, want)
				}
			}
		}
	}
}

// Positions are read, joined and written as in the vectors.
func TestPositions(t *testing.T) {
	v := load(t, "positions.json")
	for i, stage := range v.Stages {
		var all []Position
		for _, b := range stage.States {
			p, err := ParsePosition(b)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		got, err := Merge(all)
		if err != nil {
			t.Fatal(err)
		}
		var want, made any
		b, _ := json.Marshal(got)
		if json.Unmarshal(stage.Merged, &want) != nil || json.Unmarshal(b, &made) != nil || !reflect.DeepEqual(made, want) {
			t.Errorf("stage %d: %s, want %s", i, b, stage.Merged)
		}
		if got.Left() != stage.Left {
			t.Errorf("stage %d: %d are left, want %d", i, got.Left(), stage.Left)
		}
	}
}

// However shards go on, are killed and change their number, each position of an epoch is
// read exactly once.
func TestEachOnce(t *testing.T) {
	for range 300 {
		n := rand.Int64N(500)
		p := Position{Format: positionFormat, Samples: n, Begun: []Range{}, Done: []Range{}, Shards: 1}
		read := make([]int, n)
		for stage := 0; p.Left() > 0; stage++ {
			shards := 1 + rand.Int64N(9)
			var all []Position
			for i := range shards {
				own, err := p.Divide(i, shards)
				if err != nil {
					t.Fatal(err)
				}
				for range rand.IntN(3) { // the same shard goes on
					k := rand.Int64N(own.Left() + 1)
					if stage > 5 {
						k = own.Left()
					}
					rest := own.rest()
					next, err := own.After(k)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range subtract(rest, next.rest()) {
						for at := r[0]; at < r[1]; at++ {
							read[at]++
						}
					}
					b, _ := json.Marshal(next)
					if own, err = ParsePosition(b); err != nil {
						t.Fatal(err)
					}
				}
				all = append(all, own)
			}
			rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
			if shards > 1 {
				if _, err := Merge(all[1:]); err == nil {
					t.Fatal("positions of too few shards were joined")
				}
			}
			var err error
			if p, err = Merge(all); err != nil {
				t.Fatal(err)
			}
		}
		for at, times := range read {
			if times != 1 {
				t.Fatalf("position %d of %d was read %d times", at, n, times)
			}
		}
	}
}

// What is no position is refused.
func TestPositionsThatAreNone(t *testing.T) {
	const good = `{"format":"vaultpack-position/1","version":"a@1","digest":"00","samples":10,"shuffle":null,"epoch":0,"begun":[[0,2]],"shard":0,"shards":2,"done":[[2,4]]}`
	if _, err := ParsePosition([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"position/1", "position/2"}, {`"samples":10`, `"samples":-1`}, {`"samples":10`, `"samples":3`}, {`[[0,2]]`, `[[2,0]]`},
		{`[[0,2]]`, `[[0,1],[1,2]]`}, {`[[0,2]]`, `null`}, {`[[2,4]]`, `[[6,7]]`}, {`[[2,4]]`, `[[0,1]]`}, {`[[2,4]]`, `[[2,11]]`}, {`"shard":0`, `"shard":2`},
		{`"shards":2`, `"shards":0`}, {`"shards":2`, `"shards":2000000`}, {`"epoch":0`, `"epoch":-1`}, {`"epoch":0`, `"epoch":0,"x":1`}, {`"done":[[2,4]]}`, `"done":[[2,4]]}x`}, {`{`, ``}} {
		if _, err := ParsePosition([]byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("%s was taken for %s", change[1], change[0])
		}
	}
}
