"""What notebooks show: tables, images, changes between versions, and plots. Whatever comes from a
dataset is escaped: a name of a file is no HTML."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Iterable, Mapping, NamedTuple

from .child import Child
from .errors import ChildError, UsageError

if TYPE_CHECKING:
    from .dataset import Dataset

_IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF87a": "image/gif", b"GIF89a": "image/gif"}
MAX_IMAGE = 4 << 20  # a larger one is not shown in the page
MAX_TEXT = 400
MAX_ROWS = 50


def image_type(contents: object) -> str | None:
    """The type of an image, by its first bytes. SVG is none: it can hold scripts."""
    if not isinstance(contents, bytes):
        return None
    if contents[:4] == b"RIFF" and contents[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _IMAGES.items() if contents.startswith(magic)), None)


def escaped(text: str) -> str:
    """Text as HTML. Bytes of a name that are no UTF-8 are U+FFFD."""
    return html.escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def table(rows: Iterable[tuple[str, str]], caption: str) -> str:
    """A table of escaped names, and of values that are HTML already."""
    body = "".join(f"<tr><th>{escaped(k)}</th><td>{v}</td></tr>" for k, v in rows)
    return f"<table><caption>{escaped(caption)}</caption>{body}</table>"


def _shown(value: object) -> str:
    """A field of a sample, as HTML."""
    kind = image_type(value)
    if isinstance(value, bytes):
        if kind and len(value) <= MAX_IMAGE:
            return f'<img src="data:{kind};base64,{base64.b64encode(value).decode()}">'
        if len(value) <= MAX_TEXT:
            try:
                text = value.decode()
            except UnicodeDecodeError:
                text = ""
            if text and (text.isprintable() or "\n" in text and text.replace("\n", "").isprintable()):
                return f"<pre>{escaped(text)}</pre>"
        return f"{len(value):,} bytes"
    text = repr(value)
    return escaped(text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…")


class Sample(dict):  # type: ignore[type-arg]
    """A sample: a dict that a notebook shows with its images."""

    def _repr_html_(self) -> str:
        rows = [(str(k), _shown(v)) for k, v in self.items() if k != "__key__"]
        return table(rows, str(self.get("__key__", "sample")))

    def _image(self, kind: str) -> bytes | None:
        return next((v for v in self.values() if image_type(v) == kind and len(v) <= MAX_IMAGE), None)

    def _repr_png_(self) -> bytes | None:
        return self._image("image/png")

    def _repr_jpeg_(self) -> bytes | None:
        return self._image("image/jpeg")


class Diff(NamedTuple):
    """What changed from one version to another: paths."""

    earlier: str
    later: str
    added: list[str]
    removed: list[str]
    changed: list[str]

    def __repr__(self) -> str:
        return (f"<vaultpack.Diff from {self.earlier} to {self.later}: {len(self.added)} added, {len(self.removed)} removed, "
                f"{len(self.changed)} changed>")  # fmt: skip

    def _repr_html_(self) -> str:
        def paths(p: list[str]) -> str:
            more = f"<br>and {len(p) - MAX_ROWS:,} more" if len(p) > MAX_ROWS else ""
            return f"{len(p):,}<br>" + "<br>".join(escaped(x) for x in p[:MAX_ROWS]) + more

        rows = [(name, paths(getattr(self, name))) for name in ("added", "removed", "changed")]
        return table(rows, f"{self.earlier} → {self.later}")


def diff(earlier: str, later: str, flags: Iterable[str]) -> Diff:
    """What changed, as the command's diff tells it."""
    name, _, number = later.rpartition("@")
    child = Child(["diff", "--json", *flags, "--", earlier, number])
    out = Diff(earlier, later, [], [], [])
    events: dict[str, list[str]] = {"added": out.added, "removed": out.removed, "changed": out.changed}
    summary: Mapping[str, Any] | None = None
    try:
        child.stdin.close()
        for line in child.stdout:
            v = json.loads(line)
            if v["event"] in events:
                exact = base64.b64decode(v["path_base64"]) if "path_base64" in v else v["path"].encode()
                events[v["event"]].append(exact.decode("utf-8", "surrogateescape"))
            elif v["event"] == "summary":
                summary = v
        if failed := child.end():
            raise failed
    except (ValueError, KeyError):
        summary = None
    finally:
        child.kill()
    if summary is None or any(summary[what] != len(paths) for what, paths in events.items()):
        raise ChildError("the vaultpack command has ended before it had told everything")
    return out


def plot(ds: Dataset) -> Any:
    """A figure of matplotlib: how large the files are, and how many each folder has."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plot takes the package matplotlib, which is not installed: pip install matplotlib") from None
    files = ds.files()
    figure = Figure(figsize=(10, 4), layout="tight") if files else Figure()
    if not files:
        return figure
    sizes, classes = figure.subplots(1, 2)
    steps = Counter(f.size.bit_length() for f in files)
    bits = range(min(steps), max(steps) + 1)
    sizes.bar(range(len(bits)), [steps[b] for b in bits])
    sizes.set_xticks(range(len(bits)), [_size(b) for b in bits], rotation=45)
    sizes.set(title=f"{ds.reference}: sizes of files", xlabel="less than", ylabel="files")
    folders = Counter(f.name.rpartition("/")[0] or "." for f in files).most_common()
    more = sum(n for _, n in folders[20:])
    shown = sorted(folders[:20]) + ([(f"{len(folders) - 20} others", more)] if more else [])
    classes.barh(range(len(shown)), [n for _, n in shown])
    # A dollar sign begins a formula, which a name of a folder is not.
    classes.set_yticks(range(len(shown)), [_plain(name) for name, _ in shown])
    classes.invert_yaxis()
    classes.set(title="files by folder", xlabel="files")
    return figure


def _plain(name: str) -> str:
    name = name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")
    return name if len(name) <= 40 else "…" + name[-39:]


def _size(bits: int) -> str:
    if bits == 0:
        return "1 B"
    n, unit = 1 << bits, "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024:
            break
        n >>= 10
    return f"{n} {unit}"
