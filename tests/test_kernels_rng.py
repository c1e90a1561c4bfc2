"""The random generator: published values, a twin in pure NumPy, frozen values, the same bits everywhere."""

from collections import Counter

import numba
import numpy as np
import pytest

from fastnn.kernels import rng

SIZES = (0, 1, 15, 16, 17, 31, 33, 63, 65, 300, 1000)
WORD = np.uint64(0xFFFFFFFF)
SEED = 0x0123456789ABCDEF
ORDER = [7, 4, 9, 2, 3, 10, 14, 8, 16, 15, 0, 6, 13, 5, 1, 11, 12]
UNIFORM = [
    "0x1.31d00efc899f7p-1", "0x1.fec61fc2d6093p-1", "0x1.08b32cfaae4abp-1", "0x1.e2c754d812613p-1",
    "0x1.08b8212dc71fep-2", "0x1.540797e1523e2p-2", "0x1.7269f4ef877e0p-2",
]  # fmt: skip
NORMAL = [
    "0x1.e6bc53679f464p-1", "0x1.d847bce0a395ep-8", "-0x1.f732de073fb4ep-5", "-0x1.6cdcc020f5b30p-2",
    "0x1.25a3e55316196p+0", "0x1.c3a51276cc038p-1", "0x1.6c8bb1066fbfep+0",
]  # fmt: skip


