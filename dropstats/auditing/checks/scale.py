"""Test `scale`: kept values are scaled as declared."""

import math
from collections.abc import Mapping

import numpy as np

from dropstats import formats
from dropstats.auditing import causes, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable
from dropstats.formats import DTYPES, rounded

# Formats that are tried where nobody recorded one.
# More distinct kept values than this are no mistake of a scale: the inputs were not ones.
_MANY = 16
_NO_VALUES = "the masks carry no values"
_ONES = (
    "floats that are all 0 or 1 are read as masks; if they are outputs on ones, Recording.from_outputs tests the scale"
)
_USUAL = ("float64", "float32", "float16", "bfloat16")


def measure(case: Case) -> Finding:
    """Null: all kept ones become the same value, 1 / (1 - p) rounded to a floating-point format. Exact.

    With scaling="direct" they stay 1. If rates differ, each neuron is scaled by its own rate. Under a law with a
    rounded p, the scale may be that of the declared or of the rounded p; under DropBlock, values may also be divided by
    the fraction kept in their own mask. A single violation is a failure, so there is no p-value. Catches a missing,
    doubled or inverted scale, a scale for another p, and several scales. Needs one kept value.
    """
    values, p, recording = kept_values(case), case.law.nominal_rate, case.seen.recording
    if values is None:
        return not_applicable(_NO_VALUES if recording.dtype is None else _ONES)
    if case.scaling == "inverted" and case.law.count_normalised and by_counts(case, values):
        return Finding(None, case.n * case.trials / max(sum(values.values()), 1), None, numbers={"rule": "counts"})
    if p is None and case.scaling == "inverted":
        return _by_rate(case)
    if p == 1:
        return not_applicable("nothing is kept at p = 1")
    common = max(values, key=lambda value: values[value])
    expected = 1.0 if case.scaling == "direct" or p is None else 1 / (1 - p)
    if case.seen.rate == 0 and common == 1 and len(values) == 1 and case.law.rate != 0:
        return not_applicable("nothing is dropped, so nothing is scaled")
    tolerance = recording.scale_tolerance
    rates = {p or 0.0, case.law.rate or 0.0}
    matched = [d for d in dtypes(case) if expected == 1 or any(matches(common, r, d, tolerance) for r in rates)]
    right = abs(common - 1) <= 2 * tolerance if expected == 1 else bool(matched)
    distinct = max(len(values) + recording.other_scales, recording.distinct_scales)
    several = distinct > 1 and any(abs(v / common - 1) > 2 * tolerance for v in values)
    broken = several or bool(recording.unscaled) or not right
    numbers = {"distinct": distinct if several else 1, "dtype": matched[0] if matched else ""}
    return Finding(None, common, expected, broken=broken, numbers=numbers)


def by_counts(case: Case, values: Mapping[float, int]) -> bool:
    """Return whether kept values are n / (number kept in their own mask), as DropBlock normalises.

    torchvision adds 1e-6 to the number kept.
    """
    drops, masks = np.unique(case.seen.mask_drops, return_counts=True)
    kept = {int(case.n - y): int(case.n - y) * int(count) for y, count in zip(drops, masks, strict=True) if y < case.n}
    resolution = max(2 * formats.resolution(dtype) for dtype in dtypes(case)) + 1e-6
    for value, count in values.items():
        number = min(kept, key=lambda k: abs(case.n / k - value)) if kept else 0
        if not number or abs(case.n / number - value) > resolution * value + case.seen.recording.scale_tolerance:
            return False
        kept[number] -= count
    return not any(kept.values()) or case.seen.recording.known is not None


