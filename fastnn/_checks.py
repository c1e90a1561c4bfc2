"""Checks of single values: numbers, counts, fractions, choices, flags and seeds.

`fastnn.arrays` offers them under its own name together with the checks of arrays. Every message says which
argument it was, what came, what is allowed, and what to do.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real

import numpy as np

LARGEST_SEED = 2**63 - 1


def check_number(
    value: object,
    name: str,
    low: float = 0.0,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a finite float from `low` to `high`; an end is left out if it is open.

    Raises
    ------
    TypeError
        If it is no real number (a bool is none).
    ValueError
        If it is not finite or out of range.

    Examples
    --------
    >>> from fastnn.arrays import check_number
    >>> check_number(3, "factor")
    3.0
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}: pass a float")
    number = float(value)
    outside = number < low or number > high or (open_low and number == low) or (open_high and number == high)
    if outside or not math.isfinite(number):
        allowed = []
        if low > -math.inf:
            allowed.append(f"{'greater than' if open_low else 'at least'} {low:g}")
        if high < math.inf:
            allowed.append(f"{'less than' if open_high else 'at most'} {high:g}")
        raise ValueError(
            f"{name} must be finite{' and ' if allowed else ''}{' and '.join(allowed)}, got {number!r}: "
            "pass a value in that range"
        )
    return number


def check_fraction(value: object, name: str) -> float:
    """Return `value` as a float in [0, 1): a share or a decay that may be nothing, but not all."""
    return check_number(value, name, 0.0, 1.0, open_high=True)


def check_positive_int(value: object, name: str, low: int = 1) -> int:
    """Return `value` as an int of at least `low`.

    Raises
    ------
    TypeError
        If it is no whole number (a bool or a float is none).
    ValueError
        If it is below `low`.
    """
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {type(value).__name__}: pass an int") from None
    if number < low:
        raise ValueError(f"{name} must be at least {low}, got {number}: pass a larger int")
    return number


def check_choice(value: object, name: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of the strings in `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}: pass one of them")
    return value


def check_flag(value: object, name: str) -> bool:
    """Return `value` as a bool; nothing but a bool will do, so that a misplaced argument is seen."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}: pass a bool")
    return bool(value)


def check_seed(value: object, name: str = "seed") -> int | None:
    """Return `value` as an int from 0 to 2**63 - 1, or None."""
    if value is None:
        return None
    number = check_positive_int(value, name, 0)
    if number > LARGEST_SEED:
        raise ValueError(f"{name} must be from 0 to 2**63 - 1, got {number}: pass an int in that range")
    return number


def check_name(value: object, name: str = "name") -> str | None:
    """Return `value` if it is a string that is not empty, or None."""
    if value is None or (isinstance(value, str) and value):
        return value
    raise TypeError(f"{name} must be a string that is not empty, or None, got {value!r}: pass 'hidden', say")
