"""Compile ahead of time everything that training and prediction call; see `warmup`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numba
import numpy as np

from fastnn import threads
from fastnn._telling import telling
from fastnn.activations import ReLU, Sigmoid, Softmax, Tanh
from fastnn.arrays import Array
from fastnn.callbacks import Callback
from fastnn.datasets import spiral_data
from fastnn.initializers import Normal
from fastnn.kernels import _builds, order, panels
from fastnn.layers import Dense, Dropout
from fastnn.losses import MeanSquaredError, SoftmaxCrossEntropy
from fastnn.many import fit_many
from fastnn.model import Sequential
from fastnn.optimizers import Adam
from fastnn.search import random_search

DTYPES = ("float32", "float64")
# Rows a class: few, for one worker; enough (see `fastnn.threads`) for every kernel to be given two.
_SMALL, _LARGE = 8, 3000


def warmup(dtypes: Sequence[str] = DTYPES, parallel: bool = True) -> list[str]:
    """Compile, or load from the cache, all that models, layers, losses, optimisers and searches call.

    After it, nothing compiles while the program runs. What has been compiled stays in the cache folder, so a
    second process loads it in a moment.

    Parameters
    ----------
    dtypes : sequence of str
        ``"float32"``, ``"float64"`` or both.
    parallel : bool
        Whether the builds for several threads are wanted as well as those for one. (Without effect where
        Numba has one thread only.)

    Returns
    -------
    list of str
        Names of the builds that were compiled anew: empty if all came from the cache.

    Raises
    ------
    ValueError
        If a dtype is neither of the two.

    Examples
    --------
    >>> import fastnn as fnn
    >>> built = fnn.warmup(["float32"], parallel=False)
    >>> fnn.warmup(["float32"], parallel=False)
    []
    """
    wanted = [np.dtype(dtype) for dtype in ([dtypes] if isinstance(dtypes, str) else dtypes)]
    for dtype in wanted:
        if dtype.name not in DTYPES:
            raise ValueError(f"dtypes must be 'float32', 'float64' or both, got {dtype.name!r}")
    before = len(_builds.compiled)
    # Who calls this knows.
    with telling(None):
        for dtype in wanted:
            _run_all(dtype, 1)
            if parallel and numba.config.NUMBA_NUM_THREADS > 1:
                _run_all(dtype, 2)
    return list(_builds.compiled[before:])


class _EachStep(Callback):
    """Makes `fit` go layer by layer."""

    def on_step_end(self, step: int, logs: Mapping[str, float]) -> None:
        """Do nothing."""


def _run_all(dtype: np.dtype[Any], n_threads: int) -> None:
    """Call every kernel once, with one worker or with two."""
    X, y = spiral_data(_LARGE if n_threads > 1 else _SMALL, 3, seed=0)
    before = threads.get_num_threads()
    threads.set_num_threads(n_threads)
    try:
        _fit(X.astype(dtype), y)
        _alone(X.astype(dtype), y)
    finally:
        threads.set_num_threads(None if before == numba.config.NUMBA_NUM_THREADS else before)


def _fit(X: Array, y: Array) -> None:
    # Kinds of layer, loss and optimiser are numbers to the compiled loop: any of them will do.
    shallow = Dense(2, 64), ReLU(), Dense(64, 3)
    deep = Dense(2, 17), Tanh(), Dense(17, 64), ReLU(), Dense(64, 3)
    for layers in (shallow, deep):
        model = Sequential(*layers, seed=0)
        for batch in (len(X), len(X) // 2):
            model.fit(X, y, optimizer=Adam(), epochs=1, batch_size=batch, progress=False)
        model.predict(X)
        model.evaluate(X, y)
    model.predict(X[:1])
    row = X.reshape(-1)
    arrays = row.copy(), row[:0], row[:0], row[:0], np.array([[0, 1, row.size]]), row.copy(), np.zeros(1, np.int64)
    threads.call(panels.rearrange, threads.get_num_threads(), *arrays, True, parallel=True)
    # Keys of samples are looked for in large data only.
    edges, keys = np.zeros(order.FIRST_BINS + order.SECOND_BINS - 2), np.empty(order.size(len(X), 1), np.int64)
    threads.call(order.row_keys, threads.get_num_threads(), row, len(X), row[:4], edges, keys)
    model.fit(X, y, epochs=1, batch_size=len(X) // 2, callbacks=[_EachStep()], progress=False)
    random_search(model, X[:9], y[:9], iterations=1)
    fit_many(lambda i: Sequential(Dense(2, 16), ReLU(), Dense(16, 3), seed=i), X, y, count=2, epochs=1)


def _alone(X: Array, y: Array) -> None:
    """Call layers, losses and optimisers one by one."""
    dense = Dense(2, 96, seed=0)
    wide = dense.forward(X)
    for layer in (ReLU(), Sigmoid(), Tanh(), Softmax(), Dropout(0.5, seed=0)):
        layer.backward(layer.forward(wide))
    soft = np.full(wide.shape, 1.0 / wide.shape[1])
    for loss, truth in ((SoftmaxCrossEntropy(), y), (SoftmaxCrossEntropy(), soft), (MeanSquaredError(), wide)):
        loss.forward(wide, truth)
        dense.backward(loss.backward())
    # Many parameters: their update, penalties and first values are split, too.
    width = 60_000 if len(X) > 3 * _SMALL else 96
    large = Dense(3, width, initializer=Normal(), weight_l2=1e-3, bias_l1=1e-3, seed=0)
    large.backward(large.forward(wide[:2, :3]))
    large.penalty()
    Dense(3, width, seed=0)
    Adam().update(large)


def _warm(dtype: str, parallel: bool) -> tuple[list[str], str | None]:
    return warmup([dtype], parallel), _builds.store.fault


def compile_in_processes(dtypes: Sequence[str] = DTYPES, parallel: bool = True) -> tuple[list[list[str]], str | None]:
    """Do the work of `warmup` in a process for each dtype, so that two cores compile at once.

    Returns
    -------
    list of list of str
        For each dtype the builds that were compiled anew.
    str or None
        Why some of them are not in the cache now; None if all are.
    """
    with ProcessPoolExecutor(min(len(dtypes), os.cpu_count() or 1), get_context("spawn")) as pool:
        done = list(pool.map(_warm, dtypes, [parallel] * len(dtypes)))
    return [names for names, _ in done], next((fault for _, fault in done if fault), None)
