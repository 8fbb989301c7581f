#!/bin/sh
# Trains in a container whose plaintext is in its memory, and gone with it. The image
# train has vaultpack and train.sh: see the Dockerfile. AWS_* variables that are set here
# are passed on; on EC2 none are needed.
set -eu
dataset=${1:?usage: docker-run.sh DATASET@VERSION#DIGEST}
exec docker run --rm --init \
  --read-only \
  --user 1000:1000 \
  --tmpfs /data:rw,nosuid,nodev,noexec,size=24g,uid=1000,mode=0700 \
  --tmpfs /tmp:rw,uid=1000 \
  --env AWS_REGION --env AWS_ACCESS_KEY_ID --env AWS_SECRET_ACCESS_KEY --env AWS_SESSION_TOKEN \
  --env VAULTPACK_VAULT --env VAULTPACK_KMS_KEY \
  --env VAULTPACK_HOME=/tmp/vaultpack \
  --entrypoint vaultpack \
  train:latest \
  open "$dataset" /data/scans -- /opt/train.sh /data/scans
