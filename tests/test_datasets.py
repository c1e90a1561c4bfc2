"""Data sets: the numbers of the originals, and files that are read or refused with a reason."""

import gzip
import pickle
import sys
import tracemalloc

import numpy as np
import pytest

from fastnn import datasets

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


# --- made data -------------------------------------------------------------------------------------------


def original_spiral(samples, classes, random):
    """The formula of the original, written the slow way."""
    X, y = np.empty((samples * classes, 2)), np.empty(samples * classes, dtype="uint8")
    for label in range(classes):
        rows = range(samples * label, samples * (label + 1))
        r = np.linspace(0.0, 1, samples)
        t = np.linspace(label * 4, (label + 1) * 4, samples) + random.randn(samples) * 0.2
        X[rows] = np.stack([r * np.sin(t * 2.5), r * np.cos(t * 2.5)], axis=1)
        y[rows] = label
    return X, y


def original_vertical(samples, classes, random):
    X, y = np.empty((samples * classes, 2)), np.empty(samples * classes, dtype="uint8")
    for label in range(classes):
        rows = range(samples * label, samples * (label + 1))
        X[rows] = np.stack([random.randn(samples) * 0.1 + label / 3, random.randn(samples) * 0.1 + 0.5], axis=1)
        y[rows] = label
    return X, y


@pytest.mark.parametrize(
    ("ours", "original"),
    [(datasets.spiral_data, original_spiral), (datasets.vertical_data, original_vertical)],
)
@pytest.mark.parametrize(("samples", "classes"), [(1, 1), (2, 3), (100, 3), (7, 5)])
@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_same_numbers_as_the_original(ours, original, samples, classes, seed):
    X, y = ours(samples=samples, classes=classes, seed=seed)
    expected_X, expected_y = original(samples, classes, np.random.RandomState(seed))
    np.testing.assert_array_equal(X, expected_X)
    np.testing.assert_array_equal(y, expected_y)
    assert X.dtype == np.float64 and y.dtype == np.int64


def test_spiral_check_values():
    random = np.random.RandomState(0)
    X, _ = datasets.spiral_data(100, 3, seed=random)
    np.testing.assert_allclose(X[1], [0.00299556, 0.00964661], rtol=0, atol=5e-9)
    # What a script draws next, its first weights: no number too many was taken.
    weights = 0.01 * random.standard_normal((2, 64))
    np.testing.assert_allclose(weights[0, :3], [-0.01306527, 0.01658131, -0.00118164], rtol=0, atol=5e-9)


def test_default_seed_is_zero():
    np.testing.assert_array_equal(datasets.spiral_data()[0], datasets.spiral_data(100, 3, 0)[0])


@pytest.mark.parametrize("make", [datasets.spiral_data, datasets.vertical_data])
def test_no_seed_means_new_numbers(make):
    assert not np.array_equal(make(seed=None)[0], make(seed=None)[0])
    assert not np.array_equal(make(seed=1)[0], make(seed=2)[0])
    assert np.array_equal(make(seed=np.random.default_rng(3))[0], make(seed=np.random.default_rng(3))[0])


def test_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy(), np.random.get_state()[2]
    datasets.spiral_data(seed=5), datasets.vertical_data(seed=None)
    after = np.random.get_state()[1], np.random.get_state()[2]
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1] == after[1]


def test_float32_is_the_rounded_float64():
    for make in (datasets.spiral_data, datasets.vertical_data):
        X, _ = make(dtype=np.float32)
        assert X.dtype == np.float32
        np.testing.assert_array_equal(X, make()[0].astype(np.float32))
    X, y = datasets.sine_data(10, dtype="float32")
    assert X.dtype == y.dtype == np.float32


def test_many_classes_do_not_wrap():
    assert datasets.spiral_data(2, 300)[1].tolist() == [label for label in range(300) for _ in range(2)]


def test_sine_data():
    X, y = datasets.sine_data()
    assert X.shape == y.shape == (1000, 1)
    np.testing.assert_array_equal(X, np.arange(1000).reshape(-1, 1) / 1000)
    np.testing.assert_array_equal(y, np.sin(2 * np.pi * X))


