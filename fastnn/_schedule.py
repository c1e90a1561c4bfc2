"""What every learning-rate schedule has in common; `fastnn.schedules` holds the kinds and is the public name.

A schedule of your own is a subclass of `Schedule` with one method, ``rate_at``.
"""

from __future__ import annotations

import abc
import functools
import inspect
import math
import operator
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar, SupportsIndex, final

import numpy as np
import numpy.typing as npt

Rates = npt.NDArray[np.float64]


def number(value: object, name: str, *, low: float = 0.0, high: float = math.inf, open_: bool = False) -> float:
    """Return `value` as a finite float from `low` (left out if `open_`) up to `high`."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}: pass a float")
    result = float(value)
    if not math.isfinite(result) or result < low or result > high or (open_ and result == low):
        allowed = f"greater than {low:g}" if open_ else f"at least {low:g}"
        if high < math.inf:
            allowed += f" and at most {high:g}"
        raise ValueError(f"{name} must be finite and {allowed}, got {result!r}: pass a value in that range")
    return result


def whole(value: object, name: str, low: int) -> int:
    """Return `value` as an int of at least `low`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be a whole number, got {type(value).__name__}: pass an int")
    result = operator.index(value)
    if result < low:
        raise ValueError(f"{name} must be at least {low}, got {result}: pass a larger int")
    return result


