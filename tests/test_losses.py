"""Losses and metrics: values and gradients against NumPy, bad input, and state that errors leave alone."""

import gc
import weakref

import numpy as np
import pytest
import reference

import fastnn as fnn
from fastnn import metrics
from fastnn.kernels import losses as kernels
from fastnn.losses import Loss

FLOATS = (np.float32, np.float64)
SHAPES = [
    (1, 1),
    (1, 2),
    (3, 3),
    (15, 10),
    (16, 16),
    (17, 17),
    (31, 2),
    (33, 33),
    (65, 7),
    (269, 10),
    (128, 16),
    (300, 3),
    (5, 1000),
]

SHARED = 4097, 10
"""Enough for several workers."""


def entropy_bound(z, eps):
    """Rounding of a row's loss: the shifted logits' own, the sum's and the logarithm's."""
    spread = (z.max(axis=1) - z.min(axis=1)).astype(np.float64)
    return eps * (4 * spread + 2 * z.shape[1] + 16)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["labels", "one-hot", "soft"])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_cross_entropy_equals_numpy(m, n, kind, smoothing, dtype):
    random = np.random.default_rng(m * n)
    z = (5 * random.normal(size=(m, n))).astype(dtype)
    labels = random.integers(0, n, m)
    targets = reference.one_hot(labels, n)
    y = labels
    if kind == "one-hot" and n > 1:  # a single column is read as class numbers
        y = targets
    elif kind == "soft" and n > 1:
        y = targets = reference.softmax(random.normal(size=(m, n)))
        labels = targets.argmax(axis=1)
    loss = fnn.SoftmaxCrossEntropy(label_smoothing=smoothing)
    value = loss.forward(z, y)
    rows, gradient = reference.softmax_cross_entropy(z.astype(np.float64), reference.smoothed(targets, smoothing))
    bound = entropy_bound(z, np.finfo(dtype).eps)
    assert (abs(loss.sample_losses - rows) <= bound).all()
    assert abs(value - rows.mean()) <= bound.mean()
    dz = loss.backward()
    assert dz is loss.dinputs and dz.dtype == dtype and loss.sample_losses.dtype == dtype
    assert (abs(dz - gradient) <= bound[:, None] / m).all()
    np.testing.assert_array_equal(loss.sample_hits, z.argmax(axis=1) == labels)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_squared_error_equals_numpy(m, n, dtype):
    random = np.random.default_rng(m * n)
    z, y = random.normal(size=(2, m, n)).astype(dtype)
    loss = fnn.MeanSquaredError()
    value = loss.forward(z, y)
    rows, gradient = reference.mean_squared_error(z.astype(np.float64), y.astype(np.float64))
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(loss.sample_losses, rows, rtol=(n + 4) * eps)
    assert value == pytest.approx(rows.mean(), rel=(n + 4) * eps)
    np.testing.assert_allclose(loss.backward(), gradient, rtol=4 * eps)
    np.testing.assert_array_equal(loss.sample_hits, np.zeros(m))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["labels", "soft", "squared"])
def test_gradients_are_finite_differences(kind, smoothing):
    random = np.random.default_rng(0)
    z = random.normal(size=(4, 5))
    y = {
        "labels": np.array([0, 4, 2, 2]),
        "soft": reference.softmax(random.normal(size=(4, 5))),
        "squared": random.normal(size=(4, 5)),
    }[kind]
    loss = fnn.MeanSquaredError() if kind == "squared" else fnn.SoftmaxCrossEntropy(smoothing)
    loss.forward(z, y)
    gradient = loss.backward()
    # h²/6 times the third derivative, and rounding eps/h.
    np.testing.assert_allclose(gradient, reference.numerical_gradient(lambda: loss.forward(z, y), z), atol=2e-9)


def test_cross_entropy_is_exact_where_probabilities_would_underflow():
    loss = fnn.SoftmaxCrossEntropy()
    assert loss.forward(np.array([[0.0, 2000.0]]), [0]) == 2000.0
    assert loss.forward(np.array([[0.0, 2000.0]]), [1]) == 0.0
    assert loss.forward(np.float32([[1e30, -1e30]]), [0]) == 0.0
    np.testing.assert_array_equal(loss.backward(), [[0, 0]])


def test_ties_count_for_the_first():
    loss = fnn.SoftmaxCrossEntropy()
    loss.forward(np.zeros((2, 3)), [0, 1])
    np.testing.assert_array_equal(loss.sample_hits, [1, 0])


@pytest.mark.parametrize("n", [2, 40])
def test_nan_stays_visible(n):
    z = np.zeros((3, n))
    z[1, 0] = np.nan
    loss = fnn.SoftmaxCrossEntropy()
    assert np.isnan(loss.forward(z, [0, 1, 1]))
    assert np.isnan(loss.sample_losses).tolist() == [False, True, False]
    assert np.isnan(fnn.MeanSquaredError().forward(z, np.zeros((3, n))))


