"""Parameters and whole models to files and back, and on with the training."""

import tempfile
from pathlib import Path

from options import options

import fastnn.nnfs as nnfs
from fastnn.nnfs import *

nnfs.init()
args = options(epochs=200)
X, y = spiral_data(samples=100, classes=3)


def build():
    model = Model()
    for layer in Layer_Dense(2, 64), Activation_ReLU(), Layer_Dense(64, 3), Activation_Softmax():
        model.add(layer)
    model.set(
        loss=Loss_CategoricalCrossentropy(),
        optimizer=Optimizer_Adam(learning_rate=0.05),
        accuracy=Accuracy_Categorical(),
    )
    model.finalize()
    return model


model = build()
model.train(X, y, epochs=args.epochs, print_every=None)
model.evaluate(X, y)
with tempfile.TemporaryDirectory() as folder:
    model.save_parameters(Path(folder, "spiral.params"))
    other = build()
    other.load_parameters(Path(folder, "spiral.params"))
    other.evaluate(X, y)
    model.save(Path(folder, "spiral.model"))
    again = Model.load(Path(folder, "spiral.model"))
again.evaluate(X, y)
again.train(X, y, epochs=2)
assert (model.predict(X) == other.predict(X)).all()
