// What bench/s3.sh measures vaultpack beside: a module of its own, for its sums.
// Built with: go build github.com/peak/s5cmd/v2
module github.com/vaultpack/vaultpack/bench/s5cmd

go 1.26.0

require github.com/peak/s5cmd/v2 v2.3.0
