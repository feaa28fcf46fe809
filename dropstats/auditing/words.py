"""Words that the findings of several tests share."""

import math
from typing import Any

import numpy as np

from dropstats.auditing.finding import Case
from dropstats.rendering.text import counted as counted


def shown_rate(rate: float, neurons: float) -> str:
    """Return a rate to as many decimals as its error leaves, four at least; 0 and 1 as they are."""
    if rate in (0.0, 1.0):
        return f"{rate:g}"
    error = math.sqrt(max(rate * (1 - rate), 1e-12) / max(neurons, 1))
    return f"{rate:.{min(max(4, math.ceil(-math.log10(error))), 9)}f}"


def percent(share: float) -> str:
    """Return a share in percent, with its sign and two digits, in plain notation."""
    return f"{100 * share:+.2g}%" if abs(share) < 0.995 else f"{100 * share:+,.0f}%"


def span(first: int, last: int, case: Case) -> str:
    """Name a place, or a run of places, of a mask."""
    return f"{case.unit.place} {first}" if first == last else f"{case.unit.places} {first} to {last}"


def places(found: Any, what: str, case: Case) -> str:
    """Say of a few places, or of one run of them, what they are."""
    first, last = int(found[0]), int(found[-1])
    if last - first + 1 == found.size:
        return f"{span(first, last, case)} {'is' if first == last else 'are'} {what}"
    head = ", ".join(map(str, found[:3].tolist()))
    return f"{found.size:,} {case.unit.places} are {what}: {head}{', ...' if found.size > 3 else ''}"


def together(case: Case) -> str:
    """Return a sentence on neurons that always drop together: groups of neighbours, or a stride; empty if none."""
    kind, size = case.seen.together
    apart = "apart" if case.unit.one == case.unit.place else f"{case.unit.places} apart"
    return {
        "neighbours": f"groups of {size} {case.unit.neighbours} drop together",
        "all": f"all {case.unit.many} of a mask drop together",
        "stride": f"{case.unit.many} {size:,} {apart} drop together",
    }.get(kind, "")


def repeating(case: Case) -> str:
    """Say that masks repeat themselves, where they do."""
    every = case.seen.period
    return "" if not every else "every mask is the same" if every == 1 else f"masks repeat every {every} calls"


def about(value: float) -> str:
    """Return a number to two digits, or as a power of two where it is large."""
    power = round(math.log2(value))
    if power >= 20:
        return f"2^{power}"
    digits = max(0, int(math.log10(value)) - 1)
    return f"{round(value / 10**digits) * 10**digits:,.0f}"


def listed(names: Any, most: int = 4) -> str:
    """Return names as a list in a sentence."""
    names = list(names)
    shown = names[:most]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    if more or len(shown) < 2:
        return ", ".join(shown) + more
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def equal_places(packed: Any, other: Any, n: int) -> Any:
    """Return the neurons whose bits are the same in every mask of two packed sequences."""
    return np.flatnonzero(np.unpackbits(np.bitwise_or.reduce(packed ^ other, axis=0), count=n) == 0)
