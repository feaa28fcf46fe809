"""Distributions of counts, as frozen scipy distributions with accurate tails: binomial, Poisson-binomial, sums.

Names load when they are first asked for, so that what needs no scipy.stats does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropstats.counts.binomial import Bernoulli, Binomial
    from dropstats.counts.coverage import squares
    from dropstats.counts.frozen import Count, Mirror
    from dropstats.counts.incomplete_beta import at_least, at_most, binomial_interval, binomial_tails
    from dropstats.counts.odds import nodes
    from dropstats.counts.sums import PoissonBinomial, Sum, add, of_each, of_groups, of_rates
    from dropstats.counts.table import Scaled, Table, hypergeometric, point_mass

__all__ = [
    "Bernoulli",
    "Binomial",
    "Count",
    "Mirror",
    "PoissonBinomial",
    "Scaled",
    "Sum",
    "Table",
    "add",
    "at_least",
    "at_most",
    "binomial_interval",
    "binomial_tails",
    "hypergeometric",
    "nodes",
    "of_each",
    "of_groups",
    "of_rates",
    "point_mass",
    "squares",
]

_NAMES = {
    "binomial": ("Bernoulli", "Binomial"),
    "coverage": ("squares",),
    "frozen": ("Count", "Mirror"),
    "incomplete_beta": ("at_least", "at_most", "binomial_interval", "binomial_tails"),
    "odds": ("nodes",),
    "sums": ("PoissonBinomial", "Sum", "add", "of_each", "of_groups", "of_rates"),
    "table": ("Scaled", "Table", "hypergeometric", "point_mass"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dropstats.counts' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"dropstats.counts.{_HOMES[name]}"), name)
    return found
