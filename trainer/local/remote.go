package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/workers"
	"github.com/vaultpack/vaultpack/vault"
)

// A Bucket is what a job uses of a bucket in S3. Names are whole keys. A store of package
// vault/s3 that was opened without a prefix is a Bucket.
type Bucket interface {
	Put(ctx context.Context, name string, write func(io.Writer) error) error
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// List yields, in the order of their names, the objects whose names begin with prefix,
	// which may end within a name.
	List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error]
	Stat(ctx context.Context, name string) (vault.Object, error)
	Delete(ctx context.Context, name string) error
}

// Buckets opens the bucket that an s3:// URI names. What is stored there is encrypted by S3
// under the key, as [Destination] has it.
type Buckets func(ctx context.Context, uri, kmsKey string) (Bucket, error)

// A Remote is what fills a channel from S3: each object whose key begins with that of URI,
// which is one object too. In a folder it has the part of its key behind that, as SageMaker
// names it (API reference, S3DataSource).
type Remote struct {
	URI string
	// Sharded has each host get a part of the objects, as with ShardedByS3Key.
	Sharded bool
	// Groups are the groups of hosts that get the channel; none means all.
	Groups []string
	// ContentType is told to the script.
	ContentType string
}

// ErrNoObjects is returned if nothing is in the place in S3 that fills a channel.
var ErrNoObjects = errors.New("no object is there")

// ErrInS3 is returned if a job of the same name has left results in the same place in S3.
var ErrInS3 = errors.New("a job of that name has left its results there")

// splitURI returns the bucket and the key of s3://BUCKET/KEY.
func splitURI(uri string) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(uri, "s3://"), "/")
	return bucket, key
}

// A prefix is a place in S3 that files are kept in, by their names behind it.
type prefix struct {
	Bucket
	uri string // of what follows, ends in a slash
	key string // empty, or ends in a slash
}

// at opens a place in S3.
func (b Buckets) at(ctx context.Context, uri, kmsKey string) (*prefix, error) {
	bucket, err := b.open(ctx, uri, kmsKey)
	if err != nil {
		return nil, err
	}
	_, key := splitURI(uri)
	if key = strings.TrimSuffix(key, "/"); key != "" {
		key += "/"
	}
	return &prefix{bucket, strings.TrimSuffix(uri, "/") + "/", key}, nil
}

func (b Buckets) open(ctx context.Context, uri, kmsKey string) (Bucket, error) {
	if b == nil {
		return nil, fmt.Errorf("local: %s is in S3, and the job has no Buckets", uri)
	}
	bucket, err := b(ctx, uri, kmsKey)
	if err == nil && bucket == nil {
		err = fmt.Errorf("local: no bucket for %s", uri)
	}
	return bucket, err
}

// probeName is an object that shows whether a place can be written to. It is never one of
// a job's files.
const probeName = ".vaultpack-write-test"

// check returns an error if nothing can be written to the place.
func (p *prefix) check(ctx context.Context, logf func(string, ...any)) error {
	err := p.Put(ctx, p.key+probeName, func(w io.Writer) error {
		_, err := io.WriteString(w, "vaultpack was here to see whether it may write")
		return err
	})
	if err != nil {
		return err
	}
	if err := p.Delete(ctx, p.key+probeName); err != nil {
		logf("warning: %s%s, which showed that %s can be written to, stays there: %v", p.uri, probeName, p.uri, err)
	}
	return nil
}

// A remoteFile is an object, and the file that it becomes.
type remoteFile struct {
	key, name string
	size      int64
}

// files yields what becomes of the objects whose keys begin with key.
func files(ctx context.Context, b Bucket, uri, key string) iter.Seq2[remoteFile, error] {
	bucket, _ := splitURI(uri)
	return func(yield func(remoteFile, error) bool) {
		for o, err := range b.List(ctx, key) {
			if err != nil {
				yield(remoteFile{}, err)
				return
			}
			name, ok := strings.CutPrefix(o.Name, strings.TrimSuffix(key, "/")+"/")
			if !ok || key == "" {
				name = strings.TrimPrefix(o.Name, key[:strings.LastIndex(key, "/")+1])
			}
			if path.Base(name) == probeName {
				continue
			}
			if strings.Contains(o.Name, "//") || !filepath.IsLocal(name) {
				yield(remoteFile{}, fmt.Errorf("s3://%s/%s cannot be a file: its key has an empty part, or leads out of the folder; move it away", bucket, o.Name))
				return
			}
			if !yield(remoteFile{o.Name, name, o.Size}, nil) {
				return
			}
		}
	}
}

