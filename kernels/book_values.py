"""Losses of values and of yes-or-no probabilities, as the door `fastnn.nnfs` wants them: value and gradient apart."""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import as_before, first_lanes, flush_tiny, lanes, load_n, select, splat, store_n, sum_lanes
from .math import vlog
from .split import share

CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SQUARED_ERROR, ABSOLUTE_ERROR, ABSOLUTE_ERROR_REVERSED = range(5)
"""Losses by number; the first is that of `book`, of classes."""
_CLIP = 1e-7


@kernel
def value_terms(kind, p, t):
    """Return the losses of a register of outputs."""
    one = splat(p, 1.0)
    if kind == BINARY_CROSS_ENTROPY:
        low, high = splat(p, _CLIP), splat(p, 1.0 - _CLIP)
        c = select(p < low, low, select(p > high, high, p))
        return splat(p, 0.0) - (t * vlog(c) + (one - t) * vlog(one - c))
    gap = p - t
    if kind == SQUARED_ERROR:
        return gap * gap
    return select(gap < splat(p, 0.0), splat(p, 0.0) - gap, gap)


@kernel
def value_slopes(kind, p, t, factor):
    """Return `factor` times the derivatives of a register of losses."""
    zero, one = splat(p, 0.0), splat(p, 1.0)
    if kind == BINARY_CROSS_ENTROPY:
        low, high = splat(p, _CLIP), splat(p, 1.0 - _CLIP)
        c = select(p < low, low, select(p > high, high, p))
        return ((one - t) / (one - c) - t / c) * factor
    gap = p - t
    if kind == SQUARED_ERROR:
        return gap * (factor + factor)
    # Zero for no gap, NaN for NaN.
    sign = select(gap > zero, one, select(gap < zero, zero - one, gap * zero))
    return sign * factor if kind == ABSOLUTE_ERROR else zero - sign * factor


@kernel
def value_part(kind, p, p_at, p_ld, t, t_at, t_ld, losses, first, last, n):
    """Write the losses of the rows `first` to `last`: the mean over a row's outputs."""
    step = lanes(p)
    if n == 1 and p_ld == 1 and t_ld == 1:
        for r in range(first, last, step):
            v = value_terms(kind, load_n(p, p_at + r, last - r), load_n(t, t_at + r, last - r))
            store_n(losses, r, v, last - r)
        return
    zero = splat(p, 0.0)
    for r in range(first, last):
        total = zero
        for j in range(0, n, step):
            v = value_terms(kind, load_n(p, p_at + r * p_ld + j, n - j), load_n(t, t_at + r * t_ld + j, n - j))
            total = total + first_lanes(v, n - j, zero)
        losses[r] = sum_lanes(total) / n


@kernel
def value_gradient_part(kind, p, p_at, p_ld, t, t_at, t_ld, d, d_at, d_ld, first, last, n, scale):
    """Write `scale` times the derivatives of the outputs' losses in the rows `first` to `last`."""
    step = lanes(p)
    factor = splat(p, scale)
    for r in range(first, last):
        for j in range(0, n, step):
            v = load_n(p, p_at + r * p_ld + j, n - j)
            v = value_slopes(kind, v, load_n(t, t_at + r * t_ld + j, n - j), factor)
            store_n(d, d_at + r * d_ld + j, v, n - j)


@kernel
def value_loss(kind, p, t, row_loss, n_workers):
    """Loss of each row of outputs: the mean of `l(p, t)` over the row.

    Parameters
    ----------
    kind : int
        BINARY_CROSS_ENTROPY `-(t log c + (1 - t) log(1 - c))` with c = p clipped to 1e-7 from both ends of [0, 1];
        SQUARED_ERROR `(p - t)²`; ABSOLUTE_ERROR `|p - t|`.
    p, t : (m, n) arrays of T, read
    row_loss : (m,) array of T, written
    n_workers : int
        Parts the rows are cut into; parallel over rows.
    """
    m, n = p.shape
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first, last = share(m, i, n_workers, 16), share(m, i + 1, n_workers, 16)
        value_part(kind, p, 0, n, t, 0, n, row_loss, first, last, n)
        as_before(mode)


@kernel
def value_gradient(kind, p, t, d, n_workers):
    """Gradient of the mean of `value_loss` with respect to `p`; ABSOLUTE_ERROR_REVERSED has the other sign.

    Parameters
    ----------
    kind : int
    p, t : (m, n) arrays of T, read
    d : (m, n) array of T, written
    n_workers : int
        Parts the elements are cut into; parallel over them.
    """
    m, n = p.shape
    whole = m * n
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first, last = share(whole, i, n_workers, 16), share(whole, i + 1, n_workers, 16)
        if last > first:
            # As one row: the derivatives know nothing of rows.
            run = last - first
            value_gradient_part(kind, p, first, run, t, first, run, d, first, run, 0, 1, run, 1.0 / max(m, 1) / n)
        as_before(mode)
