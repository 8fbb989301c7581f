"""What training processes and their workers read of a version: ranks × workers × shuffle × epoch.

Nothing here needs PyTorch; vaultpack.torch stands on it.
"""

from __future__ import annotations

import os
from multiprocessing.sharedctypes import RawArray
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

from . import samples
from .dataset import Dataset
from .errors import UsageError
from .stream import SampleStream

Transform = Callable[[dict[str, Any]], Any]
State = Mapping[str, Any]


def world_from_environment() -> tuple[int, int]:
    """The rank and the number of ranks that a launcher such as torchrun has set, or 0 and 1."""
    rank, world = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and world is None:
        return 0, 1
    try:
        shard = int(rank or ""), int(world or "")
        samples.check_shard(*shard)
    except ValueError:
        raise UsageError(f"RANK={rank} and WORLD_SIZE={world} are not the place of a process; pass rank and world") from None
    return shard


def merged(states: Sequence[State]) -> samples.Position:
    """The position of an epoch from the states of all ranks."""
    return samples.merge(samples.Position.from_json(s) for s in states)


def shares(position: samples.Position, workers: int) -> list[int]:
    """How many samples each of so many workers reads from a position on."""
    rest = position.rest()
    return [samples.count(samples.divide(rest, i, workers)) for i in range(workers)]


class ShardedStream:
    """The samples that one rank reads, divided over its workers. The object is made in the rank's
    main process; workers that it forks or spawns use copies."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        shuffle: int | None = None,
        epoch: int = 0,
        rank: int | None = None,
        world: int | None = None,
        transform: Transform | None = None,
    ) -> None:
        if (rank is None) != (world is None):
            raise UsageError("rank and world belong together: pass both, or neither")
        self.dataset, self.transform = dataset, transform
        self.shard = (rank, world) if rank is not None and world is not None else self.find_world()
        self._position = dataset.position(self.shard, shuffle, epoch)  # in an epoch, or at its beginning
        self._worker: tuple[int, int, list[samples.Range], SampleStream | None] | None = None
        # Workers that outlive an epoch have a copy of the object. They learn of these from it:
        # the epoch, and how often the position was set, so that they know whether theirs is old.
        self._shared = RawArray("Q", [epoch, 0])
        self._seen = 0

    def find_world(self) -> tuple[int, int]:
        return world_from_environment()

    def worker(self) -> tuple[int, int]:
        """Which worker of the rank this process is, and of how many."""
        return 0, 1

    @property
    def epoch(self) -> int:
        return int(self._shared[0])

    def set_epoch(self, epoch: int) -> None:
        """Begins an epoch. The epoch that a loaded state is in goes on."""
        samples.check_number(epoch, "epoch")
        if epoch != self.epoch:
            self._set(self._position._replace(epoch=epoch, begun=(), done=()))

    def restart(self) -> None:
        """Begins the epoch again."""
        self._set(self._position._replace(begun=(), done=()))

    def _set(self, position: samples.Position) -> None:
        self._position = position
        self._shared[0] = position.epoch
        self._shared[1] += 1
        self._seen = self._shared[1]

    def _current(self) -> samples.Position:
        """The position as it is now, also in a worker that has an older one."""
        if self._seen != self._shared[1]:
            self._seen = self._shared[1]
            self._position = self._position._replace(epoch=self._shared[0], begun=(), done=())
        return self._position

    def __len__(self) -> int:
        """How many samples the rank still reads in the epoch."""
        return samples.count(self._current().rest())

    def items(self, worker: int | None = None, workers: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """The samples of one worker, each after its position in the epoch. What a worker reads is
        decided now."""
        if worker is None or workers is None:
            worker, workers = self.worker()
        position = self._current()
        done = self._worker[2] if self._worker and self._worker[3] is None and self._worker[:2] == (worker, workers) else []
        rest = samples.subtract(samples.divide(position.rest(), worker, workers), done)
        stream = SampleStream(self.dataset, position, rest)
        self._worker = (worker, workers, done, stream)
        return stream.items()

    def __iter__(self) -> Iterator[Any]:
        for _, sample in self.items():
            yield self.transform(sample) if self.transform else sample

    # The rank's state, in its main process.

    def mark(self, positions: Iterable[int]) -> None:
        """These have been read, by whichever worker."""
        self._position = self._position.after((p, p + 1) for p in positions)

    def state(self) -> dict[str, Any]:
        """What the rank has read, as far as mark was told, as JSON can hold it."""
        return self._position.to_json()

    def load(self, state: State | Sequence[State]) -> None:
        """Goes on from a state of this rank; or, where the number of ranks has changed, from the
        states of all ranks."""
        if isinstance(state, Mapping):
            position = samples.Position.from_json(state)
        else:
            position = merged(state)
        self._set(self.dataset.position(self.shard, resume=position))

    # A worker's state: the protocol of torchdata's StatefulDataLoader.

    def state_dict(self) -> dict[str, Any]:
        """The state of the worker in whose process this is called."""
        worker, workers = self.worker()
        done: list[samples.Range] = []
        if self._worker:
            worker, workers, done, stream = self._worker
            if stream:
                done = samples.union(done, stream.taken())
        return {"position": self._current().to_json(), "worker": worker, "workers": workers, "done": [list(r) for r in done]}

    def load_state_dict(self, state: State | Sequence[State]) -> None:
        """Goes on from what state_dict or state has given. Those of a worker go on in the same
        worker of as many; those of all workers of all ranks can be given as a list, for any others."""
        if not isinstance(state, Mapping):
            states = list(state)
            self.load(list(join_workers(states)) if states and "position" in states[0] else states)
        elif "position" in state:
            got = (state["worker"], state["workers"])
            if got != self.worker():
                raise UsageError(f"the state is of worker {got[0]} of {got[1]}, and this is worker {self.worker()[0]} of {self.worker()[1]}")
            position = samples.Position.from_json(state["position"])
            self._set(self.dataset.position(self.shard, resume=position))
            self._worker = (*got, [(a, b) for a, b in state["done"]], None)
        else:
            self.load(state)


def join_workers(states: Sequence[State]) -> Iterator[dict[str, Any]]:
    """The states of ranks, from those of all of their workers."""
    ranks: dict[int, list[State]] = {}
    for s in states:
        ranks.setdefault(int(s["position"]["shard"]), []).append(s)
    for own in ranks.values():
        position = samples.Position.from_json(own[0]["position"])
        workers = own[0]["workers"]
        if any(s["position"] != own[0]["position"] or s["workers"] != workers for s in own):
            raise UsageError("the states of workers are not of one moment")
        if sorted(s["worker"] for s in own) != list(range(workers)):
            raise UsageError(f"rank {position.shard} has had {workers} workers, and not all of their states are here, each once")
        for s in own:
            position = position.after((a, b) for a, b in s["done"])
        yield samples.Position.from_json(position.to_json()).to_json()
