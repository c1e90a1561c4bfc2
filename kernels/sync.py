"""Workers of one parallel region that meet: a barrier costs a fifth of a microsecond, a region of its own over one.

A barrier is sound only if all workers run at once, each on its own thread. No threading layer promises that, so
workers first *gather*; should they not all appear, none begins, and the caller runs the work with one worker.
"""

from ._compile import kernel
from ._simd import atomic_add, atomic_read, spin_pause, ticks, yield_core

ARRIVED, PRESENT, ABANDONED, GIVING_UP, QUEUES = 0, 8, 16, 24, 32
ROUNDS, MOST_WORKERS = 8, 8
"""Pieces of work whose counters are kept apart, and the most workers that one can be shared out among."""
MOST_ROUNDS = ROUNDS // 2 - 1
"""Rounds that may follow each other without a barrier, see `open_round`."""
WAITS = QUEUES + ROUNDS * MOST_WORKERS
SIZE = WAITS + MOST_WORKERS
"""Length of the int64 array that workers share, zero at the start.

Words that are waited for lie a cache line apart; a round's counters, one for each worker, fill one, as do the words
that say who has waited long.
"""

_SPINS = 4000
_PATIENCE = 20_000
_GONE = 1 << 40
_LONG_WAIT = 12
"""A worker has waited long if it was a twelfth of a step or more."""
_STEPS_UNEVEN = 64
"""Steps for which cores are then taken to be unlike."""


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
    """Wait until all workers have come here for the `count`-th time (from 1); return the `ticks` that it took."""
    if n_workers == 1:
        return 0
    began = ticks()
    atomic_add(sync, ARRIVED, 1)
    spins = 0
    while atomic_read(sync, ARRIVED) < n_workers * count:
        spins += 1
        if spins < _SPINS:
            spin_pause()
        else:
            yield_core()
    return ticks() - began


@kernel
def tell_wait(sync, worker, n_workers, waited, took):
    """Leave word, before a barrier, whether `waited` of the `took` ticks of a step is long."""
    if n_workers <= MOST_WORKERS:
        sync[WAITS + worker] = 1 if waited * _LONG_WAIT > took else 0


@kernel
def steps_uneven(sync, n_workers, left):
    """Return, behind that barrier, for how many more steps cores are taken to be unlike; `left` were, up to now.

    A core that other programs, or other machines on the same processor, keep busy is a third or a half slower.
    """
    if n_workers <= MOST_WORKERS:
        for i in range(n_workers):
            if sync[WAITS + i] != 0:
                return _STEPS_UNEVEN
    return max(0, left - 1)


@kernel
def open_round(sync, number, worker, each):
    """Begin a round, in which the next piece of work is shared out; return `number` + 1, its own number.

    If `each` is 1 there is nothing to share out: `number` is returned. Counters are used again every ROUNDS rounds,
    and cleared halfway. Among any four rounds that follow each other there must be a barrier: then all workers have
    left the last round of the counters that are cleared, and none has come to their next.
    """
    if each == 1:
        return number
    if worker == 0:
        at = QUEUES + (number + 1 + ROUNDS // 2) % ROUNDS * MOST_WORKERS
        for i in range(MOST_WORKERS):
            sync[at + i] = 0
    return number + 1


@kernel
def take(sync, number, worker, n_workers, each, before):
    """Return one of the `n_workers` · `each` parts of round `number` that nobody has taken yet, or -1.

    `before` is the part that this worker had last, -1 at first. If `each` is 1 it has its own. Else a worker's own
    parts come first, `each` that follow each other, so that it meets the same memory again; then those that another
    one has not come to: a core that other programs keep busy holds up nobody for long.
    """
    if each == 1:
        return worker if before < 0 else -1
    at = QUEUES + number % ROUNDS * MOST_WORKERS
    for i in range(n_workers):
        owner = (worker + i) % n_workers
        if atomic_read(sync, at + owner) < each:
            part = atomic_add(sync, at + owner, 1)
            if part < each:
                return owner * each + part
    return -1
