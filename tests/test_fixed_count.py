"""Masks with a fixed number of zeros: every choice equally probable, whatever the way they are drawn."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from dropstats import FixedCount, audit, simulate
from dropstats.laws import fixed_count

# Chance that a check by simulation fails although all is right; seeds are fixed, so a failure is a bug.
FALSE_ALARM = 1e-6


def choices(masks):
    """How often each mask comes."""
    return Counter(map(bytes, np.packbits(masks, axis=1)))


@pytest.mark.parametrize("fewer", [0.0, 0.7, 9.0])
@pytest.mark.parametrize("one_by_one", [0, 10**9])
@pytest.mark.parametrize(("n", "k"), [(7, 3), (6, 5), (6, 1), (6, 3)])
def test_every_choice_is_equally_probable(monkeypatch, fewer, one_by_one, n, k):
    monkeypatch.setattr(fixed_count, "_FEWER", fewer)
    monkeypatch.setattr(fixed_count, "_ONE_BY_ONE", one_by_one)
    monkeypatch.setattr(fixed_count, "_NARROW", 0)
    seen = choices(FixedCount(n, k).sample(20_000, rng=1))
    assert len(seen) == math.comb(n, k)
    assert stats.chisquare(list(seen.values())).pvalue > FALSE_ALARM


def test_choices_that_are_not_equally_probable_are_seen():
    masks = FixedCount(17, 3).sample(20_000, rng=1)
    swapped = ~masks[:, 0] & masks[:, 1] & (np.arange(20_000) % 5 == 0)  # a fifth of the first falls on the second
    masks[swapped, 0], masks[swapped, 1] = True, False
    seen = np.count_nonzero(~masks, axis=0)
    assert stats.chisquare(seen).pvalue < FALSE_ALARM


@pytest.mark.parametrize(("n", "k"), [(17, 8), (40, 3), (64, 32), (1000, 990), (1000, 0), (1000, 1000), (5000, 2)])
@pytest.mark.parametrize("size", [0, 1, 900, 3000])
def test_each_mask_drops_k(n, k, size):
    masks = FixedCount(n, k).sample(size, rng=2)
    assert masks.shape == (size, n)
    assert masks.dtype == np.bool_
    assert (np.count_nonzero(~masks, axis=1) == k).all()
    np.testing.assert_array_equal(masks, FixedCount(n, k).sample(size, rng=2))


@pytest.mark.parametrize(("n", "k"), [(300, 30), (300, 270), (64, 32)])
def test_the_number_among_some_is_hypergeometric(n, k):
    law = FixedCount(n, k)
    masks, m = law.sample(20_000, rng=3), 20
    among, places = law.among(m), np.arange(m + 1)
    for some in (slice(0, m), slice(n - m, n), slice(0, n, n // m)):
        number = np.count_nonzero(~masks[:, some][:, :m], axis=1)
        seen, expected = np.bincount(number, minlength=m + 1), 20_000 * among.pmf(places)
        common = expected >= 5
        seen, expected = (np.append(x[common], x[~common].sum()) for x in (seen, expected))
        assert stats.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > FALSE_ALARM


def test_its_masks_pass_their_own_audit():
    law = FixedCount(2000, 300)
    assert audit(law.sample(2000, rng=4), law)
    tally = simulate(law, 3000, rng=5)
    assert tally.variance == 0
    # 2,000 neurons dropped with probability 0.15 each: a bound of five standard errors
    assert abs(tally.drops / 3000 - 0.15).max() < 5 * math.sqrt(0.15 * 0.85 / 3000)
