"""Laws of counts, as frozen scipy distributions: binomial with right tails, Poisson-binomial, sums and mirrors."""

from dropstats.counts.binomial import Bernoulli, Binomial
from dropstats.counts.frozen import Count, Mirror
from dropstats.counts.poisson_binomial import PoissonBinomial, add, of_rates

__all__ = ["Bernoulli", "Binomial", "Count", "Mirror", "PoissonBinomial", "add", "of_rates"]
