// Command channel measures how long it takes to open a sealed channel in place, as
// a training container does before the training, compared with tar -x of the same
// files into a new folder on the same file system, alternating between the two:
//
//	go run ./bench/channel -size 4096 -turns 5 -dir /mnt/disk
//
// Nothing is synced on either side, and both read what was just written.
// bench/train.sh runs it on two cores.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/uploader"
)

func main() {
	size := flag.Int64("size", 4096, "MiB of plaintext in the channel")
	turns := flag.Int("turns", 5, "turns of each side")
	dir := flag.String("dir", os.TempDir(), "where to work; takes three times the size")
	flag.Parse()
	fmt.Printf("%d MiB, %d cores, %d turns, in %s; seconds are medians\n", *size, runtime.GOMAXPROCS(0), *turns, *dir)
	fmt.Printf("%-18s %8s %8s %8s %8s %8s   %s\n", "files", "open/s", "MiB/s", "tar/s", "MiB/s", "ratio", "ratio of each turn")
	for _, file := range []int64{10 << 10, 1 << 20, 512 << 20} {
		if err := measure(*dir, *size<<20, min(file, *size<<20/2), *turns); err != nil {
			fmt.Fprintln(os.Stderr, "channel:", err)
			os.Exit(1)
		}
	}
}

// measure compares the two for a channel of files of one size.
func measure(parent string, size, file int64, turns int) (err error) {
	dir, err := os.MkdirTemp(parent, "vaultpack-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	src, tarFile := filepath.Join(dir, "src"), filepath.Join(dir, "src.tar")
	if err := makeTree(src, size, file); err != nil {
		return err
	}
	if err := run("tar", "-cf", tarFile, "-C", src, "."); err != nil {
		return err
	}
	ctx := context.Background()
	v, _, err := config.Init(ctx, &config.Config{Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		return err
	}
	d, err := dataset.Open(v, "bench")
	if err != nil {
		return err
	}
	defer d.Close()
	res, err := uploader.Upload(ctx, d, src, uploader.Options{})
	if err != nil {
		return err
	}
	if err := os.RemoveAll(src); err != nil {
		return err
	}
	var opens, tars, ratios []float64
	for turn := range turns + 1 { // the first one warms up
		base := filepath.Join(dir, "ml")
		ch, err := local.Stage(ctx, res.Version, d, base, "training")
		if err != nil {
			return err
		}
		cfg := &container.Config{BaseDir: base, Channels: []container.Channel{ch}, Keys: v.Keys.Open}
		open, err := timed(base, func() error { _, err := container.Open(ctx, cfg); return err })
		if err != nil {
			return err
		}
		out := filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			return err
		}
		untar, err := timed(out, func() error { return run("tar", "-xf", tarFile, "-C", out) })
		if err != nil {
			return err
		}
		if turn > 0 {
			opens, tars, ratios = append(opens, open), append(tars, untar), append(ratios, untar/open)
		}
	}
	mib := float64(size) / (1 << 20)
	o, t := median(opens), median(tars)
	fmt.Printf("%-18s %8.2f %8.0f %8.2f %8.0f %8.2f   %.2f\n", fmt.Sprintf("%d of %d KiB", size/file, file>>10), o, mib/o, t, mib/t, median(ratios), ratios)
	return nil
}

// timed measures f, and removes what it made in dir.
func timed(dir string, f func() error) (seconds float64, err error) {
	began := time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	seconds = time.Since(began).Seconds()
	return seconds, os.RemoveAll(dir)
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// makeTree writes files of random bytes, a thousand a folder.
func makeTree(dir string, size, file int64) error {
	random := rand.NewChaCha8([32]byte{1})
	for i := range size / file {
		name := filepath.Join(dir, fmt.Sprintf("%04d", i/1000), fmt.Sprintf("%07d.bin", i))
		if i%1000 == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
		}
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(f, random, file); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}
