"""Tests of the values: the scale of kept neurons, the mean, and what must hold without exception."""

import math
from collections.abc import Mapping

import numpy as np

from dropstats.auditing import nulls, wording
from dropstats.auditing.evidence import Evidence, uniform_rate
from dropstats.auditing.report import Result
from dropstats.laws import Law

_DTYPES = ("float64", "float32", "float16", "bfloat16")
# Bits of the significand, the leading one included.
_DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}


def rounded(value: float, dtype: str) -> float:
    """Return a number as a dtype holds it: float64, float32, float16, or bfloat16 (to nearest, ties to even).

    Examples
    --------
    >>> rounded(1 / 0.9, "bfloat16"), rounded(1 / 0.7, "bfloat16")
    (1.109375, 1.4296875)
    """
    if dtype == "bfloat16":
        # the upper half of a float32; rounded from the double itself, as twice rounding can go wrong
        if not math.isfinite(value) or value == 0:
            return value
        exponent = max(math.frexp(value)[1] - _DIGITS[dtype], -133)
        return math.ldexp(round(math.ldexp(value, -exponent)), exponent)
    with np.errstate(over="ignore"):
        return float(np.dtype(dtype).type(value))


def accepted_scales(p: float, dtype: str) -> set[float]:
    """Return what 1 / (1 - p) can be in a dtype, p and 1 - p themselves held in it or not."""
    found = set()
    for drop in (p, rounded(p, dtype)):
        for keep in (1 - drop, rounded(1 - drop, dtype)):
            if keep > 0:
                found.add(rounded(1 / keep, dtype))
    # kept ones that pass through float32 on their way are rounded twice
    if dtype in ("float16", "bfloat16") and p < 1:
        found.add(rounded(rounded(1 / (1 - p), "float32"), dtype))
    return found


def _kept_values(seen: Evidence) -> Mapping[float, int] | None:
    values = seen.recording.scales
    return values if values else None


def _dtypes(seen: Evidence) -> tuple[str, ...]:
    """Return the dtypes the values may have been rounded to, the recorded one or any."""
    dtype = seen.recording.dtype
    if dtype in _DTYPES:
        return (dtype,)
    # a 1 that may be unscaled is not put down to a coarse dtype that nobody recorded
    return _DTYPES[:2] if _kept_values(seen) and 1.0 in (_kept_values(seen) or {}) else _DTYPES


def scale(seen: Evidence, law: Law) -> Result:
    """Null: kept ones all become one value, 1 / (1 - p) as a floating-point format rounds it. Exact.

    With scaling="direct" they stay 1. A failure is certain: there is no p-value. Catches a missing, doubled or inverted
    scale, one of another p, several values. Needs one kept value.
    """
    values = _kept_values(seen)
    p = uniform_rate(law)
    if values is None:
        return Result("scale", "not applicable", message="the masks carry no values")
    if p is None or p == 1:
        return Result("scale", "not applicable", message="no one scale belongs to this law")
    common = max(values, key=lambda value: values[value])
    expected = 1.0 if seen.scaling == "direct" else 1 / (1 - p)
    tolerance = seen.recording.scale_tolerance
    matched = [d for d in _dtypes(seen) if expected == 1 or _matches(common, p, d, tolerance)]
    right = abs(common - 1) <= 2 * tolerance if expected == 1 else bool(matched)
    result = ("scale", "pass" if right else "fail", None, None, common, expected, None)
    if len(values) + seen.recording.other_scales > 1 and any(abs(v / common - 1) > 2 * tolerance for v in values):
        shown = ", ".join(f"{v:.6g} ({c:,} times)" for v, c in sorted(values.items(), key=lambda i: -i[1])[:3])
        more = len(values) + seen.recording.other_scales
        message = f"kept values are not one value but {more:,}: {shown}"
        return Result("scale", "fail", None, None, common, expected, None, message)
    if seen.recording.unscaled:
        message = f"{seen.recording.unscaled:,} kept values are not the scale times their input"
        return Result("scale", "fail", None, None, common, expected, None, message)
    if not right:
        return Result(*result, _wrong_scale(common, p, seen))  # type: ignore[arg-type]
    dtype = matched[0] if matched else ""
    message = "kept values stay 1" if expected == 1 else f"1/(1 - p) in {dtype}"
    return Result(*result, message)  # type: ignore[arg-type]


def _matches(value: float, p: float, dtype: str, tolerance: float) -> bool:
    rights = accepted_scales(p, dtype)
    if tolerance:  # found from products, or quotients, each rounded: the factor itself need not be
        rights |= {1 / (1 - p), 1 / (rounded(1 - p, dtype) or math.inf)}
    return any(abs(value - right) <= tolerance * right for right in rights)


def _wrong_scale(value: float, p: float, seen: Evidence) -> str:
    """Say what a wrong scale looks like."""
    q = 1 - p
    if seen.scaling == "direct":
        right = "; it is 1/(1 - p): inverted scaling" if _near(value, 1 / q) else ""
        return f"scale {value:.6g} where kept values should stay 1{right}"
    text = f"scale {value:.6g} where 1/(1 - p) = {1 / q:.6g}"
    causes = [
        (1.0, "kept values are not scaled (as direct scaling has it)"),
        (1 / p if p else math.inf, "1/p: keep probability given as p"),
        (1 / q**2, "scaled twice"),
        (q, "multiplied by 1 - p instead of divided"),
        (1 + p, "1 + p in place of 1/(1 - p)"),
        (p, "the scale is p"),
        (1 / (1 - seen.rate) if seen.rate < 1 else math.inf, "1/(1 - r) of the rate r observed"),
    ]
    for candidate, cause in causes:
        if _near(value, candidate):
            return f"{text}: {cause}"
    return f"{text} ({wording.percent(value * q - 1)})"


