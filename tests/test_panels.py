"""Weights laid out in panels while training runs: nobody who looks can tell."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import fitting, trainer
from fastnn.kernels import panels

ROWS, INPUTS, HIDDEN = 40, 30, 256


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Make panels and two workers pay for the smallest networks, and note where they were taken."""
    taken, lay_out = [], trainer.Trainer.lay_out

    def noted(self, steps):
        lay_out(self, steps)
        taken.append(bool(self.plan.table[:, trainer.network.PANELS].any()))

    monkeypatch.setattr(trainer, "PANEL_STEPS", 1)
    monkeypatch.setattr(trainer.threads, "STEP_WORK", 1.0)
    # Where vectors are narrow, one thread alone would have them too.
    monkeypatch.setattr(panels, "LEAST_COLUMNS", 512)
    monkeypatch.setattr(trainer.Trainer, "lay_out", noted)
    return taken


def data(rows=ROWS):
    r = np.random.default_rng(0)
    return r.normal(size=(rows, INPUTS)).astype(np.float32), r.integers(0, 3, rows)


def network(**strengths):
    return fnn.Sequential(fnn.Dense(INPUTS, HIDDEN, **strengths), fnn.ReLU(), fnn.Dense(HIDDEN, 3), seed=1)


def train(model, optimizer, threads=2, **more):
    more = {"epochs": 3, "batch_size": 8, **more}
    return model.fit(*data(), optimizer=optimizer, n_threads=threads, seed=2, progress=False, **more)


def left(model, optimizer):
    slots = [
        s for layer in model.layers for name, v in layer.parameters().items() for s in optimizer.slots(layer, name, v)
    ]
    return [a.tobytes() for a in (*model.parameters().values(), *slots)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rearranging_and_back(dtype, workers):
    random, width = np.random.default_rng(0), panels.panel_width(np.dtype(dtype).itemsize)
    places, size = [], 5
    for k, n in ((1, 1), (3, 64), (5, 65), (7, 200), (2, 256)):
        places.append((size, k, n))
        size += k * n + 9
    before = [random.normal(size=size).astype(dtype) for _ in range(2)]
    now = [*(array.copy() for array in before), np.empty(0, dtype), np.empty(0, dtype)]
    room, laid = np.empty(7 * 200, dtype), np.zeros(1, np.int64)
    for _ in range(2):
        panels.rearrange.parallel(*now, np.array(places), room, laid, True, workers)
        for old, new in zip(before, now, strict=False):
            expected = old.copy()
            for at, k, n in places:
                weights = old[at : at + k * n].reshape(k, n)
                expected[at : at + k * n] = np.concatenate(
                    [weights[:, j : j + width].reshape(-1) for j in range(0, n, width)]
                )
            np.testing.assert_array_equal(new, expected)
        assert laid[0] == 1
    for _ in range(2):
        panels.rearrange.parallel(*now, np.array(places), room, laid, False, workers)
        for old, new in zip(before, now, strict=False):
            np.testing.assert_array_equal(new, old)
        assert laid[0] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [8, 200])
@pytest.mark.parametrize("widths", [(512, 130), (200, 300), (65, 66, 129)])
def test_all_layers_may_lie_in_panels(widths, rows, dtype, monkeypatch):
    X, y = data(300)
    results = []
    for columns, threads in ((10**6, 1), (64, 1), (64, 2), (64, 3), (64, 4)):
        monkeypatch.setattr(panels, "LEAST_COLUMNS", columns)
        monkeypatch.setattr(trainer, "_PANEL_SPARE", 0.0)
        layers = []
        for k, n in zip((INPUTS, *widths), widths, strict=False):
            layers += [fnn.Dense(k, n), fnn.ReLU()]
        model, optimizer, tables = fnn.Sequential(*layers, fnn.Dense(widths[-1], 3), seed=1), fnn.Adam(), []
        lay_out = trainer.Trainer.lay_out

        def noted(self, steps, lay_out=lay_out, tables=tables):
            lay_out(self, steps)
            tables.append(self.plan.table[:, trainer.network.PANELS].tolist())

        with monkeypatch.context() as patch:
            patch.setattr(trainer.Trainer, "lay_out", noted)
            more = {"batch_size": rows, "n_threads": threads, "seed": 2, "progress": False}
            model.fit(X.astype(dtype), y, optimizer=optimizer, epochs=2, **more)
        assert tables == [[int(columns == 64)] * len(widths) + [0]]
        results.append(left(model, optimizer))
    assert all(result == results[0] for result in results[1:])


@pytest.mark.parametrize(
    "make", [fnn.Adam, lambda: fnn.SGD(0.1, momentum=0.9), lambda: fnn.Adam(amsgrad=True), fnn.SGD]
)
def test_the_bits_are_those_of_one_thread(make, eager):
    results = []
    for threads in (1, 2):
        model, optimizer = network(), make()
        train(model, optimizer, threads)
        results.append(left(model, optimizer))
    assert eager == [False, True]
    assert results[0] == results[1]


