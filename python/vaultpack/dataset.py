"""Versions of datasets: opened once, and read from any process that has come from there."""

from __future__ import annotations

import io
import os
import stat as stat_module
from bisect import bisect_left
from typing import Any, Iterator, Mapping, Sequence

from . import notebook, samples
from .child import flags
from .contents import Contents
from .entries import Entry, Pack, raw, text
from .errors import NotFound, UsageError
from .files import PIECE, File
from .sealed import CHUNK, DataKey
from .store import Store
from .stream import SampleStream


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
        self._head, self._entries, self._packs, self._keys, self._options = head, entries, packs, keys, dict(options)
        self._contents = Contents(packs, keys, store)
        self._samples: list[samples.Sample] | None = None
        self._files: list[Entry] = [e for e in entries if e.is_file]
        self._plans: dict[tuple[int | None, int], tuple[Sequence[int], Sequence[int]]] = {}
        self._starts: list[int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing import context

        if context.get_spawning_popen() is None:
            raise TypeError("a dataset has data keys in it and is not pickled, but for a process that multiprocessing starts; "
                            "open it again there: vaultpack.open")  # fmt: skip
        return {"head": self._head, "entries": self._entries, "packs": self._packs, "store": self._contents.store, "options": self._options,
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
            raise UsageError(f"{text(prefix[:-1])!r} is not a folder")
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
        return self._contents.whole([e])[0] if e.size <= PIECE else b"".join(self._contents.pieces(e))

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
        contents = dict(zip((e.path for e in small), self._contents.whole(small)))
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
                d[name] = got if got is not None else b"".join(self._contents.pieces(e))
            out.append(d)
        return out

    def close(self) -> None:
        """Closes what reads the vault. Use after that opens it again."""
        self._contents.store.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
