"""The notes on AdaGrad, RMSprop and Adam: each rule's first step on one gradient, and a spiral for each."""

import numpy as np
from options import options, picture

import fastnn.nnfs as nnfs
from fastnn import plotting
from fastnn.nnfs import *

nnfs.init()
args = options(epochs=1000)
decayed = Optimizer_SGD(learning_rate=1.0, decay=0.1)
decayed.post_update_params()
decayed.pre_update_params()
print("learning rate after a step:", decayed.current_learning_rate)

gradient = np.array([[2.0, 4.0, 3.0]])
rules = {
    "AdaGrad": lambda rate: Optimizer_Adagrad(rate),
    "RMSprop": lambda rate: Optimizer_RMSprop(rate, rho=0.9),
    "Adam": lambda rate: Optimizer_Adam(rate),
}
for name, rule in rules.items():
    layer = Layer_Dense(1, 3)
    layer.weights, layer.biases = np.zeros((1, 3)), np.zeros((1, 3))
    layer.dweights, layer.dbiases = gradient, np.zeros((1, 3))
    rule(decayed.current_learning_rate).update_params(layer)
    print(name, "updates:", layer.weights[0])

history = {}
for name, rate in (("AdaGrad", 1.0), ("RMSprop", 0.02), ("Adam", 0.05)):
    np.random.seed(0)
    X, y = spiral_data(samples=100, classes=3)
    model = Model()
    for layer in Layer_Dense(2, 64), Activation_ReLU(), Layer_Dense(64, 3), Activation_Softmax():
        model.add(layer)
    model.set(loss=Loss_CategoricalCrossentropy(), optimizer=rules[name](rate), accuracy=Accuracy_Categorical())
    model.finalize()
    losses = history[name] = []
    model.train(
        X,
        y,
        epochs=args.epochs,
        print_every=None,
        callback=lambda model, epoch, logs, to=losses: to.append(logs["loss"]),
    )
    print(f"{name}: loss {losses[-1]:.3f}")

picture(args.plot, lambda ax: plotting.curves(history, ax=ax))
