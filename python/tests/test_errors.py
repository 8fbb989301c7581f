"""Each exit code of the command is an exception of its class with its text: never a hang, never short data."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import unittest
import urllib.request
from pathlib import Path
from typing import Any, Callable, Iterator

import vaultpack
from vaultpack.keyring import LocalKey
from vaultpack.store import ChildStore

from . import vault

KMS = vault.REPOSITORY / "bin" / "kmsserve"


@contextlib.contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """A hang is a failure."""

    def late(*_: object) -> None:
        raise AssertionError(f"it has not ended after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def environment(**values: str | None) -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in values}

    def put(new: dict[str, str | None]) -> None:
        for name, value in new.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(values)
    try:
        yield
    finally:
        put(kept)


def told(*args: str) -> tuple[int, str]:
    """How the command ends, and what it says: the first line, and hints."""
    p = subprocess.run([vault.COMMAND, *args], capture_output=True, text=True)
    return p.returncode, p.stderr.strip().removeprefix("vaultpack: ")


class Errors(unittest.TestCase):
    def setUp(self) -> None:
        self.home = vault.home()
        self.vault = self.home / "settings" / "vault"
        guard = deadline(120)
        guard.__enter__()
        self.addCleanup(guard.__exit__, None, None, None)

    def copied(self) -> Path:
        to = self.home / "broken"
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.vault, to)
        self.key = next((self.home / "settings").glob("*.key"))
        return to

    def test_as_the_command_says(self) -> None:
        """What the command ends with for the same vault, reference and key."""
        other = self.home / "wrong.key"
        other.write_bytes(LocalKey.generate().text())
        other.chmod(0o600)
        cut, flipped = self.copied(), self.home / "flipped"
        shutil.copytree(cut, flipped, dirs_exist_ok=True)
        for p in (cut / "scans/versions").iterdir():
            p.write_bytes(p.read_bytes()[:100])
        for p in (flipped / "scans/index").iterdir():
            b = bytearray(p.read_bytes())
            b[80] ^= 1
            p.write_bytes(b)
        (self.home / "not-a-vault").write_text("")
        key = str(self.key)
        cases: list[tuple[str, type[vaultpack.Error], str, str, str]] = [
            ("wrong key", vaultpack.AuthenticationError, str(self.vault), "scans", str(other)),
            ("cut version", vaultpack.AuthenticationError, str(cut), "scans", key),
            ("changed index", vaultpack.AuthenticationError, str(flipped), "scans", key),
            ("other digest", vaultpack.AuthenticationError, str(self.vault), "scans@1#" + "0" * 64, key),
            ("missing dataset", vaultpack.NotFound, str(self.vault), "nope", key),
            ("missing version", vaultpack.NotFound, str(self.vault), "scans@77", key),
            ("missing vault", vaultpack.NotFound, str(self.home / "nowhere"), "scans", key),
            ("no vault", vaultpack.Error, str(self.home / "not-a-vault"), "scans", key),
            ("missing key", vaultpack.Error, str(self.vault), "scans", "/nowhere/key"),
            ("bad reference", vaultpack.UsageError, str(self.vault), "scans@x@", key),
            ("bad URL", vaultpack.Error, "ftp://x/y", "scans", key),
        ]
        for name, kind, where, ref, k in cases:
            with self.subTest(name):
                told("ls", "--vault", where, "--local-key", k, "--", ref)  # which may be the first contact, and says so
                code, text = told("ls", "--vault", where, "--local-key", k, "--", ref)
                self.assertNotEqual(code, 0)
                with self.assertRaises(kind) as raised:
                    vaultpack.open(where, ref, local_key=k)
                self.assertEqual((raised.exception.code, str(raised.exception)), (code, text))

    def test_every_code(self) -> None:
        """A command that ends in any way, at any moment."""
        fake = self.home / "fake"
        kinds = {1: vaultpack.Error, 2: vaultpack.UsageError, 3: vaultpack.SomeFailed, 4: vaultpack.AuthenticationError, 5: vaultpack.NotAllowed,
                 130: vaultpack.Interrupted, 77: vaultpack.ChildError, "$$": vaultpack.ChildError}  # fmt: skip
        lines = subprocess.run(
            [vault.COMMAND, "handover", "version", "scans"], input=LocalKey.generate().text(), capture_output=True, check=True
        ).stdout
        (self.home / "half").write_bytes(lines[: len(lines) // 2])
        for code, kind in kinds.items():
            for before in ("", f"cat {self.home}/half; ", "head -n1 >/dev/null; "):
                end = "kill -9 $$" if code == "$$" else f"echo 'vaultpack: it says why' >&2; exit {code}"
                fake.write_text(f"#!/bin/sh\n{before}{end}\n")
                fake.chmod(0o755)
                with self.subTest(code=code, before=before), environment(VAULTPACK_COMMAND=str(fake)):
                    calls: list[Callable[[], Any]] = [lambda: vaultpack.open("scans"), self.write, lambda: vaultpack.push([{"a": 1}], "x")]
                    for call in calls:
                        with self.assertRaises(kind) as raised:
                            call()
                        self.assertIs(type(raised.exception), kind)
                        self.assertIn("killed by signal 9" if code == "$$" else "it says why", str(raised.exception))

    def write(self) -> None:
        with vaultpack.writer("x") as w:
            for i in range(100):
                w.write(f"{i}", bytes(1 << 16))

    def test_nothing_is_believed_of_a_clean_end(self) -> None:
        fake = self.home / "fake"
        for body in ("exit 0", f"cat {self.home}/half", "echo '{'", "echo '[]'", "echo 1", "head -n1 >/dev/null; echo"):
            fake.write_text(f"#!/bin/sh\n{body}\n")
            fake.chmod(0o755)
            with self.subTest(body), environment(VAULTPACK_COMMAND=str(fake)), self.assertRaises(vaultpack.ChildError):
                vaultpack.open("scans")

    def test_no_command(self) -> None:
        with environment(VAULTPACK_COMMAND=None, PATH="/nowhere"), self.assertRaisesRegex(vaultpack.ChildError, "VAULTPACK_COMMAND"):
            vaultpack.open("scans")

    def test_answers(self) -> None:
        """What a fetching command may answer instead of the bytes."""
        ds = vaultpack.open("scans")
        ds._contents.store.close()
        fake = self.home / "fake"
        for body, kind in {
            "ERR 5 no permission": vaultpack.NotAllowed,
            "ERR 4 pack: missing": vaultpack.AuthenticationError,
            "ERR x y": vaultpack.ChildError,
            "ERR": vaultpack.ChildError,
            "OK": vaultpack.ChildError,
            "OK -1": vaultpack.ChildError,
            "OK x": vaultpack.ChildError,
            "OK 5\\nabcde": vaultpack.AuthenticationError,
            "OK 99999999999": vaultpack.ChildError,
            "what": vaultpack.ChildError,
        }.items():
            fake.write_text(f"#!/bin/sh\nwhile read -r line; do printf '{body}\\n'; done\n")
            fake.chmod(0o755)
            with self.subTest(body), environment(VAULTPACK_COMMAND=str(fake)):
                ds._contents.store = ChildStore("scans", [])
                with self.assertRaises(kind):
                    ds.read("note.txt")
                ds.close()


def read_all(ds: Any, out: Any) -> None:
    out.put(sorted((s["__key__"], len(s)) for s in ds.samples()))


@unittest.skipUnless(KMS.exists(), "bin/kmsserve, which stands in for AWS KMS, is not built: make python")
class Kms(unittest.TestCase):
    """A dataset whose key is wrapped by KMS: the command calls it, once."""

    def setUp(self) -> None:
        self.home = vault.home()
        self.server = subprocess.Popen([KMS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        assert self.server.stdout
        told = json.loads(self.server.stdout.readline())
        self.endpoint, self.key = told["endpoint"], told["key"]
        env = environment(AWS_ENDPOINT_URL_KMS=self.endpoint, AWS_REGION="us-east-1", AWS_ACCESS_KEY_ID="alice", AWS_SECRET_ACCESS_KEY="s",
                          AWS_EC2_METADATA_DISABLED="true", VAULTPACK_HOME=str(self.home / "kms"))  # fmt: skip
        env.__enter__()
        self.addCleanup(env.__exit__, None, None, None)
        guard = deadline(120)
        guard.__enter__()
        self.addCleanup(guard.__exit__, None, None, None)
        shutil.rmtree(self.home / "kms-vault", ignore_errors=True)

    def stop(self) -> None:
        assert self.server.stdin and self.server.stdout
        self.server.stdin.close()
        self.server.wait(10)
        self.server.stdout.close()

    def calls(self) -> list[str]:
        with urllib.request.urlopen(self.endpoint + "/calls") as r:
            return list(json.load(r))

    def test_once_for_all_workers(self) -> None:
        where = str(self.home / "kms-vault")
        vault.run("init", "--vault", where, "--kms-key", self.key)
        with vaultpack.writer("made", where, kms_key=self.key) as w:
            for i in range(20):
                w.write_sample(f"s/{i}", {"bin": bytes(i), "cls": str(i)})
        before = self.calls().count("Decrypt")
        ds = vaultpack.open(where, "made", kms_key=self.key)
        self.assertEqual(self.calls().count("Decrypt"), before + 1)
        want = sorted((f"s/{i}", 3) for i in range(20))
        for method in ("fork", "spawn"):
            c = multiprocessing.get_context(method)
            out = c.Queue()
            ps = [c.Process(target=read_all, args=(ds, out)) for _ in range(2)]
            for p in ps:
                p.start()
            self.assertEqual([out.get(timeout=60) for _ in ps], [want, want])
            for p in ps:
                p.join()
        self.assertEqual(self.calls().count("Decrypt"), before + 1)
        with environment(AWS_ACCESS_KEY_ID="mallory"), self.assertRaises(vaultpack.NotAllowed) as raised:
            vaultpack.open(where, "made", kms_key=self.key)
        self.assertIsInstance(raised.exception, PermissionError)
        self.assertIn("kms:Decrypt", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
