"""Power of the rate test, against exact references and against looking through every size."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import dropstats as ds
from dropstats import counts
from dropstats.auditing import nulls

REFERENCE = json.loads(Path(__file__).with_name("reference").joinpath("audit_reference.json").read_text())


def literal_powers(sizes, p, other, false_alarm):
    """Return for n = 1, ..., sizes the probability, on the side of the shift, of p-value <= false_alarm.

    Neuron by neuron, in the words of the definition: pmf_n+1(k) = pmf_n(k) (1 - p) + pmf_n(k - 1) p.
    """
    null, truth, powers = np.ones(1), np.ones(1), []
    for _ in range(sizes):
        null = np.append(null, 0) * (1 - p) + np.append(0, null) * p
        truth = np.append(truth, 0) * (1 - other) + np.append(0, truth) * other
        tails = np.cumsum(null[::-1])[::-1] if other > p else np.cumsum(null)
        powers.append(truth[tails <= false_alarm / 2].sum())
    return powers


@pytest.mark.parametrize("case", REFERENCE["smallest_detectable_bias"], ids=lambda case: f"{case['N']}-{case['p0']}")
def test_detectable_shift_is_the_reference(case):
    found = ds.detectable_shift(case["p0"], case["N"], false_alarm=case["alpha"], power=case["power"])
    assert found == pytest.approx(case["smallest_bias_exact"], rel=1e-10)


def test_neurons_needed_is_where_the_power_stays():
    # known from exact computation: the power first reaches 0.9 at 551,956 and stays from 553,092
    assert ds.neurons_needed(0.1, 0.1015625 - 0.1) == 553_092
    power = lambda n: stats.binom.sf(stats.binom.isf(0.005, n, 0.1), n, 0.1015625)  # noqa: E731
    assert power(553_091) < 0.9 <= power(553_092)
    assert power(551_955) < 0.9 <= power(551_956)


@pytest.mark.parametrize("case", REFERENCE["N_required_normal"], ids=lambda case: f"{case['p0']}-{case['p1']}")
def test_neurons_needed_is_a_little_above_the_normal_formula(case):
    p, other, false_alarm = float(case["p0"]), float(case["p1"]), float(case["alpha"])
    needed = ds.neurons_needed(p, other - p, false_alarm, float(case["power"]))
    # the teeth are 1 count high: a width of some 2 / shift neurons; and the binomial is a little skew
    assert 0 < needed - case["N_ceil"] < 5 / abs(other - p) + 0.002 * needed


@pytest.mark.parametrize(
    ("p", "shift"),
    [
        (p, shift)
        for p in (0.0, 0.02, 0.1, 0.3, 0.5, 0.8, 0.97, 1.0)
        for shift in (-0.6, -0.3, -0.15, 0.15, 0.3, 0.6)
        if 0 <= p + shift <= 1
    ],
)
@pytest.mark.parametrize(("false_alarm", "power"), [(0.01, 0.9), (0.2, 0.55), (1e-6, 0.999)])
def test_neurons_needed_is_found_by_looking_through_every_size(p, shift, false_alarm, power):
    other = p + shift
    needed = ds.neurons_needed(p, shift, false_alarm, power)
    enough = np.array(literal_powers(2 * needed + 50, p, other, false_alarm)) >= power
    assert enough[needed - 1 :].all()
    assert needed == 1 or not enough[needed - 2]


@pytest.mark.parametrize("p", [0.0, 0.02, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("neurons", [1, 7, 60, 400])
@pytest.mark.parametrize(("false_alarm", "power"), [(0.01, 0.9), (0.2, 0.55), (1e-6, 0.999)])
def test_detectable_shift_is_where_the_power_is_reached(p, sign, neurons, false_alarm, power):
    shift = ds.detectable_shift(p, neurons, false_alarm, power, sign=sign)
    if math.isinf(shift):
        assert shift == sign * math.inf
        furthest = 1.0 if sign > 0 else 0.0
        assert furthest == p or literal_powers(neurons, p, furthest, false_alarm)[-1] < power
    else:
        assert math.copysign(1, shift) == sign
        assert literal_powers(neurons, p, p + shift, false_alarm)[-1] == pytest.approx(power, abs=1e-9)
        assert literal_powers(neurons, p, p + 0.99 * shift, false_alarm)[-1] < power


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5])
def test_the_two_sides_mirror_each_other(p):
    assert ds.detectable_shift(p, 1000) == pytest.approx(-ds.detectable_shift(1 - p, 1000, sign=-1), rel=1e-10)
    assert ds.neurons_needed(p, 0.0125) == ds.neurons_needed(1 - p, -0.0125)


def test_the_test_alarms_as_often_as_the_power_says():
    # 20,000 draws: the standard error of a frequency near 0.9 is 0.0021; a bound of four of them
    p, neurons = 0.1, 5000
    shift = ds.detectable_shift(p, neurons)
    drawn = np.random.default_rng(0).binomial(neurons, p + shift, 20_000)
    law = stats.binom(neurons, p)
    pvalues = 2 * np.minimum(law.sf(drawn - 1), law.cdf(drawn))
    assert abs(np.mean(pvalues <= 0.01) - 0.9) < 0.0085


def test_very_many_neurons():
    needed = ds.neurons_needed(0.5, 0.0001, 1e-6)
    assert 952_706_875 < needed < 952_706_875 + 5 / 0.0001
    assert ds.detectable_shift(0.5, needed, 1e-6) <= 0.0001 < ds.detectable_shift(0.5, needed - 50_000, 1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("neurons", [10**9, 10**12, 10**15, 2**52])
def test_the_shift_that_very_many_neurons_detect_is_that_of_the_normal_law(p, neurons):
    quantiles = stats.norm.isf(0.005) + stats.norm.isf(0.1)
    normal = quantiles * math.sqrt(p * (1 - p) / neurons)
    larger, smaller = ds.detectable_shift(p, neurons), -ds.detectable_shift(p, neurons, sign=-1)
    skewness = (1 - 2 * p) / math.sqrt(neurons * p * (1 - p))
    assert larger == pytest.approx(normal, rel=5 * abs(skewness) + 2e-5 / math.sqrt(neurons / 1e9))
    # what is of the order of 1 / sqrt(n) has opposite signs on both sides, what is of the order of 1 / n has not
    assert (larger + smaller) / 2 == pytest.approx(normal, rel=2e-5 / math.sqrt(neurons / 1e9))


@pytest.mark.parametrize(("p", "shift"), [(0.1, 3e-5), (0.1, -3e-5), (0.4, 1e-4), (0.7, 1e-4), (0.999, -2e-6)])
def test_the_last_size_without_the_power_among_many(p, shift):
    needed = ds.neurons_needed(p, shift)
    other, sign = p + shift, 1 if shift > 0 else -1

    def power(n):
        law, truth = counts.Binomial(n, p), counts.Binomial(n, other)
        if sign > 0:
            return float(truth.sf(law.isf(0.005)))
        return float(truth.cdf(law.ppf(0.005) - 1))

    assert power(needed - 1) < 0.9 <= min(power(n) for n in range(needed, needed + 2000))


@pytest.mark.parametrize("sign", [1, -1])
def test_beyond_1e11_neurons_the_answer_is_not_far_above_the_smallest(sign, monkeypatch):
    smallest = ds.neurons_needed(0.1, sign * 1e-5)
    monkeypatch.setattr("dropstats.power._TEETH", 1)
    bound = ds.neurons_needed(0.1, sign * 1e-5)
    assert smallest <= bound < smallest + 2 / 1e-5
    assert ds.detectable_shift(0.1, bound, sign=sign) * sign <= 1e-5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ds.neurons_needed(1.2, 0.1), ValueError, r"p must be in \[0, 1\]; got 1.2"),
        (lambda: ds.neurons_needed(0.9, 0.2), ValueError, r"p \+ shift must be in \[0, 1\]; got 0.9 \+ 0.2"),
        (lambda: ds.neurons_needed(0.1, 0.0), ValueError, "shift must change p; got 0.0 for p = 0.1"),
        (lambda: ds.neurons_needed(0.1, 1e-18), ValueError, "shift must change p; got 1e-18 for p = 0.1"),
        (lambda: ds.neurons_needed(0.1, math.nan), ValueError, "shift must be a finite number; got nan"),
        (lambda: ds.neurons_needed(0.1, "1"), TypeError, "shift must be a number; got '1'"),
        (lambda: ds.neurons_needed(0.1, 0.1, false_alarm=0), ValueError, r"false_alarm must be in \(0, 1\); got 0.0"),
        (lambda: ds.neurons_needed(0.1, 0.1, power=1), ValueError, r"power must be in \(0, 1\); got 1.0"),
        (
            lambda: ds.neurons_needed(0.5, 1e-8),
            ValueError,
            r"a shift of 1e-08 needs more than 2\^52 neurons at p = 0.5",
        ),
        (
            lambda: ds.neurons_needed(0.75, -2e-9),
            ValueError,
            r"a shift of -2e-09 needs more than 2\^52 neurons at p = 0.75",
        ),
        (lambda: ds.detectable_shift(0.5, 0), ValueError, "neurons must be at least 1; got 0"),
        (lambda: ds.detectable_shift(0.5, 1.5), ValueError, "neurons must be an integer; got 1.5"),
        (lambda: ds.detectable_shift(0.5, 10, sign=0), ValueError, "sign must be 1 or -1; got 0"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("neurons", [1000, 123_456])
def test_the_audit_states_the_same_shift(p, neurons):
    stated = nulls.detectable_rate(p, neurons, 0.01)
    assert stated == pytest.approx(max(abs(ds.detectable_shift(p, neurons, sign=sign)) for sign in (1, -1)), rel=1e-9)
