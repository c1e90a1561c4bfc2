"""Layers in files: safetensors, with the layers' configuration in the header."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fastnn.arrays import Array
from fastnn.base import Layer

__all__ = ["read", "write"]

_FORMAT = "fastnn-sequential-1"


def write(path: str | os.PathLike[str], layers: Sequence[Layer], seed: int | None) -> None:
    """Write layers, their parameters and their model's seed; see `Sequential.save`."""
    for place, layer in enumerate(layers):
        if not type(layer).__module__.startswith("fastnn."):
            raise ValueError(
                f"layers[{place}] is a {type(layer).__name__}, which is not fastnn's own: save its arrays yourself, "
                "for example with np.savez(path, **model.parameters())"
            )
    config = {"layers": [layer.get_config() for layer in layers], "seed": seed}
    arrays = {name: np.ascontiguousarray(value) for name, value in _named(layers).items()}
    content = to_bytes(arrays, metadata={"format": _FORMAT, "config": json.dumps(config)})
    target = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=target.name + ".", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: str | os.PathLike[str]) -> tuple[list[Layer], list[dict[str, Array]], int | None]:
    """Return the layers, each one's parameters by name, and the seed that `write` wrote; see `fastnn.load`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: there is no file {os.fspath(path)!r}")
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != _FORMAT:
                raise ValueError(f"{os.fspath(path)!r} is not a model that fastnn has saved")
            config = json.loads(about["config"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            layers = [_layer(entry, place, arrays) for place, entry in enumerate(config["layers"])]
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, OverflowError) as error:
        raise ValueError(f"{os.fspath(path)!r} is damaged or not a model of fastnn's: {error}") from error
    wanted = _named(layers)
    if set(arrays) != set(wanted):
        raise ValueError(f"{os.fspath(path)!r} has the arrays {sorted(arrays)} and should have {sorted(wanted)}")
    for name, value in wanted.items():
        if arrays[name].shape != value.shape or arrays[name].dtype.kind != "f":
            raise ValueError(f"{os.fspath(path)!r}: {name} is {arrays[name].shape}, and should be {value.shape}")
    values = [{n: arrays[f"{place}.{n}"].copy() for n in layer.parameters()} for place, layer in enumerate(layers)]
    return layers, values, config.get("seed")


def _named(layers: Sequence[Layer]) -> dict[str, Array]:
    return {f"{place}.{n}": a for place, layer in enumerate(layers) for n, a in layer.parameters().items()}


def _layer(entry: Any, place: int, arrays: dict[str, Any]) -> Layer:
    # Before it is built: a header may ask for a layer far larger than the file.
    if "n_inputs" in entry:
        shape = arrays[f"{place}.weights"].shape
        if shape != (entry["n_inputs"], entry["n_outputs"]):
            raise ValueError(f"layer {place} is said to be {entry['n_inputs']} × {entry['n_outputs']}, not {shape}")
    return Layer.from_config(entry)
