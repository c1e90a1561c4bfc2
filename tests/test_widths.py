"""Machines of narrower vectors: AVX2 alone, and 128 bits as on 64-bit Arm, tried by narrowing this processor's."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn.kernels._simd import VECTOR_BYTES

COMMON = "+64bit,+cmov,+cx8,+cx16,+fxsr,+mmx,+popcnt,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+fma"
# Bytes of a register, and what Numba is told of the processor. FMA stays, as Arm has it.
NARROWED = {
    16: {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": COMMON},
    32: {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": f"{COMMON},+avx2,+bmi,+bmi2,+lzcnt,+movbe"},
}
# What goes another way for few columns where lanes are two or four: products, losses, networks made of them. And tiles
# of fewer rows or registers that pass over steps.
CHOSEN = (
    "float64 and (general_kernel or step_of_its_layers or noted_by_tiles or all_steps and plain or (edges or parts) and"
    " (dense or softmax_cross_entropy or book.cross_entropy or book_labels.cross or narrow))"
)
CHILD = """
import sys
import pytest
from fastnn.kernels._simd import VECTOR_BYTES
assert VECTOR_BYTES == {width}, VECTOR_BYTES
files = ["test_few.py", "test_registry.py", "test_zeros.py"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", {chosen!r}, *files]))
"""

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64") or VECTOR_BYTES < 32,
    reason="narrows the vectors of x86 processors that have AVX2",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The chosen tests at each width, started side by side."""
    started = {
        width: subprocess.Popen(
            [sys.executable, "-c", CHILD.format(width=width, chosen=CHOSEN)],
            # One process each: options for the whole run, such as a number of them, are none for these.
            env=os.environ
            | processor
            | {"FASTNN_CACHE_DIR": str(tmp_path_factory.mktemp("cache")), "PYTEST_ADDOPTS": ""},
            cwd=Path(__file__).parent, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for width, processor in NARROWED.items()
    }  # fmt: skip
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("width", NARROWED)
def test_few_columns_on_registers_of(width, runs):
    output, _ = runs[width].communicate(timeout=600)
    assert runs[width].returncode == 0, output[-4000:]
