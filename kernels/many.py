"""Many networks of one shape trained side by side: each by one thread from its first step to its last, none waiting."""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import atomic_add
from .narrow import run_narrow
from .train import chunk_worker


@kernel
def run_many(
    X, labels, targets, bounds, orders, params, s1, s2, s3, work, losses, hits, plans, factors, scalars, jobs,
    smoothing, syncs, tallies, histories, narrow, turn, n_workers,
):  # fmt: skip
    """Run a chunk of steps of each network.

    Parameters
    ----------
    X, labels, targets : 1-D arrays of T, read
        The data of all networks; network i has `X[bounds[i, 0]:bounds[i, 1]]`, and likewise the labels (columns 2 and
        3) and targets (4 and 5); of `orders[i]`, `bounds[i, 6]` elements. Networks may share them.
    bounds : (networks, 7) array of int64, read
    orders, params, s1, s2, s3, plans, factors, scalars, jobs, syncs, tallies, histories
        A row a network of what `train.run_chunk` takes.
    work, losses, hits : (n_workers, ·) arrays of T, written
        A row a worker.
    smoothing : float
    narrow : bool
        Whether the networks are ones for `narrow.run_narrow`.
    turn : (1,) array of int64, zero, written
        The next network that has no worker yet.
    n_workers : int
        Parallel over networks; which worker trains one cannot be seen in its bits.
    """
    for worker in prange(n_workers):
        w = np.int64(worker)
        i = atomic_add(turn, 0, 1)
        while i < jobs.shape[0]:
            x, y = X[bounds[i, 0] : bounds[i, 1]], labels[bounds[i, 2] : bounds[i, 3]]
            t, order = targets[bounds[i, 4] : bounds[i, 5]], orders[i][: bounds[i, 6]]
            if narrow:
                run_narrow(
                    x, y, order, params[i], s1[i], s2[i], s3[i], work[w], losses[w], hits[w], plans[i],
                    factors[i], scalars[i], jobs[i], smoothing, tallies[i], histories[i], 1,
                )  # fmt: skip
            else:
                chunk_worker(
                    x, y, t, order, params[i], s1[i], s2[i], s3[i], work[w], losses[w], hits[w], plans[i],
                    factors[i], scalars[i], jobs[i], smoothing, syncs[i], tallies[i], histories[i], 0, 1,
                )  # fmt: skip
            i = atomic_add(turn, 0, 1)
