"""Test `agreement`: two streams agree as often as expected by chance."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import covariation, nulls, words
from dropstats.auditing.finding import Check, Finding, not_applicable, too_small
from dropstats.auditing.streams import (
    Agreement,
    Pair,
    Streams,
    agreement_pvalue,
    all_pairs,
    compare,
    design_effect,
    expected_agreement,
)


def measure(seen: Streams) -> Finding:
    """Null: the masks of two streams at the same call are independent. Exact, two-sided.

    Given how many neurons each stream drops, the number that both drop is hypergeometric, whatever the rates (Fisher).
    This is tested for every pair of streams and, if rates differ, for the neurons of each of the eight most frequent
    rates, with Bonferroni's correction. If masks within a stream depend on each other, the effective sample size is
    used. A second exact test checks that the counts of dropped neurons of two streams are uncorrelated over the calls
    (Bonferroni). Catches the same mask on every rank, shared calls, weak dependence, masks that are a permutation of
    another rank's, and rates that vary in the same way in all streams. Needs 64 neurons.
    """
    seen = replace(seen, level=seen.level / 2)
    found = of_pairs(seen, *all_pairs(len(seen.names)))
    counts = covariation.worst(seen)
    if found.pvalue is None or counts is None:
        return found
    both = min(1.0, 2 * min(found.pvalue, counts.pvalue))
    if found.pvalue <= seen.level or counts.pvalue > seen.level:
        return replace(found, pvalue=both)
    alike = compare(seen, counts.pair)
    named = {"off": [alike]} if alike.agree == alike.size else {"counts": counts}
    return replace(found, pvalue=both, numbers={**found.numbers, **named})


def of_pairs(seen: Streams, pairs: list[Pair], total: int) -> Finding:
    """Return the worst agreement among pairs, by Bonferroni, and the agreements that are significant."""
    tried = len(pairs) * len(seen.strata)
    level = seen.level / max(tried, 1)
    found = [_judged(stratum, pair, level) for stratum in seen.strata for pair in pairs]
    expected = expected_agreement(seen, pairs[0])
    if not found or expected in (0.0, 1.0):
        return not_applicable("all masks are alike at these rates")
    # of equally small p-values the one farthest off
    pvalue, worst = min(found, key=lambda one: (one[0], -abs(one[1].correlation)))
    off = sorted({one.pair for value, one in found if value <= level} or {worst.pair})
    shown = compare(seen, worst.pair)
    expected = expected_agreement(seen, worst.pair)
    expected = shown.expected_given if expected is None else expected
    numbers = {"off": [compare(seen, pair) for pair in off], "pairs": len(pairs), "total": total, "size": shown.size}
    fields: dict[str, Any] = {"pvalue": min(1.0, pvalue * tried), "observed": shown.rate, "expected": expected}
    if worst.size * math.log(max(expected, 1 - expected)) > math.log(level / 2):
        return too_small("neurons", numbers=numbers, **fields)
    return Finding(detectable=_seen(worst, level), numbers=numbers, **fields)


def _seen(found: Agreement, level: float) -> float | None:
    """Return the smallest surplus in the share of neurons that agree that is seen with power 0.9."""
    rarer = [min(count, found.size - count) / found.size for count in (found.first, found.second)]
    mean, spread = found.size * math.prod(rarer), found.spread
    correlation = nulls.detectable_correlation(mean, found.size * spread**2, mean + found.size * spread, level)
    # a correlation r of drops makes 2 r sd sd' more neurons agree
    return 2 * spread * correlation if correlation <= 1 else None


def _judged(seen: Streams, pair: Pair, level: float) -> tuple[float, Agreement]:
    """Return the p-value of how two streams agree, by the effective sample size where masks depend on each other."""
    found = compare(seen, pair)
    pvalue = agreement_pvalue(found)
    if pvalue <= level and 0 < found.agree < found.size:
        pvalue = agreement_pvalue(found, design_effect(seen, pair))
    return pvalue, found


def explain(finding: Finding, seen: Streams, failed: bool) -> str:
    """Say which streams agree too much or too little, and how."""
    counts = finding.numbers.get("counts")
    if failed:
        return _departure(finding["off"], seen) if counts is None else covariation.said(counts, seen)
    if (unjudged := explain_unjudged(finding)) is not None:
        return unjudged
    which = "the two streams" if finding["total"] == 1 else f"{finding['pairs']:,} pairs of streams"
    text = f"{which} agree as often as expected by chance"
    if finding["total"] > finding["pairs"]:
        text += f" ({finding['total']:,} pairs in all)"
    return text + detects(finding)


def explain_unjudged(finding: Finding) -> str | None:
    """Say why agreement could not be judged; None where it could."""
    if finding.state == "too small":
        return f"{words.counted(finding['size'], 'neuron')}: too few, even complete agreement could be due to chance"
    return None


def detects(finding: Finding) -> str:
    """Say what share of agreement would have been seen."""
    shift = finding.detectable
    return "" if shift is None else f"; detects an agreement off by {shift:.2g} in either direction (power 0.9)"


def _departure(off: list[Agreement], seen: Streams) -> str:
    same = [one.pair for one in off if one.agree == one.size]
    if same:
        members = sorted({index for pair in same for index in pair})
        if len(members) == len(seen.names) and len(same) == len(members) * (len(members) - 1) // 2:
            return f"all {len(members)} streams have identical masks" if len(members) > 2 else _two(seen, same[0])
        return _two(seen, same[0]) + (f" ({len(same):,} such pairs)" if len(same) > 1 else "")
    worst = max(off, key=lambda one: abs(one.rate - (expected_agreement(seen, one.pair) or 0.5)))
    a, b = (seen.names[index] for index in worst.pair)
    if worst.agree == 0:
        return f"{a} keeps exactly what {b} drops"
    more = f" ({len(off):,} such pairs of streams)" if len(off) > 1 else ""
    calls = equal_calls(seen, worst.pair)
    if calls.size:
        few = f"call {calls[0]:,}" if calls.size == 1 else ""
        which = few or f"{calls.size:,} of {seen.trials:,} calls, first {calls[0]:,}"
        return f"{a} and {b} have identical masks in {which}{more}"
    neurons = _equal_neurons(seen, worst.pair)
    if neurons.size:
        run = neurons.size == neurons[-1] - neurons[0] + 1
        scattered = f"{neurons.size:,} neurons, first {neurons[0]:,},"
        which = f"neurons {neurons[0]:,} to {neurons[-1]:,}" if run else scattered
        return f"{a} and {b} agree in every call at {which}{more}"
    return f"{a} and {b} agree in {100 * worst.rate:.4g}% of neurons: a correlation of {worst.correlation:.3g}{more}"


def _two(seen: Streams, pair: Pair) -> str:
    return f"{seen.names[pair[0]]} and {seen.names[pair[1]]} have identical masks"


def equal_calls(seen: Streams, pair: Pair) -> NDArray[np.int64]:
    """Return the calls in which two streams have the same mask."""
    a, b = (seen.given[index] if seen.one_width else seen.recordings[index] for index in pair)
    return np.flatnonzero((a.packed == b.packed).all(axis=1))


def _equal_neurons(seen: Streams, pair: Pair) -> NDArray[np.int64]:
    """Return the neurons that agree in every call, where chance would not make them; none in few calls."""
    a, b = (seen.recordings[index].packed for index in pair)
    neurons = words.equal_places(a, b, seen.n)
    expected = expected_agreement(seen, pair) or 0.99
    none: NDArray[np.int64] = neurons[:0]
    return neurons if seen.n * expected**seen.trials < 0.01 else none


CHECK = Check(
    "agreement",
    measure,
    explain,
    decides=True,
    about="whether the masks of two streams agree, or their counts vary together, more than by chance",
    quantity="fraction of neurons on which the most unusual pair of streams agrees",
)
