"""Softmax and sigmoid joined with the losses that follow them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import threads
from fastnn.arrays import Array
from fastnn.kernels import book, book_labels
from fastnn.kernels.book_labels import entries
from fastnn.nnfs._common import Part, kernel_type, labels_of, refuse_label, rows_of, targets_of
from fastnn.nnfs._originals import keep, untouched
from fastnn.nnfs.activations import Activation_Sigmoid, Activation_Softmax
from fastnn.nnfs.losses import Loss_BinaryCrossentropy, Loss_CategoricalCrossentropy

__all__ = ["Activation_Sigmoid_Loss_BinaryCrossentropy", "Activation_Softmax_Loss_CategoricalCrossentropy"]

keep(Activation_Softmax, Loss_CategoricalCrossentropy)
ndarray, empty = np.ndarray, np.empty
_SMALL = 1e4  # outputs for which a second thread does not pay


class Activation_Softmax_Loss_CategoricalCrossentropy(Part):
    """Softmax and categorical cross-entropy in one, whose joint gradient is simple.

    Attributes
    ----------
    activation : Activation_Softmax
    loss : Loss_CategoricalCrossentropy
        For ``loss.regularization_loss(layer)``. `forward` goes through both if you put one of your own in their
        place; `backward` is the same whatever they are, as in the book.
    output : numpy.ndarray
        The probabilities of the last `forward`.
    dinputs : numpy.ndarray
        What the last `backward` has computed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Activation_Softmax_Loss_CategoricalCrossentropy
    >>> both = Activation_Softmax_Loss_CategoricalCrossentropy()
    >>> print(round(both.forward(np.array([[0.0, 0.0]]), np.array([1])), 4))
    0.6931
    >>> both.backward(both.output, np.array([1]))
    >>> both.dinputs
    array([[ 0.5, -0.5]])
    """

    output: Array
    dinputs: Array
    _known: Any = None  # dtypes and shapes that were met last, and compiled code for them
    _answer: Any = None
    _scratch: Any = None

    def __init__(self) -> None:
        self.activation = Activation_Softmax()
        self.loss = Loss_CategoricalCrossentropy()

    def forward(self, inputs: Any, y_true: Any) -> Any:
        """Set ``output`` to the probabilities and return the mean loss.

        Parameters
        ----------
        inputs : array_like
            Shape (samples, classes): what the last dense layer gave.
        y_true : array_like
            Class numbers, shape (samples,), or one-hot rows, shape (samples, classes).

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit or a class number is out of range; nothing is changed.
        """
        x, labels, known = inputs, y_true, self._known
        activation = self.activation
        if not (
            known is not None
            and activation is known[7]
            and self.loss is known[8]
            and type(x) is ndarray
            and type(labels) is ndarray
            and (dtype := x.dtype) is known[0]
            and x.shape == known[1]
            and labels.shape == known[2]
            and (labels is known[4] or (labels.dtype is known[3] and labels.flags.carray))
            and x.flags.carray
        ):
            if not self._ours():
                activation.forward(inputs)
                self.output = activation.output
                return self.loss.calculate(self.output, y_true)
            x, labels = self._prepare(inputs, y_true, "inputs")
            dtype = x.dtype
        (m, n), answer, scratch = x.shape, self._answer, self._scratch
        output = empty((m, n), dtype)
        if m * n < _SMALL:
            self._known[5](x, labels, output, answer, scratch, 1)
        else:
            threads.run(book.cross_entropy, 30.0 * m * n, x, labels, output, answer, scratch)
        if answer.item(1) >= 0.0:
            refuse_label(labels, n)
        activation.inputs = inputs
        activation.output = self.output = output
        if labels is not y_true and np.ndim(y_true) == 2:
            # The book's loss of rows that are not quite one-hot is a sum over them.
            return self.loss.calculate(output, y_true)
        return answer[0]

    def _ours(self) -> bool:
        """Tell whether activation and loss are the book's own, as far as a file of the book has any."""
        activation, loss = getattr(self, "activation", None), getattr(self, "loss", None)
        return untouched(activation, (Activation_Softmax,)) and untouched(loss, (Loss_CategoricalCrossentropy,))

    def _prepare(self, values: Any, y_true: Any, name: str) -> tuple[Array, Array]:
        """Return values and labels as kernels read them, and have room for what the kernels write."""
        x = rows_of(values, name, None, kernel_type(np.asarray(values).dtype))
        m, n = x.shape
        labels = labels_of(y_true, m, n)
        self._answer = np.empty(2, x.dtype)
        self._scratch = np.empty(book.probability_scratch(threads.max_workers(), m), x.dtype)
        parts = (self.activation, self.loss) if self._ours() else (None, None)
        self._known = (x.dtype, (m, n), (m,), labels.dtype, labels, *entries(x.dtype, labels.dtype), *parts)
        return x, labels

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` to ``(dvalues - onehot(y_true)) / samples``.

        Parameters
        ----------
        dvalues : array_like
            The probabilities: ``output``.
        y_true : array_like
            As in `forward`; one-hot rows count as the class of their largest entry.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit or a class number is out of range; nothing is changed.
        """
        labels, known = y_true, self._known
        if not (
            known is not None
            and type(dvalues) is ndarray
            and type(labels) is ndarray
            and (dtype := dvalues.dtype) is known[0]
            and dvalues.shape == known[1]
            and labels.shape == known[2]
            and (labels is known[4] or (labels.dtype is known[3] and labels.flags.carray))
            and dvalues.flags.carray
        ):
            dvalues, labels = self._prepare(dvalues, y_true, "dvalues")
            dtype = dvalues.dtype
        answer = self._answer
        dinputs = empty(dvalues.shape, dtype)
        if dvalues.size < _SMALL:
            self._known[6](dvalues, labels, dinputs, answer, 1)
        else:
            threads.run(book_labels.cross_entropy_gradient, 3.0 * dvalues.size, dvalues, labels, dinputs, answer)
        if answer.item(1) >= 0.0:
            refuse_label(labels, dvalues.shape[1])
        self.dinputs = dinputs


class Activation_Sigmoid_Loss_BinaryCrossentropy(Part):
    """Sigmoid and binary cross-entropy in one, whose joint gradient is simple and never saturates.

    Attributes
    ----------
    activation : Activation_Sigmoid
    loss : Loss_BinaryCrossentropy
    output, dinputs : numpy.ndarray
        The probabilities of the last `forward`, the gradient of the last `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Activation_Sigmoid_Loss_BinaryCrossentropy
    >>> both = Activation_Sigmoid_Loss_BinaryCrossentropy()
    >>> print(round(both.forward(np.array([[0.0]]), np.array([[1]])), 4))
    0.6931
    >>> both.backward(both.output, np.array([[1]]))
    >>> both.dinputs
    array([[-0.5]])
    """

    output: Array
    dinputs: Array

    def __init__(self) -> None:
        self.activation = Activation_Sigmoid()
        self.loss = Loss_BinaryCrossentropy()

    def forward(self, inputs: Any, y_true: Any) -> Any:
        """Set ``output`` to the probabilities and return the mean loss.

        Parameters
        ----------
        inputs, y_true : array_like
            Both of the shape (samples, outputs).
        """
        self.activation.forward(inputs)
        loss = self.loss.calculate(self.activation.output, y_true)
        self.output = self.activation.output
        return loss

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` to ``(dvalues - y_true) / outputs / samples``; `dvalues` is ``output``."""
        p = rows_of(dvalues, "dvalues", None, kernel_type(np.asarray(dvalues).dtype))
        self.dinputs = (p - targets_of(y_true, p.shape, p.dtype)) / p.dtype.type(max(p.size, 1))
