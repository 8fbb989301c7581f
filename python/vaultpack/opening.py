"""How a version is opened.

The vaultpack command opens it: it checks the signatures and what it remembers of the dataset,
and calls the key services. It hands over what the version holds, and keyrings with a slot for a
local key that was made here for this once and passed through a pipe. So there is one
implementation of whom to believe, and no data key is written anywhere. Of a vault that is no
folder, the command then reads packs, as they are sealed.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence

from .child import Child, flags
from .entries import Entry, Pack, from_json
from .errors import ChildError

if TYPE_CHECKING:
    from . import keyring
    from .dataset import Dataset


def open(
    vault: str | os.PathLike[str],
    ref: str | None = None,
    *,
    digest: str | None = None,
    at_least: int | None = None,
    local_key: str | os.PathLike[str] | None = None,
    identity: str | os.PathLike[str] | None = None,
    passphrase_file: str | os.PathLike[str] | None = None,
    kms_key: str | None = None,
    sse: str | None = None,
) -> Dataset:
    """Opens a version: open("s3://bucket/ml", "scans@3"), or open("scans") in the vault that the
    command finds. A reference is DATASET, DATASET@NUMBER or DATASET@TAG, with #DIGEST or without.
    The other arguments are the command's flags, and need not be given where its settings say them."""
    where = None
    if ref is None:
        ref = os.fspath(vault)
    else:
        where = os.fspath(vault)
    keys = flags(local_key=local_key, identity=identity, passphrase_file=passphrase_file)
    at = flags(vault=where, sse=sse, kms_key=kms_key)
    child = Child(["handover", "version", *at, *keys, *flags(digest=digest, at_least=at_least), "--", ref])
    kept = False
    try:
        from . import keyring  # these take their time; the command starts meanwhile

        one = keyring.LocalKey.generate()
        try:
            child.stdin.write(one.text())
            child.stdin.flush()
        except BrokenPipeError:
            pass  # it says why
        got = Handover()
        got.read(child.stdout)
        if not got.ended or got.in_folder:
            if failed := child.end():
                raise failed
        options = {"local_key": local_key, "identity": identity, "passphrase_file": passphrase_file, "kms_key": kms_key, "sse": sse}
        ds = got.dataset(one, at, child, {k: v for k, v in options.items() if v is not None})
        kept = not got.in_folder
        return ds
    finally:
        if not kept:
            child.kill()


class Handover:
    """What the command hands over."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.entries: list[Entry] = []
        self.packs: list[Pack] = []
        self.keyrings: list[str] | None = None
        self.count = 0
        self.ended = False

    def read(self, lines: Iterable[bytes]) -> None:
        """Reads to the last line, or as far as there is something that can be read."""
        try:
            for line in lines:
                self._line(json.loads(line))
                if self.keyrings is not None:
                    break
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # it was cut short
        self.ended = bool(self.head) and self.keyrings is not None and self.count == len(self.entries)

    def _line(self, v: dict[str, Any]) -> None:
        if "pack" in v:
            self.packs.append(Pack(v["pack"], v["key_id"], v["size"]))
        elif "end" in v:
            self.keyrings, self.count = v["keyrings"] or [], v["entries"]
        elif "format" in v:
            if v["format"] != "vaultpack-handover/1":
                raise ChildError("the vaultpack command is of another release than this package")
            self.head = v
        else:
            self.entries.append(from_json(v))

    @property
    def in_folder(self) -> bool:
        """Whether the vault is a folder, which is read without the command."""
        return "://" not in self.head["vault"]

    def dataset(self, one: keyring.LocalKey, at: Sequence[str], child: Child | None, options: Mapping[str, Any]) -> Dataset:
        """The version. The child reads packs for it, if the vault is no folder."""
        from . import keyring
        from .dataset import Dataset
        from .store import ChildStore, DirStore, Store

        if not self.ended:
            raise ChildError("the vaultpack command has ended before it had told everything")
        keys = {}
        for ring in self.keyrings or ():
            key = keyring.parse(ring.encode()).unwrap(self.head["context"], [one])
            keys[key.id.hex()] = key
        name, vault = self.head["dataset"], self.head["vault"]
        store: Store = DirStore(vault, name) if self.in_folder else ChildStore(name, at, child)
        return Dataset(self.head, self.entries, self.packs, keys, store, options)
