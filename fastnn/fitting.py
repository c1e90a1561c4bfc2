"""One run of `Sequential.fit`: chunks of compiled steps, or the same steps layer by layer."""

from __future__ import annotations

import math
import signal
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import threads
from fastnn._array_steps import all_finite
from fastnn._bar import Bar
from fastnn._order import new_order
from fastnn.arrays import Array, as_inputs
from fastnn.base import Layer
from fastnn.callbacks import Callback
from fastnn.engine import work_of
from fastnn.history import DivergenceWarning, History
from fastnn.kernels import losses
from fastnn.kernels.order import epoch_order
from fastnn.layers import Dense, Dropout
from fastnn.losses import Loss
from fastnn.optimizers import Optimizer
from fastnn.trainer import Trainer

if TYPE_CHECKING:
    from fastnn.model import Sequential

CHUNK_SECONDS = 0.05
"""Length of a native call: Ctrl-C, callbacks and progress get their turn after it."""
_SNAPSHOT_SHARE = 0.01  # of the time at most for copies of the parameters


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
        self.history = History()
        self.operations = model.operations()
        width = model.n_outputs
        if width is None:
            width = model.forward(X[:1], training=False).shape[1]
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
        dense = bool(self.operations) and any(layer.parameters() for layer in model.layers)
        self.compiled = dense and loss.code is not None and not any(c.needs_steps for c in callbacks)
        self.history.compiled = self.compiled
        # A schedule that reacts to how training goes hears of each epoch.
        self.observes = bool(getattr(optimizer.learning_rate, "get_state", dict)())

    def run(self) -> None:
        """Train; `history` is filled also where an exception ends it."""
        self.hold = _Hold()
        for callback in self.callbacks:
            callback.model = self.model
            callback.on_train_begin()
        try:
            if self.compiled:
                self._run_compiled()
            else:
                self._run_layers()
        except KeyboardInterrupt:
            self.history.stopped_by = "interrupt"
            raise
        finally:
            self.hold.close()
            for callback in self.callbacks:
                callback.on_train_end()

    # --- the compiled loop ---

    def _run_compiled(self) -> None:
        assert self.operations is not None
        parameters = self.model.compiled_parameters(self.operations, self.X.dtype)
        parameters.bind_state(self.optimizer)
        trainer = Trainer(
            self.operations, parameters, self.X, self.labels, self.targets, self.loss, self.optimizer,
            self.batch, new_order(self.X, self.batch, self.operations, self.shuffle, self.limit),
            self.seed, self.limit,
        )  # fmt: skip
        trainer.step = first = self.initial_epoch * self.steps_per_epoch
        last = first + self.epochs * self.steps_per_epoch
        each_epoch = bool(self.callbacks) or self.validation is not None or self.observes
        # A first guess at the machine's speed; the clock corrects it after the first chunk.
        chunk = max(1, int(CHUNK_SECONDS * 2e10 / max(work_of(self.operations, self.batch), 1e4)))
        trainer.lay_out(self.steps_per_epoch if each_epoch else last - first)
        try:
            self._run_chunks(trainer, first, last, chunk, each_epoch)
        finally:
            with self.hold:
                trainer.store()

    def _run_chunks(self, trainer: Trainer, first: int, last: int, chunk: int, each_epoch: bool) -> None:
        guard = _Guard(trainer, self.optimizer)
        with self._bar() as bar:
            while trainer.step < last and not self.model.stop_training:
                _, portion = trainer.pace.next()
                ahead = trainer.step - trainer.step % self.steps_per_epoch + self.steps_per_epoch
                goal = min(trainer.step + max(1, int(chunk * portion)), ahead if each_epoch else last)
                with self.hold:
                    trainer.load()
                    guard.before_chunk()
                    began, at = time.perf_counter(), trainer.step
                    rates = self.optimizer.learning_rates(self.optimizer.step, goal - at)
                    rows, done = trainer.run(goal - at)
                    note_epochs(self.history, rows, at, rates, self.steps_per_epoch, self.model, self.loss)
                    self.history.steps += done
                    took = time.perf_counter() - began
                    ended = each_epoch and done == goal - at and trainer.step == ahead
                    if ended:
                        trainer.store()
                bar.show(trainer.step - first, self.steps_per_epoch, self.history)
                if done < goal - at:
                    at = trainer.step - first
                    guard.restore()
                    self._diverged(at)
                    return
                chunk = max(1, min(4 * chunk, int(done * CHUNK_SECONDS / max(took, 1e-6))))
                if ended:
                    self._epoch_ended(trainer.step // self.steps_per_epoch - 1)
        if not all_finite(trainer.flat):
            # The very last update overflowed: the next step would have noticed.
            at = trainer.step - first
            guard.restore()
            self._diverged(at)

    # --- layer by layer ---

    def _run_layers(self) -> None:
        learning = [layer for layer in self.model.layers if layer.parameters()]
        masked = [(place, layer) for place, layer in enumerate(self.model.layers) if isinstance(layer, Dropout)]
        order = np.arange(self.rows)
        if self.shuffle:
            order = new_order(self.X, self.batch, self.operations, limit=self.limit)
        hear_steps = [c for c in self.callbacks if c.needs_steps]
        step, before = 0, self.initial_epoch * self.steps_per_epoch
        kept: list[tuple[Array, Array]] = []
        with self._bar() as bar, threads.limited(self.limit):
            for epoch in range(self.initial_epoch, self.initial_epoch + self.epochs):
                if self.model.stop_training:
                    return
                if self.shuffle:
                    epoch_order(order, self.rows, self.batch, self.seed, epoch)
                total = hits = penalties = 0.0
                for start in range(0, self.rows, self.batch):
                    rows = order[start : min(start + self.batch, self.rows)]
                    for place, layer in masked:
                        layer.draw_from(self.seed if layer.seed is None else layer.seed, place, before + step)
                    outputs = self.model.forward(self.X[rows], training=True)
                    labels = self.labels[rows] if self.labels.size else self.labels
                    targets = self.targets[rows] if self.targets.size else self.targets
                    self.loss.forward_prepared(outputs, labels, targets)
                    part = losses.sum_rows(self.loss.sample_losses, len(rows))
                    penalty = sum(layer.penalty() for layer in self.model.layers)
                    if not math.isfinite(part + penalty):
                        self._take_back(learning, kept)
                        self._diverged(step)
                        return
                    total += part
                    if self.loss.has_accuracy:
                        hits += losses.sum_rows(self.loss.sample_hits, len(rows))
                    penalties += penalty * len(rows)
                    self.model.backward(self.loss.backward())
                    rate = float(self.optimizer.learning_rates(self.optimizer.step, 1)[0])
                    kept = [(a, a.copy()) for a in self._arrays(learning)]
                    with self.hold:
                        self.optimizer.update(*learning)
                        step += 1
                        self.history.steps += 1
                        if start + self.batch >= self.rows:
                            self._note_epoch(total, hits, penalties, rate)
                    for callback in hear_steps:
                        callback.on_step_end(step - 1, {"loss": part / len(rows) + penalty, "learning_rate": rate})
                bar.show(step, self.steps_per_epoch, self.history)
                self._epoch_ended(epoch)
        if self._take_back(learning, kept):
            self._diverged(step)

    def _note_epoch(self, total: float, hits: float, penalties: float, rate: float) -> None:
        self.history.append(loss=(total + penalties) / self.rows, learning_rate=rate)
        if self.loss.has_accuracy:
            self.history.append(accuracy=hits / self.rows)
        if any(map(has_penalty, self.model.layers)):
            self.history.append(penalty=penalties / self.rows)

    def _arrays(self, learning: list[Layer]) -> list[Array]:
        """Return the parameters and the optimiser's state: all that an update changes."""
        return [
            array
            for layer in learning
            for name, value in layer.parameters().items()
            for array in (value, *self.optimizer.slots(layer, name, value))
        ]

    def _take_back(self, learning: list[Layer], kept: list[tuple[Array, Array]]) -> bool:
        """Undo the last update, if it left parameters that are not finite; tell whether it did."""
        if all(np.isfinite(value).all() for layer in learning for value in layer.parameters().values()):
            return False
        if kept:
            self.optimizer.step -= 1
            self.history.steps -= 1
        for array, value in kept:
            array[...] = value
        return True

    # --- both ---

    def _epoch_ended(self, epoch: int) -> None:
        if self.validation is not None:
            X, y = self.validation
            result = self.model.evaluate_checked(self.operations, X, y, self.loss, self.limit)
            self.history.append(**{f"val_{name}": value for name, value in result.items()})
        logs = {name: values[-1] for name, values in self.history.items()}
        if self.observes:
            self.optimizer.learning_rate.observe(_watched(self.optimizer.learning_rate, logs))
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)
        if self.model.stop_training:
            self.history.stopped_by = "callback"

    def _diverged(self, step: int) -> None:
        self.history.stopped_by, self.history.diverged_at = "divergence", step
        warnings.warn(
            f"the loss became NaN or infinite at step {step} (epoch {step // self.steps_per_epoch}): training ended "
            "and the last finite weights are kept. Try a smaller learning rate, scaled inputs, or smaller weights.",
            DivergenceWarning,
            stacklevel=5,
        )

    def _bar(self) -> Bar:
        return Bar(self.epochs, self.progress)


