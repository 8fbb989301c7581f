package sealedcheckpoints

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

var ctx = context.Background()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sound(context.Context, *Set, [sha256.Size]byte, []byte) error { return nil }

// A host is one of a job's, with its two folders.
type host struct {
	t   *testing.T
	dir string
	k   *Keeper
	o   Options
	log []string
}

func newHost(t *testing.T, name string, key *envelope.LocalKey) *host {
	h := &host{t: t, dir: t.TempDir()}
	h.o = Options{Plain: filepath.Join(h.dir, "plain"), Sealed: filepath.Join(h.dir, "sealed"), Mark: Mark{Job: "job", Dataset: "d"}, Host: name, Key: key, Verify: sound,
		Logf: func(format string, args ...any) { h.log = append(h.log, fmt.Sprintf(format, args...)) }}
	return h
}

func (h *host) open() {
	h.t.Helper()
	var err error
	h.k, err = Open(ctx, h.o)
	check(h.t, err)
	h.t.Cleanup(func() { h.k.Close() })
	h.k.rest = 0
}

func (h *host) write(name, text string) {
	h.t.Helper()
	file := filepath.Join(h.o.Plain, name)
	check(h.t, os.MkdirAll(filepath.Dir(file), 0o755))
	check(h.t, os.WriteFile(file, []byte(text), 0o644))
}

func (h *host) remove(name string) { check(h.t, os.RemoveAll(filepath.Join(h.o.Plain, name))) }

// pass takes two looks, so that what is there is finished.
func (h *host) pass() {
	h.t.Helper()
	check(h.t, h.k.pass(ctx, running))
	check(h.t, h.k.pass(ctx, running))
}

// plain are the script's files.
func (h *host) plain() map[string]string { return contents(h.t, h.o.Plain) }

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	check(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		if e.Type()&fs.ModeSymlink != 0 {
			all[rel], err = os.Readlink(name)
			all[rel] = "-> " + all[rel]
			return err
		}
		b, err := os.ReadFile(name)
		all[rel] = string(b)
		return err
	}))
	return all
}

// again is the host of the next attempt, which finds what is stored.
func (h *host) again(stored string) *host {
	n := newHost(h.t, h.o.Host, h.o.Key)
	check(h.t, os.CopyFS(n.o.Sealed, os.DirFS(stored)))
	return n
}

func (h *host) finds(want map[string]string) {
	h.t.Helper()
	if got := h.plain(); !maps.Equal(got, want) {
		h.t.Errorf("there are %q, want %q", got, want)
	}
}

// What is renamed, replaced and removed is so after a restart too, and what is stored has
// nothing in the clear and does not grow.
func TestRestarts(t *testing.T) {
	h := newHost(t, "algo-1", envelope.GenerateLocalKey())
	h.open()
	h.finds(map[string]string{})
	h.write("epoch-1/weights", "the weights 1")
	h.write("log", "a")
	check(t, os.Chmod(filepath.Join(h.o.Plain, "log"), 0o640))
	check(t, os.Symlink(filepath.Join(h.o.Plain, "epoch-1"), filepath.Join(h.o.Plain, "latest")))
	check(t, os.Symlink("/etc/passwd", filepath.Join(h.o.Plain, "out")))
	h.write("odd \xff", "")
	h.pass()
	for i := 2; i < 12; i++ {
		h.write(fmt.Sprintf("epoch-%d/weights.tmp", i), fmt.Sprint("the weights ", i))
		check(t, os.Rename(filepath.Join(h.o.Plain, fmt.Sprintf("epoch-%d/weights.tmp", i)), filepath.Join(h.o.Plain, fmt.Sprintf("epoch-%d/weights", i))))
		h.write("log", strings.Repeat("a", i))
		h.remove(fmt.Sprintf("epoch-%d", i-1))
		h.remove("latest")
		check(t, os.Symlink(fmt.Sprintf("epoch-%d", i), filepath.Join(h.o.Plain, "latest")))
		h.pass()
	}
	want := h.plain()
	delete(want, "out")
	n := h.again(h.o.Sealed)
	n.open()
	n.finds(want)
	if info, err := os.Stat(filepath.Join(n.o.Plain, "log")); err != nil || info.Mode() != 0o640 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	stored := contents(t, h.o.Sealed)
	for name, b := range stored {
		if strings.Contains(b, "weights") || strings.Contains(b, "aaaa") {
			t.Errorf("%s is in the clear", name)
		}
	}
	if len(stored) > 3*3+2+2 { // of two sets, some freed, the sets, the mark
		t.Errorf("%d files are stored: %v", len(stored), slices.Sorted(maps.Keys(stored)))
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir, "*")); len(left) != 3 {
		t.Errorf("there are %v", left)
	}
	// It goes on from there, and seals nothing again that is sealed.
	before := contents(t, n.o.Sealed)
	n.pass()
	if got := contents(t, n.o.Sealed); !maps.Equal(got, before) {
		t.Error("what was opened is sealed again")
	}
	n.write("epoch-12/weights", "x")
	n.pass()
	last := n.again(n.o.Sealed)
	last.open()
	want["epoch-12/weights"] = "x"
	last.finds(want)
	if out := strings.Join(h.log, "\n"); !strings.Contains(out, `"out" among the checkpoints is a link that leads out`) {
		t.Error(out)
	}
}

