"""Saved models: what comes back, and what files that are not models do."""

import copy
import json
import os
import pickle
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
