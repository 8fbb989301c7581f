package samples

import (
	"cmp"
	"math/bits"
	"slices"
)

// A Range is the positions from the first number to the one before the second.
type Range [2]int64

// union returns the positions in any of the lists, as sorted ranges that neither overlap
// nor touch.
func union(lists ...[]Range) (out []Range) {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b Range) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	for _, r := range all {
		if n := len(out); n > 0 && r[0] <= out[n-1][1] {
			out[n-1][1] = max(out[n-1][1], r[1])
		} else if r[0] < r[1] {
			out = append(out, r)
		}
	}
	return out
}

// subtract returns the positions in whole that are not in less. Both are sorted.
func subtract(whole, less []Range) (out []Range) {
	i := 0
	for _, r := range whole {
		for ; i < len(less) && less[i][1] <= r[0]; i++ {
		}
		for k := i; k < len(less) && less[k][0] < r[1] && r[0] < r[1]; k++ {
			if less[k][0] > r[0] {
				out = append(out, Range{r[0], less[k][0]})
			}
			r[0] = max(r[0], less[k][1])
		}
		if r[0] < r[1] {
			out = append(out, r)
		}
	}
	return out
}

func count(ranges []Range) (n int64) {
	for _, r := range ranges {
		n += r[1] - r[0]
	}
	return n
}

// divide returns the part of the positions in rest that a shard reads.
func divide(rest []Range, shard, shards int64) (out []Range) {
	m := count(rest)
	low, high := share(m, shard, shards), share(m, shard+1, shards)
	at := int64(0)
	for _, r := range rest {
		a, b := max(r[0], r[0]+low-at), min(r[1], r[0]+high-at)
		if a < b {
			out = append(out, Range{a, b})
		}
		at += r[1] - r[0]
	}
	return out
}

// share is i m / n, rounded down, of numbers whose product may not fit in 64 bits.
func share(m, i, n int64) int64 {
	hi, lo := bits.Mul64(uint64(m), uint64(i))
	q, _ := bits.Div64(hi, lo, uint64(n)) // hi < n, since i <= n and m < 2^63
	return int64(q)
}
