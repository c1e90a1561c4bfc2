"""Schedules: the stated formulas, the same bits one by one and in a row, and clear refusals."""

import json
import math

import numpy as np
import pytest

from fastnn import schedules
from fastnn.schedules import (
    ConstantRate,
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    Warmup,
    as_schedule,
)

EVERY_KIND = [
    ConstantRate(0.3),
    InverseTimeDecay(1.0, decay=1e-3),
    InverseTimeDecay(0.02, decay=5e-7),
    StepDecay(0.7, factor=0.3, every=7),
    ExponentialDecay(0.9, rate=0.97),
    ExponentialDecay(0.9, rate=0.5, every=13),
    CosineDecay(0.8, steps=1001, end=0.05),
    Warmup(InverseTimeDecay(0.6, decay=0.1), steps=17),
    Warmup(Warmup(0.1, steps=3), steps=40),
    OneCycle(0.9, steps=997),
    ReduceOnPlateau(0.4),
]


def name_of(schedule):
    return repr(schedule)


def test_the_list_is_complete():
    public = {getattr(schedules, name) for name in schedules.__all__}
    kinds = {kind for kind in public if isinstance(kind, type)} - {Schedule}
    assert {type(schedule) for schedule in EVERY_KIND} == kinds


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=name_of)
def test_same_bits_alone_and_in_a_row(schedule):
    whole = schedule.values(0, 2100)
    assert whole.dtype == np.float64 and whole.shape == (2100,)
    assert [schedule(step).hex() for step in range(2100)] == [rate.hex() for rate in whole.tolist()]
    random = np.random.RandomState(0)
    for first, count in zip(random.randint(0, 2000, 30), random.randint(0, 100, 30), strict=True):
        np.testing.assert_array_equal(schedule.values(first, count), whole[first : first + count])
    far = schedule.values(10**9, 9)
    assert [schedule(10**9 + i) for i in range(9)] == far.tolist()
    assert np.all(np.isfinite(far)) and np.all(far >= 0.0)


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=name_of)
def test_values_may_be_overwritten(schedule):
    schedule.values(0, 5)[:] = -1.0
    assert np.all(schedule.values(0, 5) >= 0.0)


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=name_of)
def test_rate_at_is_what_values_holds(schedule):
    rates = schedule.values(0, 300).tolist()
    assert [schedule.rate_at(step) for step in range(300)] == rates


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=name_of)
def test_config_goes_round_through_json(schedule):
    config = schedule.get_config()
    again = Schedule.from_config(json.loads(json.dumps(config)))
    assert type(again) is type(schedule) and again.get_config() == config and repr(again) == repr(schedule)
    np.testing.assert_array_equal(again.values(0, 50), schedule.values(0, 50))
    assert type(schedule).from_config(config).get_config() == config


@pytest.mark.parametrize("schedule", EVERY_KIND[1:6] + [EVERY_KIND[6]], ids=name_of)
def test_the_first_step_is_undecayed(schedule):
    assert schedule(0) == schedule.learning_rate
    assert schedule(500) < schedule.learning_rate


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (InverseTimeDecay(1.0, 1e-3), lambda t: 1.0 / (1.0 + 1e-3 * t)),
        (StepDecay(0.8, 0.5, 10), lambda t: 0.8 * 0.5 ** (t // 10)),
        (ExponentialDecay(0.1, 0.95), lambda t: 0.1 * 0.95**t),
        (ExponentialDecay(0.1, 0.95, every=10), lambda t: 0.1 * 0.95 ** (t / 10)),
        (CosineDecay(1.0, 80, 0.2), lambda t: 0.2 + 0.4 * (1 + math.cos(math.pi * min(t, 80) / 80))),
        (Warmup(CosineDecay(1.0, 80), 9), lambda t: (t + 1) / 10 if t < 9 else CosineDecay(1.0, 80)(t - 9)),
    ],
    ids=lambda one: name_of(one) if isinstance(one, Schedule) else "",
)
def test_formulas(schedule, formula):
    expected = [formula(step) for step in range(200)]
    np.testing.assert_allclose(schedule.values(0, 200), expected, rtol=1e-14, atol=1e-17)


def test_cosine_meets_its_ends_exactly():
    schedule = CosineDecay(0.7, steps=3, end=0.1)
    assert schedule(0) == 0.7
    assert schedule(3) == schedule(4) == schedule(10**12) == 0.1


