"""Losses, value and gradient together, on one thread."""

from .common import LIBRARIES, extents, prepared


class SoftmaxCrossEntropy:
    params = (["8192x10", "8192x1000"], LIBRARIES)
    param_names = ["rows_classes", "library"]

    def setup(self, shape, library):
        self.run = prepared("losses.softmax_cross_entropy[labels]", extents(shape), library)

    def time_forward_and_backward(self, shape, library):
        self.run()


class MeanSquaredError:
    params = (LIBRARIES,)
    param_names = ["library"]

    def setup(self, library):
        self.run = prepared("losses.mean_squared_error", (8192, 10), library)

    def time_forward_and_backward(self, library):
        self.run()
