package uploader_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/buckettest"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// pushed uploads a bucket, and returns what Failed was told.
func pushed(t testing.TB, d *dataset.Dataset, b uploader.Bucket, opts uploader.Options) (*uploader.Result, map[string]string, error) {
	t.Helper()
	var mu sync.Mutex
	failed := map[string]string{}
	opts.Failed = func(path string, err error) {
		mu.Lock()
		defer mu.Unlock()
		failed[path] = err.Error()
	}
	res, err := uploader.UploadBucket(t.Context(), d, b, opts)
	return res, failed, err
}

// holds are the contents of all files of a version.
func holds(t testing.TB, v *dataset.Version) map[string]string {
	t.Helper()
	out := map[string]string{}
	for e, err := range v.Entries(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if !e.IsFile() {
			continue
		}
		var b bytes.Buffer
		if err := v.WriteFile(t.Context(), &b, e); err != nil {
			t.Fatal(err)
		}
		out[e.Path] = b.String()
	}
	return out
}

// Objects become files, and markers folders. What has not changed is not read again; of what
// has, the new contents are taken.
func TestBucketIsUploaded(t *testing.T) {
	b := &buckettest.Bucket{}
	want := map[string]string{}
	put := func(name string, data []byte) {
		b.Put(name, data)
		want[name] = string(data)
	}
	put("a.jpg", []byte("a"))
	put("a.json", []byte("{}"))
	put("empty", nil)
	put("dir/sub/x", treetest.Bytes(5000, 1))
	put("dir/\n\x01 tab\t", []byte("control"))
	put("dir/bad\xff", []byte("not UTF-8"))
	put("large", treetest.Bytes(20<<20, 2))
	put("middle", treetest.Bytes(5<<20, 3))
	b.Put("marker/", nil)
	b.Put("", nil)
	d := open(t, newVault(t), "d")
	opts := uploader.Options{PackSize: 9 << 20}

	dry := opts
	dry.DryRun = true
	plan, _, err := pushed(t, d, b, dry)
	if err != nil {
		t.Fatal(err)
	}
	reads := b.Reads()
	res, failed, err := pushed(t, d, b, opts)
	if err != nil || len(failed) > 0 {
		t.Fatal(err, failed)
	}
	if got := holds(t, res.Version); !maps.Equal(got, want) {
		t.Errorf("the version has %q", slices.Sorted(maps.Keys(got)))
	}
	if names := paths(t, res.Version); !slices.Contains(names, "marker/") || !slices.Contains(names, "dir/sub/") {
		t.Errorf("the version has %q", names)
	}
	if reads != 0 || plan.Source != res.Source {
		t.Errorf("a dry run has read %d times, and says %+v; the run made %+v", reads, plan.Source, res.Source)
	}
	b.Reads()
	if res, _, err := pushed(t, d, b, opts); err != nil || res.Committed || b.Reads() != 0 || res.Stats.UnchangedFiles != int64(len(want)) {
		t.Errorf("nothing has changed: %+v, %v", res, err)
	}

	put("a.jpg", []byte("b")) // of the same size
	put("large", treetest.Bytes(20<<20, 9))
	b.Remove("empty")
	delete(want, "empty")
	res, _, err = pushed(t, d, b, opts)
	if err != nil || !maps.Equal(holds(t, res.Version), want) || res.Stats.Changed != 2 || res.Stats.Removed != 1 {
		t.Errorf("%+v, %v", res, err)
	}

	// With --checksum, the contents decide: nothing is sent again under another time.
	opts.Checksum = true
	if res, _, err = pushed(t, d, b, opts); err != nil || !maps.Equal(holds(t, res.Version), want) {
		t.Fatal(err)
	}
	again, _ := b.Contents("a.jpg")
	b.Put("a.jpg", again)
	if res, _, err = pushed(t, d, b, opts); err != nil || res.Stats.SentFiles > 2 || !maps.Equal(holds(t, res.Version), want) {
		t.Errorf("%+v, %v", res, err)
	}
}

// An object that was replaced by another of the same size in the same second is read again.
func TestObjectReplacedInTheSameSecond(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	b := &buckettest.Bucket{}
	d := open(t, newVault(t), "d")
	for _, contents := range []string{"1", "2"} {
		b.PutAt("a", []byte(contents), at)
		res, _, err := pushed(t, d, b, uploader.Options{})
		if err != nil || !res.Committed || holds(t, res.Version)["a"] != contents {
			t.Errorf("%s: %v", contents, err)
		}
	}
}

