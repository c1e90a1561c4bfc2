"""What every optimiser has in common; `fastnn.optimizers` holds the kinds and is the public name."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, final, runtime_checkable

import numpy as np
import numpy.typing as npt

from fastnn import threads
from fastnn._known import ByObject, Held, Slots
from fastnn._schedule import Ahead, Schedule
from fastnn.arrays import Array, as_parameter, check_number, check_positive_int
from fastnn.base import Configurable, Layer
from fastnn.kernels import optim

Rates = npt.NDArray[np.float64]
N_SCALARS = 8
_SMALL = threads.SERIAL_WORK / 8.0


@runtime_checkable
class _ScheduleLike(Protocol):
    """What an optimiser asks of a schedule; the kinds are in `fastnn.schedules`."""

    def __call__(self, step: int) -> float: ...

    def values(self, first_step: int, count: int) -> Rates: ...


LearningRate = float | _ScheduleLike


_PLAIN = (int, float, bool, str, type(None))  # what is the same in a copy


class Optimizer(Configurable, abc.ABC):
    """Base class: ``update(*layers)`` once a step.

    Parameters
    ----------
    learning_rate : float or schedule
        A number, at least 0, or an object of `fastnn.schedules`. It may be assigned anew at any time.

    Attributes
    ----------
    step : int
        How many steps were done.
    current_learning_rate : float
        The rate of the last step done, or of the first one if there was none.
    kind : int
        The kernel's number of this optimiser.
    n_slots : int
        How many arrays of state each parameter has.
    """

    def __init__(self, learning_rate: LearningRate) -> None:
        self.learning_rate = _checked_rate(learning_rate)
        self.step = 0
        self._state: ByObject[dict[str, Slots]] = ByObject()
        self._ahead = Ahead()
        self._token = object()

    @property
    @abc.abstractmethod
    def kind(self) -> int:
        """The kernel's number of this optimiser."""

    @abc.abstractmethod
    def _columns(self, rates: Rates, first_step: int) -> Sequence[Any]:
        """Return the columns of `scalars`: numbers, or arrays as long as `rates`."""

    @property
    def compiles(self) -> bool:
        """Whether compiled loops do what `update` does: not where a subclass has one of its own."""
        return type(self).update is Optimizer.update and "update" not in self.__dict__

    @property
    def n_slots(self) -> int:
        """How many arrays of state each parameter has."""
        return int(optim.SLOTS[self.kind])

    @property
    def state_mark(self) -> object:
        """An object that stands for where the state lies: another one as soon as any of it lies elsewhere."""
        return self._token

    @property
    def current_learning_rate(self) -> float:
        """The rate of the last step done, or of the first one if there was none."""
        return float(self.learning_rates(max(self.step - 1, 0), 1)[0])

    def learning_rates(self, first_step: int, count: int) -> Rates:
        """Return the learning rates of `count` steps from `first_step` on, shape (count,), float64.

        Raises
        ------
        TypeError, ValueError
            If ``learning_rate`` is neither a number nor a schedule, or gives a rate that is negative or not
            finite.
        """
        rate = _checked_rate(self.learning_rate)
        if isinstance(rate, float):
            return np.full(count, rate)
        rates = np.asarray(rate.values(first_step, count), dtype=np.float64)
        if rates.shape != (count,) or not (np.isfinite(rates) & (rates >= 0.0)).all():
            raise ValueError(
                f"learning_rate must give {count} finite rates of at least 0 from step {first_step} on, got "
                f"{rates}: mend the values() of {type(rate).__name__}"
            )
        return rates

    @final
    def scalars(self, first_step: int, count: int) -> Rates:
        """Return the numbers that the kernel needs for `count` steps in a row.

        Parameters
        ----------
        first_step : int
            The first step, at least 0.
        count : int
            How many steps, at least 0.

        Returns
        -------
        numpy.ndarray
            Shape (count, 8), float64; each row has the same bits however many are asked for. What the
            columns mean is said in ``fastnn.kernels.optim.update``.

        Examples
        --------
        >>> from fastnn.optimizers import RMSprop
        >>> RMSprop(0.5, rho=0.75).scalars(0, 1)[0, :3]
        array([0.5 , 0.75, 0.25])
        """
        first_step = check_positive_int(first_step, "first_step", 0)
        count = check_positive_int(count, "count", 0)
        table = np.zeros((count, N_SCALARS), np.float64)
        with np.errstate(all="ignore"):
            for column, values in enumerate(self._columns(self.learning_rates(first_step, count), first_step)):
                table[:, column] = values
        return table

    @final
    def next_scalars(self, count: int) -> Rates:
        """Return ``scalars(step, count)``, for reading: made ahead as a rule, and handed out again.

        Parameters
        ----------
        count : int
            How many steps, at least 0.

        Returns
        -------
        numpy.ndarray
            Shape (count, 8), float64; later calls return the same memory.

        Raises
        ------
        TypeError, ValueError
            As `scalars`.

        Examples
        --------
        >>> from fastnn.optimizers import SGD
        >>> SGD(0.5).next_scalars(2)[:, 0]
        array([0.5, 0.5])
        """
        return self._ahead.rows(self, self.step, count)

    def keeps(self, owner: object, name: str) -> bool:
        """Tell whether there is state of a parameter; what `slots` would return is zero if not."""
        return name in self._state.get(owner, {})

    def slots(self, owner: object, name: str, array: Array) -> tuple[Array, ...]:
        """Return the state of a parameter: `n_slots` arrays of its shape and dtype.

        They are zero at first, cast if the parameter's dtype has changed, and zero again if its shape has.
        State is kept as long as its owner lives.

        Parameters
        ----------
        owner : object
            The layer that owns the parameter.
        name : str
            The parameter's short name.
        array : numpy.ndarray
            The parameter.
        """
        known = self._state.setdefault(owner, {})
        kept = known[name].arrays if name in known else ()
        slots = []
        for i in range(self.n_slots):
            if i < len(kept) and kept[i].shape == array.shape:
                slots.append(as_parameter(kept[i], array.shape, array.dtype, f"state of {name}"))
            else:
                slots.append(np.zeros(array.shape, array.dtype))
        self._token = object()
        known[name] = Slots(slots, array)
        return known[name].arrays

    def bind(self, owner: object, name: str, arrays: Sequence[Array]) -> None:
        """Let `arrays`, `n_slots` of them, be the state of a parameter from now on; they are not copied."""
        if len(arrays) != self.n_slots:
            raise ValueError(
                f"arrays must be {self.n_slots} for {type(self).__name__}, got {len(arrays)}: "
                "pass as many as n_slots says"
            )
        self._token = object()
        self._state.setdefault(owner, {})[name] = Slots(arrays)

    def reset(self) -> None:
        """Forget all state and count steps from 0 again."""
        self.step = 0
        self._state = ByObject()
        self._ahead = Ahead()
        self._token = object()

    def update(self, *layers: Layer) -> None:
        """Do one step: change the parameters of all `layers`, in place, by their gradients.

        Layers without parameters are passed over. All that is to be learnt in a step belongs in one call,
        because it counts as one step.

        Raises
        ------
        RuntimeError
            If a layer has no gradients yet.
        TypeError
            If a parameter holds whole numbers, which could not take a small step.
        ValueError
            If a gradient has not its parameter's shape, or a layer is given twice. Nothing has changed then.
        """
        if len(layers) > 1 and len(set(map(id, layers))) < len(layers):
            raise ValueError("update() takes each layer once, got one twice: a step counts a gradient once")
        row, kind, token, calls = self._ahead.row(self, self.step), self.kind, self._token, []
        for layer in layers:
            held, made = getattr(layer, "_held", None), getattr(layer, "_made", None)
            if held is None or made is None:
                break
            w, b, dw, db = made
            if (
                held.token is not token
                or held.kind != kind
                or w is not held.weights
                or b is not held.biases
                or w is not layer.weights  # type: ignore[attr-defined]
                or b is not layer.biases  # type: ignore[attr-defined]
                or dw is not layer.dweights  # type: ignore[attr-defined]
                or db is not layer.dbiases  # type: ignore[attr-defined]
                or not w.flags.carray
                or not b.flags.carray
            ):
                break
            calls.append((held, made))
        else:
            for held, made in calls:
                held.call(kind, *made, *held.state, row, 1)
            self.step += 1
            return
        self._update_any(layers, row, kind)

    def _update_any(self, layers: Sequence[Layer], row: Rates, kind: int) -> None:
        """Do one step on layers of which nothing is known yet."""
        work = [(layer, *_parts(layer)) for layer in layers]
        n_slots = optim.SLOTS[kind]
        for layer, parts, ready in work:
            known = self._state.get(layer, {})
            for name, param, grad in parts:
                ordered = param
                if not ready:
                    ordered = as_parameter(param, param.shape, None, name)
                    grad = as_parameter(grad, ordered.shape, ordered.dtype, name)
                held = known.get(name)
                if held is None or not held.fits(ordered, n_slots):
                    self.slots(layer, name, ordered)
                    known = self._state.get(layer, {})
                    held = known[name]
                s1, s2, s3 = held.flat
                flat, dflat = ordered.ravel(), grad.ravel()
                threads.run(optim.update, 8.0 * flat.size, kind, flat, dflat, s1, s2, s3, row)
                if ordered is not param:
                    param[...] = ordered
            # One call for both parameters; AMSGrad's three arrays of state do not go into it.
            if ready and n_slots <= 2 and parts[0][1].size < _SMALL and layer._made is not None:
                layer._held = Held(layer, known, self._token, kind)
        self.step += 1

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], schedule_from: Callable[[Mapping[str, Any]], Any] | None = None
    ) -> Self:
        """Build the optimiser that `get_config` described; steps and state are no part of it.

        Parameters
        ----------
        config : Mapping
            What `get_config` returned.
        schedule_from : callable, optional
            What turns a schedule's configuration into a schedule: ``fastnn.schedules.Schedule.from_config``.

        Raises
        ------
        ValueError
            If the configuration does not fit.

        Examples
        --------
        >>> from fastnn.optimizers import Adam, Optimizer
        >>> from fastnn.schedules import InverseTimeDecay, Schedule
        >>> config = Adam(InverseTimeDecay(0.1, decay=0.01)).get_config()
        >>> Optimizer.from_config(config, Schedule.from_config).learning_rate
        InverseTimeDecay(learning_rate=0.1, decay=0.01)
        """
        arguments = dict(config)
        rate = arguments.get("learning_rate")
        if isinstance(rate, Mapping):
            if schedule_from is None:
                raise ValueError("config['learning_rate'] is a schedule's: pass schedule_from=Schedule.from_config")
            arguments["learning_rate"] = schedule_from(rate)
        return super().from_config(arguments)

    def __getstate__(self) -> dict[str, Any]:
        # Weak references cannot be copied: layers and their state travel as pairs.
        known = self._state.items()
        pairs = [(owner, {name: held.arrays for name, held in slots.items()}) for owner, slots in known]
        return {**self.__dict__, "_state": pairs, "_ahead": None, "_token": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Copied by itself, it goes on with the very layers.
        stay = [] if memo else list(self._state)
        twin = memo[id(self)] = self.__class__.__new__(self.__class__)
        return self._copied_to(twin, self.__getstate__(), memo, stay)

    def _copied_to(self, twin: Self, state: dict[str, Any], memo: dict[int, Any], layers: Sequence[Layer]) -> Self:
        # As copy.deepcopy would in ten times as long: `fit_many` makes thousands of copies.
        twin.__setstate__({n: v if v.__class__ in _PLAIN else copy.deepcopy(v, memo) for n, v in state.items()})
        for layer in layers:
            for name, held in self._state.get(layer, {}).items():
                twin._state.setdefault(layer, {})[name] = Slots([array.copy() for array in held.arrays])
        return twin

    def twin(self, layers: Sequence[Layer]) -> Self:
        """Return a copy that will train these very layers: of the state it has theirs alone, in arrays of its own.

        Examples
        --------
        >>> from fastnn.optimizers import Adam
        >>> Adam(0.5).twin([]).learning_rate
        0.5
        """
        state = {**self.__getstate__(), "_state": []}
        return self._copied_to(self.__class__.__new__(self.__class__), state, {}, layers)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ahead, self._token = Ahead(), object()
        self._state = ByObject()
        for owner, known in state["_state"]:
            self._state[owner] = {name: Slots(arrays) for name, arrays in known.items()}


def _checked_rate(value: Any) -> Any:
    """Return a number as a float, a schedule as it is."""
    if type(value) is float:  # the check for a schedule is slow
        return check_number(value, "learning_rate")
    if isinstance(value, Schedule) or (not isinstance(value, type) and isinstance(value, _ScheduleLike)):
        return value
    try:
        return check_number(value, "learning_rate")
    except TypeError:
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(
            f"learning_rate must be a number or a schedule, got {given}: pass a float such as 0.1, or an "
            "object of fastnn.schedules such as InverseTimeDecay(1.0, decay=1e-3)"
        ) from None


def _parts(layer: Layer) -> tuple[Sequence[tuple[str, Array, Array]], bool]:
    """Return (name, parameter, gradient), which fit, of all that a layer learns; and whether kernels take them."""
    ready = layer._to_learn() if hasattr(layer, "_to_learn") else None
    if ready is not None:
        return ready, True
    if not hasattr(layer, "gradients"):
        raise TypeError(f"update() takes layers, got {type(layer).__name__}: write update(*model.layers), say")
    parts, gradients = [], layer.gradients()
    for name, param in layer.parameters().items():
        grad = gradients.get(name)
        if grad is None:
            raise RuntimeError(
                f"{type(layer).__name__} has no gradient of its {name}: call forward() and backward() first"
            )
        if isinstance(param, np.ndarray) and param.dtype.kind != "f":
            found = f"{param.dtype}: make it with dtype=np.float32 or np.float64"
            raise TypeError(f"{name} of {type(layer).__name__} must hold floating-point numbers to learn, got {found}")
        parts.append((name, param, as_parameter(grad, param.shape, None, f"gradient of {name}")))
    return parts, False