// Reach finds out how much the channels and checkpoints in S3 take, and tests whether results
// and checkpoints can be stored there. It returns an error for a channel with nothing in it,
// and for results of another job of the name: [ErrNoObjects], [ErrInS3]. [Job.Run] calls
// it, unless it was called. It is an error to call it while the job runs.
func (j *Job) Reach(ctx context.Context) error {
	if err := given.Check(ctx, j != nil, errors.New("local: a nil Job")); err != nil {
		return err
	}
	if j.reached {
		return nil
	}
	if err := errors.Join(j.To.check(), j.Checkpoints.check()); err != nil {
		return err
	}
	if err := j.measure(ctx); err != nil {
		return err
	}
	if err := j.checkRemote(ctx); err != nil {
		return err
	}
	j.reached = true
	return nil
}

// measure finds out how much is to be fetched.
func (j *Job) measure(ctx context.Context) error {
	j.remoteBytes = 0
	add := func(uri, key string, b Bucket) (n int, err error) {
		for f, err := range files(ctx, b, uri, key) {
			if err != nil {
				return n, err
			}
			j.remoteBytes += f.size + 4096
			n++
		}
		return n, nil
	}
	for _, name := range slices.Sorted(maps.Keys(j.Remote)) {
		uri := j.Remote[name].URI
		b, err := j.Buckets.open(ctx, uri, "")
		if err != nil {
			return &ChannelError{name, err}
		}
		_, key := splitURI(uri)
		n, err := add(uri, key, b)
		if err == nil && n == 0 {
			err = fmt.Errorf("%s: %w", uri, ErrNoObjects)
		}
		if err != nil {
			return &ChannelError{name, err}
		}
	}
	if j.Checkpoints.S3 == "" {
		return nil
	}
	p, err := j.Buckets.at(ctx, j.Checkpoints.S3, j.Checkpoints.KMSKey)
	if err == nil {
		_, err = add(p.uri, p.key, p)
	}
	if err != nil {
		return fmt.Errorf("the checkpoints of an earlier job cannot be read: %w", err)
	}
	return nil
}

// checkRemote returns an error if results or checkpoints cannot be stored in S3.
func (j *Job) checkRemote(ctx context.Context) error {
	for what, to := range map[string]Destination{"the results cannot be delivered there": j.To, "the checkpoints cannot be kept there": j.Checkpoints} {
		if to.S3 == "" {
			continue
		}
		p, err := j.Buckets.at(ctx, to.S3, to.KMSKey)
		if err == nil {
			err = p.check(ctx, j.tell)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if j.To.S3 == "" {
		return nil
	}
	p, err := j.Buckets.at(ctx, outputOf(j.To.S3, j.Name), j.To.KMSKey)
	if err != nil {
		return err
	}
	for _, name := range []string{modelName, failedModelName, outputName} {
		switch _, err := p.Stat(ctx, p.key+name); {
		case err == nil:
			return fmt.Errorf("%s%s: %w", p.uri, name, ErrInS3)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// fetchChannel fills the folder of a channel with the host's share of what is in S3.
func (r *run) fetchChannel(ctx context.Context, h *host, to string, ch Remote) error {
	part, parts := r.shareOf(h, ch.Groups)
	if part < 0 {
		return nil
	}
	if !ch.Sharded {
		part, parts = 0, 1
	}
	b, err := r.Buckets.open(ctx, ch.URI, "")
	if err != nil {
		return err
	}
	_, key := splitURI(ch.URI)
	n := 0
	all := files(ctx, b, ch.URI, key)
	return download(ctx, b, to, func(yield func(remoteFile, error) bool) {
		for f, err := range all {
			mine := n%parts == part
			if n++; (mine || err != nil) && !yield(f, err) {
				return
			}
		}
	})
}

// shareOf tells which part of a channel is the host's, of how many; part is -1 if the channel
// is for groups that it is not in.
func (r *run) shareOf(h *host, groups []string) (part, parts int) {
	part = -1
	for i := range r.cluster.hosts {
		o := &r.cluster.hosts[i]
		if len(groups) > 0 && !slices.Contains(groups, o.group) {
			continue
		}
		if o.name == h.name {
			part = parts
		}
		parts++
	}
	return part, parts
}

// downloads is how many objects are read at the same time.
const downloads = 8

// download makes files of objects, below a folder that only this process writes to.
func download(ctx context.Context, b Bucket, to string, all iter.Seq2[remoteFile, error]) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return workers.Run(ctx, downloads, func(ctx context.Context, g *workers.Group) error {
		for f, err := range all {
			if err != nil {
				return err
			}
			if !g.Go(func() error { return downloadOne(ctx, b, to, f) }) {
				return nil // its error is returned
			}
		}
		return nil
	})
}

func downloadOne(ctx context.Context, b Bucket, to string, f remoteFile) (err error) {
	file := filepath.Join(to, filepath.FromSlash(f.name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	in, err := b.Get(ctx, f.key, 0, -1)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, syscall.EISDIR) || errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is an object, and a folder of others: a file cannot be both", f.key)
	}
	if err != nil {
		return err
	}
	n, err := io.Copy(while(ctx, out), in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("%s: %w", f.key, err)
	}
	if n != f.size {
		return fmt.Errorf("%s was replaced while it was read: it had %d bytes, and %d were read", f.key, f.size, n)
	}
	return nil
}
