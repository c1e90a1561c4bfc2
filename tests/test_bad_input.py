"""Whatever comes in: the right answer, or an error that names the argument and the remedy, and nothing changed.

This file is a script too: run by itself it tries inputs at random, so that a crash ends that process alone.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import fastnn as fnn

N, WIDTH, CLASSES = 12, 4, 3


def data(dtype=np.float32):
    r = np.random.default_rng(3)
    return r.normal(size=(N, WIDTH)).astype(dtype), r.integers(0, CLASSES, N)


class World:
    """A model and an optimiser that have trained a little, and all that must not change when they refuse."""

    def __init__(self, loss=fnn.SoftmaxCrossEntropy):
        self.model = fnn.Sequential(fnn.Dense(WIDTH, 6), fnn.Tanh(), fnn.Dense(6, CLASSES), seed=0)
        self.optimizer, self.loss = fnn.Adam(0.01), loss()
        X, y = data()
        if loss is fnn.MeanSquaredError:
            y = np.eye(CLASSES)[y]
        self.y = y
        self.model.fit(X, y, loss=self.loss, optimizer=self.optimizer, epochs=2, seed=1)

    def fit(self, X, y, **settings):
        given = {"loss": self.loss, "optimizer": self.optimizer, "epochs": 2, "batch_size": 5, "seed": 1}
        return self.model.fit(X, y, **{**given, **settings})

    def state(self):
        model, optimizer = self.model, self.optimizer
        return {
            "weights": {name: (id(v), v.dtype, v.tobytes()) for name, v in model.parameters().items()},
            "step": optimizer.step,
            "slots": [
                slot.tobytes()
                for layer in model.layers
                for name, value in layer.parameters().items()
                for slot in optimizer.slots(layer, name, value)
            ],
            "loss": id(model.loss),
            "history": (id(model.history), repr(model.history)),
            "stop": model.stop_training,
            "layers": [id(layer) for layer in model.layers],
        }


def refused(world, name, call, *words):
    """Check that a call is refused with a message that names the argument and more, and that nothing changed."""
    before = world.state()
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    message = str(caught.value)
    assert name in message, message
    for word in words:
        assert word in message, message
    assert len(message) > len(name) + 25, f"no remedy: {message}"
    assert world.state() == before


def X_with(value, at=(5, 2), dtype=np.float32):
    X, _ = data(dtype)
    X[at] = value
    return X


class HasArray:
    """What a data frame of another library looks like to NumPy."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)


class Sparse:
    """What a SciPy matrix looks like."""

    def tocsr(self):
        raise NotImplementedError


class Liar:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array today")


# --- inputs that are refused everywhere ---

BAD_X = {
    "NaN": (X_with(np.nan), "row 5, column 2", "isfinite"),
    "infinity": (X_with(np.inf), "row 5, column 2"),
    "Python integers beyond int64": ([[10**40] * WIDTH] * N, "numbers"),
    "beyond float64": (np.full((N, WIDTH), np.longdouble("1e308")) * 100, "X"),
    "one column more": (np.ones((N, WIDTH + 1)), f"{WIDTH} columns"),
    "one column less": (np.ones((N, WIDTH - 1)), f"{WIDTH} columns"),
    "1-D": (np.ones(WIDTH), "reshape"),
    "a number": (3.0, "2-D"),
    "3-D": (np.ones((N, 2, 2)), "reshape"),
    "no columns": (np.ones((N, 0)), "columns"),
    "objects": (np.ones((N, WIDTH)).astype(object), "np.asarray"),
    "strings": (np.full((N, WIDTH), "1.5"), "numbers"),
    "bytes": (np.full((N, WIDTH), b"1.5"), "numbers"),
    "complex": (np.ones((N, WIDTH), complex), ".real"),
    "dates": (np.full((N, WIDTH), np.datetime64("2020-01-01")), "dates"),
    "time spans": (np.full((N, WIDTH), np.timedelta64(1, "s")), "time spans"),
    "records": (np.zeros((N, WIDTH), [("a", "f4")]), "structured"),
    "ragged": ([[1, 2, 3, 4], [1, 2]], "length"),
    "a word": ("data.csv", "numbers"),
    "nothing": (None, "NoneType"),
    "a set": ({1, 2}, "set"),
    "a dict": ({"a": [1]}, "dict"),
    "masked": (np.ma.masked_equal(np.ones((N, WIDTH)), 1.0), "filled"),
    "sparse": (Sparse(), "toarray"),
    "what fails": (Liar(), "no array today"),
    "a generator": ((row for row in np.ones((N, WIDTH))), "generator"),
    "a class": (np.ndarray, "X"),
}
bad_X = pytest.mark.parametrize("case", BAD_X)


