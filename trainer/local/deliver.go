package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/internal/atomicfile"
)

// A Destination is where the results of a job go: a dataset, a folder, or a place in S3.
type Destination struct {
	// Vault is the location of the vault that Dataset is in.
	Vault   string `json:"vault,omitempty"`
	Dataset string `json:"dataset,omitempty"`
	Folder  string `json:"folder,omitempty"`
	// S3 is an s3:// URI without a slash at its end.
	S3 string `json:"s3,omitempty"`
	// KMSKey is the key under which S3 encrypts there. What it means if it is empty is up to
	// [Buckets].
	KMSKey string `json:"kms_key,omitempty"`
}

// String returns the dataset or the folder, or "" if the results are discarded.
func (d Destination) String() string {
	if d.Dataset != "" {
		return "vaultpack:" + d.Dataset
	}
	return cmp.Or(d.S3, d.Folder)
}

// unfinished is put behind the name of a dataset for the results of jobs that have no
// model: they are not to take the place of one.
const unfinished = "-unfinished"

// For returns the name of the dataset that the results are sealed in.
func (d Destination) For(r *Results) string {
	if r.Unfinished {
		return d.Dataset + unfinished
	}
	return d.Dataset
}

// check returns an error if the place in S3 is none.
func (d Destination) check() error {
	if bucket, _ := splitURI(d.S3); d.S3 != "" && (!strings.HasPrefix(d.S3, "s3://") || bucket == "" || strings.HasSuffix(d.S3, "/")) {
		return fmt.Errorf("local: %q is not s3://BUCKET or s3://BUCKET/KEY without a slash at its end", d.S3)
	}
	return nil
}

// Check returns an error if results cannot be delivered there, as far as that can be
// determined before there are any. It creates the folder. What is in S3 [Job.Reach] checks.
func (d Destination) Check() error {
	if d.Dataset != "" {
		if err := dataset.CheckName(d.Dataset); err != nil {
			return err
		}
		return dataset.CheckName(d.Dataset + unfinished)
	}
	if d.Folder == "" {
		return nil
	}
	if err := os.MkdirAll(d.Folder, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(d.Folder, ".vaultpack-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// CopyTo writes the results to a folder, unencrypted: model.tar.gz has the contents of
// model at its root, output.tar.gz those of output/data, and checkpoints are files. The
// model of a failed job is failed-model.tar.gz.
func CopyTo(ctx context.Context, r *Results, dir string, warn func(error)) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, it := range r.archives() {
		err := atomicfile.Replace(filepath.Join(dir, it.name), it.mode, func(w io.Writer) error { return it.write(while(ctx, w)) })
		if err != nil {
			return err
		}
	}
	if r.apart || isEmpty(r.checkpoints()) {
		return nil
	}
	return copyOut(ctx, warn, r.base, checkpointsName, dir)
}

// while fails once the context has ended.
func while(ctx context.Context, w io.Writer) io.Writer {
	return writer(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return w.Write(p)
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// sealTries bounds how often a version is tried on top of those that others have made
// meanwhile: all jobs of a sweep may end at once.
const sealTries = 100

// sealMemory is what sealing takes of memory: the job's files may be there too.
const sealMemory = 256 << 20

// Seal makes the results the next version of a dataset. The version has nothing of the
// last one. The results are read in place and sealed as they are read. If others make
// versions at the same time, Seal tries again on top of theirs, without sending anything
// twice.
func Seal(ctx context.Context, r *Results, d *dataset.Dataset, warn func(error)) (*dataset.Version, error) {
	items := r.archives()
	if !r.apart {
		checkpoints, err := r.checkpointFiles(warn)
		if err != nil {
			return nil, err
		}
		items = append(items, checkpoints...)
	}
	return seal(ctx, d, "train-local "+r.Job, items, warn)
}

// seal makes items the next version, under the ID of an upload.
func seal(ctx context.Context, d *dataset.Dataset, id string, items []item, warn func(error)) (*dataset.Version, error) {
	s := sealing{dataset: d, items: items, opts: ingest.Options{ID: id, Mode: ingest.Anew, AllowIncomplete: true, Memory: sealMemory, Warn: warn}}
	for try := 1; ; try++ {
		v, err := s.try(ctx)
		again := errors.Is(err, dataset.ErrConflict) || errors.Is(err, dataset.ErrCollected)
		if !again || try == sealTries {
			return v, err
		}
		select {
		case <-time.After(rand.N(min(time.Duration(try)*50*time.Millisecond, 2*time.Second))):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// A sealing brings items into a version.
type sealing struct {
	dataset *dataset.Dataset
	items   []item
	opts    ingest.Options
	sent    bool // all of them are recorded in the vault
}

func (s *sealing) try(ctx context.Context) (*dataset.Version, error) {
	w, err := ingest.New(ctx, s.dataset, s.opts)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	for _, it := range s.items {
		if err := s.send(ctx, w, it); err != nil {
			return nil, fmt.Errorf("%s: %w", it.name, err)
		}
	}
	if err := w.Checkpoint(ctx); err != nil {
		return nil, err
	}
	s.sent = true
	return w.Commit(ctx)
}

func (s *sealing) send(ctx context.Context, w *ingest.Writer, it item) error {
	meta := ingest.Meta{Mode: it.mode, ModTime: it.changed}
	if s.sent { // else what is recorded may be of before the job went on
		if has, err := w.Has(it.name, meta); err != nil || has {
			return err
		}
	}
	f, err := w.Create(it.name, meta)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := it.write(while(ctx, f)); err != nil {
		return err
	}
	return f.Close()
}
