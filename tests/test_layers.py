"""Layers and activations: values and gradients against NumPy, bad input, and what errors leave alone."""

import copy
import pickle

import numpy as np
import pytest
import reference

import fastnn as fnn
from fastnn.base import Layer

FLOATS = (np.float32, np.float64)
SHAPES = [
    (0, 3, 2),
    (1, 1, 1),
    (2, 1, 17),
    (15, 16, 17),
    (31, 33, 3),
    (65, 7, 64),
    (300, 2, 1),
    (17, 100, 10),
]
ACTIVATIONS = {"linear": fnn.Linear, "relu": fnn.ReLU, "sigmoid": fnn.Sigmoid, "tanh": fnn.Tanh}


def layer_of(kind):
    """Return a layer with random parameters that takes 5 features, of a fixed mask where it has one."""
    layer = {
        "dense": lambda: fnn.Dense(5, 4, seed=1, bias_initializer="normal"),
        "penalised": lambda: fnn.Dense(
            5, 4, seed=1, bias_initializer="normal", weight_l1=0.1, weight_l2=0.2, bias_l1=0.3, bias_l2=0.4
        ),
        "dropout": lambda: fnn.Dropout(0.4, seed=1),
        "softmax": fnn.Softmax,
        **ACTIVATIONS,
    }[kind]()
    return layer


KINDS = ["dense", "penalised", "dropout", "softmax", *ACTIVATIONS]


def state_of(layer):
    """Return everything a layer holds: identities, and values of arrays."""
    return {
        name: (id(value), value.copy() if isinstance(value, np.ndarray) else value)
        for name, value in vars(layer).items()
    }


def assert_same_state(layer, before):
    after = state_of(layer)
    assert after.keys() == before.keys()
    for name, (identity, value) in before.items():
        assert after[name][0] == identity, name
        if not isinstance(value, tuple):  # its arrays are attributes as well
            np.testing.assert_array_equal(after[name][1], value, err_msg=name)


# Values.


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_dense_equals_numpy(m, k, n, dtype):
    random = np.random.default_rng(m + k + n)
    dense = fnn.Dense(k, n, seed=0, bias_initializer="normal")
    x, dz = random.normal(size=(m, k)).astype(dtype), random.normal(size=(m, n)).astype(dtype)
    y = dense.forward(x)
    dx = dense.backward(dz)
    assert y is dense.output and x is dense.inputs and dx is dense.dinputs
    assert {a.dtype for a in (y, dx, dense.weights, dense.biases, dense.dweights, dense.dbiases)} == {np.dtype(dtype)}
    x, dz, w, b = (a.astype(np.float64) for a in (x, dz, dense.weights, dense.biases))
    dw, db, dx_wanted = reference.dense_backward(x, w, dz)
    # A sum of s products is at most (s + 1) roundings of its absolute terms away; the reference has its own.
    eps = np.finfo(dtype).eps
    for got, wanted, terms, depth in (
        (y, reference.dense(x, w, b), abs(x) @ abs(w) + abs(b), k),
        (dense.dweights, dw, abs(x).T @ abs(dz), m),
        (dense.dbiases, db, abs(dz).sum(axis=0), m),
        (dx, dx_wanted, abs(dz) @ abs(w).T, n),
    ):
        assert got.shape == wanted.shape
        assert (abs(got - wanted) <= 2 * (depth + 1) * eps * terms).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_numpy(name, dtype):
    x = np.concatenate([np.linspace(-30, 30, 1001), [0.0, -0.0, 1e-30, -1e-30, 200.0, -200.0]]).astype(dtype)
    x = x.reshape(19, 53)
    dy = np.random.default_rng(0).normal(size=x.shape).astype(dtype)
    layer = ACTIVATIONS[name]()
    forward, backward = reference.ACTIVATIONS[name]
    y = layer.forward(x)
    # Eight roundings: the functions' own error is at most four in the last place.
    tolerance = {"rtol": 8 * np.finfo(dtype).eps, "atol": np.finfo(dtype).tiny}
    np.testing.assert_allclose(y, forward(x.astype(np.float64)), **tolerance)
    got = layer.backward(dy)
    wanted = backward(dy.astype(np.float64), y.astype(np.float64))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=8 * np.finfo(dtype).eps * abs(dy).max())
    assert got.dtype == y.dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 2), (17, 10), (33, 31), (5, 1000)])
