"""The compile cache: keyed by what shapes the code, never in the way, and nothing compiles unasked."""

import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numba import types

import fastnn
import fastnn.kernels
from fastnn.kernels import _cache, _inside

HOUSE = Path(fastnn.__file__).resolve().parents[1]
AS_ROOT = hasattr(os, "getuid") and os.getuid() == 0
NOBODY = 65534
posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
root = pytest.mark.skipif(not AS_ROOT, reason="only root can give folders to others")

# A kernel that is quick to compile and calls another file's; without an array there is no product to compile.
USE = """
from fastnn.kernels import _builds, dropout
answer = int(dropout.keep_bits(3, 2**31, 1, 2, 5))
"""
REPORT = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastnn
{body}
told = [str(w.message) for w in caught if w.category.__name__ == "CacheWarning"]
print(json.dumps(dict(answer=answer, compiled=_builds.compiled, told=told)))
"""


def child(code, cache, house=HOUSE, umask=-1, user=None, **environment):
    """Run code in a fresh Python with its cache in the folder `cache`."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(house), "FASTNN_CACHE_DIR": str(cache)} | environment,
        capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, cwd="/", umask=umask,
        user=user,
    )  # fmt: skip


def use(cache, body=USE, **settings):
    """Return what a fresh process's kernel answered, what it compiled, and what it warned of."""
    body = textwrap.indent(textwrap.dedent(body), "    ")
    done = child(REPORT.format(body=body), cache, **settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files(cache):
    return sorted(file for file in Path(cache).rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A filled cache and the right answer."""
    cache = tmp_path_factory.mktemp("filled") / "cache"
    return cache, use(cache)


@pytest.fixture
def filled(first, tmp_path):
    """A copy of the filled cache, and the right answer."""
    cache, report = first
    shutil.copytree(cache, tmp_path / "cache")
    return tmp_path / "cache", report["answer"]


def test_what_was_compiled_is_loaded_by_the_next(first):
    cache, report = first
    assert report["told"] == [] and len(report["compiled"]) >= 2
    assert any(name.startswith("dropout.keep_bits.serial(") for name in report["compiled"])
    assert len(files(cache)) == len(report["compiled"])
    again = use(cache)
    assert again == {"answer": report["answer"], "compiled": [], "told": []}


TOLD = """
import io, sys
import fastnn
from fastnn._bar import Bar
from fastnn._telling import telling
from fastnn.kernels import _builds, dropout

class Terminal(io.StringIO):
    def isatty(self):
        return True

def compile_something():
    dropout.keep_bits(3, 2**31, 1, 2, 5)

shown, said = sys.stderr, []
"""
AT_TERMINAL = "sys.stderr = Terminal()\n"
END = "\nanswer = [sys.stderr.getvalue() if sys.stderr is not shown else '', said]\n"


@pytest.mark.parametrize(
    ("code", "times"),
    [
        ("compile_something()", 0),
        (AT_TERMINAL + "compile_something()", 1),
        (AT_TERMINAL + "with Bar(3, False): compile_something()", 0),
        (AT_TERMINAL + "with Bar(3, None): compile_something()", 1),
        ("with Bar(3, None): compile_something()", 0),
        ("sys.stderr = io.StringIO()\nwith Bar(3, True): compile_something()", 1),
        (AT_TERMINAL + "with telling(None), Bar(3, True): compile_something()", 0),
        (AT_TERMINAL + "with telling(said.append), Bar(3, False): compile_something()", 1),
        (AT_TERMINAL + "with Bar(3, False): pass\ncompile_something()", 1),
        (AT_TERMINAL + "fastnn.warmup([])\ncompile_something()", 1),
        ("sys.stderr = None\ncompile_something()\nsys.stderr = shown", 0),
    ],
)
def test_who_waits_for_the_compiler_is_told_once(code, times, tmp_path):
    """A first fit waits for it for half a minute: whoever watches should know, and nobody else."""
    report = use(tmp_path, TOLD + code + END)
    assert len(report["compiled"]) >= 2
    written, said = report["answer"]
    assert written.count("compiling") + len(said) == times
    again = use(tmp_path, TOLD + code + END)
    assert again["compiled"] == [] and "compiling" not in again["answer"][0] and again["answer"][1] == []


def test_loading_does_without_what_compiling_needs(first):
    cache, report = first
    loaded = "import sys; answer = [answer, sorted(name for name in sys.modules if name.startswith('numba.np.linalg'))]"
    assert use(cache, USE + loaded) == {"answer": [report["answer"], []], "compiled": [], "told": []}


def test_loading_parses_no_bitcode_but_names(first):
    cache, report = first
    watch = """
        import llvmlite.binding as llvm
        parse, parsed = llvm.parse_bitcode, []
        def watched(bitcode, *rest):
            parsed.append(parse(bitcode, *rest))
            return parsed[-1]
        llvm.parse_bitcode = watched
    """
    bodies = "answer = [answer, len(parsed), sum(len(list(f.blocks)) for module in parsed for f in module.functions)]"
    answer, parsed, blocks = use(cache, textwrap.dedent(watch) + USE + bodies)["answer"]
    assert answer == report["answer"] and parsed > 0 and blocks == 0


def test_what_calls_loaded_code_can_still_be_compiled(filled):
    """Its callees' bitcode is parsed then."""
    cache, answer = filled
    (caller,) = (file for file in files(cache) if file.name.startswith("dropout.keep_bits.serial"))
    caller.unlink()
    report = use(cache)
    assert report["answer"] == answer and report["told"] == []
    assert [name.split("(")[0] for name in report["compiled"]] == ["dropout.keep_bits.serial"]
    assert use(cache)["compiled"] == []


# --- outlined kernels, which are machine code of their own ---

UPDATE = """
import numpy as np
from fastnn.kernels import _builds, optim
answer, none = np.ones(9), np.empty(0)
optim.update(optim.SGD, answer, np.arange(9.0), none, none, none, np.full(8, 0.5), 1)
answer = answer.tolist()
"""
UPDATED = [1.0 - 0.5 * i for i in range(9)]


@pytest.fixture(scope="module")
def updated(tmp_path_factory):
    """A cache that holds a kernel, and the outlined one that it calls."""
    cache = tmp_path_factory.mktemp("updated") / "cache"
    report = use(cache, UPDATE)
    assert report["answer"] == UPDATED and report["told"] == []
    assert {"optim.update.serial", "optim.update_block.outlined"} <= {n.split("(")[0] for n in report["compiled"]}
    return cache


def names_of(cache, start):
    return [file for file in files(cache) if file.name.startswith(start)]


def test_a_loaded_kernel_finds_what_it_calls(updated):
    assert use(updated, UPDATE) == {"answer": UPDATED, "compiled": [], "told": []}


@pytest.mark.parametrize("gone", ["optim.update_block.outlined", "optim.update.serial"])
def test_caller_or_called_can_be_compiled_anew(gone, updated, tmp_path):
    shutil.copytree(updated, tmp_path / "cache")
    (file,) = names_of(tmp_path / "cache", gone)
    file.unlink()
    report = use(tmp_path / "cache", UPDATE)
    assert report["answer"] == UPDATED and report["told"] == []
    assert [name.split("(")[0] for name in report["compiled"]] == [gone]
    assert use(tmp_path / "cache", UPDATE) == {"answer": UPDATED, "compiled": [], "told": []}


@pytest.mark.parametrize("start", ["optim.update_block.outlined", "optim.update.serial", "optim.update_run.inlined"])
def test_damage_to_any_of_them_is_mended(start, updated, tmp_path):
    shutil.copytree(updated, tmp_path / "cache")
    (damaged,) = names_of(tmp_path / "cache", start)
    spoil(damaged, "a bit flipped")
    if start.endswith("inlined"):
        # What it is a part of has to be compiled again, or nobody reads it.
        (whole,) = names_of(tmp_path / "cache", "optim.update_block.outlined")
        whole.unlink()
    report = use(tmp_path / "cache", UPDATE)
    assert report["answer"] == UPDATED and len(report["told"]) == 1
    assert start in [name.split("(")[0] for name in report["compiled"]]
    assert use(tmp_path / "cache", UPDATE) == {"answer": UPDATED, "compiled": [], "told": []}


def test_numbers_and_arrays_that_are_alike_take_the_same_build():
    array, fixed = types.Array(types.float32, 1, "C"), types.Array(types.float32, 1, "C", readonly=True)
    for given, plain in (
        (types.boolean, types.intp), (types.int32, types.intp), (types.intp, types.intp), (fixed, array),
        (array, array), (types.uint64, types.uint64), (types.float64, types.float64), (types.float32, types.float32),
    ):  # fmt: skip
        assert _inside._plain(given) == plain


def test_what_is_called_with_unlike_types_is_built_for_each(updated, tmp_path):
    shutil.copytree(updated, tmp_path / "cache")
    body = UPDATE.replace("np.ones(9)", "np.ones(9, 'f4')").replace("np.arange(9.0)", "np.arange(9, dtype='f4')")
    assert use(tmp_path / "cache", body.replace("np.empty(0)", "np.empty(0, 'f4')"))["answer"] == UPDATED
    assert len(names_of(tmp_path / "cache", "optim.update_block.outlined")) == 2


@posix
def test_the_folder_is_the_users_own(first):
    cache, _ = first
    for folder in (cache, *(f for f in cache.iterdir())):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    for file in files(cache):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


@posix
@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_a_fresh_cache_works_under_any_umask(umask, tmp_path):
    report = use(tmp_path / "new" / "cache", umask=umask)
    assert report["told"] == []
    assert len(files(tmp_path / "new")) == len(report["compiled"])


def test_importing_compiles_nothing_and_writes_nothing(tmp_path):
    body = """
        import importlib, pkgutil
        import fastnn.kernels
        from fastnn.kernels import _builds
        for package in (fastnn, fastnn.kernels):
            for found in pkgutil.iter_modules(package.__path__):
                if found.name not in ("__main__", "estimators"):
                    importlib.import_module(f"{package.__name__}.{found.name}")
        answer = 0
    """
    assert use(tmp_path / "cache", body) == {
        "answer": 0, "compiled": [], "told": [],
    }  # fmt: skip
    assert not (tmp_path / "cache").exists()


def test_nothing_compiles_after_warm_up():
    """With this test run's own cache, which a first process fills if nobody has."""
    body = """
        import numpy as np
        from fastnn.kernels import _builds
        fastnn.threads.STEP_WORK = 1.0
        X, y = fastnn.datasets.spiral_data(samples=20, classes=3, seed=0)
        for n_threads in (1, 2):
            model = fastnn.Sequential(fastnn.Dense(2, 8), fastnn.ReLU(), fastnn.Dense(8, 3), seed=0)
            model.fit(X, y, epochs=2, n_threads=n_threads)
            model.predict(X)
            answer = model.evaluate(X, y)["loss"]
    """
    from fastnn.kernels._builds import cache_root

    warm = use(cache_root(), body)
    assert use(cache_root(), body) == {"answer": warm["answer"], "compiled": [], "told": []}


# --- what the key holds ---


@pytest.fixture
def copied(tmp_path):
    """A copy of the source, laid out as an installed package."""
    house = tmp_path / "house"
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fastnn.__file__).parent, house / "fastnn", ignore=hidden, dirs_exist_ok=True)
    kernels = Path(fastnn.kernels.__file__).parent
    shutil.copytree(kernels, house / "fastnn" / "kernels", ignore=hidden, dirs_exist_ok=True)
    return house


