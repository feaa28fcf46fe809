"""Tally: sums, moments and their errors, intervals, bad input."""

import math
import pickle

import numpy as np
import pytest
from cases import LAWS
from scipy import stats

from dropstats import Layer, Network, Tally, tally
from dropstats.tallies import MOMENTS, empty


def test_sums_by_hand():
    masks = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]])
    result = tally(masks)
    assert result.trials == 4
    assert result.n == 3
    assert result.drops.tolist() == [1, 2, 3]
    assert result.histogram.tolist() == [1, 1, 1, 1]
    counts = np.array([2, 1, 0, 3])
    assert result.mean == counts.mean()
    assert result.variance == pytest.approx(counts.var(ddof=1))
    assert result.skewness == pytest.approx(0, abs=1e-15)
    assert result.kurtosis == pytest.approx(stats.kurtosis(counts))
    assert result.rates.tolist() == [0.25, 0.5, 0.75]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float32])
def test_masks_of_any_type(dtype):
    assert tally(np.array([[1, 0], [1, 1]], dtype=dtype)) == tally([[True, False], [True, True]])


def test_one_mask_alone():
    result = tally([1, 0, 1])
    assert (result.trials, result.n, result.mean) == (1, 3, 1.0)
    assert math.isnan(result.variance)
    assert math.isnan(result.skewness)
    assert math.isnan(result.standard_error("mean"))


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_adding_is_the_tally_of_both(case):
    masks = case.law.sample(100, rng=1)
    whole = tally(masks, case.law)
    parts = tally(masks[:30], case.law) + tally(masks[30:], case.law)
    assert whole == parts == parts + empty(case.law)
    assert pickle.loads(pickle.dumps(whole)) == whole
    assert whole != tally(masks[:99], case.law)
    assert whole != 3


def test_tallies_are_summed():
    masks = Layer(5, 0.3).sample(40, rng=1)
    assert sum([tally(masks[:10]), tally(masks[10:30]), tally(masks[30:])]) == tally(masks)
    with pytest.raises(TypeError):
        1 + tally(masks)


def test_network_parts_are_tallied():
    law = Network(Layer(3, 0.2), Network(Layer(2, 0.5), Layer(4, 0.1)))
    masks = law.sample(50, rng=2)
    result = tally(masks, law)
    assert result.layers[0] == tally(masks[:, :3])
    assert result.layers[1].layers[1] == tally(masks[:, 5:])
    assert tally(masks).layers == ()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("histogram", [[5, 0, 9, 30, 2, 1], [1, 40, 3, 0, 0, 16], [70, 20, 9, 1]])
def test_standard_errors_are_those_of_the_influence_function(moment, histogram):
    """The error of an estimate is the deviation of its derivative in each observation, divided by sqrt(trials)."""
    counts, k = np.array(histogram), np.arange(len(histogram))
    trials, weights = int(counts.sum()), counts / counts.sum()

    def estimate(pmf):
        mean = pmf @ k
        variance = pmf @ (k - mean) ** 2
        return {
            "mean": mean,
            "variance": variance,
            "skewness": pmf @ (k - mean) ** 3 / variance**1.5,
            "kurtosis": pmf @ (k - mean) ** 4 / variance**2,
        }[moment]

    step = 1e-5
    ends = [[estimate((1 - h) * weights + h * (k == one)) for one in k] for h in (step, -step)]
    influence = (np.array(ends[0]) - ends[1]) / (2 * step)
    assert weights @ influence == pytest.approx(0, abs=1e-6)
    found = Tally(trials, np.zeros(k.size - 1, np.int64), counts).standard_error(moment)
    assert found == pytest.approx(math.sqrt(weights @ influence**2 / trials), rel=1e-5)


def test_unknown_moment():
    with pytest.raises(ValueError, match="moment must be one of mean, variance, skewness, kurtosis; got 'mode'"):
        tally([[1, 0]]).standard_error("mode")


