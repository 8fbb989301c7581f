package envelope

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/testkit"
)

const testkitDir = "../testdata/testkit"

// readTestkit yields each file, once it is seen to be what the generator makes,
// with the plaintext added, which only the generator knows. It checks that
// there are no other files.
func readTestkit(t testing.TB) iter.Seq[*testkit.Vector] {
	return func(yield func(*testkit.Vector) bool) {
		seen := map[string]bool{"README.md": true}
		for made := range testkit.All() {
			if seen[made.Name] {
				t.Fatalf("the generator makes two vectors %s", made.Name)
			}
			seen[made.Name] = true
			b, err := os.ReadFile(filepath.Join(testkitDir, made.Name))
			if err != nil {
				t.Fatal(err)
			}
			v, err := testkit.Parse(made.Name, b)
			if err != nil {
				t.Fatal(err)
			}
			v.Plain, v.Released, v.ChunksReleased = made.Plain, made.Released, made.ChunksReleased
			if !bytes.Equal(v.Body, made.Body) {
				t.Fatalf("%s is not what the generator makes: go run ./internal/testkit/generate testdata/testkit", v.Name)
			}
			if made.Body = v.Body; !reflect.DeepEqual(v, made) {
				t.Fatalf("%s has another header than the generator makes", v.Name)
			}
			if sha256.Sum256(v.Plain[:v.Released]) != v.Payload || sha256.Sum256(v.Plain[:v.ChunksReleased]) != v.ChunkPayload {
				t.Fatalf("%s: the payloads are not what they say", v.Name)
			}
			if !yield(v) {
				return
			}
		}
		files, err := os.ReadDir(testkitDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !seen[f.Name()] {
				t.Errorf("%s is not made by the generator", f.Name())
			}
		}
	}
}

// vectorSubject is how a vector says that it is to be opened.
func vectorSubject(t testing.TB, v *testkit.Vector) subject {
	t.Helper()
	if v.DataKey != nil {
		return keySubject(Kind(v.Kind), makeDataKey(KeyID(v.KeyID), bytes.Clone(v.DataKey)))
	}
	var keys []KeyWrapper
	for _, text := range v.LocalKeys {
		k, err := ParseLocalKey([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	for _, text := range v.Passphrases {
		k, err := NewPassphrase([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	for _, text := range v.Identities {
		k, err := ParseIdentity([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	ec := EncryptionContext{}
	for _, c := range v.Context {
		name, value, _ := strings.Cut(c, "=")
		ec[name] = value
	}
	return wrapperSubject(ec, keys...)
}

// classify names the one class that an error is in.
func classify(err error) string {
	var noKey *NoKeyError
	var is []string
	in := func(class string, yes bool) {
		if yes {
			is = append(is, class)
		}
	}
	in(testkit.Success, err == nil)
	in(testkit.Format, errors.Is(err, ErrFormat))
	in(testkit.Authentication, errors.Is(err, ErrAuthentication))
	in(testkit.NoKey, errors.As(err, &noKey))
	in(testkit.NoKeyring, errors.Is(err, ErrNoKeyring))
	return strings.Join(is, " and ")
}

func TestTestkit(t *testing.T) {
	race.Skip(t, "it opens one file after the other")
	classes := map[string]int{}
	paths := allPaths
	if testing.Short() {
		paths = fewPaths
	}
	vectors, runs := 0, 0
	for v := range readTestkit(t) {
		vectors++
		classes[v.Expect]++
		t.Run(v.Name, func(t *testing.T) {
			s := vectorSubject(t, v)
			for _, p := range paths {
				runs++
				checkVector(t, v, p, p.run(s, v.Body))
			}
			checkRandomAccess(t, v, s)
		})
	}
	t.Logf("%d vectors, %d runs: %v", vectors, runs, classes)
	for class, least := range map[string]int{testkit.Success: 25, testkit.Format: 80, testkit.Authentication: 100, testkit.NoKey: 5, testkit.NoKeyring: 2} {
		if classes[class] < least {
			t.Errorf("%d vectors of class %s, want at least %d", classes[class], class, least)
		}
	}
	if vectors != 324 || runs != vectors*len(paths) {
		t.Errorf("%d runs of %d vectors by %d paths", runs, vectors, len(paths))
	}
}

func checkVector(t *testing.T, v *testkit.Vector, p path, o outcome) {
	t.Helper()
	if got := classify(o.err); got != v.Expect {
		t.Errorf("%s: %s (%v), want %s", p.name, got, o.err, v.Expect)
	}
	if o.err != nil && o.again != o.err {
		t.Errorf("%s: %v, and then %v", p.name, o.err, o.again)
	}
	if o.err == nil && o.again != io.EOF {
		t.Errorf("%s: after the end: %v", p.name, o.again)
	}
	want := v.Plain[:v.Released]
	if p.byChunks {
		want = v.Plain[:v.ChunksReleased]
	}
	// One that knows the size first may find the fault before it releases a byte.
	if at := strings.HasPrefix(p.name, "ReadAt"); at && o.err != nil && bytes.HasPrefix(want, o.got) {
		// The last full chunk of a segment opens together with the one after it.
		atEnd := len(want)%SegmentSize == 0 && len(want)-len(o.got) == 16384
		if p.name == "ReadAt by chunks" && len(o.got) != 0 && len(o.got) != len(want) && !atEnd {
			t.Errorf("%s: %d bytes released before the error, want %d", p.name, len(o.got), len(want))
		}
		return
	}
	if !bytes.Equal(o.got, want) {
		t.Errorf("%s: %d bytes released, want %d (equal: %v)", p.name, len(o.got), len(want), bytes.HasPrefix(want, o.got))
	}
}

// checkRandomAccess reads ranges in no order from a fresh ReaderAt. All that
// comes is what was sealed at that place, and after the first failure nothing
// comes any more.
func checkRandomAccess(t *testing.T, v *testkit.Vector, s subject) {
	r, err := s.at(bytes.NewReader(v.Body), int64(len(v.Body)))
	if err != nil {
		return
	}
	if r.Size() == 0 {
		return
	}
	rng := rand.New(rand.NewPCG(uint64(len(v.Body)), 1))
	var failed error
	for range 60 {
		off := rng.Int64N(r.Size())
		p := make([]byte, 1+rng.IntN(40000))
		n, err := r.ReadAt(p, off)
		if failed != nil && (n != 0 || err != failed) {
			t.Fatalf("%d bytes and %v after %v", n, err, failed)
		}
		if err == io.EOF {
			if off+int64(n) != r.Size() {
				t.Fatalf("io.EOF at %d of %d", off+int64(n), r.Size())
			}
			err = nil
		}
		if n > 0 && !bytes.HasPrefix(v.Plain[off:], p[:n]) {
			t.Fatalf("%d bytes at %d are not what was sealed there", n, off)
		}
		if !bytes.Equal(p[n:], make([]byte, len(p)-n)) {
			t.Fatalf("something was left beyond the %d bytes at %d", n, off)
		}
		if err != nil {
			if class := classify(err); class != v.Expect {
				t.Fatalf("at %d: %s, want %s", off, class, v.Expect)
			}
			failed = err
		}
	}
	if v.Expect == testkit.Success && failed != nil {
		t.Error(failed)
	}
}
