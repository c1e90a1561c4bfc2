"""Training does what the formulas say: against pure NumPy, on real images, interrupted, and gone wrong."""

import json
import math
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import reference

import fastnn as fnn
from fastnn.kernels import rng

HOUSE = Path(fnn.__file__).resolve().parents[1]


class EachStep(fnn.Callback):
    """Wants every step, and so sends `fit` down the layer-by-layer path."""

    def on_step_end(self, step, logs):
        pass


PATHS = {"compiled": (), "by layers": (EachStep(),)}
paths = pytest.mark.parametrize("path", PATHS)


def weights(model):
    return b"".join(value.tobytes() for value in model.parameters().values())


def finite(model):
    return all(np.isfinite(value).all() for value in model.parameters().values())


def dense_layers(model):
    return [layer for layer in model.layers if isinstance(layer, fnn.Dense)]


def twin(model, **settings):
    """Return the pure NumPy network with the same parameters."""
    return reference.Network([(d.weights, d.biases) for d in dense_layers(model)], **settings)


def network(widths, activation=fnn.ReLU, seed=0, **penalties):
    layers = []
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        layers += [fnn.Dense(n_in, n_out, **penalties), activation()]
    return fnn.Sequential(*layers[:-1], seed=seed)


def blobs(n, width, classes, dtype=np.float64, seed=0):
    r = np.random.default_rng(seed)
    y = r.integers(0, classes, n)
    return (r.normal(size=(classes, width))[y] + 0.7 * r.normal(size=(n, width))).astype(dtype), y


def close(ours, theirs, rtol=1e-10):
    """Compare with an allowance for elements that are small beside their array."""
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max(initial=0))


# --- the seeds' network ---


def spiral():
    X, y = fnn.datasets.spiral_data(samples=100, classes=3, seed=0)
    return X.astype(np.float64), y, network([2, 64, 3], seed=0)


@paths
def test_spiral_losses_agree_with_numpy(path):
    X, y, model = spiral()
    theirs = twin(model)
    rate = fnn.InverseTimeDecay(1.0, decay=1e-3)
    wanted = reference.train(theirs, X, y, "momentum", 100, lambda step: reference.inverse_time_decay(1.0, 1e-3, step))
    history = model.fit(
        X, y, optimizer=fnn.SGD(rate, momentum=0.9), epochs=100, batch_size=None, shuffle=False,
        callbacks=PATHS[path],
    )  # fmt: skip
    np.testing.assert_allclose(history["loss"], wanted, rtol=1e-10)


def test_spiral_is_learnt():
    X, y, model = spiral()
    history = model.fit(
        X, y, optimizer=fnn.SGD(fnn.InverseTimeDecay(1.0, decay=1e-3), momentum=0.9), epochs=10_001,
        batch_size=None, shuffle=False,
    )  # fmt: skip
    assert len(history["loss"]) == history.steps == 10_001
    assert model.evaluate(X, y)["accuracy"] > 0.9
    assert np.mean(model.predict(X).argmax(axis=1) == y) > 0.9


# --- ten steps against NumPy ---


class Gradients(fnn.Callback):
    """Keeps each step's gradients and loss."""

    def __init__(self):
        self.steps, self.losses = [], []

    def on_step_end(self, step, logs):
        assert step == len(self.steps)
        self.steps.append([(d.dweights.copy(), d.dbiases.copy()) for d in dense_layers(self.model)])
        self.losses.append(logs["loss"])