def test_rate_intervals_are_clopper_pearson():
    masks = Layer(6, [0, 1, 0.5, 0.1, 0.9, 0.3]).sample(40, rng=3)
    intervals = tally(masks).rate_intervals(0.95)
    for dropped, interval in zip((~masks).sum(axis=0), intervals, strict=True):
        expected = stats.binomtest(int(dropped), 40).proportion_ci(0.95, method="exact")
        np.testing.assert_allclose(interval, expected, rtol=1e-10, atol=1e-15)


def test_rate_intervals_cover_exactly():
    """Coverage, summed over all outcomes, is never below the confidence, and 10% narrower ones fall short."""
    trials, confidence = 30, 0.9
    intervals = np.concatenate(
        [tally(np.arange(trials)[:, None] >= k).rate_intervals(confidence) for k in range(trials + 1)]
    )
    middle, half = intervals.mean(axis=1), np.diff(intervals).ravel() / 2
    narrow = np.stack([middle - 0.9 * half, middle + 0.9 * half], axis=1)
    shortest = {}
    for name, ends in (("exact", intervals), ("narrow", narrow)):
        coverage = [
            stats.binom(trials, p).pmf(np.arange(trials + 1))[(ends[:, 0] <= p) & (p <= ends[:, 1])].sum()
            for p in np.linspace(0.01, 0.99, 99)
        ]
        shortest[name] = min(coverage)
    assert shortest["exact"] >= confidence
    assert shortest["narrow"] < confidence


def test_sums_are_read_only_and_unhashable():
    result = tally([[1, 0]])
    with pytest.raises(ValueError, match="read-only"):
        result.drops[0] = 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


def test_mean_of_sums_beyond_int64():
    histogram = np.zeros(4, dtype=np.int64)
    histogram[3] = 2**62
    assert Tally(2**62, np.full(3, 2**62), histogram).mean == 3.0


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ([[1, 2]], ValueError, r"masks must hold 0 \(dropped\) and 1 \(kept\) only; got .*2.* at index \(0, 1\)"),
        ([[1.0, math.nan]], ValueError, r"masks must hold 0 .* at index \(0, 1\)"),
        ([["a"]], TypeError, "masks must be booleans or 0 and 1; got dtype <U1"),
        ([[[1]]], ValueError, r"masks must have shape \(trials, n\) or \(n,\); got shape \(1, 1, 1\)"),
        (1, ValueError, r"masks must have shape \(trials, n\) or \(n,\); got shape \(\)"),
        ([[1, 0], [1]], ValueError, r"masks must have shape \(trials, n\) or \(n,\); got rows of different lengths"),
        (np.zeros((0, 3)), ValueError, r"masks must hold at least one mask; got shape \(0, 3\)"),
    ],
)
def test_bad_masks(masks, error, message):
    with pytest.raises(error, match=message):
        tally(masks)


def test_masks_of_another_law():
    with pytest.raises(ValueError, match=r"masks must have the law's 4 neurons; got shape \(1, 3\)"):
        tally([[1, 0, 1]], Layer(4, 0.5))
    with pytest.raises(TypeError, match=r"law must be a law such as Layer\(n, p\); got 3 of type int"):
        tally([[1, 0, 1]], 3)


def test_adding_tallies_of_different_masks():
    with pytest.raises(ValueError, match="tallies must be of masks of one kind; got 2 neurons in 1 parts and 3 in 1"):
        tally([[1, 0]]) + tally([[1, 0, 1]])
    network = Network(Layer(1, 0.5), Layer(1, 0.5))
    with pytest.raises(ValueError, match="got 2 neurons in 2 parts and 2 in 1"):
        tally([[1, 0]], network) + tally([[1, 0]])
    with pytest.raises(TypeError):
        tally([[1, 0]]) + 1


@pytest.mark.parametrize("confidence", [1, -0.1, math.nan, "0.9"])
def test_bad_confidence(confidence):
    with pytest.raises((ValueError, TypeError), match="confidence must be"):
        tally([[1, 0]]).rate_intervals(confidence)
