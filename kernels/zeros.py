"""Inputs that are zero: which steps of a product's tiles can be passed over.

Images and one-hot columns are mostly zeros, and a step of a tile, one index of the sum, adds nothing where all of the
tile's values are zero. Of 128 images of Fashion-MNIST that is every third step forward (six images, one pixel; every
sixth, were they not sorted as `order` says) and two in five of the gradient of the weights (three pixels, one image):
a step of 784-128-128-10 takes 699 µs on one thread with all of them, 559 without. A branch at each step would be
foretold wrongly so often that a third of the gain was lost: the steps to take are noted beforehand.

A sum over fewer steps has the same bits, but for the sign of a zero; what is multiplied by these zeros has to be
finite.
"""

from ._compile import kernel
from ._simd import (
    COPIED_STEPS,
    SHORT_ROWS,
    TILE_ROWS,
    VECTOR_BYTES,
    bits_of,
    itemsize,
    lanes,
    load,
    load_n,
    mask_bits,
    splat,
    store_word,
    words_with,
)
from .split import get, share

PAYS = 0.1 if VECTOR_BYTES == 64 else 0.3
"""Least sum of the shares of steps passed over, forward and in the gradient, that pays: with shorter registers a step
takes less time beside what it takes to find it."""
GRADIENT_PAYS = 0.55 if COPIED_STEPS else 0.0
"""Least share of a gradient's steps that pays by itself.

Where operands are copied to panels, all steps of six rows take little longer than some of three rows twice: with the
two in five that Fashion-MNIST gives, 784-512-512-10 with 128 rows and 784-1024-10 with 256 took 1.06 to 1.11 times as
long on Ice Lake, 784-128-128-10 1.02 to 1.04.
"""
GROUPS = 48 // SHORT_ROWS
"""Tiles of consecutive columns looked at together: their bits fit one word."""


def room(rows, columns, itemsize):
    """Return the elements, of `itemsize` bytes, that notes of `rows` × `columns` inputs take: by rows, by columns."""
    per_word = 8 // itemsize
    return rows // TILE_ROWS * -(-columns // 64) * per_word, columns // SHORT_ROWS * -(-rows // 64) * per_word


@kernel
def words_for(like, steps):
    """Return the elements of `like` that the words of `steps` bits take up."""
    return (steps + 63) // 64 * (8 // itemsize(like))


@kernel
def note_rows(x, x_at, x_ld, first, last, k, words, words_at):
    """Note for tiles of rows, from row `first` to before `last`, the columns where not all of a tile's rows are zero.

    Tile `t` of the whole `x`, which begins at row 0, has the words from `words_at + t * words_for(x, k)` on; a last
    tile of fewer rows has none. `first` is a multiple of TILE_ROWS.
    """
    step, per_word = lanes(x), 8 // itemsize(x)
    none = bits_of(splat(x, 0.0))
    for t in range(first // TILE_ROWS, last // TILE_ROWS):
        at, place = x_at + t * TILE_ROWS * x_ld, words_at + t * words_for(x, k)
        for begin in range(0, k, 64):
            word = 0
            for j in range(begin, min(k, begin + 64), step):
                n = k - j
                found = none
                for r in range(TILE_ROWS):
                    found = found | bits_of(get(x, at + r * x_ld + j, n, n >= step))
                word |= mask_bits(found != none) << (j - begin)
            store_word(words, place + begin // 64 * per_word, word)


@kernel
def note_columns(x, x_at, x_ld, m, k, words, words_at, scratch, s_at, worker, n_workers):
    """Note for tiles of columns, a worker's share, the rows where not all of a tile's columns are zero.

    Tile `t` has the words from `words_at + t * words_for(x, m)` on; a last tile of fewer columns has none. There must
    be 64 words in `scratch`.
    """
    step, per_word, per_tile = lanes(x), 8 // itemsize(x), words_for(x, m)
    none = bits_of(splat(x, 0.0))
    tiles, mask = k // SHORT_ROWS, (1 << SHORT_ROWS) - 1
    for t in range(share(tiles, worker, n_workers, GROUPS), share(tiles, worker + 1, n_workers, GROUPS), GROUPS):
        groups = min(GROUPS, tiles - t)
        whole = groups == GROUPS and GROUPS * SHORT_ROWS % step == 0
        for begin in range(0, m, 64):
            here = min(64, m - begin)
            for r in range(here):
                row, found = x_at + (begin + r) * x_ld + t * SHORT_ROWS, 0
                if whole:
                    for j in range(0, GROUPS * SHORT_ROWS, step):
                        found |= mask_bits(bits_of(load(x, row + j)) != none) << j
                else:
                    for j in range(0, groups * SHORT_ROWS, step):
                        left = groups * SHORT_ROWS - j
                        found |= mask_bits(bits_of(load_n(x, row + j, left)) != none) << j
                store_word(scratch, s_at + r * per_word, found)
            # What the scratch holds of rows that are not there counts for nothing.
            keep = -1 if here == 64 else (1 << here) - 1
            for g in range(groups):
                found = words_with(scratch, s_at, mask << g * SHORT_ROWS) & keep
                store_word(words, words_at + (t + g) * per_tile + begin // 64 * per_word, found)
