"""What the benchmarks share. Nothing here imports fastnn or runs before a benchmark asks for it."""

import functools
import importlib.util
import os
import sys
from pathlib import Path

_BENCH = Path(__file__).resolve().parents[1]
# asv runs the benchmarks of the present checkout against the fastnn it has installed: only the folders of the
# registry and of the peers' steps are added, never the repository's root, whose fastnn would take its place.
for _folder in (_BENCH, _BENCH.parent / "tests"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))

LIBRARIES = ["numpy", "fastnn"]


def limit_threads(number):
    """Let BLAS use so many threads in this process, which runs one benchmark; fastnn is told by each call."""
    import threadpoolctl

    # Kept, because the limit ends with the object.
    limit_threads.held = threadpoolctl.threadpool_limits(number)


def needs(library):
    """Skip the benchmark where a library is not installed; asv takes this error for that."""
    if importlib.util.find_spec(library) is None:
        raise NotImplementedError(f"{library} is not installed")


def keep_to_cores(number):
    """Let this process use so many cores, or skip the benchmark: for libraries without a setting for their threads.

    To be called before such a library is imported.
    """
    if number > (os.cpu_count() or 1):
        raise NotImplementedError("there are not so many cores")
    limit_threads(number)
    # JAX calls the number NPROC.
    os.environ["NPROC"], os.environ["JAX_PLATFORMS"] = str(number), "cpu"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])


def prepared(name, shape, library):
    """Return a call of a kernel of `tests/registry.py`, or of its reference: float32, one thread.

    It has run once, so that nothing compiles later.
    """
    limit_threads(1)
    import registry

    entry = registry.ENTRIES[name]
    args = entry.args(shape, "float32")
    run = functools.partial(entry.ours if library == "fastnn" else entry.reference, args)
    run()
    return run


def extents(text):
    """Turn "128x784x512" into numbers."""
    return tuple(int(part) for part in text.split("x"))
