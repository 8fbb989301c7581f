package provenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/vault"
)

// ErrNoStatement is wrapped by the error for a model without a statement. It
// wraps envelope.ErrAuthentication, since anyone who changes a model can
// remove its statement.
var ErrNoStatement = fmt.Errorf("the model has no statement of how it was made: %w", envelope.ErrAuthentication)

// A Signature says whose keys vouch for a statement.
type Signature struct {
	Dataset string            // the dataset whose signer certified the job
	By      signing.PublicKey // that signer
	Key     signing.PublicKey // of the job
	// Former reports whether By is no longer a signer of the dataset. The statement may
	// have been made after its removal, by anyone who has its key.
	Former bool
}

// A Verifier verifies statements against the signers of the vault's datasets, each of
// which it opens once. It must be closed. It is not safe for concurrent use.
type Verifier struct {
	vault *vault.Vault
	sets  map[string]*opened
}

type opened struct {
	set *dataset.Dataset
	v   *dataset.Version // the newest
	err error
}

// NewVerifier returns a Verifier for a vault.
func NewVerifier(v *vault.Vault) *Verifier { return &Verifier{vault: v, sets: map[string]*opened{}} }

// ready returns an error unless it was made by NewVerifier, for a vault.
func (v *Verifier) ready(ctx context.Context) error {
	return given.Check(ctx, v != nil && v.vault != nil && v.vault.Store != nil && v.sets != nil, errors.New("provenance: a verifier that was not made by NewVerifier, or without a vault"))
}

// Close wipes the data keys.
func (v *Verifier) Close() {
	if v == nil {
		return
	}
	for _, o := range v.sets {
		if o.set != nil {
			o.set.Close()
		}
	}
}

func (v *Verifier) open(ctx context.Context, name string) *opened {
	o := v.sets[name]
	if o == nil {
		o = &opened{}
		if o.set, o.err = dataset.Open(v.vault, name); o.err == nil {
			o.v, o.err = o.set.Latest(ctx)
		}
		if ctx.Err() == nil {
			v.sets[name] = o
		}
	}
	return o
}

// verify reads a delegation and the statement signed by the delegated key.
func (v *Verifier) verify(ctx context.Context, b []byte) (job string, st *signing.Statement, by Signature, d chain.Delegation, err error) {
	lines := bytes.Split(b, []byte("\n"))
	if len(lines) != 3 || len(lines[2]) > 0 {
		return "", nil, by, d, malformed("it is not a delegation and a statement, a line each")
	}
	raw := string(lines[0])
	if by.Dataset, err = chain.DelegationOf(raw); err != nil {
		return "", nil, by, d, err
	}
	if err := dataset.CheckName(by.Dataset); err != nil {
		return "", nil, by, d, malformed(err.Error())
	}
	o := v.open(ctx, by.Dataset)
	if o.err != nil {
		return "", nil, by, d, fmt.Errorf("the signers of dataset %q, one of whom certified the job: %w", by.Dataset, o.err)
	}
	if d, err = objects.RootOf(o.v).Chain.ReadDelegation(raw); err != nil {
		return "", nil, by, d, err
	}
	if d.Purpose != chain.ForJob {
		return "", nil, by, d, malformed("its key was not delegated to a job")
	}
	by.By, by.Key, by.Former = d.By, d.Key, d.Former
	payload, err := signing.Open(lines[1], signing.StatementPayload, d.Key)
	if err != nil {
		return "", nil, by, d, err
	}
	st, err = signing.ParseStatement(payload)
	return d.Name, st, by, d, err
}

// Statement verifies and returns a statement about a model.
func (v *Verifier) Statement(ctx context.Context, b []byte) (*Statement, Signature, error) {
	if err := v.ready(ctx); err != nil {
		return nil, Signature{}, err
	}
	job, st, by, d, err := v.verify(ctx, b)
	if err != nil {
		return nil, by, err
	}
	s := &Statement{}
	if err := s.decode(st); err != nil {
		return nil, by, err
	}
	again, err := s.encode()
	if err != nil {
		return nil, by, err
	}
	said, err := st.Encode()
	if err != nil {
		return nil, by, err
	}
	if want, err := again.Encode(); err != nil || !bytes.Equal(said, want) {
		return nil, by, errors.Join(err, malformed("it is not encoded as vaultpack does it"))
	}
	return s, by, covers(d, job, s.Job, s.Inputs, s.Finished)
}

