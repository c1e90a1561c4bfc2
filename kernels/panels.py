"""Weights laid out panel by panel: what one worker reads and updates then lies together.

With rows of all columns, halves of each line-by-line run belong to two workers: each core's prefetcher takes what the
other one writes, or, where updates are shared out by rows, each line that one worker updates has been read by the
other. Either way a line costs 20 ns more, on two cores: of small batches that was half of the step (126 µs against
87 at 784-128-10 with 32 rows).
"""

from ._compile import kernel
from ._simd import TILE_VECTORS, VECTOR_BYTES, lanes, load_n, store_n


def panel_width(itemsize):
    """Return the columns of a panel, for elements of `itemsize` bytes."""
    return TILE_VECTORS * VECTOR_BYTES // itemsize


@kernel
def copy_run(source, source_at, target, target_at, n):
    """Copy `n` consecutive elements."""
    for j in range(0, n, lanes(source)):
        store_n(target, target_at + j, load_n(source, source_at + j, n - j), n - j)


@kernel
def rearrange(source, target, at, k, n, inward):
    """Copy flat parameters, the (k, n) weights at `at` from rows to panels (`inward`) or back.

    The panel of the columns from `j` on begins at `at + j * k`, and its rows, as wide as it is, follow each other.

    Parameters
    ----------
    source : 1-D array of T, read
    target : array like it, written
    at, k, n : int
    inward : bool
    """
    copy_run(source, 0, target, 0, at)
    width = TILE_VECTORS * lanes(source)
    for j in range(0, n, width):
        columns = min(width, n - j)
        for i in range(k):
            row, panel = at + i * n + j, at + j * k + i * columns
            if inward:
                copy_run(source, row, target, panel, columns)
            else:
                copy_run(source, panel, target, row, columns)
    end = at + k * n
    copy_run(source, end, target, end, source.size - end)
