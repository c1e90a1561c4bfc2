"""The progress bar of a run."""

from __future__ import annotations

import functools
import sys
from typing import Any

from fastnn._telling import at_terminal, telling
from fastnn.history import History


class Bar:
    """A progress bar over epochs, shown at once, never, or after two seconds at a terminal.

    Where one is shown, or would be, compiling is told as well, else it is not.
    """

    def __init__(self, epochs: int, wanted: bool | None) -> None:
        delay = 2.0 if wanted is None else 0.0
        if wanted is None:
            wanted = at_terminal()
        self.bar: Any = None
        way = None
        if wanted and sys.stderr is not None:
            # Not before a bar is wanted: it takes a tenth of the time to import fastnn.
            from tqdm.auto import tqdm

            self.bar = tqdm(total=epochs, delay=delay, unit="epoch", dynamic_ncols=True)
            way = functools.partial(self.bar.write, file=sys.stderr)
        self._telling = telling(way)

    def __enter__(self) -> Bar:
        self._telling.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._telling.__exit__(*exception)
        if self.bar is not None:
            self.bar.close()

    def show(self, steps: int, steps_per_epoch: int, history: History) -> None:
        """Move the bar to where `steps` are done."""
        if self.bar is None:
            return
        names = ("loss", "accuracy", "learning_rate")
        shown = {name: f"{history[name][-1]:.4g}" for name in names if history.get(name)}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(steps // steps_per_epoch - self.bar.n)
