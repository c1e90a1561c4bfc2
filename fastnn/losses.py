"""Losses: how far a network's outputs are from the truth, and the gradient to go back with.

Every class has the same parts in the same order: what it makes of the targets, forward, backward. A loss is
the mean over the samples, and so is its gradient; penalties on parameters are the layers' own.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from fastnn import threads
from fastnn._array_steps import INT64, in_order
from fastnn._known import CROSS_ENTROPY_WORK, KnownLabels
from fastnn.arrays import Array, as_class_targets, as_inputs, as_targets, check_fraction
from fastnn.base import Configurable
from fastnn.kernels import losses

ndarray, empty = np.ndarray, np.empty

__all__ = ["Loss", "MeanSquaredError", "SoftmaxCrossEntropy"]


_COMPUTING = {"prepare", "forward", "forward_prepared", "backward"}


class Loss(Configurable, abc.ABC):
    """Base class: ``forward(outputs, y)``, then ``backward()``.

    Attributes
    ----------
    code : int or None
        The number by which the compiled loop knows it; None for a loss of your own.
    has_accuracy : bool
        Whether the share of samples that are right is defined.
    sample_losses : numpy.ndarray or None
        The loss of each sample of the last `forward`, shape (samples,). A loss of your own may leave it None: an
        epoch's loss is then the mean of what `forward` returned.
    sample_hits : numpy.ndarray or None
        1 where the last `forward` had a sample right, else 0, shape (samples,); zeros without an accuracy.
    dinputs : numpy.ndarray or None
        What the last `backward` returned, of the shape of the outputs.
    """

    code: ClassVar[int | None] = None
    has_accuracy: ClassVar[bool] = False

    sample_losses: Array | None = None
    sample_hits: Array | None = None
    dinputs: Array | None = None
    _gradient: Array | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The compiled loop would pass over what a subclass of one of ours computes.
        if "code" not in vars(cls) and _COMPUTING & vars(cls).keys():
            cls.code = None

    @abc.abstractmethod
    def prepare(
        self, y: Any, n: int, width: int, dtype: npt.DTypeLike, name: str = "y"
    ) -> tuple[npt.NDArray[np.int64], Array]:
        """Return ``(labels, targets)`` as the kernels want them: one holds what `y` says, the other is empty.

        Parameters
        ----------
        y : array_like
            What is true of each sample.
        n, width : int
            The number of samples and of the network's outputs.
        dtype : dtype
            float32 or float64: that of the outputs.
        name : str
            What error messages call `y`.

        Returns
        -------
        labels : numpy.ndarray
            int64, shape (n,) or (0,).
        targets : numpy.ndarray
            Of `dtype`, shape (n, width) or (0, 0).

        Raises
        ------
        TypeError, ValueError
            If `y` is not what this loss can use.
        """

    @abc.abstractmethod
    def forward(self, outputs: Any, y: Any) -> float:
        """Return the mean loss.

        Parameters
        ----------
        outputs : array_like
            What the network gave, shape (samples, outputs), at least one sample. NaN makes the loss NaN.
        y : array_like
            What is true of each sample; see `prepare`.

        Raises
        ------
        TypeError, ValueError
            If either is not what this loss can use; nothing is changed.
        """

    def forward_prepared(self, outputs: Array, labels: npt.NDArray[np.int64], targets: Array) -> float:
        """Return the mean loss from what `prepare` returned, or rows of it, unchecked.

        A training loop prepares once and calls this for each batch.
        """
        return self.forward(outputs, targets if targets.size else labels)

    def backward(self) -> Array:
        """Return the gradient of the last mean loss with respect to the outputs, and keep it as ``dinputs``.

        Raises
        ------
        RuntimeError
            If there was no `forward` yet.
        """
        if self._gradient is None:
            raise RuntimeError(f"{type(self).__name__} has no loss to go back from: call forward(outputs, y) first")
        self.dinputs = self._gradient
        return self.dinputs

    def _keep(self, rows: Array, hits: Array, gradient: Array) -> float:
        """Take over what a kernel has written, all at once, and return the mean loss."""
        mean = np.empty(1)
        losses.row_mean(rows, mean)
        self.sample_losses, self.sample_hits, self._gradient, self.dinputs = rows, hits, gradient, None
        return float(mean[0])


@final
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of the softmax of the outputs: ``log(sum(exp(z))) - z[label]``, exact for any logits.

    The network's last layer gives logits, numbers of any size, one for each class: no softmax belongs there.

    Parameters
    ----------
    label_smoothing : float
        In [0, 1): the targets become ``(1 - label_smoothing) * target + label_smoothing / classes``.

    Attributes
    ----------
    sample_losses, sample_hits, dinputs : numpy.ndarray or None
        See `Loss`.

    Examples
    --------
    >>> from fastnn.losses import SoftmaxCrossEntropy
    >>> loss = SoftmaxCrossEntropy()
    >>> round(loss.forward([[0.0, 0.0]], [1]), 4)
    0.6931
    >>> loss.backward()
    array([[ 0.5, -0.5]])
    """

    code = losses.SOFTMAX_CROSS_ENTROPY
    has_accuracy = True
    _known: KnownLabels | None = None

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = check_fraction(label_smoothing, "label_smoothing")

    def __getstate__(self) -> dict[str, Any]:
        # Compiled code is neither copied nor stored.
        return {key: value for key, value in self.__dict__.items() if key != "_known"}

    def prepare(
        self, y: Any, n: int, width: int, dtype: npt.DTypeLike, name: str = "y"
    ) -> tuple[npt.NDArray[np.int64], Array]:
        """Return class numbers as labels, probabilities as targets (smoothed already); see `Loss.prepare`.

        `y` is whole class numbers from 0, shape (n,) or (n, 1); one-hot rows, shape (n, width); or rows of
        probabilities of that shape, which add up to 1.
        """
        labels, targets = as_class_targets(y, n, width, dtype, name)
        if targets.size and self.label_smoothing:
            # The kernel smooths labels only.
            targets = targets * (1.0 - self.label_smoothing) + self.label_smoothing / width
        return labels, targets

    def forward(self, outputs: Any, y: Any) -> float:
        """Return the mean cross-entropy of logits; see `Loss.forward` and `prepare`."""
        known = self._known
        if (
            known is not None
            and type(outputs) is ndarray
            and type(y) is ndarray
            and outputs.dtype is known.dtype
            and outputs.shape == known.outputs
            and y.shape == known.rows
            and y.dtype is INT64
            and outputs.flags.carray
            and y.flags.carray
        ):
            mean = self._score(known, outputs, y)
            if mean is not None:
                return mean
        z = as_inputs(outputs, "outputs", finite=False)
        if type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "iu":
            mean = self._of_labels(z, y if in_order(y, y.shape, INT64) else y.astype(np.int64))
            if mean is not None:
                return mean
        return self.forward_prepared(z, *self.prepare(y, len(z), z.shape[1], z.dtype))

    def _of_labels(self, z: Array, y: Array) -> float | None:
        """Return the mean cross-entropy of class numbers, or None, and nothing is done, if they are no good.

        `z` and `y` are in order, but nothing is known of the values yet: a wrong one is told the long way.
        """
        if len(y) != len(z):
            return None
        known = KnownLabels(z, y)
        mean = self._score(known, z, y)
        self._known = self._known if mean is None else known
        return mean

    def _score(self, known: KnownLabels, z: Array, y: Array) -> float | None:
        dtype, (scratch, out) = known.dtype, known.borrow()
        dz, rows, hits = empty(known.outputs, dtype), empty(known.rows, dtype), empty(known.rows, dtype)
        known.score(z, y, float(self.label_smoothing), dz, rows, hits, scratch, out, 1)
        mean, wrong = out.tolist()
        known.give_back(scratch, out)
        if wrong:
            return None
        self.sample_losses, self.sample_hits, self._gradient, self.dinputs = rows, hits, dz, None
        return mean

    def forward_prepared(self, outputs: Array, labels: npt.NDArray[np.int64], targets: Array) -> float:
        """Return the mean cross-entropy; see `Loss.forward_prepared`."""
        z = outputs
        if not targets.size and in_order(labels, labels.shape, INT64):
            mean = self._of_labels(z, labels)
            if mean is not None:
                return mean
        dz, rows, hits = np.empty_like(z), np.empty(len(z), z.dtype), np.empty(len(z), z.dtype)
        scratch = np.empty(losses.scratch_size(z.shape[1], threads.max_workers()), z.dtype)
        threads.run(
            losses.softmax_cross_entropy, CROSS_ENTROPY_WORK * z.size, z, labels.astype(z.dtype), targets,
            float(self.label_smoothing), dz, rows, hits, scratch,
        )  # fmt: skip
        return self._keep(rows, hits, dz)


