"""Writes testdata/samples, the vectors of docs/SAMPLES.md: python3 -m tests.make_samples"""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

from vaultpack import samples

OUT = Path(__file__).parents[2] / "testdata" / "samples"


class File:
    def __init__(self, path: bytes, size: int, extents: list[list[int]]) -> None:
        self.path, self.size = path, size
        self.extents = [(x[0], x[1], x[2]) for x in extents]


def text(name: str, path: bytes) -> dict[str, str]:
    try:
        return {name: path.decode()}
    except UnicodeDecodeError:
        return {name + "64": base64.b64encode(path).decode()}


def tree(paths: list[tuple[bytes, int]], pack_size: int) -> list[File]:
    """Files in packs as an upload lays them out, roughly: in order, in blocks of 512 bytes."""
    out, pack, at = [], 0, 0
    for path, size in paths:
        if at > 0 and at + size > pack_size:
            pack, at = pack + 1, 0
        extents, left = [], size
        while left > pack_size:
            extents.append([pack, 0, pack_size])
            left -= pack_size
            pack, at = pack + 1, 0
        extents.append([pack, at + 512, left] if len(extents) == 0 else [pack, 0, left])
        at += 512 + (size + 511) // 512 * 512
        if len(extents) > 1:
            pack, at = pack + 1, 0
        out.append(File(path, size, extents))
    return out


def names() -> list[File]:
    paths = b"""a.jpg a.json a.cls.txt a b/a.jpg b.c/a.jpg b.c/a.json img.001.jpg img.002.jpg img.003.jpg
        s.1.jpg s.1.json s.2.jpg s.2.json log.v1 log.v2 run.1 run.2 .hidden.json .hidden plain x. x..jpg y. y.. clip.001.mp4
        clip.002.mp4 t.1.cls.txt t.2.cls.txt d.2024-01-01.png d.2024-01-02.png d""".split()
    paths += ["ä.png".encode(), "ä.json".encode(), b"\xff.png", b"\xff.txt", "\uff01.png".encode(), "\U0001f600.png".encode()]
    files = tree([(p, 10 + i) for i, p in enumerate(sorted(paths))], 5000)
    files.append(File(b"none", 0, []))
    files.append(File(b"none2.a", 0, []))
    files.append(File(b"none2.b", 3, [[2, 100, 3]]))
    files.append(File(b"copy.jpg", 17, [[0, 512, 17]]))  # extents may be shared
    return sorted(files, key=lambda f: f.path)


def many() -> list[File]:
    paths = []
    for c in range(5):
        paths += [(b"class%d/%04d.png" % (c, i), 100 + i % 7) for i in range(700)]
        paths += [(b"class%d/%04d.cls" % (c, i), 1) for i in range(0, 700, 2)]
    return tree(sorted(paths), 1 << 20)


def large() -> list[File]:
    rng = random.Random(17)
    paths = [(b"scan%03d.bin" % i, rng.choice([0, 1000, 1 << 20, 3 << 20, 4 << 20, (4 << 20) + 1, 9 << 20])) for i in range(150)]
    return tree(paths, 8 << 20)


SEEDS = [(None, 0), (0, 0), (7, 0), (7, 1), ((1 << 64) - 1, (1 << 64) - 1)]


def vector(comment: str, files: list[File], seeds: list[tuple[int | None, int]]) -> dict[str, Any]:
    found = samples.collect(files)
    n = len(found)
    orders = [
        {"shuffle": seed, "epoch": epoch, "order": list(samples.order(found, seed, epoch))}
        for seed, epoch in seeds
    ]
    rests = [[(0, n)], samples.subtract([(0, n)], [(1, n // 3), (n // 2, n // 2 + 3)]), []]
    divided = [
        {"rest": rest, "shards": k, "parts": [samples.divide(rest, i, k) for i in range(k)]} for rest in rests for k in (1, 2, 3, 8)
    ]
    return {
        "comment": comment,
        "files": [{**text("path", f.path), "size": f.size, "extents": f.extents} for f in files],
        "samples": [{**text("key", s.key), "fields": [text("field", samples.field(s.key, files[i].path)) for i in s.files]} for s in found],
        "blocks": samples.blocks(found),
        "orders": orders,
        "divided": divided,
    }


def resumed() -> dict[str, Any]:
    """An epoch of 1,000 samples whose number of shards changes twice."""
    begin = samples.Position("scans@3", "ab" * 32, 1000, 7, 2)
    stages = []
    now = begin
    for shards, taken in ((2, (100, 317)), (3, (0, 150, 194)), (4, (60, 59, 60, 60))):
        states = []
        for i in range(shards):
            p = now._replace(shard=i, shards=shards, done=())
            own = list(samples.positions(p.rest()))[: taken[i]]
            states.append(p.after([(j, j + 1) for j in own]))
        now = samples.merge(states)
        stages.append({"states": [s.to_json() for s in states], "merged": now.to_json(), "left": samples.count(now.rest())})
    return {"comment": "positions of an epoch whose number of shards changes", "stages": stages}


def write(name: str, value: dict[str, Any]) -> None:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    (OUT / name).write_text(text.replace('],"', '],\n"') + "\n")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    write("names.json", vector("every rule of keys and fields; samples without extents, and with shared ones", names(), SEEDS))
    write("many.json", vector("small samples of five classes: blocks are full by their number", many(), SEEDS[2:4]))
    write("large.json", vector("large samples: blocks are full by their bytes, and files are cut into pieces", large(), SEEDS))
    write("positions.json", resumed())


if __name__ == "__main__":
    main()
