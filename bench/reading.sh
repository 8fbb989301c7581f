#!/bin/bash
# usage: bench/reading.sh [VAULTPACK] [ROUNDS]    how fast sealed files are read where they lie, beside a plain folder
#
# Each round runs everything once, one after the other, so that other load on the machine strikes all of it. The
# vault is a directory, and all files are in the page cache: what is measured is vaultpack. Takes root or fusermount3,
# python3, and 2 GB in $TMPDIR.
set -euo pipefail
vaultpack=$(realpath "${1:-bin/vaultpack}") rounds=${2:-3}
home=$(mktemp -d) && cd "$home"
export HOME=$home VAULTPACK_HOME=$home
mounted=
finish() { [ -z "$mounted" ] || { kill -TERM "$mounted"; wait "$mounted" || true; }; rm -rf "$home"; }
trap finish EXIT
cat > make.py <<'P'
import os, random
r = random.Random(1)
for i in range(3000):
    os.makedirs(f"src/{i%20:02}", exist_ok=True)
    open(f"src/{i%20:02}/{i:04}", "wb").write(r.randbytes(r.randrange(60_000, 160_000)))
open("src/large", "wb").write(b"".join(r.randbytes(1 << 20) for _ in range(256)))
P
cat > read.py <<'P'
import os, random, sys, time
root, how = sys.argv[1:]
names = sorted(os.path.join(d, f) for d, _, fs in os.walk(root) for f in fs if f != "large")
if how == "random": random.Random(2).shuffle(names)
t = time.monotonic()
n = 0
if how == "large":
    with open(root + "/large", "rb", buffering=0) as f:
        while b := f.read(1 << 20): n += len(b)
else:
    for name in names:
        with open(name, "rb") as f: n += len(f.read())
t = time.monotonic() - t
print(f"{n/t/1e6:.0f} MB/s" if how == "large" else f"{len(names)/t:.0f} files/s")
P
python3 make.py
"$vaultpack" push src -d d -q
attach() {
	"$vaultpack" mount d m > mount.log 2>&1 &
	mounted=$!
	until [ -e m/large ]; do kill -0 "$mounted" || { cat mount.log; exit 1; }; sleep 0.1; done
}
detach() { kill -TERM "$mounted"; wait "$mounted" || true; mounted=; }
say() { printf '%-44s %s\n' "$1" "$2"; }
seconds() { local t; t=$(date +%s.%N); "$@" > /dev/null; echo "$(date +%s.%N) - $t" | bc; }
for round in $(seq "$rounds"); do
	echo "round $round, load $(cut -d' ' -f1 /proc/loadavg)"
	for how in random order large; do
		attach
		say "$how: plain folder" "$(python3 read.py src $how)"
		say "$how: mount, first read" "$(python3 read.py m $how)"
		say "$how: mount, again" "$(python3 read.py m $how)"
		detach
	done
	rm -rf out
	say "restore" "$(seconds "$vaultpack" restore d out -q) s"
	say "stream, to a pipe" "$(seconds bash -c '"$0" stream d | cat' "$vaultpack") s"
done
