"""The compiled training loop: buffers, position, and the call that runs a chunk of steps."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import threads
from fastnn._lowering import Operation, work_of
from fastnn.arrays import Array
from fastnn.engine import LINE, Parameters, Plan, aligned, plan_of
from fastnn.kernels import gemm, jobs, losses, narrow, network, panels, sync, train, zeros

# Panels pay for batches so small that updates are a large part of a step (784-128-128-10, 128 rows: 387 -> 355 µs; at
# 784-512 and 128 rows they gain nothing where cores share a cache, and 2.9 -> 2.5 ms where they do not), if workers'
# shares are about equal; and for layers so wide that panels would be copied for each product.
_PANEL_ROWS, _PANEL_SPARE, _PANEL_SPARE_ALONE = 128, 1.1, 1.3
# Steps between two times that the layers' arrays have to be up to date, from which on rearranging is none to speak of.
PANEL_STEPS = 50

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


def zeros_pay(X: Array) -> tuple[bool, bool]:
    """Tell whether so many of the inputs are zero that steps of their products are worth passing over.

    Judged by a few rows from all over `X`, the columns' first ones where there are very many.

    Returns
    -------
    forward, gradient : bool
        The latter only with the former.
    """
    rows, columns = (
        n // zeros.TILE_ROWS * zeros.TILE_ROWS for n in (min(len(X), 8 * zeros.TILE_ROWS), min(X.shape[1], 4096))
    )
    if columns < 4 * zeros.TILE_ROWS or rows == 0:
        return False, False
    some = X[:: len(X) // rows][:rows, :columns] != 0
    # Over strides: `any` along an axis of three or six took 96 µs in all at 64 columns, this takes 40.
    forward = _share_of_zeros([some[r :: zeros.TILE_ROWS] for r in range(zeros.TILE_ROWS)])
    gradient = _share_of_zeros([some[:, c :: zeros.SHORT_ROWS] for c in range(zeros.SHORT_ROWS)])
    both = gradient >= zeros.GRADIENT_PAYS
    pays = (forward + gradient if both else forward) > zeros.PAYS
    return pays, pays and both


def _share_of_zeros(some: list[Array]) -> float:
    """Return how many of the places are zero in all of `some`, from 0 to 1."""
    found = functools.reduce(np.logical_or, some)
    return 1.0 - float(np.count_nonzero(found)) / found.size


def in_panels(plan: Plan, n_workers: int, steps: int, itemsize: int) -> Array:
    """Return the places, for `panels.rearrange`, of the weights that are to lie in panels, and note them in the plan.

    `steps` is how many steps are trained before the layers' own arrays have to be up to date.
    """
    width, places = panels.panel_width(itemsize), []
    plan.table[:, network.PANELS] = 0
    if steps < PANEL_STEPS:
        return np.empty((0, 3), np.int64)
    for row, factors in zip(plan.table, plan.factors, strict=True):
        k, n = int(row[network.N_IN]), int(row[network.N_OUT])
        largest = math.ceil(math.ceil(n / width) / n_workers) * width
        small = n_workers > 1 and (
            plan.rows <= _PANEL_ROWS
            and largest * n_workers <= _PANEL_SPARE * n
            # Nobody hands over parts of it: each worker meets its own columns again in all phases.
            or plan.rows * k * n < n_workers * _PART_WORK
            and largest * n_workers <= _PANEL_SPARE_ALONE * n
        )
        pays = (
            row[network.KIND] == network.DENSE
            and n > width
            and k > gemm.NARROW
            and (small or n >= panels.LEAST_COLUMNS)
            # Sums of penalties are taken in the order of rows.
            and factors[network.WEIGHT_L1] == factors[network.WEIGHT_L2] == 0.0
        )
        row[network.PANELS] = int(pays)
        if pays:
            places.append((int(row[network.WEIGHTS]), k, n))
    return np.array(places, np.int64).reshape(-1, 3)


def rearranging_room(places: Array, dtype: np.dtype[Any]) -> Array:
    """Return the room that `panels.rearrange` needs for these places."""
    return aligned(int((places[:, 1] * places[:, 2]).max(initial=0)), dtype)


def outputs_in_panels(plan: Plan, n_workers: int, itemsize: int, place: int) -> int:
    """Lay the first layer's outputs out in panels too, if that pays, and return the room for them from `place` on.

    It pays for two layers so small that nobody hands over parts of them (64-100-10, 200 rows: 43 -> 39 µs a step).
    """
    (first, *more), width = plan.table, panels.panel_width(itemsize)
    work = plan.rows * first[network.N_IN] * first[network.N_OUT]
    if (
        n_workers == 1
        or len(more) != 1
        or first[network.PANELS] == 0
        or more[0][network.KIND] != network.DENSE
        or not gemm.NARROW < more[0][network.N_OUT] <= min(gemm.MOST_TURNED, width)
        or work >= n_workers * _PART_WORK
    ):
        return 0
    # Panels are more than a page apart.
    apart = plan.rows * width + 4096 // itemsize
    room = math.ceil(first[network.N_OUT] / width) * apart
    first[network.OUT], first[network.GRAD] = place, place + room
    first[network.LD], first[network.APART] = width, apart
    return int(2 * room)


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
    sparse : tuple of bool, or None
        What `zeros_pay` says of `X`, if it is known.
    """

    def __init__(
        self, operations: Sequence[Operation], parameters: Parameters, X: Array, labels: Array, targets: Array,
        loss: Any, optimizer: Any, batch_size: int, order: Array, seed: int, limit: int | None,
        sparse: tuple[bool, bool] | None = None,
    ) -> None:  # fmt: skip
        dtype = parameters.dtype
        self.parameters, self.optimizer = parameters, optimizer
        self.X, self.labels, self.targets = X.reshape(-1), labels.astype(dtype), targets.reshape(-1)
        self.smoothing = float(getattr(loss, "label_smoothing", 0.0))
        self.plan = plan_of(operations, batch_size, dtype, seed)
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
        touched = self.flat.nbytes + sum(array.nbytes for array in self.state) + self.plan.scratch * dtype.itemsize
        self.plan.table[:, network.NEAR] = int(touched <= network.NEAR_BYTES)
        self._places = np.empty((0, 3), np.int64)
        self._laid = np.zeros(1, np.int64)
        self._room: Array | None = None
        self.work: Array | None = None
        self.losses, self.hits = aligned(batch_size + LINE, dtype), aligned(batch_size + LINE, dtype)
        self.order = order
        self.steps_per_epoch = -(-len(X) // batch_size)
        passes = not self.narrow and self.plan.table[0, network.KIND] == network.DENSE
        self._sparse = (zeros_pay(X) if sparse is None else sparse) if passes else (False, False)
        self._note_zeros()
        first = self.plan.table[0]
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

    def _note_zeros(self) -> None:
        # Zero times infinity is not zero.
        (forward, gradient), plan = self._sparse, self.plan
        pays = forward and bool(np.isfinite(self.parameters.views[0]).all())
        plan.table[0, network.ROW_WORDS] = plan.row_words if pays else 0
        plan.table[0, network.COLUMN_WORDS] = plan.column_words if pays and gradient else 0

    def take_in(self) -> None:
        """Take in what somebody has done to the layers' arrays or the optimiser's state since `store`."""
        self.parameters.bind()
        self.parameters.bind_state(self.optimizer)
        self.flat, self.state = self.parameters.flat, self.parameters.state
        if self._sparse[0]:
            self._note_zeros()
            self.job[jobs.ROW_WORDS] = self.plan.table[0, network.ROW_WORDS]

    def twin(self, operations: Sequence[Operation], parameters: Parameters, optimizer: Any, seed: int) -> Trainer:
        """Return what trains another network of this one's shape on the same data, in a fraction of the time.

        The two share buffers: only one of them may `run`.
        """
        # See `Plan.twin`.
        other = object.__new__(Trainer)
        other.__dict__.update(self.__dict__)
        other.parameters, other.optimizer = parameters, optimizer
        other.flat, other.state = parameters.flat, parameters.state
        other.plan = self.plan.twin(operations, seed)
        other.job, other.tally = self.job.copy(), self.tally.copy()
        other.job[jobs.SEED], other.job[jobs.OPTIMIZER] = seed, optimizer.kind
        other._note_zeros()
        other.job[jobs.ROW_WORDS] = other.plan.table[0, network.ROW_WORDS]
        return other

    def lay_out(self, steps: int) -> None:
        """Settle which weights lie in panels, from `load` to `store`: the layers see `steps` steps at a time only."""
        itemsize = self.parameters.dtype.itemsize
        self._places = in_panels(self.plan, self.n_workers, steps, itemsize)
        self.work_size += outputs_in_panels(self.plan, self.n_workers, itemsize, self.work_size)

    def load(self) -> None:
        """Make ready for `run`; until `store`, the layers' arrays and the optimiser's are not in their order."""
        self._rearrange(True)

    def store(self) -> None:
        """Put the layers' arrays and the optimiser's in order again."""
        self._rearrange(False)

    def _rearrange(self, inward: bool) -> None:
        if len(self._places) and self._laid[0] != inward:
            if self._room is None:
                # Kept: without it there would be no way back.
                self._room = rearranging_room(self._places, self.parameters.dtype)
            arguments = self.flat, *self.state, self._places, self._room, self._laid, inward
            threads.call(panels.rearrange, self.n_workers, *arguments, parallel=True)

    def run(self, steps: int) -> tuple[Array, int]:
        """Run `steps` steps; return the history's rows of the epochs that ended, and the steps done.

        Fewer steps than asked means that the loss of the next one was not finite; its update was not made.
        """
        if self.work is None:
            self.work = aligned(self.work_size, self.parameters.dtype)
        history = np.empty((self.begin(steps), 3), np.float64)
        scalars = self.optimizer.next_scalars(steps)
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


__all__ = ["Trainer", "in_panels", "is_narrow", "rearranging_room"]
