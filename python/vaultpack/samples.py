"""The order in which a version's samples are read: docs/SAMPLES.md.

Everything here is a pure function of the version's files. Nothing reads a vault, and
nothing is random: the same seed gives the same order in every implementation.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Protocol, Sequence

from .errors import FormatError, UsageError

BLOCK_SAMPLES = 1024
BLOCK_BYTES = 4 << 20
WINDOW_BLOCKS = 16
MAX_SAMPLES = 1 << 40
MAX_SHARDS = 1 << 20
FORMAT = "vaultpack-position/1"

Range = tuple[int, int]
"""Positions from the first number to the one before the second."""


class File(Protocol):
    """What the order depends on: a regular file and where it lies."""

    path: bytes
    size: int
    extents: Sequence[tuple[int, int, int]]  # pack number, offset, length


class Sample(NamedTuple):
    """Files that belong together, in the order of their paths."""

    key: bytes
    files: tuple[int, ...]  # numbers in the list of files
    pack: int  # -1 if no file has an extent
    offset: int
    size: int


_DIGITS = b"0123456789"


def _stem(name: bytes) -> bytes:
    dot = name.find(b".")
    return name[:dot] if dot > 0 else name


def _key(path: bytes, folder: int, series: bool) -> bytes:
    """The key of a file; folder is where its name begins."""
    name = path[folder:]
    stem = _stem(name)
    parts = name[len(stem) :].split(b".")  # the first is empty: the rest begins with a dot
    k = len(parts) - 1
    d = 0
    if series:
        d = max((i for i in range(1, k + 1) if parts[i].isdigit()), default=k - 1)
        if d <= 0:
            d = k
    end = folder + len(stem) + sum(1 + len(p) for p in parts[1 : d + 1])
    if end == len(path) - 1:
        return path  # an empty field behind a dot
    return path[:end]


def field(key: bytes, path: bytes) -> bytes:
    """The field of a file in the sample with the key."""
    return path[len(key) + 1 :]


def _is_series(names: list[bytes], stem: int) -> bool:
    rests = {name[stem:].translate(None, _DIGITS) for name in names}
    return len(rests) < len(names)


def collect(files: Sequence[File]) -> list[Sample]:
    """The samples of the files, in storage order."""
    groups: dict[bytes, list[int]] = {}
    for i, f in enumerate(files):
        folder = f.path.rfind(b"/") + 1
        groups.setdefault(f.path[:folder] + _stem(f.path[folder:]), []).append(i)
    out: list[Sample] = []
    for stem, members in groups.items():
        folder = stem.rfind(b"/") + 1
        series = len(members) > 1 and _is_series([files[i].path[folder:] for i in members], len(stem) - folder)
        keys: dict[bytes, list[int]] = {}
        for i in members:
            keys.setdefault(_key(files[i].path, folder, series), []).append(i)
        for key, own in keys.items():
            own.sort(key=lambda i: files[i].path)
            pack, offset = next(((x[0], x[1]) for i in own for x in files[i].extents[:1]), (-1, 0))
            out.append(Sample(key, tuple(own), pack, offset, sum(files[i].size for i in own)))
    if len(out) >= MAX_SAMPLES:
        raise FormatError(f"{len(out)} samples are too many")
    packs: dict[int, list[Sample]] = {}
    for s in out:
        packs.setdefault(s.pack, []).append(s)
    for inside in packs.values():
        inside.sort(key=lambda s: (s.offset, s.key))
    return [s for inside in sorted(packs.values(), key=lambda inside: inside[0].key) for s in inside]


def blocks(samples: Sequence[Sample]) -> list[Range]:
    """The blocks of the samples in storage order, as ranges of it."""
    out: list[Range] = []
    first = size = 0
    for i, s in enumerate(samples):
        if i > first and (s.pack != samples[i - 1].pack or i - first >= BLOCK_SAMPLES or size + s.size > BLOCK_BYTES):
            out.append((first, i))
            first, size = i, 0
        size += s.size
    if samples:
        out.append((first, len(samples)))
    return out


def check_number(value: object, name: str) -> int:
    """value, if it is an integer from 0 to 2^64 - 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise UsageError(f"{name} must be an integer from 0 to 2**64 - 1, not {value!r}")
    return value


def plan(samples: Sequence[Sample], seed: int | None, epoch: int) -> tuple[array[int], array[int]]:
    """The order of an epoch, as numbers of samples in storage order, and the position behind each
    of its windows. The seed is None for no shuffling: then each block is a window."""
    check_number(epoch, "epoch")
    cut = blocks(samples)
    if seed is None:
        return array("Q", range(len(samples))), array("Q", (end for _, end in cut))
    number = check_number(seed, "shuffle").to_bytes(8, "big") + epoch.to_bytes(8, "big")
    block, sample = (hashlib.sha256(b"vaultpack/samples-1 " + what + b"\0" + number) for what in (b"block", b"sample"))

    def rank(prefix: Any, i: int) -> bytes:
        h = prefix.copy()
        h.update(samples[i].key)
        return bytes(h.digest())

    mixed = sorted(cut, key=lambda b: rank(block, b[0]))
    out, ends = array("Q"), array("Q")
    for w in range(0, len(mixed), WINDOW_BLOCKS):
        window = [i for first, end in mixed[w : w + WINDOW_BLOCKS] for i in range(first, end)]
        window.sort(key=lambda i: rank(sample, i))
        out.extend(window)
        ends.append(len(out))
    return out, ends