def test_made_data_survives_a_patched_numpy(monkeypatch):
    """The `nnfs` package makes these four give float32 in the whole process."""
    expected = datasets.spiral_data(), datasets.vertical_data(), datasets.sine_data()
    zeros, eye, dot, randn = np.zeros, np.eye, np.dot, np.random.randn
    with monkeypatch.context() as patch:
        patch.setattr(np, "zeros", lambda shape, dtype="float32", **rest: zeros(shape, dtype, **rest))
        patch.setattr(np, "eye", lambda n, m=None, k=0, dtype="float32", **rest: eye(n, m, k, dtype, **rest))
        patch.setattr(np, "dot", lambda a, b: dot(a.astype("float64"), b.astype("float64")).astype("float32"))
        patch.setattr(np.random, "randn", lambda *shape: randn(*shape).astype("float32"))
        got = datasets.spiral_data(), datasets.vertical_data(), datasets.sine_data()
    for pair, expected_pair in zip(got, expected, strict=True):
        for array, expected_array in zip(pair, expected_pair, strict=True):
            assert array.dtype == expected_array.dtype
            np.testing.assert_array_equal(array, expected_array)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"samples": 0}, ValueError, "samples must be at least 1, got 0"),
        ({"samples": -3}, ValueError, "samples must be at least 1"),
        ({"samples": 2.5}, TypeError, "samples must be a whole number, got float"),
        ({"samples": "9"}, TypeError, "samples must be a whole number, got str"),
        ({"samples": True}, TypeError, "samples must be a whole number, got bool"),
        ({"classes": 0}, ValueError, "classes must be at least 1"),
        ({"classes": None}, TypeError, "classes must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"seed": 2**32}, ValueError, "seed must be from 0"),
        ({"seed": "x"}, TypeError, "seed must be an int"),
        ({"seed": 1.0}, TypeError, "seed must be an int"),
        ({"dtype": np.int32}, ValueError, "dtype must be float32 or float64, got int32"),
        ({"dtype": np.float16}, ValueError, "dtype must be float32 or float64"),
    ],
)
def test_bad_arguments(arguments, error, words):
    for make in (datasets.spiral_data, datasets.vertical_data, datasets.sine_data):
        if make is datasets.sine_data and not {"samples", "dtype"} & set(arguments):
            continue
        with pytest.raises(error, match=words):
            make(**arguments)


# --- digits ----------------------------------------------------------------------------------------------


def test_digits():
    source = pytest.importorskip("sklearn.datasets").load_digits()
    X_train, y_train, X_test, y_test = datasets.load_digits(test_size=0.25, seed=1)
    assert (X_train.shape, X_test.shape) == ((1348, 64), (449, 64))
    assert X_train.dtype == X_test.dtype == np.float32 and y_train.dtype == y_test.dtype == np.int64
    assert (X_train.min(), X_train.max()) == (0.0, 1.0)
    assert set(y_test) == set(range(10))
    # Every image turns up once, with its own label.
    got = np.column_stack([np.concatenate([X_train, X_test]) * 16, np.concatenate([y_train, y_test])])
    expected = np.column_stack([source.data, source.target])
    np.testing.assert_array_equal(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)])
    assert not np.array_equal(datasets.load_digits(seed=2)[1], datasets.load_digits(seed=3)[1])
    assert [len(part) for part in datasets.load_digits(test_size=0)] == [1797, 1797, 0, 0]


@pytest.mark.parametrize(
    ("test_size", "error"), [(1, ValueError), (-0.1, ValueError), (np.nan, ValueError), ("a", TypeError)]
)
def test_digits_bad_share(test_size, error):
    with pytest.raises(error, match="test_size must be"):
        datasets.load_digits(test_size=test_size)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "fastnn-numba\[sklearn\]"'):
        datasets.load_digits()


# --- Fashion-MNIST ---------------------------------------------------------------------------------------


