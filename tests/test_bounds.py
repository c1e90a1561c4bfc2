"""A kernel touches no memory but its arrays': each array lies against a page that must not be touched.

The work is done in a child process, which this file is when it is run: what goes wrong there ends the child,
and the last line that it wrote names the kernel.
"""

import ctypes
import itertools
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import threads
from fastnn.kernels import _compile, activations, book_layers, dropout, gemm, losses, math, optim, penalties, rng

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs mprotect")
SIZES = (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 130)
DTYPES = (np.float32, np.float64)
PAGE = mmap.PAGESIZE


class Guarded:
    """Regions of memory between two pages that may not be touched; an array lies at either end."""

    def __init__(self, at_end):
        self.at_end, self.free, self.used = at_end, {}, []
        self.mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        self.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def region(self, pages):
        """Return a region of so many pages, and its address."""
        if self.free.get(pages):
            return self.free[pages].pop()
        region = mmap.mmap(-1, (pages + 2) * PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(region))
        for page in (0, pages + 1):
            if self.mprotect(address + page * PAGE, PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        return region, address

    def lay(self, array):
        """Return a copy of an array that begins or ends at a forbidden page."""
        pages = max(1, -(-array.nbytes // PAGE))
        region = self.region(pages)
        self.used.append((pages, region))
        offset = PAGE + (pages * PAGE - array.nbytes if self.at_end else 0)
        copy = np.ndarray(array.shape, array.dtype, region[0], offset)
        copy[...] = array
        return copy

    def run(self, name, function, args):
        """Call a kernel on guarded copies of its arrays, and copy back what it has written."""
        places, copies = {}, []
        for arg in args:
            if isinstance(arg, np.ndarray):
                assert arg.flags.carray, name
                key = arg.ctypes.data, arg.shape, arg.dtype
                if key not in places:
                    places[key] = self.lay(arg), arg
                arg = places[key][0]
            copies.append(arg)
        shapes = [arg.shape if isinstance(arg, np.ndarray) else arg for arg in copies]
        os.write(1, f"{name} {shapes}\n".encode())
        result = function(*copies)
        for copy, original in places.values():
            original[...] = copy
        for pages, region in self.used:
            self.free.setdefault(pages, []).append(region)
        self.used.clear()
        return result


def take_over(guarded, n_workers):
    """Let every kernel that the library calls run on guarded arrays, on so many workers."""
    threads.workers = lambda work, limit=None, enough=1.0: n_workers

    class Builds:
        def __init__(self, kernel):
            name = kernel.__name__
            self.serial = lambda *args: guarded.run(name, kernel.serial, args)
            self.parallel = lambda *args: guarded.run(f"{name} (parallel)", kernel.parallel, args)

    call = threads.call
    threads.call = lambda kernel, workers, *args, **how: call(Builds(kernel), workers, *args, **how)
    _compile.Kernel.__call__ = lambda self, *args: guarded.run(self.__name__, self.serial, args)


def values(shape, dtype, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1, shape).astype(dtype)


def use_products(call):
    shapes = set()
    for a, b, c in zip(SIZES, SIZES[3:] + SIZES, SIZES[7:] + SIZES, strict=False):
        shapes |= {(a, b, c), (c, a, b), (a, 1, c), (a, b, 1), (1, b, c)}
    for dtype in DTYPES:
        for m, k, n in sorted(shapes):
            x, w, b, dz = (values(s, dtype) for s in ((m, k), (k, n), (n,), (m, n)))
            y, dx, dw, db = (np.empty(s, dtype) for s in ((m, n), (m, k), (k, n), (n,)))
            for activation in range(4):
                call(gemm.dense_forward, x, w, b, y, activation, scratch(k, n, dtype))
            call(gemm.dense_backward_inputs, dz, w, dx, scratch(k, n, dtype))
            call(gemm.dense_backward_weights, x, dz, dw, db, scratch(max(k, m), n, dtype))
            use_layer(call, x, w, b, dz)
            for form, (p, q) in enumerate(((x, w), (dz, w), (x, dz))):
                shape = ((m, n), (m, k), (k, n))[form]
                call(gemm.matmul, p, q, np.empty(shape, dtype), form, scratch(max(m, k), max(n, k), dtype))
        for few, wide, m in itertools.product((2, 3, 4), (3, 15, 33, 64, 130), (1, 17, 40)):
            for k, n in ((few, wide), (wide, few)):
                use_layer(call, *(values(s, dtype) for s in ((m, k), (k, n), (n,), (m, n))))
    # Operands that are copied first: there are many rows, or they are far apart.
    for dtype, (m, k, n) in itertools.product(DTYPES, ((130, 100, 90), (200, 512, 40), (40, 100, 1024))):
        x, w, y = values((m, k), dtype), values((k, n), dtype), np.empty((m, n), dtype)
        use_layer(call, x, w, values(n, dtype), y)
        call(gemm.matmul, x, w, y, 0, scratch(max(m, k), n, dtype))
    for dtype, n in ((np.float32, 1024), (np.float64, 512)):
        x, w, y = values((9, 5), dtype), values((5, n), dtype), np.empty((9, n), dtype)
        call(gemm.dense_forward, x, w, values(n, dtype), y, 0, scratch(5, n, dtype))
        dw, db = np.empty_like(w), np.empty(n, dtype)
        call(gemm.dense_backward_weights, x, y, dw, db, scratch(9, n, dtype))
        call(gemm.dense_backward_inputs, y, w, np.empty_like(x), scratch(5, n, dtype))


def use_layer(call, x, w, b, dz):
    """Call the kernels of whole layers, with no more room than the library gives them."""
    (m, k), n, n_workers = x.shape, w.shape[1], threads.workers(1)
    whole = np.empty(book_layers.dense_scratch(m, k, n, x.itemsize, n_workers), x.dtype)
    rooms = [whole, whole]
    if n_workers == 1:
        rooms = [np.empty(size, x.dtype) for size in book_layers.few_scratch(m, k, n, x.itemsize)]
    y, dx, dw, db = (np.empty_like(a) for a in (dz, x, w, b))
    call(book_layers.layer_forward, x, w, b, y, rooms[0])
    call(book_layers.layer_backward, x, dz, w, dw, db, dx, rooms[1])
    call(book_layers.layer_backward, x, dz, w, dw, db, np.empty((0, 0), x.dtype), whole)
    call(book_layers.layer_inputs, dz, w, dx, whole)


def scratch(k, n, dtype):
    return np.empty(gemm.scratch_size(k, n, dtype, threads.workers(1)), dtype)


def use_the_rest(call):
    for dtype, n in itertools.product(DTYPES, (*SIZES, 0)):
        flat, out = values(n, dtype), np.empty(n, dtype)
        for kernel in (math.exp, math.log, math.tanh, math.sigmoid):
            call(kernel, flat, out)
        for code in range(4):
            call(activations.activation_forward, flat, out, code)
            call(activations.activation_backward, flat, flat, out, code)
        for kind, slots in enumerate(optim.SLOTS):
            state = [np.zeros(n if i < slots else 0, dtype) for i in range(3)]
            call(optim.update, kind, out, flat, *state, np.full(8, 0.5))
        call(penalties.add_gradient, out, flat, 0.1, 0.2)
        penalties.value(flat, 0.1, 0.2, np.empty(1))
        losses.row_mean(flat, np.empty(1))
        call(rng.uniform, out, 0.0, 1.0, 1, 2, 3)
        call(rng.normal, out, 0.0, 1.0, 1, 2, 3)
        rng.permutation(np.empty(n, np.int64), 1, 2)
    shapes = set()
    for a, b in zip(SIZES, SIZES[5:] + SIZES, strict=False):
        shapes |= {(a, b), (b, a), (a, 1), (1, b), (17, b), (a, 3)}
    for dtype in DTYPES:
        for m, n in sorted(shapes):
            z, out = values((m, n), dtype), np.empty((m, n), dtype)
            rows, hits = np.empty(m, dtype), np.empty(m, dtype)
            call(activations.softmax_forward, z, out)
            call(activations.softmax_backward, z, z, out)
            call(dropout.dropout_forward, z, out, 0.4, 1, 2, 3)
            call(dropout.dropout_backward, z, out, 0.4, 1, 2, 3)
            call(losses.mean_squared_error, z, z + 1, out, rows, hits)
            room = np.empty(losses.scratch_size(n, threads.workers(1)), dtype)
            for labels, targets in (
                (np.full(m, n - 1, dtype), np.empty((0, 0), dtype)),
                (np.empty(0, dtype), np.full((m, n), 1 / n, dtype)),
            ):
                for smoothing in (0.0, 0.1):
                    call(losses.softmax_cross_entropy, z, labels, targets, smoothing, out, rows, hits, room)


def use_networks(call):
    """Train, predict and evaluate: the kernels are called by the library, with the buffers it makes."""
    optimizers = [
        fnn.SGD, lambda: fnn.SGD(momentum=0.9), lambda: fnn.SGD(momentum=0.9, nesterov=True),
        fnn.AdaGrad, lambda: fnn.AdaGrad(epsilon_inside=True),
        fnn.RMSprop, lambda: fnn.RMSprop(epsilon_inside=True),
        fnn.Adam, lambda: fnn.Adam(amsgrad=True), fnn.AdamW, fnn.Lion,
    ]  # fmt: skip
    between = (fnn.ReLU, fnn.Sigmoid, fnn.Tanh, fnn.Softmax, lambda: fnn.Dropout(0.3))
    for i in range(66):
        r = np.random.default_rng(i)
        widths = [int(w) for w in r.choice(SIZES, r.integers(1, 4))] + [int(r.choice(SIZES[1:]))]
        layers = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [fnn.Dense(n_in, n_out, weight_l2=0.1 * (i % 3 == 0), bias_l1=0.1 * (i % 5 == 0))]
            layers += [make() for make in r.choice(np.array(between, object), r.integers(0, 3))]
        rows = int(r.choice([1, 5, 6, 7, 16, 17, 40, 97]))
        X = values((rows, widths[0]), DTYPES[i % 2], i)
        labels = r.integers(0, widths[-1], rows)
        y = (labels, r.dirichlet(np.ones(widths[-1]), rows), values((rows, widths[-1]), X.dtype))[i // 2 % 3]
        loss = fnn.MeanSquaredError() if i // 2 % 3 == 2 else fnn.SoftmaxCrossEntropy(0.1 * (i % 4 == 0))
        model = fnn.Sequential(*layers, seed=i)
        model.fit(
            X, y, loss=loss, optimizer=optimizers[i % 11](), epochs=2, shuffle=i % 4 < 2,
            batch_size=(None, 1, 7, 16)[i % 4],
        )  # fmt: skip
        model.predict(X)
        model.evaluate(X, y)
        loss.forward(model.forward(X), y)
        model.backward(loss.backward())


def main(at_end, n_workers, what):
    guarded = Guarded(at_end)
    take_over(guarded, n_workers)
    if what == "fault":
        beyond = guarded.lay(np.ones(3)).ctypes.data + (24 if at_end else -1)
        guarded.run("a reader beyond its array", lambda: ctypes.string_at(beyond, 1), ())
        return

    def call(kernel, *args):
        threads.call(kernel, n_workers, *args)

    {"products": use_products, "rest": use_the_rest, "networks": use_networks}[what](call)


def child(*arguments):
    """Return how a child that runs this file ended, and what it wrote."""
    path = os.pathsep.join([str(Path(fnn.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("what", ["products", "rest", "networks"])
@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("end", ["begin", "end"])
def test_no_kernel_leaves_its_arrays(end, n_workers, what):
    code, lines, errors = child(end, n_workers, what)
    assert code == 0, f"ended by {code} in {lines[-1] if lines else 'nothing'}\n{errors}"
    names = {line.split(" ")[0] for line in lines}
    wanted = {
        "products": {"dense_forward", "dense_backward_inputs", "dense_backward_weights", "matmul", "layer_forward",
                     "layer_backward", "layer_inputs"},
        "rest": {"exp", "log", "tanh", "sigmoid", "activation_forward", "activation_backward", "update",
                 "uniform", "normal", "permutation", "softmax_forward", "softmax_backward", "dropout_forward",
                 "dropout_backward", "mean_squared_error", "softmax_cross_entropy", "row_mean", "value"},
        "networks": {"run_chunk", "predict", "evaluate", "layer_forward"},
    }[what]  # fmt: skip
    assert names >= wanted
    # The library calls the parallel build of this one for a single worker too.
    lines = [line for line in lines if not line.startswith("rearrange ")]
    assert any("(parallel)" in line for line in lines) == (n_workers > 1)


@pytest.mark.parametrize("end", ["begin", "end"])
def test_a_kernel_that_leaves_its_arrays_is_found_out(end):
    code, lines, _ = child(end, 1, "fault")
    assert code < 0 and lines[-1].startswith("a reader beyond its array")


if __name__ == "__main__":
    main(sys.argv[1] == "end", int(sys.argv[2]), sys.argv[3])
