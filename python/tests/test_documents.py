"""What docs/PYTHON.md shows works, and the wheel that is built works too."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

import vaultpack

from . import vault

PAGE = vault.REPOSITORY / "docs" / "PYTHON.md"


class Page(unittest.TestCase):
    def test_snippets(self) -> None:
        home = vault.home()
        shutil.copytree(vault.REPOSITORY / "testdata/dataset", home / "digits")
        vault.run("push", "-q", "digits")
        blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
        self.assertGreater(len(blocks), 6)
        names: dict[str, object] = {"__name__": "page"}
        if importlib.util.find_spec("fsspec"):
            from fsspec.registry import register_implementation

            register_implementation("vault", "vaultpack.fs.VaultFileSystem", clobber=True)
        ran = 0
        for code in blocks:
            missing = [m for m in ("torch", "fsspec") if re.search(rf"(import|from) (vaultpack\.)?{m}\b", code) and not importlib.util.find_spec(m)]
            if missing:
                print(f"LEFT OUT: a snippet of PYTHON.md that needs {missing[0]}")
                continue
            with self.subTest(code.split("\n")[0]), contextlib.redirect_stdout(io.StringIO()):
                exec(compile(code, "PYTHON.md", "exec"), names)
                ran += 1
        self.assertGreaterEqual(ran, 5)
        self.assertEqual(vaultpack.open("features").list("train"), ["1.cls", "1.npy"])

    def test_errors(self) -> None:
        """The table of exceptions is complete, and right about codes."""
        rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE.read_text(), re.M))
        for name in ("UsageError", "SomeFailed", "AuthenticationError", "NotAllowed", "Interrupted", "NotFound", "ChildError"):
            self.assertEqual(getattr(vaultpack, name).code, int(rows[name]), name)

    def test_lazy(self) -> None:
        """import vaultpack needs nothing but the standard library."""
        code = "import sys; sys.modules['cryptography'] = None; import vaultpack; print(vaultpack.__version__, dir(vaultpack)[0])"
        subprocess.run([sys.executable, "-c", code], cwd=vault.REPOSITORY / "python", check=True, capture_output=True)


class Wheel(unittest.TestCase):
    @unittest.skipUnless(importlib.util.find_spec("build") and importlib.util.find_spec("wheel"), "the packages build and wheel are not installed")
    def test_wheel(self) -> None:
        """Built twice it has the same bytes; in a venv of its own it has all modules, and opens a dataset."""
        home = vault.home()
        with tempfile.TemporaryDirectory() as tmp:
            made = []
            for i in range(2):
                source = Path(tmp, f"source{i}")
                shutil.copytree(vault.REPOSITORY / "python", source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "tests"))
                subprocess.run(
                    [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", f"{tmp}/dist{i}", source],
                    check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
                )  # fmt: skip
                made += Path(tmp, f"dist{i}").glob("*.whl")
            self.assertEqual(made[0].read_bytes(), made[1].read_bytes())
            venv = Path(tmp, "venv")
            subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", venv], check=True)
            subprocess.run([venv / "bin/python", "-m", "pip", "install", "-q", "--no-index", "--no-deps", made[0]], check=True)
            code = (
                "import vaultpack, importlib.metadata as m; assert 'site-packages' in vaultpack.__file__; "
                "assert [e.name for e in m.distribution('vaultpack').entry_points] == ['vault']; "
                "print(vaultpack.open('scans').read('note.txt').decode())"
            )
            env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            p = subprocess.run([venv / "bin/python", "-c", code], cwd=home, env=env, check=True, capture_output=True, text=True)
            self.assertEqual(p.stdout.strip(), "second")

    @unittest.skipUnless(importlib.util.find_spec("wheel") and shutil.which("go"), "the package wheel, or go, is not installed")
    def test_platform_wheel(self) -> None:
        """The wheel with the command in it: twice the same bytes; an empty venv has a vaultpack that Python finds."""
        home = vault.home()
        maker = vault.REPOSITORY / "python/platform_wheel.py"
        with tempfile.TemporaryDirectory() as tmp:
            stub = Path(tmp, "stub")
            stub.write_text("#!/bin/sh\n")
            made = []
            for command, out in ((stub, "1"), (stub, "2"), (Path(vault.COMMAND), "3")):
                args = [sys.executable, maker, "--command", command, "--platform", f"linux_{platform.machine()}", Path(tmp, out)]
                told = subprocess.run(args, check=True, capture_output=True, text=True).stdout
                made.append(Path(told.strip()))
            self.assertEqual(made[0].read_bytes(), made[1].read_bytes())
            with zipfile.ZipFile(made[2]) as z:
                notices = next(z.read(n) for n in z.namelist() if n.endswith("/THIRD-PARTY")).decode()
            for line in (vault.REPOSITORY / "go.mod").read_text().splitlines():
                if line.startswith("\tgithub.com/aws/aws-sdk-go-v2/service/s3 "):
                    self.assertIn("==== " + line.strip() + ": LICENSE", notices)
            venv = Path(tmp, "venv")
            subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", venv], check=True)
            subprocess.run([venv / "bin/python", "-m", "pip", "install", "-q", "--no-index", "--no-deps", made[2]], check=True)
            env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VAULTPACK_COMMAND")}
            told = subprocess.run([venv / "bin/vaultpack", "--version"], env=env, check=True, capture_output=True, text=True).stdout
            self.assertIn("vaultpack", told)
            code = "import vaultpack, vaultpack.child as c; print(c.command()); print(vaultpack.open('scans').read('note.txt').decode())"
            p = subprocess.run([venv / "bin/python", "-c", code], cwd=home, env={**env, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
            self.assertEqual(p.stdout.split(), [str(venv / "bin/vaultpack"), "second"], p.stderr)


if __name__ == "__main__":
    unittest.main()
