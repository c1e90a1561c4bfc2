"""`fastnn.nnfs.Model`: compiled and layer by layer, against the book in NumPy, its printed lines, users' own parts."""

import contextlib
import io
import itertools
import re

import nnfs_numpy as numpy_classes
import numpy as np
import pytest

import fastnn
import fastnn.nnfs as book
from fastnn import trainer
from fastnn.nnfs import _compiled

STAGES = ("classes", "binary", "regression", "absolute")
OPTIMIZERS = {
    "sgd": lambda m: m.Optimizer_SGD(1.0, 1e-3, 0.9),
    "plain": lambda m: m.Optimizer_SGD(1),
    "adagrad": lambda m: m.Optimizer_Adagrad(0.5, 1e-4),
    "rmsprop": lambda m: m.Optimizer_RMSprop(0.02, 1e-5, rho=0.999),
    "adam": lambda m: m.Optimizer_Adam(0.02, 5e-7),
}


def data(stage, dtype=np.float64):
    np.random.seed(0)
    if stage in ("regression", "absolute"):
        X, y = book.sine_data(200)
        return X.astype(dtype), y.astype(dtype)
    X, y = book.spiral_data(60, 2 if stage == "binary" else 3)
    return X.astype(dtype), y.reshape(-1, 1) if stage == "binary" else y


def network(module, stage, optimizer="adam", dtype=np.float64, l2=5e-4, relu=None, dropout=None, hidden=32):
    """Build the book's network of a stage; weights are drawn after `data`, as scripts do."""
    model = module.Model()
    n_in = 1 if stage in ("regression", "absolute") else 2
    n_out = 3 if stage == "classes" else 1
    model.add(module.Layer_Dense(n_in, hidden, weight_regularizer_l2=l2, bias_regularizer_l2=l2))
    model.add((relu or module.Activation_ReLU)())
    if dropout:
        model.add(module.Layer_Dropout(dropout))
    if stage in ("regression", "absolute"):
        model.add(module.Layer_Dense(hidden, hidden))
        model.layers[-1].weights *= 10
        model.add(module.Activation_ReLU())
    model.add(module.Layer_Dense(hidden, n_out))
    last, loss, accuracy = {
        "classes": ("Activation_Softmax", "Loss_CategoricalCrossentropy", module.Accuracy_Categorical),
        "binary": (
            "Activation_Sigmoid", "Loss_BinaryCrossentropy", lambda: module.Accuracy_Categorical(binary=True),
        ),
        "regression": ("Activation_Linear", "Loss_MeanSquaredError", module.Accuracy_Regression),
        "absolute": ("Activation_Linear", "Loss_MeanAbsoluteError", module.Accuracy_Regression),
    }[stage]  # fmt: skip
    model.add(getattr(module, last)())
    for layer in model.layers:
        if hasattr(layer, "weights"):
            layer.weights, layer.biases = layer.weights.astype(dtype), layer.biases.astype(dtype)
    chosen = OPTIMIZERS[optimizer](module) if isinstance(optimizer, str) else optimizer
    model.set(loss=getattr(module, loss)(), optimizer=chosen, accuracy=accuracy())
    model.finalize()
    return model


def printed(call, *args, **kwargs):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        call(*args, **kwargs)
    return out.getvalue()


class OwnReLU(book.Activation_ReLU):
    """Sends a model down the layer-by-layer path."""


def figures(text):
    return np.array([float(number) for number in re.findall(r"(?<=: )-?\d+\.\d+(?:e-?\d+)?", text)])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch_size", [None, 50])
def test_compiled_and_layer_by_layer_are_the_same(stage, optimizer, dtype, batch_size):
    ways = []
    for relu in (None, OwnReLU):
        X, y = data(stage, dtype)
        model = network(book, stage, optimizer, dtype, relu=relu)
        text = printed(model.train, X, y, epochs=8, batch_size=batch_size, print_every=2)
        assert model.compiled is (relu is None)
        parts = [getattr(layer, name).tobytes() for layer in model.trainable_layers
                 for name in ("weights", "biases", "dweights", "dbiases", "dinputs", "output", "weight_momentums",
                              "weight_cache", "bias_cache") if hasattr(layer, name)]  # fmt: skip
        ways.append((parts, text, model.optimizer.iterations, model.optimizer.current_learning_rate))
    assert ways[0] == ways[1]


