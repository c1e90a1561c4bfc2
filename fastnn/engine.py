"""Networks lowered to flat buffers and a plan of integers, and the calls that predict with them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn import threads
from fastnn._array_steps import check_finite, in_order
from fastnn._lowering import Operation, work_of
from fastnn.arrays import Array
from fastnn.base import Layer
from fastnn.kernels import gemm, losses, network, panels, predict, zeros
from fastnn.layers import Dense, Dropout

LINE = 16  # elements between buffers' starts: a cache line of float32
_PREDICT_ROWS = 96
_PANEL_ROWS = 2 * _PREDICT_ROWS  # of each worker, from which on weights are laid out in panels once for all blocks


def aligned(size: int, dtype: np.dtype[Any], zero: bool = False) -> Array:
    """Return a 1-D array, all zero or not set, whose first element lies on a 64-byte boundary."""
    spare = 64 // dtype.itemsize
    # Zeros come from the system as they are: pages are made when they are first used, by the thread that uses them.
    room = np.zeros(size + spare, dtype=dtype) if zero else np.empty(size + spare, dtype)
    first = (-room.ctypes.data % 64) // dtype.itemsize
    return room[first : first + size]


def _row(n: int, itemsize: int) -> int:
    """Return the distance of rows of `n` values: whole lines, and no large power of two, which would share sets."""
    ld = -(-n // LINE) * LINE
    return ld + LINE if ld * itemsize % 2048 == 0 else ld


class Plan:
    """The plan and the layout of the workspace for batches of at most `rows` rows.

    Attributes
    ----------
    table, factors : numpy.ndarray
        What kernels read: `network.COLUMNS` integers and `network.FACTORS` floats per operation.
    n_params : int
        Elements of the flat parameters.
    input, labels, targets : int
        Places of the gathered batch in the workspace.
    parameters : list of tuple
        Operation's number, name, place in the flat parameters and shape of each array that learns.
    scratch, block, part : int
        Where workers' scratch begins, where in it gradients' blocks lie, and the length of each one's.
    places : numpy.ndarray
        Where the parameters lie, for `panels.lay_out`, if `in_panels` asks for weights in panels and that pays.
    """

    def __init__(
        self, operations: Sequence[Operation], rows: int, dtype: np.dtype[Any], seed: int = 0, in_panels: bool = False
    ) -> None:
        size, itemsize = 0, dtype.itemsize
        self.table = np.empty((len(operations), network.COLUMNS), np.int64)
        self.table.fill(0)
        self.factors = np.empty((len(operations), network.FACTORS), np.float64)
        self.factors.fill(0.0)
        params, depth = 0, rows
        places: list[tuple[int, int, int]] = []
        self.parameters: list[tuple[int, str, slice, tuple[int, ...]]] = []
        for i, o in enumerate(operations):
            row, ld = self.table[i], _row(o.n_out, itemsize)
            row[network.KIND], row[network.N_IN], row[network.N_OUT] = o.kind, o.n_in, o.n_out
            row[network.ACTIVATE], row[network.LD] = o.activation, ld
            row[network.OUT], row[network.GRAD] = size, size + rows * ld
            size += 2 * rows * ld
            depth = max(depth, o.n_in, o.n_out)
            if isinstance(o.layer, Dense):
                row[network.WEIGHTS] = params
                self.parameters.append((i, "weights", slice(params, params + o.n_in * o.n_out), (o.n_in, o.n_out)))
                laid = in_panels and o.n_out >= panels.LEAST_COLUMNS
                row[network.PANELS] = int(laid)
                places.append((params, o.n_in, o.n_out) if laid else (params, 1, o.n_in * o.n_out))
                params += -(-o.n_in * o.n_out // LINE) * LINE
                row[network.BIASES] = params
                self.parameters.append((i, "biases", slice(params, params + o.n_out), (o.n_out,)))
                places.append((params, 1, o.n_out))
                params += -(-o.n_out // LINE) * LINE
        self._note(operations, seed)
        self.n_params = params + network.SPARE
        self.rows = rows
        if not self.table[:, network.PANELS].any():
            places = []
        self.places = np.array(places, np.int64).reshape(-1, 3)
        n_in, n_out = operations[0].n_in, operations[-1].n_out
        self.input_ld, self.targets_ld = _row(n_in, itemsize), _row(n_out, itemsize)
        self.input = size
        self.labels = self.input + 2 * rows * self.input_ld
        self.targets = self.labels + 2 * (rows + LINE)
        self.row_words = self.targets + 2 * rows * self.targets_ld
        by_rows, by_columns = zeros.room(rows, n_in, itemsize)
        self.column_words = self.row_words + _row(by_rows, itemsize)
        self.scratch = self.column_words + _row(by_columns, itemsize)
        block = max(
            gemm.worker_scratch(depth, itemsize), network.block_size(rows, itemsize), losses.scratch_size(n_out)
        )
        self.block = (block + LINE) // LINE * LINE
        self.part = 2 * self.block
        # Without the batch itself, which prediction reads where it lies.
        self.forward_scratch, self.forward_part = size, size + self.part

    def _note(self, operations: Sequence[Operation], seed: int) -> None:
        """Write into the tables what networks of one shape may differ in."""
        for i, o in enumerate(operations):
            layer = o.layer
            if isinstance(layer, Dense):
                self.factors[i, : network.RATE] = layer.weight_l1, layer.weight_l2, layer.bias_l1, layer.bias_l2
            elif isinstance(layer, Dropout):
                self.factors[i, network.RATE] = layer.rate
                self.table[i, network.STREAM] = o.place
                self.table[i, network.SEED] = seed if layer.seed is None else layer.seed

    def twin(self, operations: Sequence[Operation], seed: int) -> Plan:
        """Return the plan of another network of this one's shape."""
        # As copy.copy would, in a tenth of the time: `fit_many` makes thousands.
        plan = object.__new__(Plan)
        plan.__dict__.update(self.__dict__)
        plan.table, plan.factors = self.table.copy(), self.factors.copy()
        plan._note(operations, seed)
        return plan


