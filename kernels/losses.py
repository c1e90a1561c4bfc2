"""Losses from network outputs: value and correctness of each sample, and the gradient of the batch's mean."""

import numpy as np
from numba import prange

from ._compile import kernel, outlined, primitive
from ._simd import (
    NARROW,
    as_before,
    first_lanes,
    flush_tiny,
    lanes,
    load_n,
    load_n_doubles,
    max_lanes,
    maximum,
    splat,
    store_n,
    sum_lanes,
)
from ._simd_few import join_columns, split_columns
from .class_major import class_major_cross_entropy
from .gemm import turn
from .math import vexp_below, vlog
from .split import get, put, share

SOFTMAX_CROSS_ENTROPY, MEAN_SQUARED_ERROR = 0, 1
FEW_CLASSES = 16
"""Most classes whose cross-entropy is computed with the lanes along the samples.

Lanes along ten classes would be two registers, the second of them mostly idle, and sums over lanes for each sample
(100 × 10 on Zen 3, with registers of eight: 24 -> 5.6 µs).
"""
CLASS_MAJOR_ROWS = 128
"""Samples whose logits are turned to classes at once (8192 × 10 on Zen 3, 8 -> 128 samples: 280 -> 180 µs)."""


def scratch_size(n, n_workers=1):
    """Return the length of the scratch array (elements of T) for `n` outputs and `n_workers` workers."""
    return n_workers * FEW_CLASSES * CLASS_MAJOR_ROWS


@kernel
def narrow_cross_entropy(
    z, z_at, z_ld, labels, l_at, smoothing, dz, dz_at, dz_ld, losses, hits, row_at, rows, n, scale, scratch, s_at
):  # fmt: skip
    """Softmax cross-entropy of up to CLASS_MAJOR_ROWS rows of up to FEW_CLASSES classes, class by class in scratch."""
    step, ld = lanes(z), CLASS_MAJOR_ROWS
    few = n <= NARROW and z_ld == n and dz_ld == n
    if few:
        for r in range(0, rows, step):
            split_columns(n, z, z_at + r * n, min(step, rows - r), scratch, s_at + r, ld)
    else:
        turn(z, z_at, z_ld, rows, n, scratch, s_at, ld)
    class_major_cross_entropy(scratch, s_at, ld, labels, l_at, smoothing, losses, row_at, hits, row_at, rows, n, scale)
    if few:
        for r in range(0, rows, step):
            join_columns(n, scratch, s_at + r, ld, min(step, rows - r), dz, dz_at + r * n)
    else:
        turn(scratch, s_at, ld, n, rows, dz, dz_at, dz_ld)


@kernel
def largest(z, at, first, last, whole, top):
    """Return `top` raised lane by lane to the values `first` to `last`."""
    lowest = splat(z, -np.inf)
    for j in range(first, last, lanes(z)):
        v = get(z, at + j, last - j, whole)
        top = maximum(top, v if whole else first_lanes(v, last - j, lowest))
    return top


@kernel
def exponentials(z, z_at, dz, dz_at, first, last, whole, high, total):
    """Write `exp(z - high)` to `dz` and return the lanes' `total` with them added."""
    zero = splat(z, 0.0)
    for j in range(first, last, lanes(z)):
        e = vexp_below(get(z, z_at + j, last - j, whole) - high)
        put(dz, dz_at + j, e, last - j, whole)
        total = total + (e if whole else first_lanes(e, last - j, zero))
    return total


@kernel
def finish_row(dz, dz_at, target, t_at, first, last, whole, soft, factor, each, scaled):
    """Turn exponentials into gradients: `(e factor - target or each) scaled`."""
    for j in range(first, last, lanes(dz)):
        p = get(dz, dz_at + j, last - j, whole) * factor
        p = p - (get(target, t_at + j, last - j, whole) if soft else each)
        put(dz, dz_at + j, p * scaled, last - j, whole)


@kernel
def first_reaching(z, at, n, level):
    """Return the first index below `n` whose value is at least `level`; `n` if there is none."""
    step = lanes(z)
    for j in range(0, n, step):
        if max_lanes(first_lanes(load_n(z, at + j, n - j), n - j, splat(z, -np.inf))) >= level:
            for i in range(j, min(n, j + step)):
                if z[at + i] >= level:
                    return i
    return n


