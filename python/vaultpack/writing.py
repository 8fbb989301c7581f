"""Versions that a program writes, through the vaultpack command."""

from __future__ import annotations

import base64
import io
import json
import os
from typing import Any, Mapping

from .child import Child, flags
from .entries import raw, text
from .errors import ChildError, Error, UsageError


class Writer:
    """Makes a version of what is written between "with" and its end. If the block ends with an
    exception, or the process dies, there is no version. It is used by one thread."""

    def __init__(self, dataset: str, vault: str | os.PathLike[str] | None, mode: str, options: Mapping[str, Any]) -> None:
        self._args = ["handover", "write", *flags(vault=vault, mode=mode, **options), "--", dataset]
        self._child: Child | None = None
        self._file: _File | None = None
        self.version: int | None = None
        self.digest: str | None = None

    def __enter__(self) -> Writer:
        if self._child:
            raise UsageError("a writer is used once")
        self._child = Child(self._args)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        child = self._running()
        if kind:
            child.end()  # without a commit; it takes its lease away
            return
        if self._file and not self._file.closed:
            child.end()
            raise UsageError(f"{self._file.name!r} has not been closed: no version was made")
        self._send({"commit": True})
        answer = child.stdout.read()
        if failed := child.end():
            raise failed
        made = json.loads(answer)
        self.version, self.digest = made["version"], made["digest"]

    def _running(self) -> Child:
        if not self._child:
            raise UsageError('use a writer as: with vaultpack.writer("scans") as w')
        return self._child

    def _send(self, step: Mapping[str, Any], data: bytes | memoryview = b"") -> None:
        child = self._running()
        try:
            child.stdin.write(json.dumps(step).encode() + b"\n")
            child.stdin.write(data)
            child.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise child.end() or ChildError("the vaultpack command has ended while it was needed") from None

    def write(self, path: str | bytes | os.PathLike[str], contents: bytes | str, *, mode: int = 0o644, mtime_ns: int | None = None) -> None:
        """Writes one file, whole. Its path is relative."""
        with self.open(path, mode=mode, mtime_ns=mtime_ns) as f:
            f.write(contents.encode() if isinstance(contents, str) else contents)

    def open(self, path: str | bytes | os.PathLike[str], *, mode: int = 0o644, mtime_ns: int | None = None) -> _File:
        """Begins a file: use it with "with", or close it. One is open at a time."""
        if self._file and not self._file.closed:
            raise UsageError(f"{self._file.name!r} is still open")
        p = raw(path)
        step: dict[str, Any] = {"create": p.decode()} if _is_utf8(p) else {"create64": base64.b64encode(p).decode()}
        step["mode"] = mode
        if mtime_ns is not None:
            step["mtime"] = [*divmod(mtime_ns, 10**9)]
        self._send(step)
        self._file = _File(self, text(p))
        return self._file

    def write_sample(self, key: str, fields: Mapping[str, bytes | str]) -> None:
        """Writes the files key.FIELD, which lie in one pack: key and fields are those that a
        stream of samples gives."""
        self._send({"sample": True})
        for name, contents in fields.items():
            if name != "__key__":
                self.write(f"{key}.{name}" if name else key, contents)
        self._send({"together": True})

    def remove(self, path: str) -> None:
        """Removes a file that the last version has."""
        self._send({"remove": path})


def _is_utf8(p: bytes) -> bool:
    try:
        p.decode()
    except UnicodeDecodeError:
        return False
    return True


class _File(io.RawIOBase):
    """A file of a version that is being written. If its block ends with an exception, the version
    does not have it."""

    PIECE = 1 << 20

    def __init__(self, writer: Writer, name: str) -> None:
        self._writer, self.name = writer, name

    def writable(self) -> bool:
        return True

    def write(self, contents: Any) -> int:
        if self.closed:
            raise ValueError("the file has been closed")
        view = memoryview(contents).cast("B")
        for at in range(0, len(view), self.PIECE):
            piece = view[at : at + self.PIECE]
            self._writer._send({"bytes": len(piece)}, piece)
        return len(view)

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._end("abort" if kind else "close")

    def close(self) -> None:
        self._end("close")

    def _end(self, how: str) -> None:
        if not self.closed:
            super().close()
            self._writer._send({how: True})

    def __del__(self) -> None:
        pass  # a file that nobody has closed is not complete


def writer(dataset: str, vault: str | os.PathLike[str] | None = None, *, mode: str = "add", allow_incomplete: bool = False, **keys: Any) -> Writer:
    """Begins a version: with vaultpack.writer("scans") as w: w.write("a.json", b"…"). The files of
    the last version are kept. mode is "add", which refuses to replace one, "update", which does, or "anew", which
    keeps none. keys are the command's flags local_key, kms_key, signing_key and sse."""
    unknown = set(keys) - {"local_key", "kms_key", "signing_key", "sse", "identity", "passphrase_file"}
    if unknown:
        raise UsageError(f"writer has no option {sorted(unknown)[0]}")
    return Writer(dataset, vault, mode, {**keys, "allow_incomplete": allow_incomplete})


__all__ = ["Error", "Writer", "writer"]
