"""Counts to 1e-12 down to the smallest normal double, and below it to a unit of the last place; against references."""

import json
import math
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from dropstats import Channels, DropBlock, FixedCount, Layer, Network, Neuron
from dropstats.counts import Binomial, Table, binomial_interval, binomial_tails, hypergeometric, point_mass
from dropstats.counts.quick import QuickBinomial

REFERENCE = Path(__file__).parent / "reference"
DEEP = json.loads((REFERENCE / "binomial_deep.json").read_text())["cases"]
BORDERS = json.loads((REFERENCE / "binomial_borders.json").read_text())["cases"]
SUMS = json.loads((REFERENCE / "sum_deep.json").read_text())["cases"]
UNIT = 5e-324


def right(value, truth):
    """Whether a probability is right to 1e-12, or where doubles have fewer digits to a unit of the last place."""
    return abs(float(value) - float(truth)) <= max(1e-12 * float(truth), UNIT)


def right_log(value, truth):
    """Whether a log is right to 1e-12: absolutely where it is small, so that next to 0 its own digits are right."""
    return abs(float(value) - float(truth)) <= 1e-12 * min(abs(float(truth)), 1.0) + 1e-15 * abs(float(truth))


@pytest.mark.parametrize("tag", ["issue", "deep", "few", "middle", "large"])
def test_binomials_where_scipys_lose_digits(tag):
    cases = [case for case in DEEP if case["tag"] == tag]
    assert len(cases) >= 10
    for case in cases:
        check_binomial(case)


@pytest.mark.parametrize("n", sorted({case["n"] for case in BORDERS}))
def test_binomials_where_one_method_takes_over_from_another(n):
    for case in BORDERS:
        if case["n"] == n:
            check_binomial(case)


def check_binomial(case):
    """Compare all answers about a count, alone, in a short and in a long array, of dropped and of kept."""
    n, k, p = case["n"], case["k"], float.fromhex(case["p_hex"])
    law, mirror = Binomial(n, p), Binomial(n, p).mirror()
    for method, other, at in (("pmf", "pmf", n - k), ("cdf", "sf", n - k - 1), ("sf", "cdf", n - k - 1)):
        values = [getattr(law, method)(x) for x in (k, [k, k], np.full(200, k))]
        values += [getattr(mirror, other)(x) for x in (at, [at, at])]
        assert all(right(np.ravel(value)[-1], case[method]) for value in values), (method, n, p, k)
        logs = [getattr(law, "log" + method)(x) for x in (k, [k, k], np.full(200, k))]
        logs += [getattr(mirror, "log" + other)(x) for x in (at, [at, at])]
        assert all(right_log(np.ravel(value)[-1], case["log_" + method]) for value in logs), (method, n, p, k)


def test_the_cases_of_the_issue():
    assert right(Layer(2048, 0.3).prob(dropped=(None, 25)), "1.267015924774305830573684e-269")
    assert Layer(512, 0.2).prob(dropped=(474, None)) == pytest.approx(4.332e-278, rel=1e-3, abs=0)
    assert Layer(2000, 0.3).prob(dropped=(None, 38)) == pytest.approx(6.31e-244, rel=1e-3, abs=0)
    assert Layer(2048, 0.3).dropped.ppf(1e-280) == 19
    cdf = Layer(2048, 0.3).dropped.cdf(np.arange(2049))
    assert np.all(np.diff(cdf) >= 0)
    assert right(cdf[25], "1.267015924774305830573684e-269")


@pytest.mark.parametrize("case", SUMS, ids=lambda case: f"{case['layers'][0][0]}+{case['layers'][1][0]} at {case['k']}")
def test_sums_near_the_smallest_doubles(case):
    law, k = Network(*(Layer(n, float.fromhex(p)) for n, p in case["layers"])).dropped, case["k"]
    for method in ("pmf", "cdf", "sf"):
        assert right(getattr(law, method)(k), case[method]), method
        assert right(getattr(law, method)(np.array([k, k]))[1], case[method]), method
    assert right_log(law.logcdf(k), case["log_cdf"])
    assert right_log(law.logsf(k), case["log_sf"])


