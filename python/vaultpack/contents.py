"""What the files of a version hold: ranges of packs, fetched together where they are close, opened in
this process and compared with what was recorded."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import Generator, Iterable, Iterator, Mapping, Sequence

from .entries import Entry, Pack
from .files import PIECE
from .sealed import ContentSum, DataKey, Header, Object, unauthentic
from .store import Request, Scratch, Store

GAP = 32 << 10  # less than this between two extents is read with them


class Contents:
    """Reads what entries of a version hold. It can be used from several threads, and by forked processes."""

    def __init__(self, packs: Sequence[Pack], keys: Mapping[str, DataKey], store: Store) -> None:
        self._packs, self._keys, self.store = packs, keys, store
        self._objects: dict[int, Object] = {}
        self._sums: dict[str, ContentSum] = {}
        self._scratch = Scratch()

    def _object(self, number: int) -> Object:
        o = self._objects.get(number)
        if o is None:
            p = self._packs[number]
            h = Header(b"pack", bytes.fromhex(p.key_id), bytes.fromhex(p.id), b"")
            o = Object(self._keys[p.key_id], h, p.size)
            if len(self._objects) >= 256:
                self._objects.clear()
            self._objects[number] = o
        return o

    def runs(self, wanted: Iterable[tuple[int, int, int]]) -> Generator[tuple[int, int, int, memoryview], None, None]:
        """Opens ranges of packs, joined where they are close, in the order of packs and offsets:
        pack, offset, length, plaintext. It is good until the next is asked for."""
        runs: list[list[int]] = []
        for pack, off, n in sorted(wanted):
            last = runs[-1] if runs else None
            if last and last[0] == pack and off <= last[1] + last[2] + GAP and off + n - last[1] <= 2 * PIECE:
                last[2] = max(last[2], off + n - last[1])
            elif n:
                runs.append([pack, off, n])
        plans = []
        for p, off, n in runs:
            o = self._object(p)
            message = o.message_at(off)
            plans.append((p, off, n, o, message, o.ranges(off, n, message)))
        requests: list[Request] = [(self._packs[p].id, a, k) for p, _, _, _, _, ranges in plans for a, k in ranges]
        # Closed at once, also where an error's traceback is kept: it may have the store for itself.
        with closing(self.store.read(requests)) as answers:  # type: ignore[type-var]
            for p, off, n, o, message, ranges in plans:
                data = [next(answers) for _ in ranges]
                yield p, off, n, o.open(off, n, ranges, data, self._scratch.take, message)

    def _one(self, pack: int, off: int, n: int) -> bytes:
        with closing(self.runs([(pack, off, n)])) as runs:
            return b"".join(bytes(plain) for _, _, _, plain in runs)

    def whole(self, files: Sequence[Entry]) -> list[bytes]:
        """The whole contents of small files, each compared with its sums."""
        wanted = sorted({(x[0], x[1], x[2]) for e in files for x in e.extents if x[2]})
        opened: dict[tuple[int, int, int], bytes] = {}
        i = 0
        with closing(self.runs(wanted)) as runs:
            for pack, off, n, plain in runs:
                while i < len(wanted) and wanted[i][0] == pack and wanted[i][1] < off + n:
                    begin = wanted[i][1] - off
                    opened[wanted[i]] = bytes(plain[begin : begin + wanted[i][2]])
                    i += 1
        out = []
        for e in files:
            parts = [opened[x] if x[2] else b"" for x in e.extents]
            self._compare(e, parts)
            out.append(parts[0] if len(parts) == 1 else b"".join(parts))
        return out

    def _compare(self, e: Entry, parts: Sequence[bytes]) -> None:
        """Compares the contents of a whole file, one part for each extent, with what was recorded."""
        for x, want, part in zip(e.extents, e.sums, parts):
            if want and self._content_sum(x[0]).of(part) != want:
                raise unauthentic()
        if (len(parts[0]) if len(parts) == 1 else sum(map(len, parts))) != e.size:
            raise unauthentic()
        if e.sha256:
            h = hashlib.sha256()
            for part in parts:
                h.update(part)
            if h.digest() != e.sha256:
                raise unauthentic()

    def _content_sum(self, pack: int) -> ContentSum:
        id = self._packs[pack].key_id
        if id not in self._sums:
            self._sums[id] = ContentSum(self._keys[id])
        return self._sums[id]

    def pieces(self, e: Entry) -> Iterator[bytes]:
        """The contents of a large file, in pieces. What was recorded of it is compared at the end
        of each extent, and of the file."""
        whole = hashlib.sha256()
        for i, (pack, off, n) in enumerate(e.extents):
            want = e.sums[i] if i < len(e.sums) else b""
            summed = self._content_sum(pack).begin() if want else None
            for at in range(0, n, PIECE):
                k = min(PIECE, n - at)
                piece = self._one(pack, off + at, k)
                if summed:
                    summed.update(piece)
                if e.sha256:
                    whole.update(piece)
                yield piece
            if summed and summed.sum() != want:
                raise unauthentic()
        if e.sha256 and whole.digest() != e.sha256:
            raise unauthentic()

    def part(self, e: Entry, off: int, n: int) -> bytes:
        """A part of a file, in requests of a few MiB. What was recorded of the whole file is not compared."""
        out, at = [], 0
        end = min(off + n, e.size)
        for pack, x, length in e.extents:
            lo, hi = max(off, at), min(end, at + length)
            out += [self._one(pack, x + k - at, min(PIECE, hi - k)) for k in range(lo, hi, PIECE)]
            at += length
        return b"".join(out)
