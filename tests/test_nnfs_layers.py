"""The book's classes one by one against plain NumPy: numbers, dtypes, attributes, errors."""

import copy
import pickle

import nnfs_numpy as numpy_classes
import numpy as np
import pytest

import fastnn
import fastnn.nnfs as book
from fastnn import threads
from fastnn.kernels import book as kernels
from fastnn.kernels import book_layers
from fastnn.nnfs import _common, datasets

DTYPES = (np.float64, np.float32)
TOLERANCE = {np.float64: 1e-12, np.float32: 3e-6}
SHAPES = [(1, 1, 1), (5, 3, 2), (16, 16, 4), (33, 17, 3), (300, 2, 64), (300, 64, 3), (7, 40, 20), (130, 5, 17)]


@pytest.fixture(autouse=True)
def settings_of_numpy():
    yield
    book.init(dot_precision_workaround=False, default_dtype=None, random_seed=None)


def random(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def close(ours, theirs, dtype, scale=1.0):
    assert ours.shape == theirs.shape
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m, k, n", SHAPES)
@pytest.mark.parametrize("penalties", [(0, 0, 0, 0), (1e-2, 0, 0, 1e-3), (1e-2, 5e-3, 1e-3, 2e-3)])
def test_dense(m, k, n, dtype, penalties):
    ours, theirs = book.Layer_Dense(k, n, *penalties), numpy_classes.Layer_Dense(k, n, *penalties)
    w, b = random(k, n, dtype=dtype), random(1, n, dtype=dtype, seed=1)
    w.flat[0] = 0.0
    x, d = random(m, k, dtype=dtype, seed=2), random(m, n, dtype=dtype, seed=3)
    for layer in (ours, theirs):
        layer.weights, layer.biases = w.copy(), b.copy()
    for _ in range(3):  # the first call looks at everything, the later ones rely on it
        for layer in (ours, theirs):
            layer.forward(x)
            layer.backward(d)
        close(ours.output, theirs.output, dtype, k)
        close(ours.dweights, theirs.dweights, dtype, m)
        close(ours.dbiases, theirs.dbiases, dtype, m)
    close(ours.dinputs, theirs.dinputs, dtype, n)
    assert ours.inputs is x


def test_dinputs_that_nobody_read_are_those_of_the_weights_at_the_time():
    layer, x, d = book.Layer_Dense(3, 2), random(4, 3), random(4, 2)
    layer.weights = random(3, 2)
    for _ in range(3):
        layer.forward(x)
        layer.backward(d)
        expected = d @ layer.weights.T
        layer.weights += 1.0
    np.testing.assert_allclose(layer.dinputs, expected)
    layer.dinputs = "mine"
    assert layer.dinputs == "mine"
    del layer.dinputs
    assert not hasattr(layer, "dinputs")
    assert not hasattr(book.Layer_Dense(2, 2), "dinputs")


def test_inputs_of_another_dtype_between_do_not_matter():
    """A gradient of the other dtype swaps the scratch that the quick call of `forward` relies on."""
    layer, x = book.Layer_Dense(3, 20), random(4, 3)
    w, b = layer.weights.copy(), layer.biases.copy()
    for _ in range(3):
        layer.weights, layer.biases = w, b
        layer.forward(x)
        layer.forward(x)
        layer.weights, layer.biases = w.astype(np.float32), b.astype(np.float32)
        layer.inputs = x.astype(np.float32)
        layer.backward(np.ones((4, 20), np.float32))
        assert layer.dinputs.dtype == np.float32
        layer.weights, layer.biases = w, b
        layer.forward(x)
        layer.backward(np.ones((4, 20)))
        np.testing.assert_allclose(layer.output, x @ w + b)
        np.testing.assert_allclose(layer.dinputs, np.ones((4, 20)) @ w.T)


def test_draws_and_dtypes_are_numpys():
    np.random.seed(7)
    ours = [book.Layer_Dense(3, 4), book.Layer_Dense(4, 2)]
    np.random.seed(7)
    for layer in ours:
        assert (layer.weights == 0.01 * np.random.randn(*layer.weights.shape)).all()
        assert layer.weights.dtype == np.float64 and layer.biases.shape == (1, layer.weights.shape[1])


def test_mixed_dtypes_become_what_numpy_makes_of_them():
    layer = book.Layer_Dense(3, 2)
    for x in (random(4, 3, dtype=np.float32), np.arange(12).reshape(4, 3), random(4, 3).T.copy().T, [[1, 2, 3]]):
        layer.forward(x)
        expected = np.dot(x, layer.weights) + layer.biases
        assert layer.output.dtype == expected.dtype
        np.testing.assert_allclose(layer.output, expected)
        layer.backward(np.ones((len(x), 2), np.float32))
        np.testing.assert_allclose(layer.dweights, np.asarray(x).T @ np.ones((len(x), 2)))
        book.Optimizer_SGD().update_params(layer)
    layer.forward(np.ones(3))
    assert layer.output.shape == (1, 2)


def test_weights_are_plain_arrays():
    layer = book.Layer_Dense(2, 3)
    best = layer.weights.copy()
    held = layer.weights
    layer.weights += 0.05 * np.random.randn(2, 3)
    layer.forward(np.ones((2, 2)))
    assert layer.weights is held
    layer.weights = best.copy()
    layer.forward(np.ones((2, 2)))
    np.testing.assert_allclose(layer.output, np.ones((2, 2)) @ best)
    layer.weights = np.asfortranarray(best)
    layer.biases = np.ones(3)
    layer.forward(np.ones((2, 2)))
    layer.backward(np.ones((2, 3)))
    np.testing.assert_allclose(layer.output, np.ones((2, 2)) @ best + 1)
    layer.weights = random(5, 4)
    layer.biases = np.zeros((1, 4))
    layer.forward(np.ones((2, 5)))
    assert layer.output.shape == (2, 4)
    weights, biases = layer.get_parameters()
    assert weights is layer.weights and biases is layer.biases
    layer.set_parameters(best, biases)
    assert layer.weights is best


def test_weights_reshaped_in_place_are_seen():
    layer = book.Layer_Dense(2, 6)
    layer.forward(np.ones((3, 2)))
    layer.weights = layer.weights.reshape(2, 6)
    layer.weights.resize((6, 2), refcheck=False)
    with pytest.raises(ValueError, match="biases"):
        layer.forward(np.ones((3, 6)))
    with pytest.raises(ValueError, match="6"):
        layer.forward(np.ones((3, 2)))


def test_read_only_and_strided_arrays():
    layer, x = book.Layer_Dense(3, 2), random(8, 6)
    frozen = x[:, :3].copy()
    frozen.flags.writeable = False
    for given in (x[:, ::2], x[::2, :3], frozen, np.asfortranarray(x[:, :3])):
        layer.forward(given)
        np.testing.assert_allclose(layer.output, given @ layer.weights + layer.biases)
        layer.backward(np.ones((2, len(given))).T)
        np.testing.assert_allclose(layer.dweights, given.T @ np.ones((len(given), 2)))
        book.Optimizer_SGD(momentum=0.9).update_params(layer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["Activation_ReLU", "Activation_Softmax", "Activation_Sigmoid", "Activation_Linear"])
@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (33, 17), (300, 64), (5, 40)])
def test_activations(name, shape, dtype):
    ours, theirs = getattr(book, name)(), getattr(numpy_classes, name)()
    x, d = 3 * random(*shape, dtype=dtype), random(*shape, dtype=dtype, seed=1)
    x.flat[0] = 0.0
    for each in (ours, theirs):
        each.forward(x)
        each.backward(d)
    close(ours.output, theirs.output, dtype)
    close(ours.dinputs, theirs.dinputs, dtype)
    assert (ours.predictions(ours.output) == theirs.predictions(ours.output)).all()
    ours.forward(x, True)


