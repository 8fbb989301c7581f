"""Libraries of others that read and write through fsspec: those that are installed."""

from __future__ import annotations

import importlib.util
import io
import tempfile
import unittest
from pathlib import Path

import vaultpack
from vaultpack.files import PIECE

from . import vault


def found(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@unittest.skipUnless(found("fsspec"), "fsspec is not installed")
class Formats(unittest.TestCase):
    """Each reads what it has itself written, sealed meanwhile, as vault:// and as it reads anything else."""

    @classmethod
    def setUpClass(cls) -> None:
        import fsspec
        from fsspec.registry import register_implementation

        vault.home()
        register_implementation("vault", "vaultpack.fs.VaultFileSystem", clobber=True)
        cls.fs = fsspec.filesystem("vault")

    def sealed(self, name: str, make: object) -> None:
        """A dataset of what make writes into a folder."""
        with tempfile.TemporaryDirectory() as tmp:
            make(Path(tmp))  # type: ignore[operator]
            vault.run("push", "-q", "-d", name, tmp)

    @unittest.skipUnless(found("pandas"), "pandas is not installed")
    def test_pandas(self) -> None:
        import pandas

        df = pandas.DataFrame({"a": range(1000), "b": [i / 7 for i in range(1000)], "c": ["ä,\n\"" + str(i) for i in range(1000)]})

        def make(root: Path) -> None:
            df.to_csv(root / "t.csv", index=False)
            df.to_csv(root / "t.csv.gz", index=False)
            df.to_json(root / "t.jsonl", orient="records", lines=True, double_precision=15)
            df.to_pickle(root / "t.pkl")

        self.sealed("pandas", make)
        for read in (
            lambda: pandas.read_csv("vault://pandas@1/t.csv"),
            lambda: pandas.read_csv("vault://pandas/t.csv.gz"),
            lambda: pandas.read_json("vault://pandas/t.jsonl", lines=True),
            lambda: pandas.read_pickle("vault://pandas/t.pkl"),
            lambda: pandas.concat(pandas.read_csv("vault://pandas/t.csv", chunksize=100), ignore_index=True),
        ):
            pandas.testing.assert_frame_equal(read(), df)
        with self.assertRaises(FileNotFoundError):
            pandas.read_csv("vault://pandas/nope.csv")
        with self.assertRaises(ValueError):
            df.to_csv("vault://pandas/new.csv")
        with self.assertRaises(vaultpack.NotFound):
            pandas.read_csv("vault://nope/t.csv")

    @unittest.skipUnless(found("pandas") and (found("pyarrow") or found("fastparquet")), "neither pyarrow nor fastparquet is installed")
    def test_parquet(self) -> None:
        import pandas

        df = pandas.DataFrame({"a": range(1000), "b": [i / 7 for i in range(1000)]})
        self.sealed("parquet", lambda root: df.to_parquet(root / "t.parquet", row_group_size=100))
        pandas.testing.assert_frame_equal(pandas.read_parquet("vault://parquet/t.parquet"), df)
        pandas.testing.assert_frame_equal(pandas.read_parquet("vault://parquet/t.parquet", columns=["b"]), df[["b"]])

    @unittest.skipUnless(found("zarr"), "zarr is not installed")
    def test_zarr(self) -> None:
        import numpy
        import zarr

        a = numpy.arange(200 * 300, dtype="f4").reshape(200, 300)

        def make(root: Path) -> None:
            g = zarr.open_group(str(root / "g.zarr"), mode="w")
            g.create_dataset("a", data=a, chunks=(50, 100))

        self.sealed("zarr", make)
        g = zarr.open_group(self.fs.get_mapper("zarr@1/g.zarr"), mode="r")
        self.assertTrue((g["a"][:] == a).all())
        self.assertTrue((g["a"][60:70, 5:7] == a[60:70, 5:7]).all())

    @unittest.skipUnless(found("numpy"), "numpy is not installed")
    def test_numpy(self) -> None:
        import numpy

        a = numpy.arange(100_000).reshape(100, 1000)
        self.sealed("numpy", lambda root: numpy.savez(root / "a.npz", a=a, b=a[:3]))
        with vaultpack.open("numpy").open("a.npz") as f, numpy.load(f) as z:
            self.assertTrue((z["a"] == a).all() and (z["b"] == a[:3]).all())

    @unittest.skipUnless(found("h5py"), "h5py is not installed")
    def test_hdf5(self) -> None:
        import h5py
        import numpy

        a = numpy.arange(100_000).reshape(100, 1000)

        def make(root: Path) -> None:
            with h5py.File(root / "a.h5", "w") as f:
                f.create_dataset("a", data=a, chunks=(10, 100), compression="gzip")

        self.sealed("hdf5", make)
        with vaultpack.open("hdf5").open("a.h5") as f, h5py.File(f, "r") as h:
            self.assertTrue((h["a"][30:50, 7] == a[30:50, 7]).all())

    @unittest.skipUnless(found("PIL"), "PIL is not installed")
    def test_images(self) -> None:
        from PIL import Image

        self.sealed("png", lambda root: (root / "x.png").write_bytes((vault.REPOSITORY / "testdata/dataset/3/0003.png").read_bytes()))
        with vaultpack.open("png").open("x.png") as f, Image.open(f) as i:
            self.assertEqual((i.format, i.load()[0, 0] >= 0), ("PNG", True))

    @unittest.skipUnless(found("pyarrow"), "pyarrow is not installed")
    def test_pyarrow(self) -> None:
        import pyarrow
        import pyarrow.dataset
        import pyarrow.parquet

        t = pyarrow.table({"a": list(range(1000))})
        self.sealed("arrow", lambda root: pyarrow.parquet.write_table(t, root / "t.parquet"))
        self.assertTrue(pyarrow.dataset.dataset("arrow/t.parquet", filesystem=self.fs).to_table().equals(t))

    @unittest.skipUnless(found("duckdb"), "DuckDB is not installed")
    def test_duckdb(self) -> None:
        import duckdb

        self.sealed("duck", lambda root: (root / "t.csv").write_text("a\n1\n2\n"))
        c = duckdb.connect()
        c.register_filesystem(self.fs)
        self.assertEqual(c.execute("select sum(a) from 'vault://duck/t.csv'").fetchall(), [(3,)])

    @unittest.skipUnless(found("datasets"), "the datasets of Hugging Face are not installed")
    def test_hugging_face(self) -> None:
        import datasets

        self.sealed("hf", lambda root: (root / "t.jsonl").write_text('{"a": 1}\n{"a": 2}\n'))
        got = datasets.load_dataset("json", data_files="vault://hf/t.jsonl", split="train", streaming=True)
        self.assertEqual([r["a"] for r in got], [1, 2])

    def test_only_what_is_read(self) -> None:
        """A small read of a large file fetches a small part of it."""
        ds = vaultpack.open("scans")
        asked: list[int] = []
        read = ds._contents.store.read

        def counted(requests: object) -> object:
            parts = list(requests)  # type: ignore[call-overload]
            asked.extend(n for _, _, n in parts)
            return read(parts)

        ds._contents.store.read = counted  # type: ignore[method-assign,assignment]
        want = (vault.home() / "scans/large.bin").read_bytes()
        with ds.open("large.bin") as f:
            f.seek(3_000_000)
            self.assertEqual(f.read(10), want[3_000_000:3_000_010])
        self.assertLess(sum(asked), 200_000)
        with self.fs.open("scans@2/large.bin") as g:
            g._version._contents.store.read = counted
            g.seek(4_000_000)
            self.assertEqual(g.read(10), want[4_000_000:4_000_010])
        self.assertLess(sum(asked), 400_000)
        self.assertEqual(ds._contents.part(ds.entry("large.bin"), 0, len(want)), want)
        self.assertLess(max(asked), PIECE + (1 << 20))  # and not more than the command answers with
        self.assertEqual(io.BytesIO(ds.read("large.bin")).getvalue(), want)


if __name__ == "__main__":
    unittest.main()
