"""Probabilities of classes and their losses, as the door `fastnn.nnfs` wants them.

The arithmetic is that of `losses`, element by element in the same order, so that a network has the same bits through
this door as through the others. What differs is where values end up: probabilities and gradients are separate here,
and losses are clipped as if the probability had been.
"""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import (
    NARROW,
    as_before,
    first_lanes,
    flush_tiny,
    itemsize,
    lanes,
    load,
    load_n,
    max_lanes,
    maximum,
    select,
    splat,
    store,
    store_n,
    sum_lanes,
)
from ._simd_few import join_columns, split_columns
from .losses import sum_rows
from .math import vexp_below, vlog
from .split import share

_BLOCK = 128
_CLIP = 1e-7


def probability_scratch(n_workers=1, m=0):
    """Return the elements of scratch of the kernels of probabilities, for any number of classes."""
    return 2 * m + n_workers * 17 * _BLOCK


@kernel
def clipped(loss):
    """Return `-log(p)` as if p had been clipped to 1e-7 from both ends of [0, 1]; NaN stays."""
    # In float32 the upper end is the number before 1, not `1 - 1e-7`.
    low = splat(loss, 1.1920929665620834e-07 if itemsize(loss) == 4 else 1.0000000494736474e-07)
    high = splat(loss, 16.11809565095832)
    loss = select(loss < low, low, loss)
    return select(loss > high, high, loss)


@kernel
def transposed(source, at, row, column, target, target_at, target_row, target_column, rows, columns):
    """Copy a block from and to any strides, one by one: for few columns sixteen masked rows of a `turn` cost more."""
    for j in range(columns):
        for r in range(rows):
            # Unsigned, so that no code is made for indices from the end.
            here = np.uint64(at + r * row + j * column)
            target[np.uint64(target_at + r * target_row + j * target_column)] = source[here]


@kernel
def narrow_probabilities(
    z, z_at, z_ld, labels, l_at, p, p_at, p_ld, losses, hits, row_at, rows, n, scored, scratch, s_at
):  # fmt: skip
    """Probabilities of up to `_BLOCK` rows of few classes, lanes along the rows; see `losses`."""
    step = lanes(z)
    few = n <= NARROW and z_ld == n and p_ld == n
    if few:
        for r in range(0, rows, step):
            split_columns(n, z, z_at + r * n, min(step, rows - r), scratch, s_at + r, _BLOCK)
    else:
        transposed(z, z_at, z_ld, 1, scratch, s_at, 1, _BLOCK, rows, n)
    own_at = s_at + n * _BLOCK
    if scored:
        for r in range(rows):
            scratch[np.uint64(own_at + r)] = labels[np.uint64(l_at + r)]
    zero, one = splat(z, 0.0), splat(z, 1.0)
    for r in range(0, rows, step):
        at = s_at + r
        label = load(scratch, own_at + r)
        top = load(scratch, at)
        where, own = zero, top
        for j in range(1, n):
            v = load(scratch, at + j * _BLOCK)
            index = splat(z, j)
            higher = v > top
            where = select(higher, index, where)
            top = select(higher, v, top)
            own = select(label == index, v, own)
        total = zero
        for j in range(n):
            e = vexp_below(load(scratch, at + j * _BLOCK) - top)
            store(scratch, at + j * _BLOCK, e)
            total = total + e
        part = one / total
        for j in range(n):
            store(scratch, at + j * _BLOCK, load(scratch, at + j * _BLOCK) * part)
        if scored:
            left = min(step, rows - r)
            store_n(losses, row_at + r, clipped(vlog(total) - (own - top)), left)
            store_n(hits, row_at + r, select(where == label, one, zero), left)
    if few:
        for r in range(0, rows, step):
            join_columns(n, scratch, s_at + r, _BLOCK, min(step, rows - r), p, p_at + r * n)
    else:
        transposed(scratch, s_at, 1, _BLOCK, p, p_at, p_ld, 1, rows, n)