def note_epochs(
    history: History, rows: Array, first_step: int, rates: Array, steps_per_epoch: int, model: Sequential, loss: Loss
) -> None:
    """Add the kernel's rows of the epochs that ended in a chunk from `first_step` on."""
    if not len(rows):
        return
    end = steps_per_epoch - first_step % steps_per_epoch
    names = ["loss"] + (["accuracy"] if loss.has_accuracy else [])
    for name, column in zip(names, (0, 1), strict=False):
        history.setdefault(name, []).extend(rows[:, column].tolist())
    if any(map(has_penalty, model.layers)):
        history.setdefault("penalty", []).extend(rows[:, 2].tolist())
    history.setdefault("learning_rate", []).extend(rates[end - 1 :: steps_per_epoch][: len(rows)].tolist())


def _watched(schedule: Any, logs: dict[str, float]) -> float:
    """Return the figure that a schedule follows: the validation data's where there are some."""
    while hasattr(schedule, "schedule"):
        schedule = schedule.schedule
    name = "accuracy" if getattr(schedule, "mode", "min") == "max" else "loss"
    return logs.get(f"val_{name}", logs.get(name, logs["loss"]))


def has_penalty(layer: Layer) -> bool:
    """Tell whether a layer adds to the loss, be it zero at the moment."""
    if isinstance(layer, Dense):
        return any((layer.weight_l1, layer.weight_l2, layer.bias_l1, layer.bias_l2))
    return type(layer).penalty is not Layer.penalty


