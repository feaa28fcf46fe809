"""What an audit of a whole model found: a report a site, a result a check across sites."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from dropstats.models.judging import LAYOUT, Report, Result, check_layout, site_words, versions
from dropstats.rendering.pages import Pages

_FACTS = ("mode", "dtype", "device", "draws", "recorder")
# What all sites share with their model is written once.
_SHARED = ("version", "versions")
# What each check looks at.
_ABOUT = {
    "coverage": "whether each module draws masks in training, at the rate that it declares",
    "evaluation": "whether no mask is drawn in evaluation mode, and the model does not change",
    "state": "whether each site draws again after evaluation, once back in training mode",
    "seeds": "whether a seed repeats the masks, and another one does not",
    "recomputed": "whether a recomputed forward pass draws the masks of the first one",
    "gradient": "whether the gradient is masked as the output is",
    "sites": "whether the masks of different sites are independent of each other",
    "scale": "whether kept neurons are scaled by 1 / (1 - p), over all sites",
    "mean": "whether the mean of the outputs is that of the inputs, over all sites",
}


@dataclass(frozen=True, repr=False)
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

    def to_dict(self, *, pictures: bool = False, date: str = "") -> dict[str, Any]:
        """Return the report as a dictionary of plain values: that of its masks, and the facts of the site."""
        facts = {name: getattr(self, name) for name in _FACTS}
        return {**super().to_dict(pictures=pictures, date=date), **facts, "judged": self.judged}


@dataclass(frozen=True, repr=False)
class ModelReport(Pages):
    """Results of an audit of a model; print it for a table.

    Attributes
    ----------
    model : str
        Name of the model's class, or of the function.
    passes : int
        Number of passes in training whose masks were recorded.
    false_alarm : float
        Probability that a correct model fails anything, for all sites and checks together.
    sites : mapping of str to SiteReport
        One audit for each site, in order of first use.
    results : tuple of Result
        One result for each check of the whole model.
    unjudged : mapping of str to str
        Sites that could not be tested, with the reason.
    notes : tuple of str
        What was left out.
    library : str
        Library of the model, with its version.
    versions : mapping of str to str
        Versions of dropstats, numpy and scipy that made the report.
    """

    model: str
    passes: int
    false_alarm: float
    sites: Mapping[str, SiteReport]
    results: tuple[Result, ...]
    unjudged: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    library: str = ""
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def passed(self) -> bool:
        """True if nothing fails and at least one site had enough data."""
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

    def to_dict(self, *, pictures: bool = False, date: str = "") -> dict[str, Any]:
        """Return the report as a dictionary of plain values, of a layout with a version.

        Law, scaling and tolerance are those of each site.

        Parameters
        ----------
        pictures : bool
            Include the small arrays of the sites' pictures.
        date : str
            Date of the report; none by default.
        """
        sites = {name: report.to_dict(pictures=pictures) for name, report in self.sites.items()}
        data = {
            "version": LAYOUT,
            "kind": "model",
            "passed": self.passed,
            "law": None,
            "source": self.model,
            "notes": list(self.notes),
            "scaling": None,
            "tolerance": None,
            "versions": dict(self.versions),
            "library": self.library or None,
            "model": self.model,
            "passes": self.passes,
            "false_alarm": self.false_alarm,
            "results": [result.to_dict() for result in self.results],
            "sites": {
                name: {key: value for key, value in site.items() if key not in _SHARED} for name, site in sites.items()
            },
            "unjudged": dict(self.unjudged),
        }
        return data | ({"date": date} if date else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the report that `to_dict` wrote.

        Raises
        ------
        ValueError
            If the layout has another version, or this is no report of a model.
        """
        check_layout(data, ("model",))
        given = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        shared = {name: data[name] for name in _SHARED}
        given["sites"] = {name: SiteReport.from_dict({**shared, **site}) for name, site in data["sites"].items()}
        given["results"] = tuple(map(Result.from_dict, data["results"]))
        given["notes"], given["library"] = tuple(data["notes"]), data["library"] or ""
        return cls(**given)

    def _page(self) -> dict[str, Any]:
        false_alarm = f", false_alarm={self.false_alarm!r}" if self.false_alarm != 1e-3 else ""
        code = [
            "import dropstats as ds",
            "",
            f"report = ds.audit_model(model, batch, calls={self.passes}{false_alarm})  # model: a {self.model}",
            "print(report)",
        ]
        words = {result.name: (_ABOUT.get(result.name, ""), "") for result in self.results}
        return {"words": words, "site_words": site_words(self.sites.values()), "code": "\n".join(code)}
