"""Laws of counts: reference values, scipy's interface, quantiles, edges."""

import copy
import hashlib
import inspect
import itertools
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from cases import EDGE_LAWS, LAWS
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dropstats import Layer, Network
from dropstats.counts import Binomial, PoissonBinomial, add, binomial_logs, one_binomial

REFERENCE = Path(__file__).parent / "reference"
BINOMIAL = json.loads((REFERENCE / "binomial_extreme.json").read_text())["cases"]
POISSON_BINOMIAL = {
    case["name"]: case for case in json.loads((REFERENCE / "poisson_binomial.json").read_text())["cases"]
}

METHODS = ["pmf", "logpmf", "cdf", "logcdf", "sf", "logsf"]


def relative(value, truth):
    """Error of a log, relative where it is large, absolute where it is small."""
    truth = float(truth)
    return 0.0 if value == truth else abs(float(value) - truth) / max(1.0, abs(truth))


# --- accuracy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True], ids=["dropped", "kept"])
def test_binomial_logs_match_reference_up_to_2_to_53(mirrored):
    for case in BINOMIAL:
        n, k, p = case["n"], case["k"], float.fromhex(case["p_hex"])
        law = Binomial(n, p)
        if mirrored:
            law = law.mirror()
            got = law.logpmf(n - k), law.logsf(n - k - 1), law.logcdf(n - k - 1)
        else:
            got = law.logpmf(k), law.logcdf(k), law.logsf(k)
        where = n, p, k
        assert relative(got[0], case["log_pmf"]) <= 1e-13, where
        # up to n = 2^20 the tails are logs of scipy's, which are right to 7e-13
        tolerance = 1e-12 if n <= 2**20 else 1e-13
        assert relative(got[1], case["log_cdf"]) <= tolerance, where
        assert relative(got[2], case["log_sf"]) <= tolerance, where


def test_binomial_log_tails_by_the_integral_alone():
    """The integral that serves where scipy does not, on all reference cases."""
    for case in BINOMIAL:
        n, k, p = case["n"], case["k"], float.fromhex(case["p_hex"])
        if k < n:
            (log_cdf,), (log_sf,) = binomial_logs.BinomialLogs(n, p).tails(np.array([float(k)]))
            assert relative(log_cdf, case["log_cdf"]) <= 1e-13, (n, p, k)
            assert relative(log_sf, case["log_sf"]) <= 1e-13, (n, p, k)


# log(k!) less Stirling's formula: mpmath, loggamma with 60 digits
STIRLING = {
    1: 0.08106146679532725822,
    2: 0.041340695955409294094,
    7: 0.011896709945891770095,
    8: 0.010411265261972096497,
    9: 0.0092554621827127329177,
    14: 0.0059513701127588477356,
    15: 0.005554733551962801371,
    16: 0.0052076559196096404407,
    17: 0.0049013959484347378607,
    18: 0.0046291537493340285924,
    20: 0.0041663196919969224575,
    25: 0.0033331556367280928758,
    40: 0.0020832899383024217487,
    1000: 0.000083333330555556349206,
    2**53: 9.2518585385429711702e-18,
}


def test_stirling_errors_match_reference():
    alone = [one_binomial._stirling_error(float(k)) for k in STIRLING]
    together = binomial_logs._stirling_error(np.array(list(STIRLING), dtype=np.float64))
    assert alone == pytest.approx(list(STIRLING.values()), rel=1e-15, abs=0)
    assert together.tolist() == pytest.approx(list(STIRLING.values()), rel=1e-15, abs=0)


@pytest.mark.parametrize("method", ["pmf", "cdf", "sf"])
def test_binomial_probabilities_match_reference(method):
    checked = 0
    for case in BINOMIAL:
        truth = float(case[method])
        if truth > 1e-290:
            n, k, p = case["n"], case["k"], float.fromhex(case["p_hex"])
            # scipy's own forms serve up to n = 2^20 (7e-13); beyond, exp of a log that is right to 1e-15 |log|
            assert getattr(Binomial(n, p), method)(k) == pytest.approx(truth, rel=1e-12, abs=0), (n, p, k)
            checked += 1
    assert checked > 200


