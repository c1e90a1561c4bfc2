"""The book's door beside the book's own classes in NumPy: the hand-written loop, and epochs of `Model.train`."""

import contextlib
import io

from . import common

CLASSES = ["numpy", "fastnn"]
DTYPES = ["float64", "float32"]
OPTIMIZERS = {
    "sgd": lambda side: side.Optimizer_SGD(decay=1e-3, momentum=0.9),
    "adam": lambda side: side.Optimizer_Adam(learning_rate=0.05, decay=5e-7),
}


def side_of(classes):
    """Return the module that has the classes."""
    common.limit_threads(2)
    if classes == "fastnn":
        import fastnn.nnfs as side
    else:
        import nnfs_numpy as side
    return side


def cast(layers, dtype):
    for layer in layers:
        if hasattr(layer, "weights"):
            layer.weights, layer.biases = layer.weights.astype(dtype), layer.biases.astype(dtype)


def spiral(dtype):
    import numpy as np

    from fastnn.nnfs import spiral_data

    np.random.seed(0)
    X, y = spiral_data(100, 3)
    return X.astype(dtype), y


def model_of(side, widths, optimizer, dtype):
    made = side.Model()
    for i, (n_in, n_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        if i:
            made.add(side.Activation_ReLU())
        made.add(side.Layer_Dense(n_in, n_out))
    made.add(side.Activation_Softmax())
    cast(made.layers, dtype)
    made.set(loss=side.Loss_CategoricalCrossentropy(), optimizer=optimizer, accuracy=side.Accuracy_Categorical())
    made.finalize()
    return made


def quietly(model, *data, **arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        model.train(*data, **arguments)


def replace_dot():
    """Replace ``np.dot`` as `nnfs.init` does, which the seeds' scripts call; return what was there."""
    import numpy as np

    dot = np.dot
    np.dot = lambda *args: dot(*[a.astype("float64") for a in args]).astype("float32")
    return dot


class HandWritten:
    """100 epochs of the seeds' loop on the spiral, 2-64-3; "nnfs" is float32 with the package's ``np.dot``."""

    params = [CLASSES, ["nnfs", *DTYPES], list(OPTIMIZERS)]
    param_names = ["classes", "dtype", "optimizer"]

    def setup(self, classes, dtype, optimizer):
        side = side_of(classes)
        self.dot = None
        if dtype == "nnfs":
            self.dot, dtype = replace_dot(), "float32"
        self.X, self.y = spiral(dtype)
        self.layers = side.Layer_Dense(2, 64), side.Activation_ReLU(), side.Layer_Dense(64, 3)
        cast(self.layers, dtype)
        self.loss, self.optimizer = side.Activation_Softmax_Loss_CategoricalCrossentropy(), OPTIMIZERS[optimizer](side)
        self.run(3)

    def teardown(self, classes, dtype, optimizer):
        if self.dot is not None:
            import numpy as np

            np.dot = self.dot

    def run(self, epochs):
        import numpy as np

        (dense1, activation1, dense2), loss_activation = self.layers, self.loss
        X, y, optimizer = self.X, self.y, self.optimizer
        for _ in range(epochs):
            dense1.forward(X)
            activation1.forward(dense1.output)
            dense2.forward(activation1.output)
            loss_activation.forward(dense2.output, y)
            predictions = np.argmax(loss_activation.output, axis=1)
            np.mean(predictions == y)
            loss_activation.backward(loss_activation.output, y)
            dense2.backward(loss_activation.dinputs)
            activation1.backward(dense2.dinputs)
            dense1.backward(activation1.dinputs)
            optimizer.pre_update_params()
            optimizer.update_params(dense1)
            optimizer.update_params(dense2)
            optimizer.post_update_params()

    def time_100_epochs(self, classes, dtype, optimizer):
        self.run(100)


class SpiralModel:
    """1,000 epochs of `Model.train` on the spiral, printing its lines."""

    params = [CLASSES, DTYPES, list(OPTIMIZERS)]
    param_names = ["classes", "dtype", "optimizer"]

    def setup(self, classes, dtype, optimizer):
        side = side_of(classes)
        self.data = spiral(dtype)
        self.model = model_of(side, [2, 64, 3], OPTIMIZERS[optimizer](side), dtype)
        quietly(self.model, *self.data, epochs=3)

    def time_1000_epochs(self, classes, dtype, optimizer):
        quietly(self.model, *self.data, epochs=1000)


class FashionMnist:
    """50 steps of `Model.train` of 784-128-128-10, batch 128, Adam; random images where there are no real ones."""

    params = [CLASSES, DTYPES]
    param_names = ["classes", "dtype"]

    def setup(self, classes, dtype):
        import numpy as np

        from fastnn.datasets import load_fashion_mnist

        side = side_of(classes)
        try:
            X, y, _, _ = load_fashion_mnist(scale="symmetric")
            X, y = X[: 50 * 128], y[: 50 * 128]
        except FileNotFoundError:
            random = np.random.default_rng(0)
            X, y = random.uniform(-1, 1, (50 * 128, 784)), random.integers(0, 10, 50 * 128)
        self.data = X.astype(dtype), y
        np.random.seed(0)
        self.model = model_of(side, [784, 128, 128, 10], side.Optimizer_Adam(decay=1e-3), dtype)
        quietly(self.model, *self.data, batch_size=128)

    def time_50_steps(self, classes, dtype):
        quietly(self.model, *self.data, batch_size=128, print_every=100)
