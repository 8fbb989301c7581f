"""Versions of datasets: opened once, and read from any process that has come from there. Packs
are read and opened in this process."""

from __future__ import annotations

import hashlib
import io
import os
import stat as stat_module
from bisect import bisect_left
from contextlib import closing
from typing import Any, Generator, Iterable, Iterator, Mapping, Sequence

from . import notebook, samples
from .child import flags
from .entries import Entry, Pack, raw, text
from .errors import NotFound, UsageError
from .files import PIECE, File
from .sealed import CHUNK, ContentSum, DataKey, Header, Object, unauthentic
from .store import Request, Scratch, Store
from .stream import SampleStream

GAP = 32 << 10  # less than this between two extents is read with them


def check_version(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"a version is a number from 1, not {value!r}")
    return value


class Dataset:
    """A version of a dataset.

    It can be used from several threads. Forked processes inherit it. It is pickled for processes
    that multiprocessing starts, and for nothing else, because it has the data keys in it.
    """

    def __init__(
        self, head: Mapping[str, Any], entries: list[Entry], packs: list[Pack], keys: dict[str, DataKey], store: Store, options: Mapping[str, Any]
    ) -> None:
        """options are those that opened it, by which others of the vault are opened."""
        self._head, self._entries, self._packs, self._keys, self._store, self._options = head, entries, packs, keys, store, dict(options)
        self._objects: dict[int, Object] = {}
        self._sums: dict[str, ContentSum] = {}
        self._scratch = Scratch()
        self._samples: list[samples.Sample] | None = None
        self._files: list[Entry] = [e for e in entries if e.is_file]
        self._plans: dict[tuple[int | None, int], tuple[Sequence[int], Sequence[int]]] = {}
        self._starts: list[int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing import context

        if context.get_spawning_popen() is None:
            raise TypeError("a dataset has data keys in it and is not pickled, but for a process that multiprocessing starts; "
                            "open it again there: vaultpack.open")  # fmt: skip
        return {"head": self._head, "entries": self._entries, "packs": self._packs, "store": self._store, "options": self._options,
                "keys": {id: k._secret for id, k in self._keys.items()}}  # fmt: skip

    def __setstate__(self, v: dict[str, Any]) -> None:
        keys = {id: DataKey(bytes.fromhex(id), secret) for id, secret in v["keys"].items()}
        self.__init__(v["head"], v["entries"], v["packs"], keys, v["store"], v["options"])  # type: ignore[misc]

    # What it is.

    @property
    def name(self) -> str:
        return str(self._head["dataset"])

    @property
    def number(self) -> int:
        return int(self._head["number"])

    @property
    def digest(self) -> str:
        """By which the version is recognized: scans@3#DIGEST names exactly it."""
        return str(self._head["digest"])

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def vault(self) -> str:
        return str(self._head["vault"])

    @property
    def created(self) -> str:
        return str(self._head["created"])

    @property
    def message(self) -> str:
        return str(self._head["message"])

    @property
    def totals(self) -> dict[str, int]:
        """Of files, folders, links, bytes, packs, sealed_bytes, flaws."""
        return dict(self._head["totals"])

    def __repr__(self) -> str:
        return f"<vaultpack.Dataset {self.reference} in {self.vault}: {self.totals['files']} files, {self.totals['bytes']} bytes>"

    def _repr_html_(self) -> str:
        rows = {"vault": self.vault, "version": f"{self.number}, {self.created}", "digest": self.digest, "signed by": self._head["signer"],
                "files": f"{self.totals['files']:,} in {self.totals['folders']:,} folders", "bytes": f"{self.totals['bytes']:,}",
                "message": self.message}  # fmt: skip
        return notebook.table(((k, notebook.escaped(str(v))) for k, v in rows.items() if v), self.name)

    def diff(self, earlier: int) -> notebook.Diff:
        """What has changed since an earlier version of the dataset: ds.diff(2)."""
        number = check_version(earlier)
        o = self._options
        at = flags(vault=self.vault, **{k: o.get(k) for k in ("local_key", "identity", "passphrase_file", "kms_key", "sse")})
        return notebook.diff(f"{self.name}@{number}", self.reference, at)

    def plot(self) -> Any:
        """A figure of the sizes of the files, and of how many each folder has. It takes matplotlib."""
        return notebook.plot(self)

    def sibling(self, ref: str) -> Dataset:
        """Another version or dataset of the same vault, opened with the same keys."""
        from .opening import open as open_version

        return open_version(self.vault, ref, **self._options)

    def __len__(self) -> int:
        """The number of files."""
        return len(self._files)

    # Its files.

    def entries(self) -> list[Entry]:
        """Everything in it, in the order of the paths."""
        return list(self._entries)

    def files(self) -> list[Entry]:
        return list(self._files)

    def entry(self, path: str | bytes | os.PathLike[str]) -> Entry:
        """What has the path. A NotFound tells that nothing has."""
        want = raw(path).strip(b"/")
        for p in (want, want + b"/" if want else b""):
            i = bisect_left(self._entries, p, key=lambda e: e.path)
            if i < len(self._entries) and self._entries[i].path == p:
                return self._entries[i]
        if not want or i < len(self._entries) and self._entries[i].path.startswith(p):
            return Entry(p, 0, 0o700, 0, b"")  # a folder that only its contents name
        raise NotFound(f"{text(want)!r}: {self.reference} has no such file")

    def __contains__(self, path: object) -> bool:
        try:
            self.entry(path)  # type: ignore[arg-type]
        except (NotFound, TypeError):
            return False
        return True

    def list(self, folder: str | bytes | os.PathLike[str] = "") -> list[str]:
        """The names in a folder; those of folders end in a slash."""
        prefix = raw(folder).strip(b"/")
        prefix = prefix + b"/" if prefix else b""
        if prefix and not self.entry(prefix).is_dir:
            raise UsageError(f"{text(prefix[:-1])!r} is no folder")
        out: dict[bytes, None] = {}
        i = bisect_left(self._entries, prefix, key=lambda e: e.path)
        while i < len(self._entries) and self._entries[i].path.startswith(prefix):
            rest = self._entries[i].path[len(prefix) :]
            head, slash, _ = rest.partition(b"/")
            if head:
                out[head + slash] = None
            i += 1
            if slash:  # over what is in that folder: 0 follows the slash
                i = bisect_left(self._entries, prefix + head + b"0", lo=i - 1, key=lambda e: e.path)
        return [text(n) for n in sorted(out)]

    def walk(self, folder: str = "") -> Iterator[tuple[str, list[str], list[str]]]:
        """As os.walk: each folder with the names of its folders, and of its files and links."""
        names = self.list(folder)
        dirs = [n[:-1] for n in names if n.endswith("/")]
        yield folder, dirs, [n for n in names if not n.endswith("/")]
        for d in dirs:
            yield from self.walk(f"{folder}/{d}" if folder else d)

    def stat(self, path: str | bytes | os.PathLike[str]) -> os.stat_result:
        e = self.entry(path)
        kind = stat_module.S_IFDIR if e.is_dir else stat_module.S_IFLNK if e.is_link else stat_module.S_IFREG
        t = e.mtime_ns // 10**9
        return os.stat_result((kind | e.mode, 0, 0, 1, 0, 0, e.size, t, t, t))

    def read(self, path: str | bytes | os.PathLike[str]) -> bytes:
        """The contents of a file."""
        e = self._regular(path)
        return self._whole([e])[0] if e.size <= PIECE else b"".join(self._pieces(e))

    def open(self, path: str | bytes | os.PathLike[str], mode: str = "rb", encoding: str | None = None) -> Any:
        """A file to be read, at any offset: only what is asked for is fetched and opened. A
        binary file, or with the mode "r" one of text."""
        if mode not in ("rb", "r", "rt"):
            raise UsageError(f"mode {mode!r}: a version cannot be changed; see vaultpack.writer")
        f = io.BufferedReader(File(self, self._regular(path)), 4 * CHUNK)
        return f if mode == "rb" else io.TextIOWrapper(f, encoding=encoding or "utf-8")

    def _regular(self, path: str | bytes | os.PathLike[str]) -> Entry:
        e = self.entry(path)
        if not e.is_file:
            raise UsageError(f"{e.name!r} is a {'link to ' + text(e.link) if e.is_link else 'folder'}, and no file")
        return e

    # Contents.

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

    def _runs(self, wanted: Iterable[tuple[int, int, int]]) -> Generator[tuple[int, int, int, memoryview], None, None]:
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
        with closing(self._store.read(requests)) as answers:  # type: ignore[type-var]
            for p, off, n, o, message, ranges in plans:
                data = [next(answers) for _ in ranges]
                yield p, off, n, o.open(off, n, ranges, data, self._scratch.take, message)

    def _one(self, pack: int, off: int, n: int) -> bytes:
        with closing(self._runs([(pack, off, n)])) as runs:
            return b"".join(bytes(plain) for _, _, _, plain in runs)

    def _whole(self, files: Sequence[Entry]) -> list[bytes]:
        """The whole contents of small files, each compared with its sums."""
        wanted = sorted({(x[0], x[1], x[2]) for e in files for x in e.extents if x[2]})
        opened: dict[tuple[int, int, int], bytes] = {}
        i = 0
        with closing(self._runs(wanted)) as runs:
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

    def _pieces(self, e: Entry) -> Iterator[bytes]:
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

    def _range(self, e: Entry, off: int, n: int) -> bytes:
        """A part of a file. What was recorded of the whole file is not compared."""
        out, at = [], 0
        end = min(off + n, e.size)
        for pack, x, length in e.extents:
            lo, hi = max(off, at), min(end, at + length)
            if lo < hi:
                out.append(self._one(pack, x + lo - at, hi - lo))
            at += length
        return b"".join(out)

    # Samples.

    def _collected(self) -> list[samples.Sample]:
        if self._samples is None:
            self._samples = samples.collect(self._files)
        return self._samples

    @property
    def sample_count(self) -> int:
        return len(self._collected())

    def sample_keys(self) -> list[str]:
        """The keys of the samples, in storage order: docs/SAMPLES.md."""
        return [text(s.key) for s in self._collected()]

    def sample(self, number: int) -> dict[str, Any]:
        """One sample, by its number in storage order."""
        return self._sample_of([number])[0]

    def samples(
        self,
        shard: tuple[int, int] = (0, 1),
        shuffle: int | None = None,
        epoch: int = 0,
        resume: samples.Position | Mapping[str, Any] | None = None,
    ) -> SampleStream:
        """The samples of an epoch that a shard reads, as dicts: "__key__", and the contents of each
        field as bytes. shard is which, of how many; shuffle is a seed. resume is a position that
        was taken from an earlier stream, or what vaultpack.merge has made of those of all shards."""
        return SampleStream(self, self.position(shard, shuffle, epoch, resume))

    def position(
        self,
        shard: tuple[int, int] = (0, 1),
        shuffle: int | None = None,
        epoch: int = 0,
        resume: samples.Position | Mapping[str, Any] | None = None,
    ) -> samples.Position:
        """The position at which a stream of samples begins."""
        samples.check_shard(*shard)
        if resume is None:
            samples.check_number(epoch, "epoch")
            if shuffle is not None:
                samples.check_number(shuffle, "shuffle")
            return samples.Position(self.reference, self.digest, self.sample_count, shuffle, epoch, (), *shard)
        p = resume if isinstance(resume, samples.Position) else samples.Position.from_json(resume)
        if p.digest != self.digest or p.samples != self.sample_count:
            raise UsageError(f"the position is of {p.version} with the digest {p.digest}, and this is {self.reference} with {self.digest}")
        if (p.shard, p.shards) != tuple(shard):
            if p.shards != 1 or p.done:
                raise UsageError(
                    f"the position is that of shard {p.shard} of {p.shards}, and not of {shard[0]} of {shard[1]}: "
                    "to go on with another number of shards, join the positions of all with vaultpack.merge"
                )
            p = p._replace(shard=shard[0], shards=shard[1])
        return p

    def _plan(self, shuffle: int | None, epoch: int) -> tuple[Sequence[int], Sequence[int]]:
        key = (shuffle, epoch)
        got = self._plans.get(key)
        if got is None:
            got = samples.plan(self._collected(), shuffle, epoch)
            self._plans = {key: got}
        return got

    def _block_starts(self) -> Sequence[int]:
        if self._starts is None:
            self._starts = [first for first, _ in samples.blocks(self._collected())]
        return self._starts

    def _sample_of(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Whole samples by their numbers in storage order, read together."""
        found = self._collected()
        files = [self._files[i] for n in numbers for i in found[n].files]
        small = [e for e in files if e.size <= PIECE]
        contents = dict(zip((e.path for e in small), self._whole(small)))
        out = []
        for n in numbers:
            s = found[n]
            d: dict[str, Any] = notebook.Sample(__key__=text(s.key))
            for i in s.files:
                e = self._files[i]
                name = text(samples.field(s.key, e.path))
                if name == "__key__":
                    raise UsageError(f"{e.name!r}: no field of a sample can be called {name}")
                got = contents.get(e.path)
                d[name] = got if got is not None else b"".join(self._pieces(e))
            out.append(d)
        return out

    def close(self) -> None:
        """Closes what reads the vault. Use after that opens it again."""
        self._store.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
