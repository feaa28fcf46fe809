"""The audit: its report, its exact laws, its arguments, and recordings of real frameworks."""

import itertools
import json
import math
import re
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from cases import FALSE_ALARM, LAWS
from scipy import stats

from dropstats import AttentionDropout, Channels, DropBlock, FixedCount, GaussianDropout, Layer, Network, plots
from dropstats.auditing import TESTS, Report, Result, audit, audit_streams, causes, checks, nulls
from dropstats.auditing.checks import OF_MASKS, duplicates
from dropstats.auditing.checks.serial import alternate
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case, Finding
from dropstats.auditing.judge import holm, judge, passes
from dropstats.formats import rounded
from dropstats.recording import Recording

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "reference" / "audit_reference.json").read_text())


def recorded(name):
    return Recording.load(HERE / "recordings" / f"{name}.npz")


# --- recordings of real frameworks (slices) -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fails", "says"),
    [
        ("tensorflow-2.21.0-float32-n1024-p0.1", set(), {}),
        ("torch-2.13.0-cpu-n131072-p0.1", set(), {}),
        (
            "tensorflow-2.21.0-bfloat16-n1024-p0.3",
            {"rate", "mean"},
            {
                "rate": r"^drops 0\.30\d\d where 0\.3 was declared \(\+1\.\d%\), consistent with 39/128: p rounded up "
                "to a multiple of 1/128, as a comparison with bfloat16 uniforms gives$",
                "mean": r"^scale 1\.4297 with this rate loses 0\.\d+% of the mean$",
            },
        ),
        (
            "jax-0.10.2-bfloat16-n512-p0.05",
            {"rate"},
            {"rate": r"^drops 0\.04[67]\d where 0\.05 .*consistent with 6/128 = 12/256: p rounded down"},
        ),
        (
            "torch-2.3.1-cpu-n131072-p0.1",
            {"overlaps", "serial"},
            {"overlaps": r"^calls 8 and 11 share 119,674 elements, shifted by 11,398 \(5 such pairs of calls\)"},
        ),
    ],
)
def test_recordings_of_frameworks(name, fails, says):
    report = audit(recorded(name))
    assert {result.name for result in report.failures} == fails, str(report)
    assert report.passed == (not fails)
    for test, pattern in says.items():
        assert re.search(pattern, report[test].message), report[test].message


# --- the report ---------------------------------------------------------------------------------------------------

PINNED = """\
Audit of 512 masks of 1,024 neurons, p = 0.3: FAILED (rate)
  tensorflow 2.21.0 (CPU) tf.nn.dropout on bfloat16 ones, 1024 calls; calls the first 512

  test       verdict        p adjusted  observed  expected   finding
  rate       FAIL              1.4e-16    0.3053       0.3   drops 0.3053 where 0.3 was declared (+1.8%), consistent with
                                                             39/128: p rounded up to a multiple of 1/128, as a comparison
                                                             with bfloat16 uniforms gives
  drift      pass                 0.18       268     312.6   the most unusual mask is that of call 69
  scale      pass                           1.43     1.429   1/(1 - p) in bfloat16
  mean       FAIL                1e-13    0.9932         1   explained by rate: scale 1.4297 with this rate loses 0.68% of
                                                             the mean
  edges      pass                              0         0   no NaN, no infinity

  A correct implementation fails here with probability 0.001 at most."""  # noqa: E501


def test_printed_report():
    name = "tensorflow-2.21.0-bfloat16-n1024-p0.3"
    assert str(audit(recorded(name), tests=("edges", "rate", "drift", "scale", "mean"))) == PINNED


def test_json_is_strict_and_of_the_stated_layout():
    report = audit(Layer(64, 0.5).sample(100, rng=1), p=0.5)
    layout = json.loads(report.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert layout == report.to_dict()
    assert (layout["version"], layout["passed"], layout["trials"], layout["n"], layout["p"]) == (2, True, 100, 64, 0.5)
    assert [result["name"] for result in layout["results"]] == list(TESTS)
    keys = ["name", "verdict", "pvalue", "adjusted_pvalue", "observed", "expected", "detectable", "message"]
    keys.append("explained_by")
    assert all(list(result) == keys for result in layout["results"])
    assert layout["results"][-1]["pvalue"] is None


def test_a_number_that_is_not_finite_becomes_null():
    result = Result("rate", "pass", observed=float("nan"), detectable=float("inf"))
    assert result.to_dict()["observed"] is None
    assert result.to_dict()["detectable"] is None


def test_results_are_found_by_name():
    report = audit(Layer(64, 0.5).sample(100, rng=1), p=0.5, tests=["rate"])
    assert report["rate"] is report.results[0]
    with pytest.raises(KeyError, match="no test named 'rates'; the report has rate"):
        report["rates"]


def judged(**findings):
    checks = {check.name: check for check in OF_MASKS}
    return judge([(checks[name], finding) for name, finding in findings.items()], 0.05)


def test_what_passes():
    small, apart, broken = Finding(state="too small"), Finding(state="not applicable"), Finding(broken=True)
    fine = Finding(0.5)
    assert passes(judged(rate=fine, pairs=small, scale=apart))
    assert passes(judged(rate=small, edges=Finding()))
    assert not passes(judged(rate=small, edges=apart, pairs=fine))
    assert not passes(judged(rate=fine, pairs=Finding(1e-9)))
    assert not passes(judged(scale=Finding()))
    assert not passes(judged(rate=fine, edges=broken))


def test_holm_against_the_published_steps():
    assert [round(p, 10) for p in holm([0.01, 0.04, 0.03, 0.005])] == [0.03, 0.06, 0.06, 0.02]
    assert holm([0.01, None, 0.02]) == [0.02, None, 0.02]
    found = judged(rate=Finding(0.01), pairs=Finding(0.04), lags=Finding(0.03), mean=Finding(0.005))
    assert [one.verdict for one in found] == ["fail", "pass", "pass", "fail"]


def test_plot_shows_four_panels():
    mpl.use("Agg")
    report = audit(recorded("tensorflow-2.21.0-bfloat16-n1024-p0.3"), tests=["rate"])
    figure = report.plot()
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "Dropped neurons per mask",
        "Drop rate of each neuron",
        "The first masks (orange: dropped)",
        "Correlation of masks at different calls",
    ]
    histogram = sum(patch.get_height() for patch in figure.axes[0].patches)
    assert histogram == 512
    assert figure.axes[2].images[0].get_array().shape == (256, 256)
    title = figure.get_suptitle().replace("\n", " ")
    assert title.startswith("The masks do not follow Layer(1024, 0.3): drops 0.3053 where 0.3 was declared")
    law, seen = mpl.colors.to_rgba(plots.EXACT), mpl.colors.to_rgba(plots.SIMULATED)
    counts, positions = figure.axes[:2]
    assert {patch.get_facecolor()[:3] for patch in counts.patches} == {seen[:3]}
    assert {line.get_label(): line.get_color() for ax in (counts, positions) for line in ax.get_lines()} == {
        "law": plots.EXACT,
        "masks": plots.SIMULATED,
    }
    assert positions.collections[0].get_facecolor()[0][:3] == pytest.approx(law[:3])
    assert not counts.spines["top"].get_visible()  # the style of the project
    mpl.pyplot.close(figure)


