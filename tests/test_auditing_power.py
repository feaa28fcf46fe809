"""Power: what a test calls `detectable` is found in 80 to 97% of runs, half of it clearly less often."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from dropstats import Channels, DropBlock, FixedCount, Layer, Network
from dropstats.auditing import audit, nulls, pictures, stretches
from dropstats.auditing.battery import design_effect, mask_effect
from dropstats.auditing.checks import agreement, inputs, lags, overlaps, rate, tiles, transposed
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case
from dropstats.auditing.streams import Streams
from dropstats.recording import InputBins, Recording

LEVEL = 1e-3
# A test that keeps its promise finds 90 of 100; one chance in a thousand leaves it outside these.
RUNS, FEWEST, MOST = 100, 80, 97
FEWER_RUNS = 25


# --- departures from a law, of a size that the test in question measures ----------------------------------------------


def shifted(law_at):
    """Return masks of the law whose rates are that much off."""
    return lambda rng, trials, by: law_at(by).sample(trials, rng=rng)


def one_neuron(law, neuron):
    """Return masks in which one neuron's rate is that much off."""

    def make(rng, trials, by):
        masks = law.sample(trials, rng=rng)
        masks[:, neuron] = rng.random(trials) >= law.rates[neuron] + by
        return masks

    return make


def jitter(law_at, variance, pairs):
    """Return masks whose rate is off to either side, call by call, so that the counts' variance is that much larger.

    `variance` is that of the counts, to which a rate off by s adds s^2 for each of the ordered `pairs` of neurons.
    """

    def make(rng, trials, by):
        shift = np.sqrt(by * variance / pairs)
        low, high = (law_at(sign * shift).sample(trials, rng=rng) for sign in (-1, 1))
        return np.where(rng.random((trials, 1)) < 0.5, low, high)

    return make


def copied(masks, rng, correlation, flat=False):
    """Return masks whose neurons sometimes copy the mask (or, flat, the neuron) before: of that correlation there."""
    source = masks.reshape(-1, 1) if flat else masks
    share = (1 - np.sqrt(1 - 4 * correlation)) / 2  # a copy of what has itself been replaced is none
    copies = rng.random(source.shape) < share
    copies[0] = False
    result = np.where(copies, np.roll(source, 1, axis=0), source)
    return result.reshape(masks.shape)


def carried(law, flat=False):
    return lambda rng, trials, by: copied(law.sample(trials, rng=rng), rng, by, flat)


def grouped(law, size):
    """Return masks of groups in which whole groups copy the mask before."""
    reduced = carried(law.reduced)
    return lambda rng, trials, by: np.repeat(reduced(rng, trials, by), size, axis=1)


# --- masks held against a law -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promise:
    """What a test states about one law: `make(rng, trials, by)` gives masks that depart by so much."""

    name: str
    test: str
    law: Any
    trials: int
    make: Callable[[np.random.Generator, int, float], Any]
    sign: int = 1
    options: dict[str, Any] = field(default_factory=dict)


RISING, UNLIKE = np.repeat([0.2, 0.5], 20), np.repeat([0.03, 0.95], 20)
CHANNELS, FIXED, SQUARES = Channels(16, 8, 0.2), FixedCount(20, 7), DropBlock(6, 6, 3, p=0.2)
WIDE = DropBlock(24, 24, 5, p=0.1)  # the law of its count has no closed form


def layer(n, p):
    return lambda by: Layer(n, np.asarray(p) + by) if np.ndim(p) else Layer(n, p + by)


def squares_at(law):
    mean = float(np.mean(law.rates))
    return lambda by: DropBlock.exactly(law.height, law.width, law.block, mean + by) if by else law


def of_layer(name, test, n, p, trials, make, sign=1, **options):
    return Promise(name, test, Layer(n, p), trials, make, sign, options)


