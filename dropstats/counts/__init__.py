"""Laws of counts: binomial with right tails, Poisson-binomial, sums and mirrors, as frozen scipy distributions."""

from dropstats.counts.frozen import Bernoulli, Binomial, Count, Mirror, PoissonBinomial, add, of_rates

__all__ = ["Bernoulli", "Binomial", "Count", "Mirror", "PoissonBinomial", "add", "of_rates"]
