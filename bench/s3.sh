#!/bin/sh
# Measures vaultpack as a process: a large file and many small ones to MinIO and
# back beside s5cmd, to a server that throws everything away, to a directory
# beside cp and tar, and a million tiny files, whose second upload finds nothing
# to do, beside find. It prints tables in Markdown; with -write, they also go
# into docs/BENCHMARKS.md, between its marks.
#
#   bench/s3.sh [-write] [s3] [directory] [million]
#   bench/s3.sh [-write] tools
#
# tools measures restic and rclone's crypt remote, as they are found on the path.
#
# It takes about 35 minutes, and wants a machine that has nothing else to do, and
# three times LARGE of memory or disk. The first run builds MinIO and s5cmd, which
# takes minutes and the network. All it makes is removed at the end, also after an
# interrupt. A trial:
#
#   LARGE=67108864 FILES=2000 MILLION=20000 RUNS=1 bench/s3.sh
set -eu

cd "$(dirname "$0")/.."
write=
if [ "${1-}" = -write ]; then
	write=$PWD/docs/BENCHMARKS.md
	shift
fi
[ $# -gt 0 ] || set -- s3 directory million
mark=scale # of the page's section
[ "$*" != tools ] || mark=tools
large=${LARGE:-4294967296}

# In memory where that can be had: else the disk is measured, not the programs.
dir=${TMPDIR:-/tmp}
if [ -z "${TMPDIR-}" ] && [ -w /dev/shm ]; then
	room=$(df -Pk /dev/shm | awk 'NR==2 {print $4}')
	free=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)
	if [ "$room" -gt $((large / 1024 * 7 / 2 + 2097152)) ] && [ "$free" -gt $((large / 1024 * 7 / 2 + 6291456)) ]; then
		dir=/dev/shm
	fi
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

echo "compiling" >&2
CGO_ENABLED=0 go build -trimpath -o "$tmp/vaultpack" ./cmd/vaultpack
go build -o "$tmp/scale" ./bench/scale
go -C bench/s5cmd build -o "$tmp/s5cmd" github.com/peak/s5cmd/v2
revision=$(git rev-parse --short=12 HEAD)
if [ -n "$(git status --porcelain -- '*.go' go.mod go.sum)" ]; then
	revision="$revision, with changes"
fi
VAULTPACK_TEST_SERVERS=1 "$tmp/scale" -dir "$dir" -write "$write" -mark "$mark" -revision "$revision" \
	-vaultpack "$tmp/vaultpack" -s5cmd "$tmp/s5cmd" -runs "${RUNS:-3}" -large "$large" \
	-files "${FILES:-100000}" -file-size "${FILE_SIZE:-10240}" -million "${MILLION:-1000000}" "$@"