def test_one_cycle_check_values():
    # Worked out with PyTorch's OneCycleLR(max_lr=0.5, total_steps=10).
    expected = [0.02, 0.26, 0.5, 0.475242316, 0.405872827]
    expected += [0.305631011, 0.194370989, 0.094129173, 0.024759684, 2e-6]
    np.testing.assert_allclose(OneCycle(0.5, steps=10).values(0, 10), expected, rtol=0, atol=5e-10)
    assert OneCycle(0.5, steps=10).values(9, 3).tolist() == [2e-6] * 3


@pytest.mark.parametrize("climb", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_one_cycle_peaks_once_at_any_length(steps, climb):
    rates = OneCycle(1.0, steps, climb).values(0, steps)
    top = int(rates.argmax())
    assert np.all(np.diff(rates[: top + 1]) > 0) and np.all(np.diff(rates[top:]) < 0)
    assert rates[top] == pytest.approx(1.0, abs=0.6 if steps < 10 else 0.01)


def test_warmup_of_nothing_and_of_a_number():
    np.testing.assert_array_equal(
        Warmup(ExponentialDecay(1.0, 0.5), steps=0).values(0, 9), ExponentialDecay(1.0, 0.5).values(0, 9)
    )
    assert Warmup(0.5, steps=1).values(0, 3).tolist() == [0.25, 0.5, 0.5]


# --- ReduceOnPlateau -------------------------------------------------------------------------------------


def rates_after(schedule, figures):
    rates = []
    for figure in figures:
        schedule.observe(figure)
        rates.append(schedule(0))
    return rates


def test_plateau_waits_reduces_and_stops_at_the_end():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=1, end=0.3)
    assert rates_after(schedule, [5, 4, 4, 4, 4, 4, 4, 4]) == [1, 1, 1, 0.5, 0.5, 0.3, 0.3, 0.3]


def test_plateau_threshold_is_relative_and_works_below_zero():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=0, threshold=0.1)
    assert rates_after(schedule, [-1.0, -1.05, -1.2]) == [1.0, 0.5, 0.5]


def test_plateau_mode_max():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=0, mode="max")
    assert rates_after(schedule, [0.1, 0.2, 0.2, 0.3]) == [1.0, 1.0, 0.5, 0.5]


def test_plateau_cooldown():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=0, cooldown=2)
    assert rates_after(schedule, [1, 1, 1, 1, 1]) == [1.0, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_plateau_takes_odd_figures_for_no_improvement(odd):
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=0)
    assert rates_after(schedule, [odd, 1.0, odd, 0.5]) == [0.5, 0.5, 0.25, 0.25]


def test_plateau_never_raises_a_rate():
    assert rates_after(ReduceOnPlateau(0.1, patience=0, end=0.3), [1, 1, 1]) == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("wrap", [lambda schedule: schedule, lambda schedule: Warmup(schedule, steps=2)])
def test_plateau_goes_on_from_its_state(wrap):
    def make():
        return wrap(ReduceOnPlateau(1.0, factor=0.5, patience=1, cooldown=1))

    figures = np.random.RandomState(0).rand(60).tolist()
    straight = make()
    expected = [(straight.observe(figure), straight(9))[1] for figure in figures]
    assert len(set(expected)) > 5
    first = make()
    got = [(first.observe(figure), first(9))[1] for figure in figures[:23]]
    second = make()
    second.set_state(first.get_state())
    got += [(second.observe(figure), second(9))[1] for figure in figures[23:]]
    assert got == expected


