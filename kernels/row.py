"""One row through a dense layer: what counts is how fast the weights come.

A tile of one row has four sums under way and meets a part of each row of weights at a time, which prefetchers do not
follow well (784 × 128 from the second-level cache: 3.8 µs; this way 2.3).
"""

from ._compile import primitive
from ._simd import fma, lanes, load, prefetch_first_level, splat, store

ROW_VECTORS = 8
"""Registers of columns that are taken at once."""
_AHEAD = 4
"""Rows of weights that are asked for ahead of the one that is read."""


@primitive("pipippi")
def one_row(x, k, w, w_row, b, y, columns):
    """Write `y[j] = b[j] + sum_i x[i] w[i, j]`, with the bits of `_simd.tile`.

    `columns` is a multiple of `ROW_VECTORS` registers; rows of `w` are `w_row` apart. Called with an offset behind each
    array.
    """
    n = lanes(y)
    # Written out: Numba holds no vectors in a list.
    for j in range(0, columns, ROW_VECTORS * n):
        s0, s1, s2, s3 = load(b, j), load(b, j + n), load(b, j + 2 * n), load(b, j + 3 * n)
        s4, s5, s6, s7 = load(b, j + 4 * n), load(b, j + 5 * n), load(b, j + 6 * n), load(b, j + 7 * n)
        for i in range(k):
            v, at = splat(y, x[i]), i * w_row + j
            for c in range(ROW_VECTORS):
                prefetch_first_level(w, at + _AHEAD * w_row + c * n)
            s0, s1 = fma(v, load(w, at), s0), fma(v, load(w, at + n), s1)
            s2, s3 = fma(v, load(w, at + 2 * n), s2), fma(v, load(w, at + 3 * n), s3)
            s4, s5 = fma(v, load(w, at + 4 * n), s4), fma(v, load(w, at + 5 * n), s5)
            s6, s7 = fma(v, load(w, at + 6 * n), s6), fma(v, load(w, at + 7 * n), s7)
        store(y, j, s0)
        store(y, j + n, s1)
        store(y, j + 2 * n, s2)
        store(y, j + 3 * n, s3)
        store(y, j + 4 * n, s4)
        store(y, j + 5 * n, s5)
        store(y, j + 6 * n, s6)
        store(y, j + 7 * n, s7)
