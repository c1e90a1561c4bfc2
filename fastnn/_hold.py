"""Ctrl-C put off while something is half done."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Hold:
    """Ctrl-C put off while steps are made and written down: afterwards it counts, and nothing is half done.

    Pressed again, it counts at once. The handler stays until `close`: setting one takes 4 µs, a third of an epoch of a
    small network.
    """

    def __init__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        self._ours, self._theirs = self._note, signal.default_int_handler
        self._held = False
        self._pressed: list[Any] = []

    def __enter__(self) -> None:
        if self._main:
            # A callback may have set a handler of its own.
            handler = signal.getsignal(signal.SIGINT)
            if handler is not self._ours and callable(handler):
                self._theirs = handler
                signal.signal(signal.SIGINT, self._ours)
        self._held = True

    def _note(self, number: int, frame: Any) -> None:
        if self._held and not self._pressed:
            self._pressed.append(frame)
        else:
            self._theirs(number, frame)

    def __exit__(self, *exception: object) -> None:
        self._held = False
        if self._pressed:
            self._theirs(signal.SIGINT, self._pressed.pop())

    def close(self) -> None:
        """Give Ctrl-C back to whom it belonged."""
        if self._main and signal.getsignal(signal.SIGINT) is self._ours:
            signal.signal(signal.SIGINT, self._theirs)
