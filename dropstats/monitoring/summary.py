"""What evidence says: shares of the checks, the alarm, sums over ranks, which of several sites are at fault."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

# Part of the whole that each check gets: fixed beforehand, as it must be.
SHARES: dict[str, float] = dict.fromkeys(
    ("rate", "positions", "lags", "neighbours", "dispersion", "duplicates", "agreement"), 1 / 7
)
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
    message = f"{finding(check)}: {odds(together)} at step {step:,}{of}"
    return Alarm(step, check, message, together, stream)


def odds(log_e: float) -> str:
    """Return evidence in words.

    >>> odds(7.2), odds(100.0), odds(-3.0), odds(math.inf)
    ('evidence 1,339 to 1', 'evidence 10^43 to 1', 'evidence 0.0498 to 1', 'certain')
    """
    if log_e == math.inf:
        return "certain"
    if log_e > math.log(1e9):
        return f"evidence 10^{math.floor(log_e / math.log(10))} to 1"
    number = math.exp(log_e)
    return f"evidence {number:,.0f} to 1" if number >= 100 else f"evidence {number:.3g} to 1"


def plain(number: float) -> float | None:
    """Return a number that JSON can write, or None."""
    return number if math.isfinite(number) else None


def e_bh(logs: Mapping[Any, float], false_discovery: float) -> list[Any]:
    """Return the names whose e-values are significant: the largest k with k-th largest e >= K / (k alpha).

    R. Wang, A. Ramdas (2022), False discovery rate control with e-values, Journal of the Royal Statistical Society B
    84, 822-852, doi:10.1111/rssb.12489.
    """
    order = sorted(logs, key=lambda name: -logs[name])
    enough = [
        k
        for k, name in enumerate(order, 1)
        if logs[name] >= math.log(len(order)) - math.log(k) - math.log(false_discovery)
    ]
    return order[: max(enough, default=0)]
