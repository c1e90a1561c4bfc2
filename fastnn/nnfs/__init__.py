"""The book's door: the class names of "neural networks from scratch", on fastnn's kernels.

In a script that follows the book, or notes made from it, only the classes' definitions are replaced:

>>> import numpy as np
>>> from fastnn.nnfs import *
>>> np.random.seed(0)
>>> X, y = spiral_data(samples=100, classes=3)
>>> dense1, activation1, dense2 = Layer_Dense(2, 64), Activation_ReLU(), Layer_Dense(64, 3)
>>> loss_activation = Activation_Softmax_Loss_CategoricalCrossentropy()
>>> optimizer = Optimizer_SGD(decay=1e-3, momentum=0.9)
>>> for epoch in range(201):
...     dense1.forward(X)
...     activation1.forward(dense1.output)
...     dense2.forward(activation1.output)
...     loss = loss_activation.forward(dense2.output, y)
...     loss_activation.backward(loss_activation.output, y)
...     dense2.backward(loss_activation.dinputs)
...     activation1.backward(dense2.dinputs)
...     dense1.backward(activation1.dinputs)
...     optimizer.pre_update_params()
...     optimizer.update_params(dense1)
...     optimizer.update_params(dense2)
...     optimizer.post_update_params()
>>> bool(loss < 1.0)
True
"""

from fastnn.nnfs import datasets as datasets
from fastnn.nnfs._common import init
from fastnn.nnfs.accuracy import Accuracy, Accuracy_Categorical, Accuracy_Regression
from fastnn.nnfs.activations import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
)
from fastnn.nnfs.datasets import sine_data, spiral_data, vertical_data
from fastnn.nnfs.joint import (
    Activation_Sigmoid_Loss_BinaryCrossentropy,
    Activation_Softmax_Loss_CategoricalCrossentropy,
)
from fastnn.nnfs.layers import Layer_Dense
from fastnn.nnfs.losses import (
    Loss,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
)
from fastnn.nnfs.model import Model
from fastnn.nnfs.optimizers import (
    Optimiser_Adagrad,
    Optimiser_Adam,
    Optimiser_RMSprop,
    Optimiser_SGD,
    Optimizer_Adagrad,
    Optimizer_Adam,
    Optimizer_RMSprop,
    Optimizer_SGD,
)
from fastnn.nnfs.passing import Layer_Dropout, Layer_Input

# Not `datasets`: a script may have another module of that name.
__all__ = [
    "Accuracy", "Accuracy_Categorical", "Accuracy_Regression", "Activation_Linear", "Activation_ReLU",
    "Activation_Sigmoid", "Activation_Sigmoid_Loss_BinaryCrossentropy", "Activation_Softmax",
    "Activation_Softmax_Loss_CategoricalCrossentropy", "Layer_Dense", "Layer_Dropout", "Layer_Input", "Loss",
    "Loss_BinaryCrossentropy", "Loss_CategoricalCrossentropy", "Loss_MeanAbsoluteError", "Loss_MeanSquaredError",
    "Model", "Optimiser_Adagrad", "Optimiser_Adam", "Optimiser_RMSprop", "Optimiser_SGD", "Optimizer_Adagrad",
    "Optimizer_Adam", "Optimizer_RMSprop", "Optimizer_SGD", "init", "sine_data", "spiral_data", "vertical_data",
]  # fmt: skip