@kernel
def wide_probabilities(z, z_at, label, p, p_at, losses, hits, row_at, n, scored):
    """Probabilities of one row, lanes along the classes; see `losses.wide_cross_entropy`."""
    step = lanes(z)
    lowest, zero = splat(z, -np.inf), splat(z, 0.0)
    top = lowest
    for j in range(0, n, step):
        top = maximum(top, first_lanes(load_n(z, z_at + j, n - j), n - j, lowest))
    peak = max_lanes(top)
    high, total = splat(z, peak), zero
    for j in range(0, n, step):
        e = first_lanes(vexp_below(load_n(z, z_at + j, n - j) - high), n - j, zero)
        store_n(p, p_at + j, e, n - j)
        total = total + e
    sum_ = splat(z, sum_lanes(total))
    if scored:
        best = 0
        while best < n - 1 and not z[z_at + best] >= peak:
            best += 1
        store_n(losses, row_at, clipped(splat(z, max_lanes(vlog(sum_)) - (z[z_at + label] - peak))), 1)
        hits[row_at] = 1.0 if best == label else 0.0
    factor = splat(z, 1.0) / sum_
    for j in range(0, n, step):
        store_n(p, p_at + j, load_n(p, p_at + j, n - j) * factor, n - j)


@kernel
def probability_part(
    z, z_at, z_ld, labels, l_at, p, p_at, p_ld, losses, hits, first, last, n, scored, scratch, s_at
):  # fmt: skip
    """Write the softmax of the rows `first` to `last` and, if `scored`, their clipped cross-entropy and hits."""
    # As in `losses`, so that the bits are those of the networks in `book_train`.
    if n <= max(lanes(z), NARROW):
        for r in range(first, last, _BLOCK):
            narrow_probabilities(
                z, z_at + r * z_ld, z_ld, labels, l_at + r, p, p_at + r * p_ld, p_ld,
                losses, hits, r, min(_BLOCK, last - r), n, scored, scratch, s_at,
            )  # fmt: skip
    else:
        for r in range(first, last):
            label = np.int64(labels[l_at + r]) if scored else 0
            wide_probabilities(z, z_at + r * z_ld, label, p, p_at + r * p_ld, losses, hits, r, n, scored)


@kernel
def wrong_label(labels, m, n):
    """Return the first row whose label is not a whole number from 0 to n - 1, or -1."""
    wrong = 0
    for r in range(m):
        # Without a way out, so that the loop runs in vectors.
        label = labels[np.uint64(r)]
        wrong |= (not label >= 0) | (not label < n) | (not label == np.int64(label))
    if not wrong:
        return -1
    for r in range(m):
        label = labels[r]
        if not (label >= 0 and label < n and label == np.int64(label)):
            return r
    return -1


@kernel
def softmax(z, p, scratch, n_workers):
    """Softmax of each row: `p = exp(z - max z) / Σ exp(z - max z)`.

    Parameters
    ----------
    z : (m, n) array of T, read
    p : (m, n) array of T, written
    scratch : 1-D array of T, written
        At least ``probability_scratch(n_workers)`` long.
    n_workers : int
        Parts the rows are cut into; parallel over rows.
    """
    m, n = z.shape
    zs, ps = z.reshape(m * n), p.reshape(m * n)
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first, last = share(m, i, n_workers, 16), share(m, i + 1, n_workers, 16)
        probability_part(zs, 0, n, zs, 0, ps, 0, n, zs, zs, first, last, n, False, scratch, i * part)
        as_before(mode)


@kernel
def cross_entropy(z, labels, p, out, scratch, n_workers):
    """Softmax of each row and its cross-entropy, `row_loss = -log(clip(p[label], 1e-7, 1 - 1e-7))`.

    Parameters
    ----------
    z : (m, n) array of T, read
    labels : (m,) array of integers or T, read
    p : (m, n) array of T, written
    out : (2,) array of T, written
        The mean loss, and the first row whose label is none from 0 to n - 1 (then nothing else is written), or -1.
    scratch : 1-D array of T, written
        At least ``probability_scratch(n_workers, m)`` long.
    n_workers : int
        Parts the rows are cut into; parallel over rows.

    Notes
    -----
    The logarithm is taken of the logits, exactly, and the loss clipped: the same to rounding, and no cancellation.
    """
    m, n = z.shape
    bad = wrong_label(labels, m, n)
    out[1] = bad
    if bad >= 0:
        return
    zs, ps = z.reshape(m * n), p.reshape(m * n)
    row_loss, row_hit = scratch[:m], scratch[m : 2 * m]
    part = (scratch.size - 2 * m) // n_workers
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first, last = share(m, i, n_workers, 16), share(m, i + 1, n_workers, 16)
        probability_part(
            zs, 0, n, labels, 0, ps, 0, n, row_loss, row_hit, first, last, n, True, scratch, 2 * m + i * part
        )
        as_before(mode)
    out[0] = sum_rows(row_loss, m) / max(m, 1)
