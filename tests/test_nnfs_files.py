"""Files of `fastnn.nnfs`: ours, the book's pickles old and new, and hostile ones, which run nothing."""

import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import nnfs_numpy as numpy_classes
import numpy as np
import pytest

import fastnn.nnfs as book
from fastnn.nnfs.pickles import read_pickle


def trained(module=book, optimizer=None, dropout=False):
    np.random.seed(0)
    X, y = book.spiral_data(30, 3)
    model = module.Model()
    model.add(module.Layer_Dense(2, 8, weight_regularizer_l2=5e-4))
    model.add(module.Activation_ReLU())
    if dropout:
        model.add(module.Layer_Dropout(0.1))
    model.add(module.Layer_Dense(8, 3))
    model.add(module.Activation_Softmax())
    model.set(
        loss=module.Loss_CategoricalCrossentropy(),
        optimizer=optimizer or module.Optimizer_Adam(learning_rate=0.05, decay=5e-5),
        accuracy=module.Accuracy_Categorical(),
    )
    model.finalize()
    with contextlib.redirect_stdout(io.StringIO()):
        model.train(X, y, epochs=4)
    return model, X, y


def same_parameters(one, other):
    for ours, theirs in zip(one.get_parameters(), other.get_parameters(), strict=True):
        assert (ours[0] == theirs[0]).all() and (ours[1] == theirs[1]).all()
        assert ours[0].dtype == theirs[0].dtype


OPTIMIZERS = {
    "sgd": lambda: book.Optimizer_SGD(1, momentum=0.9),
    "adagrad": lambda: book.Optimizer_Adagrad(0.5),
    "rmsprop": lambda: book.Optimizer_RMSprop(0.02, rho=0.99),
    "adam": lambda: book.Optimizer_Adam(0.05, 1e-4),
}


@pytest.mark.parametrize("format, name", [("safetensors", "spiral.safetensors"), ("pickle", "spiral.model")])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_model_comes_back_and_goes_on_with_the_same_bits(tmp_path, optimizer, format, name):
    optimizer = OPTIMIZERS[optimizer]()
    model, X, y = trained(optimizer=optimizer, dropout=format == "pickle")
    path = tmp_path / name
    before = np.random.get_state()[1].copy()
    model.save(path, format=format)
    again = book.Model.load(path)
    assert (np.random.get_state()[1] == before).all()
    same_parameters(model, again)
    assert (model.predict(X) == again.predict(X)).all()
    assert type(again.optimizer) is type(optimizer) and again.optimizer.iterations == optimizer.iterations
    for each in (model, again):
        np.random.seed(1)
        each.train(X, y, epochs=3, print_every=None)
    same_parameters(model, again)


def test_a_pickle_holds_neither_what_passed_through_nor_private_names(tmp_path):
    model, X, y = trained()
    for _ in range(2):
        model.backward(model.forward(X), y)
    noted = model, *model.layers, model.loss, model.optimizer, model.accuracy, model.softmax_classifier_output.loss
    for part in noted:
        part._note = 3
    model.save(tmp_path / "spiral.model", format="pickle")
    raw = (tmp_path / "spiral.model").read_bytes()
    for name in (b"dinputs", b"dweights", b"inputs", b"output", b"_note", b"_scratch"):
        assert b"\x8c" + bytes([len(name)]) + name not in raw
    same_parameters(model, book.Model.load(tmp_path / "spiral.model"))
    assert model.layers[2].dinputs.shape == (90, 8) and model.loss._note == 3


def test_every_kind_of_part_comes_back(tmp_path):
    model = book.Model()
    for layer in (book.Layer_Dense(1, 4), book.Activation_Sigmoid(), book.Layer_Dense(4, 1), book.Activation_Linear()):
        model.add(layer)
    model.set(loss=book.Loss_MeanAbsoluteError(book_exact=True), optimizer=book.Optimizer_SGD(),
              accuracy=book.Accuracy_Regression())  # fmt: skip
    X, y = book.sine_data(20)
    model.finalize()
    model.train(X, y, print_every=None)
    model.save(tmp_path / "m")
    again = book.Model.load(tmp_path / "m")
    assert again.loss.book_exact is True and again.accuracy.precision == model.accuracy.precision
    assert type(again.layers[1]) is book.Activation_Sigmoid
    unfinished = book.Model()
    unfinished.add(book.Layer_Dense(2, 2))
    unfinished.save(tmp_path / "u")
    assert book.Model.load(tmp_path / "u").input_layer is None