def test_elementwise_activations_take_any_shape():
    for kind in (book.Activation_ReLU, book.Activation_Sigmoid):
        each = kind()
        each.forward(np.array([-1, 0, 2]))
        each.backward(np.array([1.0, 1.0, 1.0]))
        assert each.output.shape == each.dinputs.shape == (3,)


def test_dropout_draws_the_books_masks():
    x = random(20, 10)
    np.random.seed(3)
    ours = book.Layer_Dropout(0.3)
    ours.forward(x)
    np.random.seed(3)
    mask = np.random.binomial(1, 0.7, size=x.shape) / 0.7
    assert (ours.output == x * mask).all() and (ours.binary_mask == mask).all() and ours.rate == 0.7
    ours.backward(x)
    assert (ours.dinputs == x * mask).all()
    ours.forward(x, False)
    assert (ours.output == x).all() and ours.output is not x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m, n", [(1, 2), (7, 3), (300, 3), (40, 10), (33, 16), (20, 17), (9, 40)])
@pytest.mark.parametrize("labels", [np.uint8, np.int64, np.int32, np.int16, "one-hot"])
def test_joint_softmax_and_cross_entropy(m, n, labels, dtype):
    z = 4 * random(m, n, dtype=dtype)
    y = np.random.default_rng(1).integers(0, n, m)
    y = np.eye(n)[y] if labels == "one-hot" else y.astype(labels)
    joint = numpy_classes.Activation_Softmax_Loss_CategoricalCrossentropy()
    ours = book.Activation_Softmax_Loss_CategoricalCrossentropy()
    for _ in range(2):
        theirs_loss, loss = joint.forward(z, y), ours.forward(z, y)
    np.testing.assert_allclose(loss, theirs_loss, rtol=10 * TOLERANCE[dtype])
    assert ours.output is ours.activation.output
    joint.backward(joint.output, y)
    ours.backward(ours.output, y)
    close(ours.output, joint.output, dtype)
    close(ours.dinputs, joint.dinputs, dtype)
    softmax = book.Activation_Softmax()
    softmax.forward(z)
    assert (softmax.output == ours.output).all()
    # Apart, through the Jacobian, the gradient is the same.
    apart = book.Loss_CategoricalCrossentropy()
    np.testing.assert_allclose(apart.calculate(softmax.output, y), theirs_loss, rtol=20 * TOLERANCE[dtype])
    apart.backward(softmax.output, y)
    softmax.backward(apart.dinputs)
    np.testing.assert_allclose(softmax.dinputs, joint.dinputs, atol=20 * TOLERANCE[dtype])


