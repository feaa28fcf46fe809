"""False alarms: correct masks fail no more often than stated, test by test and in all."""

import numpy as np
import pytest
from cases import LAWS
from scipy import stats

from dropstats import Channels, DropBlock, FixedCount, Layer, Network
from dropstats.auditing import TESTS, audit, audit_streams, checks, nulls
from dropstats.recording import Recording

# Tiny and large, dyadic and not, trials * p^2 from 2e-6 to 1000.
TRIALS = (2, 5, 20, 64, 250, 1000)
NEURONS = (1, 2, 5, 8, 33, 64, 256, 1000)
RATES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.3, 0.5, 0.7, 0.875, 0.9, 0.99, 0.999)
LARGEST = 300_000  # neurons in a recording of the grid
# What a correct audit fails this very test with: one chance in a million for each of a few dozen bounds.
CHANCE = 1e-6


# Few masks of many neurons, and many of few.
LONG = ((1, 200_000), (4, 100_000), (20_000, 10), (100_000, 2), (200_000, 1))


def long():
    return [(t, n, p) for t, n in LONG for p in RATES]


def grid():
    return [(t, n, p) for t in TRIALS for n in NEURONS for p in RATES if t * n <= LARGEST]


def clean_audit(trials, n, p, false_alarm, rng, truth=None):
    kept = Layer(n, p if truth is None else truth).sample(trials, rng=rng)
    return audit(Recording.from_outputs(kept * np.float32(1 / (1 - p)), p=p), false_alarm=false_alarm)


def most(audits, level):
    """Return the largest number of alarms that chance leaves, at this level, among so many audits."""
    return stats.binom.isf(CHANCE, audits, level)


def check(cases, seed, false_alarm, levels, bias=0.0):
    rng = np.random.default_rng(seed)
    smallest = {name: [] for name in TESTS}
    alarms = 0
    for trials, n, p in cases:
        report = clean_audit(trials, n, p, false_alarm, rng, truth=p + bias)
        alarms += bool(report.failures)
        for result in report.results:
            if result.pvalue is not None:
                smallest[result.name].append(result.pvalue)
    for name, values in smallest.items():
        for level in levels:
            count = int((np.array(values) <= level).sum())
            assert count <= most(len(values), level), f"{name}: {count} of {len(values)} p-values below {level}"
    assert alarms <= most(len(cases), false_alarm), f"{alarms} alarms in {len(cases)} audits at {false_alarm}"


def test_false_alarms_over_the_grid_quickly():
    cases = [case for case in grid() if case[0] * case[1] <= 20_000]
    check(cases[::2], 1, 0.05, (0.1, 0.05, 0.01, 0.001))


@pytest.mark.slow
def test_the_check_of_false_alarms_has_teeth():
    cases = [(64, 100, 0.3)] * 40
    check(cases, 3, 0.05, (0.05,))
    with pytest.raises(AssertionError, match="rate: "):
        check(cases, 3, 0.05, (0.05,), bias=0.02)


def check_alarms(law, sizes, seed):
    """Audit 60 clean recordings of these sizes in turn: neither a test nor the whole alarms more often than it says."""
    rng = np.random.default_rng(seed)
    pvalues = {name: [] for name in (*TESTS, "groups")}
    alarms = 0
    for trials in sizes * 20:
        report = audit(law.sample(trials, rng=rng), law, false_alarm=0.05)
        alarms += bool(report.failures)
        for result in report.results:
            pvalues[result.name].append(1.0 if result.pvalue is None else result.pvalue)
    assert alarms <= most(60, 0.05)
    for name, values in pvalues.items():
        for level in (0.2, 0.05, 0.01):
            assert (np.array(values) <= level).sum() <= most(60, level), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        Network(Layer(64, 0.2), Layer(128, 0.5)),
        Layer(60, np.linspace(0.001, 0.999, 60)),
        Layer(30, [0, 1, *np.linspace(0.001, 0.05, 28)]),
    ],
    ids=["network", "all rates", "small rates, and certain ones"],
)
def test_false_alarms_where_rates_differ(law):
    check_alarms(law, (2, 30, 100), seed=4)


@pytest.mark.parametrize("p", [0.2, *(pytest.param(p, marks=pytest.mark.slow) for p in (0.02, 0.5, 0.9))])
def test_false_alarms_of_groups(p):
    rng = np.random.default_rng(6)
    laws = (
        Channels(1, 5, p),
        Channels(12, 9, p),
        Channels.locked(4, 30, p),
        Channels.with_noise_shape((3, 4, 5), (None, 1, None), p),
        Channels(8, 3, [p, 0.1, 0.3, p, p, 0.5, 0.4, p]),
    )
    alarms, smallest = 0, {name: [] for name in (*TESTS, "groups")}
    for law in laws * 2:
        for trials in (2, 30, 200):
            masks = law.sample(trials, rng=rng)
            # one in ten neurons is not known
            inputs = np.where(rng.random(law.n) < 0.1, np.float32(0), np.float32(1))
            for recording in (masks, Recording.from_outputs(masks * inputs, inputs=inputs)):
                report = audit(recording, law, false_alarm=0.05, tests=set(TESTS) - {"scale", "mean"} | {"groups"})
                alarms += bool(report.failures)
                for result in report.results:
                    smallest[result.name].append(1.0 if result.pvalue is None else result.pvalue)
    assert alarms <= most(60, 0.05)
    for name, values in smallest.items():
        for level in (0.1, 0.01):
            assert (np.array(values) <= level).sum() <= most(60, level), name


