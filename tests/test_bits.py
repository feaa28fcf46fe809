"""bits: exact by enumeration of what the random bits can be, and statistically."""

import sys
from fractions import Fraction
from math import comb, sqrt

import numpy as np
import pytest

from dropstats import bits
from dropstats.bits import sources

# Two-sided tail of a normal law beyond 5.33: one false alarm in 10^7 tests. Seeds are fixed, so a failure is a bug.
Z = 5.33

EXTREME = [0.1, 0.3, 1 / 3, 0.5, 0.9, 1e-300, 5e-324, 2.0**-60, 1 - 2.0**-53, 0.5 + 2.0**-53, 255 / 256]


class Source:
    """A generator whose words are given."""

    def __init__(self, *words):
        self.words = np.concatenate([np.asarray(part, np.uint64).reshape(-1) for part in words])
        self.used = 0

    def integers(self, low, high, size, dtype, endpoint):
        assert (low, high, dtype, endpoint) == (0, 2**64 - 1, np.uint64, True)
        self.used += size
        assert self.used <= self.words.size
        return self.words[self.used - size : self.used].copy()


def indices(values):
    """Words that are read as these 16-bit indices."""
    return np.asarray(values, np.uint16).view(np.uint64)


def scalar(p, masks, n=64):
    return np.broadcast_to(np.float64(p), (n,)), masks


def neurons(words):
    """Drops as booleans of shape (masks, 64 * columns), from words of one slice."""
    flat = np.ascontiguousarray(words[0].T).view(np.uint8)
    return np.unpackbits(flat, axis=1).astype(bool)


# --- comparison with p's digits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("numerator", range(257))
def test_all_outcomes_of_eight_random_bits_give_a_dyadic_p_exactly(numerator):
    source = sources.Digits(np.asarray(numerator / 256))
    depth = len(source.planes)
    assert source.exact
    outcomes = np.arange(2**depth)
    # lane 0 of row i sees the digits of i
    words = (outcomes[None, :] >> np.arange(depth)[:, None]) & 1
    dropped = source.fill(Source(words), (1, 1, outcomes.size)) & np.uint64(1)
    assert Fraction(int(dropped.sum()), 2**depth) == Fraction(numerator, 256)


def test_all_outcomes_of_eight_random_bits_give_each_neuron_its_own_p_exactly():
    numerator = np.r_[0:256, 256, 0:63]
    source = sources.Digits(numerator / 256)
    columns, rows = numerator.size // 64, 256
    outcomes = np.arange(256)
    words = np.zeros((8, 1, columns, rows), np.uint64)
    for digit in range(8):  # in all lanes of row i, the digits of i; seven digits or less are drawn by words of eight
        words[digit] = np.where(outcomes >> digit & 1, np.uint64(2**64 - 1), np.uint64(0))
    dropped = neurons(source.fill(Source(words), (1, columns, rows)))
    np.testing.assert_array_equal(dropped.sum(axis=0), numerator)


@pytest.mark.parametrize("p", EXTREME)
def test_the_digits_compared_are_all_of_p(p):
    source = sources.Digits(np.asarray(p))
    prefix = sum(Fraction(int(plane != 0), 2 ** (len(source.planes) - d)) for d, plane in enumerate(source.planes))
    if source.exact:
        assert prefix * 2 ** (len(source.planes)) / 2 ** len(source.planes) == Fraction(p)
    else:
        after = (int(source.following) + Fraction(float(source.beyond))) / 2**64
        assert prefix + after / 256 == Fraction(p)


@pytest.mark.parametrize("p", [0.1, 1e-300, 1 - 2.0**-53, 2.0**-70])
def test_an_undecided_neuron_is_dropped_exactly_below_the_digits_that_follow(p):
    # u < p over all 2^64 words is decided by word < following, so it is enough to look beside the step
    source = sources.Digits(np.asarray(p))
    following = int(source.following)
    undecided = np.zeros(8, np.uint64)  # eight times "does not differ": lane 0 ... 63 of one word
    nearby = [w for w in (0, following - 1, following + 1, 2**64 - 1) if 0 <= w < 2**64 and w != following]
    for word in nearby:
        dropped = source.fill(Source(undecided, [word] * 64), (1, 1, 1))
        assert int(dropped[0, 0, 0]) == (2**64 - 1 if word < following else 0)


