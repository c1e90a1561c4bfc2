"""Networks trained side by side have the bits of networks trained alone."""

import contextlib
import functools
import signal
import warnings

import numpy as np
import pytest

import fastnn as fnn
from fastnn import many


def _make(widths, activation):
    def make(i):
        layers = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            layers += [fnn.Dense(a, b, weight_l2=1e-3 * (i % 2)), activation()]
        return fnn.Sequential(*layers[:-1], seed=i)

    return make


def _alone(model, X, y, **settings):
    history = model.fit(X, y, n_threads=1, **settings)
    return dict(history), [a.tobytes() for a in model.parameters().values()]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [(2, 64, 3), (5, 20, 10), (3, 7, 7, 2)])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_same_bits_as_alone(dtype, widths, threads, shuffle, monkeypatch):
    monkeypatch.setattr(fnn.threads, "SERIAL_WORK", 1.0)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((70, widths[0])).astype(dtype), rng.integers(0, widths[-1], 70)
    settings = {"epochs": 4, "batch_size": 16, "shuffle": shuffle}
    make = _make(widths, fnn.ReLU)
    models = [make(i) for i in range(5)]
    histories = fnn.fit_many(models, X, y, optimizer=lambda i: fnn.Adam(0.01 * (i + 1)), n_threads=threads, **settings)
    for i, (model, history) in enumerate(zip(models, histories, strict=True)):
        alone, weights = _alone(make(i), X, y, optimizer=fnn.Adam(0.01 * (i + 1)), **settings)
        assert dict(history) == alone
        assert [a.tobytes() for a in model.parameters().values()] == weights
        assert model.history is history


def test_each_has_its_own_data():
    rng = np.random.default_rng(1)
    sets = [(rng.standard_normal((40 + i, 4)), rng.integers(0, 3, 40 + i)) for i in range(64)]
    make = _make((4, 6, 3), fnn.Tanh)
    histories = fnn.fit_many(
        make, [x for x, _ in sets], [y for _, y in sets], count=64, epochs=2, optimizer=fnn.SGD(0.1)
    )
    for i, (x, y) in enumerate(sets):
        assert dict(histories[i]) == _alone(make(i), x, y, epochs=2, optimizer=fnn.SGD(0.1))[0]


def test_seeds_and_going_on():
    X, y = fnn.datasets.spiral_data(30, 3, seed=0)
    make = _make((2, 8, 3), fnn.ReLU)
    models, optimizers = [make(0), make(0)], [fnn.Adam(0.01), fnn.Adam(0.01)]
    fnn.fit_many(models, X, y, seeds=[3, 4], optimizer=optimizers, epochs=2)
    one, optimizer = make(0), fnn.Adam(0.01)
    one.fit(X, y, seed=4, optimizer=optimizer, epochs=2)
    assert [a.tobytes() for a in one.parameters().values()] == [a.tobytes() for a in models[1].parameters().values()]
    assert models[0].predict(X).tobytes() != models[1].predict(X).tobytes()
    one.fit(X, y, seed=4, optimizer=optimizer, epochs=1, initial_epoch=2)
    models[1].fit(X, y, seed=4, optimizer=optimizers[1], epochs=1, initial_epoch=2)
    assert one.predict(X).tobytes() == models[1].predict(X).tobytes()


@pytest.mark.parametrize("kind", [fnn.SGD, fnn.RMSprop, fnn.Adam, functools.partial(fnn.Adam, amsgrad=True)])
def test_optimisers_hold_the_state_of_their_own_network(kind):
    X, y = fnn.datasets.spiral_data(30, 3, seed=0)
    make = _make((2, 8, 3), fnn.ReLU)
    models, optimizers = [make(i) for i in range(3)], [kind(0.01) for _ in range(3)]
    fnn.fit_many(models, X, y, optimizer=optimizers, epochs=2)
    for i, (model, ours) in enumerate(zip(models, optimizers, strict=True)):
        one, optimizer = make(i), kind(0.01)
        one.fit(X, y, optimizer=optimizer, epochs=2)
        for layer, alone in zip(model.layers[::2], one.layers[::2], strict=True):
            for name, array in layer.parameters().items():
                assert ours.keeps(layer, name)
                state, expected = ours.slots(layer, name, array), optimizer.slots(alone, name, array)
                assert len(state) == ours.n_slots
                assert [s.tobytes() for s in state] == [s.tobytes() for s in expected]


