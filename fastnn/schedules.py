"""Learning-rate schedules: the rate as a function of the optimiser step.

Steps count from 0, so the first step of every decay is undecayed. A schedule answers for one step,
``schedule(step)``, and for a run of steps, ``schedule.values(first_step, count)``; both give the same bits,
because the compiled loop uses the second and the layer-by-layer loop the first.

A schedule of your own is a subclass of `Schedule` with one method, ``rate_at``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import numpy as np

from fastnn._schedule import ConstantRate, Rates, Schedule, as_schedule, number, whole

__all__ = [
    "ConstantRate",
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
    "Warmup",
    "as_schedule",
]


@final
class InverseTimeDecay(Schedule):
    """``learning_rate / (1 + decay * step)``, `decay` at least 0.

    Examples
    --------
    >>> from fastnn.schedules import InverseTimeDecay
    >>> InverseTimeDecay(1.0, decay=1e-3)(1000)
    0.5
    """

    _foreseeable = True

    def __init__(self, learning_rate: float, decay: float) -> None:
        self.learning_rate = number(learning_rate, "learning_rate")
        self.decay = number(decay, "decay")

    def rate_at(self, step: int) -> float:
        """Return the rate of one step."""
        return self.learning_rate / (1.0 + self.decay * step)

    def _table(self, first_step: int, count: int) -> Rates:
        # Products, sums and quotients are rounded exactly, so arrays and lone numbers agree.
        steps = np.arange(first_step, first_step + count, dtype=np.float64)
        return self.learning_rate / (1.0 + self.decay * steps)


@final
class StepDecay(Schedule):
    """``learning_rate * factor ** (step // every)``: a drop after each `every` steps, `factor` in (0, 1].

    Examples
    --------
    >>> from fastnn.schedules import StepDecay
    >>> StepDecay(1.0, factor=0.5, every=2).values(0, 5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    _foreseeable = True

    def __init__(self, learning_rate: float, factor: float, every: int) -> None:
        self.learning_rate = number(learning_rate, "learning_rate")
        self.factor = number(factor, "factor", high=1.0, open_=True)
        self.every = whole(every, "every", 1)

    def rate_at(self, step: int) -> float:
        """Return the rate of one step."""
        return self.learning_rate * math.pow(self.factor, step // self.every)


@final
class ExponentialDecay(Schedule):
    """``learning_rate * rate ** (step / every)``: smooth, by `rate` in (0, 1] for each `every` steps.

    Examples
    --------
    >>> from fastnn.schedules import ExponentialDecay
    >>> ExponentialDecay(1.0, rate=0.5).values(0, 3)
    array([1.  , 0.5 , 0.25])
    """

    _foreseeable = True

    def __init__(self, learning_rate: float, rate: float, every: int = 1) -> None:
        self.learning_rate = number(learning_rate, "learning_rate")
        self.rate = number(rate, "rate", high=1.0, open_=True)
        self.every = whole(every, "every", 1)

    def rate_at(self, step: int) -> float:
        """Return the rate of one step."""
        return self.learning_rate * math.pow(self.rate, step / self.every)


def _cosine(start: float, end: float, part: float) -> float:
    """Go from `start` at part 0 to `end` at part 1 along half a cosine; the ends are met exactly."""
    if part <= 0.0:
        return start
    if part >= 1.0:
        return end
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part))


@final
class CosineDecay(Schedule):
    """Half a cosine from `learning_rate` at step 0 to `end` at step `steps`, and `end` from there on.

    ``end + (learning_rate - end) * (1 + cos(pi * step / steps)) / 2``. After Loshchilov and Hutter,
    "SGDR: stochastic gradient descent with warm restarts", 2017, without the restarts.

    Examples
    --------
    >>> from fastnn.schedules import CosineDecay
    >>> CosineDecay(1.0, steps=100)(50)
    0.5
    """

    _foreseeable = True

    def __init__(self, learning_rate: float, steps: int, end: float = 0.0) -> None:
        self.learning_rate = number(learning_rate, "learning_rate")
        self.steps = whole(steps, "steps", 1)
        self.end = number(end, "end")

    def rate_at(self, step: int) -> float:
        """Return the rate of one step."""
        return _cosine(self.learning_rate, self.end, step / self.steps)


@final
class Warmup(Schedule):
    """A straight climb of `steps` steps to the first rate of `schedule`, which then starts from its step 0.

    ``schedule(0) * (step + 1) / (steps + 1)`` while ``step < steps``, then ``schedule(step - steps)``.
    `schedule` may be a number: a constant rate. A `ReduceOnPlateau` hears of the climb's epochs too, and the climb
    then leads to what it has reduced the rate to: let its patience be longer than the climb.

    Examples
    --------
    >>> from fastnn.schedules import Warmup
    >>> Warmup(1.0, steps=3).values(0, 5)
    array([0.25, 0.5 , 0.75, 1.  , 1.  ])
    """

    _passes_on = True

    def __init__(self, schedule: float | Schedule, steps: int) -> None:
        self.schedule = as_schedule(schedule, "schedule")
        self.steps = whole(steps, "steps", 0)

    def rate_at(self, step: int) -> float:
        """Return the rate of one step."""
        if step < self.steps:
            return self.schedule(0) * ((step + 1) / (self.steps + 1))
        return self.schedule(step - self.steps)

    def observe(self, value: float) -> None:
        """Pass the figure on to the schedule inside."""
        self.schedule.observe(value)

    def get_state(self) -> dict[str, float]:
        """Return the state of the schedule inside."""
        return self.schedule.get_state()

    def set_state(self, state: Mapping[str, float]) -> None:
        """Hand the state to the schedule inside."""
        self.schedule.set_state(state)


@final
class OneCycle(Schedule):
    """One climb and one long descent, both half cosines, over `steps` steps.

    The rate starts at ``max_learning_rate / start_divisor``, peaks at step ``climb * steps - 1`` (never
    before step 0), and ends at step ``steps - 1`` with
    ``max_learning_rate / (start_divisor * end_divisor)``, where it stays. After
    Smith and Topin, "Super-convergence", 2018; defaults as in PyTorch.

    Examples
    --------
    >>> from fastnn.schedules import OneCycle
    >>> OneCycle(1.0, steps=10).values(0, 4).round(3)
    array([0.04, 0.52, 1.  , 0.95])
    """

    _foreseeable = True

    def __init__(
        self,
        max_learning_rate: float,
        steps: int,
        climb: float = 0.3,
        start_divisor: float = 25.0,
        end_divisor: float = 1e4,
    ) -> None:
        self.max_learning_rate = number(max_learning_rate, "max_learning_rate")
        self.steps = whole(steps, "steps", 1)
        self.climb = number(climb, "climb", high=1.0)
        self.start_divisor = number(start_divisor, "start_divisor", low=1.0)
        self.end_divisor = number(end_divisor, "end_divisor", low=1.0)

    def rate_at(self, step: int) -> float:
        """Return the rate of one step."""
        start = self.max_learning_rate / self.start_divisor
        peak = max(self.climb * self.steps - 1.0, 0.0)
        if step <= peak:
            return _cosine(start, self.max_learning_rate, step / peak if peak > 0.0 else 1.0)
        if step >= self.steps - 1:
            return start / self.end_divisor
        part = (step - peak) / (self.steps - 1 - peak)
        return _cosine(self.max_learning_rate, start / self.end_divisor, part)


@final
class ReduceOnPlateau(Schedule):
    """Multiply the rate by `factor` once the watched figure has not improved for `patience` epochs in a row.

    `observe` takes the figure after every epoch; between two calls the rate is constant. A figure improves
    if it beats the best so far by more than ``threshold * abs(best)``; NaN never does.

    Parameters
    ----------
    learning_rate : float
        The first rate, at least 0.
    factor : float
        In (0, 1].
    patience : int
        Epochs without improvement that are let pass, at least 0: the reduction comes with the next one.
    threshold : float
        Relative size of an improvement, at least 0.
    cooldown : int
        Epochs after a reduction that are not counted, at least 0.
    end : float
        The rate is never reduced below this.
    mode : {"min", "max"}
        Whether smaller figures (a loss) or larger ones (an accuracy) are better.

    Examples
    --------
    >>> from fastnn.schedules import ReduceOnPlateau
    >>> schedule = ReduceOnPlateau(1.0, factor=0.1, patience=1)
    >>> for loss in [0.5, 0.5, 0.5]:
    ...     schedule.observe(loss)
    >>> schedule(300)
    0.1
    """

    def __init__(
        self,
        learning_rate: float,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        end: float = 0.0,
        mode: str = "min",
    ) -> None:
        self.learning_rate = number(learning_rate, "learning_rate")
        self.factor = number(factor, "factor", high=1.0, open_=True)
        self.patience = whole(patience, "patience", 0)
        self.threshold = number(threshold, "threshold")
        self.cooldown = whole(cooldown, "cooldown", 0)
        self.end = number(end, "end")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}: 'min' for a loss, 'max' for an accuracy")
        self.mode = mode
        self._rate = self.learning_rate
        self._best = math.inf if mode == "min" else -math.inf
        self._bad_epochs = 0
        self._cooling = 0

    def rate_at(self, step: int) -> float:
        """Return the rate that holds until the next `observe`."""
        return self._rate

    def _table(self, first_step: int, count: int) -> Rates:
        return np.full(count, self._rate, dtype=np.float64)

    def observe(self, value: float) -> None:
        """Count an epoch with the figure `value` (any float, NaN and infinity included)."""
        value = float(value)
        margin = self.threshold * abs(self._best) if math.isfinite(self._best) else 0.0
        better = value < self._best - margin if self.mode == "min" else value > self._best + margin
        if better:
            self._best = value
            self._bad_epochs = 0
        elif self._cooling > 0:
            self._bad_epochs = 0
        else:
            self._bad_epochs += 1
        self._cooling = max(self._cooling - 1, 0)
        if self._bad_epochs > self.patience:
            # A first rate below `end` stays as it is.
            self._rate = min(self._rate, max(self._rate * self.factor, self.end))
            self._bad_epochs = 0
            self._cooling = self.cooldown

    def get_state(self) -> dict[str, float]:
        """Return the current rate, the best figure, the epochs without improvement, the cooldown left."""
        return {
            "rate": self._rate,
            "best": self._best,
            "bad_epochs": self._bad_epochs,
            "cooling": self._cooling,
        }

    def set_state(self, state: Mapping[str, float]) -> None:
        """Take over what `get_state` returned."""
        super().set_state(state)
        rate = number(state["rate"], "state['rate']")
        bad_epochs = whole(state["bad_epochs"], "state['bad_epochs']", 0)
        cooling = whole(state["cooling"], "state['cooling']", 0)
        self._best = float(state["best"])
        self._rate, self._bad_epochs, self._cooling = rate, bad_epochs, cooling
