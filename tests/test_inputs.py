"""Drops by the value of the input: counted exactly, whatever the pieces, and telling where masks follow the input."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import dropstats as ds
from dropstats.auditing.checks import inputs
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case
from dropstats.recording import InputBins, arrays


def counted(x, kept, known, edges):
    """The counts by hand."""
    place = np.searchsorted(edges, np.broadcast_to(x, known.shape), side="right")
    sums = [np.bincount(place[bits], minlength=len(edges) + 1) for bits in (known, known & ~kept)]
    return [total.tolist() for total in sums]


def case(dtype=np.float64, trials=30, n=700, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((trials, n)).astype(dtype)
    x[rng.random(x.shape) < 0.05] = 0
    x[rng.random(x.shape) < 0.02] = np.nan
    x[rng.random(x.shape) < 0.02] = -np.inf
    kept = rng.random(x.shape) >= 0.3
    return x, kept


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("pieces", [64, 2**22])
def test_drops_are_counted_by_the_value_of_the_input(monkeypatch, dtype, shared, pieces):
    monkeypatch.setattr(arrays, "SLICE", pieces)
    x, kept = case(dtype)
    x = x[0] if shared else x
    outputs = np.where(kept, x * dtype(1.25), 0)
    recording = ds.Recording.from_outputs(outputs, inputs=x)
    bins = recording.input_bins
    known = recording.known_masks()
    assert len(bins.known) == len(bins.dropped) == 16
    assert len(bins.edges) == 15
    assert [bins.known.tolist(), bins.dropped.tolist()] == counted(x, kept, known, bins.edges)
    assert bins.known.sum() == recording.judged
    assert bins.dropped.sum() == recording.dropped


@pytest.mark.parametrize("trials", [254, 255, 256, 257, 600])
def test_one_input_for_very_many_calls(trials):
    x, kept = np.arange(1.0, 11.0), np.random.default_rng(0).random((trials, 10)) >= 0.3
    kept[:, :2] = False
    kept[:, 2:4] = True
    bins = ds.Recording.from_outputs(np.where(kept, x, 0), inputs=x).input_bins
    assert [bins.known.tolist(), bins.dropped.tolist()] == counted(x, kept, np.ones_like(kept), bins.edges)


def test_bins_hold_about_equally_many():
    x, kept = case(trials=40, n=2000)
    bins = ds.Recording.from_outputs(np.where(kept, x, 0), inputs=x).input_bins
    inner = bins.known[1:-1]  # beside the infinite ones
    assert inner.min() > 0.8 * inner.mean()
    assert bins.edges[7] == 0
    np.testing.assert_array_equal(bins.edges, -bins.edges[::-1])
    assert (np.diff(bins.edges) > 0).all()


def test_call_by_call_is_all_at_once():
    x, kept = case()
    recorder = ds.Recorder()
    for one, mask in zip(x, kept, strict=True):
        recorder.add(np.where(mask, one, 0), one)
    assert recorder.recording().input_bins == ds.Recording.from_outputs(np.where(kept, x, 0), inputs=x).input_bins


def test_masks_that_follow_the_input_are_seen():
    x, _ = case()
    rng = np.random.default_rng(1)
    for rate in (np.where(x > 0, 0.2, 0.4), np.where(abs(x) > 1, 0.2, 0.4)):
        bins = ds.Recording.from_outputs(np.where(rng.random(x.shape) >= rate, x, 0), inputs=x).input_bins
        rates = bins.dropped / bins.known
        assert rates.max() > 0.37
        assert rates.min() < 0.23
    steady = ds.Recording.from_outputs(np.where(rng.random(x.shape) >= 0.3, x, 0), inputs=x).input_bins
    assert abs(steady.dropped / steady.known - 0.3).max() < 0.08  # four standard deviations of some 1,200 neurons


@pytest.mark.parametrize("value", [1.0, -2.5])
def test_inputs_that_are_alike_say_nothing(value):
    x = np.full((5, 8), value)
    assert ds.Recording.from_outputs(x * 2, inputs=x).input_bins is None
    assert ds.Recording.from_outputs(np.ones((5, 8))).input_bins is None
    assert ds.Recording.from_masks(np.ones((5, 8))).input_bins is None


def test_a_few_values_have_a_few_bins():
    x = np.tile([-1.0, 1.0, 2.0, 0.0], (5, 4))
    bins = ds.Recording.from_outputs(x * 2, inputs=x).input_bins
    assert bins.edges.tolist() == [-2, -1, 0, 1, 2]
    assert bins.known.tolist() == [0, 0, 20, 0, 20, 20]
    later = np.concatenate([np.full((1, 16), 3.0), x])
    assert ds.Recording.from_outputs(later, inputs=later).input_bins.known.tolist() == [0, 20, 40, 16]


def test_a_first_call_without_a_known_neuron_leaves_the_signs():
    x = np.array([[0.0, np.nan, 0.0], [1.0, -1.0, 5.0]])
    bins = ds.Recording.from_outputs(x, inputs=x).input_bins
    assert (bins.edges.tolist(), bins.known.tolist()) == ([0.0], [1, 2])


def test_a_long_first_call_says_where_the_bins_are_by_some_of_its_values():
    x = np.random.default_rng(0).standard_normal((1, 300_000)).astype(np.float32)
    bins = ds.Recording.from_outputs(x, inputs=x).input_bins
    assert abs(bins.known / 300_000 * 16 - 1).max() < 0.05


def test_infinite_inputs_are_no_edges(tmp_path):
    x, kept = case()
    x[:, ::3] = np.inf
    recording = ds.Recording.from_outputs(np.where(kept, x, 0), inputs=x)
    assert np.isfinite(recording.input_bins.edges).all()
    recording.save(tmp_path / "a.npz")
    assert ds.Recording.load(tmp_path / "a.npz").input_bins == recording.input_bins


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_a_list_of_inputs_goes_with_an_array_of_outputs(trials):
    x, kept = case(trials=trials)
    together = ds.Recording.from_outputs(np.where(kept, x, 0), inputs=x)
    assert ds.Recording.from_outputs(np.where(kept, x, 0), inputs=list(x)).input_bins == together.input_bins


def test_integers_may_be_inputs():
    x = np.arange(-10, 10).reshape(2, 10)
    bins = ds.Recording.from_outputs(x * 2.0, inputs=x).input_bins
    assert bins.known.sum() == 19


def test_bins_are_merged():
    x, kept = case()
    whole = ds.Recording.from_outputs(np.where(kept, x, 0), inputs=x).input_bins
    first = InputBins(whole.edges, whole.known // 2, whole.dropped // 2)
    rest = InputBins(whole.edges, whole.known - whole.known // 2, whole.dropped - whole.dropped // 2)
    assert first + rest == whole
    assert first != whole
    assert whole != 3
    with pytest.raises(ValueError, match="bins must have the same edges to be added"):
        whole + InputBins(whole.edges[1:], whole.known[1:], whole.dropped[1:])
    with pytest.raises(TypeError):
        whole + 1
    with pytest.raises(ValueError, match="read-only"):
        whole.known[0] = 0
    with pytest.raises(TypeError, match="unhashable"):
        hash(whole)


def test_bins_are_added_to_bins_only():
    bins = ds.Recording.from_outputs(np.array([[1.0, 0.0, 3.0]]), inputs=np.arange(1.0, 4.0)).input_bins
    assert bins != 3
    with pytest.raises(TypeError, match="unsupported operand"):
        bins + 3


def test_parts_and_groups_have_none():
    x, kept = case()
    recording = ds.Recording.from_outputs(np.where(kept, x, 0), inputs=x)
    assert recording.calls(3).input_bins is None
    assert recording.neurons(slice(5)).input_bins is None
    assert recording.by_group(np.arange(700) // 7).input_bins is None


# ---- the test of the audit -----------------------------------------------------------------------------------------


def audited(x, kept, p, **options):
    return ds.audit(ds.Recording.from_outputs(np.where(kept, x / (1 - p), 0), p=p, inputs=x), **options)["inputs"]


@pytest.mark.slow
def test_dropout_that_looks_at_no_input_passes_at_any_rate():
    rng = np.random.default_rng(0)
    pvalues = []
    for k in range(200):
        x = rng.standard_normal((20, 50)) + rng.standard_normal((1, 50))
        pvalues.append(audited(x, rng.random(x.shape) >= 0.3, 0.2 + 0.2 * (k % 2), tests="inputs").pvalue)
    for level in (0.2, 0.05, 0.01):
        assert (np.array(pvalues) <= level).sum() <= stats.binom.isf(1e-6, 200, level)


def test_the_p_value_is_that_of_fishers_exact_test():
    rng = np.random.default_rng(3)
    x = rng.choice([-1.0, 2.0], (10, 20))
    kept = rng.random(x.shape) >= np.where(x < 0, 0.6, 0.2)
    drops = ~kept
    table = [[drops[x < 0].sum(), kept[x < 0].sum()], [drops[x > 0].sum(), kept[x > 0].sum()]]
    one_sided = stats.fisher_exact(table, alternative="greater").pvalue
    result = audited(x, kept, 0.4)
    assert result.pvalue == pytest.approx(2 * one_sided * 5)  # two-sided; the sign, two limits, two bins
    assert result.verdict == "fail"
    assert result.message.startswith("drops 0.")


def test_a_bin_in_the_middle_is_found():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((200, 200))
    kept = rng.random(x.shape) >= np.where((x > 0.5) & (x < 0.9), 0.4, 0.3)
    assert audited(x, kept, 0.31).message.startswith("drops 0.")


def test_where_inputs_cannot_be_judged():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((50, 40))
    kept = rng.random(x.shape) >= 0.3
    assert ds.audit(kept, p=0.3)["inputs"].verdict == "not applicable"
    rates = ds.Layer(40, [0.3, 0.4] * 20)
    assert ds.audit(ds.Recording.from_outputs(np.where(kept, x, 0), inputs=x), rates)["inputs"].verdict == (
        "not applicable"
    )
    assert audited(x, np.ones_like(kept), 0.3).verdict == "not applicable"
    assert audited(x[:1, :4], kept[:1, :4], 0.3).verdict in ("inconclusive", "not applicable")


@pytest.mark.parametrize("known", [(3, 4, 5, 6, 7, 8), (3, 4, 5, 0, 0, 0), (0, 0, 5, 6, 0, 0), (9, 0, 0, 0, 0, 0)])
def test_inputs_are_split_by_sign_by_magnitude_and_by_bin(known):
    bins = InputBins(np.array([-2.0, -1, 0, 1, 2]), np.array(known), np.zeros(6, int))
    inside = np.array([-3, -1.5, -0.5, 0.5, 1.5, 3])  # one input of each bin
    expected = [
        ("negative inputs", "positive ones", inside < 0),
        ("inputs below 1 in magnitude", "larger ones", abs(inside) < 1),
        ("inputs below 2 in magnitude", "larger ones", abs(inside) < 2),
        *(
            (name, "all others", inside == x)
            for name, x in zip(
                ["inputs below -2", *(f"inputs from {k} to {k + 1}" for k in range(-2, 2)), "inputs from 2 on"],
                inside,
                strict=True,
            )
        ),
    ]
    found = [(split.of, split.others, split.bins.tolist()) for split in inputs._splits(bins)]
    assert found == [
        (of, others, which.tolist())
        for of, others, which in expected
        if sum(np.array(known)[which]) and sum(np.array(known)[~which])
    ]


@pytest.mark.parametrize(("p", "size"), [(0.3, 1600), (0.03, 4000), (0.95, 2000)])
def test_the_difference_that_is_stated_is_found_nine_times_in_ten(p, size):
    bins = InputBins(np.array([0.0]), np.array([size, size]), np.round(np.array([size, size]) * p).astype(int))
    recording = replace(ds.Recording.from_masks(np.ones((2, size), bool)), input_bins=bins)
    case = Case(Evidence(recording), ds.Layer(size, p), 1e-3)
    finding = inputs.measure(case)
    stated = finding.detectable
    assert inputs.explain(finding, case, False) == f"detects inputs whose rate differs by {stated:.2g} (power 0.9)"
    # Fisher's test of two halves, three splits of which are the same, by the law of all pairs of counts
    low, high = (stats.binom(size, p + side * stated / 2) for side in (-1, 1))
    x, y = (np.arange(*law.ppf([1e-6, 1 - 1e-6]).astype(int)) for law in (low, high))
    total = x[:, None] + y
    tail = stats.hypergeom.cdf(x[:, None], 2 * size, total, size)
    power = low.pmf(x) @ (2 * tail <= 1e-3 / 3) @ high.pmf(y)
    assert power == pytest.approx(0.9, abs=0.015)