@pytest.mark.parametrize("first", OPTIMIZERS)
@pytest.mark.parametrize("second", OPTIMIZERS)
def test_a_second_optimizer_takes_over_what_it_would_in_the_book(first, second):
    ways = []
    for module, relu in ((book, None), (book, OwnReLU), (numpy_classes, None)):
        X, y = data("classes")
        model = network(module, "classes", first, relu=relu)
        printed(model.train, X, y, epochs=3, print_every=100)
        model.optimizer = OPTIMIZERS[second](module)
        printed(model.train, X, y, epochs=3, print_every=100)
        ways.append([getattr(layer, name) for layer in model.trainable_layers for name in ("weights", "biases")])
    for compiled, layered, expected in zip(*ways, strict=True):
        assert compiled.tobytes() == layered.tobytes()
        np.testing.assert_allclose(compiled, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weights_in_panels_change_no_bit(optimizer, dtype, monkeypatch):
    real, seen = trainer.in_panels, []

    def spy(*arguments):
        seen.append(real(*arguments))
        return seen[-1]

    monkeypatch.setattr(_compiled, "in_panels", spy)
    monkeypatch.setattr(_compiled.threads, "workers", lambda *arguments, **more: 2)
    monkeypatch.setattr(trainer, "PANEL_STEPS", 1)
    # Where vectors are narrow, panels would pay for so many columns without that.
    monkeypatch.setattr(trainer.panels, "LEAST_COLUMNS", 512)
    random = np.random.default_rng(3)
    X, y = random.normal(size=(50, 20)).astype(dtype), random.integers(0, 5, 50)
    ways = []
    for spare in (2.0, 0.0):
        for name in ("_PANEL_SPARE", "_PANEL_SPARE_ALONE"):
            monkeypatch.setattr(trainer, name, spare)
        np.random.seed(4)
        model = book.Model()
        model.add(book.Layer_Dense(20, 130))
        model.add(book.Activation_ReLU())
        model.add(book.Layer_Dense(130, 5))
        model.add(book.Activation_Softmax())
        for layer in (model.layers[0], model.layers[2]):
            layer.weights, layer.biases = layer.weights.astype(dtype), layer.biases.astype(dtype)
        model.set(loss=book.Loss_CategoricalCrossentropy(), optimizer=OPTIMIZERS[optimizer](book),
                  accuracy=book.Accuracy_Categorical())  # fmt: skip
        model.finalize()
        text = printed(model.train, X, y, epochs=3, batch_size=16, print_every=1)
        assert model.compiled
        ways.append((text, [v.tobytes() for pair in model.get_parameters() for v in pair]))
    assert ways[0] == ways[1]
    # The first network's were laid out, the second's not.
    assert len(seen[0]) == 1 and len(seen[-1]) == 0


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("batch_size", [None, 64])
def test_printed_lines_are_those_of_numpy(stage, batch_size):
    texts = []
    for module in (book, numpy_classes):
        X, y = data(stage)
        X_val, y_val = X[::3].copy(), y[::3].copy()
        model = network(module, stage)
        texts.append(printed(model.train, X, y, epochs=20, batch_size=batch_size, print_every=2,
                             validation_data=(X_val, y_val)))  # fmt: skip
    ours, theirs = texts
    assert re.sub(r"\d\.\d{3}\b", "#", ours) == re.sub(r"\d\.\d{3}\b", "#", theirs)
    # Three decimals: a last digit may round the other way.
    np.testing.assert_allclose(figures(ours), figures(theirs), atol=0.0011)


def test_the_format_to_the_letter():
    X, y = data("classes")
    model = network(book, "classes", OPTIMIZERS["sgd"](book))
    text = printed(model.train, X, y, epochs=2, batch_size=100, validation_data=(X, y))
    number, rate = r"\d+\.\d{3}", r"\d\.\d+"
    rest = rf"acc: {number}, loss: {number} \(data_loss: {number}, reg_loss: {number}\), lr: {rate}\n"
    epoch = rf"epoch: \d\nstep: 0, {rest}step: 1, {rest}training, {rest}validation, acc: {number}, loss: {number}\n"
    assert re.fullmatch(epoch * 2, text)
    assert "lr: 1.0\n" in text
    assert printed(model.evaluate, X, y).startswith("validation, acc: ")
    model.set(optimizer=book.Optimizer_SGD(learning_rate=1))
    assert "lr: 1\n" in printed(model.train, X, y, epochs=3)
    assert printed(model.train, X, y, epochs=3, print_every=None, validation_data=(X, y)) == ""
    assert printed(model.train, X, y, epochs=1, batch_size=10, print_every=7).count("step:") == 4


def train_as_in_chapter_18(model, X, y, *, epochs, print_every, validation_data=None):
    """`Model.train` of that chapter, for the classes in NumPy."""
    model.accuracy.init(y)
    for epoch in range(1, epochs + 1):
        model.loss.new_pass()
        model.accuracy.new_pass()
        output = model.forward(X, True)
        data_loss, reg_loss = model.loss.calculate(output, y, include_regularization=True)
        accuracy = model.accuracy.calculate(model.layers[-1].predictions(output), y)
        model.backward(output, y)
        model.optimizer.pre_update_params()
        for layer in model.trainable_layers:
            model.optimizer.update_params(layer)
        model.optimizer.post_update_params()
        if not epoch % print_every:
            print(
                f"epoch: {epoch}, acc: {accuracy:.3f}, loss: {data_loss + reg_loss:.3f} "
                f"(data_loss: {data_loss:.3f}, reg_loss: {reg_loss:.3f}), lr: {model.optimizer.current_learning_rate}"
            )
    if validation_data is not None:
        model.evaluate(*validation_data)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("relu", [None, OwnReLU])
def test_the_lines_of_chapter_18(stage, relu):
    """The penalty is large and grows with each step, so that one taken a step late shows."""
    texts = []
    for module in (book, numpy_classes):
        X, y = data(stage)
        held = {"epochs": 25, "print_every": 10, "validation_data": (X[::3].copy(), y[::3].copy())}
        model = network(module, stage, l2=5.0, relu=relu if module is book else None)
        model.layers[0].weights *= 10
        if module is book:
            texts.append(printed(model.train, X, y, **held, epoch_lines=True))
            assert model.compiled is (relu is None)
        else:
            texts.append(printed(train_as_in_chapter_18, model, X, y, **held))
    ours, theirs = texts
    assert re.sub(r"\d+\.\d{3}\b", "#", ours) == re.sub(r"\d+\.\d{3}\b", "#", theirs)
    assert [line.split(",")[0] for line in ours.splitlines()] == ["epoch: 10", "epoch: 20", "validation"]
    np.testing.assert_allclose(figures(ours), figures(theirs), atol=0.0011)


@pytest.mark.parametrize("relu", [None, OwnReLU])
def test_epoch_lines_with_batches_and_without_printing(relu):
    X, y = data("classes")
    model, epochs = network(book, "classes", relu=relu), []
    note = lambda model, epoch, logs: epochs.append((epoch, logs))  # noqa: E731
    text = printed(model.train, X, y, epochs=4, batch_size=50, print_every=2, epoch_lines=True, callback=note,
                   validation_data=(X, y))  # fmt: skip
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4] and "validation_loss" not in epochs[-1][1]
    # The means of the epoch, as they are told to callbacks.
    seen = [line for line in text.splitlines() if line.startswith("epoch")]
    assert [f"acc: {logs['accuracy']:.3f}" in seen[k] for k, (_, logs) in enumerate(epochs[1::2])] == [True, True]
    assert len(seen) == 2 and text.splitlines()[-1].startswith("validation, acc: ")
    assert printed(model.train, X, y, epochs=2, print_every=None, epoch_lines=True, validation_data=(X, y)) == ""