def _by_rate(case: Case) -> Finding:
    """Judge each neuron's value by its own rate."""
    recording, rates = case.seen.recording, case.law.rates
    values = kept_values(case) or {}
    if not case.law.independent:
        return not_applicable("no one scale belongs to this law")
    if len(values) == 1:
        found = np.where(case.seen.neuron_drops < case.seen.neuron_trials, next(iter(values)), 0.0)
    elif recording.neuron_scales is None:
        return not_applicable("the values of a neuron are not known")
    else:
        found = recording.neuron_scales
    with np.errstate(divide="ignore"):
        expected = 1 / (1 - rates)
    resolution = max(formats.resolution(dtype) for dtype in dtypes(case)) + recording.scale_tolerance
    wrong = np.flatnonzero(~(np.abs(found - expected) <= resolution * np.abs(expected)) & (found != 0))
    numbers = {"rule": "rates", "wrong": wrong, "found": found, "rates": np.unique(rates).size}
    first = int(wrong[0]) if wrong.size else 0
    return Finding(None, float(found[first]), float(expected[first]), broken=bool(wrong.size), numbers=numbers)


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
    rule = finding.numbers.get("rule")
    if rule == "counts":
        return "kept values are divided by the fraction kept in their own mask, as DropBlock normalises"
    if rule == "rates":
        return _of_rates(finding, case) if failed else f"1/(1 - p) of {words.counted(finding['rates'], 'rate')} each"
    if not failed:
        return "kept values stay 1" if finding.expected == 1 else f"1/(1 - p) in {finding['dtype']}"
    if finding["distinct"] > 1:
        values = kept_values(case) or {}
        times = [(f"{v:.6g}", words.counted(c, "time")) for v, c in sorted(values.items(), key=lambda i: -i[1])[:3]]
        many = ": pass inputs= if dropout was not applied to ones" if finding["distinct"] > _MANY else ""
        if by_counts(case, values):
            many = ": n over the number kept in their own mask, in place of 1/(1 - p)"
        shown = ", ".join(f"{value} ({count})" for value, count in times)
        return f"kept neurons take {finding['distinct']:,} different values: {shown}{many}"
    if case.seen.recording.unscaled:
        wrong = words.counted(case.seen.recording.unscaled, "kept value")
        return f"{wrong} are not the scale times their input{_whose(case.seen.recording.moved)}"
    return _wrong(float(finding.observed or 0), case)


def _whose(moved: tuple[tuple[int, ...], tuple[int, ...]] | None) -> str:
    """Say whose values kept neurons took, where these are other neurons'."""
    if moved is None:
        return ""
    shape, axes = moved
    last = len(shape) > 2 and axes in ((len(shape) - 1, *range(len(shape) - 1)), (*range(1, len(shape)), 0))
    batched = len(shape) > 3 and axes in ((0, len(shape) - 1, *range(1, len(shape) - 1)), (0, *range(2, len(shape)), 1))
    layout = ", channels first taken for channels last" if last or batched else ""
    return f" but times another neuron's: that of x.reshape{shape}.transpose{axes}{layout}"


def _of_rates(finding: Finding, case: Case) -> str:
    """Say which neurons are not scaled by their own rate, and by what they are."""
    wrong, found, rates = finding["wrong"], finding["found"], case.law.rates
    first = int(wrong[0])
    ratios = np.unique((found[wrong] * (1 - rates[wrong])).round(4))
    by = f": all by {ratios[0]:.4g} times too much" if ratios.size == 1 else ""
    which = words.counted(wrong.size, case.unit.one)
    took = f"{case.unit.one} {first} of p = {rates[first]:.6g} takes {found[first]:.6g}, where 1/(1 - p) = "
    verb = "is" if wrong.size == 1 else "are"
    return f"{which} of {case.n:,} {verb} scaled wrongly: {took}{1 / (1 - rates[first]):.6g}{by}"


def _wrong(value: float, case: Case) -> str:
    """Say what a wrong scale looks like."""
    p = case.law.nominal_rate or 0.0
    right = 1 / (1 - p)
    if case.scaling == "direct":
        inverted = "; it is 1/(1 - p): inverted scaling" if causes.near(value, right) else ""
        return f"scale {value:.6g} where kept values should stay 1{inverted}"
    dtype = case.seen.recording.dtype or ""
    narrow = _narrow(value, p, dtype) if dtype in _USUAL and p < 1 else ""
    if narrow:
        return f"scale {value:.17g} is {narrow}, in outputs of {dtype}"
    if f"{value:.6g}" == f"{right:.6g}":
        return f"scale {value:.17g} where 1/(1 - p) = {right:.17g}"
    text = f"scale {value:.6g} where 1/(1 - p) = {right:.6g}"
    cause = causes.of_scale(value, p, case.seen.rate) or causes.of_words(value, p, dtype)
    return f"{text}: {cause}" if cause else f"{text} ({words.percent(value / right - 1)})"


def _narrow(value: float, p: float, dtype: str) -> str:
    """Return what was held in a dtype other than the outputs', where that gives just this scale."""
    for other in _USUAL[1:]:
        keep, left = rounded(1 - p, other), 1 - rounded(p, other)
        for scale, what in (
            (rounded(1 / (1 - p), other), f"1/(1 - p) rounded to {other}"),
            (rounded(1 / keep, dtype) if keep else 0.0, f"1/(1 - p), of 1 - p rounded to {other}"),
            (rounded(1 / left, dtype) if left else 0.0, f"1/(1 - p), of p rounded to {other}"),
        ):
            if other != dtype and value == scale:
                return what
    return ""


CHECK = Check(
    "scale",
    measure,
    explain,
    values=True,
    about="whether kept neurons are scaled by 1 / (1 - p)",
    quantity="value of a kept neuron",
)
