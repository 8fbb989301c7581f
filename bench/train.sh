#!/bin/sh
# Opening a sealed channel next to tar -x of the same files, in turns, on two cores:
#
#   bench/train.sh [MiB]       4096 unless given
#
# From the environment: TURNS, and DIR, where to work (three times the size).
set -eu
cd "$(dirname "$0")/.."
GOMAXPROCS=${GOMAXPROCS:-2} exec go run ./bench/channel -size "${1:-4096}" -turns "${TURNS:-5}" -dir "${DIR:-${TMPDIR:-/tmp}}"
