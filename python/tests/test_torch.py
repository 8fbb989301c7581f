from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import tempfile
import unittest
from typing import Any

import vaultpack

from . import vault


def found(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def collate(items: list[Any]) -> list[str]:
    return [i["__key__"] for i in items]


def keys_of(batches: Any) -> list[str]:
    return [k for b in batches for k in b]


def rank_main(rank: int, world: int, rendezvous: str, state: Any, steps: int, out: Any) -> None:
    """A rank of a gloo job that stops after some steps."""
    import torch.distributed as dist
    from vaultpack.torch import VaultLoader, VaultStream, all_states

    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    loader = VaultLoader(VaultStream("scans", shuffle=3), 4, collate_fn=collate, num_workers=2)
    if state:
        loader.load_state_dict(state)
    got = [b for _, b in zip(range(steps), loader)]
    out.put((keys_of(got), all_states(loader.state_dict())))
    dist.barrier()
    dist.destroy_process_group()


@unittest.skipUnless(found("torch"), "PyTorch is not installed")
class Torch(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        vault.home()
        cls.ds = vaultpack.open("scans")
        cls.keys = sorted(cls.ds.sample_keys())

    def test_stream(self) -> None:
        from torch.utils.data import DataLoader
        from vaultpack.torch import VaultStream

        for workers in (0, 2):
            got = keys_of(DataLoader(VaultStream(self.ds, shuffle=1), batch_size=16, num_workers=workers, collate_fn=collate))
            self.assertEqual(sorted(got), self.keys)

    def test_loader_resumes(self) -> None:
        from vaultpack.torch import VaultLoader, VaultStream

        def make(workers: int, **o: Any) -> VaultLoader:
            return VaultLoader(VaultStream(self.ds, shuffle=1), 7, collate_fn=collate, num_workers=workers, **o)

        first = make(2)
        got = keys_of(b for _, b in zip(range(9), first))
        state = json.loads(json.dumps(first.state_dict()))
        for workers in (0, 3):
            other = make(workers)
            other.load_state_dict(state)
            self.assertEqual(sorted(got + keys_of(other)), self.keys)
            self.assertEqual(sorted(keys_of(other)), self.keys)  # then the epoch begins again

    def test_length(self) -> None:
        """A loader's length is the number of batches that come, whatever is left for each worker."""
        from vaultpack.torch import VaultLoader, VaultStream

        for workers, size, drop in ((0, 7, False), (3, 7, False), (3, 7, True), (2, None, False)):
            stream = VaultStream(self.ds, shuffle=1, transform=lambda s: s["__key__"])
            loader = VaultLoader(stream, size, collate_fn=list if size else None, num_workers=workers, drop_last=drop)
            batches = iter(loader)
            n = len(loader)
            first = [next(batches) for _ in range(3)]
            batches.close()  # type: ignore[attr-defined]
            left = len(loader)
            got = list(loader)
            self.assertEqual((len(got), 3 + left), (left, n), (workers, size, drop))
            if not drop:
                seen = first + got if size is None else keys_of(first + got)
                self.assertEqual(sorted(seen), self.keys)
            self.assertEqual(len(loader), n)  # of the epoch, which begins again

    def test_persistent_workers(self) -> None:
        from vaultpack.torch import VaultLoader, VaultStream

        for method in ("fork", "spawn"):
            loader = VaultLoader(
                VaultStream(self.ds, shuffle=1), 16, collate_fn=collate, num_workers=2, persistent_workers=True, multiprocessing_context=method
            )
            epochs = []
            for e in range(3):
                loader.set_epoch(e)
                epochs.append(keys_of(loader))
                self.assertEqual(sorted(epochs[-1]), self.keys)
            self.assertEqual(len({tuple(e) for e in epochs}), 3)

    def test_ranks(self) -> None:
        """Two ranks of gloo with two workers each stop in mid-epoch, and one rank goes on."""
        from vaultpack.torch import VaultLoader, VaultStream

        c = multiprocessing.get_context("spawn")
        out = c.Queue()
        with tempfile.TemporaryDirectory() as tmp:
            started = [c.Process(target=rank_main, args=(r, 2, os.path.join(tmp, "r"), None, 11 + r, out)) for r in range(2)]
            for p in started:
                p.start()
            results = [out.get(timeout=300) for _ in started]
            for p in started:
                p.join()
                self.assertEqual(p.exitcode, 0)
        got = [k for keys, _ in results for k in keys]
        states = results[0][1]
        self.assertEqual(len(states), 2)
        one = VaultLoader(VaultStream(self.ds, shuffle=3), 5, collate_fn=collate)
        one.load_state_dict(states)
        self.assertEqual(sorted(got + keys_of(one)), self.keys)

    def test_map_style(self) -> None:
        from torch.utils.data import DataLoader
        from vaultpack.torch import VaultDataset

        data = VaultDataset(self.ds, decode=len, target_transform=float)
        self.assertEqual(data.classes, ["class0", "class1", "class2"])
        self.assertEqual(len(data), 480)
        total = sum(int(x.sum()) for x, _ in DataLoader(data, batch_size=32, num_workers=2))
        self.assertEqual(total, sum(e.size for e in self.ds.files() if e.path.startswith(b"class")))
        with self.assertRaises(vaultpack.UsageError):
            VaultDataset(self.ds, folder="class0")


@unittest.skipUnless(found("fsspec"), "fsspec is not installed")
class Fsspec(unittest.TestCase):
    def test_file_system(self) -> None:
        import fsspec
        from fsspec.registry import register_implementation

        home = vault.home()
        register_implementation("vault", "vaultpack.fs.VaultFileSystem", clobber=True)
        fs = fsspec.filesystem("vault")
        want = (home / "scans/large.bin").read_bytes()
        self.assertEqual(fs.ls("scans@2/class0", detail=False)[:2], ["scans@2/class0/0000.bin", "scans@2/class0/0000.cls"])
        self.assertEqual(fs.cat_file("vault://scans@2/large.bin", start=-10), want[-10:])
        self.assertEqual(fs.cat_file("scans@2/large.bin", start=100_000, end=200_000), want[100_000:200_000])
        self.assertEqual(fs.info("scans@2/class0")["type"], "directory")
        self.assertTrue(fs.exists("scans@2/link") and not fs.exists("scans@2/nope"))
        self.assertEqual(len(fs.glob("scans@2/class1/*.cls")), 80)
        with fsspec.open("vault://scans@1/note.txt", "rt") as f:
            self.assertEqual(f.read(), "first")
        with self.assertRaises(FileNotFoundError):
            fs.open("scans@2/nope")
        for write in (
            lambda: fs.open("scans@2/note.txt", "wb"),
            lambda: fs.mkdir("scans@2/new"),
            lambda: fs.makedirs("scans@2/new", exist_ok=True),
            lambda: fs.rmdir("scans@2/class0"),
            lambda: fs.rm("scans@2/class0", recursive=True),
            lambda: fs.rm_file("scans@2/note.txt"),
            lambda: fs.mv("scans@2/note.txt", "scans@2/b"),
            lambda: fs.copy("scans@2/note.txt", "scans@2/b"),
            lambda: fs.touch("scans@2/b"),
            lambda: fs.pipe("scans@2/b", b"x"),
            lambda: fs.put(str(home / "scans/note.txt"), "scans@2/b"),
        ):
            self.assertRaises(vaultpack.UsageError, write)
        # What reads in blocks: Dask, and fsspec's caches.
        self.assertEqual(fs.tail("scans@2/large.bin", 20), want[-20:])
        self.assertEqual(fs.read_block("scans@2/large.bin", 5_000_000, 1_000_000), want[5_000_000:6_000_000])
        with fs.open("scans@2/large.bin", block_size=1 << 20, cache_type="bytes") as f:
            self.assertEqual((f.size, f.blocksize), (len(want), 1 << 20))
            f.seek(-100, 2)
            self.assertEqual(f.read() + f.read(1), want[-100:])
        for cache in ("blockcache", "filecache", "simplecache"):
            with fsspec.open(f"{cache}::vault://scans@2/large.bin", vault={}, **{cache: {"cache_storage": str(home / cache)}}) as f:
                f.seek(2_000_000)
                self.assertEqual(f.read(100), want[2_000_000:2_000_100], cache)
        other = fsspec.filesystem("vault", vault=str(home / "settings/vault"))
        self.assertEqual(other.cat("scans/note.txt"), b"second")


if __name__ == "__main__":
    unittest.main()