def test_ties_go_on_to_the_last_digit():
    # 2^-70 + 2^-122: the prefix and the first 62 of the 64 digits after it are zeros, so 2^-70 is digit 62 of these
    p = 2.0**-70 + 2.0**-122
    source = sources.Digits(np.asarray(p))
    tie = [int(source.following)] * 64
    rest = int(Fraction(float(source.beyond)) * 2**64)
    assert rest > 0
    for word, expected in ((rest - 1, 2**64 - 1), (rest, 0), (rest + 1, 0)):
        # lane after lane: the word that ties, then the word that decides
        drawn = [w for _ in range(64) for w in (tie[0], word)]
        dropped = source.fill(Source(np.zeros(8), drawn), (1, 1, 1))
        assert int(dropped[0, 0, 0]) == expected


def test_bernoulli_extends_its_fraction_to_the_last_digit_of_a_subnormal():
    p = np.array([5e-324, 0.0, 1e-300])

    # 5e-324 is 2^-1074: sixteen ties of zeros, then digit 50 of the seventeenth word
    def run(*words):
        return sources.bernoulli(p[:1], Source(words))[0]

    assert not run(1)
    assert run(*[0] * 16, 2**14 - 1)
    assert not run(*[0] * 16, 2**14)
    assert not sources.bernoulli(p[1:2], Source([]))[0]  # no randomness for p = 0


def test_each_neuron_meets_its_own_digits_where_undecided():
    p = np.random.default_rng(1).random(128)
    source = sources.Digits(p)
    # all lanes undecided; lane by lane, neuron j is compared with a word on the brink of its own digits
    order = np.arange(64) ^ 7 if sys.byteorder == "little" else 63 - np.arange(64)
    following = [int(Fraction(v) * 2**72) % 2**64 for v in p]
    for below in (True, False):
        drawn = [following[64 * c + lane] + (0 if not below else -1) for lane in order for c in range(2)]
        source_words = Source(np.zeros(16), np.array(drawn, np.uint64))
        assert all(Fraction(v) * 2**72 % 1 == 0 for v in p)  # or a tie would be drawn on
        dropped = neurons(source.fill(source_words, (1, 2, 1)))
        assert dropped.all() if below else not dropped.any()


# --- tables of patterns ---------------------------------------------------------------------------------------------


def pattern_probabilities(p):
    p = Fraction(p)
    return [p**k * (1 - p) ** (8 - k) for k in range(9)]


