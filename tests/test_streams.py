"""Audits of several streams: ranks, layers and steps, forward and recomputed."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

import dropstats as ds
from dropstats.auditing import nulls
from dropstats.auditing import streams as comparing
from dropstats.auditing.checks import agreement

LEVEL = 1e-3


def masks(seed, trials=50, n=1000, p=0.1):
    return np.random.default_rng(seed).random((trials, n)) >= p


def recorded(seed, p=0.1, **shape):
    return ds.Recording.from_masks(masks(seed, p=p, **shape), p=p)


def ranks(*seeds, **shape):
    return {f"rank {k}": recorded(seed, **shape) for k, seed in enumerate(seeds)}


def grid(seed_of, layers=4, steps=4, n=2000, p=0.1):
    return {(i, j): recorded(seed_of(i, j), trials=1, n=n, p=p) for i, j in product(range(layers), range(steps))}


# ---- what is as it should be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_independent_streams_pass(p):
    report = ds.audit_streams(ranks(1, 2, 3, 4, p=p))
    assert report.passed, report
    assert [result.name for result in report.results] == ["agreement", "duplicates", "overlaps", "linear"]
    assert report["agreement"].expected == pytest.approx(p * p + (1 - p) ** 2)
    assert report.p == p
    assert report.observed_rate == pytest.approx(p, abs=0.01)


def test_identical_streams_pass_where_they_should_be_identical():
    report = ds.audit_streams(ranks(1, 1, 1), expect="identical")
    assert report.passed
    assert report["identical"].message == "all 3 streams have the same 50 masks"
    assert report["identical"].observed == 1.0


def test_a_grid_of_independent_keys_passes():
    report = ds.audit_streams(grid(lambda i, j: (i, j)))
    assert report.passed, report
    assert report["transposed"].verdict == "pass"


@pytest.mark.parametrize(
    ("trials", "n", "p"),
    [
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(40, 300, 0.05), (200, 8, 0.3), (1, 5000, 0.5)]),
        (3, 20, 0.5),
    ],
)
def test_false_alarms_are_as_rare_as_said(trials, n, p):
    # at 0.05: the exact tests may reach it, the bounds stay below; a binomial bound that fails once in 1e5
    runs, alarm = 300, 0.05
    reports = [
        ds.audit_streams({k: masks((run, k), trials, n, p) for k in range(3)}, p=p, false_alarm=alarm)
        for run in range(runs)
    ]
    failed = sum(bool(report.failures) for report in reports)
    assert stats.binom.sf(failed - 1, runs, alarm) > 1e-5


def test_a_wrong_rate_does_not_pass_for_dependence():
    report = ds.audit_streams({k: masks(k, n=20_000, p=0.12) for k in range(3)}, p=0.1)
    assert report["agreement"].verdict == "pass", report


def dependent_within(kind, seed):
    if kind == "channels":
        return masks(seed, 400, 64, 0.3).repeat(16, axis=1)
    if kind == "frozen":
        return masks(seed, 1, 64, 0.3).repeat(400, axis=0)
    drawn = masks(seed, 400, 64, 0.3)
    drawn[:, :5] = False
    return drawn


@pytest.mark.parametrize("kind", ["channels", "frozen", "dead"])
def test_dependence_within_streams_does_not_pass_for_dependence_between_them(monkeypatch, kind):
    def alarms():
        streams = [{k: dependent_within(kind, (run, k)) for k in range(2)} for run in range(20)]
        reports = [ds.audit_streams(one, p=0.3, false_alarm=0.05) for one in streams]
        return sum(report["agreement"].verdict == "fail" for report in reports)

    assert alarms() == 0
    monkeypatch.setattr(agreement, "design_effect", lambda seen, pair: 1.0)
    assert alarms() > 2


# ---- what is not ---------------------------------------------------------------------------------------------------


def test_the_same_mask_on_every_rank():
    report = ds.audit_streams(ranks(1, 1, 1, 1))
    assert not report.passed
    assert report["agreement"].message == "all 4 streams have identical masks"
    assert report["agreement"].observed == 1.0
    assert report["duplicates"].message.startswith("rank 0 and rank 1 have the same masks (50 of 50")


def test_two_ranks_of_many():
    report = ds.audit_streams(ranks(1, 2, 3, 2))
    assert report["agreement"].message == "rank 1 and rank 3 have identical masks"


def test_masks_one_call_later():
    whole = masks(1, trials=60)
    report = ds.audit_streams({"rank 0": whole[:50], "rank 1": whole[3:53]}, p=0.1)
    assert report["agreement"].verdict == "pass"
    assert report["duplicates"].message == "rank 0 has rank 1's masks 3 calls later (47 of 47)"
    assert report["duplicates"].verdict == "fail"


def test_a_stretch_at_another_place():
    a, b = masks(1), masks(2)
    b.reshape(-1)[20_300:24_300] = a.reshape(-1)[7_100:11_100]
    report = ds.audit_streams({"a": a, "b": b}, p=0.1)
    assert [result.name for result in report.failures] == ["overlaps"]
    found = report["overlaps"]
    assert 4000 <= found.observed <= 4100
    assert found.message.startswith("a from call 7, neuron ")
    assert "b from call 20, neuron " in found.message


def test_a_stretch_ends_with_its_stream():
    report = ds.audit_streams({k: recorded(seed, trials=1, n=5000) for k, seed in enumerate((1, 2, 3, 2, 4))})
    assert report["overlaps"].message == ("1 from call 0, neuron 0, and 3 from call 0, neuron 0, share 5,000 elements")


def test_a_stretch_within_one_stream_is_not_between_two():
    a = masks(1)
    a[20] = a[10]
    assert ds.audit_streams({"a": a, "b": masks(2)}, p=0.1).passed


def test_some_calls_alike():
    a, b = masks(1), masks(2)
    b[[7, 9, 20, 21]] = a[[7, 9, 20, 21]]
    report = ds.audit_streams({"a": a, "b": b}, p=0.1)
    assert report["duplicates"].verdict == "fail"
    assert report["duplicates"].message == "a at call 7 and b at call 7 have the same mask (4 such pairs)"
    assert report["agreement"].message == "a and b have identical masks in 4 of 50 calls, first 7"


def test_some_neurons_alike():
    a, b = masks(1, trials=200), masks(2, trials=200)
    b[:, 100:164] = a[:, 100:164]
    report = ds.audit_streams({"a": a, "b": b}, p=0.1)
    assert report["agreement"].message == "a and b agree in every call at neurons 100 to 163"


def test_opposite_masks():
    a = masks(1, p=0.5)
    report = ds.audit_streams({"a": a, "b": ~a}, p=0.5)
    assert report["agreement"].message == "a keeps exactly what b drops"


def test_weak_dependence():
    a, b = masks(1, 200), masks(2, 200)
    copied = np.random.default_rng(3).random(a.shape) < 0.1
    report = ds.audit_streams({"a": a, "b": np.where(copied, a, b)}, p=0.1)
    message = report["agreement"].message
    assert message.startswith("a and b agree in 83.")
    assert float(message.rpartition(" ")[2]) == pytest.approx(0.1, abs=0.01)


def test_without_a_declared_p_the_observed_rates_serve():
    assert ds.audit_streams({k: masks(k) for k in range(3)}).passed
    report = ds.audit_streams({"a": masks(1), "b": masks(1)})
    assert not report.passed
    assert report.p is None


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (lambda i, j: i + j, "(6 of 6 such pairs), as with the seed layer + step"),
        (lambda i, j: i * j, "(6 of 6 such pairs), as with the seed layer * step"),
        (lambda i, j: i ^ j, "(6 of 6 such pairs), as with the seed layer ^ step"),
        (lambda i, j: (min(i, j), max(i, j)), "(6 of 6 such pairs): the key is symmetric in layer and step"),
    ],
)
def test_transposed_keys(seed, words):
    report = ds.audit_streams(grid(seed))
    assert report["transposed"].verdict == "fail"
    assert report["transposed"].message == f"masks of (layer, step) (0, 1) and (1, 0) are identical {words}"


def test_layers_may_have_names():
    streams = {
        (f"layer {i}", f"step {j}"): recorded((min(i, j), max(i, j)), trials=1) for i, j in product(range(3), range(3))
    }
    assert ds.audit_streams(streams)["transposed"].verdict == "fail"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda a: masks(9), "of neurons, as often as independent masks"),
        (lambda a: ~a, "second keeps exactly what first drops"),
        (lambda a: np.concatenate([a[:20], masks(9)[20:]]), "are the same up to call 19 and differ from call 20 on"),
        (lambda a: np.concatenate([masks(9)[:2], a[:48]]), "second has first's masks 2 calls later"),
        (lambda a: np.concatenate([~a[:1], a[1:]]), "1,000 differ"),
    ],
)
def test_streams_that_should_be_identical_but_differ(other, words):
    a = masks(1)
    report = ds.audit_streams({"first": a, "second": other(a)}, expect="identical", p=0.1)
    assert not report.passed
    assert words in report["identical"].message


def test_one_bit_is_enough():
    a, b = masks(1), masks(1)
    b[30, 500] ^= True
    report = ds.audit_streams({"a": a, "b": b, "c": a}, expect="identical")
    assert report["identical"].verdict == "fail"
    assert report["identical"].message.endswith("(1 of 2 streams differ from a)")


# ---- what cannot be told -------------------------------------------------------------------------------------------


def test_too_little_data_is_inconclusive():
    report = ds.audit_streams({"a": masks(1, 2, 5, 0.5), "b": masks(1, 2, 5, 0.5)}, p=0.5)
    assert {result.verdict for result in report.results} == {"inconclusive", "not applicable"}
    assert report["linear"].message == "not defined for two streams"
    assert not report.passed


def test_only_what_is_known_is_compared():
    inputs = np.random.default_rng(5).random((50, 1000)) - 0.5
    inputs = np.maximum(inputs, 0)  # ReLU: half are 0
    a = ds.Recording.from_outputs(masks(1) * inputs, inputs=inputs, p=0.1)
    b = ds.Recording.from_outputs(masks(2) * inputs, inputs=inputs, p=0.1)
    report = ds.audit_streams({"a": a, "b": b})
    assert report["agreement"].verdict == "pass"
    assert report["agreement"].observed == pytest.approx(0.82, abs=0.02)
    assert report["duplicates"].verdict == report["overlaps"].verdict == "not applicable"
    assert not ds.audit_streams({"a": a, "b": b}, expect="identical").passed
    assert ds.audit_streams({"a": a, "b": a}, expect="identical").passed
    assert not ds.audit_streams({"a": a, "b": a}).passed


def test_rates_without_chance_are_not_applicable():
    report = ds.audit_streams({"a": np.ones((50, 100), bool), "b": np.ones((50, 100), bool)}, p=0.0)
    assert {result.verdict for result in report.results} <= {"not applicable", "inconclusive"}


def test_unequally_many_calls_are_compared_over_the_common_ones():
    report = ds.audit_streams({"a": masks(1, 50), "b": masks(1, 70)}, expect="identical")
    assert report["identical"].verdict == "fail" or report.trials == 50
    assert report.notes == ("compared over the first 50 calls, which all streams have (the longest has 70)",)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ds.audit_streams([masks(1), masks(2)]), TypeError, "a mapping .* such as {.*}; got list"),
        (lambda: ds.audit_streams(masks(1), masks(2)), ValueError, "expect must be .*; got an array of shape"),
        (lambda: ds.audit_streams({"a": masks(1)}), ValueError, "streams must be at least two; got 1"),
        (
            lambda: ds.audit_streams({"a": masks(1), "b": masks(1, n=9)}, "identical"),
            ValueError,
            "got 1000 in 'a' and 9 in 'b'",
        ),
        (lambda: ds.audit_streams(ranks(1, 2), p=0.1, law=ds.Layer(1000, 0.1)), TypeError, "law= or p=, not both"),
        (lambda: ds.audit_streams(ranks(1, 2), law=ds.Layer(9, 0.1)), ValueError, "rank 0 must have its 1000 neurons"),
        (
            lambda: ds.audit_streams(ranks(1, 2), law=[ds.Layer(1000, 0.1)]),
            ValueError,
            "one for each of 2 streams; got 1",
        ),
        (lambda: ds.audit_streams(ranks(1, 2), law={"a": ds.Layer(1000, 0.1)}), ValueError, "the streams' names"),
        (lambda: ds.audit_streams(ranks(1, 2), law="x"), TypeError, "law must be a law.*got 'x'"),
        (lambda: ds.audit_streams(ranks(1, 2), "equal"), ValueError, "expect must be 'independent' or 'identical'"),
        (lambda: ds.audit_streams(ranks(1, 2), false_alarm=0), ValueError, r"false_alarm must be in \(0, 1\); got 0"),
        (lambda: ds.audit_streams(ranks(1, 2), p=2), ValueError, r"p must be in \[0, 1\]; got 2"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- the pieces ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 40, 300])
def test_joint_tails_are_hypergeometric(size):
    for first, second in product({0, 1, size // 3, size}, repeat=2):
        law = stats.hypergeom(size, first, second)
        for both in range(max(0, first + second - size), min(first, second) + 1):
            low, high = nulls.shared_tails(size, first, second, both)
            assert low == pytest.approx(law.cdf(both), rel=1e-9)
            assert high == pytest.approx(law.sf(both - 1), rel=1e-9)


def test_of_very_many_pairs_evenly_spread_ones_are_compared(monkeypatch):
    monkeypatch.setattr(comparing, "_PAIRS", 10)
    pairs, total = comparing.all_pairs(20)
    assert (len(set(pairs)), total) == (10, 190)
    assert set(pairs) <= set(combinations(range(20), 2))
    assert "(190 pairs in all)" in ds.audit_streams({k: masks(k, 5) for k in range(20)}, p=0.1)["agreement"].message


def test_the_report_is_the_audits_own():
    report = ds.audit_streams(ranks(1, 2))
    assert report.to_dict()["kind"] == "streams"
    assert "2 streams: rank 0 and rank 1" in str(report)


def test_the_picture_shows_who_agrees_and_when():
    import matplotlib.pyplot as plt

    whole = masks(1, trials=60)
    streams = {"rank 0": whole[:50], "rank 1": masks(2), "rank 2": whole[3:53], "rank 3": masks(2)}
    figure = ds.audit_streams(streams, p=0.1).plot()
    left, right = figure.axes[:2]
    matrix = left.images[0].get_array()
    assert matrix[1, 3] == matrix[3, 1] == pytest.approx(1)
    assert abs(matrix[0, 1]) < 0.05
    assert [label.get_text() for label in left.get_xticklabels()] == list(streams)
    assert right.get_xlabel() == "lag in calls (rank 3 after rank 1)"
    plt.close(figure)
    figure = ds.audit_streams({"a": whole[3:53], "b": whole[:50]}, p=0.1).plot()
    (lines,) = [c for c in figure.axes[1].collections if hasattr(c, "get_segments")]
    heights = {segment[0][0]: segment[1][1] for segment in lines.get_segments()}
    assert heights.pop(3) == pytest.approx(1)
    assert max(map(abs, heights.values())) < 0.05
    plt.close(figure)
    figure = ds.audit_streams({"a": masks(1), "b": masks(1), "c": masks(2)}, expect="identical", p=0.1).plot()
    assert figure.axes[1].get_xlabel() == "lag in calls (c after a)"
    plt.close(figure)


@pytest.mark.parametrize("trials", [1, 5, 50])
def test_the_band_of_the_picture_is_sidaks(trials):
    apart = ds.audit_streams(ranks(1, 2, trials=trials)).pictures["apart"]
    reach = min(32, trials - 1)
    lags = np.arange(-reach, reach + 1)
    np.testing.assert_array_equal(apart["lag"], lags)
    each = stats.norm.isf((1 - 0.99 ** (1 / lags.size)) / 2)
    np.testing.assert_allclose(apart["band"], each / np.sqrt(1000 * (trials - np.abs(lags))))


# ---- laws ----------------------------------------------------------------------------------------------------------

LAWS = (
    ds.Channels(16, 9, 0.2),
    ds.Channels.locked(5, 40, 0.25),
    ds.Layer(120, np.linspace(0.05, 0.6, 120)),
    ds.DropBlock(12, 12, 5, p=0.2),
    ds.FixedCount(60, 9),
    ds.Network(ds.Channels(8, 9, 0.3), ds.Layer(64, 0.1), ds.FixedCount(30, 5)),
)


SOME = [LAWS[0], *(pytest.param(law, marks=pytest.mark.slow) for law in LAWS[1:-1]), LAWS[-1]]


@pytest.mark.parametrize("law", SOME, ids=lambda law: repr(law)[:40])
def test_false_alarms_of_streams_of_any_law(law):
    runs, alarm = 60, 0.05
    rng = np.random.default_rng(3)
    reports = [
        ds.audit_streams({k: law.sample(trials, rng=rng) for k in range(3)}, law=law, false_alarm=alarm)
        for trials in (2, 20, 100) * (runs // 3)
    ]
    assert stats.binom.sf(sum(bool(report.failures) for report in reports) - 1, runs, alarm) > 1e-5
    assert any(report["agreement"].verdict == "pass" for report in reports)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: repr(law)[:40])
def test_the_same_masks_are_seen_under_any_law(law):
    one, other = law.sample(100, rng=1), law.sample(100, rng=2)
    report = ds.audit_streams({"a": one, "b": other, "c": one}, law=law)
    assert report["agreement"].verdict == "fail", report
    assert "a and c have identical masks" in report["agreement"].message
    late = ds.audit_streams({"a": law.sample(103, rng=1)[3:], "b": law.sample(103, rng=1)[:100]}, law=law)
    assert not late.passed, late
    assert {result.name for result in late.failures} <= {"duplicates", "overlaps"}


def test_streams_of_different_widths():
    wide, narrow = masks(1, n=1500), masks(2, n=1000)
    report = ds.audit_streams({"wide": wide, "narrow": narrow}, p=0.1)
    assert report.passed, report
    assert report.notes == ("neurons are compared one by one over the first 1,000, which all masks have",)
    shared = ds.audit_streams({"wide": wide, "narrow": wide[:, :1000]}, p=0.1)
    assert shared["agreement"].message == "wide and narrow have identical masks"
    stream = np.random.default_rng(5).random(100_000) >= 0.1
    moved = ds.audit_streams(
        {"wide": stream[:75_000].reshape(50, -1), "narrow": stream[200:50_200].reshape(50, -1)}, p=0.1
    )
    assert [result.name for result in moved.failures] == ["overlaps"]
    assert moved["overlaps"].message.startswith("wide from call 0, neuron 200, and narrow from call 0, neuron 0, share")


def test_laws_may_differ_from_stream_to_stream():
    streams = {"layer": ds.Layer(64, 0.3).sample(200, rng=1), "channels": ds.Channels(8, 8, 0.2).sample(200, rng=2)}
    laws = {"layer": ds.Layer(64, 0.3), "channels": ds.Channels(8, 8, 0.2)}
    assert ds.audit_streams(streams, law=laws).passed
    assert ds.audit_streams(streams, law=list(laws.values())).passed


def test_a_missing_call_is_a_failure_of_identical_streams():
    report = ds.audit_streams({"forward": masks(1), "recomputed": masks(1)[:47]}, "identical", p=0.1)
    message = "forward made 50 calls, recomputed only 47: 3 calls missing; the others are the same"
    assert (report["identical"].verdict, report["identical"].message) == ("fail", message)


def test_few_shared_drops_at_a_small_rate():
    # 1% of the neurons are shared at p = 0.01
    found = 0
    for seed in range(10):
        a, b = masks((seed, 1), 100, 10_000, 0.01), masks((seed, 2), 100, 10_000, 0.01)
        b[:, :100] = a[:, :100]
        found += ds.audit_streams({"a": a, "b": b}, p=0.01)["agreement"].verdict == "fail"
    assert found == 10


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda a, rng: a[:, rng.permutation(1000)], "b drop equally many neurons in every call"),
        (lambda a, rng: a[:, ::-1], "a permutation of the other's"),
    ],
)
def test_streams_that_are_permutations_of_each_other(other, says):
    a = masks(1, trials=30)
    report = ds.audit_streams({"a": a, "b": other(a, np.random.default_rng(1))}, p=0.1)
    assert report["agreement"].verdict == "fail"
    assert says in report["agreement"].message


def test_a_rate_that_varies_for_all_ranks_alike():
    rng = np.random.default_rng(4)
    rates = 0.1 + 0.01 * rng.standard_normal((300, 1))
    streams = {k: rng.random((300, 1000)) >= rates for k in range(3)}
    report = ds.audit_streams(streams, p=0.1)
    assert report["agreement"].verdict == "fail"
    assert "vary together from call to call" in report["agreement"].message
