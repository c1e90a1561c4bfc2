"""Layers of few inputs or few outputs have kernels of their own: the bits are those of the general ones."""

import copy
import pickle

import numpy as np
import pytest
from registry import ENTRIES

import fastnn as fnn
from fastnn.kernels import book_labels, book_layers, gemm

WIDTHS = (1, 2, 3, 4, 5, 8, 17, 64, 65)


def both(m, k, n, dtype, special=False):
    """Return the results of the kernels of a layer and of the general ones, in the same order."""
    random = np.random.default_rng(m + 100 * k + 10_000 * n)
    x, w, b, dz = (random.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n), (1, n), (m, n)))
    if special:
        for array in (x, dz):
            array.flat[random.integers(0, array.size, 3)] = np.nan, np.inf, -0.0
    depth = max(m, k, n)
    scratch = np.full(
        max(book_layers.dense_scratch(m, k, n, x.itemsize), gemm.scratch_size(depth, n, dtype)), np.nan, dtype
    )
    results = []
    for general in (False, True):
        y, dw, db, dx, alone = (np.full(shape, 7, dtype) for shape in ((m, n), (k, n), (1, n), (m, k), (m, k)))
        if general:
            gemm.dense_forward(x, w, b[0], y, gemm.LINEAR, scratch, 1)
            gemm.dense_backward_weights(x, dz, dw, db[0], scratch, 1)
            gemm.dense_backward_inputs(dz, w, dx, scratch, 1)
            alone[...] = dx
        else:
            book_layers.layer_forward(x, w, b, y, scratch, 1)
            book_layers.layer_backward(x, dz, w, dw, db, dx, scratch, 1)
            book_layers.layer_inputs(dz, w, alone, scratch, 1)
        results.append([y, dw, db, dx, alone])
    return results


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("few", [1, 2, 3, 4])
def test_bits_are_those_of_the_general_kernels(few, dtype):
    for m in (0, 1, 7, 9, 16, 17, 33, 64, 300):
        for width in WIDTHS:
            for shape in ((m, few, width), (m, width, few)):
                for ours, general in zip(*both(*shape, dtype), strict=True):
                    assert ours.tobytes() == general.tobytes(), shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", range(3, 14))
def test_some_outputs_have_the_bits_that_they_have_among_many(n, dtype):
    random = np.random.default_rng(n)
    for m in (1, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 85):
        for k in (0, 1, 2, 3, 4, 5, 19, 100):
            x, w, b = (random.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, 70), 70))
            scratch = np.full(gemm.scratch_size(k, 70, dtype), np.nan, dtype)
            some, many = np.full((m + 1, n), 7, dtype), np.empty((m, 70), dtype)
            gemm.dense_forward(x, w, b, many, gemm.RELU, scratch, 1)
            own = np.ascontiguousarray(w[:, :n]), b[:n].copy()
            gemm.dense_forward(x, *own, some[:m], gemm.RELU, scratch, 1)
            assert some[:m].tobytes() == many[:, :n].tobytes(), (m, k)
            assert (some[m] == 7).all(), (m, k)


@pytest.mark.parametrize("shape", [(33, 2, 70), (33, 70, 3)])
def test_what_is_not_finite_stays_where_it_belongs(shape):
    for ours, general in zip(*both(*shape, np.float32, special=True), strict=True):
        np.testing.assert_array_equal(ours, general)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_narrow_network_takes_the_step_of_its_layers(dtype):
    random = np.random.default_rng(5)
    for n in (2, 3, 4):
        x, y = (3 * random.standard_normal((77, 2))).astype(dtype), random.integers(0, n, 77)
        layers = fnn.Dense(2, 17, seed=1), fnn.ReLU(), fnn.Dense(17, n, seed=2)
        for dense in layers[::2]:
            dense.weights = random.standard_normal(dense.weights.shape).astype(dtype)
        apart, loss, optimizer, z = copy.deepcopy(layers), fnn.SoftmaxCrossEntropy(), fnn.SGD(0.1), x
        for layer in apart:
            z = layer.forward(z)
        mean = loss.forward(z, y)
        d = loss.backward()
        for layer in reversed(apart):
            d = layer.backward(d)
        history = fnn.Sequential(*layers).fit(
            x, y, optimizer=fnn.SGD(0.1), epochs=1, batch_size=None, shuffle=False, progress=False
        )
        assert history["loss"][0] == mean, n
        for one, other in zip(layers[::2], apart[::2], strict=True):
            optimizer.update(other)
            assert one.weights.tobytes() == other.weights.tobytes(), n
            assert one.biases.tobytes() == other.biases.tobytes(), n


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_of_few_classes_have_the_bits_of_the_general_kernel(dtype):
    entry = ENTRIES["losses.softmax_cross_entropy[labels]"]
    for n in WIDTHS[1:]:
        args = entry.args((77, n), dtype)
        rows, dz, hits = entry.ours(args)
        loss = fnn.SoftmaxCrossEntropy()
        loss.forward(args.z, args.labels)
        for ours, general in ((loss.sample_losses, rows), (loss.backward(), dz), (loss.sample_hits, hits)):
            assert ours.tobytes() == general.tobytes(), n


def pair():
    random = np.random.default_rng(3)
    dense, optimizer = fnn.Dense(2, 70, seed=0), fnn.SGD(1e-4, momentum=0.5)
    return dense, optimizer, random.standard_normal((9, 2)).astype(np.float32)


def step(dense, optimizer, x):
    y = dense.forward(x)
    dense.backward(y)
    optimizer.update(dense)


def test_state_that_is_bound_anew_is_what_the_next_step_takes():
    dense, optimizer, x = pair()
    for _ in range(3):
        step(dense, optimizer, x)
    other = np.full_like(dense.weights, 100.0)
    optimizer.bind(dense, "weights", [other])
    before = dense.weights.copy()
    step(dense, optimizer, x)
    assert (other < 100.0).all() and (dense.weights - before > 10.0).all()
    optimizer.reset()
    step(dense, optimizer, x)
    assert (optimizer.slots(dense, "weights", dense.weights)[0] < 10.0).all()


def test_steps_are_the_same_for_copies_and_for_another_optimizer_between():
    dense, optimizer, x = pair()
    for _ in range(2):
        step(dense, optimizer, x)
    clones = [copy.deepcopy((dense, optimizer)), pickle.loads(pickle.dumps((dense, optimizer)))]
    idle = fnn.SGD(0.0)
    dense.backward(dense.forward(x))
    idle.update(dense)
    step(dense, optimizer, x)
    for layer, own in clones:
        step(layer, own, x)
        assert layer.weights.tobytes() == dense.weights.tobytes()


def test_every_output_and_gradient_is_an_array_of_its_own():
    dense, optimizer, x = pair()
    kept, copies = [], []
    for _ in range(4):
        step(dense, optimizer, x)
        kept.append([dense.output, dense.dweights, dense.dbiases, dense.dinputs])
        copies.append([array.copy() for array in kept[-1]])
    for arrays, values in zip(kept, copies, strict=True):
        for array, value in zip(arrays, values, strict=True):
            assert array.tobytes() == value.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_gradients_by_class_number_round_as_the_general_kernels_do(n, dtype):
    r = np.random.default_rng(n)
    p, labels = r.dirichlet(np.ones(n), 37).astype(dtype), r.integers(0, n, 37)
    d, out = np.empty_like(p), np.empty(2, dtype)
    book_labels.cross_entropy_gradient(p, labels, d, out, 1)
    # The difference is rounded before it is scaled.
    np.testing.assert_array_equal(d, (p - np.eye(n, dtype=dtype)[labels]) * dtype(1.0 / 37))
