"""The judge: the only place where a verdict is made."""

from collections.abc import Sequence
from typing import NamedTuple

from dropstats.auditing.finding import Check, Finding
from dropstats.auditing.report import Verdict


class Judged(NamedTuple):
    """A finding with its verdict."""

    check: Check
    finding: Finding
    verdict: Verdict
    adjusted: float | None
    explained_by: str = ""

    @property
    def failed(self) -> bool:
        """Whether the test fails."""
        return self.verdict == "fail"


def holm(pvalues: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for their number; None stays None and does not count.

    Notes
    -----
    S. Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6,
    65-70.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    present = sorted((p, place) for place, p in enumerate(pvalues) if p is not None)
    adjusted: list[float | None] = [None] * len(pvalues)
    largest = 0.0
    for rank, (p, place) in enumerate(present):
        largest = max(largest, min(1.0, (len(present) - rank) * p))
        adjusted[place] = largest
    return adjusted


def judge(found: Sequence[tuple[Check, Finding]], false_alarm: float) -> list[Judged]:
    """Return each finding with its verdict: it fails where its adjusted p-value is at most `false_alarm`."""
    adjusted = holm([finding.pvalue for _, finding in found])
    return [
        Judged(check, finding, _verdict(finding, p, false_alarm), p)
        for (check, finding), p in zip(found, adjusted, strict=True)
    ]


def _verdict(finding: Finding, adjusted: float | None, false_alarm: float) -> Verdict:
    if finding.broken or (adjusted is not None and adjusted <= false_alarm):
        return "fail"
    if finding.state == "judged":
        return "pass"
    return "inconclusive" if finding.state == "too small" else "not applicable"


# What neurons that are dropped in groups bring about.
_BY_GROUPS = ("tiles", "serial", "positions", "lags", "overlaps", "linear", "drift", "inputs", "duplicates")
# What masks that occur again bring about.
_BY_REPEATS = (
    "rate", "positions", "dispersion", "tiles", "pairs", "lags", "serial", "overlaps", "linear", "drift", "inputs",
    "mean",
)  # fmt: skip
# (cause, what must be plain to see in the masks, what follows): a failure that follows from another is said to.
_CONSEQUENCES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "reseeding", "",
        ("positions", "pairs", "lags", "serial", "linear", "dispersion", "tiles", "overlaps", "duplicates", "drift"),
    ),
    ("scale", "", ("mean",)),
    ("rate", "", ("mean",)),
    ("duplicates", "periodic", _BY_REPEATS),
    ("pairs", "together", ("dispersion", *_BY_GROUPS)),
    ("dispersion", "together", (*_BY_GROUPS, "pairs")),
    ("tiles", "together", ("serial", "positions", "lags", "overlaps", "linear", "drift", "duplicates")),
    ("serial", "together", ("lags", "overlaps", "linear", "drift", "duplicates")),
    ("duplicates", "repeated", _BY_REPEATS),
    ("duplicates", "", ("lags", "overlaps", "serial", "linear")),
    ("lags", "carried", ("overlaps", "serial", "linear", "drift", "tiles", "dispersion", "pairs", "duplicates")),
    ("edges", "certain", ("rate",)),
    ("transposed", "keyed", ("agreement", "duplicates", "overlaps", "linear")),
    ("positions", "", ("rate", "lags", "mean", "linear", "inputs")),
    ("positions", "constant", ("pairs", "serial")),
    ("inputs", "", ("rate", "dispersion", "tiles", "serial", "lags", "pairs", "mean")),
    ("drift", "", ("rate", "dispersion", "tiles", "duplicates", "inputs", "mean", "serial", "lags", "pairs")),
    ("overlaps", "", ("lags", "serial", "linear", "drift")),
    ("dispersion", "", ("tiles", "linear")),
    ("tiles", "", ("dispersion",)),
    ("agreement", "", ("duplicates", "overlaps", "transposed")),
)  # fmt: skip


def explained(judged: Sequence[Judged], facts: frozenset[str]) -> list[Judged]:
    """Return the findings, each failure that follows from another one with the name of that."""
    failing = {one.check.name for one in judged if one.failed}
    causes: dict[str, str] = {}
    for cause, fact, consequences in _CONSEQUENCES:
        if cause not in failing or cause in causes or (fact and fact not in facts):
            continue
        for name in consequences:
            if name in failing and name not in causes and causes.get(cause) != name:
                causes[name] = cause
    return [one._replace(explained_by=causes.get(one.check.name, "")) for one in judged]


def passes(judged: Sequence[Judged]) -> bool:
    """Return whether nothing fails and what decides could be judged: the rate, or what holds without exception."""
    return not any(one.failed for one in judged) and any(one.check.decides and one.verdict == "pass" for one in judged)