@pytest.mark.parametrize(
    "law",
    [Layer(128, 0.2), Channels(8, 16, 0.2), Channels(64, 4, 0.1), FixedCount(64, 20), DropBlock(12, 12, 3, p=0.2)],
)
def test_the_band_of_the_picture_holds_correct_masks(law):
    outside = 0
    for seed in range(20):
        panels = audit(law.sample(200, rng=seed), law, tests=["rate"]).pictures
        lags, positions = panels["lags"], panels["positions"]
        outside += int((np.abs(lags["correlation"]) > lags["band"]).any())
        outside += int((np.abs(positions["observed"] - positions["declared"]) > positions["width"]).any())
    assert outside <= 4  # 40 bands of 99%, hardly ever more


@pytest.mark.parametrize("law", [Layer(300, 0.2), Channels(8, 16, 0.2), Network(Layer(50, 0.1), Channels(4, 30, 0.3))])
def test_bars_and_law_of_the_picture_are_comparable(law):
    panel = audit(law.sample(4000, rng=1), law, tests=["rate"]).pictures["counts"]
    masks, expected = panel["masks"], panel["expected"]
    assert masks.sum() == 4000
    assert expected.sum() == pytest.approx(4000, rel=1e-3)
    likely = expected > 5
    assert ((masks - expected)[likely] ** 2 / expected[likely]).sum() < stats.chi2.isf(1e-4, likely.sum())


@pytest.mark.parametrize("law", [Layer(400, 0.5), Channels(4096, 16, 0.5), Channels(8, 16, 0.2)], ids=repr)
@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_bars_hold_the_masks_and_the_law_wherever_they_are(law, kept):
    masks = np.zeros((10, law.n), bool)
    masks[:, : round(kept * law.n)] = True
    panel = audit(masks, law, tests=["rate"]).pictures["counts"]
    assert panel["masks"].sum() == 10
    assert panel["expected"].sum() == pytest.approx(10, rel=1e-2)
    size = law.n // getattr(law, "reduced", law).n  # whole groups are dropped
    widths = np.diff(panel["edges"])
    assert widths[0] % size == 0
    assert (widths == widths[0]).all()
    # about 40 bars, or one for each number of groups
    assert 20 <= widths.size <= 81 or (widths[0] == size and widths.size <= 40)


def test_lags_of_a_single_mask_are_not_drawn():
    report = audit(kept(1, 64), p=0.1, tests=["rate"])
    assert report.pictures["lags"] == {}
    assert "not defined for these masks" in [text.get_text() for text in report.plot().axes[3].texts]


def test_plot_draws_into_a_figure_that_is_given():
    given = plots.Figure()
    assert audit(kept(1, 32), p=0.1, tests=["rate"]).plot(given) is given
    assert len(given.axes) == 4


def test_plot_of_a_report_without_masks():
    with pytest.raises(ValueError, match="holds nothing to draw"):
        Report(1, 1, 0.5, 0.5, 1e-3, (), passed=False).plot()


