#!/bin/sh
# Compares the working tree with another revision, on this machine and in turns:
#
#   bench/compare.sh [-gate] BASE
#
# Both are compiled with the working tree's benchmarks, so that they are measured
# in one and the same way; where those do not build with BASE, it is measured with
# its own. Without -gate it shows benchstat's verdict, with it the gate's (see
# bench/gate), which fails if the ratio to the limit has become worse.
#
# From the environment: BENCH, which benchmarks; BENCHTIME, for each run; COUNT,
# runs of each side; OUT, a directory to keep the results in.
set -eu

benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

gate=false
if [ "${1-}" = -gate ]; then
	gate=true
	shift
fi
if [ $# -ne 1 ] || [ -z "$1" ]; then
	echo "usage: bench/compare.sh [-gate] BASE" >&2
	exit 2
fi
base=$1
# Sizes that fit the caches and ones that do not, all calls.
BENCH=${BENCH:-'^Benchmark(Seal|Open)$/./size=(64K|16M)$|ReaderAt/(rand4K|seq64K)/size=16M'}
BENCHTIME=${BENCHTIME:-100ms}
COUNT=${COUNT:-8}

cd "$(dirname "$0")/.."
git rev-parse --quiet --verify "$base^{commit}" >/dev/null || {
	echo "bench/compare.sh: no revision $base here (a shallow clone?)" >&2
	exit 2
}
tmp=$(mktemp -d)
trap 'git worktree remove --force "$tmp/base" >/dev/null 2>&1 || true; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
out=${OUT:-$tmp}
mkdir -p "$out"

git worktree add --quiet --detach "$tmp/base" "$base"
go test -c -o "$tmp/new.test" ./bench
rm -rf "$tmp/base/bench"
cp -R bench "$tmp/base/bench"
if ! (cd "$tmp/base" && go test -c -o "$tmp/old.test" ./bench) 2>"$tmp/errors"; then
	rm -rf "$tmp/base/bench"
	if ! git -C "$tmp/base" checkout --quiet HEAD -- bench 2>/dev/null; then
		cat "$tmp/errors" >&2
		echo "bench/compare.sh: the benchmarks do not build with $base, which has none of its own" >&2
		exit 2
	fi
	echo "bench/compare.sh: measuring $base with its own benchmarks" >&2
	(cd "$tmp/base" && go test -c -o "$tmp/old.test" ./bench)
fi

for side in old new; do
	printf 'Unit ratio better=higher\nUnit limit-MB/s better=higher\n' >"$out/$side.txt"
done
run() {
	(cd bench && "$tmp/$1.test" -test.run '^$' -test.bench "$BENCH" -test.benchtime "$BENCHTIME") >>"$out/$1.txt"
}
i=0
while [ "$i" -lt "$COUNT" ]; do
	i=$((i + 1))
	echo "run $i of $COUNT" >&2
	if [ $((i % 2)) -eq 1 ]; then
		run old
		run new
	else
		run new
		run old
	fi
done

if $gate; then
	go build -o "$tmp/gate" ./bench/gate # go run would make every exit code 1
	"$tmp/gate" "$out/old.txt" "$out/new.txt"
else
	go run "$benchstat" -filter '.unit:(ratio OR sec/op OR allocs/op)' "old=$out/old.txt" "new=$out/new.txt"
fi