def test_sums_of_multiples_near_the_smallest_doubles():
    """Channels beside a layer, in exact fractions: 13% was lost at the end of a table."""
    law = Network(Channels(60, 3, 2**-6), Layer(300, 2**-5)).dropped
    exact = [Fraction(0)] * (law.n + 1)
    layer = [math.comb(300, j) * Fraction(1, 32) ** j * Fraction(31, 32) ** (300 - j) for j in range(301)]
    for i in range(61):
        channel = math.comb(60, i) * Fraction(1, 64) ** i * Fraction(63, 64) ** (60 - i)
        for j, p in enumerate(layer):
            exact[3 * i + j] += channel * p
    tails = [Fraction(0)]
    for p in reversed(exact):
        tails.append(tails[-1] + p)
    sf = tails[-2::-1]
    small = [k for k in range(law.n) if UNIT < sf[k] < 1e-280]
    assert len(small) > 15
    for values, truth in ((law.pmf(small), exact), (law.sf(small), sf)):
        assert all(right(value, float(truth[k])) for value, k in zip(values, small, strict=True))
    assert [law.sf(k) for k in small] == law.sf(small).tolist()


def logs_of(fractions):
    """Return the natural logs of exact fractions, also below the range of doubles."""
    shifts = [f.denominator.bit_length() - f.numerator.bit_length() for f in fractions]
    digits = zip(fractions, shifts, strict=True)
    return [math.log(f * 2**shift) - shift * math.log(2) if f else -math.inf for f, shift in digits]


@pytest.mark.parametrize("certain", [0, 7])
@pytest.mark.parametrize("upward", [False, True])
@pytest.mark.parametrize("kind", ["channels", "fixed count", "table"])
def test_whole_tails_of_sums_by_tilting(certain, upward, kind):
    """Every count of a sum whose pieces are tilted apart, below 1e-300 in both tails, in exact fractions."""
    p = Fraction(1, 2**20) if upward else 1 - Fraction(1, 2**20)
    other = {
        "channels": Channels(30, 3, float(p)),
        "fixed count": FixedCount(12, 5),
        "table": DropBlock(3, 3, 2, gamma=float(p)),
    }[kind]
    if kind == "channels":
        first = [Fraction(0)] * 91
        for i in range(31):
            first[3 * i] = math.comb(30, i) * p**i * (1 - p) ** (30 - i)
    elif kind == "fixed count":
        first = [Fraction(k == 5) for k in range(13)]
    else:  # four seeds: one covers 4 of 9, two side by side 6, across 7, three 8, four 9
        q, first = 1 - p, [Fraction(0)] * 10
        for covered, ways, seeds in ((0, 1, 0), (4, 4, 1), (6, 4, 2), (7, 2, 2), (8, 4, 3), (9, 1, 4)):
            first[covered] += ways * p**seeds * q ** (4 - seeds)
    exact = [Fraction(0)] * (certain + len(first) + 80)
    for i, a in enumerate(first):
        for j in range(81):
            exact[certain + i + j] += a * math.comb(80, j) * p**j * (1 - p) ** (80 - j)
    law = Network(Layer(certain, 1.0), other, Layer(80, float(p))).dropped
    k = np.arange(law.n + 1)
    below = list(accumulate(exact))
    above = [1 - x for x in below]
    for name, truth in (("logpmf", exact), ("logcdf", below), ("logsf", above)):
        wanted = np.array(logs_of(truth))
        for got in (getattr(law, name)(k), np.array([getattr(law, name)(x) for x in k.tolist()])):
            np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-13, err_msg=name)
    assert min(log for log in logs_of(exact) if log > -math.inf) < -900


def test_tables_whose_middle_is_remote():
    """Next to the likeliest count as well logs serve where a probability is below the range of doubles."""
    law = Table(np.array([-800.0, -750.0, 0.0, -760.0, -790.0]), n=6, start=1)
    assert law.logpmf(np.arange(7)).tolist() == [-math.inf, -800, -750, 0, -760, -790, -math.inf]
    assert [law.logcdf(k) for k in (0, 1, 2)] == [-math.inf, -800, pytest.approx(-750 + math.exp(-50), rel=1e-15)]
    assert [law.logsf(k) for k in (3, 4, 5)] == [pytest.approx(-760 + math.exp(-30), rel=1e-15), -790, -math.inf]


def test_tables_near_the_smallest_doubles():
    """A hypergeometric law in exact fractions, and a DropBlock of few seeds by its corners."""
    law = hypergeometric(3000, 1500, 1200)
    total = math.comb(3000, 1200)
    exact = [Fraction(math.comb(1500, k) * math.comb(1500, 1200 - k), total) for k in range(1201)]
    below = np.cumsum(np.array(exact, dtype=object))
    small = [k for k in range(1201) if UNIT < below[k] < 1e-240]
    assert len(small) > 20
    assert all(right(value, float(exact[k])) for value, k in zip(law.pmf(small), small, strict=True))
    assert all(right(value, float(below[k])) for value, k in zip(law.cdf(small), small, strict=True))
    assert law.cdf(small[0] - 5) == 0
    # two neighbouring seeds of four cover 20 of 25, two across 23, three 24, and four all
    block, gamma = DropBlock(5, 5, 4, gamma=1e-103).dropped, 1e-103
    for k, truth in ((16, 4 * gamma), (20, 4 * gamma**2), (23, 2 * gamma**2), (24, 4e-309), (25, 0.0)):
        assert right(block.pmf(k), truth), k
    assert right(block.sf(19), 6 * gamma**2)
    assert right(block.sf(23), 4e-309)
    assert Table(np.array([math.log(0.25), -720.0, math.log(0.75)])).pmf(1) == math.exp(-720)


