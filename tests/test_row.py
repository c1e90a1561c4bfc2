"""A row alone has a kernel of its own: the bits are those that it has among others."""

import numpy as np
import pytest
from registry import CODES, ENTRIES
from test_registry import agree

from fastnn.kernels import gemm

ACTIVATIONS = [gemm.LINEAR, gemm.RELU, gemm.SIGMOID, gemm.TANH]


def outputs(x, w, b, activation, n_threads):
    k, n = w.shape
    y = np.full((len(x), n), 7, x.dtype)
    scratch = np.full(gemm.scratch_size(k, n, x.dtype, n_threads), np.nan, x.dtype)
    gemm.dense_forward(x, w, b, y, activation, scratch, n_threads)
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("shape", [(1, 784, 128), (1, 65, 1000)])
def test_a_row_agrees_with_numpy(shape, name, dtype):
    agree(ENTRIES[f"gemm.dense_forward[{name}]"], shape, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n", [1, 3, 31, 63, 64, 127, 128, 129, 200, 256, 300, 1024])
def test_the_bits_are_those_among_others(n, activation, dtype):
    random = np.random.default_rng(n)
    for k in (1, 2, 65, 300):
        x, w, b = (random.standard_normal(shape).astype(dtype) for shape in ((7, k), (k, n), (n,)))
        together = outputs(x, w, b, activation, 1)
        for n_threads in (1, 2, 3):
            for i in (0, 3):
                alone = outputs(x[i : i + 1], w, b, activation, n_threads)
                assert alone.tobytes() == together[i : i + 1].tobytes(), (k, n_threads)


@pytest.mark.parametrize("activation", [gemm.LINEAR, gemm.RELU])
def test_what_is_not_finite_comes_through(activation):
    random = np.random.default_rng(0)
    x, w, b = (random.standard_normal(shape).astype(np.float32) for shape in ((1, 5), (5, 300), (300,)))
    w[2, 7], w[3, 130], b[255] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        wanted = x @ w + b
        wanted = np.where(wanted < 0, 0, wanted) if activation == gemm.RELU else wanted
    np.testing.assert_allclose(outputs(x, w, b, activation, 1), wanted, rtol=1e-5, atol=1e-5)
