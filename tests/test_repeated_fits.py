"""Many short calls of `fit`: what is kept from one to the next shows in nothing but the time that they take."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest

import fastnn as fnn
from fastnn import engine, trainer

ROWS, CLASSES = 90, 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, 17), dtype=np.float32)
    return X * (rng.random(X.shape) < 0.4), rng.integers(0, CLASSES, ROWS)


def deep(seed=0, rate=0.25, penalty=1e-3):
    return fnn.Sequential(
        fnn.Dense(17, 40, weight_l2=penalty), fnn.ReLU(), fnn.Dropout(rate), fnn.Dense(40, CLASSES), seed=seed
    )


def narrow(seed=0):
    return fnn.Sequential(fnn.Dense(17, 24), fnn.ReLU(), fnn.Dense(24, CLASSES), seed=seed)


def state_of(model, optimizer):
    arrays = dict(model.parameters())
    for layer in model.layers:
        for name, value in layer.parameters().items():
            arrays.update({(id(layer), name, i): a for i, a in enumerate(optimizer.slots(layer, name, value))})
    return [array.tobytes() for array in arrays.values()]


def forget(model, optimizer):
    """Make all that is kept between calls unknown."""
    optimizer.__setstate__(optimizer.__getstate__())
    model._lowered = None
    engine._plans.clear()


def step_by_hand(model, optimizer, X, y):
    loss = fnn.SoftmaxCrossEntropy()
    loss.forward(model.forward(X, training=False), y)
    model.backward(loss.backward())
    optimizer.update(*[layer for layer in model.layers if layer.parameters()])


def halve_the_rate(optimizer):
    optimizer.learning_rate /= 2


CALLS = {
    "fit": lambda model, optimizer, X, y, epoch: fit(model, optimizer, X, y, epoch),
    "by hand": lambda model, optimizer, X, y, epoch: step_by_hand(model, optimizer, X[:5], y[:5]),
    "reset": lambda model, optimizer, X, y, epoch: optimizer.reset(),
    "other optimizer": lambda model, optimizer, X, y, epoch: fit(model, fnn.Adam(0.01), X, y, epoch),
    "other rate": lambda model, optimizer, X, y, epoch: halve_the_rate(optimizer),
    "three arrays of state": lambda model, optimizer, X, y, epoch: setattr(optimizer, "amsgrad", True),
    "float64": lambda model, optimizer, X, y, epoch: fit(model, optimizer, X.astype(np.float64), y, epoch),
    "other model": lambda model, optimizer, X, y, epoch: fit(narrow(7), optimizer, X, y, epoch),
}


def fit(model, optimizer, X, y, epoch, epochs=1):
    return model.fit(X, y, optimizer=optimizer, epochs=epochs, batch_size=25, initial_epoch=epoch, progress=False)


@pytest.mark.filterwarnings("ignore:optimizer has done")
@pytest.mark.parametrize("make", [deep, narrow])
@pytest.mark.parametrize("between", CALLS)
def test_what_is_kept_between_calls_is_not_seen(make, between, data):
    kept, fresh = [(make(), fnn.Adam(0.05)) for _ in range(2)]
    for number, call in enumerate(["fit", "fit", between, "fit", between, between, "fit", "fit"]):
        for model, optimizer in (kept, fresh):
            CALLS[call](model, optimizer, *data, number)
        forget(*fresh)
        assert state_of(*kept) == state_of(*fresh), (number, call)


@pytest.mark.parametrize("make", [deep, narrow])
@pytest.mark.parametrize("kind", [fnn.SGD, fnn.AdaGrad, fnn.RMSprop, fnn.Adam, fnn.AdamW, fnn.Lion])
def test_epoch_by_epoch_gives_the_bits_of_one_call(make, kind, data):
    (once, one), (often, another) = [(make(), kind(0.01)) for _ in range(2)]
    history = fit(once, one, *data, 0, epochs=6)
    losses = [fit(often, another, *data, epoch)["loss"][0] for epoch in range(6)]
    assert losses == history["loss"]
    assert state_of(once, one) == state_of(often, another)


def test_networks_of_one_shape_share_a_plan_and_nothing_that_it_says_of_them(data):
    settings = [{"rate": 0.5, "seed": 1}, {"penalty": 0.1}, {"rate": 0.1, "penalty": 0.0}, {"rate": 0.5, "seed": 2}]
    alone, together = [], []
    for each in settings:
        engine._plans.clear()
        alone.append(deep(**each))
        fit(alone[-1], fnn.SGD(0.1), *data, 0, epochs=2)
    engine._plans.clear()
    for each in settings:
        together.append(deep(**each))
        fit(together[-1], fnn.SGD(0.1), *data, 0, epochs=2)
    assert len(engine._plans) == 1
    for one, other in zip(alone, together, strict=True):
        assert state_of(one, fnn.SGD()) == state_of(other, fnn.SGD())


def test_plans_are_not_kept_for_ever(data):
    for rows in range(1, 3 * engine._MOST_PLANS):
        fit(narrow(), fnn.SGD(0.1), data[0][:rows], data[1][:rows], 0)
    assert len(engine._plans) <= engine._MOST_PLANS


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "widths", [(17, 24, CLASSES), (17, 40, 30, CLASSES), (17, 100, 10), (17, 130, 520, CLASSES), (17, CLASSES)]
)
@pytest.mark.parametrize("left", [np.nan, 1e30, 1e-40])
def test_what_was_in_the_workspace_is_not_seen(left, widths, threads, data, monkeypatch):
    monkeypatch.setattr(fnn.threads, "STEP_WORK", 1.0)
    X, y = data

    def trained():
        layers = [part for shape in pairwise(widths) for part in (fnn.Dense(*shape), fnn.ReLU())]
        model = fnn.Sequential(*layers[:-1], seed=0)
        history = model.fit(X, y, epochs=3, batch_size=40, n_threads=threads, progress=False)
        many = fnn.fit_many([model], X, y, epochs=2, batch_size=40, n_threads=threads)
        return history["loss"], many[0]["loss"], [value.tobytes() for value in model.parameters().values()]

    expected = trained()

    def aligned(size, dtype, zero=False):
        array = engine.aligned(size, dtype, zero)
        if not zero:
            array.fill(left)
        return array

    monkeypatch.setattr(trainer, "aligned", aligned)
    monkeypatch.setattr(fnn.many, "aligned", aligned)
    assert trained() == expected


def test_a_used_optimizer_on_another_model_is_told_of(data):
    X, y = data
    used = fnn.Adam(0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = narrow()
        fit(model, used, X, y, 0)
        fit(model, used, X, y, 1)
        fit(narrow(1), fnn.SGD(0.05), X, y, 0)
        model.layers[-1] = fnn.Dense(model.layers[-1].n_inputs, 3)
        fit(model, used, X, y, 2)
    for apart in (used, pickle.loads(pickle.dumps(used))):
        with pytest.warns(UserWarning, match="optimizer has done 12 steps, but none on this model") as told:
            fit(narrow(1), apart, X, y, 0)
        assert told[0].filename == __file__
        apart.step = 12
        with pytest.warns(UserWarning, match="optimizer has done 12 steps, but none on this model") as told:
            fnn.fit_many([narrow(1)], X, y, optimizer=apart, epochs=1, batch_size=50)
        assert told[0].filename == __file__


def test_many_networks_are_told_once_of_a_used_optimizer(data):
    used = fnn.Adam(0.05)
    fit(narrow(), used, *data, 0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fnn.fit_many([narrow(i) for i in range(5)], *data, optimizer=used, epochs=1)
    assert len(told) == 1


@pytest.mark.parametrize("make", [deep, narrow])
def test_copies_of_a_used_optimizer_go_on_as_it_would(make, data):
    X, y = data
    found = []
    for many in (False, True):
        models, optimizers = [make(seed) for seed in (1, 2)], [fnn.Adam(0.05) for _ in range(2)]
        fnn.fit_many(models, X, y, optimizer=optimizers, epochs=2, batch_size=25)
        used = fnn.Adam(0.05)
        used.step = optimizers[0].step
        for model, one in zip(models, optimizers, strict=True):
            for layer in model.layers:
                for name, value in layer.parameters().items():
                    used.bind(layer, name, one.slots(layer, name, value))
        before = [a.copy() for a in used.slots(models[0].layers[0], "weights", models[0].layers[0].weights)]
        if many:
            fnn.fit_many(models, X, y, optimizer=used, epochs=1, batch_size=25)
            after = used.slots(models[0].layers[0], "weights", models[0].layers[0].weights)
            assert all((a == b).all() for a, b in zip(before, after, strict=True))
            assert used.step == optimizers[0].step
        else:
            for model, one in zip(models, optimizers, strict=True):
                model.fit(X, y, optimizer=one, epochs=1, batch_size=25)
        found.append([a.tobytes() for model in models for a in model.parameters().values()])
    assert found[0] == found[1]
