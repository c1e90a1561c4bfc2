"""Every example runs, draws where it can, and says what it should."""

import importlib.util
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn.nnfs as book
from fastnn import plotting

FOLDER = Path(__file__).resolve().parent / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "options")
NEED_DATA = {"fashion_mnist", "prediction"}
NO_PICTURE = {"dropout", "fashion_mnist", "save_load"}
MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None


@pytest.fixture
def run(monkeypatch, capsys):
    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        monkeypatch.syspath_prepend(str(FOLDER))
        space = runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return space, capsys.readouterr().out

    yield call
    book.init(False, None, None)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in NEED_DATA])
def test_example(name, run, tmp_path):
    picture = tmp_path / "picture.png"
    _, out = run(name, "--epochs", 3, *(["--plot", picture] if MATPLOTLIB else []))
    assert out.strip()
    assert picture.exists() == (MATPLOTLIB and name not in NO_PICTURE)


def test_examples_learn(run):
    space, out = run("adam", "--epochs", 1001)
    # By rounding, the last epoch alone may be a bad one: the same loop in NumPy, begun 1e-7 apart, ends at 0.61 to
    # 0.94, with medians of 0.90 to 0.93.
    assert np.median(space["history"]["accuracy"][-100:]) > 0.8 and re.search(
        r"^epoch: 1000, acc: 0\.\d{3}, loss: 0\.\d{3}, lr: 0\.04997", out, re.M
    )
    space, _ = run("regression_sine", "--epochs", 600)
    assert np.abs(space["model"].predict(space["X"]) - space["y"]).max() < 0.1


def test_fashion_mnist_examples(run, tmp_path):
    """On a small file of the same form."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (300, 28, 28), dtype=np.uint8), rng.integers(0, 10, 300, dtype=np.uint8)
    np.savez(tmp_path / "f.npz", x_train=images, y_train=labels, x_test=images[:50], y_test=labels[:50])
    for name in sorted(NEED_DATA):
        _, out = run(name, "--epochs", 2, "--data", tmp_path / "f.npz")
        assert out.count("validation, acc:") == 2


def test_fashion_mnist_is_learnt(run, fashion_mnist_path):
    _, out = run("fashion_mnist", "--epochs", 1, "--data", fashion_mnist_path)
    assert float(re.findall(r"validation, acc: (\S+),", out)[-1]) > 0.8


def test_plots_name_what_is_wrong():
    with pytest.raises(ValueError, match="two features"):
        plotting.scatter(np.ones((3, 3)))
    with pytest.raises(ValueError, match="names"):
        plotting.curves({"loss": [1.0]}, ["accuracy"])
    pytest.importorskip("matplotlib").use("Agg")
    with pytest.raises(ValueError, match="y must"):
        plotting.scatter(np.ones((3, 2)), np.ones(2))
    with pytest.raises(ValueError, match="predict"):
        plotting.decision_regions(lambda points: points[:, 0], np.random.randn(5, 2))
    ax = plotting.decision_regions(lambda points: points[:, :1], np.random.randn(5, 2), np.arange(5) % 2)
    assert ax.has_data()


def test_a_class_has_one_colour():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    X = np.random.randn(6, 2)
    for classes, y in ((3, [0, 1, 2, 0, 1, 2]), (3, [0, 1, 1, 0, 1, 1]), (3, None), (1, [0, 1, 1, 0, 1, 0])):
        _, ax = pyplot.subplots()
        # Class 2 is never predicted.
        plotting.decision_regions(lambda p, n=classes: np.eye(n)[(p[:, 0] > 0) * min(1, n - 1)], X, y, ax)
        regions, dots = ax.collections
        top = max(classes - 1, 1)
        assert regions.get_clim() == (0, top) and (y is None or dots.get_clim() == (0, top))
        pyplot.close()


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [(int, "f4"), (np.uint8, "f4"), (bool, "f4"), (np.float16, "f4"), (np.float32, "f4"), (np.float64, "f8")],
)
def test_regions_are_those_between_whole_numbers_too(kind, wanted):
    pytest.importorskip("matplotlib").use("Agg")
    grids = []

    def predict(points):
        grids.append(points)
        return points

    X = np.array([[0, 0], [1, 0], [1, 1]]).astype(kind)
    plotting.decision_regions(predict, X, [0, 1, 1], resolution=25)
    (grid,) = grids
    assert grid.dtype == wanted
    for column in grid.T:
        np.testing.assert_allclose(np.unique(column), np.linspace(-0.1, 1.1, 25), rtol=1e-6, atol=1e-7)


def test_plots_without_matplotlib_say_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"fastnn-numba\[plot\]"):
        plotting.curves({"loss": [1.0]})
