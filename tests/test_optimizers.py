"""Optimisers: every kind against NumPy over several steps, their scalars, their state, and bad arguments."""

import copy
import dataclasses
import gc
import pickle
import platform
import weakref

import numpy as np
import pytest
import reference

import fastnn as fnn
from fastnn.kernels import gemm, optim
from fastnn.optimizers import Optimizer

FLOATS = (np.float32, np.float64)
STEPS = 12
# Name in reference.OPTIMIZERS -> ours, with the same settings.
OURS = {
    "sgd": lambda lr: fnn.SGD(lr),
    "momentum": lambda lr: fnn.SGD(lr, momentum=0.9),
    "nesterov": lambda lr: fnn.SGD(lr, momentum=0.9, nesterov=True),
    "adagrad": lambda lr: fnn.AdaGrad(lr),
    "adagrad_inside": lambda lr: fnn.AdaGrad(lr, epsilon_inside=True),
    "rmsprop": lambda lr: fnn.RMSprop(lr),
    "rmsprop_inside": lambda lr: fnn.RMSprop(lr, epsilon_inside=True),
    "adam": lambda lr: fnn.Adam(lr),
    "amsgrad": lambda lr: fnn.Adam(lr, amsgrad=True),
    "adamw": lambda lr: fnn.AdamW(lr),
    "lion": lambda lr: fnn.Lion(lr, weight_decay=0.01),
}


def dense_with_gradients(shape=(7, 5), dtype=np.float64, seed=0):
    random = np.random.default_rng(seed)
    dense = fnn.Dense(*shape)
    dense.weights, dense.biases = random.normal(size=shape).astype(dtype), np.zeros(shape[1], dtype)
    set_gradients(dense, random)
    return dense


def set_gradients(dense, random):
    # Sizes differ by orders of magnitude, and shrink later, which is where AMSGrad differs from Adam.
    scale = 10.0 ** random.uniform(-4, 1, dense.weights.shape)
    dense.dweights = (scale * random.normal(size=dense.weights.shape)).astype(dense.weights.dtype)
    dense.dbiases = random.normal(size=dense.biases.shape).astype(dense.biases.dtype)


def test_every_optimiser_is_compared():
    assert set(OURS) == set(reference.OPTIMIZERS)
    kinds = {make(0.1).kind for make in OURS.values()}
    assert kinds == set(range(11))
    for name, make in OURS.items():
        assert make(0.1).n_slots == reference.OPTIMIZERS[name][1]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (16, 16), (33, 31)])
@pytest.mark.parametrize("name", OURS)
def test_steps_equal_numpy(name, shape, dtype):
    random = np.random.default_rng(1)
    dense = dense_with_gradients(shape, dtype)
    rate = fnn.InverseTimeDecay(0.05, decay=0.1)
    optimizer = OURS[name](rate)
    update, slots, settings = reference.OPTIMIZERS[name]
    wanted = {key: value.astype(np.float64) for key, value in dense.parameters().items()}
    state = {key: [np.zeros_like(value) for _ in range(slots)] for key, value in wanted.items()}
    largest, path = 0.0, 0.0
    for step in range(STEPS):
        set_gradients(dense, random)
        before = {key: value.copy() for key, value in wanted.items()}
        for key, gradient in dense.gradients().items():
            g = gradient.astype(np.float64)
            update(wanted[key], g, state[key], step, reference.inverse_time_decay(0.05, 0.1, step), **settings)
            largest = max(largest, abs(wanted[key]).max())
            path += abs(wanted[key] - before[key]).max()
        arrays = dense.parameters()
        optimizer.update(dense)
        assert all(dense.parameters()[key] is array for key, array in arrays.items())
    assert optimizer.step == STEPS
    # Each step rounds the parameter once and its own length a few times; the state's errors stay in it.
    bound = np.finfo(dtype).eps * (STEPS * largest + STEPS * path)
    for key, array in dense.parameters().items():
        assert array.dtype == dtype
        assert abs(array - wanted[key]).max() <= bound, key


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", OURS)
def test_gradients_that_explode_do_what_they_do_in_numpy(name, dtype):
    # Squares of the larger ones overflow.
    top = float(np.finfo(dtype).max)
    sizes = [0.0, 1.0, np.sqrt(top) / 1e3, np.sqrt(top) * 1e3, top / 2, np.inf, np.nan]
    gradients = np.array([[sign * size for size in sizes for sign in (1, -1)] * 3], dtype)
    dense = fnn.Dense(1, gradients.size)
    dense.weights, dense.biases = np.ones(gradients.shape, dtype), np.zeros(gradients.size, dtype)
    dense.dweights, dense.dbiases = gradients, np.zeros(gradients.size, dtype)
    update, slots, settings = reference.OPTIMIZERS[name]
    wanted, state = np.ones(gradients.shape, dtype), [np.zeros(gradients.shape, dtype) for _ in range(slots)]
    with np.errstate(all="ignore"):
        update(wanted, gradients, state, 0, 0.05, **settings)
    OURS[name](0.05).update(dense)
    np.testing.assert_allclose(dense.weights, wanted, rtol=1e-5)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["momentum", "nesterov", "rmsprop", "adam", "amsgrad", "lion"])