def test_state_of_another_kind_is_refused_and_changes_nothing():
    schedule = ReduceOnPlateau(1.0)
    before = schedule.get_state()
    for state, words in [
        ({}, r"must have the keys \['bad_epochs', 'best', 'cooling', 'rate'\], got \[\]"),
        (before | {"rate": -1.0}, r"state\['rate'\] must be"),
        (before | {"rate": 0.1, "cooling": -1}, r"state\['cooling'\] must be"),
    ]:
        with pytest.raises(ValueError, match=words):
            schedule.set_state(state)
        assert schedule.get_state() == before
    with pytest.raises(ValueError, match=r"must have the keys \[\]"):
        ConstantRate(1.0).set_state(before)
    ConstantRate(1.0).set_state(ConstantRate(1.0).get_state())


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ConstantRate(-1), ValueError, "learning_rate must be finite and at least 0, got -1.0"),
        (lambda: ConstantRate(math.nan), ValueError, "learning_rate must be finite"),
        (lambda: ConstantRate(math.inf), ValueError, "learning_rate must be finite"),
        (lambda: ConstantRate("0.1"), TypeError, "learning_rate must be a number, got str"),
        (lambda: ConstantRate(True), TypeError, "learning_rate must be a number, got bool"),
        (lambda: ConstantRate(np.array([0.1])), TypeError, "learning_rate must be a number, got ndarray"),
        (lambda: ConstantRate(1j), TypeError, "learning_rate must be a number, got complex"),
        (lambda: InverseTimeDecay(1.0, -1e-3), ValueError, "decay must be finite and at least 0"),
        (
            lambda: StepDecay(1.0, 0.0, 5),
            ValueError,
            "factor must be finite and greater than 0 and at most 1",
        ),
        (lambda: StepDecay(1.0, 1.5, 5), ValueError, "factor must be"),
        (lambda: StepDecay(1.0, 0.5, 0), ValueError, "every must be at least 1, got 0"),
        (lambda: StepDecay(1.0, 0.5, 2.0), TypeError, "every must be a whole number, got float"),
        (lambda: ExponentialDecay(1.0, 1.01), ValueError, "rate must be"),
        (lambda: CosineDecay(1.0, 0), ValueError, "steps must be at least 1"),
        (lambda: CosineDecay(1.0, 10, -0.1), ValueError, "end must be"),
        (lambda: Warmup(0.1, -1), ValueError, "steps must be at least 0"),
        (lambda: Warmup("x", 1), TypeError, "schedule must be a number or a Schedule, got str"),
        (lambda: OneCycle(1.0, 10, climb=1.1), ValueError, "climb must be"),
        (lambda: OneCycle(1.0, 10, start_divisor=0.5), ValueError, "start_divisor must be"),
        (lambda: OneCycle(1.0, 10, end_divisor=0), ValueError, "end_divisor must be"),
        (lambda: ReduceOnPlateau(1.0, factor=2), ValueError, "factor must be"),
        (lambda: ReduceOnPlateau(1.0, patience=-1), ValueError, "patience must be"),
        (lambda: ReduceOnPlateau(1.0, mode="best"), ValueError, "mode must be 'min' or 'max', got 'best'"),
        (lambda: ConstantRate(1.0)(-1), ValueError, "first_step must be at least 0, got -1"),
        (lambda: ConstantRate(1.0)(1.0), TypeError, "first_step must be a whole number"),
        (lambda: ConstantRate(1.0).values(0, -1), ValueError, "count must be at least 0"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_as_schedule():
    schedule = StepDecay(1.0, 0.5, 2)
    assert as_schedule(schedule) is schedule
    for value in (0, 0.25, 1, np.float32(0.5), np.float64(0.1), np.array(0.2)):
        assert as_schedule(value).values(7, 2).tolist() == [float(value)] * 2
    for value in (None, "0.1", [0.1], StepDecay, lambda step: 0.1, True):
        with pytest.raises(TypeError, match="learning_rate must be a number or a Schedule, got .*: pass"):
            as_schedule(value)
    for value in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="rate must be finite and at least 0"):
            as_schedule(value, "rate")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "must be one of .*'StepDecay'.*, got None"),
        ({"type": "Nonesuch"}, "got 'Nonesuch'"),
        ({"type": "Schedule"}, "got 'Schedule'"),
        ({"type": "ConstantRate"}, "config does not fit ConstantRate"),
        ({"type": "ConstantRate", "learning_rate": 1, "other": 2}, "config does not fit ConstantRate"),
        ({"type": "ConstantRate", "learning_rate": "1"}, "config does not fit ConstantRate"),
        ({"type": "Warmup", "schedule": {"type": "x"}, "steps": 1}, "got 'x'"),
    ],
)
def test_bad_configs(config, words):
    with pytest.raises(ValueError, match=words):
        Schedule.from_config(config)
    with pytest.raises(ValueError, match=r"must be one of \['StepDecay'\], got 'ConstantRate'"):
        StepDecay.from_config(ConstantRate(1.0).get_config())


def test_a_schedule_of_your_own():
    class Fall(Schedule):
        def __init__(self, learning_rate, slope):
            self.learning_rate = learning_rate
            self.slope = slope

        def rate_at(self, step):
            return self.learning_rate - self.slope * step

    schedule = Fall(1.0, 0.25)
    assert schedule.values(0, 5).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert Fall.from_config(schedule.get_config()).values(1, 1).tolist() == [0.75]
    with pytest.raises(ValueError, match="Fall gave the learning rate -0.25 at step 5"):
        schedule.values(3, 4)
    with pytest.raises(ValueError, match="Fall gave the learning rate nan at step 0"):
        Fall(math.nan, 0.0)(0)
    with pytest.raises(TypeError, match="abstract"):
        Schedule()
