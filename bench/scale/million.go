package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vaultpack/vaultpack/bench/internal/stats"
)

// tiny is the section about very many very small files: how much memory they take,
// and what a second run costs that finds nothing changed.
func (b *bench) tiny(ctx context.Context) error {
	dir, remove, err := b.sub("sources")
	if err != nil {
		return err
	}
	defer remove()
	tree := filepath.Join(dir, "tree")
	if err := makeTree(ctx, tree, b.million, b.tinySize); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "### %d files of %s\n\n| | time | peak memory | goal |\n|---|---|---|---|\n", b.million, binary(b.tinySize))

	p, remove, err := b.dirVault(ctx)
	if err != nil {
		return err
	}
	err = b.firstAndSecond(ctx, p, "a directory", tree)
	remove()
	if err != nil {
		return err
	}

	server, bucket, stop, err := b.minio()
	if err != nil {
		return err
	}
	defer stop()
	c := &cloudPlace{b: b}
	p, remove, err = c.place(server.URL)
	if err != nil {
		return err
	}
	defer remove()
	if _, err := p.run(ctx, b.vaultpack, "init", "--vault", filepath.Join(p.dir, "unused")); err != nil {
		return err // it makes the local key
	}
	config := fmt.Sprintf("vault: s3://%s/data\nlocal_key: local.key\ns3:\n  kms_key: %s\n", bucket, server.KMSKey)
	if err := os.WriteFile(filepath.Join(p.dir, "vaultpack.yaml"), []byte(config), 0o600); err != nil {
		return err
	}
	if err := b.firstAndSecond(ctx, p, "MinIO", tree); err != nil {
		return err
	}
	fmt.Fprintln(b.out)
	return nil
}

// firstAndSecond uploads the tree, and then finds it unchanged, alternating with
// find.
func (b *bench) firstAndSecond(ctx context.Context, p place, where, tree string) error {
	push := func() (took, error) { return p.run(ctx, b.vaultpack, "push", "-q", tree, "-d", "d") }
	settle()
	first, err := push()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "| upload to %s | %.1f s | %d MiB | ≤ 512 MiB |\n", where, first.wall.Seconds(), first.peak>>20)
	var second, find []took
	var ratios []float64
	for run := range b.runs + 1 {
		f, err := p.run(ctx, "find", tree, "-printf", `%s %T@ %m\n`)
		if err != nil {
			return err
		}
		s, err := push()
		if err != nil {
			return err
		}
		if run == 0 {
			continue // what it reads is in the caches now
		}
		second, find = append(second, s), append(find, f)
		ratios = append(ratios, s.wall.Seconds()/f.wall.Seconds())
	}
	wall := func(t took) float64 { return t.wall.Seconds() }
	fmt.Fprintf(b.out, "| the same again, nothing changed | %.2f s, **%.2f** times that of `find` | %d MiB | ≤ 3 times |\n", median(second, wall), stats.Median(ratios),
		int(median(second, func(t took) float64 { return float64(t.peak) }))>>20)
	fmt.Fprintf(b.out, "| `find TREE -printf '%%s %%T@ %%m\\n'` | %.2f s | %d MiB | |\n", median(find, wall),
		int(median(find, func(t took) float64 { return float64(t.peak) }))>>20)
	return nil
}
