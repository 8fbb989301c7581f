package uploader_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Entries stand in the order of their paths, in which a folder's name ends in a
// slash: beside names that continue with bytes below the slash and above it.
func TestFoldersStandInTheOrderOfPaths(t *testing.T) {
	v, src := newVault(t), t.TempDir()
	var want []string
	for _, name := range []string{"", "a!", "a-b/", "a-b/x", "a.b", "a.b.c/", "a.b.c/x", "a/", "a/x", "a0/", "a0/x", "ab", "b#/", "b#/x", "b/", "b/x", "b~"} {
		want = append(want, name)
		file := filepath.Join(src, name)
		if filepath.Base(name) != "x" && (name == "" || name[len(name)-1] == '/') {
			if err := os.MkdirAll(file, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(name), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	_, res := upload(t, v, "d", src)
	var got []string
	for e, err := range res.Version.Entries(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Path)
	}
	if !slices.Equal(got, want) || !slices.IsSorted(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	restoreTo(t, res.Version, filepath.Join(t.TempDir(), "out"))
}