def test_an_edited_callee_in_another_file_is_never_answered_from_the_cache(filled, copied):
    cache, answer = filled
    # The same source elsewhere: the same digest.
    assert use(cache, house=copied) == {"answer": answer, "compiled": [], "told": []}
    file = copied / "fastnn" / "kernels" / "rng.py"
    source = file.read_text()
    file.write_text(source + "\n\n@kernel\ndef rounds(c0, c1, c2, c3, k0, k1):\n    return c0, c0, c0, c0\n")
    edited = use(cache, house=copied)
    assert edited["answer"] != answer and edited["compiled"] and not edited["told"]
    assert use(cache, house=copied) == {"answer": edited["answer"], "compiled": [], "told": []}
    file.write_text(source)
    assert use(cache, house=copied) == {"answer": answer, "compiled": [], "told": []}


def test_options_that_shape_the_code_are_in_the_key(filled):
    cache, answer = filled
    report = use(cache, NUMBA_BOUNDSCHECK="1")
    assert report["answer"] == answer and report["compiled"]


# --- faults ---


def spoil(file, how):
    raw = file.read_bytes()
    file.write_bytes(
        {
            "empty": b"",
            "truncated": raw[: len(raw) // 2],
            "head only": raw[:20],
            "a bit flipped": raw[:-100] + bytes([raw[-100] ^ 1]) + raw[-99:],
            "rubbish": os.urandom(len(raw)),
            "longer": raw + b"x",
        }[how]
    )


@pytest.mark.parametrize("how", ["empty", "truncated", "head only", "a bit flipped", "rubbish", "longer"])
def test_a_damaged_file_is_compiled_anew(how, filled):
    cache, answer = filled
    for file in files(cache):
        spoil(file, how)
    report = use(cache)
    assert report["answer"] == answer and report["compiled"]
    assert len(report["told"]) == 1 and "damaged" in report["told"][0] and str(cache) in report["told"][0]
    assert use(cache) == {"answer": answer, "compiled": [], "told": []}


def test_a_file_that_another_version_wrote_whole_is_compiled_anew(filled):
    """Its hash is right, but nothing can be made of it."""
    import hashlib

    cache, answer = filled
    for file in files(cache):
        magic = file.read_bytes()[:-1].split(b"\n")[0] + b"\n"
        body = b"not a pickle"
        file.write_bytes(magic + hashlib.sha256(body).digest() + body)
    report = use(cache)
    assert report["answer"] == answer and report["compiled"] and len(report["told"]) == 1
    assert use(cache) == {"answer": answer, "compiled": [], "told": []}


def test_a_folder_where_a_file_should_be(filled):
    cache, answer = filled
    for file in files(cache):
        file.unlink()
        file.mkdir()
        (file / "x").touch()
    report = use(cache)
    assert report["answer"] == answer and len(report["told"]) == 1
    assert not [file for file in files(cache) if file.suffix == ".tmp"]


def left_out(cache, answer, **settings):
    """Check that a cache is left out with one warning that says where it is and what to do."""
    report = use(cache, **settings)
    assert report["answer"] == answer and report["compiled"]
    assert len(report["told"]) == 1 and "FASTNN_CACHE_DIR" in report["told"][0]
    return report["told"][0]


@pytest.mark.parametrize("place", ["the folder", "above it", "the digest's"])
def test_a_file_in_the_folders_place(place, first, tmp_path):
    cache, report = first
    target = tmp_path / "cache"
    if place == "the folder":
        target.write_text("mine")
    elif place == "above it":
        tmp_path.joinpath("file").write_text("mine")
        target = tmp_path / "file" / "cache"
    else:
        target.mkdir(mode=0o700)
        target.joinpath(next(cache.iterdir()).name).write_text("mine")
    left_out(target, report["answer"])
    assert [file.read_text() for file in files(tmp_path)] == ["mine"]


@posix
def test_a_folder_that_others_can_write_to_is_not_trusted(filled):
    cache, answer = filled
    cache.chmod(0o770)
    assert "can be written by other users" in left_out(cache, answer)
    cache.chmod(0o700)
    # The inner folder is ours to close again.
    inner = next(cache.iterdir())
    inner.chmod(0o777)
    report = use(cache)
    assert report["answer"] == answer and stat.S_IMODE(inner.stat().st_mode) == 0o700


@posix
@root
@pytest.mark.parametrize("inner", [False, True])
def test_a_folder_of_another_user_is_not_trusted(inner, filled):
    cache, answer = filled
    os.chown(next(cache.iterdir()) if inner else cache, NOBODY, NOBODY)
    assert "belongs to another user" in left_out(cache, answer)


@posix
@pytest.mark.parametrize("inner", [False, True])
def test_a_link_is_not_followed(inner, filled, tmp_path):
    cache, answer = filled
    place = next(cache.iterdir()) if inner else cache
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert "is not a folder" in left_out(cache, answer)


def reachable():
    """Whether another user could read the interpreter and the source."""
    python = Path(sys.executable)
    for place in (python, python.resolve(), Path(sys.prefix), Path(sys.base_prefix), HOUSE / "fastnn"):
        for folder in (place, *place.parents):
            if not folder.stat().st_mode & 0o005:
                return False
    return True


@posix
def test_an_unwritable_folder_is_left_out(first, tmp_path):
    target, settings = tmp_path / "cache", {}
    target.mkdir(mode=0o500)
    if AS_ROOT:  # to whom modes mean nothing
        if sys.platform == "linux":
            left_out("/proc/fastnn", first[1]["answer"])
        if not reachable():
            pytest.skip("another user could not read the source")
        for folder in tmp_path.parents:
            if folder.stat().st_uid == os.getuid() and "pytest" in folder.name:
                folder.chmod(folder.stat().st_mode | 0o005)
        tmp_path.chmod(0o755)
        os.chown(target, NOBODY, NOBODY)
        settings["user"] = NOBODY
    left_out(target, first[1]["answer"], **settings)
    assert not files(target)


@posix
def test_a_full_disk_leaves_nothing_half_written(first, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    report = use(tmp_path / "cache", limit + USE)
    assert report["answer"] == first[1]["answer"] and len(report["told"]) == 1
    assert all(file.stat().st_size < 4096 and file.suffix != ".tmp" for file in files(tmp_path))
    again = use(tmp_path / "cache")
    assert again["answer"] == first[1]["answer"] and again["told"] == []


def test_a_home_that_cannot_be_found(first, tmp_path):
    report = use(tmp_path, FASTNN_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "xdg"), HOME=str(tmp_path))
    assert report["answer"] == first[1]["answer"] and report["told"] == []
    if sys.platform == "linux":
        assert files(tmp_path / "xdg" / "fastnn")
    report = use(tmp_path, FASTNN_CACHE_DIR="~no_such_user_at_all/cache")
    assert report["answer"] == first[1]["answer"] and len(report["told"]) == 1


def test_several_processes_at_once_on_an_empty_cache(first, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: use(tmp_path / "cache"), range(4)))
    assert {report["answer"] for report in reports} == {first[1]["answer"]}
    assert not any(report["told"] for report in reports)
    assert all(file.suffix == ".bin" for file in files(tmp_path / "cache"))
    assert use(tmp_path / "cache") == {"answer": first[1]["answer"], "compiled": [], "told": []}