def test_a_second_fit_goes_on_from_the_first(eager):
    apart, whole = (network(), fnn.Adam()), (network(), fnn.Adam())
    train(*apart, epochs=2)
    train(*apart, epochs=1, initial_epoch=2)
    train(*whole, 1, epochs=3)
    assert eager == [True, True, False]
    assert left(*apart) == left(*whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", [fnn.ReLU, fnn.Tanh])
@pytest.mark.parametrize(
    ("hidden", "classes", "rows"),
    [(100, 6, 200), (130, 8, 37), (256, 5, 33), (65, 7, 1), (100, 10, 200), (130, 16, 37), (65, 17, 20)],
)
def test_outputs_may_lie_in_panels(hidden, classes, rows, activation, dtype, monkeypatch):
    random = np.random.default_rng(3)
    X, y = random.normal(size=(2 * rows + 1, INPUTS)).astype(dtype), random.integers(0, classes, 2 * rows + 1)
    monkeypatch.setattr(trainer, "_PANEL_SPARE_ALONE", 9.0)
    # Some of these layers lie in panels for one thread too.
    monkeypatch.setattr(panels, "LEAST_COLUMNS", 128)
    results, taken = [], []
    add = trainer.outputs_in_panels

    def noted(*arguments):
        taken.append(add(*arguments) > 0)
        return add(*arguments)

    monkeypatch.setattr(trainer, "outputs_in_panels", noted)
    for threads in (1, 2, 3, 4):
        model = fnn.Sequential(fnn.Dense(INPUTS, hidden), activation(), fnn.Dense(hidden, classes), seed=1)
        optimizer = fnn.Adam()
        model.fit(X, y, optimizer=optimizer, epochs=3, batch_size=rows, n_threads=threads, seed=2, progress=False)
        results.append(left(model, optimizer))
    few = classes <= min(16, panels.panel_width(X.itemsize))
    assert taken == [False, few, few, few]
    assert all(result == results[0] for result in results[1:])


class Meddler(fnn.Callback):
    """Writes to the weights after each epoch, and notes them."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, epoch, logs):
        weights = self.model.layers[0].weights
        self.seen.append(weights.tobytes())
        weights[epoch] *= 0.5


def test_callbacks_see_the_weights_and_may_change_them(eager):
    results = []
    for threads in (1, 2):
        model, optimizer, callback = network(), fnn.Adam(), Meddler()
        train(model, optimizer, threads, callbacks=[callback], validation_data=data(7))
        results.append((callback.seen, left(model, optimizer)))
    assert eager == [False, True]
    assert results[0] == results[1]
    assert len(set(results[0][0])) == 3


class Thrower(fnn.Callback):
    def on_epoch_end(self, epoch, logs):
        self.model.layers[0].weights[0] = 7.0
        raise RuntimeError("enough")


def test_what_a_callback_wrote_before_it_raised_stays(eager):
    model = network()
    with pytest.raises(RuntimeError, match="enough"):
        train(model, fnn.Adam(), callbacks=[Thrower()])
    assert eager == [True]
    assert (model.layers[0].weights[0] == 7.0).all()


def test_an_interrupt_between_chunks_leaves_what_was_learnt(eager, monkeypatch):
    run, steps = trainer.Trainer.run, []

    def interrupted(self, count):
        if len(steps) == 10:
            raise KeyboardInterrupt
        steps.append(count)
        return run(self, count)

    expected, optimizer = network(), fnn.Adam()
    train(expected, optimizer, 1, epochs=2)
    monkeypatch.setattr(fitting, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(trainer.Trainer, "run", interrupted)
    model, other = network(), fnn.Adam()
    with pytest.raises(KeyboardInterrupt):
        train(model, other, epochs=9)
    assert set(steps) == {1}
    assert left(model, other) == left(expected, optimizer)


def test_divergence_leaves_finite_weights_in_their_places(eager):
    results = []
    for threads in (1, 2):
        model, optimizer = network(), fnn.SGD(1e30)
        with pytest.warns(fnn.DivergenceWarning):
            history = train(model, optimizer, threads, epochs=5)
        assert all(np.isfinite(value).all() for value in model.parameters().values())
        results.append((history.diverged_at, left(model, optimizer)))
    assert eager == [False, True]
    assert results[0] == results[1]


def test_validation_each_epoch_sees_what_has_been_learnt(eager):
    results = []
    for threads in (1, 2):
        model, optimizer = network(), fnn.Adam()
        history = train(model, optimizer, threads, validation_data=data(9))
        results.append((history["val_loss"], left(model, optimizer)))
    assert eager == [False, True]
    assert results[0] == results[1]
    assert len(set(results[0][0])) == 3


def test_an_error_inside_training_leaves_the_order_of_rows(eager, monkeypatch):
    def broken(self, count):
        assert self._laid[0] == 1
        raise MemoryError

    monkeypatch.setattr(trainer.Trainer, "run", broken)
    model, optimizer = network(), fnn.Adam()
    expected = [value.astype(np.float32).tobytes() for value in model.parameters().values()]
    with pytest.raises(MemoryError):
        train(model, optimizer)
    assert eager == [True]
    assert [value.tobytes() for value in model.parameters().values()] == expected


def test_penalties_keep_the_rows(eager):
    model = network(weight_l2=1e-3)
    train(model, fnn.Adam())
    assert eager == [False]
