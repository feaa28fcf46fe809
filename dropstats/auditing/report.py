"""What an audit found, as plain data: one result a test, and the report that holds them."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

import numpy as np
import scipy

from dropstats.rendering import arrays
from dropstats.rendering.pages import Pages

Verdict = Literal["pass", "fail", "inconclusive", "not applicable"]

# Version of the layout that `to_dict` returns; 1 was that of dropstats 0.1.0.
LAYOUT = 2
# A library and its version, as recordings name them.
_LIBRARY = re.compile(r"\b(torch|jax|tensorflow|keras|paddle|mlx|cupy|numpy|flax|equinox) v?\d[\w.+]*")
_OF_RESULT = ("name", "verdict", "pvalue", "adjusted_pvalue", "observed", "expected", "detectable", "message")


@dataclass(frozen=True)
class Result:
    """What one test found.

    Attributes
    ----------
    name : str
        Name of the test.
    verdict : {'pass', 'fail', 'inconclusive', 'not applicable'}
        'inconclusive' if the recording is too small for the test; 'not applicable' if the test has no meaning for
        this recording, or no null distribution is known under this law.
    pvalue : float or None
        Probability of a deviation at least this large if the implementation follows its law; None for a test that
        needs no p-value, because a single violation is a failure.
    adjusted_pvalue : float or None
        The p-value after Holm's correction for the number of tests.
    observed, expected : float or None
        Observed value of the test's statistic, and its value under the law.
    detectable : float or None
        Smallest deviation from `expected` that the test detects with power 0.9.
    message : str
        The finding in words.
    explained_by : str
        Name of the failing test that explains this failure; empty if there is none.

    Examples
    --------
    >>> from dropstats import Layer, audit
    >>> result = audit(Layer(64, 0.5).sample(1000, rng=0), p=0.25)["rate"]
    >>> result.verdict, result.expected
    ('fail', 0.25)
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
        """Return the result as a dictionary of plain values, with None in place of NaN and infinity."""
        return {name: _plain(getattr(self, name)) for name in (*_OF_RESULT, "explained_by")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the result from a dictionary made by `to_dict`."""
        return cls(**{name: data[name] for name in _OF_RESULT}, explained_by=data.get("explained_by", ""))


def check_layout(data: Mapping[str, Any], kinds: tuple[str, ...]) -> None:
    """Raise ValueError if plain data has a layout that this version cannot read, or is another kind of report."""
    version = data.get("version", data.get("schema"))
    if version != LAYOUT:
        by = data.get("versions", {}).get("dropstats", "another version")
        raise ValueError(f"version of a report must be {LAYOUT}; got {version!r}, written by dropstats {by}")
    if data.get("kind") not in kinds:
        raise ValueError(f"kind of the report must be {' or '.join(map(repr, kinds))}; got {data.get('kind')!r}")


def versions() -> dict[str, str]:
    """Return the versions of dropstats, numpy and scipy."""
    from dropstats import __version__

    return {"dropstats": __version__, "numpy": np.__version__, "scipy": scipy.__version__}


@dataclass(frozen=True, repr=False)
class Report(Pages):
    """Results of an audit: print it for a table, iterate over its results, use it as a bool (True = passed).

    Attributes
    ----------
    trials, n : int
        Number of masks, and of neurons in each.
    p : float or None
        Declared drop probability; their mean if the neurons' rates differ.
    observed_rate : float
        Observed drop rate.
    false_alarm : float
        Probability that any test fails a correct implementation.
    results : tuple of Result
        One result per test.
    passed : bool
        True if no test fails and at least `rate` or `edges` had enough data.
    source : str
        Origin of the recording: the library, its version and the device.
    notes : tuple of str
        What was sampled or left out.
    law : str
        The declared law as a Python expression: "Layer(1024, 0.3)"; empty for streams without one.
    scaling : {'inverted', 'direct', ''}
        Whether kept values should be divided by 1 - p; empty for streams.
    tolerance : float or None
        Largest acceptable bias of the rate.
    expect : {'', 'independent', 'identical'}
        What several streams were expected to be; empty for the masks of one implementation.
    versions : mapping of str to str
        Versions of dropstats, numpy and scipy that made the report.
    pictures : mapping
        Small arrays that `plot` draws; the masks are not among them.

    Examples
    --------
    >>> from dropstats import Layer, audit
    >>> report = audit(Layer(64, 0.5).sample(1000, rng=0), p=0.25)
    >>> report.passed, [result.name for result in report.failures][:1]
    (False, ['rate'])
    >>> report["rate"].message[:12]
    'drops 0.4989'
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
    law: str = ""
    scaling: str = "inverted"
    tolerance: float | None = None
    expect: str = ""
    versions: Mapping[str, str] = field(default_factory=versions)
    pictures: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def failures(self) -> tuple[Result, ...]:
        """Results of the failing tests, causes before the failures that they explain."""
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

    @property
    def library(self) -> str:
        """Library that made the masks, with its version, such as "torch 2.13.0"; empty if the source names none."""
        found = _LIBRARY.search(self.source)
        return found.group() if found else ""

    def to_dict(self, *, pictures: bool = False, date: str = "") -> dict[str, Any]:
        """Return the report as a dictionary of plain values, in a versioned layout.

        Parameters
        ----------
        pictures : bool
            Include the small arrays that `plot` draws, floats to six digits. False by default.
        date : str
            Date to write into the report; none by default, so that the same masks give the same report.

        Examples
        --------
        >>> from dropstats import Layer, audit
        >>> data = audit(Layer(64, 0.5).sample(100, rng=0), p=0.5).to_dict()
        >>> data["kind"], data["passed"], data["law"]
        ('audit', True, 'Layer(64, 0.5)')
        """
        data = {
            "version": LAYOUT,
            "kind": "streams" if self.expect else "audit",
            "passed": self.passed,
            "law": self.law or None,
            "source": self.source,
            "notes": list(self.notes),
            "scaling": self.scaling or None,
            "tolerance": _plain(self.tolerance),
            "versions": dict(self.versions),
            "library": self.library or None,
            "expect": self.expect or None,
            "trials": self.trials,
            "n": self.n,
            "p": _plain(self.p),
            "observed_rate": _plain(self.observed_rate),
            "false_alarm": self.false_alarm,
            "results": [result.to_dict() for result in self.results],
        }
        return data | ({"date": date} if date else {}) | ({"pictures": arrays.plain(self.pictures)} if pictures else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the report from a dictionary made by `to_dict`, or from parsed JSON made by `to_json`.

        Parameters
        ----------
        data : mapping
            The dictionary.

        Raises
        ------
        ValueError
            If the layout has another version, or this is not a report of masks.

        Examples
        --------
        >>> from dropstats import Layer, audit
        >>> report = audit(Layer(64, 0.5).sample(100, rng=0), p=0.5)
        >>> Report.from_dict(report.to_dict()) == report
        True
        """
        check_layout(data, ("audit", "streams"))
        given = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        given |= {name: given.get(name) or "" for name in ("law", "scaling", "expect")}
        given["observed_rate"] = math.nan if given["observed_rate"] is None else given["observed_rate"]
        given["results"] = tuple(map(Result.from_dict, data["results"]))
        given["notes"] = tuple(data["notes"])
        given["pictures"] = arrays.restored(data.get("pictures", {}))
        return cls(**given)

    def _page(self) -> dict[str, Any]:
        from dropstats.auditing import describing

        return {"words": describing.words(data := self.to_dict()), "code": describing.code(data)}

    def plot(self, figure: Any = None) -> Any:
        """Return a matplotlib figure of the main diagnostics.

        For an audit: number of dropped neurons per mask with its law, drop rate by position, the first masks as an
        image, correlation by lag. For several streams: agreement of every pair, and of one pair by lag.

        Parameters
        ----------
        figure : matplotlib Figure, optional
            Figure to draw into; a new one by default.

        Raises
        ------
        ValueError
            If the report has no pictures, as one from `from_dict` may.
        """
        from dropstats.rendering import figures

        return figures.draw(self.to_dict(), self.pictures, figure)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: a number that is not finite becomes None."""
    if isinstance(value, str) or value is None:
        return value
    return float(value) if math.isfinite(value) else None