@pytest.mark.parametrize(("low", "high", "truth"), [(300, 724, -1.95e-41), (480, 544, math.log(0.957823))])
def test_the_log_of_an_interval_near_1_is_that_of_both_tails(low, high, truth):
    layer = Layer(1024, 0.5)
    log = layer.prob(dropped=(low, high), log=True)
    assert log == pytest.approx(truth, rel=1e-2, abs=0)
    outside = layer.prob(dropped=(None, low - 1)) + layer.prob(dropped=(high + 1, None))
    assert log == pytest.approx(math.log1p(-outside), rel=1e-12, abs=0)
    assert layer.prob(kept=(1024 - high, 1024 - low), log=True) == pytest.approx(log, rel=1e-12, abs=0)
    assert math.exp(log) == pytest.approx(layer.prob(dropped=(low, high)), rel=1e-13, abs=0)


@pytest.mark.parametrize("law", [Layer(900, 0.3), Network(Layer(400, 0.1), Layer(300, 0.6)), Channels(300, 3, 0.3)])
@pytest.mark.parametrize(
    ("low", "high"), [(3, 9), (200, 260), (250, 251), (268, 270), (271, 600), (700, 890), (5, 895)]
)
def test_intervals_are_sums_of_probabilities(law, low, high):
    """Whether they are summed by ratios, from a table, or from tails."""
    truth = math.fsum(law.dropped.pmf(np.arange(low, high + 1)))
    assert law.prob(dropped=(low, high)) == pytest.approx(truth, rel=1e-12, abs=0)
    assert law.prob(kept=(law.n - high, law.n - low)) == pytest.approx(truth, rel=1e-12, abs=0)
    log = law.prob(dropped=(low, high), log=True)
    assert math.exp(log) == pytest.approx(truth, rel=1e-12, abs=0)
    if truth == 0:
        logs = law.dropped.logpmf(np.arange(low, high + 1))
        assert log == pytest.approx(np.logaddexp.reduce(logs), rel=1e-12, abs=0)


# the log of P(low <= X <= high), counted from the mean, of 18 billion neurons and p = 1/2: too many counts to be added
# up; mpmath with 50 digits, each tail term by term
WIDE = {
    (-32800, 32800): -0.9804808307058866901,
    (-32768, 32767): -0.9813957198769648791,
    (70_000, 140_000): -2.0408624779142466322,
    (-40_000, -10): -1.4940867283426742026,
    (-10, 70_000): -1.0449613676636669959,
    (2_000_000, 2_100_000): -448.7592721389965744,
}


