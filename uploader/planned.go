package uploader

import (
	"context"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/given"
)

// A Found is something that Walk has found.
type Found struct {
	*tree.Entry // without contents
	// More says that a later file belongs to the same sample, and Cut that no sample has
	// files both before this entry and from it on.
	More, Cut bool
	// ETag and Version pin an object of a bucket.
	ETag, Version string
}

// Walk walks the source at path as an upload to the dataset does, and calls take with all
// that it finds, in the order of an index. If something cannot be read, Walk calls Failed,
// goes on, and returns a *dataset.PartialError.
func Walk(ctx context.Context, d *dataset.Dataset, path string, opts Options, take func(Found) error) (Stats, error) {
	if err := given.Check(ctx, path != "", errNoDataset); err != nil {
		return Stats{}, err
	}
	return walk(ctx, &upload{Options: opts, dataset: d, path: path}, take)
}

// WalkBucket is Walk for a bucket.
func WalkBucket(ctx context.Context, d *dataset.Dataset, b Bucket, opts Options, take func(Found) error) (Stats, error) {
	if err := given.Check(ctx, b != nil, errNoBucket); err != nil {
		return Stats{}, err
	}
	return walk(ctx, &upload{Options: opts, dataset: d, path: b.String(), bucket: b}, take)
}

func walk(ctx context.Context, u *upload, take func(Found) error) (Stats, error) {
	if err := given.Check(ctx, u.dataset != nil && u.dataset.Vault() != nil && take != nil, errNoDataset); err != nil {
		return Stats{}, err
	}
	if err := u.complete(); err != nil {
		return Stats{}, err
	}
	if u.Progress != nil {
		u.Progress.now.Store(&u.counters)
	}
	if err := u.name(); err != nil {
		return Stats{}, err
	}
	open := map[string]bool{} // samples of which files are still to come
	err := u.walkSource(ctx, func(f found) error {
		e := f.entry
		for key := range open {
			if e.Path > key+"/" { // of a file that has gone meanwhile
				delete(open, key)
			}
		}
		cut := len(open) == 0
		if e.IsFile() {
			u.Files.Add(1)
			u.Bytes.Add(e.Size)
			if key := sampleKey(e.Path); f.more {
				open[key] = true
			} else {
				delete(open, key)
			}
		}
		out := Found{Entry: e, More: f.more, Cut: cut}
		if f.pin != nil {
			out.ETag, out.Version = f.pin.ETag, f.pin.Version
		}
		return take(out)
	})
	if err != nil {
		return u.counters.stats(), err
	}
	if err := u.checkWalk(); err != nil {
		return u.counters.stats(), err
	}
	return u.counters.stats(), u.fails.Err("plan")
}

// walkSource calls yield for everything in the source.
func (u *upload) walkSource(ctx context.Context, yield func(found) error) error {
	if u.bucket != nil {
		return (&bucketWalker{upload: u, yield: yield, unfit: u.fail}).walk(ctx)
	}
	return u.newWalker(yield).walk(ctx, u.path)
}
