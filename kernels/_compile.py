"""The one decorator that every kernel wears: options, two builds of one source, and the compile cache.

``@kernel`` gives a `Kernel`. Called from Python it runs its serial build, or, with `parallel_build`, the build whose
``prange`` loops are spread over threads; used inside another kernel it is the serial build, inlined where LLVM
sees fit. Nothing compiles before the first call.

The cache is ours because Numba's own keys a function by its own file: an edited callee in another file would go
unseen. Here every file of this package, the versions and the options that shape the code make one digest, which
names a folder; inside it each build and signature is one file (see `_cache`).
"""

import functools
import hashlib
import pickle
import platform
import sys
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba import njit, types
from numba.core import compiler
from numba.core.caching import _Cache
from numba.core.ccallback import CFunc
from numba.core.runtime import _nrt_python
from numba.extending import typeof_impl

from ._cache import Store, cache_root
from ._simd import external

# Licences under which LLVM may change results are left out, all but the sign of zero: what it then does hangs on
# what surrounds an expression, and the serial, the parallel and the fused build would give different bits. Kernels
# write `fma` and vectors out instead. Without `nnan` and `ninf`, NaN and infinity stay honest.
FASTMATH = {"nsz"}
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
        np.__version__, sorted(FASTMATH), sorted(PARALLEL.items()), numba.config.OPT, numba.config.BOUNDSCHECK,
    )  # fmt: skip
    what.update(repr(shape).encode())
    return what.hexdigest()


_store = Store(lambda: cache_root() / digest()[:32])
compiled = []
"""Names of the builds compiled (not loaded) in this process, in order: `name.serial(signature)`."""


class _KernelCache(_Cache):
    """What a Numba dispatcher asks for compiled code, answered from the store."""

    def __init__(self, name):
        self._name, self._enabled = name, True

    @property
    def cache_path(self):
        return str(_store.folder())

    def enable(self):
        self._enabled = True

    def disable(self):
        self._enabled = False

    def flush(self):
        """Nothing is held back: files are written as they come."""

    def _file(self, sig, codegen):
        key = repr((self._name, str(sig), codegen.magic_tuple()))
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.bin"

    def load_overload(self, sig, target_context):
        _name_runtime()
        _link(sig)
        if not self._enabled:
            return None
        name = self._file(sig, target_context.codegen())
        body = _store.read(name)
        if body is None:
            return None
        try:
            parts, bitcode = pickle.loads(body)
            result = compiler.CompileResult._rebuild(target_context, *parts)
            if bitcode is not None:
                # What Numba asks when it compiles a caller.
                result.library._get_module_for_linking = functools.cache(functools.partial(llvm.parse_bitcode, bitcode))
            return result
        except Exception as fault:  # whatever a stale or foreign payload may raise: compile instead
            _store.warn(f"{name} cannot be loaded: {fault!r}")
            return None

    def save_overload(self, sig, data):
        compiled.append(f"{self._name}{sig}")
        if not self._enabled or data.library.has_dynamic_globals or data.lifted:
            return
        try:
            body = pickle.dumps(_bitcode_apart(data._reduce()), protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as fault:  # a result that cannot be stored can still be used
            _store.warn(f"{self._name} cannot be stored: {fault!r}")
            return
        _store.write(self._file(sig, data.codegen), body)


def _bitcode_apart(parts):
    """Return what rebuilds a compiled function with the names alone of what its bitcode defines, and the bitcode.

    Numba parses it whenever compiled code is loaded, though only what is compiled next needs it, to call the function:
    25 MB and 0.07 s of a process that trains.
    """
    (library, kind, content), *rest = parts
    if kind != "object":
        return parts, None
    code, bitcode = content
    module = llvm.parse_bitcode(bitcode)
    defined = [v.name for some in (module.functions, module.global_variables) for v in some if not v.is_declaration]
    # Numba takes down which symbols there are, of whatever kind.
    stand_in = llvm.parse_assembly("\n".join(f'@"{name}" = global i8 0' for name in defined))
    return ((library, kind, (code, stand_in.as_bitcode())), *rest), bitcode


def _build(function, parallel):
    options = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy", "boundscheck": None}
    dispatcher = njit(parallel=PARALLEL, **options)(function) if parallel else njit(**options)(function)
    subject = function.__module__.rsplit(".", 1)[-1]
    dispatcher._cache = _KernelCache(f"{subject}.{function.__name__}.{'parallel' if parallel else 'serial'}")
    return dispatcher


@functools.cache
def _name_runtime():
    """Make known the C functions of Numba's runtime, which loaded code calls.

    Numba's own caches load all its types and functions here and compile the rest of the runtime: a third of a second
    and 45 MB. Only compiling needs these, and sees to them by itself.
    """
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


_primitives = {}
_linked = set()


def primitive(layout):
    """Turn a function into one that kernels call as a C function, compiled once for each dtype.

    Numba copies what a kernel calls into the kernel and optimises it again, at every level of calls. For the few
    functions whose code is large that is most of the time to compile; behind a symbol they are compiled once (the
    training loop in 9 s instead of 40).

    Parameters
    ----------
    layout : str
        A letter for each argument of the function, see `_simd.external`; pointers come without their offsets.
    """

    def wrap(function):
        _primitives[function.__name__] = function, layout
        call = external(function.__name__, layout)
        call.__doc__ = function.__doc__
        return call

    return wrap


def _link(sig):
    """Define the symbols of all primitives for the dtypes that a signature names."""
    for ty in sig if isinstance(sig, tuple) else sig.args:
        dtype = getattr(ty, "dtype", None)
        if not isinstance(ty, types.Array) or not isinstance(dtype, types.Float):
            continue
        for name, (function, layout) in _primitives.items():
            if (name, dtype) in _linked:
                continue
            _linked.add((name, dtype))
            arguments = [types.CPointer(dtype) if letter == "p" else types.intp for letter in layout]
            build = CFunc(function, (tuple(arguments), types.void), {}, {"fastmath": FASTMATH, "error_model": "numpy"})
            build._cache = _KernelCache(f"{name}.{dtype}")
            build.compile()
            # The object keeps the code alive.
            _linked.add(build)
            llvm.add_symbol(f"fastnn_{name}_{dtype}", build.address)


class Kernel:
    """One kernel source with its two builds.

    Attributes
    ----------
    serial : numba dispatcher
        The build in which ``prange`` is ``range``. Calling the kernel calls this one.
    parallel : numba dispatcher
        The ``parallel=True`` build, made when it is first asked for.
    """

    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.py_func = function

    # Dispatchers are made when first asked for: a hundred of them would be a tenth of the time to import.
    @functools.cached_property
    def serial(self):
        return _build(self.py_func, parallel=False)

    @functools.cached_property
    def parallel(self):
        return _build(self.py_func, parallel=True)

    def entry(self, *args):
        """Return the compiled code of the serial build for arguments of exactly these types.

        It takes the types of what it is given for granted, 0.15 µs a call: the caller has to know them.
        """
        return self.serial.compile(tuple(numba.typeof(value) for value in args))

    def __call__(self, *args):
        return self.serial(*args)

    def __repr__(self):
        return f"<kernel {self.py_func.__module__}.{self.py_func.__name__}>"


@typeof_impl.register(Kernel)
def _typeof_kernel(value, context):
    # Inside another kernel a kernel is its serial build: work is split once, at the outermost loop.
    return types.Dispatcher(value.serial)


def kernel(function):
    """Turn a function over arrays into a `Kernel`; see the module's text."""
    return Kernel(function)
