package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/internal/s3test"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// The sink must be a store for vaultpack that only loses what packs hold.
func TestSink(t *testing.T) {
	server := httptest.NewServer(newSink())
	defer server.Close()
	s, err := s3store.Open(t.Context(), "s3://bucket/data", s3store.Settings{Endpoint: server.URL, KMSKey: "my-key",
		LoadOptions: (&s3test.Server{Region: "us-east-1", AccessKey: "a", SecretKey: "b"}).Options()})
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, size int) error {
		return s.Put(t.Context(), name, func(w io.Writer) error { _, err := w.Write(make([]byte, size)); return err })
	}
	for name, size := range map[string]int{"d/packs/large.vpk": 20 << 20, "d/packs/small.vpk": 100} {
		if err := put(name, size); err != nil {
			t.Fatal(err)
		}
		if o, err := s.Stat(t.Context(), name); err != nil || o.Size != int64(size) {
			t.Errorf("%s: %+v, %v; want %d bytes", name, o, err, size)
		}
		if _, err := s.Get(t.Context(), name, 0, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was kept: %v", name, err)
		}
	}
	if err := s.Create(t.Context(), "d/versions/1.vpk", []byte("root")); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), "d/versions/1.vpk", []byte("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second Create gives %v", err)
	}
	r, err := s.Get(t.Context(), "d/versions/1.vpk", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "root" || err != nil {
		t.Errorf("the root is %q, %v", b, err)
	}
	if names, err := s.Folders(t.Context(), "d/"); err != nil || len(names) != 2 {
		t.Errorf("the folders are %q, %v", names, err)
	}
	if err := s.Delete(t.Context(), "d/versions/1.vpk"); err != nil {
		t.Error(err)
	}
	for o, err := range s.List(t.Context(), "d/versions/") {
		t.Errorf("%+v, %v was left", o, err)
	}
}

func TestSameTree(t *testing.T) {
	src := t.TempDir()
	if err := makeTree(t.Context(), src, 12, 100); err != nil {
		t.Fatal(err)
	}
	if files, err := listFiles(src); len(files) != 12 || err != nil {
		t.Fatalf("the tree has %d files, %v", len(files), err)
	}
	const name = "folder-0000/sample-000011.bin"
	for what, change := range map[string]func(dst string) error{
		"":              func(string) error { return nil },
		"a changed bit": func(dst string) error { return flip(filepath.Join(dst, name)) },
		"a file less":   func(dst string) error { return os.Remove(filepath.Join(dst, name)) },
		"a file more":   func(dst string) error { return os.WriteFile(filepath.Join(dst, "more"), nil, 0o644) },
		"another name":  func(dst string) error { return os.Rename(filepath.Join(dst, name), filepath.Join(dst, "x")) },
		"a byte more":   func(dst string) error { return os.Truncate(filepath.Join(dst, name), 101) },
	} {
		dst := t.TempDir()
		if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
			t.Fatal(err)
		}
		if err := change(dst); err != nil {
			t.Fatal(err)
		}
		if err := sameTree(t.Context(), src, dst); (err == nil) != (what == "") {
			t.Errorf("with %q: %v", what, err)
		}
	}
	file := filepath.Join(src, name)
	if err := sameTree(t.Context(), file, filepath.Dir(file)); err == nil {
		t.Error("one file of many is taken for the same as all")
	}
}

func flip(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[50] ^= 1
	return os.WriteFile(name, b, 0o644)
}

// The document has the marks, and what lies outside of them stays.
func TestWriteBetween(t *testing.T) {
	doc, err := os.ReadFile("../../docs/BENCHMARKS.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "doc.md")
	for _, name := range []string{"scale", "tools"} {
		if err := os.WriteFile(file, doc, 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := writeBetween(file, name, "\nthe tables\n"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		begin, end := marks(name)
		head, rest, _ := bytes.Cut(doc, []byte(begin))
		_, tail, _ := bytes.Cut(rest, []byte(end))
		want := bytes.Join([][]byte{head, []byte(begin + "\nthe tables\n" + end), tail}, nil)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: more than the tables has changed", name)
		}
	}
	if err := os.WriteFile(file, []byte("a page\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeBetween(file, "scale", ""); err == nil {
		t.Error("a document without marks was written")
	}
}
