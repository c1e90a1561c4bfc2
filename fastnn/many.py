"""Many networks of one shape trained at once, one a thread: sweeps, ensembles, restarts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn import threads
from fastnn._arguments import warn_if_new
from fastnn._array_steps import all_finite
from fastnn._figures import note_epochs
from fastnn._guard import Guard
from fastnn._hold import Hold
from fastnn._lowering import Operation, note_passes, work_of
from fastnn._order import new_order
from fastnn._schedule import listens
from fastnn.arrays import Array, as_inputs, check_flag, check_positive_int, check_seed
from fastnn.engine import Parameters, Plan, aligned, stacked_views
from fastnn.history import History, warn_of_divergence
from fastnn.kernels import many, sync
from fastnn.losses import Loss, SoftmaxCrossEntropy
from fastnn.model import Sequential
from fastnn.optimizers import Adam, Optimizer
from fastnn.trainer import Trainer, zeros_pay

__all__ = ["fit_many"]

CHUNK_SECONDS = 0.25
"""Length of a native call: longer than that of one `fit`, as Python has each network's figures to see to after it."""
_FIRST_PACE = 1e11
"""Operations a second that the first call is cut for; later ones go by the time that the one before took."""


def fit_many(
    models: Sequence[Sequential] | Callable[[int], Sequential],
    X: Any,
    y: Any,
    *,
    count: int | None = None,
    loss: Loss | None = None,
    optimizer: Optimizer | Sequence[Optimizer] | Callable[[int], Optimizer] | None = None,
    epochs: int = 10,
    batch_size: int | None = 32,
    shuffle: bool = True,
    seeds: Sequence[int] | None = None,
    n_threads: int | None = None,
) -> list[History]:
    """Train networks of one shape side by side, each with the bits that `Sequential.fit` alone would give it.

    Each network is trained by one thread, which waits for no other: with as many threads as cores, that many times as
    fast as one after the other, whatever their size.

    Parameters
    ----------
    models : sequence of Sequential, or callable
        The networks: layers of the same kinds and widths, and the same optimiser's kind; weights, learning rates,
        penalties and seeds may differ. A callable is given 0, 1, …, `count` - 1 and returns one each.
    X, y : array_like, or list of array_like
        Samples and what is true of them, as for `Sequential.fit`: one for all networks, or a list with one for each
        (of the same dtype; they may differ in length).
    count : int, optional
        How many networks a callable makes.
    loss : Loss, optional
        `SoftmaxCrossEntropy` without one.
    optimizer : Optimizer, sequence of Optimizer, or callable, optional
        One that is copied for each network, with the state that it has of the network's layers, one for each, or a
        callable that makes it from the network's number. `Adam` without one.
    epochs, batch_size, shuffle
        As for `Sequential.fit`.
    seeds : sequence of int, optional
        What `seed` is to `Sequential.fit`, for each network; without it each model's own.
    n_threads : int, optional
        Most threads to use.

    Returns
    -------
    list of History
        One a network.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the networks are not of one shape. None is then changed.

    Warns
    -----
    DivergenceWarning
        If a network's loss becomes NaN or infinite: its training ends and its last finite weights are kept.

    Notes
    -----
    Ctrl-C ends the training of all after the present native call, a quarter of a second long; the histories are then
    those that the models have, ``models[0].history`` and so on. One network keeps the memory of all: copy those that
    are to outlive the others, with ``copy.deepcopy``.

    Examples
    --------
    >>> import fastnn as fnn
    >>> X, y = fnn.datasets.spiral_data(100, 3, seed=0)
    >>> make = lambda i: fnn.Sequential(fnn.Dense(2, 16), fnn.ReLU(), fnn.Dense(16, 3), seed=i)
    >>> histories = fnn.fit_many(make, X, y, count=4, epochs=20, batch_size=None)
    >>> len(histories), len(histories[0]["loss"])
    (4, 20)
    """
    networks = _made(models, count, "models", Sequential)
    n = len(networks)
    loss = SoftmaxCrossEntropy() if loss is None else loss
    if not isinstance(loss, Loss) or loss.code is None:
        raise TypeError(f"loss must be one of fastnn's own losses, got {type(loss).__name__}")
    optimizers = _optimizers(optimizer, networks)
    epochs = check_positive_int(epochs, "epochs")
    batch = None if batch_size is None else check_positive_int(batch_size, "batch_size")
    shuffle = check_flag(shuffle, "shuffle")
    if seeds is not None and (not isinstance(seeds, Sequence | np.ndarray) or len(seeds) != n):
        given = f"{len(seeds)}" if isinstance(seeds, Sequence | np.ndarray) else f"{seeds!r}: pass a list"
        raise ValueError(f"seeds must be one for each of the {n} networks, got {given}")
    limit = None if n_threads is None else threads.checked(n_threads, "n_threads")
    lowered = [_lowered(model, i) for i, model in enumerate(networks)]
    shape = _shape(lowered[0])
    owners: dict[int, int] = {}
    for i, operations in enumerate(lowered):
        for layer in networks[i].layers:
            if owners.setdefault(id(layer), i) != i:
                raise ValueError(
                    f"models[{i}] and models[{owners[id(layer)]}] have a {type(layer).__name__} in common, which only "
                    "one of them can train: make one for each"
                )
        if _shape(operations) != shape:
            raise ValueError(f"models[{i}] has another shape than models[0]: fit networks of each shape by themselves")
    inputs, truths = _data(X, y, n, lowered[0][0].n_in)
    pairs = {(id(x), id(t)): (x, t) for x, t in zip(inputs, truths, strict=True)}
    prepared = {key: loss.prepare(t, len(x), lowered[0][-1].n_out, x.dtype) for key, (x, t) in pairs.items()}
    keyed = [prepared[id(x), id(t)] for x, t in zip(inputs, truths, strict=True)]

    # Copies of one optimiser have the same rates.
    alike = optimizer is None or isinstance(optimizer, Optimizer)
    run = _Run(networks, lowered, inputs, keyed, loss, optimizers, epochs, batch, shuffle, alike)
    entropies = [model.entropy(check_seed(None if seeds is None else seeds[i])) for i, model in enumerate(networks)]
    any(warn_if_new(one, model.layers) for one, model in zip(optimizers, networks, strict=True))  # once
    run.prepare(entropies, limit)
    run.run(limit)
    return run.histories


