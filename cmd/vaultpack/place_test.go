package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// unprivileged makes the place one of a user whom permissions bind: root reads
// and writes what it likes.
func (p *place) unprivileged() *place {
	p.t.Helper()
	if os.Geteuid() != 0 {
		return p
	}
	const nobody = 65534
	// The test binary lies where only root can go.
	dir, err := os.MkdirTemp("", "vaultpack-test-")
	check(p.t, err)
	p.t.Cleanup(func() { os.RemoveAll(dir) })
	p.home = filepath.Join(dir, "home")
	check(p.t, os.Mkdir(p.home, 0o755))
	check(p.t, os.Chown(p.home, nobody, nobody))
	check(p.t, os.Chmod(dir, 0o755))
	binary, err := exec.LookPath("vaultpack")
	check(p.t, err)
	b, err := os.ReadFile(binary)
	check(p.t, err)
	check(p.t, os.WriteFile(filepath.Join(dir, "vaultpack"), b, 0o755))
	p.binary = filepath.Join(dir, "vaultpack")
	p.env = append(p.env, "HOME="+p.home, "VAULTPACK_HOME="+p.home)
	p.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What cannot be read is named, and the rest is uploaded.
func TestUnreadableFiles(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t).unprivileged()
	src := filepath.Join(p.home, "src")
	for _, name := range []string{"a", "b", "locked/c", "d/e", "large"} {
		write(t, filepath.Join(src, name), []byte(name))
	}
	write(t, filepath.Join(src, "large"), make([]byte, 3<<20))
	for _, name := range []string{"b", "locked", "large"} {
		check(t, os.Chmod(filepath.Join(src, name), 0))
	}
	totals := func(args ...string) string {
		t.Helper()
		out, _ := p.run(exitSomeFailed, append([]string{"push", src, "--pack-size", "1MiB", "--json"}, args...)...)
		var s struct{ Files, Bytes, Added, Changed, Removed, Unchanged, Sent_Files, Sent_Bytes, Packs, Sealed_Bytes, Failed int64 }
		lines := strings.Split(strings.TrimSpace(out), "\n")
		check(t, json.Unmarshal([]byte(lines[len(lines)-1]), &s))
		return fmt.Sprintf("%+v", s)
	}
	p.run(0, "init")
	if dry, run := totals("-d", "other", "-n"), totals("-d", "other"); dry != run {
		t.Errorf("a dry run tells %s, the run %s", dry, run)
	}
	_, errs := p.run(exitSomeFailed, "push", src, "-d", "d", "--pack-size", "1MiB")
	for _, want := range []string{"failed: b: ", "failed: locked: ", "failed: large: ", "permission denied", "vaultpack: 3 files could not be read; the rest is safe in the vault"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in:\n%s", want, errs)
		}
	}
	out, _ := p.run(0, "ls", "-r", "d")
	for _, want := range []string{" a\n", " d/e\n", " locked/\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	// Once they can be read, the next version has them.
	for _, name := range []string{"b", "locked", "large"} {
		check(t, os.Chmod(filepath.Join(src, name), 0o755))
	}
	if s := p.upload(src, "-d", "d", "--pack-size", "1MiB"); s.Files != 5 || s.Failed != 0 || s.Version != 2 {
		t.Errorf("afterwards: %+v", s)
	}
	p.run(0, "verify", "d", "--against", src)
	// What cannot be read any more is kept, and has not changed.
	check(t, os.Chmod(filepath.Join(src, "locked"), 0))
	write(t, filepath.Join(src, "d/e"), []byte("another"))
	dry, run := totals("-d", "d", "-n"), totals("-d", "d")
	if dry != run || !strings.Contains(run, "Changed:1 ") || !strings.Contains(run, "Unchanged:4 ") {
		t.Errorf("a dry run tells %s, the run %s", dry, run)
	}
}

