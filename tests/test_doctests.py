"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import fastnn

MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(fastnn.__path__, "fastnn.")
    # Kernels are compiled functions, whose docstrings doctest does not see; __main__ would run.
    if not name.startswith("fastnn.kernels") and not name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["fastnn", *MODULES])
def test_examples(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "fastnn").startswith("fastnn"):
            raise
        pytest.skip(f"{name} needs {error.name}")
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0


def test_the_modules_are_found():
    assert {"fastnn.datasets", "fastnn.schedules"} <= set(MODULES)
