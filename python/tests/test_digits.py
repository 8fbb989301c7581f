"""The example of docs/PYTHON.md: examples/digits/sealed.py, killed and resumed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest
from collections import Counter
from typing import Any

import vaultpack

from . import vault

SCRIPT = vault.REPOSITORY / "examples/digits/sealed.py"


@unittest.skipUnless(importlib.util.find_spec("torch"), "there is no PyTorch here")
class Digits(unittest.TestCase):
    def setUp(self) -> None:
        self.log = vault.home() / "digits-log"
        self.log.mkdir()

    def start(self, world: int, workers: int, *more: str) -> list[subprocess.Popen[str]]:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = str(s.getsockname()[1])
        args = [sys.executable, str(SCRIPT), "images", "--checkpoints", "images-run", "--log", str(self.log), "--epochs", "6",
                "--workers", str(workers), *more]  # fmt: skip
        path = os.pathsep.join([str(vault.REPOSITORY / "python"), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        return [
            subprocess.Popen(args, env={**env, "RANK": str(r), "WORLD_SIZE": str(world)}, stdout=subprocess.PIPE, text=True, start_new_session=True)
            for r in range(world)
        ]

    def steps(self, world: int) -> list[dict[str, Any]]:
        """What the ranks of a run have noted of their steps. A line that was cut off by the kill has none."""
        lines = [line for p in self.log.glob(f"rank*-of-{world}.jsonl") for line in p.read_text().splitlines(keepends=True)]
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def test_killed_and_resumed(self) -> None:
        """Two ranks with two workers each are killed in mid-epoch; one rank with three goes on. Each
        sample is seen once in each epoch, as the model that comes out has seen them."""
        vault.run("push", "-q", "-d", "images", str(vault.REPOSITORY / "testdata/dataset"))
        ranks = self.start(2, 2, "--checkpoint-every", "25")
        try:
            for line in ranks[0].stdout or ():  # it ends with the process
                if line.startswith("step 100: "):
                    break
            else:
                self.fail("the ranks have ended by themselves")
            while len(self.steps(2)) < 2 * 104:  # steps that no checkpoint has
                self.assertIsNone(ranks[0].poll())
                time.sleep(0.05)
        finally:
            for p in ranks:
                os.killpg(p.pid, signal.SIGKILL)
                p.communicate()
        (one,) = self.start(1, 3)
        out, _ = one.communicate(timeout=600)
        self.assertEqual(one.returncode, 0, out)
        at = re.search(r"^goes on after step (\d+), in epoch (\d+)$", out, re.M)
        assert at, out
        step, epoch = int(at[1]), int(at[2])
        first, second = self.steps(2), self.steps(1)
        self.assertGreater(max(s["step"] for s in first), step)
        kept = [s for s in first if s["step"] <= step]
        self.assertTrue([s for s in kept if s["epoch"] == epoch] and [s for s in second if s["epoch"] == epoch], "the kill was not in mid-epoch")
        self.assertEqual(min(s["step"] for s in second), step + 1)
        want = Counter(vaultpack.open("images").sample_keys())
        for e in range(6):
            self.assertEqual(Counter(k for s in kept + second if s["epoch"] == e for k in s["keys"]), want, f"epoch {e}")
        accuracy = re.search(r"^test accuracy=([0-9.]+)$", out, re.M)
        assert accuracy, out
        self.assertGreaterEqual(float(accuracy[1]), 0.95)


if __name__ == "__main__":
    unittest.main()
