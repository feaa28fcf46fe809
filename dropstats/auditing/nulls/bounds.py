"""Bounds that hold where an exact law is out of reach: sums of counts, repeated masks."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def bounded_tails(
    total: ArrayLike, masks: ArrayLike, most: float, mean: float, variance: float
) -> tuple[Floats, Floats]:
    """Return bounds on P(S <= total) and P(S >= total), S a sum of independent counts from 0 to `most`.

    Each is the smaller of Cantelli's v / (v + t^2) and Bernstein's exp(-t^2 / (2 v + 2 m t / 3)), v the variance of S
    and m the most by which a count lies on that side of its mean.

    Notes
    -----
    S. Boucheron, G. Lugosi, P. Massart (2013). Concentration inequalities. Oxford University Press, theorem 2.10 and
    exercise 2.3. doi:10.1093/acprof:oso/9780199535255.001.0001
    """
    masks = np.asarray(masks, dtype=np.float64)
    beyond, v = np.asarray(total, dtype=np.float64) - masks * mean, masks * variance

    def bound(t: Floats, reach: float) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            cantelli, bernstein = v / (v + t * t), np.exp(-t * t / (2 * v + 2 * reach * t / 3))
        return np.where(t > 0, np.minimum(cantelli, bernstein), 1.0)

    return bound(-beyond, mean), bound(beyond, most - mean)


def event_bound(count: int, mean: float) -> float:
    """Return a bound on P(X >= count) of a sum of independent Bernoulli variables: Markov's, and Chernoff's.

    H. Chernoff (1952). A measure of asymptotic efficiency for tests of a hypothesis based on the sum of observations.
    Annals of Mathematical Statistics 23, 493-507. doi:10.1214/aoms/1177729330
    """
    if count <= mean:
        return 1.0
    if mean == 0:
        return 0.0
    return min(mean / count, math.exp(count - mean + count * math.log(mean / count)))


# Factors by which repeats may be likelier than the law has it; the evidence is the mean over them.
_BETS = 2.0 ** np.arange(1, 21)


def repeats_bound(count: int, chance: float) -> float:
    """Return a bound on the probability of `count` events, given the sum `chance` of their conditional chances.

    With events of conditional chances q_t given the past, R their number and A the sum of the q_t, each
    b^R exp(-(b - 1) A), b > 1, has mean 1 at most, and so has their average over b = 2, 4, ..., 2^20. Markov's bound
    on it holds though A itself depends on what was seen.

    Notes
    -----
    S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon (2020). Time-uniform Chernoff bounds via nonnegative
    supermartingales. Probability Surveys 17, 257-317. doi:10.1214/18-PS321
    """
    log = count * np.log(_BETS) - (_BETS - 1) * chance
    largest = float(log.max())
    evidence = largest + math.log(float(np.mean(np.exp(log - largest))))
    return math.exp(min(0.0, -evidence))
