"""fastnn beside NumPy, PyTorch, JAX and scikit-learn: microseconds per training step.

    python asv_bench/peers.py                                   all cases, all peers that are installed
    python asv_bench/peers.py --cases digits higgs --rounds 3   some cases, quicker
    python asv_bench/peers.py --check                           do all peers train the same network?

Every peer lives in a process of its own and only one works at a time. Each round measures fastnn, then a
peer, then fastnn, then the next peer, so that a machine whose speed drifts slows both sides of a ratio.
"""

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from importlib import import_module, metadata

from peer_steps import CASES, PEERS

OURS = "fastnn"
PAUSE = 0.2  # seconds; thread pools that spin after their work (OpenBLAS: 0.13 s) have gone to sleep by then
LEAST_STEPS = 100  # in a run: what it costs once, memory's first touch above all, is no part of a steady state
PREPARE_LIMIT = 300  # seconds for building, compiling and warming one peer's case
VERSIONS = ("fastnn-numba", "numba", "llvmlite", "numpy", "scipy", "torch", "jax", "jaxlib", "scikit-learn")


class PeerFailed(Exception):
    """A peer could not do what it was asked; the message is for the notes under the table."""


# --- the worker's side ----------------------------------------------------------------------------


def work(pipe, name, threads, shuffle):
    """Answer commands from the pipe until it closes: the whole life of a worker process."""
    if hasattr(os, "sched_setaffinity"):
        # Not every library has a setting for its threads; all of them respect this.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    peer = None
    while True:
        try:
            command, *args = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if command == "import":
                answer = import_module(PEERS[name][1]).__name__
            elif command == "prepare":
                peer = None  # let go of the last case before the next is built
                peer = PEERS[name][0](CASES[args[0]], threads, shuffle)
                answer = (calibrate(peer, seconds=args[1]), peer.note)
            elif command == "run":
                answer = peer.run(args[0])
            elif command == "losses":
                answer = PEERS[name][0](CASES[args[0]], threads, False).losses(args[1])
            elif command == "peak":
                answer = import_module("fastnn.kernels.peak").fma_peak(threads)
            pipe.send((True, answer))
        except KeyboardInterrupt:
            return
        except Exception as error:  # whatever a peer raises goes under the table; the other peers go on
            first_line = str(error).strip().partition("\n")[0]
            pipe.send((False, f"{type(error).__name__}: {first_line}"[:200]))


def calibrate(peer, seconds):
    """Warm a peer up and find how many steps, `LEAST_STEPS` or more, last at least `seconds`.

    Returns
    -------
    steps : int
        A whole number of epochs; a run of this length has been done once, so that nothing compiles later.
    """
    epoch = peer.case.batches
    steps = 10 if epoch == 1 else epoch
    peer.run(steps)
    taken = peer.run(steps)[0]
    while taken < min(0.05, seconds):
        steps *= 8
        peer.run(steps)  # JAX compiles for each number of steps
        taken = peer.run(steps)[0]
    # A tenth more, as a run that falls short of `seconds` is not what was asked for.
    steps = max(steps, math.ceil(max(1.1 * seconds / taken * steps, LEAST_STEPS) / epoch) * epoch)
    peer.run(steps)
    return steps


# --- the commander's side -------------------------------------------------------------------------


class Worker:
    """A process that holds one peer, asleep unless it is asked something."""

    def __init__(self, name, threads, shuffle):
        self.name, self.args = name, (name, threads, shuffle)
        self.process = None
        self.start()

    def start(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=work, args=(end, *self.args), daemon=True)
        self.process.start()
        end.close()

    def stop(self):
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def ask(self, *command, limit=PREPARE_LIMIT):
        """Send a command and wait for its answer, at most `limit` seconds; a stuck worker is replaced."""
        try:
            self.pipe.send(command)
            if self.pipe.poll(limit):
                good, answer = self.pipe.recv()
                if good:
                    return answer
                raise PeerFailed(answer)
            reason = f"no answer within {limit:.0f} s"
        except (EOFError, OSError):
            reason = "its process ended"
        self.process.kill()
        self.stop()
        self.start()
        raise PeerFailed(reason)


def start_workers(names, threads, shuffle, notes):
    """Workers of the peers that can be imported, by name; the others are told in `notes`."""
    workers = {}
    for name in names:
        worker = Worker(name, threads, shuffle)
        try:
            worker.ask("import")
            workers[name] = worker
        except PeerFailed as error:
            notes.append((name, f"left out, {error}", None))
            worker.stop()
    return workers


