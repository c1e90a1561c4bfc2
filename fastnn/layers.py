"""Layers with parameters or random masks: `Dense` and `Dropout`; activations have a file of their own.

Every class has the same parts in the same order: making it, forward, backward, what it learns.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, final

import numpy as np

from fastnn import threads
from fastnn._array_steps import FLOAT32, FLOAT64, in_order
from fastnn._known import Known, scratch_size
from fastnn.arrays import (
    Array,
    as_gradient,
    as_parameter,
    as_passed,
    check_fraction,
    check_name,
    check_number,
    check_positive_int,
    check_seed,
)
from fastnn.base import Layer
from fastnn.initializers import Initializer, as_initializer
from fastnn.kernels import book_layers, dropout, penalties

__all__ = ["Dense", "Dropout"]

_ndarray, _empty = np.ndarray, np.empty


@final
class Dense(Layer):
    """A fully connected layer, ``output = inputs @ weights + biases``.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Widths, at least 1.
    initializer, bias_initializer : str or Initializer
        What the parameters start from: a name, or an object of `fastnn.initializers`.
    weight_l1, weight_l2, bias_l1, bias_l2 : float
        Strengths of the penalties ``l1 * sum(abs(w)) + l2 * sum(w**2)``, at least 0. Their gradients,
        ``l1 * sign(w) + 2 * l2 * w`` with sign(0) = +1, are part of ``dweights`` and ``dbiases``.
    seed : int, optional
        Of this layer's first parameters, 0 to 2**63 - 1. Without one they come from fresh entropy, and are
        drawn anew from the seed of a model that the layer is put into, unless they were changed before.
    name : str, optional
        What the layer is called in ``model.parameters()``.

    Attributes
    ----------
    weights : numpy.ndarray
        Shape (n_inputs, n_outputs), float64 at first. A plain attribute: assign what you like, of that
        shape; a training `forward` casts it to the dtype of its inputs.
    biases : numpy.ndarray
        Shape (n_outputs,); likewise.
    dweights, dbiases : numpy.ndarray or None
        The gradients, of the same shapes, after `backward`.
    inputs, output, dinputs : numpy.ndarray or None
        What passed through last; see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.layers import Dense
    >>> dense = Dense(2, 1)
    >>> dense.weights, dense.biases = [[1.0], [2.0]], [0.5]
    >>> dense.forward(np.array([[1.0, 1.0]]))
    array([[3.5]])
    >>> dense.backward(np.array([[1.0]]))
    array([[1., 2.]])
    >>> dense.dbiases
    array([1.])
    """

    n_inputs: int
    n_outputs: int
    _known: Known | None = None

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        *,
        initializer: str | Initializer | Mapping[str, Any] = "glorot_uniform",
        bias_initializer: str | Initializer | Mapping[str, Any] = "zeros",
        weight_l1: float = 0.0,
        weight_l2: float = 0.0,
        bias_l1: float = 0.0,
        bias_l2: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        self.n_inputs = check_positive_int(n_inputs, "n_inputs")
        self.n_outputs = check_positive_int(n_outputs, "n_outputs")
        self.initializer = as_initializer(initializer, "initializer")
        self.bias_initializer = as_initializer(bias_initializer, "bias_initializer")
        self.weight_l1 = check_number(weight_l1, "weight_l1")
        self.weight_l2 = check_number(weight_l2, "weight_l2")
        self.bias_l1 = check_number(bias_l1, "bias_l1")
        self.bias_l2 = check_number(bias_l2, "bias_l2")
        self.seed = check_seed(seed)
        self.name = check_name(name)
        self.inputs = self.output = self.dinputs = None
        self.dweights: Array | None = None
        self.dbiases: Array | None = None
        # What the first parameters came from: drawing them again tells whether they have been changed since.
        self._origin = (secrets.randbits(63) if self.seed is None else self.seed, 0)
        self.weights, self.biases = self._draw(*self._origin)

    def _draw(self, seed: int, index: int) -> tuple[Array, Array]:
        weights = self.initializer((self.n_inputs, self.n_outputs), seed, 2 * index)
        return weights, self.bias_initializer(self.n_outputs, seed, 2 * index + 1)

    def initialize(self, seed: int, index: int) -> None:
        """Draw the parameters from a model's seed, unless the layer has its own or they were changed.

        Parameters
        ----------
        seed : int
            From 0 to 2**63 - 1.
        index : int
            The layer's place in the model, from 0.
        """
        if self.seed is not None:
            return
        for value, first in zip((self.weights, self.biases), self._draw(*self._origin), strict=True):
            # A cast by a training forward is no change of the user's.
            if not isinstance(value, np.ndarray) or not np.array_equal(value, first.astype(value.dtype)):
                return
        self.weights, self.biases = self._draw(seed, index)
        self._origin = (seed, index)

    def _ordered(self, dtype: np.dtype[Any] | None = None) -> tuple[Array, Array]:
        w, b, shape = self.weights, self.biases, (self.n_inputs, self.n_outputs)
        if dtype is not None and in_order(w, shape, dtype) and in_order(b, shape[1:], dtype):
            return w, b
        return as_parameter(w, shape, dtype, "weights"), as_parameter(b, shape[1:], dtype, "biases")

    def forward(self, inputs: Any, training: bool = True) -> Array:
        """Return ``inputs @ weights + biases``.

        Parameters
        ----------
        inputs : array_like
            Shape (samples, n_inputs); float32 and float64 keep their dtype, which is that of the output.
        training : bool
            If so, the layer's parameters take on that dtype; else they stay as they are.

        Returns
        -------
        numpy.ndarray
            Shape (samples, n_outputs), a new array.

        Raises
        ------
        TypeError, ValueError
            If `inputs` or a parameter holds anything but numbers or has a wrong shape; nothing is changed.
        """
        w, b, known = self.weights, self.biases, self._known
        if (
            known is not None
            and w is known.weights
            and b is known.biases
            and type(inputs) is _ndarray
            and inputs.dtype is known.dtype
            and inputs.shape == known.inputs
            and w.shape == known.shape
            and self.n_outputs == known.n_outputs
            and self.n_inputs == known.n_inputs
            and inputs.flags.carray
        ):
            y = _empty(known.outputs, known.dtype)
            scratch = _empty(known.room, known.dtype) if known.room else known.spare
            known.forward(inputs, w, b, y, scratch, 1)
            self.inputs, self.output = inputs, y
            return y
        x = as_passed(inputs, "inputs", self.n_inputs)
        w, b = self._ordered(x.dtype)
        y = np.empty((len(x), self.n_outputs), x.dtype)
        work = 2.0 * x.size * self.n_outputs
        n_workers = threads.workers(work)
        scratch = np.empty(scratch_size(*x.shape, self.n_outputs, x.dtype, n_workers), x.dtype)
        threads.call(book_layers.layer_forward, n_workers, x, w, b, y, scratch)
        if training:
            self.weights, self.biases = w, b
        self.inputs, self.output = x, y
        small = work < threads.SERIAL_WORK and w is self.weights and b is self.biases
        self._known = Known(x, w, b, y) if small else None
        return y

    def backward(self, dvalues: Any) -> Array:
        """Set ``dweights``, ``dbiases`` (penalties included) and ``dinputs``, and return the last.

        Parameters
        ----------
        dvalues : array_like
            The gradient with respect to the output, shape (samples, n_outputs); summed over the samples,
            not averaged: the loss has divided by their number.

        Raises
        ------
        RuntimeError
            If there was no `forward` yet.
        TypeError, ValueError
            If `dvalues` holds anything but numbers or has a wrong shape; nothing is changed.
        """
        x: Any = self.inputs
        w, b, known = self.weights, self.biases, self._known
        if (
            known is not None
            and known.backward is not None
            and w is known.weights
            and b is known.biases
            and type(x) is _ndarray
            and type(dvalues) is _ndarray
            and (dtype := known.dtype) is x.dtype
            and dvalues.dtype is dtype
            and x.shape == known.inputs
            and dvalues.shape == known.outputs
            and w.shape == known.shape
            and x.flags.carray
            and dvalues.flags.carray
        ):
            dw, db, dx = _empty(known.shape, dtype), _empty(known.n_outputs, dtype), _empty(known.inputs, dtype)
            scratch = _empty(known.room_back, dtype) if known.room_back else known.spare
            known.backward(x, dvalues, w, dw, db, dx, scratch, 1)
        else:
            x = as_passed(self._last(x), "inputs", self.n_inputs)
            w, b = self._ordered(x.dtype)
            dz = as_gradient(dvalues, (len(x), self.n_outputs), x.dtype)
            dw, db, dx = np.empty(w.shape, w.dtype), np.empty(b.shape, w.dtype), np.empty(x.shape, w.dtype)
            n_workers = threads.workers(2.0 * x.size * self.n_outputs)
            scratch = np.empty(scratch_size(*x.shape, self.n_outputs, x.dtype, n_workers), x.dtype)
            threads.call(book_layers.layer_backward, n_workers, x, dz, w, dw, db, dx, scratch)
            if known is not None:
                known.ready_to_go_back()
        if self.weight_l1 or self.weight_l2:
            _add_penalty(dw, w, self.weight_l1, self.weight_l2)
        if self.bias_l1 or self.bias_l2:
            _add_penalty(db, b, self.bias_l1, self.bias_l2)
        self.dweights, self.dbiases, self.dinputs = dw, db, dx
        self._made = w, b, dw, db
        return dx

    def parameters(self) -> dict[str, Array]:
        """Return ``{"weights": …, "biases": …}``, the layer's own arrays.

        Raises
        ------
        TypeError, ValueError
            If the user has assigned anything but numbers, or a wrong shape.
        """
        self.weights, self.biases = self._ordered()
        return {"weights": self.weights, "biases": self.biases}

    def gradients(self) -> dict[str, Array | None]:
        """Return ``{"weights": dweights, "biases": dbiases}``; None before `backward`."""
        return {"weights": self.dweights, "biases": self.dbiases}

    def _to_learn(self) -> tuple[tuple[str, Array, Array], ...] | None:
        if type(self) is not Dense:  # a subclass may have other ideas of what learns
            return None
        w, b, dw, db = self.weights, self.biases, self.dweights, self.dbiases
        dtype = FLOAT32 if type(w) is np.ndarray and w.dtype == FLOAT32 else FLOAT64
        of_weights, of_biases = (self.n_inputs, self.n_outputs), (self.n_outputs,)
        if (
            in_order(w, of_weights, dtype)
            and in_order(dw, of_weights, dtype)
            and in_order(b, of_biases, dtype)
            and in_order(db, of_biases, dtype)
        ):
            return ("weights", w, dw), ("biases", b, db)
        return None

    def penalty(self) -> float:
        """Return ``weight_l1 * sum(abs(weights)) + weight_l2 * sum(weights**2)``, plus the same of biases."""
        if not (self.weight_l1 or self.weight_l2 or self.bias_l1 or self.bias_l2):
            return 0.0
        weights, biases = self._ordered()
        out = np.empty(2)
        penalties.value(weights.reshape(-1), float(self.weight_l1), float(self.weight_l2), out[:1])
        penalties.value(biases, float(self.bias_l1), float(self.bias_l2), out[1:])
        return float(out[0] + out[1])


def _add_penalty(gradient: Array, value: Array, l1: float, l2: float) -> None:
    flat = gradient.reshape(-1)
    threads.run(penalties.add_gradient, 5.0 * flat.size, flat, value.reshape(-1), float(l1), float(l2))


@final
class Dropout(Layer):
    """While training, set each input to 0 with probability `rate` and divide the others by ``1 - rate``.

    The masks depend on the seed, the layer's place in the model and the number of the pass alone. Srivastava
    et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014, in its inverted form.

    Parameters
    ----------
    rate : float
        The share that is dropped, in [0, 1).
    seed : int, optional
        From 0 to 2**63 - 1. Without one the masks come from fresh entropy, or from the seed of the model that
        the layer is put into.
    name : str, optional
        What the layer is called.

    Attributes
    ----------
    passes : int
        How many training passes there were: the next mask's number.
    inputs, output, dinputs : numpy.ndarray or None
        What passed through last; see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.layers import Dropout
    >>> dropout = Dropout(0.5, seed=0)
    >>> dropout.forward(np.ones((1, 3)), training=False)
    array([[1., 1., 1.]])
    >>> sorted(set(dropout.forward(np.ones((10, 10))).ravel().tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None) -> None:
        self.rate = check_fraction(rate, "rate")
        self.seed = check_seed(seed)
        self.name = check_name(name)
        self.inputs = self.output = self.dinputs = None
        self.passes = 0
        self._key = secrets.randbits(63) if self.seed is None else self.seed
        self._stream = 0
        self._mask: tuple[int, int, int] | None = None

    def initialize(self, seed: int, index: int) -> None:
        """Take the masks from a model's seed, unless the layer has its own, and from the first one on.

        Parameters
        ----------
        seed : int
            From 0 to 2**63 - 1.
        index : int
            The layer's place in the model, from 0.
        """
        self.draw_from(seed if self.seed is None else self.seed, index, 0)

    def draw_from(self, seed: int, stream: int, passes: int) -> None:
        """Let the next training pass have mask number `passes` of a seed's stream, and so on from there."""
        self._key, self._stream, self.passes = seed, stream, passes

    def forward(self, inputs: Any, training: bool = True) -> Array:
        """Return the inputs with some dropped, or all of them if not `training`.

        Parameters
        ----------
        inputs : array_like
            Shape (samples, features).
        training : bool
            Whether to draw a mask.

        Raises
        ------
        TypeError, ValueError
            If `inputs` holds anything but numbers or is not 2-D; nothing is changed.
        """
        x = as_passed(inputs, "inputs")
        mask = (self._key, self._stream, self.passes) if training else None
        y = self._masked(dropout.dropout_forward, x, mask)
        self.inputs, self.output, self._mask = x, y, mask
        self.passes += int(training)
        return y

    def _masked(self, kernel: Any, x: Array, mask: tuple[int, int, int] | None) -> Array:
        if mask is None:
            return x.copy()
        y = np.empty_like(x)
        threads.run(kernel, 5.0 * x.size, x, y, float(self.rate), *mask)
        return y

    def backward(self, dvalues: Any) -> Array:
        """Return `dvalues` through the mask of the last `forward`.

        Raises
        ------
        RuntimeError
            If there was no `forward` yet.
        TypeError, ValueError
            If `dvalues` holds anything but numbers or has not the shape of the output.
        """
        y = as_passed(self._last(self.output), "output")
        self.dinputs = self._masked(dropout.dropout_backward, as_gradient(dvalues, y.shape, y.dtype), self._mask)
        return self.dinputs