@pytest.mark.parametrize("p", [1 / 4, 3 / 4, 3 / 8, 61 / 64, 0.1])
def test_all_outcomes_of_the_indices_and_what_is_left_are_the_probability_of_each_pattern(p):
    table = sources.Table(p)
    got = [Fraction(0)] * 256
    reach = Fraction(1)
    for depth in range(3):
        if not reach:
            break
        # everything that can happen at this depth, driven through `fill` itself
        on_the_way = [np.full(sources.INDICES, sources.INDICES - 1) for _ in range(depth)]
        fake = Source(*map(indices, on_the_way), indices(np.arange(sources.INDICES)), np.full(2**15, 0, np.uint64))
        patterns = table.fill(fake, (1, 1, sources.INDICES // 8)).reshape(-1).view(np.uint8)
        decided = table.stage(depth)[0].size
        for pattern, count in enumerate(np.bincount(patterns[:decided], minlength=256)):
            got[pattern] += reach * Fraction(int(count), sources.INDICES)
        reach *= Fraction(sources.INDICES - decided, sources.INDICES)
    assert (reach == 0) == (p in (1 / 4, 3 / 4))  # 16 bits are all that these need
    weights = table.stage(depth if reach else 0)[1]  # of what is left, which the next table is made from
    total = sum(map(int.__mul__, sources._PATTERNS_OF_WEIGHT, weights))
    left = [reach * Fraction(weight, total) if reach else 0 for weight in weights]
    expected = pattern_probabilities(p)
    for pattern in range(256):
        weight = pattern.bit_count()
        assert got[pattern] + left[weight] == expected[weight]


@pytest.mark.parametrize("p", EXTREME)
def test_patterns_have_their_probability_at_every_depth_of_the_table(p):
    table = sources.Table(p)
    expected, got, reach = pattern_probabilities(p), [Fraction(0)] * 9, Fraction(1)
    for depth in range(6):
        if not reach:
            break
        counts = np.bincount(table.stage(depth)[0], minlength=256)
        by_weight = [{int(counts[i]) for i in range(256) if i.bit_count() == k} for k in range(9)]
        for weight, different in enumerate(by_weight):
            assert len(different) == 1  # patterns of one weight have the same number of places
            got[weight] += reach * Fraction(different.pop(), sources.INDICES)
        reach *= Fraction(sources.INDICES - int(counts.sum()), sources.INDICES)
        left = [a - b for a, b in zip(expected, got, strict=True)]
        assert all(part >= 0 for part in left)
        assert sum(part * comb(8, k) for k, part in enumerate(left)) == reach
        assert reach <= Fraction(256, 2**16) ** (depth + 1)
        # what the next table is made from is what is left, exactly
        weights = table.stage(depth)[1]
        total = sum(map(int.__mul__, sources._PATTERNS_OF_WEIGHT, weights))
        if reach:
            assert [Fraction(w, total) * reach for w in weights] == left


def test_the_remainder_of_a_table_is_drawn_where_the_index_lies_beyond_its_end():
    table = sources.Table(0.1)
    size = table.stage(0)[0].size
    assert 65536 - 256 <= size < 65536
    index = np.zeros(16, np.uint16)
    index[5], index[9] = size, 65535
    found = np.array([7, 65535, 0, 0], np.uint16)  # the first is found, the other falls through again
    fake = Source(indices(index), indices(found), indices([11, 0, 0, 0]))
    patterns = table.fill(fake, (1, 1, 2)).reshape(-1).view(np.uint8)
    assert patterns[5] == table.stage(1)[0][7]
    assert patterns[9] == table.stage(2)[0][11]
    others = np.delete(patterns, [5, 9])
    assert (others == table.stage(0)[0][0]).all()


# --- masks and counts -----------------------------------------------------------------------------------------------


def rate_cases(n):
    rng = np.random.default_rng(n)
    yield from (scalar(p, 0, n)[0] for p in (0.0, 1.0, 0.5, 0.25, 0.1, 1e-300))
    yield rng.random(n)
    yield np.where(rng.random(n) < 0.5, rng.integers(0, 2, n), 0.375)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 20, 32, 33, 64, 65, 1024, 40_000])
@pytest.mark.parametrize("masks", [1, 5, 130, 1031])
def test_counts_are_those_of_the_masks(n, masks):
    for rates in rate_cases(n):
        kept = bits.kept_masks(rates, masks, np.random.default_rng(3))
        packed = bits.packed_masks(rates, masks, np.random.default_rng(3))
        counts, drops = bits.count_drops(rates, masks, np.random.default_rng(3))
        assert kept.shape == (masks, n)
        assert kept.dtype == np.bool_
        np.testing.assert_array_equal(packed, np.packbits(kept, axis=1))
        np.testing.assert_array_equal(counts, (~kept).sum(axis=1))
        np.testing.assert_array_equal(drops, (~kept).sum(axis=0))
        assert kept[:, rates == 0].all()
        assert not kept[:, rates == 1].any()


@pytest.mark.parametrize("n", [3, 8, 13, 32])
@pytest.mark.parametrize("p", [0.5, 0.1, "own"])
def test_masks_that_share_a_word_are_independent(n, p):
    """Neurons of masks up to eight calls apart, all pairs of them, and the rate of each."""
    masks = 2**17
    rates = np.random.default_rng(n).random(n) * 0.8 + 0.1 if p == "own" else scalar(p, 0, n)[0]
    drops = ~bits.kept_masks(rates, masks, np.random.default_rng(5))
    standard = (drops - rates) / np.sqrt(rates * (1 - rates))
    assert np.abs(standard.mean(axis=0)).max() < Z / sqrt(masks)
    for lag in range(9):
        products = standard[: masks - lag].T @ standard[lag:]
        if lag == 0:
            products -= np.diag(np.diagonal(products))
        assert np.abs(products).max() < Z / sqrt(masks) * masks, lag