# --- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "audit needs a declared p: the recording has none, so give p= or law="),
        ({"p": 0.5, "law": Layer(8, 0.5)}, TypeError, "audit takes law= or p=, not both"),
        ({"law": Layer(9, 0.5)}, ValueError, "law must have the recording's 8 neurons; got 9"),
        ({"p": 1.5}, ValueError, r"p must be in \[0, 1\]; got 1.5"),
        ({"p": 0.5, "false_alarm": 0}, ValueError, r"false_alarm must be in \(0, 1\); got 0.0"),
        ({"p": 0.5, "scaling": "none"}, ValueError, "scaling must be 'inverted' or 'direct'; got 'none'"),
        ({"p": 0.5, "tests": ["rate", "rats"]}, ValueError, "tests must be among rate, .*; got 'rats'"),
        ({"p": 0.5, "tests": []}, ValueError, "tests must name at least one test; got none"),
        ({"p": 0.5, "workers": 0}, ValueError, "workers must be at least 1; got 0"),
        ({"p": 0.5, "workers": 1.5}, ValueError, "workers must be an integer; got 1.5"),
        ({"p": 0.5, "tolerance": -1}, ValueError, r"tolerance must be in \[0, 1\]; got -1.0"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        audit(np.ones((4, 8), bool), **arguments)


@pytest.mark.parametrize(
    ("masks", "law"),
    [
        (Layer(300, 0.2).sample(200, rng=1), Layer(300, 0.2)),
        (Layer(300, 0.2).sample(200, rng=1), Layer(300, 0.3)),  # fails
        (Layer(60, np.repeat([0.1, 0.3], 30)).sample(500, rng=2), Layer(60, np.repeat([0.1, 0.3], 30))),
        (DropBlock(6, 6, 3, p=0.1).sample(300, rng=3), DropBlock(6, 6, 3, p=0.1)),
        (Channels(16, 9, 0.2).sample(100, rng=4), Channels(16, 9, 0.2)),
    ],
)
def test_threads_change_nothing(masks, law):
    alone = audit(masks, law).to_dict()
    for workers in (2, 5):
        assert audit(masks, law, workers=workers).to_dict() == alone


def test_an_error_in_a_thread_is_raised_and_ends_the_audit(monkeypatch):
    def broken(case):
        raise ZeroDivisionError("in a thread")

    whole = [replace(check, measure=broken) if check.name == "lags" else check for check in checks.OF_MASKS]
    monkeypatch.setattr(checks, "OF_MASKS", whole)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        audit(Layer(300, 0.2).sample(200, rng=1), Layer(300, 0.2), workers=2)
    assert threading.active_count() == before


def test_an_empty_recording():
    with pytest.raises(ValueError, match=r"audit needs at least one mask of one neuron; got shape \(3, 0\)"):
        audit(np.ones((3, 0), bool), p=0.5)


def test_a_recording_of_zeros_in_and_out():
    nothing = Recording.from_outputs(np.zeros((3, 4), np.float32), p=0.5, inputs=np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="audit needs neurons known to be dropped or kept"):
        audit(nothing)


def test_what_cannot_be_judged_is_not_passed():
    report = audit([[1, 0, 1]], p=0.5)
    assert report["rate"].verdict == "inconclusive"
    assert not report.passed
    assert not report.failures
    assert "nothing could be judged, the recording is too small" in str(report)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_are_judged_by_edges(p):
    report = audit(Layer(16, p).sample(10), p=p)
    assert report.passed
    assert report["edges"].verdict == "pass"


def test_tolerance_is_an_equivalence_verdict():
    masks = Layer(1024, 0.102).sample(2000, rng=3)
    assert audit(masks, p=0.1)["rate"].verdict == "fail"
    assert audit(masks, p=0.1, tolerance=0.005)["rate"].verdict == "pass"
    assert audit(masks, p=0.1, tolerance=0.0005)["rate"].verdict == "fail"
    unsure = audit(masks, p=0.1, tolerance=0.0021)["rate"]
    assert unsure.verdict == "inconclusive"
    assert "too few neurons" in unsure.message


def test_direct_scaling():
    kept = Layer(64, 0.25).sample(100, rng=1).astype(np.float32)
    direct, inverted = (Recording.from_outputs(kept * scale, p=0.25) for scale in (1, np.float32(4 / 3)))
    assert audit(direct, scaling="direct").passed
    assert audit(direct, scaling="direct")["mean"].verdict == "not applicable"
    assert audit(direct)["scale"].verdict == "fail"
    assert audit(inverted).passed
    wrong = audit(inverted, scaling="direct")["scale"]
    assert wrong.verdict == "fail"
    assert "inverted scaling" in wrong.message


def test_an_unscaled_one_is_no_rounded_scale():
    kept = Layer(64, 0.003).sample(100, rng=1).astype(np.float32)  # 1/0.997 is 1 in bfloat16
    recording = replace(Recording.from_outputs(kept, p=0.003), dtype=None)
    assert audit(recording)["scale"].verdict == "fail"
    assert audit(replace(recording, dtype="bfloat16"))["scale"].verdict == "pass"


def test_rounding_of_the_scale_is_reported_not_failed():
    kept = Layer(1024, 0.1).sample(3000, rng=5)
    # 1/0.9 is 1.109375 in bfloat16: 0.16 % too small, which 3 million neurons show beyond doubt
    recording = replace(Recording.from_outputs(kept * np.float32(1.109375), p=0.1), dtype="bfloat16")
    mean = audit(recording)["mean"]
    assert mean.verdict == "pass"
    assert mean.message == "preserved but for the rounding of the scale (-0.16%)"
    assert nulls.binomial(Evidence(recording).total, kept.size, 1 - 1 / 1.109375) < FALSE_ALARM


def test_a_law_may_be_what_is_really_promised():
    recording = recorded("tensorflow-2.21.0-bfloat16-n1024-p0.3")
    assert audit(recording, Layer(1024, 39 / 128), tests=["rate"]).passed


def test_neurons_that_are_not_known_do_not_count():
    rng = np.random.default_rng(0)
    inputs = np.maximum(rng.standard_normal((400, 256)), 0).astype(np.float32)
    outputs = inputs * (rng.random((400, 256)) >= 0.1) / np.float32(0.9)
    report = audit(Recording.from_outputs(outputs, p=0.1, inputs=inputs))
    assert report.passed, str(report)
    assert report["pairs"].verdict == "inconclusive"
    wrong = audit(Recording.from_outputs(outputs, p=0.12, inputs=inputs), tests=["rate"])
    assert wrong["rate"].verdict == "fail"
    # the same zeros in every call: the other neurons are whole masks
    steady = inputs[:1] * (rng.random((400, 256)) >= 0.1) / np.float32(0.9)
    report = audit(Recording.from_outputs(steady, p=0.1, inputs=inputs[0]))
    assert report.passed, str(report)
    assert report["pairs"].verdict == "pass"
    assert "neurons known in every mask" in str(report)


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_every_law_passes_its_own_audit(case):
    report = audit(case.law.sample(1000, rng=11), case.law, false_alarm=FALSE_ALARM)
    assert report.passed, str(report)


def test_a_network_is_audited_as_one_law():
    network = Network(Layer(64, 0.2), Layer(128, 0.5))
    swapped = Network(Layer(64, 0.5), Layer(128, 0.2))
    assert audit(network.sample(400, rng=1), network).passed
    report = audit(swapped.sample(400, rng=1), network)
    assert report["positions"].verdict == "fail"
    frozen = np.repeat(network.sample(1, rng=1), 400, axis=0)
    assert {"lags", "duplicates"} <= {result.name for result in audit(frozen, network).failures}


class HandMade:
    """Channels of k neurons each, dropped whole: a law whose neurons depend on each other."""

    independent = False

    def __init__(self, channels, k, p):
        self.channels, self.k, self.n = Layer(channels, p), k, channels * k
        self.rates = np.full(self.n, p)
        pmf = np.zeros(self.n + 1)
        pmf[::k] = self.channels.dropped.pmf(np.arange(channels + 1))
        self.dropped = stats.rv_discrete(values=(np.arange(self.n + 1), pmf))()

    def sample(self, size, rng):
        return np.repeat(self.channels.sample(size, rng), self.k, axis=1)


def test_a_law_of_dependent_neurons_is_judged_by_what_it_knows():
    law = HandMade(16, 8, 0.2)
    alarms = [bool(audit(law.sample(100, seed), law, false_alarm=0.05).failures) for seed in range(100)]
    assert stats.binom.sf(sum(alarms) - 1, 100, 0.05) > 1e-4
    report = audit(law.sample(400, 1), law)
    assert report.passed
    assert {r.name for r in report.results if r.verdict == "pass"} >= {"rate", "positions", "dispersion", "drift"}
    assert report["pairs"].verdict == "not applicable"
    assert report["rate"].detectable > 2 * audit(Layer(128, 0.2).sample(400, 1), p=0.2)["rate"].detectable
    elementwise = audit(Layer(128, 0.2).sample(400, rng=1), law)
    assert elementwise["dispersion"].verdict == "fail"
    assert "which the law rules out" in elementwise["dispersion"].message


@pytest.mark.slow
def test_a_correct_rate_of_dependent_neurons_is_not_called_wrong():
    # channels of 64: the exact binomial test of the rate would fail most of these
    rng = np.random.default_rng(8)
    naive = failed = 0
    for _ in range(20):
        masks = np.repeat(rng.random((100, 16)) >= 0.2, 64, axis=1)
        report = audit(masks, p=0.2)
        assert report["dispersion"].verdict == "fail"
        failed += report["rate"].verdict == "fail"
        naive += nulls.binomial(int((~masks).sum()), masks.size, 0.2) <= 1e-3
    assert naive >= 5
    assert failed == 0
    wrong = audit(np.repeat(rng.random((400, 64)) >= 0.3, 64, axis=1), p=0.2)["rate"]
    assert wrong.verdict == "fail"
    assert "effective sample size" in wrong.message


# --- the exact laws ------------------------------------------------------------------------------------------------


def test_binomial_tails_against_scipy():
    k = np.arange(0, 41)
    for p in (0.0, 1e-9, 0.1, 0.5, 0.97, 1.0):
        low, high = nulls.binomial_tails(k, 40, p)
        np.testing.assert_allclose(low, stats.binom.cdf(k, 40, p), rtol=1e-12)
        np.testing.assert_allclose(high, stats.binom.sf(k - 1, 40, p), rtol=1e-12)
    # of very many counts equal ones are answered once, however many differ
    for many in (np.arange(3001), np.repeat(np.arange(1500, 1510), 200).reshape(40, 50)):
        low, high = nulls.binomial_tails(many, 3000, 0.5)
        np.testing.assert_allclose(low, stats.binom.cdf(many, 3000, 0.5), rtol=1e-9, atol=1e-240)
        np.testing.assert_allclose(high, stats.binom.sf(many - 1, 3000, 0.5), rtol=1e-9, atol=1e-240)


@pytest.mark.parametrize("pairs", [1, 3, 5])
def test_paired_tails_by_enumeration(pairs):
    # all placings of the drops on 2 * pairs neurons are equally likely
    for drops in range(2 * pairs + 1):
        both = [
            sum(2 * i in placing and 2 * i + 1 in placing for i in range(pairs))
            for placing in map(set, itertools.combinations(range(2 * pairs), drops))
        ]
        for observed in range(max(0, drops - pairs), drops // 2 + 1):
            low, high = nulls.paired_tails(pairs, drops, observed)
            assert low == pytest.approx(np.mean([c <= observed for c in both]), rel=1e-9)
            assert high == pytest.approx(np.mean([c >= observed for c in both]), rel=1e-9)


def test_score_sums_by_enumeration():
    scores, pmf = np.array([0.0, 1.5, 4.25]), np.array([0.5, 0.3, 0.2])
    outcomes = list(itertools.product(range(3), repeat=6))
    sums = np.array([scores[list(outcome)].sum() for outcome in outcomes])
    weights = np.array([pmf[list(outcome)].prod() for outcome in outcomes])
    for observed in ([6, 0, 0], [3, 2, 1], [1, 1, 4]):
        low, high = nulls.score_sum_tails([(scores, pmf, np.array(observed))])
        value = scores @ observed
        assert low == pytest.approx(weights[sums <= value + 1e-9].sum(), abs=1e-10)
        assert high == pytest.approx(weights[sums >= value - 1e-9].sum(), abs=1e-10)


def test_score_sums_of_many_counts_against_simulation():
    # the chi-square of 300 binomial counts: the exact p-values are uniform
    rng = np.random.default_rng(2)
    support = np.arange(21)
    pmf = stats.binom.pmf(support, 20, 0.1)
    scores = nulls.squared_deviation(support, 2.0, 1.8)
    high = [
        nulls.score_sum_tails([(scores, pmf, nulls.histogram(rng.binomial(20, 0.1, 300), support))])[1]
        for _ in range(150)
    ]
    assert stats.kstest(high, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("terms", [1, 10, 10**6, pytest.param(10**8, marks=pytest.mark.slow)])
def test_score_sums_keep_to_their_window_at_any_size(terms):
    # rounding the scores shifts their sum by many deviations where there are many: the window must follow it
    support = np.arange(6)
    pmf = stats.binom.pmf(support, 5, 0.1)
    scores = nulls.squared_deviation(support, 0.5, 0.45)
    rng = np.random.default_rng(1)
    for _ in range(3):
        low, high = nulls.score_sum_tails([(scores, pmf, rng.multinomial(terms, pmf))])
        assert min(low, high) > 1e-4
        assert low + high >= 1 - 1e-9


@pytest.mark.parametrize("case", REFERENCE["smallest_detectable_bias"], ids=lambda case: f"{case['N']}-{case['p0']}")
def test_detectable_rate_against_reference(case):
    shift = nulls.detectable_rate(case["p0"], case["N"], case["alpha"])
    assert shift == pytest.approx(case["smallest_bias_exact"], rel=1e-9)


@pytest.mark.parametrize("lag", [1, 3, 10, 60])
def test_alternate_halves(lag):
    values = np.random.default_rng(0).integers(0, 3, 101, dtype=np.uint8)
    half = np.arange(101) // lag % 2
    assert [alternate(values, lag, side) for side in (0, 1)] == [values[half == side].sum() for side in (0, 1)]


def test_evidence_in_pieces_is_that_of_the_whole(monkeypatch):
    from dropstats.auditing import evidence

    masks = Layer(100, 0.3).sample(300, rng=4)
    whole = Evidence(Recording.from_masks(masks, p=0.3))
    expected = whole.neuron_drops, whole.neuron_hashes, whole.mask_hashes, whole.lag_correlation()
    monkeypatch.setattr(evidence, "_WHOLE", 1000)
    monkeypatch.setattr(evidence, "_BLOCK", 1600)
    parts = Evidence(Recording.from_masks(masks, p=0.3))
    assert not parts.whole
    np.testing.assert_array_equal(parts.neuron_drops, expected[0])
    np.testing.assert_array_equal(np.unique(parts.neuron_hashes).size, np.unique(expected[1]).size)
    np.testing.assert_array_equal(parts.mask_hashes, expected[2])
    np.testing.assert_allclose(parts.lag_correlation(), expected[3], atol=1e-6)
    np.testing.assert_array_equal(parts.elements(250, 733), ~masks.reshape(-1)[250:733])


@pytest.mark.parametrize("how", ["by transforms", "by counts", "unlike rates"])
@pytest.mark.parametrize("n", [5, 70, 300])
def test_correlation_of_masks_is_the_mean_of_products(monkeypatch, how, n):
    from dropstats.auditing import evidence

    monkeypatch.setattr(evidence, "_CALLS", 0 if how == "by transforms" else 2**10)
    monkeypatch.setattr(evidence, "_WORDS", 100)
    monkeypatch.setattr(evidence, "_BLOCK", 4096)
    declared = np.random.default_rng(3).random(n)
    declared[[1, 4]] = 0.0, 1.0  # which say nothing
    masks = Layer(n, declared if how == "unlike rates" else 0.3).sample(40, rng=4)
    rates = declared if how == "unlike rates" else np.full(n, 1 - masks.mean())
    inner = (rates > 0) & (rates < 1)
    standardised = ((~masks - rates) / np.sqrt(np.maximum(rates * (1 - rates), 1e-9)))[:, inner]
    expected = [np.mean(standardised[: 40 - lag] * standardised[lag:]) for lag in range(40)]
    found = Evidence(Recording.from_masks(masks)).lag_correlation(rates if how == "unlike rates" else None)
    np.testing.assert_allclose(found, expected, atol=1e-12 if how == "by counts" else 1e-5)


def test_a_sum_of_counts_has_the_tails_of_its_law():
    law = Layer(300, 0.1)
    pmf = law.dropped.pmf(np.arange(301))
    for observed in (0, 5500, 5850, 6000, 6180, 6700, 60_000):
        low, high = nulls.count_sum_tails(pmf, 200, observed)
        total = law.total(200)
        assert (low, high) == pytest.approx((total.cdf(observed), total.sf(observed - 1)), abs=2e-12)
    assert nulls.count_sum_tails(np.array([0.5, 0, 0, 0, 0.5]), 3, 8) == pytest.approx((0.875, 0.5))


@pytest.mark.parametrize("n", [1, 8, 9, 16, 17, 40])
def test_distinct_masks_are_counted_whatever_their_width(n):
    masks = Layer(n, 0.1).sample(500, rng=n)
    expected = np.unique(masks, axis=0, return_counts=True)[1]
    found = Evidence(Recording.from_masks(masks)).distinct_masks()
    assert sorted(found.tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize("n", [7, 20])
@pytest.mark.parametrize("period", [1, 7, 100])
def test_a_period_is_found_in_pieces(monkeypatch, period, n):
    from dropstats.auditing import evidence

    monkeypatch.setattr(evidence, "_BLOCK", 64)
    masks = np.resize(Layer(n, 0.5).sample(period, rng=1), (1000, n))
    assert Evidence(Recording.from_masks(masks)).period == period
    masks[-1] ^= True
    assert Evidence(Recording.from_masks(masks)).period == 0


def test_equal_masks_of_very_many_calls_take_little_memory():
    rng = np.random.default_rng(0)
    case = Case(Evidence(Recording.from_masks(rng.random((2_000_000, 1)) >= 0.1)), Layer(1, 0.1))
    assert case.seen.mask_drops.size == 2_000_000
    tracemalloc.start()
    duplicates.measure(case)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6  # a hash of each, and a sorted copy, took five times as much


def test_audit_shows_progress(capsys):
    seen = {}

    def bar(tests, **options):
        seen.update(options, tests=0)
        for test in tests:
            seen["tests"] += 1
            yield test

    masks = Layer(64, 0.5).sample(100, rng=0)
    shown = audit(masks, p=0.5, progress=bar)
    assert seen == {"total": len(TESTS), "desc": "auditing", "unit": "test", "tests": len(TESTS)}
    assert str(shown) == str(audit(masks, p=0.5, progress=True)) == str(audit(masks, p=0.5))
    assert capsys.readouterr().err == ""  # what takes less than a second shows nothing
    audit_streams({"a": masks, "b": masks}, p=0.5, progress=True)
    assert capsys.readouterr().err == ""
    audit_streams({"a": masks, "b": masks}, p=0.5, progress=bar)
    assert seen["tests"] == seen["total"] < len(TESTS)
    audit(np.where(masks, 2.0, 0.0), GaussianDropout(0.5), progress=bar)
    assert seen["tests"] == seen["total"] > 0
    for judge_it in (audit, audit_streams):
        with pytest.raises(TypeError, match="progress must be True, False"):
            judge_it({"a": masks, "b": masks} if judge_it is audit_streams else masks, p=0.5, progress="yes")


def test_an_audit_may_be_interrupted():
    def bar(tests, **options):
        yield from itertools.islice(tests, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(Layer(64, 0.5).sample(100, rng=0), p=0.5, progress=bar)


def test_lag_correlation_is_the_plain_sum():
    masks = Layer(30, 0.4).sample(50, rng=6)
    drops = ~masks
    z = (drops - drops.mean()) / drops.std()
    plain = [(z[: 50 - k] * z[k:]).mean() for k in range(50)]
    np.testing.assert_allclose(Evidence(Recording.from_masks(masks)).lag_correlation(), plain, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1 / 0.9, "bfloat16", 1.109375),
        (1 / 0.7, "bfloat16", 1.4296875),
        (1.00390625, "bfloat16", 1.0),  # a tie goes to even
        (1.01171875, "bfloat16", 1.015625),
        (1 / 0.9, "float16", 1.111328125),
        (1 / 0.9, "float32", 1.11111116409301758),
        (0.0, "bfloat16", 0.0),
    ],
)
def test_rounding_to_a_dtype(value, dtype, expected):
    assert rounded(value, dtype) == expected


@pytest.mark.parametrize(
    ("p", "rate", "cause"),
    [
        (0.1, 0.9, "looks like keep probability given as p"),
        (0.3, 39 / 128, "consistent with 39/128: p rounded up to a multiple of 1/128"),
        (0.1, 26 / 256, "consistent with 13/128 = 26/256: p rounded up to a multiple of 1/128 or 1/256"),
        (0.5, 129 / 256, "one step of 1/256 too many, as with <= for <"),
        (0.3, 0.51, "dropout looks applied twice"),
        (0.1, 0.55, "zeros of a ReLU"),
        (0.1, 0.0, "nothing is dropped"),
        (0.1, 0.137, ""),
    ],
)
def test_cause_of_a_rate(p, rate, cause):
    assert cause in causes.of_rate(rate, p, 1e8)
    assert cause or not causes.of_rate(rate, p, 1e8)


# --- causes before consequences, and words -------------------------------------------------------------------------


def outputs(kept, scale=1 / 0.9, dtype=np.float32, p=0.1):
    return Recording.from_outputs((kept * scale).astype(dtype), p=p)


def kept(trials, n, p=0.1, seed=0):
    return np.random.default_rng(seed).random((trials, n)) >= p


def failing(report):
    return {result.name: result.explained_by for result in report.failures}


def test_cause_of_a_mask_that_is_never_full():
    said = causes.of_rate(0.3 * 15 / 16, 0.3, neurons=1e7, n=16)
    assert said == "consistent with p (1 - 1/n), n = 16: one neuron of each mask seems always to be kept"
    assert causes.of_rate(0.27, 0.3, neurons=1e7, n=16) == ""


def test_cause_of_a_variance():
    for variance, said in (
        (0.3, "p"), (0.21, "p (1 - p)"), (0.09, "p^2"), (9 / 49, "(p/(1 - p))^2"), (7 / 3, "(1 - p)/p"),
        (3 / 7, ""), (0.25, ""),
    ):  # fmt: skip
        assert causes.of_factor_variance(variance, 0.3, 10**6) == said
    assert causes.of_factor_variance(0.5, 0.5, 10**6) == "p"
    assert causes.of_factor_variance(0.32, 0.3, 10**6) == ""  # 10 standard errors off p
    assert causes.of_factor_variance(0.32, 0.3, 5000) == "p"


def test_scales_agree_to_half_a_unit_of_bfloat16():
    assert causes.near(2 * (1 + 2**-8), 2.0)
    assert not causes.near(2 * (1 + 2**-7), 2.0)
    assert not causes.near(1.0, math.inf)


@pytest.mark.parametrize(
    ("value", "p", "rate", "said"),
    [
        (1.0, 0.3, 0.3, "kept values are not scaled (direct scaling)"),
        (1 / 0.3, 0.3, 0.3, "1/p: keep probability given as p"),
        (1 / 0.49, 0.3, 0.3, "scaled twice"),
        (0.7, 0.3, 0.3, "multiplied by 1 - p instead of divided"),
        (1.3, 0.3, 0.3, "1 + p in place of 1/(1 - p)"),
        (0.3, 0.3, 0.3, "the scale is p"),
        (1 / 0.6, 0.3, 0.4, "1/(1 - r) of the rate r observed"),
        (5.0, 0.3, 0.4, ""),
        (5.0, 0.3, 1.0, ""),  # no scale is that of a rate of 1
        (5.0, 0.0, 0.1, ""),  # nor 1/p for p = 0
        (math.inf, 0.0, 1.0, ""),
    ],
)
def test_cause_of_a_scale(value, p, rate, said):
    assert causes.of_scale(value, p, rate) == said


def test_cause_of_nothing_dropped():
    off = "nothing is dropped: dropout is off, as in evaluation"
    assert causes.of_rate(0.0, 0.3, 1e6, n=64) == off
    assert causes.of_rate(0.0, 0.3, 1e6, n=1) == off
    assert causes.of_rate(0.0, 0.01, 1e6, n=64) == (
        f"{off}, or p is below 1/16 and rounded to 0, or int(p n) = int(0.01 * 64) = 0 neurons are dropped"
    )
    assert causes.of_rate(0.0, 0.01, 1e6, n=100) == f"{off}, or p is below 1/16 and rounded to 0"
    assert causes.of_rate(0.0, 0.0, 1e6, n=64) == off


def test_cause_of_nans():
    multiplied = "0 times an infinite input: the mask is multiplied with the input"
    assert causes.of_nans(3, 3, 1.0, 0) == multiplied
    assert causes.of_nans(3, 1, 1.0, 0) == "0 times 1/(1 - p), which is infinite at p = 1"
    assert causes.of_nans(3, 1, 1.0, 50) == causes.of_nans(3, 1, 0.1, 0) == ""


def test_evaluation_mode_is_one_finding():
    for recording in (outputs(np.ones((200, 256)), 1.0), Recording.from_masks(np.ones((200, 256), bool), p=0.1)):
        report = audit(recording)
        assert failing(report) == {"rate": ""}
        assert report["rate"].message.endswith("nothing is dropped: dropout is off, as in evaluation")


def test_what_follows_from_a_cause_is_listed_under_it():
    frozen = audit(np.repeat(kept(1, 512), 200, axis=0), p=0.1)
    assert set(failing(frozen).values()) == {"", "duplicates"}
    assert [result.name for result in frozen.failures if not result.explained_by] == ["duplicates"]
    assert ": FAILED (duplicates)\n" in str(frozen)
    assert "explained by duplicates" in str(frozen)
    report = audit(recorded("tensorflow-2.21.0-bfloat16-n1024-p0.3"))
    assert failing(report) == {"rate": "", "mean": "rate"}


@pytest.mark.parametrize(
    ("masks", "cause", "says"),
    [
        (np.concatenate([np.ones((100, 256), bool), kept(900, 256)]), "drift", "calls 0 to 99 drop nothing: warm-up"),
        (np.concatenate([kept(1000, 192), np.ones((1000, 64), bool)], axis=1), "positions", "192 to 255 are never"),
    ],
)
def test_a_rate_that_differs_from_place_to_place_has_no_cause_of_its_own(masks, cause, says):
    report = audit(outputs(masks))
    assert failing(report)[cause] == ""
    assert says in report[cause].message
    assert report["rate"].explained_by == cause
    assert "consistent with" not in report["rate"].message


def test_masks_given_the_other_way_round():
    report = audit(~kept(400, 256), p=0.1)
    assert failing(report) == {"rate": ""}
    assert "like keep probability given as p, or like masks in which 1 means dropped" in report["rate"].message
    assert "1 means dropped" not in audit(outputs(kept(400, 256, 0.9)))["rate"].message


def test_values_that_are_not_what_dropout_makes_of_ones():
    rng = np.random.default_rng(1)
    logits = audit(Recording.from_outputs(rng.standard_normal((100, 160)), p=0.1))
    assert "outputs take" in logits["rate"].message
    assert "different values: this is not dropout applied to ones" in logits["rate"].message
    activations = np.maximum(rng.standard_normal((100, 160)), 0) * kept(100, 160)
    assert "pass inputs= if" in audit(Recording.from_outputs(activations, p=0.1))["scale"].message


def test_a_scale_of_another_format_is_named():
    found = audit(outputs(kept(100, 64), np.float64(np.float32(1 / 0.9)), np.float64))["scale"]
    assert found.message == "scale 1.1111111640930176 is 1/(1 - p) rounded to float32, in outputs of float64"


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz"])
def test_correctly_rounded_float8_outputs_pass(dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy's float8 types")
    scaled = (kept(400, 256) / 0.9).astype(getattr(ml_dtypes, dtype))
    report = audit(Recording.from_outputs(scaled, p=0.1))
    assert report.passed, str(report)
    assert report["scale"].verdict == report["mean"].verdict == "pass"


# --- laws that scale in their own way --------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.0, 1e-6], ids=["the paper's", "torchvision's"])
@pytest.mark.parametrize("law", [DropBlock(7, 7, 7, p=0.1), DropBlock(12, 12, 5, p=0.2)], ids=repr)
def test_dropblock_may_be_normalised_by_its_own_counts(law, epsilon):
    masks = law.sample(300, rng=1)
    shares = law.n / (epsilon + np.maximum(masks.sum(axis=1, keepdims=True), 1))
    with np.errstate(invalid="ignore"):
        report = audit(Recording.from_outputs(np.where(masks, shares, 0).astype(np.float32)), law)
        twice = audit(Recording.from_outputs(np.where(masks, 2 * shares, 0).astype(np.float32)), law)
    assert report.passed, str(report)
    assert "as DropBlock normalises" in report["scale"].message
    assert law.rate is None or twice["scale"].verdict == "fail"


def test_flash_attention_is_scaled_by_the_declared_p():
    law = Layer.rounded(1024, 0.1, rule="flash-attention-2")
    masks = law.sample(2000, rng=1)
    report = audit(outputs(masks, p=None), law)
    assert report.passed, str(report)
    assert report["mean"].expected == pytest.approx(law.mean_factor)
    assert audit(outputs(masks, 1 / (1 - law.p), p=None), law).passed
    assert audit(outputs(masks, 1 / 0.85, p=None), law)["scale"].verdict == "fail"


def test_each_part_of_a_network_has_its_own_scale():
    net = Network(Layer(64, 0.2), Layer(64, 0.5))
    masks = net.sample(200, rng=2)
    right = (masks / (1 - net.rates)).astype(np.float32)
    assert audit(Recording.from_outputs(right), net)["scale"].verdict == "pass"
    thrice = audit(Recording.from_outputs(3 * right), net)["scale"]
    assert (thrice.verdict, thrice.message.rpartition(": ")[2]) == ("fail", "all by 3 times too much")
    swapped = right.copy()
    swapped[:, 64:] *= np.float32(1.25 / 2)
    one = audit(Recording.from_outputs(swapped), net)["scale"]
    assert one.message.startswith("64 neurons of 128 are scaled wrongly: neuron 64 of p = 0.5 takes 1.25")


def test_a_causal_attention_mask_recorded_whole_is_audited_by_the_part_that_counts():
    law = AttentionDropout(64, 64, 0.1, causal=True)
    whole = kept(50, 64 * 64).reshape(50, 64, 64) & np.tril(np.ones((64, 64), bool))
    assert audit(whole, law).passed
    assert not audit(whole, AttentionDropout(64, 64, 0.1)).passed


def test_floats_are_read_as_outputs():
    report = audit((kept(100, 256) / 0.9).astype(np.float32), p=0.1)
    assert report.passed
    assert report["scale"].verdict == "pass"


# --- laws that are made of others ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "make", "tests"),
    [
        (Network(Channels(16, 9, 0.2), Layer(64, 0.1)), "replayed", {"duplicates", "overlaps"}),
        (DropBlock(28, 28, 7, p=0.1), "twice", {"lags", "serial", "duplicates"}),
        (FixedCount(256, 26), "twice", {"lags", "duplicates"}),
        (Network(DropBlock(12, 12, 5, p=0.2), FixedCount(64, 6)), "replayed", {"duplicates"}),
        (Network(DropBlock(12, 12, 5, p=0.2), FixedCount(64, 6)), "twice", {"lags", "duplicates"}),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else (" ".join(sorted(value)) if isinstance(value, set) else repr(value)[:40])
    ),
)
def test_every_law_gets_the_tests_that_its_independence_allows(law, make, tests):
    masks = law.sample(400, rng=1)
    assert audit(masks, law).passed
    if make == "twice":
        masks = np.repeat(masks[:200], 2, axis=0)
    else:
        masks[-10:] = masks[100:110]
    assert tests <= set(failing(audit(masks, law)))


def test_a_total_of_a_large_dependent_law_is_exact():
    # beyond 2^22 neurons: two groups of 1.1 million each, and ten neurons
    law = Network(Channels(2, 1_100_000, 0.05), Layer(10, 0.05))
    total = law.total(2)
    groups, alone = stats.binom(4, 0.05), stats.binom(20, 0.05)
    expected = sum(groups.pmf(k) * alone.sf(1_100_000 * (2 - k) - 1) for k in range(5))
    assert float(total.sf(2_200_000 - 1)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("followed", "declared", "said"),
    [
        (DropBlock(12, 12, 5, p=0.1, seeds="map"), DropBlock(12, 12, 5, p=0.1), "seeds on the whole map"),
        (DropBlock(12, 12, 5, gamma=0.0078, seeds="map"), DropBlock(12, 12, 5, gamma=0.0078), "seeds on the whole map"),
        (DropBlock(12, 12, 5, p=0.1), DropBlock(12, 12, 5, p=0.1, seeds="map"), "no seeds near the border"),
    ],
)
def test_squares_that_are_cut_at_the_border_are_named(followed, declared, said):
    report = audit(followed.sample(500, rng=1), declared)
    assert not report.passed
    assert report.notes[-1].startswith(f"hint: {said}")
    assert float(re.search(r"these masks fit .*gamma=([\d.]+)", report.notes[-1])[1]) == pytest.approx(followed.gamma)
    assert ("seeds='map'" in report.notes[-1]) == (followed.seeds == "map")
    assert audit(followed.sample(500, rng=1), followed).passed


def test_squares_of_another_size_fit_no_law_of_squares_at_the_border():
    report = audit(DropBlock(12, 12, 3, p=0.1).sample(500, rng=1), DropBlock(12, 12, 5, p=0.1))
    assert not report.passed
    assert not any("border" in note for note in report.notes)


def test_words_of_bfloat16_read_as_integers_are_recognised():
    words = np.where(Layer(256, 0.1).sample(50, rng=0), 0x3F8E, 0).astype(np.uint16)
    found = audit(Recording.from_outputs(words, p=0.1))["scale"]
    assert found.verdict == "fail"
    assert "0x3f8e are the bits of 1.10938 in bfloat16" in found.message
    plain = audit(Recording.from_outputs((words > 0).astype(np.uint16) * 7, p=0.1))["scale"]
    assert plain.verdict == "fail"
    assert "bits" not in plain.message


def test_values_divided_by_the_share_kept_are_recognised():
    masks = Layer(256, 0.1).sample(50, rng=0)
    divided = audit(Recording.from_outputs(masks / masks.mean(axis=1, keepdims=True), p=0.1))["scale"]
    assert divided.verdict == "fail"
    assert divided.message.endswith(": n over the number kept in their own mask, in place of 1/(1 - p)")
    other = masks * np.random.default_rng(0).uniform(1.0, 1.2, (50, 1))
    assert "own mask" not in audit(Recording.from_outputs(other, p=0.1))["scale"].message


def test_unscaled_outputs_read_as_masks_are_pointed_out():
    masks = Layer(256, 0.1).sample(50, rng=0)
    assert "Recording.from_outputs tests the scale" in audit(masks.astype(np.float32), p=0.1)["scale"].message
    assert audit(masks, p=0.1)["scale"].message == "the masks carry no values"
    assert audit(Recording.from_outputs(masks.astype(np.float32), p=0.1))["scale"].verdict == "fail"


def test_an_infinite_scale_has_no_share_of_the_mean():
    outputs = Layer(256, 0.1).sample(50, rng=0) / np.float32(0.9)
    outputs[3, np.flatnonzero(outputs[3])[0]] = np.inf
    report = audit(Recording.from_outputs(outputs, p=0.1))
    assert "kept values average inf" in report["mean"].message
    assert "inf (1 time)" in report["scale"].message
