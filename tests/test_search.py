"""Random search finds what the same draws give in NumPy, and leaves the best parameters in the model."""

import itertools

import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels import rng


def _model(widths=(2, 3, 3)):
    layers = []
    for a, b in zip(widths[:-1], widths[1:], strict=True):
        layers += [fnn.Dense(a, b), fnn.ReLU()]
    return fnn.Sequential(*layers[:-1], seed=0)


def _loss(weights, X, y):
    w1, b1, w2, b2 = weights
    logits = np.maximum(X @ w1 + b1, 0) @ w2 + b2
    shifted = logits - logits.max(1, keepdims=True)
    rows = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y]
    return rows.mean(), (logits.argmax(1) == y).mean()


@pytest.mark.parametrize("mode", ["replace", "adjust"])
def test_agrees_with_the_same_draws_in_numpy(mode):
    X, y = fnn.datasets.vertical_data(100, 3, seed=0)
    model = _model()
    best = [a.copy() for a in model.parameters().values()]
    lowest = _loss(best, X, y)[0] if mode == "adjust" else np.inf
    improvements = []
    for i in range(300):
        flat = np.empty(128)
        rng.normal(flat, 0.0, 0.05, 7, rng.STREAM_USER, i, 1)
        # Each array begins on a cache line's worth of elements.
        drawn = [flat[0:6].reshape(2, 3), flat[16:19], flat[32:41].reshape(3, 3), flat[48:51]]
        trial = [b + d for b, d in zip(best, drawn, strict=True)] if mode == "adjust" else drawn
        loss, accuracy = _loss(trial, X, y)
        if loss < lowest:
            lowest, best = loss, [t.copy() for t in trial]
            improvements.append((i, loss, accuracy))
    found = fnn.random_search(model, X, y, iterations=300, scale=0.05, mode=mode, seed=7)
    assert [f[0] for f in found.improvements] == [i[0] for i in improvements]
    np.testing.assert_allclose(found.improvements, improvements, rtol=1e-10)
    for ours, theirs in zip(model.parameters().values(), best, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)
    assert found.loss == pytest.approx(model.evaluate(X, y)["loss"], rel=1e-12)


@pytest.mark.parametrize("widths", [(2, 3, 3), (2, 20, 10, 3)])
def test_chunks_do_not_show(widths, monkeypatch):
    X, y = fnn.datasets.vertical_data(30, 3, seed=0)
    results = []
    for seconds in (0.05, 1e-9):
        monkeypatch.setattr(fnn.search, "CHUNK_SECONDS", seconds)
        model = _model(widths)
        found = fnn.random_search(model, X.astype(np.float32), y, iterations=200, seed=1)
        results.append((found, [a.tobytes() for a in model.parameters().values()]))
    assert results[0] == results[1]


def test_regression_and_penalties():
    X, y = fnn.datasets.sine_data(50)
    model = fnn.Sequential(fnn.Dense(1, 8, weight_l2=1e-3), fnn.Tanh(), fnn.Dense(8, 1), seed=0)
    before = model.evaluate(X, y, loss=fnn.MeanSquaredError())["loss"]
    found = fnn.random_search(model, X, y, loss=fnn.MeanSquaredError(), iterations=500, seed=0)
    after = model.evaluate(X, y, loss=fnn.MeanSquaredError())["loss"]
    assert found.loss == pytest.approx(after, rel=1e-12)
    assert after < before


@pytest.mark.parametrize(
    ("change", "name"),
    [({"iterations": 0}, "iterations"), ({"scale": 0.0}, "scale"), ({"mode": "walk"}, "mode"), ({"loss": 3}, "loss")],
)
def test_bad_arguments_change_nothing(change, name):
    X, y = fnn.datasets.vertical_data(10, 3, seed=0)
    model = _model()
    before = model.predict(X).tobytes()
    with pytest.raises((TypeError, ValueError), match=name):
        fnn.random_search(model, X, y, **change)
    assert model.predict(X).tobytes() == before


@pytest.mark.parametrize("mode", ["replace", "adjust"])
def test_where_no_trial_is_finite_the_model_keeps_its_own(mode):
    X, y = fnn.datasets.spiral_data(50, 3, seed=0, dtype="float32")
    model = _model((2, 16, 3))
    before = [a.astype(np.float32).tobytes() for a in model.parameters().values()]
    found = fnn.random_search(model, X, y, mode=mode, scale=1e38, iterations=3)
    assert [a.tobytes() for a in model.parameters().values()] == before
    assert found.improvements == []
    assert {"loss": found.loss, "accuracy": found.accuracy} == pytest.approx(model.evaluate(X, y), rel=1e-6)


def test_any_finite_loss_beats_nan():
    X, y = np.ones((4, 2), np.float32), [0, 1, 2, 0]
    model = fnn.Sequential(fnn.Dense(2, 3), seed=0)
    model.layers[0].weights = np.full((2, 3), 2e38, np.float32)  # two of them are more than float32 holds
    assert np.isnan(model.evaluate(X, y)["loss"])
    found = fnn.random_search(model, X, y, iterations=50, scale=1e38, seed=0)
    assert np.isfinite(found.loss) and found.loss == found.improvements[-1][1]
    assert model.evaluate(X, y)["loss"] == pytest.approx(found.loss, rel=1e-6)


def test_evaluate_uses_the_loss_of_the_search():
    X, y = fnn.datasets.sine_data(50)
    model = fnn.Sequential(fnn.Dense(1, 8), fnn.Tanh(), fnn.Dense(8, 1), seed=0)
    loss = fnn.MeanSquaredError()
    found = fnn.random_search(model, X, y, loss=loss, iterations=20, seed=0)
    assert model.loss is loss
    assert model.evaluate(X, y)["loss"] == pytest.approx(found.loss, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [49, 64, 65, 127, 192, 320])
def test_what_is_kept_is_as_good_as_was_said(rows, dtype):
    # Samples are taken some registers at a time, whose number depends on both widths.
    rng = np.random.default_rng(rows)
    for n_in, n_out in itertools.product((1, 2, 3, 4), (2, 3, 4)):
        X, y = rng.normal(size=(rows, n_in)).astype(dtype), rng.integers(0, n_out, rows)
        model = _model((n_in, 8, n_out))
        found = fnn.random_search(model, X, y, iterations=20, scale=0.5, seed=3)
        assert {"loss": found.loss, "accuracy": found.accuracy} == pytest.approx(model.evaluate(X, y), rel=1e-6)


@pytest.mark.parametrize("iterations", [1, 200])
def test_a_loss_of_values_has_no_accuracy(iterations):
    X = np.linspace(-1, 1, 50)[:, None]
    model = fnn.Sequential(fnn.Dense(1, 1), seed=0)
    found = fnn.random_search(model, X, 2 * X, iterations=iterations, loss=fnn.MeanSquaredError(), seed=0)
    assert found.accuracy is None and all(accuracy is None for _, _, accuracy in found.improvements)
    assert found.loss == pytest.approx(model.evaluate(X, 2 * X)["loss"])
