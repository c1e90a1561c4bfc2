"""Same bits for any number of threads, compiled, layer by layer and many at once; a row's prediction stands alone."""

import itertools
import platform
from functools import partial

import numpy as np
import pytest

import fastnn as fnn
from fastnn import _order, engine, threads, trainer
from fastnn.kernels import gemm

CONFIGURATIONS = 200
CLASSES = (2, 3, 3, 5, 10, 16, 17, 40)
ACTIVATIONS = (fnn.ReLU, fnn.ReLU, fnn.Sigmoid, fnn.Tanh, fnn.Linear, fnn.Softmax)
OPTIMIZERS = (
    lambda rate: fnn.SGD(rate),
    lambda rate: fnn.SGD(rate, momentum=0.9),
    lambda rate: fnn.SGD(rate, momentum=0.8, nesterov=True),
    lambda rate: fnn.AdaGrad(rate),
    lambda rate: fnn.AdaGrad(rate, epsilon_inside=True),
    lambda rate: fnn.RMSprop(rate),
    lambda rate: fnn.RMSprop(rate, epsilon_inside=True),
    lambda rate: fnn.Adam(rate),
    lambda rate: fnn.Adam(rate, amsgrad=True),
    lambda rate: fnn.AdamW(rate),
    lambda rate: fnn.Lion(rate, weight_decay=0.1),
)
KINDS = 11  # of `fastnn.kernels.optim`: each is there once


class EachStep(fnn.Callback):
    """Wants every step, and so sends `fit` down the layer-by-layer path."""

    def on_step_end(self, step, logs):
        pass


class Spy:
    """Stands for `threads.call`; remembers which kernels ran on how many workers."""

    def __init__(self):
        self.call, self.seen = threads.call, []

    def __call__(self, kernel, n_workers, *args, **how):
        used = self.call(kernel, n_workers, *args, **how)
        self.seen.append((kernel.__name__, used))
        return used

    def most(self, name):
        """Return the largest number of workers the kernel of that name ran on."""
        return max((used for kernel, used in self.seen if kernel == name), default=0)


@pytest.fixture
def spread(monkeypatch):
    """Give even the smallest work as many workers as are allowed, and spy on the calls."""
    real, spy = threads.workers, Spy()

    def workers(work, limit=None, enough=1.0):
        return real(max(work, 1e3), limit, 1.0)

    monkeypatch.setattr(threads, "workers", workers)
    monkeypatch.setattr(threads, "call", spy)
    # Panels wherever a layer has two of them: also where they would not pay.
    monkeypatch.setattr(trainer, "_PANEL_ROWS", 10**6)
    monkeypatch.setattr(trainer, "PANEL_STEPS", 1)
    monkeypatch.setattr(trainer, "_PANEL_SPARE", 2.0)
    monkeypatch.setattr(trainer, "_PART_WORK", 1)
    monkeypatch.setattr(trainer.zeros, "PAYS", 0.0)
    monkeypatch.setattr(trainer.zeros, "GRADIENT_PAYS", 0.0)
    # Shuffled batches are sorted by keys also where that does not pay.
    for name, value in (("_LEAST", 0), ("_WIDE", 0), ("_PAYS", -1.0), ("_TILES", 4), ("_ALIKE", 1)):
        monkeypatch.setattr(_order, name, value)
    yield spy
    fnn.set_num_threads(None)


def sizes(r, high):
    """Draw from 1 to `high`, small ones and those beside a register's edge more often."""
    if r.random() < 0.3:
        return int(min(high, r.choice([1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 256])))
    return int(np.exp(r.uniform(0, np.log(high))))


def between(r):
    """Return what makes the layers between two dense ones: none, one or two."""
    makers = []
    for _ in range(r.choice([0, 1, 1, 1, 2])):
        if r.random() < 0.25:
            own = int(r.integers(100)) if r.random() < 0.3 else None
            makers.append(partial(fnn.Dropout, float(r.choice([0.0, 0.2, 0.7])), seed=own))
        else:
            makers.append(ACTIVATIONS[r.integers(len(ACTIVATIONS))])
    return makers


