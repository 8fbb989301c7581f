package sagemakertest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/vaultpack/vaultpack/internal/workers"
)

// client returns an S3 client with the role's credentials.
func (s *Server) client(region string, creds aws.Credentials) *s3.Client {
	return s3.New(s3.Options{
		Region: cmp.Or(s.cfg.S3Region, region), BaseEndpoint: &s.cfg.S3, UsePathStyle: true, HTTPClient: s.s3, Logger: logging.Nop{},
		Credentials: credentials.NewStaticCredentialsProvider(creds.AccessKeyID, creds.SecretAccessKey, creds.SessionToken),
	})
}

// splitURI returns the bucket and the key of s3://bucket/key.
func splitURI(uri string) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(uri, "s3://"), "/")
	return bucket, key
}

// findObjects makes the check that CreateTrainingJob itself makes: whether there is
// anything under each channel's prefix. Manifests are read later.
func (s *Server) findObjects(ctx context.Context, region string, creds aws.Credentials, in *sagemaker.CreateTrainingJobInput) error {
	c := s.client(region, creds)
	for _, ch := range in.InputDataConfig {
		src := ch.DataSource.S3DataSource
		if src.S3DataType != types.S3DataTypeS3Prefix {
			continue
		}
		bucket, prefix := splitURI(*src.S3Uri)
		one := int32(1)
		out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, MaxKeys: &one})
		if err != nil || len(out.Contents) == 0 {
			return invalid("No S3 objects found under S3 URL %q given in input data source. Please ensure that the bucket exists in the selected region (%s), that objects exist under that S3 prefix, and that the role %q has \"s3:ListBucket\" permissions on bucket %q.",
				*src.S3Uri, region, *in.RoleArn, bucket)
		}
	}
	return nil
}

// An object is an object of a channel, with its name in the channel's folder.
type object struct{ bucket, key, name string }

// objects returns all objects of a channel, sorted by key.
func (j *job) objects(ctx context.Context, c *s3.Client, src *types.S3DataSource) ([]object, error) {
	bucket, key := splitURI(*src.S3Uri)
	var objs []object
	var err error
	if src.S3DataType == types.S3DataTypeManifestFile {
		objs, err = manifestObjects(ctx, c, bucket, key)
	} else {
		objs, err = prefixObjects(ctx, c, bucket, key)
	}
	if err != nil {
		return nil, err
	}
	for _, o := range objs {
		if strings.Contains(o.bucket+"/"+o.key, "//") {
			return nil, reasonf("Failed to download data. S3 key: s3://%s/%s has an illegal char sub-sequence '//' in it", o.bucket, o.key)
		}
		if !filepath.IsLocal(o.name) {
			return nil, reasonf("Failed to download data. S3 key: s3://%s/%s leaves the channel's folder", o.bucket, o.key)
		}
	}
	slices.SortFunc(objs, func(a, b object) int { return strings.Compare(a.key, b.key) })
	return objs, nil
}

// prefixObjects names each object by what follows the prefix or, if the prefix is
// the object or ends within a name, by what follows the prefix's last slash.
func prefixObjects(ctx context.Context, c *s3.Client, bucket, prefix string) (objs []object, err error) {
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, downloadError(bucket, prefix, err)
		}
		for _, o := range page.Contents {
			if strings.HasSuffix(*o.Key, "/") {
				continue // a folder, as made by consoles
			}
			name, ok := strings.CutPrefix(*o.Key, strings.TrimSuffix(prefix, "/")+"/")
			if !ok || prefix == "" {
				name = strings.TrimPrefix(*o.Key, prefix[:strings.LastIndex(prefix, "/")+1])
			}
			objs = append(objs, object{bucket, *o.Key, name})
		}
	}
	return objs, nil
}

// manifestObjects reads a manifest, [{"prefix": "s3://bucket/prefix/"}, "name", …],
// and keeps the names' folders.
func manifestObjects(ctx context.Context, c *s3.Client, bucket, key string) (objs []object, err error) {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, downloadError(bucket, key, err)
	}
	defer out.Body.Close()
	malformed := func(why string) error {
		return reasonf("the manifest file s3://%s/%s is malformed: %s", bucket, key, why)
	}
	var elems []json.RawMessage
	if err := json.NewDecoder(out.Body).Decode(&elems); err != nil {
		return nil, malformed(err.Error())
	}
	var first struct{ Prefix string }
	if len(elems) < 2 || json.Unmarshal(elems[0], &first) != nil || !strings.HasPrefix(first.Prefix, "s3://") {
		return nil, malformed("it has to be an array of {\"prefix\": \"s3://…\"} and then names")
	}
	b, prefix := splitURI(first.Prefix)
	for _, e := range elems[1:] {
		var name string
		if err := json.Unmarshal(e, &name); err != nil || name == "" {
			return nil, malformed("a name is no string")
		}
		objs = append(objs, object{b, prefix + name, name})
	}
	return objs, nil
}

// fetch downloads the host's share of a channel to the folder.
func (j *job) fetch(ctx context.Context, c *s3.Client, ch types.Channel, host int, dir string) error {
	src := ch.DataSource.S3DataSource
	hosts := j.hosts()
	share, shares := host, len(hosts)
	if len(src.InstanceGroupNames) > 0 {
		share, shares = -1, 0
		for i, h := range hosts {
			if slices.Contains(src.InstanceGroupNames, h.group) {
				if i == host {
					share = shares
				}
				shares++
			}
		}
		if share < 0 {
			return nil
		}
	}
	objs, err := j.objects(ctx, c, src)
	if err != nil {
		return err
	}
	if src.S3DataDistributionType == types.S3DataDistributionShardedByS3Key {
		var mine []object
		for i := share; i < len(objs); i += shares {
			mine = append(mine, objs[i])
		}
		objs = mine
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return download(ctx, c, objs, dir)
}

// download fetches the objects, four at a time.
func download(ctx context.Context, c *s3.Client, objs []object, dir string) error {
	return workers.Run(ctx, 4, func(ctx context.Context, g *workers.Group) error {
		for _, o := range objs {
			g.Go(func() error {
				return downloadOne(ctx, c, o, filepath.Join(dir, filepath.FromSlash(o.name)))
			})
		}
		return nil
	})
}

func downloadOne(ctx context.Context, c *s3.Client, o object, file string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key})
	if err != nil {
		return downloadError(o.bucket, o.key, err)
	}
	defer out.Body.Close()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, out.Body); err != nil {
		f.Close()
		return downloadError(o.bucket, o.key, err)
	}
	return f.Close()
}

// downloadError formats an error of S3 as jobs report it.
func downloadError(bucket, key string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return reasonf("Unable to download object s3://%s (%s: %s)", path.Join(bucket, key), api.ErrorCode(), api.ErrorMessage())
	}
	return reasonf("Unable to download object s3://%s: %v", path.Join(bucket, key), err)
}