PROMISES = (
    of_layer("rate, small p", "rate", 100, 0.003, 300, shifted(layer(100, 0.003))),
    of_layer("rate, large p", "rate", 33, 0.97, 200, shifted(layer(33, 0.97)), -1),
    of_layer("rate, one mask", "rate", 256, 0.1, 1, shifted(layer(256, 0.1))),
    of_layer("rate, unlike rates", "rate", 40, UNLIKE, 200, shifted(layer(40, UNLIKE))),
    Promise("rate, channels", "rate", CHANNELS, 200, shifted(lambda by: Channels(16, 8, 0.2 + by))),
    Promise("rate, DropBlock", "rate", SQUARES, 300, shifted(squares_at(SQUARES))),
    Promise("rate, DropBlock by bounds", "rate", WIDE, 100, shifted(squares_at(WIDE))),
    Promise(
        "rate, network with a fixed count", "rate", Network(Layer(10, 0.2), FixedCount(10, 2)), 300,
        shifted(lambda by: Network(Layer(10, 0.2 + 2 * by), FixedCount(10, 2))),
    ),
    of_layer("tolerance, upwards", "rate", 64, 0.1, 200, shifted(layer(64, 0.1)), tolerance=0.05),
    of_layer("tolerance, downwards", "rate", 64, 0.9, 200, shifted(layer(64, 0.9)), -1, tolerance=0.05),
    of_layer("tolerance, unlike rates", "rate", 40, UNLIKE, 400, shifted(layer(40, UNLIKE)), tolerance=0.03),
    Promise("tolerance, DropBlock", "rate", SQUARES, 300, shifted(squares_at(SQUARES)), 1, {"tolerance": 0.05}),
    of_layer("positions, layer", "positions", 64, 0.3, 200, one_neuron(Layer(64, 0.3), 7)),
    of_layer("positions, three neurons", "positions", 3, 0.3, 400, one_neuron(Layer(3, 0.3), 1)),
    of_layer("positions, small p", "positions", 50, 0.003, 2000, one_neuron(Layer(50, 0.003), 7)),
    of_layer("positions, large p", "positions", 33, 0.97, 500, one_neuron(Layer(33, 0.97), 7), -1),
    of_layer("positions, rising rates", "positions", 40, RISING, 200, one_neuron(Layer(40, RISING), 35), -1),
    Promise("positions, fixed count", "positions", FIXED, 400, one_neuron(FIXED, 3)),
    Promise("positions, DropBlock", "positions", SQUARES, 300, one_neuron(SQUARES, 14)),
    Promise(
        "positions, channels", "positions", CHANNELS, 400,
        shifted(lambda by: Channels(16, 8, np.where(np.arange(16) == 5, 0.2 + by, 0.2))),
    ),
    of_layer("dispersion, layer", "dispersion", 64, 0.3, 200, jitter(layer(64, 0.3), 64 * 0.21, 64 * 63)),
    of_layer("dispersion, large p", "dispersion", 33, 0.97, 500, jitter(layer(33, 0.97), 33 * 0.0291, 33 * 32)),
    of_layer("dispersion, few neurons", "dispersion", 4, 0.5, 500, jitter(layer(4, 0.5), 4 * 0.25, 4 * 3)),
    Promise(
        "dispersion, channels", "dispersion", CHANNELS, 300,
        jitter(lambda by: Channels(16, 8, 0.2 + by), CHANNELS.variance, 64 * 16 * 15),
    ),
    of_layer("lags, layer", "lags", 64, 0.3, 300, carried(Layer(64, 0.3))),
    of_layer("lags, two masks", "lags", 1000, 0.3, 2, carried(Layer(1000, 0.3))),
    of_layer("lags, small p", "lags", 100, 0.01, 400, carried(Layer(100, 0.01))),
    of_layer("lags, large p", "lags", 33, 0.97, 500, carried(Layer(33, 0.97))),
    of_layer("lags, rising rates", "lags", 40, RISING, 100, carried(Layer(40, RISING))),
    Promise("lags, channels", "lags", CHANNELS, 300, grouped(CHANNELS, 8)),
    Promise("lags, DropBlock", "lags", SQUARES, 600, carried(SQUARES)),
    of_layer("serial, layer", "serial", 64, 0.3, 200, carried(Layer(64, 0.3), flat=True)),
    of_layer("serial, small p", "serial", 100, 0.01, 300, carried(Layer(100, 0.01), flat=True)),
    of_layer("serial, large p", "serial", 33, 0.97, 400, carried(Layer(33, 0.97), flat=True)),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "of_audit", lambda case: {})  # half of the time of a small audit


def found(promise, masks):
    """Return what the test says of masks, held against the law alone."""
    return audit(masks, promise.law, tests=[promise.test], false_alarm=LEVEL, **promise.options)[promise.test]