// A vault, a destination or a home that may not be written to.
func TestReadOnlyPlaces(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t).unprivileged()
	src, vault := filepath.Join(p.home, "src"), filepath.Join(p.home, "vault")
	write(t, filepath.Join(src, "a"), []byte("a"))
	p.run(0, "push", src, "-d", "d")
	chmodAll := func(mode os.FileMode) {
		for _, o := range objects(t, vault) {
			check(t, os.Chmod(filepath.Dir(o), mode))
			check(t, os.Chmod(filepath.Dir(filepath.Dir(o)), mode))
		}
		check(t, os.Chmod(p.home, 0o755))
	}
	chmodAll(0o555)
	write(t, filepath.Join(src, "b"), []byte("b"))
	_, errs := p.run(exitNotAllowed, "push", src, "-d", "d")
	if !strings.Contains(errs, "permission denied") || !strings.Contains(errs, "hint: give this user read and write permission there") {
		t.Error(errs)
	}
	// Reading continues.
	p.run(0, "verify", "d")
	closed := filepath.Join(p.home, "closed")
	check(t, os.Mkdir(closed, 0o555))
	p.run(exitNotAllowed, "restore", "d", filepath.Join(closed, "below"))
	if os.Geteuid() == 0 {
		p.run(exitNotAllowed, "restore", "d", filepath.Dir(p.home)) // it is root's
	}
	p.run(0, "restore", "d", filepath.Join(p.home, "out"))
	chmodAll(0o755)
	if s := p.upload(src, "-d", "d"); s.Version != 2 {
		t.Errorf("afterwards: %+v", s)
	}
	p.env = append(p.env, "VAULTPACK_HOME="+closed)
	p.run(exitNotAllowed, "push", src)
}

// Folders that their owner may not write to, as a restore has made them, are written to,
// emptied and replaced by the next one, and have their modes in the end.
func TestRestoreToFoldersWithoutWritePermission(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t).unprivileged()
	src, out := filepath.Join(p.home, "src"), filepath.Join(p.home, "out")
	modes := func(dir string, mode os.FileMode) {
		t.Helper()
		for _, name := range []string{"ro/deep", "ro", ""} {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				t.Fatal(err)
			}
		}
	}
	push := func(names ...string) {
		t.Helper()
		for _, name := range names {
			write(t, filepath.Join(src, name), []byte(name))
		}
		modes(src, 0o555)
		if p.attr != nil { // so that it is of one owner, whoever has written
			check(t, exec.Command("chown", "-R", "65534:65534", src).Run())
		}
		p.run(0, "push", src, "-d", "d")
		modes(src, 0o755)
	}
	wantModes := func(step string) {
		t.Helper()
		for _, name := range []string{"", "ro", "ro/deep"} {
			info, err := os.Stat(filepath.Join(out, name))
			if err == nil && info.IsDir() && info.Mode().Perm() != 0o555 || err != nil && name == "" {
				t.Errorf("%s: %q is %v, %v", step, name, info.Mode(), err)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(out, ".vaultpack-*")); len(left) > 0 {
			t.Errorf("%s: left behind: %q", step, left)
		}
	}
	push("top", "ro/a", "ro/deep/b")
	push("ro/new", "ro/deep/new")
	check(t, os.RemoveAll(filepath.Join(src, "ro")))
	push("ro")
	for _, c := range []struct {
		args  []string
		there string
		gone  string
	}{
		{[]string{"d@1"}, "ro/deep/b", ""},
		{[]string{"d@2"}, "ro/deep/new", ""},
		{[]string{"d@1", "--delete"}, "ro/a", "ro/deep/new"},
		{[]string{"d@3"}, "ro", ""},
		{[]string{"d@2", "--overwrite", "always"}, "ro/new", ""},
		{[]string{"d@1", "--include", "ro/**", "--delete"}, "ro/a", "ro/new"},
		{[]string{"d@3", "--delete"}, "ro", ""},
	} {
		p.run(0, append([]string{"restore"}, append(c.args, out)...)...)
		step := fmt.Sprint(c.args)
		wantModes(step)
		if _, err := os.Lstat(filepath.Join(out, c.there)); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if _, err := os.Lstat(filepath.Join(out, c.gone)); c.gone != "" && err == nil {
			t.Errorf("%s: %s is still there", step, c.gone)
		}
	}
	// Whatever stops a restore, the folder's mode is put back.
	packs, err := filepath.Glob(filepath.Join(p.home, "vault/d/packs/*"))
	check(t, err)
	for _, pack := range packs {
		check(t, os.Remove(pack))
	}
	p.run(exitAuthentication, "restore", "d@2", "--delete", out)
	wantModes("without packs")
}