@kernel
def shifted_sum(z, z_at, target, t_at, n, high, soft):
    """Return (`Σ t (z - high)`, `Σ t`) over a row of target probabilities, or with every `t` one."""
    zero = splat(z, 0.0)
    inner, mass = zero, zero
    for j in range(0, n, lanes(z)):
        v = first_lanes(load_n(z, z_at + j, n - j) - high, n - j, zero)
        t = load_n(target, t_at + j, n - j) if soft else first_lanes(splat(z, 1.0), n - j, zero)
        inner, mass = inner + t * v, mass + t
    return sum_lanes(inner), sum_lanes(mass)


@primitive("ppiipppiii")
def wide_cross_entropy(z, target, label, smoothing, dz, loss_at, hit_at, n, scale, soft):
    """Softmax cross-entropy of one row, lanes along the classes; `soft` takes a row of target probabilities.

    Called with an offset behind each array.
    """
    step = lanes(z)
    whole = n - n % step
    top = largest(z, 0, 0, whole, True, splat(z, -np.inf))
    peak = max_lanes(largest(z, 0, whole, n, False, top))
    high = splat(z, peak)
    total = exponentials(z, 0, dz, 0, 0, whole, True, high, splat(z, 0.0))
    sum_ = sum_lanes(exponentials(z, 0, dz, 0, whole, n, False, high, total))
    # One lane's worth of logarithm: the row's loss is a scalar.
    loss = max_lanes(vlog(splat(z, sum_)))
    mass = splat(z, 1.0)
    if soft:
        inner, weight = shifted_sum(z, 0, target, 0, n, high, True)
        loss = loss * weight - inner
        mass = splat(z, weight)
        aim = max_lanes(largest(target, 0, whole, n, False, largest(target, 0, 0, whole, True, splat(z, -np.inf))))
        label = first_reaching(target, 0, n, aim)
    else:
        loss -= (1.0 - smoothing) * (z[label] - peak)
        if smoothing > 0.0:
            loss -= smoothing / n * shifted_sum(z, 0, z, 0, n, high, False)[0]
    loss_at[0] = loss
    # Of equal logits the first counts, as with argmax.
    hit_at[0] = 1.0 if z[label] >= peak and first_reaching(z, 0, label, peak) == label else 0.0
    factor, each, scaled = mass / splat(z, sum_), splat(z, smoothing / n), splat(z, scale)
    finish_row(dz, 0, target, 0, 0, whole, True, soft, factor, each, scaled)
    finish_row(dz, 0, target, 0, whole, n, False, soft, factor, each, scaled)
    if not soft:
        dz[label] -= (1.0 - smoothing) * scale


@kernel
def cross_entropy_part(
    z, z_at, z_ld, labels, l_at, target, t_at, t_ld, soft, smoothing, dz, dz_at, dz_ld,
    losses, hits, first, last, n, scale, scratch, s_at,
):  # fmt: skip
    """Softmax cross-entropy of the rows `first` to `last`; row r's labels, targets, results lie r rows on.

    `labels` are class numbers held in T. `scale` multiplies the gradient: one over the rows of the batch.
    """
    if n <= FEW_CLASSES and not soft:
        for r in range(first, last, CLASS_MAJOR_ROWS):
            narrow_cross_entropy(
                z, z_at + r * z_ld, z_ld, labels, l_at + r, smoothing, dz, dz_at + r * dz_ld, dz_ld,
                losses, hits, r, min(CLASS_MAJOR_ROWS, last - r), n, scale, scratch, s_at,
            )  # fmt: skip
    else:
        for r in range(first, last):
            label = 0 if soft else np.int64(labels[l_at + r])
            wide_cross_entropy(
                z, z_at + r * z_ld, target, t_at + r * t_ld, label, smoothing, dz, dz_at + r * dz_ld,
                losses, r, hits, r, n, scale, soft,
            )  # fmt: skip


@kernel
def squared_error_part(
    z, z_at, z_ld, target, t_at, t_ld, dz, dz_at, dz_ld, losses, hits, first, last, n, scale
):  # fmt: skip
    """Mean squared error of the rows `first` to `last`; arguments as `cross_entropy_part`."""
    step = lanes(z)
    factor = splat(z, 2.0 * scale / n)
    for r in range(first, last):
        total = splat(z, 0.0)
        for j in range(0, n, step):
            gap = load_n(z, z_at + r * z_ld + j, n - j) - load_n(target, t_at + r * t_ld + j, n - j)
            total = total + gap * gap
            store_n(dz, dz_at + r * dz_ld + j, gap * factor, n - j)
        losses[r] = sum_lanes(total) / n
        hits[r] = 0.0


