from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import unittest
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

from vaultpack.errors import ChildError, UsageError
from vaultpack.sagemaker import SealedJob, seal_inputs

TRAINER = Path(__file__).parents[2] / "trainer" / "testdata"

# It prints what it is told to, and keeps what it was given.
STAND_IN = """#!/bin/sh
echo "$@" >"$KEPT/args"
for a; do case "$a" in *.yaml) cp "$a" "$KEPT/job";; esac; done
cat "$KEPT/stderr" >&2
cat "$KEPT/stdout"
exit $(cat "$KEPT/code")
"""


class Requests(unittest.TestCase):
    """With stand-ins for the SDKs, which take the arguments that those document."""

    @classmethod
    def setUpClass(cls) -> None:
        before = set(sys.modules)
        cls.sdk = runpy.run_path(str(TRAINER / "printed" / "sdk.py"))
        cls.addClassCleanup(lambda: [sys.modules.pop(m) for m in set(sys.modules) - before])

    def test_same_request(self) -> None:
        files = sorted(TRAINER.glob("*.json"))
        self.assertGreater(len(files), 10)
        sent, sdk, refused = self.sdk["sent"], self.sdk, []
        for file in files:
            with self.subTest(file.stem):
                request = json.loads(file.read_text())
                job = SealedJob(request)
                sdk["TrainingJob"].create(**job.training_job())
                self.assertEqual(sent.pop(), request)
                step = job.step()
                self.assertEqual((step["Name"], dict(step["Arguments"], TrainingJobName=step["Name"])), (job.name, request))
                try:
                    args = job.estimator()
                except UsageError as err:
                    refused.append(str(err))
                    continue
                sdk["Estimator"](**args).fit(**job.fit(), wait=False)
                self.assertEqual(sent.pop(), request)
        self.assertTrue(all(r.startswith("StoppingCondition.MaxPendingTimeInSeconds: ") for r in refused), refused)
        self.assertLess(len(refused), 3)

    def test_parts(self) -> None:
        job = SealedJob(json.loads((TRAINER / "command.json").read_text()))
        self.assertEqual(job.entry_point[:2], ["/bin/sh", "-c"])
        self.assertEqual(job.arguments[-4:], ["python3", "-u", "/opt/train.py", "--fast"])
        self.assertEqual([c["ChannelName"] for c in job.channels], ["vaultpack", "training"])
        self.assertEqual(job.environment, {"LOG_LEVEL": "debug"})


class Command(unittest.TestCase):
    def setUp(self) -> None:
        self.kept = Path(self.enterContext(tempfile.TemporaryDirectory()))
        stand_in = self.kept / "vaultpack"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        self.enterContext(mock.patch.dict(os.environ, VAULTPACK_COMMAND=str(stand_in), KEPT=str(self.kept)))
        self.say((TRAINER / "minimal.json").read_text())

    def enterContext(self, cm: Any) -> Any:  # unittest has it from Python 3.11 on
        value = cm.__enter__()
        self.addCleanup(cm.__exit__, None, None, None)
        return value

    def say(self, stdout: str, stderr: str = "", code: int = 0) -> None:
        for name, text in {"stdout": stdout, "stderr": stderr, "code": str(code)}.items():
            (self.kept / name).write_text(text)

    def args(self) -> list[str]:
        return (self.kept / "args").read_text().split()

    def test_descriptions(self) -> None:
        want = json.loads((TRAINER / "minimal.json").read_text())
        self.assertEqual(seal_inputs("digits@3", image="i", source="src", hyperparameters={"lr": 1e-3}).request, want)
        self.assertEqual(json.loads((self.kept / "job").read_text()), {"dataset": "digits@3", "image": "i", "source": os.path.abspath("src"), "hyperparameters": {"lr": 0.001}})
        self.assertEqual(self.args()[:5], ["train", "--print-as", "json", "--stage", "-f"])
        seal_inputs({"dataset": "a", "role": "r"}, role="s", stage=False)
        self.assertEqual(json.loads((self.kept / "job").read_text()), {"dataset": "a", "role": "s"})
        self.assertNotIn("--stage", self.args())
        (self.kept / "mine.yaml").write_text("dataset: a\n")
        seal_inputs(self.kept / "mine.yaml")
        self.assertEqual(self.args()[-1], str(self.kept / "mine.yaml"))
        with self.assertRaises(UsageError):
            seal_inputs("mine.yaml", role="r")

    def test_failures(self) -> None:
        self.say("", "vaultpack: role: is missing\n", 2)
        with self.assertRaisesRegex(UsageError, "role: is missing"):
            seal_inputs("digits")
        for text in ("", "[]", "{}", "not JSON"):
            self.say(text)
            with self.assertRaises(ChildError):
                seal_inputs("digits")
        self.say((TRAINER / "minimal.json").read_text(), "warning: it is weaker\n")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            seal_inputs("digits")
        self.assertEqual([str(w.message) for w in told], ["it is weaker"])

    def test_imports_nothing(self) -> None:
        code = "import sys, vaultpack.sagemaker; print([m for m in ('boto3', 'sagemaker', 'cryptography') if m in sys.modules])"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        self.assertEqual(out.stdout.strip(), "[]")


if __name__ == "__main__":
    unittest.main()
