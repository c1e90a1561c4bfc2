"""The order of an epoch's samples: shuffled, and in each batch those beside each other that have like zeros."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import _order
from fastnn.kernels import order, rng

SEED, EPOCH = 11, 3


def layers(features=240, width=64):
    return fnn.Sequential(fnn.Dense(features, width), fnn.ReLU(), fnn.Dense(width, 3), seed=1).operations()


def garments(rows, dtype=np.float32, seed=0, kinds=8, features=240):
    """Return samples of a few kinds, each zero in its own runs of features and, here and there, elsewhere."""
    r = np.random.default_rng(seed)
    X = r.normal(size=(rows, features)).astype(dtype)
    masks = np.repeat(r.random((kinds, features // 8)) < 0.5, 8, axis=1)
    X[masks[r.integers(0, kinds, rows)] | (r.random(X.shape) < 0.05)] = 0.0
    return X


@pytest.fixture
def small(monkeypatch):
    """Look for keys in small data too, and for small networks."""
    monkeypatch.setattr(_order, "_LEAST", 0)
    monkeypatch.setattr(_order, "_WIDE", 0)


def passed_over(X, rows):
    tiles = X[rows][: len(rows) // 6 * 6].reshape(-1, 6, X.shape[1])
    return (tiles == 0).all(axis=1).mean()


@pytest.mark.parametrize("batch", [1, 2, 12, 50, 64, 99, 100, 130])
@pytest.mark.parametrize("kinds", [1, 3, order.KEYS])
def test_each_batch_is_sorted_by_key_and_stays_in_order_within_one(batch, kinds):
    rows = 100
    room = np.full(order.size(rows, batch) + 8, -7, np.int64)
    keys = np.random.default_rng(batch).integers(0, kinds, rows)
    room[rows : 2 * rows] = keys
    order.epoch_order(room[:-8], rows, batch, SEED, EPOCH)
    plain = np.empty(rows, np.int64)
    rng.permutation(plain, SEED, EPOCH)
    wanted = [part[np.argsort(keys[part], kind="stable")] for part in np.split(plain, range(batch, rows, batch))]
    np.testing.assert_array_equal(room[:rows], np.concatenate(wanted))
    np.testing.assert_array_equal(room[rows : 2 * rows], keys)
    assert (room[-8:] == -7).all()


def test_without_keys_the_order_is_the_permutation():
    one, other = np.empty(100, np.int64), np.empty(100, np.int64)
    order.epoch_order(one, 100, 32, SEED, EPOCH)
    rng.permutation(other, SEED, EPOCH)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sorting_by_keys_puts_like_samples_together(small, dtype):
    X = garments(2000, dtype)
    room = _order.new_order(X, 96, layers())
    assert room.size == order.size(2000, 96)
    order.epoch_order(room, 2000, 96, SEED, EPOCH)
    plain = np.empty(2000, np.int64)
    rng.permutation(plain, SEED, EPOCH)
    starts = range(96, 2000, 96)
    before, after = (np.mean([passed_over(X, p) for p in np.split(whole, starts)]) for whole in (plain, room[:2000]))
    assert before < 0.1
    assert after > before + 0.15


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keys_are_the_same_for_any_threads(small, dtype):
    X = garments(1500, dtype)
    rooms = []
    for n in (1, 2):
        fnn.set_num_threads(n)
        try:
            rooms.append(_order.new_order(X, 64, layers())[1500:3000])
        finally:
            fnn.set_num_threads(None)
    np.testing.assert_array_equal(*rooms)
    assert len(set(rooms[0])) > 8


def constant_zeros(rows):
    X = np.random.default_rng(0).normal(size=(rows, 240))
    X[:, 60:] = 0.0
    return X


@pytest.mark.parametrize(
    ("X", "batch", "sorts"),
    [
        (garments(2000), 64, True),
        (garments(2000), 11, False),
        (garments(191), 64, False),
        (garments(2000)[:, :23].copy(), 64, False),
        (np.random.default_rng(0).normal(size=(2000, 240)), 64, False),
        (constant_zeros(2000), 64, False),
        (np.zeros((2000, 240)), 64, False),
    ],
    ids=["garments", "tiny batches", "few rows", "few features", "no zeros", "always the same zeros", "nothing else"],
)
def test_batches_are_sorted_where_it_pays(small, X, batch, sorts):
    assert (_order.new_order(X, batch, layers(X.shape[1])).size > len(X)) == sorts


def test_small_data_is_left_alone():
    assert _order.new_order(garments(2000), 64, layers()).size == 2000
    assert _order.new_order(garments(6000), 64, layers()).size == order.size(6000, 64)


def test_so_are_those_of_a_narrow_first_layer_or_another():
    X = garments(6000)
    for operations in (layers(width=63), fnn.Sequential(fnn.Dropout(0.1), fnn.Dense(240, 64)).operations(), None):
        assert _order.new_order(X, 64, operations).size == 6000


def test_no_order_without_shuffling():
    assert _order.new_order(garments(50), 8, layers(), shuffle=False).size == 0


def train(X, batch, callbacks=(), **more):
    model = fnn.Sequential(fnn.Dense(X.shape[1], 20), fnn.ReLU(), fnn.Dense(20, 3), seed=1)
    y = np.arange(len(X)) % 3
    model.fit(X, y, epochs=2, batch_size=batch, seed=SEED, callbacks=list(callbacks), **more)
    return model.layers[0].weights


class Step(fnn.callbacks.Callback):
    """Its being there makes `fit` go layer by layer."""

    needs_steps = True

    def on_step_end(self, step, logs):
        """Do nothing."""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sorted_batches_train_alike_on_every_path(small, dtype):
    X = garments(700, dtype)
    one = train(X, 64)
    np.testing.assert_array_equal(one, train(X, 64, [Step()]))
    np.testing.assert_array_equal(one, train(X, 64, n_threads=1))


def test_a_sorted_batch_has_the_samples_that_it_would_have_unsorted(small, monkeypatch):
    X = garments(700, np.float64)
    one = train(X, 64)
    monkeypatch.setattr(_order, "_PAYS", 2.0)
    other = train(X, 64)
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_many_networks_share_keys_and_train_as_alone(small):
    X, y = garments(700), np.arange(700) % 3

    def make(i):
        return fnn.Sequential(fnn.Dense(240, 20), fnn.ReLU(), fnn.Dense(20, 3), seed=i)

    models = [make(i) for i in range(3)]
    fnn.fit_many(models, X, y, epochs=2, batch_size=64, seeds=[SEED] * 3)
    for i, model in enumerate(models):
        alone = make(i)
        alone.fit(X, y, epochs=2, batch_size=64, seed=SEED)
        np.testing.assert_array_equal(model.layers[0].weights, alone.layers[0].weights)
