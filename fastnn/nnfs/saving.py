"""Files of models and parameters: safetensors, or pickles for those who ask; read by content, and no code is run."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from fastnn.arrays import Array
from fastnn.nnfs import pickles
from fastnn.nnfs.layers import Layer_Dense

__all__ = ["load_model", "load_parameters", "save_model", "save_parameters"]

_BOOKS = (".model", ".parms", ".params")
_KEY, _VERSION = "fastnn.nnfs", 1
_PASSING = ("inputs", "output", "dinputs", "dweights", "dbiases")
_STATE = ("weight_momentums", "bias_momentums", "weight_cache", "bias_cache")
# What is stored of each object beside its arrays: plain numbers.
_FIELDS = {
    "Layer_Dense": (
        "weight_regularizer_l1", "weight_regularizer_l2", "bias_regularizer_l1", "bias_regularizer_l2",
    ),
    "Layer_Dropout": ("rate",),
    "Optimizer_SGD": ("learning_rate", "current_learning_rate", "decay", "iterations", "momentum"),
    "Optimizer_Adagrad": ("learning_rate", "current_learning_rate", "decay", "iterations", "epsilon"),
    "Optimizer_RMSprop": ("learning_rate", "current_learning_rate", "decay", "iterations", "epsilon", "rho"),
    "Optimizer_Adam": (
        "learning_rate", "current_learning_rate", "decay", "iterations", "epsilon", "beta_1", "beta_2",
    ),
    "Loss_MeanAbsoluteError": ("book_exact",),
    "Accuracy_Categorical": ("binary",),
    "Accuracy_Regression": ("precision",),
}  # fmt: skip
_LAYERS = {"Layer_Dense", "Layer_Dropout", *(name for name in pickles.CLASSES if name.startswith("Activation_"))}


def _check_format(path: str | os.PathLike[str], format: str) -> Path:
    place = Path(path)
    if format not in ("safetensors", "pickle"):
        raise ValueError(f"format must be 'safetensors' or 'pickle', got {format!r}: pass one of these")
    if format == "pickle" and place.suffix not in _BOOKS:
        raise ValueError(
            f"path must end in {', '.join(_BOOKS)} for a pickle, got {place.name!r}: name it so, or leave out "
            "format to write safetensors"
        )
    return place


def _write(place: Path, body: bytes) -> None:
    """Write a file whole: under its name there is the old content or the new, at any moment."""
    handle, temporary = tempfile.mkstemp(prefix=f".{place.name[:20]}", suffix=".tmp", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        if place.exists():
            os.chmod(temporary, place.stat().st_mode & 0o777)
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], Mapping[str, Any]] | bytes:
    """Return tensors and what is said about them, or the content of what must be a pickle."""
    raw = Path(path).read_bytes()
    # A safetensors file begins with the length of a header in braces.
    if len(raw) < 9 or raw[4:9] != b"\0\0\0\0{":
        return raw
    try:
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        about = json.loads(header.get("__metadata__", {}).get(_KEY, "{}"))
        tensors = {name: np.array(value) for name, value in read_tensors(raw).items()}
    except Exception as error:  # whatever the parsers of a damaged file may raise
        raise ValueError(f"{Path(path).name} is damaged: {error}") from error
    if not isinstance(about, dict) or about.get("version") != _VERSION:
        raise ValueError(
            f"{Path(path).name} was not written by fastnn.nnfs: for a file of fastnn itself use fastnn.load"
        )
    return tensors, about


# --- parameters ---


def save_parameters(parameters: Sequence[tuple[Any, Any]], path: str | os.PathLike[str], format: str) -> None:
    """Write pairs of weights and biases; see `Model.save_parameters`."""
    place = _check_format(path, format)
    pairs = [(np.asarray(weights), np.asarray(biases)) for weights, biases in parameters]
    if format == "pickle":
        _write(place, pickle.dumps(pairs))
        return
    tensors = {}
    for i, (weights, biases) in enumerate(pairs):
        tensors[f"{i}.weights"], tensors[f"{i}.biases"] = map(np.ascontiguousarray, (weights, biases))
    about = {"version": _VERSION, "kind": "parameters", "count": len(pairs)}
    _write(place, write_tensors(tensors, {_KEY: json.dumps(about)}))


def load_parameters(path: str | os.PathLike[str]) -> list[tuple[Array, Array]]:
    """Return pairs of weights and biases of a file; see `Model.load_parameters`."""
    found = _read(path)
    if isinstance(found, bytes):
        pairs = pickles.read_pickle(found, _no_model())
        good = isinstance(pairs, list) and all(
            isinstance(pair, tuple) and len(pair) == 2 and all(_is_parameter(value) for value in pair) for pair in pairs
        )
        if not good:
            raise ValueError(f"{Path(path).name} holds no parameters: read a model with Model.load")
        return pairs
    tensors, about = found
    count = about.get("count")
    if about.get("kind") != "parameters" or type(count) is not int or count > len(tensors):
        raise ValueError(f"{Path(path).name} holds no parameters: read a model with Model.load")
    try:
        return [(tensors[f"{i}.weights"], tensors[f"{i}.biases"]) for i in range(count)]
    except KeyError as error:
        raise ValueError(f"{Path(path).name} is damaged: {error} is missing") from None


def _is_parameter(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f"


def _no_model() -> type[Any]:
    from fastnn.nnfs.model import Model  # a model's file may be given by mistake

    return Model


# --- models ---


def _describe(part: Any, what: str) -> dict[str, Any] | None:
    if part is None:
        return None
    name = type(part).__name__
    if pickles.CLASSES.get(name) is not type(part):
        raise TypeError(
            f"{what} must be one of the book's to be saved, got {name}: use save_parameters() and build the model anew"
        )
    fields: dict[str, Any] = {"class": name}
    for field in _FIELDS.get(name, ()):
        value = getattr(part, field)
        if isinstance(value, np.generic):
            value = value.item()
        if not (value is None or isinstance(value, (bool, int, float))):
            raise TypeError(f"{field} of {name} must be a number to be saved, got {type(value).__name__}")
        fields[field] = value
    return fields


def _stripped(model: Any) -> Any:
    """Return a copy without what passed through the model last."""
    model = copy.deepcopy(model)
    for counting in (model.loss, model.accuracy):
        if counting is not None:
            counting.new_pass()
    joint = model.softmax_classifier_output
    passed = [model.input_layer, model.loss, *model.layers, joint, joint and joint.activation]
    for part in passed:
        for name in _PASSING:
            if part is not None and name in part.__dict__:
                delattr(part, name)
    for part in (model, model.optimizer, model.accuracy, joint and joint.loss, *passed):
        # Private names, under which a dense layer has its dinputs, are refused when a file is read.
        for name in [] if part is None else [name for name in part.__dict__ if name.startswith("_")]:
            del part.__dict__[name]
    return model


def save_model(model: Any, path: str | os.PathLike[str], format: str) -> None:
    """Write a model; see `Model.save`."""
    place = _check_format(path, format)
    layers = [_describe(layer, f"layers[{i}]") for i, layer in enumerate(model.layers)]
    about = {
        "version": _VERSION, "kind": "model", "layers": layers, "finalized": model.input_layer is not None,
        "loss": _describe(model.loss, "loss"), "optimizer": _describe(model.optimizer, "optimizer"),
        "accuracy": _describe(model.accuracy, "accuracy"),
    }  # fmt: skip
    if format == "pickle":
        _write(place, pickle.dumps(_stripped(model)))
        return
    tensors = {
        f"{i}.{name}": np.ascontiguousarray(getattr(layer, name))
        for i, layer in enumerate(model.layers)
        if isinstance(layer, Layer_Dense)
        for name in ("weights", "biases", *_STATE)
        if hasattr(layer, name)
    }
    _write(place, write_tensors(tensors, {_KEY: json.dumps(about)}))


def _build(fields: Any, allowed: set[str]) -> Any:
    """Return the object that `_describe` described."""
    if fields is None:
        return None
    name = fields.get("class") if isinstance(fields, dict) else None
    if name not in allowed:
        raise ValueError(f"the file describes a {str(name)[:40]!r} where it must be one of {sorted(allowed)}")
    kind = pickles.CLASSES[name]
    # Without the constructor, which would draw random numbers.
    part = object.__new__(kind)
    for field in _FIELDS.get(name, ()):
        value = fields.get(field)
        if value is not None and not isinstance(value, (bool, int, float)):
            raise ValueError(f"the file's {field} of {name} is no number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the file's {field} of {name} is not finite")
        setattr(part, field, value)
    if name.startswith("Activation_") and "_Loss_" in name:
        part.__init__()
    return part


def _names(*starts: str) -> set[str]:
    return {name for name in pickles.CLASSES if name.startswith(starts)}


def load_model(path: str | os.PathLike[str]) -> Any:
    """Return the model of a file; see `Model.load`."""
    from fastnn.nnfs.model import Model  # it imports us

    found = _read(path)
    if isinstance(found, bytes):
        model = pickles.read_pickle(found, Model)
        if type(model) is not Model or not isinstance(getattr(model, "layers", None), list):
            raise ValueError(f"{Path(path).name} holds no model: read parameters with load_parameters()")
        for layer in model.layers:
            if isinstance(layer, Layer_Dense):
                _check_layer(layer)
        # What links them may be of an earlier chapter's shape, or left out.
        if model.layers:
            model.finalize()
        return model
    tensors, about = found
    layers = about.get("layers")
    if about.get("kind") != "model" or not isinstance(layers, list):
        raise ValueError(f"{Path(path).name} holds no model: read parameters with load_parameters()")
    model = Model()
    for i, fields in enumerate(layers):
        layer = _build(fields, _LAYERS)
        if isinstance(layer, Layer_Dense):
            for name in ("weights", "biases", *_STATE):
                if f"{i}.{name}" in tensors:
                    setattr(layer, name, tensors[f"{i}.{name}"])
            _check_layer(layer)
        model.add(layer)
    model.set(
        loss=_build(about.get("loss"), _names("Loss")),
        optimizer=_build(about.get("optimizer"), _names("Optimizer", "Optimiser")),
        accuracy=_build(about.get("accuracy"), _names("Accuracy")),
    )
    if about.get("finalized") is True and model.layers:
        model.finalize()
    return model


def _check_layer(layer: Layer_Dense) -> None:
    weights: Any = getattr(layer, "weights", None)
    biases: Any = getattr(layer, "biases", None)
    if not (_is_parameter(weights) and _is_parameter(biases) and np.shape(biases) == (1, np.shape(weights)[1])):
        raise ValueError("the file has a Layer_Dense without weights and biases that fit each other")
    for name in _STATE:
        state: Any = getattr(layer, name, None)
        of = weights if name.startswith("weight") else biases
        if state is not None and not (_is_parameter(state) and np.shape(state) == np.shape(of)):
            raise ValueError(f"the file has a Layer_Dense whose {name} do not fit it")
