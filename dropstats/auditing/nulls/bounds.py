"""Bounds that hold where an exact law is out of reach: sums of counts, weighted or not, and repeated masks."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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


# Factors by which repeats may be likelier than under the law; the evidence is the mean over them.
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


def _bennett(x: Any) -> Any:
    """Return exp(x) - 1 - x: v / m^2 of it at m s bounds log E exp(s X) of a sum X of terms up to m, of variance v."""
    return np.expm1(x) - x


def weighted_bound(total: float, variance: float, most: float) -> float:
    """Return a bound on P(|S| >= |total|), S a sum of weighted independent deviations from their means.

    Bennett's: 2 exp(-v / m^2 h(m |total| / v)), h(u) = (1 + u) log(1 + u) - u, v the variance of S. m is the most by
    which a single term moves S; where a deviation is itself the sum of independent Bernoulli variables, it is a weight.

    Notes
    -----
    G. Bennett (1962). Probability inequalities for the sum of independent random variables. Journal of the American
    Statistical Association 57, 33-45. doi:10.1080/01621459.1962.10482149
    """
    u = most * abs(total) / variance
    return min(1.0, 2 * math.exp(-variance / most**2 * ((1 + u) * math.log1p(u) - u)))


def amplitude_bound(amplitude: float, variance: float, most: float) -> float:
    """Return a bound on P(|Z| >= amplitude), Z a sum of independent deviations times points of the unit circle.

    `variance` is that of Z in any direction, `most` the most by which a single term moves it. E exp(s u Z) <= B(s) in
    each direction u, so that E I0(s |Z|), its mean over directions, is at most B(s), and P(|Z| >= r) <= B(s) / I0(s r)
    (Markov). It is the exponential law of a periodogram, but for a small factor, and holds however few the calls.
    """
    s = math.log1p(most * amplitude / variance) / most
    log = variance / most**2 * float(_bennett(s * most)) - s * amplitude - math.log(special.i0e(s * amplitude))
    return math.exp(min(0.0, log))


# Standardised slopes of the bets on a correlation, of either sign; the evidence is the mean over them.
_SLOPES = np.multiply.outer((-1.0, 1.0), 2.0 ** np.arange(0, 6)).ravel()


def product_bound(total: float, before: Floats, times: Ints, square: float, variance: float, most: float) -> float:
    """Return a bound on the probability of so large, or so small, a sum of products of deviations.

    The sum is over t of x_t y_t, each y_t independent of all that came before, x_t included, of mean 0 and `variance`;
    `before` holds the values of the x_t, `times` how often each, and `square` is the mean of x_t^2 to expect. With B as
    of Bennett's inequality, exp(s sum x_t y_t - sum B(s x_t)) has mean 1 at most, whatever made the x_t, and so has its
    average over some s. The p-value is Markov's.

    Notes
    -----
    D. A. Freedman (1975). On tail probabilities for martingales. Annals of Probability 3, 100-118.
    doi:10.1214/aop/1176996452
    """
    scale = math.sqrt(square * float(times.sum())) * math.sqrt(variance)
    slopes = _SLOPES / max(scale, 1e-150)  # any slopes will do
    moved = np.minimum(most * np.abs(np.multiply.outer(slopes, before)), 700.0)
    log = slopes * total - variance / most**2 * (_bennett(moved) @ times)
    largest = float(log.max())
    return math.exp(min(0.0, -largest - math.log(float(np.mean(np.exp(log - largest))))))
