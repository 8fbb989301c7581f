package browse_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/serve/browse"
)

// An answer is any of the page's, as far as the tests look at it.
type answer struct {
	Items   []struct{ ID, Name, Kind string }
	Changes []struct{ Change, Name string }
	Folders []struct {
		Name                    string
		Files, Bytes            int64
		Added, Changed, Removed int64
	}
	Extensions []struct {
		Name  string
		Files int64
	}
	Sizes    []int64
	Files    int64
	Versions []struct {
		Number                int64
		Message, Signer, Role string
	}
	Next string
}

// pages asks until there is no more.
func (s *stand) pages(what string, pairs ...string) (all []answer) {
	s.t.Helper()
	from := ""
	for {
		var a answer
		s.ask(&a, what, append(pairs, "from", from)...)
		all = append(all, a)
		if from = a.Next; from == "" {
			return all
		}
		if len(all) > 100 {
			s.t.Fatal("it does not end")
		}
	}
}

// A large folder comes in pages, which hold everything once; so do what is found and what is counted.
func TestPaging(t *testing.T) {
	files := map[string]string{"a-b": "x", "a.txt": "x", "a/deep/er/file": "12345", "a0": "", "z.PNG": "x"}
	for i := range 450 {
		files[fmt.Sprintf("many/%03d/one.json", i)] = "xy"
		files[fmt.Sprintf("many/%03d.txt", i)] = "z"
	}
	s := newStand(t)
	s.push("", files)
	s.enter()
	list := func(at string) (names []string, pages int) {
		for _, a := range s.pages("api/folder", "p", id(at)) {
			pages++
			for _, i := range a.Items {
				names = append(names, i.Kind+" "+i.Name)
			}
		}
		return names, pages
	}
	if got, _ := list(""); !slices.Equal(got, []string{"file a-b", "file a.txt", "folder a", "file a0", "folder many", "file z.PNG"}) {
		t.Errorf("%q", got)
	}
	got, n := list("many")
	if slices.Sort(got); n != 5 || len(slices.Compact(got)) != 900 {
		t.Errorf("%d pages with %d names", n, len(got))
	}
	if got, _ := list("a"); !slices.Equal(got, []string{"folder deep"}) {
		t.Errorf("%q", got)
	}
	if r, _ := s.do(http.MethodGet, s.at+query("api/folder", "p", id("a.txt")), nil); r.StatusCode != http.StatusNotFound {
		t.Errorf("a file as a folder: %s", r.Status)
	}

	found := map[string]bool{}
	for _, a := range s.pages("api/search", "q", "JSON 1", "p", id("many")) {
		for _, i := range a.Items {
			found[i.Name] = true
		}
	}
	want := 0
	for name := range files {
		if strings.Contains(name, "json") && strings.Contains(name, "1") {
			want++
		}
	}
	if len(found) != want || want < 150 {
		t.Errorf("%d are found, want %d", len(found), want)
	}

	var count answer
	s.ask(&count, "api/stats")
	if count.Files != int64(len(files)) || count.Sizes[0] != 1 || count.Sizes[2] != 450 || count.Sizes[3] != 1 || len(count.Folders) != 3 {
		t.Errorf("%+v", count)
	}
	types := map[string]int64{}
	for _, e := range count.Extensions {
		types[e.Name] = e.Files
	}
	if !maps.Equal(types, map[string]int64{"": 3, ".txt": 451, ".json": 450, ".png": 1}) {
		t.Errorf("%v", types)
	}
}