def r_uniforms(seed, count):
    """R's runif: its own scrambling of the seed, then the Mersenne twister's 32 bits times 2.3283064365386963e-10."""
    state = np.empty(624, dtype=np.uint32)
    for _ in range(50):
        seed = (69069 * seed + 1) % 2**32
    seed = (69069 * seed + 1) % 2**32  # the word that R keeps for the position
    for i in range(624):
        seed = (69069 * seed + 1) % 2**32
        state[i] = seed
    source = np.random.MT19937()
    source.state = {"bit_generator": "MT19937", "state": {"key": state, "pos": 624}}
    return source.random_raw(count) * 2.3283064365386963e-10


def reference_rates(case):
    if "p_hex" in case:
        return np.array([float.fromhex(p) for p in case["p_hex"]])
    n = case["n"]
    made = {
        "R_runif751": lambda: r_uniforms(1, 751),
        "linear_1000": lambda: np.arange(1, 1001) / 1001,
        "sparse_1000": lambda: np.arange(1, 1001) / 1e6,
        "mlp_960": lambda: np.repeat([0.1, 0.2, 0.5, 0.05], [512, 256, 128, 64]),
        "linear_20000": lambda: np.array([0.05 + 0.45 * i / (n - 1) for i in range(n)]),
    }
    return made[case["name"]]()


@pytest.mark.parametrize("name", POISSON_BINOMIAL)
def test_poisson_binomial_matches_reference(name):
    case = POISSON_BINOMIAL[name]
    rates = reference_rates(case)
    assert hashlib.sha256(rates.astype("<f8").tobytes()).hexdigest() == case["sha256_float64_le"]
    n = case["n"]
    dropped, kept = Layer(n, rates).dropped, Layer(n, rates).kept
    for row in case["rows"]:
        k = row["k"]
        pairs = {
            "pmf": (dropped.pmf(k), kept.pmf(n - k)),
            "cdf": (dropped.cdf(k), kept.sf(n - k - 1)),
            "sf": (dropped.sf(k), kept.cdf(n - k - 1)),
            "log_pmf": (dropped.logpmf(k), kept.logpmf(n - k)),
            "log_cdf": (dropped.logcdf(k), kept.logsf(n - k - 1)),
            "log_sf": (dropped.logsf(k), kept.logcdf(n - k - 1)),
        }
        for key, values in pairs.items():
            for value in values:
                if key.startswith("log_") and key in row:
                    assert relative(value, row[key]) <= 1e-13, (key, k)
                elif key in row and float(row[key]) > 1e-290:
                    assert value == pytest.approx(float(row[key]), rel=1e-12, abs=0), (key, k)
    mean, variance, skewness, kurtosis = dropped.stats("mvsk")
    assert mean == pytest.approx(float(case["mean"]), rel=1e-13)
    assert variance == pytest.approx(float(case["variance"]), rel=1e-13)
    if variance:
        assert skewness * variance**1.5 == pytest.approx(float(case["kappa3"]), rel=1e-11, abs=1e-13)
        assert kurtosis * variance**2 == pytest.approx(float(case["kappa4"]), rel=1e-11, abs=1e-13)


def test_poisson_binomial_by_brute_force():
    rng = np.random.default_rng(1)
    for n in range(1, 13):
        rates = rng.random(n)
        pmf = np.zeros(n + 1)
        for mask in itertools.product([0, 1], repeat=n):
            pmf[sum(mask)] += math.prod(p if drop else 1 - p for p, drop in zip(rates, mask, strict=True))
        law = Layer(n, rates).dropped
        np.testing.assert_allclose(law.pmf(np.arange(n + 1)), pmf, rtol=1e-12)
        # and the check has teeth: one rate off by 1e-6 is seen
        off = Layer(n, np.append(rates[:-1], rates[-1] * (1 - 1e-6))).dropped
        assert not np.allclose(off.pmf(np.arange(n + 1)), pmf, rtol=1e-12, atol=0)


