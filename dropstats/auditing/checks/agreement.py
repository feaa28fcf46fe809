"""Test `agreement`: the masks of two streams agree as independent ones do."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls, words
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
    """Null: two streams' masks of one call are independent: Bin(N, p^2 + q^2) neurons agree. Exact, two-sided.

    For every pair of streams, Bonferroni; with a wrong rate given how many each stream drops (Fisher), and where masks
    depend on each other within a stream by the effective sample size. Catches the same mask on every rank, shared
    calls, weak dependence. Needs about 64 neurons.
    """
    pairs, total = all_pairs(len(seen.names))
    return of_pairs(seen, pairs, total)


def of_pairs(seen: Streams, pairs: list[Pair], total: int) -> Finding:
    """Return the worst agreement among pairs, by Bonferroni, and the agreements that are significant."""
    level = seen.level / len(pairs)
    found = [compare(seen, pair) for pair in pairs]
    pvalues = [agreement_pvalue(seen, one, level) for one in found]
    for k, one in enumerate(found):
        if pvalues[k] <= level and 0 < one.agree < one.size:
            pvalues[k] = agreement_pvalue(seen, one, level, design_effect(seen, one.pair))
    # of equally small p-values the one farthest off
    worst = min(
        range(len(found)),
        key=lambda k: (pvalues[k], -abs(found[k].rate - (expected_agreement(seen, pairs[k]) or 0))),
    )
    one, pvalue = found[worst], min(1.0, pvalues[worst] * len(pairs))
    expected = expected_agreement(seen, one.pair)
    if expected is None:
        expected = one.expected_given
    if expected in (0.0, 1.0):
        return not_applicable("all masks are alike at these rates")
    off = [agreement for agreement, value in zip(found, pvalues, strict=True) if value <= level] or [one]
    numbers = {"off": off, "pairs": len(pairs), "total": total, "size": one.size}
    fields: dict[str, Any] = {"pvalue": pvalue, "observed": one.rate, "expected": expected, "numbers": numbers}
    if one.size * math.log(max(expected, 1 - expected)) > math.log(level / 2):
        return too_small("neurons", **fields)
    return Finding(detectable=nulls.detectable_rate(expected, one.size, level), **fields)


def explain(finding: Finding, seen: Streams, failed: bool) -> str:
    """Say which streams agree too much or too little, and how."""
    if failed:
        return _departure(finding["off"], seen)
    if (unjudged := explain_unjudged(finding)) is not None:
        return unjudged
    which = "the two streams" if finding["total"] == 1 else f"{finding['pairs']:,} pairs of streams"
    text = f"{which} agree as independent ones do"
    if finding["total"] > finding["pairs"]:
        text += f" ({finding['total']:,} pairs in all)"
    return text + detects(finding)


def explain_unjudged(finding: Finding) -> str | None:
    """Say why agreement could not be judged; None where it could."""
    if finding.state == "not applicable":
        return str(finding["why"])
    if finding.state == "too small":
        neurons = words.counted(finding["size"], "neuron")
        return f"{neurons} {'is' if finding['size'] == 1 else 'are'} too few: even complete agreement could be chance"
    return None


def detects(finding: Finding) -> str:
    """Say what share of agreement would have been seen."""
    return "" if finding.detectable is None else f"; detects {finding.detectable:.2g} more or less (power 0.9)"


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
    a, b = (seen.recordings[index] for index in pair)
    return np.flatnonzero((a.packed == b.packed).all(axis=1))


def _equal_neurons(seen: Streams, pair: Pair) -> NDArray[np.int64]:
    """Return the neurons that agree in every call, where chance would not make them; none in few calls."""
    a, b = (seen.recordings[index].packed for index in pair)
    neurons = words.equal_places(a, b, seen.n)
    expected = expected_agreement(seen, pair) or 0.99
    none: NDArray[np.int64] = neurons[:0]
    return neurons if seen.n * expected**seen.trials < 0.01 else none


CHECK = Check("agreement", measure, explain, decides=True)