def test_losses_are_clipped_as_in_the_book():
    z = np.array([[60.0, 0.0], [-60.0, 0.0]])
    y = np.array([0, 0])
    ours = book.Activation_Softmax_Loss_CategoricalCrossentropy()
    for dtype in DTYPES:
        loss = ours.forward(z.astype(dtype), y)
        theirs = numpy_classes.Activation_Softmax_Loss_CategoricalCrossentropy().forward(z.astype(dtype), y)
        np.testing.assert_allclose(loss, theirs, rtol=1e-6)
        assert loss.dtype == dtype
    assert np.isnan(ours.forward(np.array([[np.nan, 0.0]]), np.array([0])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["BinaryCrossentropy", "MeanSquaredError", "MeanAbsoluteError"])
@pytest.mark.parametrize("shape", [(1, 1), (300, 1), (20, 3), (7, 40)])
def test_value_losses(name, shape, dtype):
    ours, theirs = getattr(book, f"Loss_{name}")(), getattr(numpy_classes, f"Loss_{name}")()
    rng = np.random.default_rng(0)
    p, y = rng.random(shape).astype(dtype), rng.integers(0, 2, shape)
    p.flat[0] = 0.0
    y = y if name == "BinaryCrossentropy" else y.astype(dtype)
    close(ours.forward(p, y), theirs.forward(p, y).astype(dtype), dtype, 10.0)
    np.testing.assert_allclose(ours.calculate(p, y), theirs.calculate(p, y), rtol=10 * TOLERANCE[dtype])
    ours.backward(p, y)
    theirs.backward(p, y)
    np.testing.assert_allclose(ours.dinputs, theirs.dinputs, rtol=2e-6 if dtype == np.float64 else 0.2)


def test_two_plain_rows_are_one_sample():
    """As scripts of the early chapters pass them."""
    p, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0])
    for given in (p, y), (p.tolist(), y.tolist()):
        loss = book.Loss_MeanSquaredError()
        np.testing.assert_allclose(loss.forward(*given), np.mean((p - y) ** 2, axis=-1))
        np.testing.assert_allclose(loss.calculate(*given), 1 / 3)
        loss.backward(*given)
        np.testing.assert_allclose(loss.dinputs, -2 * (y - p) / 3)
    with pytest.raises(ValueError, match=r"got \(2,\)"):
        loss.forward(p, y[:2])


def test_mean_absolute_error_has_the_right_sign_unless_the_books_is_wanted():
    p, y = np.array([[3.0], [0.0]]), np.array([[1.0], [1.0]])
    ours, exact = book.Loss_MeanAbsoluteError(), book.Loss_MeanAbsoluteError(book_exact=True)
    ours.backward(p, y)
    exact.backward(p, y)
    assert ours.dinputs.tolist() == [[0.5], [-0.5]] and exact.dinputs.tolist() == [[-0.5], [0.5]]


