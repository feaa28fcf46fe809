"""Test `identical`: streams that should be copies of each other do not differ."""

import math

import numpy as np

from dropstats.auditing import words
from dropstats.auditing.checks.agreement import equal_calls
from dropstats.auditing.finding import Check, Finding, too_small
from dropstats.auditing.streams import Agreement, Streams, agreement_pvalue, compare_masks, equal_pairs

# Equal counts of all calls are no chance where independent masks have them more rarely than this.
_CHANCE = 1e-3


def measure(seen: Streams) -> Finding:
    """Null: all streams have the same masks. A differing bit or a missing call is a failure: there is no p-value.

    Use it for forward and recomputed passes, eager and compiled code, and tensor-parallel ranks. Needs one neuron that
    is known in two streams.
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
    if not seen.unknown and (moved := _rearranged(seen, worst)):
        return f"{moved}{more}"
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
    how = "as often as independent masks" if pvalue > 1e-3 else f"{worst.size - worst.agree:,} differ"
    return f"{a} and {b} agree in {100 * worst.rate:.5g}% of neurons, {how}{more}"


def _rearranged(seen: Streams, worst: Agreement) -> str:
    """Say that one stream has the other's masks in another order of the calls, or of the neurons; empty if not."""
    (a, first), (b, second) = ((seen.names[index], seen.given[index]) for index in worst.pair)
    hashes = seen.mask_hashes[list(worst.pair)]
    if seen.trials > 1 and np.array_equal(*np.sort(hashes, axis=1)):
        at = int(np.argmax(hashes[0] != hashes[1]))
        whose = int(np.flatnonzero(hashes[1] == hashes[0][at])[0])
        return f"{b} has {a}'s {seen.trials:,} masks in another order: its call {whose:,} is call {at:,} of {a}"
    if not np.array_equal(first.mask_drops(), second.mask_drops()):
        return ""
    n, call = first.n, int(np.argmax(np.minimum(first.mask_drops(), first.n - first.mask_drops())))
    one, other = (part.masks(call, call + 1)[0] for part in (first, second))
    for rows in (k for k in range(2, n) if n % k == 0):
        if np.array_equal(one.reshape(rows, -1).T.reshape(-1), other) and (one != other).any():
            return f"masks of {b} are those of {a}, as ({rows:,}, {n // rows:,}), transposed"
    # two independent counts of variance v are equal with probability 1 / sqrt(4 pi v)
    dropped = float(first.mask_drops().mean()) / n
    if (4 * math.pi * n * dropped * (1 - dropped)) ** (-seen.trials / 2) > _CHANCE:
        return ""
    return f"each mask of {b} is that of {a} with its neurons in another order"


CHECK = Check(
    "identical",
    measure,
    explain,
    decides=True,
    about="whether streams that should be equal differ anywhere",
    quantity="fraction of neurons on which the least similar pair agrees",
)
