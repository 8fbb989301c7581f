package storetest

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/vault"
)

// Of many concurrent calls of Replace, one succeeds in each round, and the others
// return an error.
func testReplace(t *testing.T, s vault.Store) {
	ctx := t.Context()
	if err := s.Replace(ctx, "d/none", []byte("x"), []byte("y")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a missing object: %v", err)
	}
	old := "start"
	if err := s.Create(ctx, "d/ring", []byte(old)); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"", "star", "start!", "stark"} {
		if err := s.Replace(ctx, "d/ring", []byte(wrong), []byte("y")); !errors.Is(err, vault.ErrChanged) {
			t.Errorf("of %q: %v", wrong, err)
		}
	}
	holds(t, s, "d/ring", &old)
	for round := range 5 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		winner := ""
		for i := range 8 {
			wg.Go(func() {
				next := fmt.Sprintf("round %d by %d", round, i)
				err := s.Replace(ctx, "d/ring", []byte(old), []byte(next))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && winner == "":
					winner = next
				case err == nil:
					t.Errorf("round %d: two have won", round)
				case !errors.Is(err, vault.ErrChanged):
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
		if winner == "" {
			t.Fatalf("round %d: nobody won", round)
		}
		holds(t, s, "d/ring", &winner)
		old = winner
	}
}