ACTIVATIONS = {"relu": fnn.ReLU, "sigmoid": fnn.Sigmoid, "tanh": fnn.Tanh, "linear": fnn.Linear}
OPTIMIZERS = {
    "sgd": fnn.SGD(0.1),
    "momentum": fnn.SGD(0.1, momentum=0.9),
    "nesterov": fnn.SGD(0.1, momentum=0.9, nesterov=True),
    "adagrad": fnn.AdaGrad(0.1),
    "adagrad_inside": fnn.AdaGrad(0.1, epsilon_inside=True),
    "rmsprop": fnn.RMSprop(0.01),
    "rmsprop_inside": fnn.RMSprop(0.01, epsilon_inside=True),
    "adam": fnn.Adam(0.01),
    "amsgrad": fnn.Adam(0.01, amsgrad=True),
    "adamw": fnn.AdamW(0.01, weight_decay=0.01),
    "lion": fnn.Lion(0.01, weight_decay=0.01),
}
CASES = [
    (widths, activation, loss, penalties, optimizer)
    for i, optimizer in enumerate(OPTIMIZERS)
    for widths, activation, loss, penalties in [
        [([2, 64, 3], "relu", "softmax_cross_entropy", ()),
         ([7, 33, 17, 4], "tanh", "softmax_cross_entropy", (0.0, 1e-3, 0.0, 1e-3))],
        [([5, 1], "linear", "mean_squared_error", ()),
         ([6, 20, 20, 20, 20, 3], "sigmoid", "softmax_cross_entropy", ())],
        [([3, 65, 2], "sigmoid", "mean_squared_error", (1e-3, 1e-3, 1e-3, 1e-3)),
         ([9, 128, 40], "relu", "softmax_cross_entropy", (0.0, 1e-2, 0.0, 0.0))],
    ][i % 3]
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[4]}-{case[1]}-{case[0]}")
def test_ten_steps_gradient_by_gradient(case):
    widths, activation, loss, penalties, name = case
    X, y = blobs(50, widths[0], widths[-1])
    if loss == "mean_squared_error":
        y = np.random.default_rng(1).normal(size=(50, widths[-1]))
    strengths = dict(zip(("weight_l1", "weight_l2", "bias_l1", "bias_l2"), penalties, strict=False))
    ours = fnn.MeanSquaredError() if loss == "mean_squared_error" else fnn.SoftmaxCrossEntropy()
    optimizer = OPTIMIZERS[name]
    settings = {"optimizer": optimizer, "batch_size": None, "loss": ours}

    model = network(widths, ACTIVATIONS[activation], **strengths)
    theirs = twin(model, activation=activation, loss=loss, penalties=penalties or (0, 0, 0, 0))
    wanted = []
    for step in range(10):
        value, _, gradients = theirs.step(X, y, name, step, optimizer.learning_rate)
        wanted.append((value, gradients))

    optimizer.reset()
    seen = Gradients()
    history = model.fit(X, y, epochs=10, callbacks=seen, **settings)
    for value, curve, given, (loss_there, gradients) in zip(
        seen.losses, history["loss"], seen.steps, wanted, strict=True
    ):
        close([value, curve], loss_there)
        for mine, other in zip(given, gradients, strict=True):
            for a, b in zip(mine, other, strict=True):
                close(a, b, 1e-9)

    optimizer.reset()
    compiled = network(widths, ACTIVATIONS[activation], **strengths)
    history = compiled.fit(X, y, epochs=10, **settings)
    assert history.compiled
    close(history["loss"], [value for value, _ in wanted])
    for trained in (model, compiled):
        for layer, w, b in zip(dense_layers(trained), theirs.weights, theirs.biases, strict=True):
            close(layer.weights, w, 1e-9)
            close(layer.biases, b, 1e-9)


# --- batches, and what the history says ---


