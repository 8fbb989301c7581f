package handover_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/handover"
	"github.com/vaultpack/vaultpack/internal/objects"
)

var contents = map[string]string{"a.txt": "one", "b/\xff.bin": "two", "empty": ""}

// What is handed over names every file, and its keyrings open with the key that was given
// and have no data key in them.
func TestWrite(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.Packed(t, d, slices.Sorted(maps.Keys(contents)), contents)
	key := envelope.GenerateLocalKey()
	var out bytes.Buffer
	if err := handover.Write(t.Context(), &out, d, v, key); err != nil {
		t.Fatal(err)
	}
	var paths []string
	var last struct {
		End      bool
		Entries  int
		Keyrings []string
	}
	for line := range strings.Lines(out.String()) {
		var e struct {
			Path    *string
			Path64  []byte
			Extents [][3]int64
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Path != nil {
			paths = append(paths, *e.Path+string(e.Path64))
		}
		last.End = false
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatal(err)
		}
	}
	if !last.End || last.Entries != len(paths) || len(last.Keyrings) != 1 {
		t.Fatalf("the end is %+v of %d entries", last, len(paths))
	}
	for path := range contents {
		if !slices.Contains(paths, path) {
			t.Errorf("%q is not in it: %q", path, paths)
		}
	}
	ring, err := envelope.ParseKeyring([]byte(last.Keyrings[0]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Unwrap(t.Context(), objects.Of(d).Context(), key); err != nil {
		t.Error(err)
	}
	if _, err := ring.Unwrap(t.Context(), objects.Of(d).Context(), envelope.GenerateLocalKey()); err == nil {
		t.Error("any key opens it")
	}
}

// Requests are answered in their order, and what is not in the vault is told; nothing but
// packs of the dataset can be named.
func TestServe(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.Packed(t, d, slices.Sorted(maps.Keys(contents)), contents)
	all, err := v.Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, size := all.Packs[0].ID.String(), all.Packs[0].Pin.Size
	f := &handover.Fetcher{Store: d.Vault().Store, Dataset: d.Name, Code: func(error) int { return 7 }}
	var in strings.Builder
	for i := range 40 {
		fmt.Fprintf(&in, "%s %d 8\n", id, i)
	}
	fmt.Fprintf(&in, "%s 0 %d\n%s 0 1\n", id, size+100, strings.Repeat("0", 64))
	var out bytes.Buffer
	if err := f.Serve(t.Context(), strings.NewReader(in.String()), &out); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(&out)
	var sealed []byte
	for i := range 41 {
		head, _ := r.ReadString('\n')
		var n int
		if _, err := fmt.Sscanf(head, "OK %d\n", &n); err != nil {
			t.Fatalf("answer %d: %q", i, head)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
		if i < 40 {
			sealed = append(sealed, b[0])
		} else if int64(n) != size || !bytes.HasPrefix(b, sealed) {
			t.Errorf("%d bytes of %d, and the ranges are those of the pack: %v", n, size, bytes.HasPrefix(b, sealed))
		}
	}
	if rest, _ := io.ReadAll(r); !strings.HasPrefix(string(rest), "ERR 7 ") || !strings.Contains(string(rest), "missing") {
		t.Errorf("the last answer is %q", rest)
	}
	for _, bad := range []string{"x 0 1", id + " 0 0", id + " -1 1", id + " 0 99999999999", "../keys/" + id + " 0 1", id + " 0", ""} {
		if err := f.Serve(t.Context(), strings.NewReader(bad+"\n"), io.Discard); err == nil {
			t.Errorf("%q was answered", bad)
		}
	}
}

// A version is made at the commit, and by nothing else.
func TestReceive(t *testing.T) {
	file := func(name, contents string) string {
		return fmt.Sprintf("{\"create\":%q,\"mode\":420}\n{\"bytes\":%d}\n%s{\"close\":true}\n", name, len(contents), contents)
	}
	const commit = "{\"commit\":true}\n"
	for name, c := range map[string]struct {
		in   string
		want []string // nil if it fails
	}{
		"files":             {file("a", "x\n{}\n") + file("b", "y") + commit, []string{"a", "b"}},
		"a sample":          {"{\"sample\":true}\n" + file("s.png", "1") + file("s.cls", "2") + "{\"together\":true}\n" + commit, []string{"s.cls", "s.png"}},
		"an aborted file":   {file("a", "x") + "{\"create\":\"b\"}\n{\"bytes\":1}\nx{\"abort\":true}\n" + commit, []string{"a"}},
		"no commit":         {file("a", "x"), nil},
		"nothing":           {"", nil},
		"cut in the line":   {file("a", "x") + commit[:8], nil},
		"cut in the bytes":  {"{\"create\":\"a\"}\n{\"bytes\":100}\nx", nil},
		"an open file":      {"{\"create\":\"a\"}\n{\"bytes\":1}\nx" + commit, nil},
		"an open sample":    {"{\"sample\":true}\n" + file("a", "x") + commit, nil},
		"two files at once": {"{\"create\":\"a\"}\n{\"create\":\"b\"}\n{\"close\":true}\n" + commit, nil},
		"bytes of no file":  {"{\"bytes\":1}\nx" + commit, nil},
		"no step":           {"{}\n" + commit, nil},
		"no JSON":           {"hello\n" + commit, nil},
		"a bad path":        {file("../a", "x") + commit, nil},
		"too long":          {"{\"create\":\"" + strings.Repeat("x", 300<<10) + "\"}\n" + commit, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := datasettest.New(t)
			w, err := ingest.New(t.Context(), d, ingest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			v, err := handover.Receive(t.Context(), strings.NewReader(c.in), w)
			w.Close()
			if c.want == nil {
				if err == nil {
					t.Fatal("a version was made")
				}
				if _, err := d.Latest(t.Context()); !errors.Is(err, dataset.ErrUnknownDataset) {
					t.Errorf("there is a version: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for e, err := range v.Entries(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if e.IsFile() {
					got = append(got, e.Path)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("it has %q, want %q", got, c.want)
			}
		})
	}
}
