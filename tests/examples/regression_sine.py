"""Regression: a sine from a linear output and the mean squared error."""

from options import options, picture

import fastnn.nnfs as nnfs
from fastnn.nnfs import *

nnfs.init()
args = options(epochs=1000)
X, y = sine_data()

model = Model()
model.add(Layer_Dense(1, 64))
model.add(Activation_ReLU())
model.add(Layer_Dense(64, 64))
model.add(Activation_ReLU())
model.add(Layer_Dense(64, 1))
model.add(Activation_Linear())
for layer in model.layers[::2]:
    layer.weights *= 10  # weights of 0.01 hardly learn here, as the book explains
model.set(
    loss=Loss_MeanSquaredError(),
    optimizer=Optimizer_Adam(learning_rate=0.005, decay=1e-3),
    accuracy=Accuracy_Regression(),
)
model.finalize()
model.train(X, y, epochs=args.epochs, print_every=100)


def draw(ax):
    ax.plot(X, y)
    ax.plot(X, model.predict(X))


picture(args.plot, draw)
