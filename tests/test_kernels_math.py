"""The vector functions: error in ULP, edges, tails, and the same bits for any number of workers."""

import numba
import numpy as np
import pytest
from numba import njit

from fastnn.kernels import _simd
from fastnn.kernels import math as kernels
from fastnn.kernels.split import share

NAMES = ("exp", "log", "tanh", "sigmoid")
DTYPES = (np.float32, np.float64)
# What the docstrings promise.
ULP = {"exp": 1.0, "log": 0.9, "tanh": 2.8, "sigmoid": 2.5}
SIZES = (0, 1, 15, 16, 17, 31, 33, 63, 65, 300, 1000)


@pytest.fixture
def threads_restored():
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def exact(name, x):
    """Return the function of `x` in the precision of `x`."""
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            e = np.exp(-np.abs(x))
            return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
        return getattr(np, name)(x)


def ours(name, x):
    out = np.full_like(x, 99)
    getattr(kernels, name)(x, out, 1)
    return out


def ulps(got, wanted, dtype):
    """Return how far `got` is from `wanted`, in units of the last place of `wanted` in `dtype`."""
    info = np.finfo(dtype)
    wide = wanted.dtype.type
    exponent = np.frexp(np.maximum(np.abs(wanted), wide(info.tiny)))[1]
    return np.abs(got.astype(wide) - wanted) / np.ldexp(wide(1), exponent - 1 - info.nmant)


