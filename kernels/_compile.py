"""The decorators that kernels wear, and the builds that Python calls.

``@kernel`` gives a `Kernel`. Called from Python it runs its serial build; its parallel build is the one whose
``prange`` loops are spread over threads; used inside another kernel it is serial, and copied into it where LLVM sees
fit (see `_inside`). Nothing compiles before the first call.
"""

import functools

import llvmlite.binding as llvm
import numba
from numba import njit, types
from numba.core import compiler
from numba.core.caching import _Cache
from numba.core.runtime import _nrt_python
from numba.extending import typeof_impl

from ._builds import OPTIONS, PARALLEL, load, object_of, save, store
from ._inside import INLINED, OUTLINED, WITHIN, Inside, called_by, define, template


class _KernelCache(_Cache):
    """What a Numba dispatcher asks for compiled code, answered from the store."""

    def __init__(self, name):
        self._name, self._enabled = name, True

    @property
    def cache_path(self):
        return str(store.folder())

    def enable(self):
        self._enabled = True

    def disable(self):
        self._enabled = False

    def flush(self):
        """Nothing is held back: files are written as they come."""

    def load_overload(self, sig, target_context):
        _name_runtime()
        if not self._enabled:
            return None

        def rebuild(parts, called):
            define(called)
            return compiler.CompileResult._rebuild(target_context, *parts)

        return load(self._name, sig, rebuild)

    def save_overload(self, sig, data):
        def parts():
            _, *rest = data._reduce()
            return (object_of(data.library), *rest), called_by(data.library)

        keeps = self._enabled and not data.library.has_dynamic_globals and not data.lifted
        save(self._name, sig, parts if keeps else None)


def _build(function, parallel):
    if numba.config.DISABLE_JIT:
        raise RuntimeError("fastnn's kernels must be compiled, which NUMBA_DISABLE_JIT forbids: unset it")
    dispatcher = njit(parallel=PARALLEL, **OPTIONS)(function) if parallel else njit(**OPTIONS)(function)
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


class Kernel:
    """One kernel source with its builds.

    Attributes
    ----------
    serial : numba dispatcher
        The build in which ``prange`` is ``range``. Calling the kernel calls this one.
    parallel : numba dispatcher
        The ``parallel=True`` build, made when it is first asked for.
    """

    def __init__(self, function, way=WITHIN, layout=""):
        functools.update_wrapper(self, function)
        self.py_func = function
        self._way, self._layout, self._inside = way, layout, {}

    # Dispatchers are made when first asked for: a hundred of them would be a tenth of the time to import.
    @functools.cached_property
    def serial(self):
        return _build(self.py_func, parallel=False)

    @functools.cached_property
    def parallel(self):
        return _build(self.py_func, parallel=True)

    def inside(self, arguments):
        """Return the build that other kernels call with arguments of these types."""
        if arguments not in self._inside:
            self._inside[arguments] = Inside(self.py_func, arguments, self._way)
        return self._inside[arguments]

    @functools.cached_property
    def template(self):
        """What tells Numba how other kernels call this one."""
        return template(self.py_func, self._layout, self.inside)

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
    return types.Function(value.template)


def kernel(function):
    """Turn a function over arrays into a `Kernel`; see the module's text."""
    return Kernel(function)


def inlined(function):
    """Turn a function into a `Kernel` that is copied wherever another one calls it.

    For what is to be compiled once for each constant that it is called with.
    """
    return Kernel(function, INLINED)


def outlined(function):
    """Turn a function into a `Kernel` that others call through a symbol, compiled once for the types it is called with.

    For the large functions of which others are made: the call takes about 10 ns.
    """
    return Kernel(function, OUTLINED)


def primitive(layout):
    """Turn a function over pointers into a `Kernel` that others call through a symbol.

    For the innermost of what is outlined: an array is seven words to hand over, a pointer is one. Called for every
    eight rows of 8192 × 10, cross-entropy spent a third of its time on arrays handed over (Zen 3).

    Parameters
    ----------
    layout : str
        A letter for each argument of the function: ``p``, a pointer, for which callers write an array and an offset;
        ``i``, a number.
    """
    return functools.partial(Kernel, way=OUTLINED, layout=layout)
