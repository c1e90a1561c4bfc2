"""Random changes to the best weights so far, on vertical data."""

import numpy as np
from options import options, picture

import fastnn.nnfs as nnfs
from fastnn import plotting
from fastnn.nnfs import *

nnfs.init()
args = options(epochs=10000)
X, y = vertical_data(samples=100, classes=3)

dense1 = Layer_Dense(2, 3)
activation1 = Activation_ReLU()
dense2 = Layer_Dense(3, 3)
activation2 = Activation_Softmax()
loss_function = Loss_CategoricalCrossentropy()

lowest_loss = 9999999
best = [layer.weights.copy() for layer in (dense1, dense2)], [layer.biases.copy() for layer in (dense1, dense2)]
history = {"lowest loss": []}
for iteration in range(args.epochs):
    dense1.weights += 0.05 * np.random.randn(2, 3)
    dense1.biases += 0.05 * np.random.randn(1, 3)
    dense2.weights += 0.05 * np.random.randn(3, 3)
    dense2.biases += 0.05 * np.random.randn(1, 3)

    dense1.forward(X)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    activation2.forward(dense2.output)
    loss = loss_function.calculate(activation2.output, y)
    accuracy = np.mean(np.argmax(activation2.output, axis=1) == y)

    if loss < lowest_loss:
        print("New set of weights found, iteration:", iteration, "loss:", loss, "acc:", accuracy)
        best = [layer.weights.copy() for layer in (dense1, dense2)], [layer.biases.copy() for layer in (dense1, dense2)]
        lowest_loss = loss
    else:
        dense1.weights, dense2.weights = (weights.copy() for weights in best[0])
        dense1.biases, dense2.biases = (biases.copy() for biases in best[1])
    history["lowest loss"].append(lowest_loss)

picture(args.plot, lambda ax: plotting.scatter(X, y, ax), lambda ax: plotting.curves(history, ax=ax))
