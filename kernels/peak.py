"""What the machine can do: arithmetic and memory bandwidth of plain loops, to measure kernels against."""

import time

import numba
import numpy as np
from numba import prange

from ._compile import kernel
from ._simd import VECTOR_BYTES, fma, lanes, load, load_n, splat, store, store_n
from .split import share


@kernel
def multiply_add(values, steps, n_workers):
    """Run `steps` times twelve independent vector multiply-adds on each worker.

    Parameters
    ----------
    values : (n_workers · 256,) array of T, updated
    steps : int
    n_workers : int
        Parallel over workers; each does all the work.
    """
    for worker in prange(n_workers):
        at, n = np.int64(worker) * 256, lanes(values)
        a0, a1, a2, a3 = load(values, at), load(values, at + n), load(values, at + 2 * n), load(values, at + 3 * n)
        a4, a5, a6, a7, a8, a9, a10, a11 = a0, a1, a2, a3, a0, a1, a2, a3
        c, d = load(values, at + 4 * n), load(values, at + 5 * n)
        for _ in range(steps):
            a0, a1, a2, a3 = fma(a0, c, d), fma(a1, c, d), fma(a2, c, d), fma(a3, c, d)
            a4, a5, a6, a7 = fma(a4, c, d), fma(a5, c, d), fma(a6, c, d), fma(a7, c, d)
            a8, a9, a10, a11 = fma(a8, c, d), fma(a9, c, d), fma(a10, c, d), fma(a11, c, d)
        store(values, at, a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11)


@kernel
def triad(a, b, c, n_workers):
    """Write `a = b + 3 c`, parallel over elements.

    Parameters
    ----------
    a : (n,) array of T, written
    b, c : (n,) arrays of T, read
    n_workers : int
        Parts the arrays are cut into.
    """
    for worker in prange(n_workers):
        w = np.int64(worker)
        three = splat(a, 3.0)
        last = share(a.size, w + 1, n_workers, 64)
        for i in range(share(a.size, w, n_workers, 64), last, lanes(a)):
            store_n(a, i, fma(load_n(c, i, last - i), three, load_n(b, i, last - i)), last - i)


def _best(call, repeats):
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def fma_peak(n_threads=1, dtype=np.float32):
    """Return the GFLOP/s that a loop of nothing but multiply-adds reaches on `n_threads` threads.

    Takes about 50 ms; what must be compiled is compiled before the clock starts.
    """
    values = np.ones(n_threads * 256, dtype)
    build = multiply_add.serial if n_threads == 1 else multiply_add.parallel
    before = numba.get_num_threads()
    numba.set_num_threads(n_threads)
    try:
        build(values, 1, n_threads)
        steps = 100_000
        took = _best(lambda: build(values, steps, n_threads), 15)
    finally:
        numba.set_num_threads(before)
    return n_threads * steps * 12 * 2 * (VECTOR_BYTES // values.itemsize) / took / 1e9


def triad_bandwidth(n_threads=1, elements=10_000_000):
    """Return the GB/s (three arrays counted once each) of `a = b + 3 c` on float32 arrays of `elements` elements."""
    a, b, c = (np.ones(elements, np.float32) for _ in range(3))
    build = triad.serial if n_threads == 1 else triad.parallel
    before = numba.get_num_threads()
    numba.set_num_threads(n_threads)
    try:
        build(a, b, c, n_threads)
        took = _best(lambda: build(a, b, c, n_threads), 7)
    finally:
        numba.set_num_threads(before)
    return 12.0 * elements / took / 1e9