_plans: dict[Any, Plan] = {}
_MOST_PLANS = 16


def plan_of(operations: Sequence[Operation], rows: int, dtype: np.dtype[Any], seed: int) -> Plan:
    """Return a network's plan, in a tenth of the time where one of that shape has been made before."""
    key = tuple(o[:4] for o in operations), rows, dtype.char
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        plan = _plans[key] = Plan(operations, rows, dtype)
    return plan.twin(operations, seed)


class Parameters:
    """All parameters of a network in one array of one dtype, of which the layers' arrays are views.

    Attributes
    ----------
    flat : numpy.ndarray
        Weights and biases, each from a 64-byte boundary on.
    state : list of numpy.ndarray
        Three arrays laid out alike for the optimiser's state; empty where it keeps none.
    """

    def __init__(
        self, operations: Sequence[Operation], dtype: np.dtype[Any], plan: Plan | None = None,
        flat: Array | None = None, views: Sequence[Array] | None = None,
    ) -> None:  # fmt: skip
        # Where parameters lie does not depend on the rows of a batch.
        plan = Plan(operations, 1, dtype) if plan is None else plan
        self.dtype = dtype
        self.flat = aligned(plan.n_params, dtype, True) if flat is None else flat
        self.state: list[Array] = [np.empty(0, dtype)] * 3
        self._state_of: Callable[[], Any] = lambda: None
        self._mark: tuple[object, int] | None = None
        self._places = plan.parameters
        self.views = [self.flat[where].reshape(shape) for *_, where, shape in self._places] if views is None else views
        self._owners: list[tuple[Any, str, Array]] = [
            (operations[i].layer, name, view) for (i, name, _, _), view in zip(self._places, self.views, strict=True)
        ]

    def _others(self) -> list[tuple[Any, str, Array]]:
        """Return the places where a layer holds an array that is not our view."""
        return [owner for owner in self._owners if getattr(owner[0], owner[1]) is not owner[2]]

    def serve(self, optimizer: Any) -> bool:
        """Tell whether all that the layers and the optimiser hold is ours, as `bind` and `bind_state` left it."""
        return self._mark == (optimizer.state_mark, optimizer.n_slots) and not self._others()

    def read(self) -> None:
        """Copy in what the layers hold and is not ours already."""
        others = self._others()
        if others:
            values = [_checked(*owner) for owner in others]
            # Layers may have exchanged their arrays, which are ours: all are read before any is written.
            ours = [np.may_share_memory(value, self.flat) for value in values]
            values = [value.copy() if own else value for value, own in zip(values, ours, strict=True)]
            with np.errstate(all="ignore"):
                for (_, _, view), value in zip(others, values, strict=True):
                    view[...] = value
            for (layer, name, view), own in zip(others, ours, strict=True):
                if own:
                    setattr(layer, name, view)

    def bind(self) -> None:
        """Make the layers' arrays views of ours."""
        self.read()
        for layer, name, view in self._owners:
            setattr(layer, name, view)

    def bind_state(
        self, optimizer: Any, state: Sequence[Array] | None = None, parts: Sequence[tuple[Array, ...]] | None = None
    ) -> None:
        """Copy in the optimiser's state and make its arrays views of ours, or of `state`, zero as it comes.

        `parts` are these views, a tuple for each parameter, if somebody has made them.
        """
        count, zero = optimizer.n_slots, True
        mark = optimizer.state_mark, count
        if state is None and self._mark == mark:
            return
        ours = self._state_of() is optimizer and all(len(s) > 0 for s in self.state[:count])
        if state is not None:
            self.state = list(state)
        elif not ours:
            # Another optimiser may come back to the arrays that are there: they stay its own.
            self.state = [aligned(self.flat.size if i < count else 0, self.dtype, True) for i in range(3)]
        else:
            zero = False
        self._state_of = weakref.ref(optimizer)
        if parts is None:
            used = self.state[:count]
            parts = [tuple(s[where].reshape(shape) for s in used) for *_, where, shape in self._places]
        for (layer, name, view), targets in zip(self._owners, parts, strict=True):
            if optimizer.keeps(layer, name):
                for target, value in zip(targets, optimizer.slots(layer, name, view), strict=True):
                    if target.ctypes.data != value.ctypes.data:
                        target[...] = value
            elif not zero:
                for target in targets:
                    target[...] = 0.0
            optimizer.bind(layer, name, targets)
        self._mark = optimizer.state_mark, count


