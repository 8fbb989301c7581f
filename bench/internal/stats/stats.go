// Package stats computes the two statistics that the benchmark tools need.
package stats

import "slices"

// Median returns the middle of v, or the mean of the two in the middle. It returns
// 0 if v is empty.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// ProbabilityLower returns the probability that for samples from the same
// distribution b looks lower than a at least as much as it does here: the one-sided
// exact test of Mann and Whitney, which assumes nothing about the distribution.
// Ties count half. Without samples it returns 1.
func ProbabilityLower(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	// U counts the pairs in which a is lower than b, in halves.
	u := 0
	for _, x := range a {
		for _, y := range b {
			switch {
			case x < y:
				u += 2
			case x == y:
				u++
			}
		}
	}
	counts := distribution(len(a), len(b))
	below, all := 0.0, 0.0
	for k, n := range counts {
		if all += n; 2*k <= u {
			below += n
		}
	}
	return below / all
}

// distribution returns how many of the orders of m and n samples have U = k, for
// each k from 0 to m*n.
func distribution(m, n int) []float64 {
	// ways[i][k]: orders of i samples of the one and the j of the other so far.
	ways := make([][]float64, m+1)
	for i := range ways {
		ways[i] = make([]float64, m*n+1)
		ways[i][0] = 1
	}
	for j := 1; j <= n; j++ {
		for i := 1; i <= m; i++ {
			// The highest sample is one of the other, above all i of the one, or
			// one of the one, above none.
			row := make([]float64, m*n+1)
			for k := range row {
				row[k] = ways[i-1][k]
				if k >= i {
					row[k] += ways[i][k-i]
				}
			}
			ways[i] = row
		}
	}
	return ways[m]
}
