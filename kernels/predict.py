"""Prediction and evaluation: all rows through the network, block by block."""

import numpy as np
from numba import prange

from ._compile import kernel, outlined
from ._simd import TILE_ROWS, as_before, atomic_add, flush_tiny, lanes, load_n, splat, store_n, sum_lanes
from .losses import loss_part
from .math import nothing_but_numbers
from .network import GRAD, LD, N_OUT, OUT, operate
from .panels import lay_out


@outlined
def forward_block(X, row, m, features, params, work, base, plan, factors, s_at):
    """Take `m` rows of `X` through the network within one worker's part of the workspace."""
    operate(plan, factors, 0, X, row * features, features, params, work, base, m, False, 0, work, s_at, 0, 1)
    for o in range(1, plan.shape[0]):
        operate(
            plan, factors, o, work, base + plan[o - 1, OUT], plan[o - 1, LD], params, work, base, m, False, 0,
            work, s_at, 0, 1,
        )  # fmt: skip


@kernel
def block_size(n_workers, rows, most):
    """Return the rows of a block, at most `most`, such that there are about as many blocks for each worker."""
    each = n_workers * ((rows + n_workers * most - 1) // (n_workers * most))
    return min(most, ((rows + each - 1) // max(1, each) + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS)


@kernel
def next_block(turn, block, row, worker, n_workers):
    """Return the first row of a worker's next block, after that of `row`, or of its first one, if that is -1.

    A core that other programs keep busy takes fewer blocks.
    """
    if n_workers == 1:
        return 0 if row < 0 else row + block
    return (worker if row < 0 else n_workers + atomic_add(turn, 0, 1)) * block


@kernel
def predict(X, given, places, laid, work, plan, factors, most, scratch_at, part, out, finite, turn, n_workers):
    """Network outputs of all rows, `most` rows at a time.

    Parameters
    ----------
    X : (rows · features,) array of T, read
    given : 1-D array of T, read
        All parameters.
    places : (runs, 3) array of int64, read
    laid : array like `given`, written
        If there are any `places`, parameters are laid out by them (see `panels.lay_out`) in `laid`, and read there.
    work : 1-D array of T, written
        `part` elements for each worker, scratch at `scratch_at` in each.
    plan, factors : as in `run_chunk`
    most : int
        Rows that the plan's buffers hold.
    scratch_at, part : int
        Layout of a worker's part of `work`.
    out : (rows · outputs,) array of T, written
    finite : (workers,) array of T, written
        Zero from each worker whose rows hold numbers only, NaN where one holds NaN or infinity: the rows are in the
        cache anyway, while a pass of its own over all of them takes a tenth of the time.
    turn : (1,) array of int64, zero, written
        Counts the blocks that were not given to anyone from the beginning.
    n_workers : int
        Parallel over blocks of rows; a row's outputs do not depend on the block it is in.
    """
    ops, features = plan.shape[0], plan[0, 1]
    n = plan[ops - 1, N_OUT]
    rows = out.size // n
    step, block = lanes(out), block_size(n_workers, rows, most)
    params = given
    if places.shape[0] > 0:
        params = laid
        for worker in prange(n_workers):
            lay_out(given, places, laid, np.int64(worker), n_workers)
    for worker in prange(n_workers):
        mode = flush_tiny()
        w = np.int64(worker)
        base = w * part
        faults = splat(out, 0.0)
        row = next_block(turn, block, -1, w, n_workers)
        while row < rows:
            m = min(block, rows - row)
            faults = nothing_but_numbers(X, row * features, (row + m) * features, faults)
            forward_block(X, row, m, features, params, work, base, plan, factors, base + scratch_at)
            for r in range(m):
                at = base + plan[ops - 1, OUT] + r * plan[ops - 1, LD]
                for j in range(0, n, step):
                    store_n(out, (row + r) * n + j, load_n(work, at + j, n - j), n - j)
            row = next_block(turn, block, row, w, n_workers)
        finite[w] = sum_lanes(faults)
        as_before(mode)


@kernel
def evaluate(
    X, labels, targets, given, places, laid, work, plan, factors, most, scratch_at, part, loss, soft, smoothing,
    losses, hits, turn, n_workers,
):  # fmt: skip
    """Loss and correctness of all rows, `most` rows at a time.

    Parameters
    ----------
    X, labels, targets, plan, factors : as in `run_chunk`
    given, places, laid, work, most, scratch_at, part, turn : as in `predict`
    loss : int
        The loss's number; `soft` and `smoothing` as in `losses.softmax_cross_entropy`.
    losses, hits : (rows,) arrays of T, written
    n_workers : int
        Parallel over blocks of rows.
    """
    ops, features = plan.shape[0], plan[0, 1]
    n = plan[ops - 1, N_OUT]
    rows = losses.size
    block = block_size(n_workers, rows, most)
    params = given
    if places.shape[0] > 0:
        params = laid
        for worker in prange(n_workers):
            lay_out(given, places, laid, np.int64(worker), n_workers)
    for worker in prange(n_workers):
        mode = flush_tiny()
        w = np.int64(worker)
        base = w * part
        row = next_block(turn, block, -1, w, n_workers)
        while row < rows:
            m = min(block, rows - row)
            forward_block(X, row, m, features, params, work, base, plan, factors, base + scratch_at)
            loss_part(
                loss, work, base + plan[ops - 1, OUT], plan[ops - 1, LD], labels, row, targets, row * n, n,
                soft, smoothing, work, base + plan[ops - 1, GRAD], plan[ops - 1, LD],
                losses[row:], hits[row:], 0, m, n, 1.0, work, base + scratch_at,
            )  # fmt: skip
            row = next_block(turn, block, row, w, n_workers)
        as_before(mode)