def test_a_relative_folder_is_where_it_was_at_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = _cache.Store(lambda: Path("here") / "inner")
    assert store.folder() == tmp_path / "here" / "inner"
    monkeypatch.chdir("/")
    store.write("a.bin", b"b")
    assert store.read("a.bin") == b"b" and store.fault is None


def test_without_a_compiler_there_is_a_word(tmp_path):
    done = child("import fastnn; fastnn.Dense(2, 3).forward([[1.0, 2.0]])", tmp_path, NUMBA_DISABLE_JIT="1")
    assert done.stderr.strip().endswith(
        "RuntimeError: fastnn's kernels must be compiled, which NUMBA_DISABLE_JIT forbids: unset it"
    )


FORKS = """
import os, threading, time
import numpy as np
from fastnn.kernels import _builds, dropout
from numba.core.compiler_lock import global_compiler_lock
inside = threading.Event()
def hold():
    with global_compiler_lock, _builds.store.lock:
        inside.set()
        time.sleep(0.5)
threading.Thread(target=hold).start()
inside.wait()
child = os.fork()
if not child:
    os._exit(int(dropout.keep_bits(3, 2**31, 1, 2, 5)) != answer)
_, status = os.waitpid(child, 0)
answer = os.waitstatus_to_exitcode(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_wait_for_a_thread_that_it_has_not(tmp_path):
    body = "answer = int(dropout.keep_bits(3, 2**31, 1, 2, 5))"
    done = child(FORKS.replace("inside = ", f"{body}\ninside = ", 1) + "print(answer)", tmp_path)
    assert done.stdout.strip() == "0", done.stderr


PRESSED = """
import signal, sys
import numpy as np
from fastnn.kernels import _builds, dropout
import fastnn
signal.signal(signal.SIGINT, signal.default_int_handler)
seen, found = [], []
def watch(frame, event, argument):
    # Where Numba's registries are read: a generator that an exception leaves is of no more use.
    if event == "call" and frame.f_code.co_name == "stream_list" and not seen:
        seen.append(signal.raise_signal(signal.SIGINT))
