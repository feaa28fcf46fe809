"""Laws of sums too large, or of too many rates, to be convolved."""

import json
import math
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dropstats import Channels, Layer, Network
from dropstats.counts import PoissonBinomial, convolution, of_rates, sums
from dropstats.counts.odds import Rates, compensated_sum, nodes

CASES = json.loads((Path(__file__).parent / "reference" / "sum_large.json").read_text())["cases"]
TIERS = ("direct", "windows", "contour")


@pytest.fixture(params=TIERS)
def tier(request, monkeypatch):
    """Let every sum be computed in one of the three ways, whatever is fastest."""
    monkeypatch.setattr(sums, "_DIRECT", math.inf if request.param == "direct" else 0.0)
    monkeypatch.setattr(sums, "_WIDE", 0.0 if request.param == "contour" else math.inf)
    return request.param


def errors(case, law):
    """Return how far the logs are off, in units of max(1, |log|)."""
    k, wanted = case["k"], [(float(case["log_pmf"]), law.logpmf(case["k"]))]
    if "log_at_least" in case:
        wanted.append((float(case["log_at_least"]), law.logsf(k - 1)))
    else:
        wanted.append((float(case["log_at_most"]), law.logcdf(k)))
    return [abs(got - true) / max(1, abs(true)) for true, got in wanted]


def law_of(case):
    return Network(*(Layer(n, float.fromhex(p)) for n, p in case["layers"])).dropped


@pytest.mark.parametrize("layers", sorted({str(case["layers"]) for case in CASES}))
def test_sums_of_large_layers_match_the_reference(layers):
    for case in CASES:
        if str(case["layers"]) == layers:
            law = law_of(case)
            assert max(errors(case, law)) <= 1e-13, case["k"]
            if float(case["log_pmf"]) > math.log(1e-290):
                assert law.pmf(case["k"]) == pytest.approx(math.exp(float(case["log_pmf"])), rel=1e-12, abs=0)


def test_the_reference_tells_a_wrong_law():
    case = next(case for case in CASES if case["layers"][0][0] == 10**12)
    (n, p), rest = case["layers"]
    wrong = Network(Layer(n, float.fromhex(p) * (1 + 1e-12)), Layer(rest[0], float.fromhex(rest[1]))).dropped
    assert max(errors(case, wrong)) > 1e-12


def test_the_three_ways_agree(tier, monkeypatch):
    groups = [(0.07, 3000), (0.4, 4000), (0.85, 2500)]
    law = of_rates(groups)
    mean, sd = law.mean(), law.std()
    k = np.unique(np.rint(np.clip(mean + sd * np.linspace(-60, 60, 481), 0, law.n)))
    got = {name: getattr(law, name)(k) for name in ("logpmf", "logcdf", "logsf", "pmf", "cdf", "sf")}
    monkeypatch.setattr(sums, "_DIRECT", math.inf)
    monkeypatch.setattr(sums, "_WIDE", math.inf)
    plain = of_rates(groups)
    for name, values in got.items():
        wanted = getattr(plain, name)(k)
        if name.startswith("log"):
            assert np.all((values == wanted) | (np.abs(values - wanted) <= 2e-13 * np.maximum(1, np.abs(wanted)))), name
        else:
            np.testing.assert_allclose(values, wanted, rtol=1e-12, atol=1e-290, err_msg=name)
    levels = [1e-300, 1e-20, 0.3, 0.5, 0.999]
    assert law.ppf(levels).tolist() == plain.ppf(levels).tolist() == [law.ppf(level) for level in levels]
    assert law.isf(levels).tolist() == plain.isf(levels).tolist() == [law.isf(level) for level in levels]
    assert law.entropy() == pytest.approx(plain.entropy(), rel=1e-9)


def test_many_rates(tier):
    """A law of 3,000 rates, some of them tiny and some next to 1, beside the convolution of all."""
    rng = np.random.default_rng(0)
    rates = np.concatenate([rng.random(2000), 10 ** rng.uniform(-12, -3, 700), 1 - 10 ** rng.uniform(-9, -3, 300)])
    rates = np.sort(np.concatenate([rates, [0.0, 0.0, 1.0]]))
    law, pmf = Layer(rates.size, rates).dropped, np.ones(1)
    for rate in rates:
        pmf = np.convolve(pmf, [1 - rate, rate])
    (k,) = np.nonzero(pmf > 1e-280)
    at = k[:: 40 if tier == "contour" else 1]
    np.testing.assert_allclose(law.pmf(at), pmf[at], rtol=2e-12)
    middle = int(law.mean()) + 5
    assert law.sf(middle) == pytest.approx(math.fsum(pmf[middle + 1 :]), rel=1e-12)
    assert law.logpmf(0) == -math.inf
    assert law.logpmf(1) == pytest.approx(math.fsum(np.log1p(-rates[rates < 1])), rel=1e-14)


