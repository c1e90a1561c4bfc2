"""How many threads a call uses, and whether it may use them at all."""

from __future__ import annotations

import contextlib
import os
import threading
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
    """Return the largest number of workers that `run` may ask for: to size scratch arrays."""
    return get_num_threads()


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


def call(kernel: Any, n_workers: int, *args: Any) -> int:
    """Call a kernel's serial build, or its parallel one for more than one worker; return the workers used.

    Where another thread of this process is inside a parallel region of Numba's own "workqueue" layer, which is not
    safe to enter twice, the serial build runs instead: the bits are the same.
    """
    if n_workers > 1 and not _forked:
        guard = _lock if _single_entry() else None
        if guard is None or guard.acquire(blocking=False):
            try:
                before = numba.get_num_threads()
                numba.set_num_threads(min(n_workers, numba.config.NUMBA_NUM_THREADS))
                try:
                    kernel.parallel(*args, n_workers)
                    return n_workers
                finally:
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
