"""How many threads a call uses, and whether it may use them at all."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import numba

SERIAL_WORK = 3.0e5
"""Operations below which one thread is as fast as two (a parallel call costs about 2 µs from Python)."""

STEP_WORK = 1.5e6
"""Operations of a training step below which a further worker does not pay for its barriers."""


_limit: int | None = None
_here = threading.local()
_forked = False
_lock = threading.Lock()


def _after_fork() -> None:
    # Threads do not survive a fork, and GNU OpenMP ends a child that tries to use them.
    global _forked, _lock
    _forked = True
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def set_num_threads(n: int | None) -> None:
    """Set how many threads fastnn uses at most.

    Parameters
    ----------
    n : int or None
        1 to the number of threads Numba was started with (``NUMBA_NUM_THREADS``, by default the number of cores);
        None goes back to all of them. Results do not depend on it, only their speed does.

    Raises
    ------
    ValueError
        If `n` is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.set_num_threads(1)
    >>> fnn.get_num_threads()
    1
    >>> fnn.set_num_threads(None)
    """
    global _limit
    _limit = None if n is None else checked(n, "n")


def checked(n: Any, name: str) -> int:
    """Return `n` as a thread count, or raise."""
    most = numba.config.NUMBA_NUM_THREADS
    if isinstance(n, bool) or not isinstance(n, int) and not hasattr(n, "__index__"):
        raise TypeError(f"{name} must be a whole number of threads or None, got {n!r}.")
    n = int(n)
    if not 1 <= n <= most:
        raise ValueError(
            f"{name} must be between 1 and {most}, got {n}. "
            "To allow more, set the environment variable NUMBA_NUM_THREADS before the program starts."
        )
    return n


def get_num_threads() -> int:
    """Return how many threads fastnn uses at most."""
    limit = getattr(_here, "limit", None) or _limit
    return numba.config.NUMBA_NUM_THREADS if limit is None else limit


@contextlib.contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Use at most `limit` threads in what this thread calls meanwhile; None changes nothing."""
    before = getattr(_here, "limit", None)
    _here.limit = before if limit is None else limit
    try:
        yield
    finally:
        _here.limit = before


def max_workers() -> int:
    """Return the most workers there can ever be in this process, whatever is allowed now: to size scratch arrays.

    Arrays that are kept from call to call may meet a higher limit than the one they were made under.
    """
    return numba.config.NUMBA_NUM_THREADS


def workers(work: float, limit: int | None = None, enough: float = SERIAL_WORK) -> int:
    """Return how many workers a call of so much work gets.

    Parameters
    ----------
    work : float
        About the number of floating-point operations.
    limit : int or None
        At most so many; None: `get_num_threads`.
    enough : float
        Operations that each worker should have.
    """
    # First, because most calls of a loop over layers are that small: 0.07 µs.
    if work < 2.0 * enough or _forked:
        return 1
    most = get_num_threads() if limit is None else limit
    return int(max(1, min(most, work // enough)))


class Pace:
    """Whether one worker or `most` are faster just now, found out by trying; the bits are the same either way.

    On a core that another program keeps busy, the worker there holds up all others at every barrier: a step of 45 µs
    took 750 with two workers. Short trials at the start, and then once a second, cost a hundredth of the time.

    Parameters
    ----------
    most : int
        The workers that the amount of work deserves.
    work : float
        Floating-point operations of a step. Of long steps, a millisecond or more, barriers are no part to speak of,
        and a trial would be a large part of a short run: there is none.
    """

    _LONG = 2e8
    _TRIAL, _PERIOD = 0.1, 1.0  # of a chunk's length; seconds
    # The first trials are of a step or two: where another library's threads still spin, seven milliseconds each
    # instead of 0.3. A third of all runs right after NumPy's products kept to one worker for their first second.
    _SOON = 0.1

    def __init__(self, most: int, work: float = 0.0) -> None:
        self.chosen = most
        self.most = 1 if work > self._LONG else most
        self._trials = [most, 1, most, 1] if self.most > 1 else []
        self._costs: dict[int, float] = {}
        self._since, self._pause = time.perf_counter(), self._SOON

    def next(self) -> tuple[int, float]:
        """Return the workers for the next chunk, and how much of a usual chunk it should be."""
        if self.most > 1 and not self._trials and time.perf_counter() - self._since > self._pause:
            # Workers that have slept are slow at first: their second trial counts.
            self._trials = [self.most, 1] if self.chosen > 1 else [1, self.most, self.most]
            self._costs, self._pause = {}, self._PERIOD
        return (self._trials[0], self._TRIAL) if self._trials else (self.chosen, 1.0)

    def note(self, workers: int, seconds_a_step: float) -> None:
        """Take in how a chunk went; a trial's best time counts, as the first one has code to load."""
        if not self._trials:
            return
        self._trials.pop(0)
        self._costs[workers] = min(seconds_a_step, self._costs.get(workers, seconds_a_step))
        if not self._trials:
            self.chosen = min(self._costs, key=lambda n: self._costs[n])
            self._since = time.perf_counter()
            if self.chosen > 1:
                self._pause = self._PERIOD


def call(kernel: Any, n_workers: int, *args: Any, parallel: bool = False) -> int:
    """Call a kernel's serial build, or its parallel one for more than one worker; return the workers used.

    With `parallel`, one worker too gets the parallel build: where that is needed anyway, the other need not be
    compiled.

    Where another thread of this process is inside a parallel region of Numba's own "workqueue" layer, which is not
    safe to enter twice, the serial build runs instead: the bits are the same.
    """
    if (n_workers > 1 or parallel) and not _forked:
        guard = _lock if _single_entry() else None
        if guard is None or guard.acquire(blocking=False):
            try:
                before, wanted = numba.get_num_threads(), min(n_workers, numba.config.NUMBA_NUM_THREADS)
                # Each setting takes 1.5 µs.
                if before != wanted:
                    numba.set_num_threads(wanted)
                try:
                    kernel.parallel(*args, n_workers)
                    return n_workers
                finally:
                    if before != wanted:
                        numba.set_num_threads(before)
            finally:
                if guard is not None:
                    guard.release()
    kernel.serial(*args, 1)
    return 1


def call_serial(kernel: Any, *args: Any) -> None:
    """Call a kernel that has no parallel build."""
    kernel.serial(*args)


def _single_entry() -> bool:
    try:
        return numba.threading_layer() == "workqueue"
    except ValueError:  # nothing parallel has run yet, so the layer is not chosen
        return True


def run(kernel: Any, work: float, *args: Any) -> None:
    """Call `kernel(*args, n_workers)` with as many workers as `work` deserves."""
    call(kernel, workers(work), *args)
