"""The command line: what it prints, what it exits with, and that warming up leaves nothing to compile."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import _numpy_loop, _warmup, cli
from fastnn.datasets import spiral_data
from fastnn.kernels import _builds, _cache


@pytest.fixture
def tiny_images(tmp_path):
    """A file in Fashion-MNIST's form: two kinds of image that are easy to tell apart."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    images = (random.random((400, 28, 28)) * 60 + 150 * labels[:, None, None]).astype(np.uint8)
    path = tmp_path / "tiny.npz"
    labels = labels.astype(np.uint8)
    np.savez(path, x_train=images[:300], y_train=labels[:300], x_test=images[300:], y_test=labels[300:])
    return path


def test_demo_prints_as_it_goes_and_compares(capsys):
    assert cli.main(["demo", "--epochs", "101", "--numpy-steps", "20"]) == 0
    out = capsys.readouterr().out
    shown = [int(epoch) for epoch in re.findall(r"^epoch: (\d+), acc: 0\.\d+, loss: \d\.\d+, lr: ", out, re.M)]
    assert shown == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert re.search(r"^(compiled \d+ functions|loaded compiled functions)", out, re.M)
    assert re.search(r"^after 101 epochs: acc: ", out, re.M)
    assert re.search(r"^the same loop in pure NumPy: .* measured over 20 steps", out, re.M)
    assert re.search(r"^fastnn was \d+\.\d times as fast", out, re.M)
    agreement = re.search(r"losses of the first 20 epochs agree to (\S+)$", out, re.M)
    assert float(agreement[1]) < 1e-10


def test_demo_trains_as_one_fit_does(capsys):
    cli.main(["demo", "--epochs", "57", "--numpy-steps", "1"])
    options = cli._parser().parse_args(["demo", "--epochs", "57"])
    example = cli._spiral(options)
    model = example.model()
    history = model.fit(
        example.X, example.y, optimizer=example.make_optimizer(), epochs=57, batch_size=None, progress=False
    )
    last = f"acc: {history['accuracy'][-1]:.3f}, loss: {history['loss'][-1]:.3f}"
    assert f"after 57 epochs: {last}" in capsys.readouterr().out


def test_demo_digits_reads_images(capsys, tiny_images):
    arguments = ["demo", "digits", "--data", str(tiny_images), "--epochs", "20", "--numpy-steps", "2"]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("Fashion-MNIST: 784-128-128-10, ReLU, 300 images, batch 128, Adam 0.001, float32")
    assert float(re.search(r"^on 100 test images: acc: (\S+),", out, re.M)[1]) > 0.9
    assert "losses of the first" not in out


