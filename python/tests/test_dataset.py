from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import stat
import subprocess
import time
import unittest
from pathlib import Path
from typing import Any

import vaultpack
from vaultpack import dataset as datasets
from vaultpack.child import Child
from vaultpack.keyring import LocalKey
from vaultpack.opening import Handover
from vaultpack.store import ChildStore, DirStore

from . import vault


def tree(root: Path) -> dict[str, bytes]:
    return {os.path.relpath(os.path.join(d, n), root): Path(d, n).read_bytes() for d, _, names in os.walk(root) for n in names if n != "link"}


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.home = vault.home()
        cls.ds = vaultpack.open("scans")
        cls.tree = tree(cls.home / "scans")

    def through_child(self) -> datasets.Dataset:
        """The same, read as a vault is that is not a folder."""
        ds = vaultpack.open("scans")
        ds._contents.store.close()
        ds._contents.store = ChildStore("scans", [])
        self.addCleanup(ds.close)
        return ds


class Reading(Case):
    def test_files(self) -> None:
        for ds in (self.ds, self.through_child()):
            self.assertEqual({e.name: ds.read(e.path) for e in ds.files()}, self.tree)
            self.assertEqual((ds.number, ds.totals["files"], len(ds)), (2, len(self.tree), len(self.tree)))

    def test_any_range(self) -> None:
        want = self.tree["large.bin"]
        rng = random.Random(2)
        for ds in (self.ds, self.through_child()):
            with ds.open("large.bin") as f:
                self.assertIsInstance(f, io.BufferedReader)
                for _ in range(60):
                    at, n = rng.randrange(len(want) + 10), rng.choice([0, 1, 16384, 16385, 70000, 3 << 20])
                    f.seek(at)
                    self.assertEqual(f.read(n), want[at : at + n])
                f.seek(-5, io.SEEK_END)
                self.assertEqual(f.read(), want[-5:])
            e = ds.entry("large.bin")
            for _ in range(40):
                at, n = rng.randrange(len(want)), rng.choice([1, 16384, 100_000])
                self.assertEqual(ds._contents.part(e, at, n), want[at : at + n])

    def test_names(self) -> None:
        ds = self.ds
        self.assertEqual(ds.list(), [n + "/" if os.path.isdir(self.home / "scans" / n) else n for n in sorted(os.listdir(self.home / "scans"), key=os.fsencode)])
        self.assertEqual(ds.list("class1/"), sorted(os.listdir(self.home / "scans/class1")))
        walked = {os.path.join(d, n) for d, _, names in ds.walk() for n in names}
        self.assertEqual(walked, {*self.tree, "link"})
        self.assertTrue(stat.S_ISREG(ds.stat("note.txt").st_mode))
        self.assertTrue("class1" in ds and "class1/" in ds and "note.txt" in ds and "class" not in ds)
        self.assertIn("scans", ds._repr_html_())
        for bad in ("nope", "class1/nope", "note.txt/x"):
            with self.assertRaises(vaultpack.NotFound):
                ds.read(bad)
        for bad in ("class1", "link", ""):
            with self.assertRaises(vaultpack.UsageError):
                ds.read(bad)
        with self.assertRaises(vaultpack.UsageError):
            ds.open("note.txt", "wb")
        with ds.open("note.txt", "r") as f:
            self.assertEqual(f.read(), "second")

    def test_versions(self) -> None:
        self.assertEqual(vaultpack.open("scans@1").read("note.txt"), b"first")
        self.assertEqual(vaultpack.open(self.home / "settings/vault", f"scans@2#{self.ds.digest}").digest, self.ds.digest)
        for bad, want in {
            "nope": vaultpack.NotFound,
            "scans@9": vaultpack.NotFound,
            "scans@x@": vaultpack.UsageError,
            "../x": vaultpack.UsageError,
            "scans@1#" + "0" * 64: vaultpack.AuthenticationError,
        }.items():
            with self.subTest(bad), self.assertRaises(want) as raised:
                vaultpack.open(bad)
            self.assertNotIn("vaultpack: ", str(raised.exception))
        with self.assertRaises(vaultpack.Error):
            vaultpack.open(self.home / "nowhere", "scans")
        with self.assertRaises(vaultpack.Error) as failed:
            vaultpack.open("scans", at_least=3)
        self.assertEqual(failed.exception.code, 4)
        with self.assertRaises(vaultpack.AuthenticationError):
            (self.home / "other.key").write_bytes(LocalKey.generate().text())
            (self.home / "other.key").chmod(0o600)
            vaultpack.open("scans", local_key=self.home / "other.key")


