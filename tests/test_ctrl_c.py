"""Ctrl-C while `fit` runs: whose handler is called, when, and that it is there again afterwards."""

import contextlib
import io
import signal
import threading

import numpy as np
import pytest

import fastnn as fnn
import fastnn.nnfs as book


class AtEpoch(fnn.Callback):
    """Calls a function after an epoch."""

    def __init__(self, act, at=1):
        self.act, self.at = act, at

    def on_epoch_end(self, epoch, logs):
        if epoch == self.at:
            self.act()


class EachStep(fnn.Callback):
    """Sends `fit` down the layer-by-layer path."""

    def on_step_end(self, step, logs):
        pass


@pytest.fixture
def presses(monkeypatch):
    """Return what the handler of this test has seen: whether a step was being made when it was called."""
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append("in a step" if inside else "between"))
    inside = []

    def pressing(made):
        def pressed(self, *args):
            inside.append(True)
            signal.raise_signal(signal.SIGINT)
            try:
                return made(self, *args)
            finally:
                inside.pop()

        return pressed

    for kind, name in ((fnn.trainer.Trainer, "run"), (fnn.optimizers.Optimizer, "update")):
        monkeypatch.setattr(kind, name, pressing(getattr(kind, name)))
    yield seen
    signal.signal(signal.SIGINT, before)


def few_epochs(callbacks, epochs=4):
    X, y = fnn.datasets.spiral_data(20, 3, seed=0)
    model = fnn.Sequential(fnn.Dense(2, 8), fnn.ReLU(), fnn.Dense(8, 3), seed=0)
    return model.fit(X, y, epochs=epochs, batch_size=None, callbacks=callbacks, progress=False)


