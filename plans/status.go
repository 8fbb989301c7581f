package plans

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/cut"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/workers"
	"github.com/vaultpack/vaultpack/vault"
)

// A Phase is what is known of a shard.
type Phase string

const (
	Waiting Phase = "waiting" // nobody has begun it
	Running Phase = "running"
	Stale   Phase = "stale" // its worker has given no sign of life for three minutes
	Failed  Phase = "failed"
	Done    Phase = "done"
)

// A ShardStatus says how far a shard is. All but Done is what its last worker says of itself.
type ShardStatus struct {
	Shard
	Number int
	Phase  Phase
	// Worker is the machine and process. Started is when it began, and Last its last sign of
	// life, or when the shard was finished.
	Worker        string
	Started, Last time.Time
	DoneFiles     int64
	DoneBytes     int64
	// Error is why it has failed.
	Error string
	// Straggler says that the worker needs more than twice as long for a byte and a file as
	// half of the others.
	Straggler bool
}

// A Status is how far a plan is.
type Status struct {
	Plan   *Plan
	Shards []ShardStatus
	// Count counts the shards of each phase.
	Count map[Phase]int
	// Files and Bytes are done. Rate is the sum of the rates of the running workers in
	// bytes per second, and Left how long they will need for the rest at this rate; 0 if
	// that is unknown.
	Files, Bytes int64
	Rate         int64
	Left         time.Duration
	// Ended says that the plan was committed or given up.
	Ended bool
}

// ReadStatus returns how far a plan is. It asks the vault for each shard that is not empty.
// The times are those of the vault and of the workers: a clock that is wrong makes workers
// look stale.
func ReadStatus(ctx context.Context, d *dataset.Dataset, r Reference) (*Status, error) {
	p, err := read(ctx, d, r)
	if err != nil {
		return nil, err
	}
	s := &Status{Plan: planOf(p, d.Name), Count: map[Phase]int{}}
	set := objects.Of(d)
	names := map[string]vault.Object{}
	for o, err := range set.Vault.List(ctx, set.PlanFolder(p.ID)) {
		if err != nil {
			return nil, fmt.Errorf("listing the plan: %w", err)
		}
		names[o.Name] = o
	}
	_, s.Ended = names[set.EndName(p.ID)]
	s.Shards = make([]ShardStatus, len(p.Shards))
	err = workers.Run(ctx, 16, func(ctx context.Context, g *workers.Group) error {
		for n := range s.Shards {
			state, told := names[set.StateName(p.ID, n)]
			result, done := names[set.ResultName(p.ID, n)]
			st := &s.Shards[n]
			*st = ShardStatus{Shard: s.Plan.Shards[n], Number: n, Phase: Waiting}
			if !told {
				if done || st.Entries == 0 {
					st.finish(result)
				}
				continue
			}
			if !g.Go(func() error {
				err := st.read(ctx, set, p.ID, state)
				if done {
					st.finish(result)
				}
				return err
			}) {
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.sum()
	return s, nil
}

// finish notes that the shard is finished.
func (st *ShardStatus) finish(result vault.Object) {
	st.Phase, st.Error, st.Last = Done, "", result.Modified
	st.DoneFiles, st.DoneBytes = st.Files, st.Bytes
}

// read reads what the last worker of the shard says.
func (st *ShardStatus) read(ctx context.Context, set *objects.Set, plan string, o vault.Object) error {
	b, _, err := set.ReadSealed(ctx, o.Name, codec.MaxState)
	if errors.Is(err, dataset.ErrMissing) {
		return nil // the plan has been collected
	}
	var state codec.State
	if err == nil {
		state, err = codec.DecodeState(b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.Name, objects.Tampered(err))
	}
	st.Worker, st.Started, st.Last, st.Error = state.Worker, state.Started, o.Modified, state.Error
	st.DoneFiles, st.DoneBytes = min(state.Files, st.Files), min(state.Bytes, st.Bytes)
	switch age := time.Since(o.Modified); {
	case state.Error != "":
		st.Phase = Failed
	case age > staleAfter:
		st.Phase = Stale
	default:
		st.Phase = Running
	}
	return nil
}

// weight is what the shard's work is measured in.
func (st *ShardStatus) weight() int64 { return st.DoneBytes + cut.FileWeight*st.DoneFiles }

// speed returns how much of the work is done per second, if that is known.
func (st *ShardStatus) speed() (perSecond float64, ok bool) {
	took := st.Last.Sub(st.Started).Seconds()
	if st.Started.IsZero() || took < 1 || st.weight() == 0 || st.Phase != Done && st.Phase != Running {
		return 0, false
	}
	return float64(st.weight()) / took, true
}

// sum adds up what the shards say, and finds the stragglers.
func (s *Status) sum() {
	var speeds []float64
	left, rate := int64(0), 0.0
	for i := range s.Shards {
		st := &s.Shards[i]
		s.Count[st.Phase]++
		s.Files += st.DoneFiles
		s.Bytes += st.DoneBytes
		left += st.Bytes + cut.FileWeight*st.Files - st.weight()
		speed, ok := st.speed()
		if !ok {
			continue
		}
		speeds = append(speeds, speed)
		if st.Phase == Running {
			rate += speed
			s.Rate += int64(speed * float64(st.DoneBytes) / float64(st.weight()))
		}
	}
	if rate > 0 && left > 0 {
		s.Left = time.Duration(float64(left) / rate * float64(time.Second)).Round(time.Second)
	}
	if len(speeds) < 3 {
		return
	}
	slices.Sort(speeds)
	median := speeds[len(speeds)/2]
	for i := range s.Shards {
		speed, ok := s.Shards[i].speed()
		s.Shards[i].Straggler = ok && s.Shards[i].Phase == Running && 2*speed < median
	}
}
