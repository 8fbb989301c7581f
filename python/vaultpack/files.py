"""A file of a version, as Python's io has files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .entries import Entry

if TYPE_CHECKING:
    from .dataset import Dataset

PIECE = 4 << 20  # of a large file, read at one time


class File(io.RawIOBase):
    """A file of a version."""

    def __init__(self, dataset: Dataset, entry: Entry) -> None:
        self._dataset, self.entry, self._at = dataset, entry, 0
        self.name = entry.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.entry.size}[whence]
        if base + offset < 0:
            raise ValueError("a negative offset")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self.closed:
            raise ValueError("the file has been closed")
        view = memoryview(buffer).cast("B")
        b = self._dataset._contents.part(self.entry, self._at, min(len(view), PIECE))
        view[: len(b)] = b
        self._at += len(b)
        return len(b)

    def readall(self) -> bytes:
        if self._at == 0:
            self._at = self.entry.size
            return self._dataset.read(self.entry.path)
        out = []
        while b := self._dataset._contents.part(self.entry, self._at, PIECE):
            out.append(b)
            self._at += len(b)
        return b"".join(out)
