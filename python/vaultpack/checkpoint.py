"""Checkpoints of PyTorch, sealed: storage for torch.distributed.checkpoint.

Each checkpoint is a version of a dataset. What the other ranks than the coordinator hold lies in
versions of datasets of their own, NAME-rank1 and so on, which the checkpoint's version names
with their digests: so ranks write beside each other, and nothing goes in plaintext from one to
another. It works with torch.distributed.checkpoint of PyTorch 2, and with what PyTorch 1.13 has in
its place.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
from typing import Any

import torch
from torch.futures import Future

from .dataset import Dataset
from .errors import FormatError, UsageError
from .opening import open as open_version
from .writing import Writer, writer

try:
    from torch.distributed import checkpoint as _dcp
    from torch.distributed.checkpoint.planner import LoadItemType, WriteItemType
    from torch.distributed.checkpoint.storage import WriteResult
except ImportError:
    try:
        from torch.distributed._shard import checkpoint as _dcp  # type: ignore[no-redef]
    except ValueError as err:  # PyTorch 1.13 under Python 3.11
        raise ImportError(f"this PyTorch, {torch.__version__}, cannot import its own checkpoints under this Python; PyTorch 2 can: {err}") from None
    from torch.distributed._shard.checkpoint.planner import LoadItemType, WriteItemType  # type: ignore[no-redef]
    from torch.distributed._shard.checkpoint.storage import WriteResult  # type: ignore[no-redef]

__all__ = ["VaultReader", "VaultWriter"]

METADATA = ".metadata"

Id = "str | os.PathLike[str] | None"


def _done(value: Any) -> Future[Any]:
    out: Future[Any] = Future()
    out.set_result(value)
    return out


class VaultWriter(_dcp.StorageWriter):  # type: ignore[misc,name-defined]
    """Writes a checkpoint as a version of the dataset: save(state, storage_writer=VaultWriter("run")).
    The version is made when all ranks have written their parts, or not at all. vault and keys are those
    of vaultpack.writer. Afterwards, version and digest are on the coordinator."""

    def __init__(self, dataset: str, vault: str | os.PathLike[str] | None = None, **keys: Any) -> None:
        super().__init__()
        self.dataset, self._vault, self._keys = dataset, vault, keys
        self.version: int | None = None
        self.digest: str | None = None
        self._coordinator = True
        self._writer: Writer | None = None  # of the coordinator, until finish

    def reset(self, checkpoint_id: Id = None) -> None:
        if checkpoint_id is not None:
            self.dataset = os.fspath(checkpoint_id)

    def set_up_storage_writer(self, is_coordinator: bool, *_: Any, **__: Any) -> None:
        self._coordinator = is_coordinator
        self._abandon()

    def init(self, is_coordinator: bool) -> None:
        """As PyTorch 1.13 calls set_up_storage_writer."""
        self.set_up_storage_writer(is_coordinator)

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    def prepare_global_plan(self, plans: list[Any]) -> list[Any]:
        return [dataclasses.replace(plan, storage_data=i) for i, plan in enumerate(plans)]

    def write_data(self, plan: Any, planner: Any) -> Future[list[Any]]:
        part = plan.storage_data
        if not plan.items and not self._coordinator:
            return _done([])
        name = self.dataset if self._coordinator else f"{self.dataset}-rank{part}"
        own = writer(name, self._vault, mode="anew", **self._keys)
        own.__enter__()
        try:
            written = []
            for i, item in enumerate(plan.items):
                path = f"rank{part}/{i:06d}"
                written.append((item.index, path, _write(own, path, item, planner)))
        except BaseException as err:
            own.__exit__(type(err), err, err.__traceback__)
            raise
        reference = ""  # the version in the making
        if self._coordinator:
            self._writer = own
        else:
            own.__exit__(None, None, None)
            reference = f"{name}@{own.version}#{own.digest}"
        return _done([WriteResult(index=index, size_in_bytes=size, storage_data=(reference, path)) for index, path, size in written])

    def finish(self, metadata: Any, results: list[list[Any]]) -> None:
        own, self._writer = self._writer, None
        if own is None:
            raise UsageError("finish without write_data")
        metadata.storage_data = {r.index: r.storage_data for part in results for r in part}
        try:
            own.write(METADATA, pickle.dumps(metadata))
        except BaseException as err:
            own.__exit__(type(err), err, err.__traceback__)
            raise
        own.__exit__(None, None, None)
        self.version, self.digest = own.version, own.digest

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Id) -> bool:
        return bool(checkpoint_id)

    def _abandon(self) -> None:
        """Ends what an earlier checkpoint has left, of which another rank has failed."""
        own, self._writer = self._writer, None
        if own is not None:
            own.__exit__(UsageError, UsageError("abandoned"), None)


def _write(own: Writer, path: str, item: Any, planner: Any) -> int:
    """Writes one item. Returns its size."""
    data = planner.resolve_data(item)
    with own.open(path) as f:
        if item.type == WriteItemType.BYTE_IO:
            return f.write(data.getbuffer())
        tensor = data.detach().cpu()
        if tensor.storage().size() != tensor.numel():
            tensor = tensor.clone()  # and not all of what it is a view of
        counted = _Counted(f)
        torch.save(tensor, counted)
        return counted.size


class _Counted:
    """What torch.save writes to."""

    def __init__(self, file: Any) -> None:
        self._file, self.size = file, 0

    def write(self, contents: Any) -> int:
        n: int = self._file.write(contents)
        self.size += n
        return n

    def flush(self) -> None:
        pass


class VaultReader(_dcp.StorageReader):  # type: ignore[misc,name-defined]
    """Reads a checkpoint: load(state, storage_reader=VaultReader("run@7")). Each rank reads what it
    needs. The source is a dataset that has been opened, or what vaultpack.open takes with the same options."""

    def __init__(self, source: Dataset | str, vault: str | os.PathLike[str] | None = None, **keys: Any) -> None:
        super().__init__()
        self._vault, self._keys = vault, keys
        self._open(source)

    def _open(self, source: Dataset | str) -> None:
        if not isinstance(source, Dataset):
            source = open_version(source, **self._keys) if self._vault is None else open_version(self._vault, source, **self._keys)
        self.dataset = source
        self._where: dict[Any, tuple[str, str]] = {}
        self._parts: dict[str, Dataset] = {"": source}

    def reset(self, checkpoint_id: Id = None) -> None:
        if checkpoint_id is not None:
            self._open(os.fspath(checkpoint_id))

    def read_metadata(self, *_: Any, **__: Any) -> Any:
        """What the checkpoint holds. It is unpickled: the version has been signed by who may add to the dataset."""
        return pickle.loads(self.dataset.read(METADATA))

    def set_up_storage_reader(self, metadata: Any, is_coordinator: bool, *_: Any, **__: Any) -> None:
        if not isinstance(metadata.storage_data, dict):
            raise FormatError(f"{self.dataset.reference} is no checkpoint that vaultpack has written")
        self._where = metadata.storage_data

    def init(self, metadata: Any, is_coordinator: bool) -> None:
        """As PyTorch 1.13 calls set_up_storage_reader."""
        self.set_up_storage_reader(metadata, is_coordinator)

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    def prepare_global_plan(self, plans: list[Any]) -> list[Any]:
        return plans

    def read_data(self, plan: Any, planner: Any) -> Future[None]:
        for item in sorted(plan.items, key=lambda i: self._where[i.storage_index]):
            contents = io.BytesIO(self._read(*self._where[item.storage_index]))
            if item.type == LoadItemType.BYTE_IO:
                planner.load_bytes(item, contents)
                continue
            tensor = torch.load(contents, map_location="cpu")
            for dim, (at, n) in enumerate(zip(item.storage_offsets, item.lengths)):
                tensor = tensor.narrow(dim, at, n)
            target = planner.resolve_tensor(item).detach()
            if target.size() != tensor.size():
                raise UsageError(f"{item.storage_index.fqn} is of {tuple(tensor.size())} in the checkpoint, and of {tuple(target.size())} here")
            target.copy_(tensor)
            planner.commit_tensor(item, target)
        return _done(None)

    def _read(self, reference: str, path: str) -> bytes:
        if reference not in self._parts:
            self._parts[reference] = self.dataset.sibling(reference)
        return self._parts[reference].read(path)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Id) -> bool:
        return bool(checkpoint_id)