// A full disk stops an upload and a restore, and loses nothing.
func TestFullDisk(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	disk := filepath.Join(p.home, "disk")
	check(t, os.Mkdir(disk, 0o755))
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("a small disk cannot be had here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	src, vault := filepath.Join(p.home, "src"), filepath.Join(disk, "vault")
	p.env = append(p.env, "VAULTPACK_VAULT="+vault)
	p.run(0, "init")
	write(t, filepath.Join(src, "small"), treetest.Bytes(1<<20, 1))
	p.run(0, "push", src, "-d", "d")
	for i := range 10 {
		write(t, filepath.Join(src, fmt.Sprintf("more%d", i)), treetest.Bytes(1<<20, byte(i)))
	}
	full := func(args ...string) {
		t.Helper()
		_, errs := p.run(exitFailed, args...)
		if !strings.Contains(errs, "no space left on device") || !strings.Contains(errs, "hint: free some space and run the same command again") {
			t.Errorf("vaultpack %q says:\n%s", args, errs)
		}
	}
	full("push", src, "-d", "d", "--pack-size", "1100KiB")
	p.run(0, "verify", "d@1")
	if left, _ := filepath.Glob(filepath.Join(vault, "d", "packs", ".tmp-*")); len(left) > 0 {
		t.Errorf("left on the full disk: %q", left)
	}
	check(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=16m"))
	if s := p.upload(src, "-d", "d", "--pack-size", "1100KiB"); s.Version != 2 || s.ResumedFiles == 0 {
		t.Errorf("with more room: %+v", s)
	}
	p.run(0, "verify", "d", "--against", src)

	// There are some 3 MiB left for 11 that are to be restored.
	out := filepath.Join(disk, "out")
	write(t, filepath.Join(out, "more5"), []byte("mine"))
	full("restore", "d", out)
	if string(read(t, filepath.Join(out, "more5"))) != "mine" {
		t.Error("restoring to a full disk has destroyed a file")
	}
	nothingWrong(t, src, filepath.Join(out, "no-such-file"))
	if left, _ := filepath.Glob(filepath.Join(out, ".vaultpack-*")); len(left) > 0 {
		t.Errorf("left on the full disk: %q", left)
	}
	check(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=32m"))
	p.run(0, "restore", "d", out)
	info, err := os.Stat(src)
	check(t, err)
	check(t, os.Chtimes(out, info.ModTime(), info.ModTime())) // it was there, and keeps its own
	treetest.Equal(t, src, out)

	full("encrypt", filepath.Join(src, "small"), "-o", filepath.Join(fillDisk(t, disk), "sealed"))
}

// fillDisk leaves less than a mebibyte.
func fillDisk(t testing.TB, disk string) string {
	f, err := os.Create(filepath.Join(disk, "filler"))
	check(t, err)
	defer f.Close()
	for n, chunk := 0, make([]byte, 64<<10); n < 1<<10; n++ {
		if _, err := f.Write(chunk); err != nil {
			return disk
		}
	}
	t.Fatal("the disk does not fill up")
	return ""
}

// Streams of any length go through encrypt and decrypt, in little memory.
func TestPipes(t *testing.T) {
	t.Parallel()
	sizes := []int64{0, 1, 16383, 16384, 16385, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20, 1 << 30}
	if testing.Short() || race.Enabled {
		sizes[len(sizes)-1] = 64 << 20
	}
	p := newPlace(t)
	p.run(0, "init")
	for _, n := range sizes {
		encrypt, decrypt := p.command("encrypt"), p.command("decrypt")
		encrypt.Stderr, decrypt.Stderr = os.Stderr, os.Stderr
		in, err := encrypt.StdinPipe()
		check(t, err)
		decrypt.Stdin, err = encrypt.StdoutPipe()
		check(t, err)
		out, err := decrypt.StdoutPipe()
		check(t, err)
		check(t, encrypt.Start())
		check(t, decrypt.Start())
		// Not from rusage: that is never less than this process had when it forked.
		peaks := []func() int{highWater(encrypt.Process.Pid), highWater(decrypt.Process.Pid)}
		go func() {
			io.Copy(in, io.LimitReader(rand.NewChaCha8([32]byte{1}), n))
			in.Close()
		}()
		want := io.LimitReader(rand.NewChaCha8([32]byte{1}), n)
		a, b := make([]byte, 1<<20), make([]byte, 1<<20)
		got := int64(0)
		for {
			k, err := io.ReadFull(out, a)
			got += int64(k)
			if _, werr := io.ReadFull(want, b[:k]); werr != nil && k > 0 || string(a[:k]) != string(b[:k]) {
				t.Fatalf("%d bytes: they differ before %d", n, got)
			}
			if err != nil {
				break
			}
		}
		check(t, decrypt.Wait())
		check(t, encrypt.Wait())
		if got != n {
			t.Fatalf("%d bytes came back of %d", got, n)
		}
		for i, cmd := range []*exec.Cmd{encrypt, decrypt} {
			rss := peaks[i]()
			if rss > 128<<10 && !race.Enabled {
				t.Errorf("%d bytes took %d KiB of memory", n, rss)
			} else if n == sizes[len(sizes)-1] {
				t.Logf("vaultpack %s of %d bytes: at most %d KiB of memory", cmd.Args[1], n, rss)
			}
		}
	}
}
