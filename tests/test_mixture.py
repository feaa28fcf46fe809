"""Sums of a count and a multiple whose table would be too long, against tables that are not."""

import math
import pickle

import numpy as np
import pytest

from dropstats import Channels, DropBlock, Layer, Network
from dropstats.counts import Binomial, Scaled, Sum, sums
from dropstats.counts.mixture import Mixture

PAIRS = [
    (Binomial(300, 0.1), Scaled(Binomial(12, 0.3), 100)),
    (Binomial(5, 0.7), Scaled(Binomial(40, 0.02), 9)),  # gaps between what is possible
    (Binomial(400, 1e-3), Scaled(Layer(3, [0.1, 0.5, 1.0]).dropped, 50)),
    (DropBlock(4, 4, 2, p=0.1).dropped, Scaled(Binomial(6, 0.5), 3)),
]


@pytest.mark.parametrize(("count", "multiple"), PAIRS)
@pytest.mark.parametrize("name", ["pmf", "cdf", "sf", "logpmf", "logcdf", "logsf"])
def test_it_is_the_sum(count, multiple, name):
    k = np.arange(-1, count.n + multiple.n + 2)
    expected = getattr(Sum([count, multiple]), name)(k)
    found = getattr(Mixture(count, multiple), name)(k)
    log = name.startswith("log")
    possible = expected > (-np.inf if log else 0)
    np.testing.assert_array_equal(found > (-np.inf if log else 0), possible)
    np.testing.assert_allclose(found[possible], expected[possible], rtol=1e-12 if log else 2e-11, atol=1e-300)


def test_the_comparison_sees_a_wrong_multiple():
    count, multiple = PAIRS[0]
    k = np.arange(500)
    wrong = Mixture(count, Scaled(multiple.count, 99))
    assert np.abs(wrong.cdf(k) - Sum([count, multiple]).cdf(k)).max() > 1e-3


@pytest.mark.parametrize(("count", "multiple"), PAIRS)
def test_moments_quantiles_and_copies(count, multiple):
    law, other = Mixture(count, multiple), Sum([count, multiple])
    np.testing.assert_allclose(law.stats("mvsk"), other.stats("mvsk"), rtol=1e-12)
    levels = [1e-9, 0.1, 0.5, 0.999]
    np.testing.assert_array_equal(law.ppf(levels), other.ppf(levels))
    np.testing.assert_array_equal(law.isf(levels), other.isf(levels))
    assert law.mirror().sf(7) == law.cdf(law.n - 8)
    assert pickle.loads(pickle.dumps(law)).cdf(50) == law.cdf(50)
    drawn = law.rvs(2000, random_state=np.random.default_rng(1))
    assert abs(drawn.mean() - law.mean()) < 5 * law.std() / math.sqrt(2000)


def test_a_huge_layer_beside_huge_channels():
    """Their table would hold 7.6e8 probabilities: it was refused, or took minutes."""
    net = Network(Layer(10**10, 0.5), Channels(10**5, 10**5, 0.5))
    assert isinstance(net.dropped, Mixture)
    nested = Network(net, Layer(10**6, 0.5)).dropped
    assert isinstance(nested, Mixture)
    assert nested.count.parts == ((0.5, 10**10 + 10**6),)
    middle = net.n // 2
    assert net.prob(dropped=(None, middle)) == pytest.approx(net.prob(dropped=(middle, None)), rel=1e-9)
    assert net.prob(dropped=(None, middle)) == pytest.approx(0.5, abs=1e-5)
    # far out it is nearly all the channels': P(Y > y) and what the layer adds to it
    far = middle + 20 * 5 * 10**4 * 316
    channels, layer = Channels(10**5, 10**5, 0.5).dropped, Layer(10**10, 0.5).dropped
    groups = np.arange(10**5 + 1.0)
    exact = np.logaddexp.reduce(channels.logpmf(groups * 10**5) + layer.logsf(far - groups * 10**5))
    assert net.prob(dropped=(far + 1, None), log=True) == pytest.approx(float(exact), rel=1e-13)
    assert net.quantile(0.5) == pytest.approx(middle, abs=10**5)


def test_short_tables_are_still_made():
    assert isinstance(Network(Layer(1000, 0.5), Channels(100, 64, 0.5)).dropped, Sum)
    assert isinstance(sums.add(Binomial(10, 0.5), Scaled(Binomial(10, 0.5), 10)), Sum)
    # and so are those of two multiples, of a table, and of a multiple of more values than one goes through
    assert isinstance(Network(Channels(10**5, 10**5, 0.5), Channels(10**4, 10**6, 0.5)).dropped, Sum)
    assert isinstance(Network(DropBlock(4, 4, 2, p=0.1), Layer(10**10, 0.5)).dropped, Sum)
    assert isinstance(Network(Layer(10**10, 0.5), Channels(2**17, 10**5, 0.5)).dropped, Sum)
    assert isinstance(Network(Layer(10**10, 0.5), Channels(2**17 - 1, 10**5, 0.5)).dropped, Mixture)
