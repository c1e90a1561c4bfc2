"""Figures that people read, beside the loss that training follows."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.arrays import as_inputs, as_labels, as_targets, check_number

__all__ = ["accuracy", "regression_accuracy"]


def accuracy(outputs: Any, y: Any) -> float:
    """Return the share of samples whose largest output is that of their class.

    Parameters
    ----------
    outputs : array_like
        Logits or probabilities, shape (samples, classes). Of equal outputs the first counts; a row with NaN
        is wrong.
    y : array_like
        Class numbers from 0, shape (samples,) or (samples, 1), or one-hot rows.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not fit, there are no samples, or `y` holds no classes.

    Examples
    --------
    >>> from fastnn.metrics import accuracy
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    z = as_inputs(outputs, "outputs", finite=False)
    labels = as_labels(y, len(z), z.shape[1])
    right = (z.argmax(axis=1) == labels) & ~np.isnan(z).any(axis=1)
    return float(np.count_nonzero(right) / len(z))


def regression_accuracy(outputs: Any, y: Any, tolerance: float | None = None) -> float:
    """Return the share of outputs that are closer to `y` than `tolerance`.

    Parameters
    ----------
    outputs, y : array_like
        Shape (samples, outputs); `y` may be (samples,) if there is one output.
    tolerance : float, optional
        At least 0. Without one, a 250th of the standard deviation of `y`, as in "Neural Networks from
        Scratch". It is 0 where all of `y` is the same: nothing is closer than that, so pass one there.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not fit, or there are no samples.

    Examples
    --------
    >>> from fastnn.metrics import regression_accuracy
    >>> regression_accuracy([1.0, 2.5], [1.0, 2.0], tolerance=0.1)
    Traceback (most recent call last):
        ...
    ValueError: outputs must be 2-D (samples, features), got shape (2,): write outputs.reshape(-1, 1) ...
    >>> regression_accuracy([[1.0], [2.5]], [1.0, 2.0], tolerance=0.1)
    0.5
    """
    z = as_inputs(outputs, "outputs", finite=False)
    targets = as_targets(y, len(z), z.shape[1], z.dtype)
    limit = float(targets.std()) / 250.0 if tolerance is None else check_number(tolerance, "tolerance")
    return float(np.count_nonzero(abs(z - targets) < limit) / z.size)
