"""Optimisers: parameters and their state, updated in place.

One body a vector serves the update of whole arrays and of the weight tile whose gradient has just been finished, so
both give the same bits. Scalars come as a row of eight float64, cast to the array's dtype at the door of each call.
"""

import numpy as np
from numba import prange

from ._compile import inlined, kernel, primitive
from ._simd import (
    as_before,
    bits_of,
    flush_tiny,
    fma,
    from_bits,
    has_estimates,
    lanes,
    maximum,
    reciprocal_estimate,
    root_estimate,
    select,
    splat,
    sqrt,
)
from .split import get, put, share

SGD, MOMENTUM, NESTEROV, ADAGRAD, ADAGRAD_INSIDE, RMSPROP, RMSPROP_INSIDE, ADAM, AMSGRAD, ADAMW, LION = range(11)
SLOTS = (0, 1, 1, 1, 1, 1, 1, 2, 3, 2, 1)
"""State arrays that each kind keeps, by its number."""


@kernel
def over_root(m, v, eps):
    """Return `m / (sqrt(v) + eps)` for `v >= 0`, to 2 ULP.

    Where the processor estimates roots and reciprocals to 14 bits, each is refined once: the root itself, and the
    quotient by its own remainder. That is half the time of the processor's square root and division.
    """
    if not has_estimates(v):
        return m / (sqrt(v) + eps)
    # From the least normal number on, so that the estimates are finite. Infinity has no remainder: it divides to zero.
    least, finite = splat(v, 1.17549435e-38), v != splat(v, np.inf)
    bounded = select(v < least, least, v)
    y = root_estimate(bounded)
    root = bounded * y
    root = fma(y * splat(v, 0.5), fma(zero_minus(root), root, bounded), root)
    below = root + eps
    r = select(finite, reciprocal_estimate(below), splat(v, 0.0))
    q = m * r
    return select(finite, fma(r, fma(zero_minus(below), q, m), q), q)


@kernel
def zero_minus(v):
    """Return `-v`, sign of zero included: a flip that LLVM folds into the multiply-add that takes it."""
    return from_bits(bits_of(v) ^ bits_of(splat(v, -0.0)))


@inlined
def adam_run(kind, p, p_ld, g, g_ld, s1, s2, s3, rows, first, last, whole, h):
    """Adam and its kin on the elements `first` to `last` of `rows` rows, whole registers or one that is not."""
    # The correction of `v` is taken out of the root, and each mean steps towards its new value: two multiplications
    # and one register less for each element.
    root = sqrt(h[5])
    back, eps, keep = splat(p, -h[0] / root), splat(p, h[6] / root), splat(p, h[7])
    r1, r2 = splat(p, h[2]), splat(p, h[4])
    for i in range(rows):
        for j in range(first, last, lanes(p)):
            at, n = i * p_ld + j, last - j
            w, grad = get(p, at, n, whole), get(g, i * g_ld + j, n, whole)
            m, v = get(s1, at, n, whole), get(s2, at, n, whole)
            m = fma(r1, grad - m, m)
            v = fma(r2, fma(grad, grad, zero_minus(v)), v)
            put(s1, at, m, n, whole)
            put(s2, at, v, n, whole)
            if kind == AMSGRAD:
                v = maximum(v, get(s3, at, n, whole))
                put(s3, at, v, n, whole)
            if kind == ADAMW:
                w = w * keep
            put(p, at, fma(back, over_root(m, v, eps), w), n, whole)


@inlined
def momentum_run(kind, p, p_ld, g, g_ld, s1, rows, first, last, whole, h):
    """Descent with or without momentum on the elements `first` to `last` of `rows` rows."""
    rate, back, momentum = splat(p, h[0]), splat(p, -h[0]), splat(p, h[1])
    for i in range(rows):
        for j in range(first, last, lanes(p)):
            at, n = i * p_ld + j, last - j
            w, grad = get(p, at, n, whole), get(g, i * g_ld + j, n, whole)
            if kind == SGD:
                w = fma(back, grad, w)
            else:
                pull = rate * grad
                u = momentum * get(s1, at, n, whole) - pull
                put(s1, at, u, n, whole)
                if kind == NESTEROV:
                    w = w + (momentum * u - pull)
                else:
                    w = w + u
            put(p, at, w, n, whole)


@inlined
def root_run(kind, p, p_ld, g, g_ld, s1, rows, first, last, whole, h):
    """AdaGrad and RMSprop on the elements `first` to `last` of `rows` rows."""
    rate, b, c, d = splat(p, h[0]), splat(p, h[1]), splat(p, h[2]), splat(p, h[3])
    none = splat(p, 0.0)
    for i in range(rows):
        for j in range(first, last, lanes(p)):
            at, n = i * p_ld + j, last - j
            w, grad = get(p, at, n, whole), get(g, i * g_ld + j, n, whole)
            if kind == ADAGRAD or kind == ADAGRAD_INSIDE:
                v = fma(grad, grad, get(s1, at, n, whole))
                eps = b
            else:
                v = fma(b, get(s1, at, n, whole), c * grad * grad)
                eps = d
            put(s1, at, v, n, whole)
            if kind == ADAGRAD or kind == RMSPROP:
                w = w - over_root(rate * grad, v, eps)
            else:
                w = w - over_root(rate * grad, v + eps, none)
            put(p, at, w, n, whole)