class Tampering(Case):
    """Whatever is done to a pack, a read gives what was sealed or fails."""

    def damaged(self, how: Any, children: bool = False) -> None:
        for path in vault.packs():
            kept = path.read_bytes()
            try:
                how(path, kept)
                for child in (False, True) if children and path == vault.packs()[0] else (False,):
                    ds = self.through_child() if child else vaultpack.open("scans")
                    failed = 0
                    for e in ds.files():
                        try:
                            self.assertEqual(ds.read(e.path), self.tree[e.name])
                        except vaultpack.AuthenticationError as err:
                            self.assertEqual(err.code, 4)
                            failed += 1
                    self.assertGreater(failed, 0, path)
            finally:
                path.write_bytes(kept)

    def test_bits(self) -> None:
        rng = random.Random(8)

        def flip(path: Path, kept: bytes) -> None:
            b = bytearray(kept)
            b[64 + rng.randrange(56)] ^= 1 << rng.randrange(8)  # the salt or commitment of segment 0
            path.write_bytes(b)

        self.damaged(flip)

    def test_cut(self) -> None:
        self.damaged(lambda path, kept: path.write_bytes(kept[:100]), children=True)

    def test_missing(self) -> None:
        self.damaged(lambda path, kept: path.unlink(), children=True)

    def test_another(self) -> None:
        other = {p: p.read_bytes() for p in vault.packs()}
        self.damaged(lambda path, kept: path.write_bytes(next(b for p, b in other.items() if p != path)))

    def test_every_chunk(self) -> None:
        """One bit of a chunk: what lies in the chunk fails, and only that."""
        ds = vaultpack.open("scans")
        e = ds.entry("large.bin")
        pack, off, n = e.extents[1]
        path = next(p for p in vault.packs() if p.stem == ds._packs[pack].id)
        kept = path.read_bytes()
        try:
            b = bytearray(kept)
            b[64 + 56 + 5 * 16400 + 77] ^= 4
            path.write_bytes(b)
            begin = e.extents[0][2]
            for chunk in range(n // 16384):
                at = begin + chunk * 16384 - off
                if chunk == 5:
                    with self.assertRaises(vaultpack.AuthenticationError):
                        ds._contents.part(e, at, 100)
                else:
                    self.assertEqual(ds._contents.part(e, at, 100), self.tree["large.bin"][at : at + 100])
        finally:
            path.write_bytes(kept)


def count_in(ds: datasets.Dataset, shard: tuple[int, int], out: Any) -> None:
    out.put([(s["__key__"], len(s.get("bin", b""))) for s in ds.samples(shard, shuffle=3)])


def forever(ds: datasets.Dataset, out: Any) -> None:
    for s in ds.samples():
        out.put(s["__key__"])
        time.sleep(60)


def children(pid: int) -> list[int]:
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(p) for p in out]


