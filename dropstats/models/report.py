"""What an audit of a whole model found: a report a site, a result a check across sites."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dropstats.models.judging import Report, Result

# Version of the layout that `ModelReport.to_dict` returns.
SCHEMA = 1
_WIDTH = 118


@dataclass(frozen=True)
class SiteReport(Report):
    """The audit of one site of a model.

    Attributes
    ----------
    mode : str
        Mode of the module when it drew, "training" or "evaluation".
    dtype, device : str
        Of the drawn tensor.
    draws : int
        Number of masks that were drawn; `trials` of them were audited.
    recorder : str
        How the masks were seen: "operations" (the draw itself), "outputs" (zeros of a module's output), "function" (the
        framework's own dropout function), "jaxpr".
    """

    mode: str = "training"
    dtype: str = ""
    device: str = ""
    draws: int = 0
    recorder: str = "operations"

    @property
    def judged(self) -> bool:
        """True where the neurons were enough to judge the rate, and nothing fails."""
        rate = next((result for result in self.results if result.name == "rate"), None)
        return self.passed and (rate is None or rate.verdict == "pass")

    @classmethod
    def of(cls, report: Report, **facts: Any) -> "SiteReport":
        """Return a site's report, from that of its recording and what is known of the site."""
        return cls(**{f.name: getattr(report, f.name) for f in fields(report)}, **facts)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary of plain values."""
        facts = {name: getattr(self, name) for name in ("mode", "dtype", "device", "draws", "recorder")}
        return {**super().to_dict(), **facts}


@dataclass(frozen=True)
class ModelReport:
    """What an audit of a model found; print it for a table.

    Attributes
    ----------
    model : str
        Name of the model's class, or of the function.
    passes : int
        Number of passes in training whose masks were recorded.
    false_alarm : float
        Probability that anything fails a correct model: over all sites and checks together.
    sites : mapping of str to SiteReport
        One audit a site, in order of first use.
    results : tuple of Result
        One result a check across sites.
    unjudged : mapping of str to str
        Sites whose draws were seen and could not be judged, and why.
    notes : tuple of str
        What was left out.
    """

    model: str
    passes: int
    false_alarm: float
    sites: Mapping[str, SiteReport]
    results: tuple[Result, ...]
    unjudged: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True where nothing fails and at least one site could be judged."""
        return not self.failures and any(report.judged for report in self.sites.values())

    @property
    def failures(self) -> tuple[Result, ...]:
        """What fails: checks across sites, and tests of sites, these named "site: test"."""
        found = [result for result in self.results if result.verdict == "fail"]
        for name, report in self.sites.items():
            found += [replace(result, name=f"{name}: {result.name}") for result in report.failures]
        return tuple(found)

    def __bool__(self) -> bool:
        return self.passed

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __getitem__(self, name: str) -> Result:
        for result in self.results:
            if result.name == name:
                return result
        known = ", ".join(result.name for result in self.results)
        raise KeyError(f"no check named {name!r}; the report has {known}; sites are in report.sites")

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary of plain values, of a versioned layout."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "passed": self.passed,
            "passes": self.passes,
            "false_alarm": self.false_alarm,
            "results": [result.to_dict() for result in self.results],
            "sites": {name: report.to_dict() for name, report in self.sites.items()},
            "unjudged": dict(self.unjudged),
            "notes": list(self.notes),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the report as strict JSON, null where there is no number."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)


def _lines(report: ModelReport) -> Iterator[str]:
    """Yield the report as text: a line that says it all, a few lines a check, a line a site and what fails in it."""
    failing = [result.name for result in report.results if result.verdict == "fail"]
    sites = [name for name, site in report.sites.items() if site.failures]
    verdict = "passed" if report.passed else "nothing could be judged"
    if failing or sites:
        said = [*failing, *([f"{len(sites)} of {_count(len(report.sites), 'site')}"] if sites else [])]
        verdict = f"FAILED ({', '.join(said)})"
    drawn = f"{_count(len(report.sites), 'site')} over {_count(report.passes, 'pass')} in training"
    yield f"Audit of {report.model}: {drawn}: {verdict}"
    yield from (f"  {note}" for note in report.notes)
    yield ""
    yield f"  {'check':<11} {'verdict':<14} {'p adjusted':>10}   finding"
    for result in report.results:
        shown = "" if result.adjusted_pvalue is None else f"{result.adjusted_pvalue:.2g}"
        head = f"  {result.name:<11} {_word(result.verdict):<14} {shown:>10}   "
        yield from _wrapped(head, result.message)
    longest = max((len(name) for name in [*report.sites, *report.unjudged]), default=4)
    yield ""
    yield f"  {'site':<{longest}} {'p':>7} {'observed':>8} {'draws':>7} {'neurons':>11}   verdict"
    for name, site in report.sites.items():
        p = "" if site.p is None else f"{site.p:.4g}"
        head = f"  {name:<{longest}} {p:>7} {site.observed_rate:>8.4f} {site.draws:>7,} {site.trials * site.n:>11,}   "
        if not site.failures:
            yield head + ("passes" if site.judged else "not judged: too few neurons")
        for number, result in enumerate(site.failures):
            yield from _wrapped(head if not number else " " * len(head), f"FAILS {result.name}: {result.message}")
    for name, why in report.unjudged.items():
        yield from _wrapped(f"  {name:<{longest}} ", f"seen, not judged: {why}")
    yield ""
    yield f"  A correct model fails here with probability {report.false_alarm:g} at most."


def _word(verdict: str) -> str:
    return "FAIL" if verdict == "fail" else verdict


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}{'es' if what == 'pass' else 's'}"


def _wrapped(head: str, text: str) -> Iterator[str]:
    lines = textwrap.wrap(text, max(_WIDTH - len(head), 40)) or [""]
    yield (head + lines[0]).rstrip()
    yield from (" " * len(head) + line for line in lines[1:])
