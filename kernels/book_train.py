"""A chunk of `fastnn.nnfs.Model.train` in one call: batches in order, the book's losses, a record of each step."""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import as_before, flush_tiny, lanes, load_n, store_n
from .activations import derive_part
from .book import clipped, probability_part
from .book_labels import probability_gradient_part
from .book_values import CROSS_ENTROPY, value_gradient_part, value_part
from .gemm import LINEAR
from .jobs import (
    BLOCK,
    DONE,
    FEATURES,
    FIRST_DENSE,
    FIRST_STEP,
    LOSS,
    OPTIMIZER,
    PART,
    SCRATCH,
    STEPS,
    batch_of,
)
from .losses import sum_rows
from .narrow import run_narrow
from .network import ACTIVATE, DENSE, GRAD, KIND, LD, N_OUT, OUT, backward, learn, operate, penalty
from .split import share
from .sync import barrier, gather

NO_ACCURACY, BINARY, WITHIN = range(3)
# Columns of the record, one row per step.
LOSS_SUM, HITS, PENALTY = range(3)


@kernel
def clip_losses(losses, at, count):
    """Clip a register of losses as `book.clipped` does, in place."""
    store_n(losses, at, clipped(load_n(losses, at, count)), count)


@kernel
def accuracy_part(kind, p, p_at, p_ld, t, t_at, t_ld, hits, first, last, n, precision):
    """Write how many outputs of each row are right: on the target's side of one half, or within `precision` of it."""
    for r in range(first, last):
        count = 0
        for j in range(n):
            v, wanted = p[np.uint64(p_at + r * p_ld + j)], t[np.uint64(t_at + r * t_ld + j)]
            if kind == BINARY:
                right = (1.0 if v > 0.5 else 0.0) == wanted
            else:
                right = abs(v - wanted) < precision
            count += 1 if right else 0
        hits[r] = count


@kernel
def book_worker(
    X, labels, targets, params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, accuracy, precision,
    sync, records, worker, n_workers,
):  # fmt: skip
    """Run one worker through all steps of a chunk."""
    if not gather(sync, n_workers):
        return
    mode = flush_tiny()
    met = 0
    ops, first_dense, features = plan.shape[0], job[FIRST_DENSE], job[FEATURES]
    last_op = ops - 1
    n = plan[last_op, N_OUT]
    s_at = job[SCRATCH] + worker * job[PART]
    block_at = s_at + job[BLOCK]
    z_at, z_ld, d_at = plan[last_op, OUT], plan[last_op, LD], plan[last_op, GRAD]
    for s in range(job[STEPS]):
        start, m = batch_of(job, job[FIRST_STEP] + s)
        for o in range(ops):
            if o > 0:
                operate(
                    plan, factors, o, work, plan[o - 1, OUT], plan[o - 1, LD], params, work, 0, m, True, 0,
                    work, s_at, worker, n_workers,
                )  # fmt: skip
            else:
                operate(
                    plan, factors, o, X, start * features, features, params, work, 0, m, True, 0,
                    work, s_at, worker, n_workers,
                )  # fmt: skip
            met += 1
            barrier(sync, n_workers, met)

        first, last = share(m, worker, n_workers, 16), share(m, worker + 1, n_workers, 16)
        if job[LOSS] == CROSS_ENTROPY:
            probability_part(
                work, z_at, z_ld, labels, start, work, d_at, z_ld, losses, hits, first, last, n, True, work, s_at
            )
            probability_gradient_part(
                work, d_at, z_ld, labels, start, work, d_at, z_ld, first, last, n, 1.0 / m, True
            )  # fmt: skip
        else:
            t_at = start * n
            value_part(job[LOSS], work, z_at, z_ld, targets, t_at, n, losses, first, last, n)
            value_gradient_part(
                job[LOSS], work, z_at, z_ld, targets, t_at, n, work, d_at, z_ld, first, last, n,
                1.0 / m / n,
            )  # fmt: skip
            accuracy_part(accuracy, work, z_at, z_ld, targets, t_at, n, hits, first, last, n, precision)
        if plan[last_op, KIND] == DENSE and plan[last_op, ACTIVATE] != LINEAR:
            at = first * z_ld
            derive_part(
                work, d_at + at, z_ld, work, z_at + at, z_ld, work, d_at + at, z_ld, last - first, n,
                plan[last_op, ACTIVATE],
            )  # fmt: skip
        if worker == 0:
            records[s, PENALTY] = penalty(plan, factors, params)
        met += 1
        barrier(sync, n_workers, met)
        if worker == 0:
            records[s, LOSS_SUM], records[s, HITS] = sum_rows(losses, m), sum_rows(hits, m)

        for o in range(last_op, first_dense - 1, -1):
            if o > first_dense:
                backward(plan, factors, o, params, work, 0, m, 0, work, s_at, worker, n_workers)
                met += 1
                barrier(sync, n_workers, met)
            if plan[o, KIND] == DENSE:
                if o > 0:
                    learn(
                        plan, factors, o, work, plan[o - 1, OUT], plan[o - 1, LD], params, s1, s2, s3, work, m,
                        job[OPTIMIZER], scalars[s], work, s_at, block_at, worker, n_workers,
                    )  # fmt: skip
                else:
                    learn(
                        plan, factors, o, X, start * features, features, params, s1, s2, s3, work, m,
                        job[OPTIMIZER], scalars[s], work, s_at, block_at, worker, n_workers,
                    )  # fmt: skip
        met += 1
        barrier(sync, n_workers, met)
    if worker == 0:
        records[job[STEPS], PENALTY] = penalty(plan, factors, params)
    as_before(mode)


