"""The order of the counts: bounds hold and are not idle, and what is found is what is there."""

import numpy as np
import pytest
from scipy import stats

from dropstats.auditing import nulls, order
from dropstats.auditing.checks import positions
from dropstats.auditing.order import Spread


def binomial_sum(weights, p):
    """Return the values and probabilities of a sum of weighted deviations of Bernoulli variables, by enumeration."""
    bits = (np.arange(2**weights.size)[:, None] >> np.arange(weights.size)) & 1
    return (bits - p) @ weights, np.prod(np.where(bits, p, 1 - p), axis=1)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("weights", [np.linspace(-1, 1, 12), np.cos(np.arange(11) * 1.3), np.full(12, 0.7)])
def test_bound_of_a_weighted_sum_holds(p, weights):
    total, chance = binomial_sum(weights, p)
    variance, most = p * (1 - p) * float(weights @ weights), float(np.abs(weights).max())
    for z in total:
        beyond = chance[np.abs(total) >= abs(z) - 1e-12].sum()
        assert nulls.weighted_bound(float(z), variance, most) >= beyond - 1e-12


def test_bound_of_a_weighted_sum_is_near_the_normal_tail_where_there_are_many():
    for z in (3, 6, 9):
        bound = nulls.weighted_bound(z * 1e4, 1e8, 2)
        assert 1 < bound / (2 * stats.norm.sf(z)) < 5 * z


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_bound_of_an_amplitude_holds(p, step):
    wave = np.exp(2j * np.pi * step * np.arange(12) / 12)
    bits = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    amplitude, chance = np.abs((bits - p) @ wave), np.prod(np.where(bits, p, 1 - p), axis=1)
    for r in np.unique(amplitude.round(9)):
        assert nulls.amplitude_bound(r, p * (1 - p) * 6, 1.0) >= chance[amplitude >= r - 1e-8].sum() - 1e-12


def test_bound_of_an_amplitude_is_near_the_exponential_law_where_there_are_many():
    for r in (3, 5, 8):
        assert 1 < nulls.amplitude_bound(r * 1e4, 1e8, 2.0) / np.exp(-(r**2) / 2) < 4 * r


@pytest.mark.parametrize("p", [0.1, 0.9])
@pytest.mark.parametrize("lag", [1, 2, 3])
def test_bound_of_products_holds(p, lag):
    bits = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    chance = np.prod(np.where(bits, p, 1 - p), axis=1)
    x = bits - p
    values = np.array([-p, 1 - p])
    pvalues = np.array([
        nulls.product_bound(
            float(one[:-lag] @ one[lag:]), values, np.bincount(row[:-lag], minlength=2), p * (1 - p), p * (1 - p), 1.0
        )
        for one, row in zip(x, bits, strict=True)
    ])  # fmt: skip
    for level in (0.9, 0.5, 0.2, 0.05, 0.01, 1e-3):
        assert chance[pvalues <= level].sum() <= level


def test_bound_of_products_is_not_idle():
    counts = np.random.default_rng(0).binomial(1000, 0.5, 500) - 500.0
    counts[1::2] = counts[::2]
    value, times = np.unique(counts[:-1], return_counts=True)
    assert nulls.product_bound(float(counts[:-1] @ counts[1:]), value, times, 250.0, 250.0, 1.0) < 1e-15


COUNTS = Spread(102.4, 92.16, 1.0)


def drawn(rates, n=1024, seed=0):
    return np.random.default_rng(seed).binomial(n, rates)


def test_a_trend_is_found_with_its_size():
    found = order.trend(drawn(np.linspace(0.09, 0.11, 600)), COUNTS)
    assert found.pvalue < 1e-15
    assert found.size == pytest.approx(0.02 * 1024, abs=4)


@pytest.mark.parametrize("period", [2, 3, 7, 20.3, 600])
@pytest.mark.parametrize("trials", [600, 601])
def test_a_wave_is_found_with_its_period_and_size(period, trials):
    rates = 0.1 * (1 + 0.1 * np.cos(2 * np.pi * np.arange(trials) / period))
    line, _ = order.waves(drawn(rates), COUNTS)
    assert line.pvalue < 1e-12
    assert line.at == pytest.approx(period, rel=0.5 * period / trials + 1e-3)
    assert line.size == pytest.approx(10, abs=3)


def test_a_constant_rate_that_is_wrong_is_no_trend_and_no_wave():
    counts = drawn(np.full(500, 0.11), seed=3)
    assert order.trend(counts, COUNTS).pvalue > 0.01
    assert order.waves(counts, COUNTS)[0].pvalue > 0.01


def test_counts_that_are_alike_some_calls_apart():
    counts = drawn(np.full(600, 0.1))
    counts[5:] = np.where(np.arange(595) % 2 == 0, counts[:-5], counts[5:])
    found = order.waves(counts, COUNTS)[1]
    assert (found.at, found.pvalue < 1e-3) == (5, True)


def test_long_recordings_are_looked_at_from_the_start(monkeypatch):
    counts = drawn(0.1 * (1 + 0.2 * np.cos(np.pi / 3 * np.arange(2000))))
    whole = order.waves(counts[:1000], COUNTS)
    monkeypatch.setattr(order, "_CALLS", 1000)
    assert order.waves(counts, COUNTS) == whole


