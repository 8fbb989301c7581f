// Package plans divides an upload among many workers. Make walks a source once and keeps
// a plan in the vault: a sequence of all that the source has, cut into shards. Work
// uploads a shard, on any machine that sees the source. Commit joins what the workers have
// made into one version, which is the one that a single upload would have made.
//
//	plan, err := plans.Make(ctx, d, "/shared/scans", plans.MakeOptions{Shards: 64})
//	// on 64 machines:
//	res, err := plans.Work(ctx, d, plan.Reference, n, plans.WorkOptions{})
//	// on any of them, or all:
//	joined, err := plans.Commit(ctx, d, plan.Reference, plans.CommitOptions{})
//
// A shard that is run twice, killed, or run elsewhere counts once. docs/SCALE.md says how,
// and docs/FORMAT.md what lies where.
package plans

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/uploader"
)

// Errors that callers branch on.
var (
	// ErrNoPlan means that the vault has no such plan. It may have ended and been
	// collected.
	ErrNoPlan = commit.ErrNoPlan
	// ErrEnded is returned for a plan that was committed or given up.
	ErrEnded = commit.ErrPlanEnded
	// ErrStale means that the data key was rotated, or the signers were changed, since the
	// plan was made.
	ErrStale = commit.ErrStale
	// ErrSourceChanged is returned for a source that is not as it was planned.
	ErrSourceChanged = uploader.ErrSourceChanged

	errNoDataset = errors.New("plans: a dataset that was not opened in a vault")
)

// MaxShards is the maximum number of shards of a plan.
const MaxShards = codec.MaxShards

// A Reference names a plan: DATASET/ID, or DATASET/ID#DIGEST with the digest that Make has
// returned. Who names the digest relies on nothing in the vault to know that the plan is
// the one that is meant.
type Reference struct {
	Dataset, ID, Digest string
}

// String returns the reference as ParseReference reads it.
func (r Reference) String() string {
	s := r.Dataset + "/" + r.ID
	if r.Digest != "" {
		s += "#" + r.Digest
	}
	return s
}

// ParseReference parses DATASET/ID or DATASET/ID#DIGEST.
func ParseReference(s string) (r Reference, err error) {
	name, digest, pinned := strings.Cut(s, "#")
	name, id, ok := strings.Cut(name, "/")
	if !ok {
		return r, fmt.Errorf("%q names no plan: that is DATASET/ID, as vaultpack plan prints it", s)
	}
	if err := dataset.CheckName(name); err != nil {
		return r, err
	}
	if err := codec.CheckPlanID(id); err != nil {
		return r, err
	}
	if b, err := hex.DecodeString(digest); pinned && (err != nil || len(b) != 32 || strings.ToLower(digest) != digest) {
		return r, fmt.Errorf("%q is not the digest of a plan, which has 64 hexadecimal digits", digest)
	}
	return Reference{name, id, digest}, nil
}

// A Plan is a plan in a vault.
type Plan struct {
	Reference
	// Source is the absolute path of the source on the machine that made the plan.
	Source string
	// Base is the version that files are compared with, 0 if there is none.
	Base   int64
	Totals tree.Totals // of files, folders, links and bytes
	Shards []Shard
}

// A Shard is what one worker uploads: everything from a path on.
type Shard struct {
	From    string
	Entries int64 // files, folders and links; 0 if there is nothing to do
	Files   int64
	Bytes   int64
}

func planOf(p *commit.Plan, d string) *Plan {
	out := &Plan{Reference: Reference{d, p.ID, hex.EncodeToString(p.Digest[:])}, Source: p.Source, Base: p.Base, Totals: p.Totals}
	for _, s := range p.Shards {
		out.Shards = append(out.Shards, Shard(s))
	}
	return out
}

// read reads a plan. What it says is verified by whoever uses it.
func read(ctx context.Context, d *dataset.Dataset, r Reference) (*commit.Plan, error) {
	if err := given.Check(ctx, d != nil && d.Vault() != nil, errNoDataset); err != nil {
		return nil, err
	}
	if r.Dataset != d.Name {
		return nil, fmt.Errorf("a plan of dataset %q, where one of %q belongs", r.Dataset, d.Name)
	}
	return commit.ReadPlan(ctx, d, r.ID, r.Digest)
}

// A ShardError says that a shard could not be finished. It wraps the cause.
type ShardError struct {
	Plan  Reference // without its digest
	Shard int
	Err   error
}

func (e *ShardError) Error() string {
	return fmt.Sprintf("shard %d of the plan %s: %v", e.Shard, e.Plan, e.Err)
}

func (e *ShardError) Unwrap() error { return e.Err }

// A MissingError reports shards that nobody has finished.
type MissingError struct {
	Plan    Reference // without its digest
	Shards  int       // of the plan
	Missing []int
}

func (e *MissingError) Error() string {
	const most = 10
	some := e.Missing[:min(len(e.Missing), most)]
	text := strings.Trim(strings.ReplaceAll(fmt.Sprint(some), " ", ", "), "[]")
	if more := len(e.Missing) - len(some); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%d of the %d shards of the plan %s are not finished: %s", len(e.Missing), e.Shards, e.Plan, text)
}
