"""The book's dense layer; `Layer_Dropout` and `Layer_Input` are in `fastnn.nnfs.passing`.

A call whose arrays are of one dtype and lie as kernels want them goes straight to the kernel; everything else is
converted first. The checks are written out where they are made: a small layer's call costs no more than they do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import threads
from fastnn.arrays import Array, check_number, check_positive_int
from fastnn.kernels import book_layers, penalties
from fastnn.nnfs._common import (
    EMPTY,
    Part,
    parameters_of,
    product_type,
    randn,
    rows_of,
    zeros,
)

__all__ = ["Layer_Dense"]

ndarray, empty = np.ndarray, np.empty


class Layer_Dense(Part):
    """A fully connected layer, ``output = inputs @ weights + biases``.

    Parameters
    ----------
    n_inputs, n_neurons : int
        Widths, at least 1.
    weight_regularizer_l1, weight_regularizer_l2, bias_regularizer_l1, bias_regularizer_l2 : float
        Strengths of the penalties ``l1 * sum(abs(w)) + l2 * sum(w**2)``, at least 0.

    Attributes
    ----------
    weights : numpy.ndarray
        Shape (n_inputs, n_neurons), ``0.01 * np.random.randn(n_inputs, n_neurons)`` at first.
    biases : numpy.ndarray
        Shape (1, n_neurons), zeros at first. Both may be assigned or changed in place at any time.
    inputs, output, dweights, dbiases, dinputs : numpy.ndarray
        There after `forward` and `backward`; new arrays each time.
    weight_momentums, weight_cache, bias_momentums, bias_cache : numpy.ndarray
        There after an optimiser that keeps them; changed in place by its steps.

    Notes
    -----
    A ``dinputs`` that nothing has read after the last `backward` is computed only when it is read after the
    next one: the first layer's is rarely wanted, and costs a third of its time. Until then the array given to
    `backward` must not be changed in place.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.nnfs import Layer_Dense
    >>> dense = Layer_Dense(2, 1)
    >>> dense.weights = np.array([[1.0], [2.0]])
    >>> dense.forward(np.array([[1.0, 1.0]]))
    >>> dense.output
    array([[3.]])
    >>> dense.backward(np.array([[1.0]]))
    >>> dense.dinputs
    array([[1., 2.]])
    """

    prev: Any
    next: Any
    inputs: Any
    output: Array
    dweights: Array
    dbiases: Array
    weight_momentums: Array
    weight_cache: Array
    bias_momentums: Array
    bias_cache: Array
    # Models of the book's earlier chapters, when read from a file, know no penalties.
    weight_regularizer_l1 = 0.0
    weight_regularizer_l2 = 0.0
    bias_regularizer_l1 = 0.0
    bias_regularizer_l2 = 0.0
    _scratch: Array | None = None
    _known: tuple[Any, ...] | None = None  # what the last `forward` has checked, and compiled code
    _checked: Any = None  # its inputs
    _made: tuple[Any, ...] | None = None  # what `backward` has checked and made: weights, biases, gradients
    _held: tuple[Any, ...] | None = None  # what an optimiser has checked
    _dinputs: Array | None = None
    _pending: tuple[Array, Array] | None = None
    _wanted = True

    def __init__(
        self,
        n_inputs: int,
        n_neurons: int,
        weight_regularizer_l1: float = 0,
        weight_regularizer_l2: float = 0,
        bias_regularizer_l1: float = 0,
        bias_regularizer_l2: float = 0,
    ) -> None:
        n_inputs = check_positive_int(n_inputs, "n_inputs")
        n_neurons = check_positive_int(n_neurons, "n_neurons")
        check_number(weight_regularizer_l1, "weight_regularizer_l1")
        check_number(weight_regularizer_l2, "weight_regularizer_l2")
        check_number(bias_regularizer_l1, "bias_regularizer_l1")
        check_number(bias_regularizer_l2, "bias_regularizer_l2")
        self.weights: Any = 0.01 * randn(n_inputs, n_neurons)
        self.biases: Any = zeros(1, n_neurons)
        self.weight_regularizer_l1 = weight_regularizer_l1
        self.weight_regularizer_l2 = weight_regularizer_l2
        self.bias_regularizer_l1 = bias_regularizer_l1
        self.bias_regularizer_l2 = bias_regularizer_l2

    def _room(self, m: int, k: int, n: int, dtype: np.dtype[Any], n_workers: int) -> Array:
        need = book_layers.dense_scratch(m, k, n, dtype.itemsize, n_workers)
        scratch = self._scratch
        if scratch is None or scratch.dtype != dtype or scratch.size < need:
            if scratch is not None and scratch.dtype != dtype:
                self._known = None  # its code takes scratch of the other dtype
            scratch = self._scratch = np.empty(need, dtype)
        return scratch

    def _ordered(self, inputs: Any) -> tuple[Array, Array, Array]:
        """Return inputs, weights and biases in the dtype of their product and in order."""
        dtype = product_type(np.asarray(inputs).dtype, np.asarray(self.weights).dtype)
        w, b = parameters_of(self.weights, self.biases, dtype)
        return rows_of(inputs, "inputs", w.shape[0], dtype), w, b

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` to ``inputs @ weights + biases``.

        Parameters
        ----------
        inputs : array_like
            Shape (samples, n_inputs).
        training : bool
            Makes no difference.

        Raises
        ------
        TypeError, ValueError
            If the inputs or the parameters are no numbers, or their shapes do not fit.
        """
        w, b, known = self.weights, self.biases, self._known
        if (
            known is not None
            and w is known[0]
            and b is known[1]
            and type(inputs) is ndarray
            and inputs.dtype is known[2]
            and inputs.shape == known[3]
            and w.shape == known[4]
            and inputs.flags.carray
        ):
            output = empty(known[5], known[2])
            known[7](inputs, w, b, output, self._scratch, 1)
            self._checked = self.inputs = inputs
            self.output = output
            return
        x, w, b = self._ordered(inputs)
        (m, k), n, dtype = x.shape, w.shape[1], x.dtype
        output = np.empty((m, n), dtype)
        work = 2.0 * m * k * n
        # Asked once: another thread may change the limit meanwhile.
        n_workers = threads.workers(work)
        scratch = self._room(m, k, n, dtype, n_workers)
        threads.call(book_layers.layer_forward, n_workers, x, w, b, output, scratch)
        # Next time the same objects need no looking at; small ones only, for the others it does not matter.
        small = work < threads.SERIAL_WORK and w is self.weights and b is self.biases
        call = book_layers.forward_entry(dtype, 2)
        self._known = (w, b, dtype, (m, k), (k, n), (m, n), EMPTY[dtype], call, None) if small else None
        self._checked = x if x is inputs else None
        self.inputs = inputs
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dweights``, ``dbiases`` (penalties included) and ``dinputs``.

        Parameters
        ----------
        dvalues : array_like
            The gradient with respect to the output, shape (samples, n_neurons), divided by the number of
            samples already, as the losses do.

        Raises
        ------
        AttributeError
            If there was no `forward` yet.
        TypeError, ValueError
            If shapes do not fit.
        """
        w, b, known = self.weights, self.biases, self._known
        x: Any = self.inputs
        later = not self._wanted
        if (
            known is not None
            and known[8] is not None
            and w is known[0]
            and b is known[1]
            and x is self._checked
            and type(dvalues) is ndarray
            and (dtype := dvalues.dtype) is known[2]
            and dvalues.shape == known[5]
            and x.shape == known[3]
            and w.shape == known[4]
            and dvalues.flags.carray
        ):
            # Let go of the last gradients first: the new ones may then lie where those still are in the cache.
            self._dinputs = self._pending = None
            dweights, dbiases = empty(known[4], dtype), empty((1, known[4][1]), dtype)
            dinputs = known[6] if later else empty(known[3], dtype)
            known[8](x, dvalues, w, dweights, dbiases, dinputs, self._scratch, 1)
        else:
            x, w, b = self._ordered(x)
            (m, k), n, dtype = x.shape, w.shape[1], x.dtype
            dvalues = rows_of(dvalues, "dvalues", None, dtype)
            if dvalues.shape[1] != n:
                raise ValueError(
                    f"dvalues must have {n} columns, one for each neuron of the layer, got shape {dvalues.shape}: "
                    "pass the gradient with respect to the output"
                )
            if len(dvalues) != m:
                raise ValueError(
                    f"dvalues must have a row for each of the {m} samples of forward(), got {len(dvalues)}: "
                    "pass the gradient with respect to that output"
                )
            dweights, dbiases = np.empty((k, n), dtype), np.empty((1, n), dtype)
            dinputs = EMPTY[dtype] if later else np.empty((m, k), dtype)
            work = 4.0 * m * k * n
            n_workers = threads.workers(work)
            scratch = self._room(m, k, n, dtype, n_workers)
            threads.call(book_layers.layer_backward, n_workers, x, dvalues, w, dweights, dbiases, dinputs, scratch)
            known = self._known
            if known is not None:
                self._known = (*known[:8], book_layers.backward_entry(known[2], 2))
        if self.weight_regularizer_l1 or self.weight_regularizer_l2:
            l1, l2 = float(self.weight_regularizer_l1), float(self.weight_regularizer_l2)
            threads.run(penalties.add_gradient, 5.0 * w.size, dweights, w, l1, l2)
        if self.bias_regularizer_l1 or self.bias_regularizer_l2:
            l1, l2 = float(self.bias_regularizer_l1), float(self.bias_regularizer_l2)
            penalties.add_gradient.serial(dbiases, b, l1, l2, 1)
        self.dweights = dweights
        self.dbiases = dbiases
        self._made = (w, b, dweights, dbiases)
        if later:
            # The weights are about to change: keep those that the gradient is of.
            self._dinputs, self._pending = None, (dvalues, w.copy())
        else:
            self._dinputs, self._pending = dinputs, None
            self._wanted = False

    @property
    def dinputs(self) -> Any:
        """The gradient with respect to the inputs, shape (samples, n_inputs)."""
        self._wanted = True
        if self._pending is not None:
            dvalues, w = self._pending
            (m, n), k = dvalues.shape, len(w)
            dinputs, n_workers = np.empty((m, k), w.dtype), threads.workers(2.0 * m * k * n)
            scratch = self._room(m, k, n, w.dtype, n_workers)
            threads.call(book_layers.layer_inputs, n_workers, dvalues, w, dinputs, scratch)
            self._dinputs, self._pending = dinputs, None
        if self._dinputs is None:
            raise AttributeError(f"{type(self).__name__} has no dinputs: call forward() and backward() first")
        return self._dinputs

    @dinputs.setter
    def dinputs(self, value: Any) -> None:
        self._dinputs, self._pending = value, None

    @dinputs.deleter
    def dinputs(self) -> None:
        self._dinputs = self._pending = None

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self._pending is not None or self._dinputs is not None:
            wanted = self._wanted
            state["dinputs"] = self.dinputs
            self._wanted = wanted  # a copy is no reader: the next gradient may wait as before
        return state

    def get_parameters(self) -> tuple[Any, Any]:
        """Return ``(weights, biases)``: the arrays themselves, not copies."""
        return self.weights, self.biases

    def set_parameters(self, weights: Any, biases: Any) -> None:
        """Store arrays as ``weights`` and ``biases``; they are not copied.

        Parameters
        ----------
        weights, biases : numpy.ndarray
            Shapes (n_inputs, n_neurons) and (1, n_neurons).
        """
        self.weights = weights
        self.biases = biases
