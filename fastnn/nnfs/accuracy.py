"""The book's accuracies: which share of the predictions is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.arrays import check_flag
from fastnn.nnfs._common import Part

__all__ = ["Accuracy", "Accuracy_Categorical", "Accuracy_Regression"]


class Accuracy(Part):
    """Base class: a subclass writes ``compare(predictions, y)``, which tells what is right.

    Attributes
    ----------
    accumulated_sum, accumulated_count : int
        Right ones and all that `calculate` has seen since `new_pass`; nothing at first.
    """

    accumulated_sum: Any = 0
    accumulated_count: int = 0

    def init(self, y: Any) -> None:
        """Learn what the subclass wants to know of all targets before training; nothing here."""

    def compare(self, predictions: Any, y: Any) -> Any:
        """Return an array that is true where a prediction is right."""
        raise NotImplementedError(f"{type(self).__name__} has no compare(): write one, true where right")

    def calculate(self, predictions: Any, y: Any) -> Any:
        """Return the share that is right, and add it to what has been accumulated.

        Parameters
        ----------
        predictions, y : array_like
            Of one shape, or class numbers and one-hot rows.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        comparisons = np.asarray(self.compare(predictions, y))
        right = np.sum(comparisons)
        self.accumulated_sum += right
        # All of them, not rows: with several outputs the book's share would go beyond 1.
        self.accumulated_count += comparisons.size
        return np.mean(comparisons)

    def calculate_accumulated(self) -> Any:
        """Return the share that is right of all since `new_pass`.

        Raises
        ------
        RuntimeError
            If there were none.
        """
        if not self.accumulated_count:
            raise RuntimeError("no accuracy has been accumulated: call calculate() first")
        return self.accumulated_sum / self.accumulated_count

    def new_pass(self) -> None:
        """Forget what has been accumulated."""
        self.accumulated_sum = 0
        self.accumulated_count = 0


def _check_shapes(predictions: Any, y: Any) -> None:
    if np.shape(predictions) != np.shape(y):
        remedy = "pass targets of that shape"
        if np.ndim(y) == 1 and np.shape(predictions) == (len(y), 1):
            remedy = "write y = y.reshape(-1, 1)"
        raise ValueError(
            f"y must have the shape {np.shape(predictions)} of the predictions, got {np.shape(y)}: {remedy}"
        )


class Accuracy_Categorical(Accuracy):
    """The share of right classes.

    Parameters
    ----------
    binary : bool
        Whether each output is a yes or no of its own, with targets of the outputs' shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Accuracy_Categorical
    >>> print(Accuracy_Categorical().calculate(np.array([0, 1]), np.array([0, 2])))
    0.5
    """

    binary = False

    def __init__(self, *, binary: bool = False) -> None:
        self.binary = check_flag(binary, "binary")

    def compare(self, predictions: Any, y: Any) -> Any:
        """Return where the predictions are right; one-hot rows count as the class of their largest entry."""
        if not self.binary and np.ndim(y) == 2:
            if np.shape(predictions) == np.shape(y):
                raise ValueError(
                    f"predictions must be one class number for each sample, got shape {np.shape(predictions)}, that of "
                    "y: pass binary=True to Accuracy_Categorical if each output is a yes or no"
                )
            y = np.argmax(y, axis=1)
        _check_shapes(predictions, y)
        return predictions == y


class Accuracy_Regression(Accuracy):
    """The share of values closer to the truth than ``np.std(y) / 250``.

    Attributes
    ----------
    precision : float or None
        How close; None before `init`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Accuracy_Regression
    >>> accuracy, y = Accuracy_Regression(), np.array([[0.0], [500.0]])
    >>> accuracy.init(y)
    >>> print(accuracy.precision, accuracy.calculate(y + [[0.5], [2.0]], y))
    1.0 0.5
    """

    precision: Any = None

    def __init__(self) -> None:
        self.precision = None

    def init(self, y: Any, reinit: bool = False) -> None:
        """Set ``precision`` from the targets, once, or again if `reinit`."""
        if self.precision is None or reinit:
            self.precision = np.std(y) / 250

    def compare(self, predictions: Any, y: Any) -> Any:
        """Return where the predictions are close enough."""
        if self.precision is None:
            raise RuntimeError("Accuracy_Regression has no precision yet: call init(y) first")
        _check_shapes(predictions, y)
        return np.absolute(predictions - y) < self.precision
