"""Test `rate`: the overall drop rate is the declared one."""

import math

import numpy as np

from dropstats.auditing import causes, nulls, words
from dropstats.auditing.finding import Case, Check, Finding, too_small
from dropstats.laws import AlphaDropout

# Fewest expected neurons of the rarer kind at which a rate is judged (they are fewer than 0 with probability 0.7 %).
_FEWEST = 5
# The law of a total is that of at most so many neurons.
_MOST = 2**52
# Outputs of more distinct values are not what dropout makes of ones.
_MANY = 16
# A rate is another law's where it is at most so many standard errors off it, and the declared one is more.
_ERRORS = 3
# Largest support over which the law of a total is convolved from that of one mask.
_SUPPORT = 2**22


def measure(case: Case) -> Finding:
    """Null: the total number of dropped neurons follows the law, Bin(trials * n, p) for a layer. Exact, two-sided.

    If observed dependence among neurons increases the variance of the total, Student's t test with the effective sample
    size is used. If the total has no closed form under the law, the p-value is a bound (Chernoff, or Cantelli and
    Bernstein). Catches a wrong p. Needs 5 expected neurons of the rarer outcome.
    """
    seen, law, expected = case.seen, case.law, case.expected_rate
    effect = case.design_effect
    if case.tolerance:
        return _within_tolerance(case)
    if seen.recording.known is not None and law.rate is None:
        expected = float(seen.neuron_trials @ law.rates) / seen.judged
    if seen.recording.known is not None and not law.independent and 0 < expected < 1:
        effect = max(effect, float(law.variance / (law.rates * (1 - law.rates)).sum()))
    if effect > 1 and 0 < expected < 1:
        return _by_effective_size(case, expected, effect)
    low, high, how = total_tails(case)
    pvalue = float(nulls.two_sided(low, high))
    detectable = _seen_by_bounds(case) if how == "bounds" else _seen(case, expected)
    rarer = seen.judged * min(expected, 1 - expected)
    if 0 < expected < 1 and (rarer < _FEWEST or detectable is None):
        return too_small("rare", pvalue=pvalue, observed=seen.rate, expected=expected, numbers={"rarer": rarer})
    return Finding(pvalue, seen.rate, expected, detectable, numbers={"effective": seen.judged})


def total_tails(case: Case) -> tuple[float, float, str]:
    """Return both tails of the total of dropped neurons under the law, and how they were formed."""
    seen, law, masks = case.seen, case.law, case.trials
    if law.rate is not None and law.independent:
        low, high = nulls.binomial_tails(seen.total, seen.judged, law.rate)
        return float(low), float(high), "exact"
    if law.has_counts and seen.recording.known is not None:
        from dropstats.counts import of_rates

        pieces = zip(law.rates.tolist(), seen.neuron_trials.tolist(), strict=True)
        low, high = nulls.count_tails(of_rates(pieces), seen.total)
        return float(low), float(high), "exact"
    total = law.total(masks)
    if total is not None:
        low, high = nulls.count_tails(total, seen.total)
        return float(low), float(high), "exact"
    if law.has_counts and masks * case.n <= _SUPPORT:
        pmf = np.asarray(law.dropped.pmf(np.arange(case.n + 1)), dtype=np.float64)
        return *nulls.count_sum_tails(pmf, masks, seen.total), "exact"
    mean, variance = float(np.sum(law.rates)), float(law.variance)
    low, high = nulls.bounded_tails(seen.total, masks, case.n, mean, variance)
    return float(low), float(high), "bounds"


def _seen(case: Case, expected: float) -> float | None:
    """Return the smallest shift of the rate seen with power 0.9, of as many neurons as have the law's variance."""
    judged = case.seen.judged
    if not case.law_effect:
        return 1 / judged  # the total never varies
    return nulls.detectable_rate(expected, int(min(judged / case.law_effect, _MOST)), case.level)


def _seen_by_bounds(case: Case) -> float | None:
    """Return the smallest shift of the rate that the bounds see with power 0.9, None where not even 1 is seen.

    That towards 1/2, where they are wider; the total is taken to vary there as much more as it does for a layer.
    """
    neurons, rarer = case.trials * case.n, min(case.expected_rate, 1 - case.expected_rate)
    spread, log = math.sqrt(case.trials * case.law.variance), math.log(2 / case.level)
    bernstein = log * case.n * (1 - rarer) / 3
    needed = bernstein + math.sqrt(bernstein**2 + 2 * log * spread**2)
    needed = min(needed, spread * math.sqrt(2 / case.level - 1)) / neurons  # or Cantelli's
    there = rarer + needed
    if there >= 1:
        return None
    wider = math.sqrt(there * (1 - there) / (rarer * (1 - rarer)))
    shift = needed + nulls.normal_quantile(1 - nulls.POWER) * wider * spread / neurons
    return shift if rarer + shift < 1 else None


def _by_effective_size(case: Case, expected: float, effect: float) -> Finding:
    """Judge the rate of dependent neurons by the effective sample size, with Student's t over masks."""
    seen = case.seen
    effective = seen.judged / effect
    error = math.sqrt(expected * (1 - expected) / effective)
    # masks are the units whose spread was measured
    freedom = max(min(case.trials, effective) - 1, 1)
    pvalue = nulls.student_two_sided((seen.rate - expected) / error, freedom)
    detectable = error * nulls.detectable_student(freedom, case.level)
    numbers = {"effective": effective, "dependent": True}
    if effective * min(expected, 1 - expected) < _FEWEST:
        return too_small("dependent", observed=seen.rate, expected=expected, numbers=numbers)
    return Finding(pvalue, seen.rate, expected, detectable, numbers=numbers)


