package race

import (
	"slices"
	"testing"
)

func TestFew(t *testing.T) {
	all := []int{0, 1, 2, 3, 4, 5, 6}
	for n, want := range map[int][]int{1: all, 2: {0, 2, 4, 6}, 3: {0, 3, 6}, 4: {2, 6}, 7: {6}, 100: {6}} {
		if !Enabled {
			want = all
		}
		if got := Few(n, all); !slices.Equal(got, want) {
			t.Errorf("every %d: %v, want %v", n, got, want)
		}
	}
	if Few(3, []int(nil)) != nil {
		t.Error("some of nothing")
	}
}
