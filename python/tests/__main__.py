"""Runs all tests: python3 -m tests. What was left out is told at the end, and why."""

from __future__ import annotations

import importlib.util
import platform
import sys
import unittest
from pathlib import Path


class Result(unittest.TextTestResult):
    """Tells a test that was skipped without a reason as a failure."""

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        if not reason:
            self.addFailure(test, (AssertionError, AssertionError("skipped without a reason"), None))  # type: ignore[arg-type]


def main() -> int:
    here = Path(__file__).parent
    # Before the tests, some of which have a stand-in for one.
    wanted = ("boto3", "moto", "fsspec", "torch", "torchdata", "IPython", "pandas", "matplotlib", "zarr", "h5py", "PIL", "pyarrow", "duckdb", "datasets",
              "build", "wheel")  # fmt: skip
    absent = [m for m in wanted if not importlib.util.find_spec(m)]
    suite = unittest.defaultTestLoader.loadTestsFromNames(
        sorted(f"tests.{p.stem}" for p in here.glob("test_*.py")) if len(sys.argv) < 2 else sys.argv[1:]
    )
    result = unittest.TextTestRunner(resultclass=Result, verbosity=1).run(suite)
    for test, reason in result.skipped:
        print(f"LEFT OUT: {test}: {reason}")
    print(f"python {platform.python_version()}, without: {', '.join(absent) or 'nothing'}")
    if result.testsRun == 0:
        print("no test ran")
        return 1
    return 0 if result.wasSuccessful() else 1


sys.exit(main())
