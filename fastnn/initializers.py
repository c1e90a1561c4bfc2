"""Initialisers: the numbers a layer's parameters start from.

They are drawn by the counter-based generator of ``fastnn.kernels.rng``, always in float64 (a float32 network
starts from their roundings), so they depend on the seed, the index and the place in the array alone: not on
threads, nor on what was drawn before.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import final

import numpy as np
import numpy.typing as npt

from fastnn import threads
from fastnn.arrays import check_number, check_positive_int, check_seed
from fastnn.base import Configurable
from fastnn.kernels import rng

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "Normal",
    "Zeros",
    "as_initializer",
]

Values = npt.NDArray[np.float64]


class Initializer(Configurable, abc.ABC):
    """Base class: fills arrays of a given shape.

    A subclass writes ``draw(out, shape, seed, index)``.
    """

    @abc.abstractmethod
    def draw(self, out: Values, shape: tuple[int, ...], seed: int, index: int) -> None:
        """Fill the flat array `out` of an array of shape `shape`; arguments as in a call."""

    @final
    def __call__(self, shape: int | tuple[int, ...], seed: int, index: int = 0) -> Values:
        """Return a new array.

        Parameters
        ----------
        shape : int or tuple of int
            (inputs, outputs) for weights; each at least 1.
        seed : int
            From 0 to 2**63 - 1.
        index : int
            Which of the seed's streams to draw from, at least 0: one for each array of a network.

        Returns
        -------
        numpy.ndarray
            float64, of shape `shape`.

        Examples
        --------
        >>> from fastnn.initializers import GlorotUniform
        >>> GlorotUniform()((2, 3), seed=0).shape
        (2, 3)
        """
        sizes = shape if isinstance(shape, tuple) else (shape,)
        sizes = tuple(check_positive_int(size, "shape") for size in sizes)
        seed = check_positive_int(seed, "seed", 0)
        check_seed(seed)
        index = check_positive_int(index, "index", 0)
        out = np.empty(math.prod(sizes))
        self.draw(out, sizes, seed, index)
        return out.reshape(sizes)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many numbers enter and leave; for one-dimensional arrays both are their length."""
    return shape[0], shape[-1]


def _uniform(out: Values, limit: float, seed: int, index: int) -> None:
    threads.run(rng.uniform, 10.0 * out.size, out, -limit, limit, seed, rng.STREAM_INIT, index)


def _normal(out: Values, scale: float, seed: int, index: int) -> None:
    threads.run(rng.normal, 50.0 * out.size, out, 0.0, scale, seed, rng.STREAM_INIT, index)


@final
class GlorotUniform(Initializer):
    """Uniform in ±sqrt(6 / (inputs + outputs)); the default of `Dense`.

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """

    def draw(self, out: Values, shape: tuple[int, ...], seed: int, index: int) -> None:
        """Fill `out`."""
        _uniform(out, math.sqrt(6.0 / sum(_fans(shape))), seed, index)


@final
class GlorotNormal(Initializer):
    """Normal with standard deviation sqrt(2 / (inputs + outputs)), not truncated.

    Source as `GlorotUniform`.
    """

    def draw(self, out: Values, shape: tuple[int, ...], seed: int, index: int) -> None:
        """Fill `out`."""
        _normal(out, math.sqrt(2.0 / sum(_fans(shape))), seed, index)


@final
class HeUniform(Initializer):
    """Uniform in ±sqrt(6 / inputs); suits ReLU.

    He et al., "Delving deep into rectifiers", 2015.
    """

    def draw(self, out: Values, shape: tuple[int, ...], seed: int, index: int) -> None:
        """Fill `out`."""
        _uniform(out, math.sqrt(6.0 / _fans(shape)[0]), seed, index)


@final
class HeNormal(Initializer):
    """Normal with standard deviation sqrt(2 / inputs), not truncated; source as `HeUniform`."""

    def draw(self, out: Values, shape: tuple[int, ...], seed: int, index: int) -> None:
        """Fill `out`."""
        _normal(out, math.sqrt(2.0 / _fans(shape)[0]), seed, index)


@final
class Normal(Initializer):
    """Normal with standard deviation `scale` (at least 0) and mean 0, whatever the shape."""

    def __init__(self, scale: float = 0.01) -> None:
        self.scale = check_number(scale, "scale")

    def draw(self, out: Values, shape: tuple[int, ...], seed: int, index: int) -> None:
        """Fill `out`."""
        _normal(out, self.scale, seed, index)


@final
class Zeros(Initializer):
    """All zeros."""

    def draw(self, out: Values, shape: tuple[int, ...], seed: int, index: int) -> None:
        """Fill `out`."""
        out[:] = 0.0


@final
class Constant(Initializer):
    """All `value`, which must be finite."""

    def __init__(self, value: float) -> None:
        self.value = check_number(value, "value", -math.inf)

    def draw(self, out: Values, shape: tuple[int, ...], seed: int, index: int) -> None:
        """Fill `out`."""
        out[:] = self.value


_NAMES: dict[str, type[Initializer]] = {
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "normal": Normal,
    "zeros": Zeros,
}


def as_initializer(value: object, name: str = "initializer") -> Initializer:
    """Return the initialiser that `value` names, describes or is.

    Parameters
    ----------
    value : str, Initializer or Mapping
        ``"glorot_uniform"``, ``"glorot_normal"``, ``"he_uniform"``, ``"he_normal"``, ``"normal"``,
        ``"zeros"``; or an object; or what its ``get_config()`` returned.
    name : str
        What error messages call it.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.

    Examples
    --------
    >>> from fastnn.initializers import as_initializer
    >>> as_initializer("he_normal")
    HeNormal()
    """
    if isinstance(value, Initializer):
        return value
    if isinstance(value, Mapping):
        return Initializer.from_config(value)
    if not isinstance(value, str):
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(
            f"{name} must be a name or an Initializer, got {given}: pass 'he_normal', say, or "
            "fastnn.initializers.Normal(scale=0.01)"
        )
    if value not in _NAMES:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, _NAMES))}, got {value!r}: pass one of them")
    return _NAMES[value]()
