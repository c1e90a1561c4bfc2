"""Exponential, logarithm, hyperbolic tangent and logistic function: of one vector, and of whole arrays.

Each reduces its argument and evaluates a polynomial in fused steps, without table or branch, for float32 and
float64 from one source. The polynomials are minimax fits made for this file (Remez exchange, 60 digits); the
interval and largest relative error stand beside each. The errors in ULP are the bounds of the tests;
subnormal numbers are served. A lane's result depends on that lane alone, and the tail of an array runs the
same steps in a masked register: neither place nor number of workers changes the bits of a value.
"""

import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import (
    SCALES,
    absolute,
    bits_of,
    fma,
    from_bits,
    itemsize,
    lanes,
    load,
    load_n,
    maximum,
    nearest,
    polynomial,
    scale_by_power,
    select,
    splat,
    splat_int,
    store,
    store_n,
    to_float,
)
from .split import share

_LOG2_E = 1.4426950408889634
_LN2 = 0.6931471805599453  # nearest float64, and what it leaves out
_LN2_REST = 2.3190468138462996e-17
_LN2_SINGLE = 0.693147182464599609375  # nearest float32, and what it leaves out
_LN2_SINGLE_REST = -1.9046542e-09
# ln 2 with so few bits that a whole number of them, as `exp` needs it, is exact; and the rest.
_LN2_SHORT = 0.6931471805601177
_LN2_SHORT_REST = -1.7239444525614835e-13
_LN2_SHORT_SINGLE = 0.693145751953125
_LN2_SHORT_SINGLE_REST = 1.4286068e-06
# Added to whole n, the bits end in n + 1023 + 512 or n + 127 + 64: shifted, a power of two.
_MAGIC, _MAGIC_SINGLE = 1.5 * 2**52 + 1023 + 512, 1.5 * 2**23 + 127 + 64
# exp(r) = 1 + r + r**2 P(r) for |r| <= ln(2) / 2; error relative to exp(r) - 1: 2**-25.8 and 2**-54.7.
_EXP_SINGLE = (0.49999997, 0.16666543, 0.0416672, 0.008366527, 0.001388252)
_EXP = (
    0.5000000000000006, 0.16666666666666588, 0.041666666666576826, 0.008333333333389493, 0.001388888893153943,
    0.0001984126971911488, 2.4801505306455318e-05, 2.7557407473752083e-06, 2.7626024191347303e-07,
    2.505378588723336e-08,
)  # fmt: skip
# log((1 + s) / (1 - s)) = 2 s + s z L(z), z = s**2 <= (sqrt(2) - 1)**4; error relative to the logarithm:
# 2**-30.1 and 2**-59.2.
_LOG_SINGLE = (0.66666776, 0.39977574, 0.2987095)
_LOG = (
    0.6666666666666734, 0.39999999999416314, 0.285714287420278, 0.22222198609508423, 0.1818356247296085,
    0.15314097049310837, 0.14795493599995,
)  # fmt: skip


@kernel
def nothing_but_numbers(x, first, last, faults):
    """Return `faults`, NaN in some lane if one of the elements `first` to `last` is NaN or infinite."""
    step = lanes(x)
    zero = splat(x, 0.0)
    whole = last - (last - first) % step
    for i in range(first, whole, step):
        faults = fma(load(x, i), zero, faults)
    return fma(load_n(x, whole, last - whole), zero, faults)


@kernel
def _remainder(x, n):
    """Return r and P(r), where x = n ln(2) + r with |r| <= ln(2) / 2 and whole n (Cody and Waite, 1980)."""
    if itemsize(x) == 8:
        r = fma(n, splat(x, -_LN2_SHORT), x)
        r = fma(n, splat(x, -_LN2_SHORT_REST), r)
        return r, polynomial(r, _EXP)
    r = fma(n, splat(x, -_LN2_SHORT_SINGLE), x)
    r = fma(n, splat(x, -_LN2_SHORT_SINGLE_REST), r)
    return r, polynomial(r, _EXP_SINGLE)


@kernel
def _exp_of_remainder(x, n):
    """Return exp(r), where x = n ln(2) + r."""
    r, p = _remainder(x, n)
    one = splat(x, 1.0)
    return fma(fma(p, r, one), r, one)


