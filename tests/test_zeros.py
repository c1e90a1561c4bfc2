"""Inputs that are mostly zeros: what is noted of them, and that passing over their steps cannot be seen in the bits."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import trainer
from fastnn.kernels import network, zeros

DTYPES = [np.float32, np.float64]


def blotted(rows, columns, dtype, seed=0, share=0.7):
    """Return values of which a share, in runs of seven columns, is zero, as in images: runs end anywhere in a tile."""
    r = np.random.default_rng(seed)
    x = r.normal(size=(rows, columns)).astype(dtype)
    x[np.repeat(r.random((rows, columns // 7 + 1)) < share, 7, axis=1)[:, :columns]] = 0.0
    return x


def bits(words, tile, per_tile):
    """Return the steps whose bits are set in a tile's words."""
    own = words[tile * per_tile : (tile + 1) * per_tile].view(np.uint8)
    return np.flatnonzero(np.unpackbits(own, bitorder="little"))


SHAPES = [(6, 24), (13, 64), (70, 65), (64, 100), (128, 784), (5, 30), (65, 129)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_rows_are_noted_by_tiles(rows, columns, dtype):
    x, height = blotted(rows, columns, dtype), zeros.TILE_ROWS
    per_tile = -(-columns // 64) * (8 // x.itemsize)
    size, _ = zeros.room(rows, columns, x.itemsize)
    words = np.full(size + 8, np.nan, dtype)
    middle = rows // 2 // height * height
    for first, last in ((0, middle), (middle, rows)):
        zeros.note_rows(x.reshape(-1), 0, columns, first, last, columns, words, 0)
    for t in range(rows // height):
        expected = np.flatnonzero(x[t * height : (t + 1) * height].any(axis=0))
        np.testing.assert_array_equal(bits(words, t, per_tile), expected)
    assert np.isnan(words[size:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_columns_are_noted_by_tiles(rows, columns, n_workers, dtype):
    x, width = blotted(rows, columns, dtype), zeros.SHORT_ROWS
    per_tile = -(-rows // 64) * (8 // x.itemsize)
    _, size = zeros.room(rows, columns, x.itemsize)
    words, scratch = np.full(size + 8, np.nan, dtype), np.full(128, -1.0, dtype)
    for worker in range(n_workers):
        zeros.note_columns(x.reshape(-1), 0, columns, rows, columns, words, 0, scratch, 0, worker, n_workers)
    for t in range(columns // width):
        expected = np.flatnonzero(x[:, t * width : (t + 1) * width].any(axis=1))
        np.testing.assert_array_equal(bits(words, t, per_tile), expected)
    assert np.isnan(words[size:]).all()


def train(x, noted, monkeypatch, threads=1, hidden=64, make=fnn.Adam, gradient_pays=0.0, **more):
    """Return the bits of a trained network, with zeros noted or not, after making sure of it."""
    seen = []

    class Trainer(trainer.Trainer):
        def run(self, steps):
            row = self.plan.table[0]
            assert (row[network.COLUMN_WORDS] != 0) == (noted and gradient_pays == 0.0)
            seen.append(row[network.ROW_WORDS] != 0)
            return super().run(steps)

    monkeypatch.setattr(fnn.fitting, "Trainer", Trainer)
    monkeypatch.setattr(trainer.zeros, "PAYS", 0.0 if noted else 2.0)
    monkeypatch.setattr(trainer.zeros, "GRADIENT_PAYS", gradient_pays)
    monkeypatch.setattr(trainer.threads, "STEP_WORK", 1.0)
    y = np.random.default_rng(1).integers(0, 3, len(x))
    model = fnn.Sequential(fnn.Dense(x.shape[1], hidden), fnn.ReLU(), fnn.Dense(hidden, 3), seed=2)
    more = {"epochs": 3, "batch_size": 37, "seed": 3, **more}
    history = model.fit(x, y, optimizer=make(), n_threads=threads, progress=False, **more)
    assert set(seen) == {noted}
    return [value.tobytes() for value in model.parameters().values()], list(history["loss"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [24, 64, 100, 135, 200])
@pytest.mark.parametrize(
    "more",
    [
        {}, {"threads": 2}, {"shuffle": False}, {"shuffle": False, "threads": 3}, {"batch_size": None},
        {"batch_size": None, "threads": 2}, {"batch_size": 5}, {"hidden": 20},
        {"hidden": 2, "threads": 3}, {"hidden": 5}, {"hidden": 1024, "epochs": 1},
        {"hidden": 256, "threads": 2, "epochs": 20}, {"make": fnn.SGD},
        {"gradient_pays": 1.1}, {"gradient_pays": 1.1, "threads": 2},
    ],
    ids=lambda more: "-".join(f"{k}={getattr(v, '__name__', v)}" for k, v in more.items()) or "plain",
)  # fmt: skip
def test_the_bits_are_those_of_all_steps(columns, dtype, more, monkeypatch):
    x = blotted(103, columns, dtype)
    assert train(x, True, monkeypatch, **more) == train(x, False, monkeypatch, **more)


def test_whole_rows_and_columns_of_zeros(monkeypatch):
    x = blotted(103, 90, np.float32)
    x[20:60], x[:, 30:70] = 0.0, 0.0
    assert train(x, True, monkeypatch) == train(x, False, monkeypatch)
    x[:] = 0.0
    assert train(x, True, monkeypatch) == train(x, False, monkeypatch)


def test_negative_zeros_count_as_numbers(monkeypatch):
    x = np.abs(blotted(103, 60, np.float32))
    x[x == 0.0] = -0.0
    assert train(x, True, monkeypatch) == train(x, False, monkeypatch)


@pytest.mark.parametrize(
    ("x", "pays"),
    [
        (blotted(300, 784, np.float32), True),
        (blotted(300, 784, np.float32, share=0.01), False),
        (np.eye(40)[np.arange(500) % 40], True),
        (np.random.default_rng(0).normal(size=(300, 784)), False),
        # Too few columns, or rows, for a tile to have anything to pass over.
        (np.zeros((300, 11)), False),
        (np.zeros((2, 100)), False),
        # Zeros that are all in some of the rows: looked for all over.
        (np.concatenate([np.ones((900, 100)), np.zeros((900, 100))]), True),
        (np.zeros((7, 10_000)), True),
    ],
)
def test_zeros_are_noted_where_there_are_enough(x, pays, monkeypatch):
    assert trainer.zeros_pay(x)[0] is pays
    for share, gradient in ((0.0, pays), (1.1, False)):
        monkeypatch.setattr(trainer.zeros, "GRADIENT_PAYS", share)
        assert trainer.zeros_pay(x)[1] is gradient


def test_weights_that_are_not_finite_meet_every_zero():
    x = blotted(90, 60, np.float32)
    x[:, 30:40] = 0.0
    model = fnn.Sequential(fnn.Dense(60, 32), fnn.ReLU(), fnn.Dense(32, 3), seed=0)
    model.layers[0].weights[35, 3] = np.inf
    with pytest.warns(fnn.DivergenceWarning):
        history = model.fit(x, np.arange(90) % 3, epochs=2, batch_size=30, progress=False)
    assert history.diverged_at == 0