def test_losses_follow_numpy():
    """1e-9 over the first 100 epochs in float64, 1e-4 over the first 50 in float32."""
    for dtype, epochs, tolerance in ((np.float64, 100, 1e-9), (np.float32, 50, 1e-4)):
        seen = []
        for module in (book, numpy_classes):
            X, y = data("classes", dtype)
            model = network(module, "classes", "sgd", dtype, l2=0)
            losses = []
            for _ in range(epochs):
                output = model.forward(X, training=True)
                losses.append(float(model.loss.calculate(output, y)))
                model.backward(output, y)
                model.optimizer.pre_update_params()
                for layer in model.trainable_layers:
                    model.optimizer.update_params(layer)
                model.optimizer.post_update_params()
            seen.append(losses)
        np.testing.assert_allclose(*seen, rtol=tolerance)


def test_one_hot_targets_are_class_numbers():
    found = []
    for one_hot, relu in itertools.product((False, True), (None, OwnReLU)):
        X, y = data("classes")
        model = network(book, "classes", relu=relu)
        text = printed(model.train, X, np.eye(3)[y] if one_hot else y, epochs=5)
        found.append((text, model.layers[0].weights.tobytes()))
        assert model.compiled is (relu is None)
    assert len(set(found)) == 1


def test_the_fit_of_sequential_gives_the_same_bits():
    X, y = data("classes", np.float32)
    model = network(book, "classes", book.Optimizer_SGD(0.5, momentum=0.9), np.float32, l2=1e-3)
    twin = fastnn.Sequential(
        fastnn.Dense(2, 32, weight_l2=1e-3, bias_l2=1e-3), fastnn.ReLU(), fastnn.Dense(32, 3), seed=0
    )
    for ours, theirs in zip(model.trainable_layers, twin.layers[::2], strict=True):
        theirs.weights, theirs.biases = ours.weights.copy(), ours.biases.copy().reshape(-1)
    model.train(X, y, epochs=30, batch_size=50, print_every=None)
    twin.fit(X, y, optimizer=fastnn.SGD(0.5, momentum=0.9), epochs=30, batch_size=50, shuffle=False)
    for ours, theirs in zip(model.trainable_layers, twin.layers[::2], strict=True):
        assert (ours.weights == theirs.weights).all() and (ours.biases == theirs.biases).all()


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(900, 100)).astype(np.float32), rng.integers(0, 10, 900)
    found = set()
    try:
        for n in (1, 2, 3):
            fastnn.set_num_threads(n)
            np.random.seed(0)
            book.init(random_seed=None)
            model = book.Model()
            for layer in (book.Layer_Dense(100, 128, 1e-4), book.Activation_ReLU(), book.Layer_Dense(128, 10),
                          book.Activation_Softmax()):  # fmt: skip
                model.add(layer)
            model.set(loss=book.Loss_CategoricalCrossentropy(), optimizer=book.Optimizer_Adam(),
                      accuracy=book.Accuracy_Categorical())  # fmt: skip
            model.finalize()
            text = printed(model.train, X, y, epochs=3, batch_size=300)
            found.add((text, *(value.tobytes() for pair in model.get_parameters() for value in pair)))
            assert model.compiled
    finally:
        fastnn.set_num_threads(None)
        book.init(False, None, None)
    assert len(found) == 1


