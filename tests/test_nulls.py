"""Null distributions of the audit: exact ones by enumeration, bounds that hold and are near what they bound."""

import math

import numpy as np
import pytest
from scipy import stats

from dropstats.auditing import nulls

# --- sums of counts of which the variance alone is known ------------------------------------------------------------


def test_bounds_of_a_total_by_hand():
    # four counts from 0 to 5 of mean 2 and variance 1: Bernstein above 8 at 18, Cantelli at 10; below at 0, at 2
    low, high = nulls.bounded_tails([18, 10, 8, 2, 0], 4, 5, 2.0, 1.0)
    assert high == pytest.approx([math.exp(-100 / 28), 4 / 8, 1, 1, 1])
    assert low == pytest.approx([1, 1, 1, 4 / 40, math.exp(-64 / (8 + 32 / 3))])


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_bounds_of_a_total_hold(p):
    total = np.arange(121)
    low, high = nulls.bounded_tails(total, 30, 4, 4 * p, 4 * p * (1 - p))
    assert (low >= stats.binom.cdf(total, 120, p)).all()
    assert (high >= stats.binom.sf(total - 1, 120, p)).all()


@pytest.mark.parametrize("mean", [0.01, 0.5, 3.0])
def test_bound_of_rare_events_holds_and_is_the_smaller_of_two(mean):
    for count in range(12):
        bound = nulls.event_bound(count, mean)
        assert stats.binom.sf(count - 1, 20, mean / 20) <= bound <= 1
        if count > mean:
            chernoff = math.exp(count - mean) * (mean / count) ** count
            assert bound == pytest.approx(min(mean / count, chernoff))


def test_what_is_never_expected_never_happens():
    assert nulls.event_bound(0, 0.0) == 1.0
    assert nulls.event_bound(1, 0.0) == 0.0


# --- events whose chances depend on what was seen before ------------------------------------------------------------


@pytest.mark.parametrize("chance", [1e-3, 0.02, 0.3])
def test_bound_of_repeats_holds(chance):
    count = np.arange(101)
    pvalues = np.array([nulls.repeats_bound(int(one), 100 * chance) for one in count])
    assert pvalues[0] == 1
    assert (np.diff(pvalues) <= 0).all()
    for value in pvalues:
        assert stats.binom.pmf(count[pvalues <= value], 100, chance).sum() <= value


@pytest.mark.parametrize("times", [3, 40, 1000, 500_000])
@pytest.mark.parametrize("count", [1, 10, 50])
def test_bound_of_repeats_costs_little(times, count):
    # the best bet is `times`; of two powers of 2 around it the better one costs at most 0.06 of each event
    best = count * math.log(times) - count + count / times
    log = -math.log(nulls.repeats_bound(count, count / times))
    assert best - 0.06 * count - math.log(20) <= log <= best


# --- sums of products -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("z", [2, 3, 4, 6, 11, 16, 23, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_bound_of_products_costs_little(z, sign):
    # products of many small deviations are normal; of two powers of 2 around the best slope, z, the better one costs at
    # most a ninth, and that there are 12 slopes their logarithm
    before, times = np.array([-1.0, 1.0]), np.array([2 * 10**6, 2 * 10**6])
    log = -math.log(nulls.product_bound(sign * z * 2e3, before, times, 1.0, 1.0, 1e-3))
    assert 8 / 9 * z**2 / 2 - math.log(12) <= log + 0.01 <= z**2 / 2 + 0.01


def test_bounds_are_probabilities():
    assert nulls.product_bound(0.0, np.array([-1.0, 1.0]), np.array([5, 5]), 1.0, 1.0, 1.0) == 1
    assert nulls.amplitude_bound(1e-3, 5.0, 1.0) == pytest.approx(1)
    assert nulls.weighted_bound(1e-3, 5.0, 1.0) == 1


# --- normal, Student's, counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("z", [0.0, 0.3, -2.5, 8.0, -30.0])
def test_two_sided_tails_are_those_of_scipy(z):
    assert nulls.normal_two_sided(z) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)
    for freedom in (1, 2.5, 30, 1e6):
        assert nulls.student_two_sided(z, freedom) == pytest.approx(2 * stats.t.sf(abs(z), freedom), rel=1e-9)


