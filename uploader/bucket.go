package uploader

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/vault"
)

// A Bucket is a source of objects that others may replace at any time. A Source of package
// vault/s3 is one. It is safe for concurrent use.
type Bucket interface {
	// String names the bucket, and the place in it, as a URL.
	String() string
	// ID distinguishes the bucket from all others.
	ID() string
	// List pins all objects, in the order of the bytes of their names.
	List(ctx context.Context) iter.Seq2[vault.Pinned, error]
	// Stat pins an object as it is now. If there is none, the error wraps fs.ErrNotExist.
	Stat(ctx context.Context, name string) (vault.Pinned, error)
	// Read reads n bytes from off of an object in exactly the pinned state, or fails. If the
	// object is in another state, the error wraps vault.ErrReplaced.
	Read(ctx context.Context, p vault.Pinned, off, n int64) (io.ReadCloser, error)
	// Overlap compares the bucket with the store of a vault: if the store's objects are among
	// those of the bucket, it returns the prefix of their names; inside says that the bucket's
	// are among those of the store.
	Overlap(store vault.Store) (prefix string, among, inside bool)
	// Usage returns the requests that were made so far.
	Usage() vault.Requests
}

// UploadBucket uploads the objects of a bucket to a dataset, as Upload does the files of a
// folder. Their contents go from the bucket through memory to the vault. An object whose ETag,
// size and time are those of the previous version is not read. An object that is replaced
// before it was read is read as it is then; if it is replaced once more, it counts as one that
// could not be read.
//
// Names are paths. A name that ends in a slash, without contents, is a folder. A name that is no
// valid path, or is below the name of another object, cannot be uploaded, and is reported
// by Failed.
func UploadBucket(ctx context.Context, d *dataset.Dataset, b Bucket, opts Options) (*Result, error) {
	if b == nil {
		return nil, errNoBucket
	}
	return (&upload{Options: opts, dataset: d, bucket: b, path: b.String()}).run(ctx)
}

var errNoBucket = errors.New("uploader: a nil bucket")

// errVaultItself is returned for a source in the vault that it would be uploaded to.
var errVaultItself = errors.New("the source lies in the vault itself, so its objects are sealed already")

// bucketHost is how the hosts begin that stand for buckets.
const bucketHost = "bucket:"

// nameBucket is name for a bucket.
func (u *upload) nameBucket() error {
	var inside bool
	if u.ownPrefix, u.hasOwn, inside = u.bucket.Overlap(u.dataset.Vault().Store); inside {
		return fmt.Errorf("%s: %w", u.bucket, errVaultItself)
	}
	u.host = bucketHost + hashed("bucket", u.bucket.ID())
	u.source = hashed("source", u.host+"\x00"+u.bucket.String())
	u.usedBefore = u.bucket.Usage()
	return nil
}

// compares reports whether contents that are not known by their times are compared with what
// the vault has. An object would have to be read twice for that.
func (u *upload) compares() bool { return u.bucket == nil || u.Checksum }

// describeObject copies the attributes of an object to the entry.
func describeObject(e *tree.Entry, p vault.Pinned, host string) {
	e.Size, e.Mode, e.ModTime = p.Size, objectMode, p.Modified
	e.Seen = tree.Seen{Host: host, Inode: etagNumber(p.ETag), ChangeTime: p.Modified}
	e.Recent = false // any change of the contents changes the ETag
}

// What objects and folders of a bucket get as modes, since they have none.
const (
	objectMode fs.FileMode = 0o644
	folderMode fs.FileMode = 0o755
)

// etagNumber stands for an ETag in an index, in place of an inode number.
func etagNumber(etag string) uint64 {
	sum := sha256.Sum256([]byte("vaultpack etag\x00" + etag))
	return binary.BigEndian.Uint64(sum[:]) >> 5 // as JSON in at most 18 digits
}

// repin pins an object as it is now, if it was found to be replaced.
func (u *upload) repin(ctx context.Context, it *item) error {
	if !it.replaced.Load() {
		return nil
	}
	if u.shard != nil {
		return &ChangedError{it.entry.Path, "was replaced"}
	}
	p, err := u.bucket.Stat(ctx, it.pin.Name)
	if err != nil {
		return u.gone(it, err)
	}
	it.pin = &p
	it.replaced.Store(false)
	describeObject(it.entry, p, u.host)
	return nil
}

// gone says that an object is gone, if the error does.
func (u *upload) gone(it *item, err error) error {
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case u.shard != nil:
		return &ChangedError{it.entry.Path, "is gone"}
	}
	return fmt.Errorf("it was deleted after it was listed: %w", err)
}
