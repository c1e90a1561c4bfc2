"""What a layer or a loss has found to be in order, so that its next call can see at a glance that it still is."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastnn._array_steps import FLOAT32, FLOAT64, Array
from fastnn.kernels import activations, book_layers, labels, losses


@functools.lru_cache(maxsize=256)
def scratch_size(m: int, k: int, n: int, dtype: np.dtype[Any], n_workers: int) -> int:
    """Return the elements of scratch that the kernels of a layer need, for either way through it."""
    return book_layers.dense_scratch(m, k, n, dtype.itemsize, n_workers)


class Known:
    """Parameters, dtype and shapes of a forward pass, and the compiled code for just these types.

    Code called without a look at its arguments saves 0.15 µs a call, and comparing with what is known 1 µs of checks.
    """

    __slots__ = (
        "backward", "biases", "dtype", "forward", "inputs", "n_inputs", "n_outputs", "outputs", "room", "room_back",
        "shape", "spare", "weights",
    )  # fmt: skip

    def __init__(self, x: Array, w: Array, b: Array, y: Array) -> None:
        # The dtype's own object: what is only equal to it goes the long way.
        self.dtype = FLOAT32 if x.dtype == FLOAT32 else FLOAT64
        self.weights, self.biases = w, b
        self.inputs, self.outputs, self.shape = x.shape, y.shape, w.shape
        self.n_inputs, self.n_outputs = w.shape
        self.room, self.room_back = book_layers.few_scratch(len(x), *w.shape, self.dtype.itemsize)
        self.spare = np.empty(0, self.dtype)  # where no scratch is needed
        self.forward = book_layers.forward_entry(self.dtype, 1)
        self.backward: Any = None

    def ready_to_go_back(self) -> None:
        """Have the code for the backward pass as well."""
        self.backward = book_layers.backward_entry(self.dtype, 1)


class KnownActivation:
    """Dtype and shape of an activation's last pass, and the compiled code for these types."""

    __slots__ = ("backward", "dtype", "forward", "shape")

    def __init__(self, x: Array) -> None:
        self.dtype, self.shape = FLOAT32 if x.dtype == FLOAT32 else FLOAT64, x.shape
        self.forward, self.backward = activations.activation_entries(self.dtype)


class KnownLabels:
    """Dtype and shapes of a loss's last pass with class numbers, and the compiled code for these types."""

    __slots__ = ("_spares", "dtype", "outputs", "room", "rows", "score")

    def __init__(self, z: Array, y: Array) -> None:
        self.dtype, self.outputs, self.rows = FLOAT32 if z.dtype == FLOAT32 else FLOAT64, z.shape, y.shape
        self.room = len(z) + losses.scratch_size(z.shape[1])
        self.score = labels.labelled_entry(self.dtype)
        self._spares: list[tuple[Array, Array]] = []

    def borrow(self) -> tuple[Array, Array]:
        """Return scratch and room for two numbers that no other thread has; `give_back` keeps them for the next call.

        0.15 µs less than to make them.
        """
        try:
            return self._spares.pop()
        except IndexError:
            return np.empty(self.room, self.dtype), np.empty(2)

    def give_back(self, scratch: Array, out: Array) -> None:
        """Keep what `borrow` returned for the next call."""
        self._spares.append((scratch, out))
