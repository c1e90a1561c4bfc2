"""What a `fit` leaves behind: its curves, and how it ended."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any


class History(dict[str, list[float]]):
    """Curves of a training run, one number an epoch under each name.

    ``"loss"`` (mean over the epoch's samples, penalties included), ``"accuracy"`` where the loss is of classes,
    ``"penalty"`` where a layer has one, ``"learning_rate"`` (of the epoch's last step), and with validation data
    ``"val_loss"`` and ``"val_accuracy"``.

    Attributes
    ----------
    steps : int
        Optimiser steps made.
    compiled : bool
        Whether the steps ran in the compiled loop, or layer by layer.
    stopped_by : str or None
        ``"callback"``, ``"divergence"`` or ``"interrupt"`` where training ended before its last epoch.
    diverged_at : int or None
        The step, counted from 0 in this `fit`, whose loss was NaN or infinite, or that found such weights.

    Examples
    --------
    >>> import fastnn as fnn
    >>> X, y = fnn.datasets.vertical_data(10, 3, seed=0)
    >>> model = fnn.Sequential(fnn.Dense(2, 3), seed=0)
    >>> history = model.fit(X, y, epochs=2)
    >>> len(history["loss"]), history.steps
    (2, 2)
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.compiled = True
        self.stopped_by: str | None = None
        self.diverged_at: int | None = None

    def append(self, **values: Any) -> None:
        """Add one epoch's numbers."""
        for name, value in values.items():
            self.setdefault(name, []).append(float(value))

    def cut(self, epochs: int) -> None:
        """Keep the numbers of the first `epochs` epochs, at least 0; names that then have none are left out.

        Examples
        --------
        >>> from fastnn.history import History
        >>> history = History()
        >>> history.append(loss=2.0)
        >>> history.append(loss=1.0)
        >>> history.cut(1)
        >>> history["loss"]
        [2.0]
        """
        kept = {name: values[:epochs] for name, values in self.items() if values[:epochs]}
        self.clear()
        self.update(kept)


class DivergenceWarning(RuntimeWarning):
    """The loss or a weight became NaN or infinite; training stopped with the last finite weights."""


def warn_of_divergence(message: str) -> None:
    """Warn, at the line outside fastnn from which it was called."""
    warn_user(message, DivergenceWarning)


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn, at the line outside fastnn from which it was called."""
    level = 1
    frame: types.FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastnn":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
