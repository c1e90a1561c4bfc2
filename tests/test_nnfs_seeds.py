"""The code of the seed documents, run with the documents' own NumPy classes and with ours."""

import ast
import contextlib
import io
import os
import re
import sys
import types
from pathlib import Path

import nnfs_numpy as numpy_classes
import numpy as np
import pytest

import fastnn.nnfs as book
from fastnn.nnfs import datasets

FOLDER = Path(os.environ.get("FASTNN_SEEDS_DIR") or Path(__file__).resolve().parents[2] / "shared" / "seeds")
FILES = sorted(FOLDER.glob("*.txt")) if FOLDER.is_dir() else []

pytestmark = pytest.mark.skipif(not FILES, reason="the seed documents are not here: set FASTNN_SEEDS_DIR")


def document(phrase):
    """Return the text of the document that has a phrase."""
    return next(text for text in (path.read_text() for path in FILES) if phrase in text)


def cells(text):
    """Return the code of a notebook's text: what follows "In [" lines up to the next text that is no Python."""
    found = []
    for part in re.split(r"^In \[[^\]]*\]:?\s*$", text, flags=re.M)[1:]:
        lines = part.split("\n")
        for end in range(len(lines), 0, -1):
            code = "\n".join(lines[:end])
            try:
                compile(code, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            except SyntaxError:
                continue
            found.append(code)
            break
    return found


def without(code, *names):
    """Return code without the definitions of some classes."""
    for name in names:
        code = re.sub(rf"^class {name}\b.*?(?=^\S|\Z)", "", code, flags=re.M | re.S)
    return code


def fenced(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.S)


def run(code, names, **replaced):
    """Run code with the given names and return its namespace and what it printed."""
    space = {"np": np, **{name: getattr(names, name) for name in dir(names) if name[0].isupper()}, **replaced}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "seed", "exec"), space)
    return space, out.getvalue()


def floats(text):
    return np.array([float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text)])


@pytest.fixture(autouse=True)
def plain_numpy(monkeypatch):
    """Stand in for the packages that documents import; data and weights are then float64."""
    stand_in = types.ModuleType("nnfs")
    stand_in.init = lambda: np.random.seed(0)
    sets = types.ModuleType("nnfs.datasets")
    sets.spiral_data, sets.vertical_data = datasets.spiral_data, datasets.vertical_data
    plots = types.ModuleType("matplotlib.pyplot")
    plots.scatter = plots.show = lambda *args, **kwargs: None
    package = types.ModuleType("matplotlib")
    package.pyplot = plots
    for name, module in (("nnfs", stand_in), ("nnfs.datasets", sets), ("matplotlib", package),
                         ("matplotlib.pyplot", plots)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    yield
    book.init(False, None, None)


class Both:
    """Names of one module, and an optimiser spelt as the document spells it."""

    def __init__(self, module, **more):
        self.__dict__.update({name: getattr(module, name) for name in dir(module) if name[0].isupper()})
        self.__dict__.update(more)


@pytest.mark.parametrize("dtype, epochs, tolerance", [("float64", 101, 1e-9), ("float32", 51, 1e-4)])
def test_the_spiral_with_momentum(dtype, epochs, tolerance):
    parts = cells(document("class Optimiser_SGD"))
    own = next(code for code in parts if "class Optimiser_SGD" in code).expandtabs(4)
    imports = next(code for code in parts if "nnfs.init()" in code)
    imports = "\n".join(line for line in imports.split("\n") if "micropip" not in line)
    loop = next(code for code in parts if "spiral_data(samples" in code).expandtabs(4)
    assert "range(10001)" in loop and "epoch % 100" in loop
    loop = loop.replace("range(10001)", f"range({epochs})").replace("if not epoch % 100:", "if True:")
    loop = loop.replace("loss: {loss:.3f}", "loss: {loss!r}").replace("{loss!r}", "{float(loss)!r}")
    if dtype == "float32":
        # What nnfs.init() does to data, weights and biases.
        loop = loop.replace("X, y = spiral_data(samples=100, classes=3)\n",
                            "X, y = spiral_data(samples=100, classes=3)\nX = X.astype('float32')\n")  # fmt: skip
        loop = loop.replace("# Optimiser\n", "for each in (dense1, dense2):\n    each.weights, each.biases = "
                            "each.weights.astype('float32'), each.biases.astype('float32')\n")  # fmt: skip
        assert loop.count("float32") == 3
    texts = [
        run(imports + "\n" + own + "\n" + loop, Both(numpy_classes))[1],
        run(imports + "\n" + loop, Both(book))[1],
    ]
    lines = [text.splitlines() for text in texts]
    assert len(lines[0]) == epochs and "lr: 1.0" in lines[1][0]
    losses = [np.array([float(re.search(r"loss: (\S+),", line)[1]) for line in each]) for each in lines]
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance)
    for first, second in zip(*lines, strict=True):
        assert re.sub(r"loss: \S+,", "", first) == re.sub(r"loss: \S+,", "", second)


def test_the_spiral_to_its_end():
    """After all epochs ours is as good as theirs: long runs are chaotic, their ends are alike."""
    loop = next(c for c in cells(document("class Optimiser_SGD")) if "spiral_data(samples" in c).expandtabs(4)
    np.random.seed(0)
    loop = loop.replace("range(10001)", "range(2001)")
    space, text = run("from nnfs.datasets import spiral_data\n" + loop, Both(book))
    assert len(text.splitlines()) == 21 and space["accuracy"] > 0.75 and space["loss"] < 0.6