@pytest.mark.parametrize("masks", [0, 3])
def test_no_neurons_or_no_masks(masks):
    for n in (0, 5, 40):
        rates, generator = scalar(0.3, 0, n)[0], np.random.default_rng(1)
        assert bits.kept_masks(rates, masks, generator).shape == (masks, n)
        assert bits.packed_masks(rates, masks, generator).shape == (masks, -(-n // 8))
        counts, drops = bits.count_drops(rates, masks, generator)
        assert (counts.shape, drops.shape) == ((masks,), (n,))


@pytest.mark.parametrize("size", [1, 3, 16, 17, 40])
def test_column_sums_are_sums(size):
    rng = np.random.default_rng(size)
    words = rng.integers(0, 2**64 - 1, (size, 3, 32), np.uint64, endpoint=True)
    expected = np.unpackbits(words.view(np.uint8).reshape(size, 3, 32, 8), axis=-1).sum(axis=(0, 2)).reshape(-1)
    sums = bits.ColumnSums(3, 32)
    for plane in words:
        sums.add(plane)
    np.testing.assert_array_equal(sums.sums(), expected)


# --- statistics -----------------------------------------------------------------------------------------------------


def z_score(drops, p, masks):
    return (drops - masks * p) / np.sqrt(masks * p * (1 - p))


@pytest.mark.parametrize("name", ["SFC64", "PCG64", "PCG64DXSM", "Philox", "MT19937"])
@pytest.mark.parametrize("p", [0.5, 0.1, 0.3, 0.999])
def test_every_bit_generator_drops_every_neuron_at_its_rate(name, p):
    generator = np.random.Generator(getattr(np.random, name)(11))
    masks = 50_000
    for rates in (scalar(p, 0, 100)[0], np.r_[np.full(99, p), 0.7]):
        counts, drops = bits.count_drops(rates, masks, generator)
        assert np.abs(z_score(drops, rates, masks)).max() < Z
        assert abs(z_score(counts.sum(), p, masks * 100) if rates.strides == (0,) else 0) < Z


def test_neurons_are_pairwise_independent():
    masks = 20_000
    for rates in (scalar(0.3, 0, 128)[0], np.r_[np.full(127, 0.3), 0.31]):
        kept = bits.kept_masks(rates, masks, np.random.default_rng(4))
        z = ((~kept) - rates) / np.sqrt(rates * (1 - rates))
        r = z.T @ z / sqrt(masks)
        off = r[np.triu_indices(128, 1)]
        assert np.abs(off).max() < Z  # 8128 pairs: one false alarm in 1200 seeds
        copied = np.c_[z[:, :1], z]
        assert (copied.T @ copied / sqrt(masks))[0, 1] > 100  # a copied column does not pass


@pytest.mark.slow
def test_a_thousand_million_neurons_at_p_01():
    """Null: each of 1e9 neurons is dropped with probability 0.1. Normal test, false-alarm rate 1e-7."""
    n, masks = 1000, 125_000
    generator = np.random.Generator(np.random.SFC64(2026))
    for rates in (scalar(0.1, 0, n)[0], np.r_[np.full(n - 1, 0.1), 0.2]):  # by table, by digits
        dropped = sum(int(bits.count_drops(rates, masks, generator)[1][: n - 1].sum()) for _ in range(8))
        total = 8 * masks * (n - 1)
        assert abs(z_score(dropped, 0.1, total)) < Z
        for rounded in (26 / 256, 25 / 256):  # what implementations with thresholds of 8 bits drop
            assert abs(z_score(dropped, rounded, total)) > 100
        assert abs(z_score(dropped, round(0.1 * 2**12) / 2**12, total)) > Z


def test_the_check_fails_for_p_rounded_to_eight_bits():
    generator = np.random.Generator(np.random.SFC64(1))
    dropped = int(bits.count_drops(scalar(26 / 256, 0, 1000)[0], 10_000, generator)[1].sum())
    assert abs(z_score(dropped, 26 / 256, 10**7)) < Z
    assert abs(z_score(dropped, 0.1, 10**7)) > Z


# --- golden values: a change here is a change of everyone's numbers, "Value-breaking" in the changelog ---------------


@pytest.mark.skipif(sys.byteorder != "little", reason="16-bit indices are read in the machine's byte order")
@pytest.mark.parametrize(
    ("p", "n", "masks", "expected"),
    [
        (0.5, 16, 2, [[48, 161], [175, 5]]),
        (0.1, 16, 2, [[255, 255], [251, 253]]),
        (0.1, 1024, 300, [[255, 255], [255, 255]]),
        ("ramp", 16, 2, [[255, 0], [247, 206]]),
    ],
)
def test_golden_masks(p, n, masks, expected):
    rates = np.linspace(0, 1, n) if p == "ramp" else scalar(p, 0, n)[0]
    packed = bits.packed_masks(rates, masks, np.random.Generator(np.random.SFC64(7)))
    assert packed[:2, -2:].tolist() == expected
