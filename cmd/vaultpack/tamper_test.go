package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// scratch is a folder in memory where there is one: waiting for a disk thousands
// of times proves nothing here.
func scratch(t testing.TB) string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "vaultpack-test-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			return dir
		}
	}
	return t.TempDir()
}

// inProcess runs commands in this process, with their output in a file.
func inProcess(t testing.TB, home string) (command func(args ...string) int, output func() string) {
	t.(*testing.T).Setenv("VAULTPACK_HOME", home)
	log, err := os.Create(filepath.Join(scratch(t), "log"))
	if err != nil {
		t.Fatal(err)
	}
	w := process()
	w.stdout, w.stderr = log, log
	t.Cleanup(func() { log.Close() })
	command = func(args ...string) int {
		log.Truncate(0)
		log.Seek(0, 0)
		return run(w, append([]string{"vaultpack"}, args...))
	}
	output = func() string {
		b, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return command, output
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// objects are the files of a vault.
func objects(t testing.TB, vault string) (names []string) {
	err := filepath.WalkDir(vault, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("%d objects in %s, %v", len(names), vault, err)
	}
	return names
}

// nothingWrong fails the test for every file of out that is not one of src, and
// for everything that was left half-written.
func nothingWrong(t testing.TB, src, out string) {
	t.Helper()
	err := filepath.WalkDir(out, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if e != nil && strings.HasPrefix(e.Name(), ".vaultpack") {
				t.Errorf("left behind: %s", name)
			}
			return err
		}
		rel, _ := filepath.Rel(out, name)
		want, err := os.ReadFile(filepath.Join(src, rel))
		if err != nil || !bytes.Equal(want, read(t, name)) {
			t.Errorf("%s holds what was never in the source", name)
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// Bytes of a vault flipped, one at a time, and every file of it cut at as many lengths:
// verify and restore exit with 4, and leave no wrong byte. These are the first and last
// bytes of each file, and of those between every seventeenth, in each run others.
func TestBytesOfAVault(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	dir := scratch(t)
	src, vault, out := filepath.Join(dir, "src"), filepath.Join(dir, "home", "vault"), filepath.Join(dir, "out")
	for i := range 3 {
		write(t, filepath.Join(src, fmt.Sprintf("%d/file", i)), treetest.Bytes(int64(i)*50, 3))
	}
	command, output := inProcess(t, filepath.Join(dir, "home"))
	if code := command("push", src, "-d", "d"); code != 0 {
		t.Fatal(output())
	}
	runs := 0
	check := func(what string) {
		t.Helper()
		runs++
		if code := command("verify", "d"); code != exitAuthentication {
			t.Errorf("%s: verify exits with %d\n%s", what, code, output())
		}
		if code := command("restore", "d", out); code != exitAuthentication {
			t.Errorf("%s: restore exits with %d\n%s", what, code, output())
		}
		nothingWrong(t, src, out)
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	step := 17
	if testing.Short() {
		step = 41
	}
	first := rand.IntN(step)
	kinds := map[string]bool{}
	for _, name := range objects(t, vault) {
		kinds[filepath.Base(filepath.Dir(name))] = true
		good := read(t, name)
		for i := range good {
			if i >= envelope.HeaderSize && i < len(good)-20 && i%step != first {
				continue
			}
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			write(t, name, bad)
			check(fmt.Sprintf("%s with byte %d flipped", name, i))
			write(t, name, good[:i])
			check(fmt.Sprintf("%s cut at %d", name, i))
		}
		write(t, name, append(bytes.Clone(good), 0))
		check(name + " with a byte appended")
		if filepath.Base(name) != "vaultpack-vault.json" {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if filepath.Base(filepath.Dir(name)) != "versions" { // then there is no dataset
				check(name + " removed")
			}
		}
		write(t, name, good)
	}
	if code := command("restore", "d", out); code != 0 || len(kinds) != 5 {
		t.Fatalf("with everything in its place again: %d, kinds of objects %v\n%s", code, kinds, output())
	}
	treetest.Equal(t, src, out)
	t.Logf("%d changes, from byte %d", runs, first)
}

// Each object in the place of each other of its kind, across datasets and
// versions: a version comes back as it was or not at all.
func TestSwappedObjects(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	dir := scratch(t)
	vault, out := filepath.Join(dir, "home", "vault"), filepath.Join(dir, "out")
	command, output := inProcess(t, filepath.Join(dir, "home"))
	sources := map[string]string{} // by DATASET@VERSION
	for _, d := range []string{"one", "two"} {
		for v := 1; v <= 2; v++ {
			ref := fmt.Sprintf("%s@%d", d, v)
			sources[ref] = filepath.Join(dir, ref)
			// The same names, so that one can stand in for another, and contents
			// of the same size.
			for i := range 3 {
				write(t, filepath.Join(sources[ref], fmt.Sprintf("file%d", i)), fmt.Appendf(nil, "%s, file %d", ref, i))
			}
			if code := command("push", sources[ref], "-d", d); code != 0 {
				t.Fatal(output())
			}
		}
	}
	byKind := map[string][]string{}
	for _, name := range objects(t, vault) {
		kind := filepath.Base(filepath.Dir(name))
		byKind[kind] = append(byKind[kind], name)
	}
	if len(byKind["keys"]) != 2 || len(byKind["packs"]) != 4 || len(byKind["index"]) != 4 || len(byKind["versions"]) != 4 {
		t.Fatalf("objects: %v", byKind)
	}
	refs := []string{"one@1", "one@2", "two@1", "two@2"}
	for kind, names := range byKind {
		for _, to := range names {
			good := read(t, to)
			for _, from := range names {
				if from == to {
					continue
				}
				write(t, to, read(t, from))
				var codes []int
				for _, ref := range refs {
					verified := command("verify", ref)
					code := command("restore", ref, out)
					nothingWrong(t, sources[ref], out)
					switch code {
					case 0:
						treetest.Equal(t, sources[ref], out)
					case exitAuthentication:
						if verified != exitAuthentication {
							t.Errorf("%s for %s: verify %s exits with %d, restore with %d", from, to, ref, verified, code)
						}
					default:
						t.Errorf("%s for %s: restore %s exits with %d\n%s", from, to, ref, code, output())
					}
					codes = append(codes, code)
					os.RemoveAll(out)
				}
				if !slices.Contains(codes, exitAuthentication) {
					t.Errorf("%s for %s was not noticed", from, to)
				}
				write(t, to, good)
				if t.Failed() {
					t.FailNow()
				}
			}
		}
		_ = kind
	}
}

// A failing restore leaves what is in the destination as it is.
func TestRestoreOverFilesThatAreThere(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	dir := scratch(t)
	src, out := filepath.Join(dir, "src"), filepath.Join(dir, "out")
	command, output := inProcess(t, filepath.Join(dir, "home"))
	write(t, filepath.Join(src, "a"), treetest.Bytes(3<<20, 1))
	write(t, filepath.Join(src, "b/c"), treetest.Bytes(100, 2))
	if code := command("push", src, "-d", "d"); code != 0 {
		t.Fatal(output())
	}
	write(t, filepath.Join(out, "a"), []byte("mine"))
	write(t, filepath.Join(out, "b/c"), []byte("mine too"))
	if err := os.Symlink("b", filepath.Join(out, "link")); err != nil {
		t.Fatal(err)
	}
	before := filepath.Join(dir, "before")
	if err := os.CopyFS(before, os.DirFS(out)); err != nil {
		t.Fatal(err)
	}
	packs, _ := filepath.Glob(filepath.Join(dir, "home/vault/d/packs/*"))
	good := read(t, packs[0])
	for _, at := range []int{0, 70, len(good) / 2, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		write(t, packs[0], bad)
		if code := command("restore", "d", out); code != exitAuthentication {
			t.Fatalf("restore exits with %d\n%s", code, output())
		}
		for _, name := range []string{"a", "b/c"} {
			got := read(t, filepath.Join(out, name))
			// A small file that lies wholly before the damage may be there, all of it.
			if !bytes.Equal(got, read(t, filepath.Join(before, name))) && !bytes.Equal(got, read(t, filepath.Join(src, name))) {
				t.Errorf("byte %d changed: %s is neither the old nor the new file", at, name)
			}
		}
	}
	// A folder in the place of a file, and a file in that of a folder, stay too.
	write(t, packs[0], good)
	os.RemoveAll(out)
	write(t, filepath.Join(out, "a/inside"), []byte("mine"))
	write(t, filepath.Join(out, "b"), []byte("mine too"))
	if code := command("restore", "d", out); code != exitSomeFailed {
		t.Fatalf("restore exits with %d\n%s", code, output())
	}
	if string(read(t, filepath.Join(out, "a/inside"))) != "mine" || string(read(t, filepath.Join(out, "b"))) != "mine too" {
		t.Error("a failing restore has changed what was there")
	}
	for _, want := range []string{"failed: a: a folder is in the place of this file", "failed: b: a file or a link is in the place of this folder"} {
		if !strings.Contains(output(), want) {
			t.Errorf("no %q in:\n%s", want, output())
		}
	}
}
