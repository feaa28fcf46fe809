"""Searches for quantiles: where they begin, and how many probabilities they ask for."""

import math

import numpy as np
import pytest
from scipy import stats

from dropstats import Layer, Network
from dropstats.counts import Binomial, search

LEVELS = np.array([1e-9, 1e-4, 0.02, 0.3, 0.5, 0.8, 0.99, 1 - 1e-6])


@pytest.mark.parametrize(("n", "p"), [(400, 0.02), (1024, 0.5), (3000, 0.97), (10**6, 0.01), (10**9, 0.3)])
@pytest.mark.parametrize("upward", [False, True])
def test_a_search_begins_next_to_the_quantile(n, p, upward):
    """The expansion of Cornish and Fisher, beside scipy's quantiles."""
    scipys = stats.binom(n, p)
    truth = scipys.isf(LEVELS) if upward else scipys.ppf(LEVELS)
    expansion = search.expansion(Binomial(n, p)._cumulants)
    assert np.abs(search.guesses(LEVELS, upward, expansion, n) - truth).max() <= 2
    for level, at in zip(LEVELS.tolist(), truth, strict=True):
        assert abs(search.guess_of_one(level, upward, expansion, n) - at) <= 2, level


@pytest.mark.parametrize("upward", [False, True])
@pytest.mark.parametrize("off", [0, 1, -1, 2, -3, 100, -1000, 10**6, -(10**6)])
def test_a_search_doubles_its_steps(off, upward):
    """From a guess d away it asks some 2 log2 d times, and not log2 n times, whether a count has reached its level."""
    n, answer, asked = 2**50, 2**40, []

    def tail(k):
        asked.append(k)
        return np.where((k >= answer) != upward, 0.9, 0.1)

    level, most = np.array([0.5]), 2 * math.log2(abs(off) + 1) + 4
    guess = answer + off
    assert search.first_of_one(lambda k: float(tail(k)), 0.5, upward, float(guess), n) == answer
    assert len(asked) <= most
    asked.clear()

    def reached(k, at):
        return tail(k) <= at if upward else tail(k) >= at

    assert search.first(reached, level, np.array([float(guess)]), n).tolist() == [answer]
    assert len(asked) <= most + 2


def test_quantiles_ask_few_probabilities(monkeypatch):
    for law in (Layer(10**6, 0.3).dropped, Network(Layer(10**10, 0.1), Layer(10**10, 0.3)).dropped):
        asked = []
        right = law._cdf
        monkeypatch.setattr(law, "_cdf", lambda k, right=right, asked=asked: (asked.append(k), right(k))[1])
        for level in (1e-6, 0.4, 0.999):
            asked.clear()
            law.ppf(level)
            assert 1 < len(asked) <= 6