def test_state_below_normal_numbers_becomes_zero(name, dtype):
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    small, n = np.finfo(dtype).tiny / 4, 1003
    optimizer = OURS[name](0.01)
    for build in (optim.update.serial, optim.update.parallel):
        params, grads = np.ones(n, dtype), np.zeros(n, dtype)
        state = [np.full(n if i < optimizer.n_slots else 0, small, dtype) for i in range(3)]
        build(optimizer.kind, params, grads, *state, optimizer.scalars(0, 1)[0], 2)
        # AMSGrad's third array does not decay: it is the running maximum of the second.
        for array in state[: min(2, optimizer.n_slots)]:
            assert not array.any() if x86 else array.any()
        # Outside updates such numbers are as real as before, in the caller and in the threads of the pool.
        assert (np.full(n, small, dtype) * dtype(0.5)).all()
        a, c = np.full((64, 64), small, dtype), np.empty((64, 64), dtype)
        scratch = np.empty(gemm.scratch_size(64, 64, dtype, 2), dtype)
        gemm.matmul.parallel(a, np.eye(64, dtype=dtype), c, 0, scratch, 2)
        assert (c == small).all()


def test_state_equals_numpys():
    dense = dense_with_gradients()
    optimizer = fnn.Adam(0.1, amsgrad=True)
    gradient = dense.dweights.copy()
    optimizer.update(dense)
    m, v, peak = optimizer.slots(dense, "weights", dense.weights)
    np.testing.assert_allclose(m, 0.1 * gradient, rtol=1e-15)
    np.testing.assert_allclose(v, 0.001 * gradient**2, rtol=1e-13)
    np.testing.assert_array_equal(peak, v)


