"""The compiled training loop: buffers, position, and the call that runs a chunk of steps."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import threads
from fastnn.arrays import Array
from fastnn.engine import LINE, Operation, Parameters, Plan, aligned, work_of
from fastnn.kernels import gemm, jobs, losses, narrow, network, panels, sync, train, zeros

# Panels pay for batches so small that updates are a large part of a step (784-128-128-10, 128 rows: 387 -> 355 µs; at
# 784-512 and 128 rows they gain nothing where cores share a cache, and 2.9 -> 2.5 ms where they do not), if copying in
# and out is none to speak of, and if workers' shares are about equal.
_PANEL_ROWS, _PANEL_STEPS, _PANEL_SPARE = 128, 50, 1.1

# Operations below which a part of a product is not handed out by itself (see `network.parts_each`).
_PART_WORK = 3_000_000


def is_narrow(operations: Sequence[Operation], loss: Any, targets: Array) -> bool:
    """Tell whether the kernels for few inputs, one hidden ReLU layer and few classes can train a network.

    One thread with them is as fast as three with the others.
    """
    if len(operations) != 2 or loss.code != losses.SOFTMAX_CROSS_ENTROPY or targets.size > 0:
        return False
    first, last = operations
    return (
        first.kind == last.kind == network.DENSE
        and (first.activation, last.activation) == (gemm.RELU, gemm.LINEAR)
        and max(first.n_in, last.n_out) <= narrow.LIMIT
    )


def zeros_pay(X: Array) -> bool:
    """Tell whether so many of the inputs are zero that steps of their products are worth passing over.

    Judged by a few rows from all over `X`, the columns' first ones where there are very many.
    """
    rows, columns = (
        n // zeros.TILE_ROWS * zeros.TILE_ROWS for n in (min(len(X), 8 * zeros.TILE_ROWS), min(X.shape[1], 4096))
    )
    if columns < 4 * zeros.TILE_ROWS or rows == 0:
        return False
    some = X[:: len(X) // rows][:rows, :columns] != 0
    by_rows = some.reshape(-1, zeros.TILE_ROWS, columns).any(axis=1)
    by_columns = some.reshape(rows, -1, zeros.SHORT_ROWS).any(axis=2)
    return bool(by_rows.mean() + by_columns.mean() < 2.0 - zeros.PAYS)


def in_panels(plan: Plan, place: int, n_workers: int, steps: int, itemsize: int) -> tuple[int, int, int] | None:
    """Return what `panels.rearrange` takes to lay out the weights of operation `place`; None where it does not pay.

    `steps` is how many steps are trained before the layers' own arrays have to be up to date.
    """
    row, factors = plan.table[place], plan.factors[place]
    weights, k, n = (int(row[column]) for column in (network.WEIGHTS, network.N_IN, network.N_OUT))
    width = panels.panel_width(itemsize)
    largest = math.ceil(math.ceil(n / width) / n_workers) * width
    if (
        n_workers == 1
        or plan.rows > _PANEL_ROWS
        or steps < _PANEL_STEPS
        or largest * n_workers > _PANEL_SPARE * n
        # Sums of penalties are taken in the order of rows.
        or factors[network.WEIGHT_L1] > 0.0
        or factors[network.WEIGHT_L2] > 0.0
    ):
        return None
    return weights, k, n


class Trainer:
    """One `fit`: buffers, position, and the call that runs a chunk of steps.

    Parameters
    ----------
    operations : sequence of Operation
    parameters : Parameters
        Bound to the layers; its state to the optimiser.
    X, labels, targets : numpy.ndarray
        Checked data: (rows, features) of T; class numbers, or empty; (rows, outputs) of T, or empty.
    loss, optimizer : Loss, Optimizer
    batch_size : int
    order : numpy.ndarray
        The epoch's order, from `new_order`; empty if samples are not shuffled.
    seed : int
    limit : int or None
        Most threads to use.
    """

    def __init__(
        self, operations: Sequence[Operation], parameters: Parameters, X: Array, labels: Array, targets: Array,
        loss: Any, optimizer: Any, batch_size: int, order: Array, seed: int, limit: int | None,
    ) -> None:  # fmt: skip
        dtype = parameters.dtype
        self.parameters, self.optimizer = parameters, optimizer
        self.X, self.labels, self.targets = X.reshape(-1), labels.astype(dtype), targets.reshape(-1)
        self.smoothing = float(getattr(loss, "label_smoothing", 0.0))
        self.plan = Plan(operations, batch_size, dtype, seed)
        self.n_workers = threads.workers(work_of(operations, batch_size), limit, enough=threads.STEP_WORK)
        self.narrow = is_narrow(operations, loss, targets)
        if self.narrow:
            self.n_workers = 1
        self.pace = threads.Pace(self.n_workers, work_of(operations, batch_size))
        self.work_size = self.plan.scratch + self.n_workers * self.plan.part
        if self.narrow:
            first, last = operations
            self.work_size = narrow.work_size(
                first.n_in, first.n_out, last.n_out, parameters.flat.size, len(X), batch_size
            )
        self.flat, self.state = parameters.flat, parameters.state
        self._in_panels: tuple[int, int, int] | None = None
        self._ahead = False
        self.work: Array | None = None
        self.losses, self.hits = aligned(batch_size + LINE, dtype), aligned(batch_size + LINE, dtype)
        self.order = order
        self.steps_per_epoch = -(-len(X) // batch_size)
        first = self.plan.table[0]
        if not self.narrow and first[network.KIND] == network.DENSE and zeros_pay(X):
            # Zero times infinity is not zero.
            if np.isfinite(parameters.views[0]).all():
                first[network.ROW_WORDS], first[network.COLUMN_WORDS] = self.plan.row_words, self.plan.column_words
        first_dense = next(i for i, o in enumerate(operations) if o.kind == network.DENSE)
        job = np.empty(jobs.JOB, np.int64)
        job.fill(0)
        for place, value in (
            (jobs.ROWS, len(X)), (jobs.FEATURES, X.shape[1]), (jobs.BATCH, batch_size),
            (jobs.SHUFFLE, int(order.size > 0)), (jobs.SEED, seed), (jobs.OPTIMIZER, optimizer.kind),
            (jobs.LOSS, loss.code), (jobs.SOFT, int(loss.code == losses.SOFTMAX_CROSS_ENTROPY and targets.size > 0)),
            (jobs.INPUT, self.plan.input), (jobs.INPUT_LD, self.plan.input_ld), (jobs.LABELS, self.plan.labels),
            (jobs.TARGETS, self.plan.targets), (jobs.TARGETS_LD, self.plan.targets_ld),
            (jobs.SCRATCH, self.plan.scratch), (jobs.BLOCK, self.plan.block), (jobs.PART, self.plan.part),
            (jobs.FIRST_DENSE, first_dense), (jobs.ORDER_EPOCH, -1), (jobs.ROW_WORDS, first[network.ROW_WORDS]),
            (jobs.PART_WORK, _PART_WORK),
        ):  # fmt: skip
            job[place] = value
        self.job = job
        self.tally = np.empty(jobs.TALLY, np.float64)
        self.tally.fill(0.0)
        self.tally[jobs.BAD_STEP] = -1.0
        self.sync = np.empty(sync.SIZE, np.int64)
        self.step = 0

    def lay_out(self, steps: int) -> None:
        """Take the parameters in panels, if that pays: the layers see `steps` steps at a time only.

        Where it does, training goes on in copies, which `load` and `store` match with what the layers hold.
        """
        ours, place = self.parameters, self.job[jobs.FIRST_DENSE]
        self._in_panels = in_panels(self.plan, place, self.n_workers, steps, ours.dtype.itemsize)
        if self._in_panels is None:
            return
        self.plan.table[place, network.PANELS] = 1
        self.flat = aligned(ours.flat.size, ours.dtype)
        self.state = [aligned(s.size, ours.dtype) for s in ours.state]
        self.load()

    def load(self) -> None:
        """Take over what the layers and the optimiser hold."""
        self._copy(self.parameters, self, True)

    def store(self) -> None:
        """Hand what has been learnt to the layers and the optimiser."""
        if self._ahead:
            self._copy(self, self.parameters, False)

    def _copy(self, source: Parameters | Trainer, target: Parameters | Trainer, inward: bool) -> None:
        if self._in_panels is not None:
            for ours, theirs in zip((source.flat, *source.state), (target.flat, *target.state), strict=True):
                if ours.size:
                    panels.rearrange(ours, theirs, *self._in_panels, inward)
        self._ahead = False

    def run(self, steps: int) -> tuple[Array, int]:
        """Run `steps` steps; return the history's rows of the epochs that ended, and the steps done.

        Fewer steps than asked means that the loss of the next one was not finite; its update was not made.
        """
        if self.work is None:
            self.work = aligned(self.work_size, self.parameters.dtype, True)
        history = np.empty((self.begin(steps), 3), np.float64)
        scalars = self.optimizer.scalars(self.optimizer.step, steps)
        self.sync.fill(0)
        if self.narrow:
            threads.call(
                narrow.run_narrow, 1, self.X, self.labels, self.order, self.flat, *self.state,
                self.work, self.losses, self.hits, self.plan.table, self.plan.factors, scalars, self.job,
                self.smoothing, self.tally, history,
            )  # fmt: skip
            return self.end(history)
        arguments = (
            self.X, self.labels, self.targets, self.order, self.flat, *self.state,
            self.work, self.losses, self.hits, self.plan.table, self.plan.factors, scalars, self.job,
            self.smoothing, self.sync, self.tally, history,
        )  # fmt: skip
        n_workers, _ = self.pace.next()
        began, parallel = time.perf_counter(), self.n_workers > 1
        used = threads.call(train.run_chunk, n_workers, *arguments, parallel=parallel)
        if used > 1 and self.sync[sync.ABANDONED]:
            # The workers were not run at once (another library holds the cores, say); one does as well.
            self.pace = threads.Pace(1)
            self.sync.fill(0)
            threads.call(train.run_chunk, 1, *arguments, parallel=parallel)
        self.pace.note(n_workers, (time.perf_counter() - began) / steps)
        return self.end(history)

    def begin(self, steps: int) -> int:
        """Set the job up for the next `steps` steps; return the rows of history to make room for."""
        self._ahead = True
        self.job[jobs.FIRST_STEP], self.job[jobs.STEPS] = self.step, steps
        self.tally[jobs.DONE] = 0.0
        return max(1, (self.step + steps) // self.steps_per_epoch - self.step // self.steps_per_epoch)

    def end(self, history: Array) -> tuple[Array, int]:
        """Take over what the kernel has done; return what `run` does."""
        first_epoch = self.step // self.steps_per_epoch
        done = int(self.tally[jobs.DONE])
        self.step += done
        self.optimizer.step += done
        return history[: self.step // self.steps_per_epoch - first_epoch], done


__all__ = ["Trainer", "in_panels", "is_narrow"]
