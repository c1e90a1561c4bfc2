"""Ctrl-C, and other signals that may end a training, put off while something is half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any

try:
    # `signal.getsignal` looks for an enumeration's member in whatever it finds, 3 µs an epoch.
    from _signal import getsignal
except ImportError:  # it is CPython's
    from signal import getsignal

from fastnn.kernels import _builds

_OTHERS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGBREAK")
    if hasattr(signal, name)
]


class Hold:
    """Signals put off while steps are made and written down: afterwards they count, and nothing is half done.

    Beside Ctrl-C these are the signals that have a handler in Python, such as an alarm that limits a training's time:
    it may raise. Ctrl-C pressed again counts at once. Handlers stay until `close`: setting one takes 4 µs, a third
    of an epoch of a small network.
    """

    def __init__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        self._ours = self._note
        self._theirs: dict[int, Any] = {}
        self._held = self._looked = False
        self._waiting: dict[int, Any] = {}

    def __enter__(self) -> None:
        if self._main:
            # A callback may have set a handler of its own.
            self._take(signal.SIGINT)
            if not self._looked:
                self._looked = True
                for number in _OTHERS:
                    self._take(number)
        self._held = True

    def _take(self, number: int) -> None:
        handler = getsignal(number)
        if handler is not self._ours and callable(handler):
            self._theirs[number] = handler
            signal.signal(number, self._ours)

    def _note(self, number: int, frame: Any) -> None:
        if self._held and not (number == signal.SIGINT and number in self._waiting):
            self._waiting[number] = frame
        else:
            self._theirs[number](number, frame)

    def __exit__(self, *exception: object) -> None:
        self._held = False
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            # Each is called, whatever another one raises.
            with contextlib.ExitStack() as calls:
                for number, frame in reversed(waiting.items()):
                    calls.callback(self._theirs[number], number, frame)

    def close(self) -> None:
        """Give the signals back to whom they belonged."""
        if self._main:
            for number, handler in self._theirs.items():
                if getsignal(number) is self._ours:
                    signal.signal(number, handler)
        self.__exit__()


def _know_all() -> None:
    """Let Numba read what it knows, with signals put off: see `_builds.know_all`."""
    hold = Hold()
    try:
        with hold:
            _builds.know_all()
    finally:
        hold.close()


_builds.before_compiling.append(_know_all)
