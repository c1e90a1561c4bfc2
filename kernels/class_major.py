"""Softmax cross-entropy of few classes, the lanes along the samples: class by class, a row of samples each.

Nothing has to be summed or compared across lanes, and no lane is idle.
"""

from ._compile import kernel, primitive
from ._simd import lanes, load, load_n, select, splat, store, store_n
from .math import vexp, vlog


@kernel
def largest_logits(z, z_row, r, label, n):
    """Return of each sample of a register the largest logit, the first class that has it, and the label's logit."""
    one, zero = splat(z, 1.0), splat(z, 0.0)
    top = load(z, r)
    index, where, own = zero, zero, zero
    for j in range(n):
        v = load(z, j * z_row + r)
        higher = v > top
        where = select(higher, index, where)
        top = select(higher, v, top)
        own = select(label == index, v, own)
        index = index + one
    return top, where, own


@primitive("pipippiii")
def class_major_cross_entropy(z, z_row, labels, smoothing, losses, hits, rows, n, scale):
    """Write samples' losses, and 1 where one is right; the gradient replaces the logits.

    Class j's logits lie at `z[j * z_row]`, whole registers of them whatever `rows` says. Sums over the classes are
    taken in their order. Called with an offset behind each array.
    """
    step = lanes(z)
    one, zero = splat(z, 1.0), splat(z, 0.0)
    share_of_each, kept, factor = splat(z, smoothing / n), splat(z, 1.0 - smoothing), splat(z, scale)
    for r in range(0, rows, step):
        here = min(step, rows - r)
        label = load_n(labels, r, here)
        top, where, own = largest_logits(z, z_row, r, label, n)
        total, shifted = zero, zero
        for j in range(n):
            v = load(z, j * z_row + r) - top
            e = vexp(v)
            store(z, j * z_row + r, e)
            total = total + e
            shifted = shifted + v
        loss = vlog(total) - kept * (own - top)
        if smoothing > 0.0:
            loss = loss - share_of_each * shifted
        store_n(losses, r, loss, here)
        store_n(hits, r, select(where == label, one, zero), here)
        part, index = one / total, zero
        for j in range(n):
            p = load(z, j * z_row + r) * part
            p = select(label == index, p - kept, p)
            index = index + one
            if smoothing > 0.0:
                p = p - share_of_each
            store(z, j * z_row + r, p * factor)