def _within_tolerance(case: Case) -> Finding:
    """Judge whether the rate is within the tolerance: fail, or pass, only where its interval leaves no doubt.

    D. J. Schuirmann (1987). A comparison of the two one-sided tests procedure and the power approach for assessing
    the equivalence of average bioavailability. Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
    """
    assert case.tolerance is not None
    seen, expected = case.seen, case.expected_rate
    judged = int(seen.judged / max(case.design_effect, case.law_effect))
    count = round(seen.rate * judged)
    low, high = max(expected - case.tolerance, 0.0), min(expected + case.tolerance, 1.0)
    above = float(nulls.binomial_tails(count, judged, high)[1])
    below = float(nulls.binomial_tails(count, judged, low)[0])
    outside = min(1.0, 2 * min(above, below)) if not low <= seen.rate <= high else 1.0
    # to pass, the rate must be shown to lie above the lower and below the upper limit
    not_low = float(nulls.binomial_tails(count, judged, low)[1]) if low > 0 else 0.0
    not_high = float(nulls.binomial_tails(count, judged, high)[0]) if high < 1 else 0.0
    numbers = {"effective": judged, "tolerance": case.tolerance}
    if max(not_low, not_high) > case.level:
        return too_small("tolerance", pvalue=outside, observed=seen.rate, expected=expected, numbers=numbers)
    beyond = (nulls.detectable_rate(limit, judged, case.level, (sign,)) for limit, sign in ((high, 1), (low, -1)))
    further = max((shift for shift in beyond if shift is not None), default=None)
    # heterogeneous rates make the total vary less than the limit allows for
    surely, likely = nulls.normal_quantile(case.level / 2), nulls.normal_quantile(1 - nulls.POWER)
    less = (surely + likely * min(1.0, math.sqrt(case.law_effect))) / (surely + likely)
    detectable = None if further is None else case.tolerance + less * further
    return Finding(outside, seen.rate, expected, detectable, numbers=numbers)


def surely_off(case: Case) -> bool:
    """Return whether the rate cannot be the declared one, so that other tests are judged at the observed one, too."""
    low, high, _ = total_tails(case)
    return 2 * min(low, high) <= case.level


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say how far off the rate is, and what would give just that rate."""
    observed, expected = finding.observed, finding.expected
    assert observed is not None
    assert expected is not None
    numbers = finding.numbers
    effective = numbers.get("effective", case.seen.judged)
    why = f"because {case.unit.many} depend on each other"
    sizes = f"effective sample size {effective:,.0f} of {case.seen.judged:,}, {why}"
    if failed:
        text = _departure(observed, expected, effective, case)
        if "tolerance" in numbers:
            return f"{text}; more than the tolerance {numbers['tolerance']:g}"
        return f"{text}; {sizes}" if "dependent" in numbers else text
    if "tolerance" in numbers:
        off, tolerance = f"off by {observed - expected:+.2g}", f"the tolerance {numbers['tolerance']:g}"
        if finding.state == "judged":
            return f"{off}, significantly less than {tolerance}"
        return f"{off}; too few {case.unit.many} to compare it with {tolerance}"
    if finding.state == "too small":
        if "dependent" in numbers:
            return f"{sizes}: too small to test the rate"
        rarer = f"{numbers['rarer']:.2g} of the rarer outcome expected, at least {_FEWEST} needed"
        return f"{words.counted(case.seen.judged, case.unit.one)}: too few to test the rate ({rarer})"
    if finding.detectable is None:
        return f"no {case.unit.one} is dropped" if expected == 0 else f"every {case.unit.one} is dropped"
    text = f"detects a shift of p of {finding.detectable:.2g} (power 0.9)"
    return f"{sizes}; {text}" if "dependent" in numbers else text


def _departure(observed: float, p: float, neurons: float, case: Case) -> str:
    values = case.seen.recording.scales
    alpha = causes.of_two_values(values, AlphaDropout(0.0).alpha_prime) if observed == 0 else None
    if values and alpha is not None:
        return _of_alpha_dropout(alpha, min(values), max(values))
    if observed == 0 and max(len(values or {}), case.seen.recording.distinct_scales) > _MANY:
        many = max(len(values or {}), case.seen.recording.distinct_scales)
        return f"no output is 0 and outputs take {many:,} different values: this is not dropout applied to ones"
    relative = f" ({words.percent(observed / p - 1)})" if p else ""
    text = f"drops {words.shown_rate(observed, neurons)} where {p:.6g} was declared{relative}"
    dtype = case.seen.recording.dtype
    # a rate that differs from place to place, or from call to call, is no one's p
    if not case.law.independent:
        cause = _another_law(observed, case)
    else:
        cause = causes.of_rate(observed, p, neurons, dtype, values is None, case.n) if case.even else ""
    return f"{text}, {cause}" if cause else text


def _another_law(observed: float, case: Case) -> str:
    """Return which law that is mistaken for the declared one has the observed rate, or an empty string."""
    for other, how in case.law.mistaken:
        rate, error = float(np.mean(other.rates)), math.sqrt(other.variance / case.trials) / case.n
        if abs(observed - rate) <= _ERRORS * error < abs(case.expected_rate - rate):
            return f"consistent with {rate:.4g}: {how}"
    return ""


def _of_alpha_dropout(p: float, low: float, high: float) -> str:
    # two digits where rounded outputs leave no more
    shown = f"{p:.2g}" if abs(float(f"{p:.2g}") / p - 1) < 0.005 else f"{p:.3g}"
    return (
        f"no output is 0, but the two values {low:.5g} and {high:.5g} are those of alpha dropout of p = {shown}: "
        f"audit the outputs against AlphaDropout({shown})"
    )


CHECK = Check(
    "rate",
    measure,
    explain,
    decides=True,
    widened=True,
    about="whether the overall drop rate is the declared one",
    quantity="drop rate",
)