@pytest.mark.parametrize("n", [2, 8, 9, 16, 17, 33, 100, 257, 600, 2100])
@pytest.mark.parametrize("kind", ["uniform", "tiny", "next to 1", "alike"])
def test_tables_of_any_number_of_rates(n, kind):
    """Products of many tables together, of pairs and of matrices, beside one neuron after the other."""
    rng = np.random.default_rng(n)
    small = 10 ** rng.uniform(-12, -0.1, n)
    rates = np.sort({"uniform": rng.random(n), "tiny": small, "next to 1": 1 - small, "alike": 0.3 + small / 99}[kind])
    law, pmf = Layer(n, rates).dropped, np.full(1, 2.0**140)
    for rate in rates:
        pmf = np.convolve(pmf, [1 - rate, rate])
    pmf *= 2.0**-140
    (k,) = np.nonzero(pmf > 1e-290)
    np.testing.assert_allclose(law.pmf(k), pmf[k], rtol=1e-12)
    np.testing.assert_allclose(law.sf(k[:-1]), np.cumsum(pmf[::-1])[::-1][k[:-1] + 1], rtol=1e-12)
    assert np.all(law.pmf(np.setdiff1d(np.arange(n + 1), k)) < 2e-290)
    assert law.pmf(int(k[0])) == law.pmf(k)[0] == law.pmf(k.astype(float))[0]


@pytest.mark.parametrize(
    ("n", "p"), [(9, 0.3), (1100, 0.5), (2000, 1e-4), (30_000, 0.974), (30_000, 0.026), (10**6, 0.4), (10**9, 1e-7)]
)
def test_the_table_of_a_binomial_holds_all_that_a_double_can(n, p):
    """From the first to the last probability above 1e-350: the outermost by logs of scipy's gamma function."""
    start, pmf = convolution.convolve(np.array([float(n)]), np.array([p]), np.array([1 - p]))
    k, least = start + np.arange(pmf.size), -1022 * math.log(2) - 140 * math.log(2)
    large = pmf > 1e-240
    np.testing.assert_allclose(pmf[large] * 2.0**-140, stats.binom(n, p).pmf(k[large]), rtol=1e-8)
    for end, outside in ((k[0], k[0] - 1), (k[-1], k[-1] + 1)):
        assert stats.binom(n, p).logpmf(end) > least - 1e-5
        assert outside in (-1, n + 1) or stats.binom(n, p).logpmf(outside) < least + 1e-5


def test_the_work_of_a_sum_is_about_its_multiplications():
    n, p = np.array([25_000.0, 20_000.0, 30_000.0]), np.array([0.1, 0.3, 0.4])
    sizes = [convolution.convolve(n[some], p[some], 1 - p[some]).pmf.size for some in ([0], [1], [0, 1], [2])]
    multiplications = sizes[0] * sizes[1] + sizes[2] * sizes[3]
    assert 0.3 < multiplications / convolution.work(n, p) < 1
    # of few dropped, or few kept, a table is short
    assert convolution.work(n, p / 100) == convolution.work(n, 1 - p / 100) == 0


def test_sums_that_are_too_long_are_refused_before_they_begin(monkeypatch):
    n, p = np.array([20_000.0, 30_000.0, 9.0]), np.array([0.3, 0.4, 0.5])
    sizes = [convolution.convolve(n[[i]], p[[i]], 1 - p[[i]]).pmf.size for i in range(2)]
    monkeypatch.setattr(convolution, "_MAX_WORK", 1.1 * sizes[0] * sizes[1])
    assert convolution.convolve(n, p, 1 - p).pmf.sum() * 2.0**-140 == pytest.approx(1, rel=1e-12)
    monkeypatch.setattr(convolution, "_MAX_WORK", 0.9 * sizes[0] * sizes[1])
    monkeypatch.setattr(convolution, "_binomial_table", None)
    with pytest.raises(ValueError, match=f"needs a convolution of {sizes[0]} by {sizes[1]} probabilities"):
        convolution.convolve(n, p, 1 - p)


def test_long_products_are_sums_of_positive_terms():
    rng = np.random.default_rng(0)
    a, b = (10 ** rng.uniform(-100, 0, size) for size in (1100, 40_000))
    got = convolution._multiply(a, b)
    assert got.size == a.size + b.size - 1
    for at in (0, 1, 63, 64, 1099, 1100, 16_400, 39_999, 41_097, 41_098):
        low, high = max(0, at - b.size + 1), min(at, a.size - 1)
        wanted = math.fsum(a[low : high + 1] * b[at - high : at - low + 1][::-1])
        assert got[at] == pytest.approx(wanted, rel=1e-14, abs=0)