@pytest.fixture
def images():
    random = np.random.RandomState(0)
    sizes = {"train": 12, "test": 5}
    arrays = {}
    for split, n in sizes.items():
        arrays[f"x_{split}"] = random.randint(0, 256, (n, 28, 28)).astype(np.uint8)
        arrays[f"y_{split}"] = random.randint(0, 10, n).astype(np.uint8)
    arrays["x_train"][0, 0, :2] = 0, 255
    return arrays


def idx_bytes(array, *, shape=None, magic=None):
    shape = array.shape if shape is None else shape
    head = bytes((0, 0, 8, len(shape))) if magic is None else magic
    return head + b"".join(n.to_bytes(4, "big") for n in shape) + array.tobytes()


def write_idx(folder, arrays, suffix=".gz", **replaced):
    """Write the four files; `replaced` gives the bytes of a file in place of its array's."""
    for name in ARRAYS:
        data = replaced.get(name, idx_bytes(arrays[name]))
        (folder / (FILES[name] + suffix)).write_bytes(gzip.compress(data) if suffix else data)
    return folder


def write_npz(folder, arrays, name="fashion_mnist.npz"):
    np.savez(folder / name, **arrays)
    return folder / name


def assert_read(result, arrays):
    for got, name in zip(result, ARRAYS, strict=True):
        np.testing.assert_array_equal(got, arrays[name].reshape(got.shape))


@pytest.mark.parametrize("form", ["npz", "folder with npz", "gz", "plain", "environment"])
def test_every_form_reads_alike(tmp_path, images, form, monkeypatch):
    monkeypatch.delenv("FASTNN_DATA_DIR", raising=False)
    path = tmp_path
    if form == "npz":
        path = write_npz(tmp_path, images, "any name.npz")
    elif form == "folder with npz":
        write_npz(tmp_path, images)
    elif form == "environment":
        write_npz(tmp_path, images)
        monkeypatch.setenv("FASTNN_DATA_DIR", str(tmp_path))
        path = None
    else:
        write_idx(tmp_path, images, ".gz" if form == "gz" else "")
    result = datasets.load_fashion_mnist(path, scale=None)
    assert [array.dtype for array in result] == [np.uint8, np.int64, np.uint8, np.int64]
    assert [array.shape for array in result] == [(12, 784), (12,), (5, 784), (5,)]
    assert all(array.flags.writeable and array.flags.c_contiguous for array in result)
    assert_read(result, images)


def test_scale_and_shape(tmp_path, images):
    path = write_npz(tmp_path, images)
    raw = images["x_train"].astype(np.float64)
    unit = datasets.load_fashion_mnist(path)[0]
    assert unit.dtype == np.float32 and (unit.min(), unit.max()) == (0.0, 1.0)
    np.testing.assert_allclose(unit, raw.reshape(12, 784) / 255, rtol=1e-7)
    symmetric = datasets.load_fashion_mnist(path, scale="symmetric", flatten=False)[0]
    assert symmetric.shape == (12, 28, 28) and (symmetric.min(), symmetric.max()) == (-1.0, 1.0)
    np.testing.assert_allclose(symmetric, (raw - 127.5) / 127.5, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="scale must be 'unit', 'symmetric' or None, got 'both'"):
        datasets.load_fashion_mnist(path, scale="both")


def test_no_path_names_the_remedy(monkeypatch, tmp_path):
    for value in (None, ""):
        monkeypatch.delenv("FASTNN_DATA_DIR", raising=False)
        if value is not None:
            monkeypatch.setenv("FASTNN_DATA_DIR", value)
        with pytest.raises(FileNotFoundError, match="set the environment variable FASTNN_DATA_DIR"):
            datasets.load_fashion_mnist()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        datasets.load_fashion_mnist(tmp_path / "nowhere")
    monkeypatch.setenv("FASTNN_DATA_DIR", "~no_such_user_at_all/data")
    for path in (None, "~no_such_user_at_all/x.npz"):
        with pytest.raises(FileNotFoundError, match="'~no_such_user_at_all/.*home folder.* set FASTNN_DATA_DIR"):
            datasets.load_fashion_mnist(path)
    with pytest.raises(FileNotFoundError, match="holds neither fashion_mnist.npz nor train-images"):
        datasets.load_fashion_mnist(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated_npz(tmp_path, images, keep):
    path = write_npz(tmp_path, images)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(ValueError, match="is not a complete Fashion-MNIST file"):
        datasets.load_fashion_mnist(path)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("suffix", [".gz", ""])
def test_truncated_idx(tmp_path, images, name, suffix):
    write_idx(tmp_path, images, suffix)
    file = tmp_path / (FILES[name] + suffix)
    whole = file.read_bytes()
    for keep in (0, 3, 7, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=f"{file.name}.* is not a complete"):
            datasets.load_fashion_mnist(tmp_path)


def test_damaged_gz_is_noticed_by_its_checksum(tmp_path, images):
    write_idx(tmp_path, images)
    file = tmp_path / (FILES["x_train"] + ".gz")
    data = bytearray(file.read_bytes())
    data[-8] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="CRC check failed"):
        datasets.load_fashion_mnist(tmp_path)


