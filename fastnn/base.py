"""What layers, losses, optimisers and initialisers share, their configuration; and what a layer is."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Self

from fastnn.arrays import Array

__all__ = ["Configurable", "Layer"]


class Configurable:
    """An object that can be built again from plain values.

    A subclass keeps each constructor argument under the argument's own name.
    """

    def get_config(self) -> dict[str, Any]:
        """Return ``"type"`` (the class name) and the constructor's arguments, as plain values.

        Examples
        --------
        >>> from fastnn.initializers import Normal
        >>> Normal(scale=0.5).get_config()
        {'type': 'Normal', 'scale': 0.5}
        """
        config: dict[str, Any] = {"type": type(self).__name__}
        for name in inspect.signature(type(self)).parameters:
            value = getattr(self, name)
            # A schedule or an initialiser inside describes itself.
            config[name] = value.get_config() if hasattr(value, "get_config") else value
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the object that `get_config` described; arrays and state are no part of it.

        Parameters
        ----------
        config : Mapping
            ``"type"`` and the constructor's arguments. An abstract class (``Layer``, ``Loss``, …) knows the
            kinds that fastnn brings; for a class of your own call its own ``from_config``.

        Raises
        ------
        ValueError
            If the type is unknown, or the arguments are missing, unknown, of a wrong type or out of range.

        Examples
        --------
        >>> from fastnn.initializers import Initializer
        >>> Initializer.from_config({"type": "Normal", "scale": 0.5})
        Normal(scale=0.5)
        """
        kinds: list[type[Self]] = [cls]
        if inspect.isabstract(cls):
            # Names from a file may reach our own classes only, whatever else has been defined.
            kinds = [kind for kind in _below(cls) if kind.__module__.startswith("fastnn.")]
        known = {kind.__name__: kind for kind in kinds if not inspect.isabstract(kind)}
        arguments = dict(config)
        name = arguments.pop("type", None)
        if not isinstance(name, str) or name not in known:
            raise ValueError(
                f"config['type'] must be one of {sorted(known)}, got {name!r}: pass what get_config() returned"
            )
        try:
            return known[name](**arguments)
        except TypeError as error:
            raise ValueError(f"config does not fit {name}: {error}; pass what get_config() returned") from error

    def __repr__(self) -> str:
        # A class of the user's own may not keep all that its constructor takes.
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


class Layer(Configurable, abc.ABC):
    """Base class: a step of a network, forward and backward.

    A subclass writes `forward` and `backward`; one that learns writes `parameters` and `gradients` too.

    Attributes
    ----------
    inputs : numpy.ndarray or None
        What the last `forward` was given, shape (samples, inputs).
    output : numpy.ndarray or None
        What the last `forward` returned, shape (samples, outputs): a new array each time.
    dinputs : numpy.ndarray or None
        What the last `backward` returned, of the shape of `inputs`.
    n_inputs, n_outputs : int or None
        Widths; None where a layer takes any and keeps it.
    name : str or None
        What the layer is called in ``model.parameters()``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.base import Layer
    >>> class Double(Layer):
    ...     def forward(self, inputs, training=True):
    ...         self.inputs, self.output = inputs, 2 * inputs
    ...         return self.output
    ...     def backward(self, dvalues):
    ...         self.dinputs = 2 * dvalues
    ...         return self.dinputs
    >>> Double().forward(np.ones((1, 2)))
    array([[2., 2.]])
    """

    inputs: Array | None = None
    output: Array | None = None
    dinputs: Array | None = None
    n_inputs: int | None = None
    n_outputs: int | None = None
    name: str | None = None
    _made: Any = None  # what the last `backward` has checked and made, and what an optimiser has checked
    _held: Any = None

    @abc.abstractmethod
    def forward(self, inputs: Any, training: bool = True) -> Array:
        """Return the outputs for `inputs`, and keep both as ``output`` and ``inputs``.

        Parameters
        ----------
        inputs : array_like
            Shape (samples, inputs).
        training : bool
            Whether this is a step of training: only then may random masks be drawn or parameters be cast.
        """

    @abc.abstractmethod
    def backward(self, dvalues: Any) -> Array:
        """Return the gradient with respect to the inputs, and keep it as ``dinputs``.

        Parameters
        ----------
        dvalues : array_like
            The gradient with respect to the last output, of its shape.
        """

    def parameters(self) -> dict[str, Array]:
        """Return the arrays that learn, by short name: the layer's own, not copies."""
        return {}

    def gradients(self) -> dict[str, Array | None]:
        """Return the gradients of the last `backward` under the names of `parameters`; None before it."""
        return {}

    def _to_learn(self) -> tuple[tuple[str, Array, Array], ...] | None:
        """Return (name, parameter, gradient) of all that learns if kernels take every array as it is, else None."""
        return None

    def initialize(self, seed: int, index: int) -> None:  # noqa: B027  (most layers have nothing to draw)
        """Take a model's seed: draw what is random from it, unless the user has chosen it already.

        Parameters
        ----------
        seed : int
            From 0 to 2**63 - 1.
        index : int
            The layer's place in the model, from 0; it tells the streams of two layers apart.
        """

    def penalty(self) -> float:
        """Return the layer's share of the loss for the size of its parameters."""
        return 0.0

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        if isinstance(state, dict):
            # Compiled code and what has been checked for it are neither copied nor stored.
            state = {key: value for key, value in state.items() if key not in ("_known", "_made", "_held")}
        return state

    def _last(self, value: Array | None, wanted: str = "forward(inputs)") -> Array:
        """Return what an earlier call left behind."""
        if value is None:
            raise RuntimeError(f"{type(self).__name__} has nothing to go back through: call {wanted} first")
        return value
