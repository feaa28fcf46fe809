"""The least p-value of many counts, found without computing all of them."""

import numpy as np
import pytest

from dropstats.auditing import joint, nulls


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