def test_joint_sigmoid():
    z, y = random(30, 2), np.random.default_rng(1).integers(0, 2, (30, 2))
    joint, sigmoid, loss = (
        book.Activation_Sigmoid_Loss_BinaryCrossentropy(),
        book.Activation_Sigmoid(),
        book.Loss_BinaryCrossentropy(),
    )
    sigmoid.forward(z)
    assert joint.forward(z, y) == loss.calculate(sigmoid.output, y)
    joint.backward(joint.output, y)
    loss.backward(sigmoid.output, y)
    sigmoid.backward(loss.dinputs)
    np.testing.assert_allclose(joint.dinputs, sigmoid.dinputs, rtol=1e-9)


class SmoothedLoss(book.Loss_CategoricalCrossentropy):
    def forward(self, y_pred, y_true):
        smooth = 0.9 * np.eye(y_pred.shape[1])[y_true] + 0.1 / y_pred.shape[1]
        return -np.sum(smooth * np.log(y_pred), axis=1)


class WarmSoftmax(book.Activation_Softmax):
    def forward(self, inputs, training=True):
        super().forward(inputs / 2.0)


@pytest.mark.parametrize("where", ["at once", "later"])
def test_the_joint_pair_goes_through_a_users_own_parts(where):
    z, y = random(30, 4), np.random.default_rng(1).integers(0, 4, 30)
    for name, part in (("loss", SmoothedLoss()), ("activation", WarmSoftmax())):
        ours = book.Activation_Softmax_Loss_CategoricalCrossentropy()
        if where == "later":
            ours.forward(z, y)
            ours.forward(z, y)
        setattr(ours, name, part)
        for _ in range(3):
            value = ours.forward(z, y)
            softmax = WarmSoftmax() if name == "activation" else book.Activation_Softmax()
            softmax.forward(z)
            loss = SmoothedLoss() if name == "loss" else book.Loss_CategoricalCrossentropy()
            np.testing.assert_allclose(value, loss.calculate(softmax.output, y))
            assert (ours.output == softmax.output).all() and ours.output is ours.activation.output
            ours.backward(ours.output, y)  # in the book, the same whatever the parts are
            np.testing.assert_allclose(ours.dinputs, (softmax.output - np.eye(4)[y]) / 30)


def test_the_joint_pair_goes_through_methods_put_on_its_parts():
    ours = book.Activation_Softmax_Loss_CategoricalCrossentropy()
    ours.loss.forward = lambda y_pred, y_true: np.full(len(y_pred), 7.0)
    assert ours.forward(random(5, 3), np.zeros(5, int)) == 7.0


