"""The smallest departures that a test of some size would see with probability 0.9."""

import math

from scipy import special

from dropstats.auditing.nulls.tails import normal_quantile, student_quantile
from dropstats.power import detectable_shift

# Power at which a passing test states the smallest departure that it detects.
POWER = 0.9


def detectable_rate(p: float, neurons: int, level: float, signs: tuple[int, ...] = (1, -1)) -> float | None:
    """Return the smallest shift of a rate that a two-sided test of so many neurons sees with power 0.9.

    The larger of the two sides' shifts; one side's where the other has no room; None where neither can be seen.
    """
    if neurons < 1 or not 0 < p < 1:
        return None
    shifts = (abs(detectable_shift(p, neurons, level, POWER, sign)) for sign in signs)
    seen = [shift for shift in shifts if math.isfinite(shift)]
    return max(seen) if seen else None


def detectable_student(freedom: float, level: float) -> float:
    """Return the smallest shift, in standard errors, that Student's two-sided test sees with power 0.9.

    The noncentral t distribution by its normal approximation, which allows for the error's own error.

    Notes
    -----
    N. L. Johnson, B. L. Welch (1940). Applications of the non-central t-distribution. Biometrika 31, 362-389.
    doi:10.1093/biomet/31.3-4.362
    """
    t = student_quantile(level / 2, freedom)
    return t * (1 - 1 / (4 * freedom)) + normal_quantile(1 - POWER) * math.sqrt(1 + t * t / (2 * freedom))


def detectable_correlation(mean: float, variance: float, most: float, level: float, tries: float = 1) -> float:
    """Return the smallest correlation seen with power 0.9 by one of so many two-sided tests of coincidences.

    Independent events coincide `mean` times, with this variance, equal ones `most` times, those of correlation r
    mean + r (most - mean) times. That number is taken for binomial; beyond the mean its variance grows as a binomial
    count's does, and ends with 0 at `most`. Infinite where not even equal events would be seen.
    """
    if not 0 < mean < most or not 0 < variance < mean:
        return math.inf
    rare = variance / mean  # where that is the probability of no coincidence, and `chances` the number of chances
    chances = mean / (1 - rare)
    fewest = float(special.bdtrik(level / 2, chances, rare))
    critical = chances - fewest if fewest > 0 else float(special.pdtrik(1 - level / 2, mean)) + 1
    critical = max(critical, mean + normal_quantile(level / 2) * math.sqrt(variance))
    missed = (1 - POWER) ** (1 / tries)  # by each, where all together miss it with probability 0.1
    room, count = most - mean, math.ceil(critical) - 0.5
    found = count
    for _ in range(50):
        spread = variance * found / mean * (most - found) / room
        found = min(count + normal_quantile(missed) * math.sqrt(max(spread, 0.0)), most)
    return (found - mean) / room if count < most else math.inf


def detectable_variance(terms: int, excess: float, level: float, most: float = math.inf) -> float | None:
    """Return by what share a variance must be larger for its two-sided test to see it with power 0.9.

    The sum of squared deviations of `terms` counts, of kurtosis 1 + excess, is taken to follow the gamma law of its
    mean and variance. None where that is nowhere near, or more than `most`, the largest squared deviation in variances.
    """
    shape = terms / excess if excess > 0 else math.inf
    reached = float(special.gammaincinv(shape, 1 - POWER)) if math.isfinite(shape) else 0.0
    if reached < 1e-3 * shape or not reached:
        return None
    ratio = float(special.gammainccinv(shape, level / 2)) / reached
    return ratio - 1 if ratio <= most else None
