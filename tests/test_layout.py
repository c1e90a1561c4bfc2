"""The kernels are found as fastnn.kernels from everywhere, and under no other name."""

import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import fastnn
from fastnn import _layout

REPOSITORY = Path(__file__).resolve().parents[1]
PROBE = "def where():\n    return __name__, where.__code__.co_filename\n"


def run(code, *flags, cwd=REPOSITORY):
    """Run `code` in a fresh Python; with the flags -I -S it sees neither installs nor the environment."""
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def write_tree(root, kernels, *, pyproject=True):
    """Write a small project that has the real _layout.py, and kernels in the folder `kernels`."""
    package = root / "fastnn"
    package.mkdir(parents=True)
    shutil.copy(_layout.__file__, package / "_layout.py")
    (package / "__init__.py").write_text("from fastnn._layout import locate_kernels\nlocate_kernels()\n")
    if kernels is not None:
        write_kernels(root / kernels)
    if pyproject:
        (root / "pyproject.toml").touch()
    return root


def write_kernels(folder):
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "_compile.py").write_text(PROBE)


def ask(root, before=""):
    """Import the kernels of the tree at `root`, from elsewhere, and return their name and file."""
    code = f"import sys; sys.path.insert(0, {str(root)!r}); {before}\n"
    code += "import fastnn.kernels._compile as found; print(*found.where(), sep='|')"
    done = run(code, "-I", "-S", cwd=root.parent)
    assert done.returncode == 0, done.stderr
    return tuple(done.stdout.strip().split("|"))


@pytest.mark.parametrize("statement", ["import kernels", "import kernels._compile", "from kernels import gemm"])
def test_another_name_is_refused(statement):
    done = run(statement)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: this package was imported as 'kernels'")
    assert "collides with another distribution" in last
    assert "import fastnn.kernels" in last


@pytest.mark.skipif(not Path(fastnn.__file__).is_relative_to(REPOSITORY), reason="another copy of fastnn is installed")
def test_the_right_name_works_from_the_repository_root():
    done = run("import fastnn.kernels as k; print(k.__name__, k.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["fastnn.kernels", str(REPOSITORY / "kernels" / "__init__.py")]


def test_kernels_alone_do_not_import_numba():
    done = run(
        """
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("fastnn.kernels", "kernels/__init__.py")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        print([name for name in ("numba", "llvmlite", "numpy") if name in sys.modules])
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_source_tree_without_an_install(tmp_path):
    root = write_tree(tmp_path / "tree", "kernels")
    assert ask(root) == ("fastnn.kernels._compile", str(root / "kernels" / "_compile.py"))


def test_source_tree_beats_the_editable_install_of_another_tree(tmp_path):
    root = write_tree(tmp_path / "tree", "kernels")
    write_kernels(tmp_path / "other")
    # What an editable install leaves behind: a finder at the end of the line that maps the name.
    before = f"""
import importlib.util
class Mapping:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "fastnn.kernels":
            folder = {str(tmp_path / "other")!r}
            return importlib.util.spec_from_file_location(
                name, folder + "/__init__.py", submodule_search_locations=[folder])
sys.meta_path.append(Mapping)
"""
    assert ask(root, before)[1] == str(root / "kernels" / "_compile.py")


@pytest.mark.parametrize("pyproject", [False, True])
def test_installed_package_ignores_a_stranger_beside_it(tmp_path, pyproject):
    root = write_tree(tmp_path / "site", "fastnn/kernels", pyproject=pyproject)
    write_kernels(root / "kernels")
    assert ask(root)[1] == str(root / "fastnn" / "kernels" / "_compile.py")


@pytest.mark.parametrize("stranger", [False, True])
def test_missing_kernels_name_the_remedy(tmp_path, stranger):
    root = write_tree(tmp_path / "site", "kernels" if stranger else None, pyproject=False)
    done = run(f"import sys; sys.path.insert(0, {str(root)!r}); import fastnn", "-I", "-S", cwd=tmp_path)
    assert done.returncode != 0
    assert "reinstall it with: python -m pip install" in done.stderr


def test_asking_again_changes_nothing():
    first = _layout.locate_kernels()
    line = list(sys.meta_path)
    assert _layout.locate_kernels() == first
    assert sys.meta_path == line
    assert first == Path(sys.modules["fastnn.kernels"].__file__).parent


def test_every_package_on_disk_is_named_in_pyproject():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    on_disk = {"fastnn.kernels"}
    for file in (REPOSITORY / "fastnn").rglob("__init__.py"):
        on_disk.add(".".join(file.parent.relative_to(REPOSITORY).parts))
    assert set(settings["packages"]) == on_disk
    assert (REPOSITORY / "fastnn" / "py.typed").is_file()
