"""The book's activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import threads
from fastnn.arrays import Array
from fastnn.kernels import activations, book, gemm
from fastnn.nnfs._common import F32, F64, Part, kernel_type, rows_of

__all__ = [
    "Activation_Linear",
    "Activation_ReLU",
    "Activation_Sigmoid",
    "Activation_Softmax",
]

ndarray, empty = np.ndarray, np.empty
_entries = activations.activation_entries
_softmax = book.softmax.serial


class _Activation(Part):
    """What all activations have: `forward`, `backward`, `predictions`."""

    prev: Any
    next: Any
    inputs: Any
    output: Any
    dinputs: Any

    def predictions(self, outputs: Any) -> Any:
        """Return what the outputs predict: the outputs themselves."""
        return outputs


class Activation_ReLU(_Activation):
    """The rectifier, ``output = max(0, inputs)``; its derivative at 0 is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Activation_ReLU
    >>> relu = Activation_ReLU()
    >>> relu.forward(np.array([[-1.0, 2.0]]))
    >>> relu.output
    array([[0., 2.]])
    """

    _known: tuple[Any, ...] | None = None  # dtype, shape and compiled code of the last `forward`

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output``, a new array; `inputs` may have any shape."""
        known = self._known
        if (
            known is not None
            and type(inputs) is ndarray
            and (dtype := inputs.dtype) is known[0]
            and inputs.shape == known[1]
            and inputs.flags.carray
        ):
            # What the last pass left is let go of first: the new array may lie where that is warm in the cache.
            self.inputs = self.output = None
            output = empty(known[1], dtype)
            known[2](inputs, output, gemm.RELU, 1)
        elif (
            type(inputs) is ndarray
            and ((dtype := inputs.dtype) is F64 or dtype is F32)
            and inputs.ndim == 2
            and inputs.flags.carray
        ):
            output = empty(inputs.shape, dtype)
            threads.run(activations.activation_forward, 1.0 * inputs.size, inputs, output, gemm.RELU)
            small = inputs.size < threads.SERIAL_WORK
            self._known = (dtype, inputs.shape, *_entries(dtype)) if small else None
        else:
            output = np.maximum(0, inputs)
        self.inputs = inputs
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs``: `dvalues`, but 0 where the input was not positive."""
        x, known = self.inputs, self._known
        if (
            known is not None
            and type(x) is ndarray
            and type(dvalues) is ndarray
            and x.dtype is (dtype := known[0])
            and dvalues.dtype is dtype
            and x.shape == (shape := known[1])
            and dvalues.shape == shape
            and x.flags.carray
            and dvalues.flags.carray
        ):
            self.dinputs = None  # its memory is likely to be given to the new one, warm
            dinputs = empty(shape, dtype)
            known[3](dvalues, x, dinputs, gemm.RELU, 1)
        elif (
            type(x) is ndarray
            and type(dvalues) is ndarray
            and ((dtype := x.dtype) is F64 or dtype is F32)
            and dvalues.dtype is dtype
            and x.ndim == 2
            and x.flags.carray
            and dvalues.flags.carray
            and dvalues.shape == x.shape
        ):
            dinputs = empty(x.shape, dtype)
            threads.run(activations.activation_backward, 1.0 * x.size, dvalues, x, dinputs, gemm.RELU)
        else:
            dinputs = np.array(dvalues)
            dinputs[np.asarray(x) <= 0] = 0
        self.dinputs = dinputs


class Activation_Sigmoid(_Activation):
    """The logistic function, ``output = 1 / (1 + exp(-inputs))``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Activation_Sigmoid
    >>> sigmoid = Activation_Sigmoid()
    >>> sigmoid.forward(np.array([[0.0, 1.0]]))
    >>> sigmoid.predictions(sigmoid.output)
    array([[0, 1]])
    """

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output``, a new array; `inputs` may have any shape."""
        x = np.asarray(inputs)
        if type(x) is not ndarray or (x.dtype is not F64 and x.dtype is not F32) or x.ndim != 2 or not x.flags.carray:
            x = np.array(x, dtype=kernel_type(x.dtype), order="C", subok=False)
        output = np.empty(x.shape, x.dtype)
        if x.ndim != 2:
            activations.activation_forward.serial(x.reshape(1, -1), output.reshape(1, -1), gemm.SIGMOID, 1)
        else:
            threads.run(activations.activation_forward, 20.0 * x.size, x, output, gemm.SIGMOID)
        self.inputs = inputs
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` to ``dvalues * (1 - output) * output``."""
        y, d = self.output, dvalues
        if (
            type(y) is ndarray
            and type(d) is ndarray
            and (y.dtype is F64 or y.dtype is F32)
            and d.dtype is y.dtype
            and y.ndim == 2
            and d.shape == y.shape
            and y.flags.carray
            and d.flags.carray
        ):
            dinputs = np.empty(y.shape, y.dtype)
            threads.run(activations.activation_backward, 4.0 * y.size, d, y, dinputs, gemm.SIGMOID)
            self.dinputs = dinputs
        else:
            self.dinputs = dvalues * (1 - y) * y

    def predictions(self, outputs: Any) -> Array:
        """Return 1 where an output is above one half, else 0."""
        return (outputs > 0.5) * 1


class Activation_Linear(_Activation):
    """The identity: ``output`` is `inputs`, the same array.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Activation_Linear
    >>> linear = Activation_Linear()
    >>> linear.forward(np.array([[-1.0]]))
    >>> linear.output
    array([[-1.]])
    """

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output``."""
        self.inputs = inputs
        self.output = inputs

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` to a copy of `dvalues`."""
        self.dinputs = dvalues.copy()


class Activation_Softmax(_Activation):
    """Probabilities of classes, ``exp(inputs - max) / sum(exp(inputs - max))`` for each row.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Activation_Softmax
    >>> softmax = Activation_Softmax()
    >>> softmax.forward(np.array([[1.0, 1.0]]))
    >>> softmax.output
    array([[0.5, 0.5]])
    """

    _scratch: Array | None = None

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output``, a new array; `inputs` has the shape (samples, classes)."""
        x = inputs
        if not (type(x) is ndarray and (x.dtype is F64 or x.dtype is F32) and x.ndim == 2 and x.flags.carray):
            x = rows_of(inputs, "inputs", None, kernel_type(np.asarray(inputs).dtype))
        output = np.empty(x.shape, x.dtype)
        work = 25.0 * x.size
        scratch = _room(self, x.dtype)
        if work < threads.SERIAL_WORK:
            _softmax(x, output, scratch, 1)
        else:
            threads.run(book.softmax, work, x, output, scratch)
        self.inputs = inputs
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs``: each row's Jacobian times its row of `dvalues`, ``p * (d - sum(d * p))``."""
        p = rows_of(self.output, "output", None, kernel_type(np.asarray(self.output).dtype))
        d = rows_of(dvalues, "dvalues", None, p.dtype)
        if d.shape != p.shape:
            raise ValueError(
                f"dvalues must have the shape {p.shape} of the output, got {d.shape}: pass the gradient of it"
            )
        self.dinputs = np.empty(p.shape, p.dtype)
        threads.run(activations.softmax_backward, 4.0 * p.size, d, p, self.dinputs)

    def predictions(self, outputs: Any) -> Array:
        """Return the class of the largest output of each row."""
        return np.argmax(outputs, axis=1)


def _room(owner: Any, dtype: np.dtype[Any]) -> Array:
    scratch = owner._scratch
    if scratch is None or scratch.dtype is not dtype:
        scratch = owner._scratch = np.empty(book.probability_scratch(threads.max_workers()), dtype)
    return scratch
