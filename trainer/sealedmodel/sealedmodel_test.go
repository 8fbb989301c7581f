package sealedmodel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

var ctx = context.Background()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// aModel is a folder with a model as a script leaves it.
func aModel(t *testing.T) string {
	dir := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(dir, "code", "deep"), 0o755))
	for name, text := range map[string]string{"weights": string(treetest.Bytes(3<<20, 1)), "empty": "", "code/run.sh": "#!/bin/sh\n", "code/deep/\xff": "odd", "already.vpk": "a name of ours", "weights.sealing": "another"} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		when := time.Unix(1_700_000_000, 0) // an archive has whole seconds
		check(t, os.Chtimes(filepath.Join(dir, name), when, when))
	}
	check(t, os.Chmod(filepath.Join(dir, "code", "run.sh"), 0o755))
	check(t, os.Symlink("weights", filepath.Join(dir, "latest")))
	return dir
}

// pack makes what SageMaker stores of a folder.
func pack(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		check(t, err)
		target := ""
		if e.Type()&fs.ModeSymlink != 0 {
			target, err = os.Readlink(path)
			check(t, err)
		}
		h, err := tar.FileInfoHeader(info, target)
		check(t, err)
		h.Name, _ = filepath.Rel(dir, path)
		check(t, w.WriteHeader(h))
		if e.Type().IsRegular() {
			f, err := os.Open(path)
			check(t, err)
			defer f.Close()
			_, err = io.Copy(w, f)
			check(t, err)
		}
		return nil
	}))
	check(t, errors.Join(w.Close(), z.Close()))
	return b.Bytes()
}

// What is sealed has nothing in the clear, opens to what it was, with its modes and links,
// and with the key of the job alone.
func TestRoundTrip(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.Packed(t, d, []string{"a"}, map[string]string{"a": "1"})
	name, err := NewKey(ctx, v, "job-1", KeyName)
	check(t, err)
	key, err := KeyOf(ctx, d, "job-1", KeyName)
	check(t, err)
	defer key.Wipe()
	if again, err := OpenKey(ctx, objects.Of(v), name); err != nil || !bytes.Equal(again.EncodeSecret(), key.EncodeSecret()) {
		t.Errorf("the same key by its name: %v", err)
	}
	dir, aside, out := aModel(t), filepath.Join(t.TempDir(), "aside"), t.TempDir()
	ref := filepath.Join(t.TempDir(), "ref")
	check(t, exec.Command("cp", "-a", dir, ref).Run())
	n, err := Seal(ctx, dir, aside, key, Mark{Job: "job-1", Dataset: "d"})
	if err != nil || n != 6 {
		t.Fatal(n, err)
	}
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if e.Type().IsRegular() && !strings.HasSuffix(path, Suffix) && !strings.HasSuffix(path, MarkName) {
			t.Errorf("%s is not sealed", path)
		}
		return err
	}))
	archive := pack(t, dir)
	m, err := FindMark(bytes.NewReader(archive))
	if err != nil || m.Job != "job-1" || m.Dataset != "d" {
		t.Errorf("the mark says %+v, %v", m, err)
	}
	o, err := Open(ctx, bytes.NewReader(archive), out, "job-1", key)
	if err != nil || o.Files != 6 || o.Weak {
		t.Fatal(o, err)
	}
	for _, name := range []string{"weights", "empty", "code/run.sh", "code/deep/\xff", "already.vpk", "weights.sealing", "latest"} {
		a, b := filepath.Join(ref, name), filepath.Join(out, name)
		was, err := os.ReadFile(a)
		check(t, err)
		is, err := os.ReadFile(b)
		check(t, err)
		before, err := os.Lstat(a)
		check(t, err)
		after, err := os.Lstat(b)
		check(t, err)
		if !bytes.Equal(was, is) || before.Mode() != after.Mode() || before.Mode().IsRegular() && !before.ModTime().Equal(after.ModTime()) {
			t.Errorf("%q: %d bytes, %v, %v; want %d bytes, %v, %v", name, len(is), after.Mode(), after.ModTime(), len(was), before.Mode(), before.ModTime())
		}
	}
}

