"""Philox4x32-10, a counter-based random generator, and what is drawn from it: orders and initial weights.

A block of four 32-bit words is a function of a key and a counter, without a state (Salmon, Moraes, Dror and
Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011). The key is the seed. The counter is (index low,
index high, stream, substream): one stream for each purpose, one substream for each epoch, array or step, so
that no two draws share a block. Element i is a function of its index alone, whatever the number of workers.

Two 64-bit numbers come from a block, of words 0 and 1 and of words 2 and 3, the first named the higher. So
that whole registers can be filled, element i takes half `i // 8 % 2` of block `i // 16 * 8 + i % 8`.

All integers are int64 and hold 32-bit words: Numba would turn a mixture of uint64 and int64 into float64.
"""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import (
    bits_of,
    fma,
    from_bits,
    lanes,
    polynomial,
    ramp,
    select,
    splat,
    splat_int,
    sqrt,
    store_n,
    store_n_as,
    to_float,
)
from .math import vlog
from .split import share

STREAM_SHUFFLE, STREAM_INIT, STREAM_DROPOUT, STREAM_USER = 1, 2, 3, 4
"""Streams, 0 to 255; bits 8 and up of the counter's third word are free for what a stream needs."""

_WORD = 0xFFFFFFFF
# sin(f pi / 2) / f and cos(f pi / 2) as polynomials in f**2, |f| <= 1/2; relative error 2**-54.1 and
# 2**-55.3 (Remez exchange, made for this file).
_SIN = (
    1.5707963267948966, -0.6459640975062443, 0.07969262624603957, -0.004681754132282424,
    0.00016044115029170485, -3.598641754665104e-06, 5.633721044307349e-08,
)  # fmt: skip
_COS = (
    1.0, -1.2337005501361697, 0.2536695079010466, -0.020863480763308004, 0.000919260274146764,
    -2.5202036558172993e-05, 4.7106035803701265e-07, -6.320557243427368e-09,
)  # fmt: skip


@kernel
def rounds(c0, c1, c2, c3, k0, k1):
    """Return the four words of a block for each lane: integer vectors for the counter, two words of key."""
    word = splat_int(c0, _WORD)
    half = splat_int(c0, 32)
    for _ in range(10):
        p0 = (c0 & word) * splat_int(c0, 0xD2511F53)
        p1 = (c2 & word) * splat_int(c0, 0xCD9E8D57)
        # The upper halves hold rubbish, which the masks above and below take away.
        c0, c2 = (p1 >> half) ^ c1 ^ splat_int(c0, k0), (p0 >> half) ^ c3 ^ splat_int(c0, k1)
        c1, c3 = p1, p0
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0 & word, c1 & word, c2 & word, c3 & word


@kernel
def words(index, seed, stream, substream):
    """Return the four words of the blocks `index`, `index + 1`, ..., one block in each 64-bit lane."""
    key, low = np.int64(seed), ramp(1.0, index)
    high, third, fourth = low >> splat_int(1.0, 32), splat_int(1.0, stream), splat_int(1.0, substream)
    return rounds(low, high, third, fourth, key & _WORD, (key >> 32) & _WORD)


@kernel
def philox(counter, key, out):
    """Write one block of Philox4x32-10, for tests against published values.

    Parameters
    ----------
    counter, key : int64 arrays of 4 and 2 words from 0 to 2**32 - 1, read.
    out : int64 array of 4 words, written.
    """
    c0, c1 = splat_int(1.0, counter[0]), splat_int(1.0, counter[1])
    c2, c3 = splat_int(1.0, counter[2]), splat_int(1.0, counter[3])
    c0, c1, c2, c3 = rounds(c0, c1, c2, c3, key[0], key[1])
    store_n(out, 0, c0, 1)
    store_n(out, 1, c1, 1)
    store_n(out, 2, c2, 1)
    store_n(out, 3, c3, 1)


@kernel
def _below(high, low, bound):
    """Return `floor(number * bound / 2**64)` for 64-bit numbers in two halves and bounds under 2**31."""
    bound = bound & splat_int(bound, _WORD)  # says to LLVM that one 32-bit multiplication will do
    half = splat_int(bound, 32)
    return (high * bound + ((low * bound) >> half)) >> half


