"""Copies of parameters and optimisers' state, to go back to the last finite ones."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._array_steps import all_finite
from fastnn.arrays import Array
from fastnn.kernels import jobs

if TYPE_CHECKING:
    from fastnn.trainer import Trainer

_SHARE = 0.01  # of the time at most for copies
_Rates = tuple[Any, dict[str, Any]]


class Guard:
    """Copies of the parameters now and then, for the case that a later step leaves none that are finite.

    Parameters
    ----------
    trainers : sequence of Trainer
        Of one network, or of many of one shape.
    flat : numpy.ndarray
        Their parameters, a row each.
    state : sequence of numpy.ndarray
        Their optimisers' state, laid out alike.
    """

    def __init__(self, trainers: Sequence[Trainer], flat: Array, state: Sequence[Array]) -> None:
        self._trainers, self._flat, self._state = trainers, flat, [s for s in state if s.size]
        # Of each network: its step and its optimiser's at the copy, whether state was copied too, and the rates then.
        self._steps: list[tuple[int, int, bool, _Rates] | None] = [None] * len(trainers)
        self._room: list[Array] = []
        self._taken, self._cost = -math.inf, 0.0

    def before_chunk(self, changed: bool = False) -> list[int]:
        """Look at the parameters and copy them, if the last time is long enough ago for it not to matter.

        Parameters
        ----------
        changed : bool
            Whether to do so in any case: what a callback has done to parameters, state or rates cannot be had again
            by running steps again.

        Returns
        -------
        list of int
            The networks whose parameters are not finite, as far as that was looked at.
        """
        now = time.perf_counter()
        if not changed and now - self._taken < self._cost / _SHARE:
            return []
        trainers, room, values = self._trainers, self._room, [self._flat]
        # Before an optimiser's first step its state is zero.
        with_state = any([trainer.optimizer.step for trainer in trainers])
        if with_state:
            values += self._state
        # Each copy takes the last one's place: two at once would be half of what a large network needs in all.
        room += [np.empty_like(value) for value in values[len(room) :]]
        rows: list[int] | slice = slice(None)
        wrong: list[int] = []
        if not all_finite(self._flat):
            rows = [i for i, row in enumerate(self._flat) if all_finite(row)]
            wrong = sorted(set(range(len(trainers))) - set(rows))
        for place, value in zip(room, values, strict=False):
            place[rows] = value[rows]
        for i, trainer in enumerate(trainers):
            if i not in wrong:
                self._steps[i] = trainer.step, trainer.optimizer.step, with_state, _rates_of(trainer.optimizer)
        self._taken = time.perf_counter()
        # The next copy is of the state too, whatever this one was of.
        self._cost = (self._taken - now) * (1 if with_state else 1 + len(self._state))
        return wrong

    def restore(self, i: int = 0) -> int:
        """Go back to the last finite parameters of a network, if there are any and these are not.

        Returns
        -------
        int
            The step that could not be made: the one after the first that left parameters that are not finite. Those
            never become finite again, however long the loss stays so.
        """
        trainer, copy = self._trainers[i], self._steps[i]
        bad = trainer.step
        if copy is None or all_finite(trainer.flat):
            return bad
        low, high, middle = copy[0], bad, bad - 1
        while high - low > 1:
            if self._run_to(i, middle):
                low = middle
            else:
                high = middle
            middle = (low + high) // 2
        self._run_to(i, low)
        return high

    def _run_to(self, i: int, upto: int) -> bool:
        """Run a network from its copy to a step; tell whether its parameters are finite then."""
        trainer, copy = self._trainers[i], self._steps[i]
        assert copy is not None
        trainer.step, trainer.optimizer.step, with_state, rates = copy
        trainer.load()
        trainer.flat[...] = self._room[0][i]
        for k, ours in enumerate(self._state):
            ours[i] = self._room[1 + k][i] if with_state else 0.0
        trainer.tally.fill(0.0)
        # The order of the samples that is in place may not be the one that the job saw last.
        trainer.job[jobs.ORDER_EPOCH] = -1
        if upto > trainer.step:
            now = _rates_of(trainer.optimizer)
            _set_rates(trainer.optimizer, rates)
            try:
                trainer.run(upto - trainer.step)
            finally:
                _set_rates(trainer.optimizer, now)
        return all_finite(trainer.flat)


def _rates_of(optimizer: Any) -> _Rates:
    """Return the learning rate or schedule, and the state of one that follows how training goes."""
    rate = optimizer.learning_rate
    return rate, getattr(rate, "get_state", dict)()


def _set_rates(optimizer: Any, rates: _Rates) -> None:
    optimizer.learning_rate, state = rates
    if state:
        optimizer.learning_rate.set_state(state)
