"""Models in files: safetensors, with the layers' configuration in the header."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fastnn.base import Layer
from fastnn.model import Sequential

__all__ = ["load", "save"]

_FORMAT = "fastnn-sequential-1"


def save(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write a model's layers and parameters to a file, which is complete or not there at all.

    Parameters
    ----------
    model : Sequential
        Of fastnn's own layers.
    path : path
        The usual ending is ``.safetensors``. A file that is there is replaced, once the new one is whole.

    Raises
    ------
    ValueError
        If a layer is of a class of your own, which a file cannot bring back.
    OSError
        If the file cannot be written; what was there stays.

    Examples
    --------
    >>> import tempfile, os
    >>> import fastnn as fnn
    >>> model = fnn.Sequential(fnn.Dense(2, 3), seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fnn.save(model, os.path.join(folder, "m.safetensors"))
    ...     fnn.load(os.path.join(folder, "m.safetensors")).layers[0].n_outputs
    3
    """
    for place, layer in enumerate(model.layers):
        if not type(layer).__module__.startswith("fastnn."):
            raise ValueError(
                f"layers[{place}] is a {type(layer).__name__}, which is not fastnn's own: save its arrays yourself, "
                "for example with np.savez(path, **model.parameters())"
            )
    config = {"layers": [layer.get_config() for layer in model.layers], "seed": model.seed}
    arrays = {name: np.ascontiguousarray(value) for name, value in _named(model).items()}
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


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a model that `save` wrote. No code in the file is run, and names in it reach fastnn's own classes only.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential
        With the parameters' dtypes as they were.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or not a model of fastnn's.

    Examples
    --------
    See `save`.
    """
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
    model = Sequential(*layers, seed=config.get("seed"))
    wanted = _named(model)
    if set(arrays) != set(wanted):
        raise ValueError(f"{os.fspath(path)!r} has the arrays {sorted(arrays)} and should have {sorted(wanted)}")
    for name, value in wanted.items():
        if arrays[name].shape != value.shape or arrays[name].dtype.kind != "f":
            raise ValueError(f"{os.fspath(path)!r}: {name} is {arrays[name].shape}, and should be {value.shape}")
    for place, layer in enumerate(model.layers):
        for short in layer.parameters():
            setattr(layer, short, arrays[f"{place}.{short}"].copy())
    return model


def _named(model: Sequential) -> dict[str, Any]:
    return {f"{place}.{n}": a for place, layer in enumerate(model.layers) for n, a in layer.parameters().items()}


def _layer(entry: Any, place: int, arrays: dict[str, Any]) -> Layer:
    # Before it is built: a header may ask for a layer far larger than the file.
    if "n_inputs" in entry:
        shape = arrays[f"{place}.weights"].shape
        if shape != (entry["n_inputs"], entry["n_outputs"]):
            raise ValueError(f"layer {place} is said to be {entry['n_inputs']} × {entry['n_outputs']}, not {shape}")
    return Layer.from_config(entry)