def test_poisson_binomial_of_equal_rates_is_binomial():
    k = np.arange(301)
    # three groups whose rates differ by less than a digit of the probabilities that are compared
    nearly = PoissonBinomial(np.array([0.3 - 1e-16, 0.3, 0.3 + 1e-16]), np.full(3, 100.0))
    for method in METHODS:
        np.testing.assert_allclose(getattr(nearly, method)(k), getattr(Binomial(300, 0.3), method)(k), rtol=2e-12)
    assert isinstance(Layer(300, np.full(300, 0.3)).dropped, Binomial)


def test_sum_of_binomials_by_convolution():
    one, other = stats.binom(30, 0.2), stats.binom(50, 0.7)
    direct = np.convolve(one.pmf(np.arange(31)), other.pmf(np.arange(51)))
    law = add(Binomial(30, 0.2), Binomial(50, 0.7))
    np.testing.assert_allclose(law.pmf(np.arange(81)), direct, rtol=1e-12)


def test_merged_rates_make_the_plain_law():
    law = add(Binomial(10, 0.2), PoissonBinomial(np.array([0.2, 0.4]), np.array([5.0, 3.0])), Binomial(3, 0.4))
    assert law.parts == ((0.2, 15), (0.4, 6))


@pytest.mark.parametrize("n", [12, 700, 1024, 30_000])
@pytest.mark.parametrize("p", [1e-9, 0.01, 0.3, 0.5, 0.999])
def test_binomial_entropy_is_the_sum(n, p):
    k = np.arange(n + 1)
    log_pmf = Binomial(n, p).logpmf(k)
    assert Binomial(n, p).entropy() == pytest.approx(-np.sum(np.exp(log_pmf) * log_pmf), abs=1e-12)


@pytest.mark.parametrize(("n", "p"), [(4_200_000, 0.4), (2 * 10**7, 0.9), (10**12, 1.001e-6)])
def test_binomial_entropy_of_large_variance(n, p):
    """The expansion, used from a variance of 1e6 on, against the sum it replaces."""
    assert n * p * (1 - p) > 0.9e6
    reach = 40 * math.sqrt(n * p)
    k = np.arange(max(0.0, math.floor(n * p - reach)), math.ceil(n * p + reach) + 1)
    log_pmf = binomial_logs.BinomialLogs(n, p).pmf(k)
    assert Binomial(n, p).entropy() == pytest.approx(-np.sum(np.exp(log_pmf) * log_pmf), abs=1e-9)


# --- scipy's interface -----------------------------------------------------------------------------------------------


def test_laws_are_frozen_scipy_distributions():
    frozen = type(stats.binom(3, 0.5))
    for case in LAWS:
        assert isinstance(case.law.dropped, frozen)
        assert isinstance(case.law.kept, frozen)
    assert Layer(1024, 0.5).dropped.dist is stats.binom
    assert Layer(1024, 0.5).dropped.args == (1024, 0.5)
    assert LAWS[0].law.dropped.dist is stats.bernoulli
    assert LAWS[0].law.kept.args == (0.7,)
    np.testing.assert_array_equal(Layer(3, [0.3, 0.1, 0.2]).dropped.args[0], [0.1, 0.2, 0.3])