@kernel
def permutation(order, seed, epoch):
    """Write a random order of 0, 1, ..., n - 1: a function of n, seed and epoch alone.

    Fisher and Yates' shuffle, from the inside out. For each i, the place j <= i is drawn as
    `floor(number * (i + 1) / 2**64)`, with chances equal to within 2**-32 of themselves; then
    `order[i] = order[j]` and `order[j] = i`.

    Parameters
    ----------
    order : int64 array of n < 2**31 elements, contiguous, written.
    seed : int64, whose 64 bits are the key.
    epoch : int64, of which the lower 32 bits count.
    """
    n, step = order.size, lanes(1.0)
    # The places are drawn first, whole registers at a time, and wait in `order` itself for their turn.
    for block in range(0, n, 16):
        for part in range(0, 8, step):
            i = block + part
            w0, w1, w2, w3 = words(block // 2 + part, seed, STREAM_SHUFFLE, epoch)
            store_n(order, i, _below(w0, w1, ramp(1.0, i + 1)), n - i)
            store_n(order, i + 8, _below(w2, w3, ramp(1.0, i + 9)), n - i - 8)
    for i in range(n):
        j = order[i]
        order[i] = order[j]
        order[j] = i


@kernel
def _fraction(high, low):
    """Return the first 53 bits of 64-bit numbers, given in two halves, as integers."""
    return (high << splat_int(high, 21)) | (low >> splat_int(high, 11))


@kernel
def uniform_part(out, low, high, seed, stream, substream, first, last):
    """Write the elements `first`, a multiple of 16, up to `last`; see `uniform`."""
    unit, span, start = splat(1.0, 2.0**-53), splat(1.0, high - low), splat(1.0, low)
    for block in range(first, last, 16):
        for part in range(0, 8, lanes(1.0)):
            i = block + part
            w0, w1, w2, w3 = words(block // 2 + part, seed, stream, substream)
            store_n_as(out, i, fma(to_float(_fraction(w0, w1)) * unit, span, start), last - i)
            store_n_as(out, i + 8, fma(to_float(_fraction(w2, w3)) * unit, span, start), last - i - 8)


@kernel
def uniform(out, low, high, seed, stream, substream, n_workers):
    """Write `out[i] = low + (high - low) * u[i]`, with u uniform on the multiples of 2**-53 in [0, 1).

    Computed in float64 and then rounded, so that float32 and float64 arrays agree; that may reach `high`.

    Parameters
    ----------
    out : 1-D contiguous array of float32 or float64, written.
    low, high : float64.
    seed : int64, whose 64 bits are the key.
    stream, substream : int64, of which the lower 32 bits count; `stream` is one of the STREAM constants.
    n_workers : int64, number of parts, which run in parallel.
    """
    for worker in prange(n_workers):
        w = np.int64(worker)
        first, last = share(out.size, w, n_workers, 16), share(out.size, w + 1, n_workers, 16)
        uniform_part(out, low, high, seed, stream, substream, first, last)


@kernel
def _cos_sin(number):
    """Return the cosine and the sine of `2 pi number / 2**53`."""
    quarter = splat_int(number, 51)
    q = (number + splat_int(number, 1 << 50)) >> quarter
    f = to_float(number - (q << quarter)) * splat(1.0, 2.0**-51)
    z = f * f
    s, c = f * polynomial(z, _SIN), polynomial(z, _COS)
    one, two, top = splat_int(number, 1), splat_int(number, 2), splat_int(number, 62)
    odd = (q & one) == one
    cosine = bits_of(select(odd, s, c)) ^ (((q + one) & two) << top)
    sine = bits_of(select(odd, c, s)) ^ ((q & two) << top)
    return from_bits(cosine), from_bits(sine)


@kernel
def normal_part(out, mean, scale, seed, stream, substream, first, last):
    """Write the elements `first`, a multiple of 16, up to `last`; see `normal`."""
    unit, factor, centre = splat(1.0, 2.0**-53), splat(1.0, scale), splat(1.0, mean)
    for block in range(first, last, 16):
        for part in range(0, 8, lanes(1.0)):
            i = block + part
            w0, w1, w2, w3 = words(block // 2 + part, seed, stream, substream)
            # From 2**-53 to 1, both included: the logarithm is finite.
            u = to_float(_fraction(w0, w1) + splat_int(1.0, 1)) * unit
            radius = sqrt(splat(1.0, -2.0) * vlog(u))
            cosine, sine = _cos_sin(_fraction(w2, w3))
            store_n_as(out, i, fma(radius * cosine, factor, centre), last - i)
            store_n_as(out, i + 8, fma(radius * sine, factor, centre), last - i - 8)


@kernel
def normal(out, mean, scale, seed, stream, substream, n_workers):
    """Write `out[i] = mean + scale * z[i]`, with z of the standard normal distribution (at most 8.6 in size).

    Box and Muller's transform: with u from (0, 1] and v from [0, 1), the two halves of a block, it is
    `sqrt(-2 log(u))` times `cos(2 pi v)` for one element and `sin(2 pi v)` for the other. Computed in
    float64, about 3 ULP off, and then rounded, so that float32 and float64 arrays agree.

    Parameters
    ----------
    out : 1-D contiguous array of float32 or float64, written.
    mean, scale : float64.
    seed, stream, substream, n_workers : as for `uniform`.
    """
    for worker in prange(n_workers):
        w = np.int64(worker)
        first, last = share(out.size, w, n_workers, 16), share(out.size, w + 1, n_workers, 16)
        normal_part(out, mean, scale, seed, stream, substream, first, last)