// covers returns an error unless the delegation is for the job that the statement names,
// and for the versions of its dataset.
func covers(d chain.Delegation, name, job string, inputs []Input, at time.Time) error {
	if name != job {
		return malformed(fmt.Sprintf("the key of job %s has signed for job %s", name, job))
	}
	return d.Covers(upTo(inputs[0].Dataset, inputs), at)
}

// Model verifies the statements about a model, and checks that the job made each of the
// model's files and that none is missing. It returns the statements, sorted by the
// names of their hosts.
func (v *Verifier) Model(ctx context.Context, f *Files) (all []*Statement, by []Signature, err error) {
	if err := v.ready(ctx); err != nil {
		return nil, nil, err
	}
	if f == nil {
		return nil, nil, errors.New("provenance: no files")
	}
	if len(f.Statements) == 0 {
		return nil, nil, ErrNoStatement
	}
	for _, name := range slices.Sorted(maps.Keys(f.Statements)) {
		s, sig, err := v.Statement(ctx, f.Statements[name])
		if err != nil {
			return nil, nil, fmt.Errorf("%s/%s: %w", Folder, name, err)
		}
		if s.Host+".json" != name {
			return nil, nil, malformed(fmt.Sprintf("%s/%s is the statement of host %s", Folder, name, s.Host))
		}
		all, by = append(all, s), append(by, sig)
	}
	for _, s := range all[1:] {
		if s.Job != all[0].Job || !slices.Equal(s.Inputs, all[0].Inputs) {
			return nil, nil, malformed("the statements are of several jobs")
		}
	}
	return all, by, compare(f, all)
}

// compare returns an error unless the files match the statements.
func compare(f *Files, all []*Statement) error {
	if len(all) == 1 {
		if got := f.Tree(); got != all[0].Tree {
			return malformed("the model's files are not those that the job made" + difference(f, all))
		}
		return nil
	}
	// The files of all hosts are merged into one model. If two hosts made a file with
	// the same name, either one may be there.
	for _, s := range all {
		if len(s.Listed) == 0 {
			return malformed(fmt.Sprintf("the statement of host %s does not list its files, which are more than %d, so they cannot be told from those of other hosts", s.Host, maxListed))
		}
	}
	if d := difference(f, all); d != "" {
		return malformed("the model's files are not those that the hosts of the job made" + d)
	}
	return nil
}

// difference names the first file that differs, as far as the statements list files.
func difference(f *Files, all []*Statement) string {
	made := map[string][][32]byte{}
	for _, s := range all {
		for _, l := range s.Listed {
			made[l.Path] = append(made[l.Path], l.Sum)
		}
	}
	if len(made) == 0 {
		return ""
	}
	for _, file := range f.List {
		sums, ok := made[file.Path]
		switch {
		case !ok:
			return fmt.Sprintf(": %q is not among them", file.Path)
		case !slices.Contains(sums, file.Sum):
			return fmt.Sprintf(": %q was changed", file.Path)
		}
		delete(made, file.Path)
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		return fmt.Sprintf(": %q is missing", name)
	}
	return ""
}

// An InputState is the current state of a version that a job was given.
type InputState string

// The states of an input.
const (
	InVault    InputState = "in the vault"
	Removed    InputState = "removed from the vault"
	Unreadable InputState = "not readable here"
)

// Input compares a version that a job was given with the one in the vault. It returns
// an error if the vault has a different version under that number.
func (v *Verifier) Input(ctx context.Context, in Input) (InputState, error) {
	if err := v.ready(ctx); err != nil {
		return "", err
	}
	o := v.open(ctx, in.Dataset)
	if err := ctx.Err(); err != nil {
		return "", err
	}
	var ver *dataset.Version
	err := o.err
	if err == nil {
		ver, err = o.set.Version(ctx, in.Version)
	}
	switch {
	case errors.Is(err, dataset.ErrUnknownVersion), errors.Is(err, dataset.ErrUnknownDataset):
		return Removed, nil
	case errors.Is(err, envelope.ErrAuthentication):
		return "", err
	case err != nil && ctx.Err() != nil:
		return "", err
	case err != nil:
		return Unreadable, nil
	case ver.Digest() != in.Digest:
		return "", malformed(fmt.Sprintf("version %d of dataset %q has the digest %s, and the job was given %s", in.Version, in.Dataset, ver.Digest(), in.Digest))
	}
	return InVault, nil
}
