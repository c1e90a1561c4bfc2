"""The benchmarks can be found, there are as many as there should be, and importing them runs nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "asv_bench" / "benchmarks"
# One that is renamed by mistake, so that asv no longer sees it, is missed here.
COUNTS = {
    "bench_elementwise": 4,
    "bench_losses": 3,
    "bench_many": 2,
    "bench_memory": 1,
    "bench_optimizers": 4,
    "bench_products": 3,
    "bench_random": 3,
    "bench_nnfs": 3,
    "bench_start": 4,
    "bench_training": 7,
}
CASES = ["spiral-sgd", "spiral-adam", "digits", "mnist-s", "mnist-m", "mnist-l", "higgs"]
COLLECT = """
import importlib, inspect, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(folder.parent))
counts = {}
for file in sorted(folder.glob("bench_*.py")):
    module = importlib.import_module(f"benchmarks.{file.stem}")
    classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    prefixes = ("time_", "timeraw_", "track_", "mem_", "peakmem_")
    counts[file.stem] = sum(name.startswith(prefixes) for c in classes for name in vars(c))
cases = list(importlib.import_module("benchmarks.bench_training").STEPS)
print(json.dumps([counts, cases, sorted({"numba", "fastnn"} & set(sys.modules))]))
"""


def test_counts_and_that_importing_runs_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, str(BENCHMARKS)],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True,
    )  # fmt: skip
    counts, cases, imported = json.loads(done.stdout)
    assert counts == COUNTS
    assert cases == CASES
    # Without Numba there can be no kernel.
    assert imported == []


def test_asv_finds_no_fault(tmp_path):
    pytest.importorskip("asv")
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}

    def asv(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "asv", *arguments],
            capture_output=True, text=True, timeout=120, cwd=BENCHMARKS.parent, env=environment,
        )  # fmt: skip

    assert asv("machine", "--yes").returncode == 0
    done = asv("check", "--environment", f"existing:{sys.executable}")
    assert done.returncode == 0, done.stdout + done.stderr
