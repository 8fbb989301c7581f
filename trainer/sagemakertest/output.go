package sagemakertest

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// A file is a file of an artifact, with its name in it.
type file struct{ name, path string }

// collect lists the contents of the folder with that name below each host's
// /opt/ml. If several hosts wrote the same name, it takes the first host's.
func collect(hosts []host, folder string) (files []file, err error) {
	seen := map[string]bool{}
	for _, h := range hosts {
		root := filepath.Join(h.dir, "ml", folder)
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || p == root {
				return err
			}
			name, err := filepath.Rel(root, p)
			if err != nil || seen[name] {
				return err
			}
			seen[name] = true
			files = append(files, file{filepath.ToSlash(name), p})
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// upload stores the model and the contents of output/data in S3. The model of a
// failed job is not kept.
func (j *job) upload(c *s3.Client, hosts []host, end error) error {
	if j.processing {
		return j.uploadOutputs(c, hosts)
	}
	message := "Uploading generated training model"
	switch {
	case end == nil:
		j.advance(types.SecondaryStatusUploading, message)
	case isStop(end):
		j.to(types.TrainingJobStatusStopping, types.SecondaryStatusStopping, "Stopping the training job")
		j.to(types.TrainingJobStatusStopping, types.SecondaryStatusUploading, message)
	}
	ctx := j.Server.ctx
	out := j.in.OutputDataConfig
	base := strings.TrimSuffix(*out.S3OutputPath, "/") + "/" + j.name + "/output/"
	data, err := collect(hosts, "output/data")
	if err != nil {
		return err
	}
	if len(data) > 0 {
		if err := j.putArchive(ctx, c, data, base+"output.tar.gz"); err != nil {
			return err
		}
	}
	if end != nil && !isStop(end) {
		return nil
	}
	model, err := collect(hosts, "model")
	if err != nil || len(model) == 0 {
		return err
	}
	where := base + "model.tar.gz"
	if out.CompressionType == types.OutputCompressionTypeNone {
		where = base + "model/"
		for _, f := range model {
			if info, err := os.Stat(f.path); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if err := j.put(ctx, c, f.path, where+f.name, str(out.KmsKeyId)); err != nil {
				return err
			}
		}
	} else if err := j.putArchive(ctx, c, model, where); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.model = where
	return nil
}

func isStop(err error) bool {
	return errors.Is(err, errStopped) || errors.Is(err, errMaxRuntime) || errors.Is(err, errMaxWait)
}

// putArchive stores the files as one .tar.gz.
func (j *job) putArchive(ctx context.Context, c *s3.Client, files []file, uri string) error {
	f, err := os.CreateTemp(j.cfg.Dir, "sagemakertest-*.tar.gz")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	for _, file := range files {
		if err := addToTar(w, file); err != nil {
			return err
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return err
	}
	return j.put(ctx, c, f.Name(), uri, str(j.in.OutputDataConfig.KmsKeyId))
}

func addToTar(w *tar.Writer, f file) error {
	info, err := os.Lstat(f.path)
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(f.path); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil // a socket or the like
	}
	hd, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	hd.Name = f.name
	if info.IsDir() {
		hd.Name += "/"
	}
	if err := w.WriteHeader(hd); err != nil || !info.Mode().IsRegular() {
		return err
	}
	r, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// put stores a file, encrypted with the KMS key if there is one.
func (j *job) put(ctx context.Context, c *s3.Client, from, uri, kmsKey string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	bucket, key := splitURI(uri)
	in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: r}
	if kmsKey != "" {
		in.ServerSideEncryption, in.SSEKMSKeyId = s3types.ServerSideEncryptionAwsKms, &kmsKey
	}
	_, err = c.PutObject(ctx, in)
	return err
}

// checkpointDir returns the folder of checkpoints, relative to /opt/ml.
func (j *job) checkpointDir() string {
	if p := aws.ToString(j.in.CheckpointConfig.LocalPath); p != "" {
		rel, _ := underML(p) // checked as the job was made
		return rel
	}
	return "checkpoints"
}

// restoreCheckpoints downloads what earlier attempts, or jobs, stored there.
func (j *job) restoreCheckpoints(ctx context.Context, c *s3.Client, ml string) error {
	if j.in.CheckpointConfig == nil {
		return nil
	}
	dir := filepath.Join(ml, j.checkpointDir())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	bucket, prefix := splitURI(strings.TrimSuffix(*j.in.CheckpointConfig.S3Uri, "/") + "/")
	objs, err := prefixObjects(ctx, c, bucket, prefix)
	if err != nil {
		return err
	}
	for _, o := range objs {
		if !filepath.IsLocal(o.name) {
			return reasonf("the checkpoint s3://%s/%s leaves its folder", o.bucket, o.key)
		}
	}
	return download(ctx, c, objs, dir)
}

// A syncer stores new and changed checkpoints in S3.
type syncer struct {
	*job
	c     *s3.Client
	hosts []host
	done  map[string]fileState // by path
}

type fileState struct {
	size  int64
	mtime time.Time
}

// newSyncer considers everything present, which was downloaded, as done. It must be
// called before the containers start.
func (j *job) newSyncer(c *s3.Client, hosts []host) *syncer {
	y := &syncer{j, c, hosts, map[string]fileState{}}
	y.look(func(string, string) error { return nil })
	return y
}

// run looks repeatedly until stop is closed, and then once more.
func (y *syncer) run(stop <-chan struct{}) {
	for ended := false; !ended && y.in.CheckpointConfig != nil; {
		select {
		case <-stop:
			ended = true
		case <-time.After(y.cfg.CheckpointEvery):
		}
		y.look(func(file, uri string) error { return y.put(y.Server.ctx, y.c, file, uri, "") })
	}
}

// look stores each checkpoint that has changed since it was last stored.
func (y *syncer) look(put func(file, uri string) error) {
	if y.in.CheckpointConfig == nil {
		return
	}
	for _, h := range y.hosts {
		files, _ := collect([]host{h}, y.checkpointDir())
		for _, f := range files {
			info, err := os.Stat(f.path)
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			now := fileState{info.Size(), info.ModTime()}
			uri := strings.TrimSuffix(*y.in.CheckpointConfig.S3Uri, "/") + "/" + f.name
			if y.done[f.path] != now && put(f.path, uri) == nil {
				y.done[f.path] = now
			}
		}
	}
}
