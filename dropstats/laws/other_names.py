"""Names that users of SciPy and NumPy try on a law, and what to write instead."""

# Methods of scipy's distributions; a law has two distributions of counts.
_OF_COUNTS = frozenset(
    (
        *("pmf", "logpmf", "cdf", "logcdf", "sf", "logsf", "ppf", "isf", "mean", "median", "var", "std"),
        *("stats", "entropy", "interval", "moment", "expect", "support"),
    )
)
_INSTEAD = {
    "rvs": "law.sample(size, rng=)",
    "simulate": "dropstats.simulate(law, trials, rng=)",
    "plot": "dropstats.plots.pmf(law)",
    "size": "law.n",
    "q": "1 - law.p",
}


def instead_of(name: str) -> str:
    """Return the end of a message that says what to write instead of an attribute that a law does not have.

    Examples
    --------
    >>> instead_of("pmf")
    '; the numbers of dropped and of kept neurons have it: law.dropped.pmf, law.kept.pmf'
    """
    if name in _OF_COUNTS:
        return f"; the numbers of dropped and of kept neurons have it: law.dropped.{name}, law.kept.{name}"
    return f"; write {_INSTEAD[name]}" if name in _INSTEAD else ""
