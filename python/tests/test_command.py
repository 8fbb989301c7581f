"""Python and the command agree: about the order of samples, about positions, and through S3."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import unittest

import vaultpack

from . import vault


def found(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def streamed(*args: str) -> list[tuple[str, bytes]]:
    """The files of what the command streams."""
    out = subprocess.run([vault.COMMAND, "stream", *args], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(out), errors="surrogateescape", encoding="utf-8") as t:
        return [(m.name, t.extractfile(m).read()) for m in t]  # type: ignore[union-attr]


def flat(stream: vaultpack.SampleStream) -> list[tuple[str, bytes]]:
    return [(s["__key__"] + ("." + f if f else ""), c) for s in stream for f, c in s.items() if f != "__key__"]


class Stream(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        vault.home()
        cls.ds = vaultpack.open("scans")

    def test_same_order(self) -> None:
        self.assertEqual(flat(self.ds.samples()), streamed("scans"))
        for i in range(3):
            want = streamed("scans@2", "--shuffle", "7", "--epoch", "1", "--shard", f"{i}/3")
            self.assertEqual(flat(self.ds.samples((i, 3), shuffle=7, epoch=1)), want)

    def test_positions(self) -> None:
        """What one has written down, the other goes on from."""
        states = []
        got: list[tuple[str, bytes]] = []
        for i in range(2):
            s = self.ds.samples((i, 2), shuffle=7)
            head = [next(s) for _ in range(20 + i)]
            got += [(x["__key__"] + ("." + f if f else ""), c) for x in head for f, c in x.items() if f != "__key__"]
            with open(f"p{i}.json", "w") as f:
                json.dump(s.state_dict(), f)
            told = vault.run("stream", "scans", "--shuffle", "7", "--shard", f"{i}/2", "--from", str(20 + i), "--position")
            states.append(json.loads(told))
            self.assertEqual({**states[-1], "version": None}, {**s.state_dict(), "version": None})
        rest = streamed("scans", "--from", "p0.json", "--from", "p1.json")
        self.assertEqual(flat(self.ds.samples(resume=vaultpack.merge(states))), rest)
        self.assertEqual(sorted(got + rest), sorted(flat(self.ds.samples())))


@unittest.skipUnless(found("moto") and found("boto3"), "moto, which stands in for S3, is not installed")
class S3(unittest.TestCase):
    def test_vault_in_s3(self) -> None:
        import boto3

        home = vault.home()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        env = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
               "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
        try:
            os.environ.update(env)
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.1)
            boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="bucket")
            key = home / "s3.key"
            vault.run("keys", "new", "local", str(key))
            settings = ["--vault", "s3://bucket/ml", "--local-key", str(key), "--sse", "none"]
            vault.run("push", "-q", "--pack-size", "1MiB", *settings, "scans")
            with vaultpack.open("s3://bucket/ml", "scans", local_key=key, sse="none") as ds:
                here = vaultpack.open("scans")
                self.assertEqual({e.name: ds.read(e.path) for e in ds.files()}, {e.name: here.read(e.path) for e in here.files()})
                self.assertEqual(flat(ds.samples(shuffle=5)), streamed("scans", "--shuffle", "5", *settings))
                self.assertEqual(ds._contents.store._child._process.args[1:3], ["handover", "version"])  # the command that has opened it
                boto3.client("s3", region_name="us-east-1").delete_object(Bucket="bucket", Key=f"ml/scans/packs/{ds._packs[0].id}.vpk")
                with self.assertRaises(vaultpack.AuthenticationError):
                    list(ds.samples())
        finally:
            for name in env:
                os.environ.pop(name, None)
            server.terminate()
            server.wait()


if __name__ == "__main__":
    unittest.main()
