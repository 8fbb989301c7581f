package samples_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/samples"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flip changes a byte of what is read of packs.
func flip(name string, _ int64, r io.ReadCloser) (io.ReadCloser, error) {
	if strings.Contains(name, "/packs/") {
		r = &flipped{r, rand.IntN(1 << 20)}
	}
	return r, nil
}

type flipped struct {
	io.ReadCloser
	at int
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.at >= 0 && f.at < n {
		p[f.at] ^= 4
	}
	f.at -= n
	return n, err
}

// plan makes a dataset of samples, and the plan of them.
func plan(t *testing.T) (*samples.Plan, map[string][]byte, *datasettest.Watched) {
	t.Helper()
	dir := t.TempDir()
	want := map[string][]byte{}
	for i := range 1500 {
		want[fmt.Sprintf("class%d/%04d.png", i%3, i)] = treetest.Bytes(int64(i*7), 1)
		if i%2 == 0 {
			want[fmt.Sprintf("class%d/%04d.cls", i%3, i)] = []byte(fmt.Sprint(i % 3))
		}
	}
	want["large.bin"] = treetest.Bytes(12<<20, 2)
	want["class1.d/empty"] = nil
	for name, b := range want {
		name = filepath.Join(dir, "src", name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, b, 0o644))
	}
	v, store := datasettest.NewWatched(t, dir)
	d, err := dataset.Open(v, "d")
	must(t, err)
	t.Cleanup(d.Close)
	res, err := uploader.Upload(t.Context(), d, filepath.Join(dir, "src"), uploader.Options{PackSize: 3 << 20})
	must(t, err)
	files, err := view.Open(t.Context(), res.Version, view.Options{Memory: 20 << 20})
	must(t, err)
	t.Cleanup(func() { files.Close() })
	p, err := samples.New(t.Context(), files, nil)
	must(t, err)
	return p, want, store
}

// read adds the files of a tar to got, and returns how many samples are whole. It stops in
// the middle of the tar if it is cut there.
func read(t *testing.T, r io.Reader, got map[string][]byte) (whole int64, err error) {
	t.Helper()
	in, last := tar.NewReader(r), ""
	for {
		h, err := in.Next()
		if err != nil {
			return whole, err
		}
		b, err := io.ReadAll(in)
		if err != nil {
			return whole, err
		}
		key, _, _ := strings.Cut(h.Name, ".")
		if _, twice := got[h.Name]; twice {
			t.Errorf("%s came twice", h.Name)
		}
		if key != last && last != "" {
			whole++
		}
		got[h.Name], last = b, key
	}
}

// Over all shards, every sample comes exactly once, also where readers stop at any byte and
// go on after the samples that they have had whole.
func TestShards(t *testing.T) {
	p, want, _ := plan(t)
	if p.Len() != 1502 {
		t.Fatalf("%d samples", p.Len())
	}
	seed := uint64(7)
	epochs := []samples.Epoch{{}, {Shuffle: &seed}, {Shuffle: &seed, Number: 1}}
	if race.Enabled {
		epochs = epochs[1:2]
	}
	orders := map[string]bool{}
	for _, e := range epochs {
		got, order := map[string][]byte{}, ""
		for shard := range int64(8) {
			pos, err := p.Begin(e, shard, 8)
			must(t, err)
			for pos.Left() > 0 {
				var b bytes.Buffer
				must(t, p.WriteTar(t.Context(), &b, pos, nil))
				cut := b.Len()
				if rand.IntN(4) > 0 {
					cut = rand.IntN(b.Len())
				}
				part := map[string][]byte{}
				n, err := read(t, bytes.NewReader(b.Bytes()[:cut]), part)
				if cut == b.Len() {
					if n++; err != io.EOF { // the last sample, too
						t.Fatal(err)
					}
				}
				// Only whole samples are kept.
				part = first(p, t, pos, n, part)
				for name, b := range part {
					if _, twice := got[name]; twice {
						t.Errorf("%s came twice", name)
					}
					got[name] = b
				}
				for s, err := range p.Read(t.Context(), pos) {
					must(t, err)
					order += s.Key + " "
					break
				}
				pos, err = pos.After(n)
				must(t, err)
			}
		}
		orders[order[:60]] = true
		if !maps.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("%d files of %d came, or others", len(got), len(want))
		}
	}
	if len(orders) != len(epochs) {
		t.Errorf("the orders are %v", orders)
	}
}

// first returns the files of the first n samples of a shard.
func first(p *samples.Plan, t *testing.T, pos samples.Position, n int64, part map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for s, err := range p.Read(t.Context(), pos) {
		must(t, err)
		if n--; n < 0 {
			break
		}
		for _, e := range s.Files {
			out[e.Path] = part[e.Path]
		}
	}
	return out
}

// A tar that a fault has ended is never one that a reader takes for whole, and holds no
// other bytes than the source's.
func TestTarsThatEnd(t *testing.T) {
	p, want, store := plan(t)
	for range 8 {
		store.Spoil(flip)
		pos, err := p.Begin(samples.Epoch{}, 0, 1)
		must(t, err)
		var b bytes.Buffer
		err = p.WriteTar(t.Context(), &b, pos, nil)
		got := map[string][]byte{}
		_, rerr := read(t, &b, got)
		if (err == nil) != (rerr == io.EOF) {
			t.Errorf("written with %v, read with %v", err, rerr)
		}
		for name, b := range got {
			if !bytes.Equal(b, want[name]) {
				t.Errorf("%s has other contents", name)
			}
		}
	}
	store.Spoil(nil)
	for range 8 { // ended at any sample
		ctx, cancel := context.WithCancel(t.Context())
		left := rand.IntN(1502)
		pos, err := p.Begin(samples.Epoch{}, 0, 1)
		must(t, err)
		var b bytes.Buffer
		err = p.WriteTar(ctx, &b, pos, func(int64) {
			if left--; left < 0 {
				cancel()
			}
		})
		cancel()
		if _, rerr := read(t, &b, map[string][]byte{}); (err == nil) != (rerr == io.EOF) {
			t.Errorf("written with %v, read with %v", err, rerr)
		}
	}
}

// A position is used for the samples that it is of, and no others.
func TestOtherSamples(t *testing.T) {
	p, _, _ := plan(t)
	files := p.View()
	some, err := samples.New(t.Context(), files, func(e *tree.Entry) bool { return strings.HasPrefix(e.Path, "class1") })
	must(t, err)
	pos, err := p.Begin(samples.Epoch{}, 0, 1)
	must(t, err)
	for _, err := range some.Read(t.Context(), pos) {
		if !errors.Is(err, samples.ErrPosition) {
			t.Errorf("%v", err)
		}
	}
	if pos, err = some.Begin(samples.Epoch{}, 0, 1); err != nil || pos.Selection == "" {
		t.Fatal(pos, err)
	}
	n := 0
	for s, err := range some.Read(t.Context(), pos) {
		must(t, err)
		if n++; s.Field(s.Files[0]) != "cls" && s.Field(s.Files[0]) != "png" && s.Key != "class1.d/empty" {
			t.Errorf("%+v", s)
		}
	}
	if n != 501 {
		t.Errorf("%d samples", n)
	}
	pos.Digest = strings.Repeat("0", 64)
	for _, err := range some.Read(t.Context(), pos) {
		if !errors.Is(err, samples.ErrPosition) {
			t.Errorf("%v", err)
		}
	}
}
