"""What layers, losses and optimisers have found in order, so that the next call sees at a glance that it still is."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numba
import numpy as np

from fastnn import threads
from fastnn._array_steps import FLOAT32, FLOAT64, Array
from fastnn.kernels import activations, book_layers, labels

Value = TypeVar("Value")

CROSS_ENTROPY_WORK = 40.0
"""Floating-point operations of the softmax cross-entropy for each logit, to decide whether threads pay."""


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


def _score(work: float, *arguments: Any) -> None:
    """Call `labels.labelled_cross_entropy` with as many workers as the work deserves just now.

    The last of the arguments is the one worker that its compiled code is called with where that is enough.
    """
    threads.call(labels.labelled_cross_entropy, threads.workers(work), *arguments[:-1])


class KnownLabels:
    """Dtype and shapes of a loss's last pass with class numbers, and the compiled code for these types."""

    __slots__ = ("_room", "_spares", "dtype", "outputs", "rows", "score")

    def __init__(self, z: Array, y: Array) -> None:
        self.dtype, self.outputs, self.rows = FLOAT32 if z.dtype == FLOAT32 else FLOAT64, z.shape, y.shape
        work = CROSS_ENTROPY_WORK * z.size
        # As many as there can ever be; where that is one, nobody is asked again.
        n_workers = threads.workers(work, numba.config.NUMBA_NUM_THREADS)
        self._room = labels.scratch_size(*z.shape, n_workers)
        # Not a method of this object's: it would hold on to itself, and to its scratch, until Python looks for that.
        self.score = labels.labelled_entry(self.dtype) if n_workers == 1 else functools.partial(_score, work)
        self._spares: list[tuple[Array, Array]] = []

    def borrow(self) -> tuple[Array, Array]:
        """Return scratch and room for two numbers that no other thread has; `give_back` keeps them for the next call.

        0.15 µs less than to make them.
        """
        try:
            return self._spares.pop()
        except IndexError:
            return np.empty(self._room, self.dtype), np.empty(2)

    def give_back(self, scratch: Array, out: Array) -> None:
        """Keep what `borrow` returned for the next call."""
        self._spares.append((scratch, out))


class ByObject(Generic[Value]):
    """Values by the object that they belong to, whatever it calls equal to itself, for as long as it lives."""

    __slots__ = ("__weakref__", "_found")

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[Any], Value]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Any]:
        return (owner for owner, _ in self.items())

    def __setitem__(self, owner: object, value: Value) -> None:
        key, ours = id(owner), weakref.ref(self)

        def forget(gone: weakref.ref[Any]) -> None:
            found = {} if (us := ours()) is None else us._found
            # Another object may have the number by now.
            if key in found and found[key][0] is gone:
                del found[key]

        self._found[key] = weakref.ref(owner, forget), value

    def get(self, owner: object, default: Value) -> Value:
        """Return an object's value, or else `default`."""
        known = self._found.get(id(owner))
        return default if known is None or known[0]() is not owner else known[1]

    def setdefault(self, owner: object, default: Value) -> Value:
        """Return an object's value, which is `default` from now on if there was none."""
        known = self._found.get(id(owner))
        if known is None or known[0]() is not owner:
            self[owner] = default
            return default
        return known[1]

    def items(self) -> list[tuple[Any, Value]]:
        """Return the objects that live, and their values."""
        return [(owner, value) for known, value in list(self._found.values()) if (owner := known()) is not None]


class Slots:
    """The state of a parameter.

    Attributes
    ----------
    arrays : tuple of numpy.ndarray
        As everybody may have them.
    flat : tuple of numpy.ndarray
        The kernel's three: 1-D views of the arrays that nobody else has, so that they need no check. Empty if `arrays`
        have not been checked yet.
    """

    __slots__ = ("_dtype", "_shape", "arrays", "flat")

    def __init__(self, arrays: Sequence[Array], param: Array | None = None) -> None:
        self.arrays = tuple(arrays)
        self.flat: tuple[Array, ...] = ()
        self._shape: tuple[int, ...] | None = None
        self._dtype: np.dtype[Any] | None = None
        if param is not None:
            self._shape, self._dtype = param.shape, param.dtype
            spare = np.empty(0, param.dtype)
            self.flat = (*(array.reshape(-1) for array in arrays), spare, spare, spare)[:3]

    def fits(self, param: Array, n_slots: int) -> bool:
        """Tell whether `flat` are what a kernel with so many slots needs for a parameter like this."""
        return self._shape == param.shape and self._dtype == param.dtype and len(self.arrays) == n_slots


class Held:
    """What a step on a small dense layer needs, all of it checked: the layer keeps it for the next one."""

    __slots__ = ("biases", "call", "kind", "state", "token", "weights")

    def __init__(self, layer: Any, known: Mapping[str, Slots], token: object, kind: int) -> None:
        self.weights, self.biases = w, b = layer.weights, layer.biases
        self.token, self.kind, of_weights, of_biases = token, kind, known["weights"].arrays, known["biases"].arrays
        none, spare = [np.empty((0, 0), w.dtype)] * 2, [np.empty(0, b.dtype)] * 2
        # Views that nobody else has, so that they need no check.
        self.state = (
            *[*(array.view() for array in of_weights), *none][:2],
            *[*(array.view() for array in of_biases), *spare][:2],
        )
        self.call = book_layers.update_entry(w.dtype, 1)
