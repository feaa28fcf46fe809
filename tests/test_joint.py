"""The least p-value of many counts, found without computing all of them."""

import numpy as np
import pytest

from dropstats import Layer
from dropstats.auditing import joint, nulls
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case
from dropstats.recording import Recording


@pytest.mark.parametrize("trials", [1, 5, 200, 30_000])
@pytest.mark.parametrize("scale", [0.5, 0.01, 1.0])
def test_the_least_pvalue_is_that_of_all(trials, scale):
    rng = np.random.default_rng(trials)
    chance = rng.random(3000) * scale
    chance[:20] = np.repeat([0.0, scale], 10)
    count = rng.binomial(trials, chance)
    count[77] = min(trials, count[77] + int(6 * np.sqrt(trials * chance[77] + 1)))
    pvalues = nulls.binomial(count, trials, chance)
    where, least = joint.least(count, trials, chance, 1.0)
    assert least == pvalues.min() == pvalues[where]
    # what was found before keeps others from being computed, never the least one
    assert joint.least(count, trials, chance, float(pvalues.min()) * 1.5)[1] == least


def test_the_least_pvalue_is_found_among_many_that_are_near_it(monkeypatch):
    monkeypatch.setattr(joint, "_FIRST", 1)
    rng = np.random.default_rng(1)
    for trials in (3, 20, 200):
        for _ in range(100):
            chance = rng.random(60)
            count = rng.binomial(trials, chance)
            assert joint.least(count, trials, chance, 1.0)[1] == nulls.binomial(count, trials, chance).min()


@pytest.mark.parametrize(("trials", "n"), [(5000, 3), (100, 70)])
def test_pairs_are_counted_over_all_masks_of_a_small_layer(trials, n):
    kept = np.random.default_rng(1).random((trials, n)) >= 0.3
    gram, columns, masks = joint.joint_drops(Case(Evidence(Recording.from_masks(kept)), Layer(n, 0.3)))
    assert (columns.size, masks) == (n, trials)
    np.testing.assert_array_equal(gram, (~kept).T.astype(int) @ ~kept)


def all_pairs(drops, rates):
    """Return the p-value of each pair of neurons, from its definition."""
    trials, n = drops.shape
    pvalues = np.full((n, n), 2.0)
    for j in range(n):
        for k in range(j + 1, n):
            a, b = drops[:, j], drops[:, k]
            what = joint.statistic(rates[0])
            event = {"dropped": a & b, "kept": ~a & ~b, "agree": a == b}[what]
            pvalues[j, k] = nulls.binomial(int(event.sum()), trials, joint.chance_of(rates[j], rates[k], what))
    return pvalues


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("opposite", [True, False])
def test_the_worst_pair_is_that_of_its_definition(monkeypatch, p, alike, opposite):
    monkeypatch.setattr(joint, "_PIECE", 7)
    rng = np.random.default_rng(3)
    n, trials = 37, 300
    rates = np.full(n, p) if alike else np.clip(p + rng.uniform(-0.05, 0.05, n), 0, 1)
    drops = rng.random((trials, n)) < rates
    drops[:, 19] = drops[:, 11] ^ opposite if alike else drops[:, 19]
    pvalues = all_pairs(drops, rates)
    case = Case(Evidence(Recording.from_masks(~drops)), Layer(n, p if alike else rates))
    strides = [1, 2, 4, 8, 16]
    at_strides = {(j, j + stride): pvalues[j, j + stride] for stride in strides for j in range(n - stride)}
    worst = joint.at_strides(case, rates)
    assert worst.tested == len(at_strides)
    assert worst.pvalue == pytest.approx(min(at_strides.values()))
    assert at_strides[worst.first, worst.second] == pytest.approx(worst.pvalue)
    gram = (drops.T.astype(np.float32) @ drops.astype(np.float32)).astype(np.float32)
    of_all = [worst]
    if alike:
        of_all.append(joint.worst_of_equal_rates(gram, drops.sum(axis=0), p, trials))
        assert of_all[1].pvalue == pytest.approx(pvalues.min())
        assert pvalues[of_all[1].first, of_all[1].second] == pytest.approx(pvalues.min())
    for one in of_all:
        assert one.both == (drops[:, one.first] & drops[:, one.second]).sum()
        assert one.expected == pytest.approx(trials * rates[one.first] * rates[one.second])


def test_neurons_of_unlike_rates_that_never_drop_together():
    rng = np.random.default_rng(4)
    rates = rng.uniform(0.3, 0.9, 30)
    drops = rng.random((400, 30)) < rates
    drops[:, 0] &= ~drops[:, 29]
    gram = (drops.T.astype(np.float32) @ drops.astype(np.float32)).astype(np.float32)
    worst = joint.worst_of_unlike_rates(gram, drops.mean(axis=0), 400)
    assert (worst.first, worst.second, worst.both) == (0, 29, 0)


@pytest.mark.parametrize("n", [40, 700])
def test_the_worst_pair_of_unlike_rates_is_found_row_by_row(n):
    rng = np.random.default_rng(n)
    rates, trials = rng.random(n), 400
    drops = rng.random((trials, n)) < rates
    drops[:, n - 3] = drops[:, 7]
    gram = (drops.T.astype(np.float32) @ drops.astype(np.float32)).astype(np.float32)
    worst = joint.worst_of_unlike_rates(gram, rates, trials)
    assert (worst.first, worst.second) == (7, n - 3)
    assert worst.tested == n * (n - 1) // 2
    assert worst.pvalue == float(nulls.binomial(gram[7, n - 3], trials, rates[7] * rates[n - 3]))
