"""The file system vault:// for fsspec: vault://scans@3/train/a.csv, in the vault that the command
finds, or in the one of the option vault. It only reads."""

from __future__ import annotations

import threading
from typing import Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from .dataset import Dataset as Version
from .entries import Entry
from .errors import UsageError
from .opening import open as open_version


BLOCK = 64 << 10  # that is read at one time at least, unless the caller says


class VaultFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file as fsspec has files: with its size, blocks and a cache, for what reads in blocks (Dask)
    and for blockcache::."""

    def __init__(self, fs: VaultFileSystem, path: str, version: Version, entry: Entry, block_size: int | None, **options: Any) -> None:
        self._version, self._entry = version, entry
        super().__init__(fs, path, "rb", block_size or BLOCK, size=entry.size, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        if start <= 0 and end >= self.size:
            return self._version.read(self._entry.path)  # which compares it with what was recorded
        return self._version._contents.part(self._entry, start, min(end, self.size) - start)


class VaultFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Paths are DATASET@VERSION/PATH. A version is opened once for each reference that is used."""

    protocol = "vault"
    root_marker = ""

    def __init__(self, vault: str | None = None, **options: Any) -> None:
        keys = {k: options.pop(k, None) for k in ("local_key", "identity", "passphrase_file", "kms_key", "sse", "digest", "at_least")}
        super().__init__(vault=vault, **keys, **options)
        self._vault, self._keys = vault, keys
        self._versions: dict[str, Version] = {}
        self._lock = threading.Lock()

    def _split(self, path: str) -> tuple[Version, str]:
        ref, _, rest = self._strip_protocol(path).lstrip("/").partition("/")
        if not ref:
            raise UsageError("vault:// wants a dataset: vault://DATASET@VERSION/PATH")
        with self._lock:
            if ref not in self._versions:
                self._versions[ref] = open_version(self._vault, ref, **self._keys) if self._vault else open_version(ref, **self._keys)
            return self._versions[ref], rest.strip("/")

    def _info(self, ref: str, e: Entry) -> dict[str, Any]:
        kind = "directory" if e.is_dir else "link" if e.is_link else "file"
        path = e.name.rstrip("/")
        return {"name": f"{ref}/{path}" if path else ref, "size": e.size, "type": kind, "mode": e.mode, "mtime": e.mtime_ns / 1e9}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        ds, rest = self._split(path)
        ref = self._strip_protocol(path).lstrip("/").partition("/")[0]
        return self._info(ref, ds.entry(rest))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        info = self.info(path)
        out = [info]
        if info["type"] == "directory":
            ds, rest = self._split(path)
            base = info["name"]
            out = [self.info(f"{base}/{n.rstrip('/')}") for n in ds.list(rest)]
        return out if detail else [i["name"] for i in out]

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        cache_type: str = "readahead",
        **_: Any,
    ) -> VaultFile:
        if mode != "rb":
            raise UsageError(f"mode {mode!r}: vault:// only reads; see vaultpack.writer")
        ds, rest = self._split(path)
        return VaultFile(self, path, ds, ds._regular(rest), block_size, cache_type=cache_type, cache_options=cache_options)

    def _refuse(self, *_: Any, **__: Any) -> None:
        """What would write, some of which the class above passes over in silence."""
        raise UsageError("vault:// only reads; see vaultpack.writer")

    mkdir = makedirs = rmdir = rm = rm_file = _rm = mv = cp_file = _refuse

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        ds, rest = self._split(path)
        if start is None and end is None:
            return ds.read(rest)
        e = ds._regular(rest)
        first, last, _ = slice(start, end).indices(e.size)
        return ds._contents.part(e, first, max(0, last - first))

    def created(self, path: str) -> Any:
        raise NotImplementedError("versions do not record when a file was created")

    def modified(self, path: str) -> Any:
        import datetime

        return datetime.datetime.fromtimestamp(self.info(path)["mtime"], datetime.timezone.utc)
