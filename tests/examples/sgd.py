"""Gradient descent without anything else."""

import numpy as np
from options import options, picture

import fastnn.nnfs as nnfs
from fastnn import plotting
from fastnn.nnfs import *

nnfs.init()
args = options(epochs=10001)
X, y = spiral_data(samples=100, classes=3)

dense1 = Layer_Dense(2, 64)
activation1 = Activation_ReLU()
dense2 = Layer_Dense(64, 3)
loss_activation = Activation_Softmax_Loss_CategoricalCrossentropy()
optimizer = Optimizer_SGD()

history = {"loss": [], "accuracy": []}
for epoch in range(args.epochs):
    dense1.forward(X)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    loss = loss_activation.forward(dense2.output, y)

    predictions = np.argmax(loss_activation.output, axis=1)
    accuracy = np.mean(predictions == y)
    history["loss"].append(loss)
    history["accuracy"].append(accuracy)
    if not epoch % 100:
        print(f"epoch: {epoch}, acc: {accuracy:.3f}, loss: {loss:.3f}, lr: {optimizer.current_learning_rate}")

    loss_activation.backward(loss_activation.output, y)
    dense2.backward(loss_activation.dinputs)
    activation1.backward(dense2.dinputs)
    dense1.backward(activation1.dinputs)

    optimizer.pre_update_params()
    optimizer.update_params(dense1)
    optimizer.update_params(dense2)
    optimizer.post_update_params()


def outputs(points):
    dense1.forward(points)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    return dense2.output


picture(args.plot, lambda ax: plotting.decision_regions(outputs, X, y, ax), lambda ax: plotting.curves(history, ax=ax))
