"""A binomial count's answers without scipy.stats: beside sums of exact fractions, and beside `Binomial`."""

import math
from fractions import Fraction
from functools import cache
from itertools import accumulate

import numpy as np
import pytest

from dropstats.counts import Binomial
from dropstats.counts.quick import QuickBinomial


@cache
def exact(n, p):
    """Return P(X <= k) of binomial(n, p) for k = -1, 0, ..., n, as fractions of the double p."""
    p = Fraction(p)
    return [Fraction(0), *accumulate(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1))]


def close(found, wanted):
    # the logs are right to some 1e-15 of themselves, and reach -680 here
    return found == pytest.approx(float(wanted), rel=2e-12, abs=0)


@pytest.mark.parametrize(("n", "p"), [(1, 0.3), (2, 0.5), (37, 0.1), (200, 0.5), (200, 0.97), (150, 1e-3)])
@pytest.mark.parametrize("kept", [False, True])
def test_intervals_are_exact(n, p, kept):
    count, cdf = QuickBinomial(n, p, kept), exact(n, p)
    rng = np.random.default_rng(0)
    pairs = [(0, n), (0, 0), (n, n), (1, n), (0, n - 1), *np.sort(rng.integers(0, n + 1, (60, 2)), axis=1).tolist()]
    for low, high in pairs:
        ends = (n - high, n - low) if kept else (low, high)
        assert close(count.between(low, high), cdf[ends[1] + 1] - cdf[ends[0]]), (low, high)
    assert count.between(None, None) == count.between(-5, n + 5) == 1
    assert count.between(n + 1, None) == count.between(None, -1) == count.between(3, 2) == 0
    assert count.between(None, -1, log=True) == -math.inf


@pytest.mark.parametrize(("n", "p"), [(1024, 0.5), (10**6, 0.1), (2**53, 0.5), (10**9, 1e-6), (5000, 1e-300)])
@pytest.mark.parametrize("kept", [False, True])
def test_answers_are_those_of_the_frozen_law(n, p, kept):
    quick, law = QuickBinomial(n, p, kept), Binomial(n, p)
    law = law.mirror() if kept else law
    assert quick.mean() == pytest.approx(law.mean(), rel=1e-15)
    assert quick.std() == pytest.approx(law.std(), rel=1e-15)
    mean, deviation = float(law.mean()), float(law.std())
    for z in (-30, -3, -0.5, 0, 0.1, 2, 8):
        low = min(max(int(mean + z * deviation), 0), n)
        for high in (low, min(low + 7, n), min(int(low + deviation), n), n):
            for log in (False, True):
                found, wanted = quick.between(low, high, log=log), law.between(low, high, log=log)
                assert found == pytest.approx(wanted, rel=1e-11, abs=1e-290), (low, high, log)
    if n < 2**53:
        for q in (0.0, 1e-9, 0.005, 0.3, 0.5, 0.95, 1 - 1e-9, 1.0):
            assert quick.ppf(q) == law.ppf(q), q
            assert quick.isf(q) == law.isf(q), q


def test_counts_are_of_the_dropped_unless_asked_otherwise():
    assert QuickBinomial(10, 0.3).mean() == pytest.approx(3, rel=1e-15)
    assert QuickBinomial(10, 0.3).between(0, 0) == pytest.approx(0.7**10, rel=1e-14)
    assert QuickBinomial(10, 0.3, kept=True).between(0, 0) == pytest.approx(0.3**10, rel=1e-14)


@pytest.mark.parametrize("n", [1, 3, 21, 1023])
def test_a_level_that_is_reached_exactly_is_reached(n):
    count = QuickBinomial(n, 0.5)  # P(X <= (n - 1) / 2) is 1/2
    assert count.median() == count.ppf(0.5) == count.isf(0.5) == (n - 1) // 2