@pytest.mark.parametrize(
    "law",
    [
        FixedCount(20, 7),
        FixedCount(6, 1),
        DropBlock(6, 5, 3, p=0.2),
        pytest.param(DropBlock(24, 24, 5, p=0.1), marks=pytest.mark.slow),
        pytest.param(
            Network(DropBlock(24, 24, 5, p=0.1), FixedCount(9, 4), Channels(4, 5, 0.3)), marks=pytest.mark.slow
        ),
    ],
    ids=repr,
)
def test_false_alarms_where_neurons_depend_on_each_other(law):
    check_alarms(law, (2, 25, 120), seed=9)


REPETITIONS = [1, pytest.param(15, marks=pytest.mark.slow)]


def check_reports(reports, false_alarm):
    """Neither the whole nor a single test fails more often than it says."""
    assert sum(bool(report.failures) for report in reports) <= most(len(reports), false_alarm)
    names = {result.name for report in reports for result in report.results}
    for name in names:
        found = [result.pvalue for report in reports for result in report.results if result.name == name]
        values = np.array([value for value in found if value is not None])
        for level in (0.2, 0.05, 0.01, 0.001):
            assert (values <= level).sum() <= most(values.size, level), name
    return names


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_false_alarms_of_every_law(repetitions):
    rng = np.random.default_rng(12)
    reports = []
    for case in LAWS:
        for trials in (2, 30, 150)[: 2 if repetitions == 1 else 3] * repetitions:
            masks = case.law.sample(trials, rng=rng)
            given = masks
            if trials == 30 and case.law.rate is not None and case.law.independent:
                inputs = rng.standard_normal(masks.shape).astype(np.float32)
                given = Recording.from_outputs(
                    np.where(masks, inputs / np.float32(1 - case.law.rate), 0), inputs=inputs
                )
            reports.append(audit(given, case.law, false_alarm=0.05))
    assert check_reports(reports, 0.05) == {*TESTS, "groups"}


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_false_alarms_of_streams_of_every_law(repetitions):
    rng = np.random.default_rng(13)
    reports = []
    for case in LAWS:
        for trials in (2, 30) * repetitions:
            streams = {(layer, step): case.law.sample(trials, rng=rng) for layer in range(2) for step in range(2)}
            reports.append(audit_streams(streams, law=case.law, false_alarm=0.05))
    assert check_reports(reports, 0.05) == {check.name for check in checks.OF_STREAMS}


@pytest.mark.parametrize(("n", "p", "masks"), [(5, 0.1, 1), (40, 0.3, 7), (784, 0.02, 100), (3, 0.9, 50)])
def test_bounds_of_sums_hold_and_are_not_idle(n, p, masks):
    total = np.arange(n * masks + 1)
    low, high = nulls.bounded_tails(total, masks, n, n * p, n * p * (1 - p))
    assert (low >= stats.binom.cdf(total, n * masks, p) - 1e-12).all()
    assert (high >= stats.binom.sf(total - 1, n * masks, p) - 1e-12).all()
    if masks >= 50:
        assert low[0] < 0.01 if p < 0.5 else high[-1] < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("false_alarm", "repetitions"), [(0.05, 5), (0.001, 5)])
def test_false_alarms_over_the_grid(false_alarm, repetitions):
    cases = grid() * repetitions + long()
    assert len(cases) >= 2000
    check(cases, 2, false_alarm, (0.2, 0.1, 0.05, 0.01, 0.001, 1e-4))


@pytest.mark.parametrize("p", [0.5, 0.2])
@pytest.mark.parametrize(("trials", "n"), [(2, 3), (3, 2), pytest.param(4, 2, marks=pytest.mark.slow)])
def test_pvalues_are_valid_by_enumeration(trials, n, p):
    # all 2^(trials n) recordings with their probabilities: P(pvalue <= a) <= a for every a, for every test
    bits = (np.arange(2 ** (trials * n))[:, None] >> np.arange(trials * n)) & 1
    weight = np.prod(np.where(bits, 1 - p, p), axis=1)
    reports = [audit(kept.reshape(trials, n), p=p) for kept in bits]
    for name in TESTS:
        values = np.array([1.0 if (r := report[name].pvalue) is None else r for report in reports])
        order = np.argsort(values)
        reached = np.cumsum(weight[order])
        last = np.flatnonzero(np.diff(values[order], append=2.0) > 1e-12)
        assert (reached[last] <= values[order][last] + 1e-9).all(), name