@paths
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 50, 64, None])
def test_history_has_the_right_number_for_each_epoch(batch_size, shuffle, path):
    X, y = blobs(50, 4, 3)
    model = network([4, 10, 3], weight_l2=1e-3)
    theirs = twin(model, penalties=(0, 1e-3, 0, 0))
    size = min(50, batch_size or 50)
    history = model.fit(
        X, y, optimizer=fnn.SGD(fnn.InverseTimeDecay(0.1, decay=0.05), momentum=0.9), epochs=3,
        batch_size=batch_size, shuffle=shuffle, seed=11, callbacks=PATHS[path],
    )  # fmt: skip
    order, step = np.arange(50), 0
    for epoch in range(3):
        if shuffle and size < 50:
            rng.permutation(order, 11, epoch)
        loss = hits = penalty = 0.0
        for at in range(0, 50, size):
            rows = order[at : at + size]
            shares = sum(reference.penalty(w, 0, 1e-3) for w in theirs.weights)
            rate = reference.inverse_time_decay(0.1, 0.05, step)
            value, accuracy, _ = theirs.step(X[rows], y[rows], "momentum", step, rate)
            loss, hits = loss + value * len(rows), hits + accuracy * len(rows)
            penalty += shares * len(rows)
            step += 1
        close(history["loss"][epoch], loss / 50)
        close(history["penalty"][epoch], penalty / 50)
        assert history["accuracy"][epoch] == pytest.approx(hits / 50, abs=1e-12)
        assert history["learning_rate"][epoch] == pytest.approx(rate, rel=1e-15)
    assert set(history) == {"loss", "accuracy", "penalty", "learning_rate"}
    assert {len(curve) for curve in history.values()} == {3}
    assert history.steps == step == 3 * math.ceil(50 / size)
    assert (history.stopped_by, history.diverged_at) == (None, None)
    assert history.compiled == (path == "compiled")
    for layer, w in zip(dense_layers(model), theirs.weights, strict=True):
        close(layer.weights, w, 1e-9)


SCHEDULES = [
    0.25,
    fnn.InverseTimeDecay(0.5, decay=0.1),
    fnn.StepDecay(0.5, factor=0.5, every=7),
    fnn.ExponentialDecay(0.5, 0.9, 3),
    fnn.CosineDecay(0.5, 30),
    fnn.Warmup(fnn.InverseTimeDecay(0.5, decay=0.1), 6),
    fnn.OneCycle(0.5, steps=20),
]


@paths
@pytest.mark.parametrize("rate", SCHEDULES, ids=lambda rate: type(rate).__name__)
def test_learning_rate_is_that_of_the_epochs_last_step(rate, path):
    X, y = blobs(50, 4, 3)
    optimizer = fnn.SGD(rate)
    wanted = [rate if isinstance(rate, float) else rate(step) for step in (4, 9, 14, 19, 24)]
    model = network([4, 3])
    history = model.fit(X, y, optimizer=optimizer, epochs=3, batch_size=11, callbacks=PATHS[path])
    assert history["learning_rate"] == wanted[:3]
    assert optimizer.step == 15 and optimizer.current_learning_rate == wanted[2]
    history = model.fit(X, y, optimizer=optimizer, epochs=2, batch_size=11, callbacks=PATHS[path])
    assert history["learning_rate"] == wanted[3:]


@paths
def test_a_plateau_reduces_the_rate(path):
    """Labels that cannot be told apart: the loss stays where it is."""
    rate = fnn.ReduceOnPlateau(1e-6, factor=0.5, patience=1)
    history = network([1, 2]).fit(
        np.ones((20, 1)), [0, 1] * 10, optimizer=fnn.SGD(rate), epochs=8, callbacks=PATHS[path]
    )
    assert history["learning_rate"][0] == 1e-6
    assert history["learning_rate"][-1] < 1e-6


@paths
@pytest.mark.parametrize("make", [lambda: fnn.SGD(0.1, momentum=0.9), fnn.Adam, fnn.Lion])
def test_going_on_gives_the_bits_of_never_stopping(make, path):
    X, y = blobs(50, 4, 3, np.float32)

    def model():
        return fnn.Sequential(fnn.Dense(4, 20), fnn.Tanh(), fnn.Dropout(0.3), fnn.Dense(20, 3, weight_l2=1e-3), seed=2)

    settings = {"batch_size": 16, "seed": 5, "callbacks": PATHS[path]}
    whole, optimizer = model(), make()
    curves = whole.fit(X, y, optimizer=optimizer, epochs=5, **settings)
    parts, same = model(), make()
    first = parts.fit(X, y, optimizer=same, epochs=3, **settings)
    second = parts.fit(X, y, optimizer=same, epochs=2, initial_epoch=3, **settings)
    assert weights(whole) == weights(parts)
    assert optimizer.step == same.step == 20
    assert {name: first[name] + second[name] for name in first} == dict(curves)


