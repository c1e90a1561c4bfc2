"""The book's pickles, read by a machine that knows no code: it can build our classes and arrays, and nothing else.

``pickle`` runs what a file names. Here a file's instructions are read one by one with ``pickletools``, which executes
nothing, and obeyed by a stack machine in which a class or function of the file is only its name. A call of a name
is an inert record; when all is read, the few records that mean something become arrays and the book's objects, and
any other is refused. Memory is bounded by the file's length, because every array must bring its bytes.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from typing import Any, Literal

import numpy as np

from fastnn.arrays import Array
from fastnn.nnfs._common import Part
from fastnn.nnfs.accuracy import Accuracy, Accuracy_Categorical, Accuracy_Regression
from fastnn.nnfs.activations import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
)
from fastnn.nnfs.joint import (
    Activation_Sigmoid_Loss_BinaryCrossentropy,
    Activation_Softmax_Loss_CategoricalCrossentropy,
)
from fastnn.nnfs.layers import Layer_Dense
from fastnn.nnfs.losses import (
    Loss,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
)
from fastnn.nnfs.optimizers import Optimizer_Adagrad, Optimizer_Adam, Optimizer_RMSprop, Optimizer_SGD
from fastnn.nnfs.passing import Layer_Dropout, Layer_Input

__all__ = ["read_pickle"]

CLASSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Layer_Dense, Layer_Dropout, Layer_Input, Activation_ReLU, Activation_Softmax, Activation_Sigmoid,
        Activation_Linear, Activation_Softmax_Loss_CategoricalCrossentropy, Activation_Sigmoid_Loss_BinaryCrossentropy,
        Optimizer_SGD, Optimizer_Adagrad, Optimizer_RMSprop, Optimizer_Adam, Loss, Loss_CategoricalCrossentropy,
        Loss_BinaryCrossentropy, Loss_MeanSquaredError, Loss_MeanAbsoluteError, Accuracy, Accuracy_Categorical,
        Accuracy_Regression,
    )
}  # fmt: skip
CLASSES |= {name.replace("Optimizer_", "Optimiser_"): kind for name, kind in CLASSES.items() if "Optimizer" in name}

_NUMPY = re.compile(r"numpy(\.(core|_core)(\.(multiarray|numeric))?)?")
_DTYPE = re.compile(r"[<>|=]?([biuf])([1248])")
_DEEPEST = 200


class _Name:
    """A class or a function of the file: a name."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def is_numpy(self, name: str) -> bool:
        return self.name == name and _NUMPY.fullmatch(self.module) is not None


class _Made:
    """What a call of a name would have made."""

    def __init__(self, maker: _Name, arguments: tuple[Any, ...]) -> None:
        self.maker, self.arguments = maker, arguments
        self.state: Any = None


_MARK = object()


def _fail(what: str) -> ValueError:
    return ValueError(
        f"the file is no pickle of the book's models or parameters: {what}. If you trust where it is from, load it "
        "with the classes that wrote it and save its parameters as .npz"
    )


