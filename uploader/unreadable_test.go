package uploader

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
)

// unreadable makes what cannot be read of the source; tests run as root, for whom
// everything can be.
func unreadable(t *testing.T, paths ...string) {
	deny := func(open func(string) (*os.File, error)) func(string) (*os.File, error) {
		return func(name string) (*os.File, error) {
			if slices.Contains(paths, name) {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
			}
			return open(name)
		}
	}
	openSource, openFolder = deny(openRegular), deny(os.Open)
	t.Cleanup(func() { openSource, openFolder = openRegular, os.Open })
}

// What could not be read is in the newest version as it was before, and the version
// says that it is incomplete, until it can be read again.
func TestUnreadableIsKept(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	v, _, err := config.Init(ctx, &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(dir, "src")
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// push uploads the source, and says what the newest version then holds, what
	// of it is flawed, what was told, and how many flaws it counts.
	push := func() (files map[string]string, flawed, told []string, flaws int64) {
		t.Helper()
		d, err := dataset.Open(v, "d")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		var mu sync.Mutex
		opts := Options{PackSize: 64 << 10, Failed: func(path string, err error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, path)
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %v", path, err)
			}
		}, Warn: func(err error) { t.Error(err) }}
		var partial *dataset.PartialError
		if _, err := Upload(ctx, d, src, opts); err != nil && !errors.As(err, &partial) {
			t.Fatal(err)
		}
		latest, err := d.Latest(ctx)
		if err != nil {
			t.Fatal(err)
		}
		files = map[string]string{}
		for e, err := range latest.Entries(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Flaw != "" {
				flawed = append(flawed, e.Path)
			}
			if e.IsFile() {
				var b strings.Builder
				if err := latest.WriteFile(ctx, &b, e); err != nil {
					t.Fatal(err)
				}
				files[e.Path] = b.String()
			}
		}
		if got := latest.CheckComplete(); (got != nil) != (latest.Totals.Flaws > 0) || got != nil && !errors.Is(got, dataset.ErrIncomplete) {
			t.Error(got)
		}
		slices.Sort(told)
		return files, flawed, told, latest.Totals.Flaws
	}
	expect := func(step string, files map[string]string, flawed, told []string, flaws int64) {
		t.Helper()
		gotFiles, gotFlawed, gotTold, gotFlaws := push()
		for name := range gotFiles {
			if _, ok := files[name]; !ok {
				t.Errorf("%s: %s is in the version", step, name)
			}
		}
		for name, want := range files {
			if got, ok := gotFiles[name]; !ok || got != want {
				t.Errorf("%s: %s holds %.20q, want %.20q", step, name, got, want)
			}
		}
		if !slices.Equal(gotFlawed, flawed) || !slices.Equal(gotTold, told) || gotFlaws != flaws {
			t.Errorf("%s: flawed %q, told %q, %d flaws; want %q, %q, %d", step, gotFlawed, gotTold, gotFlaws, flawed, told, flaws)
		}
	}
	large, larger := strings.Repeat("l", 200<<10), strings.Repeat("L", 200<<10)
	put("a", "a1")
	put("d/e/f", "f1")
	put("d/g", "g1")
	put("large", large)
	put("z", "z1")
	expect("first", map[string]string{"a": "a1", "d/e/f": "f1", "d/g": "g1", "large": large, "z": "z1"}, nil, nil, 0)

	put("a", "a2")
	put("d/g", "g2")
	put("large", larger)
	put("new", "n1")
	if err := os.Remove(filepath.Join(src, "z")); err != nil {
		t.Fatal(err)
	}
	in := func(names ...string) (out []string) {
		for _, n := range names {
			out = append(out, filepath.Join(src, n))
		}
		return out
	}
	unreadable(t, in("d", "a", "large", "new")...)
	kept := []string{"a", "d/e/", "d/e/f", "d/g", "large"}
	told := []string{"a", "d", "large", "new"}
	expect("unreadable", map[string]string{"a": "a1", "d/e/f": "f1", "d/g": "g1", "large": large}, kept, told, 6)
	expect("still unreadable", map[string]string{"a": "a1", "d/e/f": "f1", "d/g": "g1", "large": large}, kept, told, 6)

	unreadable(t, in("d/e")...)
	expect("one folder", map[string]string{"a": "a2", "d/e/f": "f1", "d/g": "g2", "large": larger, "new": "n1"}, []string{"d/e/f"}, []string{"d/e"}, 1)
	unreadable(t)
	expect("all of it", map[string]string{"a": "a2", "d/e/f": "f1", "d/g": "g2", "large": larger, "new": "n1"}, nil, nil, 0)

	// What cannot be read, and was never read, is missing; and once it is gone,
	// nothing is.
	put("b", "b1")
	unreadable(t, in("b")...)
	rest := map[string]string{"a": "a2", "d/e/f": "f1", "d/g": "g2", "large": larger, "new": "n1"}
	expect("a new file", rest, nil, []string{"b"}, 1)
	if err := os.Remove(filepath.Join(src, "b")); err != nil {
		t.Fatal(err)
	}
	expect("the new file is gone", rest, nil, nil, 0)
	put("c/x", "x1")
	unreadable(t, in("c")...)
	expect("a new folder", rest, nil, []string{"c"}, 1)
}
