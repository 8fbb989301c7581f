package restore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/place"
)

func placed(t *testing.T, opts Options, entries []*tree.Entry, dir string) (Result, error) {
	t.Helper()
	d := datasettest.New(t)
	return Run(ctx, datasettest.Commit(t, d, entries), dir, opts)
}

// No link that a restore makes leads out of the destination, judged where it comes to
// lie, and nothing is placed below a link.
func TestNoLinkLeadsOut(t *testing.T) {
	dir := func(p string) *tree.Entry { return &tree.Entry{Path: p, Mode: 0o755} }
	link := func(p, to string) *tree.Entry { return &tree.Entry{Path: p, Mode: 0o777, Link: to} }
	for name, test := range map[string]struct {
		there   func(out string) error
		entries []*tree.Entry
		failed  string
	}{
		"below a link of the index":  {nil, []*tree.Entry{dir(""), dir("s/"), dir("x/"), dir("x/y/"), link("x/y/z", "../../s"), link("x/y/z/l", "../../target")}, "x/y/z/l"},
		"a file and a folder":        {nil, []*tree.Entry{dir(""), {Path: "a", Mode: 0o644}, dir("a/"), {Path: "a/b", Mode: 0o644}}, "a a/b"},
		"below a link that is there": {func(out string) error { return errors.Join(os.Mkdir(out+"/s", 0o755), os.Symlink("s", out+"/z")) }, []*tree.Entry{dir(""), dir("z/"), link("z/l", "../t")}, "z z/l"},
		"through a link that is there": {func(out string) error { return os.Symlink("/etc", out+"/ext") },
			[]*tree.Entry{dir(""), link("l", "ext/passwd")}, "l"},
		"through two links that are there": {func(out string) error {
			return errors.Join(os.Mkdir(out+"/d", 0o755), os.Symlink("../..", out+"/d/up"), os.Symlink("d/up", out+"/m"))
		}, []*tree.Entry{dir(""), link("l", "m/x")}, "l"},
		"to itself": {nil, []*tree.Entry{dir(""), link("l", "l")}, ""},
		"sound":     {nil, []*tree.Entry{dir(""), link("l", "s"), dir("s/"), link("s/m", "../l/n")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			if test.there != nil {
				if err := errors.Join(os.Mkdir(out, 0o755), test.there(out)); err != nil {
					t.Fatal(err)
				}
			}
			var failed []string
			opts := Options{Failed: func(p string, err error) { failed = append(failed, p); t.Log(p, err) }}
			_, err := placed(t, opts, test.entries, out)
			if got := strings.Join(failed, " "); got != test.failed || (err == nil) != (test.failed == "") {
				t.Errorf("failed: %q, want %q; %v", got, test.failed, err)
			}
		})
	}
}

// Times that do not fit into nanoseconds since 1970, of files, links and folders.
func TestTimesBeyond2262(t *testing.T) {
	tm := time.Unix(9_999_999_999, 5)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := placed(t, Options{}, []*tree.Entry{{Path: "", Mode: 0o755, ModTime: tm}, {Path: "a", Mode: 0o644, ModTime: tm},
		{Path: "d/", Mode: 0o700, ModTime: tm}, {Path: "l", Mode: 0o777, Link: "a", ModTime: tm}}, out); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"", "a", "d", "l"} {
		if info, err := os.Lstat(filepath.Join(out, p)); err != nil || !place.HeldTime(info.ModTime(), tm) {
			t.Errorf("%q: %v, %v", p, info.ModTime(), err)
		}
	}
}

