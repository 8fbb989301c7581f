"""Sealed datasets in PyTorch.

VaultDataset is a map-style dataset of a tree of class folders. VaultStream is an iterable
dataset of samples, and VaultLoader a DataLoader over it that can be resumed in mid-epoch.
"""

from __future__ import annotations

import io
from typing import Any, Callable, Iterator, Mapping, Sequence

import torch.distributed
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate, default_convert, get_worker_info

from .dataset import Dataset as Version
from .entries import raw, text
from .errors import UsageError
from .loading import ShardedStream, State, shares, world_from_environment
from .opening import open as open_version

__all__ = ["VaultDataset", "VaultLoader", "VaultStream", "all_states"]


def _opened(source: Any) -> Version:
    return source if isinstance(source, Version) else open_version(source)


def decode_image(contents: bytes) -> Any:
    """An image of PIL in RGB, as torchvision's ImageFolder gives it."""
    from PIL import Image

    with Image.open(io.BytesIO(contents)) as image:
        return image.convert("RGB")


class VaultDataset(Dataset):  # type: ignore[type-arg]
    """The files in class folders, as torchvision's ImageFolder: items are (file, class number).
    Files that lie in no folder are in none of it."""

    def __init__(
        self,
        source: Version | str,
        *,
        decode: Callable[[bytes], Any] = decode_image,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        folder: str = "",
    ) -> None:
        self.dataset = _opened(source)
        self.decode, self.transform, self.target_transform = decode, transform, target_transform
        prefix = raw(folder).strip(b"/")
        prefix = prefix + b"/" if prefix else b""
        inside = [e for e in self.dataset.files() if e.path.startswith(prefix) and b"/" in e.path[len(prefix) :]]
        names = [e.path[len(prefix) :].split(b"/", 1)[0] for e in inside]
        self.classes = [text(c) for c in sorted(set(names))]
        self.class_to_idx = {c: i for i, c in enumerate(self.classes)}
        self.items = [(e.path, self.class_to_idx[text(c)]) for e, c in zip(inside, names)]
        if not self.items:
            raise UsageError(f"{self.dataset.reference} has no class folders" + (f" in {folder}" if folder else ""))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        path, target = self.items[i]
        item: Any = self.decode(self.dataset.read(path))
        if self.transform:
            item = self.transform(item)
        return item, self.target_transform(target) if self.target_transform else target


class VaultStream(ShardedStream, IterableDataset):  # type: ignore[misc,type-arg]
    """The samples of a version, shuffled by a seed, divided over ranks and workers. The place of
    the process is that of torch.distributed, or of RANK and WORLD_SIZE, unless it is given.

    state_dict and load_state_dict are those of a worker, as torchdata's StatefulDataLoader
    calls them. With the ordinary DataLoader, use VaultLoader."""

    def __init__(self, source: Version | str, **options: Any) -> None:
        super().__init__(_opened(source), **options)

    def find_world(self) -> tuple[int, int]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return world_from_environment()

    def worker(self) -> tuple[int, int]:
        info = get_worker_info()
        return (0, 1) if info is None else (info.id, info.num_workers)


class _Tracked(IterableDataset):  # type: ignore[type-arg]
    """A stream's items, transformed in the worker, each with its position."""

    def __init__(self, stream: VaultStream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        transform = self.stream.transform
        for position, sample in self.stream.items():
            yield position, transform(sample) if transform else sample


class _Collate:
    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: list[tuple[int, Any]]) -> tuple[list[int], Any]:
        return [p for p, _ in items], self.collate([s for _, s in items])


class _Single(_Collate):
    """Without batches, items come by themselves."""

    def __call__(self, item: Any) -> tuple[list[int], Any]:
        return [item[0]], self.collate(item[1])


class VaultLoader:
    """A DataLoader over a VaultStream. Its state says which samples the batches have had that it
    has given so far: what workers have read ahead is read again. With batch_size None it gives samples
    by themselves. Its length is the number of batches that it will give next."""

    def __init__(self, stream: VaultStream, batch_size: int | None = 1, *, collate_fn: Callable[[list[Any]], Any] | None = None, **options: Any) -> None:
        for name in ("shuffle", "sampler", "batch_sampler"):
            if options.get(name):
                raise UsageError(f"{name} is the stream's: VaultStream(..., shuffle=SEED)")
        self.stream = stream
        collate = _Single(collate_fn or default_convert) if batch_size is None else _Collate(collate_fn or default_collate)
        self._options = {**options, "batch_size": batch_size, "collate_fn": collate}
        self._loader: DataLoader | None = None  # type: ignore[type-arg]
        self._complete = self._begun = False

    def __iter__(self) -> Iterator[Any]:
        if self._complete:
            self.stream.restart()
        elif self._begun:
            self._loader = None  # workers that live on do not know how far this process had come
        self._complete, self._begun = False, True
        if self._loader is None:
            self._loader = DataLoader(_Tracked(self.stream), **self._options)
        for positions, batch in self._loader:
            self.stream.mark(positions)
            yield batch
        self._complete, self._begun = True, False

    def __len__(self) -> int:
        size, last = self._options["batch_size"] or 1, 0 if self._options.get("drop_last") else 1
        position = self.stream._current()
        if self._complete:
            position = position._replace(begun=(), done=())  # the next iteration begins the epoch again
        return sum(n // size + (last if n % size else 0) for n in shares(position, self._options.get("num_workers") or 1))

    def set_epoch(self, epoch: int) -> None:
        """Begins an epoch. The epoch that a loaded state is in goes on."""
        if epoch != self.stream.epoch:
            self._complete = False
        self.stream.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """What this rank has read. To resume with another number of ranks takes the states of
        all: see all_states."""
        return self.stream.state()

    def load_state_dict(self, state: State | Sequence[State]) -> None:
        """Goes on from the state of this rank, or from the states of all ranks."""
        self.stream.load(state)
        self._loader, self._complete, self._begun = None, False, False  # workers that live on would not know


def all_states(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The states of all ranks, in each of them: what a checkpoint is to hold if the number of ranks
    may change. All ranks call it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [dict(state)]
    out: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(out, dict(state))
    return out
