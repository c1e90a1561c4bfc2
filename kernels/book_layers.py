"""Whole dense layers a call, as the door `fastnn.nnfs` wants them: both gradients, and both parameters, at once.

Small layers cost as much in calls as in arithmetic. The bits are those of `gemm` and `optim`.
"""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import KEEP, TILE_ROWS, TILE_VECTORS, ZERO, lanes
from .gemm import LINEAR, forward_part, inputs_part, panel, weights_part, worker_scratch
from .optim import update_block
from .split import share


def dense_scratch(m, k, n, size, n_workers=1):
    """Return the elements of scratch, of `size` bytes each, of the kernels of a dense layer of `m` rows."""
    return n_workers * max(worker_scratch(max(m, k, n), size), TILE_ROWS * (m + n + 16))


@kernel
def layer_forward(x, w, b, y, scratch, n_workers):
    """Dense layer, `y = x @ w + b`, with the bits of `gemm.dense_forward`.

    Parameters
    ----------
    x : (m, k) array of T, read
    w : (k, n) array of T, read
    b : (1, n) array of T, read
    y : (m, n) array of T, written
    scratch : 1-D array of T, written
        At least ``dense_scratch(m, k, n, itemsize, n_workers)`` long.
    n_workers : int
        Parts the output is cut into; parallel over output tiles.
    """
    m, k = x.shape
    n = w.shape[1]
    xs, ws, bs, ys = x.reshape(m * k), w.reshape(k * n), b.reshape(n), y.reshape(m * n)
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        i = np.int64(worker)
        forward_part(xs, 0, k, ws, 0, bs, 0, ys, 0, n, m, k, n, LINEAR, scratch, i * part, i, n_workers)


@kernel
def few_inputs_part(x, dz, dw, db, m, k, n, scratch, s_at):
    """Compute the gradients of the parameters of a layer of few inputs in one pass over `dz`.

    The sum of a column is its product with ones, so the biases are one more input that is always 1.
    """
    wide, out_at = k + 1, s_at + m * (k + 1)
    for r in range(m):
        for i in range(k):
            scratch[np.uint64(s_at + r * wide + i)] = x[np.uint64(r), np.uint64(i)]
        scratch[np.uint64(s_at + r * wide + k)] = 1.0
    width = TILE_VECTORS * lanes(dw)
    for j in range(0, n, width):
        panel(
            scratch, s_at, 1, wide, dz, j, n, scratch, out_at + j, n, wide, m, min(width, n - j),
            ZERO, dw, 0, KEEP, dw, 0,
        )  # fmt: skip
    for i in range(k):
        for j in range(n):
            dw[i, j] = scratch[out_at + i * n + j]
    for j in range(n):
        db[0, j] = scratch[out_at + k * n + j]


@kernel
def layer_backward(x, dz, w, dw, db, dx, scratch, n_workers):
    """Gradients of a dense layer, `dw = x.T @ dz`, `db = Σ dz`, `dx = dz @ w.T`, with the bits of those in `gemm`.

    Parameters
    ----------
    x : (m, k) array of T, read
    dz : (m, n) array of T, read
    w : (k, n) array of T, read
    dw : (k, n) array of T, overwritten
    db : (1, n) array of T, overwritten
    dx : (m, k) array of T, overwritten; or (0, 0), if it is not wanted
    scratch : 1-D array of T, written
        At least ``dense_scratch(m, k, n, itemsize, n_workers)`` long.
    n_workers : int
        Parts each output is cut into; parallel over output tiles.
    """
    m, k = x.shape
    n = w.shape[1]
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        i = np.int64(worker)
        at = i * part
        if n_workers == 1 and k < TILE_ROWS and n >= lanes(dw):
            few_inputs_part(x, dz, dw, db, m, k, n, scratch, at)
        else:
            weights_part(x, 0, k, dz, 0, n, dw, 0, db, 0, m, k, n, scratch, at, i, n_workers)
        if dx.size > 0:
            inputs_part(dz, 0, n, w, 0, dx, 0, k, m, k, n, LINEAR, dx, 0, scratch, at, i, n_workers)


@kernel
def layer_inputs(dz, w, dx, scratch, n_workers):
    """Gradient of a dense layer's inputs alone; arguments as in `layer_backward`."""
    m, n = dz.shape
    k = w.shape[0]
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        i = np.int64(worker)
        inputs_part(dz, 0, n, w, 0, dx, 0, k, m, k, n, LINEAR, dx, 0, scratch, i * part, i, n_workers)


@kernel
def layer_update(kind, w, b, dw, db, w1, w2, b1, b2, scalars, n_workers):
    """One optimisation step on a layer's weights and biases, in place; see `optim.update`.

    Parameters
    ----------
    kind : int
    w, dw, w1, w2 : (k, n) arrays of T
        Weights and their state, updated (state (0, 0) where the kind keeps none), and their gradient, read.
    b, db, b1, b2 : (1, n) arrays of T
        The biases likewise.
    scalars : (8,) array of float64, read
    n_workers : int
        Parts the weights are cut into; parallel over elements.
    """
    for worker in prange(n_workers):
        i = np.int64(worker)
        first = share(w.size, i, n_workers, 16)
        n = share(w.size, i + 1, n_workers, 16) - first
        if n > 0:
            update_block(kind, w, first, n, dw, first, n, w1, w2, w2, 1, n, scalars)
        if i == 0:
            update_block(kind, b, 0, b.size, db, 0, b.size, b1, b2, b2, 1, b.size, scalars)
