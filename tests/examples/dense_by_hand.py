"""A dense layer by hand: forward, a gradient of ones, the parameters' gradients."""

import numpy as np
from options import options, picture

import fastnn.nnfs as nnfs
from fastnn import plotting
from fastnn.nnfs import *

nnfs.init()
args = options(epochs=1)
X, y = spiral_data(samples=100, classes=3)
dense = Layer_Dense(2, 3)
dense.forward(X)
print("output:", dense.output[:5])
assert np.allclose(dense.output, X @ dense.weights + dense.biases, atol=1e-6)

dense.backward(np.ones_like(dense.output))
print("dweights:", dense.dweights)
assert np.allclose(dense.dweights, X.T @ np.ones((300, 3)), atol=1e-3)

softmax = Activation_Softmax()
softmax.forward(dense.output)
print("probabilities:", softmax.output[:5])
picture(args.plot, lambda ax: plotting.scatter(X, y, ax))