OPTIMIZERS = [
    ("SGD", {}), ("SGD", {"momentum": 0.9, "decay": 1e-2}), ("Adagrad", {"decay": 1e-3}),
    ("RMSprop", {"rho": 0.99, "decay": 1e-3}), ("Adam", {"decay": 1e-2, "learning_rate": 0.05}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, arguments", OPTIMIZERS)
@pytest.mark.parametrize("mixed", [False, True])
def test_optimizers(name, arguments, dtype, mixed):
    ours, theirs = (getattr(module, f"Optimizer_{name}")(**arguments) for module in (book, numpy_classes))
    layers = [book.Layer_Dense(5, 3), numpy_classes.Layer_Dense(5, 3)]
    start = random(5, 3, dtype=dtype), random(1, 3, dtype=dtype, seed=1)
    for layer in layers:
        layer.weights, layer.biases = (value.copy() for value in start)
    held = layers[0].weights
    for step in range(12):
        for layer, optimizer in zip(layers, (ours, theirs), strict=True):
            kind = np.float64 if mixed else dtype
            layer.dweights, layer.dbiases = random(5, 3, dtype=kind, seed=step), random(1, 3, dtype=kind, seed=99)
            optimizer.pre_update_params()
            optimizer.update_params(layer)
            optimizer.post_update_params()
        assert ours.current_learning_rate == theirs.current_learning_rate
    assert layers[0].weights is held and ours.iterations == 12
    for name in ("weights", "biases", "weight_momentums", "bias_cache"):
        assert hasattr(layers[0], name) == hasattr(layers[1], name)
        if hasattr(layers[0], name):
            np.testing.assert_allclose(
                getattr(layers[0], name), getattr(layers[1], name), rtol=20 * TOLERANCE[dtype], atol=TOLERANCE[dtype]
            )


@pytest.mark.parametrize("name, arguments", OPTIMIZERS)
def test_gradients_that_numpy_broadcasts_are_taken(name, arguments):
    rows = np.array([1.0, -2.0, 3.0]), 0, np.array([[0.5]]), [[1.0, 2.0, 3.0]]
    ours, theirs = (getattr(module, f"Optimizer_{name}")(**arguments) for module in (book, numpy_classes))
    layers = [book.Layer_Dense(5, 3), numpy_classes.Layer_Dense(5, 3)]
    layers[1].weights = layers[0].weights.copy()
    for dbiases in rows:
        for layer, optimizer in zip(layers, (ours, theirs), strict=True):
            layer.dweights, layer.dbiases = random(1, 3), np.asarray(dbiases)
            optimizer.pre_update_params()
            optimizer.update_params(layer)
            optimizer.post_update_params()
        for attribute in ("weights", "biases"):
            found, expected = (getattr(layer, attribute) for layer in layers)
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-12)
    for dbiases in (np.ones(2), np.ones((2, 3)), np.ones((1, 1, 3))):
        layers[0].dbiases = dbiases
        with pytest.raises(ValueError, match=r"dbiases must have the shape \(1, 3\) of the biases"):
            ours.update_params(layers[0])


def test_an_optimizer_inherits_the_layers_state():
    layer = book.Layer_Dense(2, 2)
    layer.dweights, layer.dbiases = np.ones((2, 2)), np.ones((1, 2))
    book.Optimizer_SGD(momentum=0.5).update_params(layer)
    momentums = layer.weight_momentums.copy()
    book.Optimizer_RMSprop().update_params(layer)
    assert (layer.weight_momentums == momentums).all()
    book.Optimizer_Adam().update_params(layer)
    layer.weight_cache = layer.weight_cache.astype(np.float32)
    book.Optimizer_Adagrad().update_params(layer)
    assert layer.weight_cache.dtype == np.float64


@pytest.mark.parametrize("mixed", [False, True])
def test_adam_begins_anew_after_momentum(mixed):
    layers = [book.Layer_Dense(4, 3), numpy_classes.Layer_Dense(4, 3)]
    layers[1].weights = layers[0].weights.copy()
    for name, arguments in (("SGD", {"momentum": 0.9}), ("Adam", {}), ("SGD", {"momentum": 0.9}), ("Adam", {})):
        for module, layer in zip((book, numpy_classes), layers, strict=True):
            optimizer = getattr(module, f"Optimizer_{name}")(**arguments)
            for step in range(3):
                layer.dweights = np.random.default_rng(step).normal(size=(4, 3))
                # Kernels do not take gradients of another dtype.
                layer.dbiases = np.ones((1, 3), np.float32 if mixed else np.float64)
                optimizer.pre_update_params()
                optimizer.update_params(layer)
                optimizer.post_update_params()
        for attribute in ("weights", "biases"):
            np.testing.assert_allclose(getattr(layers[0], attribute), getattr(layers[1], attribute), rtol=1e-12)


def test_user_made_layers_are_updated_too():
    class Plain:
        weights, biases = np.ones((2, 2)), np.ones((1, 2))
        dweights, dbiases = np.ones((2, 2)), np.ones((1, 2))

    layer = Plain()
    for _ in range(2):
        book.Optimizer_SGD(learning_rate=0.25).update_params(layer)
    assert (layer.weights == 0.5).all() and (layer.biases == 0.5).all()


class OwnLayer:
    def __init__(self):
        self.weights, self.biases = np.ones((2, 2)), np.ones((1, 2))
        self.dweights, self.dbiases = np.ones((2, 2)), np.ones((1, 2))


@pytest.mark.parametrize("name, arguments", OPTIMIZERS)
def test_user_made_layers_can_be_pickled_after_an_update(name, arguments):
    layer, optimizer = OwnLayer(), getattr(book, f"Optimizer_{name}")(**arguments)
    optimizer.update_params(layer)
    assert not [attribute for attribute in vars(layer) if attribute.startswith("_")]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert (twin.weights == layer.weights).all() and (twin.weights < 1).all()


def test_learning_rates_are_printed_as_given():
    assert f"{book.Optimizer_SGD(learning_rate=1).current_learning_rate}" == "1"
    assert book.Optimiser_Adam is book.Optimizer_Adam


def test_regularization_loss_has_both_forms():
    layers = [book.Layer_Dense(3, 2, weight_regularizer_l1=0.1, bias_regularizer_l2=0.2), book.Layer_Dense(2, 2)]
    layers[0].biases += 2.0
    loss = book.Loss_CategoricalCrossentropy()
    one = loss.regularization_loss(layers[0])
    np.testing.assert_allclose(one, 0.1 * np.abs(layers[0].weights).sum() + 0.2 * 8.0)
    assert loss.regularization_loss(layers[1]) == 0 and loss.regularization_loss() == 0
    loss.remember_trainable_layers(layers)
    assert loss.regularization_loss() == one
    value = loss.calculate(np.array([[0.5, 0.5]]), np.array([1]), include_regularization=True)
    assert value[1] == one


def test_accumulators_need_no_new_pass():
    loss, accuracy = book.Loss_MeanSquaredError(), book.Accuracy_Categorical(binary=True)
    with pytest.raises(RuntimeError, match="calculate"):
        loss.calculate_accumulated()
    with pytest.raises(RuntimeError, match="calculate"):
        accuracy.calculate_accumulated()
    loss.calculate(np.ones((2, 1)), np.zeros((2, 1)))
    loss.calculate(np.zeros((1, 1)), np.zeros((1, 1)))
    np.testing.assert_allclose(loss.calculate_accumulated(), 2 / 3)
    accuracy.calculate(np.ones((2, 3)), np.ones((2, 3)))
    assert accuracy.calculate_accumulated() == 1.0


WRONG = [
    (lambda: book.Layer_Dense(0, 2), ValueError, "n_inputs"),
    (lambda: book.Layer_Dense(2, 2.0), TypeError, "n_neurons"),
    (lambda: book.Layer_Dense(2, 2, weight_regularizer_l1=-1), ValueError, "weight_regularizer_l1"),
    (lambda: book.Layer_Dropout(1.0), ValueError, "rate"),
    (lambda: book.Layer_Dense(2, 2).forward(np.ones((3, 3))), ValueError, "inputs must have 2 columns"),
    (lambda: book.Layer_Dense(2, 2).forward(np.array([["a", "b"]])), TypeError, "inputs"),
    (lambda: backward(np.ones((3, 5))), ValueError, "dvalues must have 2 columns, one for each neuron of the layer"),
    (lambda: backward(np.ones((2, 2))), ValueError, "dvalues must have a row for each of the 3 samples"),
    (lambda: book.Optimizer_SGD(learning_rate="fast"), TypeError, "learning_rate"),
    (lambda: book.Optimizer_Adam(beta_1=1.0), ValueError, "beta_1"),
    (lambda: book.Loss_BinaryCrossentropy().forward(np.ones((4, 1)), np.ones(4)), ValueError, r"reshape\(-1, 1\)"),
    (lambda: book.Accuracy_Categorical(binary=True).calculate(np.ones((4, 1)), np.ones(4)), ValueError, "reshape"),
    (lambda: book.Accuracy_Categorical().calculate(np.ones((4, 1)), np.ones((4, 1))), ValueError, "pass binary=True"),
    (lambda: book.Accuracy_Categorical().calculate(np.ones((4, 3)), np.ones((4, 3))), ValueError, "pass binary=True"),
    (lambda: joint(np.ones((3, 2)), np.array([0, 1, 2])), ValueError, "got 2 at row 2"),
    (lambda: joint(np.ones((3, 2)), np.array([0, -1, 1])), ValueError, "got -1 at row 1"),
    (lambda: joint(np.ones((3, 2)), np.zeros((3, 1), int)), ValueError, "ravel"),
    (lambda: joint(np.ones((3, 2)), np.zeros(4, int)), ValueError, "3 samples"),
    (lambda: joint(np.ones((3, 20)), np.full(3, 20)), ValueError, "0 to 19"),
    (lambda: joint(np.ones((3, 2)), np.array([0.5, 0, 1])), ValueError, "whole"),
    (lambda: book.Loss_CategoricalCrossentropy().forward(np.ones((2, 2)), np.array([0, 9])), ValueError, "got 9"),
    (lambda: book.Loss_CategoricalCrossentropy().backward(np.ones((2, 2)), np.array([0, 9])), ValueError, "got 9"),
    (lambda: book.Loss().calculate(np.ones((1, 1)), np.ones((1, 1))), NotImplementedError, "forward"),
    (lambda: book.Accuracy_Regression().calculate(np.ones(1), np.ones(1)), RuntimeError, "init"),
    (lambda: book.init(default_dtype="float16"), ValueError, "default_dtype"),
    (lambda: datasets.spiral_data(0, 3), ValueError, "samples"),
]


def backward(dvalues):
    layer = book.Layer_Dense(4, 2)
    layer.forward(np.ones((3, 4)))
    layer.backward(dvalues)


def joint(z, y):
    return book.Activation_Softmax_Loss_CategoricalCrossentropy().forward(z, y)


@pytest.mark.parametrize("call, error, text", WRONG)
def test_errors_name_the_argument(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_objects_are_copied_without_what_is_ours():
    layer = book.Layer_Dense(2, 3)
    layer.forward(np.ones((4, 2)))
    layer.backward(np.ones((4, 3)))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not {"_scratch", "_known", "_checked", "_made", "_held"} & twin.__dict__.keys()
        twin.forward(np.ones((4, 2)))
        assert (twin.output == layer.output).all()
        twin.weights += 1
    assert (layer.weights < 0.5).all()


def test_copies_keep_dinputs_and_read_nothing_of_the_original():
    layer, x, d = book.Layer_Dense(3, 2), random(4, 3), random(4, 2)
    assert not hasattr(copy.deepcopy(layer), "dinputs")
    for _ in range(3):  # the last two gradients are put off, as nothing has read one
        layer.forward(x)
        layer.backward(d)
        for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            np.testing.assert_allclose(twin.dinputs, d @ layer.weights.T)
        assert not layer._wanted


class GainLayer(book.Layer_Dense):
    def __init__(self, n_inputs, n_neurons):
        super().__init__(n_inputs, n_neurons)
        self._gain, self.__secret = 2.0, [3]

    def forward(self, inputs, training=True):
        super().forward(inputs, training)
        self.output = self._gain * self.output * self.__secret[0]


def test_copies_keep_what_a_subclass_calls_private():
    layer = GainLayer(2, 3)
    for _ in range(2):
        layer.forward(np.ones((4, 2)))
        layer.backward(np.ones((4, 3)))
        book.Optimizer_Adam().update_params(layer)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin._gain == 2.0 and not {"_scratch", "_made", "_held"} & twin.__dict__.keys()
        layer.forward(np.ones((4, 2)))
        twin.forward(np.ones((4, 2)))
        assert (twin.output == layer.output).all()


def test_all_that_is_ours_is_declared():
    """So that a copy leaves it out: a private name that no class declares would count as the user's."""
    x, y = random(40, 3), np.zeros(40, int)
    dense, joint = book.Layer_Dense(3, 3), book.Activation_Softmax_Loss_CategoricalCrossentropy()
    activations = [kind() for kind in (book.Activation_ReLU, book.Activation_Sigmoid, book.Activation_Softmax)]
    optimizers = [getattr(book, f"Optimizer_{name}")(**arguments) for name, arguments in OPTIMIZERS]
    losses = book.Loss_MeanSquaredError(), book.Loss_CategoricalCrossentropy()
    for _ in range(3):
        for part in (dense, *activations):
            part.forward(x)
            part.backward(x)
        joint.forward(x, y)
        joint.backward(joint.output, y)
        losses[0].calculate(x, x)
        losses[1].calculate(joint.output, y)
        for optimizer in optimizers:
            optimizer.pre_update_params()
            optimizer.update_params(dense)
            optimizer.post_update_params()
    for part in (dense, joint, *activations, *optimizers, *losses):
        private = {name for name in vars(part) if name.startswith("_")}
        assert private <= _common.private_names(type(part)), part


def test_data_sets_draw_from_the_global_generator():
    np.random.seed(0)
    X, y = book.spiral_data(100, 3)
    assert X.dtype == np.float64 and y.dtype == np.uint8
    np.testing.assert_allclose(X[1], (0.00299556, 0.00964661), atol=5e-9)
    np.testing.assert_allclose(0.01 * np.random.randn(2, 64)[0, :3], (-0.01306527, 0.01658131, -0.00118164), atol=5e-9)
    X, y = book.vertical_data(50, 4)
    assert X.shape == (200, 2) and np.bincount(y).tolist() == [50] * 4
    X, y = book.sine_data()
    assert X.shape == y.shape == (1000, 1) and X.dtype == y.dtype == np.float64


def test_init_sets_dtypes_and_seeds_but_replaces_nothing():
    functions = np.zeros, np.eye, np.dot, np.random.randn
    book.init()
    assert (np.zeros, np.eye, np.dot, np.random.randn) == functions
    first = book.Layer_Dense(2, 3).weights
    book.init()
    again = book.Layer_Dense(2, 3)
    assert (first == again.weights).all() and first.dtype == again.biases.dtype == np.float32
    assert book.spiral_data(10, 2)[0].dtype == np.float32
    again.forward(np.ones((2, 2)))  # float64, as sine_data is
    assert again.output.dtype == np.float32
    again.backward(np.ones((2, 3)))
    assert again.dinputs.dtype == again.dweights.dtype == np.float32


def test_large_layers_use_the_same_bits_for_any_number_of_threads():
    x, d = random(700, 200, dtype=np.float32), random(700, 150, dtype=np.float32, seed=1)
    found = []
    try:
        for n in (1, 2, 3):
            fastnn.set_num_threads(n)
            np.random.seed(0)
            layer, relu = book.Layer_Dense(200, 150, 1e-4, 1e-4), book.Activation_ReLU()
            layer.weights = layer.weights.astype(np.float32)
            layer.biases = layer.biases.astype(np.float32)
            layer.forward(x)
            relu.forward(layer.output)
            relu.backward(d)
            layer.backward(relu.dinputs)
            book.Optimizer_Adam().update_params(layer)
            parts = layer.output, relu.output, layer.dweights, layer.dbiases, layer.dinputs, layer.weights
            found.append([part.tobytes() for part in parts])
    finally:
        fastnn.set_num_threads(None)
    assert found[0] == found[1] == found[2]


def test_scratch_is_enough_after_the_limit_is_raised(monkeypatch):
    real, seen = threads.call, []

    def call(kernel, n_workers, *arguments, **more):
        if kernel is kernels.softmax:
            assert arguments[2].size >= kernels.probability_scratch(n_workers)
            seen.append(n_workers)
        elif kernel is kernels.cross_entropy:
            assert arguments[4].size >= kernels.probability_scratch(n_workers, len(arguments[0]))
            seen.append(n_workers)
        return real(kernel, n_workers, *arguments, **more)

    monkeypatch.setattr(threads, "call", call)
    z, y = random(8000, 10), np.zeros(8000, int)
    softmax, joint = book.Activation_Softmax(), book.Activation_Softmax_Loss_CategoricalCrossentropy()
    try:
        for limit in (1, None):
            fastnn.set_num_threads(limit)
            softmax.forward(z)
            joint.forward(z, y)
    finally:
        fastnn.set_num_threads(None)
    most = threads.max_workers()
    assert seen == [1, 1, min(most, 6), min(most, 8)]
    assert (softmax.output == joint.output).all()


def test_a_limit_changed_between_sizing_and_running_does_not_matter(monkeypatch):
    """As another thread may change it."""
    answers, real, seen = [], threads.call, []

    def workers(work, *arguments, **more):
        answers.append(1 + len(answers) % 2)
        return answers[-1]

    def call(kernel, n_workers, *arguments, **more):
        assert arguments[-1].size >= book_layers.dense_scratch(50, 60, 70, 8, n_workers)
        seen.append(kernel)
        return real(kernel, n_workers, *arguments, **more)

    monkeypatch.setattr(threads, "workers", workers)
    monkeypatch.setattr(threads, "call", call)
    layer, x, d = book.Layer_Dense(60, 70), random(50, 60), random(50, 70)
    steps = lambda: layer.forward(x), lambda: layer.backward(d), lambda: layer.backward(d), lambda: layer.dinputs
    for step in steps:
        answers.clear()
        layer._scratch = None
        step()
    np.testing.assert_allclose(layer.dinputs, d @ layer.weights.T)
    np.testing.assert_allclose(layer.output, x @ layer.weights + layer.biases)
    assert [kernel.__name__ for kernel in seen] == ["layer_forward", "layer_backward", "layer_backward", "layer_inputs"]
