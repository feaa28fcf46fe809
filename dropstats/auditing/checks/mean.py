"""Test `mean`: outputs have the mean of the inputs."""

import math

from dropstats import formats
from dropstats.auditing import nulls, words
from dropstats.auditing.checks.scale import by_counts, dtypes, kept_values, matches
from dropstats.auditing.finding import Case, Check, Finding, not_applicable


def measure(case: Case) -> Finding:
    """Null: the mean is preserved, (1 - rate) * scale = 1, up to the rounding of the scale. Exact binomial.

    A scale s preserves the mean at the rate 1 - 1/s. If s is 1/(1 - p) rounded to its dtype, the null is that the rate
    lies between 1 - 1/s and p, so that rounding alone is not a failure; otherwise the rate must be 1 - 1/s, within half
    a unit in the last place of s. Catches a scale that does not fit the rate. Needs recorded values.
    """
    values, p, nominal, seen = kept_values(case), case.law.rate, case.law.nominal_rate, case.seen
    if case.scaling == "direct":
        return not_applicable("direct scaling changes the mean on purpose")
    if values is None:
        return not_applicable("the masks carry no values")
    if case.law.count_normalised and by_counts(case, values):
        return Finding(None, 1.0, 1.0, numbers={"average": 1.0, "rounding": 0.0})
    if p is None or nominal is None or p == 1 or nominal == 1 or seen.rate == 1:
        return not_applicable("no mean to preserve at this rate")
    average = math.fsum(v * c for v, c in values.items()) / sum(values.values())
    if any(matches(average, p, dtype, seen.recording.scale_tolerance) for dtype in dtypes(case)):
        nominal = p
    # a law that rounds p, scaled by the p that was declared, has another mean than 1
    expected = (1 - p) / (1 - nominal)
    observed = (1 - seen.rate) * average
    if not 0 < average < math.inf:
        return Finding(None, observed, expected, broken=True, numbers={"average": average})
    low, high, explained = _rates(case, average, p, nominal)
    if case.tolerance:
        low, high = low - case.tolerance, high + case.tolerance
    judged = int(seen.judged / max(case.design_effect, case.law_effect))
    pvalue = _pvalue(round(seen.rate * judged), judged, max(low, 0.0), min(high, 1.0))
    rounding = (1 - p) * average / expected - 1 if explained else 0.0
    return Finding(pvalue, observed, expected, numbers={"average": average, "rounding": rounding})


def _rates(case: Case, average: float, p: float, nominal: float) -> tuple[float, float, bool]:
    """Return between which rates the mean is the law's, and whether rounding explains the scale."""
    recording = case.seen.recording
    tolerance, preserving = recording.scale_tolerance, 1 - (1 - p) / (1 - nominal) / average
    if any(matches(average, nominal, dtype, tolerance) for dtype in dtypes(case)):
        slack = tolerance / average
        return min(p, preserving) - slack, max(p, preserving) + slack, True
    dtype = recording.dtype if recording.dtype in formats.DTYPES else "float32"
    half = max(formats.resolution(dtype) / 2, tolerance) / average
    return preserving - half, preserving + half, False


def _pvalue(count: int, n: int, low: float, high: float) -> float:
    """Return the largest two-sided p-value of a count over the rates from low to high."""
    if not n or low <= count / n <= high:
        return 1.0
    nearest = low if count / n < low else high
    return float(nulls.binomial(count, n, nearest))


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say what becomes of the mean."""
    average, observed = finding["average"], float(finding.observed or 0)
    if finding.broken:
        return f"kept values average {average:.6g}"
    if failed:
        off = observed / float(finding.expected or 1) - 1
        verb = "loses" if off < 0 else "adds"
        return f"scale {average:.5g} with this rate {verb} {words.percent(abs(off))[1:]} of the mean"
    if abs(finding["rounding"]) > 1e-6:
        return f"preserved but for the rounding of the scale ({words.percent(finding['rounding'])})"
    return f"preserved ({words.percent(observed / float(finding.expected or 1) - 1)}, within chance)"


CHECK = Check(
    "mean",
    measure,
    explain,
    widened=True,
    values=True,
    about="whether dropout preserves the mean: outputs have the mean of the inputs",
    quantity="mean of the outputs, divided by that of the inputs",
)