def test_divergence_ends_one_network_only():
    X, y = fnn.datasets.spiral_data(30, 3, seed=0)
    X = X.astype(np.float32)
    models = [_make((2, 8, 3), fnn.Tanh)(i) for i in range(3)]
    models[1].layers[0].weights[0, 0] = np.nan
    with pytest.warns(fnn.DivergenceWarning, match=r"models\[1\]"):
        histories = fnn.fit_many(models, X, y, epochs=3, batch_size=None)
    assert [history.diverged_at for history in histories] == [None, 0, None]
    assert [len(history.get("loss", [])) for history in histories] == [3, 0, 3]


@pytest.mark.parametrize("wrong", [0, 1])
def test_infinite_weights_of_one_and_zeros_among_the_data_of_all(wrong):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((96, 60)).astype(np.float32), rng.integers(0, 3, 96)
    X[:, 6:] = 0.0
    assert fnn.trainer.zeros_pay(X) == (True, True)
    models, wanted = ([_make((60, 30, 3), fnn.ReLU)(i) for i in range(3)] for _ in range(2))
    models[wrong].layers[0].weights[50, 0] = np.inf
    with pytest.warns(fnn.DivergenceWarning, match=rf"models\[{wrong}\]"):
        histories = fnn.fit_many(models, X, y, epochs=2)
    # Zero times infinity is not zero.
    assert histories[wrong].diverged_at == 0
    for i, model in enumerate(wanted):
        if i != wrong:
            assert (dict(histories[i]), [a.tobytes() for a in models[i].parameters().values()]) == _alone(
                model, X, y, epochs=2
            )


@pytest.mark.parametrize(
    ("change", "error", "name"),
    [
        ({"models": []}, ValueError, "models"),
        ({"models": [1]}, TypeError, r"models\[0\]"),
        ({"models": lambda i: None}, ValueError, "count"),
        ({"optimizer": [fnn.Adam()]}, ValueError, "optimizer"),
        ({"optimizer": [fnn.Adam(), fnn.SGD()]}, ValueError, r"optimizer\[1\]"),
        ({"seeds": [1]}, ValueError, "seeds"),
        ({"loss": "mse"}, TypeError, "loss"),
        ({"y": [0]}, ValueError, "y"),
    ],
)
def test_bad_arguments_change_nothing(change, error, name):
    X, y = fnn.datasets.spiral_data(10, 3, seed=0)
    models = [_make((2, 8, 3), fnn.ReLU)(i) for i in range(2)]
    before = [m.predict(X).tobytes() for m in models]
    arguments = {"models": models, "X": X, "y": y} | change
    with pytest.raises(error, match=name):
        fnn.fit_many(arguments.pop("models"), arguments.pop("X"), arguments.pop("y"), **arguments)
    assert [m.predict(X).tobytes() for m in models] == before
    other = [_make((2, 8, 3), fnn.ReLU)(0), _make((2, 9, 3), fnn.ReLU)(0)]
    with pytest.raises(ValueError, match="another shape"):
        fnn.fit_many(other, X, y)


def test_ctrl_c_ends_all_with_their_steps_written_down(monkeypatch):
    X, y = fnn.datasets.spiral_data(30, 3, seed=0)
    monkeypatch.setattr(many, "CHUNK_SECONDS", 1e-6)
    made, calls = many.threads.call, []

    def pressed(kernel, *args, **settings):
        used = made(kernel, *args, **settings)
        calls.extend([kernel] * (kernel is many.many.run_many))
        if kernel is many.many.run_many and len(calls) == 3:
            # Before anything of what was done is written down.
            signal.raise_signal(signal.SIGINT)
        return used

    monkeypatch.setattr(many.threads, "call", pressed)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        make = _make((2, 8, 3), fnn.ReLU)
        models, optimizers = [make(i) for i in range(3)], [fnn.Adam(0.01) for _ in range(3)]
        with pytest.raises(KeyboardInterrupt):
            fnn.fit_many(models, X, y, optimizer=optimizers, epochs=10**6, batch_size=None)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) == 3
    monkeypatch.setattr(many.threads, "call", made)
    for i, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
        history, one, alone = model.history, make(i), fnn.Adam(0.01)
        assert history.stopped_by == "interrupt" and history.steps == optimizer.step == len(history["loss"]) > 0
        one.fit(X, y, optimizer=alone, epochs=history.steps, batch_size=None)
        assert [a.tobytes() for a in model.parameters().values()] == [a.tobytes() for a in one.parameters().values()]


