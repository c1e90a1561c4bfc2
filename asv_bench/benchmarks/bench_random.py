"""Random orders, normal numbers and dropout, beside NumPy's generator."""

import functools

import numpy as np

from .common import LIBRARIES, prepared

ROWS, NUMBERS, LAYER, RATE = 60_000, 100_000, (128, 512), 0.3


def numpy_dropout(random, x):
    mask = random.random(x.shape, dtype=x.dtype) >= RATE
    return x * mask / (1 - RATE)


class Random:
    params = (LIBRARIES,)
    param_names = ["library"]

    def setup(self, library):
        if library == "numpy":
            random = np.random.default_rng(0)
            self.order = functools.partial(random.permutation, ROWS)
            self.normal = functools.partial(random.standard_normal, NUMBERS, np.float32)
            self.dropout = functools.partial(numpy_dropout, random, np.ones(LAYER, np.float32))
        else:
            from fastnn.kernels import rng

            self.order = functools.partial(rng.permutation, np.empty(ROWS, np.int64), 0, 0)
            self.normal = prepared("rng.normal", (NUMBERS,), library)
            self.dropout = prepared("dropout.dropout_forward", LAYER, library)
        for run in (self.order, self.normal, self.dropout):
            run()

    def time_permutation(self, library):
        self.order()

    def time_normal(self, library):
        self.normal()

    def time_dropout(self, library):
        self.dropout()
