package objects

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/vault"
)

// PlanFolder is the folder of a plan.
func (s *Set) PlanFolder(id string) string { return s.Name + "/plans/" + id + "/" }

// PlanName is the name of the plan itself, and EndName of the mark that it has ended.
func (s *Set) PlanName(id string) string { return s.PlanFolder(id) + "plan.vpk" }
func (s *Set) EndName(id string) string  { return s.PlanFolder(id) + "ended" }

// PageName is the name of a page of a plan.
func (s *Set) PageName(plan string, id envelope.ObjectID) string {
	return s.PlanFolder(plan) + "pages/" + id.String() + ".vpk"
}

// ShardFolder is the folder of a shard of a plan.
func (s *Set) ShardFolder(plan string, n int) string {
	return fmt.Sprintf("%s%05d/", s.PlanFolder(plan), n)
}

// ResultName is the name of what a worker has made of a shard, StateName of what is shown
// of its worker, and LogName of record i of its progress, from 1.
func (s *Set) ResultName(plan string, n int) string { return s.ShardFolder(plan, n) + "result.vpk" }
func (s *Set) StateName(plan string, n int) string  { return s.ShardFolder(plan, n) + "state.vpk" }
func (s *Set) LogName(plan string, n int, i int64) string {
	return fmt.Sprintf("%s%08d.vpk", s.ShardFolder(plan, n), i)
}

// Absent reports whether an error means that there is no such object. S3 says that it is
// forbidden to read what does not exist, to somebody who may not list. So whoever asks
// for what need not exist must be able to go on without it.
func Absent(err error) bool {
	return errors.Is(err, ErrMissing) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// PlanEnded reports whether a plan has ended: nothing continues from it.
func (s *Set) PlanEnded(ctx context.Context, id string) (bool, error) {
	b, err := s.Get(ctx, s.EndName(id), codec.MaxRoot)
	if errors.Is(err, ErrMissing) {
		return false, nil
	}
	if err == nil && string(b) != codec.EndedMark {
		err = fmt.Errorf("%s: %w", s.EndName(id), envelope.ErrAuthentication)
	}
	return err == nil, err
}

// EndPlan marks a plan as ended. It may have ended before.
func (s *Set) EndPlan(ctx context.Context, id string) error {
	err := s.Vault.Create(ctx, s.EndName(id), []byte(codec.EndedMark))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("ending the plan: %w", err)
	}
	return nil
}

// A PlanObjects is what the vault has of one plan.
type PlanObjects struct {
	ID      string
	Objects []vault.Object
	Made    time.Time // zero if there is no plan, but leftovers of one
	Ended   time.Time // zero if it has not ended
}

// Open reports whether workers may still be at the plan.
func (p *PlanObjects) Open() bool { return !p.Made.IsZero() && p.Ended.IsZero() }

// Plans lists the plans of the dataset.
func (s *Set) Plans(ctx context.Context) ([]PlanObjects, error) {
	var all []PlanObjects
	for o, err := range s.Vault.List(ctx, s.Name+"/plans/") {
		if err != nil {
			return nil, fmt.Errorf("listing the plans: %w", err)
		}
		id, _, ok := strings.Cut(strings.TrimPrefix(o.Name, s.Name+"/plans/"), "/")
		if !ok || codec.CheckPlanID(id) != nil {
			continue // it is someone else's
		}
		if n := len(all); n == 0 || all[n-1].ID != id {
			all = append(all, PlanObjects{ID: id})
		}
		p := &all[len(all)-1]
		p.Objects = append(p.Objects, o)
		switch o.Name {
		case s.PlanName(id):
			p.Made = o.Modified
		case s.EndName(id):
			p.Ended = o.Modified
		}
	}
	return all, nil
}