def test_foreign_files(tmp_path, images):
    x = images["x_test"]
    for bad, words in [
        (idx_bytes(x) + b"!", "promises 3920 bytes, but there are more"),
        (idx_bytes(x, magic=bytes((0, 0, 13, 3))), "first bytes"),
        (idx_bytes(x, magic=bytes((0, 0, 8, 1))), "first bytes"),
        (idx_bytes(x, shape=(20, 14, 14)), r"\(14, 14\)"),
        (idx_bytes(x, shape=(4, 28, 28)), "but there are more"),
        (b"<html>not found</html>", "first bytes"),
    ]:
        write_idx(tmp_path, images, x_test=bad)
        with pytest.raises(ValueError, match=words):
            datasets.load_fashion_mnist(tmp_path)
    write_idx(tmp_path, images, y_test=idx_bytes(images["y_test"][:-1]))
    with pytest.raises(ValueError, match=r"shapes \(5, 28, 28\) and \(4,\)"):
        datasets.load_fashion_mnist(tmp_path)
    (tmp_path / "x.npz").write_bytes(b"neither an archive nor a number")
    with pytest.raises(ValueError, match="not a complete Fashion-MNIST file"):
        datasets.load_fashion_mnist(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_a_header_alone_does_not_allocate(tmp_path, images, suffix):
    write_idx(tmp_path, images, suffix, x_train=idx_bytes(images["x_train"], shape=(2**32 - 1, 28, 28)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="but there are only 9408"):
            datasets.load_fashion_mnist(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 16e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_test": None}, r"the arrays \['x_test'\] are missing"),
        ({"x_train": np.empty((0, 28, 28), np.uint8), "y_train": np.empty(0, np.uint8)}, "shapes"),
        ({"x_train": np.ones((12, 784), np.uint8)}, "shapes"),
        ({"x_train": np.ones((12, 28, 28), np.float32)}, "not uint8"),
        ({"y_test": np.full(5, 10, np.uint8)}, "labels reach 10"),
        ({"y_test": np.array(3, np.uint8)}, "shapes"),
    ],
)
def test_npz_with_other_arrays(tmp_path, images, change, words):
    arrays = {name: array for name, array in (images | change).items() if array is not None}
    with pytest.raises(ValueError, match=words):
        datasets.load_fashion_mnist(write_npz(tmp_path, arrays))


class Trap:
    """Unpickling one of these leaves a trace."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_nothing_is_unpickled(tmp_path, images):
    trap = np.empty(12, dtype=object)
    trap[:] = [Trap()] * 12
    with pytest.raises(ValueError, match="not a complete Fashion-MNIST file"):
        datasets.load_fashion_mnist(write_npz(tmp_path, images | {"y_train": trap}))
    file = tmp_path / "bare.npz"
    file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="not a complete Fashion-MNIST file"):
        datasets.load_fashion_mnist(file)
    assert not Trap.sprung


def test_the_real_files(fashion_mnist_path):
    X_train, y_train, X_test, y_test = datasets.load_fashion_mnist(fashion_mnist_path)
    assert (X_train.shape, X_test.shape) == ((60000, 784), (10000, 784))
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert (X_train.min(), X_train.max()) == (0.0, 1.0)
