"""What callbacks and subclasses change counts, the same on the compiled path and layer by layer."""

import warnings

import numpy as np
import pytest

import fastnn as fnn

X, Y = fnn.datasets.spiral_data(50, 3, seed=0, dtype="float32")
PATHS = ("compiled", "layers")


class Each(fnn.Callback):
    """Sends `fit` down the layer-by-layer path."""

    def on_step_end(self, step, logs):
        pass


class After(fnn.Callback):
    """Calls a function with the model and the epoch after each."""

    def __init__(self, act):
        self.act = act

    def on_epoch_end(self, epoch, logs):
        self.act(self.model, epoch)


def make(width=16):
    return fnn.Sequential(fnn.Dense(2, width), fnn.ReLU(), fnn.Dropout(0.2), fnn.Dense(width, 3), seed=0)


def outcome(model, history, optimizer):
    assert all(np.isfinite(a).all() for a in model.parameters().values())
    rate = optimizer.learning_rate
    return (
        dict(history), history.steps, history.diverged_at, optimizer.step,
        {name: array.astype(np.float32).tobytes() for name, array in model.parameters().items()},
        (repr(rate), getattr(rate, "get_state", dict)()),
    )  # fmt: skip


def both_paths(act, optimizer=lambda: fnn.Adam(0.02), **settings):
    """Train on either path and return what came of it."""
    found = []
    for path in PATHS:
        model, ours = make(), optimizer()
        callbacks = [After(lambda m, epoch, ours=ours: act(m, epoch, ours)), *([Each()] if path == "layers" else [])]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fnn.history.DivergenceWarning)
            history = model.fit(X, Y, optimizer=ours, callbacks=callbacks, **{"epochs": 12, **settings})
        assert history.compiled == (path == "compiled")
        found.append(outcome(model, history, ours))
        assert found[-1][4]["3.weights"] == model.layers[3].weights.astype(np.float32).tobytes()
    return found


def clip(model, epoch, optimizer):
    for layer in model.layers[::3]:
        layer.weights = np.clip(layer.weights, -0.5, 0.5)


def clip_in_place(model, epoch, optimizer):
    for layer in model.layers[::3]:
        np.clip(layer.weights, -0.5, 0.5, out=layer.weights)


def use_in_float64(model, epoch, optimizer):
    if epoch < 11:
        model.forward(X.astype(np.float64))


def forget(model, epoch, optimizer):
    if epoch == 4:
        optimizer.reset()


def penalise(model, epoch, optimizer):
    if epoch == 4:
        model.layers[0].weight_l2 = 0.01


def drop_less(model, epoch, optimizer):
    model.layers[2].rate = 0.2 / (epoch + 1)


def train_otherwise(model, epoch, optimizer):
    if epoch == 4:
        model.fit(X, Y, optimizer=fnn.SGD(0.1, momentum=0.9), epochs=1)


def slow_down(model, epoch, optimizer):
    optimizer.learning_rate = 0.02 / (epoch + 1)


def remember(model, epoch, optimizer):
    if epoch == 4:
        if isinstance(optimizer, fnn.SGD):
            optimizer.momentum, optimizer.nesterov = 0.9, True
        else:
            optimizer.amsgrad = True


@pytest.mark.parametrize(
    "act",
    [clip, clip_in_place, use_in_float64, forget, penalise, drop_less, train_otherwise, slow_down, remember],
    ids=lambda act: act.__name__,
)
@pytest.mark.parametrize("optimizer", [lambda: fnn.Adam(0.02), lambda: fnn.SGD(0.1)], ids=["Adam", "SGD"])
def test_what_a_callback_does_counts_on_either_path(act, optimizer):
    compiled, layers = both_paths(act, optimizer)
    assert compiled == layers
    untouched, _ = both_paths(lambda model, epoch, optimizer: None, optimizer)
    assert (compiled != untouched) == (act is not use_in_float64)


def test_training_goes_on_in_what_the_layers_hold():
    model = make()
    history = model.fit(X, Y, optimizer=fnn.SGD(0.0), epochs=2, callbacks=[After(lambda m, e: clip(m, e, None))])
    assert abs(model.layers[0].weights).max() <= 0.5
    assert model.evaluate(X, Y)["loss"] == pytest.approx(fnn.SoftmaxCrossEntropy().forward(model.predict(X), Y))
    assert history.steps == 10


def blow_up(model, epoch, optimizer):
    optimizer.learning_rate = {3: 1e-3, 8: 3e38}.get(epoch, optimizer.learning_rate)