class Schedule(abc.ABC):
    """Base class: a learning rate for every optimiser step.

    A subclass writes ``rate_at(step)`` and keeps each constructor argument under the argument's own name,
    which is what `get_config` reads.

    Examples
    --------
    >>> from fastnn.schedules import Schedule
    >>> class Halve(Schedule):
    ...     def rate_at(self, step):
    ...         return 0.5**step
    >>> Halve().values(0, 4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """

    # Whether rates follow from the step and the attributes alone, all of them plain numbers: then an optimiser may
    # look them up ahead.
    _foreseeable: ClassVar[bool] = False
    # Whether `observe` does no more than tell `schedule`, a schedule inside.
    _passes_on: ClassVar[bool] = False

    @abc.abstractmethod
    def rate_at(self, step: int) -> float:
        """Return the learning rate of `step`, an int of at least 0; finite and not negative."""

    def _table(self, first_step: int, count: int) -> Rates:
        # One call of rate_at a step, on purpose: NumPy's pow and cos may differ in the last bit between a
        # vector's body, its tail and a lone number, and the two training loops must agree.
        steps = range(first_step, first_step + count)
        return np.fromiter((self.rate_at(step) for step in steps), dtype=np.float64, count=count)

    @final
    def __call__(self, step: int) -> float:
        """Return the learning rate of one step, counted from 0."""
        return float(self.values(step, 1)[0])

    @final
    def values(self, first_step: int, count: int) -> Rates:
        """Return the learning rates of `count` steps in a row.

        Parameters
        ----------
        first_step : int
            The first step, at least 0.
        count : int
            How many steps, at least 0.

        Returns
        -------
        numpy.ndarray
            Shape (count,), float64; element ``i`` has the bits of ``schedule(first_step + i)``.

        Raises
        ------
        TypeError, ValueError
            If an argument is no whole number or is negative; if a subclass gives a rate that is negative
            or not finite.
        """
        first_step = whole(first_step, "first_step", 0)
        count = whole(count, "count", 0)
        with np.errstate(all="ignore"):
            rates = self._table(first_step, count)
        wrong = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0.0)))
        if wrong.size:
            raise ValueError(
                f"{type(self).__name__} gave the learning rate {float(rates[wrong[0]])!r} at step "
                f"{first_step + int(wrong[0])}: rates must be finite and at least 0, mend its rate_at()"
            )
        return rates

    def observe(self, value: float) -> None:  # noqa: B027  (most schedules have nothing to note)
        """Take note of the watched figure, once an epoch: a schedule that does is asked for rates epoch by epoch."""

    def get_state(self) -> dict[str, float]:
        """Return what `observe` has changed so far; empty for a schedule that depends on the step alone."""
        return {}

    def set_state(self, state: Mapping[str, float]) -> None:
        """Take over what `get_state` returned, so that a resumed run goes on as if it had never stopped."""
        wanted = sorted(self.get_state())
        if sorted(state) != wanted:
            raise ValueError(
                f"state for {type(self).__name__} must have the keys {wanted}, got {sorted(state)}: "
                "pass what get_state() of the same kind of schedule returned"
            )

    def get_config(self) -> dict[str, Any]:
        """Return ``"type"`` (the class name) and the constructor's arguments, as plain values."""
        config: dict[str, Any] = {"type": type(self).__name__}
        for name in inspect.signature(type(self)).parameters:
            value = getattr(self, name)
            config[name] = value.get_config() if isinstance(value, Schedule) else value
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Build the schedule that `get_config` described; what it observed is not part of it.

        Parameters
        ----------
        config : Mapping
            ``"type"`` and the constructor's arguments. ``Schedule.from_config`` knows the classes of
            `fastnn.schedules`; for a class of your own call its own ``from_config``.

        Raises
        ------
        ValueError
            If the type is unknown, or the arguments are missing, unknown, of a wrong type or out of range.

        Examples
        --------
        >>> from fastnn.schedules import InverseTimeDecay, Schedule
        >>> Schedule.from_config(InverseTimeDecay(1.0, decay=1e-3).get_config())
        InverseTimeDecay(learning_rate=1.0, decay=0.001)
        """
        kinds = [kind for kind in Schedule.__subclasses__() if kind.__module__.startswith("fastnn.")]
        known = {kind.__name__: kind for kind in (kinds if cls is Schedule else [cls])}
        arguments = dict(config)
        name = arguments.pop("type", None)
        if not isinstance(name, str) or name not in known:
            raise ValueError(
                f"config['type'] must be one of {sorted(known)}, got {name!r}: pass what get_config() returned"
            )
        if isinstance(arguments.get("schedule"), Mapping):
            arguments["schedule"] = Schedule.from_config(arguments["schedule"])
        try:
            return known[name](**arguments)
        except TypeError as error:
            raise ValueError(f"config does not fit {name}: {error}; pass what get_config() returned") from error

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


@final
class ConstantRate(Schedule):
    """The same learning rate at every step: ``learning_rate``, at least 0.

    Examples
    --------
    >>> from fastnn.schedules import ConstantRate
    >>> ConstantRate(0.1)(1000)
    0.1
    """

    _foreseeable = True

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = number(learning_rate, "learning_rate")

    def rate_at(self, step: int) -> float:
        """Return the rate."""
        return self.learning_rate

    def _table(self, first_step: int, count: int) -> Rates:
        return np.full(count, self.learning_rate, dtype=np.float64)


def listens(rate: Any) -> bool:
    """Tell whether a learning rate makes use of `Schedule.observe`, itself or for a schedule inside."""
    while getattr(type(rate), "_passes_on", False):
        rate = rate.schedule
    observe = getattr(type(rate), "observe", None)
    return observe is not None and observe is not Schedule.observe


_BLOCK = 64


def powers(base: float, first: int, count: int) -> Rates:
    """Return ``base ** n`` for `count` whole n from `first` on, of the same bits however they are asked for.

    NumPy's power may differ in the last bit between a vector's body and its tail, and a call of ``math.pow``
    for each n would be felt beside a small network's step. So n is cut in two, and a product of two table
    entries, rounded once, joins the parts.
    """
    exponents = np.arange(first, first + count)
    high, low = exponents // _BLOCK, exponents % _BLOCK
    start = first // _BLOCK
    stop = (first + max(count, 1) - 1) // _BLOCK + 1
    coarse = np.array([math.pow(base, _BLOCK * i) for i in range(start, stop)])
    return coarse[high - start] * _first_powers(base)[low]


@functools.lru_cache(maxsize=16)
def _first_powers(base: float) -> Rates:
    return np.array([math.pow(base, i) for i in range(_BLOCK)])


# Rows of scalars that are made at once: few at first, so that a single step does not pay for many.
_FIRST_ROWS, _MOST_ROWS = 8, 256


class Ahead:
    """Rows of an optimiser's `scalars` for steps to come: 0.4 µs a step, where asking for one row takes 20.

    They are kept as long as the optimiser's settings and its schedule's equal those that they were made from; nothing
    is kept if one of them is more than a plain number, or the schedule may have a mind of its own.
    """

    def __init__(self) -> None:
        self._first = 0
        self._table: Rates = np.empty((0, 0))
        self._rows: list[Rates] = []
        self._settings: Callable[[Any], Any] = lambda optimizer: (None,)
        self._made_from: Any = (None,)

    def row(self, optimizer: Any, step: int) -> Rates:
        """Return ``optimizer.scalars(step, 1)[0]``."""
        place = step - self._first
        if 0 <= place < len(self._rows) and self._current(optimizer):
            return self._rows[place]
        return self._fetched(optimizer, step, 1)[0]

    def rows(self, optimizer: Any, step: int, count: int) -> Rates:
        """Return ``optimizer.scalars(step, count)``, for reading."""
        place = step - self._first
        if 0 <= place <= len(self._rows) - count and self._current(optimizer):
            return self._table[place : place + count]
        return self._fetched(optimizer, step, count)

    def _current(self, optimizer: Any) -> bool:
        """Tell whether the rows are what the optimiser would give now."""
        try:
            settings = self._settings(optimizer)
            # The rate, the last of them, must be the very object: True, which is no rate, equals 1.0.
            return bool(settings == self._made_from and settings[-1] is self._made_from[-1])
        except (AttributeError, ValueError):  # a number has taken the place of a schedule, an array that of a number
            return False

    def _fetched(self, optimizer: Any, step: int, count: int) -> Rates:
        """Return `count` rows of scalars, and keep them and some more if they can be told from others."""
        fetch = _settings_of(optimizer) if count <= _MOST_ROWS else None
        if fetch is None:
            self._rows = []
            return optimizer.scalars(step, count)
        had = len(self._rows)
        goes_on = had > 0 and 0 <= step - self._first <= had and self._current(optimizer)
        more = max(count, min(2 * had, _MOST_ROWS) if goes_on else _FIRST_ROWS)
        try:
            table = optimizer.scalars(step, more)
        except Exception:  # what is wrong with a later step is told when it comes
            table = optimizer.scalars(step, count)
        self._settings, self._made_from = fetch, fetch(optimizer)
        self._first, self._table, self._rows = step, table, list(table)
        return table[:count]


def _settings_of(optimizer: Any) -> Callable[[Any], Any] | None:
    """Return what fetches all that `scalars` depend on but the step, or None if that cannot be known.

    What an optimiser of fastnn's computes with is the step and its attributes.
    """
    if not type(optimizer).__module__.startswith("fastnn."):
        return None
    names = [name for name in optimizer.__dict__ if name not in ("step", "_state", "_ahead", "_token")]
    rate = optimizer.learning_rate
    if isinstance(rate, Schedule):
        if not type(rate).__dict__.get("_foreseeable"):
            return None
        names += [f"learning_rate.{name}" for name in rate.__dict__]
    settings = operator.attrgetter(*names, "learning_rate")
    plain = all(value is rate or type(value) in (float, int, bool) for value in settings(optimizer))
    return settings if plain and (isinstance(rate, Schedule) or type(rate) in (float, int)) else None


def as_schedule(value: float | Schedule, name: str = "learning_rate") -> Schedule:
    """Return `value` if it is a schedule, or the constant schedule of a number.

    Parameters
    ----------
    value : float or Schedule
        A number must be finite and at least 0.
    name : str
        What error messages call it.

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If the number is negative or not finite.

    Examples
    --------
    >>> from fastnn.schedules import as_schedule
    >>> as_schedule(0.1)
    ConstantRate(learning_rate=0.1)
    """
    if isinstance(value, Schedule):
        return value
    try:
        return ConstantRate(number(value, name))
    except TypeError:
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(
            f"{name} must be a number or a Schedule, got {given}: pass a float such as 0.1, or an instance "
            "of a schedule such as fastnn.InverseTimeDecay(1.0, decay=1e-3)"
        ) from None
