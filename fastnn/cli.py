"""The command ``fastnn``: train an example, describe the machine and the versions, compile ahead of time."""

from __future__ import annotations

import argparse
import collections
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from tqdm.auto import tqdm

import fastnn
from fastnn import _numpy_loop as plain
from fastnn import datasets, trainer
from fastnn._checks import LARGEST_SEED
from fastnn._machine import describe
from fastnn._order import new_order
from fastnn._telling import telling
from fastnn._warmup import DTYPES, compile_in_processes
from fastnn.activations import ReLU
from fastnn.arrays import Array
from fastnn.callbacks import Callback
from fastnn.initializers import Normal
from fastnn.kernels import _builds
from fastnn.kernels._cache import CacheWarning
from fastnn.layers import Dense
from fastnn.losses import SoftmaxCrossEntropy
from fastnn.model import Sequential
from fastnn.optimizers import SGD, Adam, Optimizer
from fastnn.schedules import InverseTimeDecay

__all__ = ["main"]

# How far the spiral's training comes hangs on its first weights: from about two starts in five it ends above
# an accuracy of 0.9, from some near 0.6, in NumPy as here. This start is one of the former.
SEED = 2
SPIRAL_EPOCHS = 10_001
_READER_GONE = 128 + 13  # as a shell says of tools that SIGPIPE ends; Python on Windows does not know it