# n = 40 is small enough for scipy's own answers to be right
@pytest.mark.parametrize("k", [-1, 0, 13, 39, 40, 41, 3.5, -0.5, 40.5, np.nan, [1, 2.5, np.nan, -7], [[0], [40]]])
@pytest.mark.parametrize("method", METHODS)
def test_values_and_shapes_are_scipys(method, k):
    for ours, scipys in (
        (Layer(40, 0.3).dropped, stats.binom(40, 0.3)),
        (Layer(40, 0.3).kept, stats.binom(40, 0.7)),
    ):
        expected = getattr(scipys, method)(k)
        got = getattr(ours, method)(k)
        assert np.shape(got) == np.shape(expected)
        # scipy's log of a tail next to 1 is 0
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("q", [0, 1e-9, 0.3, 0.5, 1, -0.1, 1.1, np.nan, [[0.1, 0.9]], []])
@pytest.mark.parametrize("method", ["ppf", "isf"])
def test_quantiles_are_scipys(method, q):
    for ours, scipys in ((Layer(40, 0.3).dropped, stats.binom(40, 0.3)), (Layer(40, 0.3).kept, stats.binom(40, 0.7))):
        np.testing.assert_array_equal(getattr(ours, method)(q), getattr(scipys, method)(q))


def test_summaries_are_scipys():
    ours, scipys = Layer(40, 0.3).dropped, stats.binom(40, 0.3)
    for method in ("mean", "var", "std", "median", "entropy", "support"):
        np.testing.assert_allclose(getattr(ours, method)(), getattr(scipys, method)(), rtol=1e-12)
    for moments in ("m", "mv", "mvsk", "sk"):
        np.testing.assert_allclose(ours.stats(moments), scipys.stats(moments), rtol=1e-12)
    for order in range(6):
        assert ours.moment(order) == pytest.approx(scipys.moment(order), rel=1e-9)
    # up to the fourth a moment follows from the cumulants, however many neurons there are
    assert Layer(2**53, 0.5).dropped.moment(4) == pytest.approx(2.0**208, rel=1e-12)
    np.testing.assert_array_equal(ours.interval(0.95), scipys.interval(0.95))
    np.testing.assert_array_equal(ours.interval([0.5, 0.9]), scipys.interval([0.5, 0.9]))
    assert ours.expect() == pytest.approx(12, rel=1e-12)
    assert ours.expect(lambda k: k**2, lb=10, ub=20) == pytest.approx(scipys.expect(lambda k: k**2, lb=10, ub=20))
    assert ours.expect(lambda k: k, lb=10, conditional=True) == pytest.approx(
        scipys.expect(lambda k: k, lb=10, conditional=True)
    )
    with pytest.raises(ValueError, match=r"confidence must be in \[0, 1\]; got 1.5"):
        ours.interval(1.5)
    with pytest.raises(ValueError, match=r"order must be an integer of 0 or more; got -1"):
        ours.moment(-1)


@pytest.mark.parametrize("law", [Layer(10, 0.3), Layer(5, [0.1, 0.2, 0.3, 0.4, 0.4])], ids=["binomial", "rates"])
def test_arguments_have_scipys_names(law):
    for count, scipys in ((law.dropped, stats.binom(10, 0.3)), (law.kept, stats.binom(10, 0.7))):
        for name in (*METHODS, "ppf", "isf", "expect", "interval", "moment", "rvs"):
            ours, theirs = (list(inspect.signature(getattr(x, name)).parameters) for x in (count, scipys))
            assert ours == theirs, name
        assert count.cdf(x=3) == count.cdf(3)


def test_expect_beyond_the_support():
    law = Layer(10, 0.3).dropped
    assert law.expect(lb=-math.inf, ub=math.inf) == pytest.approx(3, rel=1e-12)
    assert law.expect(lb=math.inf) == law.expect(ub=-math.inf) == law.expect(lb=11) == 0
    assert math.isnan(law.expect(lb=11, conditional=True))
    assert law.expect(maxcount=10, tolerance=1e-3, chunksize=4) == law.expect()
    with pytest.raises(TypeError, match="unexpected keyword argument 'condition'"):
        law.expect(lb=3, condition=True)


