#!/bin/sh
# Runs all benchmarks and writes
#
#   bench/results/DATE.txt   what they printed, with the machine they ran on
#   docs/benchmarks.svg      the plot
#   docs/BENCHMARKS.md       the tables, between its marks
#
# It takes about eight minutes of processor time, and wants a machine that has
# nothing else to do. It needs 8 GiB
# of free memory for buffers and files, and more for the AWS Encryption SDK, which
# holds 1 GiB of plaintext several times. FACTOR=2 measures twice as long.
# QUICK=1 is a trial: all benchmarks that are not over 16 MiB, for a moment each,
# into /tmp.
set -eu

cd "$(dirname "$0")/.."
root=$PWD
date=$(date -u +%Y-%m-%d)
out=$root/bench/results/$date.txt
svg=$root/docs/benchmarks.svg
doc=$root/docs/BENCHMARKS.md
factor=${FACTOR:-1}
quick=${QUICK:-}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

echo "compiling" >&2
(cd bench && go test -c -o "$tmp/bench.test" .)
(cd bench/peers && go test -c -o "$tmp/peers.test" .)

# Files in memory where that can be had: else the disk is measured with them.
files=${TMPDIR:-/tmp}
if [ -z "${TMPDIR-}" ] && [ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'NR==2 {print $4}')" -gt 4194304 ]; then
	files=/dev/shm
fi

field() { sed -n "s/^$1[[:space:]]*: //p" /proc/cpuinfo 2>/dev/null | head -n 1; }
revision=$(git rev-parse --short=12 HEAD)
if [ -n "$(git status --porcelain -- '*.go' go.mod go.sum bench/peers/go.mod)" ]; then
	revision="$revision, with changes"
fi
{
	echo "date: $date"
	echo "revision: $revision"
	echo "cpu-model: $(field 'model name'), family $(field 'cpu family'), model $(field model)"
	echo "cores: $(getconf _NPROCESSORS_ONLN)"
	echo "memory: $(awk '/^MemTotal/ {printf "%.1f GiB", $2/1048576}' /proc/meminfo)"
	echo "kernel: $(uname -sr)"
	echo "go: $(go env GOVERSION) $(go env GOOS)/$(go env GOARCH)"
	echo "files: in $files ($(df -PT "$files" | awk 'NR==2 {print $2}'))"
	echo "peers: $(cd bench/peers && go list -m -f '{{.Path}} {{.Version}}' filippo.io/age github.com/minio/sio \
		github.com/tink-crypto/tink-go/v2 github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk | paste -s -d , - | sed 's/,/, /g')"
	echo "load: $(cut -d " " -f 1-3 /proc/loadavg) (1, 5 and 15 minutes, before the start)"
	printf 'Unit ratio better=higher\nUnit limit-MB/s better=higher\n'
} >"$tmp/results"

# run DIR BINARY TIME PATTERN: the time is milliseconds, or a count with an x.
run() {
	case $3 in
	*x) time=$((${3%x} * factor))x ;;
	*) time=$(($3 * factor))ms ;;
	esac
	echo "$4 ($time)" >&2
	(cd "$1" && TMPDIR=$files "$tmp/$2" -test.run '^$' -test.timeout 30m -test.bench "$4" -test.benchtime "$time" $short) |
		grep -v '^PASS$' >>"$tmp/results.raw" || true
	# A pipe hides a failure, which its last lines tell.
	if grep -q -- '--- FAIL\|^panic:\|^FAIL' "$tmp/results.raw"; then
		cat "$tmp/results.raw" >&2
		exit 1
	fi
}
short=
if [ -n "$quick" ]; then
	short=-test.short
	run bench bench.test 10 .
	run bench/peers peers.test 10 .
	out=/tmp/bench-quick.txt svg=/tmp/bench-quick.svg doc=/tmp/bench-quick.md
	cp docs/BENCHMARKS.md "$doc"
else
	run bench bench.test 300 '^Benchmark(Seal|Open)$/./size=(1K|64K|1M|16M)$|(Kept|File)$/size=(1K|64K|1M|16M)$|ReaderAt'
	run bench bench.test 9x '^Benchmark(Seal|Open)$/./size=256M|(Kept|File)$/size=256M'
	run bench bench.test 7x '^Benchmark(Seal|Open)$/./size=1G|(Kept|File)$/size=1G'
	run bench/peers peers.test 500 '/size=1M'
	run bench/peers peers.test 7x '/size=1G/peer=(vaultpack|age|sio|tink)$'
	# Five to twelve seconds for each, and ten gigabytes of garbage.
	run bench/peers peers.test 1x '/size=1G/peer=awsesdk$'
fi
cat "$tmp/results" "$tmp/results.raw" >"$out"
go run ./bench/plot -svg "$svg" -doc "$doc" "$out"
echo "wrote $out, $svg, $doc" >&2