class _Run:
    """One `fit_many`; everything has been checked."""

    def __init__(
        self, networks: list[Sequential], lowered: list[list[Operation]], inputs: list[Array],
        prepared: list[tuple[Array, Array]], loss: Loss, optimizers: list[Optimizer], epochs: int,
        batch: int | None, shuffle: bool, alike: bool,
    ) -> None:  # fmt: skip
        self.networks, self.lowered, self.inputs, self.prepared = networks, lowered, inputs, prepared
        self.loss, self.optimizers, self.epochs, self.batch, self.shuffle = loss, optimizers, epochs, batch, shuffle
        self.histories = [History() for _ in networks]
        self.alike, self.ended = alike, list[tuple[int, int]]()

    def prepare(self, seeds: list[int], limit: int | None) -> None:
        """Lay the networks' arrays side by side."""
        n, dtype, self.seeds = len(self.networks), self.inputs[0].dtype, seeds
        plan, slots = Plan(self.lowered[0], 1, dtype), self.optimizers[0].n_slots
        size = plan.n_params
        # One array, which may then lie in huge pages: 64 of 64-100-10 take 2 to 4 % less for 40 steps.
        block = aligned((1 + slots) * n * size, dtype, True).reshape(1 + slots, n, size)
        self.params = block[0]
        self.state = [block[1 + i] if i < slots else np.empty((n, 0), dtype) for i in range(3)]
        self.trainers = []
        orders: dict[tuple[int, int], Array] = {}
        sparse: dict[int, tuple[bool, bool]] = {}
        trainers: dict[tuple[int, int, int], Trainer] = {}
        views = zip(*stacked_views(self.params, plan), strict=True)
        # A tuple for each parameter, of as many as there are slots.
        stacks = [stacked_views(s, plan) for s in self.state[:slots]]
        parts = zip(*map(zip, *stacks), strict=True) if slots else itertools.repeat([()] * len(plan.parameters))
        for i, (model, operations) in enumerate(zip(self.networks, self.lowered, strict=True)):
            x, (labels, targets) = self.inputs[i], self.prepared[i]
            parameters = Parameters(operations, dtype, plan, self.params[i], next(views))
            parameters.bind()
            parameters.bind_state(self.optimizers[i], [s[i] for s in self.state], next(parts))
            model.adopt(parameters)
            if not model._trains:
                model.loss, model.history = self.loss, self.histories[i]
            same = id(x), id(labels), id(targets)
            if same in trainers:
                self.trainers.append(trainers[same].twin(operations, parameters, self.optimizers[i], seeds[i]))
                continue
            batch = len(x) if self.batch is None else min(self.batch, len(x))
            if (id(x), batch) not in orders:
                orders[id(x), batch] = new_order(x, batch, operations, self.shuffle and batch < len(x), limit)
            if id(x) not in sparse:
                sparse[id(x)] = zeros_pay(x)
            trainers[same] = trainer = Trainer(
                operations, parameters, x, labels, targets, self.loss, self.optimizers[i], batch,
                orders[id(x), batch], seeds[i], 1, sparse[id(x)],
            )  # fmt: skip
            self.trainers.append(trainer)
        self.X, x_bounds = _joined(self.inputs)
        self.labels, l_bounds = _joined([labels for labels, _ in self.prepared], dtype)
        self.targets, t_bounds = _joined([targets for _, targets in self.prepared])
        sizes = [trainer.order.size for trainer in self.trainers]
        self.bounds = np.concatenate([x_bounds, l_bounds, t_bounds, np.array(sizes).reshape(n, 1)], axis=1)
        self.orders = np.empty((n, max(1, *sizes)), np.int64)
        for trainer, row, size in zip(self.trainers, self.orders, sizes, strict=True):
            row[:size] = trainer.order

    def run(self, limit: int | None) -> None:
        """Train all networks to their last epoch, a chunk of steps of each at a time."""
        n = len(self.trainers)
        last = [trainer.steps_per_epoch * self.epochs for trainer in self.trainers]
        work = work_of(self.lowered[0], self.trainers[0].plan.rows)
        chunk = max(1, int(CHUNK_SECONDS * _FIRST_PACE / max(n * work, 1e4)))
        self.guard, hold = Guard(self.trainers, self.params, self.state), Hold()
        try:
            while True:
                counts = [min(chunk, end - trainer.step) for trainer, end in zip(self.trainers, last, strict=True)]
                if not any(counts):
                    break
                workers = min(n, threads.workers(work * sum(counts), limit))
                with hold:
                    for i in self.guard.before_chunk():
                        if counts[i]:
                            self._diverged(i)
                            last[i], counts[i] = self.trainers[i].step, 0
                    began = time.perf_counter()
                    if any(counts):
                        self._chunk(counts, workers, last)
                    took = time.perf_counter() - began
                self._warn()
                chunk = max(1, min(4 * chunk, int(max(counts) * CHUNK_SECONDS / max(took, 1e-6))))
        except KeyboardInterrupt:
            for trainer, end, history in zip(self.trainers, last, self.histories, strict=True):
                if trainer.step < end:
                    history.stopped_by = "interrupt"
            raise
        finally:
            for operations, seed, trainer in zip(self.lowered, self.seeds, self.trainers, strict=True):
                note_passes(operations, seed, trainer.step)
            hold.close()
        if not all_finite(self.params.reshape(-1)):
            for i, row in enumerate(self.params):
                # The very last update overflowed: the next step would have noticed.
                if not all_finite(row) and self.histories[i].stopped_by is None:
                    self._diverged(i)
        self._warn()

    def _diverged(self, i: int) -> None:
        trainer, history = self.trainers[i], self.histories[i]
        bad = self.guard.restore(i)
        history.stopped_by, history.diverged_at, history.steps = "divergence", bad, trainer.step
        history.cut(bad // trainer.steps_per_epoch)
        self.ended.append((i, bad))

    def _warn(self) -> None:
        """Tell of the networks that have diverged, once all that was done is written down: a warning may raise."""
        while self.ended:
            i, bad = self.ended.pop(0)
            warn_of_divergence(
                f"the loss or a weight of models[{i}] became NaN or infinite at step {bad}: its training ended there "
                "and its last finite weights are kept. Try a smaller learning rate or scaled inputs."
            )

    def _chunk(self, counts: list[int], workers: int, last: list[int]) -> None:
        n, dtype, trainers = len(counts), self.params.dtype, self.trainers
        most = max(counts)
        scalars, rows = np.empty((n, most, 8)), 1
        rates: list[Any] = []
        known: dict[tuple[int, int], tuple[Any, Any]] = {}
        for i, (trainer, optimizer) in enumerate(zip(trainers, self.optimizers, strict=True)):
            rows = max(rows, trainer.begin(counts[i]))
            key = optimizer.step, counts[i]
            if not self.alike or key not in known:
                known[key] = optimizer.scalars(*key), optimizer.learning_rates(*key)
            scalars[i, : counts[i]] = known[key][0]
            rates.append(known[key][1])
        histories = np.empty((n, rows, 3))
        plans, factors = _stack([t.plan.table for t in trainers]), _stack([t.plan.factors for t in trainers])
        tasks, tallies = _stack([t.job for t in trainers]), _stack([t.tally for t in trainers])
        syncs = np.empty((n, sync.SIZE), np.int64)
        syncs.fill(0)
        turn = np.empty(1, np.int64)
        turn.fill(0)
        batch = max(trainer.losses.size for trainer in trainers)
        size = max(trainer.work_size for trainer in trainers)
        room = aligned(workers * size, dtype).reshape(workers, size)
        sums = np.empty((2, workers, batch), dtype)
        threads.call(
            many.run_many, workers, self.X, self.labels, self.targets, self.bounds, self.orders, self.params,
            *self.state, room, sums[0], sums[1], plans, factors, scalars, tasks,
            trainers[0].smoothing, syncs, tallies, histories, trainers[0].narrow, turn,
        )  # fmt: skip
        for i, trainer in enumerate(trainers):
            trainer.job[:], trainer.tally[:] = tasks[i], tallies[i]
            first = trainer.step
            done_rows, done = trainer.end(histories[i])
            history = self.histories[i]
            note_epochs(
                history, done_rows, first, rates[i], trainer.steps_per_epoch, self.networks[i].layers, self.loss
            )
            history.steps += done
            if done < counts[i]:
                self._diverged(i)
                last[i] = trainer.step


def _stack(arrays: list[Array]) -> Array:
    """Return what `numpy.stack` does, in a fifth of the time."""
    return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)