def test_arrays_stay_the_users_own():
    X, y = data("classes")
    model = network(book, "classes")
    arrays = model.get_parameters()
    other = network(book, "classes")
    other.set_parameters(arrays)
    before = arrays[0][0].copy()
    model.train(X, y, epochs=3, print_every=None)
    assert model.layers[0].weights is arrays[0][0] is other.layers[0].weights
    assert (before != arrays[0][0]).any()
    assert model.layers[0].biases.shape == (1, 32) and model.layers[0].weight_cache.shape == (2, 32)
    held = model.layers[0].weight_momentums
    model.train(X, y, epochs=3, print_every=None)
    assert model.layers[0].weight_momentums is held


def test_state_goes_on_from_the_hand_written_loop_and_back():
    X, y = data("classes")
    whole = network(book, "classes")
    start = [(w.copy(), b.copy()) for w, b in whole.get_parameters()]
    whole.train(X, y, epochs=9, print_every=None)
    parts = network(book, "classes")
    parts.set_parameters(start)
    parts.train(X, y, epochs=4, print_every=None)
    for _ in range(2):
        output = parts.forward(X)
        parts.loss.calculate(output, y)
        parts.backward(output, y)
        parts.optimizer.pre_update_params()
        for layer in parts.trainable_layers:
            parts.optimizer.update_params(layer)
        parts.optimizer.post_update_params()
    parts.train(X, y, epochs=3, print_every=None)
    for (w1, b1), (w2, b2) in zip(whole.get_parameters(), parts.get_parameters(), strict=True):
        assert (w1 == w2).all() and (b1 == b2).all()


def test_shared_weights_stay_shared():
    X, y = data("classes")
    model = network(book, "regression", l2=0)
    X, y = data("regression")
    model.add(book.Activation_Linear())
    model.layers[-1], model.layers[-2] = model.layers[-2], model.layers[-1]
    model.layers[2].weights = np.random.randn(32, 32) * 0.1
    tied = book.Layer_Dense(32, 32)
    tied.weights = model.layers[2].weights
    model.layers.insert(4, tied)
    model.finalize()
    model.train(X, y, epochs=2, print_every=None)
    assert model.compiled is False and model.layers[2].weights is model.layers[4].weights