def test_entropy_holds_the_last_count_of_two_to_53():
    """2^53 + 1 is no double: the entropy of a law next to n = 2^53 once lacked its last term."""
    n = 2**53
    # the number kept is Poisson(1), up to 1e-16
    k = np.arange(40.0)
    poisson = math.exp(-1) * sum((1 + math.lgamma(j + 1)) / math.factorial(int(j)) for j in k)
    for count in (Layer(n, 1 - 2**-53).dropped, Layer(n, 1 - 2**-53).kept, Layer(n, 2**-53).dropped):
        assert count.entropy() == pytest.approx(poisson, abs=1e-12)


def test_poisson_binomial_of_tiny_rates_answers():
    """Powers of a variance of 1e-300 underflow; the quantiles need them too."""
    law = Layer(3, [1e-300, 2e-300, 3e-300]).dropped
    mean, variance, skewness, kurtosis = law.stats("mvsk")
    assert (mean, variance) == pytest.approx((6e-300, 6e-300), rel=1e-14)
    assert skewness == pytest.approx(6e-300**-0.5, rel=1e-12)
    assert kurtosis == pytest.approx(1 / 6e-300, rel=1e-12)
    np.testing.assert_array_equal(law.ppf([1e-300, 0.5, 1 - 1e-16]), 0)
    np.testing.assert_array_equal(law.isf([5.9e-300, 6.1e-300]), [1, 0])
    assert math.copysign(1, Layer(2, [5e-324, 1e-323]).dropped.entropy()) == 1


def test_expect_up_to_ten_million_and_its_limit():
    assert Layer(10**7, 0.3).dropped.expect() == pytest.approx(3e6, rel=1e-10)
    assert Layer(10**9, 0.3).dropped.expect() == pytest.approx(3e8, rel=1e-10)
    with pytest.raises(ValueError, match="it sums at most 100000000"):
        Layer(2**53, 0.5).dropped.expect()


def test_variates_follow_random_state():
    for case in LAWS:
        law = case.law.dropped
        drawn = law.rvs(size=(4, 5), random_state=3)
        assert drawn.shape == (4, 5)
        np.testing.assert_array_equal(drawn, law.rvs(size=(4, 5), random_state=np.random.RandomState(3)))
        assert np.shape(law.rvs(random_state=3)) == ()
        legacy = law.rvs(size=2, random_state=np.random.RandomState(3))
        assert legacy.shape == (2,)
    law = Layer(10, 0.5).dropped
    law.random_state = 5
    assert law.rvs() == Layer(10, 0.5).dropped.rvs(random_state=5)


@pytest.mark.parametrize(
    "law", [Layer(50, 0.3), Layer(50, np.linspace(0.1, 0.6, 50)), Network(Layer(9, 0.1), Layer(9, 0.6))]
)
def test_variates_follow_the_law(law):
    for count in (law.dropped, law.kept):
        drawn = count.rvs(size=200_000, random_state=0)
        seen = np.bincount(drawn, minlength=law.n + 1)
        assert _fits(seen, count)
        assert not _fits(np.roll(seen, 1), count)


def _fits(seen, count):
    """Chi-square with cells of 20 and more expected, at 1e-6."""
    expected = seen.sum() * count.pmf(np.arange(seen.size))
    big = expected >= 20
    observed = np.append(seen[big], seen[~big].sum())
    expected = np.append(expected[big], expected[~big].sum())
    keep = expected > 0
    return stats.chisquare(observed[keep], expected[keep], sum_check=False).pvalue > 1e-6


# --- what must hold of every law -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_tails_moments_and_mirror_agree(case):
    for count in (case.law.dropped, case.law.kept):
        check_law_of_count(count)