@bad_X
def test_fit_refuses_bad_X(case):
    (X, *words), world = BAD_X[case], World()
    refused(world, "X", lambda: world.fit(X, data()[1]), *words)


@bad_X
def test_predict_and_evaluate_refuse_bad_X(case):
    (X, *words), world = BAD_X[case], World()
    refused(world, "X", lambda: world.model.predict(X), *words)
    refused(world, "X", lambda: world.model.evaluate(X, data()[1]), *words)


@bad_X
def test_validation_refuses_bad_X(case):
    (X, *words), world = BAD_X[case], World()
    words = [word for word in words if "columns" not in word and word != "X"]
    refused(world, "validation_data[0]", lambda: world.fit(*data(), validation_data=(X, data()[1])), *words)


@bad_X
def test_layers_and_losses_refuse_bad_inputs(case):
    if case in ("NaN", "infinity", "beyond float64", "one column more", "one column less"):
        pytest.skip("these may pass a layer, or have any width")
    X, *_ = BAD_X[case]
    for layer in (fnn.Dense(WIDTH, 2, seed=0), fnn.ReLU(), fnn.Tanh(), fnn.Softmax(), fnn.Dropout(0.5, seed=0)):
        before = {name: value.tobytes() for name, value in layer.parameters().items()}
        with pytest.raises((TypeError, ValueError), match="inputs"):
            layer.forward(X)
        assert layer.inputs is None and layer.output is None
        assert {name: value.tobytes() for name, value in layer.parameters().items()} == before
        layer.forward(np.ones((2, WIDTH)))
        kept = layer.output
        with pytest.raises((TypeError, ValueError), match="dvalues"):
            layer.backward(X)
        assert layer.output is kept and layer.dinputs is None
    for loss in (fnn.SoftmaxCrossEntropy(), fnn.MeanSquaredError()):
        with pytest.raises((TypeError, ValueError), match="outputs"):
            loss.forward(X, [0, 1])
        assert loss.sample_losses is None
        with pytest.raises(RuntimeError, match="forward"):
            loss.backward()


def test_no_samples():
    world, none = World(), np.empty((0, WIDTH), np.float32)
    refused(world, "X", lambda: world.fit(none, []), "at least one row")
    refused(world, "X", lambda: world.fit(none, np.empty((0, CLASSES))))
    refused(world, "X", lambda: world.model.evaluate(none, []))
    refused(world, "X", lambda: world.fit([], []))
    refused(world, "validation_data[0]", lambda: world.fit(*data(), validation_data=(none, [])))
    assert world.model.predict(none).shape == (0, CLASSES)
    assert world.model.predict(none.astype(np.float64)).dtype == np.float64


# --- labels and targets ---


def y_with(value, at=5, dtype=np.int64):
    y = data()[1].astype(dtype)
    y[at] = value
    return y


