"""Activations as layers of their own: ReLU, sigmoid, tanh, linear and softmax.

Each keeps the dtype of its inputs (float32 or float64; anything else becomes float32), lets NaN and infinity
through, and has a backward that is right after any loss. In a `Sequential` those that follow a `Dense` cost
nothing of their own: the compiled loop applies them at the end of the product.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from fastnn import threads
from fastnn._known import KnownActivation
from fastnn.arrays import Array, as_gradient, as_passed
from fastnn.base import Layer
from fastnn.kernels import activations, gemm

__all__ = ["Activation", "Linear", "ReLU", "Sigmoid", "Softmax", "Tanh"]

ndarray, empty = np.ndarray, np.empty
# Floating-point operations per element, to decide whether threads pay; exp counts as about twenty.
_WORK = (1.0, 1.0, 25.0, 25.0)


class Activation(Layer):
    """Base class: a function of each element by itself.

    Attributes
    ----------
    code : int
        The number by which kernels know it.
    """

    code: ClassVar[int]
    _known: KnownActivation | None = None

    def forward(self, inputs: Any, training: bool = True) -> Array:
        """Return the activation of `inputs`, shape (samples, features); `training` makes no difference.

        Raises
        ------
        TypeError, ValueError
            If `inputs` holds anything but numbers or is not 2-D.
        """
        known = self._known
        if (
            known is not None
            and type(inputs) is ndarray
            and inputs.dtype is known.dtype
            and inputs.shape == known.shape
            and inputs.flags.carray
        ):
            y = empty(known.shape, known.dtype)
            known.forward(inputs, y, self.code, 1)
            self.inputs, self.output = inputs, y
            return y
        x = as_passed(inputs, "inputs")
        y = np.empty(x.shape, x.dtype)
        work = x.size * _WORK[self.code]
        threads.run(activations.activation_forward, work, x, y, self.code)
        self.inputs, self.output = x, y
        # Small ones only: for the others a look at what they are is nothing.
        self._known = KnownActivation(x) if work < threads.SERIAL_WORK else None
        return y

    def backward(self, dvalues: Any) -> Array:
        """Return `dvalues` times the derivative at the last inputs.

        Raises
        ------
        RuntimeError
            If there was no `forward` yet.
        TypeError, ValueError
            If `dvalues` holds anything but numbers or has not the shape of the output.
        """
        y: Any = self.output
        known = self._known
        if (
            known is not None
            and type(y) is ndarray
            and type(dvalues) is ndarray
            and y.dtype is (dtype := known.dtype)
            and dvalues.dtype is dtype
            and y.shape == (shape := known.shape)
            and dvalues.shape == shape
            and y.flags.carray
            and dvalues.flags.carray
        ):
            dx = empty(shape, dtype)
            known.backward(dvalues, y, dx, self.code, 1)
            self.dinputs = dx
            return dx
        y = as_passed(self._last(y), "output")
        dy = as_gradient(dvalues, y.shape, y.dtype)
        dx = np.empty(y.shape, y.dtype)
        threads.run(activations.activation_backward, 3.0 * y.size, dy, y, dx, self.code)
        self.dinputs = dx
        return dx


@final
class Linear(Activation):
    """The identity, ``y = x``.

    Examples
    --------
    >>> from fastnn.activations import Linear
    >>> Linear().forward([[-1.0, 2.0]])
    array([[-1.,  2.]])
    """

    code = gemm.LINEAR


@final
class ReLU(Activation):
    """The rectifier, ``y = max(0, x)``; its derivative at 0 is 0.

    Examples
    --------
    >>> from fastnn.activations import ReLU
    >>> ReLU().forward([[-1.0, 2.0]])
    array([[0., 2.]])
    """

    code = gemm.RELU


@final
class Sigmoid(Activation):
    """The logistic function, ``y = 1 / (1 + exp(-x))``.

    Examples
    --------
    >>> from fastnn.activations import Sigmoid
    >>> Sigmoid().forward([[0.0]])
    array([[0.5]])
    """

    code = gemm.SIGMOID


@final
class Tanh(Activation):
    """The hyperbolic tangent, ``y = tanh(x)``.

    Examples
    --------
    >>> from fastnn.activations import Tanh
    >>> Tanh().forward([[0.0]])
    array([[0.]])
    """

    code = gemm.TANH


@final
class Softmax(Layer):
    """Probabilities of classes, ``p = exp(z - max z) / sum(exp(z - max z))`` for each row.

    `SoftmaxCrossEntropy` takes the numbers before it (logits): put no softmax in front of that loss.

    Examples
    --------
    >>> from fastnn.activations import Softmax
    >>> Softmax().forward([[1.0, 1.0]])
    array([[0.5, 0.5]])
    """

    def forward(self, inputs: Any, training: bool = True) -> Array:
        """Return the probabilities of `inputs`, shape (samples, classes); `training` makes no difference.

        Raises
        ------
        TypeError, ValueError
            If `inputs` holds anything but numbers or is not 2-D.
        """
        z = as_passed(inputs, "inputs")
        p = np.empty_like(z)
        threads.run(activations.softmax_forward, 25.0 * z.size, z, p)
        self.inputs, self.output = z, p
        return p

    def backward(self, dvalues: Any) -> Array:
        """Return ``p * (dvalues - sum(dvalues * p))`` for each row: the Jacobian times `dvalues`.

        Raises
        ------
        RuntimeError
            If there was no `forward` yet.
        TypeError, ValueError
            If `dvalues` holds anything but numbers or has not the shape of the output.
        """
        p = as_passed(self._last(self.output), "output")
        dp = as_gradient(dvalues, p.shape, p.dtype)
        dz = np.empty_like(p)
        threads.run(activations.softmax_backward, 4.0 * p.size, dp, p, dz)
        self.dinputs = dz
        return dz