def test_softmax_equals_numpy(shape, dtype):
    random = np.random.default_rng(0)
    z = (10 * random.normal(size=shape)).astype(dtype)
    dp = random.normal(size=shape).astype(dtype)
    layer = fnn.Softmax()
    p = layer.forward(z)
    got = layer.backward(dp)
    if not z.size:
        assert p.shape == got.shape == shape
        return
    eps, n = np.finfo(dtype).eps, shape[1]
    z64 = z.astype(np.float64)
    # The shift rounds once, which exp turns into a relative error; then a sum of n terms and a quotient.
    bound = eps * (z64.max(axis=1, keepdims=True) - z64 + n + 8)
    wanted = reference.softmax(z64)
    assert (abs(p - wanted) <= bound * wanted + np.finfo(dtype).tiny).all()
    p64, dp64 = p.astype(np.float64), dp.astype(np.float64)
    wanted = reference.softmax_backward(dp64, p64)
    assert (abs(got - wanted) <= eps * (n + 4) * p64 * (abs(dp64) + (abs(dp64) * p64).sum(1, keepdims=True))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_differences(kind):
    random = np.random.default_rng(3)
    x = random.normal(size=(6, 5))
    x[abs(x) < 1e-3] = 0.5  # away from the kink of ReLU
    layer = layer_of(kind)
    mask = getattr(layer, "_mask", None), getattr(layer, "_key", None)
    out = layer.forward(x)
    weight = random.normal(size=out.shape)
    layer.backward(weight)
    parameters, gradients, dx = layer.parameters(), layer.gradients(), layer.dinputs

    def objective():
        if mask[1] is not None:
            layer.draw_from(mask[1], 0, 0)
        return (layer.forward(x) * weight).sum() + layer.penalty()

    # Errors: of the third derivative h²/6 ~ 1e-12, of rounding eps/h ~ 1e-9 for values of this size.
    np.testing.assert_allclose(dx, reference.numerical_gradient(objective, x), atol=2e-8)
    for name, array in parameters.items():
        assert layer.parameters()[name] is array
        numeric = reference.numerical_gradient(objective, array)
        np.testing.assert_allclose(gradients[name], numeric, atol=2e-8, err_msg=name)


def test_penalties():
    dense = fnn.Dense(3, 2, weight_l1=0.1, weight_l2=0.2, bias_l1=0.3, bias_l2=0.4)
    dense.weights = np.array([[1.0, -2.0], [0.0, -0.0], [3.0, 0.5]])
    dense.biases = np.array([0.0, -1.0])
    wanted = reference.penalty(dense.weights, 0.1, 0.2) + reference.penalty(dense.biases, 0.3, 0.4)
    assert dense.penalty() == pytest.approx(wanted, rel=1e-15)
    dense.forward(np.zeros((1, 3)))
    dense.backward(np.zeros((1, 2)))
    np.testing.assert_allclose(dense.dweights, reference.penalty_gradient(dense.weights, 0.1, 0.2), rtol=1e-15)
    np.testing.assert_allclose(dense.dbiases, reference.penalty_gradient(dense.biases, 0.3, 0.4), rtol=1e-15)
    assert fnn.Dense(3, 2).penalty() == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_nan_stays_visible(kind):
    x = np.full((2, 5), np.nan)
    layer = layer_of(kind)
    assert np.isnan(layer.forward(x)).all()
    if kind not in ("relu", "softmax"):
        assert np.isnan(layer.backward(np.full(layer.output.shape, np.nan))).any()


# Layers as objects.


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_new_arrays_and_arguments_stay(kind):
    layer = layer_of(kind)
    x = np.random.default_rng(0).normal(size=(4, 5))
    kept = x.copy()
    first = layer.forward(x, training=False)
    second = layer.forward(x, training=False)
    assert first is not second and not np.shares_memory(first, second) and not np.shares_memory(first, x)
    np.testing.assert_array_equal(first, second)
    dvalues = np.ones_like(first)
    dx = layer.backward(dvalues)
    assert not np.shares_memory(dx, dvalues)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(dvalues, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_the_others(kind):
    layer = layer_of(kind)
    x = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    whole = layer.forward(x, training=False)
    for rows in (slice(0, 1), slice(7, 24), slice(49, 50)):
        np.testing.assert_array_equal(layer.forward(x[rows], training=False), whole[rows])


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles_work_alike(kind):
    layer = layer_of(kind)
    x = np.random.default_rng(0).normal(size=(4, 5))
    layer.forward(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other.forward(x), copy.deepcopy(layer).forward(x))
        np.testing.assert_array_equal(other.backward(other.output), other.dinputs)


@pytest.mark.parametrize("kind", KINDS)
def test_configurations_build_the_same_layer(kind):
    layer = layer_of(kind)
    again = Layer.from_config(layer.get_config())
    assert type(again) is type(layer) and again.get_config() == layer.get_config() and repr(again) == repr(layer)
    x = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_array_equal(again.forward(x), layer.forward(x))


def test_bad_configurations():
    for config in ({}, {"type": "Nonsense"}, {"type": "Layer"}, {"type": "Dense"}, {"type": "ReLU", "x": 1}):
        with pytest.raises(ValueError, match="get_config"):
            Layer.from_config(config)

    class Dense2(Layer):
        def forward(self, inputs, training=True):
            return inputs

        def backward(self, dvalues):
            return dvalues

    with pytest.raises(ValueError, match="Dense2"):
        Layer.from_config({"type": "Dense2"})
    assert isinstance(Dense2.from_config({"type": "Dense2"}), Dense2)
    assert Dense2().parameters() == {} and Dense2().penalty() == 0.0


def test_dtype_follows_the_inputs_in_training_only():
    dense = fnn.Dense(2, 3, seed=0)
    weights = dense.weights
    assert weights.dtype == np.float64
    x = np.ones((1, 2), np.float32)
    assert dense.forward(x, training=False).dtype == np.float32
    assert dense.weights is weights
    dense.backward(np.ones((1, 3)))
    assert dense.weights is weights and dense.dweights.dtype == np.float32
    dense.forward(x)
    assert dense.weights.dtype == dense.biases.dtype == np.float32
    np.testing.assert_array_equal(dense.weights, weights.astype(np.float32))
    dense.forward(x.astype(np.float64))
    assert dense.weights.dtype == np.float64


def test_what_users_assign_is_put_in_order():
    dense = fnn.Dense(2, 3)
    x = np.array([[1.0, 2.0]])
    w = np.arange(6.0).reshape(2, 3)
    for weights in (w.tolist(), w.astype(int), np.asfortranarray(w), w.astype(">f4"), w.astype(np.float16)):
        dense.weights, dense.biases = weights, [[1, 1, 1]]
        np.testing.assert_array_equal(dense.forward(x, training=False), x @ w + 1)
        assert dense.weights is weights
        dense.forward(x)
        assert dense.weights.flags.carray and dense.weights.dtype == np.float64 and dense.biases.shape == (3,)
    dense.weights *= 2
    np.testing.assert_array_equal(dense.parameters()["weights"], 2 * w)
    assert dense.parameters()["weights"] is dense.weights


@pytest.mark.parametrize("value", [np.zeros((3, 2)), np.zeros(6), None, "abc", [[1, 2], [3]]])
def test_parameters_of_a_wrong_kind_name_the_remedy(value):
    dense = fnn.Dense(2, 3)
    dense.weights = value
    before = state_of(dense) if isinstance(value, np.ndarray) else None
    for call in (lambda: dense.forward(np.ones((1, 2))), dense.parameters):
        with pytest.raises((TypeError, ValueError), match="weights must"):
            call()
    assert dense.output is None
    if before is not None:
        assert_same_state(dense, before)


BAD = [
    ([1.0, 2.0], ValueError, "reshape"),
    (np.zeros((2, 2, 2)), ValueError, "reshape"),
    (np.zeros((2, 0)), ValueError, "column"),
    ([["a"] * 5], TypeError, "numbers"),
    (None, TypeError, "NoneType"),
    (np.zeros((2, 5), object), TypeError, "dtype=np.float64"),
    ([[1, 2], [3]], ValueError, "same length"),
]


@pytest.mark.parametrize(("value", "error", "says"), BAD)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_inputs_and_gradients_change_nothing(kind, value, error, says):
    layer = layer_of(kind)
    layer.forward(np.ones((3, 5)))
    before = state_of(layer)
    with pytest.raises(error, match=says):
        layer.forward(value)
    with pytest.raises((TypeError, ValueError), match="dvalues must"):
        layer.backward(value)
    assert_same_state(layer, before)
    with pytest.raises(ValueError, match="shape"):
        layer.backward(np.ones((2, layer.output.shape[1])))
    assert_same_state(layer, before)


def test_a_wrong_width_is_named():
    dense = fnn.Dense(5, 4)
    with pytest.raises(ValueError, match=r"5 columns.*shape \(3, 4\)"):
        dense.forward(np.ones((3, 4)))


@pytest.mark.parametrize("kind", KINDS)
def test_backward_before_forward(kind):
    with pytest.raises(RuntimeError, match=r"call forward\(inputs\) first"):
        layer_of(kind).backward(np.ones((1, 4)))


def test_tampered_attributes_do_not_reach_the_kernels():
    dense = fnn.Dense(5, 4)
    dense.forward(np.ones((3, 5)))
    dense.inputs = np.ones((1000, 5))
    with pytest.raises(ValueError, match="shape"):
        dense.backward(np.ones((3, 4)))
    dense.inputs = np.ones((3, 2))
    with pytest.raises(ValueError, match="5 columns"):
        dense.backward(np.ones((3, 4)))
    dense.n_outputs = 1000
    with pytest.raises(ValueError, match="weights must have the shape"):
        dense.forward(np.ones((3, 5)))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: fnn.Dense(0, 1), ValueError, "n_inputs must be at least 1"),
        (lambda: fnn.Dense(1, 2.0), TypeError, "n_outputs must be a whole number"),
        (lambda: fnn.Dense(1, 1, weight_l2=-1), ValueError, "weight_l2"),
        (lambda: fnn.Dense(1, 1, bias_l1="x"), TypeError, "bias_l1"),
        (lambda: fnn.Dense(1, 1, initializer="glorot"), ValueError, "'glorot_uniform'"),
        (lambda: fnn.Dense(1, 1, bias_initializer=0.0), TypeError, "bias_initializer"),
        (lambda: fnn.Dense(1, 1, seed=-1), ValueError, "seed"),
        (lambda: fnn.Dense(1, 1, name=1), TypeError, "name"),
        (lambda: fnn.Dropout(1.0), ValueError, "less than 1"),
        (lambda: fnn.Dropout(True), TypeError, "rate"),
        (lambda: fnn.Dropout(0.5, seed="a"), TypeError, "seed"),
    ],
)
def test_bad_constructors(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_seeds_and_initialize():
    np.testing.assert_array_equal(fnn.Dense(4, 3, seed=5).weights, fnn.Dense(4, 3, seed=5).weights)
    fresh = fnn.Dense(4, 3), fnn.Dense(4, 3)
    assert not np.array_equal(fresh[0].weights, fresh[1].weights)
    for layer in fresh:
        layer.initialize(9, 0)
    np.testing.assert_array_equal(fresh[0].weights, fresh[1].weights)
    fresh[1].initialize(9, 1)
    assert not np.array_equal(fresh[0].weights, fresh[1].weights)
    # A cast is no change of the user's, and neither is drawing anew.
    fresh[0].forward(np.ones((1, 4), np.float32))
    fresh[0].initialize(9, 1)
    np.testing.assert_array_equal(fresh[0].weights, fresh[1].weights)


@pytest.mark.parametrize("change", ["weights", "biases", "in place", "list", "own seed"])
def test_initialize_keeps_what_the_user_chose(change):
    layer = fnn.Dense(2, 2, seed=3 if change == "own seed" else None)
    if change == "weights":
        layer.weights = np.ones((2, 2))
    elif change == "biases":
        layer.biases = np.ones(2)
    elif change == "in place":
        layer.weights[0, 0] += 1
    elif change == "list":
        layer.weights = [[1, 2], [3, 4]]
    weights, biases = layer.weights, layer.biases
    layer.initialize(0, 0)
    assert layer.weights is weights and layer.biases is biases


def test_random_biases_are_not_the_weights():
    layer = fnn.Dense(1, 6, initializer="normal", bias_initializer="normal", seed=0)
    assert not np.array_equal(layer.weights[0], layer.biases)


def test_threads_do_not_change_the_bits():
    dense = fnn.Dense(64, 300, seed=0)
    x = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    found, allowed = [], fnn.get_num_threads()
    try:
        for threads in (n for n in (1, 2, 4) if n <= allowed):
            fnn.set_num_threads(threads)
            y = dense.forward(x)
            found.append([y, dense.backward(y), dense.dweights, dense.dbiases, fnn.Tanh().forward(x)])
    finally:
        fnn.set_num_threads(None)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# Dropout.


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout(rate, dtype):
    layer = fnn.Dropout(rate, seed=2)
    x = np.ones((200, 500), dtype)
    y = layer.forward(x)
    assert y.dtype == dtype and layer.passes == 1
    kept = y != 0
    # Five standard deviations of a share of 100 000 draws.
    assert abs(kept.mean() - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / x.size)
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=np.finfo(dtype).eps)
    np.testing.assert_array_equal(layer.backward(x), y)
    if rate:
        assert not np.array_equal(layer.forward(x), y)