def test_users_own_parts_work_beside_ours():
    class Activation_LeakyReLU:
        def forward(self, inputs, training):
            self.inputs, self.output = inputs, np.where(inputs > 0, inputs, 0.01 * inputs)

        def backward(self, dvalues):
            self.dinputs = np.where(self.inputs > 0, dvalues, 0.01 * dvalues)

    class Layer_Scale:
        def __init__(self):
            self.weights, self.biases = np.ones((1, 3)), np.zeros((1, 3))

        def forward(self, inputs, training):
            self.inputs, self.output = inputs, inputs * self.weights + self.biases

        def backward(self, dvalues):
            self.dweights = (dvalues * self.inputs).sum(axis=0, keepdims=True)
            self.dbiases = dvalues.sum(axis=0, keepdims=True)
            self.dinputs = dvalues * self.weights

    class Loss_Own(book.Loss):
        def forward(self, y_pred, y_true):
            return np.mean(np.abs(y_pred - np.eye(3)[y_true]) ** 3, axis=-1)

        def backward(self, dvalues, y_true):
            gap = dvalues - np.eye(3)[y_true]
            self.dinputs = gap * np.abs(gap) / len(dvalues)

    class Accuracy_Own(book.Accuracy):
        def compare(self, predictions, y):
            return predictions == y

    X, y = data("classes")
    model = book.Model()
    for layer in (book.Layer_Dense(2, 32), Activation_LeakyReLU(), book.Layer_Dense(32, 3), Layer_Scale(),
                  book.Activation_Softmax()):  # fmt: skip
        model.add(layer)
    for loss, accuracy in (
        (book.Loss_CategoricalCrossentropy(), book.Accuracy_Categorical()), (Loss_Own(), Accuracy_Own()),
    ):  # fmt: skip
        model.set(loss=loss, optimizer=book.Optimizer_Adam(0.02), accuracy=accuracy)
        model.finalize()
        before = model.layers[3].weights.copy()
        text = printed(model.train, X, y, epochs=60, print_every=1)
        assert model.compiled is False and (model.layers[3].weights != before).any()
        losses = figures("\n".join(line for line in text.splitlines() if line.startswith("training")))[1::5]
        assert losses[-1] < losses[0]
    assert model.predict(X).shape == (180, 3)


def test_callback_sees_the_layers_and_may_end_training():
    for relu in (None, OwnReLU):
        X, y = data("classes")
        model, seen = network(book, "classes", relu=relu), []

        def callback(model, epoch, logs, seen=seen):
            seen.append((epoch, sorted(logs), model.layers[0].dweights.shape, model.optimizer.iterations))
            model.layers[0].weights = model.layers[0].weights * 1.0
            model.optimizer.learning_rate = 0.01
            return epoch == 3

        text = printed(model.train, X, y, epochs=10, batch_size=60, print_every=1, callback=callback)
        names = ["accuracy", "data_loss", "learning_rate", "loss", "reg_loss"]
        assert seen == [(epoch, names, (2, 32), 3 * epoch) for epoch in (1, 2, 3)]
        assert text.count("epoch:") == 3


def test_optimizer_may_be_changed_between_epochs():
    X, y = data("classes")
    model = network(book, "classes", "sgd")

    def change(model, epoch, logs):
        model.set(optimizer=book.Optimizer_Adam(0.01))

    model.train(X, y, epochs=4, print_every=None, callback=change)
    assert np.isfinite(model.layers[0].weights).all() and hasattr(model.layers[0], "weight_cache")


def test_dropout_stage_draws_as_the_book_does():
    weights = []
    for module in (book, numpy_classes):
        X, y = data("classes")
        model = network(module, "classes", dropout=0.1)
        printed(model.train, X, y, epochs=30)
        weights.append(model.layers[0].weights)
    np.testing.assert_allclose(*weights, rtol=1e-6)


def test_nan_goes_on_as_in_the_book():
    X, y = data("classes")
    X[0, 0] = np.nan
    for relu in (None, OwnReLU):
        model = network(book, "classes", relu=relu)
        text = printed(model.train, X, y, epochs=6)
        assert "loss: nan" in text.splitlines()[-1] and np.isnan(model.layers[0].weights).any()


