"""Tables and samples as versions: push."""

from __future__ import annotations

import io
import json
import math
import os
from itertools import chain
from typing import Any, Iterable, Iterator, Mapping, NamedTuple

from .errors import UsageError
from .writing import Writer, writer

ROWS = 100_000  # of a shard, unless it is told
SHARD = 64 << 20  # bytes of JSON, after which a shard ends in any case


class Pushed(NamedTuple):
    """The version that push has made."""

    dataset: str
    version: int
    digest: str
    rows: int


def push(
    data: Any,
    dataset: str,
    vault: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    rows_per_shard: int = ROWS,
    **keys: Any,
) -> Pushed:
    """Makes a version of a table or of samples: push(df, "features").

    data is a DataFrame of pandas, or dicts. Dicts with a "__key__" are samples, whose fields are bytes or text, as a
    stream of samples gives them. Anything else is a table, in files of rows_per_shard rows: part-00000.parquet and so on,
    or part-00000.jsonl. format is "parquet" or "jsonl"; without it, a DataFrame is Parquet, which keeps
    its types, and dicts are lines of JSON. The version has nothing else in it. keys are those of vaultpack.writer."""
    if isinstance(rows_per_shard, bool) or not isinstance(rows_per_shard, int) or rows_per_shard < 1:
        raise UsageError(f"rows_per_shard must be a positive integer, not {rows_per_shard!r}")
    if format not in (None, "parquet", "jsonl"):
        raise UsageError(f'format must be "parquet" or "jsonl", not {format!r}')
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        if "__key__" in data.columns and not format:
            return _push_samples(_records(_checked(data)), dataset, vault, keys)
        frame = _checked(data)
        parts: Iterable[tuple[int, bytes]] = _parquet(frame, rows_per_shard) if format != "jsonl" else _lines(_records(frame), rows_per_shard)
        return _push(dataset, vault, keys, ((n, f"part-{i:05d}.{format or 'parquet'}", b) for i, (n, b) in enumerate(parts)))
    if isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
        raise UsageError(f"push takes a DataFrame or dicts, not {type(data).__name__}; to push files, use vaultpack.writer")
    rows = iter(data)
    first = next(rows, None)
    rows = chain([] if first is None else [first], rows)
    if isinstance(first, Mapping) and "__key__" in first:
        if format:
            raise UsageError(f"dicts with a __key__ are samples, which are files of their own, and not {format}")
        return _push_samples(rows, dataset, vault, keys)
    if format == "parquet":
        frame = _checked(_pandas().DataFrame.from_records(list(rows)))
        return push(frame, dataset, vault, format=format, rows_per_shard=rows_per_shard, **keys)
    named = ((n, f"part-{i:05d}.jsonl", b) for i, (n, b) in enumerate(_lines(rows, rows_per_shard)))
    return _push(dataset, vault, keys, named)


def _push(dataset: str, vault: Any, keys: Mapping[str, Any], parts: Iterable[tuple[int, str, bytes]]) -> Pushed:
    rows = 0
    with writer(dataset, vault, mode="anew", **keys) as w:
        for n, name, contents in parts:
            w.write(name, contents)
            rows += n
        _not_empty(rows)
    return _pushed(dataset, w, rows)


def _push_samples(samples: Iterable[Any], dataset: str, vault: Any, keys: Mapping[str, Any]) -> Pushed:
    seen: set[str] = set()
    with writer(dataset, vault, mode="anew", **keys) as w:
        for i, s in enumerate(samples):
            key = s.get("__key__") if isinstance(s, Mapping) else None
            if not isinstance(key, str) or not key:
                raise UsageError(f"sample {i}: it has no __key__, and the first one has")
            if key in seen:
                raise UsageError(f"sample {i}: there are two of the key {key!r}")
            seen.add(key)
            for name, contents in s.items():
                if not isinstance(name, str) or not isinstance(contents, (bytes, str)):
                    raise UsageError(f"sample {i}, {key!r}: the field {name!r} is neither bytes nor text: {type(contents).__name__}")
            w.write_sample(key, s)
        _not_empty(len(seen))
    return _pushed(dataset, w, len(seen))


def _not_empty(rows: int) -> None:
    if not rows:
        raise UsageError("there are no rows: no version was made")


def _pushed(dataset: str, w: Writer, rows: int) -> Pushed:
    assert w.version is not None and w.digest is not None
    return Pushed(dataset, w.version, w.digest, rows)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise UsageError('Parquet takes the packages pandas and pyarrow; format="jsonl" takes none') from None
    return pandas


def _checked(frame: Any) -> Any:
    """The frame, with an index that says something among its columns."""
    names = list(frame.columns)
    if any(not isinstance(n, str) for n in names) or len(set(names)) < len(names):
        raise UsageError("the columns of the frame must have names, each once")
    plain = type(frame.index).__name__ == "RangeIndex" and frame.index.name is None
    if plain:
        return frame
    try:
        return frame.reset_index()
    except ValueError as err:
        raise UsageError(f"the index of the frame cannot become a column: {err}") from None


def _parquet(frame: Any, rows: int) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(frame), rows):
        part = frame.iloc[at : at + rows]
        out = io.BytesIO()
        try:
            part.to_parquet(out, index=False)
        except ImportError:
            raise UsageError('Parquet takes the package pyarrow, which is not installed: pip install pyarrow, or push(…, format="jsonl")') from None
        yield len(part), out.getvalue()


def _records(frame: Any, step: int = 10_000) -> Iterator[dict[str, Any]]:
    for at in range(0, len(frame), step):
        yield from frame.iloc[at : at + step].to_dict("records")


def _lines(rows: Iterable[Any], per_shard: int) -> Iterator[tuple[int, bytes]]:
    lines: list[bytes] = []
    size = 0
    for i, row in enumerate(rows):
        lines.append(_line(i, row))
        size += len(lines[-1])
        if len(lines) == per_shard or size >= SHARD:
            yield len(lines), b"".join(lines)
            lines, size = [], 0
    if lines:
        yield len(lines), b"".join(lines)


def _line(i: int, row: Any) -> bytes:
    if not isinstance(row, Mapping):
        raise UsageError(f"row {i} is no dict: {type(row).__name__}")
    if "__key__" in row:
        raise UsageError(f"row {i} is a sample, with a __key__, and the first one is not")
    out = {}
    for name, value in row.items():
        if not isinstance(name, str):
            raise UsageError(f"row {i}: the name {name!r} is no text")
        try:
            out[name] = _plain(value)
        except TypeError as err:
            raise UsageError(f'row {i}, {name!r}: {err}; Parquet may hold it: format="parquet"') from None
    return json.dumps(out, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    """A value as JSON has it. What is missing is null, and times are in ISO 8601."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            raise TypeError(f"JSON has no number {value!r}")
        return float(value)
    if isinstance(value, Mapping):
        if any(not isinstance(k, str) for k in value):
            raise TypeError("a name that is no text")
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__name__ == "datetime64":  # whose tolist may be a bare number
        return None if str(value) == "NaT" else str(value)
    if hasattr(value, "tolist"):  # of numpy: a scalar, or an array
        got = value.tolist()
        if type(got) is not type(value):
            return _plain(got)
    raise TypeError(f"JSON cannot hold a value of the type {type(value).__name__}")