// A file that is open for writing, or has just changed, is in no set; after a while the others
// are, and what the last set had stays.
func TestUnfinished(t *testing.T) {
	h := newHost(t, "algo-1", envelope.GenerateLocalKey())
	h.open()
	h.write("a", "1")
	h.write("b", "1")
	check(t, h.k.pass(ctx, running))
	if h.k.number != 0 {
		t.Fatal("what was seen once is taken for finished")
	}
	h.pass()
	f, err := os.OpenFile(filepath.Join(h.o.Plain, "a"), os.O_WRONLY|os.O_TRUNC, 0)
	check(t, err)
	_, err = f.WriteString("half of ")
	check(t, err)
	h.write("b", "2")
	h.remove("gone")
	if !isBeingWritten(open(t, filepath.Join(h.o.Plain, "a"))) {
		t.Skip("there are no leases on this file system")
	}
	for range 5 {
		h.pass()
	}
	if h.k.number != 1 {
		t.Fatal("a set was made while a file was being written")
	}
	h.k.patience = 0
	h.pass()
	n := h.again(h.o.Sealed)
	n.open()
	n.finds(map[string]string{"a": "1", "b": "2"})
	h.pass()
	if h.k.number != 2 {
		t.Errorf("set %d was made of nothing new", h.k.number)
	}
	check(t, f.Close())
	h.pass()
	n = h.again(h.o.Sealed)
	n.open()
	n.finds(map[string]string{"a": "half of ", "b": "2"})
	// At the end everything is taken as it is; nothing at all is not a set.
	h.write("a", "whole")
	check(t, h.k.Finish(ctx))
	n = h.again(h.o.Sealed)
	n.open()
	n.finds(map[string]string{"a": "whole", "b": "2"})
	h.remove("a")
	h.remove("b")
	check(t, h.k.Finish(ctx))
	n = h.again(h.o.Sealed)
	n.open()
	n.finds(map[string]string{"a": "whole", "b": "2"})
}

