"""Parts of registers: what loads, stores and transpositions read and write beside whole ones."""

import numpy as np
import pytest
from numba import njit

from fastnn.kernels import _simd, gemm

DTYPES = (np.float32, np.float64)


@njit
def copy_some(source, target, at, count):
    _simd.store_n(target, at, _simd.load_n(source, at, count), count)


@njit
def copy_all_lanes(source, target, at, count):
    _simd.store(target, at, _simd.load_n(source, at, count))


@njit
def turn(source, at, stride, rows, columns, target, target_at, target_stride):
    _simd.transpose(source, at, stride, rows, columns, target, target_at, target_stride)


@pytest.mark.parametrize("dtype", DTYPES)
def test_some_lanes_are_loaded_and_stored_and_no_others(dtype):
    lanes = _simd.VECTOR_BYTES // np.dtype(dtype).itemsize
    source = np.arange(1, 3 * lanes + 1, dtype=dtype)
    for count in range(-2, lanes + 3):
        some = min(max(count, 0), lanes)
        target, expected = np.full(3 * lanes, -1.0, dtype), np.full(3 * lanes, -1.0, dtype)
        copy_some(source, target, 3, count)
        expected[3 : 3 + some] = source[3 : 3 + some]
        np.testing.assert_array_equal(target, expected)
        copy_all_lanes(source, target, 3, count)
        expected[3 + some : 3 + lanes] = 0.0
        np.testing.assert_array_equal(target, expected)


@njit
def store_doubles(source, target, at, count):
    _simd.store(target, 0, _simd.load_n_doubles(source, at, count))


@pytest.mark.parametrize("dtype", DTYPES)
def test_eight_values_are_widened_and_no_others_read(dtype):
    source = np.random.default_rng(0).normal(size=12).astype(dtype)
    for count in range(-1, 10):
        some = min(max(count, 0), 8)
        target = np.full(8, -1.0)
        store_doubles(source, target, 12 - some, count)
        np.testing.assert_array_equal(target, [*source[12 - some :].astype(np.float64), *[0.0] * (8 - some)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_of_any_size_are_transposed(dtype):
    lanes = _simd.VECTOR_BYTES // np.dtype(dtype).itemsize
    stride = lanes + 3
    source = np.arange(lanes * stride + 1, dtype=dtype)
    for rows in range(1, lanes + 1):
        for columns in range(1, lanes + 1):
            target = np.full((lanes + 1) * stride, -1.0, dtype)
            turn(source, 1, stride, rows, columns, target, 2, stride)
            expected = np.full((lanes + 1) * stride, -1.0, dtype)
            block = expected[2 : 2 + lanes * stride].reshape(lanes, stride)[:columns, :rows]
            block[...] = source[1 : 1 + lanes * stride].reshape(lanes, stride)[:rows, :columns].T
            np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_larger_than_a_register_are_turned_and_nothing_else_is_written(dtype):
    extents = [*range(1, 14), 16, 17, 20, 31, 36, 53]
    for rows in extents:
        for columns in extents:
            source = np.arange(rows * (columns + 3), dtype=dtype)
            target = np.full((columns + 1) * (rows + 5), -1.0, dtype)
            expected = target.copy()
            gemm.turn(source, columns + 3, rows, columns, target, rows + 5)
            expected[: columns * (rows + 5)].reshape(columns, rows + 5)[:, :rows] = source.reshape(rows, columns + 3)[
                :, :columns
            ].T
            np.testing.assert_array_equal(target, expected, err_msg=f"{rows} x {columns}")
