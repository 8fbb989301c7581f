package serve_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// filesOf are the files of a tree by their keys: links lead to them inside of the tree only.
func filesOf(t testing.TB, src string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(src, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		to, err := filepath.EvalSymlinks(name)
		if err != nil || !strings.HasPrefix(to, src+"/") {
			return nil
		}
		if info, err := os.Stat(to); err != nil || !info.Mode().IsRegular() {
			return err
		}
		all[name[len(src)+1:]] = to
		return nil
	}))
	return all
}

// Every file of a tree with all that is odd is listed, and is there with its contents.
func TestS3HasTheWholeTree(t *testing.T) {
	s := newStand(t)
	src := s.upload("scans", func(src string) {
		treetest.Odd(t, src, 4<<20)
		write(t, filepath.Join(src, "a//../b/c"), []byte("in b"))
		must(t, os.Symlink("b/c", filepath.Join(src, "to-file")))
		must(t, os.Symlink("b", filepath.Join(src, "to-folder")))
		must(t, os.Symlink("/etc/passwd", filepath.Join(src, "out")))
		must(t, os.Symlink("loop", filepath.Join(src, "loop")))
	})
	s.start()
	c := s.client()
	want := filesOf(t, src)
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("scans"), MaxKeys: aws.Int32(7), EncodingType: types.EncodingTypeUrl})
	seen := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, o := range page.Contents {
			key, err := url.PathUnescape(*o.Key)
			must(t, err)
			file, ok := want[key]
			if !ok {
				t.Errorf("%q is listed, which is no file, or twice", key)
				continue
			}
			delete(want, key)
			seen++
			contents, err := os.ReadFile(file)
			must(t, err)
			got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("scans"), Key: &key})
			if err != nil {
				t.Errorf("%q: %v", key, err)
				continue
			}
			b, err := io.ReadAll(got.Body)
			got.Body.Close()
			if err != nil || !bytes.Equal(b, contents) || *o.Size != int64(len(b)) || *got.ETag != *o.ETag || !got.LastModified.Equal(*o.LastModified) {
				t.Errorf("%q: %d bytes, %v; listed are %d", key, len(b), err, *o.Size)
			}
		}
	}
	if len(want) > 0 || seen < 50 {
		t.Errorf("%d files are listed, and not %v", seen, want)
	}
	for _, key := range []string{"to-folder", "out", "loop", "b", "b/", "./b/c", "b/../b/c", "b//c", "/b/c", "../scans/b/c", "b/c/", "x\x00"} {
		_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("scans"), Key: &key})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "NoSuchKey" {
			t.Errorf("%q: %v", key, err)
		}
	}
	if got := s.failures(); len(got) > 0 {
		t.Error(got)
	}
}

// Ten thousand ranges are what the source has there.
func TestS3Ranges(t *testing.T) {
	s := newStand(t)
	sizes := map[string]int64{"empty": 0, "one": 1, "small": 70_000, "segment": 1 << 20, "large": 9<<20 + 17}
	contents := map[string][]byte{}
	s.upload("scans", func(src string) {
		for name, n := range sizes {
			contents[name] = treetest.Bytes(n, 3)
			write(t, filepath.Join(src, name), contents[name])
		}
	})
	s.start("scans")
	c := s.client()
	n := 10_000
	if race.Enabled {
		n = 500
	}
	const readers = 8
	var group sync.WaitGroup
	for i := range readers {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			names := []string{"one", "small", "segment", "large"}
			for range n / readers {
				name := names[r.IntN(len(names))]
				want := contents[name]
				first := r.IntN(len(want))
				last := min(first+r.IntN(1<<(1+r.IntN(18))), len(want)-1)
				spec := fmt.Sprintf("bytes=%d-%d", first, last)
				switch r.IntN(20) {
				case 0:
					first, last, spec = len(want)-min(len(want), 1000), len(want)-1, "bytes=-1000"
				case 1:
					last, spec = min(first+1000, len(want)-1), fmt.Sprintf("bytes=%d-%d", first, first+1000) // beyond the end
				}
				o, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("scans"), Key: &name, Range: &spec})
				if err != nil {
					t.Errorf("%s %s: %v", name, spec, err)
					return
				}
				b, err := io.ReadAll(o.Body)
				o.Body.Close()
				if err != nil || !bytes.Equal(b, want[first:last+1]) || *o.ContentRange != fmt.Sprintf("bytes %d-%d/%d", first, last, len(want)) {
					t.Errorf("%s %s: %d bytes, %v, %s", name, spec, len(b), err, *o.ContentRange)
					return
				}
			}
		})
	}
	group.Wait()
}

