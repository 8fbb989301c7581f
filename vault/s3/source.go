package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vaultpack/vaultpack/vault"
)

// A Source reads objects of a bucket that are not a vault's, so that an upload can seal
// them: see [github.com/vaultpack/vaultpack/uploader.Bucket]. It writes nothing. It is safe
// for concurrent use.
type Source struct {
	s     *Store
	which Versions
	// listed is which, as List has decided about AutoVersions.
	listed atomic.Pointer[Versions]
}

// Versions says how the objects of a source are pinned.
type Versions string

const (
	// AutoVersions pins version IDs if the bucket keeps versions, and else ETags only, as
	// it does if the caller may not ask whether the bucket keeps versions.
	AutoVersions Versions = "auto"
	// PinVersions pins version IDs. An object that is replaced after the listing is still
	// read as it was listed.
	PinVersions Versions = "version"
	// PinETags pins ETags only. It needs fewer permissions, and does not list the old
	// versions of objects.
	PinETags Versions = "etag"
)

// ParseVersions parses auto, version or etag; an empty text is auto.
func ParseVersions(s string) (Versions, error) {
	switch v := Versions(s); v {
	case "":
		return AutoVersions, nil
	case AutoVersions, PinVersions, PinETags:
		return v, nil
	}
	return "", fmt.Errorf("%q is none of auto, version and etag", s)
}

// OpenSource returns the source at an S3 location (see [ParseURL]): the objects below the
// prefix. What the settings say about writing is not used. It sends no request.
func OpenSource(ctx context.Context, url string, set Settings, which Versions) (*Source, error) {
	which, err := ParseVersions(string(which))
	if err != nil {
		return nil, err
	}
	set.SSE, set.KMSKey, set.StorageClass, set.Tags, set.Checksum = SSENone, "", "", nil, ""
	s, err := Open(ctx, url, set)
	if err != nil {
		return nil, err
	}
	return &Source{s: s, which: which}, nil
}

// String returns the URL of the source.
func (b *Source) String() string {
	if b == nil || b.s == nil {
		return ""
	}
	return "s3://" + b.s.loc.Bucket + "/" + b.s.loc.Prefix
}

// ID distinguishes the bucket from all others: two sources with the same ID read the same
// bucket of the same server.
func (b *Source) ID() string {
	if b == nil || b.s == nil {
		return ""
	}
	server := "aws"
	if b.s.custom {
		server = aws.ToString(b.s.client.Options().BaseEndpoint)
	}
	return strings.TrimSuffix(server, "/") + "\x00" + b.s.loc.Bucket
}

// Usage returns the requests that the source has made so far.
func (b *Source) Usage() vault.Requests {
	if b == nil || b.s == nil {
		return vault.Requests{}
	}
	return b.s.Usage()
}

// Overlap compares the source with a store, which may be wrapped. If the store's objects are
// among those of the source, it returns the prefix of their names in the source, which is
// empty if the two are the same place; inside is true if the source lies in the store.
func (b *Source) Overlap(store vault.Store) (prefix string, among, inside bool) {
	s, ok := vault.As[*Store](store)
	if !ok || b == nil || b.s == nil || s.client == nil {
		return "", false, false
	}
	other := &Source{s: s}
	if other.ID() != b.ID() {
		return "", false, false
	}
	mine, its := b.s.loc.Prefix, s.loc.Prefix
	prefix, among = strings.CutPrefix(its, mine)
	return prefix, among && prefix != "", strings.HasPrefix(mine, its)
}

var errNoSource = errors.New("s3store: a Source that was not opened by OpenSource")

// key returns the key of the object with that name. Unlike a vault, a source has any keys.
func (b *Source) key(name string) string { return b.s.loc.Prefix + name }

// Stat pins an object as it is now. It is a HEAD. If there is no such object, the error
// wraps fs.ErrNotExist.
func (b *Source) Stat(ctx context.Context, name string) (vault.Pinned, error) {
	if b == nil || b.s == nil {
		return vault.Pinned{}, errNoSource
	}
	key := b.key(name)
	head, err := b.s.head(ctx, key)
	if err != nil {
		return vault.Pinned{}, b.s.explain(ctx, opHead, key, err)
	}
	p := vault.Pinned{ETag: aws.ToString(head.ETag), Class: string(head.StorageClass)}
	p.Name, p.Size, p.Modified = name, aws.ToInt64(head.ContentLength), second(head.LastModified)
	if v := b.listed.Load(); v != nil && *v == PinVersions {
		p.Version = aws.ToString(head.VersionId)
	}
	if p.ETag == "" {
		return p, fmt.Errorf("%s: the server does not send its ETag, without which it cannot be known whether it changes", b.s.url(key))
	}
	return p, nil
}

// second cuts a time to seconds: some servers list fractions that they do not send in other
// answers.
func second(t *time.Time) time.Time { return aws.ToTime(t).Truncate(time.Second).UTC() }

// Read reads n bytes of an object from off, in exactly the pinned state, through as many
// requests as it takes. If the object is in another state, the error wraps
// vault.ErrReplaced, and if it is gone, fs.ErrNotExist. The reader ends after n bytes, or
// with an error.
func (b *Source) Read(ctx context.Context, p vault.Pinned, off, n int64) (io.ReadCloser, error) {
	if b == nil || b.s == nil {
		return nil, errNoSource
	}
	if off < 0 || n < 0 || off+n > p.Size || p.ETag == "" {
		return nil, fmt.Errorf("reading %s: no %d bytes from %d of %d, or no ETag", b.s.url(b.key(p.Name)), n, off, p.Size)
	}
	if n == 0 {
		return http.NoBody, nil
	}
	body := &s3Body{s: b.s, ctx: ctx, key: b.key(p.Name), pin: &p, etag: p.ETag, off: off, end: off + n, ranged: n < p.Size}
	if err := body.open(); err != nil {
		return nil, err
	}
	return body, nil
}

// Server returns the server's URL, or AWS and the region.
func (b *Source) Server() string {
	switch {
	case b == nil || b.s == nil:
		return ""
	case b.s.custom:
		return aws.ToString(b.s.client.Options().BaseEndpoint)
	}
	return "AWS, " + b.s.region
}

// Credentials says where the credentials come from by which the source is read: the SDK's name
// of it, and the profile if the settings name one. If there are none, it says so.
func (b *Source) Credentials(ctx context.Context) string {
	if b == nil || b.s == nil {
		return ""
	}
	from := "no credentials that could be found"
	if p := b.s.client.Options().Credentials; p != nil {
		if c, err := p.Retrieve(ctx); err == nil {
			from = c.Source
		}
	}
	if b.s.set.Profile != "" {
		from += ", profile " + b.s.set.Profile
	}
	return from
}
