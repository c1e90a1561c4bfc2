"""The training loop: a chunk of steps in one call."""

import numpy as np
from numba import prange

from ._compile import kernel, outlined
from ._simd import TILE_ROWS, as_before, flush_tiny, ticks
from .activations import derive_part
from .carried import carries_rows
from .gemm import LINEAR
from .jobs import (
    BAD_STEP,
    BATCH,
    BLOCK,
    FEATURES,
    FIRST_DENSE,
    FIRST_STEP,
    INPUT,
    INPUT_LD,
    LABELS,
    LOSS,
    OPTIMIZER,
    ORDER_EPOCH,
    PART,
    PART_WORK,
    PENALTY_NOW,
    ROW_WORDS,
    ROWS,
    SCRATCH,
    SEED,
    SHUFFLE,
    SOFT,
    STEPS,
    TARGETS,
    TARGETS_LD,
    batch_of,
    note,
)
from .losses import loss_part, sum_rows
from .network import (
    ACTIVATE,
    DENSE,
    GRAD,
    KIND,
    LD,
    N_OUT,
    OUT,
    backward,
    copy_rows,
    keeps_columns,
    learn,
    loss_rows,
    operate,
    parts_each,
    penalty,
)
from .order import epoch_order
from .split import share
from .sync import MOST_ROUNDS, barrier, gather, open_round, steps_uneven, take, tell_wait
from .zeros import note_rows


@outlined
def fetch(X, labels, targets, order, job, number, work, worker, n_workers):
    """Make a worker's rows of a step's batch ready: copy shuffled ones into the workspace, note what is not zero.

    Steps alternate between two places for the rows.
    """
    start, m = batch_of(job, number)
    words, features = job[ROW_WORDS], job[FEATURES]
    grain = TILE_ROWS if words != 0 else 1
    first, last = share(m, worker, n_workers, grain), share(m, worker + 1, n_workers, grain)
    if job[SHUFFLE] == 0:
        if words != 0:
            note_rows(X, start * features, features, first, last, features, work, words)
        return
    side = number % 2
    place = job[INPUT] + side * job[BATCH] * job[INPUT_LD]
    copy_rows(X, features, order, start, first, last, work, place, job[INPUT_LD], features)
    if words != 0:
        note_rows(work, place, job[INPUT_LD], first, last, features, work, words)
    if labels.size > 0:
        place = job[LABELS] + side * (job[BATCH] + 16)
        for r in range(first, last):
            work[place + r] = labels[order[start + r]]
    if targets.size > 0:
        n = targets.size // job[ROWS]
        place = job[TARGETS] + side * job[BATCH] * job[TARGETS_LD]
        copy_rows(targets, n, order, start, first, last, work, place, job[TARGETS_LD], n)


