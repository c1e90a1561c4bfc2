"""The progress bar of a run, and a word about what is waited for where that is the compiler."""

from __future__ import annotations

import sys
from typing import Any

from fastnn.history import History
from fastnn.kernels import _builds


class Bar:
    """A progress bar over epochs, shown at once, never, or after two seconds at a terminal.

    Where one is shown, or would be, compiling is told as well: a first fit takes half a minute for it.
    """

    def __init__(self, epochs: int, wanted: bool | None) -> None:
        delay = 2.0 if wanted is None else 0.0
        if wanted is None:
            wanted = sys.stderr is not None and sys.stderr.isatty()
        self.bar: Any = None
        self._told = False
        if wanted:
            # Not before a bar is wanted: it takes a tenth of the time to import fastnn.
            from tqdm.auto import tqdm

            self.bar = tqdm(total=epochs, delay=delay, unit="epoch", dynamic_ncols=True)

    def __enter__(self) -> Bar:
        if self.bar is not None:
            _builds.before_compiling.append(self._tell)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            _builds.before_compiling.remove(self._tell)
            self.bar.close()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self.bar.write(
                "fastnn is compiling for this machine, once: later runs load what it keeps "
                "(fastnn warmup does all of it ahead)",
                file=sys.stderr,
            )

    def show(self, steps: int, steps_per_epoch: int, history: History) -> None:
        """Move the bar to where `steps` are done."""
        if self.bar is None:
            return
        names = ("loss", "accuracy", "learning_rate")
        shown = {name: f"{history[name][-1]:.4g}" for name in names if history.get(name)}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(steps // steps_per_epoch - self.bar.n)