def test_dropout_outside_training_is_the_identity():
    layer = fnn.Dropout(0.5, seed=2)
    x = np.random.default_rng(0).normal(size=(4, 5))
    trained = layer.forward(x)
    np.testing.assert_array_equal(layer.forward(x, training=False), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    assert layer.passes == 1
    layer.draw_from(2, 0, 0)
    np.testing.assert_array_equal(layer.forward(x), trained)


def test_dropout_masks_follow_seed_and_place():
    x = np.ones((10, 20))
    layers = [fnn.Dropout(0.5) for _ in range(4)]
    for layer, (seed, index) in zip(layers, [(0, 0), (0, 0), (0, 1), (1, 0)], strict=True):
        layer.initialize(seed, index)
    masks = [layer.forward(x) for layer in layers]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2]) and not np.array_equal(masks[0], masks[3])
    own = fnn.Dropout(0.5, seed=0)
    own.initialize(7, 0)
    np.testing.assert_array_equal(own.forward(x), masks[0])


# Arrays in any layout.


def strided(a):
    wide = np.full([2 * extent for extent in a.shape], 9, a.dtype)
    wide[tuple([slice(None, None, 2)] * a.ndim)] = a
    return wide[tuple([slice(None, None, 2)] * a.ndim)]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "plain": np.copy,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "a subclass": lambda a: a.view(np.ma.MaskedArray),
    "unpickled": lambda a: pickle.loads(pickle.dumps(a)),
    "a list": lambda a: a.tolist(),
}


