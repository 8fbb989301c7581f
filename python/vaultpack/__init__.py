"""Sealed datasets in Python.

>>> import vaultpack
>>> ds = vaultpack.open("s3://bucket/ml", "scans@3")
>>> ds.read("train/0001.png")

See docs/PYTHON.md. Modules are loaded when they are used: `import vaultpack.NAME` needs
what that module needs and nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    AuthenticationError,
    ChildError,
    Error,
    FormatError,
    Interrupted,
    NoKeyError,
    NotAllowed,
    NotFound,
    SomeFailed,
    UsageError,
)

__version__ = "0.1.0"

# Where the names of this package are, which are imported on first use.
_LAZY = {
    "Dataset": "dataset",
    "Entry": "entries",
    "open": "opening",
    "Position": "samples",
    "merge": "samples",
    "SampleStream": "stream",
    "Diff": "notebook",
    "Pushed": "frames",
    "Sample": "notebook",
    "Writer": "writing",
    "push": "frames",
    "writer": "writing",
}

if TYPE_CHECKING:
    from .dataset import Dataset
    from .entries import Entry
    from .frames import Pushed, push
    from .notebook import Diff, Sample
    from .opening import open
    from .samples import Position, merge
    from .stream import SampleStream
    from .writing import Writer, writer

__all__ = [
    "AuthenticationError",
    "ChildError",
    "Dataset",
    "Diff",
    "Entry",
    "Error",
    "FormatError",
    "Interrupted",
    "NoKeyError",
    "NotAllowed",
    "NotFound",
    "Position",
    "Pushed",
    "Sample",
    "SampleStream",
    "SomeFailed",
    "UsageError",
    "Writer",
    "merge",
    "open",
    "push",
    "writer",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module("." + _LAZY[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
