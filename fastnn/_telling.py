"""A word, once, to whoever waits for the compiler: a first fit of a deep network takes half a minute for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastnn.kernels import _builds

TEXT = "fastnn is compiling for this machine, once: later runs load what it keeps (fastnn warmup does all of it ahead)"

# Who is told, outermost call first: it decides for what it calls.
_ways: list[Callable[[str], object] | None] = []
_told: list[str] = []


def at_terminal() -> bool:
    """Tell whether somebody may be watching."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError):  # there is none, it is something of the user's own, or it is closed
        return False


@contextmanager
def telling(way: Callable[[str], object] | None) -> Iterator[None]:
    """Tell it through `way` meanwhile, or nobody if that is None; elsewhere it goes to a terminal, if there is one."""
    _ways.append(way)
    try:
        yield
    finally:
        _ways.remove(way)


def _tell() -> None:
    way = _ways[0] if _ways else _to_terminal if at_terminal() else None
    if way is not None and not _told:
        _told.append(TEXT)
        way(TEXT)


def _to_terminal(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_builds.before_compiling.append(_tell)
