"""Test `identical`: streams that should be copies of each other do not differ."""

import numpy as np

from dropstats.auditing import words
from dropstats.auditing.checks.agreement import equal_calls
from dropstats.auditing.finding import Check, Finding, too_small
from dropstats.auditing.streams import Agreement, Streams, agreement_pvalue, compare_masks, equal_pairs


def measure(seen: Streams) -> Finding:
    """Null: all streams have the same masks. Not a bit may differ, nor a call be missing: there is no p-value.

    Of forward and recomputed, eager and compiled, tensor-parallel masks. Needs one neuron known in two streams.
    """
    found = [compare_masks((0, k), seen.given[0], seen.given[k]) for k in range(1, len(seen.names))]
    worst = min(found, key=lambda one: one.rate)
    missing = len(set(seen.calls)) > 1
    if not worst.size:
        return too_small("unknown")
    numbers = {"worst": worst, "found": found, "missing": missing}
    return Finding(None, worst.rate, 1.0, broken=missing or worst.agree < worst.size, numbers=numbers)


def explain(finding: Finding, seen: Streams, failed: bool) -> str:
    """Say how streams that should be identical differ."""
    if finding.state == "too small":
        return "no neuron is known in two streams"
    if not failed:
        return f"all {len(seen.names)} streams have the same {words.counted(seen.trials, 'mask')}"
    worst, found = finding["worst"], finding["found"]
    if finding["missing"]:
        least, most = (pick(range(len(seen.names)), key=seen.calls.__getitem__) for pick in (min, max))
        made = f"{seen.names[most]} made {words.counted(seen.calls[most], 'call')}, {seen.names[least]} only"
        text = f"{made} {seen.calls[least]:,}: {words.counted(seen.calls[most] - seen.calls[least], 'call')} missing"
        same = worst.agree == worst.size
        return f"{text}; the others are the same" if same else f"{text}; {_differ(worst, found, seen)}"
    return _differ(worst, found, seen)


def _differ(worst: Agreement, found: list[Agreement], seen: Streams) -> str:
    a, b = (seen.names[index] for index in worst.pair)
    others = sum(one.agree < one.size for one in found)
    more = f" ({others:,} of {len(found):,} streams differ from {a})" if len(found) > 1 else ""
    if worst.agree == 0:
        return f"{b} keeps exactly what {a} drops{more}"
    first, second = equal_pairs(seen.mask_hashes[list(worst.pair)])
    lags, counts = np.unique(second % seen.trials - first % seen.trials, return_counts=True)
    if lags.size and not seen.unknown and counts.max() > 1:
        lag = int(lags[np.argmax(counts)])
        if lag and counts.max() >= (seen.trials - abs(lag)) // 2:
            later, earlier = (b, a) if lag > 0 else (a, b)
            return f"{later} has {earlier}'s masks {words.counted(abs(lag), 'call')} later{more}"
    same = equal_calls(seen, worst.pair)
    start = int(np.argmax(np.append(same, -1) != np.arange(same.size + 1)))
    if start:
        return f"{a} and {b} are the same up to call {start - 1:,} and differ from call {start:,} on{more}"
    pvalue = agreement_pvalue(worst)
    how = "as independent masks do" if pvalue > 1e-3 else f"{worst.size - worst.agree:,} differ"
    return f"{a} and {b} agree in {100 * worst.rate:.5g}% of neurons, {how}{more}"


CHECK = Check(
    "identical",
    measure,
    explain,
    decides=True,
    about="whether streams that should be equal differ anywhere",
    quantity="share of neurons on which the least equal pair agrees",
)
