package plans

import (
	"testing"
	"time"
)

// Rates are of the workers that run, the time that is left is that of all that is not done at
// these rates, and a straggler is a running worker of less than half of the median speed.
func TestRatesAndStragglers(t *testing.T) {
	began := time.Unix(1000, 0)
	const mb = 1 << 20
	shard := func(phase Phase, done, of int64, seconds int) ShardStatus {
		return ShardStatus{Shard: Shard{Files: 16, Bytes: of * mb}, Phase: phase, DoneFiles: 16 * done / of, DoneBytes: done * mb,
			Started: began, Last: began.Add(time.Duration(seconds) * time.Second)}
	}
	waiting := ShardStatus{Shard: Shard{Files: 16, Bytes: 15 * mb}, Phase: Waiting}
	failed := shard(Failed, 4, 15, 10)
	for name, x := range map[string]struct {
		shards     []ShardStatus
		rate       int64 // MiB/s
		left       time.Duration
		stragglers []int
	}{
		"nothing has begun": {[]ShardStatus{waiting, waiting}, 0, 0, nil},
		"all are done":      {[]ShardStatus{shard(Done, 15, 15, 5), shard(Done, 15, 15, 5)}, 0, 0, nil},
		// 15 MiB and 16 files weigh 16 MiB. Of 64, some 27 are done; two workers do some 2.1 a second.
		"two of four run":              {[]ShardStatus{shard(Done, 15, 15, 16), shard(Running, 5, 15, 5), shard(Running, 5, 15, 5), waiting}, 2, 18 * time.Second, nil},
		"too early to tell":            {[]ShardStatus{shard(Running, 5, 15, 0), waiting}, 0, 0, nil},
		"one is slow":                  {[]ShardStatus{shard(Done, 15, 15, 4), shard(Done, 15, 15, 4), shard(Running, 5, 15, 40), shard(Running, 5, 15, 2)}, 2, 0, []int{2}},
		"a failed one is no straggler": {[]ShardStatus{shard(Done, 15, 15, 4), shard(Done, 15, 15, 4), failed, shard(Done, 15, 15, 4)}, 0, 0, nil},
		"a slow one that is done":      {[]ShardStatus{shard(Done, 15, 15, 4), shard(Done, 15, 15, 4), shard(Done, 15, 15, 400)}, 0, 0, nil},
	} {
		s := &Status{Count: map[Phase]int{}, Shards: x.shards}
		s.sum()
		if got := s.Rate >> 20; got != x.rate {
			t.Errorf("%s: %d MiB/s, want %d", name, got, x.rate)
		}
		if d := s.Left - x.left; x.left > 0 && (d < -2*time.Second || d > 2*time.Second) || x.left == 0 && name != "one is slow" && s.Left != 0 {
			t.Errorf("%s: %v left, want %v", name, s.Left, x.left)
		}
		n := 0
		for i, st := range s.Shards {
			if want := n < len(x.stragglers) && x.stragglers[n] == i; st.Straggler != want {
				t.Errorf("%s: shard %d is a straggler: %v", name, i, st.Straggler)
			} else if want {
				n++
			}
		}
	}
}