@pytest.mark.parametrize("path", ["compiled", "layers"])
def test_a_handler_is_called_between_steps_and_given_back(presses, path):
    ours = signal.getsignal(signal.SIGINT)
    few_epochs([EachStep()] if path == "layers" else [AtEpoch(lambda: None)])
    assert presses == ["between"] * 4
    assert signal.getsignal(signal.SIGINT) is ours
    few_epochs([AtEpoch(lambda: signal.raise_signal(signal.SIGINT), 0)], 1)
    assert presses == ["between"] * 6
    with pytest.raises(ZeroDivisionError):
        few_epochs([AtEpoch(lambda: 1 // 0)])
    assert signal.getsignal(signal.SIGINT) is ours


def test_pressed_again_it_counts_at_once(presses, monkeypatch):
    made = fnn.trainer.Trainer.run

    def pressed_twice(self, steps):
        signal.raise_signal(signal.SIGINT)
        return made(self, steps)

    monkeypatch.setattr(fnn.trainer.Trainer, "run", pressed_twice)
    few_epochs([AtEpoch(lambda: None)], 1)
    assert presses == ["in a step", "between"]


def test_a_handler_that_a_callback_sets_is_kept(presses):
    ours, other = signal.getsignal(signal.SIGINT), []

    def handler(number, frame):
        other.append(number)
        ours(number, frame)

    few_epochs([AtEpoch(lambda: signal.signal(signal.SIGINT, handler))])
    assert presses == ["between"] * 4 and other == [signal.SIGINT] * 2
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_fit_within_a_callback_gives_ctrl_c_back(presses):
    ours = signal.getsignal(signal.SIGINT)
    few_epochs([AtEpoch(lambda: few_epochs([AtEpoch(lambda: None)]))])
    assert presses == ["between"] * 8
    assert signal.getsignal(signal.SIGINT) is ours


def test_another_thread_leaves_ctrl_c_alone(presses):
    ours = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=few_epochs, args=([AtEpoch(lambda: None)],))
    thread.start()
    thread.join()
    assert presses
    assert signal.getsignal(signal.SIGINT) is ours


@pytest.mark.parametrize("path", ["compiled", "layers"])
def test_an_epoch_that_was_interrupted_is_seen_to_its_end(path, monkeypatch):
    X, y = fnn.datasets.spiral_data(20, 3, seed=0)

    def train(press, pieces):
        heard, pressed = [], []
        kind, name = (fnn.trainer.Trainer, "run") if path == "compiled" else (fnn.optimizers.Optimizer, "update")
        made = getattr(kind, name)

        def step(self, *args):
            pressed.append(True)
            if len(pressed) == press:
                signal.raise_signal(signal.SIGINT)
            return made(self, *args)

        monkeypatch.setattr(kind, name, step)
        model = fnn.Sequential(fnn.Dense(2, 8), fnn.ReLU(), fnn.Dense(8, 3), seed=0)
        optimizer, curves, done = fnn.Adam(fnn.ReduceOnPlateau(0.05, patience=1)), [], 0
        callbacks = [AtEpoch(lambda: None), *([EachStep()] if path == "layers" else [])]
        monkeypatch.setattr(callbacks[0], "on_epoch_end", lambda epoch, logs: heard.append(epoch))
        for _ in range(pieces):
            try:
                model.fit(
                    X, y, optimizer=optimizer, epochs=40 - done, initial_epoch=done, batch_size=None,
                    validation_data=(X[:30], y[:30]), callbacks=callbacks, progress=False,
                )  # fmt: skip
            except KeyboardInterrupt:
                assert model.history.stopped_by == "interrupt"
            assert len(model.history["val_loss"]) == len(model.history["loss"])
            curves += model.history["val_loss"]
            done = len(curves)
        assert heard == list(range(40))
        monkeypatch.setattr(kind, name, made)
        return curves, [a.tobytes() for a in model.parameters().values()]

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert train(7, 2) == train(0, 1)
    finally:
        signal.signal(signal.SIGINT, before)


OTHERS = [getattr(signal, name) for name in ("SIGTERM", "SIGALRM", "SIGUSR1") if hasattr(signal, name)]


class TimeUp(Exception):
    pass


@pytest.mark.parametrize("number", OTHERS)
@pytest.mark.parametrize("path", ["compiled", "layers", "many"])
def test_other_signals_that_are_handled_wait_too(number, path, monkeypatch):
    def up(number, frame):
        raise TimeUp

    X, y = fnn.datasets.spiral_data(20, 3, seed=0)
    model, optimizer = fnn.Sequential(fnn.Dense(2, 8), fnn.ReLU(), fnn.Dense(8, 3), seed=0), fnn.Adam(0.01)
    made, calls = fnn.threads.call, []

    def rung(*arguments, **more):
        # As soon as native code is back, before anybody has written down what it did.
        used = made(*arguments, **more)
        calls.append(signal.raise_signal(number))
        return used

    before = signal.signal(number, up)
    try:
        with monkeypatch.context() as patch, pytest.raises(TimeUp):
            patch.setattr(fnn.threads, "call", rung)
            if path == "many":
                fnn.fit_many([model], X, y, optimizer=[optimizer], epochs=3, batch_size=20)
            else:
                callbacks = [EachStep()] if path == "layers" else [AtEpoch(lambda: None)]
                model.fit(X, y, optimizer=optimizer, epochs=3, batch_size=20, callbacks=callbacks)
        assert signal.getsignal(number) is up
    finally:
        signal.signal(number, before)
    assert model.history.steps == optimizer.step
    fresh, theirs = fnn.Sequential(fnn.Dense(2, 8), fnn.ReLU(), fnn.Dense(8, 3), seed=0), fnn.Adam(0.01)
    if optimizer.step:
        fresh.fit(X, y, optimizer=theirs, epochs=optimizer.step // 3, batch_size=20)
    assert all((a == b).all() for a, b in zip(model.parameters().values(), fresh.parameters().values(), strict=True))


@pytest.mark.parametrize("path", ["compiled", "layers"])
def test_every_handler_is_called_and_the_end_is_told_whatever_they_raise(path):
    seen, numbers = [], [*OTHERS, signal.SIGINT]

    def up(number, frame):
        seen.append(number)
        raise TimeUp

    class Rings(EachStep if path == "layers" else fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            for number in numbers:
                signal.raise_signal(number)

        def on_train_end(self):
            seen.append("end")

    before = [signal.signal(number, up) for number in numbers]
    try:
        with pytest.raises(TimeUp):
            few_epochs([Rings()])
        assert all(signal.getsignal(number) is up for number in numbers)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert seen == [*numbers, "end"]


def test_signals_that_nobody_handles_in_python_are_left_alone():
    number, seen = OTHERS[0], []
    before = signal.signal(number, signal.SIG_IGN)
    try:
        few_epochs([AtEpoch(lambda: seen.append(signal.getsignal(number)))])
    finally:
        signal.signal(number, before)
    assert seen == [signal.SIG_IGN]


def test_each_of_several_signals_is_delivered():
    seen, numbers = [], OTHERS[1:]
    before = [signal.signal(number, lambda number, frame: seen.append(number)) for number in numbers]

    def ring():
        for number in numbers:
            signal.raise_signal(number)
        assert not seen

    try:
        few_epochs([AtEpoch(ring)])
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert sorted(seen) == sorted(numbers)


@pytest.fixture
def interruptible():
    """Let Ctrl-C raise: a shell's jobs in the background are started deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("narrow", [True, False])
def test_ctrl_c_leaves_the_books_model_between_steps(narrow, monkeypatch, interruptible):
    X, y = fnn.datasets.spiral_data(20, 3, seed=0)

    def model():
        np.random.seed(0)
        made = book.Model()
        made.add(book.Layer_Dense(2, 8))
        made.add(book.Activation_ReLU() if narrow else book.Activation_Sigmoid())
        made.add(book.Layer_Dense(8, 3))
        made.add(book.Activation_Softmax())
        made.set(
            loss=book.Loss_CategoricalCrossentropy(), optimizer=book.Optimizer_Adam(0.01, decay=1e-3),
            accuracy=book.Accuracy_Categorical(),
        )  # fmt: skip
        made.finalize()
        return made

    made, calls = fnn.threads.call, []

    def pressed(*arguments, **more):
        used = made(*arguments, **more)
        if not calls:
            calls.append(signal.raise_signal(signal.SIGINT))
        return used

    ours, fresh, lines = model(), model(), io.StringIO()
    with monkeypatch.context() as patch, contextlib.redirect_stdout(lines), pytest.raises(KeyboardInterrupt):
        patch.setattr(fnn.threads, "call", pressed)
        ours.train(X, y, epochs=5000)
    steps = ours.optimizer.iterations
    assert 1 < steps and f"epoch: {steps}\n" in lines.getvalue() and f"epoch: {steps + 1}\n" not in lines.getvalue()
    with contextlib.redirect_stdout(io.StringIO()):
        fresh.train(X, y, epochs=steps)
    for one, other in zip(ours.get_parameters(), fresh.get_parameters(), strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
