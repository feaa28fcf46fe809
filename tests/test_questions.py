"""Questions in words: shares, quantiles, sizes."""

import doctest
import math
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

import dropstats as ds

LAWS = [
    ds.Layer(20, 0.3),
    ds.Layer(20, np.linspace(0.1, 0.5, 20)),
    ds.Channels(5, 4, 0.3),
    ds.FixedCount(20, 7),
    ds.Network(ds.Layer(8, 0.2), ds.Channels(3, 4, 0.5)),
    ds.DropBlock(4, 5, 2, 0.2),
]


def by_hand(law):
    """Return P(dropped = k) for each k, as `dropped.pmf` has it."""
    return [float(law.dropped.pmf(k)) for k in range(law.n + 1)]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_shares_of_any_law(law):
    pmf = by_hand(law)
    for low, high in ((0.3, 0.6), (0.25, None), (None, 0.35), (0.41, 0.44), (0, 1), (None, None), (0.149, 0.151)):
        wanted = math.fsum(
            pmf[k] for k in range(21) if (low is None or k / 20 >= low) and (high is None or k / 20 <= high)
        )
        assert law.prob(fraction=(low, high)) == pytest.approx(wanted, rel=1e-12, abs=1e-15), (low, high)
    assert law.prob(fraction=0.35) == law.prob(dropped=7)
    assert law.prob(fraction=0.2, log=True) == law.prob(dropped=4, log=True)


def test_shares_are_what_their_digits_say():
    """0.07 * 100 is 7.000000000000001 in doubles, and 0.29 * 100 is 28.999999999999996."""
    law = ds.Layer(100, 0.1)
    assert law.prob(fraction=(0.07, None)) == law.prob(dropped=(7, None))
    assert law.prob(fraction=(None, 0.29)) == law.prob(dropped=(None, 29))
    assert law.prob(fraction=np.float64(0.29)) == law.prob(dropped=29)
    assert ds.Layer(2**53, 0.5).prob(fraction=(0.5, None)) == ds.Layer(2**53, 0.5).prob(dropped=(2**52, None))


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({"fraction": 0.5}, ValueError, r"fraction 0.5 of 9 neurons is 4.5: give an interval \(low, high\)"),
        (
            {"fraction": (0.6, 0.4)},
            ValueError,
            r"fraction must be an interval \(low, high\) with low <= high; got \(0.6",
        ),
        (
            {"fraction": (0.1, 0.2, 0.3)},
            ValueError,
            r"fraction must be a number or a pair \(low, high\); got \(0.1, 0.2",
        ),
        ({"fraction": (0.1, 1.2)}, ValueError, r"fraction\[1\] must be in \[0, 1\]; got 1.2"),
        ({"fraction": "half"}, TypeError, "fraction must be real numbers; got 'half'"),
        ({"fraction": 0.5, "kept": 3}, TypeError, "prob takes one of dropped=, kept= and fraction="),
    ],
)
def test_shares_that_are_none(asked, kind, message):
    with pytest.raises(kind, match=message):
        ds.Layer(9, 0.5).prob(**asked)


def test_a_layer_of_none_has_no_share():
    with pytest.raises(ValueError, match="fraction needs at least one neuron; got none"):
        ds.Layer(0, 0.5).prob(fraction=(0.1, 0.2))


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("of", ["dropped", "kept"])
def test_quantiles_of_any_law(law, of):
    pmf = by_hand(law)
    cdf = list(accumulate(pmf if of == "dropped" else pmf[::-1]))
    levels = [0.01, 0.2, 0.5001, 0.95, 0.999]
    wanted = [next(k for k in range(21) if cdf[k] >= q) for q in levels]
    assert law.quantile(levels, of=of).tolist() == wanted
    assert [law.quantile(q, of) for q in levels] == wanted
    assert all(type(law.quantile(q, of)) is int for q in levels)
    assert law.quantile(np.array([levels]), of).shape == (1, 5)


def test_quantiles_at_the_ends_and_of_what_is_none():
    law = ds.Layer(10, 0.5)
    assert (law.quantile(0), law.quantile(1)) == (0, 10)
    assert ds.Layer(0, 0.5).quantile(0.5) == 0
    with pytest.raises(ValueError, match=r"q must be in \[0, 1\]; got 95.0"):
        law.quantile(95)
    with pytest.raises(ValueError, match=r"q must be in \[0, 1\]; got 1.5 at index 1"):
        law.quantile([0.5, 1.5])
    with pytest.raises(ValueError, match="of must be one of dropped, kept; got 'lost'"):
        law.quantile(0.5, of="lost")
    with pytest.raises(ValueError, match="not feasible"):
        ds.DropBlock(28, 28, 7, 0.1).quantile(0.5)


@pytest.mark.parametrize("p", [0.5, 0.1, 0.9, 0.25, 1e-3])
@pytest.mark.parametrize("limit", [0.5, 0.05, 2.0**-10, 1e-9])
def test_sizes_are_the_smallest_by_exact_powers(p, limit):
    exact = Fraction(p), Fraction(limit)
    n = ds.size_for(p, all_dropped=limit)
    assert exact[0] ** n <= exact[1] < exact[0] ** (n - 1)
    n = ds.size_for(p, all_kept=limit)
    one = 1 - p  # the double
    assert Fraction(one) ** n <= exact[1] < Fraction(one) ** (n - 1) or n == 1


def test_sizes_of_many_masks_and_of_both():
    n = ds.size_for(0.5, all_dropped=1e-9, masks=10**6)
    chance = [-math.expm1(10**6 * math.log1p(-(0.5**k))) for k in (n - 1, n)]
    assert chance[1] <= 1e-9 < chance[0]
    both = ds.size_for(0.2, all_dropped=1e-3, all_kept=1e-3)
    assert both == ds.size_for(0.2, all_kept=1e-3) > ds.size_for(0.2, all_dropped=1e-3)
    assert ds.size_for(0, all_dropped=1e-9) == 1
    # channels dropped whole are so many neurons that drop as one
    channels = ds.size_for(0.2, all_dropped=1e-6)
    assert ds.Channels(channels, 16, 0.2).prob(dropped=channels * 16) <= 1e-6
    assert ds.Channels(channels - 1, 16, 0.2).prob(dropped=(channels - 1) * 16) > 1e-6


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({}, TypeError, "size_for needs all_dropped= or all_kept="),
        ({"all_dropped": 0}, ValueError, r"all_dropped must be in \(0, 1\); got 0.0"),
        ({"all_kept": 1.5}, ValueError, r"all_kept must be in \[0, 1\]; got 1.5"),
        ({"all_dropped": 0.1, "p": 1}, ValueError, "all_dropped cannot be reached at any size: at this p it happens"),
        ({"all_kept": 0.1, "p": 0}, ValueError, "all_kept cannot be reached at any size: at this p it happens"),
        ({"all_dropped": 0.1, "p": 1.2}, ValueError, r"p must be in \[0, 1\]; got 1.2"),
        ({"all_dropped": 0.1, "masks": 0}, ValueError, "masks must be at least 1; got 0"),
        ({"all_kept": 1e-300, "p": 1e-15}, ValueError, "all_kept = 1e-300 would need more than 2"),
    ],
)
def test_sizes_that_are_none(asked, kind, message):
    with pytest.raises(kind, match=message):
        ds.size_for(**{"p": 0.5, **asked})


def test_the_page_of_questions_is_right():
    page = Path(__file__).parents[1] / "docs" / "questions.md"
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (failed, tried > 8) == (0, True)
