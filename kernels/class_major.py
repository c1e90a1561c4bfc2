"""Softmax cross-entropy of few classes, the lanes along the samples: class by class, a row of samples each.

Nothing has to be summed or compared across lanes, and no lane is idle. Two registers of samples go side by side: what
one of them waits for, its largest logit before the exponentials, their sum before the logarithm, the other one fills
(8192 × 10 on Zen 3: 1.08; code of its own for what is not smoothed: 1.1). Level: no index of the largest logit, and
exponentials that stay raised by a power of two until they are divided.
"""

from ._compile import inlined, primitive
from ._simd import lanes, load, load_n, select, splat, store, store_n
from .math import vexp_below, vlog


@inlined
def largest_logits(z, z_row, r, q, l0, l1, n):
    """Return of the samples from `r` and `q` on the largest logit, the first class with it, and the label's logit."""
    one, zero = splat(z, 1.0), splat(z, 0.0)
    t0, t1 = load(z, r), load(z, q)
    index, w0, w1, o0, o1 = zero, zero, zero, zero, zero
    for j in range(n):
        v0, v1 = load(z, j * z_row + r), load(z, j * z_row + q)
        h0, h1 = v0 > t0, v1 > t1
        w0, w1 = select(h0, index, w0), select(h1, index, w1)
        t0, t1 = select(h0, v0, t0), select(h1, v1, t1)
        o0, o1 = select(l0 == index, v0, o0), select(l1 == index, v1, o1)
        index = index + one
    return t0, w0, o0, t1, w1, o1


@inlined
def cross_entropy_rows(z, z_row, labels, smooths, smoothing, losses, hits, rows, n, scale):
    """`class_major_cross_entropy` where it is known whether there is any smoothing."""
    step = lanes(z)
    one, zero = splat(z, 1.0), splat(z, 0.0)
    each, kept, factor = splat(z, smoothing / n), splat(z, 1.0 - smoothing), splat(z, scale)
    for r in range(0, rows, 2 * step):
        q = r + step
        m0, m1 = min(step, rows - r), max(0, min(step, rows - q))
        l0, l1 = load_n(labels, r, m0), load_n(labels, q, m1)
        t0, w0, o0, t1, w1, o1 = largest_logits(z, z_row, r, q, l0, l1, n)
        s0, s1, d0, d1 = zero, zero, zero, zero
        for j in range(n):
            v0, v1 = load(z, j * z_row + r) - t0, load(z, j * z_row + q) - t1
            e0, e1 = vexp_below(v0), vexp_below(v1)
            store(z, j * z_row + r, e0)
            store(z, j * z_row + q, e1)
            s0, s1 = s0 + e0, s1 + e1
            if smooths:
                d0, d1 = d0 + v0, d1 + v1
        loss0, loss1 = vlog(s0) - kept * (o0 - t0), vlog(s1) - kept * (o1 - t1)
        if smooths:
            loss0, loss1 = loss0 - each * d0, loss1 - each * d1
        store_n(losses, r, loss0, m0)
        store_n(losses, q, loss1, m1)
        store_n(hits, r, select(w0 == l0, one, zero), m0)
        store_n(hits, q, select(w1 == l1, one, zero), m1)
        a0, a1, index = one / s0, one / s1, zero
        for j in range(n):
            # Not in one fused step (1.02): `fastnn.nnfs` gives the same bits with layers that take one each.
            p0, p1 = load(z, j * z_row + r) * a0, load(z, j * z_row + q) * a1
            p0, p1 = select(l0 == index, p0 - kept, p0), select(l1 == index, p1 - kept, p1)
            index = index + one
            if smooths:
                p0, p1 = p0 - each, p1 - each
            store(z, j * z_row + r, p0 * factor)
            store(z, j * z_row + q, p1 * factor)


@primitive("pipippiii")
def class_major_cross_entropy(z, z_row, labels, smoothing, losses, hits, rows, n, scale):
    """Write samples' losses, and 1 where one is right; the gradient replaces the logits.

    Class j's logits lie at `z[j * z_row]`, whole pairs of registers of them whatever `rows` says. Sums over the classes
    are taken in their order. Called with an offset behind each array.
    """
    if smoothing > 0.0:
        cross_entropy_rows(z, z_row, labels, True, smoothing, losses, hits, rows, n, scale)
    else:
        cross_entropy_rows(z, z_row, labels, False, 0.0, losses, hits, rows, n, scale)
