"""The steps of one `Model.train`: compiled chunks, and layer by layer where somebody may look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._hold import Hold
from fastnn.nnfs._compiled import CompiledTraining
from fastnn.nnfs._report import Report

Callback = Callable[[Any, int, dict[str, Any]], Any]


class Training:
    """One call of `Model.train`."""

    def __init__(
        self, model: Any, X: Any, y: Any, batch: int, batch_size: int | None, report: Report,
        validation_data: tuple[Any, Any] | None, callback: Callback | None,
    ) -> None:  # fmt: skip
        self.model, self.X, self.y, self.batch, self.batch_size = model, X, y, batch, batch_size
        self.report, self.validation_data, self.callback = report, validation_data, callback
        self.steps = report.steps
        self.stopped = False

    def run(self, compiled: CompiledTraining | None, epochs: int) -> None:
        """Run all steps; those after which somebody may look at the layers run layer by layer."""
        hold = Hold()
        try:
            done, total = 0, epochs * self.steps
            while done < total and not self.stopped:
                if compiled is not None and not compiled.can_go_on():
                    compiled.release()
                    compiled = None
                # An interrupted step would leave the optimiser's count, and what is printed, behind the weights.
                with hold:
                    done = self._go_on(compiled, done, total)
        finally:
            hold.close()

    def _go_on(self, compiled: CompiledTraining | None, done: int, total: int) -> int:
        """Run one step, or a chunk of compiled ones; return how many of `total` steps are done then."""
        if compiled is None:
            self.step(done)
            return done + 1
        looks = self.callback is not None or self.validation_data is not None
        goal = min(done + compiled.chunk(), total)
        if looks:
            goal = min(goal, done - done % self.steps + self.steps)
        shown = goal == total or (looks and goal % self.steps == 0)
        count = goal - done - shown
        if count:
            self.note(compiled, done, count)
        if shown:
            compiled.bind()
            self.step(goal - 1)
        self.report.flush()
        return goal

    def step(self, number: int) -> None:
        """Run one step layer by layer."""
        model, report, step = self.model, self.report, number % self.steps
        if step == 0:
            self.begin(number)
            report.flush()  # what layers of the user's own may print comes after it
        X = self.X[step * self.batch : (step + 1) * self.batch]
        y = self.y[step * self.batch : (step + 1) * self.batch]
        output = model.forward(X, training=True)
        data_loss, regularization_loss = model.loss.calculate(output, y, include_regularization=True)
        accuracy = model.accuracy.calculate(model.output_layer_activation.predictions(output), y)
        model.backward(output, y)
        optimizer = model.optimizer
        optimizer.pre_update_params()
        for layer in model.trainable_layers:
            optimizer.update_params(layer)
        optimizer.post_update_params()
        if report.wants(step):
            report.step(step, accuracy, data_loss, regularization_loss, optimizer.current_learning_rate)
        if step == self.steps - 1:
            data_loss, regularization_loss = model.loss.calculate_accumulated(include_regularization=True)
            accuracy = model.accuracy.calculate_accumulated()
            self.end(number, accuracy, data_loss, regularization_loss, optimizer.current_learning_rate)
        report.flush()

    def note(self, compiled: CompiledTraining, first: int, count: int) -> None:
        """Run steps compiled and add their lines."""
        records, rates = compiled.run(first, count)
        rows, report, compared = records.tolist(), self.report, compiled.compared
        loss, accuracy = self.model.loss, self.model.accuracy
        whole, last = self.batch, compiled.rows - (self.steps - 1) * self.batch
        for i in range(count):
            number = first + i
            step = number % self.steps
            if step == 0:
                self.begin(number)
            loss_sum, hits, penalty = rows[i]
            samples = last if step == self.steps - 1 else whole
            loss.accumulated_sum += loss_sum
            loss.accumulated_count += samples
            accuracy.accumulated_sum += hits
            accuracy.accumulated_count += samples * compared
            if report.wants(step):
                report.step(step, hits / (samples * compared), loss_sum / samples, penalty, rates[i])
            if step == self.steps - 1:
                share, mean = accuracy.calculate_accumulated(), loss.calculate_accumulated()
                # The penalty of the parameters as the epoch leaves them: what the next step begins with.
                self.end(number, share, mean, rows[i + 1][2], rates[i])

    def begin(self, number: int) -> None:
        """Begin an epoch."""
        self.report.begin(number // self.steps + 1)
        self.model.loss.new_pass()
        self.model.accuracy.new_pass()

    def end(self, number: int, accuracy: Any, data_loss: Any, regularization_loss: Any, rate: Any) -> None:
        """End an epoch."""
        self.report.end(accuracy, data_loss, regularization_loss, rate)
        if self.validation_data is None and self.callback is None:
            return
        epoch = number // self.steps + 1
        logs = {
            "accuracy": float(accuracy), "loss": float(data_loss + regularization_loss),
            "data_loss": float(data_loss), "reg_loss": float(regularization_loss), "learning_rate": float(rate),
        }  # fmt: skip
        if self.validation_data is not None:
            found = self.model._validate(self.validation_data, self.batch_size, self.report)
            if found is not None:
                logs["validation_accuracy"], logs["validation_loss"] = map(float, found)
        self.report.flush()
        if self.callback is not None:
            self.stopped = self.callback(self.model, epoch, logs) is True


def sample_count(X: Any, y: Any, name: str, other: str) -> int:
    """Return how many samples there are, or raise if the two arrays do not say the same."""
    for value, what in ((X, name), (y, other)):
        if np.ndim(value) == 0:
            raise ValueError(f"{what} must be an array with an entry for each sample, got {type(value).__name__}")
    if len(X) != len(y):
        raise ValueError(f"{name} and {other} must be of one length, got {len(X)} and {len(y)}: pass as many targets")
    if len(X) == 0:
        raise ValueError(f"{name} must have at least one sample, got none: pass some")
    return len(X)
