// Package serve is what the servers of a vault's datasets have in common: which versions
// they show, whom they let in, and how the contents of a file are sent. Package s3api
// speaks S3's protocol, package web HTTP with listings and WebDAV. All of them only read.
//
// What they send was authenticated before (see package view), and none of it is written to
// disk.
package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
)

// ErrUnknown is returned for a dataset or version that is not served.
var ErrUnknown = errors.New("is not served here")

// Options say what is served. The zero value is every dataset that is in the vault now.
type Options struct {
	// Datasets are what is served. One with a version is served in this version only, any
	// other in the newest that the vault has when it is first asked for, and in older ones.
	Datasets []dataset.Reference
	// Memory bounds the contents and the indexes that are kept in memory, in bytes: 256 MiB
	// by default, and at least 64 MiB.
	Memory int64
	// Cache, if it is not nil, keeps sealed contents on a disk. It must stay open.
	Cache *cache.Cache
}

const (
	defaultMemory = 256 << 20
	minMemory     = 64 << 20
)

// A Catalog knows the datasets of a vault that are served. It is safe for concurrent use.
type Catalog struct {
	names  []string // sorted
	served map[string]*served
	bucket map[string]string // to the dataset's name
	views  *views
}

// Open opens what the options name. It reads the versions that they name; a dataset
// without a version is read when it is first asked for. The views end with ctx, or with
// Close.
func Open(ctx context.Context, v *vault.Vault, o Options) (_ *Catalog, err error) {
	if err := given.Check(ctx, v != nil && v.Store != nil, errors.New("serve: no vault was given")); err != nil {
		return nil, err
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.Memory < minMemory {
		return nil, fmt.Errorf("%d bytes of memory are too few to serve from: the least is 64 MiB", o.Memory)
	}
	c := &Catalog{served: map[string]*served{}, bucket: map[string]string{}}
	if len(o.Datasets) == 0 {
		names, err := dataset.List(ctx, v)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			o.Datasets = append(o.Datasets, dataset.Reference{Dataset: name})
		}
	}
	wanted := 0
	c.views = newViews(ctx, o.Memory, o.Cache, maxViews)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, r := range o.Datasets {
		if err := c.add(ctx, v, r); err != nil {
			return nil, err
		}
		if wanted++; !c.served[r.Dataset].alone {
			wanted++ // beside the newest, an older one
		}
	}
	c.views = newViews(ctx, o.Memory, o.Cache, wanted)
	slices.Sort(c.names)
	return c, nil
}

// add adds one dataset.
func (c *Catalog) add(ctx context.Context, v *vault.Vault, r dataset.Reference) error {
	if c.served[r.Dataset] != nil {
		return fmt.Errorf("dataset %s is named twice", r.Dataset)
	}
	d, err := dataset.Open(v, r.Dataset)
	if err != nil {
		return err
	}
	s := newServed(d)
	c.served[r.Dataset] = s
	c.names = append(c.names, r.Dataset)
	name := BucketName(r.Dataset)
	if other, taken := c.bucket[name]; taken {
		return fmt.Errorf("datasets %s and %s would both be bucket %s: name one of them only", other, r.Dataset, name)
	}
	c.bucket[name] = r.Dataset
	if choice := r.Choice(); choice != (dataset.Choice{}) {
		if s.newest, err = d.Choose(ctx, choice); err != nil {
			return err
		}
		s.alone = true
	}
	return nil
}

// Pin reads the newest version of every dataset now.
func (c *Catalog) Pin(ctx context.Context) error {
	if err := given.Check(ctx, c != nil && c.views != nil, errNoCatalog); err != nil {
		return err
	}
	for _, name := range c.Names() {
		if _, err := c.Version(ctx, name, 0); err != nil {
			return fmt.Errorf("dataset %s: %w", name, err)
		}
	}
	return nil
}

// Names returns the names of the datasets, sorted.
func (c *Catalog) Names() []string {
	if c == nil {
		return nil
	}
	return slices.Clone(c.names)
}

// Bucket returns the dataset that a bucket stands for, and the version, which is 0 for the
// newest. A dataset whose name could not be a bucket's is found by its name, too: many
// clients do not mind. If there is none, ok is false.
func (c *Catalog) Bucket(bucket string) (name string, number int64, ok bool) {
	if c == nil {
		return "", 0, false
	}
	stem, number := splitBucket(bucket)
	if name, ok = c.bucket[stem]; ok {
		return name, number, true
	}
	if c.served[stem] != nil {
		return stem, number, true
	}
	return "", 0, false
}

var errNoCatalog = errors.New("serve: a Catalog that Open has not returned")

func (c *Catalog) find(ctx context.Context, name string) (*served, error) {
	if err := given.Check(ctx, c != nil && c.views != nil, errNoCatalog); err != nil {
		return nil, err
	}
	s := c.served[name]
	if s == nil {
		return nil, fmt.Errorf("dataset %q %w", name, ErrUnknown)
	}
	return s, nil
}

// Version returns a version of a dataset: the newest, which stays the same until the
// Catalog is closed, if number is 0. The error wraps ErrUnknown if it is not served.
func (c *Catalog) Version(ctx context.Context, name string, number int64) (*dataset.Version, error) {
	s, err := c.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.version(ctx, number)
}

// Versions returns the numbers of the versions of a dataset that are served, in order.
func (c *Catalog) Versions(ctx context.Context, name string) ([]int64, error) {
	s, err := c.find(ctx, name)
	if err != nil {
		return nil, err
	}
	newest, err := s.version(ctx, 0)
	if err != nil {
		return nil, err
	}
	if s.alone {
		return []int64{newest.Number}, nil
	}
	all, err := s.dataset.Versions(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(n int64) bool { return n > newest.Number }), nil
}

// View returns a version of a dataset as a file system, whose reads end with ctx. The
// caller must call release after the last of them. Where as many versions are in use as
// memory was made for, View waits.
func (c *Catalog) View(ctx context.Context, name string, number int64) (v *view.View, release func(), err error) {
	version, err := c.Version(ctx, name, number)
	if err != nil {
		return nil, nil, err
	}
	opened, release, err := c.views.get(ctx, version)
	if err != nil {
		return nil, nil, err
	}
	return opened.WithContext(ctx), release, nil
}

// Close ends all reads and wipes the data keys.
func (c *Catalog) Close() error {
	if c == nil || c.views == nil {
		return errNoCatalog
	}
	err := c.views.close()
	for _, s := range c.served {
		s.dataset.Close()
	}
	return err
}
