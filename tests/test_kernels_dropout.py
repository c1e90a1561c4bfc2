"""Dropout: the mask is the documented function of seed, stream, step and element, in both directions."""

import numba
import numpy as np
import pytest
from test_kernels_rng import blocks

from fastnn.kernels import dropout, rng

SIZES = (0, 1, 15, 16, 17, 31, 33, 63, 65, 300, 1000)
DTYPES = (np.float32, np.float64)
SEED = 0x0123456789ABCDEF
FROZEN = [
    "1000100101010001101100011011100110000011",
    "1110101111110001101000110000101101011011",
]


@pytest.fixture
def threads_restored():
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def kept(shape, rate, seed=SEED, stream=2, step=7):
    """Return the mask that the docstrings describe."""
    i = np.arange(np.prod(shape, dtype=int))
    words = blocks(i // 64 * 16 + i % 16, seed, rng.STREAM_DROPOUT + 256 * stream, step)
    mine = words[i // 16 % 4, i]
    return (mine < np.uint64(int((1 - rate) * 2**32 + 0.5))).reshape(shape)


def values(shape, dtype):
    return np.random.default_rng(4).uniform(0.5, 2, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", SIZES)
def test_equals_its_twin(columns, dtype):
    for rows in (0, 1, 3, 33):
        for rate in (0.0, 0.1, 0.5, 0.99):
            x = values((rows, columns), dtype)
            out, dx = np.full_like(x, 99), np.full_like(x, 99)
            dropout.dropout_forward(x, out, rate, SEED, 2, 7, 2)
            dropout.dropout_backward(x, dx, rate, SEED, 2, 7, 3)
            factor = np.where(kept(x.shape, rate), dtype(1 / (1 - rate)), dtype(0))
            np.testing.assert_array_equal(out, x * factor)
            np.testing.assert_array_equal(dx, out)


def test_rate_zero_copies_and_works_in_place():
    x = values((7, 33), np.float32)
    out = np.empty_like(x)
    dropout.dropout_forward(x, out, 0.0, 1, 0, 0, 1)
    np.testing.assert_array_equal(out, x)
    dropout.dropout_forward(x, out, 0.5, 1, 0, 0, 1)
    dropout.dropout_forward(x, x, 0.5, 1, 0, 0, 1)
    np.testing.assert_array_equal(x, out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_between_rows_changes_nothing_and_is_not_touched(dtype):
    x = values((5, 33), dtype)
    wanted = np.empty_like(x)
    dropout.dropout_forward(x, wanted, 0.3, SEED, 2, 7, 1)
    wide, room = np.full((5, 48), np.nan, dtype), np.full((5, 80), -7, dtype)
    wide[:, :33] = x
    dropout.dropout_forward(wide[:, :33], room[:, 16:49], 0.3, SEED, 2, 7, 1)
    np.testing.assert_array_equal(room[:, 16:49], wanted)
    np.testing.assert_array_equal(np.delete(room, np.s_[16:49], axis=1), -7)


def test_frozen_mask():
    """Computed once, after the comparison above: a change here changes every seeded network with dropout."""
    x, out = np.ones((2, 40)), np.empty((2, 40))
    dropout.dropout_forward(x, out, 0.5, SEED, 2, 7, 1)
    assert ["".join(row) for row in np.where(out > 0, "1", "0")] == FROZEN


def test_a_part_equals_its_rows_of_the_whole():
    x = values((9, 21), np.float64)
    whole, part = np.empty_like(x), np.zeros_like(x)
    dropout.dropout_forward(x, whole, 0.4, SEED, 1, 2, 1)
    dropout.dropout_part(x, 0, 21, part, 0, 21, 3, 7, 21, 0.4, SEED, 1, 2)
    np.testing.assert_array_equal(part[3:7], whole[3:7])
    assert not part[:3].any() and not part[7:].any()


def test_share_kept_and_independence():
    x = np.ones((1000, 300))
    masks = []
    for seed, stream, step in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)):
        out = np.empty_like(x)
        dropout.dropout_forward(x, out, 0.3, seed, stream, step, 1)
        masks.append(out > 0)
    n = x.size
    for mask in masks:
        assert abs(mask.mean() - 0.7) < 6 * np.sqrt(0.21 / n)
        for lag in (1, 16, 64, 300):
            a, b = mask.ravel()[:-lag] - 0.7, mask.ravel()[lag:] - 0.7
            assert abs((a * b).mean()) < 6 * 0.21 / np.sqrt(n)
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs(((a - 0.7) * (b - 0.7)).mean()) < 6 * 0.21 / np.sqrt(n)


def test_nan_and_infinity_stay_visible():
    x = np.full((4, 50), np.nan, np.float32)
    out = np.zeros_like(x)
    dropout.dropout_forward(x, out, 0.5, 3, 0, 0, 1)
    assert np.isnan(out).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_workers(dtype, threads_restored):
    for kernel in (dropout.dropout_forward, dropout.dropout_backward):
        for shape in [(n, 17) for n in SIZES] + [(17, n) for n in SIZES]:
            x = values(shape, dtype)
            wanted = np.empty_like(x)
            kernel(x, wanted, 0.2, SEED, 2, 7, 1)
            for n_workers in (1, 2, 3, 4):
                numba.set_num_threads(n_workers)
                for build in (kernel, kernel.parallel):
                    out = np.full_like(x, 99)
                    build(x, out, 0.2, SEED, 2, 7, n_workers)
                    assert out.tobytes() == wanted.tobytes(), (shape, n_workers, build)
