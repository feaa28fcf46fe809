"""Test `scale`: kept values become what the declared scaling makes of them."""

import math
from collections.abc import Mapping

from dropstats.auditing import causes, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable
from dropstats.formats import DTYPES, rounded

# Formats that are tried where nobody recorded one.
_USUAL = ("float64", "float32", "float16", "bfloat16")


def measure(case: Case) -> Finding:
    """Null: kept ones all become one value, 1 / (1 - p) as a floating-point format rounds it. Exact.

    With scaling="direct" they stay 1. A failure is certain: there is no p-value. Catches a missing, doubled or inverted
    scale, one of another p, several values. Needs one kept value.
    """
    values, p, recording = kept_values(case), case.law.rate, case.seen.recording
    if values is None:
        return not_applicable("the masks carry no values")
    if p is None or p == 1:
        return not_applicable("no one scale belongs to this law")
    common = max(values, key=lambda value: values[value])
    expected = 1.0 if case.scaling == "direct" else 1 / (1 - p)
    tolerance = recording.scale_tolerance
    matched = [d for d in dtypes(case) if expected == 1 or matches(common, p, d, tolerance)]
    right = abs(common - 1) <= 2 * tolerance if expected == 1 else bool(matched)
    distinct = len(values) + recording.other_scales
    several = distinct > 1 and any(abs(v / common - 1) > 2 * tolerance for v in values)
    broken = several or bool(recording.unscaled) or not right
    numbers = {"distinct": distinct if several else 1, "dtype": matched[0] if matched else ""}
    return Finding(None, common, expected, broken=broken, numbers=numbers)


def kept_values(case: Case) -> Mapping[float, int] | None:
    """Return the values that kept neurons became and how often, None where masks carried none."""
    values: Mapping[float, int] | None = case.seen.recording.scales
    return values if values else None


def dtypes(case: Case) -> tuple[str, ...]:
    """Return the dtypes the values may have been rounded to, the recorded one or any."""
    dtype = case.seen.recording.dtype
    if dtype in DTYPES:
        return (dtype,)
    # a 1 that may be unscaled is not put down to a coarse dtype that nobody recorded
    return _USUAL[:2] if 1.0 in (kept_values(case) or {}) else _USUAL


def accepted(p: float, dtype: str) -> set[float]:
    """Return what 1 / (1 - p) can be in a dtype, p and 1 - p themselves held in it or not."""
    found = set()
    for drop in (p, rounded(p, dtype)):
        for keep in (1 - drop, rounded(1 - drop, dtype)):
            if keep > 0:
                found.add(rounded(1 / keep, dtype))
    # kept ones that pass through a wider format on their way are rounded twice
    if p < 1 and dtype not in ("float64", "float32"):
        wider = ("float32", "float16", "bfloat16") if dtype.startswith("float8") else ("float32",)
        found |= {rounded(rounded(1 / (1 - p), other), dtype) for other in wider}
    return {value for value in found if math.isfinite(value)}


def matches(value: float, p: float, dtype: str, tolerance: float) -> bool:
    """Return whether a scale is 1 / (1 - p) as a dtype rounds it, to a relative tolerance."""
    rights = accepted(p, dtype)
    if tolerance:  # found from products, or quotients, each rounded: the factor itself need not be
        rights |= {1 / (1 - p), 1 / (rounded(1 - p, dtype) or math.inf)}
    return any(abs(value - right) <= tolerance * right for right in rights)


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say what kept values became."""
    if finding.state == "not applicable":
        return str(finding["why"])
    if not failed:
        return "kept values stay 1" if finding.expected == 1 else f"1/(1 - p) in {finding['dtype']}"
    if finding["distinct"] > 1:
        values = kept_values(case) or {}
        shown = ", ".join(f"{v:.6g} ({c:,} times)" for v, c in sorted(values.items(), key=lambda i: -i[1])[:3])
        return f"kept values are not one value but {finding['distinct']:,}: {shown}"
    if case.seen.recording.unscaled:
        return f"{words.counted(case.seen.recording.unscaled, 'kept value')} are not the scale times their input"
    return _wrong(float(finding.observed or 0), case)


def _wrong(value: float, case: Case) -> str:
    """Say what a wrong scale looks like."""
    p = case.law.rate or 0.0
    right = 1 / (1 - p)
    if case.scaling == "direct":
        inverted = "; it is 1/(1 - p): inverted scaling" if causes.near(value, right) else ""
        return f"scale {value:.6g} where kept values should stay 1{inverted}"
    dtype = case.seen.recording.dtype or ""
    narrow = next((d for d in _USUAL[1:] if d != dtype and value == rounded(right, d)), "")
    if narrow and dtype in _USUAL:
        return f"scale {value:.17g} is 1/(1 - p) rounded to {narrow}, in outputs of {dtype}"
    text = f"scale {value:.6g} where 1/(1 - p) = {right:.6g}"
    cause = causes.of_scale(value, p, case.seen.rate)
    return f"{text}: {cause}" if cause else f"{text} ({words.percent(value / right - 1)})"


CHECK = Check("scale", measure, explain, values=True)
