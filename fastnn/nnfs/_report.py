"""What `Model.train` prints, in the book's exact format, and the running sums behind it."""

from __future__ import annotations

from typing import Any


def losses_text(accuracy: Any, data_loss: Any, regularization_loss: Any, rate: Any) -> str:
    """Return the part that the lines of steps and of epochs share."""
    return (
        f"acc: {accuracy:.3f}, loss: {data_loss + regularization_loss:.3f} "
        f"(data_loss: {data_loss:.3f}, reg_loss: {regularization_loss:.3f}), lr: {rate}"
    )


class Report:
    """Lines of one training run.

    Parameters
    ----------
    steps : int
        Steps an epoch.
    print_every : int or None
        A step's line is printed if its number is a multiple, or if it is the last; None prints nothing at all.
    epoch_lines : bool
        The lines of chapter 18: one for each epoch whose number is a multiple of `print_every`, and no others.
    """

    def __init__(self, steps: int, print_every: int | None, epoch_lines: bool = False) -> None:
        self.steps, self.print_every, self.epoch_lines = steps, print_every, epoch_lines
        self.lines: list[str] = []
        self.epoch = 0
        # Chapter 18 prints the penalty with which an epoch's only step began, not the one it left.
        self.penalty: Any = 0.0
        self._figures: Any = None
        self._text = ""

    def _losses(self, *figures: Any) -> str:
        """Return `losses_text`, of the call before if the figures are the same: an epoch of one step has them twice."""
        # Equal numbers look the same, but for zeros of either sign.
        if figures != self._figures or figures[3] is not self._figures[3] or not figures[1] > 0.0:
            self._figures, self._text = figures, losses_text(*figures)
        return self._text

    def begin(self, epoch: int) -> None:
        """Add the line that begins an epoch, counted from 1."""
        self.epoch = epoch
        if self.print_every is not None and not self.epoch_lines:
            self.lines.append(f"epoch: {epoch}")

    def wants(self, step: int) -> bool:
        """Tell whether the figures of a step, counted from 0 in its epoch, are printed."""
        every = self.print_every
        if every is None:
            return False
        if self.epoch_lines:
            return step == self.steps - 1 and not self.epoch % every
        return not step % every or step == self.steps - 1

    def step(self, step: int, accuracy: Any, data_loss: Any, regularization_loss: Any, rate: Any) -> None:
        """Add a step's line, or keep what the epoch's line needs of it."""
        self.penalty = regularization_loss
        if not self.epoch_lines:
            self.lines.append(f"step: {step}, {self._losses(accuracy, data_loss, regularization_loss, rate)}")

    def end(self, accuracy: Any, data_loss: Any, regularization_loss: Any, rate: Any) -> None:
        """Add the line that ends an epoch."""
        if self.print_every is None:
            return
        if not self.epoch_lines:
            self.lines.append(f"training, {self._losses(accuracy, data_loss, regularization_loss, rate)}")
        elif not self.epoch % self.print_every:
            self.lines.append(f"epoch: {self.epoch}, {losses_text(accuracy, data_loss, self.penalty, rate)}")

    def validation(self, accuracy: Any, loss: Any) -> None:
        """Add the line of a validation."""
        self.lines.append(f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}")

    def flush(self) -> None:
        """Print what there is."""
        if self.lines:
            print("\n".join(self.lines))
            self.lines.clear()
