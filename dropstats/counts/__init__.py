"""Laws of counts, as frozen scipy distributions: binomial with right tails, Poisson-binomial, tables, sums, mirrors."""

from dropstats.counts.binomial import Bernoulli, Binomial
from dropstats.counts.frozen import Count, Mirror
from dropstats.counts.incomplete_beta import at_least, at_most, binomial_interval, binomial_tails
from dropstats.counts.odds import nodes
from dropstats.counts.squares import squares
from dropstats.counts.sums import PoissonBinomial, Sum, add, of_groups, of_rates
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
    "of_groups",
    "of_rates",
    "point_mass",
    "squares",
]
