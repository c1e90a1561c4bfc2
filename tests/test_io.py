"""Saved models: what comes back, and what files that are not models do."""

import copy
import json
import os
import pickle
import stat
import struct

import numpy as np
import pytest

import fastnn as fnn


def _model(dtype=np.float32):
    X, y = fnn.datasets.spiral_data(20, 3, seed=0, dtype=dtype)
    model = fnn.Sequential(
        fnn.Dense(2, 8, initializer="he_normal", weight_l2=1e-3, name="first"), fnn.Tanh(), fnn.Dropout(0.2),
        fnn.Dense(8, 3), seed=4,
    )  # fmt: skip
    model.fit(X, y, epochs=2)
    return model, X


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_comes_back_with_the_same_bits(tmp_path, dtype):
    model, X = _model(dtype)
    model.save(tmp_path / "m.safetensors")
    again = fnn.load(tmp_path / "m.safetensors")
    assert again.predict(X).tobytes() == model.predict(X).tobytes()
    assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in model.layers]
    for name, value in model.parameters().items():
        assert again.parameters()[name].dtype == value.dtype
        assert np.array_equal(again.parameters()[name], value)
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_layer_of_ones_own_is_refused(tmp_path):
    class Mine(fnn.Layer):
        def forward(self, inputs, training=True):
            return inputs

        def backward(self, dvalues):
            return dvalues

    with pytest.raises(ValueError, match="Mine"):
        fnn.Sequential(fnn.Dense(1, 1), Mine()).save(tmp_path / "m")
    assert os.listdir(tmp_path) == []


class _Own(fnn.initializers.Initializer):
    def draw(self, out, shape, seed, index):
        out[:] = 0.5


@pytest.mark.parametrize("name", ["initializer", "bias_initializer"])
def test_an_initialiser_of_ones_own_is_refused(tmp_path, name):
    model = fnn.Sequential(fnn.Dense(2, 1), fnn.Dense(1, 3, **{name: _Own()}))
    with pytest.raises(ValueError, match=rf"layers\[1\]\.{name} is a _Own.*Zeros\(\)"):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == []
    # What the message says to do helps, and the parameters stay.
    setattr(model.layers[1], name, fnn.initializers.Zeros())
    model.save(tmp_path / "m")
    again = fnn.load(tmp_path / "m").parameters()
    for key, value in model.parameters().items():
        assert np.array_equal(again[key], value)


@pytest.mark.parametrize(
    "value", [np.float32(0.1), np.float64(0.1), np.array(0.1), np.float16(0.1), np.longdouble(0.1), np.int64(2)]
)
def test_numbers_of_numpy_are_stored_as_plain_ones(tmp_path, value):
    model = fnn.Sequential(fnn.Dense(2, 3, initializer="normal"), seed=0)
    model.layers[0].weight_l2 = model.layers[0].initializer.scale = value
    model.seed = np.int64(5)
    model.save(tmp_path / "m")
    again = fnn.load(tmp_path / "m")
    assert again.layers[0].weight_l2 == again.layers[0].initializer.scale == float(value)
    assert again.seed == 5


@pytest.mark.parametrize("value", [np.nan, np.float32("inf"), np.ones(2), 1j, object()])
def test_what_a_file_cannot_hold_is_refused(tmp_path, value):
    model = fnn.Sequential(fnn.Dense(2, 3), seed=0)
    model.layers[0].bias_l1 = value
    with pytest.raises(ValueError, match=r"layers\[0\]\.bias_l1 is .*assign what Dense\(\) takes"):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    model, _ = _model()
    path = tmp_path / "m.safetensors"
    model.save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


# --- what `open` does with names and modes ---

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX's")


def _mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@posix
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path, umask):
    model, _ = _model()
    before = os.umask(umask)
    try:
        model.save(tmp_path / "m")
    finally:
        os.umask(before)
    assert _mode(tmp_path / "m") == 0o666 & ~umask


