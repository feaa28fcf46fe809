"""Laws of counts, as frozen scipy distributions: binomial with right tails, Poisson-binomial, tables, sums, mirrors."""

from dropstats.counts.binomial import Bernoulli, Binomial
from dropstats.counts.frozen import Count, Mirror
from dropstats.counts.poisson_binomial import PoissonBinomial, of_rates
from dropstats.counts.squares import squares
from dropstats.counts.sums import Sum, add
from dropstats.counts.table import Lattice, Table, certain, hypergeometric

__all__ = [
    "Bernoulli",
    "Binomial",
    "Count",
    "Lattice",
    "Mirror",
    "PoissonBinomial",
    "Sum",
    "Table",
    "add",
    "certain",
    "hypergeometric",
    "of_rates",
    "squares",
]
