"""Test `inputs`: whether a neuron is dropped does not depend on the value of its input."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small

if TYPE_CHECKING:
    from dropstats.recording import InputBins

Bits = NDArray[np.bool_]


class Split(NamedTuple):
    """Some inputs against all others: what both are called, and which bins hold them."""

    of: str
    others: str
    bins: Bits


def measure(case: Case) -> Finding:
    """Null: the dropped neurons are a random sample of all neurons, whatever their inputs. Exact.

    Given the total number of dropped neurons, the number of them with negative inputs is hypergeometric, whatever the
    rate (Fisher). The same holds for small inputs (seven limits of the magnitude) and for each of 16 bins of the input.
    Two-sided, with Bonferroni's correction. Catches masks that are made from the values, as by `x > 0`, thresholds of
    the magnitude, and zeros of a clipped or rounded input. Needs inputs that are not all equal, and a single rate.
    """
    bins = case.seen.recording.input_bins
    if bins is None:
        return not_applicable("the inputs are not known, or all alike")
    if case.law.rate is None or not case.law.independent:
        return not_applicable("not defined where neurons differ in rate or depend on each other")
    known, dropped = int(bins.known.sum()), int(bins.dropped.sum())
    splits = list(_splits(bins))
    if not splits or not 0 < dropped < known:
        return not_applicable("the inputs are not known, or nothing differs between them")
    found = [(_pvalue(bins, split, case.design_effect), place) for place, split in enumerate(splits)]
    smallest, place = min(found)
    split = splits[place]
    rates = [int(bins.dropped[which].sum()) / int(bins.known[which].sum()) for which in (split.bins, ~split.bins)]
    least = _seen(dropped / known, int(known / case.design_effect), case.level / len(splits))
    fields: dict[str, Any] = {
        "pvalue": min(1.0, len(splits) * smallest),
        "observed": rates[0] - rates[1],
        "expected": 0.0,
        "detectable": least,
        "numbers": {"split": split, "rates": rates, "bins": bins},
    }
    return Finding(**fields) if least is not None else too_small("neurons", **fields)


def _seen(rate: float, known: int, level: float) -> float | None:
    """Return the smallest difference between the rates of two halves of the inputs that is seen with power 0.9.

    It has the variance of the rate of a quarter of the neurons, but no skewness: the mean of its shifts up and down.
    """
    shifts = [nulls.detectable_rate(rate, known // 4, level, (sign,)) for sign in (1, -1)]
    seen = [shift for shift in shifts if shift is not None]
    return sum(seen) / len(seen) if seen else None


def _splits(bins: "InputBins") -> Iterator[Split]:
    """Yield inputs to be held against all others, the simplest ones first, of which both parts were seen."""
    lower = np.concatenate([[-np.inf], bins.edges])
    upper = np.concatenate([bins.edges, [np.inf]])
    splits = [Split("negative inputs", "positive ones", upper <= 0)]
    for limit in bins.edges[bins.edges > 0].tolist():
        inside = (lower >= -limit) & (upper <= limit)
        splits.append(Split(f"inputs below {limit:.3g} in magnitude", "larger ones", inside))
    for place, (low, high) in enumerate(zip(lower.tolist(), upper.tolist(), strict=True)):
        name = f"inputs from {low:.3g} to {high:.3g}"
        name = f"inputs below {high:.3g}" if low == -np.inf else f"inputs from {low:.3g} on" if high == np.inf else name
        splits.append(Split(name, "all others", np.arange(bins.known.size) == place))
    for split in splits:
        if bins.known[split.bins].any() and bins.known[~split.bins].any():
            yield split


def _pvalue(bins: "InputBins", split: Split, effect: float) -> float:
    """Return the exact p-value of the number dropped of these inputs; with `effect`, of so many times fewer neurons."""
    numbers = (bins.known, bins.dropped, bins.known[split.bins], bins.dropped[split.bins])
    size, dropped, part, both = (round(int(one.sum()) / effect) for one in numbers)
    return float(nulls.two_sided(*nulls.shared_tails(size, min(dropped, size), min(part, size), min(both, part))))


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say of which inputs more, or fewer, are dropped."""
    split, bins = finding["split"], finding["bins"]
    if not failed:
        if finding.detectable is None:
            return "too few neurons with different inputs"
        return f"detects inputs whose rate differs by {finding.detectable:.2g} (power 0.9)"
    neurons = [int(bins.known[which].sum()) for which in (split.bins, ~split.bins)]
    rates = [words.shown_rate(rate, count) for rate, count in zip(finding["rates"], neurons, strict=True)]
    return f"drops {rates[0]} of {split.of}, {rates[1]} of {split.others}: the mask depends on the input"


CHECK = Check(
    "inputs",
    measure,
    explain,
    widened=True,
    about="whether a neuron is dropped independently of the value of its input",
    quantity="drop rate of the most unusual inputs minus that of the others",
)