def indented(code):
    """Return the document's search loop with the indentation that its formatting has lost."""
    body = code.replace("for iteration in range ( 10000 ):", "for iteration in range(300):")
    lines, inside = [], False
    for line in body.split("\n"):
        if inside and line.strip() and not line.strip().startswith("else"):
            line = "    " + line if line.startswith("    ") else "        " + line
        if re.match(r"\s*if loss < lowest_loss|\s*else", line):
            line, inside = "    " + line.strip(), True
        lines.append(line)
    return "\n".join(lines)


def test_the_search_in_the_notes_with_fenced_code():
    parts = fenced(document("randomly altering"))
    first, model, best, search, adjust, ending = parts
    start = search.split("    # Generate a new set")[0]
    body = (
        "    # Perform a forward" + search.split("    # Perform a forward", 1)[1].split("    # If loss is smaller")[0]
    )
    keep = indented(search.split("    # If loss is smaller")[1].split("\n", 1)[1])
    replaced = start + "\n".join(
        "    " + line.strip() for line in search.split("# Generate a new set")[1].split("# Perform")[0].split("\n")[1:]
    ) + "\n" + body + keep  # fmt: skip
    changes = "\n".join("    " + line for line in adjust.split("\n"))
    adjusted = start + changes + "\n" + body + indented(ending.split("\n", 1)[1])
    for loop in (replaced, adjusted):
        loop = loop.replace("range ( 10000 )", "range(300)")
        code = "\n".join([first, model, best, loop])
        texts = [run(code, Both(module))[1] for module in (numpy_classes, book)]
        assert texts[0].count("New set") == texts[1].count("New set") > 2
        np.testing.assert_allclose(floats(texts[1]), floats(texts[0]), rtol=1e-9)


def test_the_search_in_the_notebook():
    code = max(cells(document("Radhamadhab Dalai")), key=len)
    assert "class Layer_Dense" in code and "range(10000)" in code
    names = ("Layer_Dense", "Activation_ReLU", "Activation_Softmax", "Loss_CategoricalCrossentropy")
    short = code.replace("range(10000)", "range(400)")
    texts = []
    for each in (short, without(short, *names)):
        np.random.seed(0)
        texts.append(run(each, Both(book))[1])
    assert texts[0].count("New set") == texts[1].count("New set") > 10
    np.testing.assert_allclose(floats(texts[1]), floats(texts[0]), rtol=1e-9)


def test_the_updates_of_the_notes_on_optimisers():
    """Each formula, on the gradient of the document, is what our optimiser does to a layer."""
    parts = cells(document("learning_rate_decay = 0.1"))
    decay, adagrad, rmsprop = parts[:3]
    space, text = run(decay, Both(book))
    optimizer = book.Optimizer_SGD(learning_rate=1.0, decay=0.1)
    optimizer.post_update_params()
    optimizer.pre_update_params()
    assert text.strip() == str(optimizer.current_learning_rate)
    # The document's gradient and cache are whole numbers, so that the cache stays so: make them floats.
    gradient = "gradient = np.array([2.0, 4.0, 3.0])"
    adagrad = adagrad.replace("gradient = np.array([2, 4, 3])", gradient)
    assert gradient in adagrad
    space, _ = run("\n".join([decay, adagrad]), Both(book))
    ours = _stepped(book.Optimizer_Adagrad(learning_rate=space["learning_rate"]), space["gradient"])
    np.testing.assert_allclose(ours.weights[0], space["updates"], rtol=1e-12)
    np.testing.assert_allclose(ours.weight_cache[0], space["cache"], rtol=1e-12)
    space, _ = run("\n".join([decay, adagrad, "cache = np.zeros(3)", rmsprop]), Both(book))
    ours = _stepped(book.Optimizer_RMSprop(learning_rate=space["learning_rate"], rho=0.9), space["gradient"])
    np.testing.assert_allclose(ours.weights[0], space["updates"], rtol=1e-12)


def _stepped(optimizer, gradient):
    layer = book.Layer_Dense(1, 3)
    layer.weights = np.zeros((1, 3))
    layer.dweights, layer.dbiases = gradient.reshape(1, 3), np.zeros((1, 3))
    optimizer.update_params(layer)
    return layer


def test_the_descent_of_the_notebook_on_deep_learning():
    """The document minimises (w - 3)² by hand; a dense layer of one weight under mean squared error does the same."""
    code = next(c for c in cells(document("Optimization in Deep Learning")) if "grad_loss" in c)
    _, text = run(code, Both(book))
    dense, loss, sgd = book.Layer_Dense(1, 1), book.Loss_MeanSquaredError(), book.Optimizer_SGD(learning_rate=0.1)
    dense.weights = np.zeros((1, 1))
    x, y, lines = np.ones((1, 1)), np.full((1, 1), 3.0), []
    for i in range(10):
        dense.forward(x)
        loss.backward(dense.output, y)
        dense.backward(loss.dinputs)
        dense.dbiases[:] = 0.0
        sgd.update_params(dense)
        dense.forward(x)
        lines.append(f"Iteration {i + 1}: w = {dense.weights[0, 0]:.4f}, loss = {loss.calculate(dense.output, y):.4f}")
    assert text.splitlines() == lines