BAD_LABELS = {
    "too large": (y_with(CLASSES), "row 5", "outputs"),
    "far too large": (y_with(2**62), "row 5"),
    "negative": (y_with(-1), "row 5", "from 0"),
    "lowest": (y_with(-(2**63)), "row 5"),
    "unsigned beyond": (y_with(2**64 - 1, dtype=np.uint64), "row 5"),
    "counted from 1": (data()[1] + 1, "subtract 1"),
    "halves": (y_with(1.5, dtype=np.float64), "1.5", "row 5", "MeanSquaredError"),
    "NaN": (y_with(np.nan, dtype=np.float32), "nan"),
    "infinity": (y_with(np.inf, dtype=np.float64), "inf"),
    "negative zero and less": (y_with(-0.5, dtype=np.float64), "-0.5"),
    "one short": (data()[1][:-1], f"{N - 1}", f"{N}"),
    "one long": (np.append(data()[1], 0), f"{N + 1}", f"{N}"),
    "empty": ([], "0"),
    "a number": (1, "each"),
    "two columns": (np.zeros((N, 2), int), "shape"),
    "a row": (data()[1][None], "1"),
    "3-D": (np.zeros((N, 1, 1), int), "shape"),
    "strings": (np.array(["cat", "dog", "owl"] * 4), "np.unique"),
    "objects": (np.array(["cat", None, 1] * 4, object), "np.unique"),
    "two ones in a row": (np.ones((N, CLASSES), int), "one-hot"),
    "rows of nothing": (np.zeros((N, CLASSES)), "add up to 1"),
    "probabilities that do not add up": (np.full((N, CLASSES), 0.2), "add up to 1"),
    "negative probabilities": (np.tile([1.5, -0.5, 0.0], (N, 1)), "add up to 1"),
    "NaN probabilities": (np.full((N, CLASSES), np.nan), "finite"),
    "one class too many": (np.eye(CLASSES + 1)[data()[1]], "shape"),
    "complex": (np.zeros(N, complex), "numbers"),
    "nothing": (None, "NoneType"),
    "ragged": ([[1], [1, 0]] * 6, "length"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_are_refused(case):
    (y, *words), world = BAD_LABELS[case], World()
    X = data()[0]
    refused(world, "y", lambda: world.fit(X, y), *words)
    refused(world, "y", lambda: world.model.evaluate(X, y), *words)
    loss = fnn.SoftmaxCrossEntropy()
    with pytest.raises((TypeError, ValueError), match="y"):
        loss.forward(np.ones((N, CLASSES)), y)
    assert loss.sample_losses is None


BAD_TARGETS = {
    "NaN": (np.full((N, CLASSES), np.nan), "finite"),
    "infinity": (np.full((N, CLASSES), np.inf), "finite"),
    "too large for float32": (np.full((N, CLASSES), 1e300), "float32"),
    "one column": (np.ones((N, 1)), "shape"),
    "1-D": (np.ones(N), "shape"),
    "one short": (np.ones((N - 1, CLASSES)), str(N - 1)),
    "turned": (np.ones((CLASSES, N)), "samples"),
    "3-D": (np.ones((N, CLASSES, 1)), "shape"),
    "strings": (np.full((N, CLASSES), "a"), "numbers"),
    "objects": (np.ones((N, CLASSES), object), "numbers"),
    "empty": (np.ones((0, CLASSES)), "0"),
    "nothing": (None, "NoneType"),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_targets_that_are_refused(case):
    (y, *words), world = BAD_TARGETS[case], World(fnn.MeanSquaredError)
    X = data()[0]
    refused(world, "y", lambda: world.fit(X, y), *words)
    refused(world, "y", lambda: world.model.evaluate(X, y), *words)


@pytest.mark.parametrize("case", ["too large", "one short", "strings", "nothing"])
def test_validation_refuses_bad_y(case):
    """By its own name: `y` is another argument."""
    (y, *words), world = BAD_LABELS[case], World()
    refused(world, "validation_data[1]", lambda: world.fit(*data(), validation_data=(data()[0], y)), *words)


# --- the other arguments ---

BAD_SETTINGS = [
    ("epochs", 0), ("epochs", -1), ("epochs", 1.5), ("epochs", "3"), ("epochs", None), ("epochs", True),
    ("batch_size", 0), ("batch_size", -5), ("batch_size", 2.0), ("batch_size", "all"), ("batch_size", [1]),
    ("shuffle", 1), ("shuffle", "yes"), ("shuffle", None),
    ("seed", -1), ("seed", 1.5), ("seed", "x"), ("seed", 2**64),
    ("n_threads", 0), ("n_threads", 10_000), ("n_threads", 1.0), ("n_threads", "2"), ("n_threads", True),
    ("initial_epoch", -1), ("initial_epoch", 0.5), ("initial_epoch", "1"), ("initial_epoch", None),
    ("loss", "mse"), ("loss", fnn.MeanSquaredError), ("loss", 3),
    ("optimizer", "adam"), ("optimizer", fnn.Adam), ("optimizer", 0.1),
    ("callbacks", 5), ("callbacks", [5]), ("callbacks", [fnn.EarlyStopping]), ("callbacks", print),
    ("validation_data", 0.2), ("validation_data", (np.ones((2, WIDTH)),)), ("validation_data", "no"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS, ids=lambda value: str(value)[:20])
def test_settings_that_are_refused(name, value):
    world = World()
    refused(world, name, lambda: world.fit(*data(), **{name: value}))


def test_predict_and_evaluate_refuse_bad_settings():
    world = World()
    for value in (0, 10_000, 1.0, "2"):
        refused(world, "n_threads", lambda: world.model.predict(data()[0], n_threads=value))  # noqa: B023
        refused(world, "n_threads", lambda: world.model.evaluate(*data(), n_threads=value))  # noqa: B023
    refused(world, "loss", lambda: world.model.evaluate(*data(), loss="mse"))


@pytest.mark.parametrize(
    ("name", "value"), [("weights", np.ones((3, 3))), ("biases", np.ones(5)), ("weights", "x"), ("biases", None)]
)
def test_parameters_of_a_wrong_shape(name, value):
    world = World()
    setattr(world.model.layers[0], name, value)
    for call in (
        lambda: world.fit(*data()),
        lambda: world.model.predict(data()[0]),
        lambda: world.model.evaluate(*data()),
        lambda: world.model.forward(data()[0]),
        world.model.parameters,
    ):
        with pytest.raises((TypeError, ValueError), match=name):
            call()
    assert world.optimizer.step == 2


# --- other layouts: the right answer ---


def strided(a):
    wide = np.full((2 * a.shape[0], *(3 * n for n in a.shape[1:])), 9, a.dtype)
    view = wide[(slice(None, None, 2), *(slice(None, None, 3) for _ in a.shape[1:]))]
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    room = np.empty(a.nbytes + 1, np.uint8)
    view = room[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "read-only": read_only,
    "unaligned": unaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "little-endian": lambda a: a.astype(a.dtype.newbyteorder("<")),
    "with __array__": HasArray,
    "a subclass": lambda a: a.view(np.ma.MaskedArray),
    "a memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
    "half of another": lambda a: np.stack([a, a])[0],
}


def all_answers(X, y, loss=fnn.SoftmaxCrossEntropy):
    world = World(loss)
    predicted, figures = world.model.predict(X).tobytes(), world.model.evaluate(X, y)
    history = world.fit(X, y, validation_data=(X, y))
    return predicted, figures, dict(history), world.state()["weights"].keys(), [
        v.tobytes() for v in world.model.parameters().values()
    ]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_layout_gives_the_plain_arrays_answer(dtype, layout):
    X, y = data(dtype)
    change = LAYOUTS[layout]
    wanted = all_answers(X, y)
    assert all_answers(change(X), change(y)) == wanted
    targets = np.random.default_rng(0).normal(size=(N, CLASSES)).astype(dtype)
    assert all_answers(change(X), change(targets), fnn.MeanSquaredError) == all_answers(
        X, targets, fnn.MeanSquaredError
    )
    layer, plain = fnn.Dense(WIDTH, 5, seed=1), fnn.Dense(WIDTH, 5, seed=1)
    assert layer.forward(change(X)).tobytes() == plain.forward(X).tobytes()
    back = np.ones((N, 5), dtype)
    assert layer.backward(change(back)).tobytes() == plain.backward(back).tobytes()
    assert layer.dweights.tobytes() == plain.dweights.tobytes()


@pytest.mark.parametrize(
    "dtype", [np.float16, bool, np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64, ">f2", ">i4"]
)
def test_other_dtypes_become_float32(dtype):
    X = np.random.default_rng(0).integers(0, 2, (N, WIDTH)).astype(dtype)
    assert all_answers(X, data()[1]) == all_answers(X.astype(np.float32), data()[1])
    assert World().model.predict(X).dtype == np.float32


def test_longer_floats_become_float64():
    X, y = data(np.float64)
    assert all_answers(X.astype(np.longdouble), y) == all_answers(X, y)


def test_lists_are_arrays():
    X, y = data(np.float64)
    assert all_answers(X.tolist(), y.tolist()) == all_answers(X, y)
    assert all_answers(list(X), tuple(y)) == all_answers(X, y)


LABELS = {
    "int8": lambda y: y.astype(np.int8),
    "uint64": lambda y: y.astype(np.uint64),
    "big-endian": lambda y: y.astype(">i2"),
    "whole floats": lambda y: y.astype(np.float64),
    "half floats": lambda y: y.astype(np.float16),
    "a column": lambda y: y[:, None],
    "one-hot": lambda y: np.eye(CLASSES)[y],
    "one-hot integers": lambda y: np.eye(CLASSES, dtype=int)[y],
    "one-hot bools": lambda y: np.eye(CLASSES, dtype=bool)[y],
    "a list": lambda y: y.tolist(),
}


@pytest.mark.parametrize("form", LABELS)
def test_any_form_of_labels_gives_the_same_answer(form):
    X, y = data()
    assert all_answers(X, LABELS[form](y)) == all_answers(X, y)


def test_bools_are_labels_of_two_classes():
    X, y = data()
    answers = []
    for labels in (y > 0, (y > 0).astype(int)):
        model = fnn.Sequential(fnn.Dense(WIDTH, 2), seed=0)
        model.fit(X, labels, epochs=2)
        answers.append((model.predict(X).tobytes(), model.evaluate(X, labels)))
    assert answers[0] == answers[1]


def test_a_batch_larger_than_the_data_is_all_of_it():
    X, y = data()
    results = set()
    for batch_size in (N, N + 1, 10**6, 2**62, None):
        world = World()
        world.fit(X, y, batch_size=batch_size)
        results.add(world.model.predict(X).tobytes())
    assert len(results) == 1


def test_arrays_are_never_written_to_and_may_overlap():
    X, y = data()
    kept = X.copy(), y.copy()
    world = World()
    world.fit(X, y, validation_data=(X, y))
    world.model.predict(X)
    world.model.evaluate(X, y)
    loss = fnn.SoftmaxCrossEntropy()
    loss.forward(world.model.forward(X), y)
    world.model.backward(loss.backward())
    assert X.tobytes() == kept[0].tobytes() and y.tobytes() == kept[1].tobytes()
    # Inputs that are targets, and windows that overlap.
    series = np.random.default_rng(0).normal(size=40)
    windows = np.lib.stride_tricks.sliding_window_view(series, 4)
    for inputs, targets in ((windows, windows), (windows[:-1], windows[1:])):
        results = set()
        for copy in (np.array, lambda a: a):
            model = fnn.Sequential(fnn.Dense(4, 4), seed=0)
            model.fit(copy(inputs), copy(targets), loss=fnn.MeanSquaredError(), epochs=3, batch_size=7)
            results.add(model.predict(series[:4][None]).tobytes())
        assert len(results) == 1


def test_labels_changed_while_training_lead_nothing_astray():
    X, y = data()

    class Vandal(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            y[:] = 10**9

    world = World()
    history = world.fit(X, y, epochs=3, callbacks=[Vandal()])
    assert np.isfinite(history["loss"]).all() and len(history["loss"]) == 3


def test_outputs_that_are_kept_are_not_overwritten():
    X, _ = data()
    model = World().model
    first = model.predict(X)
    kept = first.copy()
    model.predict(X[::-1])
    assert first.tobytes() == kept.tobytes()


# --- inputs at random, in a child process ---

DTYPES = [
    "f2", "f4", "f8", "g", ">f4", ">f8", "?", "i1", "i2", "i4", "i8", "u1", "u8", ">i4", "c8", "O", "U3", "S3", "M8[s]",
]  # fmt: skip
SPECIAL = [0, 1, 2, -1, CLASSES, 0.5, 1.5, -0.0, 1e30, 1e300, 1e-300, 2**31, 2**53, 2**62, np.nan, np.inf, -np.inf]


@st.composite
def arrays(draw, lengths=(0, 1, 2, 5, 12), widths=(0, 1, 2, CLASSES, WIDTH, 5)):
    """Draw an array of any dtype, shape, values and layout."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(
        st.one_of(
            st.tuples(st.sampled_from(lengths), st.sampled_from(widths)),
            st.tuples(st.sampled_from(lengths)),
            st.tuples(st.sampled_from(lengths), st.sampled_from(widths), st.integers(0, 2)),
            st.just(()),
        )
    )
    r = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["labels", "one-hot", "normal", "special", "probabilities"]))
    values = r.normal(size=shape)
    if kind == "labels":
        values = r.integers(0, CLASSES, shape)
    elif kind == "one-hot" and len(shape) == 2 and shape[1]:
        values = np.eye(shape[1])[r.integers(0, shape[1], shape[0])]
    elif kind == "probabilities" and len(shape) == 2 and shape[1]:
        values = r.dirichlet(np.ones(shape[1]), shape[0])
    elif kind == "special" and values.size:
        values.flat[r.integers(0, values.size)] = draw(st.sampled_from(SPECIAL))
    with np.errstate(all="ignore"):
        try:
            array = np.asarray(values).astype(dtype)
        except (ValueError, TypeError, OverflowError):
            array = np.zeros(shape, dtype)
    layout = draw(st.sampled_from([None, None, *LAYOUTS]))
    if layout is None or array.ndim == 0 or dtype.kind in "OUSM" or not array.size:
        return array
    if layout == "a memoryview" and array.dtype.byteorder == ">":
        return array
    return LAYOUTS[layout](array)


@hypothesis.settings(
    max_examples=250, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
@hypothesis.given(
    X=st.one_of(st.just(data()[0]), st.just(data(np.float64)[0]), arrays()),
    y=st.one_of(st.just(data()[1]), arrays()),
    squared=st.booleans(),
    batch_size=st.sampled_from([None, 1, 5, 100]),
    n_threads=st.sampled_from([1, 2]),
)
def try_anything(X, y, squared, batch_size, n_threads):
    """Fit, predict and evaluate: an answer equal to the plain arrays', or a refusal that changes nothing."""
    kind = fnn.MeanSquaredError if squared else fnn.SoftmaxCrossEntropy
    os.write(2, f"{type(X).__name__} {np.shape(X)} {type(y).__name__} {np.shape(y)} {kind.__name__}\n".encode())
    calls = {
        "fit": lambda w, X, y: w.fit(X, y, batch_size=batch_size, n_threads=n_threads).items(),
        "predict": lambda w, X, y: w.model.predict(X, n_threads=n_threads).tobytes(),
        "evaluate": lambda w, X, y: w.model.evaluate(X, y, n_threads=n_threads),
        "forward": lambda w, X, y: w.model.layers[0].forward(X).tobytes(),
        "loss": lambda w, X, y: w.loss.forward(X, y),
    }
    for name, call in calls.items():
        world = World(kind)
        before = world.state()
        try:
            got = repr(call(world, X, y))
        except (TypeError, ValueError) as error:
            if name not in ("loss", "forward"):
                assert str(error).startswith(("X ", "y ")), f"{name}: {error}"
            assert world.state() == before, name
            continue
        if name == "fit":
            assert world.model.history.steps > 0 or world.model.history.diverged_at is not None
            got += repr([v.tobytes() for v in world.model.parameters().values()])
        elif name != "forward":
            assert world.state() == before, name
        plain = [np.array(np.asarray(a), dtype=np.asarray(a).dtype.newbyteorder("="), order="C") for a in (X, y)]
        other = World(kind)
        wanted = repr(call(other, *plain))
        if name == "fit":
            wanted += repr([v.tobytes() for v in other.model.parameters().values()])
        assert got == wanted, name


def test_inputs_at_random():
    path = os.pathsep.join([str(Path(fnn.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"ended by {done.returncode}: {done.stderr[-3000:]}"


if __name__ == "__main__":
    fnn.threads.STEP_WORK = 1.0
    try_anything()


class Tee:
    def write(self, text):
        pass

    def flush(self):
        pass


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("stream", "progress"), [(Tee, None), (Tee, True), (closed, None), (lambda: None, None), (lambda: None, True)]
)
def test_training_goes_on_whatever_stands_for_the_terminal(stream, progress, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    history = fnn.Sequential(fnn.Dense(2, 3)).fit(np.zeros((9, 2)), [0, 1, 2] * 3, epochs=1, progress=progress)
    assert history.steps == 1


def test_numpys_errors_may_be_raised():
    with np.errstate(all="raise"):
        model = fnn.Sequential(fnn.Dense(2, 1))
        X, y = np.ones((9, 2), np.float32), np.full((9, 1), 1e-60)
        schedule = fnn.ExponentialDecay(1e-300, 0.01)
        model.fit(X, y, loss=fnn.MeanSquaredError(), epochs=99, optimizer=fnn.Adam(schedule), batch_size=None)
        model.layers[0].weights = np.full((2, 1), 1e-60)
        assert not model.predict(X).any()


def test_more_classes_than_float32_can_number():
    with pytest.raises(ValueError, match="more classes than float32 can number: pass X as float64"):
        fnn.SoftmaxCrossEntropy().prepare([0], 1, 2**24 + 1, np.float32)
    labels, _ = fnn.SoftmaxCrossEntropy().prepare([2**24], 1, 2**24 + 1, np.float64)
    assert labels == 2**24
