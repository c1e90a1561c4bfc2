"""The training loop that notes on networks from scratch write, in NumPy alone; `fastnn demo` times it.

It is meant to read as such notes do, an object for each layer and whole-array expressions, and is neither
slowed down nor tuned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Dense:
    """``inputs @ weights + biases``."""

    def __init__(self, weights: Array) -> None:
        self.weights = weights.copy()
        self.biases = np.zeros((1, weights.shape[1]), weights.dtype)
        self.memory = [np.zeros_like(self.weights), np.zeros_like(self.biases)]
        self.squares = [np.zeros_like(self.weights), np.zeros_like(self.biases)]

    def forward(self, inputs: Array) -> None:
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues: Array) -> None:
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = np.dot(dvalues, self.weights.T)


class ReLU:
    """``max(0, inputs)``."""

    def forward(self, inputs: Array) -> None:
        self.inputs = inputs
        self.output = np.maximum(0, inputs)

    def backward(self, dvalues: Array) -> None:
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs <= 0] = 0


class SoftmaxLoss:
    """Softmax and cross-entropy with their joint gradient."""

    def forward(self, inputs: Array, y: Array) -> float:
        powers = np.exp(inputs - np.max(inputs, axis=1, keepdims=True))
        self.output = powers / np.sum(powers, axis=1, keepdims=True)
        chosen = np.clip(self.output[range(len(y)), y], 1e-7, 1 - 1e-7)
        return float(np.mean(-np.log(chosen)))

    def backward(self, y: Array) -> None:
        self.dinputs = self.output.copy()
        self.dinputs[range(len(y)), y] -= 1
        self.dinputs /= len(y)


class Momentum:
    """Gradient descent with momentum and inverse-time decay."""

    def __init__(self, learning_rate: float, decay: float, momentum: float) -> None:
        self.learning_rate, self.decay, self.momentum = learning_rate, decay, momentum
        self.iterations = 0

    def update(self, layer: Dense, rate: float) -> None:
        layer.memory = [
            self.momentum * memory - rate * gradient
            for memory, gradient in zip(layer.memory, (layer.dweights, layer.dbiases), strict=True)
        ]
        layer.weights += layer.memory[0]
        layer.biases += layer.memory[1]

    def step(self, layers: Sequence[Dense]) -> None:
        rate = self.learning_rate * (1.0 / (1.0 + self.decay * self.iterations))
        for layer in layers:
            self.update(layer, rate)
        self.iterations += 1


class Adam:
    """Adam with bias-corrected moments."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate, self.epsilon, self.beta_1, self.beta_2 = learning_rate, 1e-7, 0.9, 0.999
        self.iterations = 0

    def step(self, layers: Sequence[Dense]) -> None:
        self.iterations += 1
        first, second = 1 - self.beta_1**self.iterations, 1 - self.beta_2**self.iterations
        for layer in layers:
            pairs = ((layer.weights, layer.dweights), (layer.biases, layer.dbiases))
            for i, (parameter, gradient) in enumerate(pairs):
                layer.memory[i] = self.beta_1 * layer.memory[i] + (1 - self.beta_1) * gradient
                layer.squares[i] = self.beta_2 * layer.squares[i] + (1 - self.beta_2) * gradient**2
                mean, square = layer.memory[i] / first, layer.squares[i] / second
                parameter += -self.learning_rate * mean / (np.sqrt(square) + self.epsilon)


class Network:
    """Dense layers with ReLU between them and `SoftmaxLoss` at the end.

    Parameters
    ----------
    weights : sequence of numpy.ndarray
        First weights of each layer, copied; biases start at zero.
    optimizer : Momentum or Adam
    """

    def __init__(self, weights: Sequence[Array], optimizer: Momentum | Adam) -> None:
        self.dense = [Dense(w) for w in weights]
        self.layers: list[Dense | ReLU] = [self.dense[0]]
        for layer in self.dense[1:]:
            self.layers += [ReLU(), layer]
        self.loss, self.optimizer = SoftmaxLoss(), optimizer

    def step(self, X: Array, y: Array) -> tuple[float, float]:
        """Train on one batch; return its loss and accuracy before the update."""
        values = X
        for layer in self.layers:
            layer.forward(values)
            values = layer.output
        loss = self.loss.forward(values, y)
        accuracy = float(np.mean(np.argmax(self.loss.output, axis=1) == y))
        self.loss.backward(y)
        gradient = self.loss.dinputs
        for layer in reversed(self.layers):
            layer.backward(gradient)
            gradient = layer.dinputs
        self.optimizer.step(self.dense)
        return loss, accuracy

    def train(self, batches: Iterable[tuple[Array, Array]]) -> list[float]:
        """Train on each batch in turn; return the losses."""
        return [self.step(X, y)[0] for X, y in batches]