@kernel
def _at_most(x, limit):
    """Return the smaller of x and limit in each lane, x where it is NaN."""
    return select(x > limit, limit, x)


@kernel
def vexp(x):
    """exp(x) of a vector; at most 1 ULP off. Overflow gives infinity, underflow is gradual."""
    # Beyond these the result is infinite, or less than half the smallest subnormal number.
    low, high = (-746.0, 710.0) if itemsize(x) == 8 else (-104.5, 89.0)
    x = maximum(splat(x, low), _at_most(x, splat(x, high)))
    n = nearest(x * splat(x, _LOG2_E))
    return scale_by_power(_exp_of_remainder(x, n), n)


@kernel
def vexp_below(x):
    """exp(x) of a vector of numbers that are not above zero; at most 1 ULP off. Underflow is gradual.

    NaN gives NaN, a number above zero may give any. This is the one of softmax (8192 × 10 on Zen 3: 1.04).
    """
    low, fraction, magic, lowered = (-746.0, 52, _MAGIC, 2.0**-512) if itemsize(x) == 8 else (
        -104.5, 23, _MAGIC_SINGLE, 2.0**-64
    )  # fmt: skip
    x = maximum(splat(x, low), x)
    if SCALES:
        n = nearest(x * splat(x, _LOG2_E))
        return scale_by_power(_exp_of_remainder(x, n), n)
    # A sum too large to have a fraction ends in whole n, biased: shifted, in the exponent of 2**n, raised so far that
    # it is always a normal number.
    t = fma(x, splat(x, _LOG2_E), splat(x, magic))
    power = from_bits(bits_of(t) << splat_int(x, fraction))
    return _exp_of_remainder(x, t - splat(x, magic)) * power * splat(x, lowered)


@kernel
def vlog(x):
    """log(x) of a vector; at most 0.9 ULP off. Zero gives -inf, a negative number NaN, infinity itself."""
    if itemsize(x) == 8:
        tiny, lifted, fraction, root = 2.2250738585072014e-308, 54, 52, 0x3FE6A09E667F3BCD
        ln2, ln2_rest = _LN2, _LN2_REST
    else:
        tiny, lifted, fraction, root = 1.1754943508222875e-38, 25, 23, 0x3F3504F3
        ln2, ln2_rest = _LN2_SINGLE, _LN2_SINGLE_REST
    zero, one, small = splat(x, 0.0), splat(x, 1.0), x < splat(x, tiny)
    # x = 2**k m with m from sqrt(1/2), whose bits are `root`, to sqrt(2); subnormal numbers are lifted first.
    bits = bits_of(select(small, x * splat(x, 1 << lifted), x))
    k = (bits - splat_int(x, root)) >> splat_int(x, fraction)
    m = from_bits(bits - (k << splat_int(x, fraction)))
    k = to_float(k) - select(small, splat(x, lifted), zero)
    # With f = m - 1 and s = f / (2 + f), log(m) = f - f**2 / 2 + s (f**2 / 2 + z L(z)): f is exact, the rest
    # small (the arrangement of FDLIBM's logarithm, Sun Microsystems, 1993).
    f = m - one
    s = f / (m + one)
    z = s * s
    half = splat(x, 0.5) * f * f
    series = polynomial(z, _LOG) if itemsize(x) == 8 else polynomial(z, _LOG_SINGLE)
    rest = fma(s, fma(z, series, half), k * splat(x, ln2_rest)) - half
    y = fma(k, splat(x, ln2), f + rest)
    y = select(x < splat(x, np.inf), y, x)
    return select(x > zero, y, select(x == zero, splat(x, -np.inf), select(x < zero, splat(x, np.nan), x)))


@kernel
def vtanh(x):
    """tanh(x) of a vector; at most 2.8 ULP off, odd to the last bit (-0 gives -0)."""
    # tanh|x| = e / (e + 2) with e = exp(2|x|) - 1, which is free of cancellation; 1 from this limit on.
    y = _at_most(absolute(x), splat(x, 20.0 if itemsize(x) == 8 else 10.0))
    y = y + y
    n = nearest(y * splat(x, _LOG2_E))
    r, p = _remainder(y, n)
    power = scale_by_power(splat(x, 1.0), n)
    e = fma(power, fma(r * r, p, r), power - splat(x, 1.0))
    y = e / (e + splat(x, 2.0))
    sign = bits_of(x) ^ bits_of(absolute(x))
    return from_bits(bits_of(y) | sign)