@pytest.mark.parametrize("tail", [0.5, 0.1, 1e-3, 1e-9])
def test_quantiles_are_those_of_scipy(tail):
    assert nulls.normal_quantile(tail) == pytest.approx(stats.norm.isf(tail), abs=1e-12)
    for freedom in (1, 2.5, 30, 1e6):
        assert nulls.student_quantile(tail, freedom) == pytest.approx(stats.t.isf(tail, freedom), rel=1e-8, abs=1e-12)


def test_tails_of_a_count_both_hold_the_count():
    law = stats.binom(9, 0.3)
    low, high = nulls.count_tails(law, np.arange(10))
    np.testing.assert_allclose(low + high, 1 + law.pmf(np.arange(10)))
    assert (low[9], high[0]) == (1, 1)
    assert nulls.two_sided([0.7, 0.2, 0.5], [0.4, 0.9, 0.6]).tolist() == [0.8, 0.4, 1.0]
    assert nulls.squared_deviation(np.array([0, 3, 5]), 3.0, 2.0).tolist() == [4.5, 0, 2]


def test_the_smallest_of_several_pvalues():
    assert nulls.bonferroni(0.04, None, 0.01, 0.3) == pytest.approx(0.03)
    assert nulls.bonferroni(0.6, 0.7) == nulls.bonferroni(None) == nulls.bonferroni() == 1
    assert nulls.sidak(0.1, 3) == pytest.approx(1 - 0.9**3)
    assert nulls.sidak(1e-20, 5) == pytest.approx(5e-20)
    assert nulls.sidak(1.0, 5) == 1


# --- exact laws -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [60, 10**4, 10**6, 10**8])
def test_two_drops_fall_on_one_pair_as_rarely_as_they_should(pairs):
    for drops, both in ((2, 1), (2 * pairs - 2, pairs - 1)):  # two that are dropped, or two that are not
        low, high = nulls.paired_tails(pairs, drops, both)
        assert high == pytest.approx(1 / (2 * pairs - 1), rel=1e-6)
        assert low == 1
        assert nulls.paired_tails(pairs, drops, both - 1) == pytest.approx((1 - high, 1), abs=1e-15)


def test_where_nothing_can_differ_nothing_is_unusual():
    for drops, both in ((0, 0), (1, 0), (19, 9), (20, 10)):
        assert nulls.paired_tails(10, drops, both) == (1, 1)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_a_score_does_not_matter(scale):
    pmf, observed = stats.binom.pmf(np.arange(9), 8, 0.3), np.array([6, 20, 25, 30, 11, 5, 2, 0, 1])
    found = nulls.score_sum_tails([(np.arange(9) * scale, pmf, observed)])
    total = int(observed @ np.arange(9))
    # the scores are rounded to an eighth of their deviation at most
    exact = stats.binom.cdf(total, 800, 0.3), stats.binom.sf(total - 1, 800, 0.3)
    assert found == pytest.approx(exact, rel=0.1)


def test_a_score_beyond_the_window_is_surely_unusual():
    scores, pmf = np.array([0.0, 1.0]), np.array([0.5, 0.5])
    assert nulls.score_sum_tails([(scores, pmf, np.array([10**5, 0]))]) == pytest.approx((0, 1), abs=1e-9)
    assert nulls.score_sum_tails([(scores, pmf, np.array([0, 10**5]))]) == pytest.approx((1, 0), abs=1e-9)
    assert nulls.score_sum_tails([(np.ones(2), pmf, np.array([3, 4]))]) == (1, 1)


@pytest.mark.parametrize("terms", [1, 50, 10**4, pytest.param(10**6, marks=pytest.mark.slow)])
def test_tails_of_a_sum_are_above_the_exact_ones_by_its_rounding_only(terms):
    law = stats.binom(4 * terms, 0.2)
    for at in law.ppf([0.001, 0.3, 0.5, 0.9, 0.9999]).astype(int).tolist():
        low, high = nulls.count_sum_tails(stats.binom.pmf(np.arange(5), 4, 0.2), terms, at)
        for found, exact in ((low, law.cdf(at)), (high, law.sf(at - 1))):
            assert 0 <= found - exact <= 2e-12 + 2e-15 * terms or found == 1


def test_of_what_came_before_only_the_size_matters_to_the_bound_of_products():
    times, off = np.array([4, 7]), np.array([-0.9, 0.4])
    bounds = [nulls.product_bound(6.0, sign * off, times, 0.1, 0.1, 1.0) for sign in ([1, 1], [-1, 1], [-1, -1])]
    assert bounds[0] == bounds[1] == bounds[2] < 1
