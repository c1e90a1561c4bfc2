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
    """

    def __init__(self, steps: int, print_every: int | None) -> None:
        self.steps, self.print_every = steps, print_every
        self.lines: list[str] = []

    def begin(self, epoch: int) -> None:
        """Add the line that begins an epoch, counted from 1."""
        if self.print_every is not None:
            self.lines.append(f"epoch: {epoch}")

    def wants(self, step: int) -> bool:
        """Tell whether a step, counted from 0 in its epoch, has a line."""
        every = self.print_every
        return every is not None and (not step % every or step == self.steps - 1)

    def step(self, step: int, accuracy: Any, data_loss: Any, regularization_loss: Any, rate: Any) -> None:
        """Add a step's line."""
        self.lines.append(f"step: {step}, {losses_text(accuracy, data_loss, regularization_loss, rate)}")

    def end(self, accuracy: Any, data_loss: Any, regularization_loss: Any, rate: Any) -> None:
        """Add the line that ends an epoch."""
        if self.print_every is not None:
            self.lines.append(f"training, {losses_text(accuracy, data_loss, regularization_loss, rate)}")

    def validation(self, accuracy: Any, loss: Any) -> None:
        """Add the line of a validation."""
        self.lines.append(f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}")

    def flush(self) -> None:
        """Print what there is."""
        if self.lines:
            print("\n".join(self.lines))
            self.lines.clear()