def test_the_last_update_may_not_leave_infinite_weights():
    X, y = fnn.datasets.spiral_data(30, 3, seed=0)
    settings = {"loss": fnn.MeanSquaredError(), "batch_size": None, "epochs": 3}
    make, targets = _make((2, 8, 3), fnn.ReLU), np.eye(3)[y] * 100
    models, rates = [make(i) for i in range(3)], [0.01, 1e300, 0.01]
    with pytest.warns(fnn.DivergenceWarning, match=r"models\[1\]") as told:
        histories = fnn.fit_many(models, X, targets, optimizer=[fnn.SGD(rate) for rate in rates], **settings)
    assert [w.filename for w in told] == [__file__]
    for i, (model, history) in enumerate(zip(models, histories, strict=True)):
        one = make(i)
        with pytest.warns(fnn.DivergenceWarning) if i == 1 else contextlib.nullcontext():
            alone = one.fit(X, targets, optimizer=fnn.SGD(rates[i]), **settings)
        assert all(np.isfinite(a).all() for a in model.parameters().values())
        assert [a.tobytes() for a in model.parameters().values()] == [a.tobytes() for a in one.parameters().values()]
        assert dict(history) == dict(alone)
        assert (history.steps, history.diverged_at) == (alone.steps, alone.diverged_at)


def test_weights_that_were_never_finite_are_left_alone():
    X, y = fnn.datasets.spiral_data(30, 3, seed=0)
    models = [_make((2, 8, 3), fnn.Tanh)(i) for i in range(2)]
    for model in models:
        model.layers[0].weights[0, 0] = np.inf
    before = [[a.tobytes() for a in model.parameters().values()] for model in models]
    with pytest.warns(fnn.DivergenceWarning) as told:
        histories = fnn.fit_many(models, X, y, epochs=2)
    assert len(told) == 2
    assert [(h.steps, h.diverged_at, dict(h)) for h in histories] == [(0, 0, {})] * 2
    assert [[a.tobytes() for a in model.parameters().values()] for model in models] == before


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"optimizer": fnn.Adam}, TypeError, r"optimizer must not be a class, got Adam: pass Adam\(\)"),
        ({"models": fnn.Sequential}, TypeError, "models must not be a class"),
        ({"models": _make((2, 8, 3), fnn.ReLU)(0)}, TypeError, "models must be a list"),
        ({"seeds": 5}, ValueError, "seeds must be one for each"),
        ({"y": [[0, 1], [1, 0]]}, ValueError, "y is a list with one for each"),
    ],
)
def test_what_is_likely_meant_is_told(change, error, says):
    X, y = fnn.datasets.spiral_data(30, 3, seed=0)
    make = _make((2, 8, 3), fnn.ReLU)
    arguments = {"models": [make(0), make(1)], "X": X, "y": y, "epochs": 1} | change
    with pytest.raises(error, match=says):
        fnn.fit_many(**arguments)


def test_networks_with_a_layer_in_common_are_refused():
    X, y = fnn.datasets.spiral_data(30, 3, seed=0)
    first = fnn.Dense(2, 8, seed=0)
    models = [fnn.Sequential(first, fnn.ReLU(), fnn.Dense(8, 3), seed=i) for i in range(2)]
    before = first.weights.copy()
    with pytest.raises(ValueError, match="models.1. and models.0. have a Dense in common"):
        fnn.fit_many(models, X, y, epochs=1)
    assert (first.weights == before).all() and models[0].history is None


def test_warnings_that_are_errors_leave_all_networks_written_down():
    X, y = fnn.datasets.spiral_data(50, 3, seed=0)
    models = [fnn.Sequential(fnn.Dense(2, 3), seed=i) for i in range(4)]
    optimizers = [fnn.SGD(rate) for rate in (1e200, 0.1, 1e250, 0.2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(fnn.history.DivergenceWarning, match=r"models\[0\]"):
            fnn.fit_many(models, X * 1e100, y, optimizer=optimizers, epochs=2)
    assert [model.history.stopped_by for model in models] == ["divergence", None, "divergence", None]
    assert all(np.isfinite(model.layers[0].weights).all() for model in models)
    for model, optimizer in zip(models, optimizers, strict=True):
        assert model.history.steps == optimizer.step
    assert optimizers[1].step == optimizers[3].step == 10