def _near(value: float, other: float) -> bool:
    # half a unit in the last place of bfloat16
    return math.isfinite(other) and abs(value - other) <= 2**-8 * abs(other)


def mean(seen: Evidence, law: Law, inflation: float = 1.0) -> Result:
    """Null: the mean is preserved, (1 - rate) * scale = 1, but for the rounding of the scale. Exact binomial.

    A scale s preserves the mean at the rate 1 - 1/s. Where s is 1/(1 - p) as its dtype rounds it, the null is that the
    rate lies between that and p, so that what rounding explains does not fail; otherwise it is the rate 1 - 1/s itself,
    within half a unit in the last place of s. Catches a scale that does not fit the rate. Needs values.
    """
    values, p = _kept_values(seen), uniform_rate(law)
    if seen.scaling == "direct":
        return Result("mean", "not applicable", message="direct scaling changes the mean on purpose")
    if values is None:
        return Result("mean", "not applicable", message="the masks carry no values")
    if p is None or p == 1 or seen.rate == 1:
        return Result("mean", "not applicable", message="no mean to preserve at this rate")
    kept = sum(values.values())
    average = math.fsum(v * c for v, c in values.items()) / kept
    observed = (1 - seen.rate) * average
    if not average > 0:
        return Result("mean", "fail", None, None, observed, 1.0, None, f"kept values average {average:.6g}")
    low, high, explained = _mean_rates(seen, average, p)
    if seen.tolerance:
        low, high = low - seen.tolerance, high + seen.tolerance
    judged = int(seen.judged / inflation)
    pvalue = _interval_pvalue(round(seen.rate * judged), judged, max(low, 0.0), min(high, 1.0))
    if pvalue <= seen.level:
        verb = "loses" if observed < 1 else "adds"
        message = f"scale {average:.5g} with this rate {verb} {wording.percent(abs(observed - 1))[1:]} of the mean"
    elif explained and abs((1 - p) * average - 1) > 1e-6:
        message = f"preserved but for the rounding of the scale ({wording.percent((1 - p) * average - 1)})"
    else:
        message = f"preserved ({wording.percent(observed - 1)}, within chance)"
    return Result("mean", "pass", pvalue, None, observed, 1.0, None, message)


def _mean_rates(seen: Evidence, average: float, p: float) -> tuple[float, float, bool]:
    """Return between which rates the mean counts as preserved, and whether rounding explains the scale."""
    tolerance = seen.recording.scale_tolerance
    preserving = 1 - 1 / average
    matched = [d for d in _dtypes(seen) if _matches(average, p, d, tolerance)]
    if matched:
        low, high = min(p, preserving), max(p, preserving)
        slack = tolerance / average
        return low - slack, high + slack, True
    dtype = seen.recording.dtype if seen.recording.dtype in _DIGITS else "float32"
    assert dtype is not None
    half = max(2.0 ** -_DIGITS[dtype], tolerance) / average
    return preserving - half, preserving + half, False


def _interval_pvalue(count: int, n: int, low: float, high: float) -> float:
    """Return the largest two-sided p-value of a count over the rates from low to high."""
    if low <= count / n <= high:
        return 1.0
    nearest = low if count / n < low else high
    return float(nulls.binomial(count, n, nearest))


def edges(seen: Evidence, law: Law) -> Result:
    """Null: p = 0 drops nothing, p = 1 keeps nothing, and dropped places are exactly 0, never NaN. Exact.

    A failure is certain: there is no p-value. Catches `<=` for `<` at the ends, masks applied by multiplying
    infinities, leaks. Needs one neuron of rate 0 or 1, or values.
    """
    rates, counts, trials = law.rates, seen.neuron_drops, seen.neuron_trials
    recording = seen.recording
    zero, one = rates == 0, rates == 1
    found = []
    dropped, kept = int(counts[zero].sum()), int((trials[one] - counts[one]).sum())
    if dropped:
        found.append(f"{dropped:,} neurons of p = 0 are dropped")
    if kept:
        found.append(f"{kept:,} neurons of p = 1 are kept")
    for count, what in (
        (recording.nans, "outputs are NaN"),
        (recording.infs, "outputs are infinite"),
        (recording.nonzero, "outputs are not 0 where the input is 0"),
    ):
        if count:
            found.append(f"{count:,} {what}")
    p = uniform_rate(law)
    if p and not recording.nan_inputs_dropped:
        chance = recording.nan_inputs * math.log1p(-min(p, 1 - 1e-16))
        if chance < math.log(seen.level):
            found.append(f"none of {recording.nan_inputs:,} NaN inputs became 0: dropped by multiplying")
    observed = float(dropped + kept + recording.nans + recording.infs + recording.nonzero)
    if found:
        return Result("edges", "fail", None, None, observed, 0.0, None, "; ".join(found))
    if not zero.any() and not one.any() and _kept_values(seen) is None:
        return Result("edges", "not applicable", message="no neuron of p = 0 or 1, and no values")
    held = ["p = 0 drops nothing"] * bool(zero.any()) + ["p = 1 keeps nothing"] * bool(one.any())
    what = " and ".join(held) or "no NaN, no infinity"
    return Result("edges", "pass", None, None, observed, 0.0, None, what)
