#!/usr/bin/env python3
"""Makes a wheel that carries the vaultpack command, of the package in this folder.

    python3 python/platform_wheel.py --command bin/vaultpack-linux-amd64 --platform manylinux2014_x86_64 dist

It needs setuptools and wheel, and no network. The same sources and command give the same bytes. The command is a static
program, so that it fits any Linux of its architecture. Beside it are the licences of what is in it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can hold


def pure(tmp: Path) -> Path:
    """The wheel without a command, built of a copy of the sources."""
    source = tmp / "source"
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", "tests"))
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    p = subprocess.run([sys.executable, "-c", code, str(tmp)], cwd=source, capture_output=True, text=True)
    if p.returncode:
        raise SystemExit(f"the wheel cannot be built; it takes the packages setuptools and wheel:\n{p.stderr}")
    return next(tmp.glob("*.whl"))


def licences() -> bytes:
    """The licences and notices of all modules that the command is built of."""
    listed = subprocess.run(
        ["go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}", "./cmd/vaultpack"],
        cwd=HERE.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    root = subprocess.run(["go", "env", "GOROOT"], cwd=HERE.parent, capture_output=True, text=True, check=True).stdout.strip()
    out = [b"The vaultpack command is built of these modules, under these licences.\n"]
    for line in sorted({"Go\tits standard library\t" + root, *filter(None, listed.stdout.splitlines())}):
        path, version, folder = line.split("\t")
        found = sorted(p for pattern in ("*LICEN[CS]E*", "COPYING*", "NOTICE*") for p in Path(folder).glob(pattern) if p.is_file())
        if not found:
            raise SystemExit(f"{path} has no licence in {folder}")
        out += [f"\n==== {path} {version}: {p.name}\n\n".encode() + p.read_bytes() for p in found]
    return b"".join(out)


def repack(wheel: Path, out: Path, platform: str, added: dict[str, tuple[bytes, int]]) -> Path:
    """The wheel with more files, for a platform."""
    with zipfile.ZipFile(wheel) as z:
        files = {i.filename: (z.read(i), 0o644) for i in z.infolist() if not i.is_dir()}
    info = next(n.partition("/")[0] for n in files if n.endswith(".dist-info/WHEEL"))
    name = info.removesuffix(".dist-info")
    for path, (contents, mode) in added.items():
        files[path.format(info=info, data=name + ".data")] = (contents, mode)
    lines = files[f"{info}/WHEEL"][0].decode().splitlines()
    kept = [line for line in lines if line and not line.startswith(("Tag:", "Root-Is-Purelib:"))]
    files[f"{info}/WHEEL"] = ("\n".join([*kept, "Root-Is-Purelib: false", f"Tag: py3-none-{platform}"]).encode() + b"\n", 0o644)
    record = f"{info}/RECORD"
    del files[record]
    rows = []
    for path, (contents, _) in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(contents)}\n")
    files[record] = ("".join([*rows, f"{record},,\n"]).encode(), 0o644)
    out.mkdir(parents=True, exist_ok=True)
    made = out / f"{name}-py3-none-{platform}.whl"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as z:
        for path, (contents, mode) in sorted(files.items()):
            entry = zipfile.ZipInfo(path, TIME)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(entry, contents)
    return made


def main() -> None:
    args = argparse.ArgumentParser()
    args.add_argument("--command", required=True, type=Path, help="the vaultpack command of the platform")
    args.add_argument("--platform", required=True, help="its tag: manylinux2014_x86_64, manylinux2014_aarch64")
    args.add_argument("out", type=Path)
    args = args.parse_args()
    added = {
        "{data}/scripts/vaultpack": (args.command.read_bytes(), 0o755),
        "{info}/licenses/LICENSE": ((HERE.parent / "LICENSE").read_bytes(), 0o644),
        "{info}/licenses/THIRD-PARTY": (licences(), 0o644),
    }
    with tempfile.TemporaryDirectory() as tmp:
        print(repack(pure(Path(tmp)), args.out, args.platform, added))


if __name__ == "__main__":
    main()
