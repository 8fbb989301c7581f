#!/usr/bin/env python3
"""How long a version takes to open, and its first sample: python3 bench/python/first.py VAULT DATASET [RUNS]

Each run is a process of its own. The times are from the call of open, with the imports that it needs.
"""

import statistics
import subprocess
import sys
from pathlib import Path

CODE = """
import sys, time
sys.path.insert(0, sys.argv[1])
import vaultpack
began = time.perf_counter()
ds = vaultpack.open(sys.argv[2], sys.argv[3], sse="none" if "://" in sys.argv[2] else None)
opened = time.perf_counter()
next(ds.samples(shuffle=7))
print(opened - began, time.perf_counter() - began)
"""

where, dataset = sys.argv[1:3]
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 15
package = str(Path(__file__).parents[2] / "python")
times = [[float(t) for t in subprocess.run([sys.executable, "-c", CODE, package, where, dataset], check=True, capture_output=True).stdout.split()] for _ in range(runs)]
for name, values in zip(("opened", "first sample"), zip(*times)):
    print(f"{name}: median {statistics.median(values):.2f} s, best {min(values):.2f}, worst {max(values):.2f}, of {runs} runs")
