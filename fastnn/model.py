"""`Sequential`: layers one after the other, trained, evaluated and asked."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, final

import numpy as np

from fastnn import io, threads
from fastnn._arguments import check_callbacks, check_kind, check_layers
from fastnn._array_steps import FLOAT32, FLOAT64
from fastnn._lowering import Operation, lower
from fastnn.arrays import Array, as_inputs, check_flag, check_positive_int, check_seed
from fastnn.base import Layer
from fastnn.callbacks import Callback
from fastnn.engine import Parameters, Predictor
from fastnn.fitting import Fit
from fastnn.history import History
from fastnn.kernels import losses
from fastnn.losses import Loss, SoftmaxCrossEntropy
from fastnn.optimizers import Adam, Optimizer


class _Lowered:
    """What the compiled loop makes of some layers, and how to tell that they are still those."""

    __slots__ = ("attributes", "layers", "operations", "sizes")

    def __init__(self, layers: list[Layer], operations: list[Operation] | None) -> None:
        self.layers, self.operations = list(layers), operations
        self.attributes = [vars(layer) for layer in layers]
        self.sizes = [len(found) for found in self.attributes]


@final
class Sequential:
    """A network whose layers run one after the other.

    Parameters
    ----------
    *layers : Layer
        `Dense`, activations, `Dropout`, or layers of your own. Widths must fit each other.
    seed : int or None
        Draws the weights of the layers that have no seed of their own; None takes fresh entropy.

    Attributes
    ----------
    layers : list of Layer
        They own the parameters: ``model.layers[0].weights`` is a plain array to read or to set.
    seed : int or None
        As given.
    loss : Loss or None
        Of the last `fit` or `random_search`; `evaluate` uses it.
    history : History or None
        Of the last `fit`, also where it was interrupted.
    stop_training : bool
        Callbacks set it to end a `fit` after the present epoch.

    Examples
    --------
    >>> import fastnn as fnn
    >>> X, y = fnn.datasets.spiral_data(samples=100, classes=3, seed=0)
    >>> model = fnn.Sequential(fnn.Dense(2, 64), fnn.ReLU(), fnn.Dense(64, 3), seed=0)
    >>> history = model.fit(X, y, optimizer=fnn.Adam(0.02), epochs=300, batch_size=None, shuffle=False)
    >>> model.evaluate(X, y)["accuracy"] > 0.7
    True
    """

    _trains = False  # whether `fit` runs: a callback may begin another training meanwhile

    def __init__(self, *layers: Layer, seed: int | None = None) -> None:
        check_layers(layers)
        self.layers: list[Layer] = list(layers)
        self.seed = check_seed(seed)
        self.loss: Loss | None = None
        self.history: History | None = None
        self.stop_training = False
        self._lowered: _Lowered | None = None
        self._parameters: Parameters | None = None
        self._predictors: dict[str, Predictor] = {}
        drawn = secrets.randbits(63) if self.seed is None else self.seed
        for index, layer in enumerate(self.layers):
            layer.initialize(drawn, index)

    def __getstate__(self) -> dict[str, Any]:
        # What is compiled of the layers is made anew from them.
        return {**self.__dict__, "_lowered": None, "_parameters": None, "_predictors": {}, "_trains": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lay_out()

    def _lay_out(self) -> None:
        """Put the layers' arrays into one, of which they are views: `predict` then has nothing to copy."""
        operations = self.operations()
        if not operations:
            return
        dtypes = {value.dtype for layer in self.layers for value in layer.parameters().values()}
        if len(dtypes) == 1 and dtypes <= {FLOAT32, FLOAT64}:
            self.compiled_parameters(operations, dtypes.pop())

    @property
    def n_inputs(self) -> int | None:
        """Width of the inputs, None if no layer fixes it."""
        return next((layer.n_inputs for layer in self.layers if layer.n_inputs is not None), None)

    @property
    def n_outputs(self) -> int | None:
        """Width of the outputs, None if no layer fixes it."""
        return next((layer.n_outputs for layer in reversed(self.layers) if layer.n_outputs is not None), None)

    def parameters(self) -> dict[str, Array]:
        """Return the arrays that the layers own, by name: views, not copies.

        Returns
        -------
        dict of str to numpy.ndarray
            ``"0.weights"``, ``"0.biases"``, …: the layer's name, or else its place, and the array's.
        """
        return {
            f"{layer.name or place}.{name}": value
            for place, layer in enumerate(self.layers)
            for name, value in layer.parameters().items()
        }

    def operations(self) -> list[Operation] | None:
        """Return what the compiled loop makes of the layers; None if it cannot run them all."""
        # Lists of the same objects are told apart at once from others; a row's prediction takes 7 µs in all.
        known = self._lowered
        if known is None or known.layers != self.layers:
            check_layers(self.layers)
            known = self._lowered = _Lowered(self.layers, lower(self.layers))
            self._parameters, self._predictors = None, {}
        elif list(map(len, known.attributes)) != known.sizes:
            # A layer has another attribute: it may be a method of the user's own.
            found = lower(self.layers)
            if found == known.operations:
                found = known.operations
            else:
                self._parameters, self._predictors = None, {}
            known = self._lowered = _Lowered(self.layers, found)
        return known.operations

    def compiled_parameters(self, operations: Sequence[Operation], dtype: np.dtype[Any]) -> Parameters:
        """Return the flat parameters in `dtype`, the layers' arrays bound to them."""
        if self._parameters is None or self._parameters.dtype != dtype:
            self._parameters = Parameters(operations, dtype)
            self._predictors.pop(dtype.char, None)
        self._parameters.bind()
        return self._parameters

    def adopt(self, parameters: Parameters) -> None:
        """Take parameters that have been laid out elsewhere, and bound to the layers."""
        self._parameters = parameters
        self._predictors.pop(parameters.dtype.char, None)

    def _predictor(self, operations: Sequence[Operation], dtype: np.dtype[Any]) -> Predictor:
        predictor = self._predictors.get(dtype.char)
        if predictor is None:
            ours = self._parameters
            if ours is None or ours.dtype != dtype:
                ours = Parameters(operations, dtype)
            predictor = self._predictors[dtype.char] = Predictor(operations, ours)
        return predictor

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        epochs: int = 10,
        batch_size: int | None = 32,
        shuffle: bool = True,
        seed: int | None = None,
        validation_data: tuple[Any, Any] | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | None = None,
        n_threads: int | None = None,
        initial_epoch: int = 0,
    ) -> History:
        """Train on samples and their labels or targets.

        Parameters
        ----------
        X : array_like
            Shape (samples, inputs). float32 and float64 stay what they are, and the parameters become so too;
            lists of Python floats are float64, and everything else becomes float32.
        y : array_like
            For `SoftmaxCrossEntropy` class numbers of shape (samples,) or rows of probabilities; for a regression
            loss shape (samples, outputs), or (samples,) where there is one output.
        loss : Loss, optional
            `SoftmaxCrossEntropy` without one.
        optimizer : Optimizer, optional
            `Adam` without one. Its state stays with it: pass the same object again to go on.
        epochs : int
            Passes over the data, at least 1.
        batch_size : int or None
            Samples a step: 1 is stochastic descent, None (or the number of samples) full batch. An epoch's last
            batch may be shorter.
        shuffle : bool
            Whether each epoch takes the samples in a new order, which hangs on `seed` and the epoch's number alone.
            Within a batch, samples of large data with many zeros may be sorted by where these are.
        seed : int or None
            Of shuffling and dropout; None takes the model's.
        validation_data : (X, y), optional
            Evaluated after each epoch.
        callbacks : iterable of Callback
            Called after each epoch; one that wants each step makes `fit` run layer by layer, with the same result.
        progress : bool or None
            Whether to show a bar; None shows one if the run takes long and the output is a terminal. Where one is
            shown, it is told as well that a first run compiles.
        n_threads : int or None
            Most threads to use. The result does not depend on it.
        initial_epoch : int
            Number of the first epoch, for shuffling: ``fit(epochs=3)`` and then ``fit(epochs=2, initial_epoch=3)``
            with the same optimizer gives the bits of ``fit(epochs=5)``.

        Returns
        -------
        History
            ``history["loss"]`` and the like, one number an epoch.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described. The model is then unchanged.

        Warns
        -----
        DivergenceWarning
            If the loss becomes NaN or infinite: training ends and the last finite weights are kept.

        Notes
        -----
        While this runs, weights and optimiser state may lie in another order in their arrays. Look at them, and use
        the model, in callbacks or afterwards, not from another thread meanwhile. What a callback does to weights,
        penalties, rates or the optimiser counts from the next step on.

        Examples
        --------
        >>> import fastnn as fnn
        >>> X, y = fnn.datasets.vertical_data(50, 3, seed=0)
        >>> model = fnn.Sequential(fnn.Dense(2, 8), fnn.ReLU(), fnn.Dense(8, 3), seed=0)
        >>> history = model.fit(X, y, epochs=20, optimizer=fnn.Adam(0.05))
        >>> history["loss"][-1] < history["loss"][0]
        True
        """
        width = self.n_inputs
        run = Fit(
            self,
            as_inputs(X, "X", width),
            y,
            loss=check_kind(loss, Loss, "loss", SoftmaxCrossEntropy),
            optimizer=check_kind(optimizer, Optimizer, "optimizer", Adam),
            epochs=check_positive_int(epochs, "epochs"),
            batch_size=None if batch_size is None else check_positive_int(batch_size, "batch_size"),
            shuffle=check_flag(shuffle, "shuffle"),
            seed=self.entropy(check_seed(seed)),
            validation_data=validation_data,
            callbacks=check_callbacks(callbacks),
            progress=None if progress is None else check_flag(progress, "progress"),
            n_threads=None if n_threads is None else threads.checked(n_threads, "n_threads"),
            initial_epoch=check_positive_int(initial_epoch, "initial_epoch", 0),
        )
        # A callback of one training may begin another one.
        outer = (self.loss, self.history, self.stop_training) if self._trains else None
        self.loss, self.history, self.stop_training, self._trains = run.loss, run.history, False, True
        try:
            run.run()
        finally:
            if outer is None:
                self._trains = False
            else:
                self.loss, self.history, self.stop_training = outer
        return run.history

    def entropy(self, seed: int | None) -> int:
        """Return `seed`, or the model's if it is None, or a fresh one if that is None too."""
        if seed is None:
            seed = secrets.randbits(63) if self.seed is None else self.seed
        return seed

    def losses_of(
        self, operations: Sequence[Operation], X: Array, labels: Array, targets: Array, loss: Loss,
        limit: int | None = None,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Return each sample's loss, and 1 where it is right, for what `Loss.prepare` returned."""
        return self._predictor(operations, X.dtype).evaluate(X, labels, targets, loss, limit)

    def predict(self, X: Any, *, n_threads: int | None = None) -> Array:
        """Return the network's outputs (for `SoftmaxCrossEntropy`: logits).

        A row's outputs do not depend on the rows beside it, nor on the number of threads.

        Parameters
        ----------
        X : array_like
            Shape (samples, inputs), no sample at all allowed. The computation is in its dtype.
        n_threads : int or None
            Most threads to use.

        Returns
        -------
        numpy.ndarray
            Shape (samples, outputs).

        Raises
        ------
        TypeError, ValueError
            If `X` is not as described.
        """
        operations = self.operations()
        limit = None if n_threads is None else threads.checked(n_threads, "n_threads")
        if not operations:
            return self.forward(as_inputs(X, "X", self.n_inputs, allow_empty=True), training=False)
        width = operations[0].n_in
        # An array that is in order already, the usual case, is told by a few looks: a row takes 6 µs, not 15.
        if not (
            type(X) is np.ndarray and X.ndim == 2 and X.shape[1] == width and X.flags.carray
            and (X.dtype is FLOAT32 or X.dtype is FLOAT64)
        ):  # fmt: skip
            X = as_inputs(X, "X", width, allow_empty=True, finite=False)
        return self._predictor(operations, X.dtype).predict(X, limit)

    def evaluate(self, X: Any, y: Any, *, loss: Loss | None = None, n_threads: int | None = None) -> dict[str, float]:
        """Return the mean loss (penalties included), and the accuracy where the loss is of classes.

        Parameters
        ----------
        X, y : array_like
            As for `fit`.
        loss : Loss, optional
            Without one that of the last `fit`, or `SoftmaxCrossEntropy`.
        n_threads : int or None
            Most threads to use.

        Returns
        -------
        dict
            ``{"loss": …, "accuracy": …}``.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        """
        operations = self.operations()
        X = as_inputs(X, "X", self.n_inputs)
        limit = None if n_threads is None else threads.checked(n_threads, "n_threads")
        loss = check_kind(loss if loss is not None else self.loss, Loss, "loss", SoftmaxCrossEntropy)
        return self.evaluate_checked(operations, X, y, loss, limit)

    def evaluate_checked(
        self, operations: Sequence[Operation] | None, X: Array, y: Any, loss: Loss, limit: int | None
    ) -> dict[str, float]:
        """Do the work of `evaluate` on inputs that have been checked."""
        if not operations or loss.code is None:
            outputs = self.forward(X, training=False)
            value = loss.forward(outputs, y)
            hits = np.empty(0) if loss.sample_hits is None else loss.sample_hits
        else:
            labels, targets = loss.prepare(y, len(X), operations[-1].n_out, X.dtype)
            rows, hits = self.losses_of(operations, X, labels, targets, loss, limit)
            value = _mean(rows)
        result = {"loss": value + sum(layer.penalty() for layer in self.layers)}
        if loss.has_accuracy:
            result["accuracy"] = _mean(hits)
        return result

    def forward(self, X: Any, training: bool = True) -> Array:
        """Run the layers one by one and return the last one's output; each keeps its own.

        Parameters
        ----------
        X : array_like
            Shape (samples, inputs).
        training : bool
            Whether layers behave as in training (dropout) and keep what `backward` needs.
        """
        out = X
        for layer in self.layers:
            out = layer.forward(out, training)
        return out

    def backward(self, dvalues: Any) -> Array:
        """Go back through the layers, last first; each sets its gradients.

        Parameters
        ----------
        dvalues : array_like
            The loss's gradient with respect to the outputs, shape (samples, outputs).
        """
        for layer in reversed(self.layers):
            dvalues = layer.backward(dvalues)
        return dvalues

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the layers, their parameters and their loss to a file, which is complete or not there at all.

        The loss is that of the last `fit`; one of a class of your own is left out.

        Parameters
        ----------
        path : path
            The usual ending is ``.safetensors``. A file that is there is replaced, once the new one is whole.

        Raises
        ------
        ValueError
            If a layer or its initialiser is of a class of your own, or a number is none: no file can bring it back.
        OSError
            If the file cannot be written, or the path is no ordinary file's; what was there stays.
        """
        io.write(path, self.layers, self.seed, self.loss)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a model that `Sequential.save` wrote. No code in the file is run; names in it reach fastnn's layers only.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential
        With the parameters' dtypes as they were, and the loss that `Sequential.evaluate` takes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or not a model of fastnn's.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastnn as fnn
    >>> model = fnn.Sequential(fnn.Dense(2, 3), seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(os.path.join(folder, "m.safetensors"))
    ...     fnn.load(os.path.join(folder, "m.safetensors")).layers[0].n_outputs
    3
    """
    layers, arrays, seed, loss = io.read(path)
    model = Sequential(*layers, seed=seed)
    model.loss = loss
    for layer, values in zip(model.layers, arrays, strict=True):
        for name, value in values.items():
            setattr(layer, name, value)
    model._lay_out()
    return model


def _mean(values: Array) -> float:
    out = np.empty(1)
    losses.row_mean(values, out)
    return float(out[0])
