package provenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/vault"
)

// A Launch is the record of the versions that a job was given.
type Launch struct {
	Job      string
	Builder  string
	Inputs   []Input
	Image    string
	Output   string
	Launched time.Time
	Signature
	// Err says why the record cannot be trusted. The other fields then hold its claims,
	// as far as they could be read.
	Err error
}

// Saw reports whether the job was given the version of the dataset. Version 0 means
// any.
func (l *Launch) Saw(name string, version int64) bool {
	for _, in := range l.Inputs {
		if in.Dataset == name && (version == 0 || in.Version == version) {
			return true
		}
	}
	return false
}

// Launches reads the records of the jobs that were given versions of a dataset, and calls
// each for every record, including those that cannot be trusted. If Launches returns an
// error, there may be more records.
func (v *Verifier) Launches(ctx context.Context, name string, each func(*Launch) error) error {
	if err := v.ready(ctx); err != nil {
		return err
	}
	if each == nil {
		return errors.New("provenance: nothing is to be called")
	}
	if err := dataset.CheckName(name); err != nil {
		return err
	}
	jobs, err := v.vault.Folders(ctx, objects.JobsFolder+name+"/")
	if err != nil {
		return fmt.Errorf("listing the jobs on dataset %q: %w", name, err)
	}
	for _, job := range jobs {
		l, err := v.launch(ctx, name, job)
		if err == nil && l != nil {
			err = each(l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Launch reads the record of one job on a dataset. If there is none, the error
// wraps fs.ErrNotExist.
func (v *Verifier) Launch(ctx context.Context, name, job string) (*Launch, error) {
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	l, err := v.launch(ctx, name, job)
	if err == nil && l == nil {
		err = fmt.Errorf("dataset %q has no job %q: %w", name, job, fs.ErrNotExist)
	}
	return l, err
}

// launch returns nil if the job has no record. It may have been launched by somebody who
// is not a signer.
func (v *Verifier) launch(ctx context.Context, name, job string) (*Launch, error) {
	r, err := v.vault.Get(ctx, objects.JobFolder(name, job)+launchName, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the record of job %s: %w", job, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxStatement+1))
	if err != nil {
		return nil, fmt.Errorf("the record of job %s: %w", job, err)
	}
	l := &Launch{Job: job}
	if len(b) > maxStatement {
		l.Err = malformed("it is too large")
		return l, nil
	}
	certified, st, by, d, err := v.verify(ctx, b)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if l.Signature = by; err != nil {
		l.claim(b)
		l.Err = err
		return l, nil
	}
	if l.Err = l.decode(st); l.Err == nil {
		l.Err = covers(d, certified, l.Job, l.Inputs, l.Launched)
	}
	if l.Err == nil && (l.Job != job || !l.Saw(name, 0)) {
		l.Err = malformed(fmt.Sprintf("it is that of job %s, or of one on other data", l.Job))
		l.Job = job
	}
	return l, nil
}

// claim copies what a record says without verifying it, for display.
func (l *Launch) claim(b []byte) {
	_, second, _ := bytes.Cut(b, []byte("\n"))
	_, payload, err := signing.Unverified(bytes.TrimSuffix(second, []byte("\n")))
	if err != nil {
		return
	}
	claimed := &Launch{}
	if st, err := signing.ParseStatement(payload); err == nil && claimed.decode(st) == nil {
		l.Inputs, l.Image, l.Output, l.Launched = claimed.Inputs, claimed.Image, claimed.Output, claimed.Launched
	}
}

func (l *Launch) decode(st *signing.Statement) error {
	var p launch
	if st.PredicateType != launchType || strict(st.Predicate, &p) != nil || len(p.Channels) != len(st.Subject) || len(p.Channels) == 0 {
		return malformed("it is not the record of a job's launch")
	}
	l.Job, l.Builder, l.Image, l.Output, l.Launched = p.Job, p.Builder, p.Image, p.Output, p.Launched
	for i, s := range st.Subject {
		in, err := inputOf(p.Channels[i], s.Name, s.Digest)
		if err != nil {
			return err
		}
		l.Inputs = append(l.Inputs, in)
	}
	return nil
}

// Datasets returns the names of the datasets that jobs were launched on, as the vault
// lists them.
func Datasets(ctx context.Context, v vault.Store) (names []string, err error) {
	if err := given.Check(ctx, v != nil, errors.New("provenance: a nil store")); err != nil {
		return nil, err
	}
	all, err := v.Folders(ctx, objects.JobsFolder)
	if err != nil {
		return nil, fmt.Errorf("listing the datasets with jobs: %w", err)
	}
	for _, name := range all {
		if dataset.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}
