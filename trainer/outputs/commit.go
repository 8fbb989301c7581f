package outputs

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
	"github.com/vaultpack/vaultpack/trainer/sealedoutput"
	"github.com/vaultpack/vaultpack/vault"
)

// A Committed is an output that has become a version of a dataset.
type Committed struct {
	Output
	Version int64
	Digest  string
	Files   int64
	Bytes   int64
	// Before says that an earlier call made the version.
	Before bool
}

// Options configure a Commit.
type Options struct {
	// Unsigned accepts outputs without a statement of how they were made. Anyone who may
	// read the job's dataset and write to the bucket could have made them.
	Unsigned bool
	Warn     func(error)
}

// Commit makes each output of the job the next version of its dataset, which then contains
// only that output. The files go from the vault through memory to the vault: nothing is
// written to this machine's disk. A version is made only if every host's part is present,
// authentic and complete, and the job has signed it. Commit continues after an error, and
// returns what is committed; the same call later commits the rest.
func Commit(ctx context.Context, v *vault.Vault, j *Job, opts Options) (done []Committed, err error) {
	if err := given.Check(ctx, v != nil && v.Store != nil && j != nil && len(j.Outputs) > 0, errors.New("outputs: no vault, or a job without outputs")); err != nil {
		return nil, err
	}
	if err := j.check(v); err != nil {
		return nil, err
	}
	set, err := dataset.Open(v, j.Dataset)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	key, err := sealedmodel.KeyOf(ctx, set, j.Name, sealedmodel.KeyName)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	ver := provenance.NewVerifier(v)
	defer ver.Close()
	c := committer{vault: v, job: j, key: key, verifier: ver, opts: opts}
	var errs []error
	for _, o := range j.Outputs {
		one, err := c.commit(ctx, o)
		if err != nil {
			errs = append(errs, fmt.Errorf("output %s: %w", o.Name, err))
			continue
		}
		done = append(done, one)
	}
	return done, errors.Join(errs...)
}

type committer struct {
	vault    *vault.Vault
	job      *Job
	key      *envelope.LocalKey
	verifier *provenance.Verifier
	opts     Options
}

// tries limits how often Commit retries after others have made versions in the meantime.
const tries = 10

func (c *committer) commit(ctx context.Context, o Output) (Committed, error) {
	d, err := dataset.Open(c.vault, o.Dataset)
	if err != nil {
		return Committed{}, err
	}
	defer d.Close()
	record := objects.JobFolder(o.Dataset, c.job.Name) + "output-" + o.Name + ".vpk"
	if done, err := c.before(ctx, d, o, record); err != nil || done.Version > 0 {
		return done, err
	}
	for try := 1; ; try++ {
		done, v, err := c.write(ctx, d, o)
		if err == nil {
			return done, c.record(ctx, v, done, record)
		}
		if again := errors.Is(err, dataset.ErrConflict) || errors.Is(err, dataset.ErrCollected); !again || try == tries {
			return done, err
		}
		select {
		case <-time.After(rand.N(time.Duration(try) * 100 * time.Millisecond)):
		case <-ctx.Done():
			return done, context.Cause(ctx)
		}
	}
}

// A record says which version an output has become. It is sealed under the data key of the
// output's dataset.
type record struct {
	Job, ARN, Output string
	Version          int64
	Digest           string
}

const maxRecord = 16 << 10

// before returns the version that an earlier call made, or one without a number.
func (c *committer) before(ctx context.Context, d *dataset.Dataset, o Output, name string) (Committed, error) {
	if _, err := c.vault.Stat(ctx, name); errors.Is(err, fs.ErrNotExist) {
		return Committed{}, nil
	}
	b, _, err := objects.Of(d).ReadSealed(ctx, name, maxRecord)
	var r record
	if err == nil && json.Unmarshal(b, &r) != nil {
		err = envelope.ErrAuthentication
	}
	if err != nil {
		return Committed{}, fmt.Errorf("the record of which version it has become, %s: %w", name, err)
	}
	if r.Job != c.job.Name || r.ARN != c.job.ARN || r.Output != o.Name {
		return Committed{}, nil // from another job with that name, in another account or Region
	}
	return Committed{Output: o, Version: r.Version, Digest: r.Digest, Before: true}, nil
}

