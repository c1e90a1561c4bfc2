"""The data sets of the ``nnfs`` package, drawn from NumPy's global generator, and Fashion-MNIST as the book has it."""

from __future__ import annotations

import os

import numpy as np

from fastnn.arrays import Array, check_positive_int
from fastnn.datasets import _spiral, load_fashion_mnist
from fastnn.nnfs._common import randn, zeros

__all__ = ["create_data_mnist", "fashion_mnist_labels", "sine_data", "spiral_data", "vertical_data"]

fashion_mnist_labels = {
    0: "T-shirt/top", 1: "Trouser", 2: "Pullover", 3: "Dress", 4: "Coat",
    5: "Sandal", 6: "Shirt", 7: "Sneaker", 8: "Bag", 9: "Ankle boot",
}  # fmt: skip
"""What the ten classes of Fashion-MNIST are."""


def _empty(samples: int, classes: int) -> tuple[Array, Array]:
    samples, classes = check_positive_int(samples, "samples"), check_positive_int(classes, "classes")
    y = np.repeat(np.arange(classes), samples).astype(np.uint8)
    return zeros(samples * classes, 2), y


def spiral_data(samples: int, classes: int) -> tuple[Array, Array]:
    """Return points on spiral arms, one arm a class; see `fastnn.datasets.spiral_data`.

    Parameters
    ----------
    samples : int
        Points a class, at least 1.
    classes : int
        Number of arms, at least 1.

    Returns
    -------
    X : numpy.ndarray
        Shape (samples * classes, 2), float64, or the dtype of ``init``.
    y : numpy.ndarray
        Shape (samples * classes,), uint8.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs.datasets import spiral_data
    >>> np.random.seed(0)
    >>> X, y = spiral_data(samples=100, classes=3)
    >>> X[1].round(8)
    array([0.00299556, 0.00964661])
    """
    X, y = _empty(samples, classes)
    _spiral(samples, classes, randn, X)
    return X, y


def vertical_data(samples: int, classes: int) -> tuple[Array, Array]:
    """Return one upright cloud of points a class, side by side; see `spiral_data` for the arguments.

    Examples
    --------
    >>> from fastnn.nnfs.datasets import vertical_data
    >>> X, y = vertical_data(samples=100, classes=3)
    >>> X.shape, y.dtype
    ((300, 2), dtype('uint8'))
    """
    X, y = _empty(samples, classes)
    for label in range(classes):
        rows = slice(label * samples, (label + 1) * samples)
        X[rows, 0] = randn(samples) * 0.1 + label / 3
        X[rows, 1] = randn(samples) * 0.1 + 0.5
    return X, y


def sine_data(samples: int = 1000) -> tuple[Array, Array]:
    """Return one period of the sine: ``X = i / samples`` and ``y = sin(2 pi X)``, both (samples, 1), float64.

    Examples
    --------
    >>> from fastnn.nnfs.datasets import sine_data
    >>> X, y = sine_data()
    >>> X.shape, y.shape
    ((1000, 1), (1000, 1))
    """
    samples = check_positive_int(samples, "samples")
    X = np.arange(samples).reshape(-1, 1) / samples
    return X, np.sin(2 * np.pi * X)


def create_data_mnist(path: str | os.PathLike[str] | None = None) -> tuple[Array, Array, Array, Array]:
    """Return Fashion-MNIST as the book's function of this name does: images of 28 by 28 pixels, 0 to 255.

    Parameters
    ----------
    path : path, optional
        An ``.npz`` file or a folder; see `fastnn.datasets.load_fashion_mnist`. The book's folder of image files
        is not read.

    Returns
    -------
    X, y, X_test, y_test : numpy.ndarray
        Images uint8, shape (n, 28, 28), and labels uint8, shape (n,); see `fashion_mnist_labels`.
    """
    X, y, X_test, y_test = load_fashion_mnist(path, scale=None, flatten=False)
    return X, y.astype(np.uint8), X_test, y_test.astype(np.uint8)
