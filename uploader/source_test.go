package uploader_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/uploader"
)

// tree makes files with their names as contents, folders (a slash at the end) and
// links (name -> target).
func treeOf(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		name, target, isLink := strings.Cut(name, " -> ")
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(strings.ReplaceAll(target, "DIR", dir), file)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(file, 0o755)
		default:
			err = os.WriteFile(file, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// told runs an upload and gives what it has told.
func told(t *testing.T, d *dataset.Dataset, source string, opts uploader.Options) (res *uploader.Result, failed, skipped []string, warned []error, err error) {
	t.Helper()
	opts.PackSize = packSize
	opts.Failed = func(path string, _ error) { failed = append(failed, path) }
	opts.Skipped = func(path, _ string) { skipped = append(skipped, path) }
	opts.Warn = func(err error) { warned = append(warned, err) }
	res, err = uploader.Upload(ctx, d, source, opts)
	return res, failed, skipped, warned, err
}

func paths(t *testing.T, v *dataset.Version) (names []string) {
	t.Helper()
	for e, err := range v.Entries(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		name := e.Path
		if e.IsLink() {
			name += " -> " + e.Link
		}
		names = append(names, name)
	}
	return names
}

func TestLinks(t *testing.T) {
	v := newVault(t)
	cache := treeOf(t, "blobs/one", "blobs/two", "data/x", "data/sub/y", "snapshot/b.bin -> ../blobs/one", "snapshot/a.bin -> DIR/blobs/two",
		"snapshot/more -> ../data", "snapshot/here -> b.bin", "snapshot/gone -> ../blobs/none", "snapshot/sub/up -> ..", "snapshot/plain")
	os.Symlink(v.Location, filepath.Join(cache, "snapshot", "vault"))
	os.Symlink(filepath.Join(v.Location, "vaultpack-vault.json"), filepath.Join(cache, "snapshot", "marker"))
	source := filepath.Join(cache, "snapshot")
	own := []string{v.Location}

	res, failed, _, warned, err := told(t, open(t, v, "keep"), source, uploader.Options{Own: own})
	if err != nil || len(failed) > 0 || len(warned) != 1 || !errors.Is(warned[0], uploader.ErrLinksOut) || res.Stats.KeptLinks != 8 || res.Stats.LinksOut != 7 {
		t.Errorf("keep: %v, %q failed, warned %q, %d links, %d out", err, failed, warned, res.Stats.KeptLinks, res.Stats.LinksOut)
	}
	if got := paths(t, res.Version); !slices.Contains(got, "b.bin -> ../blobs/one") {
		t.Errorf("keep: %q", got)
	}

	forbid := open(t, v, "error")
	if _, _, _, _, err := told(t, forbid, source, uploader.Options{Own: own, Links: uploader.ForbidLinks}); !errors.Is(err, uploader.ErrLinksOut) || !strings.Contains(err.Error(), `"a.bin"`) {
		t.Errorf("error: %v", err)
	}
	if _, err := forbid.Latest(ctx); !errors.Is(err, dataset.ErrUnknownDataset) {
		t.Errorf("error: a version was made: %v", err)
	}

	res, failed, skipped, warned, err := told(t, open(t, v, "follow"), source, uploader.Options{Own: own, Links: uploader.FollowLinks})
	var partial *dataset.PartialError
	if !errors.As(err, &partial) || partial.Count != 2 || !slices.Equal(failed, []string{"gone", "sub/up"}) || !slices.Equal(skipped, []string{"marker", "vault"}) || len(warned) > 0 {
		t.Errorf("follow: %v, %q failed, %q skipped, %q", err, failed, skipped, warned)
	}
	got := slices.DeleteFunc(paths(t, res.Version), func(p string) bool { return p == "gone" || p == "sub/up" })
	if want := []string{"", "a.bin", "b.bin", "here", "more/", "more/sub/", "more/sub/y", "more/x", "plain", "sub/"}; !slices.Equal(got, want) {
		t.Errorf("follow: %q", got)
	}
	out := t.TempDir()
	restoreTo(t, res.Version, out)
	if b, _ := os.ReadFile(filepath.Join(out, "b.bin")); string(b) != "blobs/one" {
		t.Errorf("followed, b.bin is %q", b)
	}

	inside := treeOf(t, "f", "l -> f", "d/m -> ../f")
	if res, failed, _, warned, err := told(t, open(t, v, "inside"), inside, uploader.Options{Links: uploader.ForbidLinks}); err != nil || len(failed)+len(warned) > 0 || res.Stats.KeptLinks != 2 {
		t.Errorf("links within the source: %v, %q, %q", err, failed, warned)
	}
}

// What killed processes have left in a folder is no data. What only looks like it is.
func TestLeftovers(t *testing.T) {
	random := strings.Repeat("A2", 13)
	source := treeOf(t, "f", ".vaultpack-restore-"+random+"/staged", "sub/.vaultpack-"+random, ".vaultpack-open-"+random+"/x",
		".vaultpack-restore-"+fsys.Self().String()+"-"+random+"/staged", ".vaultpack-"+fsys.Self().String()+"-"+random, ".vaultpack-claim-0123456789abcdef0123",
		".vaultpack-restore-mine/kept", ".vaultpack-notes", ".vaultpack-"+random+".txt")
	res, failed, skipped, _, err := told(t, open(t, newVault(t), "d"), source, uploader.Options{})
	if err != nil || len(failed) > 0 || len(skipped) != 6 {
		t.Fatal(err, failed, skipped)
	}
	want := []string{"", ".vaultpack-" + random + ".txt", ".vaultpack-notes", ".vaultpack-restore-mine/", ".vaultpack-restore-mine/kept", "f", "sub/"}
	if got := paths(t, res.Version); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestPatternsThatMatchNothing(t *testing.T) {
	source := treeOf(t, "a/x.jpg", "b/y.png")
	tests := []struct {
		include, exclude []string
		files            int64 // -1: refused
		warned           int
	}{
		{[]string{"*.jpg"}, nil, 1, 0},
		{[]string{"*.jpg", "*.gif"}, nil, -1, 0},
		{[]string{"./a"}, nil, 1, 0},
		{nil, []string{"./a"}, 1, 0},
		{nil, []string{"a//"}, 1, 0},
		{nil, []string{"./a/./x.jpg", "*.gif", "!*.bmp"}, 1, 2},
		{[]string{"a/x.jpg"}, []string{"a"}, -1, 0},
	}
	for _, tt := range tests {
		filter, err := uploader.NewFilter(tt.include, tt.exclude)
		if err != nil {
			t.Fatal(err)
		}
		progress := &uploader.Progress{}
		_, _, _, warned, err := told(t, open(t, newVault(t), "d"), source, uploader.Options{Filter: filter, Progress: progress})
		found := progress.Stats().Files
		if tt.files < 0 != errors.Is(err, uploader.ErrNoMatch) || tt.files >= 0 && (err != nil || found != tt.files) || len(warned) != tt.warned {
			t.Errorf("include %q, exclude %q: %d files, %v, %q", tt.include, tt.exclude, found, err, warned)
		}
	}
	for _, p := range []string{"", "!", "/", ".", "./", "../a", "a/../b", "a/..", "[", "a/[b"} {
		if _, err := uploader.NewFilter(nil, []string{p}); err == nil {
			t.Errorf("the pattern %q, which can match nothing, is taken", p)
		}
	}
}

// A folder that has lost its files is not uploaded unless that is meant.
func TestEmptiedSource(t *testing.T) {
	v := newVault(t)
	source := treeOf(t, slices.Repeat([]string{"f"}, 1)...)
	upload(t, v, "d", source)
	for _, dry := range []bool{true, false} {
		if _, _, _, _, err := told(t, open(t, v, "d"), t.TempDir(), uploader.Options{DryRun: dry}); !errors.Is(err, uploader.ErrEmptied) {
			t.Errorf("dry run %v: %v", dry, err)
		}
	}
	if v, err := open(t, v, "d").Latest(ctx); err != nil || v.Number != 1 {
		t.Errorf("version %d, %v", v.Number, err)
	}
	if res, _, _, _, err := told(t, open(t, v, "d"), t.TempDir(), uploader.Options{AllowEmpty: true}); err != nil || res.Version.Number != 2 {
		t.Errorf("allowed: %v", err)
	}
	upload(t, newVault(t), "new", t.TempDir()) // nothing is lost by an empty first version
}

func TestStreamCounts(t *testing.T) {
	v := newVault(t)
	upload(t, v, "d", treeOf(t, "one", "two", "s"))
	stream := func(text, name string, allowEmpty bool) (uploader.Stats, error) {
		res, err := uploader.UploadStream(ctx, open(t, v, "d"), strings.NewReader(text), name, uploader.Options{PackSize: packSize, AllowEmpty: allowEmpty})
		if err != nil {
			return uploader.Stats{}, err
		}
		return res.Stats, nil
	}
	if _, err := stream("", "s", false); !errors.Is(err, uploader.ErrEmptied) {
		t.Errorf("an empty stream: %v", err)
	}
	u, err := stream("text", "s", false)
	if err != nil || u.Added != 0 || u.Changed != 1 || u.Removed != 2 {
		t.Errorf("%d added, %d changed, %d removed, %v", u.Added, u.Changed, u.Removed, err)
	}
	u, err = stream("", "other", true)
	if err != nil || u.Added != 1 || u.Changed != 0 || u.Removed != 1 {
		t.Errorf("%d added, %d changed, %d removed, %v", u.Added, u.Changed, u.Removed, err)
	}
}