class Missing(Exception):
    """Something a command needs is not there; the message says what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; without them those of the process.

    Returns
    -------
    int
        What the process should exit with: 0 if all went well, 1 if something was missing or could not be written,
        130 after Ctrl-C, 141 if whoever read the output has gone.

    Raises
    ------
    SystemExit
        From argparse: with 2 for arguments it cannot make sense of, with 0 after ``--help`` or ``--version``.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII stream gets "?" for "µ", and not an error at the end
    try:
        try:
            options = _parser().parse_args(argv)
            options.run(options)
        finally:
            print(end="", flush=True)  # what the stream still holds can fail, too
    except OSError as error:
        # The interpreter flushes once more as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return _READER_GONE
        print(f"fastnn: {error}", file=sys.stderr)
        return 1
    except Missing as error:
        print(f"fastnn: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nfastnn: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastnn", description="Dense neural networks trained fast on the CPU.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fastnn {fastnn.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="{demo,info,warmup}")

    demo = commands.add_parser(
        "demo",
        help="train an example network and compare with NumPy",
        description="Train an example network, and time the same loop in pure NumPy in the same run. "
        "'spiral' is the network of notes on neural networks from scratch, 2-64-3 on 300 points; 'digits' "
        "takes images: Fashion-MNIST from --data, or else the digits that come with scikit-learn.",
    )
    demo.add_argument("what", nargs="?", choices=("spiral", "digits"), default="spiral")
    demo.add_argument(
        "--epochs", type=_positive, metavar="N",
        help=f"default: {SPIRAL_EPOCHS:,} for spiral, 10 for Fashion-MNIST, 50 for scikit-learn's digits",
    )  # fmt: skip
    demo.add_argument("--dtype", choices=DTYPES, help="default: float64 for spiral, float32 for digits")
    demo.add_argument(
        "--seed", type=_seed, default=SEED, metavar="N",
        help="of the first weights (default: %(default)s); the spiral ends above 0.9 from about two in five",
    )  # fmt: skip
    demo.add_argument("--threads", type=_positive, metavar="N", help="most threads to use")
    demo.add_argument(
        "--numpy-steps", type=_positive, default=1000, metavar="N",
        help="steps that the NumPy loop runs for, before and again after; scaled up (default: %(default)s)",
    )  # fmt: skip
    demo.add_argument(
        "--data", metavar="PATH", default=os.environ.get("FASTNN_DATA_DIR") or None,
        help="Fashion-MNIST, for digits: its .npz file, or a folder of it or of idx files (default: $FASTNN_DATA_DIR)",
    )  # fmt: skip
    demo.set_defaults(run=_demo)

    info = commands.add_parser("info", help="print processor, threads, cache folder and versions")
    info.set_defaults(run=_info)

    warm = commands.add_parser(
        "warmup",
        help="compile everything ahead of time",
        description="Compile everything ahead of time, one process for each dtype, into the cache folder.",
    )
    warm.add_argument("--dtype", choices=DTYPES, help="this one only (default: both)")
    warm.add_argument("--serial", action="store_true", help="leave out the builds for several threads")
    warm.set_defaults(run=_warmup)
    return parser


def _natural(text: str, least: int = 0) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
    return value


def _positive(text: str) -> int:
    return _natural(text, 1)


def _seed(text: str) -> int:
    value = _natural(text)
    if value > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"must be at most 2**63 - 1, got {value}")
    return value


# --- demo ---


class Example(NamedTuple):
    """What a demo trains, and the same for the NumPy loop."""

    title: str
    X: Array
    y: Array
    X_test: Array | None
    y_test: Array | None
    widths: tuple[int, ...]
    initializer: Any
    make_optimizer: Callable[[], Optimizer]
    make_plain: Callable[[], plain.Momentum | plain.Adam]
    seed: int
    epochs: int
    batch: int
    every: int  # epochs between two lines of figures

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return -(-len(self.X) // self.batch)

    def model(self) -> Sequential:
        """Return the network, always with the same first weights."""
        layers: list[Any] = []
        for n_in, n_out in zip(self.widths, self.widths[1:], strict=False):
            layers += [Dense(n_in, n_out, initializer=self.initializer), ReLU()]
        return Sequential(*layers[:-1], seed=self.seed)


def _spiral(options: argparse.Namespace) -> Example:
    X, y = datasets.spiral_data(samples=100, classes=3, seed=0, dtype=options.dtype or "float64")
    rate, decay, momentum = 1.0, 1e-3, 0.9
    epochs = options.epochs or SPIRAL_EPOCHS
    return Example(
        title=f"spiral: 2-64-3, ReLU, 300 points, full batch, SGD {rate}, decay {decay}, momentum {momentum}",
        X=X, y=y, X_test=None, y_test=None, widths=(2, 64, 3), initializer=Normal(0.01),
        make_optimizer=lambda: SGD(InverseTimeDecay(rate, decay=decay), momentum=momentum),
        make_plain=lambda: plain.Momentum(rate, decay, momentum),
        seed=options.seed, epochs=epochs, batch=len(X), every=max(1, epochs // 10),
    )  # fmt: skip


def _digits(options: argparse.Namespace) -> Example:
    if options.data is not None:
        try:
            X, y, X_test, y_test = datasets.load_fashion_mnist(options.data)
        except (OSError, ValueError) as error:
            raise Missing(f"cannot read Fashion-MNIST: {error}") from error
        name, epochs = "Fashion-MNIST", 10
        widths: tuple[int, ...] = (X.shape[1], 128, 128, 10)
    else:
        try:
            X, y, X_test, y_test = datasets.load_digits()
        except ImportError as error:
            raise Missing(
                "there are no images here. Either point to Fashion-MNIST, fastnn demo digits --data PATH, or "
                'install scikit-learn, which brings small ones: python -m pip install "fastnn-numba[sklearn]"'
            ) from error
        name, epochs = "scikit-learn's digits", 50
        widths = (64, 100, 10)
    dtype = options.dtype or "float32"
    epochs, batch = options.epochs or epochs, 128
    shape = "-".join(map(str, widths))
    return Example(
        title=f"{name}: {shape}, ReLU, {len(X):,} images, batch {batch}, Adam 0.001",
        X=X.astype(dtype, copy=False), y=y, X_test=X_test.astype(dtype, copy=False), y_test=y_test,
        widths=widths, initializer="he_normal",
        make_optimizer=lambda: Adam(1e-3), make_plain=lambda: plain.Adam(1e-3),
        seed=options.seed, epochs=epochs, batch=batch, every=max(1, epochs // 10),
    )  # fmt: skip


def _demo(options: argparse.Namespace) -> None:
    threads = options.threads
    if threads is not None and threads > numba.config.NUMBA_NUM_THREADS:
        raise Missing(
            f"there are {numba.config.NUMBA_NUM_THREADS} threads at most, got --threads {threads}; "
            "the environment variable NUMBA_NUM_THREADS allows more"
        )
    example = (_spiral if options.what == "spiral" else _digits)(options)
    print(f"{example.title}, {example.X.dtype}")
    _prepare(example, threads)
    before, plain_losses = _time_plain(example, options.numpy_steps)
    time.sleep(0.2)  # NumPy's threads spin on for a tenth of a second, on the cores that are wanted next
    model, seconds, losses, figures = _train(example, threads)
    after, _ = _time_plain(example, options.numpy_steps)  # cores are not always as fast as they were a second ago
    plain_step, step = (before + after) / 2, seconds / (steps := example.epochs * example.steps_per_epoch)
    print(f"\nafter {example.epochs:,} epochs: {figures}")
    if example.X_test is not None:
        test = model.evaluate(example.X_test, example.y_test, n_threads=threads)
        print(f"on {len(example.X_test):,} test images: acc: {test['accuracy']:.4f}, loss: {test['loss']:.3f}")
    print(f"fastnn: {seconds:.2f} s for {steps:,} steps, {1e6 * step:.1f} µs each")
    print(
        f"the same loop in pure NumPy: {plain_step * steps:.2f} s, at {1e6 * plain_step:.1f} µs a step, "
        f"measured over {len(plain_losses):,} steps before and as many after"
    )
    print(f"fastnn was {plain_step / step:.1f} times as fast")
    if example.steps_per_epoch == 1:
        shared = min(100, len(losses), len(plain_losses))
        apart = np.max(np.abs(np.divide(losses[:shared], plain_losses[:shared]) - 1.0))
        print(f"from the same weights, the losses of the first {shared} epochs agree to {apart:.0e}")


def _prepare(example: Example, threads: int | None) -> None:
    """Compile, or load, what the demo calls, and say how long that took."""
    began, before = time.perf_counter(), len(_builds.compiled)
    throwaway, batch = example.model(), example.batch
    with telling(print):
        throwaway.fit(  # steps of the same size, and enough of them, take the same builds
            example.X[:batch], example.y[:batch], optimizer=example.make_optimizer(), epochs=trainer.PANEL_STEPS,
            batch_size=batch, shuffle=False, progress=False, n_threads=threads,
        )  # fmt: skip
        if example.X_test is not None:
            throwaway.evaluate(example.X_test, example.y_test, n_threads=threads)
        new_order(example.X, batch, throwaway.operations(), example.steps_per_epoch > 1, threads)  # has its own kernel
    took, built, fault = time.perf_counter() - began, len(_builds.compiled) - before, _builds.store.fault
    if built or fault:
        kept = f"which could not be kept: {fault}" if fault else f"kept in {_builds.cache_root()} for next time"
        print(f"compiled {built} functions in {took:.1f} s, {kept}")
    else:
        print(f"loaded compiled functions from {_builds.cache_root()} in {took:.2f} s")


def _time_plain(example: Example, steps: int) -> tuple[float, list[float]]:
    """Train with the NumPy loop; return its seconds a step, and its losses."""
    weights = [layer.weights for layer in example.model().layers if isinstance(layer, Dense)]
    network = plain.Network([w.astype(example.X.dtype) for w in weights], example.make_plain())
    X, y, batch, per_epoch = example.X, example.y, example.batch, example.steps_per_epoch
    steps = min(steps, example.epochs * per_epoch)
    random = np.random.default_rng(example.seed)
    orders = [random.permutation(len(X)) for _ in range(-(-steps // per_epoch))] if per_epoch > 1 else []

    def batches() -> Any:
        for step in range(steps):
            if per_epoch == 1:
                yield X, y
            else:
                start = step % per_epoch * batch
                rows = orders[step // per_epoch][start : start + batch]
                yield X[rows], y[rows]

    began = time.perf_counter()
    losses = network.train(batches())
    return (time.perf_counter() - began) / steps, losses


class _Lines(Callback):
    """Figures of epochs as they end, the first and the last among them, and a progress bar."""

    def __init__(self, example: Example, bar: Any) -> None:
        self.every, self.last, self.bar, self.figures = example.every, example.epochs - 1, bar, ""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Print a line, if it is this epoch's turn."""
        self.bar.update(epoch + 1 - self.bar.n)
        if epoch % self.every == 0 or epoch == self.last:
            self.figures = f"acc: {logs['accuracy']:.3f}, loss: {logs['loss']:.3f}, lr: {logs['learning_rate']:.6g}"
            tqdm.write(f"epoch: {epoch}, {self.figures}", file=sys.stdout)


