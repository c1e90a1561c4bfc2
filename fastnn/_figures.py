"""An epoch's figures: what they are called, where they come from, and which of them a learning rate follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._array_steps import FLOAT32, FLOAT64
from fastnn.arrays import Array
from fastnn.base import Layer
from fastnn.history import History
from fastnn.kernels import losses
from fastnn.layers import Dense
from fastnn.losses import Loss


def names_of(loss: Loss, layers: Sequence[Layer], validated: bool) -> set[str]:
    """Return the names of the figures that each epoch has."""
    names = {"loss"} | ({"accuracy"} if loss.has_accuracy else set())
    ours = names | {"learning_rate"} | ({"penalty"} if any(map(has_penalty, layers)) else set())
    return ours | {f"val_{name}" for name in names} if validated else ours


def note_epochs(
    history: History, rows: Array, first_step: int, rates: Array, steps_per_epoch: int, layers: Sequence[Layer],
    loss: Loss,
) -> None:  # fmt: skip
    """Add the kernel's rows (loss, accuracy, penalty) of the epochs that ended in a chunk from `first_step` on."""
    if not len(rows):
        return
    end = steps_per_epoch - first_step % steps_per_epoch
    last_rates = rates[end - 1 :: steps_per_epoch][: len(rows)]
    add_epochs(history, rows[:, 0], rows[:, 1], rows[:, 2], last_rates, layers, loss)


def add_epochs(
    history: History, values: Array, hits: Array, penalties: Array, rates: Array, layers: Sequence[Layer], loss: Loss
) -> None:
    """Add the figures of some epochs, each of shape (epochs,)."""
    before = len(history.get("loss", ()))
    history.setdefault("loss", []).extend(values.tolist())
    if loss.has_accuracy:
        history.setdefault("accuracy", []).extend(hits.tolist())
    added = penalties.tolist()
    if "penalty" in history or any(added) or any(map(has_penalty, layers)):
        # Until a callback gave a layer its first penalty there was none.
        history.setdefault("penalty", [0.0] * before).extend(added)
    history.setdefault("learning_rate", []).extend(rates.tolist())


def sum_of(values: Any, mean: float, rows: int) -> float:
    """Return the sum of what a loss says of each sample, or else what its mean tells."""
    if values is None:
        return mean * rows
    values = np.asarray(values)
    if values.shape != (rows,):
        raise ValueError(
            f"sample_losses and sample_hits of a loss must have the shape ({rows},), one number a sample, got "
            f"{values.shape}: set them so in forward(), or leave them None"
        )
    return float(losses.sum_rows(np.array(values, FLOAT32 if values.dtype == FLOAT32 else FLOAT64), rows))


def followed(rate: Any, names: set[str]) -> str:
    """Return the name of the figure that a learning rate which `listens` follows: the validation data's, if any.

    Raises
    ------
    ValueError
        If it follows the accuracy, and there is none among `names`.
    """
    while hasattr(rate, "schedule"):
        rate = rate.schedule
    name = "accuracy" if getattr(rate, "mode", "min") == "max" else "loss"
    if name not in names:
        raise ValueError(
            "learning_rate follows the accuracy (mode='max'), which the loss does not have: use mode='min', which "
            "follows the loss"
        )
    return f"val_{name}" if f"val_{name}" in names else name


def has_penalty(layer: Layer) -> bool:
    """Tell whether a layer adds to the loss, be it zero at the moment."""
    if isinstance(layer, Dense) and type(layer).penalty is Dense.penalty and "penalty" not in layer.__dict__:
        return any((layer.weight_l1, layer.weight_l2, layer.bias_l1, layer.bias_l2))
    return type(layer).penalty is not Layer.penalty or "penalty" in layer.__dict__


__all__ = ["add_epochs", "followed", "has_penalty", "names_of", "note_epochs", "sum_of"]
