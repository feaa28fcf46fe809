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
    """What a monitor found first.

    Attributes
    ----------
    step : int
        Call, from 1, after which the evidence sufficed.
    check : str
        The check that found it.
    message : str
        The finding in words.
    evidence : float
        Natural log of the e-value of all checks together, at least -log(false_alarm).
    stream : str
        Stream whose call it was; empty where there is one.
    """

    step: int
    check: str
    message: str
    evidence: float
    stream: str = ""

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Return the alarm as a dictionary of plain values; infinite evidence becomes None."""
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
    """Return the names of the monitors whose evidence suffices together, the strongest first.

    Of several sites, layers or ranks that are watched at once, the k with the largest e-values are named, for the
    largest k whose k-th e-value is at least K / (k false_alarm) among all K. Where all are correct none is ever named,
    with probability 1 - false_alarm; in general at most that share of the names is expected to be wrong. This holds
    however the monitors depend on each other.

    Parameters
    ----------
    monitors : mapping of str to Monitor
    false_alarm : float
        Probability that any is named where all are correct.

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