def layers_of(r, widths):
    """Return what makes the layers of a network of these widths."""
    makers = between(r) if r.random() < 0.15 else []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        strengths = {}
        for name in ("weight_l1", "weight_l2", "bias_l1", "bias_l2"):
            if r.random() < 0.12:
                strengths[name] = float(r.choice([1e-4, 1e-2]))
        makers.append(partial(fnn.Dense, n_in, n_out, **strengths))
        if i < len(widths) - 2 or r.random() < 0.2:
            makers += between(r)
    return makers


class Configuration:
    """A network, data and a way to train it, all drawn from a number; `fit` trains a fresh copy."""

    def __init__(self, number):
        r = np.random.default_rng([7, number])
        self.dtype = (np.float32, np.float64)[number % 2]
        self.optimizer = OPTIMIZERS[number // 2 % len(OPTIMIZERS)]
        self.rows = sizes(r, 500)
        self.batch = None if r.random() < 0.25 else max(sizes(r, 500), self.rows // 6)
        if number % 10 == 0:
            self.batch, self.rows = 1, min(self.rows, 12)
        self.epochs = 3 if self.rows < 100 else 2
        self.shuffle, self.seed = bool(r.random() < 0.6), int(r.integers(2**40))
        self.rate = fnn.InverseTimeDecay(0.02, decay=0.1) if r.random() < 0.3 else 0.01
        kind = number // 22 % 6
        width = sizes(r, 300) if kind == 5 else int(r.choice(CLASSES))
        smoothing = float(r.choice([0.05, 0.3])) if kind in (3, 4) else 0.0
        self.loss = fnn.MeanSquaredError if kind == 5 else partial(fnn.SoftmaxCrossEntropy, smoothing)
        self.widths = [sizes(r, 300) for _ in range(r.integers(1, 6))] + [width]
        self.makers = layers_of(r, self.widths)
        self.X = r.normal(size=(self.rows, self.widths[0])).astype(self.dtype)
        if number % 3 == 0:
            # Runs of zeros, as images have.
            self.X[np.repeat(r.random((self.rows, self.widths[0] // 7 + 1)) < 0.7, 7, axis=1)[:, : self.widths[0]]] = 0
        labels = r.integers(0, width, self.rows)
        one_hot, likely = np.eye(width)[labels], r.dirichlet(np.ones(width), self.rows)
        # A few rows are as sure as one-hot ones are, so that batches of nothing else come up.
        mixed = np.where(r.random((self.rows, 1)) < 0.3, one_hot, likely)
        self.y = (labels, one_hot, mixed, labels, likely, r.normal(size=(self.rows, width)))[kind]

    def model(self, twin=0):
        return fnn.Sequential(*(make() for make in self.makers), seed=3 + twin)

    def fit(self, callbacks=(), n_threads=None, twin=0):
        """Return all that a training leaves behind, as bytes and numbers; a twin differs by its seeds."""
        model, optimizer = self.model(twin), self.optimizer(self.rate)
        history = model.fit(
            self.X, self.y, loss=self.loss(), optimizer=optimizer, epochs=self.epochs, batch_size=self.batch,
            shuffle=self.shuffle, seed=self.seed + twin, callbacks=callbacks, n_threads=n_threads,
        )  # fmt: skip
        return self.left(model, optimizer, history), history

    def fit_twins(self, count, n_threads):
        """Train twins side by side and return what each leaves behind."""
        models = [self.model(twin) for twin in range(count)]
        optimizers = [self.optimizer(self.rate) for _ in range(count)]
        histories = fnn.fit_many(
            models, self.X, self.y, loss=self.loss(), optimizer=optimizers, epochs=self.epochs,
            batch_size=self.batch, shuffle=self.shuffle, seeds=[self.seed + twin for twin in range(count)],
            n_threads=n_threads,
        )  # fmt: skip
        return [self.left(*one) for one in zip(models, optimizers, histories, strict=True)]

    @staticmethod
    def left(model, optimizer, history):
        state = [
            slot.tobytes()
            for layer in model.layers
            for name, value in layer.parameters().items()
            for slot in optimizer.slots(layer, name, value)
        ]
        return {
            "weights": {name: value.tobytes() for name, value in model.parameters().items()},
            "dtypes": {value.dtype for value in model.parameters().values()},
            "state": state,
            "history": {name: np.array(curve).tobytes() for name, curve in history.items()},
            "steps": (history.steps, optimizer.step, history.diverged_at),
        }

    def __repr__(self):
        how = f"rows={self.rows} batch={self.batch} shuffle={self.shuffle}"
        return f"{self.model()} {how} {self.loss()} {self.optimizer(self.rate)}"


def differences(one, other):
    return [name for name in one if one[name] != other[name]]


@pytest.mark.parametrize("number", range(CONFIGURATIONS))
def test_same_bits_for_any_threads_and_either_path(number, spread):
    job = Configuration(number)
    wanted, history = job.fit(n_threads=1)
    assert history.compiled and {spread.most("run_chunk"), spread.most("run_narrow")} <= {0, 1}
    assert wanted["dtypes"] == {np.dtype(job.dtype)}
    for n_threads in (2, 3, 4):
        spread.seen.clear()
        got, _ = job.fit(n_threads=n_threads)
        # Networks of two narrow layers have a loop of their own, which is serial.
        ran = spread.most("run_chunk")
        assert ran == n_threads or spread.most("run_narrow") == 1, "the parallel build did not run"
        assert not differences(wanted, got), (n_threads, job)
    spread.seen.clear()
    fnn.set_num_threads(1 + number % 4)
    got, history = job.fit([EachStep()])
    assert not history.compiled
    assert not {name for name, _ in spread.seen} & {"run_chunk", "run_narrow"}
    assert spread.most("layer_forward") == 1 + number % 4
    assert not differences(wanted, got), ("layer by layer", job)


@pytest.mark.parametrize("number", range(CONFIGURATIONS))
def test_same_bits_many_at_once(number, spread):
    job = Configuration(number)
    alone = [job.fit(n_threads=1, twin=twin)[0] for twin in range(2)]
    assert alone[0]["weights"] != alone[1]["weights"]
    for n_threads in (1, 2):
        spread.seen.clear()
        together = job.fit_twins(2, n_threads)
        assert spread.most("run_many") == n_threads and not spread.most("run_chunk")
        for twin in range(2):
            assert not differences(alone[twin], together[twin]), (n_threads, twin, job)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("widths", "batch"),
    [
        ((790, 800, 10), 310),
        ((100, 1024, 260, 3), 259),
        ((28, 300, 300, 2), 500),
        ((512, 150, 512, 4), 65),
        ((1600, 40), 1),
    ],
)
def test_same_bits_of_wide_layers_and_large_batches(widths, batch, dtype):
    """Where gradients are summed piece by piece, from inputs that are copied first."""
    r = np.random.default_rng(3)
    X, y = r.normal(size=(2 * batch, widths[0])).astype(dtype), r.integers(0, widths[-1], 2 * batch)

    def train(callbacks, n_threads):
        layers = [layer for pair in itertools.pairwise(widths) for layer in (fnn.Dense(*pair), fnn.ReLU())][:-1]
        model = fnn.Sequential(*layers, seed=1)
        how = {"optimizer": fnn.Adam(1e-3), "epochs": 2, "batch_size": batch, "shuffle": False}
        assert model.fit(X, y, callbacks=callbacks, n_threads=n_threads, **how).compiled == (not callbacks)
        return weights(model)

    wanted = train([EachStep()], 2)
    assert train([], 1) == wanted
    assert train([], 2) == wanted


def test_the_configurations_cover_what_they_should():
    jobs = [Configuration(number) for number in range(CONFIGURATIONS)]
    layers = [layer for job in jobs for layer in job.model().layers]
    assert len(jobs) >= 200
    assert {len(job.widths) - 1 for job in jobs} == {1, 2, 3, 4, 5}
    assert {job.optimizer(0.1).kind for job in jobs} == set(range(KINDS))
    assert {type(layer) for layer in layers} >= {fnn.Dense, fnn.Dropout, *ACTIVATIONS}
    assert any(layer.penalty() for layer in layers) and any(job.batch == 1 for job in jobs)
    assert {job.shuffle for job in jobs} == {True, False}
    assert max(max(job.widths) for job in jobs) > 250 and max(job.rows for job in jobs) > 400
    assert any(job.batch and job.rows % job.batch and job.batch < job.rows for job in jobs)


def small(dropout=None, **settings):
    layers = [fnn.Dense(4, 12), fnn.ReLU(), fnn.Dense(12, 3)]
    if dropout is not None:
        layers.insert(2, fnn.Dropout(dropout, **settings))
    return fnn.Sequential(*layers, seed=1)


def small_data(n=40, dtype=np.float32):
    r = np.random.default_rng(5)
    return r.normal(size=(n, 4)).astype(dtype), r.integers(0, 3, n)


def weights(model):
    return b"".join(value.tobytes() for value in model.parameters().values())


def both_paths(train):
    """Return the weights after ``train(callbacks)``, compiled and layer by layer."""
    return weights(train([])), weights(train([EachStep()]))


@pytest.mark.parametrize("own", [None, 9])
@pytest.mark.parametrize("seed", [None, 1, 77])
def test_dropout_draws_the_same_masks_on_either_path(seed, own):
    X, y = small_data()

    def train(callbacks):
        model = small(0.5, seed=own)
        for _ in range(2):  # a second fit draws as the first did
            model.fit(X, y, epochs=2, seed=seed, callbacks=callbacks, batch_size=15)
        return model

    compiled, by_layers = both_paths(train)
    assert compiled == by_layers


def test_dropout_depends_on_the_seed_of_fit():
    X, y = small_data()
    models = [small(0.5) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        model.fit(X, y, epochs=2, seed=seed, shuffle=False)
    first, again, other = map(weights, models)
    assert first == again and first != other


def test_a_dropout_layer_with_a_seed_keeps_to_it():
    X, y = small_data()
    models = [small(0.5, seed=own) for own in (9, 9, 10)]
    for model, seed in zip(models, (1, 2, 1), strict=True):
        model.fit(X, y, epochs=2, seed=seed, shuffle=False)
    first, again, other = map(weights, models)
    assert first == again and first != other


def test_a_layer_used_before_changes_nothing():
    X, y = small_data()

    def train(callbacks):
        model = small(0.5)
        model.forward(X, training=True)
        model.predict(X.astype(np.float64))
        model.fit(X, y, epochs=2, callbacks=callbacks)
        return model

    fresh = small(0.5)
    fresh.fit(X, y, epochs=2)
    assert both_paths(train) == (weights(fresh), weights(fresh))


def test_smoothing_of_probabilities_is_done_once():
    X, _ = small_data()
    y = np.random.default_rng(0).dirichlet([1, 1, 1], len(X))

    def train(callbacks):
        model = small()
        model.fit(X, y, loss=fnn.SoftmaxCrossEntropy(label_smoothing=0.2), epochs=2, callbacks=callbacks)
        return model

    compiled, by_layers = both_paths(train)
    assert compiled == by_layers


def test_a_batch_of_sure_rows_among_probabilities():
    """One-hot rows are probabilities too, whichever batch they fall into."""
    X, labels = small_data()
    y = np.random.default_rng(0).dirichlet([1, 1, 1], len(X))
    y[:20] = np.eye(3)[labels[:20]]

    def train(callbacks):
        model = small()
        model.fit(X, y, epochs=2, batch_size=5, shuffle=False, callbacks=callbacks)
        return model

    compiled, by_layers = both_paths(train)
    assert compiled == by_layers


def test_histories_have_the_same_curves_on_either_path():
    """Zero weights have no penalty at first: the curve has its zero all the same."""
    X, y = small_data()
    curves = []
    for callbacks in ([], [fnn.Callback()], [EachStep()]):
        model = fnn.Sequential(fnn.Dense(4, 3, initializer="zeros", weight_l2=0.1), seed=1)
        curves.append(dict(model.fit(X, y, epochs=3, batch_size=None, callbacks=callbacks)))
    assert curves[0] == curves[1] == curves[2]
    assert {len(curve) for curve in curves[0].values()} == {3}


def test_going_on_after_another_dtype_or_path():
    """The path may change from one fit to the next, and so may the optimiser's arrays it binds."""
    X, y = small_data()
    results = set()
    for ways in itertools.product(([], [EachStep()]), repeat=3):
        model, optimizer = small(), fnn.Adam(0.01)
        for epoch, callbacks in enumerate(ways):
            dtype = np.float64 if epoch == 1 else np.float32
            model.fit(
                X.astype(dtype), y, optimizer=optimizer, epochs=1, initial_epoch=epoch, callbacks=callbacks
            )  # fmt: skip
        results.add(weights(model))
    assert len(results) == 1


# --- numbers below the least normal one ---

X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


def faint(widths, dtype):
    """A network whose weights, and with them hidden values and gradients, are about the least normal number."""
    layers = []
    for k, n in itertools.pairwise(widths):
        layers += [fnn.Dense(k, n, seed=k), fnn.ReLU()]
    for dense in layers[::2]:
        dense.weights = np.asarray(dense.weights * float(2 * np.finfo(dtype).tiny), dtype)
    return fnn.Sequential(*layers[:-1], seed=1)


def faint_numbers(*arrays):
    return sum(int(((array != 0) & (abs(array) < np.finfo(array.dtype).tiny)).sum()) for array in arrays)


def still_real(dtype):
    """Tell whether such numbers are what they are for NumPy, and for kernels that say nothing of them."""
    small = np.finfo(dtype).tiny / 4
    a, c = np.full((64, 64), small, dtype), np.empty((64, 64), dtype)
    scratch = np.empty(gemm.scratch_size(64, 64, dtype, 2), dtype)
    gemm.matmul.parallel(a, np.eye(64, dtype=dtype), c, 0, scratch, 2)
    return (c == small).all() and (a * dtype(0.5)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [(4, 12, 3), (4, 70, 24, 10), (4, 3, 40), (4, 30, 1)])
def test_numbers_below_the_least_normal_one_have_the_same_bits_on_all_paths(widths, dtype, spread):
    X, y = small_data(dtype=dtype)
    loss = fnn.MeanSquaredError() if widths[-1] == 1 else fnn.SoftmaxCrossEntropy()
    y = y.astype(dtype) if widths[-1] == 1 else y
    seen = set()
    for callbacks, workers in (([], 1), ([], 3), ([EachStep()], 1), ([EachStep()], 3), (None, 2)):
        model = faint(widths, dtype)
        given = {"loss": loss, "optimizer": fnn.SGD(0.5), "epochs": 3, "batch_size": 25, "n_threads": workers}
        if callbacks is None:
            fnn.fit_many([model], X, y, **given)
        else:
            model.fit(X, y, callbacks=callbacks, **given)
        assert still_real(dtype)
        seen.add(weights(model) + model.predict(X).tobytes())
    assert len(seen) == 1


@pytest.mark.skipif(not X86, reason="other processors are as fast with such numbers")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [(4, 12, 3), (4, 70, 24), (20, 3)])
def test_layers_take_numbers_below_the_least_normal_one_for_zero(widths, dtype):
    r = np.random.default_rng(3)
    X, dense = r.normal(size=(50, widths[0])).astype(dtype), faint(widths, dtype).layers[0]
    exact = X.astype(np.longdouble) @ dense.weights.astype(np.longdouble)
    assert ((exact != 0) & (abs(exact) < np.finfo(dtype).tiny)).any()
    out = dense.forward(X)
    dz = r.normal(size=out.shape).astype(dtype)
    gradient = dense.backward(dz)
    assert not faint_numbers(out, gradient)
    scratch = np.empty(gemm.scratch_size(50, max(widths), dtype, 2), dtype)
    for build in ("serial", "parallel"):
        y, dx = np.empty_like(out), np.empty_like(gradient)
        getattr(gemm.dense_forward, build)(X, dense.weights, dense.biases.reshape(-1), y, gemm.LINEAR, scratch, 2)
        getattr(gemm.dense_backward_inputs, build)(dz, dense.weights, dx, scratch, 2)
        assert y.tobytes() == out.tobytes() and dx.tobytes() == gradient.tobytes()
    p = np.array([[0.0, -88.0 if dtype == np.float32 else -709.0]], dtype)
    for activation in (fnn.Softmax(), fnn.Sigmoid()):
        assert not faint_numbers(activation.forward(p))
    assert still_real(dtype)


# --- prediction ---


def outputs(model, X, n_threads=1):
    return [row.tobytes() for row in model.predict(X, n_threads=n_threads)]


@pytest.mark.parametrize("number", range(40))
def test_a_row_does_not_depend_on_the_rows_beside_it(number, spread):
    job = Configuration(number)
    r = np.random.default_rng(number)
    n = int(r.choice([5, 30, 97, 250]))
    model, X = job.model(), r.normal(size=(n, job.widths[0])).astype(job.dtype)
    wanted = outputs(model, X)
    order = r.permutation(n)
    assert outputs(model, X[order]) == [wanted[i] for i in order]
    for _ in range(4):
        some = np.flatnonzero(r.random(n) < r.choice([0.1, 0.5, 0.9]))
        assert outputs(model, X[some], int(r.integers(1, 5))) == [wanted[i] for i in some]
    for size in (1, 6, 7, 96, 97):
        got = [row for at in range(0, n, size) for row in outputs(model, X[at : at + size], 1 + size % 4)]
        assert got == wanted, size
    for n_threads in (2, 3, 4):
        spread.seen.clear()
        assert outputs(model, X, n_threads) == wanted
        assert spread.most("predict") == n_threads
    X[1:] = 1e30  # what comes of these is no number, most likely
    assert outputs(model, X)[0] == wanted[0]


def test_workers_that_share_blocks_out_leave_none_and_begin_anew(spread):
    X = np.random.default_rng(0).normal(size=(1001, 3)).astype(np.float32)
    y = np.arange(len(X)) % 4
    model = fnn.Sequential(fnn.Dense(3, 5, seed=0), fnn.ReLU(), fnn.Dense(5, 4, seed=1))
    wanted, figures = model.forward(X, training=False), model.evaluate(X, y, n_threads=1)
    for n_threads in (2, 3, 4, 3, 2):
        for rows in (1001, 193, 192, 191, 7):
            assert model.predict(X[:rows], n_threads=n_threads).tobytes() == wanted[:rows].tobytes()
        assert model.evaluate(X, y, n_threads=n_threads) == figures
    assert spread.most("predict") == spread.most("evaluate") == 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [(30, 130, 70, 3), (3, 300, 513), (1, 128, 200, 10)])
def test_weights_laid_out_once_for_many_rows_change_no_bit(widths, dtype, spread, monkeypatch):
    monkeypatch.setattr(engine.panels, "LEAST_COLUMNS", 100)
    r = np.random.default_rng(2)
    X, y = r.normal(size=(801, widths[0])).astype(dtype), r.integers(0, widths[-1], 801)
    layers = [layer for pair in itertools.pairwise(widths) for layer in (fnn.Dense(*pair), fnn.ReLU())][:-1]
    model = fnn.Sequential(*layers, fnn.Dense(widths[-1], widths[-1]), seed=1)
    for _ in range(2):
        wanted = [row for at in range(0, 801, 90) for row in outputs(model, X[at : at + 90])]
        figures = {str(model.evaluate(X, y, n_threads=n)) for n in (1, 2, 3, 4)}
        assert len(figures) == 1
        assert all(outputs(model, X, n) == wanted for n in (1, 2, 3, 4))
        # Weights are laid out anew by each call.
        for layer in model.layers:
            if isinstance(layer, fnn.Dense):
                layer.weights *= 0.5
                layer.biases += 0.1
    (predictor,) = model._predictors.values()
    assert {len(plan.places) > 0 for plan in predictor.plans.values()} == {False, True}


@pytest.mark.parametrize("number", range(0, 40, 3))
def test_predict_equals_forward_and_evaluate_does_not_depend_on_threads(number, spread):
    job = Configuration(number)
    model = job.model()
    with np.errstate(all="ignore"):
        assert model.predict(job.X).tobytes() == model.forward(job.X, training=False).tobytes()
    figures = [model.evaluate(job.X, job.y, loss=job.loss(), n_threads=n) for n in (1, 2, 3, 4)]
    assert spread.most("evaluate") == 4
    assert figures[1:] == figures[:-1]
    loss = job.loss()
    value = loss.forward(model.predict(job.X), job.y) + sum(layer.penalty() for layer in model.layers)
    assert figures[0]["loss"] == value
    if loss.has_accuracy:
        assert figures[0]["accuracy"] == np.mean(loss.sample_hits, dtype=np.float64)
