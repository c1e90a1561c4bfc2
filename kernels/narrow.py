"""Training of networks with few inputs, one hidden ReLU layer and few classes: a step without a matrix in memory.

Forward, the vectors run along the samples, backward along the hidden units, and neither the hidden layer's outputs nor
their gradient are ever stored. Each sum is the same chain as in `network`, so the bits are the same.
"""

import numpy as np

from ._compile import kernel, primitive
from ._simd import NARROW, as_before, flush_tiny
from ._simd_narrow import SPREAD_SIZE, narrow_backward, narrow_forward
from .class_major import class_major_cross_entropy
from .gemm import turn
from .jobs import (
    BAD_STEP,
    BATCH,
    FIRST_STEP,
    OPTIMIZER,
    ORDER_EPOCH,
    ROWS,
    SEED,
    SHUFFLE,
    STEPS,
    batch_of,
    note,
)
from .losses import sum_rows
from .network import BIAS_L1, BIAS_L2, BIASES, N_IN, N_OUT, WEIGHT_L1, WEIGHT_L2, WEIGHTS, penalty
from .optim import update_block
from .penalties import add_gradient_block
from .rng import permutation

LIMIT = NARROW
_BLOCK = 64


def work_size(n_in, hidden, n_out, n_params, rows, batch):
    """Return the elements of workspace that `run_narrow` needs."""
    x_row, z_row = _up(max(rows, batch)) + _BLOCK, _up(batch) + _BLOCK
    return n_in * x_row + (n_out + 1) * z_row + 2 * n_out * _up(hidden) + _up(n_params) + 4 * _BLOCK + SPREAD_SIZE


def _up(n):
    return -(-n // _BLOCK) * _BLOCK


@primitive("iiiipipppppi")
def outputs(n_in, n_out, m, hidden, x, x_row, w1, b1, w2, b2, z, z_row):
    """`_simd_narrow.narrow_forward` behind a symbol, with an offset behind each array."""
    narrow_forward(n_in, n_out, m, hidden, x, x_row, w1, b1, w2, b2, z, z_row)


@primitive("iiiipipppipippppp")
def gradients(n_in, n_out, m, hidden, x, x_row, w1, b1, w2t, w2t_row, dz, dz_row, dw1, db1, dw2t, db2, room):
    """`_simd_narrow.narrow_backward` behind a symbol, with an offset behind each array."""
    narrow_backward(
        n_in, n_out, m, hidden, x, x_row, w1, b1, w2t, w2t_row, dz, dz_row, dw1, db1, dw2t, db2, room
    )  # fmt: skip


@kernel
def run_narrow(
    X, labels, order, params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, smoothing, tally, history,
    n_workers,
):  # fmt: skip
    """Train a network of `LIMIT` inputs at most, a hidden ReLU layer and `LIMIT` classes at most, on one thread.

    Arguments, and what is written, are as in `train.run_chunk`; `work` has at least `work_size` elements, and `params`
    may be read 64 elements behind its end. `n_workers` is 1.
    """
    mode = flush_tiny()
    n_in, hidden, n_out = plan[0, N_IN], plan[0, N_OUT], plan[1, N_OUT]
    w1, b1, w2, b2 = plan[0, WEIGHTS], plan[0, BIASES], plan[1, WEIGHTS], plan[1, BIASES]
    rows, batch, shuffle, kind = job[ROWS], job[BATCH], job[SHUFFLE] != 0, job[OPTIMIZER]
    steps = (rows + batch - 1) // batch
    x_row = ((batch if shuffle else rows) + 63) // 64 * 64 + 64
    z_row, across = (batch + 63) // 64 * 64 + 64, (hidden + 63) // 64 * 64
    z = n_in * x_row
    # Labels have a row like a class's outputs, so that what follows begins on a line as well.
    lab = z + n_out * z_row
    w2t = lab + z_row
    dw2t = w2t + n_out * across
    grad = dw2t + n_out * across
    total_params = params.size
    room = grad + (total_params + 63) // 64 * 64
    # Zero where gradients have gaps between arrays: what lies in the gaps of the parameters then stays as it is.
    work[grad : grad + total_params] = 0.0
    if not shuffle:
        for r in range(rows):
            for k in range(n_in):
                work[k * x_row + r] = X[r * n_in + k]
    penalised_any = False
    for o in range(2):
        for f in range(4):
            penalised_any = penalised_any or factors[o, f] > 0.0
    for s in range(job[STEPS]):
        number = job[FIRST_STEP] + s
        start, m = batch_of(job, number)
        x_at = 0 if shuffle else start
        if shuffle:
            if job[ORDER_EPOCH] != number // steps:
                permutation(order[:rows], job[SEED], number // steps)
                job[ORDER_EPOCH] = number // steps
            for r in range(m):
                row = order[start + r]
                work[lab + r] = labels[row]
                for k in range(n_in):
                    work[k * x_row + r] = X[row * n_in + k]
        outputs(
            n_in, n_out, m, hidden, work, x_at, x_row, params, w1, params, b1, params, w2, params, b2, work, z, z_row
        )
        if shuffle:
            class_major_cross_entropy(work, z, z_row, work, lab, smoothing, losses, 0, hits, 0, m, n_out, 1.0 / m)
        else:
            class_major_cross_entropy(work, z, z_row, labels, start, smoothing, losses, 0, hits, 0, m, n_out, 1.0 / m)
        total = sum_rows(losses, m)
        penalised = penalty(plan, factors, params) if penalised_any else 0.0
        if not np.isfinite(total + penalised):
            tally[BAD_STEP] = number
            break
        turn(params, w2, n_out, hidden, n_out, work, w2t, across)
        gradients(
            n_in, n_out, m, hidden, work, x_at, x_row, params, w1, params, b1, work, w2t, across, work, z, z_row,
            work, grad + w1, work, grad + b1, work, dw2t, work, grad + b2, work, room,
        )  # fmt: skip
        turn(work, dw2t, across, n_out, hidden, work, grad + w2, n_out)
        if penalised_any:
            for o in range(2):
                w, n = plan[o, WEIGHTS], plan[o, N_IN] * plan[o, N_OUT]
                l1, l2 = factors[o, WEIGHT_L1], factors[o, WEIGHT_L2]
                if l1 > 0.0 or l2 > 0.0:
                    add_gradient_block(work, grad + w, 0, params, w, 0, 1, n, l1, l2)
                w, n = plan[o, BIASES], plan[o, N_OUT]
                l1, l2 = factors[o, BIAS_L1], factors[o, BIAS_L2]
                if l1 > 0.0 or l2 > 0.0:
                    add_gradient_block(work, grad + w, 0, params, w, 0, 1, n, l1, l2)
        update_block(kind, params, 0, 0, work, grad, 0, s1, 0, s2, 0, s3, 0, 1, total_params, scalars, 8 * s)
        note(job, tally, history, total, hits, m, penalised, number)
    as_before(mode)
