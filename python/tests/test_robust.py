"""What has gone wrong for readers of other libraries: forks beside threads, interrupts, errors that are kept."""

from __future__ import annotations

import _thread
import copy
import importlib.util
import multiprocessing
import os
import pickle
import random
import signal
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import vaultpack
from vaultpack import sealed
from vaultpack.store import ChildStore

from . import vault
from .test_errors import deadline


def through_child() -> vaultpack.Dataset:
    ds = vaultpack.open("scans")
    ds._contents.store.close()
    ds._contents.store = ChildStore("scans", [])
    return ds


def in_fork(work: Callable[[], Any]) -> int:
    """The status of a forked process that does the work."""
    pid = os.fork()
    if not pid:
        try:
            signal.alarm(60)
            work()
            os._exit(0)
        finally:
            os._exit(9)
    return os.waitpid(pid, 0)[1]


class Robust(unittest.TestCase):
    def setUp(self) -> None:
        self.home = vault.home()
        guard = deadline(300)
        guard.__enter__()
        self.addCleanup(guard.__exit__, None, None, None)
        self.large = (self.home / "scans/large.bin").read_bytes()

    def test_error_that_is_kept(self) -> None:
        """While an error's traceback is held, as a notebook holds the last one, reads go on."""
        path = max(vault.packs(), key=lambda p: p.stat().st_size)
        kept = path.read_bytes()
        b = bytearray(kept)
        b[64 + 60] ^= 1
        path.write_bytes(bytes(b))
        self.addCleanup(path.write_bytes, kept)
        for ds in (vaultpack.open("scans"), through_child()):
            errors = []
            for e in ds.files():
                try:
                    ds.read(e.path)
                except vaultpack.AuthenticationError as err:
                    errors.append(err)
            self.assertTrue(errors)
            for e in ds.files():
                if e.path == b"note.txt":
                    self.assertEqual(ds.read(e.path), b"second")
            ds.close()

    def test_threads(self) -> None:
        """Threads that read at random, with so few messages kept that each loses those of the others."""
        kept = sealed.Object.KEPT
        sealed.Object.KEPT = 1
        self.addCleanup(setattr, sealed.Object, "KEPT", kept)
        sys.setswitchinterval(1e-5)
        self.addCleanup(sys.setswitchinterval, 0.005)

        for ds in (vaultpack.open("scans"), through_child()):
            e = ds.entry("large.bin")

            def some(seed: int) -> None:
                rng = random.Random(seed)
                for _ in range(25):
                    at, n = rng.randrange(len(self.large)), rng.choice([1, 20_000, 100_000])
                    assert ds._contents.part(e, at, n) == self.large[at : at + n]

            with ThreadPoolExecutor(6) as pool:
                list(pool.map(some, range(6)))
            with ThreadPoolExecutor(4) as pool:  # with a shuffle of its own, each
                got = pool.map(lambda s: sorted(x["__key__"] for x in ds.samples(shuffle=s, epoch=s)), range(8))
                self.assertEqual([len(g) for g in got], [ds.sample_count] * 8)
            ds.close()

    def test_many_packs(self) -> None:
        """More packs than objects are kept, in one read."""
        ds = vaultpack.open("scans")
        e = ds.entry("large.bin")
        ds._contents.part(e, 300_000, 10)
        plans = ds._contents.runs([(x[0], x[1] + 200_000, 10) for x in e.extents if x[2] > 300_000])
        first = next(plans)
        ds._contents._objects.clear()  # as a 257th does
        self.assertEqual(1 + sum(1 for _ in plans), sum(1 for x in e.extents if x[2] > 300_000))
        self.assertEqual(first[2], 10)

    def test_fork_beside_threads(self) -> None:
        """A fork while other threads read: the child reads, and the threads never see what it does."""
        for ds in (vaultpack.open("scans"), through_child()):
            stop, failed = threading.Event(), []

            def reads() -> None:
                rng = random.Random(threading.get_ident())
                while not stop.is_set():
                    at = rng.randrange(len(self.large))
                    try:
                        assert ds._contents.part(ds.entry("large.bin"), at, 50_000) == self.large[at : at + 50_000]
                    except BaseException as err:
                        failed.append(err)
                        return

            threads = [threading.Thread(target=reads) for _ in range(3)]
            for t in threads:
                t.start()

            def child() -> None:
                assert ds.read("large.bin") == self.large
                assert sum(1 for _ in ds.samples(shuffle=1)) == ds.sample_count
                ds.close()

            try:
                self.assertEqual([in_fork(child) for _ in range(2)], [0] * 2)
            finally:
                stop.set()
                for t in threads:
                    t.join()
            self.assertEqual(failed, [])
            ds.close()

    def test_interrupts(self) -> None:
        """Ctrl-C at any moment: it is raised, and the next read gives what is there."""
        # What a shell starts with & ignores the signal.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        for ds in (vaultpack.open("scans"), through_child()):
            rng = random.Random(1)
            hit = 0
            for _ in range(25):
                timer = threading.Timer(rng.random() * 0.02, _thread.interrupt_main)
                try:
                    timer.start()
                    for _ in ds.samples(shuffle=3):
                        pass
                    timer.join()
                    time.sleep(0)
                except KeyboardInterrupt:
                    hit += 1
                try:
                    timer.join()
                except KeyboardInterrupt:
                    hit += 1
                self.assertEqual(ds._contents.part(ds.entry("large.bin"), 1000, 70_000), self.large[1000:71_000])
            self.assertGreater(hit, 5)
            ds.close()

    def test_early_end(self) -> None:
        """Iterations that are broken off leave no thread, no lock and no answer to the wrong question."""
        ds = through_child()
        before = threading.active_count()
        for n in range(1, 30):
            for i, _ in enumerate(ds.samples(shuffle=n)):
                if i == n:
                    break
            self.assertEqual(ds.read("note.txt"), b"second")
        self.assertLessEqual(threading.active_count(), before + 1)
        streams = [ds.samples((i, 3), shuffle=1) for i in range(3)]  # in turns
        self.assertEqual(sum(1 for rows in zip(*streams) for _ in rows) + sum(len(s) for s in streams), ds.sample_count)
        for s in streams:
            s.close()
        ds.close()

    def test_state_after_the_end(self) -> None:
        """The end stays the end, and its state has nothing left."""
        ds = vaultpack.open("scans")
        s = ds.samples(shuffle=1)
        list(s)
        for _ in range(3):
            with self.assertRaises(StopIteration):
                next(s)
        self.assertEqual(list(ds.samples(resume=s.state_dict())), [])

    def test_errors_stay(self) -> None:
        """After an error a stream does not seem to have ended."""
        path = min(vault.packs(), key=lambda p: p.stat().st_size)
        kept = path.read_bytes()
        path.unlink()
        self.addCleanup(path.write_bytes, kept)
        for ds in (vaultpack.open("scans"), through_child()):
            s = ds.samples(shuffle=1)
            seen = 0
            with self.assertRaises(vaultpack.AuthenticationError):
                while True:
                    next(s)
                    seen += 1
            self.assertLess(seen, ds.sample_count)
            for _ in range(2):
                with self.assertRaises(vaultpack.AuthenticationError):
                    next(s)
            ds.close()

    def test_copies(self) -> None:
        """Exceptions go from process to process; datasets do not but to workers, and say so."""
        for name in vaultpack.__all__:
            kind = getattr(vaultpack, name)
            if isinstance(kind, type) and issubclass(kind, Exception):
                got = pickle.loads(pickle.dumps(kind("why")))
                self.assertEqual((type(got), str(got)), (kind, "why"))
        ds = vaultpack.open("scans")
        for take in (copy.copy, copy.deepcopy, pickle.dumps):
            with self.assertRaisesRegex(TypeError, "data keys"):
                take(ds)
        sample = next(ds.samples())
        self.assertEqual(pickle.loads(pickle.dumps(sample)), sample)

    def test_error_in_a_worker(self) -> None:
        ds = vaultpack.open("scans")
        with multiprocessing.get_context("fork").Pool(1, initializer=keep, initargs=(ds,)) as pool:
            with self.assertRaisesRegex(vaultpack.NotFound, "no such file"):
                pool.apply(read_kept, ("nope",))
            self.assertEqual(pool.apply(read_kept, ("note.txt",)), b"second")