class Processes(Case):
    def test_workers(self) -> None:
        """Forked and spawned workers read without opening the version again: the command is started
        for the packs only, and where they are not in a folder."""
        log = self.home / "started"
        wrapper = self.home / "counted"
        wrapper.write_text(f'#!/bin/sh\necho "$@ $(env | tr "\\n" " ")" >>{log}\nexec {vault.COMMAND} "$@"\n')
        wrapper.chmod(0o755)
        os.environ["VAULTPACK_COMMAND"] = str(wrapper)
        self.addCleanup(os.environ.__setitem__, "VAULTPACK_COMMAND", vault.COMMAND)
        for child in (False, True):
            ds = self.through_child() if child else vaultpack.open("scans")
            want = sorted((s["__key__"], len(s.get("bin", b""))) for s in ds.samples())
            for method in ("fork", "spawn"):
                with self.subTest(method, child=child):
                    c = multiprocessing.get_context(method)
                    out = c.Queue()
                    started = [c.Process(target=count_in, args=(ds, (i, 2), out)) for i in range(2)]
                    for p in started:
                        p.start()
                    got = [k for _ in started for k in out.get(timeout=60)]
                    for p in started:
                        p.join()
                        self.assertEqual(p.exitcode, 0)
                    self.assertEqual(sorted(got), want)
            self.assertEqual(sum(1 for _ in ds.samples()), len(want))  # the parent goes on
            ds.close()
        told = log.read_text()
        opened = told.count("handover version")
        self.assertEqual(opened, 2)
        self.assertNotIn("local-key-1", told)

    def test_killed(self) -> None:
        """A killed worker takes its command with it, and harms nobody else."""
        ds = self.through_child()
        self.assertEqual(ds.read("note.txt"), b"second")
        c = multiprocessing.get_context("fork")
        out = c.Queue()
        p = c.Process(target=forever, args=(ds, out))
        p.start()
        out.get(timeout=60)
        own = children(p.pid or 0)
        self.assertEqual(len(own), 1)
        os.kill(p.pid or 0, signal.SIGKILL)
        p.join()
        for _ in range(200):
            if not any(os.path.exists(f"/proc/{pid}") for pid in own):
                break
            time.sleep(0.05)
        else:
            self.fail("the worker's command is still there")
        self.assertEqual(ds.read("note.txt"), b"second")

    def test_killed_command(self) -> None:
        """If the command dies, the read fails, and the next one starts another."""
        ds = self.through_child()
        ds.read("note.txt")
        store = ds._contents.store
        assert isinstance(store, ChildStore) and store._child
        store._child._process.kill()
        with self.assertRaises(vaultpack.ChildError):
            ds.read("note.txt")
        self.assertEqual(ds.read("note.txt"), b"second")

    def test_no_command(self) -> None:
        for command, text in (("/nowhere/vaultpack", "cannot be started"), ("/bin/false", "")):
            os.environ["VAULTPACK_COMMAND"] = command
            try:
                with self.assertRaisesRegex(vaultpack.Error, text):
                    vaultpack.open("scans")
            finally:
                os.environ["VAULTPACK_COMMAND"] = vault.COMMAND

    def test_cut_handover(self) -> None:
        """A command that ends early, with exit code 0, is not believed."""
        child = Child(["handover", "version", "--", "scans"])
        child.stdin.write(LocalKey.generate().text())
        child.stdin.close()
        lines = child.stdout.readlines()
        self.assertIsNone(child.end())
        for cut in (lines[:-1], lines[:5] + lines[6:], lines[1:], [*lines[:5], lines[5][:-9]], []):
            got = Handover()
            got.read(cut)
            with self.assertRaises(vaultpack.ChildError):
                got.dataset(LocalKey.generate(), [], None, {})

    def test_pickle(self) -> None:
        with self.assertRaisesRegex(TypeError, "data keys"):
            pickle.dumps(self.ds)


