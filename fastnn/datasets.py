"""Small data sets to try a network on.

``spiral_data``, ``vertical_data`` and ``sine_data`` use the formulas, and for one seed draw the numbers, of
the data sets in the ``nnfs`` package. ``load_digits`` and ``load_fashion_mnist`` bring real images, the
first through scikit-learn, the second from files on disk; nothing is ever downloaded.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from numbers import Real
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from fastnn._image_files import check_split, data_place, read_images, scaled

__all__ = ["load_digits", "load_fashion_mnist", "sine_data", "spiral_data", "vertical_data"]

Array = npt.NDArray[Any]
Seed = int | np.random.RandomState | np.random.Generator | None
Split = tuple[Array, Array, Array, Array]


def _count(value: object, name: str) -> int:
    """Return `value` as an int of at least 1."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be a whole number, got {type(value).__name__}: pass an int")
    number = operator.index(value)
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}: pass a positive int")
    return number


def _float_type(dtype: npt.DTypeLike) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {kind}: pass np.float32 or np.float64")
    return kind


def _drawer(seed: Seed) -> np.random.RandomState | np.random.Generator:
    """Return a source of random numbers; an int gives those of ``np.random.seed(seed)``."""
    if isinstance(seed, np.random.RandomState | np.random.Generator):
        return seed
    if seed is None:
        return np.random.RandomState()
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, SupportsIndex):
        raise TypeError(
            f"seed must be an int, None or a NumPy random generator, got {type(seed).__name__}: pass an int"
        )
    number = operator.index(seed)
    if not 0 <= number < 2**32:
        raise ValueError(f"seed must be from 0 to 2**32 - 1, got {number}: pass an int in that range")
    return np.random.RandomState(number)


def _labels(samples: int, classes: int) -> Array:
    return np.repeat(np.arange(classes, dtype=np.int64), samples)


def _spiral(samples: int, classes: int, normal: Callable[[int], Array], out: Array) -> None:
    """Fill `out`; `normal(n)` draws n numbers, once a class, which lets a caller choose where from."""
    radius = np.linspace(0.0, 1.0, samples)
    for label in range(classes):
        angle = np.linspace(label * 4, (label + 1) * 4, samples) + normal(samples) * 0.2
        rows = slice(label * samples, (label + 1) * samples)
        out[rows, 0] = radius * np.sin(angle * 2.5)
        out[rows, 1] = radius * np.cos(angle * 2.5)


def spiral_data(
    samples: int = 100, classes: int = 3, seed: Seed = 0, *, dtype: npt.DTypeLike = np.float64
) -> tuple[Array, Array]:
    """Return points on spiral arms, one arm a class.

    Along an arm the radius r goes from 0 to 1 and the angle t from ``4 * label`` to ``4 * (label + 1)``, to
    which normal noise of standard deviation 0.2 is added; a point is ``(r sin 2.5t, r cos 2.5t)``.

    Parameters
    ----------
    samples : int
        Points a class, at least 1.
    classes : int
        Number of arms, at least 1.
    seed : int, None, numpy.random.RandomState or numpy.random.Generator
        An int from 0 to 2**32 - 1 gives the numbers that ``np.random.seed(seed)`` gives the original;
        None gives new ones each time; a generator is drawn from and so moves on.
    dtype : dtype
        float64 or float32, the type of `X`; the arithmetic is done in float64 either way.

    Returns
    -------
    X : numpy.ndarray
        Shape (samples * classes, 2), in [-1, 1], sorted by class.
    y : numpy.ndarray
        Shape (samples * classes,), int64, the labels from 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    The formula is that of ``spiral_data`` in the ``nnfs`` package, which follows the Stanford CS231n notes.

    Examples
    --------
    >>> from fastnn.datasets import spiral_data
    >>> X, y = spiral_data(samples=100, classes=3, seed=0)
    >>> X.shape, y.shape
    ((300, 2), (300,))
    >>> X[1].round(8)
    array([0.00299556, 0.00964661])
    """
    samples, classes = _count(samples, "samples"), _count(classes, "classes")
    X = np.empty((samples * classes, 2), dtype=_float_type(dtype))
    _spiral(samples, classes, _drawer(seed).standard_normal, X)
    return X, _labels(samples, classes)


