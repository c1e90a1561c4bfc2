"""Activations that stand alone, forward and backward: inside a dense layer they are part of the product's end."""

import functools

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import (
    as_before,
    first_lanes,
    flush_tiny,
    itemsize,
    lanes,
    load_n,
    max_lanes,
    maximum,
    select,
    splat,
    store_n,
    sum_lanes,
)
from .math import vexp_below, vsigmoid, vtanh
from .split import get, put, share

_LINEAR, _RELU, _SIGMOID, _TANH = 0, 1, 2, 3


@kernel
def activate_part(x, x_at, x_ld, y, y_at, y_ld, rows, columns, activation):
    """Write `y = act(x)` for a block of `rows` × `columns` values."""
    step = lanes(y)
    zero = splat(y, 0.0)
    for i in range(rows):
        for j in range(0, columns, step):
            n = columns - j
            whole = n >= step
            v = get(x, x_at + i * x_ld + j, n, whole)
            if activation == _RELU:
                v = select(v < zero, zero, v)
            elif activation == _SIGMOID:
                v = vsigmoid(v)
            elif activation == _TANH:
                v = vtanh(v)
            put(y, y_at + i * y_ld + j, v, n, whole)


@kernel
def derive_part(dy, dy_at, dy_ld, y, y_at, y_ld, dx, dx_at, dx_ld, rows, columns, activation):
    """Write `dx = dy * act'`, the derivative taken from the output `y` (for ReLU its sign decides)."""
    step = lanes(y)
    zero, one = splat(y, 0.0), splat(y, 1.0)
    for i in range(rows):
        for j in range(0, columns, step):
            n = columns - j
            whole = n >= step
            d = get(dy, dy_at + i * dy_ld + j, n, whole)
            v = get(y, y_at + i * y_ld + j, n, whole)
            if activation == _RELU:
                d = select(v > zero, d, zero)
            elif activation == _SIGMOID:
                d = d * (one - v) * v
            elif activation == _TANH:
                d = d * (one - v * v)
            put(dx, dx_at + i * dx_ld + j, d, n, whole)


@kernel
def before_line(array, first, n):
    """Return how many of the `n` elements from `first` on lie before the first whole cache line.

    Arrays of NumPy's begin 16 bytes behind a line. A register across two lines costs a fifth more, and what is done
    element by element can begin with a part of one.
    """
    size = itemsize(array)
    return min(n, (-(np.int64(array.ctypes.data) + first * size)) % 64 // size)


@functools.cache
def activation_entries(dtype):
    """Return the compiled `activation_forward` and `activation_backward` for 2-D arrays of a dtype."""
    x = np.empty((0, 0), dtype)
    return activation_forward.entry(x, x, 0, 1), activation_backward.entry(x, x, x, 0, 1)


@kernel
def activation_forward(x, y, activation, n_workers):
    """Element by element `y = act(x)`.

    Parameters
    ----------
    x : array of T, any shape, read
    y : array of T, of that shape, written (may be `x`)
    activation : int
        0 linear, 1 `max(0, x)` (NaN stays NaN), 2 `1 / (1 + exp(-x))`, 3 `tanh(x)`.
    n_workers : int
        Parts the arrays are cut into; parallel over elements.
    """
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first = share(x.size, i, n_workers, 16)
        n = share(x.size, i + 1, n_workers, 16) - first
        head = before_line(y, first, n)
        for at, count in ((first, head), (first + head, n - head)):
            activate_part(x, at, count, y, at, count, 1, count, activation)
        as_before(mode)


@kernel
def activation_backward(dy, y, dx, activation, n_workers):
    """Element by element `dx = dy * act'`: `[y > 0]`, `(1 - y) y` or `1 - y²` of the output `y`.

    Parameters
    ----------
    dy, y : arrays of T, any shape, read
        For ReLU `y` may be the input as well: only its sign counts.
    dx : array of T, written (may be `dy`)
    activation : int
        As in `activation_forward`.
    n_workers : int
        Parts the arrays are cut into; parallel over elements.
    """
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first = share(y.size, i, n_workers, 16)
        n = share(y.size, i + 1, n_workers, 16) - first
        head = before_line(dx, first, n)
        for at, count in ((first, head), (first + head, n - head)):
            derive_part(dy, at, count, y, at, count, dx, at, count, 1, count, activation)
        as_before(mode)


@kernel
def softmax_part(z, z_at, z_ld, p, p_at, p_ld, rows, columns):
    """Write the softmax of `rows` rows of `columns` values."""
    step = lanes(p)
    lowest = splat(p, -np.inf)
    for i in range(rows):
        row, out = z_at + i * z_ld, p_at + i * p_ld
        top = lowest
        for j in range(0, columns, step):
            n = min(step, columns - j)
            top = maximum(top, first_lanes(load_n(z, row + j, n), n, lowest))
        high = splat(p, max_lanes(top))
        total = splat(p, 0.0)
        for j in range(0, columns, step):
            n = min(step, columns - j)
            e = vexp_below(load_n(z, row + j, n) - high)
            total = total + first_lanes(e, n, splat(p, 0.0))
            store_n(p, out + j, e, n)
        total = splat(p, sum_lanes(total))
        for j in range(0, columns, step):
            n = columns - j
            store_n(p, out + j, load_n(p, out + j, n) / total, n)


@kernel
def softmax_backward_part(dp, dp_at, dp_ld, p, p_at, p_ld, dz, dz_at, dz_ld, rows, columns):
    """Write `dz = p * (dp - Σ dp p)` for `rows` rows: the softmax's Jacobian times `dp`."""
    step = lanes(p)
    for i in range(rows):
        total = splat(p, 0.0)
        for j in range(0, columns, step):
            n = columns - j
            total = total + load_n(dp, dp_at + i * dp_ld + j, n) * load_n(p, p_at + i * p_ld + j, n)
        shared = splat(p, sum_lanes(total))
        for j in range(0, columns, step):
            n = columns - j
            v = load_n(p, p_at + i * p_ld + j, n) * (load_n(dp, dp_at + i * dp_ld + j, n) - shared)
            store_n(dz, dz_at + i * dz_ld + j, v, n)


@kernel
def softmax_forward(z, p, n_workers):
    """Softmax of each row: `p = exp(z - max z) / Σ exp(z - max z)`.

    Parameters
    ----------
    z : (m, n) array of T, read
    p : (m, n) array of T, written
    n_workers : int
        Parts the rows are cut into; parallel over rows.

    Notes
    -----
    The sum runs over the lanes of one register and then over a fixed tree, in T.
    """
    n = z.shape[1]
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first = share(z.shape[0], i, n_workers, 1)
        rows = share(z.shape[0], i + 1, n_workers, 1) - first
        softmax_part(z, first * n, n, p, first * n, n, rows, n)
        as_before(mode)


@kernel
def softmax_backward(dp, p, dz, n_workers):
    """Backward of `softmax_forward`: `dz = p * (dp - Σ_j dp_j p_j)`, row by row.

    Parameters
    ----------
    dp, p : (m, n) arrays of T, read
        Gradient of the probabilities, and the probabilities.
    dz : (m, n) array of T, written
    n_workers : int
        Parts the rows are cut into; parallel over rows.
    """
    n = p.shape[1]
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first = share(p.shape[0], i, n_workers, 1)
        rows = share(p.shape[0], i + 1, n_workers, 1) - first
        softmax_backward_part(dp, first * n, n, p, first * n, n, dz, first * n, n, rows, n)
        as_before(mode)
