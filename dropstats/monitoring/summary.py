"""What evidence says: shares of the checks, the alarm, sums over ranks, which of several sites are at fault."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from dropstats.rendering import text

# Part of the whole that each check gets: fixed beforehand, as it must be, and adding to 1. A share costs its logarithm:
# small shifts of the rate and weak dependence on the last mask need the most masks, all else is found in a few.
SHARES = {
    "rate": 0.4,
    "lags": 0.2,
    "positions": 0.08,
    "neighbours": 0.08,
    "dispersion": 0.08,
    "duplicates": 0.08,
    "agreement": 0.08,
}
# Of several checks that suffice, the first of these is the cause and the others follow from it.
_CAUSES = ("groups", "edges", "duplicates", "agreement")


@dataclass(frozen=True)
class Alarm:
    """The first finding of a monitor.

    Attributes
    ----------
    step : int
        Call, numbered from 1, at which the evidence reached the threshold.
    check : str
        Name of the check.
    message : str
        The finding in words.
    evidence : float
        Natural log of the e-value of all checks together, at least -log(false_alarm).
    stream : str
        Stream of that call; empty if there is only one.
    """

    step: int
    check: str
    message: str
    evidence: float
    stream: str = ""

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Return the alarm as a dictionary of plain values, with None in place of infinite evidence."""
        return {**asdict(self), "evidence": plain(self.evidence)}


class Part(NamedTuple):
    """What a monitor has seen, as it goes into a sum."""

    trials: int
    dropped: int
    calls: int  # of the stream that is farthest
    evidence: dict[str, float]
    findings: dict[str, str]


def total(found: Mapping[str, float]) -> float:
    """Return the log e-value of all checks together: the log of the weighted mean, or infinity."""
    if math.inf in found.values():
        return math.inf
    top = max(0.0, *found.values())
    return top + math.log(math.fsum(share * math.exp(found[name] - top) for name, share in SHARES.items()))


def judge(
    found: Mapping[str, float], false_alarm: float, finding: Callable[[str], str], step: int, stream: str = ""
) -> Alarm | None:
    """Return the alarm where the evidence of all checks suffices: named after its cause, or its largest part."""
    limit, together = -math.log(false_alarm), total(found)
    if together < limit:
        return None
    parts = {name: log + math.log(SHARES.get(name, 1.0)) for name, log in found.items()}
    causes = [name for name in _CAUSES if parts.get(name, -math.inf) >= limit]
    check = causes[0] if causes else max(parts, key=parts.__getitem__)
    of = f" of stream {stream!r}" if stream else ""
    sure = "certain" if together == math.inf else f"evidence {text.odds(together)} to 1"
    message = f"{finding(check)}: {sure} at step {step:,}{of}"
    return Alarm(step, check, message, together, stream)


def plain(number: float) -> float | None:
    """Return a number that JSON can write, or None."""
    return number if math.isfinite(number) else None


def at_fault(monitors: Mapping[str, Any], false_alarm: float = 1e-3) -> list[str]:
    """Return the names of the monitors with significant evidence, strongest first, with controlled false discoveries.

    Use it for several sites, layers or ranks that are monitored at once. The e-BH procedure returns the k of the K
    monitors with the largest e-values, for the largest k whose k-th e-value is at least K / (k false_alarm). The
    expected proportion of wrong names is at most false_alarm; in particular, if all monitors are correct, any name is
    returned with probability at most false_alarm. The monitors may depend on each other.

    Parameters
    ----------
    monitors : mapping of str to Monitor
        Monitors by name.
    false_alarm : float
        Largest expected proportion of wrong names; 0.001 by default.

    References
    ----------
    R. Wang, A. Ramdas (2022). False discovery rate control with e-values. Journal of the Royal Statistical Society B
    84, 822-852, doi:10.1111/rssb.12489.

    Examples
    --------
    >>> import dropstats as ds
    >>> good, bad = ds.Monitor(0.5, n=64), ds.Monitor(0.5, n=64)
    >>> good.update(ds.Layer(64, 0.5).sample(50, rng=0))
    >>> bad.update(ds.Layer(64, 0.25).sample(50, rng=1))
    >>> at_fault({"encoder": good, "decoder": bad})
    ['decoder']
    """
    logs = {name: monitor.log_e for name, monitor in monitors.items()}
    order = sorted(logs, key=lambda name: -logs[name])
    needed = math.log(max(len(order), 1)) - math.log(false_alarm)
    enough = [k for k, name in enumerate(order, 1) if logs[name] + math.log(k) >= needed]
    return order[: max(enough, default=0)]
