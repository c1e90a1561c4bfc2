"""Ten kinds of clothing: Fashion-MNIST through the model object."""

import numpy as np
from options import options

import fastnn.nnfs as nnfs
from fastnn.nnfs import *
from fastnn.nnfs.datasets import create_data_mnist

nnfs.init()
args = options(epochs=10, data=True)
X, y, X_test, y_test = create_data_mnist(args.data)
keys = np.array(range(X.shape[0]))
np.random.shuffle(keys)
X, y = X[keys], y[keys]
X = (X.reshape(X.shape[0], -1).astype(np.float32) - 127.5) / 127.5
X_test = (X_test.reshape(X_test.shape[0], -1).astype(np.float32) - 127.5) / 127.5

model = Model()
model.add(Layer_Dense(X.shape[1], 128))
model.add(Activation_ReLU())
model.add(Layer_Dense(128, 128))
model.add(Activation_ReLU())
model.add(Layer_Dense(128, 10))
model.add(Activation_Softmax())
model.set(loss=Loss_CategoricalCrossentropy(), optimizer=Optimizer_Adam(decay=1e-3), accuracy=Accuracy_Categorical())
model.finalize()
model.train(X, y, validation_data=(X_test, y_test), epochs=args.epochs, batch_size=128, print_every=100)