def test_demo_digits_falls_back_on_scikit_learn(capsys, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.delenv("FASTNN_DATA_DIR", raising=False)
    assert cli.main(["demo", "digits", "--epochs", "1", "--numpy-steps", "1"]) == 0
    assert capsys.readouterr().out.startswith("scikit-learn's digits: 64-100-10, ReLU, 1,438 images")


def test_demo_digits_without_any_images_says_what_to_do(capsys, monkeypatch):
    monkeypatch.delenv("FASTNN_DATA_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert cli.main(["demo", "digits"]) == 1
    message = capsys.readouterr().err
    assert "--data PATH" in message and 'pip install "fastnn-numba[sklearn]"' in message
    assert "Traceback" not in message


def test_demo_with_a_wrong_path_says_so(capsys, tmp_path):
    assert cli.main(["demo", "digits", "--data", str(tmp_path / "none")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_too_many_threads(capsys):
    assert cli.main(["demo", "--threads", "100000"]) == 1
    assert "NUMBA_NUM_THREADS" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["train"], ["demo", "cats"], ["demo", "--epochs", "0"], ["demo", "--epochs", "x"], ["info", "more"],
     ["demo", "--seed", "-1"], ["demo", "--seed", "9" * 20], ["demo", "--seed", str(2**63)],
     ["demo", "--dtype", "float16"], ["warmup", "--dtype", "int8"]],
)  # fmt: skip
def test_arguments_without_sense_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    assert raised.value.code == 2
    assert "usage: fastnn" in capsys.readouterr().err


def test_help_and_version(capsys):
    for arguments, wanted in (
        (["--help"], "warmup"),
        (["demo", "-h"], "--epochs"),
        (["--version"], "fastnn "),
    ):
        with pytest.raises(SystemExit) as raised:
            cli.main(arguments)
        assert raised.value.code == 0
        assert wanted in capsys.readouterr().out


def test_interrupt(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_info", interrupted)
    assert cli.main(["info"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_info(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    rows = {line[:16].strip(): line[17:] for line in out.splitlines()}
    assert rows["fastnn"].startswith(fnn.__version__)
    assert rows["numpy"] == np.__version__
    assert rows["cache folder"] == str(tmp_path / "cache")
    assert rows["cache"] == "0 files, 0.0 MB"
    assert rows["threading layer"] in ("omp", "tbb", "workqueue")
    assert {"processor", "vector width", "threads", "python", "numba", "llvmlite"} <= set(rows)
    # Asking makes nothing.
    assert not (tmp_path / "cache").exists()


def test_info_tells_this_versions_files_from_others(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    for folder, size in ((_builds.digest()[:32], 1_500_000), ("0" * 32, 200_000)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "kernel.bin").write_bytes(bytes(size))
    cli.main(["info"])
    out = capsys.readouterr().out
    assert "1 files, 1.5 MB" in out and "and 1 files, 0.2 MB, of other versions" in out


def test_warmup_reports_each_dtype(capsys, monkeypatch):
    calls = []

    def compile_in_processes(dtypes, parallel):
        calls.append((tuple(dtypes), parallel))
        return [["gemm.panel(a)", "gemm.tile(b)", "train.run(c)"], []][: len(dtypes)], None

    monkeypatch.setattr(cli, "compile_in_processes", compile_in_processes)
    assert cli.main(["warmup"]) == 0
    out = capsys.readouterr().out
    assert "float32: 3 functions compiled, gemm 2, train 1" in out
    assert "float64: 0 functions compiled, as the cache had them all" in out
    assert cli.main(["warmup", "--dtype", "float32", "--serial"]) == 0
    assert calls == [(("float32", "float64"), True), (("float32",), False)]


def test_warmup_tells_what_was_not_kept(capsys, monkeypatch):
    monkeypatch.setattr(cli, "compile_in_processes", lambda *_, **__: ([["gemm.panel(a)"]], "no room on the disk"))
    assert cli.main(["warmup", "--dtype", "float32"]) == 1
    shown = capsys.readouterr()
    assert "not all could be kept: no room on the disk; set FASTNN_CACHE_DIR" in shown.err
    assert "kept in" not in shown.out


def test_a_store_knows_what_it_could_not_keep(monkeypatch, tmp_path):
    store = _cache.Store(lambda: tmp_path / "cache" / "digest")
    store.write("kernel", b"code")
    assert store.fault is None

    def fail(*_):
        raise OSError("no room on the disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(_cache.CacheWarning, match="no room"):
        store.write("kernel", b"code")
    assert store.fault == "no room on the disk"


def test_a_process_that_warms_up_tells_what_it_could_not_keep(monkeypatch):
    monkeypatch.setattr(_warmup, "warmup", lambda dtypes, parallel: ["gemm.panel(a)"])
    monkeypatch.setattr(_builds.store, "fault", "no room on the disk")
    assert _warmup._warm("float32", False) == (["gemm.panel(a)"], "no room on the disk")


def test_warmup_wants_float_dtypes():
    with pytest.raises(ValueError, match="must be 'float32', 'float64' or both, got 'int64'"):
        fnn.warmup(["int64"])


# --- what a shell does to it ---


def command(*arguments, **settings):
    """Run the command as a process of its own."""
    settings = {"stdout": subprocess.PIPE, **settings}
    return subprocess.run(
        [sys.executable, "-m", "fastnn", *arguments], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        timeout=600, check=False, **settings,
    )  # fmt: skip


SHORT = ("demo", "--epochs", "5", "--numpy-steps", "1")
NOBODYS = "~no_such_user_at_all/x"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a pipe breaks in other ways")
@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [(["info"], ""), (["info"], "1"), (["--help"], ""), (SHORT, ""), (SHORT, "1")]
)
def test_a_reader_that_has_gone_ends_it_in_silence(arguments, unbuffered):
    end, start = os.pipe()
    os.close(end)
    try:
        done = command(*arguments, stdout=start, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    finally:
        os.close(start)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
@pytest.mark.parametrize("arguments", [["info"], SHORT])
def test_a_full_disk_is_told_in_a_line(arguments):
    with open("/dev/full", "w") as full:
        done = command(*arguments, stdout=full)
    assert done.returncode == 1 and re.fullmatch(r"fastnn: .*No space left on device\n", done.stderr)


def test_a_stream_of_ascii_is_enough():
    done = command(*SHORT, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert re.search(r"for 5 steps, \d+\.\d \?s each", done.stdout)


def test_a_stream_that_is_no_file_is_written_to():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["info"]) == 0
    assert "processor" in out.getvalue()


def test_a_cache_folder_that_cannot_be_found():
    settings = {"env": os.environ | {"FASTNN_CACHE_DIR": NOBODYS}}
    done = command("info", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"none: FASTNN_CACHE_DIR is '{NOBODYS}'" in done.stdout
    done = command("warmup", **settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fastnn: nothing could be kept: ") and done.stderr.count("\n") == 1
    assert NOBODYS in done.stderr and "set FASTNN_CACHE_DIR" in done.stderr


def test_warmup_with_a_cache_folder_that_cannot_be_used_compiles_nothing(tmp_path):
    (tmp_path / "file").write_text("mine")
    done = command("warmup", env=os.environ | {"FASTNN_CACHE_DIR": str(tmp_path / "file")})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fastnn: nothing could be kept: ") and str(tmp_path / "file") in done.stderr


@pytest.mark.parametrize("built", [0, 7])
def test_a_demo_says_where_nothing_could_be_kept(built, capsys, monkeypatch):
    monkeypatch.setattr(_builds.store, "fault", "no room on the disk")
    monkeypatch.setattr(cli, "new_order", lambda *_: _builds.compiled.extend(["x"] * built))
    monkeypatch.setattr(_builds, "compiled", list(_builds.compiled))
    cli._prepare(cli._spiral(cli._parser().parse_args(["demo"])), None)
    out = capsys.readouterr().out
    assert f"compiled {built} functions" in out and "could not be kept: no room on the disk" in out
    assert "kept in" not in out


def test_a_data_folder_that_cannot_be_found():
    done = command("demo", "digits", env=os.environ | {"FASTNN_DATA_DIR": NOBODYS})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"fastnn: cannot read Fashion-MNIST: path '{NOBODYS}' is in a home folder")


AFTER_WARMUP = """
import numpy as np
import fastnn as fnn
from fastnn.kernels import _builds

# What is asked of the cache counts: a build that is not warm may come from there, compiled for another test.
asked = []
read = _builds.store.read
_builds.store.read = lambda name: asked.append(name) or read(name)
fnn.warmup(["float32"])
assert asked
del asked[:]

class EachStep(fnn.Callback):
    def on_step_end(self, step, logs):
        pass

random = np.random.default_rng(0)
for n_in, hidden, n_out, rows in ((2, 64, 3, 300), (784, 128, 10, 500), (30, 300, 2, 3000), (5, 7, 40, 33)):
    X, y = random.normal(size=(rows, n_in)).astype(np.float32), random.integers(0, n_out, rows)
    for layer in (fnn.ReLU, fnn.Tanh):
        for optimizer in (fnn.SGD(0.1, momentum=0.9), fnn.Adam(), fnn.RMSprop()):
            for n_threads in (1, 2):
                for callbacks in ((), (EachStep(),)):
                    model = fnn.Sequential(
                        fnn.Dense(n_in, hidden, weight_l2=1e-3), layer(), fnn.Dropout(0.2),
                        fnn.Dense(hidden, n_out), seed=0,
                    )
                    model.fit(
                        X, y, optimizer=optimizer, epochs=1, batch_size=256, validation_data=(X, y),
                        callbacks=callbacks, n_threads=n_threads,
                    )
                    model.predict(X[:1])
    model.fit(X, X[:, :1].repeat(n_out, 1), loss=fnn.MeanSquaredError(), epochs=1)
    make = lambda i: fnn.Sequential(fnn.Dense(n_in, hidden), fnn.ReLU(), fnn.Dense(hidden, n_out), seed=i)
    fnn.fit_many(make, X, y, count=3, epochs=1)
    fnn.random_search(make(0), X, y, iterations=3)
print(asked)
"""


def test_nothing_compiles_after_warmup():
    done = subprocess.run(
        [sys.executable, "-c", AFTER_WARMUP], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


AFTER_PREPARING = """
import sys
from fastnn import cli
from fastnn.kernels import _builds

asked, read, prepare = [], _builds.store.read, cli._prepare
_builds.store.read = lambda name: asked.append(name) or read(name)
def prepared(*arguments):
    prepare(*arguments)
    assert asked
    del asked[:]
cli._prepare = prepared
cli.main(sys.argv[1:])
print(asked)
"""


@pytest.mark.parametrize("what", ["spiral", "digits"])
def test_a_demo_compiles_nothing_while_it_is_timed(what, tmp_path):
    """An epoch of images is of more than 50 steps: then weights lie in panels."""
    labels = np.arange(6_600) % 10
    images = np.repeat(labels.astype(np.uint8), 784).reshape(-1, 28, 28)
    path = tmp_path / "images.npz"
    np.savez(path, x_train=images[:6_500], y_train=labels[:6_500], x_test=images[6_500:], y_test=labels[6_500:])
    arguments = ["demo", what, "--epochs", "1", "--numpy-steps", "1", "--data", str(path)]
    command = [sys.executable, "-c", AFTER_PREPARING, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_examples_of_the_readme_run():
    text = Path(__file__).resolve().parents[1].joinpath("README.md").read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) >= 2
    for block in blocks:
        exec(block, names)
    assert names["history"]["accuracy"][-1] > 0.8


def test_the_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "fastnn", "--version"], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == f"fastnn {fnn.__version__}"


def test_the_numpy_loop_takes_the_steps_of_fit():
    X, y = spiral_data(20, 3, seed=1)
    for theirs, ours in (
        (_numpy_loop.Momentum(0.5, 1e-2, 0.9), fnn.SGD(fnn.InverseTimeDecay(0.5, decay=1e-2), momentum=0.9)),
        (_numpy_loop.Adam(0.02), fnn.Adam(0.02)),
    ):
        model = fnn.Sequential(fnn.Dense(2, 8), fnn.ReLU(), fnn.Dense(8, 3), seed=0)
        network = _numpy_loop.Network([layer.weights for layer in model.layers[::2]], theirs)
        history = model.fit(X, y, optimizer=ours, epochs=30, batch_size=None)
        np.testing.assert_allclose(network.train([(X, y)] * 30), history["loss"], rtol=1e-10)
