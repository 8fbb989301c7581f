package plans_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/vaultpack/vaultpack/internal/buckettest"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/uploader"
)

func bucketOf(versions bool) *buckettest.Bucket {
	b := &buckettest.Bucket{Versions: versions}
	for i := range 60 {
		for _, ext := range []string{"", ".jpg", ".json"} {
			b.Put(fmt.Sprintf("class%d/s%02d%s", i%5, i, ext), treetest.Bytes(int64(100*i), byte(i)))
		}
	}
	b.Put("large", treetest.Bytes(3*packSize+5, 7))
	b.Put("marker/", nil)
	return b
}

// The version that the workers of a plan make of a bucket is the one that an upload makes, for any
// number of workers. They list nothing.
func TestBucketByShards(t *testing.T) {
	b := bucketOf(false)
	one := newPlace().open(t)
	res, err := uploader.UploadBucket(t.Context(), one, b, options(true))
	if err != nil {
		t.Fatal(err)
	}
	want := listing(t, res.Version)
	for _, n := range []int{1, 7, 64} {
		p := newPlace()
		b.Unlisted = false
		plan, err := plans.MakeOfBucket(t.Context(), p.open(t), b, plans.MakeOptions{Shards: n, Upload: options(true)})
		if err != nil {
			t.Fatal(err)
		}
		b.Unlisted = true
		opts := plans.WorkOptions{Concurrency: 2, OpenBucket: func(_ context.Context, url string) (uploader.Bucket, error) {
			if url != b.String() {
				t.Errorf("a worker opens %s", url)
			}
			return b, nil
		}}
		for shard := range n {
			if _, err := plans.Work(t.Context(), p.open(t), plan.Reference, shard, opts); err != nil {
				t.Fatal(err)
			}
		}
		joined, err := plans.Commit(t.Context(), p.open(t), plan.Reference, plans.CommitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := listing(t, joined.Version); !slices.Equal(got, want) {
			t.Errorf("%d shards make\n%q, want\n%q", n, got, want)
		}
	}
}

// An object that was replaced or deleted since the plan was made, even by one of the same size and
// second, fails its shard; if the bucket keeps versions, it is read as planned.
func TestBucketThatChangesAfterThePlan(t *testing.T) {
	for _, versions := range []bool{false, true} {
		for name, change := range map[string]func(*buckettest.Bucket){
			"replaced": func(b *buckettest.Bucket) { b.Put("class1/s01.jpg", []byte("another")) },
			"same size and time": func(b *buckettest.Bucket) {
				p, _ := b.Stat(context.Background(), "large")
				b.PutAt("large", treetest.Bytes(p.Size, 8), p.Modified)
			},
			"deleted": func(b *buckettest.Bucket) { b.Remove("class1/s06.json") },
		} {
			t.Run(fmt.Sprintf("%s versions=%v", name, versions), func(t *testing.T) {
				b, p := bucketOf(versions), newPlace()
				plan, err := plans.MakeOfBucket(t.Context(), p.open(t), b, plans.MakeOptions{Shards: 1, Upload: options(false)})
				if err != nil {
					t.Fatal(err)
				}
				change(b)
				open := func(context.Context, string) (uploader.Bucket, error) { return b, nil }
				res, err := plans.Work(t.Context(), p.open(t), plan.Reference, 0, plans.WorkOptions{OpenBucket: open})
				if versions && (err != nil || !res.Finished) || !versions && !errors.Is(err, plans.ErrSourceChanged) {
					t.Errorf("%+v, %v", res, err)
				}
			})
		}
	}
}

// A worker says why it cannot read, and what is wrong with the source that it was given.
func TestWrongBuckets(t *testing.T) {
	b, p := bucketOf(false), newPlace()
	plan, err := plans.MakeOfBucket(t.Context(), p.open(t), b, plans.MakeOptions{Shards: 1, Upload: options(false)})
	if err != nil {
		t.Fatal(err)
	}
	work := func(source string, open func(context.Context, string) (uploader.Bucket, error)) error {
		_, err := plans.Work(t.Context(), p.open(t), plan.Reference, 0, plans.WorkOptions{Source: source, OpenBucket: open})
		return err
	}
	if err := work(t.TempDir(), nil); err == nil {
		t.Error("a folder is taken for a bucket")
	}
	if err := work("", nil); err == nil {
		t.Error("no bucket can be opened, and nothing is said")
	}
	denied := func(context.Context, string) (uploader.Bucket, error) { return nil, fs.ErrPermission }
	if err := work("", denied); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a bucket that cannot be opened: %v", err)
	}
	// What has failed goes on elsewhere.
	if err := work("s3://bucket/", func(context.Context, string) (uploader.Bucket, error) { return b, nil }); err != nil {
		t.Error(err)
	}
}