def hold(stated, seen):
    """Hold a stated departure to its promise: `seen(by)` says whether one run in which it is so large is found."""
    assert FEWEST <= sum(seen(stated) for _ in range(RUNS)) <= MOST
    assert sum(seen(stated / 2) for _ in range(FEWER_RUNS)) < FEWER_RUNS / 2


# laws of squares take longest
SLOW = {"lags, rising rates", "lags, large p", *(one.name for one in PROMISES if "DropBlock" in one.name)}
TIMED = [pytest.param(one, marks=pytest.mark.slow) if one.name in SLOW else one for one in PROMISES]


@pytest.mark.parametrize("promise", TIMED, ids=lambda promise: promise.name)
def test_a_detectable_departure_is_found_nine_times_in_ten(promise):
    rng = np.random.default_rng(20261121)
    clean = found(promise, promise.make(rng, promise.trials, 0.0))
    assert clean.verdict == "pass"
    hold(
        clean.detectable,
        lambda by: found(promise, promise.make(rng, promise.trials, promise.sign * by)).pvalue <= LEVEL,
    )


def test_any_departure_of_a_total_that_never_varies_is_found():
    law = Network(FixedCount(10, 3), FixedCount(8, 2))
    masks = law.sample(50, rng=1)
    assert audit(masks, law)["rate"].detectable == 1 / masks.size
    masks[17, int(np.argmax(masks[17]))] = False
    assert audit(masks, law)["rate"].verdict == "fail"


# --- neurons that depend on each other though the law has them independent ------------------------------------------


def in_groups(groups, size, p):
    return lambda rng, trials, by: np.repeat(rng.random((trials, groups)) >= p + by, size, axis=1)


def by_call(n, p, spread):
    return lambda rng, trials, by: rng.random((trials, n)) >= p + by + spread * rng.uniform(-1, 1, (trials, 1))


def widened(masks, p):
    """Return the case of masks whose own dependence is allowed for, as the audit does."""
    seen = Evidence(Recording.from_masks(masks))
    case = Case(seen, Layer(seen.n, p), LEVEL)
    return case.but(design_effect=design_effect(seen), mask_effect=mask_effect(seen))


@pytest.mark.parametrize(
    ("make", "trials", "n", "p"),
    [
        (in_groups(16, 16, 0.3), 20, 256, 0.3),
        (in_groups(32, 8, 0.05), 200, 256, 0.05),
        (by_call(256, 0.4, 0.2), 60, 256, 0.4),
    ],
    ids=["groups, few masks", "groups, small p", "a rate for each call"],
)
def test_the_shift_stated_by_the_effective_sample_size_is_found(make, trials, n, p):
    rng = np.random.default_rng(3)
    # the design effect is measured, so that each recording states another shift
    stated = float(np.mean([rate.measure(widened(make(rng, trials, 0.0), p)).detectable for _ in range(25)]))
    assert stated > 1.5 * nulls.detectable_rate(p, trials * n, LEVEL)
    hold(stated, lambda by: rate.measure(widened(make(rng, trials, by), p)).pvalue <= LEVEL)


@pytest.mark.slow
def test_the_correlation_stated_where_masks_vary_more_than_the_law_has_it_is_found():
    rng = np.random.default_rng(4)

    def masks(by):
        return np.repeat(copied(rng.random((300, 32)) >= 0.3, rng, by), 4, axis=1)

    stated = float(np.mean([lags.measure(widened(masks(0.0), 0.3)).detectable for _ in range(25)]))
    hold(stated, lambda by: lags.measure(widened(masks(by), 0.3)).pvalue <= LEVEL)


# --- tiles, and inputs: departures that only these measure ------------------------------------------------------------


