"""Every kernel that Python calls agrees with its reference, within a bound that is derived in `registry`."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from registry import ENTRIES, wide

import fastnn.kernels
from fastnn.kernels._compile import Kernel

SIZES = (0, 1, 2, 3, 4, 15, 16, 17, 31, 33, 63, 65, 300, 1000)
# Called by kernels only, though their last argument is the number of workers.
INTERNAL = {"sync.gather"}


def agree(entry, shape, dtype, seed=0):
    args = entry.args(shape, dtype, seed)
    wanted = entry.reference(wide(args))
    u = np.finfo(dtype).eps / 2
    # In float64 the reference rounds as well.
    bounds = entry.bound(wide(args), u if dtype == np.float32 else 2 * u)
    results = entry.ours(args)
    assert len(results) == len(wanted) == len(bounds)
    # What underflows is off by a unit of the subnormal numbers, however small it is.
    least = 4 * np.finfo(dtype).smallest_subnormal
    for place, (got, want, bound) in enumerate(zip(results, wanted, bounds, strict=True)):
        assert got.shape == want.shape, (shape, place)
        error = np.abs(got.astype(np.float64) - want)
        # Not `error > bound`: that would let NaN pass.
        bad = ~(error <= bound + least)
        assert not bad.any(), (
            f"{entry.name} {shape} result {place}: off by {error[bad].max():.3g} where "
            f"{np.broadcast_to(bound, error.shape)[bad].max():.3g} is allowed"
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ENTRIES)
def test_parity_at_the_edges(name, dtype):
    for size in SIZES:
        for shape in ENTRIES[name].shapes(size):
            agree(ENTRIES[name], shape, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ENTRIES)
def test_parity_at_random_shapes(name, dtype):
    entry = ENTRIES[name]
    random = np.random.default_rng(8)
    for seed in range(6):
        shape = tuple(int(extent) for extent in random.integers(2, 140, len(entry.shapes(1)[0])))
        if entry.kernel == "narrow.run_narrow":
            shape = (shape[0], 1 + shape[1] % 3, shape[2], 2 + shape[3] % 2)
        agree(entry, shape, dtype, seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.direct])
def test_parts_do_not_change_the_bits(name, dtype):
    entry = ENTRIES[name]
    for shape in [*entry.shapes(65), *entry.shapes(3)]:
        bits = []
        for workers in (1, 2, 3, 4):
            args = entry.args(shape, dtype)
            args.workers = workers
            bits.append([result.tobytes() for result in entry.ours(args)])
        assert all(other == bits[0] for other in bits), shape


def test_every_entry_point_is_registered():
    found = set()
    for module in pkgutil.iter_modules(fastnn.kernels.__path__):
        content = vars(importlib.import_module(f"fastnn.kernels.{module.name}"))
        for name, value in content.items():
            if isinstance(value, Kernel) and value.__module__ == f"fastnn.kernels.{module.name}":
                names = list(inspect.signature(value.py_func).parameters)
                if names[-1:] == ["n_workers"] and "worker" not in names:
                    found.add(f"{module.name}.{name}")
    assert found - INTERNAL == {entry.kernel for entry in ENTRIES.values()}