def _made(made: Any, count: int | None, name: str, kind: type) -> list[Any]:
    if isinstance(made, type):
        remedy = f"pass {made.__name__}()" if made.__name__ != kind.__name__ else "pass a list of them, or a function"
        raise TypeError(f"{name} must not be a class, got {made.__name__}: {remedy}")
    if isinstance(made, kind):
        raise TypeError(f"{name} must be a list, or a function of a network's number, got one {kind.__name__}")
    if callable(made) and not isinstance(made, (list, tuple)):
        if count is None:
            raise ValueError(f"count must be given where {name} is a callable: how many to make")
        made = [made(i) for i in range(check_positive_int(count, "count"))]
    found = list(made)
    if not found or (count is not None and len(found) != count):
        raise ValueError(f"{name} must hold {count or 'at least one'}, got {len(found)}")
    seen: set[int] = set()
    for i, one in enumerate(found):
        if not isinstance(one, kind):
            raise TypeError(f"{name}[{i}] must be a {kind.__name__}, got {type(one).__name__}")
        if id(one) in seen:
            raise ValueError(f"{name}[{i}] is there twice; make one for each network")
        seen.add(id(one))
    return found


def _optimizers(optimizer: Any, networks: list[Sequential]) -> list[Optimizer]:
    n = len(networks)
    if optimizer is None:
        optimizer = Adam()
    if isinstance(optimizer, Optimizer):
        optimizer = [optimizer.twin(model.layers) for model in networks]
    found = _made(optimizer, n if callable(optimizer) else None, "optimizer", Optimizer)
    if len(found) != n:
        raise ValueError(f"optimizer must be one for each of the {n} networks, got {len(found)}")
    for i, one in enumerate(found):
        if listens(one.learning_rate):
            raise ValueError(
                f"optimizer[{i}] has a learning rate that follows how training goes, which nobody watches here: "
                "use a schedule of the step alone, or fit the networks one by one"
            )
        if not one.compiles:
            raise TypeError(f"optimizer[{i}] has an update() of its own, which is not called here: use fit()")
        if one.kind != found[0].kind:
            raise ValueError(f"optimizer[{i}] is of another kind than optimizer[0]; use one kind for all")
    return found


