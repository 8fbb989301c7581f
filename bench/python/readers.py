#!/usr/bin/env python3
"""How fast Python reads samples, sealed and otherwise: docs/BENCHMARKS.md.

    python3 bench/python/readers.py            # with bin/vaultpack built, and the package on PYTHONPATH

The same samples, an image's bytes and a class each, lie
  folder     as files, read in a random order, as torchvision's ImageFolder does;
  tar        in tar files, streamed by tarfile and grouped by name, as WebDataset does;
  fernet     in chunks of items that are each a Fernet token, as LitData describes its encryption of samples:
             a measuring piece, rebuilt from that description;
  vaultpack  in a vault, streamed in the order in which they lie;
  shuffled   in a vault, streamed with a shuffle.
Workers are forked processes that each read a part and add up what they got, so that this measures reading, and not
what a DataLoader does with it. The readers run in turns, round by round. A ratio is the median over the rounds of
vaultpack's speed by the other's in the same round. The page cache is warm. Speeds are by the processor time of all
processes, which a machine with other work on it changes least; --clock takes the time on the clock.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "python"))
os.environ.setdefault("VAULTPACK_COMMAND", str(ROOT / "bin" / "vaultpack"))

SHARDS = 8  # of tar and fernet: a multiple of the workers


class Folder:
    def __init__(self, root: Path) -> None:
        self.files = sorted(str(p) for p in (root / "files").rglob("*.png"))

    def read(self, part: int, parts: int):
        order = random.Random(7).sample(self.files, len(self.files))
        for path in order[part::parts]:
            with open(path, "rb") as f:
                image = f.read()
            with open(path[:-3] + "cls", "rb") as f:
                yield {"png": image, "cls": f.read()}


class Tar:
    def __init__(self, root: Path) -> None:
        self.shards = sorted(root.glob("*.tar"))

    def read(self, part: int, parts: int):
        for shard in self.shards[part::parts]:
            with open(shard, "rb") as f, tarfile.open(fileobj=f, mode="r|") as tar:
                key, sample = None, {}
                for member in tar:
                    stem, _, field = member.name.partition(".")
                    if stem != key:
                        if sample:
                            yield sample
                        key, sample = stem, {}
                    sample[field] = tar.extractfile(member).read()
                    tar.members = []  # as WebDataset does
                if sample:
                    yield sample


class Fernet:
    def __init__(self, root: Path) -> None:
        from cryptography.fernet import Fernet

        self.shards = sorted(root.glob("*.fernet"))
        self.key = Fernet((root / "fernet.key").read_bytes())

    def read(self, part: int, parts: int):
        for shard in self.shards[part::parts]:
            b = shard.read_bytes()
            (n,) = struct.unpack_from("<I", b)
            at = struct.unpack_from(f"<{n + 1}I", b, 4)
            for begin, end in zip(at, at[1:]):
                item = self.key.decrypt(b[begin:end])
                (k,) = struct.unpack_from("<I", item)
                yield {"png": item[4 : 4 + k], "cls": item[4 + k :]}


class Vault:
    shuffle: int | None = None

    def __init__(self, root: Path) -> None:
        import vaultpack

        self.ds = vaultpack.open("samples")
        self.ds.sample_count

    def read(self, part: int, parts: int):
        return self.ds.samples((part, parts), shuffle=self.shuffle)


class Shuffled(Vault):
    shuffle = 7


READERS = {"folder": Folder, "tar": Tar, "fernet": Fernet, "vaultpack": Vault, "shuffled": Shuffled}


def make(root: Path, count: int, size: int) -> None:
    from cryptography.fernet import Fernet as F

    key = F.generate_key()
    (root / "fernet.key").write_bytes(key)
    token = F(key)
    samples = [(f"{i % 10}/{i:06d}", random.Random(i).randbytes(size), b"%d" % (i % 10)) for i in range(count)]
    for name, image, cls in samples:
        path = root / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".png").write_bytes(image)
        path.with_suffix(".cls").write_bytes(cls)
    for shard in range(SHARDS):
        own = samples[shard::SHARDS]
        with tarfile.open(root / f"{shard}.tar", "w") as tar:
            for name, *_ in own:
                for field in ("png", "cls"):
                    tar.add(root / "files" / f"{name}.{field}", f"{name}.{field}")
        items = [token.encrypt(struct.pack("<I", len(image)) + image + cls) for _, image, cls in own]
        at = [4 + 4 * (len(items) + 1)]
        for item in items:
            at.append(at[-1] + len(item))
        (root / f"{shard}.fernet").write_bytes(struct.pack(f"<{len(at) + 1}I", len(items), *at) + b"".join(items))
    command = os.environ["VAULTPACK_COMMAND"]
    subprocess.run([command, "push", "-q", "-d", "samples", str(root / "files")], check=True, cwd=root)


def spent(clock: bool) -> float:
    t = os.times()
    return time.perf_counter() if clock else t.user + t.system + t.children_user + t.children_system


def run(reader, workers: int, clock: bool) -> tuple[int, int, float]:
    """Samples, bytes and seconds."""

    def some(part: int, parts: int) -> tuple[int, int]:
        n = size = 0
        for s in reader.read(part, parts):
            n, size = n + 1, size + len(s["png"]) + len(s["cls"])
        return n, size

    began = spent(clock)
    if not workers:
        return *some(0, 1), spent(clock) - began
    started = []
    for i in range(workers):
        r, w = os.pipe()
        pid = os.fork()
        if not pid:
            code = 1
            try:
                os.write(w, struct.pack("<QQ", *some(i, workers)))
                code = 0
            finally:
                os._exit(code)
        os.close(w)
        started.append((pid, r))
    n = size = 0
    for pid, r in started:
        got = os.read(r, 16)
        os.close(r)
        if os.waitpid(pid, 0)[1] or len(got) < 16:
            raise SystemExit("a worker has failed")
        a, b = struct.unpack("<QQ", got)
        n, size = n + a, size + b
    return n, size, spent(clock) - began


def main() -> None:
    args = argparse.ArgumentParser()
    args.add_argument("--rounds", type=int, default=9)
    args.add_argument("--megabytes", type=int, default=80, help="of each size of samples")
    args.add_argument("--sizes", type=int, nargs="+", default=[10_000, 200_000], help="of a sample, in bytes")
    args.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])
    args.add_argument("--clock", action="store_true")
    args = args.parse_args()
    import cryptography

    print(f"Python {sys.version.split()[0]}, cryptography {cryptography.__version__}, {os.cpu_count()} cores, {args.rounds} rounds")
    print("| samples | workers | " + " | ".join(READERS) + " | of tar | of fernet |\n|---|---|" + "---|" * (len(READERS) + 2))
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as tmp:
            os.environ["VAULTPACK_HOME"] = tmp + "/home"
            count = args.megabytes * 10**6 // size // SHARDS * SHARDS
            make(Path(tmp), count, size)
            readers = {name: kind(Path(tmp)) for name, kind in READERS.items()}
            for workers in args.workers:
                times: dict[str, list[float]] = {name: [] for name in readers}
                for _ in range(args.rounds):
                    for name, reader in readers.items():
                        n, got, seconds = run(reader, workers, args.clock)
                        if (n, got) != (count, count * (size + 1)):
                            raise SystemExit(f"{name} has read {n} samples of {got} bytes")
                        times[name].append(seconds)
                cells = [f"{count / min(t):,.0f}/s, {count * size / min(t) / 1e6:,.0f} MB/s" for t in times.values()]
                ratios = [statistics.median(o / v for o, v in zip(times[other], times["vaultpack"])) for other in ("tar", "fernet")]
                print(f"| {size // 1000} KB | {workers} | " + " | ".join(cells) + " | " + " | ".join(f"**{r:.2f}**" for r in ratios) + " |", flush=True)


if __name__ == "__main__":
    main()