def steps_in(change, dtype, optimizer):
    """Return the bits of two steps in which every array that a user may pass or assign is changed beforehand."""
    random = np.random.default_rng(4)
    x, y = random.normal(size=(9, 5)).astype(dtype), random.integers(0, 3, 9)
    first, act = fnn.Dense(5, 4, seed=1, weight_l2=0.1), fnn.Tanh()
    last, loss = fnn.Dense(4, 3, seed=2, bias_l1=0.1), fnn.SoftmaxCrossEntropy(0.1)
    for layer in (first, last):
        layer.forward(np.zeros((1, layer.n_inputs), dtype))
    bits = []
    for _ in range(2):
        for layer in (first, last):
            layer.weights, layer.biases = change(layer.weights), change(layer.biases)
        out = last.forward(change(act.forward(change(first.forward(change(x))))))
        bits += [out.tobytes(), loss.forward(change(out), change(y))]
        # Whatever passed through last may be replaced as well.
        first.inputs, last.inputs, act.output = change(first.inputs), change(last.inputs), change(act.output)
        dx = first.backward(change(act.backward(change(last.backward(change(loss.backward()))))))
        for layer in (first, last):
            layer.dweights, layer.dbiases = change(layer.dweights), change(layer.dbiases)
        optimizer.update(first, act, last)
        bits += [dx.tobytes(), loss.sample_losses.tobytes(), loss.sample_hits.tobytes()]
        bits += [value.tobytes() for layer in (first, last) for value in layer.parameters().values()]
    return bits


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_arrays_does_not_change_the_bits(layout, dtype):
    if layout == "a list" and dtype == np.float32:
        return  # a list says float64
    wanted = steps_in(np.copy, dtype, fnn.Adam(0.1))
    assert steps_in(LAYOUTS[layout], dtype, fnn.Adam(0.1)) == wanted


@pytest.mark.parametrize("name", ["weights", "biases"])
def test_parameters_changed_in_place_are_checked_again(name):
    dense, optimizer = fnn.Dense(4, 4), fnn.SGD(0.5)
    x = np.ones((3, 4))
    dense.backward(dense.forward(x))
    optimizer.update(dense)
    value = getattr(dense, name)
    value[...] = 2.0
    np.testing.assert_allclose(dense.forward(x), x @ dense.weights + dense.biases, rtol=1e-14)
    # Read-only from now on: it is left as it is, and a copy learns.
    value.flags.writeable = False
    optimizer.update(dense)
    assert getattr(dense, name) is not value and (value == 2.0).all()
    assert (getattr(dense, name) != 2.0).all()
    # A width that was changed is no width of these arrays.
    dense.n_outputs = 5
    before = state_of(dense)
    for call in (lambda: dense.forward(x), lambda: dense.backward(x), lambda: optimizer.update(dense)):
        with pytest.raises(ValueError, match="weights must have the shape"):
            call()
    assert_same_state(dense, before)
    assert optimizer.step == 2
