"""The same bits in forked and spawned processes, in threads, under joblib, and on every threading layer.

This file is a script too: run with a word, it prints what the function of that name returns.
"""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import threads

SEEDS = (0, 1, 2, 3)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def spread():
    """Let small work be spread over threads, so that there is something to go wrong."""
    real = threads.workers
    threads.workers = lambda work, limit=None, enough=1.0: real(max(work, 1e3), limit, 1.0)


def digest(seed, n_threads=2):
    """Train a network of this seed, predict, and return a digest of all bits."""
    r = np.random.default_rng(seed)
    X, y = r.normal(size=(90, 8)).astype(np.float32), r.integers(0, 4, 90)
    model = fnn.Sequential(
        fnn.Dense(8, 40), fnn.Tanh(), fnn.Dropout(0.2), fnn.Dense(40, 33), fnn.ReLU(), fnn.Dense(33, 4), seed=seed
    )
    history = model.fit(X, y, epochs=3, batch_size=25, n_threads=n_threads, optimizer=fnn.Adam(0.01))
    what = hashlib.sha256(repr(sorted(history.items())).encode())
    for value in (*model.parameters().values(), model.predict(X, n_threads=n_threads)):
        what.update(value.tobytes())
    loss = fnn.SoftmaxCrossEntropy()
    loss.forward(model.forward(X, training=False), y)
    what.update(model.backward(loss.backward()).tobytes())
    return what.hexdigest()


def task(seed):
    spread()
    return digest(seed)


def alone():
    return [digest(seed, n_threads=1) for seed in SEEDS]


# --- run in a fresh process ---


def in_fork():
    """Fork after the parallel build has run, twice over; return what children and parent found."""
    spread()
    before = [digest(seed) for seed in SEEDS]

    def child(depth):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                found = [[digest(seed) for seed in SEEDS]]
                found += child(depth - 1) if depth else []
                os.write(writer, json.dumps(found).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        assert os.waitpid(pid, 0)[1] == 0
        return json.loads(text)

    return [before, *child(1), [digest(seed) for seed in SEEDS]]


def in_fork_while_training():
    """Fork while another thread is inside the parallel build."""
    spread()
    wanted, stop = digest(0), threading.Event()

    def train():
        while not stop.is_set():
            digest(1)

    other = threading.Thread(target=train)
    other.start()
    found = []
    try:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found.append(pool.map(digest, SEEDS))
    finally:
        stop.set()
        other.join()
    return [*found, [wanted, *(digest(seed) for seed in SEEDS[1:])]]


def in_spawned():
    spread()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return [pool.map(task, SEEDS)]


def in_joblib():
    import joblib

    found = []
    for backend in ("loky", "threading"):
        jobs = (joblib.delayed(task if backend == "loky" else digest)(seed) for seed in SEEDS)
        found.append(joblib.Parallel(n_jobs=2, backend=backend)(jobs))
    return found


def on_layer():
    """Return digests for each number of threads, and from threads that train at once."""
    import numba

    spread()
    found = [[digest(seed, n_threads) for seed in SEEDS] for n_threads in (2, 3, 4)]
    with ThreadPoolExecutor(4) as pool:
        found.append(list(pool.map(digest, SEEDS)))
    assert numba.threading_layer() == os.environ["NUMBA_THREADING_LAYER"]
    return found


def fresh(name, **environment):
    """Return what a function of this file returns in a fresh process."""
    path = os.pathsep.join([str(Path(fnn.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, name],
        env=os.environ | {"PYTHONPATH": path, "NUMBA_NUM_THREADS": "4"} | environment,
        capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if "threading layer" in done.stderr and "could be loaded" in done.stderr:
        pytest.skip("this threading layer is not installed")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def wanted():
    digests = alone()
    assert len(set(digests)) == len(SEEDS)
    return digests


@needs_fork
def test_after_a_fork(wanted):
    assert fresh("in_fork") == [wanted] * 4


@needs_fork
@pytest.mark.skipif(sys.platform == "darwin", reason="a fork of a process with threads is no use there")
def test_forked_workers_while_another_thread_trains(wanted):
    assert fresh("in_fork_while_training") == [wanted] * 2


def test_in_spawned_processes(wanted):
    assert fresh("in_spawned") == [wanted]


def test_under_joblib(wanted):
    pytest.importorskip("joblib")
    assert fresh("in_joblib") == [wanted] * 2


@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_on_every_threading_layer(layer, wanted):
    # TBB's wheel puts its library where only the environment's own programs look.
    libraries = os.pathsep.join([os.environ.get("LD_LIBRARY_PATH", ""), str(Path(sys.prefix) / "lib")])
    found = fresh("on_layer", NUMBA_THREADING_LAYER=layer, LD_LIBRARY_PATH=libraries.strip(os.pathsep))
    assert found == [wanted] * 4


# --- threads ---


@pytest.fixture
def spread_here(monkeypatch):
    real = threads.workers
    monkeypatch.setattr(threads, "workers", lambda work, limit=None, enough=1.0: real(max(work, 1e3), limit, 1.0))


def test_different_models_in_threads_at_once(wanted, spread_here):
    for n_threads in (1, 2):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda seed: digest(seed, n_threads), SEEDS * 3))  # noqa: B023
        assert found == wanted * 3


def wide_model():
    return fnn.Sequential(fnn.Dense(8, 200), fnn.Tanh(), fnn.Dense(200, 200), fnn.Tanh(), fnn.Dense(200, 3), seed=1)


@pytest.mark.parametrize("what", ["predict", "evaluate"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_one_model_asked_from_several_threads_at_once(n_threads, what, spread_here):
    model = wide_model()
    data = [np.random.default_rng(i).normal(size=(1500 if i % 2 else 5, 8)) for i in range(4)]

    def ask(i):
        if what == "predict":
            return model.predict(data[i], n_threads=n_threads).tobytes()
        return model.evaluate(data[i], np.arange(len(data[i])) % 3, n_threads=n_threads)

    wanted = [ask(i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, [0, 1, 2, 3] * 10))
    wrong = sum(a != b for a, b in zip(found, wanted * 10, strict=True))
    assert wrong == 0, f"{wrong} answers of 40 are wrong"


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
