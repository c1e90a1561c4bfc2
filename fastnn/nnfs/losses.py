"""The book's losses, on probabilities and on values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastnn import threads
from fastnn.arrays import Array, check_flag
from fastnn.kernels import book_labels, book_values, losses, penalties
from fastnn.nnfs._common import F32, F64, Part, kernel_type, labels_of, refuse_label, rows_of, targets_of

__all__ = [
    "Loss",
    "Loss_BinaryCrossentropy",
    "Loss_CategoricalCrossentropy",
    "Loss_MeanAbsoluteError",
    "Loss_MeanSquaredError",
]

_FACTORS = (
    ("weights", "weight_regularizer_l1", "weight_regularizer_l2"),
    ("biases", "bias_regularizer_l1", "bias_regularizer_l2"),
)


class Loss(Part):
    """Base class: a subclass writes ``forward(y_pred, y_true)``, the loss of each sample, and `backward`.

    Attributes
    ----------
    trainable_layers : list
        The layers that `regularization_loss` adds up; set by `remember_trainable_layers`.
    accumulated_sum, accumulated_count : float, int
        What `calculate` has seen since `new_pass`; nothing at first.
    dinputs : numpy.ndarray
        What the last `backward` has computed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Loss
    >>> class Loss_Cubic(Loss):
    ...     def forward(self, y_pred, y_true):
    ...         return np.mean(np.abs(y_pred - y_true) ** 3, axis=-1)
    >>> print(Loss_Cubic().calculate(np.array([[1.0]]), np.array([[3.0]])))
    8.0
    """

    prev: Any
    next: Any
    dinputs: Any
    trainable_layers: Sequence[Any] = ()
    accumulated_sum: Any = 0
    accumulated_count: int = 0

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        """Return the loss of each sample."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(): write one, the loss of each sample")

    def regularization_loss(self, layer: Any = None) -> Any:
        """Return the penalties ``l1 * sum(abs(w)) + l2 * sum(w**2)`` of weights and biases.

        Parameters
        ----------
        layer : object, optional
            The layer to take; without it all that `remember_trainable_layers` was given.
        """
        total: Any = 0
        for each in self.trainable_layers if layer is None else (layer,):
            for name, first, second in _FACTORS:
                l1, l2 = getattr(each, first, 0), getattr(each, second, 0)
                if l1 > 0 or l2 > 0:
                    total = total + _penalty(getattr(each, name), max(l1, 0), max(l2, 0))
        return total

    def remember_trainable_layers(self, trainable_layers: Sequence[Any]) -> None:
        """Keep the layers that `regularization_loss` adds up."""
        self.trainable_layers = trainable_layers

    def calculate(self, output: Any, y: Any, *, include_regularization: bool = False) -> Any:
        """Return the mean loss, and add it to what has been accumulated.

        Parameters
        ----------
        output : array_like
            What the network gave, shape (samples, outputs).
        y : array_like
            What is true of each sample.
        include_regularization : bool
            Whether to return ``(mean loss, regularization_loss())``.

        Raises
        ------
        TypeError, ValueError
            If the two do not fit each other; nothing is accumulated then.
        """
        rows = self.forward(output, y)
        if type(rows) is np.ndarray and (rows.dtype is F64 or rows.dtype is F32) and rows.ndim == 1 and len(rows):
            total: Any = losses.sum_rows.serial(rows if rows.flags.carray else rows.copy(), len(rows))
            data_loss = rows.dtype.type(total / len(rows))
        else:
            total, data_loss = np.sum(rows), np.mean(rows)
        self.accumulated_sum += total
        self.accumulated_count += len(rows)
        return (data_loss, self.regularization_loss()) if include_regularization else data_loss

    def calculate_accumulated(self, *, include_regularization: bool = False) -> Any:
        """Return the mean loss of all samples since `new_pass`, with the regularisation if so wished.

        Raises
        ------
        RuntimeError
            If there were none.
        """
        if not self.accumulated_count:
            raise RuntimeError("no loss has been accumulated: call calculate() first")
        data_loss = self.accumulated_sum / self.accumulated_count
        return (data_loss, self.regularization_loss()) if include_regularization else data_loss

    def new_pass(self) -> None:
        """Forget what has been accumulated."""
        self.accumulated_sum = 0
        self.accumulated_count = 0


def _penalty(param: Any, l1: float, l2: float) -> Any:
    values = np.asarray(param)
    dtype = kernel_type(values.dtype)
    out = np.empty(1)
    penalties.value.serial(np.ascontiguousarray(values, dtype).reshape(-1), float(l1), float(l2), out)
    return dtype.type(out[0])


