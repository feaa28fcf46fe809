"""What an audit found, as plain data: one result a test, and the report that holds them."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dropstats.rendering import text

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
        Smallest departure from `expected` that the test sees with probability 0.9.
    message : str
        The finding in words.
    explained_by : str
        Name of the failing test that this failure follows from; empty where it stands alone.
    """

    name: str
    verdict: Verdict
    pvalue: float | None = None
    adjusted_pvalue: float | None = None
    observed: float | None = None
    expected: float | None = None
    detectable: float | None = None
    message: str = ""
    explained_by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dictionary of plain values; a number that is not finite becomes None."""
        names = ("name", "verdict", "pvalue", "adjusted_pvalue", "observed", "expected", "detectable", "message")
        return {name: _plain(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class Report:
    """Results of an audit; print it for a table, iterate for the results; it is true where the audit passed.

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
    passed : bool
        True where no test fails and at least the rate, or what holds without exception, could be judged.
    source : str
        Where the recording comes from.
    notes : tuple of str
        What was sampled or left out.
    pictures : mapping
        Small arrays of what `plot` draws: not the masks.
    """

    trials: int
    n: int
    p: float | None
    observed_rate: float
    false_alarm: float
    results: tuple[Result, ...]
    passed: bool
    source: str = ""
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results of the tests that fail, causes before what they explain."""
        failing = (result for result in self.results if result.verdict == "fail")
        return tuple(sorted(failing, key=lambda result: bool(result.explained_by)))

    def __bool__(self) -> bool:
        return self.passed

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __getitem__(self, name: str) -> Result:
        for result in self.results:
            if result.name == name:
                return result
        known = ", ".join(result.name for result in self.results)
        raise KeyError(f"no test named {name!r}; the report has {known}")

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int = text.WIDTH) -> str:
        """Return the report as a table of so many columns; below 118, findings stand under their test."""
        explained = {result.name: result.explained_by for result in self.results if result.explained_by}
        return text.table(self.to_dict() | {"source": self.source, "notes": self.notes, "explained": explained}, width)

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

        Of an audit: dropped neurons a mask over the law, drop rate by position, the first masks as an image,
        correlation by lag. Of several streams: how each agrees with each, and two of them over calls apart.

        Parameters
        ----------
        figure : matplotlib Figure, optional
            Figure to draw into; a new one by default.

        Raises
        ------
        ValueError
            If the report holds nothing to draw.
        """
        from dropstats.rendering import figures

        return figures.draw(self.to_dict() | {"source": self.source}, self.pictures, figure)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: a number that is not finite becomes None."""
    if isinstance(value, str) or value is None:
        return value
    return float(value) if math.isfinite(value) else None