def test_compensated_sums_hold_twice_the_digits():
    rng = np.random.default_rng(1)
    for size in (0, 1, 2, 7, 1000, 4097):
        x = rng.standard_normal(size) * 10.0 ** rng.integers(-8, 9, size)
        exact = sum(map(Fraction, x.tolist()), Fraction(0))
        high, low = compensated_sum(x)
        assert abs(Fraction(high) + Fraction(low) - exact) <= Fraction(1e-20)


def test_some_numbers_are_answered_before_the_table_is_made():
    groups = [(0.1, 20_000), (0.2, 20_000), (0.3, 20_000)]
    law, plain = of_rates(groups), of_rates(groups)
    plain.pmf([12_000])
    k = [12_000, 11_000, 12_345, 13_000, 12_100, 9_000, 14_500, 12_001, 12_002, 12_003, 11_999, 12_500]
    first = [(law.pmf(x), law.sf(x)) for x in k[:3]]
    assert "_table" not in law.__dict__
    rest = [(law.pmf(x), law.sf(x)) for x in k[3:]]
    assert "_table" in law.__dict__
    np.testing.assert_allclose(first + rest, [(plain.pmf(x), plain.sf(x)) for x in k], rtol=1e-12)
    deep = of_rates(groups)
    assert deep.logpmf(3) == pytest.approx(plain.logpmf(3), rel=1e-13)
    assert deep.logsf(3) == plain.logsf(3) == 0
    assert (deep.pmf(-1), deep.pmf(3), deep.pmf(60_000), deep.sf(59_999)) == (0, 0, 0, 0)
    assert "_table" not in deep.__dict__
    assert of_rates(groups).ppf(0.3) == plain.ppf(0.3)
    assert of_rates(groups).isf(1e-30) == plain.isf(1e-30)


def test_nodes_stand_for_many_rates():
    rng = np.random.default_rng(1)
    p = np.sort(np.concatenate([rng.random(5000), 10 ** rng.uniform(-300, -5, 500)]))
    number = rng.integers(1, 10**6, p.size).astype(float)
    odds = np.log(p) - np.log1p(-p)
    places, weights = nodes(odds, number)
    for shift in (-3.0, 0.0, 2.5):
        share = 1 / (1 + np.exp(-odds - shift))
        node = 1 / (1 + np.exp(-places - shift))
        for function in (lambda q: q, lambda q: q * (1 - q), lambda q: np.log1p(-0.02 * q * (1 - q))):
            assert function(node) @ weights == pytest.approx(math.fsum(function(share) * number), rel=1e-14)
    assert places.size == weights.size == 16 * np.unique(np.floor(odds)).size
    rates = Rates(p, number)
    assert rates.mean[0] + rates.mean[1] == math.fsum(p * number)


@pytest.mark.parametrize("theta", [-9.0, 9.0])
def test_nodes_serve_around_the_circle_where_all_odds_are_away_from_0(monkeypatch, theta):
    p = np.sort(np.random.default_rng(3).uniform(0.01, 0.97, 900))
    rates, t = Rates(p, np.ones(p.size)), np.linspace(0.1, np.pi, 40)[None]
    got = rates.log_phi(np.array([theta]), t, series=False)
    monkeypatch.setattr("dropstats.counts.odds._AWAY", math.inf)
    for mine, plain in zip(got, rates.log_phi(np.array([theta]), t, series=False), strict=True):
        np.testing.assert_allclose(mine, plain, rtol=1e-13)
    monkeypatch.setattr("dropstats.counts.odds._AWAY", -math.inf)  # shown to matter: nearer to 0 they err
    near = rates.log_phi(np.array([theta / 9]), t, series=False)
    monkeypatch.setattr("dropstats.counts.odds._AWAY", math.inf)
    assert np.abs(near[1] - rates.log_phi(np.array([theta / 9]), t, series=False)[1]).max() > 1e-9


@pytest.mark.parametrize("many", [False, True])
def test_equal_rates_are_merged_and_empty_groups_left_out(many):
    pairs = [(0.4, 3), (0.2, 5), (0.4, 2), (0.1, 0), (0.0, 2), (0.2, 1)]
    rest = [(0.5 + i / 64, i) for i in range(20)] if many else []
    wanted = ((0.0, 2), (0.2, 6), (0.4, 5), *rest[1:])
    assert of_rates([*rest, *pairs]).parts == of_rates(wanted).parts == wanted
    each = np.repeat([p for p, _ in wanted], [n for _, n in wanted])
    k = np.arange(each.size + 1)
    got = of_rates([*rest, *pairs]).cdf(k)
    np.testing.assert_allclose(got, stats.poisson_binom(each).cdf(k), rtol=1e-9, atol=1e-14)