def test_interrupt_leaves_usable_weights(monkeypatch):
    from fastnn.nnfs import _compiled

    X, y = data("classes")
    model = network(book, "classes")
    arrays, run, calls = model.get_parameters(), _compiled.CompiledTraining.run, []

    def interrupted(self, first, count):
        calls.append(count)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, first, count)

    monkeypatch.setattr(_compiled.CompiledTraining, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        printed(model.train, X, y, epochs=10**6)
    assert model.get_parameters()[0][0] is arrays[0][0]
    assert model.optimizer.iterations == sum(calls[:2]) and (arrays[0][0] != 0).any()


def test_predict_and_evaluate():
    X, y = data("binary")
    model = network(book, "binary")
    model.train(X, y, epochs=5, print_every=None)
    whole = model.predict(X)
    assert whole.shape == (120, 1) and (model.predict(X, batch_size=7) == whole).all()
    assert model.evaluate(X, y, batch_size=50) is None
    assert (model.output_layer_activation.predictions(whole) == (whole > 0.5)).all()
    assert model.predict(X[:1]).shape == (1, 1)


def test_a_model_of_one_layer():
    model = book.Model()
    model.add(book.Layer_Dense(1, 1))
    model.layers[0].predictions = lambda outputs: outputs
    model.set(loss=book.Loss_MeanSquaredError(), optimizer=book.Optimizer_SGD(0.1), accuracy=book.Accuracy_Regression())
    model.finalize()
    X = np.linspace(-1, 1, 20).reshape(-1, 1)
    model.train(X, 3 * X + 1, epochs=200, print_every=None)
    np.testing.assert_allclose(model.layers[0].weights, 3.0, atol=0.01)


def _classes():
    return network(book, "classes")


WRONG = [
    (lambda: book.Model().finalize(), ValueError, "no layers"),
    (lambda: book.Model().train(np.ones((2, 2)), np.ones(2)), RuntimeError, "no loss"),
    (lambda: book.Model().forward(np.ones((2, 2))), RuntimeError, "finalize"),
    (lambda: _classes().train(np.ones((2, 2)), np.ones(3, int)), ValueError, "one length"),
    (lambda: _classes().train(np.ones((0, 2)), np.ones(0, int)), ValueError, "at least one sample"),
    (lambda: _classes().train(np.ones((2, 2)), [0, 3]), ValueError, "got 3 at row 1"),
    (lambda: _classes().train(np.ones((2, 2)), [0, 1], epochs=0), ValueError, "epochs"),
    (lambda: _classes().train(np.ones((2, 2)), [0, 1], batch_size=0), ValueError, "batch_size"),
    (lambda: _classes().train(np.ones((2, 2)), [0, 1], print_every=0), ValueError, "print_every"),
    (lambda: _classes().train(np.ones((2, 2)), [0, 1], epoch_lines=18), TypeError, "epoch_lines"),
    (lambda: _classes().train(np.ones((2, 2)), [0, 1], validation_data=(1, 2, 3)), ValueError, "validation_data"),
    (lambda: _classes().train(np.ones((2, 5)), [0, 1]), ValueError, "columns"),
    (lambda: network(book, "binary").train(np.ones((2, 2)), [0, 1]), ValueError, r"reshape\(-1, 1\)"),
    (lambda: _classes().set_parameters([]), ValueError, "2 trainable layers"),
    (lambda: _classes().set_parameters([(np.ones((2, 2)), np.ones((1, 2)))] * 2), ValueError, r"parameters\[0\]"),
]


@pytest.mark.parametrize("call, error, text", WRONG)
def test_errors_name_the_argument(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_refused_training_changes_nothing():
    model = _classes()
    before = [value.copy() for pair in model.get_parameters() for value in pair]
    with pytest.raises(ValueError):
        model.train(np.ones((2, 2)), [0, 7])
    assert all((a == b).all() for a, b in zip(before, [v for p in model.get_parameters() for v in p], strict=True))
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize("stage", ["classes", "binary", "regression"])
def test_stages_train_to_the_band_of_numpy(stage):
    """The last figures of several seeds lie where NumPy's lie."""
    bands = []
    for module in (book, numpy_classes):
        reached = []
        for seed in range(3):
            X, y = data(stage)
            np.random.seed(seed)
            optimizer = module.Optimizer_Adam(0.005 if stage == "regression" else 0.02, 1e-3)
            model = network(module, stage, optimizer, l2=0 if stage == "regression" else 5e-4)
            text = printed(model.train, X, y, epochs=400)
            reached.append(figures(text.splitlines()[-1])[2])
        bands.append(reached)
    spread = max(bands[1]) - min(bands[1]) + 0.05
    assert abs(np.mean(bands[0]) - np.mean(bands[1])) < spread
