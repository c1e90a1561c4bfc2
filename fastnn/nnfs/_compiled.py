"""A `Model` lowered to flat buffers and run compiled, many steps in a native call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import threads
from fastnn._lowering import Operation, work_of
from fastnn.arrays import Array
from fastnn.engine import Parameters, Plan, aligned
from fastnn.kernels import book, book_train, book_values, gemm, jobs, narrow, network, panels, sync
from fastnn.layers import Dense
from fastnn.nnfs import _common
from fastnn.nnfs._optimizer import has_state
from fastnn.nnfs._originals import keep, replaced, untouched
from fastnn.nnfs.accuracy import Accuracy_Categorical, Accuracy_Regression
from fastnn.nnfs.activations import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
)
from fastnn.nnfs.joint import Activation_Softmax_Loss_CategoricalCrossentropy
from fastnn.nnfs.layers import Layer_Dense
from fastnn.nnfs.losses import (
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
)
from fastnn.nnfs.optimizers import Optimizer_Adagrad, Optimizer_Adam, Optimizer_RMSprop, Optimizer_SGD
from fastnn.nnfs.passing import Layer_Input
from fastnn.trainer import in_panels, rearranging_room

CHUNK_SECONDS = 0.05
"""Length of a native call: Ctrl-C and printing get their turn after it."""
_LINE = 16
_ACTIVATIONS = {Activation_ReLU: gemm.RELU, Activation_Sigmoid: gemm.SIGMOID}
_OPTIMIZERS = (Optimizer_SGD, Optimizer_Adagrad, Optimizer_RMSprop, Optimizer_Adam)
_LOSSES = {
    Loss_BinaryCrossentropy: book_values.BINARY_CROSS_ENTROPY,
    Loss_MeanSquaredError: book_values.SQUARED_ERROR,
    Loss_MeanAbsoluteError: book_values.ABSOLUTE_ERROR,
}
keep(
    *_ACTIVATIONS, *_OPTIMIZERS, *_LOSSES, Layer_Input, Layer_Dense, Activation_Linear, Activation_Softmax,
    Loss_CategoricalCrossentropy, Activation_Softmax_Loss_CategoricalCrossentropy, Accuracy_Categorical,
    Accuracy_Regression,
)  # fmt: skip


class CannotCompile(Exception):
    """The model has a part that runs layer by layer only; the text says which."""


def _need(condition: Any, why: str) -> None:
    if not condition:
        raise CannotCompile(why)


class CompiledTraining:
    """Training of a `Model` without shuffling, in chunks of steps.

    Parameters
    ----------
    model : Model
        Finalised.
    X, y : array_like
        All samples and targets.
    batch : int
        Samples a step.

    Raises
    ------
    CannotCompile
        If the model has to run layer by layer; nothing is changed then.
    ValueError
        If a class number is out of range.
    """

    def __init__(self, model: Any, X: Any, y: Any, batch: int) -> None:
        self.model, self.optimizer, self.batch = model, model.optimizer, batch
        _need(not replaced(model, "forward", "backward"), "the model's own methods")
        _need(untouched(model.input_layer, (Layer_Input,)), "input layer")
        _need(untouched(model.optimizer, _OPTIMIZERS), "optimizer")
        self.dense = [layer for layer in model.layers if type(layer) is Layer_Dense]
        _need(self.dense, "no dense layer")
        _need(len(set(map(id, model.layers))) == len(model.layers), "a layer is there twice")
        trained = list(map(id, self.dense))
        _need(list(map(id, model.trainable_layers)) == trained, "trainable_layers")
        _need(list(map(id, getattr(model.loss, "trainable_layers", ()))) == trained, "the loss's trainable_layers")
        X = np.asarray(X)
        _need(X.ndim == 2 and X.dtype.kind in "biuf" and X.size, "X")
        self.dtype = _common.product_type(X.dtype, np.asarray(self.dense[0].weights).dtype)
        self._check_parameters()
        self.joint = model.softmax_classifier_output is not None
        self.operations = self._lower(model.layers, X.shape[1])
        self._choose_loss(y, len(X), self.operations[-1].n_out)
        self.X = _common.rows_of(X, "X", None, self.dtype).reshape(-1)
        self.rows = len(X)
        self.steps_per_epoch = -(-self.rows // batch)
        # Values in a row of records: classes are counted by samples, the other accuracies by outputs.
        self.compared = 1 if self.joint else self.operations[-1].n_out
        self._allocate()
        # All parts, and what of them the plan rests on: see `can_go_on`.
        self.parts = _parts(model)
        self.kinds = [(type(part),) for part in self.parts]
        self.settings = self._settings()
        self._speed = max(1, int(CHUNK_SECONDS * 1e10 / max(work_of(self.operations, batch), 1e4)))

    def _check_parameters(self) -> None:
        arrays: list[Array] = []
        for layer in self.dense:
            _need(untouched(layer, (Layer_Dense,)), "a layer's own methods")
            for name in ("weights", "biases"):
                value = getattr(layer, name)
                _need(type(value) is np.ndarray and value.dtype == self.dtype and value.ndim == 2, name)
                _need(value.flags.writeable, name)
                # In place means in place: two names for one memory are trained as one.
                _need(not any(np.may_share_memory(value, other) for other in arrays), "shared parameters")
                arrays.append(value)
            _need(layer.biases.shape == (1, layer.weights.shape[1]), "biases")
            for slot in self.optimizer.slots:
                for short, param in (("weight", layer.weights), ("bias", layer.biases)):
                    state = getattr(layer, f"{short}_{slot}", param)
                    _need(type(state) is np.ndarray and state.dtype == self.dtype, slot)
                    _need(state.shape == param.shape, slot)

    def _lower(self, layers: Sequence[Any], width: int) -> list[Operation]:
        operations: list[Operation] = []
        for place, layer in enumerate(layers):
            kind = type(layer)
            _need(untouched(layer, (*_ACTIVATIONS, Layer_Dense, Activation_Linear, Activation_Softmax)), kind.__name__)
            if kind is Layer_Dense:
                k, n = layer.weights.shape
                _need(k == width, "widths")
                operations.append(Operation(network.DENSE, k, n, gemm.LINEAR, _shadow(layer), place))
                width = n
            elif kind is Activation_Softmax:
                if not (self.joint and place == len(layers) - 1):
                    operations.append(Operation(network.SOFTMAX, width, width, gemm.LINEAR, layer, place))
            elif kind is not Activation_Linear:
                last = operations[-1] if operations else None
                if last is not None and last.kind == network.DENSE and last.activation == gemm.LINEAR:
                    operations[-1] = last._replace(activation=_ACTIVATIONS[kind])
                else:
                    code = _ACTIVATIONS[kind]
                    operations.append(Operation(network.ACTIVATION, width, width, code, layer, place))
        return operations

    def _choose_loss(self, y: Any, rows: int, width: int) -> None:
        model, last = self.model, type(self.model.layers[-1])
        self.labels, self.targets = np.empty(0, self.dtype), np.empty(0, self.dtype)
        self.accuracy, self.precision = book_train.NO_ACCURACY, 0.0
        accuracy = model.accuracy
        if self.joint:
            joint = model.softmax_classifier_output
            _need(untouched(joint, (Activation_Softmax_Loss_CategoricalCrossentropy,)), "joint loss")
            _need(untouched(model.loss, (Loss_CategoricalCrossentropy,)), "loss")
            _need(untouched(accuracy, (Accuracy_Categorical,)) and not accuracy.binary, "accuracy")
            y = np.asarray(y)
            if y.ndim == 2:
                _need(y.shape == (rows, width), "y")
                # Rows that are not quite one-hot have a loss of their own.
                _need(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all(), "soft targets")
            labels = _common.labels_of(y, rows, width)
            if ((labels < 0) | (labels >= width)).any():
                _common.refuse_label(labels, width)
            self.loss, self.labels = book_values.CROSS_ENTROPY, labels.astype(self.dtype)
            return
        _need(untouched(model.loss, _LOSSES), "loss")
        self.loss = _LOSSES[type(model.loss)]
        if self.loss == book_values.ABSOLUTE_ERROR and model.loss.book_exact:
            self.loss = book_values.ABSOLUTE_ERROR_REVERSED
        if last is Activation_Sigmoid:
            _need(untouched(accuracy, (Accuracy_Categorical,)) and accuracy.binary, "accuracy")
            self.accuracy = book_train.BINARY
        else:
            _need(last in (Activation_Linear, Activation_ReLU), "accuracy")
            _need(untouched(accuracy, (Accuracy_Regression,)) and accuracy.precision is not None, "accuracy")
            self.accuracy, self.precision = book_train.WITHIN, float(accuracy.precision)
        self.targets = _common.targets_of(y, (rows, width), self.dtype).reshape(-1)

    def _allocate(self) -> None:
        dtype, operations = self.dtype, self.operations
        self.plan = Plan(operations, self.batch, dtype)
        self.flat = Parameters(operations, dtype)
        self.state = [Parameters(operations, dtype) for _ in self.optimizer.slots]
        first, last = operations[0], operations[-1]
        self.narrow = (
            self.joint
            and len(operations) == 2
            and first.kind == last.kind == network.DENSE
            and (first.activation, last.activation) == (gemm.RELU, gemm.LINEAR)
            and max(first.n_in, last.n_out) <= narrow.LIMIT
        )
        self.n_workers = threads.workers(work_of(operations, self.batch), None, enough=threads.STEP_WORK)
        part = max(self.plan.part, self.plan.block + book.probability_scratch())
        size = self.plan.scratch + self.n_workers * part
        if self.narrow:
            size = max(
                size,
                narrow.work_size(first.n_in, first.n_out, last.n_out, self.flat.flat.size, self.rows, self.batch),
            )
        self.work = aligned(size + _LINE, dtype, True)
        self.losses, self.hits = aligned(self.batch + _LINE, dtype), aligned(self.batch + _LINE, dtype)
        job = np.empty(jobs.JOB, np.int64)
        job.fill(0)
        for place, value in (
            (jobs.ROWS, self.rows), (jobs.FEATURES, first.n_in), (jobs.BATCH, self.batch), (jobs.LOSS, self.loss),
            (jobs.SCRATCH, self.plan.scratch), (jobs.BLOCK, self.plan.block), (jobs.PART, part),
            (jobs.FIRST_DENSE, next(i for i, o in enumerate(operations) if o.kind == network.DENSE)),
            (jobs.OPTIMIZER, self.optimizer.step_kind()), (jobs.ORDER_EPOCH, -1),
        ):  # fmt: skip
            job[place] = value
        self.job = job
        self.sync, self.tally = np.empty(sync.SIZE, np.int64), np.empty(jobs.TALLY)
        self.order, self.history = np.empty(1, np.int64), np.empty((1, 3))
        self.slots, self.kind = self.optimizer.slots, self.optimizer.step_kind()
        # Of each array that a layer owns: the layer, the attribute, our view, what the user had there.
        self.bound: list[list[Any]] = []
        for i, layer in enumerate(self.dense):
            for j, (plural, short) in enumerate((("weights", "weight"), ("biases", "bias"))):
                shape = getattr(layer, plural).shape
                self.bound.append([layer, plural, self.flat.views[2 * i + j].reshape(shape), None])
                for slot, state in zip(self.slots, self.state, strict=True):
                    self.bound.append([layer, f"{short}_{slot}", state.views[2 * i + j].reshape(shape), None])

    def bind(self) -> None:
        """Take over the layers' arrays, or what the user has put in their place since; state begins with zeros."""
        anew = [id(layer) for layer in self.dense if self.slots and not has_state(layer, self.slots[-1])]
        for entry in self.bound:
            layer, name, view, _ = entry
            value = layer.__dict__.get(name)
            if name not in ("weights", "biases") and (value is None or id(layer) in anew):
                view.fill(0.0)
                value = None
            if value is view:
                continue
            if value is not None:
                if np.shape(value) != view.shape:
                    raise ValueError(
                        f"{name} must keep the shape {view.shape} while training, got {np.shape(value)}: "
                        "change the network between two calls of train()"
                    )
                view[...] = value
            entry[3] = value
            setattr(layer, name, view)

    def release(self) -> None:
        """Write the results into the arrays that the user had, and give these back."""
        for layer, name, view, own in self.bound:
            if own is not None and layer.__dict__.get(name) is view:
                own[...] = view
                setattr(layer, name, own)

    def can_go_on(self) -> bool:
        """Tell whether all is as it was planned for: between epochs the user may change any of it."""
        parts = _parts(self.model)
        return (
            list(map(id, parts)) == list(map(id, self.parts))
            and not replaced(self.model, "forward", "backward")
            and all(map(untouched, parts, self.kinds))
            and self._settings() == self.settings
        )

    def _settings(self) -> list[Any]:
        """Return what the plan has of the parts' attributes, but for what an optimiser is asked at each chunk."""
        model, optimizer = self.model, self.optimizer
        found = [optimizer.slots, optimizer.step_kind(), list(map(id, model.trainable_layers))]
        found += [list(map(id, model.loss.trainable_layers)), getattr(model.loss, "book_exact", None)]
        found += [getattr(model.accuracy, "binary", None), getattr(model.accuracy, "precision", None)]
        found += [factor for layer in self.dense for factor in _factors(layer)]
        return found

    def chunk(self) -> int:
        """Return how many steps take about `CHUNK_SECONDS`."""
        return self._speed

    def run(self, first: int, count: int) -> tuple[Array, list[float]]:
        """Run `count` steps from the `first` on, counted from the beginning of the training.

        Returns
        -------
        records : numpy.ndarray
            See `kernels.book_train.run_book`.
        rates : list of float
            The learning rate of each step.
        """
        self.bind()
        rates = self.optimizer.rates(count)
        scalars = self.optimizer.table(rates)
        records = np.empty((count + 1, 3))
        records.fill(0.0)
        began, done = time.perf_counter(), 0
        if self.narrow:
            done = self._run_narrow(first, count, scalars, records)
            # A loss that is not finite stops that kernel; the book goes on with NaN, and so does the other.
            self.narrow = done == count
        if done < count:
            self._run(first + done, count - done, scalars[done:], records[done:])
        took = time.perf_counter() - began
        self._speed = max(1, min(4 * self._speed, int(count * CHUNK_SECONDS / max(took, 1e-6))))
        self.optimizer.iterations += count
        values = rates.tolist()
        if self.optimizer.decay:
            self.optimizer.current_learning_rate = values[-1]
        else:
            # As it was given: an int is printed as one.
            values = [self.optimizer.current_learning_rate] * count
        return records, values

    def _states(self) -> list[Array]:
        return [s.flat for s in self.state] + [np.empty(0, self.dtype)] * (3 - len(self.state))

    def _run_narrow(self, first: int, count: int, scalars: Array, records: Array) -> int:
        self.job[jobs.FIRST_STEP], self.job[jobs.STEPS] = first, count
        self.tally.fill(0.0)
        threads.call(
            book_train.run_book_narrow, 1, self.X, self.labels, self.order, self.flat.flat, *self._states(),
            self.work, self.losses, self.hits, self.plan.table, self.plan.factors, scalars, self.job, self.tally,
            self.history, records,
        )  # fmt: skip
        return int(self.tally[jobs.DONE])

    def _run(self, first: int, count: int, scalars: Array, records: Array) -> None:
        self.job[jobs.FIRST_STEP], self.job[jobs.STEPS] = first, count
        ours = [self.flat.flat, *self._states()]
        places = in_panels(self.plan, self.n_workers, count, self.dtype.itemsize)
        # Copies: whoever interrupts this finds the layers' own arrays in order.
        arrays = [self._copy(array) for array in ours] if len(places) else ours
        arranging = *arrays, places, rearranging_room(places, self.dtype), np.zeros(1, np.int64)
        if len(places):
            threads.call(panels.rearrange, self.n_workers, *arranging, True, parallel=True)
        arguments = (
            self.X, self.labels, self.targets, *arrays, self.work, self.losses, self.hits,
            self.plan.table, self.plan.factors, scalars, self.job, self.accuracy, self.precision, self.sync, records,
        )  # fmt: skip
        self.sync.fill(0)
        used = threads.call(book_train.run_book, self.n_workers, *arguments)
        if used > 1 and self.sync[sync.ABANDONED]:
            # The workers were not run at once; one does as well.
            self.n_workers = 1
            self.sync.fill(0)
            threads.call(book_train.run_book, 1, *arguments)
        if len(places):
            threads.call(panels.rearrange, self.n_workers, *arranging, False, parallel=True)
            for source, target in zip(arrays, ours, strict=True):
                target[...] = source

    def _copy(self, array: Array) -> Array:
        copy = aligned(array.size, self.dtype)
        copy[...] = array
        return copy


def _parts(model: Any) -> list[Any]:
    """Return all parts that take part in training."""
    last = model.loss, model.optimizer, model.accuracy
    joint = model.softmax_classifier_output
    return [model.input_layer, *model.layers, *last] + ([] if joint is None else [joint])


def _factors(layer: Any) -> tuple[Any, Any, Any, Any]:
    """Return the strengths of a layer's penalties, in the order of `Dense`."""
    return (
        layer.weight_regularizer_l1, layer.weight_regularizer_l2,
        layer.bias_regularizer_l1, layer.bias_regularizer_l2,
    )  # fmt: skip


def _shadow(layer: Any) -> Dense:
    """Return the library's layer that stands for one of the book's in a plan; only its widths and factors count."""
    k, n = layer.weights.shape
    l1, l2, bias_l1, bias_l2 = _factors(layer)
    try:
        return Dense(k, n, initializer="zeros", weight_l1=l1, weight_l2=l2, bias_l1=bias_l1, bias_l2=bias_l2)
    except (TypeError, ValueError) as error:
        raise CannotCompile(str(error)) from error
