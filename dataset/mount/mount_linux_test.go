//go:build !386 && !arm

package mount_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/mount"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, b, 0o644))
}

func inode(t testing.TB, name string) uint64 {
	t.Helper()
	info, err := os.Lstat(name)
	must(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}

// A mount has all of a tree with everything that is odd: names, kinds, contents, modes, times
// and links. It is read-only, its attributes tell what it is, and its inode numbers are the
// same in the next mount and no two alike.
func TestSameAsSource(t *testing.T) {
	dir, src := sealed(t, 128<<10, func(src string) {
		treetest.Odd(t, src, 128<<10)
		treetest.NoSetID(t, src)
		write(t, filepath.Join(src, "many/first"), nil)
		for i := range 1000 {
			must(t, os.WriteFile(filepath.Join(src, fmt.Sprintf("many/%04d", i)), nil, 0o644))
		}
	})
	mnt := filepath.Join(dir, "a folder")
	var before map[uint64]string
	for range 2 {
		m := mounted(t, dir, mnt)
		treetest.Equal(t, src, mnt)
		inodes := map[uint64]string{}
		must(t, filepath.WalkDir(mnt, func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			n := inode(t, name)
			if other := inodes[n]; other != "" || before != nil && before[n] != name {
				t.Errorf("%q and %q have the inode number %d; before, it was of %q", name, other, n, before[n])
			}
			inodes[n] = name
			return nil
		}))
		before = inodes
		if err := os.WriteFile(mnt+"/new", nil, 0o644); !errors.Is(err, unix.EROFS) {
			t.Errorf("a file was written: %v", err)
		}
		checkAttributes(t, src, mnt)
		out, err := exec.Command("ls", "-laR", mnt).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("many:")) {
			t.Errorf("ls: %v\n%s", err, out[:min(1000, len(out))])
		}
		if said, err := m.end(); err != nil || said != "mounted\n" {
			t.Errorf("it ends with %v: %s", err, said)
		}
		if _, err := os.Lstat(mnt); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder that was made for the mount is still there: %v", err)
		}
	}
}

func checkAttributes(t *testing.T, src, mnt string) {
	t.Helper()
	b := make([]byte, 200)
	n, err := unix.Getxattr(mnt, "user.vaultpack.version", b)
	if err != nil || string(b[:n]) != "1" {
		t.Errorf("the version is %q, %v", b[:n], err)
	}
	if n, err = unix.Getxattr(mnt, "user.vaultpack.dataset", b); err != nil || string(b[:n]) != "d" {
		t.Errorf("the dataset is %q, %v", b[:n], err)
	}
	if n, err = unix.Getxattr(mnt, "user.vaultpack.digest", b); err != nil || n != 64 {
		t.Errorf("the digest is %q, %v", b[:n], err)
	}
	if n, err = unix.Listxattr(mnt, b); err != nil || strings.Count(string(b[:n]), "\x00") != 3 {
		t.Errorf("the attributes are %q, %v", b[:n], err)
	}
	want, err := os.ReadFile(src + "/names/a.txt")
	must(t, err)
	sum := sha256.Sum256(want)
	if n, err = unix.Getxattr(mnt+"/names/a.txt", "user.vaultpack.sha256", b); err != nil || string(b[:n]) != hex.EncodeToString(sum[:]) {
		t.Errorf("the sum is %q, %v", b[:n], err)
	}
	if _, err = unix.Getxattr(mnt+"/names/a.txt", "user.vaultpack.sha256", b[:10]); err != unix.ERANGE {
		t.Errorf("with too little room: %v", err)
	}
	if _, err = unix.Getxattr(mnt, "user.other", b); err != unix.ENODATA {
		t.Errorf("an attribute that is not there: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(mnt, &st); err != nil || st.Bfree != 0 || st.Blocks == 0 || st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_RDONLY == 0 {
		t.Errorf("statfs: %+v, %v", st, err)
	}
}

// Folders that the version has only by their files are there, and keep their numbers.
func TestFoldersWithoutEntries(t *testing.T) {
	needsFUSE(t)
	v := datasettest.Packed(t, datasettest.New(t), []string{"a/b-", "a/b/c", "a/b/d/e", "x"}, map[string]string{"a/b/d/e": "here"})
	mnt := t.TempDir()
	m, err := mount.Start(t.Context(), v, mnt, mount.Options{Failed: func(path string, err error) { t.Errorf("%s: %v", path, err) }})
	must(t, err)
	out, err := exec.Command("sh", "-c", `cd "$0" && find . | sort && cat a/b/d/e && ls -ia a/b/d && stat -c %i . a a/b a/b/d/e`, mnt).CombinedOutput()
	must(t, m.Unmount())
	if want := ".\n./a\n./a/b\n./a/b-\n./a/b/c\n./a/b/d\n./a/b/d/e\n./x\nhere"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%v:\n%s", err, out)
	}
	if err := m.Unmount(); err != nil {
		t.Errorf("unmounting again: %v", err)
	}
}

