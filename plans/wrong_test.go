package plans_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// move puts the contents of one object under the name of another.
func (p *place) move(t *testing.T, from, to string) {
	t.Helper()
	r, err := p.Get(t.Context(), from, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := p.Put(t.Context(), to, func(w io.Writer) error { _, err := io.Copy(w, r); return err }); err != nil {
		t.Fatal(err)
	}
}

// What is not the result of this shard of this plan, made by a signer, gets into no
// version; nor does anything once the data key was rotated.
func TestWrongResults(t *testing.T) {
	dir := source(t)
	type state struct {
		p           *place
		d           *dataset.Dataset
		plan, other *plans.Plan
	}
	result := func(s state, plan *plans.Plan, n int) string { return objects.Of(s.d).ResultName(plan.ID, n) }
	lose := func(t *testing.T, s state) {
		var names []string
		for o, err := range s.p.List(t.Context(), "d/packs/") {
			check(t, err)
			names = append(names, o.Name)
		}
		for _, name := range names {
			check(t, s.p.Delete(t.Context(), name))
		}
	}
	for name, x := range map[string]struct {
		do   func(t *testing.T, s state)
		want error // nil if any will do
	}{
		"the result of another shard": {func(t *testing.T, s state) { s.p.move(t, result(s, s.plan, 1), result(s, s.plan, 0)) }, envelope.ErrAuthentication},
		"the result of another plan":  {func(t *testing.T, s state) { s.p.move(t, result(s, s.other, 0), result(s, s.plan, 0)) }, envelope.ErrAuthentication},
		"a record as a result": {func(t *testing.T, s state) {
			s.p.move(t, objects.Of(s.d).PlanName(s.plan.ID), result(s, s.plan, 0))
		}, envelope.ErrAuthentication},
		"another plan in its place": {func(t *testing.T, s state) {
			s.p.move(t, objects.Of(s.d).PlanName(s.other.ID), objects.Of(s.d).PlanName(s.plan.ID))
		}, envelope.ErrAuthentication},
		"packs are gone":        {lose, dataset.ErrCollected},
		"the plan was given up": {func(t *testing.T, s state) { check(t, plans.GiveUp(t.Context(), s.d, s.plan.Reference)) }, plans.ErrEnded},
		"the data key was rotated": {func(t *testing.T, s state) {
			_, err := rekey.Rotate(t.Context(), s.d)
			check(t, err)
		}, plans.ErrStale},
		"a stranger has worked": {func(t *testing.T, s state) {
			check(t, s.p.Delete(t.Context(), result(s, s.plan, 0)))
			keys := []envelope.KeyWrapper{s.p.key}
			d, err := dataset.Open(&vault.Vault{Store: s.p.Store, Keys: &vault.Keys{Open: keys, Wrap: keys}, Signer: signing.GenerateKey()}, "d")
			check(t, err)
			defer d.Close()
			if _, err := plans.Work(t.Context(), d, s.plan.Reference, 0, plans.WorkOptions{}); err == nil || !strings.Contains(err.Error(), "sign") {
				t.Errorf("a stranger works: %v", err)
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace()
			s := state{p: p, d: p.open(t)}
			_, err := uploader.UploadStream(t.Context(), s.d, strings.NewReader("first"), "first", options(false))
			check(t, err)
			for _, plan := range []**plans.Plan{&s.plan, &s.other} {
				*plan, err = plans.Make(t.Context(), s.d, dir, plans.MakeOptions{Shards: 2, Upload: options(false)})
				check(t, err)
				for n := range 2 {
					_, err := plans.Work(t.Context(), p.open(t), (*plan).Reference, n, plans.WorkOptions{})
					check(t, err)
				}
			}
			x.do(t, s)
			res, err := plans.Commit(context.Background(), p.open(t), s.plan.Reference, plans.CommitOptions{})
			if err == nil || x.want != nil && !errors.Is(err, x.want) {
				t.Errorf("commit: %v, %v", fmt.Sprint(res), err)
			}
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sick is a store that answers no question about packs.
type sick struct{ vault.Store }

var errSick = errors.New("503 slow down")

func (s *sick) Stat(ctx context.Context, name string) (vault.Object, error) {
	if strings.Contains(name, "/packs/") {
		return vault.Object{}, errSick
	}
	return s.Store.Stat(ctx, name)
}

// A worker that cannot find out whether the vault has a pack fails, and sends nothing again.
func TestWorkerOfSickStore(t *testing.T) {
	p, dir := newPlace(), source(t)
	_, err := uploader.Upload(t.Context(), p.open(t), dir, options(false))
	check(t, err)
	plan, err := plans.Make(t.Context(), p.open(t), dir, plans.MakeOptions{Shards: 1, Upload: options(false)})
	check(t, err)
	res, err := plans.Work(t.Context(), p.over(t, &sick{p.Store}), plan.Reference, 0, plans.WorkOptions{})
	if !errors.Is(err, errSick) {
		t.Errorf("%+v, %v", res, err)
	}
	res, err = plans.Work(t.Context(), p.open(t), plan.Reference, 0, plans.WorkOptions{})
	check(t, err)
	if res.Stats.SentFiles != 0 {
		t.Errorf("%d files are sent again", res.Stats.SentFiles)
	}
}
