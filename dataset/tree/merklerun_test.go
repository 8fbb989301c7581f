package tree_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// Runs of entries, hashed apart, make the hash of the whole, however they are cut.
func TestMerkleOfRuns(t *testing.T) {
	for n := range 70 {
		var entries []*tree.Entry
		var whole tree.Merkle
		for i := range n {
			sum := sha256.Sum256([]byte{byte(i)})
			e := &tree.Entry{Path: fmt.Sprintf("%03d", i), Sum: sum[:]}
			entries = append(entries, e)
			whole.Add(e)
		}
		want, _ := whole.Sum()
		for range 20 {
			var joined tree.Merkle
			for at := 0; at < n; {
				k := 1 + rand.IntN(n-at)
				run := tree.NewMerkle(int64(at))
				for _, e := range entries[at : at+k] {
					run.Add(e)
				}
				nodes, ok := run.Nodes()
				if !ok {
					t.Fatal("the nodes are not known")
				}
				if err := joined.Append(nodes, int64(k)); err != nil {
					t.Fatal(err)
				}
				at += k
			}
			if got, ok := joined.Sum(); !ok || got != want {
				t.Fatalf("%d entries in runs have another hash", n)
			}
		}
	}
	one := tree.NewMerkle(0)
	one.Add(&tree.Entry{Path: "d/"})
	nodes, _ := one.Nodes()
	for _, n := range []int64{0, 3} {
		if err := new(tree.Merkle).Append(nodes, n); err == nil {
			t.Errorf("one node is taken for %d entries", n)
		}
	}
}
