"""The smallest departures that a test of some size would see with probability 0.9."""

import math

from scipy import special

from dropstats.auditing.nulls.tails import normal_quantile
from dropstats.power import detectable_shift

# Power at which a passing test states the smallest departure it would have seen.
POWER = 0.9


def detectable_rate(p: float, neurons: int, level: float) -> float | None:
    """Return the smallest shift of a rate that a two-sided test of so many neurons sees with power 0.9.

    The larger of the two sides' shifts; one side's where the other has no room; None where neither can be seen.
    """
    if neurons < 1 or not 0 < p < 1:
        return None
    shifts = (abs(detectable_shift(p, neurons, level, POWER, sign)) for sign in (1, -1))
    seen = [shift for shift in shifts if math.isfinite(shift)]
    return max(seen) if seen else None


def detectable_correlation(pairs: float, level: float) -> float:
    """Return the smallest correlation seen with power 0.9 in one of two halves of `pairs` each, by the normal law."""
    missed = math.sqrt(1 - POWER)  # by each half, where both together miss it with probability 0.1
    return (normal_quantile(level / 2) + normal_quantile(missed)) / math.sqrt(pairs) if pairs > 0 else math.inf


def detectable_variance(terms: int, excess: float, level: float) -> float | None:
    """Return by what share a variance must be larger for its two-sided test to see it with power 0.9.

    The sum of squared deviations of `terms` counts, of kurtosis 1 + excess, is taken to follow the gamma law of its
    mean and variance.
    """
    shape = terms / excess if excess > 0 else math.inf
    reached = float(special.gammaincinv(shape, 1 - POWER)) if math.isfinite(shape) else 0.0
    if reached < 1e-3 * shape or not reached:
        return None
    return float(special.gammainccinv(shape, level / 2)) / reached - 1
