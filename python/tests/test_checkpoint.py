"""Checkpoints of torch.distributed.checkpoint, sealed: from two ranks, read by two, and by one."""

from __future__ import annotations

import dataclasses
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import unittest
from types import SimpleNamespace
from typing import Any

import vaultpack

from . import vault


def mend() -> None:
    """PyTorch 1.13 cannot import what it has of this under Python 3.11, which refuses defaults of dataclasses that
    have no hash. Here they get one, as if Python were 3.10."""
    import torch

    process = dataclasses._process_class  # type: ignore[attr-defined]
    if torch.__version__ >= "2" or sys.version_info < (3, 11) or process.__name__ == "hashed":
        return

    def hashed(cls: Any, init: Any, repr: Any, eq: Any, order: Any, unsafe_hash: Any, frozen: Any, *more: Any, **named: Any) -> Any:
        return process(cls, init, repr, eq, order, unsafe_hash or cls.__name__ == "TensorProperties", frozen, *more, **named)

    dataclasses._process_class = hashed  # type: ignore[attr-defined]


def dcp() -> Any:
    """save, load and the default planners, as this PyTorch has them."""
    mend()
    try:
        from torch.distributed import checkpoint
        from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner

        return SimpleNamespace(save=checkpoint.save, load=checkpoint.load, saver=DefaultSavePlanner, loader=DefaultLoadPlanner, one={"no_dist": True})
    except ImportError:
        from torch.distributed._shard import checkpoint
        from torch.distributed._shard.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner

        return SimpleNamespace(
            save=checkpoint.save_state_dict, load=checkpoint.load_state_dict, saver=DefaultSavePlanner, loader=DefaultLoadPlanner, one={"no_dist": True}
        )


def sharded(rank: int, fill: bool) -> Any:
    """A tensor of 8 × 3 of which each of two ranks has four rows."""
    import torch
    from torch.distributed._shard import sharded_tensor
    from torch.distributed._shard.metadata import ShardMetadata
    from torch.distributed._shard.sharded_tensor import Shard

    rows = torch.arange(24.0).reshape(8, 3)[4 * rank : 4 * rank + 4] if fill else torch.zeros(4, 3)
    meta = ShardMetadata(shard_offsets=[4 * rank, 0], shard_sizes=[4, 3], placement=f"rank:{rank}/cpu")
    return sharded_tensor.init_from_local_shards([Shard(rows.clone(), meta)], 8, 3)


def rank_main(rank: int, rendezvous: str, out: Any) -> None:
    import torch
    import torch.distributed as dist

    mend()
    from vaultpack.checkpoint import VaultReader, VaultWriter

    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    state = {"sharded": sharded(rank, True), "whole": torch.full((2, 2), 7.0), "step": 41}
    writer = VaultWriter("run")
    dcp().save(state, writer)
    versions = [None, None]
    dist.all_gather_object(versions, (writer.version, writer.digest))
    into = {"sharded": sharded(rank, False), "whole": torch.zeros(2, 2), "step": 0}
    dcp().load(into, VaultReader(f"run@{versions[0][0]}#{versions[0][1]}"))
    got = into["sharded"].local_shards()[0].tensor
    out.put((rank, versions, got.tolist(), into["whole"].tolist(), into["step"]))
    dist.barrier()
    dist.destroy_process_group()


@unittest.skipUnless(importlib.util.find_spec("torch"), "there is no PyTorch here")
class Checkpoints(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        vault.home()
        mend()

    def test_two_ranks_then_one(self) -> None:
        import torch
        from vaultpack.checkpoint import VaultReader

        c = multiprocessing.get_context("spawn")
        out = c.Queue()
        with tempfile.TemporaryDirectory() as tmp:
            started = [c.Process(target=rank_main, args=(r, os.path.join(tmp, "r"), out)) for r in range(2)]
            for p in started:
                p.start()
            results = sorted(out.get(timeout=300) for _ in started)
            for p in started:
                p.join()
                self.assertEqual(p.exitcode, 0)
        want = torch.arange(24.0).reshape(8, 3)
        for rank, versions, rows, whole, step in results:
            self.assertEqual(versions[1], (None, None))  # only the coordinator makes it
            self.assertEqual((rows, whole, step), (want[4 * rank : 4 * rank + 4].tolist(), [[7.0, 7.0]] * 2, 41))
        into = {"sharded": torch.zeros(8, 3), "whole": torch.zeros(2, 2), "step": 0}
        dcp().load(into, VaultReader("run"), **dcp().one)
        self.assertTrue(torch.equal(into["sharded"], want))
        self.assertEqual(into["step"], 41)
        with self.assertRaises(vaultpack.NotFound):
            VaultReader("nope")
        with self.assertRaises(vaultpack.NotFound):
            VaultReader("scans").read_metadata()

    def test_no_checkpoint_of_a_part(self) -> None:
        """If a rank fails, or finish is never called, there is no version; the next save works."""
        import torch
        from vaultpack.checkpoint import VaultWriter

        class Fails(dcp().saver):  # type: ignore[misc,name-defined]
            def resolve_data(self, item: Any) -> Any:
                if item.index.fqn == "b":
                    raise ValueError("no b")
                return super().resolve_data(item)

        state = {"a": torch.ones(1000), "b": torch.ones(3)}
        w = VaultWriter("parts")
        with self.assertRaisesRegex(BaseException, "no b"):
            dcp().save(state, w, planner=Fails(), **dcp().one)
        with self.assertRaises(vaultpack.NotFound):
            vaultpack.open("parts")
        dcp().save(state, w, **dcp().one)
        self.assertEqual(w.version, vaultpack.open("parts").number)
        view = {"a": torch.arange(1 << 20)[:3]}  # only what the view shows is written
        dcp().save(view, w, **dcp().one)
        self.assertLess(vaultpack.open("parts").totals["bytes"], 10_000)

    def test_as_pytorch_2_calls_it(self) -> None:
        """The methods of PyTorch 2's StorageWriter and StorageReader, in its order."""
        import torch
        from vaultpack.checkpoint import VaultReader, VaultWriter

        def begin(planner: Any, name: str, *args: Any) -> None:
            getattr(planner, name, None) and getattr(planner, name)(*args) or getattr(planner, "init", lambda *a: None)(*args)

        state = {"a": torch.arange(5.0), "n": 3}
        planner = dcp().saver()
        begin(planner, "set_up_planner_", state, True)
        w = VaultWriter("unused")
        self.assertTrue(w.validate_checkpoint_id("two"))
        w.reset("two")
        w.set_up_storage_writer(True)
        plan = w.prepare_local_plan(planner.create_local_plan())
        plans, metadata = planner.create_global_plan([plan])
        plan = planner.finish_plan(w.prepare_global_plan(plans)[0])
        w.finish(metadata, [w.write_data(plan, planner).wait()])
        into = {"a": torch.zeros(5), "n": 0}
        r = VaultReader("two")
        r.reset("two")
        metadata = r.read_metadata()
        loads = dcp().loader()
        begin(loads, "set_up_planner_", into, metadata, True)
        r.set_up_storage_reader(metadata, True)
        plan = r.prepare_local_plan(loads.create_local_plan())
        plan = loads.finish_plan(r.prepare_global_plan(loads.create_global_plan([plan]))[0])
        r.read_data(plan, loads).wait()
        self.assertEqual((into["a"].tolist(), into["n"]), ([0.0, 1.0, 2.0, 3.0, 4.0], 3))


if __name__ == "__main__":
    unittest.main()
