"""Checks of the objects that a model is made of and trained with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fastnn.base import Layer
from fastnn.callbacks import Callback
from fastnn.history import warn_user
from fastnn.optimizers import Optimizer


def check_layers(layers: Sequence[Any]) -> None:
    if not layers:
        raise ValueError("layers: got none; pass at least one layer, for example Sequential(Dense(2, 3))")
    width: int | None = None
    names: dict[str, int] = {}
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            listed = isinstance(layer, (list, tuple))
            remedy = "write Sequential(*layers) to pass a list" if listed else "derive your own from Layer"
            raise TypeError(f"layers[{place}] must be a fastnn layer, got {_told(layer, remedy)}")
        if any(layer is other for other in layers[:place]):
            raise ValueError(f"layers[{place}] is in the network twice; make a second layer")
        name = layer.name or str(place)
        if name in names:
            raise ValueError(
                f"layers[{place}]: the name {name!r} is taken by layers[{names[name]}]; give each layer its own, and "
                "none that is the place of a layer without a name"
            )
        names[name] = place
        if layer.n_inputs is not None and width is not None and layer.n_inputs != width:
            raise ValueError(
                f"layers[{place}] takes {layer.n_inputs} inputs, but what comes before it gives {width}; "
                f"make it Dense({width}, …)"
            )
        width = layer.n_outputs if layer.n_outputs is not None else width


def check_callbacks(callbacks: Iterable[Callback]) -> list[Callback]:
    if isinstance(callbacks, Callback):
        return [callbacks]
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of Callback objects, got {callbacks!r}; write callbacks=[…]")
    found: list[Any] = list(callbacks)
    for i, callback in enumerate(found):
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks[{i}] must be a Callback, got {_told(callback, 'derive it from Callback')}")
    return found


def check_kind(value: Any, kind: type, name: str, default: Any) -> Any:
    if value is None:
        return default()
    if not isinstance(value, kind):
        told = _told(value, f"pass {default.__name__}(), for example")
        raise TypeError(f"{name} must be a {kind.__name__} object, got {told}")
    return value


def warn_if_new(optimizer: Optimizer, layers: Sequence[Layer]) -> bool:
    """Warn if an optimiser has done steps, but none on these layers: it does not begin afresh. Tell whether so."""
    if not optimizer.step or not optimizer.n_slots:
        return False
    if any(optimizer.keeps(layer, name) for layer in layers for name in layer.parameters()):
        return False
    warn_user(
        f"optimizer has done {optimizer.step} steps, but none on this model: its schedule and bias corrections go on "
        "from there, and its state begins at zero. To begin afresh, call its reset() first or pass a new "
        f"{type(optimizer).__name__}(); to go on, pass it with the very layers that it has trained.",
        UserWarning,
    )
    return True


def _told(value: Any, remedy: str) -> str:
    """Return what came in an object's place, and what to do: of a class, to make an object of it."""
    if isinstance(value, type):
        return f"the class {value.__name__}: make an object of it, {value.__name__}(…)"
    return f"{type(value).__name__}: {remedy}"
