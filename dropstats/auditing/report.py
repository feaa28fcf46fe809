"""What an audit found: one result a test, and the report that holds them."""

import json
import math
import textwrap
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Verdict = Literal["pass", "fail", "inconclusive", "not applicable"]

# Version of the layout that `Report.to_dict` returns.
SCHEMA = 1


@dataclass(frozen=True)
class Result:
    """What one test found.

    Attributes
    ----------
    name : str
        Name of the test.
    verdict : {'pass', 'fail', 'inconclusive', 'not applicable'}
        'inconclusive' where the recording is too small for the test, 'not applicable' where the test has no meaning
        for this recording or the law has no known null for it.
    pvalue : float or None
        Probability of so large a departure where the implementation follows its law; None where the test needs none.
    adjusted_pvalue : float or None
        The same after Holm's correction for the number of tests.
    observed, expected : float or None
        The number that the test looks at, and its value under the law.
    detectable : float or None
        Smallest departure from `expected` that the test would have seen with probability 0.9.
    message : str
        The finding in words.
    """

    name: str
    verdict: Verdict
    pvalue: float | None = None
    adjusted_pvalue: float | None = None
    observed: float | None = None
    expected: float | None = None
    detectable: float | None = None
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dictionary of plain values; a number that is not finite becomes None."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "pvalue": _plain(self.pvalue),
            "adjusted_pvalue": _plain(self.adjusted_pvalue),
            "observed": _plain(self.observed),
            "expected": _plain(self.expected),
            "detectable": _plain(self.detectable),
            "message": self.message,
        }


@dataclass(frozen=True)
class Report:
    """Results of an audit; print it for a table.

    Attributes
    ----------
    trials, n : int
        Number of masks, and of neurons in each.
    p : float or None
        Declared drop probability; the mean one where the neurons' rates differ.
    observed_rate : float
        Observed drop rate.
    false_alarm : float
        Probability that any test fails an implementation that follows its law.
    results : tuple of Result
        One result a test.
    source : str
        Where the recording comes from.
    notes : tuple of str
        What was sampled or left out.
    """

    trials: int
    n: int
    p: float | None
    observed_rate: float
    false_alarm: float
    results: tuple[Result, ...]
    source: str = ""
    notes: tuple[str, ...] = ()
    evidence: Any = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """True where no test fails and at least the rate, or p = 0 or 1 itself, could be judged."""
        verdicts = {result.name: result.verdict for result in self.results}
        judged = [v for name, v in verdicts.items() if name in ("rate", "edges") or name not in _BATTERY]
        return "fail" not in verdicts.values() and "pass" in judged

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results of the tests that fail."""
        return tuple(result for result in self.results if result.verdict == "fail")

    def __getitem__(self, name: str) -> Result:
        for result in self.results:
            if result.name == name:
                return result
        known = ", ".join(result.name for result in self.results)
        raise KeyError(f"no test named {name!r}; the report has {known}")

    def __str__(self) -> str:
        return _table(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary of plain values, of a versioned layout."""
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "trials": self.trials,
            "n": self.n,
            "p": _plain(self.p),
            "observed_rate": _plain(self.observed_rate),
            "false_alarm": self.false_alarm,
            "results": [result.to_dict() for result in self.results],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the report as strict JSON, null where there is no number."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    def plot(self, figure: Any = None) -> Any:
        """Return a matplotlib figure of what a person looks at first.

        Dropped neurons a mask over the law, drop rate by position, the masks as an image, correlation by lag.

        Parameters
        ----------
        figure : matplotlib Figure, optional
            Figure to draw into; a new one by default.
        """
        from dropstats.plots import audits

        return audits.report(self, figure)


_BATTERY = (
    *("rate", "positions", "dispersion", "pairs", "lags", "stream"),
    *("duplicates", "repeats", "rows", "scale", "mean", "edges", "groups", "shape"),
)


def holm(results: tuple[Result, ...], false_alarm: float) -> tuple[Result, ...]:
    """Return the results with Holm's adjusted p-values, failing where these are at most `false_alarm`.

    A verdict that is not statistical (no p-value) stays as it is.

    Notes
    -----
    S. Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6,
    65-70.
    """
    order = sorted(
        (i for i, result in enumerate(results) if result.pvalue is not None), key=lambda i: results[i].pvalue or 0.0
    )
    judged = list(results)
    largest = 0.0
    for rank, i in enumerate(order):
        result = results[i]
        assert result.pvalue is not None
        largest = max(largest, min(1.0, (len(order) - rank) * result.pvalue))
        verdict = "fail" if largest <= false_alarm else result.verdict
        judged[i] = replace(result, adjusted_pvalue=largest, verdict=verdict)
    return tuple(judged)


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.4g}"


# Width of the findings in the table: with the numbers before them a line has 118 characters.
_FINDING = 62


def _table(report: Report) -> str:
    """Return the report as text: one line that says it all, then one line, or a few, a test."""
    declared = "" if report.p is None else f", p = {report.p:.6g}"
    failing = ", ".join(result.name for result in report.failures)
    verdict = f"FAILED ({failing})" if failing else "passed" if report.passed else "nothing could be judged"
    neurons = "neuron" if report.n == 1 else "neurons"
    lines = [f"Audit of {report.trials:,} masks of {report.n:,} {neurons}{declared}: {verdict}"]
    lines += [f"  {line}" for line in (report.source, *report.notes) if line]
    lines += ["", f"  {'test':<10} {'verdict':<14} {'p adjusted':>10} {'observed':>9} {'expected':>9}   finding"]
    for r in report.results:
        shown = "" if r.adjusted_pvalue is None else f"{r.adjusted_pvalue:.2g}"
        word = "FAIL" if r.verdict == "fail" else r.verdict
        head = f"  {r.name:<10} {word:<14} {shown:>10} {_number(r.observed):>9} {_number(r.expected):>9}   "
        finding = textwrap.wrap(r.message, _FINDING) or [""]
        lines += [(head + finding[0]).rstrip(), *(" " * len(head) + line for line in finding[1:])]
    lines += ["", f"  A correct implementation fails here with probability {report.false_alarm:g} at most."]
    return "\n".join(lines)