def _lowered(model: Sequential, i: int) -> list[Operation]:
    operations = model.operations()
    # All of them are looked at: what cannot be trained is refused before anything changes.
    if not operations or not any([layer.parameters() for layer in model.layers]):
        raise ValueError(f"models[{i}] must be made of fastnn's own layers and have a Dense among them")
    return operations


def _shape(operations: list[Operation]) -> list[tuple[int, int, int, int]]:
    return [(o.kind, o.n_in, o.n_out, o.activation) for o in operations]


def _data(X: Any, y: Any, n: int, width: int) -> tuple[list[Array], list[Any]]:
    apart = isinstance(X, (list, tuple)) and len(X) == n and all(isinstance(x, np.ndarray) and x.ndim == 2 for x in X)
    if not apart:
        x = as_inputs(X, "X", width)
        if isinstance(y, (list, tuple)) and len(y) == n != len(x) and all(np.ndim(t) > 0 for t in y):
            raise ValueError(f"y is a list with one for each of the {n} networks, and X is not: pass [X] * {n}")
        return [x] * n, [y] * n
    if not isinstance(y, (list, tuple)) or len(y) != n:
        raise ValueError(f"y must be a list with one for each of the {n} networks, as X is")
    inputs = [as_inputs(x, f"X[{i}]", width) for i, x in enumerate(X)]
    for i, x in enumerate(inputs):
        if x.dtype != inputs[0].dtype:
            raise ValueError(f"X[{i}] is {x.dtype} and X[0] {inputs[0].dtype}: convert them to one dtype")
    return inputs, list(y)


def _joined(arrays: list[Array], dtype: Any = None) -> tuple[Array, Array]:
    """Return the arrays one behind the other, each once, and where each begins and ends."""
    places: dict[int, tuple[int, int]] = {}
    parts, at = [], 0
    for array in arrays:
        if id(array) not in places:
            flat = array.reshape(-1)
            places[id(array)] = at, at + flat.size
            parts.append(flat)
            at += flat.size
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if dtype is not None:
        joined = joined.astype(dtype)
    return joined, np.array([places[id(array)] for array in arrays], np.int64)
