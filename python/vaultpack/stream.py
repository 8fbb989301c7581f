"""Streams of samples: what a shard reads of an epoch, in order, resumable at each sample."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

from . import samples
from .errors import Error
from .store import DirStore

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from .dataset import Dataset

AHEAD = 6  # blocks that are read before they are needed, from a vault that is not a folder


class _Group(NamedTuple):
    """Samples of one block that are needed in one window: they are read together."""

    window: int
    block: int
    numbers: list[int]


class SampleStream:
    """An iterator of samples. Its state can be taken at any time, in this process: the samples
    that it has given are done. It is used by one thread."""

    def __init__(self, dataset: Dataset, position: samples.Position, rest: list[samples.Range] | None = None) -> None:
        """rest are the positions to be read, if not all of those that the position leaves."""
        self._dataset, self._begin = dataset, position
        self._rest = position.rest() if rest is None else rest
        self._given = 0
        self._items: Iterator[tuple[int, dict[str, Any]]] | None = None
        self._failed: Exception | None = None

    def __iter__(self) -> SampleStream:
        return self

    def __len__(self) -> int:
        """How many samples are left."""
        return samples.count(self._rest) - self._given

    def __next__(self) -> dict[str, Any]:
        return self.next_item()[1]

    def next_item(self) -> tuple[int, dict[str, Any]]:
        """The next sample, after its position in the order of the epoch."""
        if self._failed:
            raise self._failed  # and not an end, which a loop that goes on after an error would believe
        if self._items is None:
            self._items = _Reader(self._dataset, self._begin, self._rest).read()
        try:
            item = next(self._items)
        except StopIteration:
            if len(self):
                raise Error("the stream was closed or interrupted before its end: begin another one at its position") from None
            raise
        except Exception as err:
            self._failed = err
            raise
        self._given += 1
        return item

    def items(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """What next_item gives, to the end."""
        while True:
            try:
                item = self.next_item()
            except StopIteration:
                return
            yield item

    @property
    def position(self) -> samples.Position:
        """Where the stream is: after what it has given."""
        return self._begin.after(self.taken())

    def taken(self) -> list[samples.Range]:
        """The positions of what the stream has given."""
        return _first(self._rest, self._given)

    def state_dict(self) -> dict[str, Any]:
        """The position as JSON can hold it; pass it as resume."""
        return self.position.to_json()

    def close(self) -> None:
        if self._items is not None:
            self._items.close()  # type: ignore[attr-defined]


class _Reader:
    """Reads window by window, and in each the blocks as they are first needed. It knows of no
    stream: one that is dropped is closed at once."""

    def __init__(self, dataset: Dataset, position: samples.Position, rest: list[samples.Range]) -> None:
        self._dataset, self._begin, self._rest = dataset, position, rest

    def _windows(self) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
        """The windows, each with its positions that are to be read, their samples' numbers and blocks."""
        p = self._begin
        order, ends = self._dataset._plan(p.shuffle, p.epoch)
        starts = self._dataset._block_starts()
        now, wanted = -1, []
        for position in samples.positions(self._rest):
            window = bisect_right(ends, position)
            if window != now and wanted:
                yield now, wanted
                wanted = []
            now = window
            wanted.append((position, order[position], bisect_right(starts, order[position]) - 1))
        if wanted:
            yield now, wanted

    def _groups(self) -> Iterator[_Group]:
        for window, wanted in self._windows():
            blocks: dict[int, list[int]] = {}
            for _, number, block in wanted:
                blocks.setdefault(block, []).append(number)
            for block, numbers in blocks.items():
                yield _Group(window, block, numbers)

    def _load(self, group: _Group) -> dict[int, dict[str, Any]]:
        return dict(zip(group.numbers, self._dataset._sample_of(group.numbers)))

    def read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        local = isinstance(self._dataset._contents.store, DirStore)
        pool = None if local else _pool()
        loads = self._loads(pool)
        try:
            for _, wanted in self._windows():
                ready: dict[int, dict[str, Any]] = {}
                for position, number, _ in wanted:
                    while number not in ready:
                        ready.update(next(loads))
                    yield position, ready.pop(number)
        finally:
            if pool:
                pool.shutdown(wait=True, cancel_futures=True)

    def _loads(self, pool: ThreadPoolExecutor | None) -> Iterator[dict[int, dict[str, Any]]]:
        """The samples of the groups, in order. With a pool, it reads ahead."""
        if pool is None:
            yield from map(self._load, self._groups())
            return
        under_way: deque[Future[dict[int, dict[str, Any]]]] = deque()
        for group in self._groups():
            under_way.append(pool.submit(self._load, group))
            if len(under_way) > AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # takes long to import

    return ThreadPoolExecutor(1, "vaultpack")


def _first(ranges: list[samples.Range], n: int) -> list[samples.Range]:
    """The first n positions of the ranges."""
    out = []
    for first, end in ranges:
        if n <= 0:
            break
        out.append((first, min(end, first + n)))
        n -= end - first
    return out