// Ten thousand ranges of large and small files, by many readers at one time, through pread
// and mmap, are the source's.
func TestRandomRanges(t *testing.T) {
	const packSize = 5 << 20
	sizes := map[string]int64{"empty": 0, "one": 1, "small": 5000, "page": 4096, "compared": 1 << 20, "more": 1<<20 + 1, "pieces": 3*packSize + 77, "large": 40 << 20}
	for i := range 40 {
		sizes[fmt.Sprintf("many/%d", i)] = 100_000
	}
	data, names := map[string][]byte{}, []string{}
	dir, _ := sealed(t, packSize, func(src string) {
		for name, n := range sizes {
			data[name] = treetest.Bytes(n, byte(len(names)))
			names = append(names, name)
			write(t, filepath.Join(src, name), data[name])
		}
	})
	mnt := filepath.Join(dir, "m")
	m := mounted(t, dir, mnt)
	var readers sync.WaitGroup
	for g := range 10 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 7))
			for range 1000 {
				name := names[rng.IntN(len(names))]
				if err := checkRange(rng, filepath.Join(mnt, name), data[name]); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	readers.Wait()
	if said, err := m.end(); err != nil || said != "mounted\n" {
		t.Errorf("it ends with %v: %s", err, said)
	}
}

// checkRange reads a random range of a file, and now and then throws away what the kernel
// has kept of it.
func checkRange(rng *rand.Rand, name string, want []byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	off := rng.IntN(len(want) + 1)
	n := rng.IntN([]int{100, 10_000, 300_000}[rng.IntN(3)])
	rest := want[off:min(off+n, len(want))]
	if rng.IntN(4) == 0 {
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	if len(want) > 0 && rng.IntN(3) == 0 {
		mapped, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		defer unix.Munmap(mapped)
		if !bytes.Equal(mapped[off:off+len(rest)], rest) {
			return fmt.Errorf("mapped, %d bytes from %d on differ", len(rest), off)
		}
		return nil
	}
	got := make([]byte, n)
	k, err := f.ReadAt(got, int64(off))
	if k != len(rest) || !bytes.Equal(got[:k], rest) {
		return fmt.Errorf("%d bytes from %d on: %d, %v", n, off, k, err)
	}
	return nil
}

// A process that is killed leaves a mount of which nothing can be read, and the next one
// takes its place. A mount of another file system, or of one that lives, stays.
func TestKilled(t *testing.T) {
	want := treetest.Bytes(5<<20, 1)
	dir, _ := sealed(t, 32<<20, func(src string) { write(t, filepath.Join(src, "f"), want) })
	mnt := filepath.Join(dir, "m")
	m := mounted(t, dir, mnt)
	if said, err := run(t, dir, mnt).wait(); err == nil || !strings.Contains(said, mount.ErrMounted.Error()) {
		t.Errorf("a second mount of the folder: %v, %s", err, said)
	}
	open, err := os.Open(mnt + "/f") // and so it is in use
	must(t, err)
	defer open.Close()
	must(t, m.cmd.Process.Kill())
	m.wait()
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("after the end of its process a file is read: %v", err)
	}
	if m = mounted(t, dir, mnt); strings.Count(mounts(t), mnt) != 1 {
		t.Errorf("these are mounted:\n%s", mounts(t))
	}
	if got, err := os.ReadFile(mnt + "/f"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v", err)
	}
	if said, err := m.end(); err != nil {
		t.Errorf("%v: %s", err, said)
	}

	other := t.TempDir()
	must(t, unix.Mount("tmpfs", other, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { unix.Unmount(other, unix.MNT_DETACH) })
	m = mounted(t, dir, other) // it is empty, and lies below ours
	if said, err := m.end(); err != nil || !isMountPoint(t, other) {
		t.Errorf("%v: %s", err, said)
	}
	must(t, os.WriteFile(other+"/x", nil, 0o644))
	if said, err := run(t, dir, other).wait(); err == nil || !strings.Contains(said, mount.ErrNotEmpty.Error()) {
		t.Errorf("a folder that is not empty: %v, %s", err, said)
	}
}

func mounts(t testing.TB) string {
	b, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	return string(b)
}

// Of several processes that mount in one folder at one time, also where a dead mount is in
// it, one does.
func TestOneOfMany(t *testing.T) {
	dir, _ := sealed(t, 32<<20, func(src string) { write(t, filepath.Join(src, "f"), []byte("here")) })
	mnt := filepath.Join(dir, "m")
	for range 2 {
		var all []*mounting
		for range 4 {
			all = append(all, run(t, dir, mnt))
		}
		var won []*mounting
		for _, m := range all {
			if line := <-m.lines; line == "mounted" {
				won = append(won, m)
			} else if !strings.Contains(line, mount.ErrMounted.Error()) {
				t.Errorf("it says %q", line)
			}
		}
		if b, err := os.ReadFile(mnt + "/f"); len(won) != 1 || err != nil || string(b) != "here" || strings.Count(mounts(t), mnt) != 1 {
			t.Fatalf("%d have mounted; %q, %v\n%s", len(won), b, err, mounts(t))
		}
		must(t, won[0].cmd.Process.Kill())
		won[0].wait()
	}
}

// While files are read and the store does not answer, a signal unmounts, in any case; those
// who read have an error; and it is told who they are.
func TestUnmountedInUse(t *testing.T) {
	dir, _ := sealed(t, 32<<20, func(src string) { write(t, filepath.Join(src, "f"), treetest.Bytes(8<<20, 1)) })
	mnt := filepath.Join(dir, "m")
	must(t, os.WriteFile(filepath.Join(dir, stuckFile), nil, 0o644))
	m := mounted(t, dir, mnt)
	reader := exec.Command("cat", mnt+"/f")
	must(t, reader.Start())
	waitFor(t, filepath.Join(dir, "WAITS"))
	said, err := m.end()
	if err == nil || !strings.Contains(said, fmt.Sprintf("cat (process %d)", reader.Process.Pid)) {
		t.Errorf("%v: %s", err, said)
	}
	if err := reader.Wait(); err == nil {
		t.Error("a reader has no error")
	}
	if isMountPoint(t, mnt) {
		t.Error("it is still mounted")
	}
}

func waitFor(t testing.TB, file string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come", file)
		}
	}
}

