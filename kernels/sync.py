"""Workers of one parallel region that meet: a barrier costs a fifth of a microsecond, a region of its own over one.

A barrier is sound only if all workers run at once, each on its own thread. No threading layer promises that, so
workers first *gather*; should they not all appear, none begins, and the caller runs the work with one worker.
"""

from ._compile import kernel
from ._simd import atomic_add, atomic_read, spin_pause, yield_core

ARRIVED, PRESENT, ABANDONED, GIVING_UP, QUEUES = 0, 8, 16, 24, 32
ROUNDS, MOST = 8, 8
SIZE = QUEUES + ROUNDS * MOST
"""Length of the int64 array that workers share, zero at the start; its words lie on separate cache lines."""

_SPINS = 4000
_PATIENCE = 20_000
_GONE = 1 << 40


@kernel
def gather(sync, n_workers):
    """Wait until all workers are here; return False (to all of them) if some do not come."""
    if n_workers == 1:
        return True
    atomic_add(sync, PRESENT, 1)
    spins, yields = 0, 0
    while atomic_read(sync, PRESENT) < n_workers:
        if atomic_read(sync, ABANDONED) != 0:
            return False
        spins += 1
        if spins < _SPINS:
            spin_pause()
            continue
        yield_core()
        yields += 1
        # Only one worker may give up: two at once could not tell "complete" from the other's mark.
        if yields == _PATIENCE and atomic_add(sync, GIVING_UP, 1) == 0:
            if atomic_add(sync, PRESENT, -_GONE) < n_workers:
                atomic_add(sync, ABANDONED, 1)
                return False
            atomic_add(sync, PRESENT, _GONE)
    return True


@kernel
def barrier(sync, n_workers, count):
    """Wait until all workers have come here for the `count`-th time (from 1)."""
    if n_workers == 1:
        return
    atomic_add(sync, ARRIVED, 1)
    spins = 0
    while atomic_read(sync, ARRIVED) < n_workers * count:
        spins += 1
        if spins < _SPINS:
            spin_pause()
        else:
            yield_core()


@kernel
def open_round(sync, number, worker, each):
    """Begin to share out the next piece of work; return its number, one more, or `number` if `each` is 1.

    The counters of the round four later are cleared. Of any four that follow each other two must have a barrier
    between them: all workers have then left the last round of those counters, and none has come to the next.
    """
    if each == 1:
        return number
    if worker == 0:
        at = QUEUES + (number + 1 + ROUNDS // 2) % ROUNDS * MOST
        for i in range(MOST):
            sync[at + i] = 0
    return number + 1


@kernel
def take(sync, number, worker, n_workers, each, before):
    """Return a part of this round that is not taken yet, of `n_workers` · `each`, or -1; `before` is -1 at first.

    With one part for `each` worker it has its own. Else a worker's own parts come first, `each` that follow each
    other, so that it meets the same memory again; then those that another one has not come to: a core that other
    programs keep busy holds up nobody for long.
    """
    if each == 1:
        return worker if before < 0 else -1
    at = QUEUES + number % ROUNDS * MOST
    for i in range(n_workers):
        owner = (worker + i) % n_workers
        if atomic_read(sync, at + owner) < each:
            part = atomic_add(sync, at + owner, 1)
            if part < each:
                return owner * each + part
    return -1
