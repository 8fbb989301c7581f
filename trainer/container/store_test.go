package container

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// SageMaker does not always keep the folders of what it brings: a file is found by
// its base name then, the one whose path has the most of the name. Records are in
// their place or nowhere.
func TestChannelStore(t *testing.T) {
	base := t.TempDir()
	meta := filepath.Join(base, "input", "data", MetaChannel)
	for name, text := range map[string]string{
		"d/versions/0000000001.vpk":          "in its place",
		"a/versions/0000000002.vpk":          "another dataset's",
		"p/q/d/versions/0000000002.vpk":      "below other folders",
		"flat.vpk":                           "flat",
		"a/d/opened/training/elsewhere.vpk":  "a record elsewhere",
		"d/opened/training/in-its-place.vpk": "a record",
	} {
		file := filepath.Join(meta, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := openStore(&Config{BaseDir: base})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for name, want := range map[string]string{
		"d/versions/0000000001.vpk":          "in its place",
		"d/versions/0000000002.vpk":          "below other folders",
		"a/versions/0000000002.vpk":          "another dataset's",
		"d/index/flat.vpk":                   "flat",
		"d/opened/training/in-its-place.vpk": "a record",
		"d/opened/training/elsewhere.vpk":    "",
		"d/index/none.vpk":                   "",
	} {
		r, err := s.Get(t.Context(), name, 0, -1)
		if err != nil {
			if want != "" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v; want %q", name, b, err, want)
		}
	}
	for what, err := range map[string]error{
		"Create":  s.Create(t.Context(), "d/versions/0000000009.vpk", []byte("x")),
		"Replace": s.Replace(t.Context(), "d/versions/0000000001.vpk", nil, []byte("x")),
	} {
		if err == nil {
			t.Errorf("%s writes to a channel", what)
		}
	}
}