// A signal that a reader handles does not make its read fail, and a reader that is killed
// ends, also while the store does not answer.
func TestInterruptedReaders(t *testing.T) {
	want := treetest.Bytes(300_000, 1)
	dir, _ := sealed(t, 32<<20, func(src string) { write(t, filepath.Join(src, "f"), want) })
	mnt := filepath.Join(dir, "m")
	must(t, os.WriteFile(filepath.Join(dir, stuckFile), nil, 0o644))
	m := mounted(t, dir, mnt)
	handles := exec.Command("sh", "-c", `trap : USR1; sha256sum < "$0/f"`, mnt)
	handles.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	handles.Stdout = &out
	must(t, handles.Start())
	killed := exec.Command("cat", mnt+"/f")
	must(t, killed.Start())
	waitFor(t, filepath.Join(dir, "WAITS"))
	time.Sleep(50 * time.Millisecond)
	must(t, killed.Process.Kill())
	killed.Wait() // it hangs if the read does not end
	for range 5 {
		must(t, handles.Process.Signal(syscall.SIGUSR1))
		time.Sleep(10 * time.Millisecond)
	}
	must(t, os.Remove(filepath.Join(dir, stuckFile)))
	if err := handles.Wait(); err != nil || !strings.HasPrefix(out.String(), fmt.Sprintf("%x", sha256.Sum256(want))) {
		t.Errorf("%v, %s", err, out.String())
	}
	if said, err := m.end(); err != nil || said != "mounted\n" {
		t.Errorf("%v: %s", err, said)
	}
}

// Whatever byte of a pack is changed, a read of it fails with EIO, no other bytes come, and
// it is told with the path; what is not changed can be read.
func TestTampered(t *testing.T) {
	want := map[string][]byte{"small": treetest.Bytes(30_000, 1), "large": treetest.Bytes(6<<20, 2)}
	dir, _ := sealed(t, 32<<20, func(src string) {
		for name, b := range want {
			write(t, filepath.Join(src, name), b)
		}
	})
	packs, err := filepath.Glob(filepath.Join(dir, "vault/*/packs/*"))
	must(t, err)
	if len(packs) == 0 {
		t.Fatal("no packs")
	}
	for _, pack := range packs {
		b, err := os.ReadFile(pack)
		must(t, err)
		for off := 100; off < len(b); off += 16_000 {
			b[off] ^= 1
		}
		must(t, os.WriteFile(pack, b, 0o644))
	}
	m := mounted(t, dir, filepath.Join(dir, "m"))
	for name, want := range want {
		got, err := os.ReadFile(filepath.Join(m.dir, name))
		if !errors.Is(err, unix.EIO) || !bytes.HasPrefix(want, got) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	said, err := m.end()
	if err != nil || !strings.Contains(said, `failed: "small": `) || !strings.Contains(said, `failed: "large": `) {
		t.Errorf("%v: %s", err, said)
	}
}
