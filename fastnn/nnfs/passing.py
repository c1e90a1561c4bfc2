"""The book's layers without parameters: `Layer_Dropout` and `Layer_Input`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.arrays import Array, check_number
from fastnn.nnfs._common import Part

__all__ = ["Layer_Dropout", "Layer_Input"]


class Layer_Dropout(Part):
    """While training, set each input to 0 with probability `rate` and divide the others by ``1 - rate``.

    Parameters
    ----------
    rate : float
        The share that is dropped, in [0, 1).

    Attributes
    ----------
    rate : float
        The share that is kept, ``1 - rate`` of the argument, as in the book.
    binary_mask : numpy.ndarray
        ``np.random.binomial(1, rate, size=inputs.shape) / rate`` of the last training pass, float64.
    inputs, output, dinputs : numpy.ndarray
        What passed through last.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Layer_Dropout
    >>> dropout = Layer_Dropout(0.5)
    >>> dropout.forward(np.ones((1, 3)), training=False)
    >>> dropout.output
    array([[1., 1., 1.]])
    """

    prev: Any
    next: Any
    inputs: Any
    output: Array
    binary_mask: Array
    dinputs: Array

    def __init__(self, rate: float) -> None:
        check_number(rate, "rate", 0.0, 1.0, open_high=True)
        self.rate = 1 - rate

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output``: the inputs through a new mask, or a copy of them if not `training`.

        Parameters
        ----------
        inputs : array_like
            Of any shape.
        training : bool
            Whether to draw a mask, from NumPy's global generator.
        """
        self.inputs = inputs
        if not training:
            self.output = np.array(inputs)
            return
        self.binary_mask = np.random.binomial(1, self.rate, size=np.shape(inputs)) / self.rate
        self.output = inputs * self.binary_mask

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` to `dvalues` through the mask of the last training pass."""
        self.dinputs = dvalues * self.binary_mask


class Layer_Input(Part):
    """The model's entrance: what comes in goes out.

    Examples
    --------
    >>> from fastnn.nnfs import Layer_Input
    >>> layer = Layer_Input()
    >>> layer.forward([[1.0]], training=False)
    >>> layer.output
    [[1.0]]
    """

    prev: Any
    next: Any
    output: Any

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` to the inputs themselves."""
        self.output = inputs