def measure(case, workers, options, notes):
    """Measure one case.

    Returns
    -------
    result : dict
        `times`: microseconds a step of every run by peer; `pairs`: peer's time over ours in each round;
        `peaks`: GFLOP/s of the FMA loop in each round; `steps`: steps of a run by peer.
    """
    steps = {}
    for name, worker in workers.items():
        say(f"{case.name}: preparing {name}")
        time.sleep(PAUSE)
        try:
            steps[name], note = worker.ask("prepare", case.name, options.seconds)
            if note:
                notes.append((name, note, case.name))
        except PeerFailed as error:
            notes.append((name, f"left out, {error}", case.name))
    times = {name: [] for name in steps}
    others = [name for name in steps if name != OURS]
    pairs = {name: [] for name in others if OURS in steps}
    peaks = []
    limit = 60 + 20 * options.seconds

    def run(name):
        """Microseconds a step, or None from a peer that failed, which is not asked again."""
        time.sleep(PAUSE)
        try:
            seconds, loss = workers[name].ask("run", steps[name], limit=limit)
            if not math.isfinite(loss):
                raise PeerFailed(f"its loss became {loss}")
        except PeerFailed as error:
            notes.append((name, f"left out, {error}", case.name))
            times[name] = []
            del steps[name]
            return None
        times[name].append(1e6 * seconds / steps[name])
        return times[name][-1]

    for turn in range(options.rounds):
        say(f"{case.name}: round {turn + 1} of {options.rounds}")
        if OURS in steps and peaks is not None:
            time.sleep(PAUSE)
            try:
                peaks.append(workers[OURS].ask("peak", limit=limit))
            except PeerFailed as error:
                peaks = None
                notes.append((OURS, f"no share of peak, the FMA loop is not available, {error}", case.name))
        for name in others or steps.keys() & {OURS}:
            ours = run(OURS) if OURS in steps else None
            theirs = run(name) if name in others and name in steps else None
            if ours and theirs:
                pairs[name].append(theirs / ours)
    return {"times": times, "pairs": pairs, "peaks": peaks or [], "steps": steps}


def summarise(case, result):
    """Medians, the fastest peer, both ratios and the share of peak, added to a measured case."""
    medians = {name: statistics.median(values) for name, values in result["times"].items() if values}
    others = {name: value for name, value in medians.items() if name != OURS}
    result["medians"] = medians
    result["fastest"] = fastest = min(others, key=others.get) if others else None
    result["ratio"] = result["paired_ratio"] = result["share_of_peak"] = None
    if OURS in medians:
        if fastest:
            result["ratio"] = medians[fastest] / medians[OURS]
            result["paired_ratio"] = statistics.median(result["pairs"][fastest])
        if result["peaks"]:
            gflops = case.flops / medians[OURS] / 1e3
            result["share_of_peak"] = gflops / statistics.median(result["peaks"])
    return result


# --- printing -------------------------------------------------------------------------------------


def say(text):
    """Progress, on the other stream, so that the table can be piped into a file."""
    print(text, file=sys.stderr, flush=True)


