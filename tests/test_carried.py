"""Rows that a worker carries through all layers: when that is done, and that nobody can tell from the bits."""

import itertools

import numpy as np
import pytest

import fastnn as fnn
from fastnn import engine
from fastnn.kernels import carried, sync

# Widths that are cut by rows with vectors of any length.
WIDTHS = [(28, 300, 300, 2), (5, 33, 40, 3), (20, 100, 40, 33, 10), (12, 7)]


def network(widths, between=(fnn.ReLU,)):
    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [fnn.Dense(n_in, n_out), *(kind() for kind in between)]
    return fnn.Sequential(*layers[: len(layers) - len(between)], seed=0)


def carries(widths, rows, workers):
    plan = engine.Plan(network(widths).operations(), rows, np.dtype(np.float32))
    return carried.carries_rows(plan.table, rows, workers, np.zeros(1, np.float32))


@pytest.mark.parametrize("widths", WIDTHS)
def test_large_batches_are_carried(widths):
    assert carries(widths, 1100, 2) and carries(widths, 4096, 2) and carries(widths, 4096, 4)
    assert not carries(widths, 4096, 1)
    assert not carries(widths, 64, 2)


def test_wide_layers_and_small_batches_are_not():
    assert not carries((784, 1024, 1024, 10), 128, 2)
    assert not carries((300, 300, 300), 255, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "between",
    [(fnn.ReLU,), (fnn.Tanh, lambda: fnn.Dropout(0.3)), (fnn.Sigmoid, fnn.Softmax), (lambda: fnn.Dropout(0.5),), ()],
    ids=["relu", "tanh and dropout", "sigmoid and softmax", "dropout alone", "nothing"],
)
@pytest.mark.parametrize("widths", WIDTHS)
def test_bits_do_not_hang_on_the_threads(widths, between, shuffle, dtype, monkeypatch):
    monkeypatch.setattr(fnn.threads, "STEP_WORK", 1.0)
    random = np.random.default_rng(0)
    # Two whole batches that are carried, and one that is not.
    X, y = random.standard_normal((2 * 1100 + 50, widths[0])).astype(dtype), random.integers(0, widths[-1], 2250)
    ends = set()
    for threads in (1, 2, 3, 4):
        model, optimizer = network(widths, between), fnn.Adam(0.01)
        history = model.fit(
            X, y, optimizer=optimizer, epochs=2, batch_size=1100, shuffle=shuffle, n_threads=threads, progress=False
        )
        assert np.isfinite(history["loss"]).all()
        ends.add((*history["loss"], *(value.tobytes() for value in model.parameters().values())))
    assert len(ends) == 1


def test_gradients_of_many_layers_are_shared_out_between_two_meetings(monkeypatch):
    monkeypatch.setattr(fnn.threads, "STEP_WORK", 1.0)
    monkeypatch.setattr(fnn.trainer, "_PART_WORK", 1)
    random, widths = np.random.default_rng(0), (12, 40, 33, 40, 33, 40, 33, 40, 33, 5)
    X, y = random.standard_normal((1100, 12)).astype(np.float32), random.integers(0, 5, 1100)
    assert carries(widths, 1100, 2) and len(widths) - 1 > 2 * sync.MOST_ROUNDS
    ends = set()
    for threads in (1, 2, 4):
        model = network(widths)
        model.fit(X, y, optimizer=fnn.Adam(0.01), epochs=40, batch_size=None, n_threads=threads, progress=False)
        ends.add(tuple(value.tobytes() for value in model.parameters().values()))
    assert len(ends) == 1


def test_regression_and_divergence_are_the_same_as_well(monkeypatch):
    monkeypatch.setattr(fnn.threads, "STEP_WORK", 1.0)
    random = np.random.default_rng(0)
    X, y = random.standard_normal((1100, 9)).astype(np.float32), random.standard_normal((1100, 4)).astype(np.float32)
    for rate in (0.1, 1e20):
        ends = set()
        for threads in (1, 2, 4):
            model = network((9, 50, 4))
            with pytest.warns(fnn.DivergenceWarning) if rate > 1 else np.errstate():
                history = model.fit(
                    X, y, loss=fnn.MeanSquaredError(), optimizer=fnn.SGD(rate), epochs=9, batch_size=None,
                    n_threads=threads, progress=False,
                )  # fmt: skip
            ends.add((history.diverged_at, history.steps, *(v.tobytes() for v in model.parameters().values())))
        assert len(ends) == 1