@inlined
def lion_run(p, p_ld, g, g_ld, s1, rows, first, last, whole, h):
    """Lion on the elements `first` to `last` of `rows` rows."""
    rate, b1, r1, b2, r2 = splat(p, h[0]), splat(p, h[1]), splat(p, h[2]), splat(p, h[3]), splat(p, h[4])
    keep, zero, one, signs = splat(p, h[5]), splat(p, 0.0), splat(p, 1.0), splat(p, -0.0)
    for i in range(rows):
        for j in range(first, last, lanes(p)):
            at, n = i * p_ld + j, last - j
            w, grad, old = get(p, at, n, whole), get(g, i * g_ld + j, n, whole), get(s1, at, n, whole)
            put(s1, at, fma(b2, old, r2 * grad), n, whole)
            blend = fma(b1, old, r1 * grad)
            sign = from_bits((bits_of(blend) & bits_of(signs)) | bits_of(one))
            sign = select(blend == zero, zero, select(blend == blend, sign, blend))
            put(p, at, w * keep - rate * sign, n, whole)


@inlined
def update_run(kind, p, p_ld, g, g_ld, s1, s2, s3, rows, first, last, whole, h):
    """Update the elements `first` to `last` of `rows` rows by the optimiser numbered `kind`."""
    if kind >= ADAM and kind <= ADAMW:
        adam_run(kind, p, p_ld, g, g_ld, s1, s2, s3, rows, first, last, whole, h)
    elif kind <= NESTEROV:
        momentum_run(kind, p, p_ld, g, g_ld, s1, rows, first, last, whole, h)
    elif kind == LION:
        lion_run(p, p_ld, g, g_ld, s1, rows, first, last, whole, h)
    else:
        root_run(kind, p, p_ld, g, g_ld, s1, rows, first, last, whole, h)


@primitive("ipipipppiip")
def update_block(kind, p, p_ld, g, g_ld, s1, s2, s3, rows, columns, h):
    """Update `rows` × `columns` parameters at `p[i * p_ld + j]` from gradients at `g[i * g_ld + j]`.

    State lies as the parameters do; what the optimiser has no use for may point anywhere. `h` is the row of scalars of
    `update`. Called with an offset behind each array. That tiny numbers are taken for zero is left to the caller.
    """
    whole = columns - columns % lanes(p)
    if whole > 0:
        update_run(kind, p, p_ld, g, g_ld, s1, s2, s3, rows, 0, whole, True, h)
    if whole < columns:
        update_run(kind, p, p_ld, g, g_ld, s1, s2, s3, rows, whole, columns, False, h)


@kernel
def update(kind, params, grads, s1, s2, s3, scalars, n_workers):
    """One optimisation step on flat arrays, in place.

    With `h = scalars`:

    ===================  =================================================================================
    SGD                  `w -= h0 g`
    MOMENTUM             `u = h1 u - h0 g; w += u`
    NESTEROV             `u = h1 u - h0 g; w += h1 u - h0 g`
    ADAGRAD(_INSIDE)     `c += g²; w -= h0 g / (√c + h1)`, or `/ √(c + h1)`
    RMSPROP(_INSIDE)     `c = h1 c + h2 g²; w -= h0 g / (√c + h3)`, or `/ √(c + h3)`
    ADAM                 `m = h1 m + h2 g; v = h3 v + h4 g²; w -= h0 m / (√(h5 v) + h6)`
    AMSGRAD              as ADAM with `v` replaced by its running maximum in the root
    ADAMW                `w *= h7`, then as ADAM
    LION                 `w = h5 w - h0 sign(h1 m + h2 g); m = h3 m + h4 g`
    ===================  =================================================================================

    Parameters
    ----------
    kind : int
        One of the constants above.
    params : (n,) array of T, updated
    grads : (n,) array of T, read
    s1, s2, s3 : (n,) arrays of T, updated
        State, zero before the first step; empty where `SLOTS` says the kind has fewer.
    scalars : (8,) array of float64, read
        Learning rate and the like; bias corrections already inside.
    n_workers : int
        Parts the arrays are cut into; parallel over elements.

    Notes
    -----
    Of a unit that is never active any more, state decays to numbers so small that each step took six times as long
    (784-128-10 after 25,000 steps of Adam: 500 µs instead of 77): on x86 they are taken for zero.

    Sources: Rumelhart 1986, Nesterov 1983, Duchi 2011, Tieleman & Hinton 2012, Kingma & Ba 2015, Reddi 2018,
    Loshchilov & Hutter 2019, Chen 2023; where they differ, the formulas are those of the seeds.
    """
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        first = share(params.size, i, n_workers, 16)
        n = share(params.size, i + 1, n_workers, 16) - first
        if n > 0:
            update_block(kind, params, first, n, grads, first, n, s1, first, s2, first, s3, first, 1, n, scalars, 0)
        as_before(mode)