def order(samples: Sequence[Sample], seed: int | None, epoch: int) -> array[int]:
    """The order of an epoch: numbers of samples in storage order. The seed is None for no shuffling."""
    return plan(samples, seed, epoch)[0]


# Ranges of positions: sorted, not empty, neither overlapping nor touching.


def union(*parts: Iterable[Range]) -> list[Range]:
    out: list[Range] = []
    for first, end in sorted(r for part in parts for r in part):
        if out and first <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        elif first < end:
            out.append((first, end))
    return out


def subtract(whole: Iterable[Range], less: Iterable[Range]) -> list[Range]:
    out: list[Range] = []
    less = list(less)
    for first, end in whole:
        for a, b in less:
            if b <= first or a >= end:
                continue
            if a > first:
                out.append((first, a))
            first = max(first, b)
            if first >= end:
                break
        if first < end:
            out.append((first, end))
    return out


def count(ranges: Iterable[Range]) -> int:
    return sum(end - first for first, end in ranges)


def positions(ranges: Iterable[Range]) -> Iterator[int]:
    for first, end in ranges:
        yield from range(first, end)


def divide(rest: Sequence[Range], shard: int, shards: int) -> list[Range]:
    """The part of the positions in rest that a shard reads."""
    check_shard(shard, shards)
    m = count(rest)
    low, high = shard * m // shards, (shard + 1) * m // shards
    out: list[Range] = []
    at = 0
    for first, end in rest:
        a, b = max(first, first + low - at), min(end, first + high - at)
        if a < b:
            out.append((a, b))
        at += end - first
    return out


def check_shard(shard: object, shards: object) -> None:
    for v in (shard, shards):
        if isinstance(v, bool) or not isinstance(v, int):
            raise UsageError(f"shard must be two integers (which, of how many), not ({shard!r}, {shards!r})")
    assert isinstance(shard, int) and isinstance(shards, int)
    if not 0 < shards <= MAX_SHARDS or not 0 <= shard < shards:
        raise UsageError(f"there is no shard {shard} of {shards}: shards are numbered from 0, and there are at most {MAX_SHARDS}")


class Position(NamedTuple):
    """What a shard has read of an epoch: docs/SAMPLES.md, section 5."""

    version: str
    digest: str
    samples: int
    shuffle: int | None
    epoch: int
    begun: tuple[Range, ...] = ()
    shard: int = 0
    shards: int = 1
    done: tuple[Range, ...] = ()

    def rest(self) -> list[Range]:
        """What the shard still has to read."""
        return subtract(self.own(), self.done)

    def own(self) -> list[Range]:
        """What the shard reads in all, of what had not been read before."""
        return divide(subtract([(0, self.samples)], self.begun), self.shard, self.shards)

    def after(self, done: Iterable[Range]) -> Position:
        """The position when these have been read too."""
        return self._replace(done=tuple(union(self.done, done)))

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **{k: [list(r) for r in v] if k in ("begun", "done") else v for k, v in self._asdict().items()}}

    @classmethod
    def from_json(cls, state: Mapping[str, Any] | str | bytes) -> Position:
        """The position that to_json has written. Anything else is a UsageError."""
        if isinstance(state, (str, bytes)):
            try:
                state = json.loads(state)
            except ValueError as err:
                raise UsageError(f"a position that is no JSON: {err}") from None
        if not isinstance(state, Mapping) or state.get("format") != FORMAT or set(state) != {"format", *cls._fields}:
            raise UsageError(f"not a position of the format {FORMAT}")
        p = cls(**{k: v for k, v in state.items() if k != "format"})
        if not isinstance(p.version, str) or not isinstance(p.digest, str):
            raise UsageError("a position without a version")
        check_number(p.samples, "samples of a position")
        check_number(p.epoch, "epoch of a position")
        if p.shuffle is not None:
            check_number(p.shuffle, "shuffle of a position")
        check_shard(p.shard, p.shards)
        p = p._replace(begun=_ranges(p.begun, p.samples), done=_ranges(p.done, p.samples))
        if subtract(p.done, p.own()):
            raise UsageError("a position that has read what is not its shard's")
        return p


def _ranges(value: Any, samples: int) -> tuple[Range, ...]:
    out: list[Range] = []
    last = -1
    if not isinstance(value, (list, tuple)):
        raise UsageError("a position without ranges")
    for r in value:
        if not isinstance(r, (list, tuple)) or len(r) != 2:
            raise UsageError("a position with a range that is not two numbers")
        first, end = check_number(r[0], "a range's first"), check_number(r[1], "a range's end")
        if first <= last or end <= first or end > samples:
            raise UsageError(f"a position with the range [{first}, {end}] in this place")
        out.append((first, end))
        last = end
    return tuple(out)


def merge(states: Iterable[Position | Mapping[str, Any]]) -> Position:
    """The position of an epoch from those of all of its shards, to be divided again."""
    got = [p if isinstance(p, Position) else Position.from_json(p) for p in states]
    if not got:
        raise UsageError("no position to go on from")
    one = got[0]
    for p in got[1:]:
        if p._replace(shard=0, done=()) != one._replace(shard=0, done=()):
            raise UsageError("positions of different versions, epochs or divisions cannot be joined")
    missing = sorted(set(range(one.shards)) - {p.shard for p in got})
    if missing or len(got) != one.shards:
        what = f"that of shard {missing[0]} is missing" if missing else "a shard is there twice"
        raise UsageError(f"to change the number of shards takes the positions of all {one.shards} shards: {what}")
    return one._replace(begun=tuple(union(one.begun, *(p.done for p in got))), shard=0, shards=1, done=())