@final
class MeanSquaredError(Loss):
    """``mean((outputs - y)**2)`` over the outputs of each sample, then over the samples.

    Attributes
    ----------
    sample_losses, sample_hits, dinputs : numpy.ndarray or None
        See `Loss`.

    Examples
    --------
    >>> from fastnn.losses import MeanSquaredError
    >>> loss = MeanSquaredError()
    >>> loss.forward([[1.0, 2.0]], [[1.0, 0.0]])
    2.0
    >>> loss.backward()
    array([[0., 2.]])
    """

    code = losses.MEAN_SQUARED_ERROR

    def prepare(
        self, y: Any, n: int, width: int, dtype: npt.DTypeLike, name: str = "y"
    ) -> tuple[npt.NDArray[np.int64], Array]:
        """Return no labels, and `y` as targets: shape (n, width), or (n,) if `width` is 1."""
        return np.empty(0, np.int64), as_targets(y, n, width, dtype, name)

    def forward(self, outputs: Any, y: Any) -> float:
        """Return the mean squared error; see `Loss.forward` and `prepare`."""
        z = as_inputs(outputs, "outputs", finite=False)
        return self.forward_prepared(z, *self.prepare(y, len(z), z.shape[1], z.dtype))

    def forward_prepared(self, outputs: Array, labels: npt.NDArray[np.int64], targets: Array) -> float:
        """Return the mean squared error; see `Loss.forward_prepared`."""
        z = outputs
        dz, rows, hits = np.empty_like(z), np.empty(len(z), z.dtype), np.empty(len(z), z.dtype)
        threads.run(losses.mean_squared_error, 5.0 * z.size, z, targets, dz, rows, hits)
        return self._keep(rows, hits, dz)