// A model is opened on a file system that has no hard links and refuses chmod, which
// internal/fusetest names.
func TestOpenOnWeakFileSystem(t *testing.T) {
	out, weak := os.Getenv("VAULTPACK_TEST_WEAK_FOLDER"), true
	if out == "" {
		out, weak = t.TempDir(), false
	}
	key, dir := envelope.GenerateLocalKey(), aModel(t)
	_, err := Seal(ctx, dir, filepath.Join(t.TempDir(), "aside"), key, Mark{Job: "j", Dataset: "d"})
	check(t, err)
	o, err := Open(ctx, bytes.NewReader(pack(t, dir)), out, "j", key)
	if err != nil || o.Files != 6 || o.Weak != weak {
		t.Fatalf("%+v, %v; want weak: %v", o, err, weak)
	}
	for name, want := range map[string]string{"code/run.sh": "#!/bin/sh\n", "weights": string(treetest.Bytes(3<<20, 1))} {
		if b, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(b) != want {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

// A file in the place of another, of another job, cut, not sealed, or outside: nothing of it
// is taken for the job's.
func TestForgedModels(t *testing.T) {
	key, other := envelope.GenerateLocalKey(), envelope.GenerateLocalKey()
	sealed := func(key *envelope.LocalKey, job, name, text string) string {
		var b bytes.Buffer
		_, err := envelope.SealFrom(ctx, &b, strings.NewReader(text), contextOf(job, name), key)
		check(t, err)
		return b.String()
	}
	good := sealed(key, "j", "w", "weights")
	type entry struct {
		h    tar.Header
		text string
	}
	file := func(name, text string) entry {
		return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, text}
	}
	for what, c := range map[string]struct {
		entries []entry
		ok      bool
	}{
		"sound":                     {[]entry{file("w.vpk", good)}, true},
		"under another name":        {[]entry{file("v.vpk", good)}, false},
		"of another job":            {[]entry{file("w.vpk", sealed(key, "k", "w", "weights"))}, false},
		"under another key":         {[]entry{file("w.vpk", sealed(other, "j", "w", "weights"))}, false},
		"cut":                       {[]entry{file("w.vpk", good[:len(good)-1])}, false},
		"changed":                   {[]entry{file("w.vpk", good[:len(good)-1]+"x")}, false},
		"not sealed":                {[]entry{file("w", "weights")}, false},
		"not sealed, named so":      {[]entry{file("w.vpk", "weights")}, false},
		"twice":                     {[]entry{file("w.vpk", good), file("w.vpk", good)}, false},
		"outside":                   {[]entry{file("../w.vpk", good)}, false},
		"at the root":               {[]entry{file("/w.vpk", good)}, false},
		"a link outside":            {[]entry{{tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../x"}, ""}}, false},
		"a link to the root":        {[]entry{{tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, ""}}, false},
		"a file through a link":     {[]entry{{tar.Header{Name: "d", Typeflag: tar.TypeSymlink, Linkname: "."}, ""}, file("d/w.vpk", good)}, false},
		"a hard link":               {[]entry{file("w.vpk", good), {tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "w.vpk"}, ""}}, false},
		"a device":                  {[]entry{{tar.Header{Name: "d", Typeflag: tar.TypeChar}, ""}}, false},
		"a mark that is not read":   {[]entry{file(MarkName, "{}"), file("w.vpk", good)}, true},
		"a link, and a file beside": {[]entry{{tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "w"}, ""}, file("w.vpk", good)}, true},
	} {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for _, e := range c.entries {
			e.h.Size = int64(len(e.text))
			check(t, w.WriteHeader(&e.h))
			_, err := io.WriteString(w, e.text)
			check(t, err)
		}
		check(t, errors.Join(w.Close(), z.Close()))
		out := t.TempDir()
		_, err := Open(ctx, &b, out, "j", key)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
		if text, rerr := os.ReadFile(filepath.Join(out, "w")); rerr == nil && string(text) != "weights" {
			t.Errorf("%s: the file has %q", what, text)
		}
	}
	if _, err := Open(ctx, strings.NewReader("no archive"), t.TempDir(), "j", key); err == nil {
		t.Error("what is no archive is opened")
	}
	if _, err := FindMark(bytes.NewReader(pack(t, aModel(t)))); !errors.Is(err, ErrNotSealed) {
		t.Errorf("a model that is not sealed: %v", err)
	}
}

// Whatever cannot be sealed, nothing in the clear is left where SageMaker would store it,
// nothing is lost where it can be kept, and it is an error.
func TestWhatCannotBeSealed(t *testing.T) {
	key := envelope.GenerateLocalKey()
	for what, c := range map[string]struct {
		spoil func(dir string)
		kept  string
	}{
		"a pipe":                         {func(dir string) { check(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644)) }, "pipe"},
		"a file of the sealed's name":    {func(dir string) { check(t, os.WriteFile(filepath.Join(dir, "weights.vpk"), nil, 0o644)) }, "weights"},
		"a folder in the mark's place":   {func(dir string) { check(t, os.MkdirAll(filepath.Join(dir, MarkName), 0o755)) }, ""},
		"a key that was wiped meanwhile": {func(string) {}, "weights"},
	} {
		dir, aside := aModel(t), filepath.Join(t.TempDir(), "aside")
		c.spoil(dir)
		use := key
		if strings.Contains(what, "wiped") {
			use = envelope.GenerateLocalKey()
			use.Wipe()
		}
		if _, err := Seal(ctx, dir, aside, use, Mark{Job: "j", Dataset: "d"}); err == nil {
			t.Errorf("%s: no error", what)
		}
		check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && e.Type()&fs.ModeSymlink == 0 && !strings.HasSuffix(path, Suffix) {
				t.Errorf("%s: %s is left in the clear", what, path)
			}
			return err
		}))
		if c.kept != "" {
			if _, err := os.Lstat(filepath.Join(aside, c.kept)); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if _, err := Seal(ctx, t.TempDir(), "x", key, Mark{}); !errors.Is(err, ErrNoModel) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Seal(ctx, filepath.Join(t.TempDir(), "none"), "x", key, Mark{}); !errors.Is(err, ErrNoModel) {
		t.Errorf("no folder: %v", err)
	}
}
