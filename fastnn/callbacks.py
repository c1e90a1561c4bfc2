"""Callbacks: code of yours that `fit` calls as it goes, and `EarlyStopping`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, final

from fastnn.arrays import Array, check_choice, check_flag, check_number, check_positive_int

__all__ = ["Callback", "EarlyStopping"]


class Callback:
    """Base class: override what you need. Setting ``self.model.stop_training = True`` ends training.

    Attributes
    ----------
    model : Sequential or None
        The model that is trained; set by `fit` before `on_train_begin`.
    needs_steps : bool
        Whether `on_step_end` is overridden. Training then goes layer by layer in Python, with the same
        result but slower.

    Examples
    --------
    >>> from fastnn.callbacks import Callback
    >>> class StopAt(Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def on_epoch_end(self, epoch, logs):
    ...         if logs["loss"] < self.loss:
    ...             self.model.stop_training = True
    >>> StopAt(0.1).needs_steps
    False
    """

    model: Any = None

    @property
    def needs_steps(self) -> bool:
        """Whether `on_step_end` is overridden, in the class or on the object."""
        return getattr(self.on_step_end, "__func__", None) is not Callback.on_step_end

    def on_train_begin(self) -> None:
        """Run before the first step."""

    def on_step_end(self, step: int, logs: Mapping[str, float]) -> None:
        """Run after every optimiser step.

        Parameters
        ----------
        step : int
            Counted from 0.
        logs : Mapping
            Figures of the step, ``"loss"`` among them.
        """

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Run after every epoch.

        Parameters
        ----------
        epoch : int
            Counted from 0.
        logs : Mapping
            The epoch's figures, under the names they have in the history.
        """

    def on_train_end(self) -> None:
        """Run once after the last step, however training ended."""


@final
class EarlyStopping(Callback):
    """End training once a figure has stopped improving.

    Parameters
    ----------
    monitor : str
        The figure's name in the history, such as ``"val_loss"`` or ``"accuracy"``.
    patience : int
        How many epochs in a row may go by without improvement, at least 0.
    min_delta : float
        By how much the best figure so far must be beaten to count, at least 0. NaN never counts.
    restore_best : bool
        Whether training ends with the parameters of the best epoch instead of the last; they are restored
        however it ends.
    mode : {"auto", "min", "max"}
        Whether smaller or larger figures are better; "auto" takes larger ones for names with "accuracy".

    Attributes
    ----------
    best : float
        The best figure so far.
    best_epoch : int or None
        When it was reached.
    stopped_epoch : int or None
        When training was ended by this callback.

    Examples
    --------
    >>> from fastnn.callbacks import EarlyStopping
    >>> EarlyStopping("val_accuracy", patience=3).mode
    'max'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: str = "auto",
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be a name, got {type(monitor).__name__}: pass 'val_loss', say")
        self.monitor = monitor
        self.patience = check_positive_int(patience, "patience", 0)
        self.min_delta = check_number(min_delta, "min_delta")
        self.restore_best = check_flag(restore_best, "restore_best")
        self.mode = check_choice(mode, "mode", ("auto", "min", "max"))
        if self.mode == "auto":
            self.mode = "max" if "accuracy" in monitor else "min"
        self._reset()

    def _reset(self) -> None:
        self.best = -math.inf if self.mode == "max" else math.inf
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._kept: dict[str, Array] = {}

    def on_train_begin(self) -> None:
        """Forget an earlier training."""
        self._reset()

    def check_monitor(self, figures: Collection[str]) -> None:
        """Refuse to watch what is not among the figures that an epoch has; `fit` asks before it begins.

        Parameters
        ----------
        figures : collection of str
            Their names.

        Raises
        ------
        ValueError
            If ``monitor`` is not among them.

        Examples
        --------
        >>> from fastnn.callbacks import EarlyStopping
        >>> EarlyStopping("loss").check_monitor({"loss", "accuracy"})
        """
        if self.monitor not in figures:
            remedy = "pass validation_data to fit(), or monitor" if self.monitor.startswith("val_") else "monitor"
            raise ValueError(
                f"monitor must be one of the figures {sorted(figures)}, got {self.monitor!r}: {remedy} one of those"
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Compare the figure with the best so far.

        Raises
        ------
        ValueError
            If the history has no such figure.
        """
        self.check_monitor(logs)
        value = float(logs[self.monitor])
        gain = value - self.best if self.mode == "max" else self.best - value
        if gain > self.min_delta:
            self.best, self.best_epoch, self._waited = value, epoch, 0
            if self.restore_best:
                self._kept = {name: array.copy() for name, array in self.model.parameters().items()}
            return
        self._waited += 1
        if self._waited > self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self) -> None:
        """Restore the best parameters, if that was asked for."""
        kept, self._kept = self._kept, {}
        if kept:
            for name, array in self.model.parameters().items():
                array[...] = kept[name]
