"""How the elements of an array are shared out among workers, and among registers."""

from ._compile import kernel
from ._simd import load, load_n, store, store_n


@kernel
def share(n, worker, n_workers, grain):
    """Return the first of the `n` elements that belong to `worker`.

    Worker `w` takes the elements from `share(n, w, ...)` up to, not including, `share(n, w + 1, ...)`. The
    workers together take each element once; their parts differ by at most one block of `grain` elements::

        share = min(n, grain * floor(ceil(n / grain) * worker / n_workers))

    Parameters
    ----------
    n : int64
        Number of elements, not negative.
    worker : int64
        From 0 to `n_workers`; the latter gives `n`.
    n_workers : int64
        Number of parts, at least 1.
    grain : int64
        Every part but the last holds a multiple of this many elements, so that only one part has a tail.
    """
    blocks = (n + grain - 1) // grain
    return min(n, blocks * worker // n_workers * grain)


@kernel
def get(a, at, n, whole):
    """Load a whole register, or the first `n` lanes of one (masks cost a fifth more, so only tails have them)."""
    return load(a, at) if whole else load_n(a, at, n)


@kernel
def put(a, at, v, n, whole):
    """Store a whole register, or the first `n` lanes of one."""
    if whole:
        store(a, at, v)
    else:
        store_n(a, at, v, n)
