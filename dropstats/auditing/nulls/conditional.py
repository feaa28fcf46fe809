"""How often two neurons drop together, given how many drop: exact whatever the rate."""

import math

import numpy as np
from scipy import special

from dropstats.auditing.nulls.tails import two_sided


def paired_tails(pairs: int, drops: int, both: int) -> tuple[float, float]:
    """Return both tails of the number of pairs dropped together, given the number of drops in these pairs.

    With `pairs` disjoint pairs of independent neurons of one unknown rate, and `drops` of the 2 * pairs neurons
    dropped, every placing of the drops is equally likely, so that

        P(both = c) = M! / (c! (D - 2c)! (M - D + c)!) * 2^(D - 2c) / C(2M, D).

    It is Bin(M, p^2) conditional on the rate, so that a wrong rate does not pass for dependence, and it is exact for
    every M and p. (In genetics: the exact test of Hardy-Weinberg proportions.)

    Notes
    -----
    J. B. S. Haldane (1954). An exact test for randomness of mating. Journal of Genetics 52, 631-635.
    doi:10.1007/BF02985085
    """
    rate = drops / (2 * pairs)
    # 40 standard deviations to each side of the centre leave less than 1e-300 outside
    centre, reach = int(pairs * rate * rate), int(40 * math.sqrt(pairs) * rate * (1 - rate)) + 60
    first = centre - reach
    c = np.arange(first, centre + reach + 1, dtype=np.float64)
    # gamma is infinite at 0, -1, ...: what is impossible has weight 0
    log = (drops - 2 * c) * math.log(2) - (
        special.gammaln(c + 1) + special.gammaln(drops - 2 * c + 1) + special.gammaln(pairs - drops + c + 1)
    )
    weight = np.exp(log - log.max())
    total = weight.sum()
    low = weight[: max(both - first + 1, 0)].sum() / total
    high = weight[max(both - first, 0) :].sum() / total
    return float(low), float(high)


def paired(pairs: int, drops: int, both: int) -> float:
    """Return the exact two-sided p-value of the number of pairs dropped together, given the drops."""
    low, high = paired_tails(pairs, drops, both)
    # exp underflows 700 nats below the mode; a p-value of 0 is then below 1e-300
    return float(two_sided(low, high))


def shared_tails(size: int, first: int, second: int, both: int) -> tuple[float, float]:
    """Return both tails of the number of neurons dropped in two masks, given how many of `size` each drops.

    Hypergeometric: every placing of the drops is equally likely whatever the rate, so that a wrong rate does not
    pass for dependence.

    Notes
    -----
    R. A. Fisher (1935). The logic of inductive inference. Journal of the Royal Statistical Society 98, 39-82.
    doi:10.2307/2342435
    """
    from scipy.stats import hypergeom

    law = hypergeom(size, first, second)
    return float(law.cdf(both)), float(law.sf(both - 1))