def swell(model, epoch, optimizer):
    if epoch == 8:
        model.layers[0].weights *= 3e30


@pytest.mark.parametrize("act", [blow_up, swell], ids=lambda act: act.__name__)
def test_what_is_kept_after_a_divergence_is_the_step_before_it(act):
    compiled, layers = both_paths(act, batch_size=32)
    assert compiled == layers
    assert compiled[2] is not None and compiled[2] - compiled[1] in (0, 1)


@pytest.mark.parametrize("also", [None, "weight_l2", "rate", "learning rate"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_arrays_that_are_not_finite_are_not_taken_in(value, also):
    def assign(model, epoch, optimizer):
        if epoch == 5:
            model.layers[0].weights = np.full((2, 16), value)
            if also == "weight_l2":
                model.layers[0].weight_l2 = 0.01
            elif also == "rate":
                model.layers[2].rate = 0.5
            elif also == "learning rate":
                optimizer.learning_rate = 0.5

    compiled, layers = both_paths(assign)
    assert compiled == layers
    compiled, layers = both_paths(assign, lambda: fnn.Adam(fnn.ReduceOnPlateau(0.05, patience=0, threshold=0.9)))
    assert compiled == layers
    assert compiled[1:3] == (29, 30)


@pytest.mark.parametrize("stops", [True, False])
def test_what_a_callback_leaves_at_the_very_end_is_looked_at(stops):
    def poison(model, epoch, optimizer):
        if epoch == 3:
            model.layers[0].weights[0, 0] = np.nan
            model.stop_training = stops

    compiled, layers = both_paths(poison, epochs=4)
    assert compiled == layers
    assert compiled[1:3] == (19, 20)


@pytest.mark.parametrize("path", PATHS)
def test_steps_taken_back_are_not_counted(path):
    model, optimizer = make(), fnn.SGD(1e38)
    with pytest.warns(fnn.history.DivergenceWarning) as told:
        history = model.fit(
            X * 10, np.eye(3)[Y] * 100, loss=fnn.MeanSquaredError(), optimizer=optimizer, epochs=1, batch_size=None,
            callbacks=[Each()] if path == "layers" else [],
        )  # fmt: skip
    assert (history.steps, optimizer.step, history.diverged_at) == (0, 0, 1)
    assert told[0].filename == __file__


class Spike(fnn.schedules.Schedule):
    """One rate, as a rule one that changes nothing, but for one step."""

    def __init__(self, at, rate=1e-24):
        self.at, self.rate = at, rate

    def rate_at(self, step):
        return 1e38 if step == self.at else self.rate


# Hidden units that tell only the sign of what they are given: their weights may be infinite.
SIGNS = (np.random.default_rng(0).normal(size=(64, 1)) * 1e3).astype(np.float32)
CLASSES = np.random.default_rng(1).integers(0, 2, 64)


def of_signs():
    model = fnn.Sequential(fnn.Dense(1, 8), fnn.Tanh(), fnn.Dense(8, 2), seed=0)
    model.layers[0].weights *= 1e-4
    return model


@pytest.mark.parametrize("at", [0, 1, 31, 98, 99])
@pytest.mark.parametrize("batch_size", [None, 16])
def test_infinite_weights_end_training_though_the_loss_stays_finite(at, batch_size, monkeypatch):
    found, steps = [], 4 if batch_size else 1
    settings = {"epochs": 100 // steps, "batch_size": batch_size}
    for path in ("at once", "a step a call", "each epoch", "layers", "many"):
        monkeypatch.setattr(fnn.fitting, "CHUNK_SECONDS", 1e-9 if path == "a step a call" else 0.05)
        model, optimizer = of_signs(), fnn.SGD(Spike(at))
        callbacks = {"each epoch": [fnn.Callback()], "layers": [Each()]}.get(path, [])
        with pytest.warns(fnn.DivergenceWarning, match=rf"step {at + 1}\b"):
            if path == "many":
                others = [fnn.Sequential(fnn.Dense(1, 8), fnn.Tanh(), fnn.Dense(8, 2), seed=1)]
                rules = [optimizer, fnn.SGD(0.1)]
                history, other = fnn.fit_many([model, *others], SIGNS, CLASSES, optimizer=rules, **settings)
                assert other.diverged_at is None and other.steps == 100
            else:
                history = model.fit(SIGNS, CLASSES, optimizer=optimizer, callbacks=callbacks, **settings)
        found.append(outcome(model, history, optimizer))
        assert (history.steps, history.diverged_at, history.stopped_by) == (at, at + 1, "divergence")
        assert len(history.get("loss", ())) == (at + 1) // steps
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("at", [2, 6])
@pytest.mark.parametrize("network", [of_signs, lambda: fnn.Sequential(fnn.Dense(1, 8), fnn.ReLU(), fnn.Dense(8, 2))])
def test_steps_run_again_take_the_samples_in_the_same_order(at, network, monkeypatch):
    # Room for an order may hold anything before it is written.
    room = fnn.many.new_order
    monkeypatch.setattr(fnn.many, "new_order", lambda *arguments: np.zeros_like(room(*arguments)))
    # Four steps an epoch; of signs the loss stays finite to the end, of the other it is not so in the next step.
    found, settings, start = [], {"epochs": 3, "batch_size": 16}, [a.copy() for a in network().parameters().values()]
    for path in ("compiled", "layers", "many"):
        model, optimizer = network(), fnn.SGD(Spike(at, 1e-6))
        model.seed = 5
        for array, value in zip(model.parameters().values(), start, strict=True):
            array[...] = value
        with pytest.warns(fnn.DivergenceWarning):
            if path == "many":
                (history,) = fnn.fit_many([model], SIGNS, CLASSES, optimizer=[optimizer], **settings)
            else:
                callbacks = [Each()] if path == "layers" else []
                history = model.fit(SIGNS, CLASSES, optimizer=optimizer, callbacks=callbacks, **settings)
        found.append(outcome(model, history, optimizer))
        assert (history.steps, history.diverged_at) == (at, at + 1)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_hears_of_an_epoch_that_left_infinite_weights(path):
    heard, model = [], of_signs()
    stopping = fnn.EarlyStopping("loss")
    callbacks = [After(lambda model, epoch: heard.append(epoch)), stopping, *([Each()] if path == "layers" else [])]
    with pytest.warns(fnn.DivergenceWarning):
        history = model.fit(
            SIGNS, CLASSES, optimizer=fnn.SGD(Spike(3, 1e-6)), epochs=9, batch_size=None, callbacks=callbacks,
            validation_data=(SIGNS, CLASSES),
        )  # fmt: skip
    assert heard == [0, 1, 2] and stopping.best_epoch == 2
    assert (len(history["loss"]), len(history["val_loss"]), history.steps) == (4, 3, 3)
    assert all(np.isfinite(a).all() for a in model.parameters().values())


def test_a_plateau_may_be_replaced_by_a_number_and_the_other_way_round():
    def swap(model, epoch, optimizer):
        optimizer.learning_rate = 0.01 if epoch % 2 else fnn.ReduceOnPlateau(0.02, patience=1)

    compiled, layers = both_paths(swap, lambda: fnn.Adam(fnn.ReduceOnPlateau(0.02, patience=1)))
    assert compiled == layers


def test_all_who_were_told_of_the_beginning_are_told_of_the_end():
    told = []

    class Told(fnn.Callback):
        def __init__(self, name, fails=""):
            self.name, self.fails = name, fails

        def on_train_begin(self):
            if self.fails == "begin":
                raise ZeroDivisionError
            told.append(f"{self.name} begins")

        def on_train_end(self):
            told.append(f"{self.name} ends")
            if self.fails == "end":
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make().fit(X, Y, epochs=1, callbacks=[Told("a", "end"), Told("b"), Told("c", "begin"), Told("d")])
    assert told == ["a begins", "b begins", "a ends", "b ends"]


def test_a_figure_that_there_will_not_be_is_refused_before_anything_changes():
    model = make()
    before = [a.copy() for a in model.parameters().values()]
    for monitor in ("val_loss", "penalty", "lost"):
        with pytest.raises(ValueError, match="monitor must be one of"):
            model.fit(X, Y, callbacks=[fnn.EarlyStopping(monitor)])
    assert model.history is None
    assert all((a == b).all() for a, b in zip(before, model.parameters().values(), strict=True))
    model.layers[0].weight_l1 = 1e-4
    for monitor in ("val_loss", "val_accuracy", "penalty", "learning_rate"):
        model.fit(X, Y, epochs=1, callbacks=[fnn.EarlyStopping(monitor)], validation_data=(X, Y))

    class Adds(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["own"] = -epoch

    stopping = fnn.EarlyStopping("own", patience=0)
    assert len(model.fit(X, Y, epochs=3, callbacks=[Adds(), stopping])["loss"]) == 3
    assert stopping.best == -2


# --- arrays that change hands ---


@pytest.mark.parametrize("use", ["predict", "fit"])
@pytest.mark.parametrize("exchange", [True, False])
def test_layers_may_exchange_their_weights(use, exchange):
    rng = np.random.default_rng(0)
    Z, labels = rng.random((20, 3), np.float32), np.arange(20) % 3
    model = fnn.Sequential(fnn.Dense(3, 3), fnn.Dense(3, 3), seed=0)
    model.fit(Z, labels, epochs=1)
    a, b = model.layers
    a.weights, b.weights = (b.weights, a.weights) if exchange else (np.ones((3, 3), np.float32), a.weights)
    wanted = a.weights.copy(), b.weights.copy()
    if use == "fit":
        model.fit(Z, labels, epochs=1, optimizer=fnn.SGD(0.0))
    # Bits may differ: a layer by itself goes by other sums than a row of them.
    np.testing.assert_allclose(model.predict(Z), model.forward(Z, training=False), rtol=1e-5, atol=1e-6)
    assert (a.weights == wanted[0]).all() and (b.weights == wanted[1]).all()


@pytest.mark.parametrize("use", ["predict", "evaluate", "fit", "fit_many"])
@pytest.mark.parametrize("weights", [np.full((16, 3), "1.5"), np.ones((16, 3), complex), np.ones((3, 3))])
def test_weights_that_are_none_are_refused_and_nothing_changes(use, weights):
    model, first = make(), fnn.Dense(2, 16)
    model.layers[0], first.weights = first, first.weights.astype(np.float64)
    model.layers[3].weights = weights
    calls = {
        "predict": lambda: model.predict(X),
        "evaluate": lambda: model.evaluate(X, Y),
        "fit": lambda: model.fit(X, Y),
        "fit_many": lambda: fnn.fit_many([make(), model], X, Y),
    }
    with pytest.raises((TypeError, ValueError), match="weights must"):
        calls[use]()
    assert first.weights.dtype == np.float64 and model.history is None and model.loss is None


# --- classes of one's own ---


class Twice(fnn.Dense):
    def forward(self, inputs, training=True):
        return 2 * super().forward(inputs, training)


class Named(fnn.Dense):
    """Nothing that is computed is another's."""

    def describe(self):
        return self.n_inputs


class Leak(fnn.Linear):
    def forward(self, inputs, training=True):
        return super().forward(inputs, training) * 0.5


class Half(fnn.Softmax):
    def forward(self, inputs, training=True):
        return super().forward(inputs, training) * 0.5


class Keep(fnn.Dropout):
    def forward(self, inputs, training=True):
        return super().forward(inputs, False)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Twice(2, 3)],
        lambda: [fnn.Dense(2, 3), Leak()],
        lambda: [fnn.Dense(2, 3), Keep(0.5)],
        lambda: [fnn.Dense(2, 3), fnn.ReLU(), Half()],
    ],
)
def test_what_a_subclass_computes_counts(layers):
    model = fnn.Sequential(*layers(), seed=0)
    np.testing.assert_array_equal(model.predict(X), model.forward(X, training=False))
    assert not model.fit(X, Y, epochs=1).compiled
    with pytest.raises(ValueError, match="fastnn's own layers"):
        fnn.fit_many([model], X, Y)


def test_a_subclass_that_computes_nothing_else_is_compiled():
    assert fnn.Sequential(Named(2, 3), seed=0).fit(X, Y, epochs=1).compiled


def test_a_method_put_on_a_layer_counts():
    layer = fnn.Dense(2, 3, seed=0)
    layer.forward = lambda inputs, training=True: np.zeros((len(inputs), 3), np.float32)
    assert not fnn.Sequential(layer).predict(X).any()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_method_put_on_a_layer_in_use_counts(place):
    model = make()
    used = model.predict(X)
    compute = model.layers[place].forward
    model.layers[place].forward = lambda inputs, training=True: compute(inputs, training) * 0
    expected = model.forward(X, training=False)
    assert (model.predict(X) == expected).all() and not (used == expected).all()
    assert not model.fit(X, Y, epochs=1, optimizer=fnn.SGD(0.0)).compiled
    with pytest.raises(ValueError, match="must be made of fastnn's own layers"):
        fnn.fit_many([model], X, Y)
    del model.layers[place].forward
    assert (model.predict(X) == used).all() and model.fit(X, Y, epochs=1).compiled


def test_hand_made_steps_do_not_lay_a_model_out_anew():
    model = make()
    model.fit(X, Y, epochs=1)
    before = model.operations()
    model.forward(X)
    model.backward(np.ones((len(X), 3), np.float32))
    assert model.operations() is before


def test_methods_stay_while_compiled_training():
    def put(model, epoch):
        model.layers[0].forward = lambda inputs, training=True: np.zeros((len(inputs), 16), np.float32)

    with pytest.raises(RuntimeError, match="model.layers must stay the same objects, with their methods"):
        make().fit(X, Y, epochs=3, callbacks=After(put))


def test_a_method_put_on_a_layer_before_the_first_step_counts_layer_by_layer():
    seen = []

    class Put(Each):
        def on_train_begin(self):
            layer = self.model.layers[0]
            compute = layer.forward
            layer.forward = lambda inputs, training=True: (seen.append(len(inputs)), compute(inputs, training))[1]

        def on_train_end(self):
            del self.model.layers[0].forward

    make().fit(X, Y, epochs=2, batch_size=50, callbacks=Put())
    assert seen == [50] * 6


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("other", ["fit_many", "random_search"])
def test_other_trainings_within_leave_the_outer_one_as_it_was(other, path):
    def act(model, epoch):
        if other == "fit_many":
            fnn.fit_many([model], X, Y, epochs=1, loss=fnn.SoftmaxCrossEntropy(0.1))
        else:
            fnn.random_search(model, X, Y, iterations=10, loss=fnn.SoftmaxCrossEntropy(0.1))

    model, loss = make(), fnn.SoftmaxCrossEntropy()
    history = model.fit(X, Y, loss=loss, epochs=3, callbacks=[After(act), *([Each()] if path == "layers" else [])])
    assert model.history is history and model.loss is loss and len(history["loss"]) == 3
    act(model, 0)
    assert model.loss is not loss


def test_a_training_within_another_leaves_the_outer_one_as_it_was():
    inner = []

    class Nest(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 1:
                stop = After(lambda model, epoch: setattr(model, "stop_training", True))
                inner.append(self.model.fit(X, Y, loss=fnn.SoftmaxCrossEntropy(0.1), epochs=5, callbacks=stop))
                self.model.stop_training |= epoch == 3

    model = make()
    history = model.fit(X, Y, epochs=4, callbacks=Nest())
    assert model.history is history and history.stopped_by is None and len(history["loss"]) == 4
    assert len(inner[0]["loss"]) == 1 and inner[0].stopped_by == "callback"
    assert model.loss.label_smoothing == 0.0
    again = model.fit(X, Y, epochs=1)
    assert model.history is again


def test_losses_and_optimisers_of_ones_own_are_called():
    called = []

    class Loss(fnn.SoftmaxCrossEntropy):
        def forward_prepared(self, outputs, labels, targets):
            called.append("loss")
            return super().forward_prepared(outputs, labels, targets)

    class Rule(fnn.Adam):
        def update(self, *layers):
            called.append("rule")
            super().update(*layers)

    assert not make().fit(X, Y, epochs=1, batch_size=None, loss=Loss()).compiled
    assert not make().fit(X, Y, epochs=1, batch_size=None, optimizer=Rule()).compiled
    assert called == ["loss", "rule"]
    for wrong in ({"loss": Loss()}, {"optimizer": Rule()}):
        with pytest.raises(TypeError, match="own"):
            fnn.fit_many([make()], X, Y, **wrong)


class Square(fnn.Loss):
    """As little as a loss may have."""

    def prepare(self, y, n, width, dtype, name="y"):
        return np.empty(0, np.int64), np.asarray(y, dtype).reshape(n, width)

    def forward(self, outputs, y):
        self.gradient = (outputs - y) / len(outputs)
        return float(((outputs - y) ** 2).sum() / 2 / len(outputs))

    def backward(self):
        return self.gradient


def test_a_loss_may_leave_out_what_it_says_of_each_sample():
    model = make()
    before = model.evaluate(X, np.eye(3)[Y], loss=Square())["loss"]
    model.layers[2].rate = 0.0
    history = model.fit(X, np.eye(3)[Y], loss=Square(), epochs=2, optimizer=fnn.SGD(0.1), batch_size=None)
    assert history["loss"][0] == pytest.approx(before, rel=1e-6) and history["loss"][1] < before

    class Wrong(Square):
        sample_losses = np.zeros(7)

    with pytest.raises(ValueError, match="sample_losses"):
        make().fit(X, np.eye(3)[Y], loss=Wrong(), epochs=1)


class Last(fnn.Layer):
    """A last layer that gives what a function makes of its inputs."""

    def __init__(self, function):
        self.function = function

    def forward(self, inputs, training=True):
        self.output = self.function(inputs)
        return self.output

    def backward(self, dvalues):
        return dvalues


@pytest.mark.parametrize(
    "function",
    [
        np.asfortranarray,
        lambda x: x[:, ::-1],
        lambda x: x[::-1],
        lambda x: x * np.full(3, 0.5),
        lambda x: x.tolist(),
        lambda x: x.astype(np.float16),
    ],
)
@pytest.mark.parametrize("loss", [fnn.MeanSquaredError, fnn.SoftmaxCrossEntropy])
def test_a_last_layer_may_give_any_array(function, loss):
    model = fnn.Sequential(fnn.Dense(2, 3), Last(function), seed=0)
    for y in (np.eye(3)[Y], Y) if loss is fnn.SoftmaxCrossEntropy else (np.eye(3)[Y],):
        history = model.fit(X, y, loss=loss(), optimizer=fnn.SGD(0.0), epochs=1, batch_size=None)
        assert history["loss"][0] == pytest.approx(model.evaluate(X, y)["loss"], rel=1e-6)


def test_a_last_layer_of_another_width_or_length_is_told():
    wide = fnn.Sequential(fnn.Dense(2, 3), Last(lambda x: np.repeat(x, 2, axis=1)), seed=0)
    with pytest.raises(ValueError, match="6"):
        wide.fit(X, np.eye(3)[Y], epochs=1)
    with pytest.raises(ValueError, match="outputs must have a row for each"):
        fnn.Sequential(fnn.Dense(2, 3), Last(lambda x: x[:-1] if len(x) > 1 else x)).fit(X, Y, epochs=1)


def test_a_layer_that_does_not_keep_its_arguments_can_be_shown():
    class Forgets(Last):
        def __init__(self, function):
            super().__init__(function)
            del self.function

    assert repr(fnn.Sequential(fnn.Dense(2, 3), Forgets(None))).endswith("Forgets())")


def test_names_that_are_places_are_refused():
    with pytest.raises(ValueError, match="the name '0' is taken by layers"):
        fnn.Sequential(fnn.Dense(2, 16), fnn.ReLU(), fnn.Dense(16, 3, name="0"))
    model = fnn.Sequential(fnn.Dense(2, 16, name="0"), fnn.ReLU(), fnn.Dense(16, 3, name="2"), seed=0)
    assert list(model.parameters()) == ["0.weights", "0.biases", "2.weights", "2.biases"]
    model.layers.insert(0, fnn.Dense(2, 2))
    with pytest.raises(ValueError, match="the name '0' is taken by layers"):
        model.predict(X)


def smooth(model, epoch, optimizer):
    if epoch == 4:
        model.loss.label_smoothing = 0.3


def test_label_smoothing_may_change():
    found = both_paths(smooth, validation_data=(X, Y))
    assert found[0] == found[1]
    losses, plain = found[0][0]["loss"], both_paths(lambda *_: None, validation_data=(X, Y))[0][0]["loss"]
    assert losses[:5] == plain[:5] and losses[5] > plain[5] + 0.001


@pytest.mark.parametrize(
    ("path", "where"),
    [*((path, where) for path in PATHS for where in ("on_train_begin", "on_epoch_end")), ("layers", "on_step_end")],
)
def test_layers_stay_while_training(path, where):
    def exchange(*_):
        model.layers[1] = fnn.Tanh()

    model, act = make(), fnn.Callback()
    setattr(act, where, exchange)
    callbacks = [act, Each()] if path == "layers" else [act]
    if where == "on_step_end":
        callbacks = [type("Steps", (fnn.Callback,), {"on_step_end": exchange})()]
    with pytest.raises(RuntimeError, match="model.layers must stay the same objects"):
        model.fit(X, Y, epochs=3, callbacks=callbacks)
    assert model.history.steps == {"on_train_begin": 0, "on_epoch_end": 5, "on_step_end": 1}[where]


def test_dropout_counts_its_passes_on_any_path():
    masks = []
    for path in (*PATHS, "many"):
        model = make()
        if path == "many":
            fnn.fit_many([model], X, Y, epochs=3)
        else:
            model.fit(X, Y, epochs=3, callbacks=[Each()] if path == "layers" else [])
        assert model.layers[2].passes == 15
        masks.append(model.layers[2].forward(np.ones((5, 16))).tobytes())
    assert len(set(masks)) == 1
