package objects_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

var update = flag.Bool("update", false, "make the vectors of version roots that do not exist")

// Vectors of roots that a plan was made into were added later, in a file of their own.
const (
	vectorFile     = "../../testdata/roots/roots.json.gz"
	planVectorFile = "../../testdata/roots/plans.json.gz"
)

// rootVectors are the plaintexts of version roots, for every implementation; see
// testdata/roots/README.md.
type rootVectors struct {
	Dataset string       `json:"dataset"`
	Number  int64        `json:"number"`
	KeyID   string       `json:"key_id"`
	Roots   []rootVector `json:"roots"`
}

type rootVector struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Root string `json:"root"`
}

func readVectors(t testing.TB, file string) (v rootVectors, id envelope.KeyID) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&v); err != nil {
		t.Fatal(err)
	}
	if id, err = envelope.ParseKeyID(v.KeyID); err != nil {
		t.Fatal(err)
	}
	return v, id
}

// stranger is somebody who reads roots, and knows nothing else of the dataset.
func stranger(dataset string) *objects.Set {
	return objects.NewSet(&vault.Vault{Store: &memstore.Store{}, Keys: &vault.Keys{}}, dataset)
}

// The roots that were once made, sound and forged, are told apart for good, by both
// verifiers.
func TestRootVectors(t *testing.T) {
	f := newForger(t)
	all := f.cases()
	f.onP256(all)
	for file, x := range map[string]struct {
		made         map[string][]byte
		sound, roots int
	}{vectorFile: {all, 5, 75}, planVectorFile: {f.plans(), 2, 8}} {
		if _, err := os.Stat(file); *update && err != nil { // what was made once stays
			writeVectors(t, file, f, x.made)
		}
		compareVectors(t, file, x.sound, x.roots)
	}
}

// compareVectors reads at least some roots of a file, of which some are sound, with both
// verifiers.
func compareVectors(t *testing.T, file string, least, roots int) {
	t.Helper()
	v, id := readVectors(t, file)
	set := stranger(v.Dataset)
	sound := 0
	for _, r := range v.Roots {
		_, err := set.OpenRoot(v.Number, []byte(r.Root), id)
		if (err == nil) != (r.Want == "ok") {
			t.Errorf("%s: %v, want %s", r.Name, err, r.Want)
		}
		if err == nil {
			sound++
		}
	}
	if sound < least || len(v.Roots) < roots {
		t.Errorf("%s: %d roots, of which %d are sound", file, len(v.Roots), sound)
	}
	said := secondVerifier(t, v.Dataset, v.Number, func(yield func(string, []byte) bool) {
		for _, r := range v.Roots {
			if !yield(r.Name, []byte(r.Root)) {
				return
			}
		}
	})
	for _, r := range v.Roots {
		if (said[r.Name] == "ok") != (r.Want == "ok") && (!strings.HasPrefix(r.Name, "ok, on P-256") || hasCryptography(t)) {
			t.Errorf("%s: the second verifier says %q, want %s", r.Name, said[r.Name], r.Want)
		}
	}
}

func writeVectors(t *testing.T, file string, f *forger, all map[string][]byte) {
	v := rootVectors{Dataset: "d", Number: 5, KeyID: f.key.ID().String()}
	for name, b := range all {
		want := "refused"
		if strings.HasPrefix(name, "ok") {
			want = "ok"
		}
		v.Roots = append(v.Roots, rootVector{name, want, string(b)})
	}
	slices.SortFunc(v.Roots, func(a, b rootVector) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	f.must(err)
	f.must(json.NewEncoder(z).Encode(v))
	f.must(z.Close())
	f.must(os.WriteFile(file, b.Bytes(), 0o644))
}

// Whatever bytes a root is made of, it opens only if a signer has signed its contents.
func FuzzRoot(f *testing.F) {
	v, id := readVectors(f, vectorFile)
	signed := map[[32]byte]bool{}
	for _, r := range v.Roots {
		f.Add([]byte(r.Root))
		if contents, _, _ := strings.Cut(r.Root, "\n"); r.Want == "ok" {
			signed[sha256.Sum256([]byte(contents))] = true
		}
	}
	set := stranger(v.Dataset)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := set.OpenRoot(v.Number, b, id)
		if err == nil && !signed[r.Sum] {
			t.Errorf("a root that nobody has signed opens: %q", b)
		}
		if err == nil && (r.Number != v.Number || r.Chain.Last().Dataset != v.Dataset) {
			t.Errorf("a root of version %d of %s", r.Number, r.Chain.Last().Dataset)
		}
	})
}

// The worked example of docs/FORMAT.md is a root that opens, and says what the document
// says of it.
func TestRootOfTheDocument(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/format/example.json")
	if err != nil {
		t.Fatal(err)
	}
	var ex struct {
		Inputs struct {
			KeyID string `json:"key_id"`
		}
		Derived map[string]string
	}
	if err := json.Unmarshal(raw, &ex); err != nil {
		t.Fatal(err)
	}
	id, err := envelope.ParseKeyID(ex.Inputs.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	text := ex.Derived["root_contents"] + "\n" + ex.Derived["root_statement"] + "\n"
	r, err := stranger("digits").OpenRoot(1, []byte(text), id)
	if err != nil {
		t.Fatal(err)
	}
	last := r.Chain.Last()
	if r.Signer.ID().String() != ex.Derived["signer_key_id"] || last.Digest != ex.Derived["link_digest"] || hex.EncodeToString(r.Sum[:]) != ex.Derived["root_contents_sha256"] ||
		len(r.Grants) != 1 || hex.EncodeToString(r.Grants[0].Commitment[:]) != ex.Derived["key_commitment"] || r.Message != "first" {
		t.Errorf("the root is %+v, by %v", r, r.Signer.ID())
	}
	said := secondVerifier(t, "digits", 1, func(yield func(string, []byte) bool) { yield("example", []byte(text)) })
	if said["example"] != "ok" {
		t.Errorf("the second verifier says %q", said["example"])
	}
}