def sample(name, dtype):
    """Return arguments of all magnitudes, and many where the function does something."""
    draw = np.random.default_rng(20240501)
    if dtype is np.float32:
        # Every 1021st of all float32 numbers: all signs and exponents, 2**23 / 1021 fractions in each.
        bits = np.arange(0, 2**32, 1021, dtype=np.uint64).astype(np.uint32).view(np.float32)
    else:
        bits = draw.integers(0, 2**64, 1_000_000, dtype=np.uint64).view(np.float64)
    if name == "log":
        parts = [draw.uniform(0.4, 2.5, 600_000), draw.uniform(0.0, 1000.0, 100_000)]
        parts.append(1 + draw.uniform(-1, 1, 100_000) * 2.0 ** -draw.integers(1, 50, 100_000))
    else:
        ends = {np.float32: (-105, 90), np.float64: (-750, 711)}[dtype]
        parts = [draw.uniform(-1, 1, 300_000), draw.uniform(-12, 12, 400_000), draw.uniform(*ends, 300_000)]
    x = np.concatenate([bits, *[p.astype(dtype) for p in parts]])
    x = x[np.isfinite(x)]
    return np.abs(x[x != 0]) if name == "log" else x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_error_in_ulp(name, dtype):
    wide = np.float64 if dtype is np.float32 else np.longdouble
    if np.finfo(wide).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip("no type here is more precise than float64")
    x = sample(name, dtype)
    got, wanted = ours(name, x), exact(name, x.astype(wide))
    with np.errstate(over="ignore"):
        overflow = np.isinf(wanted.astype(dtype))
    np.testing.assert_array_equal(got[overflow], np.inf)
    error = ulps(got[~overflow], wanted[~overflow], dtype)
    worst = np.argmax(error)
    assert error[worst] <= ULP[name], f"{error[worst]} ULP at {x[~overflow][worst]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_edges(name, dtype):
    info, inf, nan = np.finfo(dtype), np.inf, np.nan
    top, tiny = info.max, info.smallest_subnormal
    x = np.array([inf, -inf, 0.0, -0.0, nan, top, -top, tiny, -tiny, -1], dtype)
    wanted = {
        "exp": [inf, 0, 1, 1, nan, inf, 0, 1, 1, np.exp(-1)],
        "log": [inf, nan, -inf, -inf, nan, np.log(top), nan, np.log(tiny), nan, nan],
        "tanh": [1, -1, 0, 0, nan, 1, -1, tiny, -tiny, np.tanh(-1)],
        "sigmoid": [1, 0, 0.5, 0.5, nan, 1, 0, 0.5, 0.5, 1 / (1 + np.e)],
    }[name]
    np.testing.assert_allclose(ours(name, x), np.array(wanted, dtype), rtol=2 * info.eps, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_odd_and_keeps_the_sign_of_zero(dtype):
    x = sample("tanh", dtype)
    np.testing.assert_array_equal(ours("tanh", -x), -ours("tanh", x))
    np.testing.assert_array_equal(np.signbit(ours("tanh", np.array([0.0, -0.0], dtype))), [False, True])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_underflows_gradually(dtype):
    info = np.finfo(dtype)
    last = float(info.smallest_subnormal)
    x = np.linspace(np.log(last) - 1, np.log(float(info.tiny)), 5000).astype(dtype)
    got = ours("exp", x)
    # A unit in the last place of a subnormal number is the smallest of them.
    assert np.all(np.abs(got / last - np.exp(x.astype(np.longdouble)) / last) < 1)
    assert np.unique(got).size > 1000 and got[0] == 0 and np.all(np.diff(got) >= 0)


@njit
def exp_below(x, out):
    step = _simd.lanes(x)
    for i in range(0, x.size, step):
        _simd.store_n(out, i, kernels.vexp_below(_simd.load_n(x, i, x.size - i)), x.size - i)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_of_nothing_above_zero(dtype):
    wide = np.float64 if dtype is np.float32 else np.longdouble
    if np.finfo(wide).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip("no type here is more precise than float64")
    x = sample("exp", dtype)
    # Where the whole number of ln 2 changes, to either side, down to where the last subnormal number ends.
    halves = (-np.arange(0.5, {np.float32: 152, np.float64: 1077}[dtype]) * np.log(2)).astype(dtype)
    edges = [np.nextafter(halves, dtype(to)) for to in (-np.inf, 0)]
    x = np.concatenate([-np.abs(x), halves, *edges, np.array([0.0, -0.0], dtype)])
    got = np.empty_like(x)
    exp_below(x, got)
    error = ulps(got, np.exp(x.astype(wide)), dtype)
    worst = np.argmax(error)
    assert error[worst] <= ULP["exp"], f"{error[worst]} ULP at {x[worst]!r}"
    last = float(np.finfo(dtype).smallest_subnormal)
    ends, got = np.array([-np.inf, np.nan, np.log(last) - 1, np.log(last) + 0.1], dtype), np.empty(4, dtype)
    exp_below(ends, got)
    np.testing.assert_array_equal(got, np.array([0, np.nan, 0, last], dtype))


def test_sigmoid_of_large_negative_values_keeps_its_digits():
    x = np.array([-30.0, -80.0, -87.0], np.float32)
    np.testing.assert_allclose(ours("sigmoid", x), np.exp(x.astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_same_bits_anywhere_in_an_array_and_nothing_beyond_it(name, dtype):
    x = np.random.default_rng(3).uniform(0.01, 9, SIZES[-1]).astype(dtype)
    whole = ours(name, x)
    for size in SIZES:
        room = np.full(size + 64, -7, dtype)
        getattr(kernels, name)(x[-size:] if size else x[:0], room[32 : 32 + size], 3)
        np.testing.assert_array_equal(room[32 : 32 + size], whole[x.size - size :])
        np.testing.assert_array_equal(np.delete(room, np.s_[32 : 32 + size]), -7)
    in_place = x.copy()
    getattr(kernels, name)(in_place, in_place, 2)
    np.testing.assert_array_equal(in_place, whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_same_bits_for_any_number_of_workers(name, dtype, threads_restored):
    kernel = getattr(kernels, name)
    for size in SIZES:
        x = np.random.default_rng(size).uniform(0.01, 9, size).astype(dtype)
        wanted = ours(name, x).tobytes()
        for n_workers in (1, 2, 3, 4):
            numba.set_num_threads(n_workers)
            for build in (kernel, kernel.parallel):
                out = np.full_like(x, 99)
                build(x, out, n_workers)
                assert out.tobytes() == wanted, (size, n_workers, build)


@pytest.mark.parametrize("grain", [1, 8, 16])
def test_shares_take_each_element_once(grain):
    for n in SIZES:
        for n_workers in range(1, 9):
            bounds = [share(n, w, n_workers, grain) for w in range(n_workers + 1)]
            assert bounds[0] == 0 and bounds[-1] == n and bounds == sorted(bounds)
            assert all(b % grain == 0 or b == n for b in bounds)
            sizes = np.diff(bounds)
            assert sizes.max() - sizes.min() < 2 * grain