@kernel
def run_book(
    X, labels, targets, params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, accuracy, precision,
    sync, records, n_workers,
):  # fmt: skip
    """Train for `job[STEPS]` steps without shuffling; NaN and infinity pass through, as in the book.

    Parameters
    ----------
    X : (rows · features,) array of T, read
    labels : (rows,) array of T, read
        Whole class numbers from 0 to outputs - 1; empty unless the loss is CROSS_ENTROPY, of logits.
    targets : (rows · outputs,) array of T, read
        Empty for CROSS_ENTROPY.
    params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, sync : as in `train.run_chunk`
        ``job[LOSS]`` is one of `book`'s.
    accuracy : int
        NO_ACCURACY, BINARY or WITHIN; for CROSS_ENTROPY the class with the largest probability counts.
    precision : float
        For WITHIN.
    records : (steps + 1, 3) array of float64, written
        Of each step the sum of the rows' losses, the number of right outputs, and the penalty before its update; in
        the last row the penalty after all of them.
    n_workers : int
        Parallel over workers, each of which runs all steps and meets the others at barriers.
    """
    for worker in prange(n_workers):
        book_worker(
            X, labels, targets, params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, accuracy,
            precision, sync, records, np.int64(worker), n_workers,
        )  # fmt: skip


@kernel
def run_book_narrow(
    X, labels, order, params, s1, s2, s3, work, losses, hits, plan, factors, scalars, job, tally, history, records,
    n_workers,
):  # fmt: skip
    """Train as `run_book` does, CROSS_ENTROPY, a network that `narrow.run_narrow` can; on one thread.

    Parameters
    ----------
    order, tally, history : as in `train.run_chunk`
        Of one step: `history` has one row.
    records : as in `run_book`
        ``tally[DONE]`` says how many steps were done: a loss that is not finite ends the chunk before its update.
    """
    steps, number = job[STEPS], job[FIRST_STEP]
    step = lanes(params)
    done = 0.0
    for s in range(steps):
        job[STEPS], job[FIRST_STEP] = 1, number + s
        tally[DONE] = 0.0
        records[s, PENALTY] = penalty(plan, factors, params)
        run_narrow(
            X, labels, order, params, s1, s2, s3, work, losses, hits, plan, factors, scalars[s : s + 1], job, 0.0,
            tally, history, 1,
        )  # fmt: skip
        if tally[DONE] == 0.0:
            break
        done += 1.0
        _, m = batch_of(job, number + s)
        for r in range(0, m, step):
            clip_losses(losses, r, min(step, m - r))
        records[s, LOSS_SUM], records[s, HITS] = sum_rows(losses, m), sum_rows(hits, m)
    job[STEPS], job[FIRST_STEP] = steps, number
    tally[DONE] = done
    records[np.int64(done), PENALTY] = penalty(plan, factors, params)
