"""Layers as operations: what compiled loops make of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastnn.activations import Activation, Linear, Softmax
from fastnn.base import Layer
from fastnn.kernels import gemm, network
from fastnn.layers import Dense, Dropout


class Operation(NamedTuple):
    """One row of a plan: a layer, with the activation that follows it where it is a dense one."""

    kind: int
    n_in: int
    n_out: int
    activation: int
    layer: Layer
    place: int


def lower(layers: Sequence[Layer]) -> list[Operation] | None:
    """Return the operations that stand for `layers`, or None if one of them is not fastnn's own.

    The layers' widths must fit each other, and one at least must be dense.
    """
    operations: list[Operation] = []
    width = next((layer.n_inputs for layer in layers if layer.n_inputs is not None), None)
    for place, layer in enumerate(layers):
        if width is None:
            return None
        if isinstance(layer, Dense) and _as_ours(layer, Dense):
            operations.append(Operation(network.DENSE, width, layer.n_outputs, gemm.LINEAR, layer, place))
            width = layer.n_outputs
        elif _as_ours(layer, Linear):
            continue
        elif isinstance(layer, Activation) and type(layer).__module__ == Activation.__module__ and _plain(layer):
            last = operations[-1] if operations else None
            if last is not None and last.kind == network.DENSE and last.activation == gemm.LINEAR:
                operations[-1] = last._replace(activation=layer.code)
            else:
                operations.append(Operation(network.ACTIVATION, width, width, layer.code, layer, place))
        elif _as_ours(layer, Softmax):
            operations.append(Operation(network.SOFTMAX, width, width, gemm.LINEAR, layer, place))
        elif _as_ours(layer, Dropout):
            operations.append(Operation(network.DROPOUT, width, width, gemm.LINEAR, layer, place))
        else:
            return None
    return operations


_COMPUTING = ("forward", "backward", "parameters", "gradients", "penalty", "draw_from")


def _as_ours(layer: Layer, kind: type[Layer]) -> bool:
    """Tell whether a layer is of a kind, and a subclass or an object of yours does not compute anything else."""
    return (
        isinstance(layer, kind)
        and _plain(layer)
        and all(getattr(type(layer), name, None) is getattr(kind, name, None) for name in _COMPUTING)
    )


def _plain(layer: Layer) -> bool:
    """Tell whether an object computes as its class does."""
    return not any(name in layer.__dict__ for name in _COMPUTING)


def settings_of(operations: Sequence[Operation]) -> list[tuple[float | None, ...]]:
    """Return the numbers of the layers that are written into a plan."""
    settings: list[tuple[float | None, ...]] = []
    for layer in (o.layer for o in operations):
        if isinstance(layer, Dense):
            settings.append((layer.weight_l1, layer.weight_l2, layer.bias_l1, layer.bias_l2))
        elif isinstance(layer, Dropout):
            settings.append((layer.rate, layer.seed))
    return settings


def note_passes(operations: Sequence[Operation], seed: int, passes: int) -> None:
    """Let the next mask of each dropout be number `passes`, as after that many steps layer by layer."""
    for operation in operations:
        if isinstance(layer := operation.layer, Dropout):
            layer.draw_from(seed if layer.seed is None else layer.seed, operation.place, passes)


def work_of(operations: Sequence[Operation], rows: int) -> float:
    """Return the floating-point operations of one training step."""
    dense = [o for o in operations if o.kind == network.DENSE]
    first = 2.0 * dense[0].n_in * dense[0].n_out
    return rows * (sum(6.0 * o.n_in * o.n_out for o in dense) - first)
