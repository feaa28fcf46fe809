"""What scipy asks of its own frozen discrete laws, asked of every law of a count: written anew after its test suite."""

import copy
import math
import pickle

import numpy as np
import pytest
from cases import LAWS
from scipy import stats

from dropstats import Channels, FixedCount, Layer, Network, Neuron
from dropstats.counts import Scaled, Table, hypergeometric, point_mass

COUNTS = {case.name: case.law.dropped for case in LAWS}
COUNTS |= {f"{name}, kept": count.mirror() for name, count in COUNTS.items()}
COUNTS |= {
    "table": Table(np.log([0.2, 0.5, 0.3]), n=5, start=1),
    "hypergeometric": hypergeometric(40, 12, 9),
    "point mass": point_mass(7, 3),
    "multiple of a sum": Scaled(Network(Layer(3, 0.2), Channels(2, 2, 0.4)).dropped, 3),
}
each = pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)


@pytest.fixture(autouse=True)
def without_random_state():
    yield
    for count in COUNTS.values():
        count.random_state = None


def support(count):
    return np.arange(count.n + 1)


@each
def test_a_law_is_the_frozen_one_of_its_distribution(count):
    assert isinstance(count, type(stats.binom(1, 0.5)))
    k = support(count)
    # a mirrored law's p is 1 - p rounded, and scipy's Poisson-binomial is 1 - cdf in its upper tail
    for frozen in (count.dist(*count.args, **count.kwds), count.dist):
        args = () if frozen is not count.dist else count.args
        np.testing.assert_allclose(frozen.pmf(k, *args), count.pmf(k), rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(frozen.cdf(k, *args), count.cdf(k), rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(frozen.sf(k, *args), count.sf(k), rtol=1e-10, atol=1e-14)
        assert frozen.mean(*args) == pytest.approx(count.mean(), rel=1e-10)
        assert frozen.var(*args) == pytest.approx(count.var(), rel=1e-9)
        assert np.shape(frozen.rvs(*args, size=3, random_state=1)) == (3,)
    assert count.support() == (count.a, count.b) == (0, count.n)


@each
def test_pickles_and_copies_keep_all(count):
    count.random_state = 1234
    count.rvs(size=8)
    copies = pickle.loads(pickle.dumps(count)), copy.deepcopy(count)
    drawn = count.rvs(size=8)
    for again in copies:
        np.testing.assert_array_equal(again.rvs(size=8), drawn)
        np.testing.assert_array_equal(again.ppf([0, 0.5, 1]), count.ppf([0, 0.5, 1]))
        np.testing.assert_array_equal(again.pmf(support(count)), count.pmf(support(count)))
    # a shallow copy shares the source, as that of any object does
    assert copy.copy(count).random_state is count.random_state


@each
def test_random_state(count):
    count.random_state = 1234
    first, second = count.rvs(size=8), count.rvs(size=8)
    count.random_state = np.random.RandomState(1234)
    np.testing.assert_array_equal(count.rvs(size=8), first)
    np.testing.assert_array_equal(count.rvs(size=8), second)
    np.testing.assert_array_equal(count.rvs(size=8, random_state=1234), first)
    np.testing.assert_array_equal(count.rvs(size=8, random_state=np.random.RandomState(1234)), first)
    generator = np.random.default_rng(1234)
    assert count.rvs(size=1, random_state=generator).shape == (1,)
    count.random_state = generator
    assert count.random_state is generator
    # a source given to one call leaves the law's own alone
    count.random_state = 2
    before = count.random_state.get_state()[1].copy(), count.random_state.get_state()[2]
    np.testing.assert_array_equal(count.rvs(size=8, random_state=1234), first)
    np.testing.assert_array_equal(count.random_state.get_state()[1], before[0])
    assert count.random_state.get_state()[2] == before[1]
    count.random_state = None
    assert count.random_state is None
    if count.var() > 0.5:
        assert not np.array_equal(first, second)
        assert not np.array_equal(count.rvs(size=200), count.rvs(size=200))


def test_variates_are_scipys():
    for ours, scipys in ((Layer(40, 0.3).dropped, stats.binom(40, 0.3)), (Neuron(0.3).dropped, stats.bernoulli(0.3))):
        np.testing.assert_array_equal(ours.rvs(size=9, random_state=5), scipys.rvs(size=9, random_state=5))


@each
def test_quantiles_undo_the_cdf(count):
    k = support(count)[count.pmf(support(count)) > 1e-13]
    k = k[count.cdf(k) < 1]
    cdf = count.cdf(k)
    np.testing.assert_array_equal(count.ppf(cdf), k)
    assert [count.ppf(value) for value in cdf] == k.tolist()
    # where the cdf is next to 1 its neighbours are it too
    inside = cdf < 1 - 1e-8
    np.testing.assert_array_equal(count.ppf(cdf[inside] * (1 - 1e-9)), k[inside])
    after = count.ppf(np.minimum(cdf[inside] * (1 + 1e-9), 1))
    assert (after > k[inside]).all()
    sf = count.sf(k)
    inside = (sf > 1e-8) & (sf < 1 - 1e-8)
    np.testing.assert_array_equal(count.isf(sf[inside] * (1 + 1e-9)), k[inside])
    # a level that is reached exactly is reached, by a number as by an array
    np.testing.assert_array_equal(count.isf(sf[inside]), k[inside])
    assert [count.isf(float(count.sf(x))) for x in k[inside].tolist()] == k[inside].tolist()


@each
def test_ends(count):
    assert count.ppf([0.0, 1.0]).tolist() == [-1, count.n]
    assert count.isf([0.0, 1.0]).tolist() == [count.n, -1]
    assert (count.cdf(-1), count.sf(-1)) == (0, 1)
    assert (count.cdf(count.n), count.sf(count.n)) == (1, 0)
    assert (count.logcdf(-1), count.logsf(count.n)) == (-np.inf, -np.inf)
    assert count.pmf([-1, count.n + 1, 0.5]).tolist() == [0, 0, 0]
    assert count.logpmf([-1, count.n + 1, 0.5]).tolist() == [-np.inf] * 3
    assert np.isnan([count.cdf(math.nan), count.pmf(math.nan), count.ppf(math.nan), count.ppf(1.5)]).all()


@each
def test_the_cdf_is_the_sum_of_the_pmf(count):
    k, start = support(count), count.ppf(0.01)
    np.testing.assert_allclose(np.cumsum(count.pmf(k)), count.cdf(k), rtol=1e-11)
    part = np.arange(start, count.n + 1)
    np.testing.assert_allclose(np.cumsum(count.pmf(part)) + count.cdf(start - 1), count.cdf(part), rtol=1e-11)


@each
def test_moments_and_expectations(count):
    mean, variance, skewness, kurtosis = count.stats("mvsk")
    assert count.expect() == pytest.approx(mean, rel=1e-12)
    assert count.expect(lambda k: (k - mean) ** 2) == pytest.approx(variance, rel=1e-10, abs=1e-28)
    if variance:
        assert count.expect(lambda k: (k - mean) ** 3) == pytest.approx(skewness * variance**1.5, rel=1e-8, abs=1e-10)
        fourth = count.expect(lambda k: (k - mean) ** 4)
        assert fourth == pytest.approx((kurtosis + 3) * variance**2, rel=1e-9)
    for order in range(6):
        assert count.moment(order) == pytest.approx(count.expect(lambda k, order=order: k**order), rel=1e-10)
    assert count.std() ** 2 == pytest.approx(count.var(), rel=1e-14)
    assert count.expect(lambda k: 1.0) == pytest.approx(1, rel=1e-12)


@each
def test_expectations_may_be_complex(count):
    value = count.expect(lambda k: np.exp(0.3j * k))
    pmf = count.pmf(support(count))
    assert value == pytest.approx(complex(np.sum(pmf * np.exp(0.3j * support(count)))), rel=1e-12)
    assert abs(value.imag) > 0 or count.mean() == 0
    inside = count.expect(lambda k: 1j * k, lb=0, ub=count.n, conditional=True)
    assert inside == pytest.approx(1j * count.mean(), rel=1e-12)


@each
def test_entropy_is_that_of_the_pmf(count):
    pmf = count.pmf(support(count))
    pmf = pmf[pmf > 0]
    assert count.entropy() == pytest.approx(-np.sum(pmf * np.log(pmf)), rel=1e-9, abs=1e-12)


@each
def test_variates_lie_where_they_may(count):
    drawn = count.rvs(size=1000, random_state=3)
    assert (count.pmf(drawn) > 0).all()
    assert drawn.mean() == pytest.approx(count.mean(), abs=6 * count.std() / 1000**0.5 + 1e-12)
    assert np.shape(count.rvs(random_state=1)) == ()
    assert count.rvs(size=(2, 3), random_state=1).shape == (2, 3)


def test_a_law_without_a_name_answers_through_its_distribution():
    """A Channels law's, of which scipy knows nothing, once called itself for ever."""
    for law in (Channels(4, 3, 0.2), FixedCount(5, 2), Network(Channels(2, 2, 0.3), FixedCount(3, 1))):
        for count in (law.dropped, law.kept):
            k = np.arange(law.n + 1)
            np.testing.assert_array_equal(count.dist.pmf(k), count.pmf(k))
            np.testing.assert_array_equal(count.dist.ppf([0.1, 0.9]), count.ppf([0.1, 0.9]))
            np.testing.assert_array_equal(count.dist.isf([0.1, 0.8]), count.isf([0.1, 0.8]))
            np.testing.assert_array_equal(count.dist().logpmf(k), count.logpmf(k))
            assert count.dist().support() == (0, law.n)
            assert count.args == ()


@pytest.mark.parametrize(
    ("n", "k", "m"), [(9, 4, 3), (9, 4, 7), (9, 0, 3), (9, 9, 3), (9, 4, 9), (6, 6, 6), (500, 40, 300)]
)
def test_hypergeometric_is_scipys(n, k, m):
    law, j = hypergeometric(n, k, m), np.arange(m + 1)
    np.testing.assert_allclose(law.pmf(j), stats.hypergeom(n, k, m).pmf(j), rtol=1e-11, atol=1e-300)
    assert law.mean() == pytest.approx(m * k / n, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("n", "p"), [(0, 0.0), (0, 0.5), (0, 1.0), (1, 0.0), (1, 1.0), (7, 0.0), (7, 1.0)])
def test_binomials_that_are_certain(n, p):
    law, at = Layer(n, p).dropped, n * int(p)
    k = np.arange(n + 1)
    np.testing.assert_array_equal(law.pmf(k), k == at)
    np.testing.assert_array_equal(law.cdf(k), k >= at)
    assert [law.pmf(x) for x in k.tolist()] == (k == at).tolist()
    assert [law.sf(x) for x in k.tolist()] == (k < at).tolist()
    assert law.ppf(0.5) == law.isf(0.5) == law.ppf([0.5])[0] == law.mean() == at
    assert law.between(0, n) == 1
    assert law.entropy() == law.var() == 0


def test_a_table_is_of_its_counts_and_cannot_be_changed():
    law = Table(np.log([0.5, 0.5]), n=4, start=3)
    np.testing.assert_allclose(law.pmf([2, 3, 4]), [0, 0.5, 0.5], rtol=1e-15)
    with pytest.raises(ValueError, match="read-only"):
        law.log_pmf[0] = 0.0
    for n, start in ((3, 3), (4, -1), (1, 1)):
        with pytest.raises(ValueError, match="must hold logs of probabilities"):
            Table(np.log([0.5, 0.5]), n=n, start=start)
