"""The door's checks of arrays: whatever a user passes becomes what kernels read, or a clear error.

Kernels take C-contiguous, aligned, native-endian, writable arrays of float32 or float64 and check nothing.
Everything they get passes here first, before any state changes. An array that is right already is
returned as it is, never copied; only labels are always copied, because kernels use them as indices
and a later change to the user's array must not lead them astray.

The checks of single values (`check_number`, `check_positive_int`, …) are offered here too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._array_steps import (
    ENCODE,
    FLOAT32,
    FLOAT64,
    Array,
    check_count,
    check_finite,
    float_type,
    plain,
    settled,
)
from fastnn._checks import (
    check_choice,
    check_flag,
    check_fraction,
    check_name,
    check_number,
    check_positive_int,
    check_seed,
)

__all__ = [
    "Array",
    "as_class_targets",
    "as_gradient",
    "as_inputs",
    "as_labels",
    "as_parameter",
    "as_passed",
    "as_targets",
    "check_choice",
    "check_flag",
    "check_fraction",
    "check_name",
    "check_number",
    "check_positive_int",
    "check_seed",
]


def as_inputs(
    X: object,
    name: str = "X",
    width: int | None = None,
    dtype: npt.DTypeLike | None = None,
    *,
    allow_empty: bool = False,
    finite: bool = True,
) -> Array:
    """Return `X` as kernels read it: 2-D, C-contiguous, aligned, native, writable, float32 or float64.

    Parameters
    ----------
    X : array_like
        Shape (samples, features). Arrays, lists, data frames; bools, integers or floats.
    name : str
        What error messages call it.
    width : int, optional
        How many features there must be.
    dtype : dtype, optional
        float32 or float64. Without it float32 stays float32, float64 (and wider, and what NumPy makes of
        Python floats) is float64, and everything else becomes float32.
    allow_empty : bool
        Whether there may be no samples.
    finite : bool
        Whether NaN and infinity are refused.

    Returns
    -------
    numpy.ndarray
        `X` itself if it is in order already, else a copy.

    Raises
    ------
    TypeError
        If `X` holds anything but numbers.
    ValueError
        If the shape is wrong, rows differ in length, or a value is not finite.

    Examples
    --------
    >>> from fastnn.arrays import as_inputs
    >>> as_inputs([[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    array = plain(X, name)
    if array.ndim != 2:
        remedy = f"write {name}.reshape(len({name}), -1) to make each sample one row"
        if array.ndim == 0:
            remedy = f"write [[{name}]] for one sample of one feature"
        elif array.ndim == 1:
            remedy = (
                f"write {name}.reshape(-1, 1) if it is one feature of {array.size} samples, "
                f"{name}.reshape(1, -1) if it is one sample of {array.size} features"
            )
        raise ValueError(f"{name} must be 2-D (samples, features), got shape {array.shape}: {remedy}")
    if width is not None and array.shape[1] != width:
        raise ValueError(
            f"{name} must have {width} columns, one for each input of the layer or network, "
            f"got shape {array.shape}: pass data of that width, or build the first layer for {array.shape[1]}"
        )
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {array.shape}: pass some features")
    if len(array) == 0 and not allow_empty:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}: pass some samples")
    result = settled(array, float_type(array) if dtype is None else np.dtype(dtype))
    if finite:
        check_finite(result, array, name)
    return result


def as_passed(value: object, name: str, width: int | None = None) -> Array:
    """Return what is passed from layer to layer: `as_inputs` where there may be no samples, and NaN is let through.

    An array in order is seen to be so within 0.25 µs, instead of 1.
    """
    if type(value) is np.ndarray and value.ndim == 2 and value.flags.carray:
        dtype, columns = value.dtype, value.shape[1]
        if (dtype == FLOAT32 or dtype == FLOAT64) and columns and (width is None or columns == width):
            return value
    return as_inputs(value, name, width, allow_empty=True, finite=False)


def as_gradient(dvalues: object, shape: tuple[int, ...], dtype: np.dtype[Any], name: str = "dvalues") -> Array:
    """Return `dvalues` as a kernel reads it, with exactly `shape` and `dtype`; NaN is let through.

    Raises
    ------
    TypeError, ValueError
        If it holds anything but numbers, or its shape is another.
    """
    if type(dvalues) is np.ndarray and dvalues.shape == shape and dvalues.dtype == dtype and dvalues.flags.carray:
        return dvalues
    array = plain(dvalues, name)
    if array.shape != shape:
        raise ValueError(
            f"{name} must have the shape {shape} of what forward() returned, got {array.shape}: "
            "pass the gradient with respect to that output"
        )
    return settled(array, dtype)


def as_parameter(value: object, shape: tuple[int, ...], dtype: np.dtype[Any] | None, name: str) -> Array:
    """Return a parameter as kernels read and write it; itself if it is in order already.

    A row of shape (1, n) stands for shape (n,). Without `dtype`, float32 and float64 stay, and all else
    becomes float64. NaN is let through.

    Raises
    ------
    TypeError, ValueError
        If it holds anything but numbers, or its shape is another.
    """
    if type(value) is np.ndarray and value.shape == shape and value.flags.carray:
        given = value.dtype
        if given == dtype if dtype is not None else given == FLOAT64 or given == FLOAT32:
            return value
    array = plain(value, name)
    if array.shape == (1, *shape):
        array = array.reshape(shape)
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape}: assign an array of that shape")
    if dtype is None:
        dtype = FLOAT32 if array.dtype == FLOAT32 else FLOAT64
    return settled(array, dtype)


def _one_hot_labels(array: Array) -> npt.NDArray[np.int64] | None:
    """Return the labels of one-hot rows, or None if a row is not one-hot."""
    ones = array == 1
    if not ((ones | (array == 0)).all() and (ones.sum(axis=1) == 1).all()):
        return None
    return ones.argmax(axis=1).astype(np.int64)


def _class_numbers(array: Array, classes: int, name: str) -> npt.NDArray[np.int64]:
    """Return a 1-D array of whole numbers from 0 to ``classes - 1`` as a new int64 array."""
    if array.dtype.kind == "f":
        wrong = np.flatnonzero(~(array == np.floor(array)) | np.isinf(array))
        if wrong.size:
            raise ValueError(
                f"{name} must hold whole class numbers, got {array[wrong[0]]} at row {wrong[0]}: "
                f"number the classes from 0, for example with {ENCODE.format(name=name)}; "
                "if these are values to predict, use fastnn.MeanSquaredError"
            )
    elif array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.size:
        low, high = array.min(), array.max()
        if low < 0 or high >= classes:
            row = int(np.flatnonzero((array < 0) | (array >= classes))[0])
            if low == 1 and high == classes:
                remedy = f"subtract 1 from {name}"
            elif low < 0:
                remedy = f"number the classes from 0, for example with {ENCODE.format(name=name)}"
            else:
                remedy = (
                    f"give the last layer {int(high) + 1} outputs, or number the classes without gaps, "
                    f"for example with {ENCODE.format(name=name)}"
                )
            raise ValueError(
                f"{name} must hold classes from 0 to {classes - 1}, one for each output of the network, got "
                f"{int(low)} to {int(high)}, first {int(array[row])} at row {row}: {remedy}"
            )
    return array.astype(np.int64)


def _labels(array: Array, n: int, classes: int, name: str) -> npt.NDArray[np.int64]:
    check_count(array, n, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        return _class_numbers(array, classes, name)
    if array.ndim != 2 or array.shape[1] != classes:
        raise ValueError(
            f"{name} must have the shape ({n},), or ({n}, {classes}) if one-hot, got {array.shape}: "
            "pass one class number for each sample"
        )
    labels = _one_hot_labels(array)
    if labels is None:
        raise ValueError(
            f"{name} must be one-hot, a single 1 and else 0 in each row: pass {name}.argmax(axis=1) to "
            "take the largest entry for the class"
        )
    return labels


def as_labels(y: object, n: int, classes: int, name: str = "y") -> npt.NDArray[np.int64]:
    """Return class labels as a new int64 array of shape (n,), each from 0 to ``classes - 1``.

    Parameters
    ----------
    y : array_like
        Whole numbers of any dtype, shape (n,) or (n, 1), or one-hot rows, shape (n, classes).
    n : int
        The number of samples.
    classes : int
        The number of classes: the network's outputs.
    name : str
        What error messages call it.

    Raises
    ------
    TypeError
        If `y` holds anything but numbers.
    ValueError
        If the length or shape is wrong, or an entry is no class number.

    Examples
    --------
    >>> from fastnn.arrays import as_labels
    >>> as_labels([[0, 1], [1, 0]], n=2, classes=2)
    array([1, 0])
    """
    return _labels(plain(y, name, labels=True), n, classes, name)


def as_class_targets(
    y: object, n: int, classes: int, dtype: npt.DTypeLike, name: str = "y"
) -> tuple[npt.NDArray[np.int64], Array]:
    """Return ``(labels, targets)``: one of them holds what `y` says, the other is empty.

    `y` is what `as_labels` takes, which gives labels, or rows of probabilities, shape (n, classes), each
    at least 0 and adding up to 1 within 1e-4, which give targets of `dtype`.
    """
    if np.dtype(dtype) == FLOAT32 and classes > 2**24:
        raise ValueError(f"{classes} outputs are more classes than float32 can number: pass X as float64")
    array = plain(y, name, labels=True)
    nothing = np.empty((0, 0), dtype)
    if array.dtype.kind != "f" or array.ndim != 2 or classes < 2 or array.shape != (n, classes):
        return _labels(array, n, classes, name), nothing
    labels = _one_hot_labels(array)
    if labels is not None:
        return labels, nothing
    targets = as_targets(array, n, classes, dtype, name)
    wrong = np.flatnonzero((targets < 0).any(axis=1) | (abs(targets.sum(axis=1, dtype=np.float64) - 1) > 1e-4))
    if wrong.size:
        raise ValueError(
            f"{name} must hold class numbers, one-hot rows or probabilities that add up to 1 in each row, "
            f"got {array[wrong[0]]} at row {wrong[0]}: divide each row by its sum, or pass class numbers"
        )
    return np.empty(0, np.int64), targets


def as_targets(y: object, n: int, width: int, dtype: npt.DTypeLike, name: str = "y") -> Array:
    """Return values to predict as kernels read them: shape (n, width), of `dtype`, finite.

    Parameters
    ----------
    y : array_like
        Shape (n, width), or (n,) if `width` is 1.
    n, width : int
        The number of samples and of the network's outputs.
    dtype : dtype
        float32 or float64.
    name : str
        What error messages call it.

    Raises
    ------
    TypeError
        If `y` holds anything but numbers.
    ValueError
        If the length or shape is wrong, or a value is not finite.

    Examples
    --------
    >>> from fastnn.arrays import as_targets
    >>> as_targets([1, 2], n=2, width=1, dtype="float64")
    array([[1.],
           [2.]])
    """
    array = plain(y, name)
    check_count(array, n, name)
    if array.ndim == 1 and width == 1:
        array = array.reshape(-1, 1)
    if array.shape != (n, width):
        raise ValueError(
            f"{name} must have the shape ({n}, {width}), one column for each output of the network, got "
            f"{array.shape}: pass targets of that shape, or change the outputs of the last layer"
        )
    result = settled(array, np.dtype(dtype))
    check_finite(result, array, name)
    return result