class Loss_CategoricalCrossentropy(Loss):
    """``-log(p[class])`` of probabilities, which are clipped to [1e-7, 1 - 1e-7].

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Loss_CategoricalCrossentropy
    >>> loss = Loss_CategoricalCrossentropy()
    >>> print(round(loss.calculate(np.array([[0.5, 0.5]]), np.array([0])), 4))
    0.6931
    """

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Return the loss of each sample, shape (samples,).

        Parameters
        ----------
        y_pred : array_like
            Probabilities, shape (samples, classes).
        y_true : array_like
            Class numbers, shape (samples,), or one-hot rows, shape (samples, classes).

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit or a class number is out of range.
        """
        p, labels = self._checked(y_pred, y_true, "y_pred")
        if np.ndim(y_true) == 2:
            clipped = np.clip(p, 1e-7, 1 - 1e-7)
            return -np.log(np.sum(clipped * np.asarray(y_true), axis=1))
        rows, answer = np.empty(len(p), p.dtype), np.empty(2, p.dtype)
        book_labels.clipped_log_loss.serial(p, labels, rows, answer, 1)
        if answer[1] >= 0:
            refuse_label(labels, p.shape[1])
        return rows

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` to ``-onehot / dvalues / samples``.

        Parameters
        ----------
        dvalues : array_like
            The probabilities.
        y_true : array_like
            As in `forward`.
        """
        p, labels = self._checked(dvalues, y_true, "dvalues")
        if np.ndim(y_true) == 2:
            self.dinputs = -np.asarray(y_true, p.dtype) / p / len(p)
            return
        d, answer = np.empty(p.shape, p.dtype), np.empty(2, p.dtype)
        book_labels.log_loss_gradient.serial(p, labels, d, answer, 1)
        if answer[1] >= 0:
            refuse_label(labels, p.shape[1])
        self.dinputs = d

    @staticmethod
    def _checked(values: Any, y_true: Any, name: str) -> tuple[Array, Array]:
        p = rows_of(values, name, None, kernel_type(np.asarray(values).dtype))
        return p, labels_of(y_true, *p.shape)


class _ValueLoss(Loss):
    """What the losses with targets of the outputs' shape have in common."""

    _forward_kind: ClassVar[int]

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Return the loss of each sample, the mean over its outputs, shape (samples,).

        Parameters
        ----------
        y_pred, y_true : array_like
            Both of the shape (samples, outputs); or both of the shape (outputs,), one sample.

        Raises
        ------
        TypeError, ValueError
            If they are not of one shape: nothing is broadcast.
        """
        p, t = self._checked(y_pred, y_true, "y_pred")
        rows = np.empty(len(p), p.dtype)
        threads.run(book_values.value_loss, 10.0 * p.size, self._forward_kind, p, t, rows)
        return rows

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs``, the gradient of the mean loss.

        Parameters
        ----------
        dvalues, y_true : array_like
            The outputs and their targets, of the shapes that `forward` takes.
        """
        p, t = self._checked(dvalues, y_true, "dvalues")
        d = np.empty(p.shape, p.dtype)
        threads.run(book_values.value_gradient, 10.0 * p.size, self._gradient_kind(), p, t, d)
        self.dinputs = d[0] if p is not dvalues and np.ndim(dvalues) == np.ndim(y_true) == 1 else d

    def _gradient_kind(self) -> int:
        return self._forward_kind

    @staticmethod
    def _checked(values: Any, y_true: Any, name: str) -> tuple[Array, Array]:
        p = rows_of(values, name, None, kernel_type(np.asarray(values).dtype))
        if p is not values and np.ndim(values) == 1 and np.shape(y_true) == np.shape(values):
            y_true = np.reshape(y_true, (1, -1))
        return p, targets_of(y_true, p.shape, p.dtype)


class Loss_BinaryCrossentropy(_ValueLoss):
    """``-(y log p + (1 - y) log(1 - p))`` of probabilities, which are clipped to [1e-7, 1 - 1e-7].

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Loss_BinaryCrossentropy
    >>> print(round(Loss_BinaryCrossentropy().calculate(np.array([[0.5]]), np.array([[1]])), 4))
    0.6931
    """

    _forward_kind = book_values.BINARY_CROSS_ENTROPY


class Loss_MeanSquaredError(_ValueLoss):
    """``(y - p)**2``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Loss_MeanSquaredError
    >>> print(Loss_MeanSquaredError().calculate(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]])))
    2.0
    """

    _forward_kind = book_values.SQUARED_ERROR


class Loss_MeanAbsoluteError(_ValueLoss):
    """``abs(y - p)``.

    Parameters
    ----------
    book_exact : bool
        Whether to have the gradient that the book prints, which has the wrong sign and makes the loss grow.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Loss_MeanAbsoluteError
    >>> loss = Loss_MeanAbsoluteError()
    >>> loss.backward(np.array([[3.0]]), np.array([[1.0]]))
    >>> loss.dinputs
    array([[1.]])
    """

    _forward_kind = book_values.ABSOLUTE_ERROR
    book_exact = False

    def __init__(self, book_exact: bool = False) -> None:
        self.book_exact = check_flag(book_exact, "book_exact")

    def _gradient_kind(self) -> int:
        return book_values.ABSOLUTE_ERROR_REVERSED if self.book_exact else book_values.ABSOLUTE_ERROR