def test_prepare():
    labels, targets = fnn.SoftmaxCrossEntropy().prepare([2, 0], 2, 3, np.float32)
    assert labels.dtype == np.int64 and labels.tolist() == [2, 0]
    assert targets.shape == (0, 0) and targets.dtype == np.float32
    labels, targets = fnn.SoftmaxCrossEntropy(0.5).prepare([[0.25, 0.75]], 1, 2, np.float32)
    assert labels.shape == (0,) and targets.dtype == np.float32
    np.testing.assert_allclose(targets, [[0.375, 0.625]], rtol=1e-7)
    labels, targets = fnn.MeanSquaredError().prepare([1, 2], 2, 1, np.float64)
    assert labels.shape == (0,) and labels.dtype == np.int64 and targets.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("soft", [False, True])
def test_prepared_rows_give_the_same_bits(soft):
    random = np.random.default_rng(0)
    z = random.normal(size=(20, 4)).astype(np.float32)
    y = reference.softmax(random.normal(size=(20, 4))) if soft else random.integers(0, 4, 20)
    if soft:
        y[:5] = np.eye(4)[[0, 1, 2, 3, 0]]  # rows that alone would be taken for labels
    loss = fnn.SoftmaxCrossEntropy(0.1)
    loss.forward(z, y)
    whole = loss.sample_losses
    labels, targets = loss.prepare(y, 20, 4, z.dtype)
    loss.forward_prepared(z[:5], labels[:5], targets[:5])
    np.testing.assert_array_equal(loss.sample_losses, whole[:5])


BAD = [
    (np.zeros((3, 2)), [0, 1], ValueError, "got 2 for 3 samples"),
    (np.zeros((3, 2)), [0, 1, 2], ValueError, "classes from 0 to 1"),
    (np.zeros((3, 2)), [0, 1, -1], ValueError, "classes from 0 to 1"),
    (np.zeros((3, 2)), ["a", "b", "a"], TypeError, "LabelEncoder"),
    (np.zeros((3, 2)), np.full((3, 2), 0.7), ValueError, "add up to 1"),
    (np.zeros((0, 2)), [], ValueError, "at least one row"),
    (np.zeros(3), [0, 1, 1], ValueError, "reshape"),
    ([["a", "b"]], [0], TypeError, "outputs must hold numbers"),
]


@pytest.mark.parametrize(("outputs", "y", "error", "says"), BAD)
def test_bad_arguments_change_nothing(outputs, y, error, says):
    loss = fnn.SoftmaxCrossEntropy()
    loss.forward(np.zeros((2, 2)), [0, 1])
    loss.backward()
    before = dict(vars(loss))
    with pytest.raises(error, match=says):
        loss.forward(outputs, y)
    assert all(vars(loss)[name] is value for name, value in before.items())


@pytest.mark.parametrize(
    ("outputs", "y", "error", "says"),
    [
        (np.zeros((3, 2)), np.zeros(3), ValueError, r"shape \(3, 2\)"),
        (np.zeros((3, 1)), np.zeros((3, 2)), ValueError, r"shape \(3, 1\)"),
        (np.zeros((3, 1)), np.zeros(2), ValueError, "got 2 for 3"),
        (np.zeros((3, 1)), [0, np.nan, 0], ValueError, "row 1"),
        (np.zeros((3, 1), np.float32), [0, 1e300, 0], ValueError, "fit float32"),
    ],
)
def test_bad_targets(outputs, y, error, says):
    with pytest.raises(error, match=says):
        fnn.MeanSquaredError().forward(outputs, y)


def test_backward_before_forward_and_bad_constructors():
    for loss in (fnn.SoftmaxCrossEntropy(), fnn.MeanSquaredError()):
        with pytest.raises(RuntimeError, match=r"call forward\(outputs, y\) first"):
            loss.backward()
    with pytest.raises(ValueError, match="label_smoothing"):
        fnn.SoftmaxCrossEntropy(1.0)


def test_configurations():
    for loss in (fnn.SoftmaxCrossEntropy(0.25), fnn.MeanSquaredError()):
        again = Loss.from_config(loss.get_config())
        assert type(again) is type(loss) and again.get_config() == loss.get_config()


def test_accuracy():
    z = np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5], [np.nan, 1.0]])
    assert metrics.accuracy(z, [1, 1, 0, 1]) == 0.5
    assert metrics.accuracy(z, np.eye(2)[[1, 1, 0, 1]]) == 0.5
    with pytest.raises(ValueError, match="classes from 0 to 1"):
        metrics.accuracy(z, [1, 1, 0, 2])