@kernel
def vsigmoid(x):
    """1 / (1 + exp(-x)) of a vector; at most 2.5 ULP off, for large negative x too."""
    e = vexp_below(splat(x, 0.0) - absolute(x))
    one = splat(x, 1.0)
    return select(x >= splat(x, 0.0), one, e) / (one + e)


@kernel
def exp_part(x, out, first, last):
    """Write exp of the elements from `first` up to `last`."""
    n = lanes(x)
    whole = last - (last - first) % n
    for i in range(first, whole, n):
        store(out, i, vexp(load(x, i)))
    if whole < last:
        store_n(out, whole, vexp(load_n(x, whole, last - whole)), last - whole)


@kernel
def exp(x, out, n_workers):
    """Write `out = exp(x)` for every element; at most 1 ULP off.

    Parameters
    ----------
    x : 1-D contiguous array of float32 or float64, read.
    out : array of the same size and dtype, written; `x` itself will do.
    n_workers : int64, number of parts, which run in parallel.
    """
    for worker in prange(n_workers):
        w = np.int64(worker)  # the loop's index is unsigned, and would have `share` compiled twice
        first, last = share(x.size, w, n_workers, lanes(x)), share(x.size, w + 1, n_workers, lanes(x))
        exp_part(x, out, first, last)


@kernel
def log_part(x, out, first, last):
    """Write log of the elements from `first` up to `last`."""
    n = lanes(x)
    whole = last - (last - first) % n
    for i in range(first, whole, n):
        store(out, i, vlog(load(x, i)))
    if whole < last:
        store_n(out, whole, vlog(load_n(x, whole, last - whole)), last - whole)


@kernel
def log(x, out, n_workers):
    """Write `out = log(x)` for every element; at most 0.9 ULP off.

    Parameters
    ----------
    x : 1-D contiguous array of float32 or float64, read.
    out : array of the same size and dtype, written; `x` itself will do.
    n_workers : int64, number of parts, which run in parallel.
    """
    for worker in prange(n_workers):
        w = np.int64(worker)
        first, last = share(x.size, w, n_workers, lanes(x)), share(x.size, w + 1, n_workers, lanes(x))
        log_part(x, out, first, last)


@kernel
def tanh_part(x, out, first, last):
    """Write tanh of the elements from `first` up to `last`."""
    n = lanes(x)
    whole = last - (last - first) % n
    for i in range(first, whole, n):
        store(out, i, vtanh(load(x, i)))
    if whole < last:
        store_n(out, whole, vtanh(load_n(x, whole, last - whole)), last - whole)


@kernel
def tanh(x, out, n_workers):
    """Write `out = tanh(x)` for every element; at most 2.8 ULP off.

    Parameters
    ----------
    x : 1-D contiguous array of float32 or float64, read.
    out : array of the same size and dtype, written; `x` itself will do.
    n_workers : int64, number of parts, which run in parallel.
    """
    for worker in prange(n_workers):
        w = np.int64(worker)
        first, last = share(x.size, w, n_workers, lanes(x)), share(x.size, w + 1, n_workers, lanes(x))
        tanh_part(x, out, first, last)


@kernel
def sigmoid_part(x, out, first, last):
    """Write sigmoid of the elements from `first` up to `last`."""
    n = lanes(x)
    whole = last - (last - first) % n
    for i in range(first, whole, n):
        store(out, i, vsigmoid(load(x, i)))
    if whole < last:
        store_n(out, whole, vsigmoid(load_n(x, whole, last - whole)), last - whole)


@kernel
def sigmoid(x, out, n_workers):
    """Write `out = 1 / (1 + exp(-x))` for every element; at most 2.5 ULP off.

    Parameters
    ----------
    x : 1-D contiguous array of float32 or float64, read.
    out : array of the same size and dtype, written; `x` itself will do.
    n_workers : int64, number of parts, which run in parallel.
    """
    for worker in prange(n_workers):
        w = np.int64(worker)
        first, last = share(x.size, w, n_workers, lanes(x)), share(x.size, w + 1, n_workers, lanes(x))
        sigmoid_part(x, out, first, last)