def philox(counter, key):
    """Return Philox4x32-10 of counters (4, n) and a key (2,), in uint64 arrays of 32-bit words."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = (int(k) for k in key)
    shift = np.uint64(32)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> shift) ^ c1 ^ np.uint64(k0), (p0 >> shift) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & WORD, p0 & WORD
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([c0, c1, c2, c3])


def blocks(index, seed, stream, substream):
    """Return the words (4, n) of the blocks with these indices."""
    index = np.asarray(index, np.uint64)
    fixed = [np.full_like(index, stream % 2**32), np.full_like(index, substream % 2**32)]
    return philox([index & WORD, index >> np.uint64(32), *fixed], (seed % 2**32, seed // 2**32 % 2**32))


def numbers(n, seed, stream, substream):
    """Return the 64-bit numbers that n elements take, as the module's text has it."""
    i = np.arange(n)
    w = blocks(i // 16 * 8 + i % 8, seed, stream, substream)
    pairs = (w[::2] << np.uint64(32)) | w[1::2]
    return np.where(i // 8 % 2 == 0, pairs[0], pairs[1])


def normal_twin(n, seed, stream, substream):
    """Return standard normal values as the docstring of `normal` has them."""
    i = np.arange(n)
    w = blocks(i // 16 * 8 + i % 8, seed, stream, substream)
    u, v = (((w[k] << np.uint64(32)) | w[k + 1]) >> np.uint64(11) for k in (0, 2))
    radius = np.sqrt(-2 * np.log((u + np.uint64(1)) * 2.0**-53))
    angle = 2 * np.pi * (v * 2.0**-53)
    return radius * np.where(i // 8 % 2 == 0, np.cos(angle), np.sin(angle))


def order_of(n, seed=SEED, epoch=5):
    order = np.full(n, -1, np.int64)
    rng.permutation(order, seed, epoch)
    return order


@pytest.fixture
def threads_restored():
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize(
    "counter, key, wanted",
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_published_values(counter, key, wanted):
    """The known answers that come with Random123, the authors' own implementation."""
    counter, key, wanted = ([int(w, 16) for w in words.split()] for words in (counter, key, wanted))
    out = np.zeros(4, np.int64)
    rng.philox(np.array(counter), np.array(key), out)
    assert out.tolist() == wanted
    assert philox([[c] for c in counter], key)[:, 0].tolist() == wanted


@pytest.mark.parametrize("n", SIZES)
def test_permutation_is_the_shuffle_of_its_docstring(n):
    wanted = list(range(n))
    for i, number in enumerate(numbers(n, SEED, rng.STREAM_SHUFFLE, 5)):
        j = int(number) * (i + 1) >> 64
        wanted[i] = wanted[j]
        wanted[j] = i
    order = order_of(n)
    assert sorted(order) == list(range(n))
    assert order.tolist() == wanted


def test_permutations_differ_by_seed_and_epoch_and_are_evenly_spread():
    assert not np.array_equal(order_of(100, epoch=1), order_of(100, epoch=2))
    assert not np.array_equal(order_of(100, seed=1), order_of(100, seed=2))
    assert not np.array_equal(order_of(100, seed=1), order_of(100, seed=1 + 2**32))
    # Each of 24 orders of 4 things: a chi-squared value with 23 degrees of freedom, 1e-6 chance above 67.
    counts = Counter(tuple(order_of(4, 7, epoch).tolist()) for epoch in range(12_000))
    assert len(counts) == 24
    assert sum((c - 500) ** 2 / 500 for c in counts.values()) < 67
    # Each element in each place of 20: 361 degrees of freedom, 1e-6 chance above 500.
    table = np.zeros((20, 20))
    for epoch in range(4000):
        table[np.arange(20), order_of(20, 8, epoch)] += 1
    assert ((table - 200) ** 2 / 200).sum() < 500


@pytest.mark.parametrize("n", SIZES)
def test_uniform_and_normal_equal_their_twins(n):
    out = np.full(n, np.nan)
    rng.uniform(out, -0.5, 1.5, SEED, rng.STREAM_INIT, 3, 1)
    u = (numbers(n, SEED, rng.STREAM_INIT, 3) >> np.uint64(11)) * 2.0**-53
    # The kernel rounds once where NumPy rounds twice.
    np.testing.assert_allclose(out, 2 * u - 0.5, rtol=0, atol=2.0**-53)
    rng.normal(out, 10.0, 2.0, SEED, rng.STREAM_INIT, 4, 1)
    np.testing.assert_allclose(out, 10 + 2 * normal_twin(n, SEED, rng.STREAM_INIT, 4), rtol=0, atol=1e-14)


def test_frozen_values():
    """Computed once, after the comparison above: a change here changes every seeded network."""
    assert order_of(17).tolist() == ORDER
    out = np.empty(18)
    rng.uniform(out, 0.0, 1.0, SEED, rng.STREAM_INIT, 0, 1)
    assert [x.hex() for x in out[[0, 1, 7, 8, 15, 16, 17]].tolist()] == UNIFORM
    rng.normal(out, 0.0, 1.0, SEED, rng.STREAM_INIT, 0, 1)
    assert [x.hex() for x in out[[0, 1, 7, 8, 15, 16, 17]].tolist()] == NORMAL


def test_moments():
    n = 1_000_000
    out = np.empty(n)
    rng.uniform(out, 0.0, 1.0, 1, rng.STREAM_INIT, 0, 1)
    assert out.min() >= 0 and out.max() < 1
    # Six standard deviations of each moment's estimate.
    assert abs(out.mean() - 1 / 2) < 6 * np.sqrt(1 / 12 / n)
    assert abs(out.var() - 1 / 12) < 6 * np.sqrt(1 / 180 / n)
    rng.normal(out, 0.0, 1.0, 1, rng.STREAM_INIT, 0, 1)
    assert abs(out.mean()) < 6 / np.sqrt(n)
    for power, wanted, variance in ((2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((out**power).mean() - wanted) < 6 * np.sqrt(variance / n)
    pairs = out.reshape(-1, 2, 8)
    assert abs((pairs[:, 0] * pairs[:, 1]).mean()) < 6 / np.sqrt(n / 2)
    inside = np.mean(np.abs(out) < 1)
    assert abs(inside - 0.6826894921) < 6 * np.sqrt(0.6827 * 0.3173 / n)


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_float32_is_float64_rounded(name):
    single, double = np.empty(1000, np.float32), np.empty(1000)
    for out in (single, double):
        getattr(rng, name)(out, 0.25, 1.75, SEED, rng.STREAM_INIT, 9, 1)
    np.testing.assert_array_equal(single, double.astype(np.float32))


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_streams_and_substreams_share_nothing(name):
    draws = []
    for seed, stream, substream in (
        (1, 1, 1),
        (2, 1, 1),
        (1 + 2**32, 1, 1),
        (1, 2, 1),
        (1, 1, 2),
        (-1, 1, 1),
    ):
        out = np.empty(500)
        getattr(rng, name)(out, 0.0, 1.0, seed, stream, substream, 1)
        draws.append(out)
    assert np.unique(np.concatenate(draws)).size == 500 * len(draws)
    assert len({rng.STREAM_SHUFFLE, rng.STREAM_INIT, rng.STREAM_DROPOUT, rng.STREAM_USER}) == 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_same_bits_for_any_number_of_workers_and_any_size(name, dtype, threads_restored):
    kernel = getattr(rng, name)
    whole = np.empty(SIZES[-1], dtype)
    kernel(whole, -1.0, 1.0, SEED, rng.STREAM_INIT, 1, 1)
    for size in SIZES:
        for n_workers in (1, 2, 3, 4):
            numba.set_num_threads(n_workers)
            for build in (kernel, kernel.parallel):
                room = np.full(size + 64, -7, dtype)
                out = room[32 : 32 + size]
                build(out, -1.0, 1.0, SEED, rng.STREAM_INIT, 1, n_workers)
                assert out.tobytes() == whole[:size].tobytes(), (size, n_workers, build)
                np.testing.assert_array_equal(np.delete(room, np.s_[32 : 32 + size]), -7)


def test_permutation_writes_nothing_beyond_its_array():
    for size in SIZES:
        room = np.full(size + 64, -7, np.int64)
        rng.permutation(room[32 : 32 + size], SEED, 1)
        np.testing.assert_array_equal(np.delete(room, np.s_[32 : 32 + size]), -7)