@posix
@pytest.mark.parametrize("mode", [0o664, 0o600, 0o640])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode, monkeypatch):
    model, _ = _model()
    path, seen = tmp_path / "m", []
    path.touch()
    path.chmod(mode)
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(os.fstat(handle).st_mode) or flush(handle))
    model.save(path)
    assert _mode(path) == mode and isinstance(fnn.load(path), fnn.Sequential)
    # What is not finished yet may be read by nobody who may not read the file itself.
    assert len(seen) == 1 and stat.S_IMODE(seen[0]) & ~mode == 0


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(tmp_path, exists):
    model, X = _model()
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "m", tmp_path / "link"
    if exists:
        real.write_bytes(b"old")
        real.chmod(0o604)
    (tmp_path / "middle").symlink_to(os.path.join("real", "m"))
    link.symlink_to("middle")
    model.save(link)
    assert link.is_symlink() and (tmp_path / "middle").is_symlink() and not real.is_symlink()
    assert fnn.load(real).predict(X).tobytes() == model.predict(X).tobytes()
    assert not exists or _mode(real) == 0o604
    assert os.listdir(tmp_path / "real") == ["m"] and sorted(os.listdir(tmp_path)) == ["link", "middle", "real"]


@posix
def test_what_is_no_ordinary_file_stays(tmp_path):
    model, _ = _model()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match=f"{name}' is no ordinary file"):
            model.save(tmp_path / name)
    with pytest.raises(OSError):
        model.save(tmp_path / "loop")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode) and (tmp_path / "loop").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["folder", "loop", "pipe"]


# --- files that are no models ---


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        fnn.load(tmp_path / "nothing")


def test_damaged_files_are_refused(tmp_path):
    model, _ = _model()
    path = tmp_path / "m.safetensors"
    model.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in [0, 1, 7, 8, 20, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError):
            fnn.load(path)
    size = struct.unpack("<Q", whole[:8])[0]
    for _ in range(200):
        bent = bytearray(whole)
        for at in rng.integers(0, 8 + size, 3):
            bent[at] = rng.integers(0, 256)
        path.write_bytes(bytes(bent))
        try:
            loaded = fnn.load(path)
        except ValueError:
            continue
        assert isinstance(loaded, fnn.Sequential)


def _rewritten(whole, change):
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + whole[8 + size :]


def _set(config, *keys, value):
    for key in keys[:-1]:
        config = config[key]
    config[keys[-1]] = value


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "change",
    [
        lambda config: _set(config, "seed", value="x"),
        lambda config: _set(config, "seed", value=1.5),
        lambda config: _set(config, "seed", value=-1),
        lambda config: _set(config, "layers", value=[]),
        lambda config: _set(config, "layers", value=3),
        lambda config: _set(config, "layers", 1, value=None),
        lambda config: _set(config, "layers", 1, value="Tanh"),
        lambda config: _set(config, "layers", 1, value={"type": "Tanh", "n_inputs": 3}),
        lambda config: _set(config, "layers", 3, "name", value="first"),
        lambda config: _set(config, "layers", 3, "seed", value="x"),
        lambda config: _set(config, "layers", 0, "weight_l2", value=10**400),
        lambda config: _set(config, "layers", 0, "initializer", value=[]),
        lambda config: DEEP,
        lambda config: f'{{"layers": {DEEP}, "seed": 0}}',
        lambda config: "[]",
        lambda config: "",
    ],
)
def test_an_odd_header_is_a_value_error_that_names_the_file(tmp_path, change):
    model, _ = _model()
    path = tmp_path / "m.safetensors"
    model.save(path)

    def change_header(header):
        config = json.loads(header["__metadata__"]["config"])
        text = change(config)
        header["__metadata__"]["config"] = json.dumps(config) if text is None else text

    path.write_bytes(_rewritten(path.read_bytes(), change_header))
    with pytest.raises(ValueError, match=r"m\.safetensors' is damaged or not a model of fastnn's: "):
        fnn.load(path)


@pytest.mark.parametrize("kind", ["object", "os.system", "Layer", "Sequential", "Parameters"])
def test_names_reach_own_layers_only(tmp_path, kind):
    model, _ = _model()
    path = tmp_path / "m.safetensors"
    model.save(path)

    def change(header):
        config = json.loads(header["__metadata__"]["config"])
        config["layers"][1]["type"] = kind
        header["__metadata__"]["config"] = json.dumps(config)

    path.write_bytes(_rewritten(path.read_bytes(), change))
    with pytest.raises(ValueError):
        fnn.load(path)


