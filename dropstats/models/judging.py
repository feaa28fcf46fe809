"""The audit as models use it: the one place that knows of `dropstats.auditing`."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from dropstats.auditing import Report, Result, audit, audit_streams, describing
from dropstats.auditing.report import LAYOUT, check_layout, versions
from dropstats.laws import Law
from dropstats.recording import Recording

__all__ = ["LAYOUT", "Report", "Result", "audit_share", "check_layout", "site_words", "streams_share", "versions"]


def audit_share(recording: Any, law: Law | None, p: float | None, false_alarm: float, shares: int) -> Report:
    """Audit a recording, or outputs of noise, at one of `shares` equal shares of a false-alarm rate of the whole."""
    report = audit(recording, law, p=None if law is not None else p, false_alarm=false_alarm / shares)
    return replace(report, results=_of_whole(report.results, shares), false_alarm=false_alarm)


def streams_share(
    streams: Mapping[str, Recording], expect: str, false_alarm: float, shares: float
) -> tuple[Result, ...]:
    """Audit streams against each other at a share of a false-alarm rate; adjusted p-values are of the whole."""
    report = audit_streams(streams, expect, false_alarm=false_alarm / shares)
    return _of_whole(report.results, shares)


def _of_whole(results: tuple[Result, ...], shares: float) -> tuple[Result, ...]:
    """Return results whose adjusted p-values are corrected for all shares as well: Bonferroni over Holm's."""
    return tuple(
        result
        if result.adjusted_pvalue is None
        else replace(result, adjusted_pvalue=min(1.0, result.adjusted_pvalue * shares))
        for result in results
    )


def site_words(sites: Iterable[Report]) -> dict[str, tuple[str, str]]:
    """Return what each test of the sites looks at, and what its numbers are."""
    return {name: said for site in sites for name, said in describing.words(site.to_dict()).items()}