func open(t *testing.T, file string) *os.File {
	f, err := os.Open(file)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// Wherever the upload was when the instance was lost, what is found is one of the sets that
// there were, never a mixture, and never an older one than the last that was stored whole.
func TestPartlyStored(t *testing.T) {
	h := newHost(t, "algo-1", envelope.GenerateLocalKey())
	h.open()
	bucket := t.TempDir() // what S3 has: files come one by one, in any order, and are never removed
	store := func(some bool) {
		names := slices.Collect(maps.Keys(contents(t, h.o.Sealed)))
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		if some {
			names = names[:rand.IntN(len(names)+1)]
		}
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(h.o.Sealed, name))
			check(t, err)
			check(t, os.MkdirAll(filepath.Dir(filepath.Join(bucket, name)), 0o755))
			check(t, os.WriteFile(filepath.Join(bucket, name), b, 0o644))
		}
	}
	h.k.rest = time.Hour // as it is in ten minutes of a training
	var were []map[string]string
	whole := -1
	for i := range 40 {
		if h.write("model", fmt.Sprint("model ", i)); i%2 == 0 {
			h.write("optimizer", fmt.Sprint("optimizer ", i))
		}
		h.pass()
		were = append(were, h.plain())
		if i%7 == 3 {
			store(false)
			whole = i
		} else {
			store(true)
		}
		n := h.again(bucket)
		n.open()
		got := n.plain()
		at := len(were) - 1
		for at >= 0 && !maps.Equal(were[at], got) {
			at--
		}
		if len(got) == 0 && whole < 0 {
			continue
		}
		if at < whole {
			t.Fatalf("after set %d, with %d stored whole: %q, which is set %d\n%q", i, whole, got, at, n.log)
		}
		if i == whole && at != i {
			t.Fatalf("set %d is whole and was not taken", i)
		}
		if i%10 == 9 { // the training goes on from there
			h = n
			h.k.rest = time.Hour
			bucket = t.TempDir()
			check(t, os.CopyFS(bucket, os.DirFS(h.o.Sealed)))
			were, whole = append(were[:0:0], got), 0
			for len(were) <= i {
				were = append(were, got)
			}
			whole = i
		}
	}
}

// Several hosts store into one place, and each finds what all have made.
func TestHosts(t *testing.T) {
	key := envelope.GenerateLocalKey()
	bucket := t.TempDir()
	for _, name := range []string{"algo-1", "algo-2"} {
		h := newHost(t, name, key)
		h.open()
		h.write("of-"+name, name)
		h.write("both", name)
		h.pass()
		check(t, os.CopyFS(bucket, os.DirFS(h.o.Sealed)))
	}
	want := map[string]string{"of-algo-1": "algo-1", "of-algo-2": "algo-2", "both": "algo-2"}
	for _, name := range []string{"algo-1", "algo-2"} {
		h := newHost(t, name, key)
		check(t, os.CopyFS(h.o.Sealed, os.DirFS(bucket)))
		h.open()
		h.finds(want)
		h.write("more", "1")
		h.pass()
		for _, f := range h.k.sets[len(h.k.sets)-1].Files {
			if strings.HasPrefix(string(f.Path), "of-") && string(f.Path) != "of-"+name {
				t.Errorf("%s keeps %s", name, f.Path)
			}
		}
	}
}

// Whatever somebody does to what is stored, nothing is opened that was not sealed, and
// nothing of a set that is not whole.
func TestForged(t *testing.T) {
	key := envelope.GenerateLocalKey()
	h := newHost(t, "algo-1", key)
	h.open()
	h.write("a", string(treetest.Bytes(100, 1)))
	h.write("b", "b")
	h.pass()
	h.write("b", "c")
	h.pass()
	latest := h.plain()
	before := maps.Clone(latest)
	before["b"] = "b"
	stored := func(name string) string { return filepath.Join("algo-1", name) }
	objects, err := filepath.Glob(filepath.Join(h.o.Sealed, "algo-1", "0*"))
	check(t, err)
	if len(objects) != 3 {
		t.Fatalf("there are %v", objects)
	}
	for name, c := range map[string]struct {
		do   func(dir string) error
		want map[string]string // nil: it is refused
	}{
		"nothing":           {func(string) error { return nil }, latest},
		"an object changed": {flip(stored(objectName(1)), -3), nil},
		"a header changed":  {flip(stored(objectName(1)), 3), nil},
		"an object cut":     {func(dir string) error { return os.Truncate(filepath.Join(dir, stored(objectName(3))), 200) }, before},
		"an object removed": {func(dir string) error { return os.Remove(filepath.Join(dir, stored(objectName(3)))) }, before},
		"objects exchanged": {swap(stored(objectName(2)), stored(objectName(3))), nil},
		"a set changed":     {flip(stored(setName(2)), -1), nil},
		"sets exchanged":    {swap(stored(setName(1)), stored(setName(2))), nil},
		"another host's":    {func(dir string) error { return os.Rename(filepath.Join(dir, "algo-1"), filepath.Join(dir, "algo-2")) }, nil},
		"a rollback":        {func(dir string) error { return os.Remove(filepath.Join(dir, stored(setName(2)))) }, before},
		"a file in the clear": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "algo-1", "evil.py"), []byte("x"), 0o644)
		}, latest},
		"another folder": {func(dir string) error { return exec.Command("cp", "-r", dir+"/algo-1", dir+"/x").Run() }, nil},
	} {
		n := h.again(h.o.Sealed)
		check(t, c.do(n.o.Sealed))
		k, err := Open(ctx, n.o)
		if err == nil {
			k.Close()
		}
		switch {
		case c.want == nil && !errors.Is(err, envelope.ErrAuthentication):
			t.Errorf("%s: %v", name, err)
		case c.want != nil && err != nil:
			t.Errorf("%s: %v", name, err)
		}
		if got := n.plain(); !maps.Equal(got, c.want) {
			t.Errorf("%s: there are %q", name, slices.Sorted(maps.Keys(got)))
		}
	}
	n := h.again(h.o.Sealed)
	n.o.Key = envelope.GenerateLocalKey()
	if _, err := Open(ctx, n.o); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("with another key: %v", err)
	}
	n = h.again(h.o.Sealed)
	n.o.Mark.Job = "other"
	if _, err := Open(ctx, n.o); err == nil || !strings.Contains(err.Error(), "those of job job") {
		t.Errorf("another job: %v", err)
	}
	n = h.again(h.o.Sealed)
	n.o.Verify = func(context.Context, *Set, [sha256.Size]byte, []byte) error { return envelope.ErrAuthentication }
	if _, err := Open(ctx, n.o); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("without a statement: %v", err)
	}
}