def test_a_header_cannot_ask_for_more_than_the_file_holds(tmp_path):
    model, _ = _model()
    path = tmp_path / "m.safetensors"
    model.save(path)

    def change(header):
        config = json.loads(header["__metadata__"]["config"])
        config["layers"][0]["n_outputs"] = 1 << 40
        header["__metadata__"]["config"] = json.dumps(config)

    path.write_bytes(_rewritten(path.read_bytes(), change))
    with pytest.raises(ValueError, match="said to be"):
        fnn.load(path)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_pickles_of_a_trained_model(how):
    model, X = _model()
    expected = model.predict(X)
    again = how(model)
    assert again.predict(X).tobytes() == expected.tobytes()
    again.fit(X, np.zeros(len(X), int), epochs=1)
    if how is not copy.copy:
        assert model.predict(X).tobytes() == expected.tobytes()


@pytest.mark.parametrize("made", ["trained", "loaded", "unpickled"])
def test_predict_has_nothing_to_copy_and_sees_every_change(tmp_path, made):
    model = fnn.Sequential(fnn.Dense(2, 8, seed=1), fnn.ReLU(), fnn.Dense(8, 3), seed=0)
    model.fit(np.ones((3, 2), np.float32), [0, 1, 2], epochs=1)
    if made == "loaded":
        model.save(tmp_path / "m.safetensors")
        model = fnn.load(tmp_path / "m.safetensors")
    elif made == "unpickled":
        model = pickle.loads(pickle.dumps(model))
    flat = model._parameters.flat
    assert all(np.shares_memory(value, flat) for value in model.parameters().values())
    X = np.ones((1, 2), np.float32)
    first, last = model.layers[0], model.layers[2]

    def change_and_compare(change):
        before = model.predict(X)
        change()
        expected = np.maximum(X @ first.weights + first.biases, 0) @ last.weights + last.biases
        assert not np.array_equal(model.predict(X), before)
        np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5)

    change_and_compare(lambda: last.weights.__imul__(2))
    change_and_compare(lambda: last.weights.__setitem__(0, 3.0))
    change_and_compare(lambda: setattr(first, "weights", np.full((2, 8), 0.5, np.float32)))


def test_a_file_knows_the_loss(tmp_path):
    X, y = np.linspace(-1, 1, 9, dtype=np.float32)[:, None], np.zeros(9)
    path, model = tmp_path / "m.safetensors", fnn.Sequential(fnn.Dense(1, 1), seed=0)
    model.save(path)
    assert fnn.load(path).loss is None
    for loss in (fnn.MeanSquaredError(), fnn.SoftmaxCrossEntropy(label_smoothing=0.25)):
        target = y if isinstance(loss, fnn.MeanSquaredError) else y.astype(int)
        model.fit(X, target, epochs=1, loss=loss)
        model.save(path)
        again = fnn.load(path)
        assert repr(again.loss) == repr(loss) and again.evaluate(X, target) == model.evaluate(X, target)

    class Own(fnn.MeanSquaredError):
        def forward_prepared(self, outputs, labels, targets):
            return super().forward_prepared(outputs, labels, targets)

    model.fit(X, y, epochs=1, loss=Own())
    model.save(path)
    assert fnn.load(path).loss is None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda model: setattr(model.layers[0], "weight_l2", -1.0), r"layers\[0\] is a Dense .*weight_l2"),
        (lambda model: setattr(model.layers[1], "rate", 1.5), r"layers\[1\] is a Dropout .*rate"),
        (lambda model: setattr(model.loss, "label_smoothing", 2.0), "loss is a SoftmaxCrossEntropy .*label_smoothing"),
        (lambda model: setattr(model.loss, "label_smoothing", np.nan), "loss.label_smoothing is nan"),
    ],
)
def test_what_could_not_be_read_is_not_written(change, what, tmp_path):
    model = fnn.Sequential(fnn.Dense(2, 3000), fnn.Dropout(0.5), fnn.Dense(3000, 3), seed=0)
    model.fit(np.ones((3, 2), np.float32), [0, 1, 2], epochs=1)
    model.save(tmp_path / "m.safetensors")
    before = (tmp_path / "m.safetensors").read_bytes()
    change(model)
    with pytest.raises(ValueError, match=what):
        model.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == before