// Objects of another bucket are read, even if their size and second are those that were
// uploaded before.
func TestAnotherBucketIsAnother(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	one, two := &buckettest.Bucket{Name: "s3://one/"}, &buckettest.Bucket{Name: "s3://two/"}
	one.PutAt("a", []byte("1"), at)
	two.PutAt("a", []byte("2"), at)
	d := open(t, newVault(t), "d")
	for _, b := range []*buckettest.Bucket{one, two, one} {
		res, _, err := pushed(t, d, b, uploader.Options{})
		want, _ := b.Contents("a")
		if err != nil || holds(t, res.Version)["a"] != string(want) {
			t.Errorf("%s: %v", b, err)
		}
	}
}

// Keys that are no paths, or both a file and a folder, are named, and the rest is uploaded.
func TestKeysThatAreNoPaths(t *testing.T) {
	b := &buckettest.Bucket{Own: "vault/"}
	good := []string{"a", "a.x/y", "b/c", "z"}
	bad := map[string]string{"/lead": "must be relative", "..": "must be relative", "../x": "must be relative", "b//c": "must be relative", "b/./c": "must be relative",
		"nul\x00": "must be relative", "a/b": `there is an object "a" too`, "a/b/c": `there is an object "a" too`, "full/": "it has 3 bytes", "b/c/": `"b/c" too`}
	for _, name := range good {
		b.Put(name, []byte(name))
	}
	for name := range bad {
		b.Put(name, []byte("bad"))
	}
	b.Put("b/c/", nil)
	b.Put("vault/d/packs/x.vpk", []byte("sealed"))
	var skipped []string
	opts := uploader.Options{Skipped: func(path, _ string) { skipped = append(skipped, path) }}
	d := open(t, newVault(t), "d")
	res, failed, err := pushed(t, d, b, opts)
	var partial *dataset.PartialError
	if !errors.As(err, &partial) || res.Version.Totals.Flaws != int64(len(bad)) {
		t.Fatalf("%v, %+v", err, res)
	}
	for name, why := range bad {
		if !strings.Contains(failed[name], why) || !strings.Contains(failed[name], "--exclude") {
			t.Errorf("%q: %q, want %q", name, failed[name], why)
		}
	}
	if got := slices.Sorted(maps.Keys(holds(t, res.Version))); !slices.Equal(got, good) || len(failed) != len(bad) || len(skipped) != 1 {
		t.Errorf("the version has %q, failed are %q, skipped %q", got, failed, skipped)
	}
	// Those that are left out are no failures.
	filter, err := uploader.NewFilter([]string{"z", "a.x/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, failed, err = pushed(t, d, b, uploader.Options{Filter: filter}); err != nil || len(failed) > 0 || len(holds(t, res.Version)) != 2 {
		t.Errorf("%v, %q", err, failed)
	}
	if _, _, err := pushed(t, d, &buckettest.Bucket{Name: "s3://vault/x"}, uploader.Options{}); err == nil || !strings.Contains(err.Error(), "lies in the vault itself") {
		t.Errorf("a source in the vault: %v", err)
	}
	if _, _, err := pushed(t, d, &buckettest.Bucket{}, uploader.Options{}); !errors.Is(err, uploader.ErrEmptied) {
		t.Errorf("a bucket without objects: %v", err)
	}
}

// What cannot be read, or does not arrive whole, fails. The previous version's contents are
// kept, and nothing else is.
func TestBucketReadsThatFail(t *testing.T) {
	secret := errors.New("access denied")
	for name, set := range map[string]func(*buckettest.Bucket){
		"denied": func(b *buckettest.Bucket) { b.Before = func(vault.Pinned, int64, int64) error { return secret } },
		"gone": func(b *buckettest.Bucket) {
			b.Before = func(vault.Pinned, int64, int64) error { return fs.ErrNotExist }
		},
		"truncated": func(b *buckettest.Bucket) { b.Change = func(_ vault.Pinned, d []byte) []byte { return d[:len(d)-1] } },
		"empty":     func(b *buckettest.Bucket) { b.Change = func(vault.Pinned, []byte) []byte { return nil } },
		"longer": func(b *buckettest.Bucket) {
			b.Change = func(_ vault.Pinned, d []byte) []byte { return append(bytes.Clone(d), 'x') }
		},
		"replaced each time": func(b *buckettest.Bucket) {
			b.Before = func(p vault.Pinned, _, _ int64) error { return vault.ErrReplaced }
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &buckettest.Bucket{}
			d := open(t, newVault(t), "d")
			sizes := map[string]int64{"small": 10, "tar": 5 << 20, "large": 20 << 20}
			for n, size := range sizes {
				b.Put(n, treetest.Bytes(size, 1))
			}
			opts := uploader.Options{PackSize: 9 << 20}
			first, _, err := pushed(t, d, b, opts)
			if err != nil {
				t.Fatal(err)
			}
			before := holds(t, first.Version)
			for n, size := range sizes {
				b.Put(n, treetest.Bytes(size, 2))
			}
			b.Put("new", []byte("new"))
			set(b)
			res, failed, err := pushed(t, d, b, opts)
			var partial *dataset.PartialError
			if !errors.As(err, &partial) || len(failed) != 4 {
				t.Fatalf("%v, %q", err, failed)
			}
			if got := holds(t, res.Version); !maps.Equal(got, before) || res.Version.Totals.Flaws != 4 {
				t.Errorf("the version has %q, with %d flaws", slices.Sorted(maps.Keys(got)), res.Version.Totals.Flaws)
			}
			b.Before, b.Change = nil, nil
			if res, _, err = pushed(t, d, b, opts); err != nil || len(holds(t, res.Version)) != 4 || res.Version.Totals.Flaws != 0 {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// Objects change, come and go at any moment of an upload. Each file of the version is one state
// of its object, and never a mix; what was there all the time is there; a failure is told.
func TestObjectsThatChangeMeanwhile(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			b := &buckettest.Bucket{Versions: seed%2 == 0}
			states := map[string]map[string]bool{}
			var mu sync.Mutex
			put := func(name string) {
				size := []int64{0, 3, 3, 3000, 20 << 10, 60 << 10}[rnd.IntN(6)]
				data := bytes.Repeat([]byte{byte(rnd.IntN(256))}, int(size)) // a mix shows
				if states[name] == nil {
					states[name] = map[string]bool{}
				}
				states[name][string(data)] = true
				b.Put(name, data)
			}
			name := func() string { return fmt.Sprintf("d%d/o%d", rnd.IntN(2), rnd.IntN(9)) }
			steady := map[string]string{}
			for i := range 12 {
				put(name())
				n := fmt.Sprintf("steady%d", i)
				b.Put(n, treetest.Bytes(int64(i*4000), byte(i)))
				data, _ := b.Contents(n)
				steady[n] = string(data)
			}
			b.Before = func(vault.Pinned, int64, int64) error {
				mu.Lock()
				defer mu.Unlock()
				switch rnd.IntN(6) {
				case 0, 1:
					put(name())
				case 2:
					b.Remove(name())
				}
				return nil
			}
			d := open(t, newVault(t), "d")
			for range 3 {
				res, failed, err := pushed(t, d, b, uploader.Options{PackSize: 16 << 10, Concurrency: 3})
				var partial *dataset.PartialError
				if err != nil && !errors.As(err, &partial) {
					t.Fatal(err)
				}
				if (err != nil) != (len(failed) > 0) {
					t.Errorf("%v, but failed are %q", err, failed)
				}
				got := holds(t, res.Version)
				mu.Lock()
				for n, data := range got {
					if want, ok := steady[n]; ok && want != data || !ok && !states[n][data] {
						t.Errorf("%s has %d bytes that it never had", n, len(data))
					}
				}
				for n := range steady {
					if _, ok := got[n]; !ok {
						t.Errorf("%s is not there", n)
					}
				}
				mu.Unlock()
				for e, err := range res.Version.Entries(t.Context()) {
					if err != nil || e.Flaw == tree.FlawTorn {
						t.Errorf("%s: %v, %v", e.Path, e.Flaw, err)
					}
				}
			}
			b.Before = nil
			res, failed, err := pushed(t, d, b, uploader.Options{PackSize: 16 << 10})
			if err != nil || len(failed) > 0 {
				t.Fatal(err, failed)
			}
			for n, data := range holds(t, res.Version) {
				if now, ok := b.Contents(n); !ok || string(now) != data {
					t.Errorf("%s is not as it is in the bucket", n)
				}
			}
		})
	}
}