@pytest.mark.parametrize("format, name", [("safetensors", "w.st"), ("pickle", "w.params"), ("pickle", "w.parms")])
def test_parameters_come_back(tmp_path, format, name):
    model, X, _ = trained()
    model.save_parameters(tmp_path / name, format=format)
    other, _, _ = trained(optimizer=book.Optimizer_SGD())
    other.load_parameters(tmp_path / name)
    same_parameters(model, other)
    if format == "pickle":  # the book's own loader reads it
        pairs = pickle.loads((tmp_path / name).read_bytes())
        assert (pairs[0][0] == model.layers[0].weights).all()


# --- the book's own files ---


@pytest.fixture(params=["__main__", "layers", "book_ch19"])
def written_elsewhere(request, monkeypatch):
    """Give the NumPy classes the module names that a reader's script has."""
    module = types.ModuleType(request.param)
    exec(Path(numpy_classes.__file__).read_text(), module.__dict__)
    monkeypatch.setitem(sys.modules, request.param, module)
    return module


def as_numpy_1(raw):
    """Return a pickle of protocol 2 or less as NumPy 1 would have written it."""
    return raw.replace(b"numpy._core.", b"numpy.core.")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_the_books_models_are_read(tmp_path, written_elsewhere, protocol):
    theirs, X, _ = trained(written_elsewhere)
    theirs.loss.new_pass()
    raw = pickle.dumps(theirs, protocol=protocol)
    for content in {raw, as_numpy_1(raw) if protocol <= 3 else raw}:
        (tmp_path / "old.model").write_bytes(content)
        model = book.Model.load(tmp_path / "old.model")
        assert type(model.layers[0]) is book.Layer_Dense and type(model.optimizer) is book.Optimizer_Adam
        np.testing.assert_allclose(model.predict(X), theirs.forward(X, False), rtol=1e-12)
        assert (model.layers[0].weight_cache == theirs.layers[0].weight_cache).all()
        assert model.optimizer.iterations == theirs.optimizer.iterations
        model.train(X, np.zeros(len(X), int), epochs=2, print_every=None)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
def test_the_books_parameters_are_read(tmp_path, protocol, dtype):
    pairs = [(np.arange(16.0).reshape(2, 8), np.ones((1, 8))), (np.asfortranarray(np.ones((8, 3))), np.zeros((1, 3)))]
    pairs = [tuple(value.astype(dtype) for value in pair) for pair in pairs]
    raw = pickle.dumps(pairs, protocol=protocol)
    for content in {raw, as_numpy_1(raw) if protocol <= 3 else raw}:
        (tmp_path / "old.parms").write_bytes(content)
        model, _, _ = trained()
        model.load_parameters(tmp_path / "old.parms")
        for ours, theirs in zip(model.get_parameters(), pairs, strict=True):
            assert (ours[0] == theirs[0]).all() and (ours[1] == theirs[1]).all()
            assert ours[0].dtype.isnative and ours[0].flags.carray
    assert read_pickle(pickle.dumps([np.float64(1.5), np.int64(2), True, None], protocol), book.Model) == [
        1.5,
        2,
        True,
        None,
    ]


def test_numbers_and_accumulators_of_numpy_are_read(tmp_path):
    model, _, _ = trained(numpy_classes)
    model.loss.accumulated_sum = np.float32(1.5)
    model.accuracy.precision = np.float64(0.25)
    again = read_pickle(pickle.dumps(model), book.Model)
    assert again.loss.accumulated_sum == 1.5 and again.accuracy.precision == 0.25


# --- hostile and damaged files ---


class Runs:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def hostile(path):
    touch = f"__import__('os').mkdir({str(path)!r})"
    yield pickle.dumps(Runs(path))
    yield pickle.dumps(Runs(path), protocol=0)
    yield pickle.dumps([(np.ones((1, 1)), Runs(path))])
    yield b"cbuiltins\nexec\n(V" + touch.encode() + b"\ntR."
    yield b"c__builtin__\neval\n(V" + touch.encode() + b"\ntR."
    yield b"(S'" + str(path).encode() + b"'\nios\nmkdir\n."
    yield b"(cos\nmkdir\nV" + str(path).encode() + b"\no."
    yield b"cnumpy\nload\n(V" + str(path).encode() + b"\ntR."
    yield b"cfastnn.nnfs.layers\nLayer_Dense\n(I1000000000\nI1000000000\ntR."
    yield b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000000\ntS'b'\ntR."
    yield b"ccopyreg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR."
    yield b"c__main__\nLayer_Dense\n)\x81}(V__class__\nI1\nub."
    yield b"c__main__\nLayer_Dense\n)\x81}(Vforward\nI1\nub."
    yield b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x7f\x96\xff\xff\xff\xff\xff\xff\xff\x7fabc."
    yield b"\x80\x04]r\xff\xff\xff\x7f."
    yield b"\x80\x02P123\n."
    yield b"(" * 100_000 + b"."
    yield b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b"."
    yield pickle.dumps({1: 2})
    yield pickle.dumps([b"raw"])
    yield pickle.dumps([np.array([object()], dtype=object)])
    yield pickle.dumps([np.zeros(2, "S4")])
    yield pickle.dumps([np.zeros(2, "f4,i4")])
    yield b""
    yield b"."
    yield b"not a pickle at all"
    yield b"\x80\x04K\x01"


