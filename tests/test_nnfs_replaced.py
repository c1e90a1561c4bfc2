"""What a user puts in place of ours, before a training or in its midst: it counts, as it does layer by layer."""

import sys

import numpy as np
import pytest
from test_nnfs_model import OwnReLU, data, network, printed

import fastnn.nnfs as book


def train(model, X, y, callback=None, **more):
    return printed(model.train, X, y, epochs=4, batch_size=50, callback=callback, **more)


def bits(model):
    return [value.tobytes() for layer in model.layers if hasattr(layer, "weights")
            for value in (layer.weights, layer.biases)]  # fmt: skip


# --- which layers are trained, and which count for the penalty ---


def freeze_by_removal(model):
    model.trainable_layers.remove(model.layers[0])


def freeze_by_assignment(model):
    model.trainable_layers = [model.layers[2]]


def forget_a_penalty(model):
    model.loss.remember_trainable_layers([model.layers[2]])


CHOICES = [freeze_by_removal, freeze_by_assignment, forget_a_penalty]


@pytest.mark.parametrize("choose", CHOICES)
@pytest.mark.parametrize("between", [False, True])
def test_the_lists_of_trainable_layers_count(choose, between):
    ways = []
    for relu in (None, OwnReLU):
        X, y = data("classes")
        model = network(book, "classes", relu=relu, l2=2.0)  # so that the penalty shows in the lines
        before = []

        def callback(model, epoch, logs, before=before):
            if between and epoch == 2:
                choose(model)
                before[:] = bits(model)

        if not between:
            choose(model)
            before[:] = bits(model)
        text = train(model, X, y, callback)
        assert model.compiled is (relu is None and between)
        assert (bits(model)[:2] == before[:2]) is (choose is not forget_a_penalty)
        assert bits(model)[2:] != before[2:]
        ways.append((text, bits(model)))
    assert ways[0] == ways[1]


# --- models with methods of their own ---


class CountingModel(book.Model):
    forwards = backwards = 0

    def forward(self, X, training=True):
        self.forwards += 1
        return super().forward(X, training)

    def backward(self, output, y):
        self.backwards += 1
        super().backward(output, y)


def test_a_subclass_with_its_own_forward_and_backward():
    X, y = data("classes")
    model = network(book, "classes")
    model.__class__ = CountingModel
    train(model, X, y)
    assert model.compiled is False and model.forwards == model.backwards == 16
    # One that has neither is compiled as ever.
    model.__class__ = type("Named", (book.Model,), {"describe": lambda self: "mine"})
    train(model, X, y)
    assert model.compiled is True


@pytest.mark.parametrize("name", ["forward", "backward"])
@pytest.mark.parametrize("where", ["instance", "class"])
@pytest.mark.parametrize("between", [False, True])
def test_a_models_methods_may_be_replaced(name, where, between, monkeypatch):
    X, y = data("classes")
    model, calls, real = network(book, "classes"), [], getattr(book.Model, name)

    def replacement(self, *arguments, **more):
        calls.append(name)
        return real(self, *arguments, **more)

    def replace(model):
        if where == "class":
            monkeypatch.setattr(book.Model, name, replacement)
        else:
            setattr(model, name, lambda *arguments, **more: replacement(model, *arguments, **more))

    if not between:
        replace(model)
    train(model, X, y, lambda model, epoch, logs: replace(model) if between and epoch == 2 else None)
    assert len(calls) == (8 if between else 16) and model.compiled is between


class Validating(book.Model):
    def evaluate(self, X_val, y_val, *, batch_size=None):
        print(f"mine: {len(X_val)} {batch_size}")


@pytest.mark.parametrize("relu", [None, OwnReLU])
@pytest.mark.parametrize("where", ["class", "instance"])
def test_an_evaluate_of_ones_own_validates(relu, where):
    X, y = data("classes")
    model, seen = network(book, "classes", relu=relu), []
    if where == "class":
        model.__class__ = Validating
    else:
        model.evaluate = lambda *data, batch_size: Validating.evaluate(model, *data, batch_size=batch_size)
    note = lambda model, epoch, logs: seen.append(sorted(logs))  # noqa: E731
    text = train(model, X, y, note, validation_data=(X[:9], y[:9]), print_every=2)
    assert model.compiled is (relu is None)
    lines = [line.split(",")[0].split(":")[0] for line in text.splitlines()]
    assert lines == ["epoch", "step", "step", "step", "training", "mine"] * 4
    assert text.count("mine: 9 50") == 4
    assert seen == [["accuracy", "data_loss", "learning_rate", "loss", "reg_loss"]] * 4
    text = train(model, X, y, validation_data=(X[:9], y[:9]), print_every=2, epoch_lines=True)
    assert [line.split(",")[0] for line in text.splitlines()] == ["epoch: 2", "epoch: 4", "mine: 9 50"]
    model.__class__ = book.Model
    vars(model).pop("evaluate", None)
    train(model, X, y, note, validation_data=(X[:9], y[:9]))
    assert {"validation_accuracy", "validation_loss"} <= set(seen[-1])


# --- methods of the parts ---


def part_of(model, kind):
    joint = model.softmax_classifier_output
    return next(part for part in (*model.layers, model.optimizer, model.loss, model.accuracy, model.input_layer, joint)
                if type(part) is kind)  # fmt: skip


# The kind of a part, its method, and how often it is called in 16 steps.
METHODS = [
    (book.Activation_ReLU, "forward", 16),
    (book.Activation_Softmax, "predictions", 16),
    (book.Layer_Input, "forward", 16),
    (book.Layer_Dense, "backward", 16),
    (book.Optimizer_Adam, "update_params", 32),
    (book.Optimizer_Adam, "pre_update_params", 16),
    (book.Optimizer_Adam, "post_update_params", 16),
    (book.Loss_CategoricalCrossentropy, "regularization_loss", 20),
    (book.Loss_CategoricalCrossentropy, "new_pass", 4),
    (book.Accuracy_Categorical, "compare", 16),
    (book.Activation_Softmax_Loss_CategoricalCrossentropy, "backward", 16),
]