// A folder that is there keeps its mode and time; those that lead to a selected file have
// the version's; set-ID bits are left out unless asked for.
func TestAttributes(t *testing.T) {
	out := t.TempDir()
	old := time.Unix(1e9, 7)
	if err := errors.Join(os.Chmod(out, 0o777|fs.ModeSticky), os.Chtimes(out, old, old)); err != nil {
		t.Fatal(err)
	}
	entries := []*tree.Entry{{Path: "", Mode: 0o700}, {Path: "p/", Mode: 0o710}, {Path: "p/d/", Mode: 0o700}, {Path: "p/d/f", Mode: 0o755 | fs.ModeSetuid},
		{Path: "q/", Mode: 0o755}}
	opts := Options{Select: func(e *tree.Entry) bool { return e.Path == "p/d/f" }}
	if res, err := placed(t, opts, entries, out); err != nil || res.SetIDs != 1 {
		t.Fatal(err, res.SetIDs)
	}
	for p, want := range map[string]fs.FileMode{"": 0o777 | fs.ModeSticky, "p": 0o710, "p/d": 0o700, "p/d/f": 0o755} {
		if info, err := os.Stat(filepath.Join(out, p)); err != nil || info.Mode()&fsys.ModeMask != want {
			t.Errorf("%q: %v, want %v (%v)", p, info.Mode(), want, err)
		}
	}
	if info, err := os.Stat(out); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("the destination has the time %v", info.ModTime())
	}
	if _, err := os.Stat(filepath.Join(out, "q")); err == nil {
		t.Error("q was not selected")
	}
	if _, err := placed(t, Options{PreserveSetID: true}, entries, out); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(out, "p/d/f")); err != nil || info.Mode()&fs.ModeSetuid == 0 {
		t.Errorf("with PreserveSetID: %v", info.Mode())
	}
}

// A file is what its SHA-256 says, or it is not restored.
func TestRecordedSum(t *testing.T) {
	d := datasettest.New(t)
	l, err := commit.Begin(ctx, d, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.End(ctx)
	key, err := l.NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("0123456789"), 300_000)
	pack := func(b []byte) *tree.Object {
		o, err := objects.Of(d).WritePack(ctx, key, func(w io.Writer) error { _, err := w.Write(b); return err })
		if err != nil {
			t.Fatal(err)
		}
		return &o
	}
	half := int64(len(large) / 2)
	a, b, small := pack(large[:half]), pack(large[half:]), pack([]byte("small"))
	file := func(p string, sum [32]byte, x ...tree.Extent) *tree.Entry {
		e := &tree.Entry{Path: p, Mode: 0o644, Sum: sum[:], Extents: x}
		for _, x := range x {
			e.Size += x.Length
		}
		return e
	}
	other := sha256.Sum256([]byte("other"))
	two := []tree.Extent{{Pack: a, Length: half}, {Pack: b, Length: half, At: half}}
	w := commit.NewIndex(d, key, nil)
	for _, e := range []*tree.Entry{
		file("empty", other), file("large", sha256.Sum256(large), two...), file("large-bad", other, two...),
		file("small", sha256.Sum256([]byte("small")), tree.Extent{Pack: small, Length: 5}), file("small-bad", other, tree.Extent{Pack: small, Length: 5}),
	} {
		if err := w.Add(ctx, e, commit.Step{}); err != nil {
			t.Fatal(err)
		}
	}
	made, _, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := l.Commit(ctx, key, made)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	_, err = Run(ctx, v, out, Options{})
	if !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("restore: %v", err)
	}
	names, _ := os.ReadDir(out)
	if got := fmt.Sprint(names); len(names) != 2 || names[0].Name() != "large" || names[1].Name() != "small" {
		t.Errorf("restored: %v", got)
	}
	res, err := verify.Run(ctx, v, verify.Options{})
	if !errors.Is(err, envelope.ErrAuthentication) || res.Failures != 3 || res.Packs != 3 {
		t.Errorf("verify: %v, %d failures, %d packs", err, res.Failures, res.Packs)
	}
	for _, p := range []string{"empty", "large-bad", "small-bad"} {
		e, err := v.Lookup(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.WriteFile(ctx, &bytes.Buffer{}, e); !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", p, err)
		}
	}
}