class _Hold:
    """Ctrl-C put off while steps are made and written down: afterwards it counts, and nothing is half done.

    Pressed again, it counts at once. The handler stays until `close`: setting one takes 4 µs, a third of an epoch of a
    small network.
    """

    def __init__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        self._ours, self._theirs = self._note, signal.default_int_handler
        self._held = False
        self._pressed: list[Any] = []

    def __enter__(self) -> None:
        if self._main:
            # A callback may have set a handler of its own.
            handler = signal.getsignal(signal.SIGINT)
            if handler is not self._ours and callable(handler):
                self._theirs = handler
                signal.signal(signal.SIGINT, self._ours)
        self._held = True

    def _note(self, number: int, frame: Any) -> None:
        if self._held and not self._pressed:
            self._pressed.append(frame)
        else:
            self._theirs(number, frame)

    def __exit__(self, *exception: object) -> None:
        self._held = False
        if self._pressed:
            self._theirs(signal.SIGINT, self._pressed.pop())

    def close(self) -> None:
        """Give Ctrl-C back to whom it belonged."""
        if self._main and signal.getsignal(signal.SIGINT) is self._ours:
            signal.signal(signal.SIGINT, self._theirs)


class _Guard:
    """Copies of the parameters now and then, for the case that a later step leaves none that are finite."""

    def __init__(self, trainer: Trainer, optimizer: Optimizer) -> None:
        self.trainer, self.optimizer = trainer, optimizer
        self.copy: tuple[int, int, list[Array]] | None = None
        self.room: list[Array] = []
        self.taken, self.cost = -math.inf, 0.0

    def before_chunk(self) -> None:
        """Take a copy, if the last is old enough for it not to matter."""
        now = time.perf_counter()
        if now - self.taken < self.cost / _SNAPSHOT_SHARE:
            return
        flat, state = self.trainer.flat, self.trainer.state
        if not all_finite(flat):
            return
        # Before an optimiser's first step its state is zero.
        values = [flat, *state] if self.optimizer.step else [flat]
        # Each copy takes the last one's place: two at once would be half of what a large network needs in all.
        self.room += [np.empty_like(value) for value in values[len(self.room) :]]
        for place, value in zip(self.room, values, strict=False):
            place[...] = value
        self.copy = self.trainer.step, self.optimizer.step, self.room[: len(values)]
        self.taken = time.perf_counter()
        # The next copy is of the state too, whatever this one was of.
        self.cost = (self.taken - now) * (1 if len(values) > 1 else 1 + sum(s.size > 0 for s in state))

    def restore(self) -> None:
        """Go back to finite parameters: run again from the copy to the step before the bad one."""
        trainer = self.trainer
        if all_finite(trainer.flat) or self.copy is None:
            return
        trainer.load()
        bad = trainer.step
        for upto in (bad - 1, self.copy[0]):
            step, optimizer_step, (flat, *state) = self.copy
            trainer.flat[...] = flat
            for place, ours in enumerate(trainer.state):
                ours[...] = state[place] if state else 0.0
            trainer.step, self.optimizer.step = step, optimizer_step
            trainer.tally.fill(0.0)
            if upto > step:
                trainer.run(upto - step)
            if all_finite(trainer.flat):
                return


__all__ = ["CHUNK_SECONDS", "Fit", "note_epochs"]
