package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
)

// within runs vaultpack to its end, wants it to succeed in at most 512 MiB of
// memory, and logs what it took.
func (c *cloud) within(what string, size int64, args ...string) {
	c.t.Helper()
	cmd := c.command(args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	began := time.Now()
	check(c.t, cmd.Start())
	peak := highWater(cmd.Process.Pid)
	err := cmd.Wait()
	took, rss := time.Since(began), peak()
	if err != nil {
		c.t.Fatalf("vaultpack %q: %v\n%s", args, err, errs.String())
	}
	// What the kernel has of the whole process, also of the last moments; but it
	// is never less than this process had when it forked.
	rusage := int(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) // KiB on Linux
	c.t.Logf("%s: %.1f s, %.0f MiB/s, at most %d MiB of memory (rusage: %d)", what, took.Seconds(), float64(size)/(1<<20)/took.Seconds(), rss>>10, rusage>>10)
	if rusage > 512<<10 {
		c.t.Errorf("%s took %d KiB of memory", what, rusage)
	}
}

// highWater watches the most memory that a process has had, in KiB, as long as it
// runs. It is 0 where there is no /proc.
func highWater(pid int) (peak func() int) {
	quit, ended := make(chan struct{}), make(chan struct{})
	most := 0
	go func() {
		defer close(ended)
		for {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
				if _, after, ok := strings.Cut(string(b), "VmHWM:"); ok {
					fmt.Sscan(after, &most)
				}
			}
			select {
			case <-quit:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() int {
		close(quit)
		<-ended
		return most
	}
}

// A file of many packs goes to S3 and comes back in bounded memory: 1 GiB, and with
// VAULTPACK_TEST_LARGE=1 6 GiB, which take twice that on the disk.
func TestLargeFileOnS3(t *testing.T) {
	race.Skip(t, "the race detector takes memory of its own")
	t.Parallel()
	size := int64(1 << 30)
	switch {
	case testing.Short():
		size = 200 << 20
	case os.Getenv("VAULTPACK_TEST_LARGE") != "":
		size = 6 << 30
	}
	c := newCloud(t, s3test.MinIO(t, false))
	src, out := filepath.Join(c.home, "src"), filepath.Join(c.home, "out")
	check(t, os.Mkdir(src, 0o755))
	f, err := os.Create(filepath.Join(src, "large"))
	check(t, err)
	_, err = io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{7}), size))
	check(t, err)
	check(t, f.Close())
	c.within("push", size, "push", "-q", src, "-d", "d")
	check(t, os.RemoveAll(src)) // the disk is not to hold it three times
	c.within("restore", size, "restore", "-q", "d", out)

	f, err = os.Open(filepath.Join(out, "large"))
	check(t, err)
	defer f.Close()
	want := rand.NewChaCha8([32]byte{7})
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for n := int64(0); ; n += int64(len(a)) {
		k, err := io.ReadFull(f, a)
		want.Read(b[:k])
		if !bytes.Equal(a[:k], b[:k]) {
			t.Fatalf("the file differs in the MiB at %d", n)
		}
		if err != nil {
			if n+int64(k) != size {
				t.Fatalf("%d bytes came back of %d", n+int64(k), size)
			}
			break
		}
	}
	c.noOrphans("d")
}

// Many small files go to S3 and come back in bounded memory, in few requests.
func TestManyFilesOnS3(t *testing.T) {
	race.Skip(t, "the race detector takes memory of its own")
	t.Parallel()
	files := 40_000
	switch {
	case testing.Short():
		files = 5_000
	case os.Getenv("VAULTPACK_TEST_LARGE") != "":
		files = 100_000
	}
	c := newCloud(t, s3test.MinIO(t, false))
	dir := c.home
	var shm syscall.Statfs_t // making and removing files on a disk takes longer than all else
	if err := syscall.Statfs("/dev/shm", &shm); err == nil && int64(shm.Bavail)*int64(shm.Bsize) > 4<<30 {
		dir = scratch(t)
	}
	src, out := filepath.Join(dir, "src"), filepath.Join(dir, "out")
	name := func(i int) string { return fmt.Sprintf("%03d/%06d.bin", i/500, i) }
	content := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d,", i), 1+i%200) }
	total := int64(0)
	for i := range files {
		file := filepath.Join(src, name(i))
		if i%500 == 0 {
			check(t, os.MkdirAll(filepath.Dir(file), 0o755))
		}
		b := content(i)
		total += int64(len(b))
		check(t, os.WriteFile(file, b, 0o644))
	}
	c.within(fmt.Sprintf("push of %d files", files), total, "push", "-q", src, "-d", "d")
	c.within("push of the same", total, "push", "-q", src, "-d", "d")
	c.within("restore", total, "restore", "-q", "d", out)
	for i := range files {
		b, err := os.ReadFile(filepath.Join(out, name(i)))
		if err != nil || !bytes.Equal(b, content(i)) {
			t.Fatalf("%s came back with %d bytes, %v", name(i), len(b), err)
		}
	}
	c.within("verify", total, "verify", "-q", "d")
	c.noOrphans("d")
	if n := len(c.objects()); n > files/1000 {
		t.Errorf("%d files take %d objects", files, n)
	}
}