# Scalars.


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("rate", [0.1, fnn.CosineDecay(0.1, steps=300), fnn.ExponentialDecay(1.0, rate=0.99)])
def test_scalars_have_the_same_bits_in_pieces(name, rate):
    optimizer = OURS[name](rate)
    whole = optimizer.scalars(0, 1000)
    assert whole.shape == (1000, 8) and whole.dtype == np.float64 and whole.flags.c_contiguous
    random = np.random.default_rng(0)
    cuts = sorted({0, 1000, 1, 63, 64, 65, 999, *random.integers(0, 1000, 20).tolist()})
    pieces = [optimizer.scalars(first, last - first) for first, last in zip(cuts, cuts[1:], strict=False)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(np.concatenate([optimizer.scalars(i, 1) for i in range(1000)]), whole)
    assert optimizer.scalars(5, 0).shape == (0, 8)


def test_bias_corrections():
    table = fnn.Adam(0.5, beta_1=0.9, beta_2=0.999).scalars(0, 5000)
    steps = np.arange(1, 5001)
    np.testing.assert_allclose(table[:, 0], 0.5 / (1 - 0.9**steps), rtol=1e-14)
    np.testing.assert_allclose(table[:, 5], 1 / (1 - 0.999**steps), rtol=1e-12)
    assert fnn.Adam(0.5, beta_1=0.0, beta_2=0.0).scalars(0, 2)[:, [0, 5]].tolist() == [[0.5, 1.0]] * 2
    far = fnn.Adam(0.5).scalars(10**9, 2)
    assert far[:, [0, 5]].tolist() == [[0.5, 1.0]] * 2


def test_current_learning_rate():
    dense = dense_with_gradients()
    optimizer = fnn.SGD(fnn.InverseTimeDecay(1.0, decay=1.0))
    assert optimizer.current_learning_rate == 1.0
    seen = []
    for _ in range(3):
        optimizer.update(dense)
        seen.append(optimizer.current_learning_rate)
    assert seen == [1.0, 1 / 2, 1 / 3]
    optimizer.learning_rate = 0.25
    assert optimizer.current_learning_rate == 0.25
    np.testing.assert_array_equal(optimizer.learning_rates(0, 2), [0.25, 0.25])


# State.


def test_state_is_kept_by_layer_and_name_and_dies_with_the_layer():
    optimizer = fnn.SGD(0.1, momentum=0.9)
    one, two = dense_with_gradients(), dense_with_gradients()
    optimizer.update(one, two)
    assert optimizer.slots(one, "weights", one.weights)[0] is optimizer.slots(one, "weights", one.weights)[0]
    assert optimizer.slots(one, "weights", one.weights)[0] is not optimizer.slots(two, "weights", two.weights)[0]
    assert len(optimizer._state) == 2
    del one
    gc.collect()
    assert len(optimizer._state) == 1


def test_state_dies_with_the_optimizer_at_once():
    optimizer, dense = fnn.Adam(0.1), dense_with_gradients()
    optimizer.update(dense)
    gone = [weakref.ref(array) for array in optimizer.slots(dense, "weights", dense.weights)]
    dense._held = None
    gc.disable()
    try:
        del optimizer
        assert [one() for one in gone] == [None] * 2
    finally:
        gc.enable()


@pytest.mark.parametrize("settings", [{}, {"unsafe_hash": True}, {"eq": False}])
def test_layers_that_call_themselves_equal_have_state_of_their_own(settings):
    @dataclasses.dataclass(**settings)
    class Twin(fnn.Layer):
        width: int

        def __post_init__(self):
            self.factor, self.dfactor = np.ones(self.width), None

        def forward(self, inputs, training=True):
            return inputs

        def backward(self, dvalues):
            return dvalues

        parameters, gradients = (lambda self: {"factor": self.factor}), (lambda self: {"factor": self.dfactor})

    one, two, other, optimizer, alone = Twin(2), Twin(2), Twin(2), fnn.Adam(0.1), fnn.Adam(0.1)
    for step in range(3):
        one.dfactor, two.dfactor = np.array([1.0, -step]), np.array([-3.0, 2.0])
        optimizer.update(one, two)
        other.dfactor = two.dfactor
        alone.update(other)
    assert (two.factor == other.factor).all() and (one.factor != two.factor).all()
    assert len(optimizer._state) == 2
    twin = copy.deepcopy(optimizer)
    del one
    gc.collect()
    assert len(optimizer._state) == 1 and twin.keeps(two, "factor")


def test_a_lone_copy_keeps_the_state():
    def go_on(optimizer, dense):
        set_gradients(dense, np.random.default_rng(7))
        optimizer.update(dense)
        return dense.weights.tobytes()

    ends = []
    for how in ("itself", "copy", "pair", "pair turned round"):
        dense, optimizer = dense_with_gradients(), fnn.Adam(0.1)
        optimizer.update(dense)
        if how == "copy":
            first, optimizer = optimizer, copy.deepcopy(optimizer)
            before = [array.copy() for array in first.slots(dense, "weights", dense.weights)]
        elif how == "pair":
            dense, optimizer = copy.deepcopy((dense, optimizer))
        elif how == "pair turned round":
            optimizer, dense = copy.deepcopy((optimizer, dense))
        if how == "pair":
            earlier = []
            for _ in range(3):
                earlier.append((dense, optimizer))
                optimizer, dense = copy.deepcopy([optimizer, dense])
                assert len(optimizer._state) == 1
        ends.append(go_on(optimizer, dense))
        if how == "copy":
            assert all(
                (a == b).all() for a, b in zip(before, first.slots(dense, "weights", dense.weights), strict=True)
            )
    assert len(set(ends)) == 1


def test_state_follows_dtype_and_shape():
    optimizer = fnn.SGD(0.1, momentum=0.9)
    dense = dense_with_gradients()
    optimizer.update(dense)
    (state,) = optimizer.slots(dense, "weights", dense.weights)
    (cast,) = optimizer.slots(dense, "weights", dense.weights.astype(np.float32))
    assert cast.dtype == np.float32 and cast.any()
    np.testing.assert_array_equal(cast, state.astype(np.float32))
    (new,) = optimizer.slots(dense, "weights", np.zeros((2, 2)))
    assert new.shape == (2, 2) and not new.any()


def test_bound_arrays_are_the_state():
    optimizer = fnn.SGD(0.5, momentum=0.5)
    dense = dense_with_gradients()
    buffer = np.zeros(100)
    view = buffer[3 : 3 + dense.weights.size].reshape(dense.weights.shape)
    optimizer.bind(dense, "weights", [view])
    optimizer.update(dense)
    assert optimizer.slots(dense, "weights", dense.weights)[0] is view
    np.testing.assert_array_equal(view, -0.5 * dense.dweights)
    assert not buffer[:3].any()
    with pytest.raises(ValueError, match="must be 1 for SGD, got 2"):
        optimizer.bind(dense, "weights", [view, view])


def test_reset_starts_again():
    first, second = dense_with_gradients(), dense_with_gradients()
    optimizer = fnn.Adam(0.1)
    optimizer.update(first)
    optimizer.reset()
    assert optimizer.step == 0
    optimizer.update(second)
    np.testing.assert_array_equal(first.weights, second.weights)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_of_layer_and_optimiser_go_on_alike(clone):
    dense, optimizer = dense_with_gradients(), fnn.Adam(0.1)
    optimizer.update(dense)
    other, other_optimizer = clone((dense, optimizer))
    optimizer.update(dense)
    other_optimizer.update(other)
    assert other is not dense and other_optimizer.step == 2
    np.testing.assert_array_equal(dense.weights, other.weights)


# Layers of the user's own, and errors.


class Scale(fnn.Layer):
    """One factor, kept in a layout that no kernel takes."""

    def __init__(self):
        self.factor, self.dfactor = np.ones((4, 6), ">f8")[::2, ::2], None

    def forward(self, inputs, training=True):
        return inputs

    def backward(self, dvalues):
        return dvalues

    def parameters(self):
        return {"factor": self.factor}

    def gradients(self):
        return {"factor": self.dfactor}


def test_user_layers_learn_in_place():
    layer, optimizer = Scale(), fnn.SGD(0.5)
    factor = layer.factor
    layer.dfactor = [[1, 2, 3], [4, 5, 6]]
    optimizer.update(fnn.ReLU(), layer)
    assert layer.factor is factor
    np.testing.assert_array_equal(factor, [[0.5, 0, -0.5], [-1, -1.5, -2]])


def test_errors_change_nothing():
    good, bad, optimizer = dense_with_gradients(), fnn.Dense(2, 2), fnn.SGD(0.5)
    weights = good.weights.copy()
    with pytest.raises(RuntimeError, match=r"no gradient of its weights: call forward\(\) and backward\(\)"):
        optimizer.update(good, bad)
    bad.dweights, bad.dbiases = np.zeros((2, 3)), np.zeros(2)
    with pytest.raises(ValueError, match="gradient of weights must have the shape"):
        optimizer.update(good, bad)
    bad.dweights = np.zeros((2, 2))
    optimizer.learning_rate = -1.0
    with pytest.raises(ValueError, match="learning_rate"):
        optimizer.update(good, bad)
    np.testing.assert_array_equal(good.weights, weights)
    assert optimizer.step == 0


def test_a_layer_learns_once_a_step():
    layer, optimizer = dense_with_gradients(), fnn.SGD(0.5)
    weights = layer.weights.copy()
    with pytest.raises(ValueError, match="takes each layer once"):
        optimizer.update(layer, fnn.ReLU(), layer)
    np.testing.assert_array_equal(layer.weights, weights)
    assert optimizer.step == 0
    # Layers whose last step has found all in order, too.
    known = fnn.Dense(2, 3, seed=0)
    for _ in range(3):
        known.backward(np.ones_like(known.forward([[1.0, 2.0]])))
        optimizer.update(known)
    assert known._held is not None
    weights = known.weights.copy()
    with pytest.raises(ValueError, match="takes each layer once"):
        optimizer.update(known, known)
    assert (known.weights == weights).all() and optimizer.step == 3


def test_whole_numbers_do_not_learn():
    layer, optimizer = Scale(), fnn.SGD(0.1)
    layer.factor = np.ones((2, 3), int)
    layer.dfactor = np.ones((2, 3))
    with pytest.raises(TypeError, match=r"factor of Scale must hold floating-point numbers to learn, got int64"):
        optimizer.update(layer)
    assert optimizer.step == 0


class Lying:
    """A schedule that gives what it should not."""

    def __init__(self, rates):
        self.rates = rates

    def __call__(self, step):
        return 0.1

    def values(self, first_step, count):
        return self.rates


@pytest.mark.parametrize("rates", [[0.1, 0.2], [-1.0], [np.nan], []])
def test_schedules_that_lie_are_caught(rates):
    with pytest.raises(ValueError, match="mend the values"):
        fnn.SGD(Lying(rates)).scalars(0, 1)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: fnn.SGD(-0.1), ValueError, "learning_rate"),
        (lambda: fnn.SGD(np.inf), ValueError, "learning_rate"),
        (lambda: fnn.SGD("0.1"), TypeError, "a number or a schedule, got str"),
        (lambda: fnn.SGD(fnn.InverseTimeDecay), TypeError, "got the class InverseTimeDecay"),
        (lambda: fnn.SGD(lambda step: 0.1), TypeError, "got function"),
        (lambda: fnn.SGD(momentum=1.0), ValueError, "momentum"),
        (lambda: fnn.SGD(nesterov=True), ValueError, "nesterov needs momentum"),
        (lambda: fnn.SGD(0.1, 0.9, 1), TypeError, "nesterov must be True or False"),
        (lambda: fnn.AdaGrad(epsilon=0), ValueError, "epsilon must be finite and greater than 0"),
        (lambda: fnn.RMSprop(rho=-0.1), ValueError, "rho"),
        (lambda: fnn.Adam(beta_1=1), ValueError, "beta_1"),
        (lambda: fnn.Adam(beta_2="x"), TypeError, "beta_2"),
        (lambda: fnn.AdamW(weight_decay=-1), ValueError, "weight_decay"),
        (lambda: fnn.Lion(beta_2=1.5), ValueError, "beta_2"),
        (lambda: fnn.Adam().scalars(-1, 1), ValueError, "first_step"),
        (lambda: fnn.Adam().scalars(0, 1.0), TypeError, "count"),
    ],
)
def test_bad_arguments(make, error, says):
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize("name", OURS)
def test_configurations(name):
    for rate in (0.125, fnn.InverseTimeDecay(1.0, decay=0.5)):
        optimizer = OURS[name](rate)
        config = optimizer.get_config()
        again = Optimizer.from_config(config, fnn.Schedule.from_config)
        assert type(again) is type(optimizer) and again.get_config() == config
        np.testing.assert_array_equal(again.scalars(0, 10), optimizer.scalars(0, 10))
        assert repr(again) == repr(optimizer)


