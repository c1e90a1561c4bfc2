"""What the parts of the book's door share: the stand-in for `nnfs.init`, dtypes, labels, and their base class."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.arrays import Array, as_inputs, as_parameter

F32 = np.dtype(np.float32)
F64 = np.dtype(np.float64)
EMPTY = {F32: np.empty((0, 0), F32), F64: np.empty((0, 0), F64)}
LABEL_TYPES = (np.dtype(np.uint8), np.dtype(np.int64), np.dtype(np.int32))


class Settings:
    """What `init` has set; None leaves a dtype to NumPy."""

    dtype: np.dtype[Any] | None = None
    product: np.dtype[Any] | None = None


def init(
    dot_precision_workaround: bool = True,
    default_dtype: npt.DTypeLike | None = "float32",
    random_seed: int | None = 0,
) -> None:
    """Stand in for ``nnfs.init()``: seed NumPy's global generator and make float32 the door's dtype.

    None of NumPy's functions is replaced: only the layers and data sets of this door follow. Calling it again
    replaces what was set before.

    Parameters
    ----------
    dot_precision_workaround : bool
        As in the ``nnfs`` package, dense layers then give float32 whatever `default_dtype` is. (Products are
        sums of fused steps in the arrays' own dtype, not float64 rounded.)
    default_dtype : {"float32", "float64"} or None
        Of new weights, biases and data; None leaves them as NumPy makes them, float64.
    random_seed : int or None
        For ``np.random.seed``; None does not seed.

    Raises
    ------
    ValueError
        If `default_dtype` is another.

    Examples
    --------
    >>> import fastnn.nnfs as nnfs
    >>> nnfs.init(random_seed=0)
    >>> nnfs.Layer_Dense(2, 3).weights.dtype
    dtype('float32')
    >>> nnfs.init(dot_precision_workaround=False, default_dtype=None)
    """
    dtype = None if default_dtype is None else np.dtype(default_dtype)
    if dtype not in (None, F32, F64):
        raise ValueError(
            f"default_dtype must be 'float32', 'float64' or None, got {default_dtype!r}: pass one of these"
        )
    Settings.dtype = dtype
    Settings.product = F32 if dot_precision_workaround else dtype
    if random_seed is not None:
        np.random.seed(random_seed)


def randn(*shape: int) -> Array:
    """Return draws of NumPy's global generator, through whatever ``np.random.randn`` is by now."""
    drawn = np.random.randn(*shape)
    return drawn if Settings.dtype is None else drawn.astype(Settings.dtype)


def zeros(*shape: int) -> Array:
    """Return zeros of the dtype that ``np.zeros``, or else `init`, says."""
    return np.zeros(shape) if Settings.dtype is None else np.zeros(shape, dtype=Settings.dtype)


def kernel_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype kernels compute in for arrays of `dtype`."""
    return F32 if dtype.kind == "f" and dtype.itemsize <= 4 else F64


def product_type(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a product: `init` says, or ``np.dot`` itself, which the ``nnfs`` package replaces."""
    if Settings.product is not None:
        return Settings.product
    if a.kind not in "biuf" or b.kind not in "biuf":
        return F64  # whoever reads the values will say what is wrong
    return kernel_type(np.dot(np.ones((1, 1), a), np.ones((1, 1), b)).dtype)


def rows_of(values: Any, name: str, width: int | None, dtype: np.dtype[Any]) -> Array:
    """Return `values` as kernels read them; a single sample is one row."""
    array = np.asarray(values)
    if array.ndim == 1:
        array = array.reshape(1, -1)
    return as_inputs(array, name, width, dtype, allow_empty=True, finite=False)


def parameters_of(weights: Any, biases: Any, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return a layer's parameters as kernels read them, shapes (n_in, n_out) and (1, n_out)."""
    w = np.asarray(weights)
    if w.ndim != 2:
        raise ValueError(f"weights must be 2-D (inputs, neurons), got shape {w.shape}: assign an array of that shape")
    n = w.shape[1]
    b = np.asarray(biases)
    return (
        as_parameter(w, w.shape, dtype, "weights"),
        as_parameter(b.reshape(1, -1) if b.shape == (n,) else b, (1, n), dtype, "biases"),
    )


def labels_of(y: Any, n: int, width: int) -> Array:
    """Return class numbers as kernels read them, one for each of `n` rows; one-hot rows give their largest."""
    y = np.asarray(y)
    if y.dtype.kind not in "biuf":
        raise TypeError(
            f"y_true must hold numbers, got dtype {y.dtype}: number the classes from 0, for example with "
            "np.unique(y, return_inverse=True)[1]"
        )
    if y.ndim == 2:
        if y.shape != (n, width):
            remedy = "pass y.ravel()" if y.shape == (n, 1) else "pass one row for each sample"
            raise ValueError(
                f"y_true must have the shape ({n},), or ({n}, {width}) if one-hot, got {y.shape}: {remedy}"
            )
        y = np.argmax(y, axis=1)
    if y.shape != (n,):
        raise ValueError(
            f"y_true must have one class number for each of the {n} samples, got shape {y.shape}: pass as many"
        )
    if y.dtype in LABEL_TYPES and y.flags.carray and type(y) is np.ndarray:
        return y
    whole = np.array(y, dtype=np.int64, order="C", subok=False)
    if y.dtype.kind == "f" and not (whole == y).all():
        raise ValueError("y_true must hold whole class numbers, got fractions: number the classes from 0")
    return whole


def refuse_label(labels: Array, width: int) -> None:
    """Raise for the labels among which a kernel has found one that is none."""
    row = int(np.flatnonzero((labels < 0) | (labels >= width))[0])
    raise ValueError(
        f"y_true must hold classes from 0 to {width - 1}, one for each output, got {labels[row]} at row {row}: "
        "number the classes from 0, or give the last layer more neurons"
    )


def targets_of(y: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return targets as kernels read them, of exactly the outputs' shape: nothing is broadcast."""
    array = np.asarray(y)
    if array.shape != shape:
        remedy = "pass targets of that shape"
        if array.ndim == 1 and shape == (len(array), 1):
            remedy = "write y = y.reshape(-1, 1)"
        raise ValueError(f"y_true must have the shape {shape} of the outputs, got {array.shape}: {remedy}")
    return as_inputs(array, "y_true", None, dtype, allow_empty=True, finite=False)


@functools.lru_cache
def private_names(kind: type[Any]) -> frozenset[str]:
    """Return the names with an underscore that the library's own classes declare, among a class and its bases."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("fastnn.")]
    return frozenset(name for base in ours for name in vars(base) if name.startswith("_"))


class Part:
    """Base class of the book's objects.

    What our classes declare with an underscore is neither copied nor stored; what a user's subclass calls so is.
    """

    def __getstate__(self) -> dict[str, Any]:
        kind: Any = type(self)
        private = private_names(kind)
        return {name: value for name, value in self.__dict__.items() if name not in private}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
