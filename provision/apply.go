package provision

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/vaultpack/vaultpack/internal/given"
)

// An ApplyError reports where Apply stopped. Calling Apply again continues from
// there.
type ApplyError struct {
	Done   []Step
	Failed Step
	Err    error
}

// Error names the failed step.
func (e *ApplyError) Error() string { return fmt.Sprintf("%s: %v", e.Failed, e.Err) }

func (e *ApplyError) Unwrap() error { return e.Err }

// Apply carries out the steps of the plan, and calls told, if it is not nil, after
// each. If AWS refuses a request only temporarily, Apply waits and retries (see
// OnWait). If a step fails, the error is an [*ApplyError].
func (p *Provisioner) Apply(ctx context.Context, plan *Plan, told func(Step)) error {
	if err := given.Check(ctx, p != nil && p.mu != nil && plan != nil, errNotMade); err != nil {
		return err
	}
	a := &applying{p: p, told: told}
	for _, part := range byResource(plan.Steps) {
		if len(part) == 1 {
			a.do(ctx, part[0])
		} else {
			// Roles do not depend on each other.
			p.parallel(len(part), "", func(i int) error { a.do(ctx, part[i]); return nil })
		}
		if a.failed != nil {
			return a.failed
		}
	}
	return nil
}

// An applying is a running Apply.
type applying struct {
	p      *Provisioner
	told   func(Step)
	mu     sync.Mutex
	done   []Step
	failed *ApplyError
}

// do carries out steps one after another, until a step of any resource has failed.
func (a *applying) do(ctx context.Context, steps []Step) {
	for _, s := range steps {
		a.mu.Lock()
		stop := a.failed != nil
		a.mu.Unlock()
		if stop {
			return
		}
		a.settled(s, a.p.settle(ctx, s))
	}
}

// settled records the outcome of a step.
func (a *applying) settled(s Step, err error) {
	a.mu.Lock()
	defer a.mu.Unlock() // also if told panics
	switch {
	case err == nil:
		a.done = append(a.done, s)
		if a.told != nil {
			a.told(s)
		}
	case a.failed == nil:
		a.failed = &ApplyError{Failed: s, Err: Explain(err, s.Action, s.Resource)}
	}
	if a.failed != nil {
		a.failed.Done = slices.Clone(a.done)
	}
}

// byResource divides the steps into groups, which are carried out one after another.
// Each holds the steps of one resource, or of many roles, by role.
func byResource(steps []Step) (parts [][][]Step) {
	roles := map[string]int{}
	for _, s := range steps {
		if s.role {
			roles[s.Resource]++
		}
	}
	for _, s := range steps {
		n := len(parts)
		switch {
		case n > 0 && s.role && len(roles) > manyRoles && parts[n-1][0][0].role:
			m := len(parts[n-1])
			if last := parts[n-1][m-1]; last[0].Resource == s.Resource {
				parts[n-1][m-1] = append(last, s)
			} else {
				parts[n-1] = append(parts[n-1], []Step{s})
			}
		default:
			parts = append(parts, [][]Step{{s}})
		}
	}
	return parts
}
