// Package treetest makes folders that contain every awkward case of a file system,
// and compares folders, for the tests of this module.
package treetest

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// T is the part of testing.TB that this package uses.
type T interface {
	Helper()
	Fatal(args ...any)
}

// Bytes returns n bytes that depend only on n and seed.
func Bytes(n int64, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16), seed}).Read(b)
	return b
}

// Odd fills dir with every case that a dataset must restore: sizes at and around
// the boundaries of chunks, segments and packs of packSize bytes, names of
// arbitrary bytes, links, modes, times, and samples of several files.
func Odd(t T, dir string, packSize int64) {
	t.Helper()
	write := func(name string, b []byte) {
		t.Helper()
		name = filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(name), 0o755))
		check(t, os.WriteFile(name, b, 0o644))
	}
	for _, n := range []int64{0, 1, 16384, 1 << 20, packSize, packSize - 1536, 2 * packSize, 3*packSize + 17} {
		for d := int64(-1); d <= 1; d++ {
			if n+d >= 0 {
				write(fmt.Sprintf("sizes/%d", n+d), Bytes(n+d, 1))
			}
		}
	}
	for i, name := range []string{"with space", " leading", "trailing ", "new\nline", "tab\ttab", "quote\"'", "back\\slash",
		"üñïçødé", "日本語/ファイル", "🙂", "not-utf8-\xff\xfe", "\xc3\x28/inside", "-dash", "--help", "!bang", "#hash", "*star*",
		"~tilde", ".hidden", "..dots", "...", "a", "a-1.txt", "a.txt", "a.k/between", "a.z.txt", "b/inside", "a0", "con", "%41%",
		strings.Repeat("long", 63), "deep/" + strings.Repeat("d/", 60) + "end", "combining-e\u0301", "combining-é", "\x01control"} {
		write("names/"+name, Bytes(int64(10+i), 2))
	}
	for i := range 60 {
		for _, ext := range []string{".jpg", ".cls.txt", ".json"} {
			write(fmt.Sprintf("samples/%03d%s", i, ext), Bytes(int64(100+i*37), byte(i)))
		}
	}
	for _, d := range []string{"empty", "empties/one", "empties/two/three"} {
		check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for name, target := range map[string]string{"to-file": "a.txt", "to-folder": "../samples", "dangling": "nowhere",
		"up": "../sizes/1", "itself": "itself", "not-utf8": "\xff", "dot": "."} {
		check(t, os.Symlink(target, filepath.Join(dir, "names", name+".link")))
	}
	for _, mode := range []fs.FileMode{0o400, 0o600, 0o644, 0o666, 0o700, 0o755, 0o444, 0o777 | fs.ModeSticky, 0o755 | fs.ModeSetgid, 0o755 | fs.ModeSetuid} {
		name := fmt.Sprintf("modes/%v", mode)
		write(name, []byte(mode.String()))
		check(t, os.Chmod(filepath.Join(dir, name), mode))
		check(t, os.MkdirAll(filepath.Join(dir, name+".d"), 0o755))
		write(name+".d/file", nil)
		if mode.Perm()&0o500 == 0o500 {
			check(t, os.Chmod(filepath.Join(dir, name+".d"), mode))
		}
	}
	for i, tm := range []time.Time{time.Unix(0, 0), time.Unix(0, 1), time.Unix(-1, 999999999), time.Unix(1<<31, 5),
		time.Unix(1234567890, 123456789), time.Unix(1234567890, 1), time.Date(1901, 12, 14, 0, 0, 0, 7, time.UTC)} {
		name := filepath.Join("times", fmt.Sprint(i))
		write(name, []byte{byte(i)})
		check(t, os.Chtimes(filepath.Join(dir, name), tm, tm))
	}
	times(t, dir)
}

// times sets distinct times on folders and links, children first.
func times(t T, dir string) {
	var all []string
	check(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && (e.IsDir() || e.Type() == fs.ModeSymlink) {
			all = append(all, name)
		}
		return err
	}))
	for i := len(all) - 1; i >= 0; i-- {
		ts := unix.NsecToTimespec(1.6e18 + int64(i)*1e9 + 123456789)
		check(t, unix.UtimesNanoAt(unix.AT_FDCWD, all[i], []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// NoSetID clears the set-user-ID and set-group-ID bits of everything in dir, for tests
// of code that does not restore them.
func NoSetID(t T, dir string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Type() == fs.ModeSymlink {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			err = os.Chmod(name, info.Mode()&(fs.ModePerm|fs.ModeSticky))
		}
		return err
	}))
}

// Equal reports a test error for every way in which folder b differs from a.
func Equal(t testing.TB, a, b string) {
	t.Helper()
	for _, d := range Differences(a, b) {
		t.Error(d)
	}
}

// Differences returns every way in which folder b differs from a: names, kinds,
// contents, modes, times to the nanosecond, and the targets of links.
func Differences(a, b string) (found []string) {
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	in, err := tree(a)
	if err != nil {
		say("%v", err)
	}
	out, err := tree(b)
	if err != nil {
		say("%v", err)
	}
	for name := range out {
		if _, ok := in[name]; !ok {
			say("%q is too many", name)
		}
	}
	for name, want := range in {
		got, ok := out[name]
		if !ok {
			say("%q is missing", name)
			continue
		}
		if got != want {
			say("%q is %s, want %s", name, got, want)
		}
		if strings.HasPrefix(want, "-") {
			x, xerr := os.ReadFile(filepath.Join(a, name))
			y, yerr := os.ReadFile(filepath.Join(b, name))
			if xerr != nil || yerr != nil || !bytes.Equal(x, y) {
				say("%q has other contents (%v, %v)", name, xerr, yerr)
			}
		}
	}
	return found
}

// tree describes everything below dir, by path.
func tree(dir string) (map[string]string, error) {
	all := map[string]string{}
	return all, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		size, target := info.Size(), ""
		if info.IsDir() {
			size = 0
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err = os.Readlink(name)
		}
		all[rel] = fmt.Sprintf("%v %d %d.%09d %q", info.Mode(), size, info.ModTime().Unix(), info.ModTime().Nanosecond(), target)
		return err
	})
}

func check(t T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
