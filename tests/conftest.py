"""What every test shares. pytest loads this file before any test module, and so before Numba."""

import os
from pathlib import Path

import pytest

# Numba reads this once, on import: four threads can then be asked for on a machine with two cores.
os.environ.setdefault("NUMBA_NUM_THREADS", "4")

REPOSITORY = Path(__file__).resolve().parents[1]

# Files whose tests mostly wait for child processes that compile into caches of their own.
CHILDREN = {"test_bounds", "test_cli", "test_compile", "test_nnfs_package", "test_processes", "test_widths"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With pytest-xdist, let one worker have those and another all other files: so nothing is compiled twice."""
    from xdist.scheduler import LoadScopeScheduling

    class Halves(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "children" if Path(nodeid.split("::")[0]).stem in CHILDREN else "here"

    return Halves(config, log)


@pytest.fixture(scope="session")
def fashion_mnist_path() -> Path:
    """Path of the real Fashion-MNIST file; the test is skipped where there is none."""
    folder = Path(os.environ.get("FASTNN_DATA_DIR") or REPOSITORY.parent / "shared" / "data")
    path = folder / "fashion_mnist.npz"
    if not path.is_file():
        pytest.skip("fashion_mnist.npz is not here: set FASTNN_DATA_DIR to its folder")
    return path
