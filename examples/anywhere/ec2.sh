#!/bin/sh
# Trains on this machine, and seals the result; SIGTERM and Ctrl-C reach the training.
# The plaintext is in memory and removed at the end, however that comes, except by
# kill -9. VAULTPACK_VAULT and the like are set, or in a vaultpack.yaml.
set -eu
umask 077
dataset=${1:?usage: ec2.sh DATASET@VERSION}
work=$(mktemp -d "${SCRATCH:-/dev/shm}/vaultpack-train-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/model"

# In the background, so that the shell can pass signals on while it waits.
vaultpack open "$dataset" "$work/data" -- ./train.sh "$work/data" "$work/model" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT
code=0
wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do # a signal has ended the wait
  code=0
  wait "$child" || code=$?
done
[ "$code" -eq 0 ] || exit "$code"

vaultpack push "$work/model" --dataset scans-models
