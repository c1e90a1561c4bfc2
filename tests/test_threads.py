"""How many threads are used: limits, and the trial of whether more than one pays."""

import numba
import numpy as np
import pytest

import fastnn as fnn
from fastnn import threads
from fastnn.kernels import network, sync


def test_set_and_get():
    most = numba.config.NUMBA_NUM_THREADS
    assert fnn.get_num_threads() == most
    fnn.set_num_threads(1)
    try:
        assert fnn.get_num_threads() == threads.workers(1e12) == 1
    finally:
        fnn.set_num_threads(None)
    assert threads.workers(1e12) == most
    assert threads.workers(1.0) == 1


def test_scratch_is_sized_for_a_limit_that_may_be_raised_later():
    with threads.limited(1):
        assert threads.max_workers() == numba.config.NUMBA_NUM_THREADS
    fnn.set_num_threads(1)
    try:
        assert threads.max_workers() == numba.config.NUMBA_NUM_THREADS
    finally:
        fnn.set_num_threads(None)


@pytest.mark.parametrize("bad", [0, -1, 10_000])
def test_a_count_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match=f"n must be between 1 and .* got {bad}.*NUMBA_NUM_THREADS"):
        fnn.set_num_threads(bad)


@pytest.mark.parametrize("bad", [1.5, "2", True])
def test_a_count_that_is_no_count_is_refused(bad):
    with pytest.raises(TypeError, match="n must be a whole number"):
        fnn.set_num_threads(bad)


def test_limited_is_for_this_thread_and_ends():
    before = fnn.get_num_threads()
    with threads.limited(1):
        assert fnn.get_num_threads() == 1
        with threads.limited(None):
            assert fnn.get_num_threads() == 1
    assert fnn.get_num_threads() == before


def _run(pace, cost, chunks):
    used = []
    for _ in range(chunks):
        workers, portion = pace.next()
        used.append((workers, portion))
        pace.note(workers, cost[workers])
    return used


@pytest.fixture
def clock(monkeypatch):
    """The time as `Pace` has it, in a list."""
    now = [0.0]
    monkeypatch.setattr(threads.time, "perf_counter", lambda: now[0])
    return now


def test_pace_takes_the_faster_and_tries_again(clock):
    pace = threads.Pace(4)
    used = _run(pace, {1: 2.0, 4: 1.0}, 8)
    assert [w for w, _ in used] == [4, 1, 4, 1, 4, 4, 4, 4]
    assert [p < 1.0 for _, p in used] == [True] * 4 + [False] * 4
    clock[0] = 2.0
    # The other threads have become slow: found out at the next trial, and again when they are fast once more.
    assert [w for w, _ in _run(pace, {1: 2.0, 4: 9.0}, 5)] == [4, 1, 1, 1, 1]
    clock[0] = 4.0
    again = _run(pace, {1: 2.0, 4: 1.0}, 4)
    assert [w for w, _ in again] == [1, 4, 4, 4]
    # What sleeps between trials is tried twice.
    assert [p < 1.0 for _, p in again] == [True] * 3 + [False]


def test_pace_that_begins_with_one_worker_tries_again_soon(clock):
    pace = threads.Pace(2)
    assert [w for w, _ in _run(pace, {1: 2.0, 2: 9.0}, 6)] == [2, 1, 2, 1, 1, 1]
    clock[0] = 0.2
    # The other core was busy for a moment only.
    assert [w for w, _ in _run(pace, {1: 2.0, 2: 1.0}, 5)] == [1, 2, 2, 2, 2]
    clock[0] = 0.4
    assert [w for w, _ in _run(pace, {1: 2.0, 2: 1.0}, 2)] == [2, 2]


def test_pace_of_one_worker_or_long_steps_tries_nothing():
    assert _run(threads.Pace(1), {1: 1.0}, 3) == [(1, 1.0)] * 3
    assert _run(threads.Pace(2, 1e9), {2: 1.0}, 3) == [(2, 1.0)] * 3


@pytest.mark.parametrize(("n", "pace"), [(2, (0, 1)), (2, (0, 0, 0, 1)), (3, (1,)), (3, (0, 1, 1, 2, 2, 2))])
def test_parts_of_a_shared_product_are_taken_once_and_ones_own_first(n, pace):
    each = 2
    counters = np.zeros(sync.SIZE, np.int64)
    number = 0
    for _ in range(3 * sync.ROUNDS):
        before = number
        for worker in range(n):
            number = sync.open_round(counters, before, worker, each)
        assert number == before + 1
        taken, turn, ends = {}, 0, set()
        while len(ends) < n:
            # Workers come in the order of `pace`, some never; when all is taken, each learns of it.
            worker = pace[turn % len(pace)] if len(taken) < n * each else len(ends)
            part = sync.take(counters, number, worker, n, each, -1)
            turn += 1
            if part < 0:
                assert len(taken) == n * each
                ends.add(worker)
                continue
            assert part not in taken
            if part // each != worker:
                assert set(range(worker * each, (worker + 1) * each)) <= set(taken), "another's part before its own"
            taken[part] = worker
        assert sorted(taken) == list(range(n * each))


def test_with_one_part_each_nothing_is_counted():
    counters = np.zeros(sync.SIZE, np.int64)
    assert sync.open_round(counters, 5, 0, 1) == 5
    assert [sync.take(counters, 5, worker, 3, 1, -1) for worker in range(3)] == [0, 1, 2]
    assert sync.take(counters, 5, 1, 3, 1, 1) == -1
    assert not counters.any()


def test_who_waits_long_makes_all_share_out_finer():
    counters = np.zeros(sync.SIZE, np.int64)
    left = [0, 0, 0]

    def step(waits):
        for worker, waited in enumerate(waits):
            sync.tell_wait(counters, worker, 3, waited, 1000)
        left[:] = [sync.steps_uneven(counters, 3, n) for n in left]
        return left

    assert step([0, 83, 50]) == [0, 0, 0]
    assert step([0, 84, 50]) == [sync._STEPS_UNEVEN] * 3
    assert step([10, 0, 0]) == [sync._STEPS_UNEVEN - 1] * 3
    for _ in range(sync._STEPS_UNEVEN):
        step([0, 0, 0])
    assert left == [0, 0, 0]
    # More workers than have places tell nothing, and write nothing.
    before = counters.copy()
    sync.tell_wait(counters, 0, sync.MOST_WORKERS + 1, 1000, 1000)
    assert sync.steps_uneven(counters, sync.MOST_WORKERS + 1, 5) == 4
    assert (counters == before).all()


def test_parts_for_each_worker():
    plan = np.zeros((1, network.COLUMNS), np.int64)
    plan[0, [network.KIND, network.N_IN, network.N_OUT]] = network.DENSE, 100, 100
    work = 2 * 100 * 100 * 100
    even, uneven = network.MOST_PARTS, network.MOST_PARTS_UNEVEN
    assert [network.parts_each(plan, 0, 100, 1, 2, flag) for flag in (0, 1, 64)] == [even, uneven, uneven]
    # Not smaller than `least`, not for one worker, not for more than there are counters for.
    assert [network.parts_each(plan, 0, 100, work // n, 2, 1) for n in (1, 2, 6, 8, 20)] == [1, 1, 3, 4, uneven]
    assert network.parts_each(plan, 0, 100, 1, 1, 1) == 1
    assert network.parts_each(plan, 0, 100, 1, sync.MOST_WORKERS + 1, 1) == 1