@outlined
def chunk_worker(
    X, labels, targets, order, params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, smoothing,
    sync, tally, history, worker, n_workers,
):  # fmt: skip
    """Run one worker through all steps of a chunk."""
    if not gather(sync, n_workers):
        return
    mode = flush_tiny()
    met, shared, waited, uneven = 0, 0, 0, 0
    ops = plan.shape[0]
    last_op, first_dense = ops - 1, job[FIRST_DENSE]
    n_out = plan[last_op, N_OUT]
    notes = job[ROW_WORDS] != 0
    shuffle, soft, features = job[SHUFFLE] != 0, job[SOFT] != 0, job[FEATURES]
    steps = (job[ROWS] + job[BATCH] - 1) // job[BATCH]
    s_at = job[SCRATCH] + worker * job[PART]
    block_at = s_at + job[BLOCK]
    seed = job[SEED]
    z_at, z_ld, d_at = plan[last_op, OUT], plan[last_op, LD], plan[last_op, GRAD]
    for s in range(job[STEPS]):
        number = job[FIRST_STEP] + s
        start, m = batch_of(job, number)
        began = ticks()
        if (shuffle or notes) and (s == 0 or shuffle and number % steps == 0):
            if shuffle and worker == 0 and job[ORDER_EPOCH] != number // steps:
                epoch_order(order, job[ROWS], job[BATCH], seed, number // steps)
                job[ORDER_EPOCH] = number // steps
            met += 1
            barrier(sync, n_workers, met)
            fetch(X, labels, targets, order, job, number, work, worker, n_workers)
            met += 1
            barrier(sync, n_workers, met)
        side = number % 2
        x_at = job[INPUT] + side * job[BATCH] * job[INPUT_LD]

        carried = carries_rows(plan, m, n_workers, params)
        first, last = share(m, worker, n_workers, 16), share(m, worker + 1, n_workers, 16)
        for o in range(ops):
            at, ld = (plan[o - 1, OUT], plan[o - 1, LD]) if o > 0 else (x_at, job[INPUT_LD])
            each = 1 if carried else parts_each(plan, o, m, job[PART_WORK], n_workers, uneven)
            alone = carried and plan[o, KIND] == DENSE
            row, rows = (first, last - first) if alone else (0, m)
            shared = open_round(sync, shared, worker, each)
            part = take(sync, shared, worker, n_workers, each, -1)
            while part >= 0:
                mine, of = (0, 1) if alone else (part, each * n_workers)
                if o > 0 or shuffle:
                    operate(
                        plan, factors, o, work, at + row * ld, ld, params, work, row * plan[o, LD], rows, True, number,
                        work, s_at, mine, of,
                    )  # fmt: skip
                else:
                    operate(
                        plan, factors, o, X, (start + row) * features, features, params, work, row * plan[o, LD], rows,
                        True, number, work, s_at, mine, of,
                    )  # fmt: skip
                part = take(sync, shared, worker, n_workers, each, part)
            if not carried:
                first, last, own = loss_rows(plan, m, each, work, worker, n_workers)
                if o < last_op or not own:
                    met += 1
                    waited += barrier(sync, n_workers, met)

        if shuffle:
            loss_part(
                job[LOSS], work, z_at, z_ld, work, job[LABELS] + side * (job[BATCH] + 16), work,
                job[TARGETS] + side * job[BATCH] * job[TARGETS_LD], job[TARGETS_LD], soft, smoothing,
                work, d_at, z_ld, losses, hits, first, last, n_out, 1.0 / m, work, s_at,
            )  # fmt: skip
        else:
            loss_part(
                job[LOSS], work, z_at, z_ld, labels, start, targets, start * n_out, n_out, soft, smoothing,
                work, d_at, z_ld, losses, hits, first, last, n_out, 1.0 / m, work, s_at,
            )  # fmt: skip
        if plan[last_op, KIND] == DENSE and plan[last_op, ACTIVATE] != LINEAR:
            at = first * z_ld
            derive_part(
                work, d_at + at, z_ld, work, z_at + at, z_ld, work, d_at + at, z_ld, last - first, n_out,
                plan[last_op, ACTIVATE],
            )  # fmt: skip
        if carried:
            for o in range(last_op, first_dense, -1):
                alone = plan[o, KIND] == DENSE
                row, rows, mine, of = (first, last - first, 0, 1) if alone else (0, m, worker, n_workers)
                backward(plan, factors, o, params, work, row, rows, number, work, s_at, mine, of)
        if worker == 0:
            tally[PENALTY_NOW] = penalty(plan, factors, params)
        met += 1
        waited += barrier(sync, n_workers, met)
        # Each worker adds up all rows, so that all come to the same end, and before the update: the parameters stay
        # those that gave the last finite loss, updated once.
        total, penalised = sum_rows(losses, m), tally[PENALTY_NOW]
        if not np.isfinite(total + penalised):
            if worker == 0:
                tally[BAD_STEP] = number
            break

        rounds = 0
        for o in range(last_op, first_dense - 1, -1):
            at, ld = (plan[o - 1, OUT], plan[o - 1, LD]) if o > 0 else (x_at, job[INPUT_LD])
            each = parts_each(plan, o, m, job[PART_WORK], n_workers, uneven)
            if o > first_dense and not carried:
                shared = open_round(sync, shared, worker, each)
                part = take(sync, shared, worker, n_workers, each, -1)
                while part >= 0:
                    backward(plan, factors, o, params, work, 0, m, number, work, s_at, part, each * n_workers)
                    part = take(sync, shared, worker, n_workers, each, part)
                before = parts_each(plan, o - 1, m, job[PART_WORK], n_workers, uneven)
                if o - 1 > first_dense or not keeps_columns(plan, o, m, n_workers, each, before, params):
                    met += 1
                    waited += barrier(sync, n_workers, met)
            if plan[o, KIND] == DENSE:
                if carried and each > 1:
                    if rounds == MOST_ROUNDS:
                        met += 1
                        waited += barrier(sync, n_workers, met)
                        rounds = 0
                    rounds += 1
                shared = open_round(sync, shared, worker, each)
                part = take(sync, shared, worker, n_workers, each, -1)
                while part >= 0:
                    if o > 0 or shuffle:
                        learn(
                            plan, factors, o, work, at, ld, params, s1, s2, s3, work, m,
                            job[OPTIMIZER], scalars[s], work, s_at, block_at, part, each * n_workers,
                        )  # fmt: skip
                    else:
                        learn(
                            plan, factors, o, X, start * features, features, params, s1, s2, s3, work, m,
                            job[OPTIMIZER], scalars[s], work, s_at, block_at, part, each * n_workers,
                        )  # fmt: skip
                    part = take(sync, shared, worker, n_workers, each, part)
        if worker == 0:
            note(job, tally, history, total, hits, m, penalised, number)
        # Where rows are shuffled, the next epoch's order is not there yet; of a lone batch all is known.
        goes_on = (number + 1) % steps != 0 if shuffle else notes and steps > 1
        if goes_on and s + 1 < job[STEPS]:
            fetch(X, labels, targets, order, job, number + 1, work, worker, n_workers)
        tell_wait(sync, worker, n_workers, waited, ticks() - began)
        met += 1
        waited = barrier(sync, n_workers, met)
        uneven = steps_uneven(sync, n_workers, uneven)
    as_before(mode)


@kernel
def run_chunk(
    X, labels, targets, order, params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, smoothing,
    sync, tally, history, n_workers,
):  # fmt: skip
    """Train for `job[STEPS]` steps: gather the batch, forward, loss, backward, update.

    Parameters
    ----------
    X : (rows · features,) array of T, read
        Samples, one after the other.
    labels : (rows,) array of T, read
        Class numbers held in T, or empty.
    targets : (rows · outputs,) array of T, read
        Target values or probabilities, or empty.
    order : array of int64, written
        The epoch's order, and keys, as in `order.epoch_order`; unused where ``job[SHUFFLE]`` is 0.
    params, s1, s2, s3 : 1-D arrays of T, updated
        All parameters, and the optimiser's state (empty where it keeps none).
    work : 1-D array of T, written
        Activations, gradients, scratch.
    losses, hits : (batch,) arrays of T, written
        Each row's loss, and 1 where its class is right.
    plan : (operations, COLUMNS) array of int64, read
    factors : (operations, FACTORS) array of float64, read
    scalars : (steps, 8) array of float64, read
        The optimiser's numbers for each step.
    job : (JOB,) array of int64, read
        Sizes and places. ``job[ORDER_EPOCH]`` is written: the epoch that `order` is of.
    smoothing : float
        Label smoothing.
    sync : (sync.SIZE,) array of int64, zero, written
        If ``sync[ABANDONED]`` is set afterwards, the workers could not run at once and nothing was done.
    tally : (TALLY,) array of float64, updated
        Running sums; ``tally[DONE]`` counts steps; ``tally[BAD_STEP]``, -1 before, is the step whose loss was not
        finite, where the chunk ended.
    history : (epochs, 3) array of float64, written
        Loss, accuracy and penalty of each epoch that ends in this chunk, from the epoch it begins in.
    n_workers : int
        Parallel over workers, each of which runs all steps and meets the others at barriers.
    """
    for worker in prange(n_workers):
        chunk_worker(
            X, labels, targets, order, params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, smoothing,
            sync, tally, history, np.int64(worker), n_workers,
        )  # fmt: skip
