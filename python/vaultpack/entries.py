"""What a version holds: its packs, and its files, folders and links."""

from __future__ import annotations

import base64
import os
from typing import Any, Mapping, NamedTuple


class Pack(NamedTuple):
    id: str
    key_id: str
    size: int  # of the sealed file


class Entry(NamedTuple):
    """A file, folder or symbolic link of a version."""

    path: bytes
    size: int
    mode: int
    mtime_ns: int
    link: bytes
    extents: tuple[tuple[int, int, int], ...] = ()
    sums: tuple[bytes, ...] = ()
    sha256: bytes = b""
    flaw: str = ""

    @property
    def name(self) -> str:
        """The path as text. Bytes that are not UTF-8 are surrogates, as os.fsdecode makes them."""
        return text(self.path)

    @property
    def is_dir(self) -> bool:
        return not self.path or self.path.endswith(b"/")

    @property
    def is_link(self) -> bool:
        return bool(self.link)

    @property
    def is_file(self) -> bool:
        return not self.is_dir and not self.is_link


def text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def raw(path: str | bytes | os.PathLike[str]) -> bytes:
    p = os.fspath(path)
    return p if isinstance(p, bytes) else p.encode("utf-8", "surrogateescape")


def from_json(v: Mapping[str, Any]) -> Entry:
    """An entry as the command hands it over."""

    def of(name: str) -> bytes:
        return base64.b64decode(v[name + "64"]) if name + "64" in v else str(v.get(name, "")).encode()

    sums = tuple(base64.b64decode(s) if s else b"" for s in v.get("sums", ()))
    sha = base64.b64decode(v["sha256"]) if "sha256" in v else b""
    seconds, ns = v["mtime"]
    return Entry(of("path"), v.get("size", 0), v["mode"], seconds * 10**9 + ns, of("link"), tuple(map(tuple, v.get("extents", ()))), sums, sha, v.get("flaw", ""))