@pytest.mark.parametrize("ends", [*WIDE, *((-high, -low) for low, high in WIDE)], ids=str)
@pytest.mark.parametrize("kind", ["plain", "mirror", "quick", "quick kept"])
def test_wide_intervals_come_from_tails(ends, kind):
    n = 18 * 10**9
    law = QuickBinomial(n, 0.5, kind == "quick kept") if "quick" in kind else Binomial(n, 0.5)
    law, truth = law.mirror() if kind == "mirror" else law, WIDE.get(ends) or WIDE[-ends[1], -ends[0]]
    low, high = (n // 2 + end for end in ends)
    assert law.between(low, high, log=True) == pytest.approx(truth, rel=1e-12, abs=0)
    assert law.between(low, high) == pytest.approx(math.exp(truth), rel=1e-12 * max(1, -truth), abs=0)


def test_wide_intervals_that_cannot_occur():
    law = point_mass(10**6, 3)
    for count, low, high in ((law, 100, 900_000), (law.mirror(), 100_000, 999_900)):
        assert count.between(low, high) == 0
        assert count.between(low, high, log=True) == -math.inf


def test_quantiles_of_deep_levels():
    for law in (Layer(2048, 0.3), Layer(512, 0.2), Layer(835364, 3.29e-5), Network(Layer(900, 0.1), Layer(900, 0.5))):
        for count in (law.dropped, law.kept):
            for level in (1e-320, 1e-300, 1e-280, 1e-243, 1e-30, 0.3):
                low, high = int(count.ppf(level)), int(count.isf(level))
                assert count.cdf(low) >= level
                assert low == 0 or count.cdf(low - 1) < level
                assert count.sf(high) <= level
                assert high == 0 or count.sf(high - 1) > level
                # an array is searched otherwise than a number
                assert count.ppf([level, level]).tolist() == [low, low]
                assert count.isf([level, level]).tolist() == [high, high]


def test_numbers_and_arrays_agree():
    for n, p in ((40, 0.3), (5000, 0.001), (2**20, 0.5), (2**20 + 1, 1e-5), (10**9, 1 - 1e-8), (3, 1e-300)):
        law = Binomial(n, p)
        k = np.unique(np.clip(np.rint(n * p + (math.sqrt(n * p) + 1) * np.linspace(-40, 40, 97)), 0, n))
        for method in ("pmf", "logpmf", "cdf", "logcdf", "sf", "logsf"):
            numbers = np.array([getattr(law, method)(x) for x in k.tolist()])
            np.testing.assert_allclose(getattr(law, method)(k), numbers, rtol=2e-12, atol=1e-318, err_msg=method)
            integers = np.array([getattr(law, method)(int(x)) for x in k.tolist()])
            np.testing.assert_array_equal(integers, numbers)
            assert isinstance(getattr(law, method)(float(k[0])), np.float64)


def test_moments_of_tiny_rates():
    """Powers of a variance of 1e-250 are below the range of doubles; the moments are not."""
    law = Neuron(1e-250).dropped
    for order in range(1, 5):
        assert law.moment(order) == pytest.approx(1e-250, rel=1e-14, abs=0)
    for count in (Layer(3, 1e-200).dropped, Layer(3, [1e-200, 2e-200, 0]).dropped):
        for order in (3, 4):
            assert count.moment(order) == pytest.approx(3e-200, rel=1e-13, abs=0)
    both = Network(Channels(2, 3, 1e-200), FixedCount(4, 0)).dropped
    assert both.moment(4) == pytest.approx(2 * 3**4 * 1e-200, rel=1e-13, abs=0)


def test_moments_of_many_rates_are_computed_once(monkeypatch):
    law = Layer(1000, np.linspace(0.1, 0.2, 1000)).dropped
    mean = law.mean()

    def again(values):
        raise AssertionError("computed anew")

    monkeypatch.setattr(math, "fsum", again)
    assert law.mean() == mean
    assert law.stats("mvsk")[0] == mean
    assert law.moment(3) > 0


# --- tails and intervals by the incomplete beta function -------------------------------------------------------------


def test_binomial_tails():
    rng = np.random.default_rng(0)
    n = rng.integers(1, 40, 300)
    k, p = rng.integers(0, n + 1), rng.random(300).round(1)
    low, high = binomial_tails(k, n, p)
    for i in range(300):
        pmf = [math.comb(int(n[i]), j) * p[i] ** j * (1 - p[i]) ** (int(n[i]) - j) for j in range(n[i] + 1)]
        assert low[i] == pytest.approx(math.fsum(pmf[: k[i] + 1]), rel=1e-12, abs=0)
        assert high[i] == pytest.approx(math.fsum(pmf[k[i] :]), rel=1e-12, abs=0)
    # many counts of one law are looked up
    many = rng.integers(0, 41, 5000)
    for one, other in zip(binomial_tails(many, 40, 0.3), binomial_tails(many[:, None], 40, 0.3), strict=True):
        np.testing.assert_array_equal(one, other[:, 0])
    # also where they take many values
    every = np.arange(5001)
    assert binomial_tails(every, 5000, 0.3)[1][7] == binomial_tails(7, 5000, 0.3)[1]
    assert [float(tail) for tail in binomial_tails(2, 5, 1.0)] == [0, 1]
    assert [float(tail) for tail in binomial_tails(5, 5, 1.0)] == [1, 1]


def test_binomial_interval_covers():
    """Clopper and Pearson: at either end the observed count is just as rare as allowed."""
    for dropped, kept, tail in ((3, 7, 0.025), (0, 12, 0.01), (9, 0, 0.2), (400, 600, 1e-6)):
        low, high = map(float, binomial_interval(dropped, kept, tail))
        n = dropped + kept
        if dropped:
            assert binomial_tails(dropped, n, low)[1] == pytest.approx(tail, rel=1e-9, abs=0)
        if kept:
            assert binomial_tails(dropped, n, high)[0] == pytest.approx(tail, rel=1e-9, abs=0)
        assert (dropped == 0) == (low == 0)
        assert (kept == 0) == (high == 1)
