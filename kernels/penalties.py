"""L1 and L2 penalties on parameters: their value, and what they add to a gradient."""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import as_before, flush_tiny, fma, lanes, load_n, select, splat, store_n
from .split import share


@kernel
def add_gradient_block(g, g_at, g_ld, w, w_at, w_ld, rows, columns, l1, l2):
    """Add the penalties' gradient to a block of `rows` × `columns` gradients."""
    step = lanes(g)
    up, down, twice, zero = splat(g, l1), splat(g, -l1), splat(g, 2.0 * l2), splat(g, 0.0)
    for i in range(rows):
        for j in range(0, columns, step):
            n = columns - j
            v = load_n(w, w_at + i * w_ld + j, n)
            at = g_at + i * g_ld + j
            store_n(g, at, fma(twice, v, load_n(g, at, n) + select(v < zero, down, up)), n)


@kernel
def add_gradient(grad, param, l1, l2, n_workers):
    """Add the gradient of `l1 Σ|w| + l2 Σw²`: `grad += l1 sign(w) + 2 l2 w`, where sign(0) = +1.

    Parameters
    ----------
    grad : (n,) array of T, updated
    param : (n,) array of T, read
    l1, l2 : float
        Strengths, ≥ 0.
    n_workers : int
        Parts the arrays are cut into; parallel over elements.
    """
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first = share(grad.size, i, n_workers, 16)
        n = share(grad.size, i + 1, n_workers, 16) - first
        if n > 0:
            add_gradient_block(grad, first, n, param, first, n, 1, n, l1, l2)
        as_before(mode)


@kernel
def block_value(w, at, n, l1, l2):
    """Return `l1 Σ|w| + l2 Σw²` of `n` values in float64, summed in four interleaved chains."""
    a0, a1, a2, a3 = 0.0, 0.0, 0.0, 0.0
    b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0
    whole = n - n % 4
    for i in range(at, at + whole, 4):
        w0, w1, w2, w3 = np.float64(w[i]), np.float64(w[i + 1]), np.float64(w[i + 2]), np.float64(w[i + 3])
        a0, a1, a2, a3 = a0 + abs(w0), a1 + abs(w1), a2 + abs(w2), a3 + abs(w3)
        b0, b1, b2, b3 = fma(w0, w0, b0), fma(w1, w1, b1), fma(w2, w2, b2), fma(w3, w3, b3)
    for i in range(at + whole, at + n):
        w0 = np.float64(w[i])
        a0, b0 = a0 + abs(w0), fma(w0, w0, b0)
    total = 0.0
    # A factor of zero is left out, so that an infinite weight without a penalty does not turn it into NaN.
    if l1 > 0.0:
        total += l1 * ((a0 + a1) + (a2 + a3))
    if l2 > 0.0:
        total += l2 * ((b0 + b1) + (b2 + b3))
    return total


@kernel
def value(param, l1, l2, out):
    """Write `out[0] = l1 Σ|w| + l2 Σw²`.

    Parameters
    ----------
    param : (n,) array of T, read
    l1, l2 : float
        Strengths, ≥ 0.
    out : (1,) array of float64, written
        Summed in float64 in an order fixed by `n`; serial.
    """
    out[0] = block_value(param, 0, param.size, l1, l2)
