"""Inverted dropout whose mask is drawn again in the backward pass instead of being kept."""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import as_before, flush_tiny, lanes, load_n, mask_bits, mask_of, select, splat, splat_int, store_n
from .rng import STREAM_DROPOUT, words
from .split import share


@kernel
def keep_bits(block, threshold, seed, stream, step):
    """Return 64 decisions as the bits of an integer: bit b is set if element `64 * block + b` is kept.

    Each is one word of 16 Philox blocks: bit b says whether word `b // 16` of block `16 * block + b % 16` is
    below `threshold`. The counter's third word is the stream for dropout, with the layer's number above it;
    the fourth is the step.
    """
    bits, limit = 0, splat_int(1.0, threshold)
    for part in range(0, 16, lanes(1.0)):
        w0, w1, w2, w3 = words(16 * block + part, seed, STREAM_DROPOUT + (stream << 8), step)
        bits |= mask_bits(w0 < limit) << part
        bits |= mask_bits(w1 < limit) << (16 + part)
        bits |= mask_bits(w2 < limit) << (32 + part)
        bits |= mask_bits(w3 < limit) << (48 + part)
    return bits


@kernel
def dropout_part(x, x_at, x_ld, out, out_at, out_ld, row0, row1, columns, rate, seed, stream, step):
    """Write `out[r, c] = x[r, c] * kept[r, c] / (1 - rate)` for the rows `row0` up to `row1`.

    Element (r, c) lies at `x_at + r * x_ld + c`, and its mask is that of the number `r * columns + c`, so
    that padding between rows changes nothing. The other arguments are those of `dropout_forward`.
    """
    # Kept are 2**32 (1 - rate) of the words, to the nearest: with rate 0 all of them.
    threshold = np.int64((1.0 - rate) * 4294967296.0 + 0.5)
    factor, zero, n = splat(x, 1.0 / (1.0 - rate)), splat(x, 0.0), lanes(x)
    held, bits = np.int64(-1), np.int64(0)
    for r in range(row0, row1):
        i, end = r * columns, (r + 1) * columns
        source, target = x_at + r * x_ld - i, out_at + r * out_ld - i
        while i < end:
            block = i >> 6
            if block != held:
                held, bits = block, keep_bits(block, threshold, seed, stream, step)
            stop = min(end, (block + 1) << 6)
            for k in range(i, stop, n):
                # A product, not a selection: NaN and infinity stay visible where they are dropped, too.
                kept = select(mask_of(x, bits >> (k & 63)), factor, zero)
                store_n(out, target + k, load_n(x, source + k, stop - k) * kept, stop - k)
            i = stop


@kernel
def dropout_forward(x, out, rate, seed, stream, step, n_workers):
    """Write `out = x * kept / (1 - rate)`, each element kept with probability `1 - rate` (to 2**-33).

    Parameters
    ----------
    x : array (rows, columns) of float32 or float64, its columns contiguous, read.
    out : array of the same shape and dtype, its columns contiguous, written; `x` itself will do.
    rate : float64 in [0, 1).
    seed : int64, whose 64 bits are the key.
    stream : int64 from 0 to 2**24 - 1, different for each dropout layer of a network.
    step : int64, of which the lower 32 bits count, different for each pass.
    n_workers : int64, number of parts, runs of rows, which run in parallel.

    Notes
    -----
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014. An element's
    mask is a function of (seed, stream, step, its number in row order) alone.
    """
    rows, columns = x.shape
    x_ld, out_ld = x.strides[0] // x.itemsize, out.strides[0] // out.itemsize
    for worker in prange(n_workers):
        mode = flush_tiny()
        w = np.int64(worker)
        first, last = share(rows, w, n_workers, 16), share(rows, w + 1, n_workers, 16)
        dropout_part(x, 0, x_ld, out, 0, out_ld, first, last, columns, rate, seed, stream, step)
        as_before(mode)


@kernel
def dropout_backward(dout, dx, rate, seed, stream, step, n_workers):
    """Write `dx = dout * kept / (1 - rate)`, with the mask that `dropout_forward` had for these numbers.

    Parameters
    ----------
    dout : array (rows, columns) of float32 or float64, its columns contiguous, read.
    dx : array of the same shape and dtype, its columns contiguous, written; `dout` itself will do.
    rate, seed, stream, step, n_workers : as for `dropout_forward`.
    """
    rows, columns = dout.shape
    dout_ld, dx_ld = dout.strides[0] // dout.itemsize, dx.strides[0] // dx.itemsize
    for worker in prange(n_workers):
        mode = flush_tiny()
        w = np.int64(worker)
        first, last = share(rows, w, n_workers, 16), share(rows, w + 1, n_workers, 16)
        dropout_part(dout, 0, dout_ld, dx, 0, dx_ld, first, last, columns, rate, seed, stream, step)
        as_before(mode)
