"""What the book's optimisers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn import threads
from fastnn.arrays import check_number
from fastnn.kernels import book_layers
from fastnn.nnfs._common import EMPTY, F32, F64, Part

Rates = npt.NDArray[np.float64]
_SMALL = threads.SERIAL_WORK / 8.0


class Optimizer(Part):
    """What all optimisers have: the learning rate and its decay, the count of steps, a step on a layer."""

    kind: ClassVar[int]
    _row: Rates | None = None
    _row_of: tuple[Any, ...] | None = None
    _slots: tuple[str, ...] = ()
    _kind = 0

    def __init__(self, learning_rate: float, decay: float) -> None:
        check_number(learning_rate, "learning_rate")
        check_number(decay, "decay")
        # As given, not as float: printed lines show it.
        self.learning_rate: Any = learning_rate
        self.current_learning_rate: Any = learning_rate
        self.decay: Any = decay
        self.iterations = 0

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the arrays a layer keeps for each parameter, after ``weight_`` and ``bias_``."""
        raise NotImplementedError

    def columns(self, rates: Any, first: int, count: int) -> Sequence[Any]:
        """Return the kernel's numbers for `count` steps from iteration `first` on; see `kernels.optim.update`."""
        raise NotImplementedError

    def _key(self) -> tuple[Any, ...]:
        """Return what the kernel's numbers for the present step depend on."""
        raise NotImplementedError

    def step_kind(self) -> int:
        """Return the kernel's number of this optimiser."""
        return self.kind

    def pre_update_params(self) -> None:
        """Set ``current_learning_rate`` to ``learning_rate / (1 + decay * iterations)``, if there is decay."""
        if self.decay:
            self.current_learning_rate = self.learning_rate * (1.0 / (1.0 + self.decay * self.iterations))

    def rates(self, count: int) -> Rates:
        """Return ``current_learning_rate`` of the next `count` steps, float64."""
        if not self.decay:
            return np.full(count, float(self.current_learning_rate))
        iterations = np.arange(self.iterations, self.iterations + count, dtype=np.float64)
        return self.learning_rate * (1.0 / (1.0 + self.decay * iterations))

    def table(self, rates: Rates) -> Rates:
        """Return the kernel's numbers for the steps with the given learning rates, from ``iterations`` on."""
        table = np.zeros((len(rates), 8), np.float64)
        for column, values in enumerate(self.columns(rates, self.iterations, len(rates))):
            table[:, column] = values
        return table

    def update_params(self, layer: Any) -> None:
        """Change a layer's parameters by its gradients, in place.

        Parameters
        ----------
        layer : object
            With ``weights``, ``biases``, ``dweights``, ``dbiases``: a `Layer_Dense`, or a layer of your own.

        Raises
        ------
        AttributeError
            If the layer has no gradients yet.
        """
        key = self._key()
        if key != self._row_of:
            self._fill()
            self._row_of = key
        w, b, dw, db = layer.weights, layer.biases, layer.dweights, layer.dbiases
        own, slots = layer.__dict__, self._slots
        made, held = own.get("_made"), own.get("_held")
        if not (
            made is not None
            and held is not None
            and w is made[0]
            and b is made[1]
            and dw is made[2]
            and db is made[3]
            and w is held[0]
            and b is held[1]
            and slots is held[2]
            and (not slots or (own.get(held[7]) is held[3] and own.get(held[8]) is held[5]))
            and (len(slots) < 2 or (own.get("weight_cache") is held[4] and own.get("bias_cache") is held[6]))
        ):
            self._keep(layer)
            held = _hold(layer, slots) if _fit(w, b, dw, db) else None
            if held is None:
                self._update_any(layer)
                return
            # Only where it serves again: a layer of the user's own could not be pickled with compiled code.
            if made is not None:
                layer._held = held
        if w.size < _SMALL:
            held[9](self._kind, w, b, dw, db, held[3], held[4], held[5], held[6], self._row, 1)
        else:
            threads.run(book_layers.layer_update, 8.0 * w.size, self._kind, w, b, dw, db, *held[3:7], self._row)

    def _fill(self) -> None:
        """Bring the kernel's numbers up to date."""
        row = self._row
        if row is None:
            row = self._row = np.zeros(8, np.float64)  # whatever `nnfs` has made of the default
        for column, value in enumerate(self.columns(self.current_learning_rate, self.iterations, 1)):
            row[column] = value
        self._slots, self._kind = self.slots, self.step_kind()

    def _keep(self, layer: Any) -> None:
        """Let a layer have the arrays that this optimiser keeps: zeros, if one of them is missing.

        Where the last kind of them is missing all begin anew, as in the book: what SGD leaves in the momentums is no
        mean of gradients, as Adam's are.
        """
        anew = bool(self.slots) and not has_state(layer, self.slots[-1])
        for slot in self.slots:
            if anew or not has_state(layer, slot):
                setattr(layer, f"weight_{slot}", np.zeros_like(layer.weights))
                setattr(layer, f"bias_{slot}", np.zeros_like(layer.biases))

    def _update_any(self, layer: Any) -> None:
        """Do the step in NumPy, for arrays that kernels do not take: mixed dtypes, other shapes, other layouts."""
        self._keep(layer)
        for name in ("weight", "bias"):
            plural = "weights" if name == "weight" else "biases"
            param, grad = getattr(layer, plural), getattr(layer, f"d{plural}")
            if not _goes_into(np.shape(grad), np.shape(param)):
                raise ValueError(
                    f"d{plural} must have the shape {np.shape(param)} of the {plural}, or be broadcast to it, got "
                    f"{np.shape(grad)}: call forward() and backward() again after a change of shape"
                )
            param += self._change(layer, name, grad)
            setattr(layer, plural, param)

    def _change(self, layer: Any, name: str, grad: Any) -> Any:
        """Return what is added to a parameter, and bring its state up to date."""
        raise NotImplementedError

    def post_update_params(self) -> None:
        """Count the step."""
        self.iterations += 1


