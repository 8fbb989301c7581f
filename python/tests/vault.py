"""A vault for tests, made once by the command."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COMMAND = os.environ.get("VAULTPACK_COMMAND") or str(REPOSITORY / "bin" / "vaultpack")

_home: Path | None = None


def home() -> Path:
    """The home of the tests, with the dataset "scans": three packs, of samples, of a large file,
    and of whatever is awkward. Version 2 has another note.txt."""
    global _home
    if _home is None:
        _home = Path(tempfile.mkdtemp(prefix="vaultpack-python-"))
        atexit.register(shutil.rmtree, _home, ignore_errors=True)
        for name in list(os.environ):
            if name.startswith(("VAULTPACK_", "AWS_")):
                del os.environ[name]
        os.environ.update(HOME=str(_home), VAULTPACK_HOME=str(_home / "settings"), VAULTPACK_COMMAND=COMMAND)
        os.chdir(_home)
        make(_home / "scans")
        run("push", "-q", "--checksum", "--pack-size", "1MiB", "scans")
        (_home / "scans" / "note.txt").write_text("second")
        run("push", "-q", "--pack-size", "1MiB", "scans")
    return _home


def make(root: Path) -> None:
    rng = random.Random(5)
    for i in range(240):
        folder = root / f"class{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:04d}.bin").write_bytes(rng.randbytes(rng.choice([0, 1, 100, 9000, 17000])))
        (folder / f"{i:04d}.cls").write_text(str(i % 3))
    (root / "large.bin").write_bytes(rng.randbytes((5 << 20) + 12345))
    (root / "note.txt").write_text("first")
    (root / "empty").touch()
    os.symlink("note.txt", root / "link")
    with open(os.fsencode(root) + b"/\xff\xe4.raw", "wb") as f:
        f.write(b"not UTF-8")


def run(*args: str, code: int = 0) -> str:
    p = subprocess.run([COMMAND, *args], capture_output=True, text=True)
    if p.returncode != code:
        raise AssertionError(f"vaultpack {' '.join(args)}: code {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout


def packs(dataset: str = "scans") -> list[Path]:
    return sorted((home() / "settings" / "vault" / dataset / "packs").glob("*.vpk"))


def python() -> str:
    return sys.executable
