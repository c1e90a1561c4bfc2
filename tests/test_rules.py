"""The house's rules, read from its source: who may import whom, what a kernel holds, how long a file is."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.extending import _Intrinsic

import fastnn
import fastnn.kernels
from fastnn.kernels._compile import Kernel

PACKAGE = Path(fastnn.__file__).parent
KERNELS = Path(fastnn.kernels.__file__).parent
KERNEL_FILES = sorted(KERNELS.glob("*.py"))
FILES = sorted(file for file in PACKAGE.rglob("*.py") if KERNELS not in file.parents)

# The floors of the house: a module imports from the floors below its own, and nothing beside it.
FLOORS = (
    {
        "_layout",
        "_checks",
        "_hold",
        "_array_steps",
        "_image_files",
        "_numpy_loop",
        "_schedule",
        "_telling",
        "threads",
        "history",
    },
    {"arrays", "_known", "_bar", "_machine"},
    {"base"},
    {"_optimizer", "initializers", "regularizers"},
    {"layers", "activations", "losses", "optimizers", "schedules", "metrics", "callbacks", "datasets"},
    {"_lowering", "_arguments", "_figures"},
    {"engine"},
    {"trainer", "_guard", "_order", "io"},
    {"fitting"},
    {"model"},
    {"plotting", "search", "many"},
    {"_warmup"},
    {"nnfs", "estimators", "cli"},
    {"__main__", "__init__"},
)
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}
# Upwards, and only inside a function: each with its reason.
UPWARDS: dict[tuple[str, str], str] = {}
# The only files that emit LLVM IR.
EMITTERS = ("_simd.py", "_simd_few.py", "_simd_gradient.py", "_simd_narrow.py", "_simd_shallow.py")
# The only files that deal with how kernels become machine code, and where it is kept.
COMPILERS = ("_compile.py", "_inside.py", "_builds.py")
PEERS = {"torch", "jax", "sklearn", "scipy", "pandas", "tensorflow", "onnx", "onnxruntime", "matplotlib"}
OUTSIDE = {"numpy", "numba", "tqdm", "safetensors"}


def tree(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def is_for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def nodes(root, inside_functions=True):
    """Walk a tree, leaving out what only type checkers read."""
    yield root
    for child in ast.iter_child_nodes(root):
        if is_for_types_only(child):
            continue
        if not inside_functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield from nodes(child, inside_functions)


def imports(file, package, inside_functions=True):
    """Return the full names of the modules that a file imports."""
    found = set()
    for node in nodes(tree(file), inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            parts = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join(parts + ([node.module] if node.module else []))
            # `from package import name` may mean a module of that name.
            found |= {f"{module}.{alias.name}" for alias in node.names} if is_ours(module) else {module}
    return found


def is_ours(module):
    """Whether a name is that of one of our packages, whose members may be modules."""
    place = module.removeprefix("fastnn").replace(".", "/").lstrip("/")
    return module.split(".")[0] == "fastnn" and (module == "fastnn.kernels" or (PACKAGE / place).is_dir())


def module_of(name):
    """Return the module of fastnn that a full name stands for: 'fastnn.arrays.as_inputs' is 'arrays'."""
    return name.split(".")[1] if "." in name else "__init__"


def own_name(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


# --- who imports whom ---


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down_the_floors(file):
    me = own_name(file)
    assert me in FLOOR, f"{me} has no floor yet: say in FLOORS what it stands on"
    package = ".".join(["fastnn", *file.relative_to(PACKAGE).parts[:-1]])
    for name in imports(file, package):
        if name.split(".")[0] != "fastnn":
            continue
        other = module_of(name)
        if other in ("kernels", me) or name == "fastnn":
            continue
        other = other if other in FLOOR else "__init__"
        if (me, other) in UPWARDS:
            assert name not in imports(file, package, inside_functions=False)
            continue
        assert FLOOR[other] < FLOOR[me], f"{me} imports {name}, which is not below it"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_what_is_declared_is_imported_at_import(file):
    for name in imports(file, "fastnn", inside_functions=False):
        top = name.split(".")[0]
        assert top in OUTSIDE | {"fastnn"} or top in sys.stdlib_module_names, f"{file.name} imports {name}"


@pytest.mark.parametrize("file", KERNEL_FILES, ids=lambda file: file.name)
def test_kernels_know_no_class(file):
    for name in imports(file, "fastnn.kernels"):
        top = name.split(".")[0]
        allowed = top in ("numpy", "numba", "llvmlite") or top in sys.stdlib_module_names
        assert allowed or name.startswith("fastnn.kernels."), f"{file.name} imports {name}"
        if top == "llvmlite":
            assert file.name in (*EMITTERS, *COMPILERS), f"{file.name} imports {name}"
        assert file.name in EMITTERS or name not in ("llvmlite.ir", "llvmlite.llvmpy"), file.name
    source = file.read_text(encoding="utf-8")
    if file.name not in EMITTERS:
        assert "from llvmlite import ir" not in source and "@intrinsic" not in source, file.name


def test_peers_are_not_imported():
    # What Numba itself brings along (SciPy, where it is there) is no doing of ours.
    code = f"""
import sys, numba, numpy, tqdm.auto
before = set(sys.modules)
import fastnn
print([name for name in {sorted(PEERS)} if name in sys.modules and name not in before])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# --- what a kernel holds ---


def kernel_modules():
    for file in KERNEL_FILES:
        if file.name not in ("__init__.py", *COMPILERS):
            yield importlib.import_module(f"fastnn.kernels.{file.stem}")


def definitions(module):
    """Yield the functions at a module's level, with the names of what they wear."""
    for node in tree(Path(inspect.getsourcefile(module))).body:
        if isinstance(node, ast.FunctionDef):
            worn = {ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list}
            yield node, worn


