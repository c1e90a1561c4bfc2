"""How the elements of an array are shared out among workers."""

from ._compile import kernel


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
