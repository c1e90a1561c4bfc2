"""Random search: parameters drawn at random, the best ones kept."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from fastnn import threads
from fastnn.arrays import as_inputs, check_choice, check_number, check_positive_int, check_seed
from fastnn.engine import Plan, aligned
from fastnn.fitting import CHUNK_SECONDS
from fastnn.kernels import losses, search
from fastnn.losses import Loss, SoftmaxCrossEntropy
from fastnn.model import Sequential
from fastnn.trainer import is_narrow

__all__ = ["SearchResult", "random_search"]

_MODES = {"replace": search.REPLACE, "adjust": search.ADJUST}


class SearchResult(NamedTuple):
    """What `random_search` found.

    Attributes
    ----------
    loss : float
        Of the parameters that the model now has.
    accuracy : float or None
        Of the same; None where the loss is of values, as also below.
    improvements : list of (int, float, float or None)
        Iteration, loss and accuracy each time the loss went down. It is empty if it never did.
    """

    loss: float
    accuracy: float | None
    improvements: list[tuple[int, float, float | None]]


def random_search(
    model: Sequential,
    X: Any,
    y: Any,
    *,
    iterations: int = 10_000,
    scale: float = 0.05,
    mode: str = "adjust",
    loss: Loss | None = None,
    seed: int | None = None,
) -> SearchResult:
    """Try parameters drawn at random and leave the best ones in the model.

    Where none are better than what is there (in mode "replace": where none have a finite loss) the model keeps its own.

    Parameters
    ----------
    model : Sequential
        Of fastnn's own layers. In mode "adjust" the search starts from its parameters.
    X, y : array_like
        As for `Sequential.fit`.
    iterations : int
        Parameters to try, at least 1.
    scale : float
        Standard deviation of what is drawn, above 0.
    mode : str
        "replace" draws all parameters anew each time; "adjust" adds what is drawn to the best ones so far, and takes
        it back where the loss does not go down.
    loss : Loss, optional
        `SoftmaxCrossEntropy` without one. It becomes ``model.loss``, as in `Sequential.fit`.
    seed : int, optional
        Without one the model's, or fresh entropy.

    Returns
    -------
    SearchResult

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. The model is then unchanged.

    Notes
    -----
    The seeds' two ways to find parameters without a gradient. The iterations run in native calls of about 50 ms.

    Examples
    --------
    >>> import fastnn as fnn
    >>> X, y = fnn.datasets.vertical_data(100, 3, seed=0)
    >>> model = fnn.Sequential(fnn.Dense(2, 3), fnn.ReLU(), fnn.Dense(3, 3), seed=0)
    >>> found = fnn.random_search(model, X, y, iterations=10_000, seed=0)
    >>> found.accuracy > 0.8
    True
    """
    operations = model.operations()
    if not operations or not any(layer.parameters() for layer in model.layers):
        raise ValueError("model must be made of fastnn's own layers and have a Dense among them")
    X = as_inputs(X, "X", operations[0].n_in)
    loss = SoftmaxCrossEntropy() if loss is None else loss
    if not isinstance(loss, Loss) or loss.code is None:
        raise TypeError(f"loss must be one of fastnn's own losses, got {type(loss).__name__}")
    labels, targets = loss.prepare(y, len(X), operations[-1].n_out, X.dtype)
    iterations = check_positive_int(iterations, "iterations")
    scale = check_number(scale, "scale")
    if scale == 0.0:
        raise ValueError("scale must be above 0, got 0: nothing would be tried")
    code = _MODES[check_choice(mode, "mode", tuple(_MODES))]
    drawn = model.entropy(check_seed(seed))

    dtype, rows = X.dtype, len(X)
    is_small = is_narrow(operations, loss, targets)
    plan = Plan(operations, min(rows, 96), dtype)
    parameters = model.compiled_parameters(operations, dtype)
    size = plan.forward_part
    if is_small:
        size = (operations[0].n_in + operations[-1].n_out) * (-(-rows // 64) * 64 + 64)
    state, labels_t = np.empty(2), labels.astype(dtype)
    state[:] = np.inf, 0.0
    improvements: list[tuple[int, float, float | None]] = []

    def accuracy_of(share: Any) -> float | None:
        return float(share) if loss.has_accuracy else None

    def of_model() -> tuple[float, float | None]:
        values, hits = model.losses_of(operations, X, labels, targets, loss)
        value = losses.sum_rows(values, rows) / rows + sum(layer.penalty() for layer in model.layers)
        return float(value), accuracy_of(losses.sum_rows(hits, rows) / rows)

    if code == search.ADJUST:
        # The parameters that are there are to be beaten: by any, if their loss is NaN.
        state[0] = np.fmin(of_model()[0], np.inf)
    if not model._trains:
        model.loss = loss
    best = parameters.flat
    trial = aligned(best.size + 64, dtype, True)
    work, row_loss, hits = aligned(size, dtype, True), np.empty(rows, dtype), np.empty(rows, dtype)
    done, chunk = 0, 64
    while done < iterations:
        count = min(chunk, iterations - done)
        found = np.empty((count, 3))
        state[1] = 0.0
        began = time.perf_counter()
        threads.call_serial(
            search.random_search, X.reshape(-1), labels_t, targets.reshape(-1), best, trial, work, row_loss, hits,
            plan.table, plan.factors, plan.rows, plan.forward_scratch, loss.code,
            loss.code == losses.SOFTMAX_CROSS_ENTROPY and targets.size > 0,
            float(getattr(loss, "label_smoothing", 0.0)), is_small, scale, code, drawn, done, count, state, found,
        )  # fmt: skip
        took = time.perf_counter() - began
        improvements += [(int(i), float(v), accuracy_of(a)) for i, v, a in found[: int(state[1])]]
        done += count
        chunk = max(1, min(100 * chunk, int(count * CHUNK_SECONDS / max(took, 1e-6))))
    value, accuracy = improvements[-1][1:] if improvements else of_model()
    return SearchResult(value, accuracy, improvements)
