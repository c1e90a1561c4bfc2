"""With what options code is made of kernels, and where it is kept.

The cache is ours because Numba's own keys a function by its own file: an edited callee in another file would go
unseen. Here every file of this package, the versions and the options that shape the code make one digest, which
names a folder; inside it each build and signature is one file (see `_cache`).
"""

import functools
import hashlib
import os
import pickle
import platform
import sys
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from ._cache import Store, cache_root

# Licences under which LLVM may change results are left out, all but the sign of zero: what it then does hangs on
# what surrounds an expression, and the serial, the parallel and the fused build would give different bits. Kernels
# write `fma` and vectors out instead. Without `nnan` and `ninf`, NaN and infinity stay honest.
OPTIONS = {"nogil": True, "fastmath": {"nsz"}, "error_model": "numpy", "boundscheck": None}
# Only `prange` makes a parallel region: no fusion, no rewriting of array expressions, and a shorter compile.
PARALLEL = {
    "comprehension": False, "reduction": False, "inplace_binop": False, "setitem": False, "numpy": False,
    "stencil": False, "fusion": False, "prange": True,
}  # fmt: skip


@functools.cache
def digest():
    """Return a hex digest of every kernel source and of all that shapes the code made from them."""
    what = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        what.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    shape = (
        sys.version_info[:3], platform.machine(), platform.system(), numba.__version__, llvmlite.__version__,
        np.__version__, sorted(OPTIONS.items(), key=str), sorted(PARALLEL.items()), numba.config.OPT,
        numba.config.BOUNDSCHECK,
    )  # fmt: skip
    what.update(repr(shape).encode())
    return what.hexdigest()


before_compiling = []
"""Functions that are called, without arguments, before what is not kept yet is compiled."""
store = Store(lambda: cache_root() / digest()[:32])
compiled = []
"""Names of the builds compiled (not loaded) in this process, in order: `name.serial(signature)`."""


_held = []


def _hold_locks():
    # In this order: who compiles may ask for the folder.
    for lock in (global_compiler_lock, store.lock):
        lock.acquire()
        _held.append(lock)


def _release_locks():
    # Those that were got: Ctrl-C may have ended the wait.
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    # A child of a process of which another thread compiles would wait for that thread, which it does not have. So the
    # fork waits until that one has compiled.
    os.register_at_fork(before=_hold_locks, after_in_parent=_release_locks, after_in_child=_release_locks)


def know_all():
    """Let Numba read what it knows of functions and types, before it compiles: half a second.

    Whoever ends that by an exception leaves it without some of them for as long as the process lives.
    """
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def load(name, arguments, make):
    """Return what `make` makes of what is kept of a build, or None if there is nothing or it is not to be trusted.

    Then it will be compiled, and `before_compiling` is told.
    """
    file = _file(name, arguments)
    body = store.read(file)
    if body is not None:
        try:
            return make(*pickle.loads(body))
        except Exception as fault:  # whatever a stale or foreign payload may raise: compile instead
            store.warn(f"{file} cannot be loaded: {fault!r}")
    for tell in tuple(before_compiling):
        tell()
    return None


def save(name, arguments, parts):
    """Take down that a build was made, and keep what the function `parts`, if there is one, returns of it."""
    compiled.append(f"{name}{arguments}")
    if parts is None:
        return
    try:
        body = pickle.dumps(parts(), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as fault:  # a result that cannot be stored can still be used
        store.warn(f"{name} cannot be stored: {fault!r}")
        return
    store.write(_file(name, arguments), body)


def _file(name, arguments):
    key = repr((name, str(arguments), cpu_target.target_context.codegen().magic_tuple()))
    return f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.bin"


def object_of(library):
    """Return what rebuilds a library: its machine code and, in place of its bitcode, the names alone that it defines.

    Numba would parse all of the bitcode whenever it loads the code, 25 MB and 0.07 s of a process that trains; nothing
    is ever compiled with it again.
    """
    module = library._final_module
    # Numba takes down which symbols there are, of whatever kind.
    names = [v.name for some in (module.functions, module.global_variables) for v in some if not v.is_declaration]
    stand_in = llvm.parse_assembly("\n".join(f'@"{name}" = global i8 0' for name in names))
    return library.name, "object", (library._get_compiled_object(), stand_in.as_bitcode())
