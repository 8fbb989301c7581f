package vault

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
)

// Of many that replace an object at once, one wins each round, and the others are
// told.
func TestReplaceOneWins(t *testing.T) {
	d, err := openDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	old := []byte("start")
	if err := d.Create(ctx, "a/ring.json", old); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var winner []byte
		for i := range 8 {
			wg.Go(func() {
				next := fmt.Appendf(nil, "round %d by %d", round, i)
				err := d.Replace(ctx, "a/ring.json", old, next)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && winner == nil:
					winner = next
				case err == nil:
					t.Errorf("round %d: two have won", round)
				case !errors.Is(err, ErrChanged):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		r, err := d.Get(ctx, "a/ring.json", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || winner == nil || string(got) != string(winner) {
			t.Fatalf("round %d: the object holds %q, the winner wrote %q (%v)", round, got, winner, err)
		}
		old = winner
	}
}
