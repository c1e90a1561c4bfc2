"""Callbacks on their own, fed by hand with the figures of made-up epochs."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from fastnn.callbacks import Callback, EarlyStopping


class Model:
    def __init__(self):
        self.weights, self.stop_training = np.zeros(3), False

    def parameters(self):
        return {"0.weights": self.weights}


def train(callback, figures, name="val_loss"):
    """Run epochs with those figures, the weights counting them; return the model and the epochs that ran."""
    model = callback.model = Model()
    callback.on_train_begin()
    for epoch, figure in enumerate(figures):
        model.weights[:] = epoch
        callback.on_epoch_end(epoch, {"loss": 0.0, name: figure})
        if model.stop_training:
            break
    callback.on_train_end()
    return model, epoch + 1


def test_needs_steps():
    class Epochs(Callback):
        def on_epoch_end(self, epoch, logs):
            pass

    class Steps(Callback):
        def on_step_end(self, step, logs):
            pass

    class Below(Steps):
        pass

    assert not Callback().needs_steps and not Epochs().needs_steps and not EarlyStopping().needs_steps
    assert Steps().needs_steps and Below().needs_steps
    assigned = Callback()
    assigned.on_step_end = lambda step, logs: None
    assert assigned.needs_steps


def test_hooks_do_nothing_by_default():
    callback = Callback()
    assert callback.model is None
    assert callback.on_train_begin() is callback.on_step_end(0, {}) is callback.on_epoch_end(0, {}) is None
    assert callback.on_train_end() is None


@pytest.mark.parametrize(
    ("patience", "figures", "epochs", "best"),
    [
        (0, [3, 2, 2, 1], 3, 1),
        (1, [3, 2, 2.5, 1, 1, 1], 6, 3),
        (1, [3, 2, 2, 2, 1], 4, 1),
        (5, [3, 2, 1], 3, 2),
        (1, [3, math.nan, math.nan, 1], 3, 0),
        (1, [math.nan, math.nan, 1], 2, None),
    ],
)
def test_early_stopping(patience, figures, epochs, best):
    callback = EarlyStopping("val_loss", patience=patience)
    model, ran = train(callback, figures)
    assert ran == epochs and callback.best_epoch == best
    assert model.stop_training == (ran < len(figures) or callback.stopped_epoch is not None)
    if best is not None:
        assert callback.best == figures[best]
        np.testing.assert_array_equal(model.weights, best)


def test_larger_is_better_for_accuracy():
    callback = EarlyStopping("val_accuracy", patience=0)
    model, ran = train(callback, [0.1, 0.5, 0.5, 0.9], "val_accuracy")
    assert ran == 3 and callback.best == 0.5 and callback.stopped_epoch == 2
    assert EarlyStopping("accuracy", mode="min").mode == "min" and EarlyStopping("loss").mode == "min"


def test_min_delta_and_last_weights():
    callback = EarlyStopping(patience=0, min_delta=0.5, restore_best=False)
    model, ran = train(callback, [3.0, 2.0, 1.6, 1.0])
    assert ran == 3 and callback.best_epoch == 1
    np.testing.assert_array_equal(model.weights, 2)


def test_a_second_training_starts_afresh():
    callback = EarlyStopping(patience=0)
    train(callback, [1.0, 2.0])
    model, ran = train(callback, [5.0, 4.0, 4.5])
    assert ran == 3 and callback.best == 4.0


def test_best_parameters_are_restored_into_the_arrays_of_the_model():
    callback = EarlyStopping(patience=0)
    model = callback.model = Model()
    callback.on_train_begin()
    callback.on_epoch_end(0, {"val_loss": 1.0})
    array = model.weights
    array += 1
    callback.on_train_end()
    assert model.weights is array and not array.any()


@pytest.mark.parametrize(
    ("monitor", "says"),
    [("val_loss", "pass validation_data"), ("accurracy", r"one of the figures \['accuracy', 'loss'\]")],
)
def test_a_missing_figure_is_named(monitor, says):
    callback = EarlyStopping(monitor)
    callback.model = SimpleNamespace()
    with pytest.raises(ValueError, match=says):
        callback.on_epoch_end(0, {"loss": 1.0, "accuracy": 0.5})


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"monitor": 3}, TypeError, "monitor"),
        ({"patience": -1}, ValueError, "patience"),
        ({"min_delta": -1.0}, ValueError, "min_delta"),
        ({"restore_best": "no"}, TypeError, "restore_best"),
        ({"mode": "best"}, ValueError, "'auto', 'min', 'max'"),
    ],
)
def test_bad_arguments(arguments, error, says):
    with pytest.raises(error, match=says):
        EarlyStopping(**arguments)
