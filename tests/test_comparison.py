"""Comparison of a tally with a law: groups of counts, and residuals in standard errors."""

import numpy as np
import pytest

import dropstats as ds
from dropstats import comparison

LAWS = [
    ds.Neuron(0.3),
    ds.Layer(20, 0.4),
    ds.Layer(1024, 0.5),
    ds.Layer(3, [0.1, 0.5, 0.9]),
    ds.Layer(3000, 0.01),
    ds.Network(ds.Layer(30, 0.2), ds.Layer(40, 0.5)),
]


def ids(law):
    return repr(law)


@pytest.mark.parametrize("law", [*LAWS, ds.Layer(10, 0.0), ds.Layer(10, 1.0), ds.Layer(0, 0.5)], ids=ids)
@pytest.mark.parametrize("trials", [1, 50, 3000])
def test_groups_share_out_all_trials_and_all_probability(law, trials):
    seen = comparison.groups(law, ds.simulate(law, trials, rng=0))
    assert seen.frequencies.sum() == pytest.approx(1, abs=1e-12)
    assert seen.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert (np.diff(seen.counts) > 0).all()
    if seen.counts.size > 1:
        assert (seen.probabilities * trials >= 10 * (1 - 1e-9)).all()


@pytest.mark.parametrize("law", LAWS, ids=ids)
def test_residuals_of_the_law_itself_are_standard(law):
    residuals = [comparison.groups(law, ds.simulate(law, 2000, rng=seed)).residuals for seed in range(40)]
    # A residual has mean square 1 and, being nearly normal, a fourth moment of 3 or a little more: the mean square
    # of m of them has a standard error below 2 / sqrt(m / 2) as residuals of one tally go in pairs at worst.
    values = np.concatenate(residuals)
    assert abs(np.mean(values**2) - 1) < 5 * 2 / np.sqrt(values.size / 2)
    assert np.abs(values).max() < 6


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        (ds.Layer(20, 0.4), ds.Layer(20, 0.43)),
        (ds.Neuron(0.3), ds.Neuron(0.35)),
        (ds.Layer(1024, 0.5), ds.Layer(1024, 0.51)),
        (ds.Layer(3000, 0.01), ds.Layer(3000, 0.011)),
    ],
    ids=ids,
)
def test_residuals_of_a_wrong_law_are_large(law, wrong):
    tally = ds.simulate(law, 20_000, rng=1)
    assert np.abs(comparison.groups(law, tally).residuals).max() < 4.5
    assert np.abs(comparison.groups(wrong, tally).residuals).max() > 5


def test_residual_is_frequency_minus_probability_over_the_binomial_error():
    tally = ds.tally([[0, 0]] * 30 + [[0, 1]] * 40 + [[1, 1]] * 30)
    seen = comparison.groups(ds.Layer(2, 0.5), tally)
    np.testing.assert_array_equal(seen.counts, [0, 1, 2])
    np.testing.assert_allclose(seen.frequencies, [0.3, 0.4, 0.3])
    error = np.sqrt(np.array([0.25 * 0.75, 0.5 * 0.5, 0.25 * 0.75]) / 100)
    np.testing.assert_allclose(seen.residuals, np.array([0.05, -0.1, 0.05]) / error)


def test_counts_with_few_expected_trials_are_pooled():
    seen = comparison.groups(ds.Layer(20, 0.5), ds.simulate(ds.Layer(20, 0.5), 200, rng=0))
    pmf = ds.Layer(20, 0.5).dropped.pmf(np.arange(21))
    single = np.isin(seen.counts, np.arange(21))
    np.testing.assert_allclose(seen.probabilities[single], pmf[seen.counts[single].astype(int)])
    # 200 pmf >= 10 for 7..13 dropped; the rest goes into one group a side
    np.testing.assert_array_equal(seen.counts[single], np.arange(7, 14))
    np.testing.assert_allclose(seen.probabilities[[0, -1]], pmf[:7].sum())


def test_forbidden_trials_stand_alone():
    masks = np.ones((1000, 10), dtype=bool)
    masks[0, 0] = False
    seen = comparison.groups(ds.Layer(10, 0.0), ds.tally(masks))
    assert seen.counts.tolist() == [0, 1]
    assert seen.residuals.tolist() == [-np.inf, np.inf]
    masks[:4, 0] = False  # four where a hundredth is expected
    assert comparison.groups(ds.Layer(10, 1e-6), ds.tally(masks)).residuals[-1] > 30


def test_too_few_trials_are_a_single_group():
    assert comparison.groups(ds.Layer(1024, 0.5), ds.simulate(ds.Layer(1024, 0.5), 15, rng=0)).counts.size == 1


def test_cells_of_many_counts_have_the_probability_of_their_counts():
    law = ds.Layer(1_000_000, 0.5)
    edges, probability = comparison.cells(law, 498_000, 502_000)
    assert edges[0] == 498_000
    assert edges[-1] == 502_001
    assert probability.size <= 240
    for cell in (0, probability.size // 2, probability.size - 1):
        counts = np.arange(edges[cell], edges[cell + 1])
        assert probability[cell] == pytest.approx(law.dropped.pmf(counts).sum(), rel=1e-8)


@pytest.mark.parametrize("law", [LAWS[1], LAWS[3], LAWS[5]], ids=ids)
def test_moment_residuals_are_standard_under_the_law_and_large_under_another(law):
    values = np.array([comparison.moment_residuals(law, ds.simulate(law, 5000, rng=seed)) for seed in range(40)])
    # 40 squares of near-normal residuals: standard error of their mean sqrt(2 / 40)
    assert (np.abs(np.mean(values**2, axis=0) - 1) < 5 * np.sqrt(2 / 40)).all()
    assert np.abs(values).max() < 6
    other = ds.Layer(law.n, 0.9 * law.rates.mean())
    assert abs(comparison.moment_residuals(other, ds.simulate(law, 20_000, rng=0))[0]) > 5


@pytest.mark.parametrize(
    ("law", "undefined"), [(ds.Layer(5, 0.0), 4), (ds.Layer(0, 0.5), 4), (ds.Neuron(0.5), 2), (ds.Neuron(0.3), 0)]
)
def test_moment_residuals_without_an_error_are_nan(law, undefined):
    assert np.isnan(comparison.moment_residuals(law, ds.simulate(law, 1000, rng=0))).sum() == undefined


def test_bad_input():
    layer = ds.Layer(10, 0.5)
    tally = ds.simulate(layer, 10, rng=0)
    with pytest.raises(ValueError, match=r"tally must hold masks of the law's 1024 neurons; got masks of 10"):
        comparison.groups(ds.Layer(1024, 0.5), tally)
    with pytest.raises(
        TypeError, match=r"tally must be a Tally, from simulate\(law, trials\) or tally\(masks\); got Layer\(10, 0.5\)"
    ):
        comparison.groups(layer, layer)
    with pytest.raises(TypeError, match=r"law must be a law, such as Layer\(n, p\); got 0.5 of type float"):
        comparison.groups(0.5, tally)
    with pytest.raises(ValueError, match="tally must hold at least one mask; got none"):
        comparison.groups(layer, ds.Tally(0, np.zeros(10, int), np.zeros(11, int)))