def test_regression_accuracy():
    y = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert metrics.regression_accuracy(y + [[0.0], [1e-3], [0.1], [np.nan]], y) == 0.5
    assert metrics.regression_accuracy(y + 0.1, y[:, 0], tolerance=0.2) == 1.0
    with pytest.raises(ValueError, match="tolerance"):
        metrics.regression_accuracy(y, y, tolerance=-1)


# Class numbers: one call checks them and does the rest; what it does not take goes the long way.

LABELS = {
    "int64": lambda y: y,
    "int32": lambda y: y.astype(np.int32),
    "uint16": lambda y: y.astype(np.uint16),
    "uint64": lambda y: y.astype(np.uint64),
    "big-endian": lambda y: y.astype(">i8"),
    "strided": lambda y: np.repeat(y, 3)[::3],
    "backwards": lambda y: y[::-1].copy()[::-1],
    "read-only": lambda y: np.broadcast_to(y, y.shape),
    "float": lambda y: y.astype(float),
    "a column": lambda y: y[:, None],
    "a list": lambda y: y.tolist(),
    "a subclass": lambda y: y.view(np.ma.MaskedArray),
}


def results(loss, z, y):
    return [loss.forward(z, y), *(a.tobytes() for a in (loss.sample_losses, loss.sample_hits, loss.backward()))]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("form", LABELS)
def test_any_form_of_labels_gives_the_same_bits(form, smoothing, dtype):
    random = np.random.default_rng(0)
    loss = fnn.SoftmaxCrossEntropy(smoothing)
    for m, n in [*SHAPES, SHARED]:
        z, y = random.normal(size=(m, n)).astype(dtype), random.integers(0, n, m)
        mean, rows, hits, dz = np.empty(1), *(np.empty(m, dtype) for _ in range(2)), np.empty((m, n), dtype)
        scratch = np.empty(kernels.scratch_size(n), dtype)
        kernels.softmax_cross_entropy(
            z, y.astype(dtype), np.empty((0, 0), dtype), smoothing, dz, rows, hits, scratch, 1
        )  # fmt: skip
        kernels.row_mean(rows, mean)
        assert results(loss, z, LABELS[form](y)) == [mean[0], rows.tobytes(), hits.tobytes(), dz.tobytes()]


@pytest.mark.parametrize("bad", [-1, 3, 2**31, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("form", LABELS)
def test_bad_labels_of_any_form_change_nothing(form, bad):
    loss = fnn.SoftmaxCrossEntropy()
    z, y = np.zeros((40, 3)), np.zeros(40, np.int64)
    loss.forward(z, y)
    before = dict(vars(loss))
    for place in (0, 17, 39):
        wrong = y.copy()
        wrong[place] = bad
        wrong = LABELS[form](wrong)
        if np.ravel(wrong)[place] in (0, 1, 2):
            continue  # it has wrapped around to a good one
        with pytest.raises(ValueError, match=f"classes from 0 to 2.*at row {place}"):
            loss.forward(z, wrong)
        assert all(vars(loss)[name] is value for name, value in before.items())
    with pytest.raises(ValueError, match="got 39 for 40"):
        loss.forward(z, LABELS[form](y[:-1]))


def test_labels_changed_in_place_are_seen():
    loss, z, y = fnn.SoftmaxCrossEntropy(), np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([0, 0])
    first = loss.forward(z, y)
    y[:] = 1
    assert loss.forward(z, y) == loss.forward(z, [1, 1]) != first
    y[1] = 2
    with pytest.raises(ValueError, match="at row 1"):
        loss.forward(z, y)


@pytest.mark.parametrize("place", [0, 2047, 2048, 4096])
def test_a_bad_label_in_any_workers_part_changes_nothing(place):
    loss = fnn.SoftmaxCrossEntropy()
    z, y = np.zeros(SHARED, np.float32), np.zeros(SHARED[0], np.int64)
    loss.forward(z, y)
    before = dict(vars(loss))
    y[place] = SHARED[1]
    with pytest.raises(ValueError, match=f"classes from 0 to 9.*at row {place}"):
        loss.forward(z, y)
    assert all(vars(loss)[name] is value for name, value in before.items())


@pytest.mark.parametrize("shape", [(40, 3), SHARED])
def test_what_a_loss_knows_goes_with_the_next_shape(shape):
    loss = fnn.SoftmaxCrossEntropy()
    gc.disable()
    try:
        loss.forward(np.zeros(shape), np.zeros(shape[0], np.int64))
        borrowed = loss._known.borrow()
        room = weakref.ref(borrowed[0])
        loss._known.give_back(*borrowed)
        del borrowed
        loss.forward(np.zeros((7, 2)), np.zeros(7, np.int64))
        assert room() is None
    finally:
        gc.enable()
