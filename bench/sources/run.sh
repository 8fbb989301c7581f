#!/bin/bash
# usage: bench/sources/run.sh BUCKET VAULT-BUCKET
#
# Measures a bucket as the source of an upload, from a server of S3's protocol to the same: time, memory,
# and which regular files the process has open for writing, beside s5cmd, which copies the same to a folder and
# to a bucket. AWS_ENDPOINT_URL_S3 and the credentials say which server. Every object below BUCKET/PREFIX, for each
# PREFIX in PREFIXES (default: many large), is uploaded to a dataset of that name. VAULTPACK and S5CMD are the programs; without
# S5CMD only vaultpack is measured. Set TMPDIR to a disk with room for the source.
set -euo pipefail
bucket=$1 vault=$2
: "${VAULTPACK:=vaultpack}" "${PREFIXES:=many large}" "${S5CMD:=}"
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
export HOME=$scratch/home S3_ENDPOINT_URL=${AWS_ENDPOINT_URL_S3:-}
mkdir "$HOME"
"$VAULTPACK" init --quiet # makes the local key

# measured NAME COMMAND…: runs it, and prints what it took
measured() {
	local name=$1; shift
	/usr/bin/time -f "%e s wall, %U s user, %S s system, %M KiB" -o "$scratch/time" "$@" >"$scratch/out" 2>"$scratch/err" &
	local timer=$!
	while kill -0 "$timer" 2>/dev/null; do # the files that it writes, but for its output
		for pid in $(pgrep -P "$timer" || true); do
			for fd in /proc/"$pid"/fd/*; do
				to=$(readlink "$fd" 2>/dev/null || true)
				[[ $to == /* && $to != /dev/* && $to != /sys/* && $to != "$scratch"/out && $to != "$scratch"/err && $to != "$scratch"/time && -f $to ]] && echo "$to" || true
			done
		done
		sleep 0.5
	done | sort -u >"$scratch/files"
	wait "$timer" || { cat "$scratch/err" >&2; return 1; }
	echo "$name: $(cat "$scratch/time"); files seen open: $(wc -l <"$scratch/files")"
	sed 's/^/    /' "$scratch/files" | head -5
}

for prefix in $PREFIXES; do
	measured "vaultpack push of $prefix" "$VAULTPACK" push "s3://$bucket/$prefix" --dataset "$prefix" --vault "s3://$vault/v$RANDOM" --sse none --local-key "$HOME/.local/share/vaultpack/local.key"
	grep -E '^(files|sealed|requests|source)' "$scratch/out" | sed 's/^/    /'
	if [ -n "$S5CMD" ]; then
		measured "s5cmd from the bucket to a folder, $prefix" "$S5CMD" cp "s3://$bucket/$prefix/*" "$scratch/copy/"
		measured "s5cmd from the folder to a bucket, $prefix" "$S5CMD" cp "$scratch/copy/" "s3://$vault/copy$RANDOM/"
		rm -rf "$scratch/copy"
	fi
done