COMPILED = [
    (module, node)
    for module in kernel_modules()
    for node, worn in definitions(module)
    if worn & {"kernel", "inlined", "outlined", "primitive"}
]
compiled = pytest.mark.parametrize(
    ("module", "node"), COMPILED, ids=[f"{m.__name__.split('.')[-1]}.{n.name}" for m, n in COMPILED]
)
# Of NumPy, a kernel has the names of types, constants, and what is one instruction or a few.
NUMPY = {"int32", "int64", "uint64", "float32", "float64", "inf", "nan", "isfinite", "isnan", "pi"}
BUILTINS = {"range", "min", "max", "abs", "len", "int", "float", "bool"}


def test_there_are_kernels():
    names = {node.name for _, node in COMPILED}
    assert len(COMPILED) > 60
    assert names >= {"dense_forward", "run_chunk", "predict", "softmax_cross_entropy", "permutation"}


@compiled
def test_what_a_kernel_calls_is_compiled_too(module, node):
    own = {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
    for call in (part for line in node.body for part in ast.walk(line)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        name = call.func.id
        assert name not in own, f"{node.name} calls its argument {name}: 29 microseconds a call"
        if name in BUILTINS and name not in vars(module):
            continue
        target = getattr(module, name, None)
        assert isinstance(target, Kernel | _Intrinsic) or target is numba.prange, (
            f"{node.name} calls {name}, which is no kernel and no intrinsic"
        )


@compiled
def test_a_kernel_raises_nothing_and_makes_no_array(module, node):
    for part in ast.walk(node):
        assert not isinstance(part, ast.Raise | ast.Assert | ast.Try), f"{node.name}: {ast.unparse(part)}"
        assert not (isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult)), f"{node.name}: @"
        assert not isinstance(part, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.Lambda), node.name
        if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "np":
            assert part.attr in NUMPY, f"{node.name} uses np.{part.attr}"
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            # `np.int64(...)` is a cast; of arrays only what makes a view.
            method = part.func.attr
            assert method in NUMPY | {"reshape"}, f"{node.name} calls .{method}"


# Of the kernels with a parallel loop, those that do not take numbers below the least normal one for zero there: what
# they call does, or they are no part of a network's arithmetic.
MODE_WITHIN = {"run_book", "run_many", "run_chunk"}
NO_MODE = {
    "matmul", "exp", "log", "tanh", "sigmoid", "uniform", "normal", "row_keys", "rearrange", "multiply_add", "triad",
}  # fmt: skip


def called(node):
    return [n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]


def test_parallel_kernels_of_a_network_take_tiny_numbers_for_zero():
    """One that did not would give other bits than the others, and be many times slower with such numbers."""
    without = {
        node.name
        for _, node in COMPILED
        if "prange" in called(node)
        and not any("flush_tiny" in called(loop) for loop in ast.walk(node) if isinstance(loop, ast.For))
    }
    assert without == MODE_WITHIN | NO_MODE


@compiled
def test_a_kernel_gives_the_mode_back(module, node):
    names = called(node)
    assert names.count("flush_tiny") == names.count("as_before"), node.name


@compiled
def test_a_kernel_says_what_it_does(module, node):
    assert ast.get_docstring(node), f"{module.__name__}.{node.name} has no docstring"


def test_every_compiled_function_wears_the_decorator():
    """Nothing but these few files makes Numba compile, so that options and cache are the same for all."""
    for file in [*KERNEL_FILES, *FILES]:
        if file.name in COMPILERS:
            continue
        for node in ast.walk(tree(file)):
            name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)
            assert name not in ("njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "compile_extra"), (
                file.name
            )
    for module in kernel_modules():
        for name, value in vars(module).items():
            assert not isinstance(value, numba.core.dispatcher.Dispatcher), f"{module.__name__}.{name}"


def test_the_checks_can_fail():
    """A made-up kernel that breaks each rule is found out."""
    module = importlib.import_module("fastnn.kernels.gemm")
    for line in ("raise ValueError", "assert x", "y = np.zeros(3)", "y = x @ x", "y = x.copy()", "y = [x]"):
        node = ast.parse(f"def wrong(x):\n    {line}\n").body[0]
        with pytest.raises(AssertionError):
            test_a_kernel_raises_nothing_and_makes_no_array(module, node)
    for line in ("scratch_size(x, x, x)", "x(1)", "sorted(x)"):
        node = ast.parse(f"def wrong(x):\n    {line}\n").body[0]
        with pytest.raises(AssertionError):
            test_what_a_kernel_calls_is_compiled_too(module, node)


# --- how long a file is ---

# Longer than 250 lines a kernel file, and 350 any other, wants a reason; these have one.
LONGER = {
    "kernels/_simd.py": "the register tile, and what all that emits LLVM IR shares",
    "kernels/_simd_few.py": "what emits the loops of narrow layers, and what they share",
    "kernels/gemm.py": "the products and their shared tile walk",
    "model.py": "one class; two thirds of it says what the public methods take and give",
}


def test_files_read_well():
    lengths = {}
    for file in KERNEL_FILES:
        lengths[f"kernels/{file.name}"] = len(file.read_text(encoding="utf-8").splitlines()), 350
    for file in FILES:
        lengths[str(file.relative_to(PACKAGE))] = len(file.read_text(encoding="utf-8").splitlines()), 400
    too_long = {name: n for name, (n, most) in lengths.items() if n > most and name not in LONGER}
    assert not too_long, f"cut these in two: {too_long}"
    assert set(LONGER) <= set(lengths)


def test_numpy_is_all_that_the_twins_import():
    file = Path(__file__).with_name("reference.py")
    assert imports(file, "") == {"numpy"}
    assert np.__name__ == "numpy"