// What changed between two versions is what dataset.Diff says, in pages; and the time line has the messages.
func TestVersions(t *testing.T) {
	one, two := map[string]string{}, map[string]string{}
	for i := range 150 {
		one[fmt.Sprintf("old/%03d", i)] = "x"
		two[fmt.Sprintf("new/%03d", i)] = "x"
		one[fmt.Sprintf("same/%03d", i)] = "x"
		two[fmt.Sprintf("same/%03d", i)] = "x"
	}
	one["top"], two["top"] = "1", "22"
	s := newStand(t)
	first, second := s.push("the first", one), s.push("<i>the second", two)
	s.enter()
	var line answer
	s.ask(&line, "api/versions")
	if len(line.Versions) != 2 || line.Versions[0].Number != 2 || line.Versions[0].Message != "<i>the second" || line.Versions[1].Signer != first.Signer.ID().String() || line.Versions[1].Role != "owner" {
		t.Errorf("%+v", line.Versions)
	}
	want := map[string]bool{}
	for c, err := range dataset.Diff(t.Context(), first, second) {
		must(t, err)
		want[string(c.Kind)+" "+c.Entry.Name()] = true
	}
	got := map[string]bool{}
	all := s.pages("api/diff", "v", "2", "with", "1")
	sums := map[string][3]int64{}
	for _, a := range all {
		for _, c := range a.Changes {
			got[c.Change+" "+c.Name] = true
		}
		for _, f := range a.Folders {
			n := sums[f.Name]
			sums[f.Name] = [3]int64{n[0] + f.Added, n[1] + f.Changed, n[2] + f.Removed}
		}
	}
	for k := range got {
		if !want[k] && !want[k+"/"] {
			t.Errorf("%q is no change", k)
		}
	}
	if len(got) != len(want) || len(all) < 2 || sums["new/"] != [3]int64{150} || sums["old/"] != [3]int64{0, 0, 150} || sums[""][1] != 1 {
		t.Errorf("%d changes in %d pages, want %d; %v", len(got), len(all), len(want), sums)
	}
	if r, _ := s.do(http.MethodGet, s.at+query("api/diff", "v", "2"), nil); r.StatusCode != http.StatusBadRequest {
		t.Errorf("a comparison with nothing: %s", r.Status)
	}
}

// A comparison that is paused over and over, since it has no time, finds the same.
func TestPausedDiff(t *testing.T) {
	d := datasettest.New(t)
	defer d.Close()
	commit := func(keep func(int) bool) *dataset.Version {
		var all []*tree.Entry
		for i := range 3000 {
			if keep(i) {
				all = append(all, &tree.Entry{Path: fmt.Sprintf("%05d", i), Mode: 0o644})
			}
		}
		return datasettest.Commit(t, d, all)
	}
	one := commit(func(i int) bool { return i%7 != 0 && i < 2000 })
	two := commit(func(i int) bool { return i%5 != 0 && i > 400 })
	var want, got []string
	for c, err := range dataset.Diff(t.Context(), one, two) {
		must(t, err)
		want = append(want, string(c.Kind)+c.Entry.Path)
	}
	pauses := 0
	for from, ok := "", true; ok; {
		ok = false
		p := browse.Pausing(one.EntriesFrom(t.Context(), from), two.EntriesFrom(t.Context(), from))
		for c, err := range dataset.DiffEntries(p[0], p[1]) {
			if at, paused := browse.Paused(err); paused {
				from, ok = at, true
				pauses++
				break
			}
			must(t, err)
			got = append(got, string(c.Kind)+c.Entry.Path)
		}
	}
	if !slices.Equal(got, want) || pauses < 5 || len(want) < 1000 {
		t.Errorf("%d changes after %d pauses, want %d", len(got), pauses, len(want))
	}
}

// What a file is shown as follows from its bytes, and for tables from its name, too.
func TestKinds(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a.txt", "Grüße\n", "text"},
		{"a.png", "\x89PNG\r\n\x1a\n....", "image"},
		{"a.txt", "\xff\xd8\xff\xe0", "image"},
		{"a", "\x00\x00\x00\x1cftypavif", "image"},
		{"a", "RIFF....WEBPVP8 ", "image"},
		{"a", "RIFF....WAVE", "audio"},
		{"a", "RIFF....", "text"},
		{"a.mp3", "ID3\x04", "audio"},
		{"a.svg", "<svg onload='alert(1)'>", "text"},
		{"a.html", "<script>", "text"},
		{"a.csv", "a,b\n1,\"2\n3\"\n", "table"},
		{"a.csv", "one line", "text"},
		{"a.tsv", "a\tb\n1\t2\n", "table"},
		{"a.jsonl", "{\"a\":1}\n{\"b\":[1,2]}\n", "table"},
		{"a.jsonl", "{\"a\":1}\n[]\n", "text"},
		{"a.jsonl", "null\n", "text"},
		{"a.parquet", "PAR1\x15\x04\x00", "hex"},
		{"a.csv", "a,b\n1,\x00\n", "hex"},
		{"a.bin", "\xc3", "hex"},
	} {
		if got := browse.Kind(c.name, c.text); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.name, c.text, got, c.want)
		}
	}
}

func FuzzKinds(f *testing.F) {
	for _, ext := range []string{".csv", ".tsv", ".jsonl", ""} {
		f.Add("x"+ext, "a,b\tc\n{\"a\":{}}\n\"")
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		if got := browse.Kind(name, text); got == "" {
			t.Error("it is shown as nothing")
		}
	})
}
