"""Random search for parameters, the seeds' first way to train: draw them, keep them if the loss is lower."""

from ._compile import kernel
from ._simd import as_before, flush_tiny, lanes, load, load_n, select, splat, store, store_n
from .class_major import class_major_cross_entropy
from .losses import loss_part, sum_rows
from .math import vexp_below, vlog
from .narrow import outputs
from .network import BIASES, GRAD, LD, N_IN, N_OUT, OUT, SPARE, WEIGHTS, penalty
from .predict import forward_block
from .rng import STREAM_USER, normal_part

REPLACE, ADJUST = 0, 1


@kernel
def copy_array(source, target, n):
    """Copy `n` values."""
    step = lanes(source)
    for i in range(0, n, step):
        store_n(target, i, load_n(source, i, n - i), n - i)


@kernel
def draw(best, trial, scale, mode, seed, iteration):
    """Write the parameters to try: `scale · N(0, 1)`, added to the best ones in mode ADJUST."""
    n = trial.size
    normal_part(trial, 0.0, scale, seed, STREAM_USER, iteration, 0, n)
    step = lanes(best)
    if mode == ADJUST:
        for i in range(0, n, step):
            store_n(trial, i, load_n(best, i, n - i) + load_n(trial, i, n - i), n - i)


@kernel
def class_major_losses(z, z_at, z_row, labels, losses, hits, rows, n):
    """Write rows' losses from logits class by class: `class_major_cross_entropy` without gradient or smoothing.

    A register's logarithm waits for its exponentials, and they for its largest logit: in two passes, those of several
    registers are under way at once (300 × 3 on Zen 3: 6,500 -> 4,100 cycles). Differences replace the first class.
    """
    step = lanes(z)
    one, zero, none = splat(z, 1.0), splat(z, 0.0), splat(z, n)
    for r in range(0, rows, step):
        here = min(step, rows - r)
        label, top = load_n(labels, r, here), load(z, z_at + r)
        for j in range(1, n):
            v = load(z, z_at + j * z_row + r)
            top = select(v > top, v, top)
        index, where, own, total = zero, none, zero, zero
        for j in range(n):
            v = load(z, z_at + j * z_row + r)
            own = select(label == index, v, own)
            first = select(v == top, index, none)
            where = select(first < where, first, where)
            index = index + one
            total = total + vexp_below(v - top)
        store_n(hits, r, select(where == label, one, zero), here)
        store_n(losses, r, total, here)
        store(z, z_at + r, own - top)
    for r in range(0, rows, step):
        here = min(step, rows - r)
        store_n(losses, r, vlog(load_n(losses, r, here)) - load(z, z_at + r), here)


@kernel
def narrow_losses(n_in, n_out, hidden, plan, params, work, z, x_row, z_row, labels, smoothing, losses, hits, rows):
    """Write each row's loss for a network of few inputs, one hidden ReLU layer and few classes."""
    outputs(
        n_in, n_out, rows, hidden, work, 0, x_row, params, plan[0, WEIGHTS], params, plan[0, BIASES],
        params, plan[1, WEIGHTS], params, plan[1, BIASES], work, z, z_row,
    )  # fmt: skip
    if smoothing == 0.0:
        class_major_losses(work, z, z_row, labels, losses, hits, rows, n_out)
        return
    class_major_cross_entropy(work, z, z_row, labels, 0, smoothing, losses, 0, hits, 0, rows, n_out, 1.0)


@kernel
def random_search(
    X, labels, targets, best, trial, work, losses, hits, plan, factors, block, scratch_at, loss, soft, smoothing,
    narrow, scale, mode, seed, first, count, state, found,
):  # fmt: skip
    """Try `count` sets of parameters, one after the other, on one thread.

    Parameters
    ----------
    X : (rows · features,) array of T, read
    labels, targets, plan, factors, block, scratch_at, loss, soft, smoothing : as in `predict.evaluate`
    best : (n,) array of T, updated
        The parameters with the lowest loss so far.
    trial : (n + 64,) array of T, written
        The parameters being tried.
    work : 1-D array of T, written
    losses, hits : (rows,) arrays of T, written
    narrow : bool
        Whether the network is one for `narrow.outputs`; `work` then begins with a place for the samples by feature.
    scale : float
        Standard deviation of what is drawn.
    mode : int
        REPLACE draws the parameters themselves, ADJUST what is added to the best ones.
    seed : int
        Iteration i draws from the seed's substream i, whatever was tried before.
    first, count : int
        Number of the first iteration, and how many.
    state : (2,) array of float64, updated
        The lowest loss so far, and how many rows of `found` are written.
    found : (count, 3) array of float64, written
        Iteration, loss and accuracy of each improvement.
    """
    before = flush_tiny()
    ops, features = plan.shape[0], plan[0, N_IN]
    n_out, rows = plan[ops - 1, N_OUT], losses.size
    # What the last samples' registers write beyond them belongs to nobody.
    x_row = (rows + 63) // 64 * 64 + 64
    z = features * x_row
    if narrow:
        for r in range(rows):
            for k in range(features):
                work[k * x_row + r] = X[r * features + k]
    # What lies behind the last parameter is read, too, but counts for nothing.
    size = best.size - SPARE
    kept = trial[:size]
    for i in range(first, first + count):
        draw(best, kept, scale, mode, seed, i)
        if narrow:
            narrow_losses(
                features, n_out, plan[0, N_OUT], plan, trial, work, z, x_row, x_row, labels, smoothing,
                losses, hits, rows,
            )  # fmt: skip
        else:
            for row in range(0, rows, block):
                m = min(block, rows - row)
                forward_block(X, row, m, features, trial, work, 0, plan, factors, scratch_at)
                loss_part(
                    loss, work, plan[ops - 1, OUT], plan[ops - 1, LD], labels, row, targets, row * n_out, n_out,
                    soft, smoothing, work, plan[ops - 1, GRAD], plan[ops - 1, LD],
                    losses[row:], hits[row:], 0, m, n_out, 1.0, work, scratch_at,
                )  # fmt: skip
        value = sum_rows(losses, rows) / rows + penalty(plan, factors, trial)
        if value < state[0]:
            state[0] = value
            copy_array(kept, best, size)
            at = int(state[1])
            found[at, 0], found[at, 1], found[at, 2] = i, value, sum_rows(hits, rows) / rows
            state[1] += 1.0
    as_before(before)