// model is what S3 lists.
func model(keys []string, prefix, delimiter, after string) (items []string) {
	for _, key := range keys {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		item := key
		if at := strings.Index(key[len(prefix):], delimiter); delimiter != "" && at >= 0 {
			item = key[:len(prefix)+at+len(delimiter)] + "*"
			if strings.TrimSuffix(item, "*") == after {
				continue
			}
		}
		if len(items) == 0 || items[len(items)-1] != item {
			items = append(items, item)
		}
	}
	return items
}

// Lists are those of S3, whatever the prefix, the delimiter, the beginning and the length of
// a page, in both versions of the request.
func TestS3Lists(t *testing.T) {
	s := newStand(t)
	keys := []string{"a", "a-b/x", "a.d/1", "a.d/2", "a.d/e/3", "a0", "ab/c/d/e", "ab/c/d/f", "ab/c-d", "b b/+%&", "b b/ä", "b", "zz/zz/zz", "zz/zz0"}
	for i := range 20 {
		keys = append(keys, fmt.Sprintf("n/%d/%d", i%3, i))
	}
	slices.Sort(keys)
	s.upload("scans", func(src string) {
		for _, key := range keys {
			write(t, filepath.Join(src, key), []byte(key))
		}
		must(t, os.MkdirAll(filepath.Join(src, "empty/folder"), 0o755))
	})
	s.start()
	c := s.client()
	r := rand.New(rand.NewPCG(5, 5))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for range 150 {
		prefix, delimiter := pick("", "", "a", "a.d/", "n/", "n/1", "zz/", "b b/", "nothing"), pick("", "/", "/", "d/", "1")
		after, size := pick("", "", "a", "a.d/", "a.d/e/", "n/0/1", "n/1/", "zz", "0"), int32(1+r.IntN(9))
		want := model(keys, prefix, delimiter, after)
		told := fmt.Sprintf("prefix %q delimiter %q after %q by %d", prefix, delimiter, after, size)
		var got []string
		add := func(contents []types.Object, prefixes []types.CommonPrefix) {
			n := len(got)
			for _, o := range contents {
				got = append(got, *o.Key)
			}
			for _, p := range prefixes {
				got = append(got, *p.Prefix+"*")
			}
			slices.SortFunc(got[n:], func(a, b string) int { return strings.Compare(strings.TrimSuffix(a, "*"), strings.TrimSuffix(b, "*")) })
			if len(got)-n > int(size) {
				t.Fatalf("%s: a page of %d", told, len(got)-n)
			}
		}
		second := &s3.ListObjectsV2Input{Bucket: aws.String("scans"), Prefix: &prefix, Delimiter: &delimiter, StartAfter: &after, MaxKeys: &size}
		for pages := s3.NewListObjectsV2Paginator(c, second); pages.HasMorePages(); {
			page, err := pages.NextPage(t.Context())
			must(t, err)
			add(page.Contents, page.CommonPrefixes)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s, version 2: %q, want %q", told, got, want)
		}
		got = nil
		for marker, more := after, true; more; {
			page, err := c.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: aws.String("scans"), Prefix: &prefix, Delimiter: &delimiter, Marker: &marker, MaxKeys: &size})
			must(t, err)
			add(page.Contents, page.CommonPrefixes)
			if more = *page.IsTruncated; more {
				marker = *page.NextMarker
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s, version 1: %q, want %q", told, got, want)
		}
	}
}