def test_a_hostile_pickle_runs_nothing(tmp_path):
    trap = tmp_path / "trap"
    model, _, _ = trained()
    before = [value.copy() for pair in model.get_parameters() for value in pair]
    for i, raw in enumerate(hostile(trap)):
        path = tmp_path / f"{i}.model"
        path.write_bytes(raw)
        for load in (book.Model.load, model.load_parameters):
            with pytest.raises(ValueError):
                load(path)
        assert not trap.exists(), raw[:60]
    after = [value for pair in model.get_parameters() for value in pair]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_a_deep_pickle_does_not_take_the_interpreter_down(tmp_path):
    path = tmp_path / "deep.model"
    path.write_bytes(b"\x80\x04" + b"]" * 300_000 + b"a" * 299_999 + b".")
    code = f"import fastnn.nnfs as n\ntry:\n n.Model.load({str(path)!r})\nexcept ValueError as e:\n print('refused', e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("refused"), done.stderr[-500:]


def test_every_cut_and_many_flips_of_a_file_are_refused_or_harmless(tmp_path):
    model, X, _ = trained()
    model.save(tmp_path / "m.model", format="pickle")
    model.save(tmp_path / "m.st")
    rng = np.random.default_rng(0)
    for source in ("m.model", "m.st"):
        raw = (tmp_path / source).read_bytes()
        contents = [raw[:n] for n in rng.integers(0, len(raw), 60)]
        for _ in range(150):
            changed = bytearray(raw)
            changed[rng.integers(len(raw))] ^= 1 << rng.integers(8)
            contents.append(bytes(changed))
        for content in contents:
            (tmp_path / "x").write_bytes(content)
            try:
                again = book.Model.load(tmp_path / "x")
            except (ValueError, TypeError):
                continue
            if again.layers and all(hasattr(layer, "forward") for layer in again.layers):
                with contextlib.suppress(ValueError, TypeError, AttributeError):
                    again.predict(X)


def test_safetensors_that_describe_something_else_are_refused(tmp_path):
    from safetensors.numpy import save

    model, _, _ = trained()
    model.save(tmp_path / "m")
    model.save_parameters(tmp_path / "p")
    with pytest.raises(ValueError, match="load_parameters"):
        book.Model.load(tmp_path / "p")
    with pytest.raises(ValueError, match=r"Model\.load"):
        model.load_parameters(tmp_path / "m")
    good = {"version": 1, "kind": "model", "layers": [], "loss": None, "optimizer": None, "accuracy": None}
    for change in (
        {"version": 2}, {"layers": 3}, {"layers": [{"class": "os.system"}]}, {"layers": [{"class": "Model"}]},
        {"layers": [{"class": "Layer_Dense"}]}, {"loss": {"class": "Layer_Dropout"}}, {"optimizer": 3},
        {"optimizer": {"class": "Optimizer_SGD", "learning_rate": [1]}},
    ):  # fmt: skip
        (tmp_path / "x").write_bytes(save({"a": np.ones(1)}, {"fastnn.nnfs": json.dumps({**good, **change})}))
        with pytest.raises(ValueError):
            book.Model.load(tmp_path / "x")
    (tmp_path / "x").write_bytes(save({"a": np.ones(1)}))
    with pytest.raises(ValueError, match="fastnn"):
        book.Model.load(tmp_path / "x")


def test_what_cannot_be_saved_says_so_and_leaves_the_old_file(tmp_path):
    class Own(book.Activation_ReLU):
        pass

    model, _, _ = trained()
    path = tmp_path / "m.model"
    path.write_bytes(b"old")
    model.layers[1] = Own()
    with pytest.raises(TypeError, match="save_parameters"):
        model.save(path)
    for arguments, text in (
        ({"path": tmp_path / "m.bin", "format": "pickle"}, ".model"), ({"path": path, "format": "h5"}, "format"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            model.save(**arguments)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["m.model"]
