"""What `registry` is made of: entries, and how a rounding error is bounded.

Bounds are derived, not tuned: u is the unit roundoff (half of eps), and a sum of n terms, in whatever order,
is off by at most γ(n) = n u / (1 - n u) times the sum of the terms' sizes (Higham, "Accuracy and stability of
numerical algorithms", 2002, chapters 2 to 4). In float64 the reference rounds as well: callers then pass 2 u.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np


@dataclass(frozen=True)
class Entry:
    """One kernel and its twin.

    Attributes
    ----------
    name : str
        ``module.kernel``, with a variant in brackets where there are several.
    shapes : callable
        Gives the shapes to try at a size, such that each extent takes that size once.
    build : callable
        ``build(shape, dtype, random)`` gives the arguments: a namespace of arrays, outputs among them.
    ours, reference : callable
        Take that namespace and return the results as a tuple; ours also writes them into it.
    bound : callable
        ``bound(args, u)`` gives the largest error of each result, from arguments in float64.
    direct : bool
        Whether `ours` calls the kernel itself, with ``args.workers`` parts.
    """

    name: str
    shapes: Callable
    build: Callable
    ours: Callable
    reference: Callable
    bound: Callable
    direct: bool = True

    @property
    def kernel(self):
        """``module.kernel``."""
        return self.name.partition("[")[0]

    def args(self, shape, dtype, seed=0):
        """Arguments from a fixed seed."""
        return self.build(shape, np.dtype(dtype), np.random.default_rng([seed, *shape]))


ENTRIES = {}


def add(*args, **kwargs):
    entry = Entry(*args, **kwargs)
    ENTRIES[entry.name] = entry


def wide(args):
    """Return a copy of arguments, floats in float64."""
    copies = {}
    for name, value in vars(args).items():
        if isinstance(value, np.ndarray):
            value = value.astype(np.float64 if value.dtype.kind == "f" else value.dtype)
        copies[name] = value
    return SimpleNamespace(**copies)


def gamma(n, u):
    return n * u / (1 - n * u)


def space(**values):
    return SimpleNamespace(workers=1, **values)


def call(kernel, args, *arrays):
    """Run the serial build, the work cut into ``args.workers`` parts."""
    kernel.serial(*arrays, args.workers)


def blank(shape, dtype):
    """An output before the call: whatever stays unwritten is found out."""
    return np.full(shape, np.nan, dtype)


def vectors(size):
    return [(size,)]


def matrices(size):
    return [(size, 3), (5, max(size, 1))]


def triples(size):
    return [(size, 7, 33), (17, size, 5), (6, 31, size)]


# What the docstrings of `fastnn.kernels.math` promise; a unit in the last place is 2 u at most.
ULP = {"exp": 1.1, "log": 0.9, "tanh": 2.8, "sigmoid": 2.5}
