"""Laws of sums too large, or of too many rates, to be convolved."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from dropstats import Channels, Layer, Network
from dropstats.counts import PoissonBinomial, of_rates, sums
from dropstats.counts.odds import Rates, nodes

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
    rates = Rates(p, number)
    assert rates.mean[0] + rates.mean[1] == math.fsum(p * number)


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


def test_moments_beside_channels_need_no_table():
    assert Network(Layer(10**12, 0.1), Channels(10**12, 64, 0.5)).dropped.mean() == 0.1e12 + 32e12


def test_pickles_of_many_rates():
    law = Layer(500, np.linspace(0, 1, 500)).dropped
    again = pickle.loads(pickle.dumps(law))
    assert isinstance(again, PoissonBinomial)
    assert again.parts == law.parts
    assert again.pmf(250) == law.pmf(250)
