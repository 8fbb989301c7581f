"""What notebooks show, and what push makes of tables."""

from __future__ import annotations

import base64
import datetime
import importlib.util
import io
import json
import math
import unittest
from html.parser import HTMLParser
from typing import Any

import vaultpack
from vaultpack import frames

from . import vault

PNG = (vault.REPOSITORY / "testdata/dataset/3/0003.png").read_bytes()
EVIL = '<script>alert("x")</script>'


def found(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[str] = []
        text.encode()  # a notebook could not send it otherwise
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"])


class Notebook(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        vault.home()
        with vaultpack.writer("shown") as w:
            w.write_sample(f"a/{EVIL[:8]}1".replace("/", "_"), {"png": PNG, "txt": EVIL, "bin": bytes(5000), "svg": b"<svg onload=alert(1)/>"})
            w.write(b"\xff<b>.txt", "x")
            w.write("gone<i>", "1")
            w.write("same", "1")
        with vaultpack.writer("shown", mode="update") as w:
            w.write(b"\xff<b>.txt", "yy")
            w.write("new<u>", "1")
            w.remove("gone<i>")
        cls.ds = vaultpack.open("shown")

    def test_sample(self) -> None:
        s = next(x for x in self.ds.samples() if "png" in x)
        self.assertEqual(s["png"], PNG)
        self.assertIsInstance(s, dict)
        page = Tags(s._repr_html_())
        self.assertEqual(set(page.tags), {"table", "caption", "tr", "th", "td", "img", "pre"})
        self.assertEqual([base64.b64decode(i.removeprefix("data:image/png;base64,")) for i in page.images], [PNG])
        self.assertEqual((s._repr_png_(), s._repr_jpeg_()), (PNG, None))
        self.assertIn("5,000 bytes", s._repr_html_())

    def test_whatever_a_sample_has(self) -> None:
        values: list[Any] = [EVIL, EVIL.encode(), None, 1, [EVIL], b"\xff\xd8\xff" + b"x" * 10, b"GIF89a", b"RIFF1234WEBPxx", b"\x89PNG", b"",
                             PNG + bytes(5 << 20), "\udcff", {EVIL: EVIL}]  # fmt: skip
        for v in values:
            for s in (vaultpack.Sample({"__key__": EVIL, EVIL: v}), vaultpack.Sample({"png": v})):
                page = Tags(s._repr_html_())
                self.assertLessEqual(set(page.tags), {"table", "caption", "tr", "th", "td", "img", "pre"})
                self.assertLess(len(s._repr_html_()), 10_000)
                s._repr_png_()

    def test_diff(self) -> None:
        d = self.ds.diff(1)
        self.assertEqual((d.added, d.removed, d.changed), (["new<u>"], ["gone<i>"], ["\udcff<b>.txt"]))
        self.assertIn("1 added, 1 removed, 1 changed", repr(d))
        self.assertEqual(set(Tags(d._repr_html_()).tags), {"table", "caption", "tr", "th", "td", "br"})
        self.assertEqual(vaultpack.open("shown@1").diff(2).added, ["gone<i>"])
        for bad in (0, -1, True, "1", None):
            with self.assertRaises(vaultpack.UsageError):
                self.ds.diff(bad)
        with self.assertRaises(vaultpack.NotFound):
            self.ds.diff(77)

    def test_dataset(self) -> None:
        self.assertLessEqual(set(Tags(self.ds._repr_html_()).tags), {"table", "caption", "tr", "th", "td"})

    def test_sibling(self) -> None:
        self.assertEqual(self.ds.sibling("scans@1").read("note.txt"), b"first")

    @unittest.skipUnless(found("matplotlib"), "matplotlib is not installed")
    def test_plot(self) -> None:
        for ref in ("shown", "scans"):
            figure = vaultpack.open(ref).plot()
            out = io.BytesIO()
            figure.savefig(out, format="png")
            self.assertTrue(out.getvalue().startswith(b"\x89PNG"))
            sizes, classes = figure.axes
            self.assertEqual(sum(p.get_height() for p in sizes.patches), len(vaultpack.open(ref)))
            self.assertEqual(sum(p.get_width() for p in classes.patches), len(vaultpack.open(ref)))

    def test_no_matplotlib(self) -> None:
        import sys

        kept = {n: sys.modules.pop(n) for n in list(sys.modules) if n.partition(".")[0] == "matplotlib"}
        sys.modules["matplotlib"] = None  # type: ignore[assignment]
        try:
            with self.assertRaisesRegex(vaultpack.UsageError, "matplotlib"):
                self.ds.plot()
        finally:
            del sys.modules["matplotlib"]
            sys.modules.update(kept)

    @unittest.skipUnless(found("IPython"), "IPython is not installed")
    def test_in_ipython(self) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        shell = InteractiveShell.instance()
        s = next(x for x in self.ds.samples() if "png" in x)
        data, _ = shell.display_formatter.format(s)
        self.assertEqual(base64.b64decode(data["image/png"]) if isinstance(data["image/png"], str) else data["image/png"], PNG)
        self.assertIn("<img", data["text/html"])
        self.assertIn("<table>", shell.display_formatter.format(self.ds)[0]["text/html"])


def lines(ds: vaultpack.Dataset) -> list[Any]:
    return [json.loads(line) for name in ds.list() for line in ds.read(name).splitlines()]


class Push(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        vault.home()

    def test_dicts(self) -> None:
        when = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)
        rows = [{"i": i, "x": 0.1 + i, "t": "ä\n\u2028", "n": None, "when": when, "deep": {"a": [1, (2,)]}, "no": math.nan, "b": True} for i in range(25)]
        p = vaultpack.push(iter(rows), "table", rows_per_shard=10)
        ds = vaultpack.open("table")
        self.assertEqual((p.version, p.digest, p.rows), (ds.number, ds.digest, 25))
        self.assertEqual(ds.list(), ["part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl"])
        want = [{**r, "when": when.isoformat(), "deep": {"a": [1, [2]]}, "no": None} for r in rows]
        self.assertEqual(lines(ds), want)
        vaultpack.push([{"a": 1}], "table")  # what an earlier version had more of is gone
        self.assertEqual(vaultpack.open("table").list(), ["part-00000.jsonl"])

    def test_samples(self) -> None:
        """What a stream gives can be pushed again, and is the same."""
        rows = list(vaultpack.open("scans").samples())
        vaultpack.push(rows, "again")
        got = vaultpack.open("again")
        self.assertEqual({s["__key__"]: s for s in got.samples()}, {s["__key__"]: s for s in rows})

    def test_refused(self) -> None:
        """Nothing is made of what cannot be kept as it is."""
        class Other:
            pass

        bad: list[Any] = [
            [], {}, {"a": 1}, "text", b"x", 5, None, [1], [{"a": Other()}], [{"a": b"x"}], [{"a": math.inf}], [{1: 2}], [{"a": {1: 2}}], [{"a": 1}, 2],
            [{"__key__": "a", "x": 1}], [{"__key__": ""}], [{"__key__": "a", "x": b""}] * 2, [{"__key__": "a", "x": b""}, {"x": b""}],
            [{"a": 1}, {"__key__": "a"}], [{"__key__": "../a", "x": b""}],
        ]  # fmt: skip
        for data in bad:
            with self.subTest(data), self.assertRaises(vaultpack.Error):
                vaultpack.push(data, "refused")
        for o in ({"format": "csv"}, {"rows_per_shard": 0}, {"rows_per_shard": True}, {"nonsense": 1}):
            with self.subTest(o), self.assertRaises(vaultpack.UsageError):
                vaultpack.push([{"a": 1}], "refused", **o)
        with self.assertRaises(vaultpack.NotFound):
            vaultpack.open("refused")

    def test_shards_are_bounded(self) -> None:
        kept, frames.SHARD = frames.SHARD, 64 << 10
        self.addCleanup(setattr, frames, "SHARD", kept)
        parts = list(frames._lines(({"x": "y" * 1024} for _ in range(150)), 10**9))
        self.assertEqual([n for n, _ in parts], [64, 64, 22])

    @unittest.skipUnless(found("pandas"), "pandas is not installed")
    def test_frame(self) -> None:
        import numpy
        import pandas

        df = pandas.DataFrame({"i": numpy.arange(7, dtype="int8"), "f": [0.1, math.nan, 1e300, -0.0, 1 / 3, 2.0, 3.0], "s": list("abcdefg"),
                               "t": pandas.to_datetime(["2024-01-01"] * 6 + [None]), "b": [True] * 7})  # fmt: skip
        vaultpack.push(df, "frame", format="jsonl", rows_per_shard=3)
        got = vaultpack.open("frame")
        self.assertEqual(len(got), 3)
        self.assertEqual([r["i"] for r in lines(got)], list(range(7)))
        self.assertEqual([r["f"] for r in lines(got)][2:], [1e300, -0.0, 1 / 3, 2.0, 3.0])
        self.assertEqual([lines(got)[k]["f"] for k in (0, 1)], [0.1, None])
        self.assertEqual([r["t"] for r in lines(got)], ["2024-01-01T00:00:00"] * 6 + [None])
        vaultpack.push(df.set_index("s"), "frame", format="jsonl")
        self.assertEqual([r["s"] for r in lines(vaultpack.open("frame"))], list("abcdefg"))
        read = pandas.read_json(io.BytesIO(vaultpack.open("frame").read("part-00000.jsonl")), lines=True)
        self.assertEqual(read["i"].tolist(), df["i"].tolist())
        for bad in (pandas.DataFrame([[1, 2]], columns=["a", "a"]), pandas.DataFrame([[1]]), df[:0]):
            with self.assertRaises(vaultpack.UsageError):
                vaultpack.push(bad, "refused", format="jsonl")
        images = pandas.DataFrame({"__key__": ["a/1", "a/2"], "png": [PNG, PNG]})
        vaultpack.push(images, "images-frame")
        self.assertEqual(vaultpack.open("images-frame").read("a/1.png"), PNG)
        if found("pyarrow") or found("fastparquet"):
            vaultpack.push(df, "frame")
            back = pandas.read_parquet(io.BytesIO(vaultpack.open("frame").read("part-00000.parquet")))
            pandas.testing.assert_frame_equal(back, df)
        else:
            print("LEFT OUT: Parquet: neither pyarrow nor fastparquet is installed")
            with self.assertRaisesRegex(vaultpack.UsageError, "pyarrow"):
                vaultpack.push(df, "refused")


if __name__ == "__main__":
    unittest.main()