def test_alternation_is_looked_for_in_all_calls(monkeypatch):
    counts = drawn(0.1 * (1 + 0.02 * np.cos(np.pi * np.arange(4001))))
    monkeypatch.setattr(order, "_CALLS", 100)
    line, _ = order.waves(counts, COUNTS)
    assert line.pvalue < 1e-15
    assert (line.at, line.size) == (2, pytest.approx(2.05, abs=0.4))


@pytest.mark.parametrize("block", [7, 77])
def test_sums_do_not_depend_on_the_blocks(monkeypatch, block):
    counts = drawn(np.full(2000, 0.1))
    expected = order.trend(counts, COUNTS)
    values, times = np.unique(counts, return_counts=True)
    monkeypatch.setattr(order, "_BLOCK", block)
    assert order.trend(counts, COUNTS).size == pytest.approx(expected.size)
    found = order.tabulated(counts)
    assert found[0].tolist() == values.tolist()
    assert found[1].tolist() == times.tolist()


def runs_by_hand(counts, trials, rates):
    """Return the p-value of every run of 2, 4, ... neighbours from either end on, from its definition."""
    n, found = counts.size, {}
    for size in (2**k for k in range(1, 10) if 2 ** (k + 1) <= n):
        for offset in (0, n % size):
            for first in range(offset, n - size + 1, size):
                run = slice(first, first + size)
                if len(set(rates[run])) == 1:
                    p = nulls.binomial(counts[run].sum(), trials[run].sum(), rates[first])
                    found[first, first + size] = float(p)
    return found


@pytest.mark.parametrize("alike", [True, False])
def test_the_worst_run_of_neighbours_is_that_of_its_definition(alike):
    rng = np.random.default_rng(4)
    for n in (3, 4, 7, 64, 101, 250):
        rates = np.broadcast_to(np.float64(0.3), (n,)) if alike else np.sort(rng.choice([0.2, 0.3, 0.5], n))
        trials = np.broadcast_to(np.int64(20), (n,)) if alike else rng.integers(1, 20, n)
        counts = rng.binomial(trials, rates)
        counts[n // 3 : n // 2] += 1
        counts = np.minimum(counts, trials)
        pvalue, ends = positions.worst_run(counts, trials, rates, 1.0)
        expected = runs_by_hand(counts, trials, rates)
        assert (pvalue is None) == (not expected)
        if expected:
            worst = min(expected.values())
            assert pvalue == pytest.approx(min(1.0, len(expected) * worst))
            assert expected[ends] == pytest.approx(worst)


def test_a_wrong_rate_is_no_autocorrelation():
    counts = drawn(np.full(800, 0.15), seed=2)
    found = order.waves(counts, COUNTS)[1]
    assert found.pvalue > 0.01
    assert abs(found.size) < 0.5


# --- by their definitions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [2, 3, 40, 41])
def test_what_is_found_in_the_order_is_that_of_its_definition(trials):
    rng = np.random.default_rng(trials)
    counts = rng.binomial(1024, 0.1, trials)
    counts[::2] -= 20  # the first ones are the low ones
    t, off = np.arange(trials), counts - counts.mean()
    slope, rising = np.polyfit(t, counts, 1)[0], order.trend(counts, COUNTS)
    assert rising.size == pytest.approx(slope * (trials - 1))
    weights = t - t.mean()
    assert rising.pvalue == pytest.approx(
        nulls.weighted_bound(float(weights @ counts), 92.16 * float(weights @ weights), float(weights.max()))
    )
    line, alike = order.waves(counts, COUNTS)
    even = trials // 2 * 2
    total = float(counts[:even:2].sum() - counts[1:even:2].sum())
    found = [(min(1.0, 2 * nulls.weighted_bound(total, 92.16 * even, 1.0)), 2.0, abs(total) / even)]
    if trials > 2:
        amplitudes = np.abs([off @ np.exp(1j * np.pi * k * t / trials) for k in range(1, trials)])
        at, amplitude = int(amplitudes.argmax()) + 1, float(amplitudes.max())
        bound = nulls.amplitude_bound(amplitude, 92.16 * trials / 2, 1 + 2 / np.pi)
        found.append((min(1.0, 2 * (trials - 1) * bound), 2 * trials / at, 2 * amplitude / trials))
    pvalue, period, size = min(found)
    assert line.pvalue == pytest.approx(pvalue)
    assert line.size == pytest.approx(size)
    assert line.at == pytest.approx(period, rel=0.5 * period / trials)
    lag = int(alike.at)
    correlation = float(off[:-lag] @ off[lag:]) / (trials - lag) / float(off @ off / trials)
    assert alike.size == pytest.approx(correlation)
    assert alike.pvalue <= 1


def test_the_shares_of_all_lags_add_up_to_one():
    counts = 10**6 + 4000 * (-1) ** np.arange(30)
    law, share = Spread(1e6, 9e5, 1.0), 0.0
    for lag in range(1, 30):
        total = 1.6e7 * (30 - lag) * (-1) ** lag
        times = np.array([(30 - lag) // 2, (31 - lag) // 2])
        bound = nulls.product_bound(total, np.array([-4e3, 4e3]), times, 9e5, 9e5, 1.0)
        share += bound / order._at_lag(counts, lag, law).pvalue
    assert share == pytest.approx(1 - 1 / 60)


def test_a_period_is_a_whole_number_of_calls_where_no_other_line_is_nearer():
    assert order._period(20.3, 600) == 20.3
    assert order._period(19.7, 600) == 19.7
    assert order._period(20.1, 600) == order._period(19.9, 600) == 20
