"""An epoch's figures: one number an epoch under each name, and what a learning rate follows."""

import warnings

import numpy as np
import pytest

import fastnn as fnn

X, Y = fnn.datasets.spiral_data(20, 3, seed=0)
LINE = np.linspace(-1, 1, 64)[:, None]


class Each(fnn.Callback):
    """Sends `fit` down the layer-by-layer path."""

    def on_step_end(self, step, logs):
        pass


class Penalise(fnn.Callback):
    """Gives the first layer another penalty after some epochs, and notes the logs."""

    def __init__(self, penalties):
        self.penalties, self.seen = penalties, []

    def on_epoch_end(self, epoch, logs):
        self.seen.append(dict(logs))
        if epoch in self.penalties:
            self.model.layers[0].weight_l2 = self.penalties[epoch]


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("first, then", [(0.5, {1: 0.0, 4: 1.0}), (0.0, {2: 0.5}), (0.5, {0: 0.0})])
def test_each_epoch_has_a_penalty_once_one_had(first, then, batch_size):
    found = []
    for path in ("compiled", "layers"):
        model, act = fnn.Sequential(fnn.Dense(2, 3, weight_l2=first), seed=0), Penalise(then)
        history = model.fit(
            X, Y, optimizer=fnn.SGD(0.1), epochs=7, batch_size=batch_size,
            callbacks=[act, Each()] if path == "layers" else act,
        )  # fmt: skip
        found.append(dict(history))
        assert {len(values) for values in history.values()} == {7}
        penalty = first
        for epoch, logs in enumerate(act.seen):
            assert logs.get("penalty", 0.0) == history["penalty"][epoch]
            assert (history["penalty"][epoch] > 0.0) == (penalty > 0.0)
            penalty = then.get(epoch, penalty)
    assert found[0] == found[1]


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: fnn.Warmup(s, 2)])
def test_who_follows_the_accuracy_needs_one(wrap):
    model = fnn.Sequential(fnn.Dense(1, 1), seed=0)
    weights, rate = model.layers[0].weights.copy(), wrap(fnn.ReduceOnPlateau(0.1, mode="max"))
    for callbacks in ([], [Each()]):
        with pytest.raises(ValueError, match="learning_rate follows the accuracy .* use mode='min'"):
            model.fit(LINE, 2 * LINE, loss=fnn.MeanSquaredError(), optimizer=fnn.SGD(rate), callbacks=callbacks)
    assert (model.layers[0].weights == weights).all() and model.history is None
    fnn.Sequential(fnn.Dense(2, 3)).fit(X, Y, optimizer=fnn.SGD(rate), epochs=2)


class Hears(fnn.Schedule):
    """Keeps what it hears, and tells nobody of a state."""

    def __init__(self):
        self.heard = []

    def rate_at(self, step):
        return 0.1 / (1 + len(self.heard))

    def observe(self, value):
        self.heard.append(value)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("callbacks", [[], [Each()]])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: fnn.Warmup(s, 2)])
def test_a_schedule_of_ones_own_hears_of_each_epoch(wrap, callbacks, validated):
    schedule = Hears()
    history = fnn.Sequential(fnn.Dense(2, 3), seed=0).fit(
        X, Y, optimizer=fnn.SGD(wrap(schedule)), epochs=4, callbacks=callbacks,
        validation_data=(X, Y) if validated else None,
    )  # fmt: skip
    assert schedule.heard == history["val_loss" if validated else "loss"]
    assert history["learning_rate"][2:] == pytest.approx([0.1 / 3, 0.1 / 4])
    with pytest.raises(ValueError, match="which nobody watches here"):
        fnn.fit_many([fnn.Sequential(fnn.Dense(2, 3))], X, Y, optimizer=fnn.SGD(wrap(schedule)))


class Holds(Hears):
    """Keeps something under the name that a warm-up has for what is inside."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule


@pytest.mark.parametrize("schedule", [0.1, fnn.InverseTimeDecay(0.1, 0.1), {}])
def test_what_a_schedule_calls_its_parts_does_not_matter(schedule):
    rate = Holds(schedule)
    history = fnn.Sequential(fnn.Dense(2, 3), seed=0).fit(X, Y, optimizer=fnn.SGD(fnn.Warmup(rate, 1)), epochs=3)
    assert rate.heard == history["loss"]


def test_a_penalty_put_on_a_layer_has_its_figure():
    model = fnn.Sequential(fnn.Dense(2, 3), fnn.ReLU(), fnn.Dense(3, 3), seed=0)
    for layer in model.layers[:2]:
        layer.penalty = lambda: 0.25
    history = model.fit(X, Y, epochs=2, callbacks=[fnn.EarlyStopping("penalty")])
    assert history["penalty"] == [0.5, 0.5]


def test_a_warmup_of_a_constant_rate_hears_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fnn.fit_many([fnn.Sequential(fnn.Dense(2, 3))], X, Y, optimizer=fnn.SGD(fnn.Warmup(0.1, 3)))


def test_the_warning_counts_epochs_as_callbacks_do():
    model = fnn.Sequential(fnn.Dense(2, 3), seed=0)
    with pytest.warns(fnn.history.DivergenceWarning, match=r"at step 1 \(epoch 8\)"):
        model.fit(X * 1e200, Y, optimizer=fnn.SGD(1e200), epochs=3, batch_size=None, initial_epoch=7)


@pytest.mark.parametrize("callbacks", [[], [Each()]])
def test_who_stops_before_the_first_epoch_is_named(callbacks):
    class Stop(fnn.Callback):
        def on_train_begin(self):
            self.model.stop_training = True

    history = fnn.Sequential(fnn.Dense(2, 3)).fit(X, Y, epochs=3, callbacks=[Stop(), *callbacks])
    assert (history.stopped_by, history.steps, dict(history)) == ("callback", 0, {})