sys.setprofile(watch)
for _ in range(2):
    try:
        found.append(int(dropout.keep_bits(3, 2**31, 1, 2, 5)))
    except KeyboardInterrupt:
        found.append("Ctrl-C")
    sys.setprofile(None)
print(found[0], isinstance(found[1], int), len(seen))
"""


def test_ctrl_c_leaves_numba_whole(tmp_path):
    done = child(PRESSED, tmp_path)
    assert done.stdout.strip() == "Ctrl-C True 1", done.stderr


WARNS = """
import os, warnings
from fastnn.kernels import _builds, dropout
ends = []
def show(*about, **more):
    child = os.fork()
    if not child:
        os._exit(7)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
warnings.showwarning = show
print(int(dropout.keep_bits(3, 2**31, 1, 2, 5)) >= 0, ends, _builds._held)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_who_is_warned_may_fork():
    done = child(WARNS, "/proc/nowhere")
    assert done.stdout.strip() == "True [7] []", done.stderr


STOPPED = """
import os, signal, threading
from fastnn.kernels import _builds
from numba.core.compiler_lock import global_compiler_lock
signal.signal(signal.SIGINT, signal.default_int_handler)
got, done = threading.Event(), threading.Event()
def hold():
    with global_compiler_lock:
        got.set()
        done.wait()
threading.Thread(target=hold).start()
got.wait()
threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
threading.Timer(0.9, done.set).start()
child = os.fork()
if not child:
    os._exit(0)
status = os.waitpid(child, 0)[1]
done.wait()
print(status, _builds._held, _builds.store.lock.locked())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_whose_wait_is_cut_short_gives_back_what_it_has(tmp_path):
    finished = child(STOPPED, tmp_path)
    assert finished.stdout.strip() == "0 [] False" and "release unlocked" not in finished.stderr, finished.stderr
