"""Functions of each element by itself, and the softmax, on one thread."""

from .common import LIBRARIES, prepared

SIZE = (128 * 512,)


class Activation:
    params = (["relu", "sigmoid", "tanh"], LIBRARIES)
    param_names = ["activation", "library"]

    def setup(self, activation, library):
        self.forward = prepared(f"activations.activation_forward[{activation}]", SIZE, library)
        self.backward = prepared(f"activations.activation_backward[{activation}]", SIZE, library)

    def time_forward(self, activation, library):
        self.forward()

    def time_backward(self, activation, library):
        self.backward()


class Function:
    params = (["exp", "log"], LIBRARIES)
    param_names = ["function", "library"]

    def setup(self, function, library):
        self.run = prepared(f"math.{function}", SIZE, library)

    def time_function(self, function, library):
        self.run()


class Softmax:
    params = (LIBRARIES,)
    param_names = ["library"]

    def setup(self, library):
        self.forward = prepared("activations.softmax_forward", (8192, 10), library)

    def time_forward(self, library):
        self.forward()