@outlined
def loss_part(
    kind, z, z_at, z_ld, labels, l_at, target, t_at, t_ld, soft, smoothing, dz, dz_at, dz_ld,
    losses, hits, first, last, n, scale, scratch, s_at,
):  # fmt: skip
    """Run the loss numbered `kind` on the rows `first` to `last`."""
    if kind == SOFTMAX_CROSS_ENTROPY:
        cross_entropy_part(
            z, z_at, z_ld, labels, l_at, target, t_at, t_ld, soft, smoothing, dz, dz_at, dz_ld,
            losses, hits, first, last, n, scale, scratch, s_at,
        )  # fmt: skip
    else:
        squared_error_part(
            z, z_at, z_ld, target, t_at, t_ld, dz, dz_at, dz_ld, losses, hits, first, last, n, scale
        )  # fmt: skip


@kernel
def softmax_cross_entropy(z, labels, targets, smoothing, dz, row_loss, row_hit, scratch, n_workers):
    """Softmax cross-entropy from logits, forward and backward.

    With `p = softmax(z)` and `q` the targets: `row_loss = -Σ q log p`, `dz = (p Σq - q) / m`, where for labels
    `q = (1 - smoothing) onehot + smoothing / n`. Exact through log-sum-exp: no clipping.

    Parameters
    ----------
    z : (m, n) array of T, read
    labels : (m,) array of T, read where `targets` is empty
        Class numbers, 0 to n - 1 (whole numbers held in T).
    targets : (m, n) array of T, read; or (0, 0)
        Target probabilities.
    smoothing : float
        Label smoothing, 0 to 1; for labels only.
    dz : (m, n) array of T, written
        Gradient of the mean loss.
    row_loss, row_hit : (m,) arrays of T, written
        Loss of each row, and 1 where the (first) largest logit is the right one.
    scratch : 1-D array of T, written
        At least ``scratch_size(n, n_workers)`` long.
    n_workers : int
        Parts the rows are cut into; parallel over rows.
    """
    m, n = z.shape[0], z.shape[1]
    soft = targets.size > 0
    scale = 1.0 / max(m, 1)
    part = scratch.size // n_workers
    flat, dflat, tflat = z.reshape(m * n), dz.reshape(m * n), targets.reshape(targets.size)
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first, last = share(m, i, n_workers, 16), share(m, i + 1, n_workers, 16)
        cross_entropy_part(
            flat, 0, n, labels, 0, tflat, 0, n, soft, smoothing, dflat, 0, n,
            row_loss, row_hit, first, last, n, scale, scratch, i * part,
        )  # fmt: skip
        as_before(mode)


@kernel
def mean_squared_error(z, targets, dz, row_loss, row_hit, n_workers):
    """Mean squared error, forward and backward: `row_loss = mean_j (z - t)²`, `dz = 2 (z - t) / n / m`.

    Parameters
    ----------
    z, targets : (m, n) arrays of T, read
    dz : (m, n) array of T, written
        Gradient of the mean loss.
    row_loss, row_hit : (m,) arrays of T, written
        Loss of each row; zeros.
    n_workers : int
        Parts the rows are cut into; parallel over rows.
    """
    m, n = z.shape[0], z.shape[1]
    scale = 1.0 / max(m, 1)
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first, last = share(m, i, n_workers, 16), share(m, i + 1, n_workers, 16)
        squared_error_part(z, 0, n, targets, 0, n, dz, 0, n, row_loss, row_hit, first, last, n, scale)
        as_before(mode)


@kernel
def sum_rows(values, count):
    """Return the sum of the first `count` values in float64, in eight interleaved chains."""
    sums = load_n_doubles(values, 0, count)
    for i in range(8, count, 8):
        sums = sums + load_n_doubles(values, i, count - i)
    return sum_lanes(sums)


@kernel
def row_mean(values, out):
    """Write `out[0]`, the mean of `values` summed in float64 in an order fixed by their number.

    Parameters
    ----------
    values : (m,) array of T, read
    out : (1,) array of float64, written
    """
    out[0] = sum_rows(values, values.size) / max(values.size, 1)
