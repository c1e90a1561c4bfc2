"""The notebook on optimisation in deep learning: descent on (w - 3)² and schedules of the learning rate."""

import numpy as np
from options import options, picture

import fastnn.nnfs as nnfs
from fastnn import plotting
from fastnn.nnfs import *
from fastnn.schedules import ExponentialDecay

nnfs.init()
args = options(epochs=10)
# One dense neuron with a weight alone, whose mean squared error against 3 is (w - 3)².
dense, loss, descent = Layer_Dense(1, 1), Loss_MeanSquaredError(), Optimizer_SGD(learning_rate=0.1)
dense.weights = np.zeros((1, 1))
X, y = np.ones((1, 1)), np.full((1, 1), 3.0)
history = {"loss": []}
for i in range(args.epochs):
    dense.forward(X)
    loss.backward(dense.output, y)
    dense.backward(loss.dinputs)
    dense.dbiases[:] = 0.0
    descent.update_params(dense)
    dense.forward(X)
    history["loss"].append(loss.calculate(dense.output, y))
    print(f"Iteration {i + 1}: w = {dense.weights[0, 0]:.4f}, loss = {history['loss'][-1]:.4f}")

schedule = ExponentialDecay(0.1, rate=0.95)
for epoch in range(10):
    print(f"Epoch {epoch + 1}: Learning Rate = {schedule(epoch):.5f}")

picture(args.plot, lambda ax: plotting.curves(history, ax=ax))
