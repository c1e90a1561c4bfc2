"""Beside the `nnfs` package, whose `init` replaces functions of NumPy: every order, with a cold and a warm cache."""

import importlib.util
import itertools
import os
import subprocess
import sys
import textwrap

import pytest

# What the package's init() does to NumPy; used where it is not installed.
STAND_IN = """
def init(default_dtype="float32"):
    import numpy
    dot, zeros, eye, randn = numpy.dot, numpy.zeros, numpy.eye, numpy.random.randn
    def wrapped(function):
        def call(*args, **kwargs):
            if len(args) < 2:
                kwargs.setdefault("dtype", default_dtype)
            return function(*args, **kwargs)
        return call
    numpy.dot = lambda *args: dot(*[a.astype("float64") for a in args]).astype("float32")
    numpy.zeros, numpy.eye = wrapped(zeros), wrapped(eye)
    numpy.random.randn = lambda *shape: randn(*shape).astype(default_dtype)
    numpy.random.seed(0)
"""
REAL = "from nnfs import init\n"
STEPS = {
    "import": "import numpy as np\nimport fastnn.nnfs as book\n",
    "compile": """
import numba, numpy
@numba.njit
def probe(a):
    return numpy.dot(a, numpy.zeros((2, 2)))
try:
    probe(numpy.ones((2, 2)))
except Exception:
    pass
""",
    "init": "init()\n",
}
SCRIPT = """
import hashlib
import numpy as np
import fastnn.nnfs as book
np.random.seed(0)
X, y = book.spiral_data(20, 3)
layers = [book.Layer_Dense(2, 8), book.Activation_ReLU(), book.Layer_Dense(8, 3)]
joint, optimizer = book.Activation_Softmax_Loss_CategoricalCrossentropy(), book.Optimizer_SGD(momentum=0.9)
assert X.dtype == layers[0].weights.dtype == np.float32
for _ in range(5):
    out = X
    for layer in layers:
        layer.forward(out)
        out = layer.output
    loss = joint.forward(out, y)
    joint.backward(joint.output, y)
    d = joint.dinputs
    for layer in reversed(layers):
        layer.backward(d)
        d = layer.dinputs
    optimizer.pre_update_params()
    optimizer.update_params(layers[0])
    optimizer.update_params(layers[2])
    optimizer.post_update_params()
assert d.dtype == layers[0].weights.dtype == np.float32
digest = hashlib.sha256(layers[0].weights.tobytes() + layers[2].weights.tobytes())
sine, _ = book.sine_data(10)
layer = book.Layer_Dense(1, 2)
layer.forward(sine)
assert layer.output.dtype == np.float32, layer.output.dtype
print(digest.hexdigest(), float(loss))
"""
MODEL = """
model = book.Model()
for layer in book.Layer_Dense(2, 8), book.Activation_ReLU(), book.Layer_Dense(8, 3), book.Activation_Softmax():
    model.add(layer)
loss, accuracy = book.Loss_CategoricalCrossentropy(), book.Accuracy_Categorical()
model.set(loss=loss, optimizer=book.Optimizer_Adam(), accuracy=accuracy)
model.finalize()
model.train(X, y, epochs=2, print_every=None)
assert model.compiled
"""
ORDERS = [order for order in itertools.permutations(["import", "compile", "init"])]


def run(code, cache):
    environment = {**os.environ, "FASTNN_CACHE_DIR": str(cache), "PYTHONWARNINGS": "error::UserWarning:fastnn"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, env=environment,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache that the first test finds cold and the others warm."""
    folder = tmp_path_factory.mktemp("cache")
    folder.chmod(0o700)
    return folder


def starts():
    yield STAND_IN
    if importlib.util.find_spec("nnfs") is not None:
        yield REAL


# First, so that the shared cache is cold for the one order.
@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[-1]], ids="-".join)
def test_a_cold_cache_compiles_after_init(order, cache, tmp_path):
    folder = cache if order == ORDERS[0] else tmp_path / "cold"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Once is enough for the model's loop, which takes longest.
    code = STAND_IN + "".join(STEPS[step] for step in order) + SCRIPT + MODEL * (order == ORDERS[0])
    first = run(code, folder)
    assert run(code, folder) == first


@pytest.mark.parametrize("start", list(starts()), ids=lambda start: "real" if start == REAL else "stand-in")
def test_every_order_gives_the_same_bits(start, cache):
    found = {tuple(run(start + "".join(STEPS[step] for step in order) + SCRIPT, cache)) for order in ORDERS}
    assert len(found) == 1


def test_our_own_init_gives_the_weights_that_theirs_gives(cache):
    theirs = run(STAND_IN + STEPS["import"] + STEPS["init"] + SCRIPT, cache)
    ours = run("import fastnn.nnfs as book\nbook.init()\n" + SCRIPT, cache)
    assert ours == theirs
