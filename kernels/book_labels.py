"""Gradients by class number, and the cross-entropy of probabilities apart from any softmax, for `fastnn.nnfs`."""

import functools

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import NARROW, as_before, flush_tiny, lanes, load_n, max_lanes, select, splat, store_n
from .book import cross_entropy, wrong_label
from .losses import sum_rows
from .math import vlog
from .split import share

_CLIP = 1e-7


@kernel
def probability_gradient_part(dv, dv_at, dv_ld, labels, l_at, d, d_at, d_ld, first, last, n, scale, same):
    """Write `(dv - onehot) * scale` for the rows `first` to `last`, rounded as `losses` rounds it.

    `same` says that `dv` and `d` are one place.
    """
    step = lanes(d)
    factor = splat(d, scale)
    one, small = max_lanes(splat(d, 1.0)), max_lanes(factor)
    narrow = n <= max(step, NARROW)
    if narrow and same:
        for r in range(first, last):
            d[np.uint64(d_at + r * d_ld + np.int64(labels[np.uint64(l_at + r)]))] -= one
    if dv_ld == n and d_ld == n:
        # Rows lie end to end: one run, whatever the width of a row.
        whole = (last - first) * n
        for i in range(0, whole, step):
            v = load_n(dv, dv_at + first * n + i, whole - i)
            store_n(d, d_at + first * n + i, v * factor, whole - i)
    else:
        for r in range(first, last):
            for j in range(0, n, step):
                store_n(d, d_at + r * d_ld + j, load_n(dv, dv_at + r * dv_ld + j, n - j) * factor, n - j)
    if narrow and same:
        return
    for r in range(first, last):
        label = np.int64(labels[np.uint64(l_at + r)])
        at = np.uint64(d_at + r * d_ld + label)
        if narrow:
            d[at] = (dv[np.uint64(dv_at + r * dv_ld + label)] - one) * small
        else:
            d[at] -= small


@kernel
def cross_entropy_gradient(dv, labels, d, out, n_workers):
    """Gradient of softmax and mean cross-entropy together: `d = (dv - onehot(labels)) / m`.

    Parameters
    ----------
    dv : (m, n) array of T, read
        The probabilities.
    labels : (m,) array of integers or T, read
    d : (m, n) array of T, written
    out : (2,) array of T, written
        ``out[1]`` as in `cross_entropy`.
    n_workers : int
        Parts the rows are cut into; parallel over rows.
    """
    m, n = dv.shape
    bad = wrong_label(labels, m, n)
    out[1] = bad
    if bad >= 0:
        return
    dvs, ds = dv.reshape(m * n), d.reshape(m * n)
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first, last = share(m, i, n_workers, 16), share(m, i + 1, n_workers, 16)
        probability_gradient_part(dvs, 0, n, labels, 0, ds, 0, n, first, last, n, 1.0 / max(m, 1), False)
        as_before(mode)


@functools.cache
def entries(dtype, label_dtype):
    """Return the compiled `cross_entropy` and `cross_entropy_gradient` for arrays of the dtypes."""
    p, flat, labels = np.empty((0, 0), dtype), np.empty(0, dtype), np.empty(0, label_dtype)
    return cross_entropy.entry(p, labels, p, flat, flat, 1), cross_entropy_gradient.entry(p, labels, p, flat, 1)


@kernel
def clipped_log_loss(p, labels, row_loss, out, n_workers):
    """Cross-entropy of probabilities: `row_loss = -log(clip(p[label], 1e-7, 1 - 1e-7))`.

    Parameters
    ----------
    p : (m, n) array of T, read
    labels : (m,) array of integers or T, read
    row_loss : (m,) array of T, written
    out : (2,) array of T, written
        As in `cross_entropy`.
    n_workers : int
        Not used: the work is one logarithm a row.
    """
    m, n = p.shape
    bad = wrong_label(labels, m, n)
    out[1] = bad
    if bad >= 0:
        return
    for r in range(m):
        row_loss[r] = p[r, np.int64(labels[r])]
    low, high = splat(p, _CLIP), splat(p, 1.0 - _CLIP)
    zero, step = splat(p, 0.0), lanes(p)
    for r in range(0, m, step):
        v = load_n(row_loss, r, m - r)
        v = select(v < low, low, select(v > high, high, v))
        store_n(row_loss, r, zero - vlog(v), m - r)
    out[0] = sum_rows(row_loss, m) / max(m, 1)


@kernel
def log_loss_gradient(dv, labels, d, out, n_workers):
    """Gradient of the mean cross-entropy of probabilities: `-1 / dv / m` at the label, 0 elsewhere.

    Parameters
    ----------
    dv : (m, n) array of T, read
    labels : (m,) array of integers or T, read
    d : (m, n) array of T, written
    out : (2,) array of T, written
        ``out[1]`` as in `cross_entropy`.
    n_workers : int
        Not used.
    """
    m, n = dv.shape
    bad = wrong_label(labels, m, n)
    out[1] = bad
    if bad >= 0:
        return
    zero, one, count = max_lanes(splat(d, 0.0)), max_lanes(splat(d, 1.0)), max_lanes(splat(d, m))
    for r in range(m):
        for j in range(n):
            d[r, j] = zero
        label = np.int64(labels[r])
        d[r, label] = -one / dv[r, label] / count
