"""Which samples of a shuffled batch lie beside each other: those that are zero in the same places, where that pays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastnn import threads
from fastnn._lowering import Operation
from fastnn.arrays import Array
from fastnn.kernels import network, order

# Elements of the inputs, and outputs of the first layer, below which looking for keys takes too large a part of a run:
# 8 ms for 60,000 images of 784 pixels, of whose epochs it makes each 9 ms shorter at 128 outputs.
_LEAST, _WIDE = 1 << 20, 64
# Share of a first layer's steps that sorting has to take off.
_PAYS = 0.05
# Rows that should be alike: those of a tile, but for a few machines.
_ALIKE = 6
# Tiles of rows that directions are found from; twice as many find none that are better.
_TILES = 16
_ROUNDS = 2
_LARGEST = 127


def new_order(
    X: Array, batch: int, operations: Sequence[Operation] | None, shuffle: bool = True, limit: int | None = None
) -> Array:
    """Return room for the order of an epoch's samples, and their keys if sorting each batch by them pays.

    That, and the keys, follow from `X`, `batch` and the first layer alone: not from the machine, nor from how training
    runs.

    Parameters
    ----------
    X : (rows, features) array of T
        Contiguous.
    batch : int
        Rows of a batch.
    operations : sequence of Operation or None
        The network's, if they are all known.
    shuffle : bool
        Whether there is such an order at all.
    limit : int or None
        Most threads to use.

    Returns
    -------
    numpy.ndarray
        int64, for `kernels.order.epoch_order`; empty without `shuffle`.
    """
    if not shuffle:
        return np.empty(0, np.int64)
    rows, features = X.shape
    first = operations[0] if operations else None
    wide = first is not None and first.kind == network.DENSE and first.n_out >= _WIDE
    many = X.size >= _LEAST and features >= 4 * _ALIKE and min(rows // _TILES, batch) >= 2 * _ALIKE
    if not (wide and many):
        return np.empty(rows, np.int64)
    some = _sample(X)
    weights = _weights(some)
    if weights is None:
        return np.empty(rows, np.int64)
    sums = some @ weights.T
    edges = np.concatenate([
        np.quantile(sums[:, i], np.arange(1, n) / n) for i, n in enumerate((order.FIRST_BINS, order.SECOND_BINS))
    ])  # fmt: skip
    arguments = weights.astype(X.dtype).reshape(-1), edges
    # What it is worth is judged by the sample, as if it were a batch.
    keys = np.empty(order.size(len(some), 1), np.int64)
    order.row_keys.serial((1 - some).astype(X.dtype).reshape(-1), len(some), *arguments, keys, 1)
    by_key = some[np.argsort(keys[len(some) : 2 * len(some)], kind="stable")]
    if _passed_over(by_key) < _passed_over(some) + _PAYS:
        return np.empty(rows, np.int64)
    room = np.empty(order.size(rows, batch), np.int64)
    threads.call(order.row_keys, threads.workers(2.0 * X.size, limit), X.reshape(-1), rows, *arguments, room)
    return room


def _sample(X: Array) -> Array:
    """Return where rows from all over `X` are zero: (rows, features), 1 there and 0 elsewhere."""
    n = _TILES * _ALIKE
    return (X[:: len(X) // n][:n] == 0).astype(np.int32)


def _passed_over(some: Array) -> float:
    """Return the share of steps in which all rows of a tile are zero."""
    return float(some.reshape(_TILES, _ALIKE, -1).all(axis=1).mean())


def _weights(some: Array) -> Array | None:
    """Return two weights for each feature, (2, features) whole numbers, or None if the zeros are always the same.

    The sums over a sample's zeros are about the first two principal components of where zeros are, by a few rounds of
    the power method. In whole numbers: they are the same on every machine, and NumPy wakes no threads for them, which
    would hold the cores for a while.
    """
    n = len(some)
    starts = some.sum(axis=1).astype(float), (37.0 * np.arange(n)) % n
    found: list[Array] = []
    weights = np.empty((2, some.shape[1]), np.int32)
    for i, coordinates in enumerate(starts):
        for _ in range(_ROUNDS):
            for other in found:
                coordinates = coordinates - (coordinates * other).sum() / (other * other).sum() * other
            coordinates = coordinates - coordinates.mean()
            weights[i] = _whole(_whole(coordinates) @ some)
            coordinates = (some @ weights[i]).astype(float)
        coordinates = coordinates - coordinates.mean()
        if not coordinates.any():
            return None
        found.append(coordinates)
    return weights


def _whole(values: Array) -> Array:
    """Return values as whole numbers whose largest is _LARGEST."""
    most = np.abs(values).max()
    return np.rint(values * (_LARGEST / most if most > 0 else 0.0)).astype(np.int32)


__all__ = ["new_order"]