def has_state(layer: Any, slot: str) -> bool:
    """Tell whether a layer has an optimiser's arrays of one kind."""
    return hasattr(layer, f"weight_{slot}") and hasattr(layer, f"bias_{slot}")


def _goes_into(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Tell whether NumPy broadcasts a shape to the wanted one."""
    try:
        return np.broadcast_shapes(wanted, shape) == wanted
    except ValueError:
        return False


def _fit(*arrays: Any) -> bool:
    """Tell whether weights, biases and their gradients are as kernels take them."""
    w, b, dw, db = arrays
    if not all(type(a) is np.ndarray and a.ndim == 2 and a.flags.carray for a in arrays):
        return False
    return (
        w.dtype in (F32, F64)
        and b.dtype == w.dtype
        and dw.dtype == w.dtype
        and db.dtype == w.dtype
        and dw.shape == w.shape
        and b.shape == db.shape == (1, w.shape[1])
    )


def _hold(layer: Any, slots: tuple[str, ...]) -> tuple[Any, ...] | None:
    """Return a layer's weights and state if kernels can take them; None if not."""
    w, b = layer.weights, layer.biases
    none = EMPTY[w.dtype]
    weights, biases = [none, none], [none, none]
    for i, slot in enumerate(slots):
        weights[i], biases[i] = getattr(layer, f"weight_{slot}"), getattr(layer, f"bias_{slot}")
        if not _fit(w, b, weights[i], biases[i]):
            return None
    first = slots[0] if slots else ""
    return w, b, slots, *weights, *biases, f"weight_{first}", f"bias_{first}", book_layers.update_entry(w.dtype, 2)


NONE: tuple[str, ...] = ()
MOMENTUMS = ("momentums",)
CACHE = ("cache",)
BOTH = ("momentums", "cache")