class Samples(Case):
    def test_all(self) -> None:
        for ds in (self.ds, self.through_child()):
            for shuffle in (None, 5):
                got: dict[str, bytes] = {}
                for i in range(3):
                    stream = ds.samples((i, 3), shuffle=shuffle, epoch=2)
                    n = len(stream)
                    own = list(stream)
                    self.assertEqual(len(own), n)
                    for s in own:
                        for field, contents in s.items():
                            if field != "__key__":
                                path = s["__key__"] + ("." + field if field else "")
                                self.assertNotIn(path, got)
                                got[path] = contents
                self.assertEqual(got, self.tree)

    def test_shuffled(self) -> None:
        def keys(**o: Any) -> list[str]:
            return [s["__key__"] for s in self.ds.samples(**o)]

        self.assertEqual(keys(shuffle=1), keys(shuffle=1))
        self.assertEqual(len({tuple(keys(shuffle=s, epoch=e)) for s, e in ((1, 0), (1, 1), (2, 0))}), 3)
        self.assertEqual(keys(), self.ds.sample_keys())

    def test_resume(self) -> None:
        want = sorted(self.ds.sample_keys())
        got: list[str] = []
        state: Any = None
        for shards in (2, 3, 3, 1):
            states = []
            for i in range(shards):
                s = self.ds.samples((i, shards), shuffle=9, epoch=4, resume=state)
                for _ in range(7 * i + 5):
                    got.append(next(s)["__key__"])
                states.append(s.state_dict())
            state = vaultpack.merge(states)
        got += [s["__key__"] for s in self.ds.samples(resume=state)]
        self.assertEqual(sorted(got), want)
        one = self.ds.samples((1, 2)).state_dict()
        for bad in ({"shard": (0, 2), "resume": one}, {"shard": (0, 3), "resume": one}, {"shard": (2, 2)}, {"shuffle": -1}, {"resume": {}}):
            with self.subTest(bad), self.assertRaises(vaultpack.UsageError):
                self.ds.samples(**bad)
        with self.assertRaises(vaultpack.UsageError):
            vaultpack.open("scans@1").samples((1, 2), resume=one)

    def test_damage_stops_it(self) -> None:
        path = max(vault.packs(), key=lambda p: -p.stat().st_size)
        kept = path.read_bytes()
        try:
            path.unlink()
            ds = vaultpack.open("scans")
            n = 0
            with self.assertRaises(vaultpack.AuthenticationError):
                for _ in ds.samples():
                    n += 1
            self.assertLess(n, ds.sample_count)
        finally:
            path.write_bytes(kept)


class Writing(Case):
    def test_version(self) -> None:
        with vaultpack.writer("made") as w:
            w.write("a.json", "{}")
            w.write_sample("s/1", {"png": b"image", "cls": "1"})
            with w.open("big.bin") as f:
                for _ in range(3):
                    f.write(bytes(1 << 20))
            w.write(b"\xff.raw", b"x", mtime_ns=-1_500_000_000)
        self.assertEqual(w.version, 1)
        ds = vaultpack.open("made")
        self.assertEqual((ds.digest, ds.list()), (w.digest, ["a.json", "big.bin", "s/", "\udcff.raw"]))
        self.assertEqual(ds.read("big.bin"), bytes(3 << 20))
        self.assertEqual(ds.entry(b"\xff.raw").mtime_ns, -1_500_000_000)
        with vaultpack.writer("made", mode="update") as w:
            w.write("a.json", "[]")
            w.remove("s/1.cls")
        ds = vaultpack.open("made")
        self.assertEqual((ds.number, ds.read("a.json"), ds.list("s")), (2, b"[]", ["1.png"]))

        for fail in (self.exception, self.open_file, self.twice, self.bad_path):
            with self.subTest(fail.__name__):
                fail()
                self.assertEqual(vaultpack.open("made").number, 2)
        leases = list((self.home / "settings/vault/made").glob("pending/*.lease"))
        self.assertEqual(leases, [])

    def exception(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            with vaultpack.writer("made") as w:
                w.write("b", b"1")
                1 / 0

    def open_file(self) -> None:
        with self.assertRaisesRegex(vaultpack.UsageError, "has not been closed"):
            with vaultpack.writer("made") as w:
                f = w.open("b")
                f.write(b"1")

    def twice(self) -> None:
        with self.assertRaisesRegex(vaultpack.Error, "version 2 has it"):
            with vaultpack.writer("made") as w:
                w.write("a.json", b"1")

    def bad_path(self) -> None:
        with self.assertRaises(vaultpack.Error):
            with vaultpack.writer("made") as w:
                w.write("../b", b"1")


class Store(unittest.TestCase):
    def test_directory_pickled(self) -> None:
        s = pickle.loads(pickle.dumps(DirStore("/v/x", "d")))
        self.assertEqual(s._packs, "/v/x/d/packs")


class Clean(unittest.TestCase):
    def test_copy_of_a_vault(self) -> None:
        """A vault that was copied opens where it is."""
        home = vault.home()
        shutil.copytree(home / "settings/vault", home / "copy")
        key = next((home / "settings").glob("*.key"))
        ds = vaultpack.open(home / "copy", "scans", local_key=key)
        self.assertEqual(ds.read("note.txt"), b"second")


if __name__ == "__main__":
    unittest.main()
