"""What ``fastnn info`` tells: processor, threads, cache folder and versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import numba
import numpy as np

import fastnn
from fastnn.kernels import _builds, _simd
from fastnn.threads import get_num_threads


def describe() -> list[tuple[str, str]]:
    """Return what there is to tell, each with what it is; nothing is made or compiled for it."""
    width = _simd.VECTOR_BYTES
    return [
        ("processor", f"{_processor()}, {os.cpu_count()} cores"),
        ("vector width", f"{width} bytes: {width // 4} float32 or {width // 8} float64 at once"),
        ("threading layer", _threading_layer()),
        ("threads", f"{get_num_threads()} of {numba.config.NUMBA_NUM_THREADS}"),
        *_cache(),
        ("fastnn", f"{fastnn.__version__}, {Path(fastnn.__file__).parent}"),
        ("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        ("numpy", np.__version__),
        ("numba", numba.__version__),
        ("llvmlite", version("llvmlite")),
    ]


def _cache() -> list[tuple[str, str]]:
    try:
        folder = _builds.cache_root()
    except OSError as error:
        return [("cache folder", f"none: {error}; set FASTNN_CACHE_DIR to a folder of yours")]
    current, others = _cache_contents(folder)
    rows = [("cache folder", str(folder)), ("cache", f"{current[0]} files, {current[1] / 1e6:.1f} MB")]
    if others[0]:
        rows.append(("", f"and {others[0]} files, {others[1] / 1e6:.1f} MB, of other versions: they may be deleted"))
    return rows


def _processor() -> str:
    """Return the processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _threading_layer() -> str:
    try:
        numba.set_num_threads(numba.get_num_threads())  # starts the threads, which chooses the layer
        return str(numba.threading_layer())
    except ValueError as error:
        return f"none: {error}"


def _cache_contents(folder: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (files, bytes) that this version uses, and the same of all other versions."""
    mine = folder / _builds.digest()[:32]
    counts = {True: [0, 0], False: [0, 0]}
    for path in folder.glob("*/*.bin"):
        try:
            size = path.stat().st_size
        except OSError:
            continue  # another process has just removed it
        counts[path.parent == mine][0] += 1
        counts[path.parent == mine][1] += size
    return (counts[True][0], counts[True][1]), (counts[False][0], counts[False][1])
