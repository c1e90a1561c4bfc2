"""One run of `Sequential.fit`: chunks of compiled steps, or the same steps layer by layer."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import threads
from fastnn._arguments import warn_if_new
from fastnn._array_steps import all_finite
from fastnn._bar import Bar
from fastnn._figures import add_epochs, followed, names_of, note_epochs, sum_of
from fastnn._guard import Guard
from fastnn._hold import Hold
from fastnn._lowering import note_passes, settings_of, work_of
from fastnn._order import new_order
from fastnn._schedule import listens
from fastnn.arrays import Array, as_inputs, as_passed
from fastnn.base import Layer
from fastnn.callbacks import Callback, EarlyStopping
from fastnn.engine import Parameters
from fastnn.history import History, warn_of_divergence
from fastnn.kernels.order import epoch_order
from fastnn.layers import Dropout
from fastnn.losses import Loss
from fastnn.optimizers import Optimizer
from fastnn.trainer import Trainer

if TYPE_CHECKING:
    from fastnn.model import Sequential

CHUNK_SECONDS = 0.05
"""Length of a native call: Ctrl-C, callbacks and progress get their turn after it."""


class Fit:
    """One training run; all arguments but `y` and `validation_data` come checked.

    Attributes
    ----------
    history : History
        Filled as epochs end.
    """

    def __init__(
        self, model: Sequential, X: Array, y: Any, *, loss: Loss, optimizer: Optimizer, epochs: int,
        batch_size: int | None, shuffle: bool, seed: int, validation_data: tuple[Any, Any] | None,
        callbacks: list[Callback], progress: bool | None, n_threads: int | None, initial_epoch: int,
    ) -> None:  # fmt: skip
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.X, self.rows = X, len(X)
        # A batch larger than the data is the whole of them.
        self.batch = self.rows if batch_size is None else min(batch_size, self.rows)
        self.epochs, self.initial_epoch, self.seed = epochs, initial_epoch, seed
        # One batch holds all samples in any order: leave them where they lie.
        self.shuffle = shuffle and self.batch < self.rows
        self.callbacks, self.progress, self.limit = callbacks, progress, n_threads
        self.steps_per_epoch = -(-self.rows // self.batch)
        if (initial_epoch + epochs) * self.steps_per_epoch >= 2**62:
            raise ValueError(f"epochs and initial_epoch must be less in all, got {epochs} and {initial_epoch}")
        self.history = History()
        self.operations = model.operations()
        self.places = list(map(id, model.layers))
        self.masks = [operation for operation in self.operations or () if isinstance(operation.layer, Dropout)]
        # All of them are looked at: what cannot be trained is refused before anything changes.
        learns = [bool(layer.parameters()) for layer in model.layers]
        width = model.n_outputs
        if width is None or self.operations is None:
            # A layer of the user's own may give any width.
            width = as_passed(model.forward(X[:1], training=False), "outputs").shape[1]
        self.width = width
        self.labels, self.targets = loss.prepare(y, self.rows, width, X.dtype)
        self.validation = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise ValueError(
                    f"validation_data must be a pair (X, y), got {type(validation_data).__name__}"
                    "; write validation_data=(X_val, y_val)"
                )
            X_val = as_inputs(validation_data[0], "validation_data[0]", X.shape[1], X.dtype)
            loss.prepare(validation_data[1], len(X_val), width, X.dtype, "validation_data[1]")
            self.validation = X_val, validation_data[1]
        self.compiled = (
            bool(self.operations)
            and any(learns)
            and loss.code is not None
            and optimizer.compiles
            and not any(c.needs_steps for c in callbacks)
        )
        self.history.compiled = self.compiled
        # Callbacks of the user's own may change anything, and add figures for others to watch.
        self.own_callbacks = any(not isinstance(callback, EarlyStopping) for callback in callbacks)
        figures = names_of(loss, model.layers, self.validation is not None)
        if self._observes:
            followed(optimizer.learning_rate, figures)
        for callback in callbacks:
            if isinstance(callback, EarlyStopping) and not self.own_callbacks:
                callback.check_monitor(figures)

    @property
    def _observes(self) -> bool:
        """Whether the learning rate reacts to how training goes, and hears of each epoch."""
        return listens(self.optimizer.learning_rate)

    def run(self) -> None:
        """Train; `history` is filled also where an exception ends it."""
        warn_if_new(self.optimizer, self.model.layers)
        self.hold = Hold()
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                callback.model = self.model
                callback.on_train_begin()
                begun.append(callback)
            self._heed_callbacks()
            if self.compiled:
                self._run_compiled()
            else:
                self._run_layers()
        except KeyboardInterrupt:
            self.history.stopped_by = "interrupt"
            raise
        finally:
            # Each is told of the end, whatever another one, or a signal's handler, raises.
            with contextlib.ExitStack() as ends:
                for callback in reversed(begun):
                    ends.callback(callback.on_train_end)
                ends.callback(self.hold.close)

    # --- the compiled loop ---

    def _run_compiled(self) -> None:
        assert self.operations is not None
        parameters = self.model.compiled_parameters(self.operations, self.X.dtype)
        parameters.bind_state(self.optimizer)
        self.each_epoch = bool(self.callbacks) or self.validation is not None or self._observes
        self.trainer = self._new_trainer(parameters, self.initial_epoch * self.steps_per_epoch)
        try:
            self._run_chunks()
        finally:
            with self.hold:
                self._store()

    def _store(self) -> None:
        """Leave the layers as they would be after as many steps layer by layer."""
        self.trainer.store()
        if self.masks:
            note_passes(self.masks, self.seed, self.trainer.step)

    def _new_trainer(self, parameters: Parameters, step: int) -> Trainer:
        assert self.operations is not None
        trainer = Trainer(
            self.operations, parameters, self.X, self.labels, self.targets, self.loss, self.optimizer,
            self.batch, new_order(self.X, self.batch, self.operations, self.shuffle, self.limit),
            self.seed, self.limit,
        )  # fmt: skip
        trainer.step = step
        last = (self.initial_epoch + self.epochs) * self.steps_per_epoch
        trainer.lay_out(self.steps_per_epoch if self.each_epoch else last - step)
        self.settings = self._settings()
        return trainer

    def _settings(self) -> tuple[int, float, list[tuple[float | None, ...]]]:
        """Return what a trainer is made for, beside the data."""
        smoothing = float(getattr(self.loss, "label_smoothing", 0.0))
        return self.optimizer.kind, smoothing, settings_of(self.operations or ())

    def _new_guard(self) -> Guard:
        rows = [array.reshape(1, -1) for array in (self.trainer.flat, *self.trainer.state)]
        return Guard([self.trainer], rows[0], rows[1:])

    def _take_in(self) -> Guard | None:
        """Take in what callbacks may have done to the layers or the optimiser; return a new guard if there must be."""
        trainer, settled = self.trainer, self._settings() == self.settings
        if settled and trainer.parameters.serve(self.optimizer):
            return None
        before = trainer.state
        trainer.take_in()
        if not all_finite(trainer.flat) or settled and trainer.state is before:
            # The next step would not be finite: who trained so far goes back to where it was.
            return None
        if not settled:
            self.trainer = self._new_trainer(trainer.parameters, trainer.step)
        return self._new_guard()

    def _run_chunks(self) -> None:
        first = self.trainer.step
        last = first + self.epochs * self.steps_per_epoch
        # A first guess at the machine's speed; the clock corrects it after the first chunk.
        chunk = max(1, int(CHUNK_SECONDS * 2e10 / max(work_of(self.operations or (), self.batch), 1e4)))
        guard, changed = self._new_guard(), False
        with self._bar() as bar:
            while (trainer := self.trainer).step < last and not self.model.stop_training:
                _, portion = trainer.pace.next()
                ahead = trainer.step - trainer.step % self.steps_per_epoch + self.steps_per_epoch
                goal = min(trainer.step + max(1, int(chunk * portion)), ahead if self.each_epoch else last)
                with self.hold:
                    trainer.load()
                    if guard.before_chunk(changed):
                        self._back_to_finite(guard, first)
                        return
                    began, at = time.perf_counter(), trainer.step
                    rates = self.optimizer.learning_rates(self.optimizer.step, goal - at)
                    rows, done = trainer.run(goal - at)
                    note_epochs(self.history, rows, at, rates, self.steps_per_epoch, self.model.layers, self.loss)
                    self.history.steps += done
                    took = time.perf_counter() - began
                    ended = self.each_epoch and done == goal - at and trainer.step == ahead
                    bar.show(trainer.step - first, self.steps_per_epoch, self.history)
                    changed = ended and (self.own_callbacks or self._observes)
                    if ended and not all_finite(trainer.flat):
                        self._back_to_finite(guard, first)
                        return
                    if ended:
                        # Under the same hold: an epoch whose end nobody heard of could not be gone on from.
                        self._store()
                        self._epoch_ended(trainer.step // self.steps_per_epoch - 1)
                        if self.own_callbacks:
                            guard = self._take_in() or guard
                if done < goal - at:
                    self._back_to_finite(guard, first)
                    return
                chunk = max(1, min(4 * chunk, int(done * CHUNK_SECONDS / max(took, 1e-6))))
        if not all_finite(self.trainer.flat):
            # The very last update overflowed: the next step would have noticed.
            self._back_to_finite(guard, first)

    def _back_to_finite(self, guard: Guard, first: int) -> None:
        """End training at the first step that was not finite, whenever that was noticed."""
        bad = guard.restore()
        self.history.steps = self.trainer.step - first
        self.history.cut(bad // self.steps_per_epoch - self.initial_epoch)
        self._diverged(bad - first)

    # --- layer by layer ---

    def _run_layers(self) -> None:
        learning = [layer for layer in self.model.layers if layer.parameters()]
        masked = [(place, layer) for place, layer in enumerate(self.model.layers) if isinstance(layer, Dropout)]
        order = np.arange(self.rows)
        if self.shuffle:
            order = new_order(self.X, self.batch, self.operations, limit=self.limit)
        hear_steps = [c for c in self.callbacks if c.needs_steps]
        step, before = 0, self.initial_epoch * self.steps_per_epoch
        touched = True
        self.kept: tuple[list[tuple[Layer, str, Array, list[Array]]], int, int] | None = None
        with self._bar() as bar, threads.limited(self.limit):
            for epoch in range(self.initial_epoch, self.initial_epoch + self.epochs):
                if self.model.stop_training:
                    break
                if self.shuffle:
                    epoch_order(order, self.rows, self.batch, self.seed, epoch)
                total = hits = penalties = 0.0
                for start in range(0, self.rows, self.batch):
                    if touched and not _finite(learning):
                        self._take_back(step)
                        return
                    rows = order[start : min(start + self.batch, self.rows)]
                    for place, layer in masked:
                        layer.draw_from(self.seed if layer.seed is None else layer.seed, place, before + step)
                    outputs = self._outputs(rows)
                    labels = self.labels[rows] if self.labels.size else self.labels
                    targets = self.targets[rows] if self.targets.size else self.targets
                    mean = self.loss.forward_prepared(outputs, labels, targets.astype(outputs.dtype, copy=False))
                    part = sum_of(self.loss.sample_losses, mean, len(rows))
                    penalty = sum(layer.penalty() for layer in self.model.layers)
                    if not math.isfinite(part + penalty):
                        self._diverged(step)
                        return
                    total += part
                    if self.loss.has_accuracy:
                        hits += sum_of(self.loss.sample_hits, math.nan, len(rows))
                    penalties += penalty * len(rows)
                    self.model.backward(self.loss.backward())
                    rate = float(self.optimizer.learning_rates(self.optimizer.step, 1)[0])
                    self._keep(learning)
                    with self.hold:
                        self.optimizer.update(*learning)
                        step += 1
                        self.history.steps += 1
                        ended = start + self.batch >= self.rows
                        if ended:
                            self._note_epoch(total, hits, penalties, rate)
                        if not _finite(learning):
                            self._take_back(step)
                            return
                        touched = bool(hear_steps or ended and self.callbacks)
                        for callback in hear_steps:
                            logs = {"loss": part / len(rows) + penalty, "learning_rate": rate}
                            callback.on_step_end(step - 1, logs)
                        self._check_layers()
                        if ended:
                            bar.show(step, self.steps_per_epoch, self.history)
                            self._epoch_ended(epoch)
        if touched and not _finite(learning):
            self._take_back(step)

    def _outputs(self, rows: Array) -> Array:
        """Return the network's outputs for some samples as kernels read them, whatever layer comes last."""
        outputs = as_passed(self.model.forward(self.X[rows], training=True), "outputs", self.width)
        if len(outputs) != len(rows):
            found = f"{len(outputs)}: mend the forward() of the last layer"
            raise ValueError(f"outputs must have a row for each of the {len(rows)} samples, got {found}")
        return outputs

    def _note_epoch(self, total: float, hits: float, penalties: float, rate: float) -> None:
        means = np.array([[total + penalties], [hits], [penalties]]) / self.rows
        loss, accuracy, penalty = means
        add_epochs(self.history, loss, accuracy, penalty, np.array([rate]), self.model.layers, self.loss)

    def _keep(self, learning: list[Layer]) -> None:
        """Copy the parameters and the optimiser's state: all that an update changes, and a callback may."""
        arrays = [
            (layer, name, value.copy(), [slot.copy() for slot in self.optimizer.slots(layer, name, value)])
            for layer in learning
            for name, value in layer.parameters().items()
        ]
        self.kept = arrays, self.history.steps, self.optimizer.step

    def _take_back(self, step: int) -> None:
        """Go back to where the last update began, if there has been one."""
        if self.kept is not None:
            arrays, self.history.steps, self.optimizer.step = self.kept
            for layer, name, value, slots in arrays:
                ours = layer.parameters()[name]
                ours[...] = value
                for place, slot in zip(self.optimizer.slots(layer, name, ours), slots, strict=True):
                    place[...] = slot
        self._diverged(step)

    # --- both ---

    def _epoch_ended(self, epoch: int) -> None:
        if self.validation is not None:
            X, y = self.validation
            result = self.model.evaluate_checked(self.operations, X, y, self.loss, self.limit)
            self.history.append(**{f"val_{name}": value for name, value in result.items()})
        logs = {name: values[-1] for name, values in self.history.items()}
        if self._observes:
            self.optimizer.learning_rate.observe(logs[followed(self.optimizer.learning_rate, set(logs))])
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)
        self._heed_callbacks()

    def _heed_callbacks(self) -> None:
        self._check_layers()
        if self.model.stop_training:
            self.history.stopped_by = "callback"

    def _check_layers(self) -> None:
        same = list(map(id, self.model.layers)) == self.places
        # Layer by layer, methods put on layers meanwhile are called.
        if not same or self.compiled and self.model.operations() is not self.operations:
            raise RuntimeError(
                "model.layers must stay the same objects, with their methods, while training, got others from a "
                "callback: change them between two calls of fit()"
            )

    def _diverged(self, step: int) -> None:
        self.history.stopped_by, self.history.diverged_at = "divergence", step
        warn_of_divergence(
            f"the loss or a weight became NaN or infinite at step {step} (epoch "
            f"{self.initial_epoch + step // self.steps_per_epoch}): "
            "training ended and the last finite weights are kept. Try a smaller learning rate, scaled inputs, or "
            "smaller weights."
        )

    def _bar(self) -> Bar:
        return Bar(self.epochs, self.progress)


def _finite(layers: list[Layer]) -> bool:
    return all([all_finite(value) for layer in layers for value in layer.parameters().values()])


__all__ = ["CHUNK_SECONDS", "Fit"]
