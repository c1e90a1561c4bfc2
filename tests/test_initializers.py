"""Initialisers: their distributions, their reproducibility, their names and bad arguments."""

import math

import numpy as np
import pytest

import fastnn as fnn
from fastnn.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    Normal,
    Zeros,
    as_initializer,
)

SHAPE = (300, 200)
# Initialiser, standard deviation at SHAPE, and largest value (None: no bound).
RANDOM = [
    (GlorotUniform(), math.sqrt(2 / 500), math.sqrt(6 / 500)),
    (GlorotNormal(), math.sqrt(2 / 500), None),
    (HeUniform(), math.sqrt(2 / 300), math.sqrt(6 / 300)),
    (HeNormal(), math.sqrt(2 / 300), None),
    (Normal(), 0.01, None),
    (Normal(scale=3), 3.0, None),
]


@pytest.mark.parametrize(("initializer", "deviation", "limit"), RANDOM)
def test_distributions(initializer, deviation, limit):
    w = initializer(SHAPE, seed=1, index=0)
    assert w.shape == SHAPE and w.dtype == np.float64 and w.flags.carray
    # Five standard errors: of a mean 1/sqrt(n), of a standard deviation at most 1/sqrt(2 n).
    assert abs(w.mean()) <= 5 * deviation / math.sqrt(w.size)
    assert abs(w.std() / deviation - 1) <= 5 / math.sqrt(2 * w.size)
    if limit is None:
        assert 3 * deviation < abs(w).max() < 8.7 * deviation
        within = (abs(w) < deviation).mean()
        assert abs(within - math.erf(math.sqrt(0.5))) < 5 * math.sqrt(0.25 / w.size)
    else:
        assert 0.99 * limit < abs(w).max() <= limit
    assert np.unique(w).size > 0.999 * w.size


@pytest.mark.parametrize("initializer", [case[0] for case in RANDOM])
def test_seed_and_index_decide(initializer):
    w = initializer(SHAPE, 1, 2)
    np.testing.assert_array_equal(w, initializer(SHAPE, 1, 2))
    for other in (initializer(SHAPE, 2, 2), initializer(SHAPE, 1, 3)):
        assert (w != other).mean() > 0.999
    np.testing.assert_array_equal(initializer(SHAPE, 2**63 - 1), initializer(SHAPE, 2**63 - 1, 0))


def test_threads_do_not_change_the_bits():
    found, allowed = [], fnn.get_num_threads()
    try:
        for threads in (n for n in (1, 2, 4) if n <= allowed):
            fnn.set_num_threads(threads)
            found.append(HeNormal()((400, 500), 0))
    finally:
        fnn.set_num_threads(None)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_one_dimension_and_constants():
    assert HeNormal()(7, 0).shape == GlorotUniform()((7,), 0).shape == (7,)
    np.testing.assert_array_equal(Zeros()((2, 3), 0), np.zeros((2, 3)))
    np.testing.assert_array_equal(Constant(-0.5)((2, 3), 0), np.full((2, 3), -0.5))
    np.testing.assert_array_equal(Normal(0.0)((2, 3), 0), np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("glorot_uniform", GlorotUniform), ("glorot_normal", GlorotNormal), ("he_uniform", HeUniform),
        ("he_normal", HeNormal), ("normal", Normal), ("zeros", Zeros),
    ],
)  # fmt: skip
def test_names(name, kind):
    assert type(as_initializer(name)) is kind
    one = kind()
    assert as_initializer(one) is one
    assert type(as_initializer(one.get_config())) is kind


@pytest.mark.parametrize("initializer", [case[0] for case in RANDOM] + [Zeros(), Constant(2.0)])
def test_configurations(initializer):
    again = Initializer.from_config(initializer.get_config())
    assert repr(again) == repr(initializer)
    np.testing.assert_array_equal(again((2, 3), 0), initializer((2, 3), 0))


def test_an_initialiser_of_ones_own():
    class Ramp(Initializer):
        def draw(self, out, shape, seed, index):
            out[:] = np.arange(out.size)

    dense = fnn.Dense(2, 3, initializer=Ramp())
    np.testing.assert_array_equal(dense.weights, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: as_initializer("xavier"), ValueError, "'glorot_uniform'"),
        (lambda: as_initializer(HeNormal), TypeError, "got the class HeNormal"),
        (lambda: as_initializer(np.zeros), TypeError, "a name or an Initializer"),
        (lambda: as_initializer({"type": "Evil"}), ValueError, "'HeNormal'"),
        (lambda: Normal(-1), ValueError, "scale"),
        (lambda: Constant(np.nan), ValueError, "value"),
        (lambda: Zeros()((2, 0), 0), ValueError, "shape must be at least 1"),
        (lambda: Zeros()(2.0, 0), TypeError, "shape must be a whole number"),
        (lambda: Zeros()(2, -1), ValueError, "seed"),
        (lambda: HeNormal()(2, 2**63), ValueError, "seed"),
        (lambda: Zeros()(2, 0, -1), ValueError, "index"),
    ],
)
def test_bad_arguments(make, error, says):
    with pytest.raises(error, match=says):
        make()