def test_a_law_of_two_to_53_neurons_answers():
    law = Network(Layer(2**52, 0.5), Layer(2**52, 0.25)).dropped
    assert law.ppf(0.5) == pytest.approx(law.mean(), abs=1)
    assert law.sf(law.isf(1e-9)) <= 1e-9 < law.sf(law.isf(1e-9) - 1)
    assert law.cdf(-1) == 0
    assert law.pmf([0, law.n]).tolist() == [0, 0]
    assert law.logpmf(law.n) == pytest.approx(2**52 * (math.log(0.5) + math.log(0.25)), rel=1e-15)
    assert law.logsf(law.n) == -math.inf
    assert (law.logcdf(law.n), law.cdf(law.n)) == (0, 1)
    variance = 2**52 * (0.25 + 0.1875)
    assert law.entropy() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * variance), rel=1e-14)
    drawn = law.rvs(1000, random_state=0)
    assert abs(drawn.mean() - law.mean()) < 6 * law.std() / math.sqrt(1000)


def test_a_first_number_does_not_wait_for_the_table():
    groups = [(0.1, 10**7), (0.3, 10**7)]
    law, k = of_rates(groups), 4 * 10**6 + 1234
    one = [getattr(law, name)(k) for name in ("pmf", "cdf", "sf", "logsf")]
    assert "_table" not in law.__dict__
    table = [getattr(law, name)([k])[0] for name in ("pmf", "cdf", "sf", "logsf")]
    assert "_table" in law.__dict__
    assert one == pytest.approx(table, rel=1e-12, abs=0)


def test_certain_neurons_in_a_large_law():
    rates = [(0.0, 10**9), (0.2, 10**10), (0.7, 10**10), (1.0, 12345)]
    law, inner = of_rates(rates), of_rates(rates[1:3])
    k = int(inner.mean()) + 1000
    assert law.pmf(k + 12345) == inner.pmf(k)
    assert law.sf(k + 12345) == inner.sf(k)
    assert law.cdf(12344) == 0
    assert law.mirror().pmf(law.n - k - 12345) == inner.pmf(k)
    last = law.n - 10**9
    at = [12344, 12345, k + 12345, last - 1, last]
    none, every = (1e10 * (math.log(a) + math.log(b)) for a, b in ((0.8, 0.3), (0.2, 0.7)))
    assert law.logpmf([12344, 12345, last, last + 1]).tolist() == pytest.approx([-math.inf, none, every, -math.inf])
    assert law.logcdf(at).tolist() == pytest.approx(
        [-math.inf, none, float(inner.logcdf(k)), 0, 0], rel=1e-14, abs=1e-300
    )
    assert law.logsf(at).tolist() == pytest.approx(
        [0, 0, float(inner.logsf(k)), every, -math.inf], rel=1e-14, abs=1e-300
    )
    assert law.cdf(at).tolist() == [0, 0, inner.cdf(k), 1, 1]
    assert law.sf(at).tolist() == [1, 1, inner.sf(k), 0, 0]
    assert [law.logsf(x) for x in at] == law.logsf(at).tolist()
    assert [law.logcdf(x) for x in at] == law.logcdf(at).tolist()


def test_certain_neurons_move_a_law(tier):
    """Also deep in its tails, whichever way these are computed."""
    groups = [(0.07, 3000), (0.4, 4000), (0.85, 2500)]
    law, inner = of_rates([(0.0, 500), *groups, (1.0, 9000)]), of_rates(groups)
    mean, sd = inner.mean(), inner.std()
    k = np.unique(np.rint(np.clip(mean + sd * np.linspace(-70, 70, 57), 0, inner.n)))
    for name in ("logpmf", "logcdf", "logsf"):
        wanted = getattr(inner, name)(k)
        got = getattr(law, name)(k + 9000)
        assert np.all((got == wanted) | (np.abs(got - wanted) <= 2e-13 * np.maximum(1, np.abs(wanted)))), name
    assert (law.pmf(8999), law.cdf(8999), law.sf(law.n - 500), law.logsf(8999)) == (0, 0, 0, 0)


def test_moments_beside_channels_need_no_table():
    assert Network(Layer(10**12, 0.1), Channels(10**12, 64, 0.5)).dropped.mean() == 0.1e12 + 32e12


def test_pickles_of_many_rates():
    law = Layer(500, np.linspace(0, 1, 500)).dropped
    again = pickle.loads(pickle.dumps(law))
    assert isinstance(again, PoissonBinomial)
    assert again.parts == law.parts
    assert again.pmf(250) == law.pmf(250)
