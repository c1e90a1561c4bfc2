"""Yes or no: sigmoid and binary cross-entropy on two spirals."""

from options import options, picture

import fastnn.nnfs as nnfs
from fastnn import plotting
from fastnn.nnfs import *

nnfs.init()
args = options(epochs=1000)
X, y = spiral_data(samples=100, classes=2)
y = y.reshape(-1, 1)

model = Model()
model.add(Layer_Dense(2, 64, weight_regularizer_l2=5e-4, bias_regularizer_l2=5e-4))
model.add(Activation_ReLU())
model.add(Layer_Dense(64, 1))
model.add(Activation_Sigmoid())
model.set(
    loss=Loss_BinaryCrossentropy(), optimizer=Optimizer_Adam(decay=5e-7), accuracy=Accuracy_Categorical(binary=True)
)
model.finalize()

X_test, y_test = spiral_data(samples=100, classes=2)
history = {"loss": []}
model.train(X, y, epochs=args.epochs, callback=lambda model, epoch, logs: history["loss"].append(logs["loss"]))
model.evaluate(X_test, y_test.reshape(-1, 1))

picture(
    args.plot, lambda ax: plotting.decision_regions(model.predict, X, y, ax), lambda ax: plotting.curves(history, ax=ax)
)