_kept: Any = None


def keep(ds: Any) -> None:
    global _kept
    _kept = ds


def read_kept(path: str) -> bytes:
    return bytes(_kept.read(path))


class Raises:
    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __call__(self, sample: dict[str, Any]) -> str:
        if sample["__key__"].endswith("5"):
            raise self.kind("in a worker")
        return str(sample["__key__"])


@unittest.skipUnless(importlib.util.find_spec("torch"), "there is no PyTorch here")
class Loader(unittest.TestCase):
    def setUp(self) -> None:
        vault.home()
        guard = deadline(300)
        guard.__enter__()
        self.addCleanup(guard.__exit__, None, None, None)

    def test_errors_of_workers(self) -> None:
        """They are raised in the training loop, as what they are, and the loader can be used again."""
        from vaultpack.torch import VaultLoader, VaultStream

        for method, some in (("fork", 3), ("spawn", 1)):
            # A worker that is interrupted ends, without a word, in PyTorch; the loop does not take it for the end.
            for kind, want in ((vaultpack.AuthenticationError,) * 2, (ValueError, ValueError), (KeyboardInterrupt, RuntimeError))[:some]:
                loader = VaultLoader(VaultStream("scans", shuffle=1, transform=Raises(kind)), 4, num_workers=2, multiprocessing_context=method)
                with self.subTest(kind=kind, method=method), self.assertRaises(want):
                    list(loader)

    def test_killed_worker(self) -> None:
        from vaultpack.torch import VaultLoader, VaultStream

        loader = VaultLoader(VaultStream("scans", shuffle=1), 1, collate_fn=list, num_workers=2, prefetch_factor=2)
        it = iter(loader)
        next(it)
        # PyTorch raises it from a signal's handler: as soon as the first of them has died.
        with self.assertRaisesRegex(RuntimeError, "exited unexpectedly|killed"):
            for p in multiprocessing.active_children():
                os.kill(p.pid or 0, signal.SIGKILL)
            list(it)

    def test_broken_off(self) -> None:
        """Epochs that are broken off, with workers that live on: the state is of what was given."""
        from vaultpack.torch import VaultLoader, VaultStream

        ds = vaultpack.open("scans")
        loader = VaultLoader(VaultStream(ds, shuffle=1), 8, collate_fn=list, num_workers=2, persistent_workers=True)
        got: list[str] = []
        for step in (3, 5, 1000):
            for i, batch in enumerate(loader):
                got += [s["__key__"] for s in batch]
                if i == step:
                    break
            again = VaultLoader(VaultStream(ds, shuffle=1), 8, collate_fn=list)
            again.load_state_dict(loader.state_dict())
            left = [s["__key__"] for b in again for s in b] if step < 1000 else []
            self.assertEqual(sorted(got + left), sorted(ds.sample_keys()), step)


if __name__ == "__main__":
    unittest.main()
