from __future__ import annotations

import base64
import json
import random
import unittest
from typing import Any

from vaultpack import UsageError, merge, samples

from .make_samples import OUT, File


def raw(value: dict[str, Any], name: str) -> bytes:
    return value[name].encode() if name in value else base64.b64decode(value[name + "64"])


def ranges(value: list[list[int]]) -> list[tuple[int, int]]:
    return [(a, b) for a, b in value]


class Vectors(unittest.TestCase):
    def test_orders(self) -> None:
        for name in ("names", "many", "large"):
            with self.subTest(name):
                v = json.loads((OUT / f"{name}.json").read_text())
                files = [File(raw(f, "path"), f["size"], f["extents"]) for f in v["files"]]
                random.Random(1).shuffle(files)  # it depends on nothing but the files
                found = samples.collect(files)
                got = [(s.key, [samples.field(s.key, files[i].path) for i in s.files]) for s in found]
                self.assertEqual(got, [(raw(s, "key"), [raw(f, "field") for f in s["fields"]]) for s in v["samples"]])
                self.assertEqual(samples.blocks(found), ranges(v["blocks"]))
                for o in v["orders"]:
                    order = samples.order(found, o["shuffle"], o["epoch"])
                    self.assertEqual(list(order), o["order"])
                    self.assertEqual(sorted(order), list(range(len(found))))
                for d in v["divided"]:
                    parts = [samples.divide(ranges(d["rest"]), i, d["shards"]) for i in range(d["shards"])]
                    self.assertEqual(parts, [ranges(p) for p in d["parts"]])
                    self.assertEqual(samples.union(*parts), samples.union(ranges(d["rest"])))
                    self.assertLessEqual(max(map(samples.count, parts)) - min(map(samples.count, parts)), 1)
                # Every file is in one field of one sample.
                used = sorted(i for s in found for i in s.files)
                self.assertEqual(used, list(range(len(files))))
                for s in found:
                    fields = [samples.field(s.key, files[i].path) for i in s.files]
                    self.assertEqual(len(set(fields)), len(fields), s.key)

    def test_positions(self) -> None:
        v = json.loads((OUT / "positions.json").read_text())
        for stage in v["stages"]:
            got = merge(stage["states"])
            self.assertEqual(json.loads(json.dumps(got.to_json())), stage["merged"])
            self.assertEqual(samples.count(got.rest()), stage["left"])


class Resuming(unittest.TestCase):
    def test_exactly_once(self) -> None:
        """However the shards go on and their number changes, each position is read once."""
        rng = random.Random(3)
        for _ in range(60):
            n = rng.choice([0, 1, 2, 5, 100, 1000])
            p = samples.Position("d@1", "00" * 32, n, 1, 0)
            read: list[int] = []
            for _ in range(rng.randint(1, 5)):
                shards = rng.randint(1, 9)
                states = []
                for i in range(shards):
                    s = p._replace(shard=i, shards=shards, done=())
                    for _ in range(rng.randint(0, 3)):  # some stops without a change of the number
                        rest = list(samples.positions(s.rest()))
                        took = rest[: rng.randint(0, len(rest))]
                        if rng.random() < 0.3:
                            took = rng.sample(rest, rng.randint(0, len(rest)))  # workers finish in any order
                        read += took
                        s = samples.Position.from_json(json.dumps(s.after([(j, j + 1) for j in took]).to_json()))
                    states.append(s)
                rng.shuffle(states)
                p = merge(states)
            read += samples.positions(p.rest())
            self.assertEqual(sorted(read), list(range(n)))

    def test_refused(self) -> None:
        good = samples.Position("d@1", "00" * 32, 10, None, 0, ((0, 2),), 0, 2, ((2, 4),)).to_json()
        samples.Position.from_json(good)
        for change in (
            {"format": "vaultpack-position/2"},
            {"more": 1},
            {"samples": -1},
            {"samples": 1.0},
            {"samples": True},
            {"epoch": 1 << 64},
            {"shuffle": "7"},
            {"shard": 2},
            {"shards": 0},
            {"begun": [[0, 11]]},
            {"begun": [[3, 2]]},
            {"begun": [[0, 1], [1, 2]]},
            {"begun": [[4, 5], [1, 2]]},
            {"begun": 3},
            {"done": [[2]]},
            {"done": [[0, 1]]},
            {"done": [[8, 9]]},
        ):
            with self.subTest(change), self.assertRaises(UsageError):
                samples.Position.from_json({**good, **change})
        for state in ("", "[]", "3", None, {}):
            with self.subTest(state), self.assertRaises(UsageError):
                samples.Position.from_json(state)  # type: ignore[arg-type]

    def test_merge_wants_all(self) -> None:
        p = [samples.Position("d@1", "00" * 32, 10, 1, 0, (), i, 3) for i in range(3)]
        merge(p)
        for bad in ([], p[:2], p + p[:1], [p[0], p[1], p[1]], [p[0], p[1], p[2]._replace(epoch=1)], [*p[:2], p[2]._replace(digest="11" * 32)]):
            with self.assertRaises(UsageError):
                merge(bad)


if __name__ == "__main__":
    unittest.main()
