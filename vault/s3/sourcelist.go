package s3store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/vault"
)

// List pins all objects of the source, in the order of the bytes of their names, in one
// pass. Names are keys without the source's prefix. They may be any bytes, and may end in a
// slash; the name of an object whose key is the prefix itself is empty.
func (b *Source) List(ctx context.Context) iter.Seq2[vault.Pinned, error] {
	return func(yield func(vault.Pinned, error) bool) {
		if b == nil || b.s == nil {
			yield(vault.Pinned{}, errNoSource)
			return
		}
		which, err := b.decide(ctx)
		if err != nil {
			yield(vault.Pinned{}, err)
			return
		}
		b.listed.Store(&which)
		pages := b.objects(ctx)
		if which == PinVersions {
			pages = b.versions(ctx)
		}
		last, some := "", false
		for page, err := range pages {
			if err != nil {
				yield(vault.Pinned{}, err)
				return
			}
			for _, p := range page {
				name, ok := strings.CutPrefix(p.Name, b.s.loc.Prefix)
				if !ok || some && name <= last {
					yield(vault.Pinned{}, fmt.Errorf("listing %s: the server gives the object %q out of order", b, p.Name))
					return
				}
				if p.ETag == "" {
					yield(vault.Pinned{}, fmt.Errorf("listing %s: the server does not send the ETag of %q, without which it cannot be known whether it changes", b, p.Name))
					return
				}
				last, some, p.Name = name, true, name
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}

// decide finds out whether version IDs are pinned.
func (b *Source) decide(ctx context.Context) (Versions, error) {
	if b.which != AutoVersions {
		return b.which, nil
	}
	out, err := b.s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b.s.loc.Bucket, ExpectedBucketOwner: b.s.owner})
	err = b.s.explain(ctx, opVersioning, b.s.loc.Prefix, err)
	switch {
	case err == nil && out.Status == types.BucketVersioningStatusEnabled:
		return PinVersions, nil
	case err == nil, errors.Is(err, fs.ErrPermission) && awserr.Credentials(err) == "", awserr.Unimplemented(err):
		return PinETags, nil
	}
	return "", err
}

// objects yields the pages of a listing without versions. Keys are complete.
func (b *Source) objects(ctx context.Context) iter.Seq2[[]vault.Pinned, error] {
	return func(yield func([]vault.Pinned, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &b.s.loc.Bucket, Prefix: &b.s.loc.Prefix, EncodingType: types.EncodingTypeUrl,
			ExpectedBucketOwner: b.s.owner, RequestPayer: b.s.payer}
		for {
			out, err := b.s.client.ListObjectsV2(ctx, in, answeredBy("ListBucketResult"))
			if err != nil {
				yield(nil, b.s.explain(ctx, opList, b.s.loc.Prefix, err))
				return
			}
			if out.IsTruncated == nil && out.KeyCount == nil && out.MaxKeys == nil && out.Name == nil {
				yield(nil, b.s.noAnswer(b.s.loc.Prefix))
				return
			}
			page := make([]vault.Pinned, 0, len(out.Contents))
			for _, o := range out.Contents {
				p, err := pinned(o.Key, out.EncodingType, o.ETag)
				if err != nil {
					yield(nil, err)
					return
				}
				p.Size, p.Modified, p.Class = aws.ToInt64(o.Size), second(o.LastModified), string(o.StorageClass)
				page = append(page, p)
			}
			if !yield(page, nil) || !aws.ToBool(out.IsTruncated) {
				return
			}
			next := aws.ToString(out.NextContinuationToken)
			if next == "" || next == aws.ToString(in.ContinuationToken) {
				yield(nil, fmt.Errorf("listing %s: the server does not continue after a page", b))
				return
			}
			in.ContinuationToken = &next
		}
	}
}

// versions yields the pages of a listing of the newest versions of objects.
func (b *Source) versions(ctx context.Context) iter.Seq2[[]vault.Pinned, error] {
	return func(yield func([]vault.Pinned, error) bool) {
		in := &s3.ListObjectVersionsInput{Bucket: &b.s.loc.Bucket, Prefix: &b.s.loc.Prefix, EncodingType: types.EncodingTypeUrl,
			ExpectedBucketOwner: b.s.owner, RequestPayer: b.s.payer}
		for {
			out, err := b.s.client.ListObjectVersions(ctx, in, answeredBy("ListVersionsResult"))
			if err != nil {
				yield(nil, b.s.explain(ctx, opListAll, b.s.loc.Prefix, err))
				return
			}
			if out.IsTruncated == nil && out.MaxKeys == nil && out.Name == nil {
				yield(nil, b.s.noAnswer(b.s.loc.Prefix))
				return
			}
			page := make([]vault.Pinned, 0, len(out.Versions))
			for _, o := range out.Versions {
				if !aws.ToBool(o.IsLatest) {
					continue
				}
				p, err := pinned(o.Key, out.EncodingType, o.ETag)
				if err != nil {
					yield(nil, err)
					return
				}
				p.Size, p.Modified, p.Class, p.Version = aws.ToInt64(o.Size), second(o.LastModified), string(o.StorageClass), aws.ToString(o.VersionId)
				page = append(page, p)
			}
			if !yield(page, nil) || !aws.ToBool(out.IsTruncated) {
				return
			}
			key, err := decodeKey(out.NextKeyMarker, out.EncodingType)
			if err == nil && key == aws.ToString(in.KeyMarker) && aws.ToString(out.NextVersionIdMarker) == aws.ToString(in.VersionIdMarker) {
				err = fmt.Errorf("listing %s: the server does not continue after a page", b)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			in.KeyMarker, in.VersionIdMarker = &key, out.NextVersionIdMarker
		}
	}
}

func pinned(key *string, encoding types.EncodingType, etag *string) (p vault.Pinned, err error) {
	p.ETag = aws.ToString(etag)
	p.Name, err = decodeKey(key, encoding)
	return p, err
}

// decodeKey returns a key of a listing. XML cannot hold all keys, so they are requested in the
// encoding of URLs; servers that do not know it say so by not naming it.
func decodeKey(key *string, encoding types.EncodingType) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return aws.ToString(key), nil
	}
	k, err := url.QueryUnescape(aws.ToString(key))
	if err != nil {
		return "", fmt.Errorf("the server lists the key %q, which is not encoded as it says: %w", aws.ToString(key), err)
	}
	return k, nil
}
