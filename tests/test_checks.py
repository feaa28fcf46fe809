"""What single checks measure, held against their definitions by hand, and words that no broken generator reaches."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dropstats import Channels, DropBlock, FixedCount, Layer, Network
from dropstats.auditing import audit, audit_streams, battery, covariation, evidence, nulls, order, words
from dropstats.auditing.checks import (
    dispersion,
    drift,
    duplicates,
    edges,
    groups,
    lags,
    linear,
    mean,
    overlaps,
    pairs,
    positions,
    rate,
    scale,
    serial,
    tiles,
)
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import GROUP, Case, Finding
from dropstats.auditing.judge import Judged
from dropstats.auditing.order import Spread
from dropstats.auditing.streams import Agreement, Streams, design_effect
from dropstats.auditing.stretches import Search, Stretch, equal_windows, within_one
from dropstats.recording import Recording

WIDE = DropBlock(24, 24, 5, p=0.1)  # the law of its count has no closed form
MEAN = float(WIDE.rates.sum())


def case_of(kept, law, **fields):
    return Case(Evidence(Recording.from_masks(kept)), law, **fields)


def with_counts(counts, n):
    """Return masks that drop so many neurons, the first ones."""
    return np.arange(n) >= np.asarray(counts)[:, None]


def bounds(total, terms, most, mean, variance):
    """Return Cantelli's and Bernstein's bound on both tails of a sum, by their formulas."""
    t, v, found = total - terms * mean, terms * variance, []
    for beyond, reach in ((-t, mean), (t, most - mean)):
        both = v / (v + t * t), math.exp(-t * t / (2 * v + 2 * reach * abs(t) / 3))
        found.append(min(both) if beyond > 0 else 1.0)
    return min(1.0, 2 * min(found))


# --- dispersion -----------------------------------------------------------------------------------------------------


def dispersed(counts):
    """Return the p-value of counts of `WIDE` by their squares, that by empty masks, and the finding."""
    counts = np.asarray(counts)
    most = max(MEAN, WIDE.n - MEAN) ** 2
    squares = float(((counts - MEAN) ** 2).sum())
    by_squares = bounds(squares, counts.size, most, WIDE.variance, most * WIDE.variance - WIDE.variance**2)
    chance = (1 - WIDE.gamma) ** 400  # none of the 20 x 20 seeds
    by_empty = float(nulls.binomial(int((counts == 0).sum()), counts.size, chance))
    return by_squares, by_empty, dispersion.measure(case_of(with_counts(counts, WIDE.n), WIDE))


@pytest.mark.parametrize("counts", [[57, 58] * 2000, [0, 115] * 500, [0, 10, 57, 100, 120] * 60])
def test_spread_of_counts_by_bounds(counts):
    by_squares, by_empty, finding = dispersed(counts)
    assert finding.pvalue == pytest.approx(min(1.0, 2 * min(by_squares, by_empty)), rel=1e-9)
    assert finding.observed == pytest.approx(np.mean((np.array(counts) - MEAN) ** 2) / WIDE.variance)
    assert finding["expected_empty"] == pytest.approx(len(counts) * (1 - WIDE.gamma) ** 400)


def test_words_of_counts_judged_by_bounds():
    case = case_of(with_counts([0] * 40 + [30, 60, 90] * 20, WIDE.n), WIDE)
    finding = dispersion.measure(case)
    assert dispersion.explain(finding, case, True).startswith("40 masks drop nothing, where 9.9 are expected; ")
    assert dispersion.explain(finding, case, False).startswith(
        "100 masks are too few to test the variance of the counts by"
    )
    balanced = case_of(with_counts([57, 58] * 2000, WIDE.n), WIDE)
    finding = dispersion.measure(balanced)
    assert finding.pvalue < 1e-3
    assert dispersion.explain(finding, balanced, False).startswith("tested by a bound from the exact variance")
    assert dispersion.explain(finding, balanced, True).startswith("0 masks drop nothing, where 396.8 are expected")
    mixed = case_of(with_counts([0] * 40 + [200] * 360, WIDE.n), WIDE)
    assert dispersion.explain(dispersion.measure(mixed), mixed, True).startswith(
        "the variance of the counts is 16.6 times"
    )


def test_words_of_counts():
    masks = with_counts(np.random.default_rng(5).normal(50, 3, 200).round(), 100)
    assert audit(masks, p=0.5, tests="dispersion")["dispersion"].message.endswith(
        "the counts are kept close to their mean"
    )
    for trials, says in ((1, "1 mask is too few"), (7, "7 masks are too few")):
        message = audit(Layer(64, 0.5).sample(trials, rng=1), p=0.5, tests="dispersion")["dispersion"].message
        assert message == f"{says} to test the variance of the counts"


# --- rate -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.03, 0.97])
def test_a_rate_is_not_judged_by_fewer_than_five_neurons_of_the_rarer_kind(p):
    for n, state in ((160, "too small"), (170, "judged")):
        assert rate.measure(case_of(Layer(n, p).sample(1, rng=1), Layer(n, p), level=1e-3)).state == state
        dependent = case_of(Layer(n, p).sample(20, rng=1), Layer(n, p), level=1e-3, design_effect=20.0)
        assert rate.measure(dependent).state == state


@pytest.mark.parametrize("level", [1e-2, 1e-5])
@pytest.mark.parametrize("trials", [20, 100, 5000])
def test_the_shift_that_bounds_see_is_beyond_their_own_limit(level, trials):
    neurons = trials * WIDE.n
    stated = rate.measure(case_of(np.ones((trials, WIDE.n), bool), WIDE, level=level)).detectable
    totals = np.arange(int(trials * MEAN), neurons)
    alarms = nulls.bounded_tails(totals, trials, WIDE.n, MEAN, WIDE.variance)[1] <= level / 2
    limit = float(totals[np.argmax(alarms)]) / neurons
    # nine in ten totals of a higher rate are above the limit, if they vary as much more as those of a layer do
    p, there = MEAN / WIDE.n, MEAN / WIDE.n + stated
    spread = math.sqrt(trials * WIDE.variance * limit * (1 - limit) / (p * (1 - p))) / neurons
    assert there - 1.2816 * spread == pytest.approx(limit, rel=1e-3)


# --- positions ------------------------------------------------------------------------------------------------------


def test_the_neuron_whose_shift_is_hardest_to_see():
    rates = np.array([0.95, 0.5, 0.95, 0.2])
    found = positions.measure(case_of(Layer(4, rates).sample(400, rng=1), Layer(4, rates), level=1e-3))
    assert found.detectable == nulls.detectable_rate(0.5, 400, 1e-3 / 20)  # five parts, four neurons


def test_a_neuron_that_is_rarely_known_is_hardest_to_see():
    rng = np.random.default_rng(1)
    inputs = np.ones((400, 8))
    inputs[100:, 5] = 0
    recording = Recording.from_outputs(inputs * (rng.random((400, 8)) >= 0.5) * 2, p=0.5, inputs=inputs)
    found = positions.measure(Case(Evidence(recording), Layer(8, 0.5), level=1e-3))
    alone = nulls.detectable_rate(0.5, 100, 1e-3 / 32)  # four parts, without the chi-square
    assert found.detectable == pytest.approx(alone * math.sqrt(8 / 7))


def test_dependence_widens_the_counts_of_runs():
    counts, trials = np.array([120, 60, 100]), np.array([200, 200, 200])
    exact = nulls.binomial(counts, trials, 0.5)
    assert (positions.widened(exact, counts, trials, 0.5, 1.0) == exact).all()
    normal = 2 * stats.norm.sf(np.abs(counts - 100) / math.sqrt(50 * 4))
    np.testing.assert_allclose(positions.widened(exact, counts, trials, 0.5, 4.0), np.maximum(exact, normal))


def test_words_of_positions():
    kept = np.random.default_rng(1).random((300, 400)) >= np.tile([0.26, 0.34], 200)
    said = audit(kept, p=0.3, tests="positions")["positions"].message
    ratio = float((((~kept).sum(axis=0) - 90) ** 2).sum()) / (400 * 63)
    assert said == f"the neurons' rates differ more than expected by chance ({ratio:.3g} times the variance)"
    even = np.stack([np.roll(np.arange(400) % 10 < 7, k) for k in range(300)])
    said = audit(even, p=0.3, tests="positions")["positions"].message
    assert said == "the neurons' rates differ less than expected by chance (0 times the variance)"
    frozen = np.repeat(Layer(64, 0.5).sample(1, rng=1), 100, axis=0)
    said = audit(frozen, p=0.5, tests="positions")["positions"].message
    assert said == "every neuron is always or never dropped: the masks do not change"
    for trials, says in ((1, "1 mask is"), (3, "3 masks are")):
        said = audit(Layer(64, 0.5).sample(trials, rng=1), p=0.5, tests="positions")["positions"].message
        assert said == f"{says} too few to detect even a neuron that is always dropped"


# --- pairs ----------------------------------------------------------------------------------------------------------


def test_pairs_under_a_law_of_dependent_neurons_are_those_of_its_own_covariance():
    law = FixedCount(12, 4)
    together = 4 * 3 / (12 * 11)
    for seed in range(12):
        kept = law.sample(60, rng=seed)
        drops = ~kept
        both = (drops.T.astype(int) @ drops)[np.triu_indices(12, 1)]
        least = nulls.binomial(both, 60, together).min()
        finding = pairs.measure(case_of(kept, law))
        assert finding.pvalue == pytest.approx(min(1.0, 66 * float(least)))
        assert finding.expected == pytest.approx(60 * together)
    rare = np.ones((200, 12), bool)  # neurons 2 and 9 never drop together
    rng = np.random.default_rng(1)
    halves = np.array([rng.permutation([2] + [k for k in range(12) if k not in (2, 9)])[:4] for _ in range(100)])
    others = np.array([rng.permutation([9] + [k for k in range(12) if k not in (2, 9)])[:4] for _ in range(100)])
    for row, dropped in zip(rare, [*halves, *others], strict=True):
        row[dropped] = False
    finding = pairs.measure(case_of(rare, law))
    assert (finding["worst"].first, finding["worst"].second, finding["worst"].both) == (2, 9, 0)
    few = audit(law.sample(19, rng=1), law, tests="pairs")["pairs"]
    assert few.verdict == "inconclusive"
    assert few.message == "19 masks are too few to detect even two neurons that always drop together"
    assert audit(law.sample(400, rng=1), law, tests="pairs")["pairs"].message.endswith(
        ", given the covariance of the law"
    )


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_sum_of_squared_correlations_has_the_moments_of_its_law(monkeypatch, p):
    monkeypatch.setattr(pairs, "_TOTAL_NEURONS", 2)
    monkeypatch.setattr(pairs, "_TOTAL_EXPECTED", 0)
    n, trials = 4, 4
    drops = ((np.arange(2 ** (n * trials))[:, None] >> np.arange(n * trials)) & 1).reshape(-1, trials, n)
    chance = np.prod(np.where(drops, p, 1 - p), axis=(1, 2))
    off = drops - p
    correlations = (off.transpose(0, 2, 1) @ off)[:, *np.triu_indices(n, 1)] / (trials * p * (1 - p))
    total = trials * (correlations**2).sum(axis=1)
    mean = float(chance @ total)
    z = (total - mean) / math.sqrt(float(chance @ (total - mean) ** 2))
    for one in np.argsort(z)[[0, 1000, -2000, -300, -1]]:
        gram = drops[one].T @ drops[one]
        found = pairs._total(gram, np.diagonal(gram), p, trials)
        assert found == pytest.approx(min(1.0, 60 / max(abs(z[one]), 1) ** 6), rel=1e-9)


def test_equal_histories_are_as_rare_as_markovs_bound_says():
    for rates in (np.full(20, 0.3), np.repeat([0.3, 0.9], 10)):
        kept = np.random.default_rng(1).random((25, 20)) >= rates
        kept[:, 4] = kept[:, 7] = kept[:, 1]
        kept[:, 10:12] = True  # never dropped: those are for the test of positions
        classes, pvalue = pairs._equal_histories(case_of(kept, Layer(20, rates)), rates)
        same = [
            (j, k) for j in range(20) for k in range(j) if (kept[:, j] == kept[:, k]).all() and not kept[:, j].all()
        ]
        most = max(max(rates), 1 - min(rates))
        assert pvalue == pytest.approx(min(1.0, 190 * (most**2 + (1 - most) ** 2) ** 25 / len(same)))
        assert classes[1] == classes[4] == classes[7] >= 0
        assert classes[10] == -1


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.7, 0.9])
def test_two_equal_neurons_are_found_nine_times_in_ten_where_the_test_says_so(p):
    what = "dropped" if p < 0.25 else "kept" if p > 0.75 else "agree"
    chance, together = {
        "dropped": (p * p, p), "kept": ((1 - p) ** 2, 1 - p), "agree": (p * p + (1 - p) ** 2, 1.0),
    }[what]  # fmt: skip
    for trials in (5, 10, 20, 40, 80, 160, 320):
        count = np.arange(trials + 1)
        alarms = nulls.binomial(count, trials, chance) <= 1e-6
        power = float(stats.binom.pmf(count, trials, together)[alarms].sum())
        assert pairs._sees_equal(p, trials, 1e-6) == (power >= 0.9)
    assert pairs._sees_equal(0.0, 5, 1e-6)


def test_few_masks_of_many_neurons_show_no_pair():
    for trials, hopeless in ((2, True), (19, True), (20, False), (40, False)):
        assert pairs._hopeless(case_of(np.ones((trials, 5000), bool), Layer(5000, 0.5), level=1e-5)) == hopeless


# --- duplicates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 8, 40])
def test_repeats_that_are_expected_are_those_of_their_definition(n):
    drops = np.random.default_rng(n).binomial(n, 0.2, 60)
    seen, expected = np.zeros(n + 1, int), 0.0
    for y in drops.tolist():
        expected += min(1.0, seen[y] / math.comb(n, y))
        seen[y] += 1
    assert duplicates.expected_repeats(n, drops) == pytest.approx(expected, rel=1e-8)


def test_equal_masks_of_two_streams_are_expected_by_the_second_ones_law():
    one, other = Layer(12, np.repeat([0.2, 0.5], 6)), Layer(12, np.repeat([0.1, 0.4], 6))
    laws = (one, other, one, None)
    kept = [(law or one).sample(30, rng=k) for k, law in enumerate(laws)]
    kept[2][4], kept[1][7], kept[2][5] = kept[0][3], kept[0][3], True
    given = tuple(map(Recording.from_masks, kept))
    seen = Streams(("a", "b", "c", "d"), (0, 1, 2, 3), given, (30,) * 4, laws)
    rates = [law.rates if law else np.full(12, 1 - kept[3].mean()) for law in laws]
    repeated, expected, met = 0, 0.0, set()
    for masks, p in zip(kept, rates, strict=True):
        chance = sum(float(np.prod(np.where(mask, 1 - p, p))) for mask in met)
        ordinary = [tuple(mask) for mask in masks.tolist() if 0 < sum(mask) < 12]
        repeated, expected = repeated + sum(mask in met for mask in ordinary), expected + 30 * min(1.0, chance)
        met |= set(ordinary)
    assert duplicates._across(seen) == (repeated, pytest.approx(expected))


def test_equal_masks_of_streams_of_one_rate_are_expected_by_their_counts():
    kept = [Layer(9, 0.3).sample(25, rng=k) for k in range(3)]
    seen = Streams(("a", "b", "c"), (0, 1, 2), tuple(map(Recording.from_masks, kept)), (25,) * 3, (Layer(9, 0.3),) * 3)
    counts = [9 - masks.sum(axis=1) for masks in kept]
    expected = sum(
        1 / math.comb(9, int(y))
        for a in range(3)
        for b in range(a)
        for y in counts[a]
        for other in counts[b]
        if y == other
    )
    found = duplicates.measure_streams(seen)
    assert found.expected == pytest.approx(expected)
    assert duplicates.explain_streams(found, seen, False).startswith("masks are too small: ")


# --- overlaps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [0.02, 0.3, 0.5, 0.9])
def test_windows_are_as_long_as_their_union_bound_says(s):
    gap = np.arange(1, 5000)
    agree = float((((1 - s) ** (gap - 1) * s) ** 2).sum())
    for size, level in ((10**4, 1e-3), (10**7, 1e-6)):
        search = Search(size, 1, s, level)
        bound = [(size * s) ** 2 / 2 * agree**m for m in range(3000)]
        assert bound[search.window] <= level < bound[search.window - 1]
    kept = np.ones(100, bool)
    kept[[3, 10, 14, 30, 31, 77]] = False
    found = Search(100, 1, s, 1e-3).pvalue(Evidence(Recording.from_masks(kept[None])), Stretch(9, 50, 30))
    assert found == pytest.approx(min(1.0, (100 * s) ** 2 / 2 * agree**3))  # gaps between the 10th, 14th, 30th and 31st


def test_a_run_of_drops_is_no_repetition():
    kept = np.random.default_rng(1).random((50, 100)) >= 0.3
    kept[7, 20:51] = False  # 30 gaps of 1: its windows of 20 are equal, but overlap
    seen = Evidence(Recording.from_masks(kept))
    assert equal_windows(seen, 1, 20)[0].size == 0
    kept[20, 20:51] = False
    first, second, _ = equal_windows(Evidence(Recording.from_masks(kept)), 1, 20)
    assert set(second - first) <= {1300 + k for k in range(-10, 11)}


def test_a_stretch_is_cut_where_streams_end():
    ends = np.array([100, 200, 300])
    assert within_one(Stretch(99, 150, 20), ends) == Stretch(99, 150, 1)
    assert within_one(Stretch(80, 290, 25), ends) == Stretch(80, 290, 10)
    assert within_one(Stretch(100, 200, 30), ends) == Stretch(100, 200, 30)
    assert within_one(Stretch(95, 195, 30), ends) == Stretch(100, 200, 25)


@pytest.mark.parametrize("p", [0.1, 0.9])
def test_streams_of_either_rate_are_searched_alike(p):
    kept = Layer(100, 0.1).sample(100, rng=1) ^ (p > 0.5), Layer(100, 0.1).sample(100, rng=2) ^ (p > 0.5)
    seen = Streams(("a", "b"), (0, 1), tuple(map(Recording.from_masks, kept)), (100, 100), (Layer(100, p),) * 2)
    found = overlaps.measure_streams(seen)
    s = max(0.1, *((~one if p < 0.5 else one).mean() for one in kept))
    assert (found.state, found["reach"]) == ("judged", Search(20_000, 1, s, 1e-3).reach(1))
    assert overlaps.explain_streams(found, seen, False).startswith(
        f"detects a stretch of {found['reach']:,} neurons in two streams"
    )
    kept[1][40:60] = kept[0][10:30]
    assert overlaps.measure_streams(replace(seen, given=tuple(map(Recording.from_masks, kept)))).pvalue < 1e-9


@pytest.mark.parametrize("p", [0.1, 0.9])
def test_a_stream_of_few_windows_is_too_short(p):
    # a window of 6 gaps, about 60 neurons, or of 5 where there are fewer, four times
    for trials, state in ((4, "too small"), (12, "judged")):
        case = case_of(Layer(40, p).sample(trials, rng=1), Layer(40, p), level=1e-3)
        assert overlaps.measure(case).state == state
    assert overlaps.measure(case_of(np.ones((30, 50), bool), Layer(50, 0.0))).state == "not applicable"
    almost = case_of(np.zeros((30, 50), bool), Layer(50, 0.5))
    assert overlaps.measure(almost).state == "not applicable"


# --- serial ---------------------------------------------------------------------------------------------------------


def test_words_of_streams(monkeypatch):
    short = audit(Layer(20, 0.5).sample(10, rng=1), p=0.5, tests="serial")["serial"]
    assert (short.verdict, short.message) == ("inconclusive", "a stream of 200 neurons is too short")
    assert serial.measure(case_of(Layer(50, 0.5).sample(50, rng=1), Layer(50, 0.0))).state == "not applicable"
    assert serial.measure(case_of(np.ones((50, 50), bool), Layer(50, 0.5))).state == "not applicable"
    law = Layer(60, np.repeat([0.1, 0.4], [20, 40]))
    said = audit(law.sample(100, rng=1), law, tests="serial")["serial"].message
    assert said.endswith(
        ("(40 neurons of rate 0.4, one after the other)", "(20 neurons of rate 0.1, one after the other)")
    )
    whole = audit(Layer(50, 0.5).sample(100, rng=1), p=0.5, tests="serial")["serial"].message
    assert whole.endswith("(power 0.9)")
    monkeypatch.setattr(evidence, "_STREAM", 2000)
    part = audit(Layer(50, 0.5).sample(100, rng=1), p=0.5, tests="serial")["serial"].message
    assert part.endswith("(power 0.9) (first 2,000 neurons of the stream)")


# --- tiles ----------------------------------------------------------------------------------------------------------


def test_balanced_tiles_are_found():
    rng = np.random.default_rng(1)
    tile = np.repeat([False, True], 4)
    kept = np.stack([np.concatenate([rng.permutation(tile) for _ in range(16)]) for _ in range(60)])
    case = case_of(kept, Layer(128, 0.5))
    finding = tiles.measure(case)
    assert finding.observed == 0
    assert finding.pvalue < 1e-9
    assert tiles.explain(finding, case, True).endswith("times the law's: the counts are kept close to their mean")
    few = audit(kept[:1, :10], p=0.5, tests="tiles")["tiles"]
    assert (few.verdict, few.message) == ("inconclusive", "10 neurons are too few for tiles")


# --- drift ----------------------------------------------------------------------------------------------------------


def test_drift_by_bounds_is_that_of_its_definition():
    rng = np.random.default_rng(3)
    for trials in (7, 40, 53):
        counts = rng.integers(20, 90, trials)
        counts[trials // 2 :] += 15
        case = case_of(with_counts(counts, WIDE.n), WIDE)
        each = [bounds(float(one), 1, WIDE.n, MEAN, WIDE.variance) for one in counts]
        runs = {
            (first, first + size): bounds(float(counts[first : first + size].sum()), size, WIDE.n, MEAN, WIDE.variance)
            for size in (2**k for k in range(1, 10) if 2 ** (k + 1) <= trials)
            for offset in {0, trials % size}
            for first in range(offset, trials - size + 1, size)
        }
        run_p = min(1.0, len(runs) * min(runs.values()))
        spread = Spread(MEAN, WIDE.variance, max(MEAN, WIDE.n - MEAN))
        ordered = [one.pvalue for one in (order.trend(counts, spread), *order.waves(counts, spread))]
        finding = drift.measure(case)
        assert finding.pvalue == pytest.approx(
            nulls.bonferroni(each[0], min(1.0, trials * min(each)), run_p, *ordered), rel=1e-9
        )
        assert finding["worst"] == int(np.argmin(each))
        assert runs[finding["run"]] == pytest.approx(min(runs.values()))


def test_a_correct_law_of_squares_does_not_drift():
    finding = drift.measure(case_of(WIDE.sample(60, rng=4), WIDE))
    assert finding.pvalue > 0.01
    case = case_of(np.ones((1, 576), bool), WIDE)
    assert drift.explain(drift.measure(case), case, False) == "a single mask shows no drift"


# --- lags -----------------------------------------------------------------------------------------------------------


def test_neurons_of_very_many_rates_are_sampled(monkeypatch):
    monkeypatch.setattr(lags, "_CONVOLVED", 1000)
    law = Layer(100, np.linspace(0.1, 0.9, 100))
    found = audit(law.sample(50, rng=1), law, tests="lags")["lags"]
    assert found.message.endswith("(tested on 20 neurons)")
    assert found.verdict == "pass"
    sticky = np.repeat(law.sample(25, rng=1), 2, axis=0)
    assert audit(sticky, law, tests="lags")["lags"].verdict == "fail"


def test_neurons_dropped_in_both_calls_by_either_law(monkeypatch):
    law = Layer(60, np.repeat([0.1, 0.4, 0.7], 20))
    kept = law.sample(80, rng=2)
    kept[1::2, :3] = kept[::2, :3]
    whole = lags.measure(case_of(kept, law)).pvalue
    monkeypatch.setattr(lags, "_CONVOLVED", 60)
    assert lags.measure(case_of(kept, law)).pvalue == pytest.approx(whole, rel=1e-6)


def test_wrong_rates_are_no_dependence_of_calls():
    rates = np.repeat([0.1, 0.4, 0.7], 20)
    wrong = Layer(60, rates * 1.25).sample(200, rng=3)
    assert lags.measure(case_of(wrong, Layer(60, rates))).pvalue > 0.01


def test_where_masks_cannot_depend_on_each_other():
    assert lags.measure(case_of(np.ones((5, 8), bool), Layer(8, 0.5))).state == "not applicable"
    assert lags.measure(case_of(np.ones((5, 8), bool), Layer(8, 0.0))).state == "not applicable"
    single = audit(Layer(64, 0.5).sample(1, rng=1), p=0.5, tests="lags")["lags"]
    assert (single.verdict, single.message) == ("inconclusive", "a single mask has no other to compare with")


@pytest.mark.parametrize("law", [Layer(16, np.tile([0.0, 1.0], 8)), Network(Layer(8, 0.0), FixedCount(8, 8))], ids=repr)
def test_masks_of_neurons_of_p_0_and_1_are_judged_by_edges_alone(law):
    kept = law.sample(50, rng=1)
    report = audit(kept, law)
    assert report.passed
    assert {report[name].verdict for name in ("pairs", "lags", "serial", "overlaps")} == {"not applicable"}
    kept[7, 3] ^= True
    assert audit(kept, law)["edges"].verdict == "fail"
    lags = report.pictures["lags"]
    assert lags["correlation"].tolist() == [0.0] * lags["lag"].size


# --- several streams ------------------------------------------------------------------------------------------------


def test_dependence_within_streams_is_measured_between_their_calls():
    def effect(law, trials):
        given = tuple(Recording.from_masks(law.sample(trials, rng=k)) for k in (1, 2))
        return design_effect(Streams(("a", "b"), (0, 1), given, (trials,) * 2, (Layer(law.n, 0.2),) * 2), (0, 1))

    assert effect(Layer(160, 0.2), 200) == effect(Layer(160, 0.2), 10) == 1
    assert effect(Channels(10, 16, 0.2), 200) == pytest.approx(16, rel=0.3)
    assert effect(Channels(10, 16, 0.2), 10) == 1  # too few calls to tell


def test_only_pairs_are_keys_of_layer_and_step():
    masks = {(k, 1, 0): Layer(50, 0.2).sample(20, rng=k) for k in range(3)}
    assert [one.name for one in audit_streams(masks, p=0.2)] == ["agreement", "duplicates", "overlaps", "linear"]


def test_a_single_neuron_agrees():
    assert Agreement((0, 1), 1, 1, 1, 1).expected_given == 1
    assert Agreement((0, 1), 1, 0, 1, 0).expected_given == 0


# --- counts of several streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("calls", "smooth"), [(3, 1), (40, 1), (300, 1), (300, 6)])
def test_correlation_of_counts_is_judged_by_that_of_other_calls(calls, smooth):
    rng = np.random.default_rng(calls)
    noise = rng.normal(0, 30, (2, calls + smooth))
    counts = np.stack([np.convolve(one, np.ones(smooth), "valid")[:calls] for one in noise]).round().astype(np.int64)
    r = stats.pearsonr(*counts).statistic
    off = counts - counts.mean(axis=1, keepdims=True)
    lags = [off[0][k:] @ off[1][: calls - k] / np.sqrt((off**2).sum(axis=1).prod()) for k in range(1, calls // 2 + 1)]
    wider = max(1.0, float(np.mean(np.square(lags[:64]))) * calls)
    t = abs(r) * math.sqrt((calls - 2) / (1 - r * r)) / math.sqrt(wider)
    assert covariation._of_correlation(counts) == pytest.approx(2 * stats.t.sf(t, calls - 2))
    assert (wider > 1.5) == (smooth > 1)


def test_counts_are_all_equal_as_rarely_as_in_a_random_order():
    counts = np.array([3, 5, 3, 4, 5])
    orders = [one for one in itertools.permutations(range(5)) if (counts[list(one)] == counts).all()]
    assert covariation._all_equal(counts) == pytest.approx(len(orders) / 120)


def test_the_pair_of_streams_whose_counts_vary_together_most():
    law, drops = Layer(200, 0.3), np.random.default_rng(3).binomial(200, 0.3, (4, 50))
    drops[3] += (drops[1] - 60) // 2
    given = tuple(Recording.from_masks(with_counts(one, 200)) for one in drops)
    seen = Streams(tuple("abcd"), (0, 1, 2, 3), given, (50,) * 4, (law,) * 4)
    pairs_of = itertools.combinations(range(4), 2)
    each = {pair: 12 * covariation._pvalue(seen, [law] * 4, drops, pair, 1e-3 / 12) for pair in pairs_of}
    found = covariation.worst(seen)
    assert found.pair == min(each, key=each.get) == (1, 3)
    assert found.pvalue == pytest.approx(min(1.0, each[1, 3]))
    assert found.correlation == pytest.approx(np.corrcoef(drops)[1, 3])


# --- linear ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.04, 0.96])
def test_a_rate_far_from_the_declared_one_is_no_linear_relation(rate):
    kept = np.random.default_rng(1).random((200, 60)) >= rate
    relations = linear.measure(case_of(kept, Layer(60, 0.5), level=1e-3))["relations"]
    assert relations is None or relations.pvalue > 0.01


# --- scale ----------------------------------------------------------------------------------------------------------


def of_outputs(outputs, law, **recorded):
    return Case(Evidence(replace(Recording.from_outputs(outputs, p=law.rate), **recorded)), law)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_scales_of_a_format_are_those_of_the_orders_of_its_roundings(dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16 and float8 types")

    def held(value, name=dtype):
        return float(np.float64(value).astype(getattr(ml_dtypes, name, name)))

    wider = [] if dtype == "float32" else ["float32"] if dtype.endswith("16") else ["float32", "float16", "bfloat16"]
    more = 0
    for p in np.arange(1, 1999, 2) / 1999:  # of which no 1 / (1 - p) lies within a double's error of a tie
        keeps = {1 - p, held(1 - p), 1 - held(p), held(1 - held(p))} - {0.0}
        once = {held(1 / keep) for keep in keeps}
        found = once | {held(held(1 / (1 - p), name)) for name in wider}
        assert scale.accepted(float(p), dtype) == {value for value in found if math.isfinite(value)}
        more += found > once
    assert more > 0 or not dtype.startswith("float8")  # rounded twice is not the same as once


def test_scales_found_from_products_need_not_be_numbers_of_their_format():
    kept = 0.69921875  # what bfloat16 makes of 0.7
    for value in (1 / 0.7, 1 / kept):
        assert scale.matches(value * (1 + 9e-7), 0.3, "bfloat16", 1e-6)
        assert not scale.matches(value * (1 + 2e-6), 0.3, "bfloat16", 1e-6)
        assert not scale.matches(value, 0.3, "bfloat16", 0.0)
    assert not scale.matches(1.0, 1 - 1e-9, "float16", 1e-6)  # 1 - p is 0 in float16
    assert scale.matches(1 / (1 - (1 - 1e-9)), 1 - 1e-9, "float16", 1e-6)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.8])
def test_each_scale_but_the_right_one_is_wrong(p):
    kept = Layer(64, p or 0.3).sample(40, rng=1)
    for value in (1.0, 1 - p, 1 / (1 - p), 1 / (1 - p) ** 2, 1 / p if p else 3.0, 2.5):
        finding = scale.measure(of_outputs(kept * value, Layer(64, p)))
        assert (finding.broken, finding.observed) == (value != 1 / (1 - p), value)
    two = kept * 2.0
    two[7, np.flatnonzero(kept[7])[:2]] = 3.0
    case = of_outputs(two, Layer(64, p))
    finding = scale.measure(case)
    assert (finding.broken, finding.observed) == (True, 2.0)
    said = f"kept neurons take 2 different values: 2 ({kept.sum() - 2:,} times), 3 (2 times)"
    assert scale.explain(finding, case, True) == said


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_what_was_rounded_to_another_format_is_named(p):
    half = np.float16
    for value, said in (
        (float(half(1 / (1 - p))), "1/(1 - p) rounded to float16"),
        (1 / float(half(1 - p)), "1/(1 - p), of 1 - p rounded to float16"),
        (1 / (1 - float(half(p))), "1/(1 - p), of p rounded to float16"),
    ):
        value = float(np.float32(value))
        case = of_outputs((Layer(64, p).sample(40, rng=1) * value).astype(np.float32), Layer(64, p))
        finding = scale.measure(case)
        assert finding.broken
        assert scale.explain(finding, case, True) == f"scale {value:.17g} is {said}, in outputs of float32"
    near = 1 - 1e-9  # in float16 and bfloat16 p is 1, and 1 - p in float16 is 0
    case = of_outputs((np.arange(64) % 2 * np.ones((40, 1))).astype(np.float32), Layer(64, near))
    assert scale.explain(scale.measure(case), case, True).startswith("scale 1 where 1/(1 - p) = 1e+09")


# --- mean -----------------------------------------------------------------------------------------------------------


def largest(count, n, low, high):
    """Return the largest two-sided p-value of a count over a grid of rates."""
    tails = [min(stats.binom.cdf(count, n, r), stats.binom.sf(count - 1, n, r)) for r in np.linspace(low, high, 101)]
    return min(1.0, 2 * max(tails))


def with_drops(drops, value, dtype):
    """Return outputs of 100 masks of 100 neurons that drop so many in all."""
    return (value * (np.random.default_rng(1).permutation(10_000) >= drops)).reshape(100, 100).astype(dtype)


@pytest.mark.parametrize("value", [1.3, 1.6, 1.0 / 0.9])
@pytest.mark.parametrize("off", [-150, -5, -4, -3, -1, 0, 1, 3, 4, 5, 150])
def test_the_mean_is_preserved_at_the_rates_that_the_scale_fits(value, off):
    held = float(np.float16(value))
    fitting = 1 - 1 / held
    low, high = (fitting + side * 2.0**-11 / held for side in (-1, 1))  # within half a unit of float16
    if value == 1 / 0.9:  # the declared scale, as float16 has it: from its own rate to the declared one
        low, high = sorted([fitting, 0.1])
    drops = round(10_000 * fitting) + off
    finding = mean.measure(of_outputs(with_drops(drops, held, np.float16), Layer(100, 0.1)))
    assert finding.pvalue == pytest.approx(largest(drops, 10_000, low, high))
    assert finding.observed == pytest.approx((1 - drops / 10_000) * held)
    assert finding.expected == 1


def test_a_format_that_nobody_recorded_may_be_any():
    # the law really drops 77/256; both 256/179 and 1/0.7 are 1.4296875 in bfloat16
    law = Layer.rounded(100, 0.3, rule="flash-attention-2")
    outputs = with_drops(3000, 1.4296875, np.float32)
    for dtype in ("bfloat16", None):
        assert mean.measure(of_outputs(outputs, law, dtype=dtype)).expected == 1


def test_values_without_a_positive_mean_preserve_none():
    outputs = with_drops(1000, 1.25, np.float64)
    for sign in (-1, np.where(np.cumsum(outputs > 0).reshape(outputs.shape) % 2, 1, -1)):
        case = of_outputs(outputs * sign, Layer(100, 0.1))
        finding = mean.measure(case)
        assert finding.broken
        assert mean.explain(finding, case, True).startswith(f"kept values average {-1.25 if np.ndim(sign) == 0 else 0}")


def test_dependence_that_widens_the_rate_widens_the_mean():
    # neurons drop in groups of 50, so that the rate varies 50 times as much, and with it the mean
    outputs = Channels(40, 50, 0.1).sample(100, rng=12) / 0.9
    naive = mean.measure(of_outputs(outputs, Layer(2000, 0.1)))
    report = audit(Recording.from_outputs(outputs, p=0.1))
    assert naive.pvalue < 1e-4
    assert report["mean"].pvalue > 0.01
    assert report["pairs"].verdict == "fail"


# --- edges ----------------------------------------------------------------------------------------------------------


def test_rules_without_exception_are_those_of_their_definition():
    law = Layer(5, [0.0, 0.5, 1.0, 0.0, 1.0])
    kept = law.sample(30, rng=1)
    right = edges.measure(case_of(kept, law))
    assert (right.broken, right.observed) == (False, 0)
    assert edges.explain(right, case_of(kept, law), False) == "p = 0 drops nothing and p = 1 keeps nothing"
    kept[3, 0] = kept[9, 3] = False
    kept[20, 4] = True
    wrong = edges.measure(case_of(kept, law))
    assert (wrong.broken, wrong.observed, wrong["dropped"], wrong["kept"]) == (True, 3, 2, 1)
    said = edges.explain(wrong, case_of(kept, law), True)
    assert said == "2 neurons of p = 0 are dropped; 1 neuron of p = 1 is kept"  # of few neurons, at several rates


@pytest.mark.parametrize("neurons", [64, 65, 1000])
def test_a_step_of_uniform_numbers_is_named_where_it_is_small(neurons):
    kept = np.arange(neurons)[None] != 7
    case = case_of(kept, Layer(neurons, 0.0))
    said = edges.explain(edges.measure(case), case, True)
    step = f", 1 in {neurons:,}: as with <= for <, or uniforms that are 0 or 1"
    assert said == "1 neuron of p = 0 is dropped" + step * (neurons > 64)


@pytest.mark.parametrize(("p", "enough"), [(0.3, 26), (0.01, 917), (1.0, 1)])
def test_nan_inputs_none_of_which_is_dropped_are_no_chance(p, enough):
    # the level is 1e-4: 0.7^26 = 9.4e-5, 0.99^917 = 9.9e-5
    for number, dropped in ((enough, 0), (enough - 1, 0), (enough, 1)):
        inputs = np.ones((1, number + 1))
        inputs[0, :number] = np.nan
        outputs = inputs.copy()
        outputs[0, :dropped] = 0
        outputs[0, -1] = 0
        recording = Recording.from_outputs(outputs, p=p, inputs=inputs)
        case = Case(Evidence(recording), Layer(number + 1, p))
        finding = edges.measure(case)
        expected = number if number == enough and not dropped else 0
        assert finding.numbers.get("multiplied", 0) == expected
        assert finding.broken == bool(expected)
        if expected:
            said = edges.explain(finding, case, True)
            assert said == f"none of {number:,} NaN inputs became 0: dropout multiplies by the mask"


def test_outputs_of_which_none_is_kept_may_still_be_wrong():
    outputs = np.zeros((20, 10))
    outputs[3, 4] = np.nan
    case = of_outputs(outputs, Layer(10, 0.5))
    finding = edges.measure(case)
    assert (finding.state, finding.broken, finding.observed) == ("judged", True, 1)
    assert edges.explain(finding, case, True) == "1 output is NaN"
    assert edges.measure(case_of(np.zeros((20, 10), bool), Layer(10, 0.5))).state == "not applicable"


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 50, 2**24])
@pytest.mark.parametrize("law", [Channels(5, 4, 0.3), Channels.locked(4, 5, 0.3)], ids=repr)
def test_groups_that_differ_inside_are_counted_in_every_call(monkeypatch, block, law):
    monkeypatch.setattr(groups, "_BLOCK", block)
    kept = law.sample(30, rng=1)
    for call, neuron in ((0, 3), (0, 4), (12, 19), (29, 0)):
        kept[call, neuron] ^= True
    case = battery._reduced(case_of(kept, law))[0]
    finding = groups.measure(case)
    differ = np.stack([np.ptp(kept[:, law.group_of == group].astype(int), axis=1) for group in range(5)], axis=1)
    assert (finding.observed, finding.broken) == (differ.sum(), True)
    call, group = (int(one) for one in np.argwhere(differ)[0])
    assert finding["first"] == (call, group)
    inside = ~kept[call, law.group_of == group]
    said = f"in call 0 group {group} drops {inside.sum()} of its 4 neurons ({differ.sum()} of 150 groups differ inside)"
    assert groups.explain(finding, case, True).endswith(said)


# --- which neurons are looked at --------------------------------------------------------------------------------------


def test_streams_are_those_of_the_most_frequent_rates():
    often = {0.5: 3, 0.1: 9, 0.0: 40, 0.2: 7, 0.9: 1, 0.3: 8, 1.0: 30, 0.4: 6, 0.6: 5, 0.7: 4, 0.8: 2, 0.05: 10}
    rates = np.random.default_rng(1).permutation(np.repeat(list(often), list(often.values())))
    case = case_of(Layer(rates.size, rates).sample(50, rng=1), Layer(rates.size, rates))
    assert [(one.law.rate, one.n) for one in case.streams] == [
        (0.05, 10), (0.1, 9), (0.3, 8), (0.2, 7), (0.4, 6), (0.6, 5), (0.7, 4), (0.5, 3),
    ]  # fmt: skip
    for one in case.streams:
        expected = case.seen.neuron_drops[rates == one.law.rate]
        np.testing.assert_array_equal(one.seen.neuron_drops, expected)


def test_a_stream_that_begins_without_drops_has_no_correlation(monkeypatch):
    monkeypatch.setattr(evidence, "_STREAM", 640)
    kept = np.concatenate([np.ones((10, 64), bool), Layer(64, 0.5).sample(100, rng=1)])
    seen = Evidence(Recording.from_masks(kept))
    np.testing.assert_array_equal(seen.stream_correlation, np.zeros(321))
    assert serial.measure(case_of(kept, Layer(64, 0.5))).state == "too small"


# --- what is plain to see in the masks --------------------------------------------------------------------------------


def seeds(count, trials=300, n=40):
    return Layer(n, 0.5).sample(count, rng=1)[np.random.default_rng(2).integers(count, size=trials)]


def dead(where, value):
    kept = Layer(40, 0.3).sample(300, rng=3)
    kept[:, where] = value
    return kept


@pytest.mark.parametrize(
    ("kept", "rate", "expected"),
    [
        (Layer(40, 0.3).sample(300, rng=1), 0.3, set()),
        (seeds(30), 0.5, {"repeated"}),
        (seeds(3000), 0.5, set()),  # one mask of twenty again
        (np.concatenate([np.ones((300, 40), bool), Layer(40, 0.3).sample(100, rng=1)]), 0.3, set()),  # empty ones apart
        (np.resize(Layer(40, 0.5).sample(30, rng=1), (300, 40)), 0.5, {"periodic", "repeated"}),
        (np.repeat(Layer(20, 0.3).sample(300, rng=1), 2, axis=1), 0.3, {"together"}),
        (dead(5, True), 0.3, {"constant"}),
        (dead(5, False), 0.3, {"constant"}),
        (np.ones((300, 40), bool), 0.0, {"constant", "certain", "periodic"}),
    ],
    ids=["right", "thirty seeds", "many seeds", "warm-up", "periodic", "groups", "never", "always", "nothing"],
)
def test_facts(kept, rate, expected):
    assert battery.facts(case_of(kept, Layer(40, rate))) == expected


def test_no_facts_where_neurons_are_not_known():
    inputs = np.ones((100, 8))
    inputs[:, 3] = 0
    recording = Recording.from_outputs(inputs * np.tile([0, 2] * 4, (100, 1)), p=0.5, inputs=inputs)
    assert battery.facts(Case(Evidence(recording), Layer(8, 0.5))) == frozenset()


def test_neurons_that_are_carried_on_are_a_fact_where_that_fails():
    def found(verdict, carried):
        return [Judged(lags.CHECK, Finding(1e-9, numbers={"carried": carried}), verdict, 1e-9)]

    assert battery.carried(found("fail", "what was found")) == {"carried"}
    assert battery.carried(found("fail", None)) == battery.carried(found("pass", "what was found")) == frozenset()


def test_the_observed_rate_excuses_only_where_the_declared_one_is_surely_off():
    rates = np.tile([0.22, 0.38], 32)
    kept = Layer(64, rates).sample(60, rng=1)
    observed = float(np.mean(~kept))
    near, far = (case_of(kept, Layer(64, observed - off)) for off in (0.011, 0.06))  # 1.5 and 8 standard errors
    excused = positions.measure(case_of(kept, Layer(64, observed))).pvalue
    assert positions.measure(far).pvalue < positions.measure(near).pvalue < excused < 0.01
    assert battery._measured(positions.CHECK, near).case is near
    judged = battery._measured(positions.CHECK, far)
    assert (judged.case.law.rate, judged.finding.pvalue) == (observed, excused)


@pytest.mark.parametrize(
    ("kept", "effect"),
    [
        (Layer(64, 0.3).sample(75, rng=1), 1),
        (Channels(4, 16, 0.3).sample(75, rng=1), 16),
        (np.repeat(Layer(64, 0.3).sample(15, rng=1), 5, axis=0), 5),
        (np.lib.stride_tricks.sliding_window_view(Layer(2432, 0.3).sample(1, rng=1)[0], 64)[::32], 2),
    ],
)
def test_by_how_much_dependence_widens_a_total(kept, effect):
    drops = ~kept
    p = drops.mean()
    masks = drops.sum(axis=1).var(ddof=1) / (64 * p * (1 - p))
    neurons = drops.sum(axis=0).var(ddof=1) / (75 * p * (1 - p))
    flat = (drops.ravel() - p) / math.sqrt(p * (1 - p))
    correlation = np.array([np.mean(flat * np.roll(flat, k)) for k in range(1, flat.size // 2 + 1)])
    plain = correlation[correlation > 20 / math.sqrt(flat.size)]
    expected = max(1, max(1, masks) * max(1, neurons), 1 + 2 * plain.sum())
    seen = Evidence(Recording.from_masks(kept))
    assert battery.mask_effect(seen) == pytest.approx(max(1, masks))
    assert battery.design_effect(seen) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(effect, rel=0.5)


# --- words that findings share ----------------------------------------------------------------------------------------


def test_numbers_in_words():
    assert [words.percent(share) for share in (0.0123, -0.5, 0.99, 0.995, -0.995, -2.0, 12.3456)] == [
        "+1.2%", "-50%", "+99%", "+100%", "-100%", "-200%", "+1,235%",
    ]  # fmt: skip
    assert [words.about(value) for value in (7.4, 12, 99, 123, 12_345, 2**19, 2**20, 3e9)] == [
        "7", "12", "99", "120", "12,000", "520,000", "2^20", "2^31",
    ]  # fmt: skip
    # the standard errors are 0.005, 5e-6, 1.4e-6 and 0
    shown = [words.shown_rate(rate, neurons) for rate, neurons in ((0.5, 1e4), (0.5, 1e10), (0.999999, 5e5), (1.0, 1))]
    assert shown == ["0.5000", "0.500000", "0.999999", "1"]


def test_names_in_words():
    assert [words.listed("abcdefgh"[:count]) for count in (0, 1, 2, 4, 5, 8)] == [
        "", "a", "a and b", "a, b, c and d", "a, b, c, d and 1 more", "a, b, c, d and 4 more",
    ]  # fmt: skip
    assert words.listed("abc", most=1) == "a and 2 more"


def test_neurons_that_drop_together_in_words():
    columns = Layer(8, 0.5).sample(200, rng=1)
    for kept, said, of_groups in (
        (columns, "", ""),
        (np.repeat(columns, 3, axis=1), "groups of 3 neighbours drop together", "neighbouring channels"),
        (np.tile(columns, 3), "neurons 8 positions apart drop together", "groups 8 apart drop together"),
        (np.repeat(columns[:, :1], 8, axis=1), "all neurons of a mask drop together", "all groups of a mask"),
    ):
        case = case_of(kept, Layer(kept.shape[1], 0.5))
        assert words.together(case) == said
        assert of_groups in words.together(case.but(unit=GROUP))


# --- rates next to 0 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e-12, 1e-30, 1e-160, 1e-300])
def test_rates_next_to_0_are_judged_as_any_others(rate):
    for p in ([rate] * 24, [rate, 0.5] * 12, [0.0, 1.0, rate] * 8, [rate, 1 - 2**-53] * 12):
        law = Layer(24, p)
        masks = law.sample(10, rng=1)
        assert not any(result.verdict == "fail" for result in audit(masks, law)), p
        rare = np.flatnonzero(np.equal(p, rate))[0]
        masks[3, rare] = not masks[3, rare]
        assert any(result.verdict == "fail" for result in audit(masks, law)), p