def test_bad_configurations():
    config = fnn.SGD(fnn.InverseTimeDecay(1.0, decay=0.5)).get_config()
    with pytest.raises(ValueError, match="schedule_from"):
        Optimizer.from_config(config)
    with pytest.raises(ValueError, match="'SGD'"):
        Optimizer.from_config({"type": "os.system"})
    with pytest.raises(ValueError, match="does not fit SGD"):
        Optimizer.from_config({"type": "SGD", "speed": 1})


# Rows of scalars that are made ahead, and state that is not checked again, are those of `scalars` and `slots`.


def twin_steps(make, steps, between=lambda step, optimizer: None):
    """Train with a kept optimiser, and with one whose scalars and state are looked up anew at each step."""
    kept, kept_dense = make(), dense_with_gradients()
    fresh, fresh_dense = make(), dense_with_gradients()
    for step in range(steps):
        for optimizer, dense in ((kept, kept_dense), (fresh, fresh_dense)):
            between(step, optimizer)
            set_gradients(dense, np.random.default_rng(step))
            optimizer.update(dense)
        fresh.__setstate__(fresh.__getstate__())
        np.testing.assert_array_equal(kept_dense.weights, fresh_dense.weights, err_msg=f"step {step}")
    return kept


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "rate",
    [
        lambda: 0.01,
        lambda: fnn.InverseTimeDecay(0.1, decay=0.01),
        lambda: fnn.StepDecay(0.1, factor=0.5, every=7),
        lambda: fnn.ExponentialDecay(0.1, rate=0.99),
        lambda: fnn.CosineDecay(0.1, steps=300),
        lambda: fnn.OneCycle(0.1, steps=300),
        lambda: fnn.Warmup(fnn.InverseTimeDecay(0.1, decay=0.01), steps=9),
        lambda: fnn.ReduceOnPlateau(0.1, patience=2),
    ],
)
def test_rows_made_ahead_have_the_bits_of_scalars(name, rate):
    optimizer = OURS[name](rate())
    for step in [*range(600), 3, 599, 10**6, 0]:
        row = optimizer._ahead.row(optimizer, step)
        assert row.tobytes() == optimizer.scalars(step, 1)[0].tobytes(), step
        assert row.flags.carray and row.shape == (8,) and row.dtype == np.float64
    for step, count in [(0, 1), (1, 1), (2, 9), (11, 9), (20, 300), (320, 9), (329, 200), (3, 2), (5, 0), (6, 1)]:
        optimizer.step = step
        rows = optimizer.next_scalars(count)
        assert rows.tobytes() == optimizer.scalars(step, count).tobytes(), (step, count)
        assert rows.flags.carray and rows.shape == (count, 8) and rows.dtype == np.float64


