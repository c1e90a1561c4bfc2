"""Losses, value and gradient together: on one thread beside NumPy, and on two beside PyTorch."""

import numpy as np

from .common import LIBRARIES, extents, keep_to_cores, needs, prepared


class SoftmaxCrossEntropy:
    params = (["8192x10", "8192x1000"], LIBRARIES)
    param_names = ["rows_classes", "library"]

    def setup(self, shape, library):
        self.run = prepared("losses.softmax_cross_entropy[labels]", extents(shape), library)

    def time_forward_and_backward(self, shape, library):
        self.run()


class SoftmaxCrossEntropyObject:
    """The loss as it is called from Python, on two threads."""

    params = (["8192x10", "8192x1000"], ["fastnn", "torch"])
    param_names = ["rows_classes", "library"]

    def setup(self, shape, library):
        needs(library)
        keep_to_cores(2)
        random = np.random.default_rng(0)
        z = random.standard_normal(extents(shape), np.float32)
        y = random.integers(0, z.shape[1], len(z))
        self.run = globals()[f"{library}_loss"](z, y)
        self.run()

    def time_forward_and_backward(self, shape, library):
        self.run()


def fastnn_loss(z, y):
    import fastnn as fnn

    fnn.set_num_threads(2)
    loss = fnn.SoftmaxCrossEntropy()

    def run():
        loss.forward(z, y)
        loss.backward()

    return run


def torch_loss(z, y):
    import torch

    torch.set_num_threads(2)
    z, y = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)

    def run():
        z.grad = None
        torch.nn.functional.cross_entropy(z, y).backward()

    return run


class MeanSquaredError:
    params = (LIBRARIES,)
    param_names = ["library"]

    def setup(self, library):
        self.run = prepared("losses.mean_squared_error", (8192, 10), library)

    def time_forward_and_backward(self, library):
        self.run()
