"""Sums of counts and multiples whose table would be too long, against tables that are not, and 50 digits."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dropstats import Channels, DropBlock, FixedCount, Layer, Network
from dropstats.counts import Binomial, Scaled, Sum, halves, of_rates, point_mass, sums
from dropstats.counts.multiples import MultiplesContour, SteppedRates
from dropstats.counts.odds import Rates
from dropstats.counts.parts import Core, part
from dropstats.counts.wide import Question, WideSum

REFERENCE = json.loads((Path(__file__).parent / "reference" / "sum_multiples.json").read_text())["cases"]
NAMES = ["pmf", "cdf", "sf", "logpmf", "logcdf", "logsf"]
BLOCKS = DropBlock(4, 4, 2, p=0.1).dropped
SMALL = [
    (Binomial(300, 0.1), Scaled(Binomial(12, 0.3), 100)),
    (Binomial(5, 0.7), Scaled(Binomial(40, 0.02), 9)),  # gaps between what is possible
    (Binomial(400, 1e-3), Scaled(Layer(3, [0.1, 0.5, 1.0]).dropped, 50)),
    (BLOCKS, Scaled(Binomial(6, 0.5), 3)),
    (Binomial(30, 0.2), Scaled(Binomial(20, 0.3), 7), Scaled(Binomial(10, 0.6), 12)),
    (point_mass(10, 3), Scaled(Binomial(20, 0.3), 6), Scaled(Binomial(10, 0.6), 9)),  # in units of three
    (BLOCKS, of_rates([(0.1, 40), (1.0, 3)]), Scaled(Binomial(30, 0.5), 5), Scaled(BLOCKS, 3)),
]
# Those whose core is had from a contour.
LARGE = [
    (Binomial(10**5, 0.5), Scaled(Binomial(10**4, 0.3), 20)),
    (Binomial(10**4, 0.1), Scaled(Binomial(10**5, 0.3), 10), Scaled(Binomial(2000, 0.01), 33)),
    (BLOCKS, Binomial(10**6, 1e-5), Scaled(Binomial(10**4, 0.3), 8), Scaled(Binomial(10**3, 0.01), 24)),
    (Binomial(40, 0.5), Scaled(Binomial(10**4, 0.3), 50), Scaled(of_rates([(0.2, 9000), (0.3, 2000)]), 70)),
]
# Sums that were refused, and how many standard deviations beyond the mean they are asked.
REFUSED = [
    Network(Layer(10**10, 0.1), Channels(10**5, 10**5, 0.5), Channels(10**4, 3 * 10**5, 0.3)),
    Network(Layer(10**10, 0.1), Layer(10**10, 0.2), Channels(10**6, 10**5, 0.1)),
    Network(Channels(10**6, 10**5, 0.2), Channels(10**6, 99_991, 0.1)),
    Network(FixedCount(10**6, 10**5), Channels(10**9, 64, 0.1), Channels(10**8, 128, 0.2)),
    Network(DropBlock(6, 6, 3, 0.1), Layer(10**15, 0.1), Channels(10**5, 10**5, 0.5)),
]


@pytest.mark.parametrize("counts", SMALL)
def test_it_is_the_sum(counts):
    law, known = WideSum(counts), Sum(counts)
    k = np.arange(-1, law.n + 2)
    k = np.unique(np.concatenate([k[:5], k[:: 1 + k.size // 60], k[-5:]]))
    for name in NAMES:
        expected, found, log = getattr(known, name)(k), getattr(law, name)(k), name.startswith("log")
        possible = expected > (-np.inf if log else 0)
        np.testing.assert_array_equal(found > (-np.inf if log else 0), possible)
        np.testing.assert_allclose(found[possible], expected[possible], rtol=1e-12 if log else 2e-11, atol=1e-300)


@pytest.mark.parametrize("counts", LARGE)
def test_it_is_the_sum_where_the_terms_are_many(counts):
    law, known = WideSum(counts), Sum(counts)
    places = known.mean() + known.std() * np.array([-12, -3, -0.1, 0, 1.7, 9, 30])
    k = np.unique(np.clip(np.rint(np.append(places, [0, 1, 50, law.n // 1000, law.n - 20, law.n])), 0, law.n))
    for name in ("logpmf", "logcdf", "logsf"):
        np.testing.assert_allclose(getattr(law, name)(k), getattr(known, name)(k), rtol=2e-13, atol=5e-13)
    assert any(core._contour for core in law._cores.values())


@pytest.mark.parametrize("case", REFERENCE)
def test_it_agrees_with_references(case):
    law = WideSum([Scaled(Binomial(n, float.fromhex(p)), step) for step, n, p in case["terms"]])
    expected = float(case["log_pmf"])
    assert law.logpmf(case["k"]) == pytest.approx(expected, rel=2e-14, abs=1e-12)
    assert law.logpmf(case["k"] + 1) != pytest.approx(expected, rel=1e-17, abs=1e-16)
    if case["log_tail"]:
        upper = case["k"] > law.mean()
        found = law.logsf(case["k"] - 1) if upper else law.logcdf(case["k"])
        assert found == pytest.approx(float(case["log_tail"]), rel=2e-14, abs=1e-12)


def test_a_table_far_out_where_a_term_is_all_dropped():
    """Under the tilt one of the probabilities is 1 in doubles; the log was NaN."""
    law = Sum([Binomial(10, 0.3), Scaled(Binomial(3, 0.3), 500)])
    assert law.logpmf(1509) == pytest.approx(3 * math.log(0.3) + math.log(10) + 9 * math.log(0.3) + math.log(0.7))
    many = Sum([Binomial(10**5, 0.1), Scaled(Binomial(1000, 0.3), 100)])
    assert math.isfinite(many.logpmf(50))
    assert many.logpmf(50) == pytest.approx(Binomial(10**5, 0.1).logpmf(50) + 1000 * math.log(0.7), rel=1e-14)


def test_the_comparison_sees_a_wrong_multiple():
    count, multiple = SMALL[0]
    k = np.arange(500)
    wrong = WideSum([count, Scaled(multiple.count, 99)])
    assert np.abs(wrong.cdf(k) - Sum([count, multiple]).cdf(k)).max() > 1e-3


@pytest.mark.parametrize("counts", SMALL)
def test_moments_quantiles_and_copies(counts):
    law, other = WideSum(counts), Sum(counts)
    np.testing.assert_allclose(law.stats("mvsk"), other.stats("mvsk"), rtol=1e-12)
    levels = [1e-9, 0.1, 0.5, 0.999]
    np.testing.assert_array_equal(law.ppf(levels), other.ppf(levels))
    np.testing.assert_array_equal(law.isf(levels), other.isf(levels))
    assert law.mirror().sf(7) == law.cdf(law.n - 8)
    assert pickle.loads(pickle.dumps(law)).cdf(50) == law.cdf(50)
    drawn = law.rvs(2000, random_state=np.random.default_rng(1))
    assert abs(drawn.mean() - law.mean()) < 5 * law.std() / math.sqrt(2000)


def test_a_huge_layer_beside_huge_channels():
    """Their table would hold 7.6e8 probabilities."""
    net = Network(Layer(10**10, 0.5), Channels(10**5, 10**5, 0.5))
    nested = Network(net, Layer(10**6, 0.5)).dropped
    assert isinstance(nested, WideSum)
    assert (0.5, 10**10 + 10**6) in [part for count in nested.counts for part in getattr(count, "parts", ())]
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


@pytest.mark.parametrize("net", REFUSED)
def test_what_was_refused(net):
    law = net.dropped
    assert isinstance(law, WideSum)
    assert law.cdf(law.mean()) == pytest.approx(0.5, abs=0.01)
    assert law.sf(law.mean() + 2 * law.std()) == pytest.approx(0.02275, rel=0.02)
    quantile = law.ppf(0.9)
    assert law.sf(quantile) <= 0.1 < law.sf(quantile - 1)
    # tails and probabilities belong together, far out as well
    k = math.floor(law.mean() + 40 * law.std())
    step = math.gcd(*(count.size if isinstance(count, Scaled) else count.n and 1 for count in law.counts))
    tails = law.logsf([k - 1, k + 1000 * step])
    between = law.logpmf([k, k + step])
    assert tails[0] > tails[1] > tails[0] - 1
    assert (between < tails[0]).all()


def test_the_entropy_of_a_smooth_sum():
    counts = Binomial(4000, 0.5), Scaled(Binomial(2000, 0.45), 6), Scaled(Binomial(3000, 0.45), 4)
    assert WideSum(counts).entropy() == pytest.approx(Sum(counts).entropy(), abs=1e-9)
    doubled = [Scaled(count, 2) for count in counts]
    assert WideSum(doubled).entropy() == pytest.approx(Sum(counts).entropy(), abs=1e-9)
    with pytest.raises(ValueError, match="not smooth"):
        REFUSED[0].dropped.entropy()


def test_many_counts_of_a_smooth_sum_at_once():
    law = Network(Layer(10**12, 0.1), Channels(10**9, 64, 0.2), Channels(10**8, 96, 0.3)).dropped
    k = np.floor(law.mean()) + np.arange(-40, 41) * 10**5
    found = law.logpmf(k)
    np.testing.assert_allclose(found, [law.logpmf(one) for one in k], rtol=1e-14, atol=1e-12)
    nothing = 10**12 * math.log(0.9) + 10**9 * math.log(0.8) + 10**8 * math.log(0.7)
    assert law.logpmf(np.append(0.0, k))[0] == pytest.approx(nothing, rel=1e-12)
    np.testing.assert_array_equal(law.logpmf(np.append(k, [law.n, law.n + 1]))[-2:], [law.logpmf(law.n), -np.inf])
    low = int(k[0])
    assert law.between(low, low + 2000) == pytest.approx(2001 * law.pmf(low + 1000), rel=1e-6)


def test_a_contour_is_only_followed_where_there_is_one_peak():
    def smooth(*terms):
        each = [(step, Rates(np.array([p]), np.array([float(n)]))) for step, n, p in terms]
        return MultiplesContour(SteppedRates(*map(list, zip(*each, strict=True)))).smooth(0.0)

    assert smooth((1, 10**6, 0.5), (100, 10**6, 0.5))
    assert smooth((99, 10**10, 0.5), (100, 10**10, 0.5))
    assert not smooth((1, 10**6, 0.5), (10**4, 10**6, 0.5))  # the standard deviation of the first is 500
    assert not smooth((9_999, 10**4, 0.5), (10**4, 10**4, 0.5))
    # the second has peaks where the third has them, and the first is too narrow
    assert not smooth((1, 10, 0.5), (100, 10**10, 0.5), (200, 10**10, 0.5))


def test_a_core_is_asked_only_between_tilts_under_which_it_has_one_peak():
    terms = Scaled(Binomial(10**6, 0.5), 3), Scaled(Binomial(10**6, 0.5), 300)
    core, mean = Core([part(term) for term in terms]), 1.515e8
    assert core.step == 3
    assert core.smooth(0.0, mean, mean + 3e5)
    assert not core.smooth(0.0, mean, 2 * mean - 30)
    assert not core.smooth(0.0, 30, mean)
    assert core.smooth(0.0, 30, 30)  # one value is asked under the tilt alone
    contour = MultiplesContour(
        SteppedRates([1, 100], [Rates(np.array([0.5]), np.array([1e6]))] * 2)  # the same in units of three
    )
    low, high = contour.log_tails(np.array([-1.0, 0.0, contour.n - 1, contour.n]))
    np.testing.assert_allclose(low, [-np.inf, 2e6 * math.log(0.5), 0, 0], rtol=1e-12)
    np.testing.assert_allclose(high, [0, 0, 2e6 * math.log(0.5), -np.inf], rtol=1e-12)


@pytest.mark.parametrize("theta", [-0.4, 0.0, 0.7])
def test_a_table_among_the_terms_is_tilted_by_its_step(theta):
    term, k = part(Scaled(BLOCKS, 3)), np.arange(BLOCKS.n + 1.0)
    weights = BLOCKS.pmf(k) * np.exp(3 * theta * k)
    weights /= weights.sum()
    mean = weights @ k
    np.testing.assert_allclose(term.moments(theta), [mean, weights @ (k - mean) ** 2], rtol=1e-12)
    likely = k[weights >= math.exp(-4)]
    assert term.window(theta, 4.0) == (likely[0], likely[-1])
    assert term.window(theta, 800.0) == (0, BLOCKS.n)
    assert term.whole(term.window(theta, 800.0))
    assert term.log_mode(theta)[0] == k[np.argmax(weights)]


FOUR = [Scaled(Binomial(60, 0.3), step) for step in (107, 109, 131, 203)]


def in_offsets(terms):
    """A wide sum, the core of all its terms, and counts from 8 sd below to 8 sd above its mean that can occur."""
    law = WideSum(terms)
    mean, sd = law._cumulants[0], math.sqrt(law._cumulants[1])
    offsets = np.random.default_rng(5).normal(size=60) * 3
    possible = [int(mean + z * sd) for z in [*offsets, -8.0, 8.0]]
    return law, law._core(0, len(terms)), [k for k in possible if 0 < k < law.n]


def test_all_peaks_give_what_the_table_gives():
    law, core, some = in_offsets(FOUR)
    table, found = Sum(FOUR), 0
    for k in some:
        upward = k > law._cumulants[0]
        tail = core.through_peaks(float(k), upward, 2**20, 1e-3)
        assert tail == pytest.approx(table.logsf(k - 1) if upward else table.logcdf(k), rel=1e-13, abs=1e-13)
        single = core.through_peaks(float(k), None, 2**20, 1e-3)
        if single is not None:
            found += 1
            assert single == pytest.approx(table.logpmf(k), rel=1e-12)
        assert core.through_peaks(float(k), None, 10, 1e-3) is None
    assert found > 40


def test_a_wrong_step_or_rate_shows_in_all_peaks():
    _, core, some = in_offsets(FOUR)
    others = [Scaled(Binomial(60, 0.3), 107), Scaled(Binomial(60, 0.3 + 1e-9), 109), *FOUR[2:]], [*FOUR[:3], FOUR[0]]
    for other in others:
        table = Sum(other)
        tails = [
            (core.through_peaks(float(k), True, 2**20, 1e-3) or math.nan, table.logsf(k - 1)) for k in some if k > 9900
        ]
        assert any(abs(mine - theirs) > 1e-10 for mine, theirs in tails)


@pytest.mark.parametrize("terms", [FOUR, [BLOCKS, *FOUR[1:3]], [Binomial(40, 0.2), Scaled(BLOCKS, 9), FOUR[0]]])
def test_halves_that_meet_give_what_the_table_gives(terms):
    table, law = Sum(terms), WideSum(terms)
    parts = law._lattice[2]
    windows = [each.window(0.0, 800.0) for each in parts]
    assert sum(map(len, halves._halves(parts, windows))) == len(terms)
    for k in np.random.default_rng(6).integers(0, law.n, 100):
        assert halves.met(parts, windows, int(k)) == pytest.approx(table.logpmf(k), rel=1e-12)
    assert halves.met(parts, windows, 0) == pytest.approx(table.logpmf(0), rel=1e-12)


@pytest.mark.parametrize("channels", [10**3, 3000, 10**4, 10**6])
def test_multiples_that_have_nothing_in_common_are_answered(channels, monkeypatch):
    law = Network(*(Channels(channels, size, 0.1) for size in (10007, 10009, 20016, 30011))).dropped
    mean, sd = float(law.mean()), float(law.std())
    skewness = float(law.stats("s"))
    for z in (-3.0, -1.0, 0.5, 2.0):
        edge = math.floor(mean + z * sd)
        # Edgeworth's first term; its error is of the order of the next one, and of a step of 10,008, about which most
        # multiples lie
        normal = stats.norm.cdf(z) - skewness / 6 * (z * z - 1) * stats.norm.pdf(z)
        assert law.cdf(edge) == pytest.approx(normal, abs=stats.norm.pdf(z) * 10008 / sd + 2 / channels)
        assert law.cdf(edge) + law.sf(edge) == pytest.approx(1, abs=1e-12)
    # a count that can be reached, by both ways
    k = float(round(channels / 10) * (10007 + 10009 + 20016 + 30011))
    peaks = law.logpmf(k)
    monkeypatch.setattr("dropstats.counts.wide._FEW_NODES", 0)
    assert law.logpmf(k) == pytest.approx(peaks, rel=1e-12)
    assert law.logpmf(k + 2) == pytest.approx(peaks, abs=1e-3)
    if channels in (10**3, 10**6):  # where the steps, odd, odd, even and odd, seldom add up
        assert law.logpmf(k + 5) < peaks - 7


@pytest.mark.parametrize("terms", [[BLOCKS, *FOUR], [Binomial(40, 0.2), Scaled(BLOCKS, 9), FOUR[0], FOUR[3]]])
def test_all_peaks_for_each_value_of_a_table(terms):
    table, law, found = Sum(terms), WideSum(terms), 0
    windows = [each.window(0.0, 800.0) for each in law._lattice[2]]
    mean, sd = law._cumulants[0], math.sqrt(law._cumulants[1])
    for z in (-3.0, -0.4, 0.0, 1.3, 4.0):
        k = float(round(mean + z * sd))
        for upward, known in ((True, table.logsf(k - 1)), (False, table.logcdf(k)), (None, table.logpmf(k))):
            log = law._through_peaks(Question(k, upward, 0.0, 800.0), windows, 2**22, 1e-3)
            found += log is not None
            assert log is None or log == pytest.approx(known, rel=1e-12, abs=1e-12)
    assert found >= 8
    assert law._through_peaks(Question(mean, True, 0.0, 800.0), windows, 100, 1e-3) is None
    # beyond the ends of what the others reach
    for k, upward, known in ((0.0, True, 0.0), (law.n + 1.0, True, -np.inf), (float(law.n), False, 0.0)):
        log = law._through_peaks(Question(k, upward, 0.0, 800.0), windows, 2**22, 1e-3)
        assert log == pytest.approx(known, abs=1e-12)


def test_a_question_of_too_many_terms_is_refused(monkeypatch):
    for limit in ("wide._MOST_NODES", "wide._FEW_NODES", "halves._MOST"):
        monkeypatch.setattr(f"dropstats.counts.{limit}", 0)
    monkeypatch.setattr("dropstats.counts.wide._MOST", 0)
    with pytest.raises(ValueError, match=r"2 counts of different steps would need more than .* mean, var, std"):
        WideSum(SMALL[0]).pmf(500)


def test_short_tables_are_still_made():
    assert isinstance(Network(Layer(1000, 0.5), Channels(100, 64, 0.5)).dropped, Sum)
    assert isinstance(sums.add(Binomial(10, 0.5), Scaled(Binomial(10, 0.5), 10)), Sum)
