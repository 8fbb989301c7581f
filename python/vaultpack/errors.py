"""Exceptions, one for each exit code of the vaultpack command.

| exception           | exit code | when                                              |
|---------------------|-----------|---------------------------------------------------|
| Error               | 1         | anything else: its subclasses, too                |
| UsageError          | 2         | an argument that cannot be meant                  |
| SomeFailed          | 3         | some files failed, the rest is safe               |
| AuthenticationError | 4         | tampering, a rollback, other signers, a wrong key |
| NotAllowed          | 5         | a permission is missing                           |
| Interrupted         | 130       | the command was interrupted                       |
"""

from __future__ import annotations


class Error(Exception):
    """What vaultpack raises. `code` is the exit code of the command for it."""

    code = 1


class UsageError(Error, ValueError):
    code = 2


class SomeFailed(Error):
    """Some files could not be read or written, and the rest is safe."""

    code = 3


class AuthenticationError(Error):
    """Data was changed or removed, or the key is wrong. It says nothing more on purpose."""

    code = 4


class NotAllowed(Error, PermissionError):
    code = 5


class Interrupted(Error):
    code = 130


class FormatError(AuthenticationError):
    """These bytes are not of this format at all, which shows before any key is used."""


class NoKeyError(AuthenticationError):
    """No key that is at hand opens this."""


class NotFound(Error, FileNotFoundError):
    """The dataset, version or file does not exist."""


class ChildError(Error):
    """The vaultpack command is not there, too old, or has ended without an answer."""


_BY_CODE: dict[int, type[Error]] = {c.code: c for c in (Error, UsageError, SomeFailed, AuthenticationError, NotAllowed, Interrupted)}


def from_code(code: int, message: str) -> Error:
    """The exception for an exit code of the command."""
    return _BY_CODE.get(code, ChildError)(message)
