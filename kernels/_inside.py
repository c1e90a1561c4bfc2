"""What a kernel is to other kernels: code that is copied into them, or a symbol that they call.

Numba makes a whole build of each function that another one calls, and copies the callee's code, optimised, into the
caller's, where it is optimised again, at every level of calls: for a training loop that is nearly all of the time to
compile. Here only what Python calls, and what is outlined, becomes machine code; what lies between is kept as it is
written and optimised once, where it ends up (all that a network of 784-128-128-10 takes: 134 -> 33 s).
"""

import hashlib
import importlib
import inspect

import llvmlite.binding as llvm
from numba import types
from numba.core import cgutils, compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.typing.templates import make_intrinsic_template

from ._builds import OPTIONS, load, object_of, save
from ._simd import element

WITHIN, INLINED, OUTLINED = "within", "inlined", "outlined"
"""Ways to be called: copied where LLVM sees fit, always copied, never copied."""
_symbols = {}
"""What each symbol that machine code may refer to stands for: (module, name, argument types) of a kernel."""


def called_by(library):
    """Return what the symbols that a library's code refers to stand for."""
    return [_symbols[f.name] for f in library._final_module.functions if f.is_declaration and f.name in _symbols]


def define(called):
    """Define the symbols that stand for what `called_by` has returned."""
    for module, name, arguments in called:
        getattr(importlib.import_module(module), name).inside(arguments)


class _Code(JITCodeLibrary):
    """Code that other kernels call, optimised once.

    Numba goes over it function by function before, and then cheaply for the sake of its reference counts, of which
    kernels have none (a first fit of 64-100-10: 28 -> 25 s).
    """

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        passes, options = self._codegen._module_pass_manager()
        passes.run(self._final_module, options)


class _Part(_Code):
    """Code that becomes machine code only as a part of other code, where it is optimised and emitted."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True


class Inside:
    """One kernel inside others, for arguments of certain types.

    Attributes
    ----------
    result : Numba type
        What it returns.
    library, descriptor
        Numba's library of its code, and its description of the function.
    symbol : str or None
        What callers call, if the kernel is outlined.
    """

    def __init__(self, function, arguments, way):
        subject = function.__module__.rsplit(".", 1)[-1]
        self._name, self._arguments, self._way = f"{subject}.{function.__name__}.{way}", arguments, way
        self.symbol = None
        if way == OUTLINED:
            self.symbol = f"fastnn_{self._name}_{hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]}"
            _symbols[self.symbol] = function.__module__, function.__name__, arguments
        with global_compiler_lock:
            if not load(self._name, arguments, self._rebuild):
                self._compile(function)
                save(self._name, arguments, None if self.library.has_dynamic_globals else self._parts)
            if self.symbol is not None:
                address = self.library.get_pointer_to_function(self.descriptor.llvm_func_name)
                llvm.add_symbol(self.symbol, address)

    def _compile(self, function):
        flags = compiler.Flags()
        cpu_target.options.parse_as_flags(flags, {"nopython": True, **OPTIONS})
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        # Kernels make no arrays, and hold none longer than their callers do: nothing is to be counted.
        flags.nrt = False
        flags.forceinline = self._way == INLINED
        context = cpu_target.target_context
        self.library = (_Code if self.symbol else _Part)(context.codegen(), self._name)
        self.library.enable_object_caching()
        result = compiler.compile_extra(
            cpu_target.typing_context, context, function, self._arguments, None, flags, {}, library=self.library
        )
        self.library.finalize()
        self.descriptor, self.result = result.fndesc, result.signature.return_type

    def _parts(self):
        # What Numba knew of the function's insides may be what cannot be kept, and is not needed.
        self.descriptor.typemap = self.descriptor.calltypes = None
        library = object_of(self.library) if self.symbol else self.library.serialize_using_bitcode()
        return library, self.descriptor, self.result, called_by(self.library)

    def _rebuild(self, library, descriptor, result, called):
        define(called)
        codegen = cpu_target.target_context.codegen()
        if self.symbol:
            rebuilt = codegen.unserialize_library(library)
        else:
            name, _, bitcode = library
            rebuilt = _Part(codegen, name)
            rebuilt._final_module = llvm.parse_bitcode(bitcode)
            rebuilt._finalize_final_module()
        self.library, self.descriptor, self.result = rebuilt, descriptor, result
        return self

    def call(self, context, builder, args):
        """Emit a call, and return its result."""
        if self.symbol is None:
            context.add_linking_libs([self.library])
            function = context.declare_function(builder.module, self.descriptor)
        else:
            kind = context.call_conv.get_function_type(self.result, self._arguments)
            function = cgutils.get_or_insert_function(builder.module, kind, self.symbol)
        status, result = context.call_conv.call_function(builder, function, self.result, self._arguments, args)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return result


def _plain(ty):
    """Return the type that a kernel is built for: one for whole numbers alike, and for arrays, read-only or not."""
    if isinstance(ty, types.Boolean) or isinstance(ty, types.Integer) and ty.signed:
        return types.intp
    return types.Array(ty.dtype, ty.ndim, ty.layout) if isinstance(ty, types.Array) else ty


def template(function, layout, inside):
    """Return what tells Numba how a kernel is called.

    Parameters
    ----------
    function : function
        The kernel's source.
    layout : str
        Empty, or a letter for each argument: ``i``, or ``p`` where the kernel takes a pointer and the caller writes two
        arguments, an array and an offset.
    inside : callable
        Returns the `Inside` for a tuple of argument types.
    """
    letters = layout.replace("p", "p+") or "i" * len(inspect.signature(function).parameters)

    def call(typingctx, *given):
        plain = tuple(
            types.CPointer(ty.dtype) if letter == "p" else _plain(ty)
            for letter, ty in zip(letters, given, strict=True)
            if letter != "+"
        )
        build = inside(plain)

        def codegen(context, builder, sig, args):
            values = []
            for i, letter in enumerate(letters):
                if letter == "p":
                    offset = context.cast(builder, args[i + 1], given[i + 1], types.intp)
                    values.append(element(context, builder, given[i], args[i], offset))
                elif letter == "i":
                    to = plain[len(values)]
                    same = isinstance(to, types.Array)
                    values.append(args[i] if same else context.cast(builder, args[i], given[i], to))
            return build.call(context, builder, values)

        return build.result(*given), codegen

    # Numba asks the function for its arguments.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["typingctx", *(f"a{i}" for i in range(len(letters)))]
    if not layout:
        names[1:] = inspect.signature(function).parameters
    call.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])
    return make_intrinsic_template(function, call, function.__name__)