def tiles_at_two_rates(rng, trials, n, p, size, by):
    """Return masks whose rate is off by s to either side, tile by tile: (size - 1) s^2 / p (1 - p) more."""
    shift = np.sqrt(by * p * (1 - p) / (size - 1))
    tile = rng.choice([-shift, shift], (trials, -(-n // size)))
    return rng.random((trials, n)) >= p + np.repeat(tile, size, axis=1)[:, :n]


def tiles_alike(rng, trials, n, p, size, by):
    """Return masks some of whose tiles are dropped, or kept, as one: a share c makes the variance (size - 1) c more."""
    kept, tile = rng.random((trials, n)) >= p, rng.random((trials, -(-n // size))) >= p
    alike = rng.random(tile.shape) < by / (size - 1)
    tile, alike = (np.repeat(one, size, axis=1)[:, :n] for one in (tile, alike))
    return np.where(alike, tile, kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "p", "trials", "make"),
    [
        (2, 0.3, 2000, tiles_at_two_rates),
        (64, 0.3, 60, tiles_at_two_rates),
        (3, 0.9, 3000, tiles_alike),
        (2, 0.02, 5000, tiles_alike),
    ],
    ids=["pairs", "a layer", "large p", "small p"],
)
def test_a_detectable_variance_of_tiles_is_found(n, p, trials, make):
    rng = np.random.default_rng(8)
    law = Layer(n, p)

    def measured(masks):
        return tiles.measure(Case(Evidence(Recording.from_masks(masks)), law, LEVEL))

    clean = measured(law.sample(trials, rng=rng))
    hold(clean.detectable, lambda by: measured(make(rng, trials, n, p, clean["size"], by)).pvalue <= LEVEL)


@pytest.mark.slow
@pytest.mark.parametrize(("p", "neurons"), [(0.3, 6400), (0.05, 10_000), (0.9, 10_000)])
def test_a_detectable_difference_of_inputs_is_found(p, neurons):
    rng = np.random.default_rng(9)
    recording, edges = Recording.from_masks(Layer(8, p).sample(10, rng=rng)), special.ndtri(np.arange(1, 16) / 16)
    known = np.full(16, neurons // 16)

    def measured(by):  # of negative inputs, the first half, fewer are dropped
        dropped = rng.binomial(known, p + by / 2 * np.repeat([-1, 1], 8))
        bins = InputBins(edges.round(12), known, dropped)
        return inputs.measure(Case(Evidence(replace(recording, input_bins=bins)), Layer(8, p), LEVEL))

    hold(measured(0.0).detectable, lambda by: measured(by).pvalue <= LEVEL)


@pytest.mark.parametrize(("p", "windows"), [(0.02, 2**22), (0.3, 2**22), (0.5, 2**22), (0.9, 2**22), (0.3, 2**10)])
def test_a_detectable_stretch_is_found_at_any_place(monkeypatch, p, windows):
    monkeypatch.setattr(stretches, "_WINDOWS", windows)  # of few windows one in 8 is looked at
    rng = np.random.default_rng(10)
    law = Layer(100, p)

    def measured(length):
        stream = law.sample(200, rng=rng).reshape(-1)
        first, second = rng.integers(0, 9000), rng.integers(10_000, 20_000 - length)
        stream[second : second + length] = stream[first : first + length]
        return overlaps.measure(Case(Evidence(Recording.from_masks(stream.reshape(200, 100))), law, LEVEL))

    clean = measured(0)
    assert clean["sampled"] == (1 if windows > 2**20 else 8)
    hold(clean["reach"], lambda length: measured(int(length)).pvalue <= LEVEL)


# --- several streams --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranks:
    """Streams of one law, of which the second copies some neurons from the first."""

    name: str
    law: Any
    trials: int
    streams: int = 2
    declared: bool = True
    keys: tuple[Any, ...] = (0, 1, 2)
    check: Any = agreement

    def measured(self, rng, correlation=0.0):
        masks = [self.law.sample(self.trials, rng=rng) for _ in range(self.streams)]
        free = slice(None) if self.law.apart is None else self.law.apart
        copies = rng.random(masks[1].shape)[:, free] < correlation
        masks[1][:, free] = np.where(copies, masks[0][:, free], masks[1][:, free])
        given = tuple(map(Recording.from_masks, masks))
        laws = (self.law if self.declared else None,) * self.streams
        names = tuple(map(str, self.keys[: self.streams]))
        seen = Streams(names, self.keys[: self.streams], given, (self.trials,) * self.streams, laws, level=LEVEL)
        return self.check.measure(seen)


RANKS = (
    Ranks("layer", Layer(256, 0.1), 20),
    Ranks("half", Layer(256, 0.5), 20),
    Ranks("small p", Layer(500, 0.01), 20),
    Ranks("large p, p not declared", Layer(256, 0.9), 20, declared=False),
    Ranks("one mask", Layer(300, 0.3), 1),
    Ranks("three streams", Layer(256, 0.2), 5, streams=3),
    Ranks("DropBlock", SQUARES, 300),
    Ranks("transposed", Layer(256, 0.1), 20, keys=((0, 1), (1, 0)), check=transposed),
)


@pytest.mark.parametrize("ranks", RANKS, ids=lambda ranks: ranks.name)
def test_a_detectable_agreement_is_found_nine_times_in_ten(ranks):
    rng = np.random.default_rng(5)
    clean = ranks.measured(rng)
    assert clean.state == "judged"
    # a correlation r makes r (1 - expected) more neurons agree
    hold(clean.detectable, lambda by: ranks.measured(rng, by / (1 - clean.expected)).pvalue <= LEVEL)


# --- the numbers themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [2, 5, 19, 99, 1e4])
@pytest.mark.parametrize("level", [0.05, 1e-3, 1e-5])
def test_the_shift_that_students_test_sees_is_that_of_the_noncentral_t(freedom, level):
    shift = nulls.detectable_student(freedom, level)
    rng = np.random.default_rng(6)
    drawn = (shift + rng.standard_normal(40_000)) / np.sqrt(rng.chisquare(freedom, 40_000) / freedom)
    found = np.mean(drawn >= nulls.student_quantile(level / 2, freedom))
    assert found == pytest.approx(nulls.POWER, abs=0.01)


def coincidence_power(pairs, drops, correlation, level):
    """Return the exact power of the test of `paired_tails`, given the drops, against pairs of that correlation."""
    p = drops / (2 * pairs)
    both = np.arange(max(0, drops - pairs), drops // 2 + 1)
    one, none = drops - 2 * both, pairs - drops + both
    weight = special.xlogy(one, 2 * p * (1 - p) * (1 - correlation))
    weight += special.xlogy(both, p * p + correlation * p * (1 - p)) - special.gammaln(both + 1)
    weight += special.xlogy(none, (1 - p) ** 2 + correlation * p * (1 - p)) - special.gammaln(none + 1)
    weight = np.exp(weight - special.gammaln(one + 1) - (weight - special.gammaln(one + 1)).max())
    alarms = [nulls.paired(pairs, drops, int(c)) <= level for c in both]
    return float(weight[alarms].sum() / weight.sum())


@pytest.mark.parametrize("p", [0.02, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("pairs", [500, 2000])
@pytest.mark.parametrize("level", [1e-2, 1e-6])
def test_a_detectable_correlation_is_that_of_the_exact_test(p, pairs, level):
    moments = pairs * p * p, pairs * (p * (1 - p)) ** 2, pairs * p
    power = coincidence_power(pairs, round(2 * pairs * p), nulls.detectable_correlation(*moments, level), level)
    assert power == pytest.approx(nulls.POWER, abs=0.05)
    # of two tests each misses it with probability sqrt(0.1)
    either = nulls.detectable_correlation(*moments, level, tries=2)
    power = coincidence_power(pairs, round(2 * pairs * p), either, level)
    assert power == pytest.approx(1 - math.sqrt(0.1), abs=0.15)


def test_nothing_is_detectable_where_nothing_can_be_seen():
    assert nulls.detectable_rate(0.0, 100, 1e-3) is None
    assert nulls.detectable_rate(1.0, 100, 1e-3) is None
    assert nulls.detectable_rate(0.5, 0, 1e-3) is None
    assert nulls.detectable_rate(0.5, 5, 1e-3) is None


def test_no_correlation_is_detectable_where_even_equal_neurons_could_be_chance():
    assert nulls.detectable_correlation(1.0, 0.81, 10.0, 1e-9) == math.inf
    assert nulls.detectable_correlation(0.0, 0.0, 10.0, 1e-3) == math.inf


@pytest.mark.parametrize(("terms", "n", "p"), [(40, 64, 0.3), (400, 64, 0.3), (400, 100, 0.01)])
def test_a_detectable_variance_is_found_nine_times_in_ten(terms, n, p):
    law = stats.binom(n, p)
    excess = float(law.stats("k")) + 2
    more = nulls.detectable_variance(terms, excess, 1e-3)
    counts = law.rvs(size=(5000, terms), random_state=np.random.default_rng(7)) - law.mean()
    sums = np.sort((counts**2).sum(axis=1)) / law.var()
    # where all deviations are so much larger, as against the test's own quantile
    shape = terms / excess
    assert np.mean(sums * (1 + more) >= excess * special.gammainccinv(shape, 5e-4)) == pytest.approx(0.9, abs=0.03)
    assert nulls.detectable_variance(1, 100.0, 1e-3) is None
