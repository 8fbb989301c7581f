"""Where the sealed packs of a dataset are read from."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Iterable, Iterator, Protocol, Sequence, Union

from .child import Child
from .errors import ChildError, Error, NotAllowed, from_code
from .sealed import unauthentic

Request = tuple[str, int, int]
"""Object ID in hex, offset, length."""

MAX_REQUEST = 16 << 20  # of the command's fetch
AHEAD = 8
MAX_LINE = 64 << 10


SMALL = 4096
Contents = Union[bytes, memoryview]


class Store(Protocol):
    def read(self, requests: Iterable[Request]) -> Iterator[Contents]:
        """The ranges, in order. Where an object ends, or is missing, AuthenticationError. Contents
        of more than SMALL bytes are good until the next are asked for."""

    def close(self) -> None: ...


class Scratch(threading.local):
    """A buffer for each thread. Memory that is new costs more to touch than AES does."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, n: int) -> memoryview:
        if len(self._buffer) < n:
            self._buffer = bytearray(1 << (n - 1).bit_length())
        return memoryview(self._buffer)[:n]


class DirStore:
    """A vault in a directory. Files are kept open, some of them; processes that fork may share them."""

    KEPT = 64

    def __init__(self, vault: str, dataset: str) -> None:
        self._packs = os.path.join(vault, dataset, "packs")
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._scratch = Scratch()

    def __reduce__(self) -> tuple[type[DirStore], tuple[str, str]]:
        vault, dataset = os.path.split(os.path.dirname(self._packs))
        return DirStore, (vault, dataset)

    def read(self, requests: Iterable[Request]) -> Iterator[Contents]:
        for id, off, n in requests:
            out = memoryview(bytearray(n)) if n <= SMALL else self._scratch.take(n)
            at = 0
            with self._exclusive():
                fd = self._file(id)
                while at < n:
                    got = os.preadv(fd, [out[at:]], off + at)
                    if not got:
                        raise unauthentic()
                    at += got
            yield out

    def _exclusive(self) -> threading.Lock:
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()  # another thread of the parent may have held it
        return self._lock

    def _file(self, id: str) -> int:
        fd = self._open.get(id)
        if fd is not None:
            self._open.move_to_end(id)
            return fd
        try:
            fd = os.open(os.path.join(self._packs, id + ".vpk"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise type(unauthentic())(f"pack {id} is missing from the vault") from None
        except PermissionError as err:
            raise NotAllowed(str(err)) from err
        self._open[id] = fd
        if len(self._open) > self.KEPT:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def close(self) -> None:
        with self._exclusive():
            while self._open:
                os.close(self._open.popitem()[1])

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:
            pass


class _Refused(Exception):
    """An answer that is an error."""

    def __init__(self, error: Error) -> None:
        self.error = error


class ChildStore:
    """Any other vault: a vaultpack command, one for each process, reads ranges of packs as they are
    sealed. It needs no key and calls no key service."""

    def __init__(self, dataset: str, settings: Sequence[str], child: Child | None = None) -> None:
        """The child is one that runs already, and answers requests."""
        self._dataset, self._settings = dataset, tuple(settings)
        self._child = child
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._scratch = Scratch()

    def __reduce__(self) -> tuple[type[ChildStore], tuple[str, tuple[str, ...]]]:
        return ChildStore, (self._dataset, self._settings)

    def _running(self) -> Child:
        if self._child and self._child.pid != os.getpid():
            # It is the parent's: this process has been forked. What it holds of the pipes is
            # closed, so that the parent's child sees the parent's end.
            self._child.kill()
            self._child = None
        if not self._child:
            self._child = Child(["handover", "fetch", *self._settings, "--", self._dataset])
        return self._child

    def read(self, requests: Iterable[Request]) -> Iterator[Contents]:
        parts = list(requests)
        if any(n > MAX_REQUEST for _, _, n in parts):
            raise ValueError(f"more than {MAX_REQUEST} bytes in one request")
        with self._exclusive():
            for (_, _, n), b in zip(parts, self._answers(parts)):
                if len(b) != n:
                    raise unauthentic()
                yield b

    def _exclusive(self) -> threading.Lock:
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()  # another thread of the parent may have held it
        return self._lock

    def _answers(self, parts: list[Request]) -> Iterator[Contents]:
        child = self._running()
        sent = got = 0
        between = done = False  # between two answers, and after the last
        try:
            while got < len(parts):
                if sent - got < AHEAD // 2:
                    lines = [f"{id} {off} {n}\n" for id, off, n in parts[sent : got + AHEAD]]
                    child.send("".join(lines).encode())
                    sent += len(lines)
                b = self._answer(child)
                got += 1
                between = True
                yield b
                between = False
            done = True
        except _Refused as err:
            got += 1
            between = True
            raise err.error from None
        except OSError:
            self._child = None
            raise child.end() or ChildError("the vaultpack command has ended while it was needed") from None
        finally:
            if not done:
                self._settle(child, sent - got if between else -1)

    def _settle(self, child: Child, unread: int) -> None:
        """Reads answers that nobody wants any more; if they are -1, the child is in the midst of one,
        and is ended."""
        settled = False
        try:
            while unread > 0:
                unread -= 1
                try:
                    self._answer(child)
                except _Refused:
                    pass
            settled = unread == 0
        except OSError:
            pass
        finally:
            if not settled:
                child.kill()
                self._child = None

    def _answer(self, child: Child) -> Contents:
        """The next answer. An OSError says that there is none."""
        line = child.stdout.readline(MAX_LINE)
        head = line.decode("utf-8", "replace").rstrip("\n").split(" ", 2)
        if not line.endswith(b"\n") or len(head) < 2 or not head[1].isdecimal():
            raise ConnectionError
        if head[0] == "ERR":
            raise _Refused(from_code(int(head[1]), head[2] if len(head) > 2 else ""))
        n = int(head[1])
        if head[0] != "OK" or n > MAX_REQUEST:
            raise ConnectionError
        out = memoryview(bytearray(n)) if n <= SMALL else self._scratch.take(n)
        at = 0
        while at < n:
            got = child.stdout.readinto(out[at:])  # type: ignore[attr-defined]
            if not got:
                raise ConnectionError
            at += got
        return out

    def close(self) -> None:
        if self._child:
            self._child.kill()
            self._child = None

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:
            pass