def _checked(layer: Layer, name: str, view: Array) -> Array:
    """Return what a layer holds as kernels read it, in any dtype; what cannot be read is refused by the layer."""
    value = getattr(layer, name)
    return value if in_order(value, view.shape, view.dtype) else layer.parameters()[name]


def stacked_views(flat: Array, plan: Plan) -> list[Array]:
    """Return a stack of views for each parameter of networks of one shape, whose flat parameters are `flat`'s rows.

    To iterate over a stack takes a fifth of the time that cutting out each network's view does.
    """
    return [flat[:, where].reshape(len(flat), *shape) for *_, where, shape in plan.parameters]


class Predictor:
    """Forward passes of a network, block by block."""

    def __init__(self, operations: Sequence[Operation], parameters: Parameters) -> None:
        self.parameters = parameters
        self.n_out = operations[-1].n_out
        self.flops = work_of(operations, 1) / 3.0
        self.plans: dict[tuple[int, bool], Plan] = {}
        self.operations = operations
        # Workspaces that no call is using: each thread that predicts takes one and puts it back.
        self.spare: list[tuple[Array, ...]] = []
        self._of_a_row: Callable[..., Any] | None = None

    def _prepare(self, rows: int, limit: int | None) -> tuple[Plan, int, tuple[Array, ...]]:
        """Return the plan, the workers, and what is written: (laid, work, finite, turn) of the kernels."""
        n_workers = 1 if rows == 1 else threads.workers(self.flops * rows, limit)
        key = 6 if rows <= 6 else _PREDICT_ROWS, rows >= n_workers * _PANEL_ROWS
        plan = self.plans.get(key)
        if plan is None:
            plan = self.plans[key] = Plan(self.operations, key[0], self.parameters.dtype, 0, key[1])
        try:
            laid, work, finite, turn = self.spare.pop()
        except IndexError:
            laid = work = finite = np.empty(0, self.parameters.dtype)
            turn = np.empty(1, np.int64)
        if work.size < n_workers * plan.forward_part:
            work = aligned(n_workers * plan.forward_part, self.parameters.dtype)
        if finite.size < n_workers:
            finite = np.empty(n_workers, self.parameters.dtype)
        if len(plan.places) > laid.size:
            laid = aligned(plan.n_params, self.parameters.dtype, True)
        if n_workers > 1:
            turn[0] = 0
        return plan, n_workers, (laid, work, finite, turn)

    def predict(self, X: Array, limit: int | None) -> Array:
        """Return the network's outputs for the rows of `X`, whose layout has been checked.

        Raises
        ------
        ValueError
            If `X` holds NaN or infinity.
        """
        self.parameters.read()
        rows = len(X)
        out = np.empty((rows, self.n_out), X.dtype)
        plan, n_workers, room = self._prepare(rows, limit)
        laid, work, finite, turn = room
        arguments = (
            X.reshape(-1), self.parameters.flat, plan.places, laid, work, plan.table, plan.factors, plan.rows,
            plan.forward_scratch, plan.forward_part, out.reshape(-1), finite, turn,
        )  # fmt: skip
        if rows == 1:
            # These types are known: code called without a look at them takes 0.3 µs less of 6.
            if self._of_a_row is None:
                self._of_a_row = predict.predict.entry(*arguments, 1)
            self._of_a_row(*arguments, 1)
        else:
            threads.call(predict.predict, n_workers, *arguments)
        # A list of one number takes 0.1 µs of a row's 5.
        if finite.item(0) or n_workers > 1 and any(finite[1:n_workers].tolist()):
            check_finite(X, X, "X")
        self.spare.append(room)
        return out

    def evaluate(self, X: Array, labels: Array, targets: Array, loss: Any, limit: int | None) -> tuple[Array, Array]:
        """Return each row's loss, and 1 where its class is right."""
        self.parameters.read()
        row_loss, hits = np.empty(len(X), X.dtype), np.empty(len(X), X.dtype)
        plan, n_workers, room = self._prepare(max(len(X), 7), limit)
        laid, work, _, turn = room
        soft = loss.code == losses.SOFTMAX_CROSS_ENTROPY and targets.size > 0
        threads.call(
            predict.evaluate, n_workers, X.reshape(-1), labels.astype(X.dtype), targets.reshape(-1),
            self.parameters.flat, plan.places, laid, work, plan.table, plan.factors, plan.rows, plan.forward_scratch,
            plan.forward_part, loss.code, soft, float(getattr(loss, "label_smoothing", 0.0)), row_loss, hits, turn,
        )  # fmt: skip
        self.spare.append(room)
        return row_loss, hits


__all__ = ["LINE", "Parameters", "Plan", "Predictor", "aligned", "stacked_views"]
