"""The book's `Model`: layers, a loss, an optimiser and an accuracy, trained with the book's printed lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.arrays import Array, check_flag, check_positive_int
from fastnn.nnfs import saving
from fastnn.nnfs._common import Part
from fastnn.nnfs._compiled import CannotCompile, CompiledTraining
from fastnn.nnfs._originals import keep, replaced
from fastnn.nnfs._report import Report
from fastnn.nnfs._training import Callback, Training, sample_count
from fastnn.nnfs.activations import Activation_Softmax
from fastnn.nnfs.joint import Activation_Softmax_Loss_CategoricalCrossentropy
from fastnn.nnfs.losses import Loss_CategoricalCrossentropy
from fastnn.nnfs.passing import Layer_Input

__all__ = ["Model"]


class Model(Part):
    """A network as the book's last chapters have it.

    Attributes
    ----------
    layers : list
        In order. A layer of your own needs ``forward(inputs, training)``, which sets ``output``, and
        ``backward(dvalues)``, which sets ``dinputs``; if it has ``weights``, also ``biases``, ``dweights`` and
        ``dbiases``. The last one also needs ``predictions(outputs)``.
    loss, optimizer, accuracy : object or None
        See `set`.
    trainable_layers : list
        The layers that have weights; there after `finalize`, as are ``input_layer`` and
        ``output_layer_activation``.
    softmax_classifier_output : Activation_Softmax_Loss_CategoricalCrossentropy or None
        There if the network ends so.
    compiled : bool or None
        Whether the last `train` ran compiled.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import *
    >>> np.random.seed(0)
    >>> X, y = spiral_data(samples=100, classes=3)
    >>> model = Model()
    >>> for layer in Layer_Dense(2, 64), Activation_ReLU(), Layer_Dense(64, 3), Activation_Softmax():
    ...     model.add(layer)
    >>> model.set(
    ...     loss=Loss_CategoricalCrossentropy(),
    ...     optimizer=Optimizer_Adam(learning_rate=0.05, decay=5e-7),
    ...     accuracy=Accuracy_Categorical(),
    ... )
    >>> model.finalize()
    >>> model.train(X, y, epochs=1)
    epoch: 1
    step: 0, acc: 0.360, loss: 1.099 (data_loss: 1.099, reg_loss: 0.000), lr: 0.05
    training, acc: 0.360, loss: 1.099 (data_loss: 1.099, reg_loss: 0.000), lr: 0.05
    """

    # Classes from files of earlier chapters lack these.
    softmax_classifier_output: Any = None
    loss: Any = None
    optimizer: Any = None
    accuracy: Any = None
    input_layer: Any = None
    output_layer_activation: Any = None
    compiled: bool | None = None

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.trainable_layers: list[Any] = []

    def add(self, layer: Any) -> None:
        """Append a layer or an activation."""
        self.layers.append(layer)

    def set(self, *, loss: Any = None, optimizer: Any = None, accuracy: Any = None) -> None:
        """Set the loss, the optimiser and the accuracy; what is None stays as it was."""
        if loss is not None:
            self.loss = loss
        if optimizer is not None:
            self.optimizer = optimizer
        if accuracy is not None:
            self.accuracy = accuracy

    def finalize(self) -> None:
        """Link the layers by ``prev`` and ``next``, and find out what is to be trained.

        Raises
        ------
        ValueError
            If there is no layer.
        """
        if not self.layers:
            raise ValueError("the model has no layers: call add(layer) first")
        self.input_layer = Layer_Input()
        chain = [self.input_layer, *self.layers, self.loss]
        for before, layer, after in zip(chain, self.layers, chain[2:], strict=False):
            layer.prev, layer.next = before, after
        self.input_layer.next = self.layers[0]
        self.output_layer_activation = self.layers[-1]
        self.trainable_layers = [layer for layer in self.layers if hasattr(layer, "weights")]
        if self.loss is not None:
            self.loss.remember_trainable_layers(self.trainable_layers)
        joint = isinstance(self.layers[-1], Activation_Softmax) and isinstance(self.loss, Loss_CategoricalCrossentropy)
        self.softmax_classifier_output = Activation_Softmax_Loss_CategoricalCrossentropy() if joint else None

    # --- training ---

    def train(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        print_every: int | None = 1,
        validation_data: tuple[Any, Any] | None = None,
        callback: Callback | None = None,
        epoch_lines: bool = False,
    ) -> None:
        """Train, compiled where all parts and methods are the book's (and none is dropout), else layer by layer.

        The result is the same. Layers' ``output``, ``dinputs`` and the like are those of the last step, or of
        the validation after it.

        Parameters
        ----------
        X : array_like
            Samples, shape (samples, inputs).
        y : array_like
            Targets: class numbers or one-hot rows, or values of the outputs' shape.
        epochs : int
            Passes over the data, in their order: nothing is shuffled.
        batch_size : int or None
            Samples a step; None takes all of them.
        print_every : int or None
            Of steps, or of epochs with `epoch_lines`; None prints nothing at all.
        validation_data : (X, y), optional
            Evaluated after each epoch, or once at the end with `epoch_lines`.
        callback : callable, optional
            Called as ``callback(model, epoch, logs)`` after each epoch, counted from 1; `logs` has ``accuracy``,
            ``loss``, ``data_loss``, ``reg_loss`` and ``learning_rate``, and of an evaluation after each epoch also
            ``validation_accuracy`` and ``validation_loss``, unless your class has an `evaluate` of its own, which
            is called instead. Training ends if it returns True.
        epoch_lines : bool
            Print as the book's chapter 18 does, whose scripts call this with the same arguments as the final
            chapter's: one line ``epoch: 100, acc: …`` for each epoch whose number is a multiple of `print_every`,
            and the validation after the last epoch only. With batches, accuracy and data loss are the epoch's means.

        Raises
        ------
        RuntimeError
            If the model is not finalised, or has no loss, optimiser or accuracy.
        TypeError, ValueError
            If an argument is not as described.
        """
        self._check_ready()
        epochs = check_positive_int(epochs, "epochs")
        rows = sample_count(X, y, "X", "y")
        batch = rows if batch_size is None else min(check_positive_int(batch_size, "batch_size"), rows)
        if print_every is not None:
            print_every = check_positive_int(print_every, "print_every")
        if validation_data is not None and len(validation_data) != 2:
            raise ValueError("validation_data must be a pair (X, y): write validation_data=(X_val, y_val)")
        epoch_lines = check_flag(epoch_lines, "epoch_lines")
        self.accuracy.init(y)
        report = Report(-(-rows // batch), print_every, epoch_lines)
        run: CompiledTraining | None = None
        try:
            run = CompiledTraining(self, X, y, batch)
        except CannotCompile:
            pass
        self.compiled = run is not None
        if run is None and not isinstance(X, np.ndarray):
            X = np.asarray(X)
        if not isinstance(y, np.ndarray):
            y = np.asarray(y)
        each_epoch = None if epoch_lines else validation_data
        training = Training(self, np.asarray(X), y, batch, batch_size, report, each_epoch, callback)
        try:
            training.run(run, epochs)
        finally:
            if run is not None:
                run.release()
            report.flush()
        if epoch_lines and validation_data is not None:
            self._validate(validation_data, batch_size, report)
            report.flush()

    def _check_ready(self) -> None:
        for name in ("loss", "optimizer", "accuracy"):
            if getattr(self, name) is None:
                raise RuntimeError(f"the model has no {name}: call set({name}=…) and then finalize()")
        if self.output_layer_activation is not (self.layers[-1] if self.layers else None):
            raise RuntimeError("the model is not finalised: call finalize() after the last add()")
        if self.layers[-1].next is not self.loss:
            raise RuntimeError("the loss was set after finalize(): call finalize() again")

    def evaluate(self, X_val: Any, y_val: Any, *, batch_size: int | None = None) -> None:
        """Print accuracy and loss of other data.

        Parameters
        ----------
        X_val, y_val : array_like
            As for `train`.
        batch_size : int or None
            Samples at a time; None takes all of them.
        """
        accuracy, loss = self._evaluate(X_val, y_val, batch_size)
        report = Report(1, 1)
        report.validation(accuracy, loss)
        report.flush()

    def _validate(self, data: tuple[Any, Any], batch_size: int | None, report: Report) -> tuple[Any, Any] | None:
        """Evaluate while training; an `evaluate` of the user's own prints for itself and tells no figures."""
        if replaced(self, "evaluate"):
            report.flush()
            self.evaluate(*data, batch_size=batch_size)
            return None
        accuracy, loss = self._evaluate(*data, batch_size)
        if report.print_every is not None:
            report.validation(accuracy, loss)
        return accuracy, loss

    def _evaluate(self, X_val: Any, y_val: Any, batch_size: int | None) -> tuple[Any, Any]:
        for name in ("loss", "accuracy"):
            if getattr(self, name) is None:
                raise RuntimeError(f"the model has no {name}: call set({name}=…) and then finalize()")
        rows = sample_count(X_val, y_val, "X_val", "y_val")
        batch = rows if batch_size is None else check_positive_int(batch_size, "batch_size")
        self.loss.new_pass()
        self.accuracy.new_pass()
        X_val, y_val = np.asarray(X_val), np.asarray(y_val)
        for start in range(0, rows, batch):
            output = self.forward(X_val[start : start + batch], training=False)
            y = y_val[start : start + batch]
            self.loss.calculate(output, y)
            self.accuracy.calculate(self.output_layer_activation.predictions(output), y)
        return self.accuracy.calculate_accumulated(), self.loss.calculate_accumulated()

    def predict(self, X: Any, *, batch_size: int | None = None) -> Array:
        """Return the network's outputs (after a softmax, probabilities).

        Parameters
        ----------
        X : array_like
            Shape (samples, inputs).
        batch_size : int or None
            Samples at a time; None takes all of them.

        Returns
        -------
        numpy.ndarray
            Shape (samples, outputs).
        """
        X = np.asarray(X)
        batch = max(len(X), 1) if batch_size is None else check_positive_int(batch_size, "batch_size")
        starts = range(0, max(len(X), 1), batch)
        return np.vstack([self.forward(X[start : start + batch], training=False) for start in starts])

    def forward(self, X: Any, training: bool = True) -> Any:
        """Run the layers one after the other and return the last one's output."""
        if self.input_layer is None:
            raise RuntimeError("the model is not finalised: call finalize() first")
        self.input_layer.forward(X, training)
        for layer in self.layers:
            layer.forward(layer.prev.output, training)
        return self.layers[-1].output

    def backward(self, output: Any, y: Any) -> None:
        """Go back through the layers; each sets its gradients."""
        joint = self.softmax_classifier_output
        layers: Sequence[Any] = self.layers
        if joint is not None:
            joint.backward(output, y)
            layers[-1].dinputs = joint.dinputs
            layers = layers[:-1]
        else:
            self.loss.backward(output, y)
        for layer in reversed(layers):
            layer.backward(layer.next.dinputs)

    # --- parameters and files ---

    def get_parameters(self) -> list[tuple[Any, Any]]:
        """Return ``(weights, biases)`` of each trainable layer: the arrays themselves, not copies."""
        return [layer.get_parameters() for layer in self.trainable_layers]

    def set_parameters(self, parameters: Sequence[tuple[Any, Any]]) -> None:
        """Store ``(weights, biases)`` of each trainable layer; they are not copied.

        Raises
        ------
        ValueError
            If their number or a shape does not fit; nothing is changed then.
        """
        parameters = list(parameters)
        if len(parameters) != len(self.trainable_layers):
            raise ValueError(
                f"parameters must have one pair for each of the {len(self.trainable_layers)} trainable layers, got "
                f"{len(parameters)}: pass what get_parameters() of a like network returned"
            )
        for i, (pair, layer) in enumerate(zip(parameters, self.trainable_layers, strict=True)):
            shapes = tuple(np.shape(value) for value in pair)
            wanted = np.shape(layer.weights), np.shape(layer.biases)
            if shapes != wanted:
                raise ValueError(
                    f"parameters[{i}] must have the shapes {wanted} of the layer's weights and biases, got "
                    f"{shapes}: pass what get_parameters() of a like network returned"
                )
        for pair, layer in zip(parameters, self.trainable_layers, strict=True):
            layer.set_parameters(*pair)

    def save_parameters(self, path: str | os.PathLike[str], format: str = "safetensors") -> None:
        """Write the parameters to a file; see `save` for the arguments."""
        saving.save_parameters(self.get_parameters(), path, format)

    def load_parameters(self, path: str | os.PathLike[str]) -> None:
        """Read parameters from a file, ours or the book's pickle, and `set_parameters`.

        Raises
        ------
        ValueError
            If the file is damaged, holds something else, or does not fit; nothing is changed then.
        """
        self.set_parameters(saving.load_parameters(path))

    def save(self, path: str | os.PathLike[str], format: str = "safetensors") -> None:
        """Write the model to a file, without what passed through it last.

        Parameters
        ----------
        path : path
            Replaced whole, or not at all.
        format : {"safetensors", "pickle"}
            A pickle is written only to a path that ends in ``.model``, ``.parms`` or ``.params``.

        Raises
        ------
        TypeError
            If the model has a layer, loss, optimiser or accuracy of your own: use `save_parameters`.
        ValueError
            If the format is unknown or does not fit the path.
        """
        saving.save_model(self, path, format)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Model:
        """Read a model from a file, ours or the book's pickle; no code of the file is run.

        Parameters
        ----------
        path : path
            Whatever it is called: the content decides.

        Raises
        ------
        ValueError
            If the file is damaged or holds anything but the book's classes and arrays.
        """
        return saving.load_model(path)


keep(Model)