@paths
def test_validation_data_is_evaluated_after_each_epoch(path):
    X, y = blobs(60, 4, 3, np.float32)
    X_val, y_val = blobs(25, 4, 3, np.float32, seed=1)
    model = network([4, 10, 3], weight_l2=1e-2)
    figures = []

    class Watch(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            assert epoch == len(figures)
            figures.append(self.model.evaluate(X_val, y_val))
            assert logs["val_loss"] == figures[-1]["loss"]

    history = model.fit(X, y, epochs=4, validation_data=(X_val, y_val), callbacks=[Watch(), *PATHS[path]])
    assert history["val_loss"] == [f["loss"] for f in figures]
    assert history["val_accuracy"] == [f["accuracy"] for f in figures]
    # And it changes nothing in the training itself.
    alone = network([4, 10, 3], weight_l2=1e-2)
    assert alone.fit(X, y, epochs=4, callbacks=PATHS[path])["loss"] == history["loss"]
    assert weights(alone) == weights(model)


# --- callbacks ---


class Diary(fnn.Callback):
    """Writes down what was called."""

    def __init__(self, stop_after=None):
        self.calls, self.stop_after = [], stop_after

    def on_train_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self, epoch, logs):
        self.calls.append(epoch)
        assert logs["loss"] == self.model.history["loss"][-1]
        if epoch == self.stop_after:
            self.model.stop_training = True

    def on_train_end(self):
        self.calls.append("end")


@paths
def test_callbacks_are_called_in_order_and_can_stop(path):
    X, y = blobs(50, 4, 3)
    diary, model = Diary(), network([4, 3])
    history = model.fit(X, y, epochs=3, callbacks=[diary, *PATHS[path]])
    assert diary.calls == ["begin", 0, 1, 2, "end"] and history.stopped_by is None
    diary = Diary(stop_after=5)
    history = model.fit(X, y, epochs=9, initial_epoch=4, callbacks=[diary, *PATHS[path]])
    assert diary.calls == ["begin", 4, 5, "end"]
    assert history.stopped_by == "callback" and len(history["loss"]) == 2
    # The next training is not stopped by the last.
    assert len(model.fit(X, y, epochs=2, callbacks=PATHS[path])["loss"]) == 2


@paths
def test_a_callback_that_raises_leaves_a_usable_model(path):
    X, y = blobs(50, 4, 3)

    class Fails(Diary):
        def on_epoch_end(self, epoch, logs):
            super().on_epoch_end(epoch, logs)
            if epoch == 1:
                raise OSError("the disk is full")

    model, fails = network([4, 3]), Fails()
    with pytest.raises(OSError, match="disk is full"):
        model.fit(X, y, epochs=5, callbacks=[fails, *PATHS[path]])
    assert fails.calls == ["begin", 0, 1, "end"]
    other = network([4, 3])
    other.fit(X, y, epochs=2, callbacks=PATHS[path])
    assert weights(model) == weights(other) and len(model.history["loss"]) == 2


@paths
def test_early_stopping_restores_the_best(path):
    X, y = blobs(60, 4, 3)
    X_val, y_val = blobs(30, 4, 3, seed=3)
    model = network([4, 40, 3])
    stopper = fnn.EarlyStopping("val_loss", patience=3)
    history = model.fit(
        X, y, optimizer=fnn.Adam(0.05), epochs=200, validation_data=(X_val, y_val),
        callbacks=[stopper, *PATHS[path]],
    )  # fmt: skip
    best = int(np.argmin(history["val_loss"]))
    assert history.stopped_by == "callback" and len(history["loss"]) == best + 5
    assert stopper.best_epoch == best
    assert model.evaluate(X_val, y_val)["loss"] == history["val_loss"][best]
    again = network([4, 40, 3])
    again.fit(X, y, optimizer=fnn.Adam(0.05), epochs=best + 1, callbacks=PATHS[path])
    assert weights(again) == weights(model)


# --- real images ---


