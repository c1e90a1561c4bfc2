"""Find ``fastnn.kernels`` when fastnn runs straight from a source tree.

In a wheel the kernels lie in ``fastnn/kernels`` and Python finds them unaided. In the source tree they
lie beside the package, in ``../kernels``. An editable install maps them, but only for the tree it was made
from: with the repository root on ``sys.path`` (``python -m pytest``, a script run there) and no install, or
a wheel or another checkout installed, the import would fail, or worse, pair this tree's classes with
other kernels. One finder for one name settles all of these alike.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import final

__all__ = ["locate_kernels"]

_NAME = "fastnn.kernels"


@final
class _KernelsFinder(importlib.abc.MetaPathFinder):
    """Answer for the name ``fastnn.kernels`` alone; its modules are then found through its ``__path__``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _NAME:
            return None
        # The spec carries real file names, which Numba's cache and tracebacks rely on.
        return importlib.util.spec_from_file_location(
            fullname, self.folder / "__init__.py", submodule_search_locations=[str(self.folder)]
        )


def locate_kernels() -> Path:
    """Make ``import fastnn.kernels`` work from a wheel, an editable install and a bare source tree.

    Call it before anything imports ``fastnn.kernels``. It imports nothing, and calling it again changes
    nothing.

    Returns
    -------
    pathlib.Path
        The folder that holds the kernels' sources.

    Raises
    ------
    ImportError
        If neither place holds them, which means a damaged installation.

    Examples
    --------
    >>> from fastnn._layout import locate_kernels
    >>> (locate_kernels() / "_compile.py").is_file()
    True
    """
    package = Path(__file__).resolve().parent
    inside = package / "kernels"
    if (inside / "__init__.py").is_file():
        return inside
    beside = package.parent / "kernels"
    # pyproject.toml tells our source tree from a stranger's "kernels" next to us in site-packages.
    if not ((beside / "_compile.py").is_file() and (package.parent / "pyproject.toml").is_file()):
        # A frozen application, say, has its own importer: ask it before giving up.
        spec = importlib.util.find_spec(_NAME)
        if spec is None or not spec.submodule_search_locations:
            raise ImportError(
                f"fastnn's kernels are missing: looked in {inside} and {beside}; the installation is "
                'damaged, reinstall it with: python -m pip install --force-reinstall "fastnn-numba"',
                name=_NAME,
            )
        return Path(next(iter(spec.submodule_search_locations)))
    known = [finder for finder in sys.meta_path if isinstance(finder, _KernelsFinder)]
    if not any(finder.folder == beside for finder in known):
        # First in line, because the finder of an editable install may point at another checkout.
        sys.meta_path.insert(0, _KernelsFinder(beside))
    return beside