def _train(example: Example, threads: int | None) -> tuple[Sequential, float, list[float], str]:
    """Train, with figures as it goes; return model, seconds, losses and the last figures."""
    model, optimizer = example.model(), example.make_optimizer()
    loss, losses = SoftmaxCrossEntropy(), list[float]()
    with tqdm(total=example.epochs, unit="epoch", disable=None, dynamic_ncols=True) as bar:
        # A callback wants a look after each epoch. Where that is one step, training goes in pieces instead.
        lines, whole, began = _Lines(example, bar), example.steps_per_epoch > 1, time.perf_counter()
        while (done := len(losses)) < example.epochs:
            # The first piece is one epoch: it shows where training starts from, as the notes' loops do.
            piece = example.epochs if whole else min(example.every, example.epochs - done) if done else 1
            # The same optimiser and `initial_epoch` make the pieces one training, to the bit.
            history = model.fit(
                example.X, example.y, loss=loss, optimizer=optimizer, epochs=piece, batch_size=example.batch,
                initial_epoch=done, progress=False, n_threads=threads, callbacks=[lines] if whole else (),
            )  # fmt: skip
            losses += history["loss"]
            if not whole:
                lines.on_epoch_end(len(losses) - 1, {name: values[-1] for name, values in history.items()})
        seconds = time.perf_counter() - began
    return model, seconds, losses, lines.figures


# --- info ---


def _info(options: argparse.Namespace) -> None:
    for name, value in describe():
        print(f"{name:16} {value}")


# --- warmup ---


def _warmup(options: argparse.Namespace) -> None:
    dtypes = DTYPES if options.dtype is None else (options.dtype,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)  # it would say the same
        if _builds.store.folder() is None:
            raise Missing(f"nothing could be kept: {_builds.store.fault}; set FASTNN_CACHE_DIR to a folder of yours")
    print(f"compiling for {' and '.join(dtypes)} …", flush=True)
    began = time.perf_counter()
    built, fault = compile_in_processes(dtypes, parallel=not options.serial)
    for dtype, names in zip(dtypes, built, strict=True):
        subjects = collections.Counter(name.partition(".")[0] for name in names)
        parts = ", ".join(f"{subject} {count}" for subject, count in sorted(subjects.items()))
        print(f"{dtype}: {len(names)} functions compiled, {parts or 'as the cache had them all'}")
    if fault is not None:
        raise Missing(f"not all could be kept: {fault}; set FASTNN_CACHE_DIR to a folder of yours that has room")
    print(f"done in {time.perf_counter() - began:.1f} s; kept in {_builds.cache_root()}")
