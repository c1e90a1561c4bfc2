"""Class numbers as Python holds them: checked, turned into T and put to use in one call."""

import functools

import numpy as np

from ._compile import kernel
from .losses import cross_entropy_part, sum_rows


@functools.cache
def labelled_entry(dtype):
    """Return the compiled `labelled_cross_entropy` for logits of a dtype."""
    z, flat = np.empty((0, 0), dtype), np.empty(0, dtype)
    labels, out = np.empty(0, np.int64), np.empty(2)
    return labelled_cross_entropy.entry(z, labels, 0.0, z, flat, flat, flat, out)


@kernel
def labelled_cross_entropy(z, y, smoothing, dz, row_loss, row_hit, scratch, out):
    """Softmax cross-entropy of class numbers, with their check before it and the mean after it.

    The same as `losses.softmax_cross_entropy` on one worker, then `losses.row_mean`. One call in place of three and of
    four passes of NumPy's: 4 µs at 300 × 3 instead of 12.

    Parameters
    ----------
    z : (m, n) array of T, read
    y : (m,) array of int64, read
        Class numbers. If one of them is not from 0 to n - 1, only that is written.
    smoothing : float
        Label smoothing, 0 to 1.
    dz : (m, n) array of T, written
        Gradient of the mean loss.
    row_loss, row_hit : (m,) arrays of T, written
        Loss of each row, and 1 where the (first) largest logit is the right one.
    scratch : 1-D array of T, written
        At least ``m + losses.scratch_size(n)`` long.
    out : (2,) array of float64, written
        The mean loss, and how many class numbers are out of range.
    """
    m, n = z.shape[0], z.shape[1]
    wrong = 0
    for i in range(m):
        label = y[np.uint64(i)]
        wrong += (label < 0) | (label >= n)
        scratch[np.uint64(i)] = label
    out[1] = wrong
    if wrong == 0:
        flat, dflat, scale = z.reshape(m * n), dz.reshape(m * n), 1.0 / max(m, 1)
        cross_entropy_part(
            flat, 0, n, scratch, 0, dflat, 0, n, False, smoothing, dflat, 0, n,
            row_loss, row_hit, 0, m, n, scale, scratch, m,
        )  # fmt: skip
        out[0] = sum_rows(row_loss, m) / max(m, 1)
