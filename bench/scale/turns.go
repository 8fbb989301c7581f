package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/bench/internal/stats"
)

func base(p string) string { return filepath.Base(p) }

// A workload is what is uploaded and downloaded again.
type workload struct {
	name     string
	src      string // a folder or a file
	bytes    int64
	goalUp   float64
	goalDown float64
}

// A way is one of the tools that are compared.
type way struct {
	name string
	ref  bool // the others are compared with it
	// start prepares one turn, in empty places.
	start func() (turn, error)
}

// A turn is one upload and one download. down is nil if there is no download.
type turn struct {
	up   func(ctx context.Context, src string) (took, error)
	down func(ctx context.Context, src, dst string) (took, error)
	end  func()
}

// A score holds what one way took in each turn.
type score struct{ up, down []took }

// compare runs each way with each workload, runs times, alternating, and prints a
// table.
func (b *bench) compare(ctx context.Context, title string, works []workload, ways []way) error {
	scores := make([][]score, len(works))
	for i, w := range works {
		scores[i] = make([]score, len(ways))
		for run := range b.runs {
			for k := range ways {
				k := (k + run) % len(ways) // none is always the first
				fmt.Fprintf(os.Stderr, "%s: %s, %s, run %d\n", title, w.name, ways[k].name, run+1)
				if err := b.turn(ctx, w, ways[k], &scores[i][k]); err != nil {
					return fmt.Errorf("%s: %w", ways[k].name, err)
				}
			}
		}
	}
	fmt.Fprintf(b.out, "### %s\n\n| | time | speed |", title)
	for _, w := range ways {
		if w.ref {
			fmt.Fprintf(b.out, " speed over that of %s |", w.name)
		}
	}
	fmt.Fprintf(b.out, " goal | processor time | of the server | peak memory |\n|---|---|---|%s---|---|---|---|\n", strings.Repeat("---|", refs(ways)))
	for i, w := range works {
		b.rows("upload", w, ways, w.goalUp, scores[i], func(s score) []took { return s.up })
		b.rows("restore", w, ways, w.goalDown, scores[i], func(s score) []took { return s.down })
	}
	fmt.Fprintln(b.out)
	return nil
}

func refs(ways []way) (n int) {
	for _, w := range ways {
		if w.ref {
			n++
		}
	}
	return n
}

func (b *bench) turn(ctx context.Context, w workload, one way, s *score) error {
	t, err := one.start()
	if err != nil {
		return err
	}
	defer t.end()
	settle()
	up, err := t.up(ctx, w.src)
	if err != nil {
		return err
	}
	s.up = append(s.up, up)
	if t.down == nil {
		return nil
	}
	dst, remove, err := b.sub("restored")
	if err != nil {
		return err
	}
	defer remove()
	settle()
	down, err := t.down(ctx, w.src, dst)
	if err != nil {
		return err
	}
	s.down = append(s.down, down)
	return sameTree(ctx, w.src, dst)
}

// rows prints a line for each way. Ratios are medians of the ratios of the turns.
func (b *bench) rows(what string, w workload, ways []way, goal float64, scores []score, of func(score) []took) {
	for k, one := range ways {
		mine := of(scores[k])
		if len(mine) == 0 {
			continue
		}
		wall := median(mine, func(t took) float64 { return t.wall.Seconds() })
		fmt.Fprintf(b.out, "| %s, %s: %s | %.2f s | %s |", what, w.name, one.name, wall, rate(float64(w.bytes)/wall))
		for r, ref := range ways {
			switch {
			case ref.ref && !one.ref:
				var ratios []float64
				for i, t := range mine {
					ratios = append(ratios, of(scores[r])[i].wall.Seconds()/t.wall.Seconds())
				}
				fmt.Fprintf(b.out, " **%.2f** |", stats.Median(ratios))
			case ref.ref:
				fmt.Fprint(b.out, " |")
			}
		}
		if one.ref || goal == 0 {
			fmt.Fprint(b.out, " |")
		} else {
			fmt.Fprintf(b.out, " %.1f |", goal)
		}
		fmt.Fprintf(b.out, " %.1f s | %.1f s | %d MiB |\n", median(mine, func(t took) float64 { return t.cpu.Seconds() }),
			median(mine, func(t took) float64 { return t.server.Seconds() }),
			int(median(mine, func(t took) float64 { return float64(t.peak) }))>>20)
	}
}

func median(v []took, of func(took) float64) float64 {
	var f []float64
	for _, t := range v {
		f = append(f, of(t))
	}
	return stats.Median(f)
}

func rate(perSecond float64) string {
	if perSecond >= 1e9 {
		return fmt.Sprintf("%.2f GB/s", perSecond/1e9)
	}
	return fmt.Sprintf("%.0f MB/s", perSecond/1e6)
}

// sameTree checks that dst holds exactly what src, a file or a folder, holds.
func sameTree(ctx context.Context, src, dst string) error {
	want, err := listFiles(src)
	if err != nil {
		return err
	}
	got, err := listFiles(dst)
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d files came back of %d", len(got), len(want))
	}
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for name, file := range want {
		if err := ctx.Err(); err != nil {
			return err
		}
		if got[name] == "" {
			return fmt.Errorf("%s did not come back", name)
		}
		if err := sameFile(file, got[name], a, b); err != nil {
			return err
		}
	}
	return nil
}

// listFiles returns the regular files, by path below root.
func listFiles(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			name := strings.TrimPrefix(strings.TrimPrefix(file, root), "/")
			if name == "" {
				name = filepath.Base(file) // the root itself
			}
			files[name] = file
		}
		return err
	})
	return files, err
}

func sameFile(x, y string, a, b []byte) error {
	f, err := os.Open(x)
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := os.Open(y)
	if err != nil {
		return err
	}
	defer g.Close()
	for {
		n, errF := io.ReadFull(f, a)
		m, errG := io.ReadFull(g, b)
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return fmt.Errorf("%s came back as something else", x)
		}
		if errF != nil || errG != nil {
			if n == len(a) || errF != errG {
				return errors.Join(errF, errG)
			}
			return nil
		}
	}
}