func flip(name string, at int) func(string) error {
	return func(dir string) error {
		file := filepath.Join(dir, name)
		b, err := os.ReadFile(file)
		if at < 0 {
			at += len(b)
		}
		b = bytes.Clone(b)
		b[at] ^= 1
		return errors.Join(err, os.WriteFile(file, b, 0o644))
	}
}

func swap(a, b string) func(string) error {
	return func(dir string) error {
		a, b := filepath.Join(dir, a), filepath.Join(dir, b)
		return errors.Join(os.Rename(a, a+"x"), os.Rename(b, a), os.Rename(a+"x", b))
	}
}

// The keeper follows a script that writes as scripts do, and what is there at the end is
// kept.
func TestKeep(t *testing.T) {
	h := newHost(t, "algo-1", envelope.GenerateLocalKey())
	h.open()
	h.k.every, h.k.patience = time.Millisecond, 5*time.Millisecond
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.k.Keep(running)
	}()
	for i := range 200 {
		h.write(fmt.Sprintf("tmp-%d", i), string(treetest.Bytes(int64(rand.IntN(100_000)), byte(i))))
		check(t, os.Rename(filepath.Join(h.o.Plain, fmt.Sprintf("tmp-%d", i)), filepath.Join(h.o.Plain, fmt.Sprintf("c-%d", i%5))))
		if i%10 == 0 {
			h.remove(fmt.Sprintf("c-%d", (i+1)%5))
			time.Sleep(3 * time.Millisecond)
		}
	}
	stop()
	<-done
	check(t, h.k.Finish(ctx))
	n := h.again(h.o.Sealed)
	n.open()
	n.finds(h.plain())
	for _, line := range h.log {
		if strings.Contains(line, "warning") {
			t.Error(line)
		}
	}
}

// What a statement says and a set has must be the same, and a set is what encode makes.
func FuzzDecode(f *testing.F) {
	s := &Set{Format: setFormat, Job: "j", Host: "h", Number: 1, Files: []File{{Path: []byte("a"), Size: 1, Object: 1, Sealed: 2}, {Path: []byte("l"), Link: []byte("a")}}}
	b, err := s.encode(nil)
	check(f, err)
	f.Add(b)
	f.Add([]byte("\n\n{}"))
	f.Add([]byte("a\nb\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, _, err := decode(b)
		if err != nil {
			if !errors.Is(err, envelope.ErrAuthentication) {
				t.Fatal(err)
			}
			return
		}
		for _, file := range s.Files {
			if !filepath.IsLocal(string(file.Path)) || len(file.Link) > 0 && !staysInside(string(file.Path), string(file.Link)) {
				t.Errorf("%q leads out", file.Path)
			}
		}
	})
}
