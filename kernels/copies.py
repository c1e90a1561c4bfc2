"""Operands copied to where all that a tile reads follows each other."""

from ._compile import kernel
from ._simd import (
    BLOCK_PANELS,
    BLOCK_TILES,
    COPIED_STEPS,
    COPY_TILES,
    STEPS_AT_ONCE,
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    WHOLE_SUMS,
    itemsize,
    lanes,
    load_n,
    prefetch,
    store,
)
from .split import get, put

COPY_PANELS = 4 if VECTOR_BYTES == 32 else 1
"""Panels that are copied at once. AVX2's are a line wide: one by one, from rows a page apart, lines took 55 ns each
(256 × 1024 × 1024 forward 11.3 ms on Zen 3; with 2, 4 and 8 panels 8.8, 8.3 and 8.0).
"""
BLOCK_ROWS = BLOCK_TILES * TILE_ROWS
"""Rows of weights whose gradient is worked on at a time, BLOCK_PANELS panels of them; in training it is held in scratch
before the update consumes it.

One panel at a time, whose rows are short runs far apart, is not what prefetchers look for: an update of Adam's took 22
to 46 cycles a register, and takes 14 to 38.
"""
PACK_BYTES = 6144
"""Distance of a sample's rows from the next one's, inputs and gradient together, from which on a piece of the inputs is
copied to where its rows follow each other: 64 samples of both are on more pages than the core's first table holds then
(784-1024-1024-1024-10 with 256 rows: 13.2 -> 12.9 ms; at 784-512, 5,248 bytes, it lost 2 %).
"""
PACK_BYTES_COPIED = 3000
"""The same of inputs alone, where the gradient has been copied (784-512-512-10 with 128 rows on Ice Lake: its first
gradient 1.03 times as fast with a copy of the inputs, 3,136 bytes apart, and its second, 2,112, 0.96 times).
"""
_LEAST_COPIED, _MOST_COPIED = 48, 512
"""Fewest and most samples for which the columns of a gradient's block are copied to panels first, whose sums are then
taken in pieces of COPIED_STEPS (gradients on Ice Lake: 784-1024-1024-1024-10 with 256 rows 1.10 to 1.15,
784-512-512-10 with 128 rows 1.0 to 1.09, 28-300-300-300-2 with 1024 rows 0.88 to 0.97).
"""
LEAST_SAMPLES = 32
"""Samples from which on a gradient's operands whose lines share a few sets are copied."""
_LINES_AHEAD = 32
"""Lines that a panel's copy asks for ahead of the one that it copies (16 and 64 do as well)."""


def piece_room(rows, itemsize):
    """Return the elements, of `itemsize` bytes, of a piece of inputs of `rows` samples copied."""
    if STEPS_AT_ONCE == WHOLE_SUMS:
        return 0
    lines = -(-BLOCK_ROWS * itemsize // VECTOR_BYTES) * VECTOR_BYTES // itemsize
    most = max(STEPS_AT_ONCE, COPIED_STEPS)
    return min(rows, most + most // 2) * lines


def columns_room(rows, itemsize):
    """Return the elements, of `itemsize` bytes, of a block's columns copied from `rows` samples."""
    return min(rows, _MOST_COPIED) * BLOCK_PANELS * TILE_VECTORS * VECTOR_BYTES // itemsize if COPIED_STEPS else 0


@kernel
def copies_columns(m, rows):
    """Tell whether a gradient of `rows` rows, from `m` samples, is to have its columns copied to panels first."""
    return COPIED_STEPS != 0 and _LEAST_COPIED <= m <= _MOST_COPIED and rows >= COPY_TILES * TILE_ROWS


@kernel
def pieces(m, most):
    """Return in how many pieces a gradient's sum over `m` samples is taken: one below 1.5 times `most`."""
    return max(1, (m + most // 2) // most)


@kernel
def far_apart(a, ld):
    """Tell whether rows `ld` elements apart fall into the same few sets of the first-level cache."""
    return (ld * itemsize(a)) % 4096 == 0


@kernel
def copies_pay(b, ld, rows, columns):
    """Tell whether operands `ld` apart are to be copied into panels for a product of `rows` × `columns`."""
    width = TILE_VECTORS * lanes(b)
    return rows > TILE_ROWS and far_apart(b, ld) or rows >= COPY_TILES * TILE_ROWS and columns > 2 * width


@kernel
def packing_pays(x, x_ld, dz_ld, m, rows):
    """Tell whether both operands of a gradient of `rows` rows from `m` samples are to be copied.

    With AVX2, if lines of one of them share a few sets (one thread, 256 × 1024 × 1024: 17 -> 11 ms, 128 × 784 × 512:
    1.1 to 1.2 times as fast, 12 × 512 × 512 0.9), or if there are many.
    """
    shared = x_ld * itemsize(x) % 2048 == 0 or dz_ld * itemsize(x) % 2048 == 0
    many = pieces(m, STEPS_AT_ONCE) > 1 and (x_ld + dz_ld) * itemsize(x) > PACK_BYTES
    return (many or COPY_PANELS > 1 and shared and m >= LEAST_SAMPLES) and rows >= TILE_VECTORS * lanes(x)


@kernel
def pack_rows(x, x_at, ld, steps, rows, scratch, s_at, s_ld):
    """Copy `rows` values of each of `steps` rows of `x`, `ld` apart, to rows of scratch `s_ld` apart."""
    step = lanes(x)
    for s in range(steps):
        for j in range(0, rows, step):
            whole = rows - j >= step
            put(scratch, s_at + s * s_ld + j, get(x, x_at + s * ld + j, rows - j, whole), rows - j, whole)


@kernel
def copy_panels(b, b_at, ld, steps, columns, scratch, s_at):
    """Copy `steps` rows of `columns` values, `ld` apart, to panels in scratch, whose rows follow each other.

    What the panel before has asked for (see `gemm.panel_fetching`) is not all there any more where rows share sets of
    the second-level cache too: with the prefetch here forward products of 1024 × 1024 go from 84 to 90 % of peak.
    """
    step = lanes(b)
    width = TILE_VECTORS * step
    for k in range(steps):
        row, ahead = b_at + k * ld, b_at + (k + max(1, _LINES_AHEAD // COPY_PANELS)) * ld
        for c in range(0, columns, width):
            to = s_at + c * steps + k * width
            for j in range(c, min(c + width, columns), step):
                if (j - c) * itemsize(b) % 64 == 0:
                    prefetch(b, ahead + j)
                store(scratch, to + j - c, load_n(b, row + j, columns - j))