def vertical_data(
    samples: int = 100, classes: int = 3, seed: Seed = 0, *, dtype: npt.DTypeLike = np.float64
) -> tuple[Array, Array]:
    """Return one upright cloud of points a class, side by side.

    Points are normal with standard deviation 0.1 about ``(label / 3, 0.5)``.

    Parameters
    ----------
    samples : int
        Points a class, at least 1.
    classes : int
        Number of clouds, at least 1.
    seed : int, None, numpy.random.RandomState or numpy.random.Generator
        As in `spiral_data`.
    dtype : dtype
        float64 or float32, the type of `X`.

    Returns
    -------
    X : numpy.ndarray
        Shape (samples * classes, 2), sorted by class.
    y : numpy.ndarray
        Shape (samples * classes,), int64, the labels from 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    The formula is that of ``vertical_data`` in the ``nnfs`` package.

    Examples
    --------
    >>> from fastnn.datasets import vertical_data
    >>> X, y = vertical_data(samples=5, classes=2)
    >>> X.shape, y.tolist()
    ((10, 2), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    samples, classes = _count(samples, "samples"), _count(classes, "classes")
    X = np.empty((samples * classes, 2), dtype=_float_type(dtype))
    random = _drawer(seed)
    for label in range(classes):
        rows = slice(label * samples, (label + 1) * samples)
        X[rows, 0] = random.standard_normal(samples) * 0.1 + label / 3
        X[rows, 1] = random.standard_normal(samples) * 0.1 + 0.5
    return X, _labels(samples, classes)


def sine_data(samples: int = 1000, *, dtype: npt.DTypeLike = np.float64) -> tuple[Array, Array]:
    """Return one period of the sine, a regression problem without noise.

    ``X = i / samples`` for i from 0, and ``y = sin(2 pi X)``.

    Parameters
    ----------
    samples : int
        Number of points, at least 1.
    dtype : dtype
        float64 or float32, the type of both arrays.

    Returns
    -------
    X : numpy.ndarray
        Shape (samples, 1), in [0, 1).
    y : numpy.ndarray
        Shape (samples, 1), in [-1, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    The formula is that of ``sine_data`` in the ``nnfs`` package.

    Examples
    --------
    >>> from fastnn.datasets import sine_data
    >>> X, y = sine_data(samples=4)
    >>> X.ravel().tolist()
    [0.0, 0.25, 0.5, 0.75]
    """
    samples, kind = _count(samples, "samples"), _float_type(dtype)
    X = np.arange(samples, dtype=np.float64).reshape(-1, 1) / samples
    y = np.sin(2 * np.pi * X)
    return X.astype(kind, copy=False), y.astype(kind, copy=False)


def load_digits(test_size: float = 0.2, seed: Seed = 0) -> Split:
    """Return scikit-learn's 1797 images of handwritten digits, 8 by 8 pixels, shuffled and split in two.

    Parameters
    ----------
    test_size : float
        Share of the images kept for testing, at least 0 and below 1; rounded to whole images.
    seed : int, None, numpy.random.RandomState or numpy.random.Generator
        Of the shuffle, as in `spiral_data`.

    Returns
    -------
    X_train, y_train, X_test, y_test : numpy.ndarray
        Images of shape (n, 64), float32, in [0, 1]; labels of shape (n,), int64, 0 to 9.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If an argument has a wrong type or is out of range.

    Notes
    -----
    The images are from E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998.

    Examples
    --------
    >>> from fastnn.datasets import load_digits
    >>> X_train, y_train, X_test, y_test = load_digits()
    >>> X_train.shape, X_test.shape
    ((1438, 64), (359, 64))
    """
    if isinstance(test_size, bool | np.bool_) or not isinstance(test_size, Real):
        raise TypeError(f"test_size must be a number, got {type(test_size).__name__}: pass a float such as 0.2")
    if not (math.isfinite(test_size) and 0.0 <= test_size < 1.0):
        raise ValueError(f"test_size must be at least 0 and below 1, got {test_size!r}: pass a share such as 0.2")
    random = _drawer(seed)
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            'load_digits takes the images from scikit-learn: install it with pip install "fastnn-numba[sklearn]"'
        ) from error
    images, labels = datasets.load_digits(return_X_y=True)
    X = (images / 16.0).astype(np.float32)
    y = labels.astype(np.int64)
    order = random.permutation(len(X))
    first = len(X) - round(len(X) * float(test_size))
    train, test = order[:first], order[first:]
    return X[train], y[train], X[test], y[test]


def load_fashion_mnist(
    path: str | os.PathLike[str] | None = None, *, scale: str | None = "unit", flatten: bool = True
) -> Split:
    """Read Fashion-MNIST (or MNIST, which has the same form) from disk: images of 28 by 28 pixels.

    Parameters
    ----------
    path : path, optional
        An ``.npz`` file with the arrays ``x_train``, ``y_train``, ``x_test``, ``y_test``; or a folder with
        ``fashion_mnist.npz``, or with the four original files ``train-images-idx3-ubyte``,
        ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte``, each as it is or
        with ``.gz``. Without it, the folder that the environment variable ``FASTNN_DATA_DIR`` names.
    scale : {"unit", "symmetric", None}
        Pixels as float32 in [0, 1]; as float32 in [-1, 1]; or as they are stored, uint8 from 0 to 255.
    flatten : bool
        Whether an image is a row of 784 numbers or stays 28 by 28.

    Returns
    -------
    X_train, y_train, X_test, y_test : numpy.ndarray
        Images of shape (n, 784) or (n, 28, 28); labels of shape (n,), int64, 0 to 9. The full sets have 60000
        and 10000 images.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no path is given and ``FASTNN_DATA_DIR`` is not set.
    ValueError
        If a file is truncated, damaged or something else, or if `scale` is unknown.

    Notes
    -----
    Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017. Nothing in the files is unpickled.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> from fastnn.datasets import load_fashion_mnist
    >>> images, labels = np.full((5, 28, 28), 255, np.uint8), np.arange(5, dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "tiny.npz")
    ...     np.savez(file, x_train=images, y_train=labels, x_test=images[:2], y_test=labels[:2])
    ...     X_train, y_train, X_test, y_test = load_fashion_mnist(file)
    >>> X_train.shape, float(X_train.max()), y_test.tolist()
    ((5, 784), 1.0, [0, 1])
    """
    if scale not in ("unit", "symmetric", None):
        raise ValueError(f"scale must be 'unit', 'symmetric' or None, got {scale!r}: pass one of these")
    place = data_place(path)
    arrays = read_images(place)
    result = []
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        check_split(place, split, images, labels)
        images = images.reshape(len(images), -1) if flatten else images
        result += [scaled(images, scale), labels.astype(np.int64)]
    return result[0], result[1], result[2], result[3]