def fashion_accuracy(path, epochs):
    X, y, X_test, y_test = fnn.datasets.load_fashion_mnist(path)
    model = network([784, 128, 128, 10], seed=0)
    history = model.fit(X, y, optimizer=fnn.Adam(), batch_size=128, epochs=epochs, seed=0)
    assert history["loss"][-1] < history["loss"][0] or epochs == 1
    return model.evaluate(X_test, y_test)["accuracy"]


def test_fashion_mnist_in_one_epoch(fashion_mnist_path):
    assert fashion_accuracy(fashion_mnist_path, 1) >= 0.80


def test_fashion_mnist_in_ten_epochs(fashion_mnist_path):
    assert fashion_accuracy(fashion_mnist_path, 10) >= 0.87


# --- divergence ---


def quiet_fit(model, *args, **settings):
    """Return the history, and what divergence was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(*args, **settings)
    assert {w.category for w in caught} <= {fnn.DivergenceWarning}
    return history, [str(w.message) for w in caught]


RATES = {
    np.float32: (1e9, 1e18, 1e25, 1e30, 1e36, 1e60, 1e300),
    np.float64: (1e60, 1e120, 1e150, 1e250, 1e300),
}


@paths
@pytest.mark.parametrize("loss", [fnn.SoftmaxCrossEntropy, fnn.MeanSquaredError])
@pytest.mark.parametrize("dtype", RATES)
@pytest.mark.parametrize("epochs", [1, 2, 3, 20])
@pytest.mark.parametrize("batch_size", [20, None])
def test_a_huge_rate_leaves_finite_weights(batch_size, epochs, dtype, loss, path):
    X, y = blobs(50, 4, 3, dtype)
    if loss is fnn.MeanSquaredError:
        y = np.eye(3)[y]
    steps = epochs * (3 if batch_size else 1)
    for rate in RATES[dtype]:
        model = network([4, 20, 3])
        history, told = quiet_fit(
            model, X, y, loss=loss(), optimizer=fnn.SGD(rate), epochs=epochs, batch_size=batch_size,
            callbacks=PATHS[path],
        )  # fmt: skip
        assert finite(model), rate
        assert np.isfinite(history["loss"] if "loss" in history else 0.0).all()
        if history.diverged_at is None:
            assert not told and history.stopped_by is None and history.steps == steps
        else:
            assert len(told) == 1 and f"step {history.diverged_at} " in told[0]
            assert history.stopped_by == "divergence"
            assert history.diverged_at <= steps


def test_divergence_is_the_same_on_either_path():
    X, y = blobs(50, 4, 3, np.float32)
    for rate in RATES[np.float32]:
        ends = []
        for callbacks in PATHS.values():
            model, optimizer = network([4, 20, 3]), fnn.SGD(rate, momentum=0.9)
            history, told = quiet_fit(model, X, y, optimizer=optimizer, epochs=5, batch_size=20, callbacks=callbacks)
            ends.append((history.diverged_at, history.stopped_by, told, weights(model), dict(history)))
        assert ends[0] == ends[1], rate


@paths
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("epoch", [0, 1, 4])
def test_poisoned_weights_are_noticed_at_the_step_they_come(poison, epoch, path):
    X, y = blobs(50, 4, 3)

    class Poison(fnn.Callback):
        def on_epoch_end(self, number, logs):
            if number == epoch:
                self.model.layers[0].weights[1, 2] = poison

    model = network([4, 10, 3], fnn.Linear)
    history, told = quiet_fit(
        model, X, y, epochs=8, batch_size=20, optimizer=fnn.SGD(0.1), callbacks=[Poison(), *PATHS[path]]
    )
    assert history.diverged_at == 3 * (epoch + 1)
    assert len(told) == 1 and f"step {3 * (epoch + 1)} " in told[0]
    assert len(history["loss"]) == epoch + 1
    assert finite(model)


@paths
def test_weights_that_were_never_finite_are_reported_at_step_0(path):
    X, y = blobs(50, 4, 3)
    model = network([4, 3])
    model.layers[0].weights[0, 0] = np.nan
    before = weights(model)
    history, told = quiet_fit(model, X, y, epochs=3, callbacks=PATHS[path])
    assert (history.diverged_at, history.steps, len(told)) == (0, 0, 1)
    assert weights(model) == before


def test_divergence_is_found_at_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(fnn.threads, "STEP_WORK", 1.0)
    X, y = blobs(200, 4, 3, np.float32)
    X[150] = 1e30
    ends = set()
    for n_threads in (1, 2, 3, 4):
        model = network([4, 20, 3])
        history, _ = quiet_fit(
            model, X, y, batch_size=64, epochs=3, seed=1, optimizer=fnn.SGD(1e6), n_threads=n_threads
        )
        ends.add((history.diverged_at, weights(model), history.steps))
    assert len(ends) == 1 and history.diverged_at is not None


# --- Ctrl-C ---

INTERRUPTED = """
    import json, os, signal, sys, threading, time
    import numpy as np
    import fastnn as fnn

    # Where the tests run in a shell's background, children are born deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    class EachStep(fnn.Callback):
        def on_step_end(self, step, logs):
            pass

    def model():
        return fnn.Sequential(fnn.Dense(2, 32), fnn.Tanh(), fnn.Dropout(0.2), fnn.Dense(32, 3), seed=0)

    def weights(m):
        return b"".join(a.tobytes() for a in m.parameters().values())

    r = np.random.default_rng(0)
    X, y = r.normal(size=(200, 2)), r.integers(0, 3, 200)
    settings = dict(batch_size=None, seed=4)
    fnn.threads.STEP_WORK = fnn.threads.SERIAL_WORK = 1.0
    for threads in (1, 2):  # nothing is left to compile or to load
        for callbacks in ([], [EachStep()]):
            model().fit(X, y, epochs=2, n_threads=threads, callbacks=callbacks, **settings)
    for trial in range(8):
        threads, callbacks = (1, 2)[trial % 2], [EachStep()] if trial == 7 else []
        fnn.threads.STEP_WORK = 1.0
        fnn.threads.SERIAL_WORK = 1.0
        net, optimizer, sent = model(), fnn.Adam(0.01), []

        def send():
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(float(sys.argv[1 + trial]), send)
        timer.start()
        try:
            net.fit(X, y, epochs=10**9, optimizer=optimizer, n_threads=threads, callbacks=callbacks,
                    **settings)
        except KeyboardInterrupt:
            took = time.perf_counter() - sent[0]
        else:
            raise SystemExit("no KeyboardInterrupt")
        done = optimizer.step
        # As many steps without an interruption: the same bits; then both go on.
        other, same = model(), fnn.Adam(0.01)
        if done:
            other.fit(X, y, epochs=done, optimizer=same, n_threads=threads, **settings)
        equal = [weights(net) == weights(other)]
        finite = all(np.isfinite(a).all() for a in net.parameters().values())
        usable = bool(np.isfinite(net.predict(X)).all())
        history = net.history
        for m, o in ((net, optimizer), (other, same)):
            m.fit(X, y, epochs=5, initial_epoch=done, optimizer=o, n_threads=threads, **settings)
        equal.append(weights(net) == weights(other))
        print(json.dumps(dict(
            took=took, done=done, steps=history.steps, epochs=len(history.get("loss", ())),
            stopped_by=history.stopped_by,
            finite=finite, usable=usable, equal=equal[0], going_on=equal[1],
        )), flush=True)
"""


@pytest.fixture(scope="module")
def interruptions():
    """Return what eight interruptions at random times left, each of a long fit in a child process."""
    times = [f"{t:.3f}" for t in np.random.default_rng().uniform(0.1, 0.6, 8)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED), *times],
        env=os.environ | {"PYTHONPATH": str(HOUSE)}, capture_output=True, text=True, timeout=300,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 8
    return found


def test_ctrl_c_stops_soon_and_leaves_usable_weights(interruptions):
    for end in interruptions:
        assert end["took"] < 3.0, end
        assert end["finite"] and end["usable"] and end["stopped_by"] == "interrupt", end


def test_ctrl_c_then_going_on_gives_the_bits_of_never_stopping(interruptions):
    for end in interruptions:
        assert end["steps"] == end["epochs"] == end["done"], end
        assert end["equal"] and end["going_on"], end
