"""The vaultpack command as a child process. Keys go through pipes, never through arguments
or the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import threading
from pathlib import Path
from typing import IO, Any, Sequence

from .errors import ChildError, Error, NotFound, from_code

MAX_ERROR = 64 << 10


def command() -> str:
    """The vaultpack command: VAULTPACK_COMMAND, or what the wheel has installed, or what is on the path."""
    named = os.environ.get("VAULTPACK_COMMAND")
    if named:
        return named
    for scheme in (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")):
        carried = Path(sysconfig.get_path("scripts", scheme), "vaultpack")
        if carried.is_file() and os.access(carried, os.X_OK):
            return str(carried)
    found = shutil.which("vaultpack")
    if not found:
        raise ChildError("the vaultpack command is not on the path; install it, or set VAULTPACK_COMMAND to where it is")
    return found


class Child:
    """A running command, with its pipes. It ends when its standard input does."""

    def __init__(self, args: Sequence[str]) -> None:
        name = command()
        try:
            # In a session of its own: Ctrl-C is for this process, which then ends the child.
            self._process = subprocess.Popen(
                [name, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, bufsize=1 << 16
            )
        except OSError as err:
            raise ChildError(f"the vaultpack command cannot be started: {err}") from err
        self.pid = os.getpid()
        p = self._process
        assert p.stdin and p.stdout and p.stderr
        self.stdin: IO[bytes] = p.stdin
        self.stdout: IO[bytes] = p.stdout
        self._errors: list[bytes] = []
        self._drain = threading.Thread(target=self._read_errors, args=(p.stderr,), daemon=True)
        self._drain.start()

    def _read_errors(self, stderr: IO[bytes]) -> None:
        size = 0
        with stderr:
            for line in stderr:
                if size < MAX_ERROR:
                    self._errors.append(line)
                size += len(line)

    def end(self) -> Error | None:
        """Waits for the end. Returns what went wrong, or None."""
        try:
            self.stdin.close()
        except OSError:
            pass  # it has ended already, and says why
        code = self._process.wait()
        self._drain.join()
        self.stdout.close()
        return failure(code, b"".join(self._errors).decode("utf-8", "replace"))

    def send(self, data: bytes) -> None:
        """Writes to the standard input, past any buffer: none of it can be written again by a process
        that is forked meanwhile."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.stdin.fileno(), view) :]

    def kill(self) -> None:
        """Ends it, whatever it does. In another process than the one that has started it, only
        this process's ends of the pipes are closed."""
        if os.getpid() != self.pid:
            self._leave()
            return
        self._process.kill()
        self._process.wait()
        for f in (self.stdin, self.stdout):
            try:
                f.close()
            except OSError:
                pass

    def _leave(self) -> None:
        """Closes the pipes of a child that is another process's. A thread of that one may have been
        in the midst of using the files, whose locks nobody would ever release: they stay, and lead nowhere."""
        if self not in _left:
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for f in (self.stdin, self.stdout):
                if not f.closed:
                    os.dup2(nowhere, f.fileno(), inheritable=False)
            os.close(nowhere)
            _left.append(self)


_left: list[Child] = []  # children of the processes that this one was forked from


def failure(code: int, stderr: str) -> Error | None:
    if code == 0:
        return None
    lines = [line for line in stderr.strip().split("\n") if line and not line.startswith("warning:")]
    text = "\n".join(lines).removeprefix("vaultpack: ").strip()
    if code < 0:
        return ChildError(f"the vaultpack command was killed by signal {-code}")
    if 'no command "handover"' in text:
        return ChildError(f"the command {command()} is too old for this package")
    if code == 1 and any(what in text for what in ("no such dataset", "no such version", "there is no vault")):
        return NotFound(text)
    return from_code(code, text or f"the vaultpack command has ended with code {code}")


def flags(**options: Any) -> list[str]:
    """Flags of the command for options that are set: vault="x" is --vault=x."""
    out = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        flag = "--" + name.replace("_", "-")
        out.append(flag if value is True else f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return out