def micros(value):
    """Three figures or more: 6.12, 38.4, 317, 32,626."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def table(head, rows):
    """A Markdown table, first column to the left and the others to the right."""
    rows = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("| " + " | ".join(cells) + " |")
    rule = [":" + "-" * (w - 1) if k == 0 else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def report(results, names):
    """The two tables: medians with ratios, and the spread of the runs."""
    ours = any(OURS in result["medians"] for result in results.values())
    peak = any(result["share_of_peak"] for result in results.values())
    head, rows, spread = ["case", *names], [], []
    head += ["fastest peer", "its time / ours", "same, by rounds"] * ours + ["share of peak"] * peak
    for name, result in results.items():
        text, medians, times = CASES[name].text, result["medians"], result["times"]
        row = [text, *(micros(medians[peer]) if peer in medians else "–" for peer in names)]
        if ours:
            ratios = (result["ratio"], result["paired_ratio"])
            row += [result["fastest"] or "–", *(f"{r:.2f} ×" if r else "–" for r in ratios)]
        if peak:
            row.append(f"{result['share_of_peak']:.0%}" if result["share_of_peak"] else "–")
        rows.append(row)
        ends = ((min(times[p]), max(times[p])) if p in medians else None for p in names)
        spread.append([text, *(f"{micros(e[0])} – {micros(e[1])}" if e else "–" for e in ends)])
    return (
        f"Median time of one training step, µs:\n\n{table(head, rows)}\n\n"
        f"Fastest and slowest run, µs a step:\n\n{table(['case', *names], spread)}"
    )


def note_lines(notes):
    """Notes as lines: those which say the same of several cases become one."""
    cases = {}
    for name, text, case in notes:
        cases.setdefault((name, text), []).append(case)
    return [f"{name}: {text}" + (f" ({', '.join(where)})" if where[0] else "") for (name, text), where in cases.items()]


def describe_machine(threads):
    """Lines on the processor, the system, and the versions of everything that takes part."""
    processor, features = platform.processor() or platform.machine(), ""
    try:
        with open("/proc/cpuinfo") as file:
            entries = dict(line.partition(":")[::2] for line in file.read().split("\n\n")[0].split("\n"))
        entries = {key.strip(): value.strip() for key, value in entries.items()}
        processor = "{model name} (family {cpu family}, model {model})".format(**entries)
        known = {"avx512_bf16": "AVX-512 bf16", "avx512f": "AVX-512", "avx2": "AVX2"}
        flags = entries["flags"].split()
        features = next((", " + text for flag, text in known.items() if flag in flags), "")
    except (OSError, KeyError, ValueError):
        pass  # not Linux, or not a processor that describes itself so
    versions = [f"Python {platform.python_version()}"]
    for name in VERSIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    load = f", load before the run {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return [
        f"Processor: {processor}{features}; {os.cpu_count()} cores, {threads} used{load}",
        f"System: {platform.system()} {platform.machine()}",
        f"Versions: {', '.join(versions)}",
    ]


# --- checking -------------------------------------------------------------------------------------


def check(case, workers, steps=20, tolerance=1e-3):
    """Train every peer from the same weights on the same batches and compare the losses with NumPy's.

    scikit-learn draws its own weights and order, so it has no part in this. fastnn tells one loss an epoch:
    it is compared with the mean of the epoch's steps.

    Returns
    -------
    good : bool
    """
    losses, good = {}, True
    for name in workers:
        if name != "sklearn":
            try:
                losses[name] = workers[name].ask("losses", case.name, steps)
            except PeerFailed as error:
                print(f"{name}: {error}")
                good = False
    if "numpy" not in losses:
        print("The check compares with NumPy, which is not among the peers.")
        return False
    reference = losses.pop("numpy")
    print(f"{case.text}: loss {reference[0]:.6f} at the first step, {reference[-1]:.6f} at step {steps}")
    for name, values in losses.items():
        size = steps // len(values)
        means = [statistics.fmean(reference[k : k + size]) for k in range(0, steps, size)]
        apart = max(abs(a - b) / abs(b) for a, b in zip(values, means, strict=True))
        # Not `apart > tolerance`: that would let a loss which is not a number pass.
        bad = not apart <= tolerance
        good = good and not bad
        print(f"{name}: {'DIFFERS' if bad else 'agrees'}, largest relative difference {apart:.1e}")
    return good


def parse(arguments=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    parser.add_argument("--without", nargs="+", choices=PEERS, default=[], metavar="PEER", help="left out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="least length of one run")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--shuffle", action="store_true", help="rows in a new order each epoch")
    parser.add_argument("--json", metavar="PATH", help="also write every figure to this file")
    parser.add_argument("--check", nargs="?", choices=CASES, const="digits", metavar="CASE")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1 or options.seconds <= 0:
        parser.error("--rounds, --threads and --seconds must be positive")
    # fastnn takes part in every comparison unless it is left out by name.
    options.peers = [p for p in PEERS if p in {OURS, *options.peers} and p not in options.without]
    return options


def main():
    """Measure, or check, and print."""
    options = parse()
    # Workers inherit these; they have to stand before a library is imported. JAX calls the number NPROC.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC"):
        os.environ[name] = str(options.threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    # Compiling in the worker itself: PyTorch's pool of compiling processes would stay behind, awake.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    machine, notes, results = describe_machine(options.threads), [], {}
    workers = start_workers(options.peers, options.threads, options.shuffle, notes)
    try:
        if options.check:
            print("\n".join(note_lines(notes)))
            return 0 if check(CASES[options.check], workers) else 1
        for name in options.cases:
            results[name] = summarise(CASES[name], measure(CASES[name], workers, options, notes))
    finally:
        for worker in workers.values():
            worker.stop()
    print("\n".join(f"- {line}" for line in machine))
    least = f"{options.seconds:g} s and {LEAST_STEPS} steps"
    print(f"- Runs: {options.rounds} rounds of at least {least} each, float32, ", end="")
    print("shuffled rows" if options.shuffle else "consecutive batches (scikit-learn always shuffles)")
    print(f"\n{report(results, list(workers))}")
    if notes:
        print("\nNotes:\n")
        print("\n".join(f"- {line}" for line in note_lines(notes)))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            everything = {
                "machine": machine,
                "options": vars(options),
                "notes": note_lines(notes),
                "cases": results,
            }
            json.dump(everything, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