class _Machine:
    """The stack machine; one method or branch for each kind of instruction."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack:
            raise _fail("it takes from an empty stack")
        return self.stack.pop()

    def to_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                found = self.stack[i + 1 :]
                del self.stack[i:]
                return found
        raise _fail("a mark is missing")

    def top(self, kind: type[Any]) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise _fail(f"a {kind.__name__} is missing")
        return self.stack[-1]

    def fill(self, items: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise _fail("a dictionary has keys that are no strings")
            target[key] = value

    def call(self, maker: Any, arguments: Any) -> None:
        if not isinstance(maker, _Name) or type(arguments) is not tuple:
            raise _fail("it calls what has no name")
        if maker.module in ("copyreg", "copy_reg") and maker.name == "_reconstructor" and len(arguments) == 3:
            maker, arguments = arguments[0], ()
            if not isinstance(maker, _Name):
                raise _fail("it calls what has no name")
        if (maker.module, maker.name) == ("_codecs", "encode") and len(arguments) == 2:
            text, how = arguments
            if not isinstance(text, str) or how not in ("latin1", "latin-1"):
                raise _fail("bytes are encoded in a way NumPy does not")
            self.stack.append(text.encode("latin-1"))
            return
        self.stack.append(_Made(maker, arguments))

    def obey(self, name: str, arg: Any) -> None:
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _VALUES:
            stack.append(arg)
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            if not stack:
                raise _fail("it remembers nothing")
            self.memo[len(self.memo) if name == "MEMOIZE" else int(arg)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if int(arg) not in self.memo:
                raise _fail("it recalls what it has not stored")
            stack.append(self.memo[int(arg)])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            self.pop()
        elif name == "POP_MARK":
            self.to_mark()
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            items = [self.pop() for _ in range(count)]
            stack.append(tuple(reversed(items)))
        elif name == "TUPLE":
            stack.append(tuple(self.to_mark()))
        elif name == "LIST":
            stack.append(self.to_mark())
        elif name == "APPEND":
            value = self.pop()
            self.top(list).append(value)
        elif name == "APPENDS":
            items = self.to_mark()
            self.top(list).extend(items)
        elif name == "DICT":
            items = self.to_mark()
            stack.append({})
            self.fill(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if name == "SETITEM" else self.to_mark()
            if len(items) % 2:
                raise _fail("a value is missing")
            self.fill(items)
        elif name == "GLOBAL":
            stack.append(_Name(*arg.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            last, module = self.pop(), self.pop()
            if not (isinstance(last, str) and isinstance(module, str)):
                raise _fail("a name is no string")
            stack.append(_Name(module, last))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = self.pop()
            self.call(self.pop(), arguments)
        elif name == "BUILD":
            state = self.pop()
            self.top(_Made).state = state
        else:
            raise _fail(f"it has the instruction {name}")


_CONSTANTS: dict[str, Any] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list,
    "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple,
}  # fmt: skip
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip


class _Builder:
    """Turns what the machine left behind into arrays and objects."""

    def __init__(self, classes: dict[str, type[Any]]) -> None:
        self.classes = classes
        self.done: dict[int, Any] = {}

    def dtype(self, made: Any) -> np.dtype[Any]:
        if not isinstance(made, _Made) or not made.maker.is_numpy("dtype") or not made.arguments:
            raise _fail("an array has no dtype")
        code, state = made.arguments[0], made.state
        match = _DTYPE.fullmatch(code.decode("ascii", "replace") if isinstance(code, bytes) else str(code))
        if match is None or (match[1], match[2]) in (("f", "1"), ("b", "2"), ("b", "4"), ("b", "8")):
            raise _fail(f"an array has the dtype {str(code)[:20]!r}")
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
        order = order.decode("ascii", "replace") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise _fail("an array has no byte order")
        return np.dtype(order.replace("|", "=") + match[1] + match[2])

    @staticmethod
    def _bytes(raw: Any) -> bytes:
        if isinstance(raw, str):  # Python 2 wrote text
            raw = raw.encode("latin-1", "replace")
        if not isinstance(raw, (bytes, bytearray)):
            raise _fail("an array has no bytes")
        return bytes(raw)

    def _array(self, shape: Any, dtype: np.dtype[Any], raw: Any, order: Literal["C", "F"]) -> Array:
        if not (isinstance(shape, tuple) and len(shape) <= 8 and all(type(n) is int and n >= 0 for n in shape)):
            raise _fail("an array has no shape")
        raw = self._bytes(raw)
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise _fail("an array's bytes do not fit its shape")
        flat = np.frombuffer(raw, dtype).astype(np.dtype(f"{dtype.kind}{dtype.itemsize}"))
        return np.ascontiguousarray(flat.reshape(shape, order=order)) if shape else flat.reshape(())

    def numpy(self, made: _Made) -> Any:
        maker, arguments, state = made.maker, made.arguments, made.state
        if maker.is_numpy("_reconstruct"):
            if not (isinstance(state, tuple) and len(state) == 5):
                raise _fail("an array has no state")
            return self._array(state[1], self.dtype(state[2]), state[4], "F" if state[3] else "C")
        if maker.is_numpy("_frombuffer") and len(arguments) == 4:
            return self._array(
                arguments[2], self.dtype(arguments[1]), arguments[0], "F" if arguments[3] == "F" else "C"
            )
        if maker.is_numpy("scalar") and len(arguments) == 2:
            return self._array((), self.dtype(arguments[0]), arguments[1], "C")[()]
        raise _fail(f"it names {maker.module[:40]}.{maker.name[:40]}")

    def real(self, value: Any, depth: int = 0) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if depth > _DEEPEST:
            raise _fail("it is nested too deeply")
        if id(value) in self.done:
            return self.done[id(value)]
        result: Any
        if isinstance(value, _Made):
            kind = self.classes.get(value.maker.name)
            if kind is None or _NUMPY.fullmatch(value.maker.module):
                result = self.done[id(value)] = self.numpy(value)
                return result
            if value.arguments:
                raise _fail(f"a {value.maker.name[:40]} is made with arguments")
            result = self.done[id(value)] = object.__new__(kind)
            state = {} if value.state is None else value.state
            if type(state) is not dict:
                raise _fail(f"a {value.maker.name[:40]} has no attributes")
            for name, item in state.items():
                if name.startswith("_") or not name.isidentifier() or callable(getattr(kind, name, None)):
                    raise _fail(f"a {value.maker.name[:40]} has the attribute {name[:40]!r}")
                setattr(result, name, self.real(item, depth + 1))
            return result
        if isinstance(value, list):
            result = self.done[id(value)] = []
            result.extend(self.real(item, depth + 1) for item in value)
        elif isinstance(value, tuple):
            result = self.done[id(value)] = tuple(self.real(item, depth + 1) for item in value)
        elif isinstance(value, dict):
            result = self.done[id(value)] = {}
            result.update({name: self.real(item, depth + 1) for name, item in value.items()})
        else:
            raise _fail("it holds bare names or bytes")
        return result


def read_pickle(raw: bytes, model: type[Part]) -> Any:
    """Return what a pickle of the book holds: lists, tuples, numbers, arrays, and the book's objects.

    Parameters
    ----------
    raw : bytes
        The file's content.
    model : type
        What the file's ``Model`` becomes.

    Raises
    ------
    ValueError
        If there is anything else in it. None of it has been run, then or otherwise.

    Examples
    --------
    >>> import pickle
    >>> from fastnn.nnfs import Model
    >>> from fastnn.nnfs.pickles import read_pickle
    >>> read_pickle(pickle.dumps([1.0, (2, "three")]), Model)
    [1.0, (2, 'three')]
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            # Of odd escapes in a damaged file's strings: it is refused, or they are names that mean nothing.
            warnings.simplefilter("ignore")
            for opcode, arg, _ in pickletools.genops(raw):
                if opcode.name == "STOP":
                    break
                machine.obey(opcode.name, arg)
    except (ValueError, UnicodeError, OverflowError, MemoryError) as error:
        if str(error).startswith("the file is no pickle"):
            raise
        raise _fail(f"it is damaged ({error})") from error
    if len(machine.stack) != 1:
        raise _fail("it does not end in one object")
    try:
        return _Builder({**CLASSES, "Model": model}).real(machine.pop())
    except RecursionError:
        raise _fail("it is nested too deeply") from None
