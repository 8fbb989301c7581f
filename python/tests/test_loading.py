"""Ranks, workers, and resumption: what vaultpack.torch stands on, without PyTorch."""

from __future__ import annotations

import json
import random
import unittest
from typing import Any, Iterator

import vaultpack
from vaultpack.loading import ShardedStream

from . import vault


class Worker(ShardedStream):
    """A stream in a worker: PyTorch would say which."""

    place = (0, 1)

    def worker(self) -> tuple[int, int]:
        return self.place


def loader(stream: ShardedStream, workers: int, batch: int, rng: random.Random) -> Iterator[list[str]]:
    """What a DataLoader does: batches of the workers, which read ahead, in turns."""
    items = [stream.items(w, workers) for w in range(workers)]
    ahead: list[list[list[tuple[int, Any]]]] = [[] for _ in items]
    live = list(range(workers))
    while live:
        for w in list(live):
            for _ in range(rng.randint(1, 3)):
                got = [i for _, i in zip(range(batch), items[w])]
                if got:
                    ahead[w].append(got)
            if not ahead[w]:
                live.remove(w)
                continue
            one = ahead[w].pop(0)
            stream.mark(p for p, _ in one)
            yield [s["__key__"] for _, s in one]


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        vault.home()
        cls.ds = vaultpack.open("scans")
        cls.keys = sorted(cls.ds.sample_keys())


class Epochs(Case):
    def test_exactly_once(self) -> None:
        """Whatever ranks and workers there are, and however often they stop and change."""
        rng = random.Random(4)
        for trial in range(25):
            states: Any = None
            got: list[str] = []
            epoch = rng.randrange(3)
            for _ in range(rng.randint(1, 4)):
                world = rng.randint(1, 4)
                ranks = [ShardedStream(self.ds, shuffle=trial, epoch=epoch, rank=r, world=world) for r in range(world)]
                for r in ranks:
                    if states:
                        r.load(states)
                    steps = rng.randint(0, 12)
                    for _, batch in zip(range(steps), loader(r, rng.randint(1, 3), rng.randint(1, 9), rng)):
                        got += batch
                # A rank goes on from its own state.
                one = ShardedStream(self.ds, shuffle=0, rank=0, world=world)
                one.load(json.loads(json.dumps(ranks[0].state())))
                self.assertEqual(one.epoch, epoch)
                for _, batch in zip(range(2), loader(one, 2, 4, rng)):
                    got += batch
                states = [json.loads(json.dumps(r.state())) for r in [one, *ranks[1:]]]
            last = ShardedStream(self.ds, shuffle=0, rank=0, world=1)
            last.load(states)
            for batch in loader(last, 2, 8, rng):
                got += batch
            self.assertEqual(sorted(got), self.keys)

    def test_ranks_are_even(self) -> None:
        sizes = [len(ShardedStream(self.ds, rank=r, world=7)) for r in range(7)]
        self.assertLessEqual(max(sizes) - min(sizes), 1)
        self.assertEqual(sum(sizes), len(self.keys))

    def test_changed_world_wants_all_states(self) -> None:
        states = [ShardedStream(self.ds, rank=r, world=2).state() for r in range(2)]
        for bad in (states[0], states[:1], [states[0], states[0]]):
            with self.assertRaises(vaultpack.UsageError):
                ShardedStream(self.ds, rank=0, world=3).load(bad)
        with self.assertRaises(vaultpack.UsageError):
            ShardedStream(self.ds, rank=1)

    def test_epochs(self) -> None:
        def keys(s: ShardedStream) -> list[str]:
            return [x["__key__"] for x in s]

        s = ShardedStream(self.ds, shuffle=1, rank=0, world=1)
        first = keys(s)
        s.set_epoch(1)
        self.assertNotEqual(keys(s), first)
        s.set_epoch(0)
        self.assertEqual(keys(s), first)
        s.mark(range(10))
        s.set_epoch(0)  # as a loop over epochs does after a resumption
        self.assertEqual(keys(s), first[10:])
        s.restart()
        self.assertEqual(keys(s), first)

    def test_workers_that_live_on(self) -> None:
        """A worker's copy of the stream learns of a new epoch, and begins it from its beginning."""
        main = Worker(self.ds, shuffle=1, rank=0, world=1)
        main.mark(range(50))
        copy = Worker(self.ds, shuffle=1, rank=0, world=1)
        copy._shared, copy._position, copy._seen = main._shared, main._position, main._seen
        self.assertEqual(len(list(copy)), len(self.keys) - 50)
        main.set_epoch(3)
        got = [x["__key__"] for x in copy]
        self.assertEqual(got, [x["__key__"] for x in self.ds.samples(shuffle=1, epoch=3)])

    def test_environment(self) -> None:
        import os

        for env, want in (({}, (0, 1)), ({"RANK": "1", "WORLD_SIZE": "3"}, (1, 3))):
            os.environ.update(env)
            try:
                self.assertEqual(ShardedStream(self.ds).shard, want)
            finally:
                for k in env:
                    del os.environ[k]
        os.environ["RANK"] = "5"
        try:
            with self.assertRaises(vaultpack.UsageError):
                ShardedStream(self.ds)
        finally:
            del os.environ["RANK"]


class StatefulWorkers(Case):
    """The protocol of torchdata's StatefulDataLoader: each worker's copy has a state of its own."""

    def test_protocol(self) -> None:
        got: list[str] = []
        states: list[Any] = [None, None]
        for steps in (20, 15, 10_000):
            for w in range(2):
                s = Worker(self.ds, shuffle=2, rank=0, world=1)
                s.place = (w, 2)
                if states[w]:
                    s.load_state_dict(json.loads(json.dumps(states[w])))
                got += [x["__key__"] for _, x in zip(range(steps), s)]
                states[w] = s.state_dict()
        self.assertEqual(sorted(got), self.keys)
        with self.assertRaises(vaultpack.UsageError):
            Worker(self.ds, shuffle=2, rank=0, world=1).load_state_dict(states[0])

    def test_all_workers_of_all_ranks(self) -> None:
        got: list[str] = []
        states = []
        for r in range(3):
            for w in range(2):
                s = Worker(self.ds, shuffle=2, rank=r, world=3)
                s.place = (w, 2)
                got += [x["__key__"] for _, x in zip(range(5 + r + w), s)]
                states.append(s.state_dict())
        for r in range(2):
            s = Worker(self.ds, rank=r, world=2)
            s.load_state_dict(states)
            got += [x["__key__"] for x in s]
        self.assertEqual(sorted(got), self.keys)
        for bad in (states[:-1], states + states[:1]):
            with self.assertRaises(vaultpack.UsageError):
                Worker(self.ds, rank=0, world=2).load_state_dict(bad)


if __name__ == "__main__":
    unittest.main()