class Zigzag(fnn.Schedule):
    """A schedule of the user's own, which goes by more than its attributes."""

    calls = 0

    def rate_at(self, step):
        Zigzag.calls += 1
        return 0.01 * (1 + Zigzag.calls // 4 % 2)


class Halved(fnn.InverseTimeDecay):
    """A subclass of one of fastnn's."""

    factor = 0.5

    def _table(self, first_step, count):
        return self.factor * super()._table(first_step, count)


def change_settings(step, optimizer):
    if step == 20:
        optimizer.learning_rate = 0.02
    elif step == 23:
        optimizer.learning_rate = fnn.InverseTimeDecay(0.05, decay=0.1)
    elif step == 30:
        optimizer.learning_rate.decay = 0.5
    elif step == 33:
        optimizer.learning_rate = fnn.ReduceOnPlateau(0.02, patience=0)
    elif 33 < step < 40:
        optimizer.learning_rate.observe(1.0)
    elif step == 41:
        optimizer.learning_rate = fnn.Warmup(fnn.InverseTimeDecay(0.05, decay=0.1), steps=2)
    elif step == 47:
        optimizer.learning_rate.schedule.decay = 3.0
    elif step == 50:
        optimizer.learning_rate = Halved(0.05, decay=0.1)
    elif step == 53:
        Halved.factor = 0.25
    elif step == 55:
        optimizer.learning_rate = np.array(0.01)
    elif step == 57:
        optimizer.learning_rate[...] = 0.02
    elif step == 60:
        optimizer.step = 5
    elif step == 63:
        optimizer.reset()
    elif step == 66 and isinstance(optimizer, fnn.SGD):
        optimizer.momentum = 0.5
    elif step == 66 and isinstance(optimizer, fnn.Adam):
        optimizer.beta_1, optimizer.amsgrad = 0.5, True


@pytest.mark.parametrize("name", OURS)
def test_settings_changed_between_steps_are_seen(name):
    rates = []

    def between(step, optimizer):
        Halved.factor = 0.5 if step <= 53 else 0.25
        change_settings(step, optimizer)
        row = optimizer._ahead.row(optimizer, optimizer.step)
        assert row.tobytes() == optimizer.scalars(optimizer.step, 1)[0].tobytes(), step
        assert optimizer.next_scalars(2).tobytes() == optimizer.scalars(optimizer.step, 2).tobytes(), step
        rates.append(row[0])

    twin_steps(lambda: OURS[name](0.01), 70, between)
    assert len(set(rates)) > 20


def test_a_schedule_of_the_users_own_is_asked_each_step():
    optimizer, dense = fnn.SGD(Zigzag()), dense_with_gradients()
    for step in range(10):
        before = Zigzag.calls
        optimizer.update(dense)
        assert Zigzag.calls == before + 1, step


@pytest.mark.parametrize("rate", [True, -1.0, np.nan, "0.1", None, fnn.InverseTimeDecay])
def test_a_bad_rate_is_refused_at_any_step(rate):
    optimizer, dense = fnn.SGD(1.0), dense_with_gradients()
    for _ in range(3):
        optimizer.update(dense)
    weights, optimizer.learning_rate = dense.weights.copy(), rate
    with pytest.raises((TypeError, ValueError), match="learning_rate"):
        optimizer.update(dense)
    np.testing.assert_array_equal(dense.weights, weights)
    assert optimizer.step == 3


def test_a_rate_that_turns_bad_is_refused_when_its_step_comes():
    schedule = fnn.InverseTimeDecay(1.0, decay=0.1)
    schedule.decay = -0.3
    optimizer, dense = fnn.SGD(schedule), dense_with_gradients()
    for _ in range(4):
        optimizer.update(dense)
    with pytest.raises(ValueError, match="learning rate"):
        optimizer.update(dense)
    assert optimizer.step == 4


def test_state_that_is_bound_or_asked_for_between_steps():
    def between(step, optimizer):
        if step in (2, 5) and len(optimizer._state):
            (layer,) = optimizer._state
            arrays = optimizer.slots(layer, "weights", layer.weights)
            if step == 2:
                optimizer.bind(layer, "weights", [np.asfortranarray(2 * array) for array in arrays])
            else:
                optimizer.bind(layer, "weights", [array[...] for array in arrays])

    twin_steps(lambda: fnn.Adam(0.1), 8, between)


def test_state_that_others_have_changed_reaches_no_kernel():
    dense, optimizer = dense_with_gradients(), fnn.Adam(0.1)
    optimizer.update(dense)
    state = optimizer.slots(dense, "weights", dense.weights)
    with pytest.raises(ValueError, match="resize"):
        state[0].resize((1000, 5))
    state[0].flags.writeable = False
    kept = [array.copy() for array in state]
    optimizer.slots(dense, "weights", dense.weights)
    optimizer.update(dense)
    np.testing.assert_array_equal(state[0], kept[0])
    assert optimizer.slots(dense, "weights", dense.weights)[0] is not state[0]
    # Other numbers of arrays, as another kind of the optimiser needs them.
    optimizer.amsgrad = True
    optimizer.update(dense)
    assert len(optimizer.slots(dense, "weights", dense.weights)) == 3


class Frozen(fnn.Dense):
    """A dense layer of which only the biases learn."""

    def parameters(self):
        return {"biases": super().parameters()["biases"]}


class Bare:
    """No `Layer`, but it has what learns."""

    def __init__(self):
        self.value = np.ones(3)

    def parameters(self):
        return {"value": self.value}

    def gradients(self):
        return {"value": np.ones(3)}


def test_layers_that_say_themselves_what_learns():
    frozen, bare, optimizer = Frozen(2, 2), Bare(), fnn.SGD(0.5)
    weights = frozen.weights.copy()
    frozen.dweights, frozen.dbiases = np.ones((2, 2)), np.ones(2)
    optimizer.update(frozen, bare)
    np.testing.assert_array_equal(frozen.weights, weights)
    np.testing.assert_array_equal(frozen.biases, [-0.5, -0.5])
    np.testing.assert_array_equal(bare.value, [0.5] * 3)
