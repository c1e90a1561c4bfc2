"""Weights laid out panel by panel: what one worker reads and updates then lies together.

With rows of all columns, halves of each line-by-line run belong to two workers: each core's prefetcher takes what the
other one writes, or, where updates are shared out by rows, each line that one worker updates has been read by the
other. Either way a line costs 20 ns more, on two cores: of small batches that was half of the step (126 µs against
87 at 784-128-10 with 32 rows). And the columns that a product takes at a time would have to be copied first where
there are many (see `gemm`).
"""

import numpy as np
from numba import prange

from ._compile import kernel, outlined
from ._simd import TILE_VECTORS, VECTOR_BYTES, lanes, load_n, store_n
from .copies import COPY_PANELS
from .split import share

LEAST_COLUMNS = 128 if VECTOR_BYTES == 32 else 512
"""Columns of a layer from which on its panels would be copied for each product.

A row of AVX2's panels is one line of memory, and in weights that lie in rows the next one is far away: products of
28-300-300-300-2 on Zen 3 are 1.2 times as fast from panels, 1.03 times as fast as from copies. On AVX-512, whose panels
are four lines wide, they gain nothing there.
"""


def panel_width(itemsize):
    """Return the columns of a panel, for elements of `itemsize` bytes."""
    return TILE_VECTORS * VECTOR_BYTES // itemsize


@kernel
def copy_run(source, source_at, target, target_at, n):
    """Copy `n` consecutive elements."""
    for j in range(0, n, lanes(source)):
        store_n(target, target_at + j, load_n(source, source_at + j, n - j), n - j)


@kernel
def scatter(room, room_at, array, at, k, n, first, last, inward):
    """Write the rows `first` to `last` of (k, n) weights at `room[room_at]`, laid out the other way, to `array[at]`."""
    width = TILE_VECTORS * lanes(array)
    span = COPY_PANELS * width
    for begin in range(0, n, span):
        for i in range(first, last):
            for j in range(begin, min(begin + span, n), width):
                columns = min(width, n - j)
                row, panel = i * n + j, j * k + i * columns
                if inward:
                    copy_run(room, room_at + row, array, at + panel, columns)
                else:
                    copy_run(room, room_at + panel, array, at + row, columns)


@outlined
def lay_out(params, places, laid, worker, n_workers):
    """Copy a worker's part of all parameters to `laid`, as `rearrange` lays them out.

    `places` has a row for each run of parameters: where it begins, and the rows and columns of weights that are to lie
    in panels, or 1 and the run's length.
    """
    for place in range(places.shape[0]):
        at, k, n = places[place, 0], places[place, 1], places[place, 2]
        first, last = share(k, worker, n_workers, 1), share(k, worker + 1, n_workers, 1)
        scatter(params, at, laid, at, k, n, first, last, True)


@kernel
def rearrange(params, s1, s2, s3, places, room, laid, inward, n_workers):
    """Lay weights out in panels, or in rows again, in place and in all of a network's arrays.

    The panel of the columns from `j` on begins at `at + j * k`, and its rows, as wide as it is, follow each other.

    Parameters
    ----------
    params, s1, s2, s3 : 1-D arrays of T, updated
        All parameters, and the optimiser's state (empty where it keeps none).
    places : (layers, 3) array of int64, read
        Of each layer: where its weights begin, and their rows and columns `k` and `n`.
    room : 1-D array of T, written
        As long as the largest of these weights.
    laid : (1,) array of int64, updated
        Whether they lie in panels. Written here, in the call that makes it so: Python code that is interrupted would
        leave it undecided.
    inward : bool
        Into panels; nothing is done where they lie as asked for.
    n_workers : int
        Parallel over rows.
    """
    if (laid[0] != 0) == inward:
        return
    for layer in range(places.shape[0]):
        at, k, n = places[layer, 0], places[layer, 1], places[layer, 2]
        for array in (params, s1, s2, s3):
            if array.size > 0:
                for worker in prange(n_workers):
                    w = np.int64(worker)
                    first, last = share(k * n, w, n_workers, 16), share(k * n, w + 1, n_workers, 16)
                    copy_run(array, at + first, room, first, last - first)
                for worker in prange(n_workers):
                    w = np.int64(worker)
                    first, last = share(k, w, n_workers, 1), share(k, w + 1, n_workers, 1)
                    scatter(room, 0, array, at, k, n, first, last, inward)
    laid[0] = 1 if inward else 0