@pytest.mark.parametrize("kind, name, times", METHODS)
@pytest.mark.parametrize("where", ["class", "instance", "base"])
@pytest.mark.parametrize("between", [False, True])
def test_methods_of_parts_may_be_replaced(kind, name, times, where, between, monkeypatch):
    X, y = data("classes")
    model, calls, real = network(book, "classes"), [], getattr(kind, name)
    part = part_of(model, kind)

    def replacement(self, *arguments, **more):
        calls.append(name)
        return real(self, *arguments, **more)

    def replace():
        if where == "instance":
            setattr(part, name, lambda *arguments, **more: replacement(part, *arguments, **more))
        else:
            # The class itself, or that of its bases which has the method.
            owner = next(k for k in kind.__mro__ if name in vars(k)) if where == "base" else kind
            monkeypatch.setattr(owner, name, replacement)

    if not between:
        replace()
    train(model, X, y, lambda model, epoch, logs: replace() if between and epoch == 2 else None)
    if kind is book.Layer_Dense and where != "instance":
        times *= 2
    assert len(calls) == (times / 2 if between else times) and model.compiled is between
    monkeypatch.undo()
    fresh = network(book, "classes")
    train(fresh, X, y)
    assert fresh.compiled is True


def test_a_property_may_be_replaced(monkeypatch):
    X, y = data("classes")
    model = network(book, "classes", "sgd")
    monkeypatch.setattr(book.Optimizer_SGD, "slots", property(lambda self: ("momentums",)))
    train(model, X, y)
    assert model.compiled is False


# --- what a callback may change ---


def other_penalty(model):
    model.layers[0].weight_regularizer_l2 = 0.5


def other_bias_penalty(model):
    model.layers[0].bias_regularizer_l1 = 0.5


def without_activation(model):
    del model.layers[1]
    model.finalize()


def one_more_layer(model):
    model.layers.insert(1, book.Activation_Sigmoid())
    model.finalize()


def own_accuracy(model):
    model.accuracy = book.Accuracy_Categorical(binary=True)
    model.accuracy.compare = lambda predictions, y: np.ones(len(y), bool)


def other_loss(model):
    model.set(loss=SquaredLoss())
    model.finalize()


def no_joint(model):
    model.softmax_classifier_output = None


class SquaredLoss(book.Loss):
    def forward(self, y_pred, y_true):
        return np.mean((y_pred - np.eye(3)[y_true]) ** 2, axis=-1)

    def backward(self, dvalues, y_true):
        self.dinputs = 2 * (dvalues - np.eye(3)[y_true]) / dvalues.size


def other_sign(model):
    model.loss.book_exact = True


def other_precision(model):
    model.accuracy.precision = 0.5


def other_input_layer(model):
    class Half(book.Layer_Input):
        def forward(self, inputs, training):
            self.output = inputs / 2

    model.input_layer = model.layers[0].prev = Half()


CHANGES = [
    ("classes", other_penalty), ("classes", other_bias_penalty), ("classes", without_activation),
    ("classes", one_more_layer), ("classes", own_accuracy), ("classes", other_loss), ("classes", no_joint),
    ("absolute", other_sign), ("absolute", other_precision), ("regression", other_precision),
    ("classes", other_input_layer),
]  # fmt: skip


@pytest.mark.parametrize("stage, change", CHANGES)
def test_what_a_callback_changes_counts_from_then_on(stage, change):
    ways = []
    for relu, changed in ((None, True), (OwnReLU, True), (None, False)):
        X, y = data(stage)
        model, told = network(book, stage, relu=relu), []

        def callback(model, epoch, logs, told=told, changed=changed):
            told.append(logs)
            if epoch == 2 and changed:
                change(model)

        text = train(model, X, y, callback)
        assert model.compiled is (relu is None)
        ways.append((text, bits(model), told))
    assert ways[0] == ways[1] and ways[0] != ways[2]


@pytest.mark.parametrize("relu", [None, OwnReLU])
def test_a_setting_that_does_not_fit_is_refused_from_then_on(relu):
    X, y = data("binary")
    model = network(book, "binary", relu=relu)
    with pytest.raises(ValueError, match="pass binary=True"):
        train(model, X, y, lambda model, epoch, logs: setattr(model.accuracy, "binary", False))
    assert model.optimizer.iterations == 3


# --- lines appear as things happen ---


class Talking(book.Activation_ReLU):
    """Notes what has been printed when it is called."""

    def forward(self, inputs, training=True):
        self.seen = [*getattr(self, "seen", []), sys.stdout.getvalue().count("\n")]
        super().forward(inputs)


@pytest.mark.parametrize("batch_size, lines", [(None, [1, 4, 7]), (60, [1, 2, 3, 6, 7, 8, 11, 12, 13])])
def test_lines_are_printed_as_things_happen(batch_size, lines):
    X, y = data("classes")
    model = network(book, "classes", relu=Talking)
    new_pass, at_new_pass = model.loss.new_pass, []

    def noted():
        at_new_pass.append(sys.stdout.getvalue().count("\n"))
        new_pass()

    model.loss.new_pass = noted
    printed(model.train, X, y, epochs=3, batch_size=batch_size)
    assert model.layers[1].seen == lines
    # All of an epoch's lines are there before the next one begins.
    each = lines[-1] // 3 + 1
    assert all(seen >= epoch * each for epoch, seen in enumerate(at_new_pass))