def check_law_of_count(count):
    k = np.arange(-1, count.n + 2)
    pmf, cdf, sf = count.pmf(k), count.cdf(k), count.sf(k)
    assert pmf.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(cdf + sf, 1, atol=1e-14)
    np.testing.assert_allclose(cdf, np.cumsum(pmf), rtol=1e-10)
    np.testing.assert_allclose(sf[:-1], np.cumsum(pmf[::-1])[::-1][1:], rtol=1e-10)
    mean, variance, skewness, kurtosis = count.stats("mvsk")
    assert mean == pytest.approx(np.sum(k * pmf), rel=1e-10)
    central = [np.sum((k - mean) ** order * pmf) for order in (2, 3, 4)]
    assert variance == pytest.approx(central[0], rel=1e-9)
    if variance:
        assert skewness == pytest.approx(central[1] / central[0] ** 1.5, rel=1e-7, abs=1e-9)
        assert kurtosis == pytest.approx(central[2] / central[0] ** 2 - 3, rel=1e-6, abs=1e-9)
    else:
        assert np.isnan([skewness, kurtosis]).all()
    np.testing.assert_allclose(count.mirror().pmf(k), count.pmf(count.n - k), rtol=0)
    with np.errstate(divide="ignore"):
        for linear, logarithm in ((pmf, count.logpmf(k)), (cdf, count.logcdf(k)), (sf, count.logsf(k))):
            np.testing.assert_allclose(logarithm, np.log(linear), rtol=1e-9, atol=1e-12)


class Broken(Binomial):
    """A law with one wrong method."""

    def __init__(self, name, change):
        super().__init__(30, 0.4)
        right = getattr(self, name)
        setattr(self, name, lambda k: change(right(k)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("_pmf", lambda x: x * (1 + 1e-6)),
        ("_cdf", lambda x: x * (1 - 1e-9)),
        ("_sf", lambda x: x * (1 - 1e-9)),
        ("_logpmf", lambda x: x + 1e-6),
        ("_logcdf", lambda x: x - 1e-6),
        ("_logsf", lambda x: x - 1e-6),
    ],
)
def test_the_check_sees_a_wrong_law(name, change):
    check_law_of_count(Binomial(30, 0.4))
    with pytest.raises(AssertionError):
        check_law_of_count(Broken(name, change))


def test_the_check_sees_wrong_moments():
    wrong = Binomial(30, 0.4)
    wrong._cumulants = Binomial(30, 0.401)._cumulants
    with pytest.raises(AssertionError):
        check_law_of_count(wrong)


LEVELS = [1e-300, 1e-100, 1e-17, 0.01, 0.5, 0.99, 1 - 1e-16]


@pytest.mark.parametrize("law", [case.law for case in LAWS] + [law for law in EDGE_LAWS if law.n], ids=repr)
@pytest.mark.parametrize("side", ["dropped", "kept"])
def test_quantiles_are_consistent_with_the_tails(law, side):
    count = getattr(law, side)
    low, high = count.ppf(LEVELS), count.isf(LEVELS)
    for level, at in zip(LEVELS, low, strict=True):
        assert count.cdf(at) >= level
        assert at == 0 or count.cdf(at - 1) < level
    for level, at in zip(LEVELS, high, strict=True):
        assert count.sf(at) <= level
        assert at == 0 or count.sf(at - 1) > level


def test_quantile_where_scipys_fails():
    assert Layer(1024, 0.5).dropped.isf(1e-17) == 647
    assert stats.binom(1024, 0.5).isf(1e-17) == 1024  # why it is not used


