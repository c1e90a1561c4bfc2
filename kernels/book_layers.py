"""Whole dense layers a call, as the door `fastnn.nnfs` wants them: both gradients, and both parameters, at once.

Small layers cost as much in calls as in arithmetic. The bits are those of `gemm` and `optim`.
"""

import functools

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import TILE_ROWS, as_before, flush_tiny
from .few import LIMIT, ONE_PIECE, few_in, few_in_back, few_out, few_outputs_gradients
from .gemm import LINEAR, forward_part, inputs_part, weights_part, worker_scratch
from .optim import update_block
from .split import share


def dense_scratch(m, k, n, size, n_workers=1):
    """Return the elements of scratch, of `size` bytes each, of the kernels of a dense layer of `m` rows.

    Unless gradients of the parameters alone are wanted, narrow layers on one worker need less, see `few_scratch`.
    """
    return n_workers * max(worker_scratch(max(m, k, n), size), TILE_ROWS * (m + n + 16))


def few_scratch(m, k, n, size):
    """Return the elements of scratch of `layer_forward` and of `layer_backward` with all gradients, on one worker."""
    if k <= LIMIT:
        return 0, 0
    return (0, 2 * k * n) if n <= LIMIT else (dense_scratch(m, k, n, size),) * 2


def _examples(dtype, bias_dimensions):
    return np.empty((0, 0), dtype), np.empty((0,) * bias_dimensions, dtype), np.empty(0, dtype)


# Apart, so that who only predicts compiles no more than that.
@functools.cache
def forward_entry(dtype, bias_dimensions):
    """Return the compiled `layer_forward` for arrays of a dtype."""
    w, b, flat = _examples(dtype, bias_dimensions)
    return layer_forward.entry(w, w, b, w, flat, 1)


@functools.cache
def backward_entry(dtype, bias_dimensions):
    """Return the compiled `layer_backward` for arrays of a dtype."""
    w, b, flat = _examples(dtype, bias_dimensions)
    return layer_backward.entry(w, w, w, w, b, w, flat, 1)


@functools.cache
def update_entry(dtype, bias_dimensions):
    """Return the compiled `layer_update` for arrays of a dtype."""
    w, b, _ = _examples(dtype, bias_dimensions)
    return layer_update.entry(0, w, b, w, b, w, w, b, b, np.empty(8), 1)


@kernel
def layer_forward(x, w, b, y, scratch, n_workers):
    """Dense layer, `y = x @ w + b`, with the bits of `gemm.dense_forward`.

    Parameters
    ----------
    x : (m, k) array of T, read
    w : (k, n) array of T, read
    b : (1, n) or (n,) array of T, read
    y : (m, n) array of T, written
    scratch : 1-D array of T, written
        At least ``dense_scratch(m, k, n, itemsize, n_workers)`` long.
    n_workers : int
        Parts the output is cut into; parallel over output tiles.
    """
    m, k = x.shape
    n = w.shape[1]
    if n_workers == 1 and min(k, n) <= LIMIT:
        mode = flush_tiny()
        if n <= LIMIT:
            few_out(n, m, k, x, 0, k, ONE_PIECE, 0, w, 0, 1, n, b, 0, 1, y, 0, n)
        else:
            few_in(k, m, n, x, 0, k, w, 0, b, 0, y, 0)
        as_before(mode)
        return
    xs, ws, bs, ys = x.reshape(m * k), w.reshape(k * n), b.reshape(n), y.reshape(m * n)
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        forward_part(xs, 0, k, 0, ws, 0, bs, 0, ys, 0, n, m, k, n, LINEAR, ys, 0, 0, scratch, i * part, i, n_workers)
        as_before(mode)


@kernel
def layer_backward(x, dz, w, dw, db, dx, scratch, n_workers):
    """Gradients of a dense layer, `dw = x.T @ dz`, `db = Σ dz`, `dx = dz @ w.T`, with the bits of those in `gemm`.

    Parameters
    ----------
    x : (m, k) array of T, read
    dz : (m, n) array of T, read
    w : (k, n) array of T, read
    dw : (k, n) array of T, overwritten
    db : (1, n) or (n,) array of T, overwritten
    dx : (m, k) array of T, overwritten; or (0, 0), if it is not wanted
    scratch : 1-D array of T, written
        At least ``dense_scratch(m, k, n, itemsize, n_workers)`` long.
    n_workers : int
        Parts each output is cut into; parallel over output tiles.
    """
    m, k = x.shape
    n = w.shape[1]
    if n_workers == 1 and (k <= LIMIT or n <= LIMIT and (dx.size > 0 or m == 0)):
        mode = flush_tiny()
        if k > LIMIT:
            few_outputs_gradients(x, dz, w, dw, db, dx, m, k, n, scratch)
        else:
            few_in_back(k, m, n, x, 0, k, dz, 0, dw, 0, db, 0)
            if dx.size > 0:
                few_out(k, m, n, dz, 0, n, ONE_PIECE, 0, w, 0, n, 1, db, 0, 0, dx, 0, k)
        as_before(mode)
        return
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        at = i * part
        weights_part(x, 0, k, dz, 0, n, dw, 0, db, 0, m, k, n, scratch, at, i, n_workers)
        if dx.size > 0:
            inputs_part(dz, 0, n, w, 0, 0, dx, 0, k, m, k, n, 0, 0, LINEAR, dx, 0, scratch, at, i, n_workers)
        as_before(mode)


@kernel
def layer_inputs(dz, w, dx, scratch, n_workers):
    """Gradient of a dense layer's inputs alone; arguments as in `layer_backward`."""
    m, n = dz.shape
    k = w.shape[0]
    if n_workers == 1 and k <= LIMIT:
        mode = flush_tiny()
        few_out(k, m, n, dz, 0, n, ONE_PIECE, 0, w, 0, n, 1, dz, 0, 0, dx, 0, k)
        as_before(mode)
        return
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        inputs_part(dz, 0, n, w, 0, 0, dx, 0, k, m, k, n, 0, 0, LINEAR, dx, 0, scratch, i * part, i, n_workers)
        as_before(mode)


@kernel
def layer_update(kind, w, b, dw, db, w1, w2, b1, b2, scalars, n_workers):
    """One optimisation step on a layer's weights and biases, in place; see `optim.update`.

    Parameters
    ----------
    kind : int
    w, dw, w1, w2 : (k, n) arrays of T
        Weights and their state, updated (state (0, 0) where the kind keeps none), and their gradient, read.
    b, db, b1, b2 : (1, n) or (n,) arrays of T
        The biases likewise (state empty where the kind keeps none).
    scalars : (8,) array of float64, read
    n_workers : int
        Parts the weights are cut into; parallel over elements.
    """
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first = share(w.size, i, n_workers, 16)
        n = share(w.size, i + 1, n_workers, 16) - first
        if n > 0:
            update_block(kind, w, first, n, dw, first, n, w1, first, w2, first, w2, first, 1, n, scalars, 0)
        if i == 0:
            update_block(kind, b, 0, b.size, db, 0, b.size, b1, 0, b2, 0, b2, 0, 1, b.size, scalars, 0)
        as_before(mode)
