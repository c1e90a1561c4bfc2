"""Sixty-four networks of one shape, trained together or one after the other, for `bench_many.py`.

All train the same networks on the same batches; each has weights of its own.
"""

import time
from itertools import pairwise

import numpy as np
from peer_steps import MOMENTUM, Fastnn, Jax

NETWORKS = 64


def make_networks(case):
    """Initial weights of each network: (NETWORKS, inputs, outputs) float32 arrays, one a layer."""
    rng = np.random.default_rng(14)
    return [
        rng.standard_normal((NETWORKS, n_in, n_out), dtype=np.float32) * np.float32((2 / n_in) ** 0.5)
        for n_in, n_out in pairwise(case.widths)
    ]


class JaxMany(Jax):
    """JAX, the step of `Jax` mapped over the networks and the whole run one jitted `lax.scan`."""

    def make_step(self):
        return self.jax.vmap(super().make_step(), in_axes=(0, None, None))

    def reset(self):
        numpy = self.jax.numpy
        stacks = make_networks(self.case)
        layers = [(numpy.asarray(w), numpy.zeros((NETWORKS, w.shape[2]), w.dtype)) for w in stacks]
        memory, squares = (self.jax.tree.map(numpy.zeros_like, layers) for _ in range(2))
        self.state = (layers, memory, squares, numpy.zeros(NETWORKS, np.float32))

    def run(self, steps):
        seconds, losses = self.scan_steps(steps)
        return seconds, float(losses[-1].mean())


class OneByOne(Fastnn):
    """fastnn's `fit` for one network after the other."""

    def reset(self):
        fnn, self.models = self.fastnn, []
        stacks = make_networks(self.case)
        for i in range(NETWORKS):
            layers = []
            for stack in stacks:
                layers += [fnn.Dense(*stack.shape[1:]), fnn.ReLU()]
                layers[-2].weights[...] = stack[i]
            self.models.append(fnn.Sequential(*layers[:-1], seed=i))

    def settings(self, steps):
        """What `fit` and `fit_many` are given alike."""
        fnn, rate = self.fastnn, self.case.rate
        sgd = self.case.optimiser == "sgd"
        return {
            "optimizer": fnn.SGD(learning_rate=rate, momentum=MOMENTUM) if sgd else fnn.Adam(learning_rate=rate),
            "epochs": steps // self.case.batches,
            "batch_size": None if self.case.batches == 1 else self.case.batch,
            "shuffle": self.shuffle,
            "n_threads": self.threads,
        }

    def train(self, steps):
        """Train on, with fresh optimisers, and return the histories."""
        # A dictionary each: an optimiser goes on from where its last training ended.
        return [model.fit(self.x, self.y, **self.settings(steps)) for model in self.models]

    def run(self, steps):
        start = time.perf_counter()
        histories = self.train(steps)
        return time.perf_counter() - start, float(np.mean([history["loss"][-1] for history in histories]))

    def losses(self, steps):
        self.reset()
        return np.transpose([history["loss"] for history in self.train(steps)]).tolist()


class FastnnMany(OneByOne):
    """fastnn's `fit_many`."""

    def train(self, steps):
        return self.fastnn.fit_many(self.models, self.x, self.y, **self.settings(steps))


WAYS = {"one by one": OneByOne, "fit_many": FastnnMany, "jax": JaxMany}
