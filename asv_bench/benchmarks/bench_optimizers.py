"""One update of all parameters: on one thread beside NumPy, and of ten million beside PyTorch and the memory."""

import statistics
import time

import numpy as np

from .common import LIBRARIES, keep_to_cores, needs, prepared

MANY = 10_000_000


class Update:
    params = (["momentum", "adam"], [100_000, 10_000_000], LIBRARIES)
    param_names = ["optimizer", "parameters", "library"]

    def setup(self, optimizer, parameters, library):
        self.run = prepared(f"optim.update[{optimizer}]", (parameters,), library)

    def time_update(self, optimizer, parameters, library):
        self.run()


class Adam:
    """Ten million parameters, whose update is bound by memory; PyTorch's is its fused one."""

    params = (["fastnn", "torch"], [1, 2])
    param_names = ["library", "threads"]

    def setup(self, library, threads):
        needs(library)
        keep_to_cores(threads)
        self.run = globals()[f"{library}_adam"](threads)
        self.run()

    def time_update(self, library, threads):
        self.run()

    def track_share_of_bandwidth(self, library, threads):
        from fastnn.kernels.peak import triad_bandwidth

        shares = []
        for _ in range(3):
            took = []
            for _ in range(5):
                began = time.perf_counter()
                self.run()
                took.append(time.perf_counter() - began)
            # Parameters, gradients and both means are read, and all but the gradients written.
            shares.append(7 * 4 * MANY / min(took) / 1e9 / triad_bandwidth(threads))
        # Can exceed 1: the triad only writes one of its arrays, which the hardware reads all the same, uncounted.
        return statistics.median(shares)

    track_share_of_bandwidth.unit = "share"


class Idle:
    """Adam's update where nothing has been learnt for long: means that have decayed to next to nothing, or to zero."""

    params = ([0.0, 1e-39],)
    param_names = ["means"]

    def setup(self, means):
        import fastnn as fnn
        from fastnn.kernels import optim

        adam, n = fnn.Adam(0.001), 100_000
        w, g, s3 = np.full(n, 1.0, np.float32), np.full(n, 0.0, np.float32), np.empty(0, np.float32)
        first, second = np.full(n, means, np.float32), np.full(n, means, np.float32)
        arguments = adam.kind, w, g, first, second, s3, adam.scalars(3, 1)[0]

        def run():
            first.fill(means)
            second.fill(means)
            fnn.threads.call(optim.update, 1, *arguments)

        self.run = run
        self.run()

    def time_update(self, means):
        self.run()


def fastnn_adam(threads):
    import fastnn as fnn
    from fastnn.kernels import optim

    adam, random = fnn.Adam(0.001), np.random.default_rng(0)
    w, g = (random.standard_normal(MANY, np.float32) for _ in range(2))
    # Written once before the clock starts, so that all pages are there.
    first, second = np.full_like(w, 0.0), np.full_like(w, 0.0)
    arguments = adam.kind, w, g, first, second, np.empty(0, np.float32), adam.scalars(3, 1)[0]
    return lambda: fnn.threads.call(optim.update, threads, *arguments)


def torch_adam(threads):
    import torch

    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    w = torch.nn.Parameter(torch.randn(MANY, generator=generator))
    w.grad = torch.randn(MANY, generator=generator)
    return torch.optim.Adam([w], lr=0.001, fused=True).step