func (c *committer) record(ctx context.Context, v *dataset.Version, done Committed, name string) error {
	set := objects.Of(v)
	key, err := set.Key(ctx, v.KeyID)
	if err != nil {
		return err
	}
	b, err := json.Marshal(record{c.job.Name, c.job.ARN, done.Name, done.Version, done.Digest})
	if err != nil {
		return err
	}
	if err := set.SealData(ctx, key, name, b); err != nil {
		return fmt.Errorf("it is version %d of dataset %s now, but that cannot be recorded: %w", done.Version, done.Dataset, err)
	}
	return nil
}

// write makes the version.
func (c *committer) write(ctx context.Context, d *dataset.Dataset, o Output) (Committed, *dataset.Version, error) {
	done := Committed{Output: o}
	w, err := ingest.New(ctx, d, ingest.Options{Mode: ingest.Anew, AllowIncomplete: true, Warn: c.opts.Warn})
	if err != nil {
		return done, nil, err
	}
	defer w.Close()
	for i := range c.job.Hosts {
		if err := c.part(ctx, w, o, hostName(i+1)); err != nil {
			return done, nil, fmt.Errorf("the part of host %s: %w", hostName(i+1), err)
		}
	}
	stats := w.Stats()
	v, err := w.Commit(ctx)
	if errors.Is(err, ingest.ErrEmpty) {
		err = fmt.Errorf("the script has written no file to %s, so there is nothing to commit", path.Join("/opt/ml/processing/output", o.Name))
	}
	if err != nil {
		return done, nil, err
	}
	done.Version, done.Digest, done.Files, done.Bytes = v.Number, v.Digest(), stats.Files, stats.Bytes
	return done, v, nil
}

// part writes the part of a host, and returns an error unless the host signed it.
func (c *committer) part(ctx context.Context, w *ingest.Writer, o Output, host string) error {
	l := sealedoutput.Label{Job: c.job.Name, Output: o.Name, Host: host}
	object := c.job.folder() + "/" + o.Name + "/" + l.Object()
	r, err := c.vault.Get(ctx, object, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing in the vault: %w", object, envelope.ErrAuthentication)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	files := &provenance.Files{Statements: map[string][]byte{}}
	err = sealedoutput.Read(ctx, r, l, c.key, func(f sealedoutput.File, content io.Reader) error {
		if path.Dir(f.Path) == provenance.Folder && strings.HasSuffix(f.Path, ".json") {
			b, err := io.ReadAll(io.LimitReader(content, maxStatement))
			files.Statements[path.Base(f.Path)] = b
			return err
		}
		sum := sha256.New()
		if err := writeFile(w, f, content, sum); err != nil {
			return fmt.Errorf("%q: %w", f.Path, err)
		}
		files.List = append(files.List, provenance.File{Path: f.Path, Sum: [sha256.Size]byte(sum.Sum(nil))})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(files.List, func(a, b provenance.File) int { return strings.Compare(a.Path, b.Path) })
	return c.checkSigned(ctx, files, host)
}

// maxStatement is more than any statement takes; a longer one does not verify.
const maxStatement = 16 << 20

// writeFile writes a file of the script to the version. Files of vaultpack are only hashed.
func writeFile(w *ingest.Writer, f sealedoutput.File, content io.Reader, sum hash.Hash) error {
	if f.Own {
		_, err := io.Copy(sum, content)
		return err
	}
	to, err := w.Create(f.Path, ingest.Meta{Mode: f.Mode, ModTime: f.ModTime})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("two hosts have written it: each has to choose other names: %w", err)
	}
	if err != nil {
		return err
	}
	defer to.Abort()
	if _, err := io.Copy(io.MultiWriter(to, sum), content); err != nil {
		return err
	}
	return to.Close()
}

func (c *committer) checkSigned(ctx context.Context, files *provenance.Files, host string) error {
	if c.opts.Unsigned && len(files.Statements) == 0 {
		return nil
	}
	all, by, err := c.verifier.Model(ctx, files)
	if err != nil {
		return err
	}
	if s := all[0]; len(all) != 1 || s.Job != c.job.Name || s.Host != host || by[0].Former {
		return fmt.Errorf("the statement in it is of host %s of job %s, or by someone who is no longer a signer: %w", s.Host, s.Job, envelope.ErrAuthentication)
	}
	return nil
}