@pytest.mark.parametrize("law", EDGE_LAWS, ids=repr)
def test_edges_answer_silently(law):
    """Warnings are errors in this suite, so this also shows that nothing warns."""
    for count in (law.dropped, law.kept):
        n = law.n
        k = np.array([-1, 0, n // 2, n, n + 1])
        for method in METHODS:
            values = getattr(count, method)(k)
            assert not np.isnan(values).any(), method
        assert count.cdf(n) == 1
        assert count.sf(n) == 0
        assert count.pmf(-1) == 0
        assert count.logsf(n) == -np.inf
        assert count.median() == count.ppf(0.5)
        assert np.isfinite([count.mean(), count.var(), count.std(), count.entropy()]).all()
        assert np.isnan(count.stats("s")) == np.isnan(count.stats("k")) == (count.var() == 0)
        assert count.support() == (0, n)
        low, high = count.interval(0.99)
        assert 0 <= low <= high <= n
        assert 0 <= count.rvs(random_state=0) <= n
        assert count.ppf(0) == count.isf(1) == -1
        assert count.ppf(1) == count.isf(0) == n


def test_certain_law_is_a_point():
    count = Network(Layer(3, 1.0), Layer(4, 0.0)).dropped
    np.testing.assert_array_equal(count.pmf(np.arange(8)), np.arange(8) == 3)
    np.testing.assert_array_equal(count.logcdf(np.arange(8)), np.where(np.arange(8) >= 3, 0, -np.inf))
    np.testing.assert_array_equal(count.logsf(np.arange(8)), np.where(np.arange(8) < 3, 0, -np.inf))
    assert count.entropy() == 0


def test_kept_is_not_built_from_a_rounded_p():
    assert Layer(1, 1e-300).kept.pmf(0) == pytest.approx(1e-300, rel=1e-15)
    assert Layer(10, 1e-18).kept.logsf(9) == -1e-17
    assert Layer(10, 1 - 2**-53).kept.mean() == 10 * 2**-53


@pytest.mark.parametrize("law", [case.law for case in LAWS], ids=repr)
def test_pickle_and_copies_still_answer(law):
    for count in (law.dropped, law.kept):
        count.pmf(0)  # so that what is made on demand exists
        for again in (pickle.loads(pickle.dumps(count)), copy.deepcopy(count), copy.copy(count)):
            np.testing.assert_array_equal(again.pmf(np.arange(law.n + 1)), count.pmf(np.arange(law.n + 1)))
            assert again.logsf(law.n - 1) == count.logsf(law.n - 1)


def test_whole_remote_tail_by_tilting():
    """Below 1e-308 every count of a law of 20 groups, against the same law in exact integers."""
    rates = [numerator / 64 for numerator in range(3, 63, 3)]
    exact = [1]
    for numerator in range(3, 63, 3):
        for _ in range(60):
            grown = [0] * (len(exact) + 1)
            for i, value in enumerate(exact):
                grown[i] += value * (64 - numerator)
                grown[i + 1] += value * numerator
            exact = grown
    n = 60 * len(rates)
    law = Layer(n, np.repeat(rates, 60)).dropped
    truth = np.array([_log_ratio(value, 64**n) for value in exact])
    got = law.logpmf(np.arange(n + 1))
    assert truth.min() < -800
    assert np.all(np.abs(got - truth) <= 1e-13 * np.maximum(1, np.abs(truth)))
    tails = np.array([_log_ratio(sum(exact[k + 1 :]), 64**n) for k in range(0, n, 50)])
    assert np.all(np.abs(law.logsf(np.arange(0, n, 50)) - tails) <= 1e-13 * np.maximum(1, np.abs(tails)))


def _log_ratio(numerator, denominator):
    """Return log(numerator / denominator) of integers, with the digits that math.log loses in a difference."""
    shift = denominator.bit_length() - numerator.bit_length()
    ratio = ((numerator << (shift + 200)) // denominator) / 2**200
    return math.log(ratio) - shift * math.log(2)


@given(
    n=st.integers(1, 2**53),
    p=st.floats(0, 1),
    u=st.floats(0, 1),
)
def test_any_binomial_answers_consistently(n, p, u):
    count = Binomial(n, p)
    k = float(math.floor(u * n))
    log_pmf, log_cdf, log_sf = count.logpmf(k), count.logcdf(k), count.logsf(k)
    # the three are computed apart, each right to 1e-12
    assert log_pmf <= log_cdf or relative(log_pmf, log_cdf) <= 1e-12
    assert log_cdf <= 0
    assert log_sf <= 0
    assert np.logaddexp(log_cdf, log_sf) == pytest.approx(0, abs=1e-12)
    if k > 0:
        assert np.logaddexp(count.logcdf(k - 1), log_pmf) == pytest.approx(log_cdf, rel=1e-11, abs=1e-11)
    assert count.mirror().logpmf(n - k) == log_pmf
