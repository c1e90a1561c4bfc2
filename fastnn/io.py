"""Layers in files: safetensors, with the layers' configuration in the header."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fastnn._arguments import check_layers
from fastnn.arrays import Array, check_seed
from fastnn.base import Configurable, Layer
from fastnn.initializers import Initializer
from fastnn.losses import Loss

__all__ = ["read", "write"]

_FORMAT = "fastnn-sequential-1"
# What a header may raise that says something else than `write` wrote.
_ODD = (SafetensorError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def write(path: str | os.PathLike[str], layers: Sequence[Layer], seed: int | None, loss: Loss | None) -> None:
    """Write layers, their parameters, their model's seed and its loss, if it is ours; see `Sequential.save`."""
    config: dict[str, Any] = {
        "layers": [_entry(layer, place) for place, layer in enumerate(layers)],
        "seed": check_seed(seed),
    }
    if loss is not None and _is_ours(loss):
        config["loss"] = _readable("loss", Loss, loss.get_config())
    arrays = {name: np.ascontiguousarray(value) for name, value in _named(layers).items()}
    about = {"format": _FORMAT, "config": json.dumps(config, default=_plain)}
    _replace(path, to_bytes(arrays, metadata=about))


def _entry(layer: Layer, place: int) -> dict[str, Any]:
    """Return a layer's configuration, once it is clear that a file can bring it back."""
    if not _is_ours(layer):
        raise ValueError(
            f"layers[{place}] is a {type(layer).__name__}, which is not fastnn's own: save its arrays yourself, "
            "for example with np.savez(path, **model.parameters())"
        )
    for name in ("initializer", "bias_initializer"):
        value = getattr(layer, name, None)
        if isinstance(value, Initializer) and not _is_ours(value):
            raise ValueError(
                f"layers[{place}].{name} is a {type(value).__name__}, which is not fastnn's own: it has done its work, "
                f"so assign one of fastnn's, for example model.layers[{place}].{name} = fastnn.initializers.Zeros()"
            )
    return _readable(f"layers[{place}]", Layer, layer.get_config())


def _readable(what: str, kind: type[Configurable], entry: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration, once it is clear that an object can be made of it again."""
    for name, value in entry.items():
        try:
            json.dumps(value, default=_plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{what}.{name} is {value!r}, which a file cannot bring back ({error}): assign what "
                f"{entry['type']}() takes"
            ) from error
    # Of one weight: a large layer would draw all of them.
    small = {name: 1 for name in ("n_inputs", "n_outputs") if name in entry}
    try:
        kind.from_config(json.loads(json.dumps({**entry, **small}, default=_plain)))
    except ValueError as error:
        raise ValueError(f"{what} is a {entry['type']} that a file cannot bring back: {error}") from error
    return entry


def _is_ours(thing: object) -> bool:
    return type(thing).__module__.startswith("fastnn.")


def _plain(value: object) -> Any:
    """Return a number of NumPy's as one that JSON knows."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no plain value")


def _replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole: under its name there is the old content or the new, at any moment."""
    # As `open` does: to what a link means, with the file's mode, or else the one that the umask leaves.
    target = Path(os.path.realpath(path))
    try:
        old: int | None = os.stat(target).st_mode
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old):
        raise OSError(f"path: {os.fspath(path)!r} is no ordinary file, which alone can be replaced: pass another path")
    temporary = target.with_name(f"{target.name[:20]}.{secrets.token_hex(8)}.tmp")

    def create(name: str, flags: int) -> int:
        # Nobody may look into a private file's successor before it is one.
        return os.open(name, flags, 0o666 if old is None else 0o600)

    file = open(temporary, "xb", opener=create)
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if old is not None:
            os.chmod(temporary, old & 0o777)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: str | os.PathLike[str]) -> tuple[list[Layer], list[dict[str, Array]], int | None, Loss | None]:
    """Return the layers, each one's parameters by name, the seed and the loss that `write` wrote; see `fastnn.load`."""
    name = repr(os.fspath(path))
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: there is no file {name}")
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != _FORMAT:
                raise ValueError(f"its format is {about.get('format')!r}, not {_FORMAT!r}")
            config = json.loads(about["config"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a mapping)
        layers = [_layer(entry, place, arrays) for place, entry in enumerate(config["layers"])]
        check_layers(layers)
        seed = check_seed(config.get("seed"))
        loss = Loss.from_config(config["loss"]) if "loss" in config else None
        wanted = _named(layers)
        if set(arrays) != set(wanted):
            raise ValueError(f"it has the arrays {sorted(arrays)} and should have {sorted(wanted)}")
        for key, value in wanted.items():
            if arrays[key].shape != value.shape or arrays[key].dtype.kind != "f":
                raise ValueError(f"{key} is {arrays[key].dtype} {arrays[key].shape}, and should be {value.shape}")
    except _ODD as error:
        raise ValueError(f"{name} is damaged or not a model of fastnn's: {error}") from error
    values = [{n: arrays[f"{place}.{n}"].copy() for n in layer.parameters()} for place, layer in enumerate(layers)]
    return layers, values, seed, loss


def _named(layers: Sequence[Layer]) -> dict[str, Array]:
    return {f"{place}.{n}": a for place, layer in enumerate(layers) for n, a in layer.parameters().items()}


def _layer(entry: Any, place: int, arrays: dict[str, Any]) -> Layer:
    # Before it is built: a header may ask for a layer far larger than the file.
    if "n_inputs" in entry:
        shape = arrays[f"{place}.weights"].shape
        if shape != (entry["n_inputs"], entry["n_outputs"]):
            raise ValueError(f"layer {place} is said to be {entry['n_inputs']} × {entry['n_outputs']}, not {shape}")
    return Layer.from_config(entry)
