"""Exact p-values: binomial counts, pairs of neurons, sums of scores; and what a sample of some size can show."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, special

from dropstats.power import detectable_shift

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Power at which a passing test states the smallest departure it would have seen.
POWER = 0.9


# From this many counts on it pays to look for equal ones.
_MANY = 1000


def binomial_tails(count: ArrayLike, n: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    """Return P(X <= count) and P(X >= count) of X ~ Bin(n, p), by the incomplete beta function.

    Each tail keeps its relative accuracy; neither is formed as 1 minus the other.
    """
    k, n, p = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (count, n, p)))
    if k.size > _MANY and (n == n.flat[0]).all() and (p == p.flat[0]).all():
        # counts of one law take few values, and each incomplete beta function costs a microsecond or more
        values, where = np.unique(k, return_inverse=True)
        low, high = _tails(values, np.full(values.shape, n.flat[0]), np.full(values.shape, p.flat[0]))
        return low[where].reshape(k.shape), high[where].reshape(k.shape)
    return _tails(k, n, p)


def _tails(k: Floats, n: Floats, p: Floats) -> tuple[Floats, Floats]:
    inside = (p > 0) & (p < 1)
    safe = np.where(inside, p, 0.5)
    low = np.where(k >= n, 1.0, special.betaincc(np.minimum(k, n - 1) + 1, np.maximum(n - k, 1), safe))
    high = np.where(k <= 0, 1.0, special.betainc(np.maximum(k, 1), np.maximum(n - k, 0) + 1, safe))
    low = np.where(inside, low, np.where(p == 0, 1.0, (k >= n) * 1.0))
    high = np.where(inside, high, np.where(p == 1, 1.0, (k <= 0) * 1.0))
    return low, high


def two_sided(low: ArrayLike, high: ArrayLike) -> Floats:
    """Return the two-sided p-value from both tails: twice the smaller one, conservative for discrete laws."""
    return np.asarray(np.minimum(1.0, 2 * np.minimum(low, high)))


def binomial(count: ArrayLike, n: ArrayLike, p: ArrayLike) -> Floats:
    """Return the exact two-sided p-value of a count under Bin(n, p)."""
    return two_sided(*binomial_tails(count, n, p))


def count_tails(law: Any, count: ArrayLike) -> tuple[Floats, Floats]:
    """Return P(X <= count) and P(X >= count) of a law of counts."""
    count = np.asarray(count)
    return np.asarray(law.cdf(count), dtype=np.float64), np.asarray(law.sf(count - 1), dtype=np.float64)


def sidak(p: float, tests: float) -> float:
    """Return 1 - (1 - p)^tests, the p-value of the smallest of independent p-values."""
    return 1.0 if p >= 1 else float(-np.expm1(tests * np.log1p(-p)))


def bonferroni(*pvalues: float | None) -> float:
    """Return the p-value of the smallest of several p-values under any dependence."""
    present = [p for p in pvalues if p is not None]
    return min(1.0, len(present) * min(present)) if present else 1.0


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
    lowest, highest = max(0, drops - pairs), drops // 2
    if lowest == highest:
        return 1.0, 1.0
    rate = drops / (2 * pairs)
    centre = pairs * rate * rate
    # 40 standard deviations to each side of the centre leave less than 1e-300 outside
    reach = int(40 * math.sqrt(pairs) * rate * (1 - rate)) + 60
    first, last = max(lowest, int(centre) - reach), min(highest, int(centre) + reach)
    c = np.arange(first, last + 1, dtype=np.float64)
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


# The lattice on which sums of scores are convolved: its fewest and most points, and points to a score's deviation.
_LATTICE, _LATTICE_MOST, _FINENESS = 2**14, 2**22, 8


def score_sum_tails(parts: Sequence[tuple[Floats, Floats, Ints]]) -> tuple[float, float]:
    """Return both tails of a sum of scores of independent counts, by exact convolution.

    Parameters
    ----------
    parts : sequence of (scores, pmf, histogram)
        Scores and probabilities of the values that a count can take, and how many of the observed counts took each;
        one entry for each law among the counts.

    Notes
    -----
    The scores are rounded to a lattice first, and the rounded statistic is the one observed, so its law is exact:
    a product of discrete Fourier transforms. What is added at the end bounds the rounding error of the transform.
    """
    variance = math.fsum(float(h.sum()) * max(float(pmf @ s**2) - float(pmf @ s) ** 2, 0) for s, pmf, h in parts)
    if variance <= 0:
        return 1.0, 1.0
    deviation, terms = math.sqrt(variance), sum(int(h.sum()) for _, _, h in parts)
    # 120 deviations of the sum; with scores clipped at 10 of them, less than 1e-12 lies outside
    length = 2 ** math.ceil(math.log2(120 * _FINENESS * math.sqrt(terms)))
    length = min(max(length, _LATTICE), _LATTICE_MOST)
    step, cap = 120 * deviation / length, 10 * deviation
    transform: Any = 1.0
    observed, centre = 0, 0.0
    for scores, pmf, histogram in parts:
        lattice = np.rint(np.clip(scores, -cap, cap) / step).astype(np.int64)
        observed += int(lattice @ histogram)
        centre += float(pmf @ lattice) * int(histogram.sum())
        mass = np.bincount(lattice % length, weights=pmf, minlength=length)
        transform = transform * fft.rfft(mass) ** int(histogram.sum())
    law = np.maximum(fft.irfft(transform, length), 0)
    start = int(centre) - length // 2
    law = np.roll(law, -(start % length))
    # the transform's powers carry a relative error of a few units in the last place times the exponent
    error = 1e-12 + 1e-15 * terms
    if observed < start or observed >= start + length:
        return (error, 1.0) if observed < start else (1.0, error)
    at = observed - start
    return min(1.0, float(law[: at + 1].sum()) + error), min(1.0, float(law[at:].sum()) + error)


def window(law: Any, n: int) -> tuple[Ints, Floats]:
    """Return the counts of `law` within 40 deviations of its mean, and their probabilities; the ends hold the tails."""
    mean, deviation = float(law.mean()), float(law.std())
    low = max(0, int(mean - 40 * deviation) - 40)
    high = min(n, int(mean + 40 * deviation) + 40)
    counts = np.arange(low, high + 1)
    pmf = np.asarray(law.pmf(counts), dtype=np.float64)
    if not (low == 0 and high == n):
        pmf[0], pmf[-1] = law.cdf(low), law.sf(high - 1)
    return counts, pmf


def histogram(values: Ints, counts: Ints) -> Ints:
    """Return how many `values` are equal to each of the consecutive `counts`; the ends take what lies beyond."""
    clipped = np.clip(values, counts[0], counts[-1]) - counts[0]
    return np.bincount(clipped, minlength=counts.size).astype(np.int64)


def squared_deviation(counts: Ints, mean: float, variance: float) -> Floats:
    """Return the scores (count - mean)^2 / variance, whose sum is the chi-square statistic."""
    return np.asarray((counts - mean) ** 2 / variance, dtype=np.float64)


def normal_quantile(tail: float) -> float:
    """Return z with P(Z > z) = tail."""
    return float(-special.ndtri(tail))


def normal_two_sided(z: float) -> float:
    """Return P(|Z| >= |z|)."""
    return float(special.erfc(abs(z) / math.sqrt(2)))


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


def count_sum_tails(pmf: Floats, terms: int, observed: int) -> tuple[float, float]:
    """Return both tails of a sum of `terms` independent counts with probabilities `pmf` on 0, 1, ..."""
    length = fft.next_fast_len((pmf.size - 1) * terms + 1, real=True)
    law = np.maximum(fft.irfft(fft.rfft(pmf, length) ** terms, length), 0)
    error = 1e-12 + 1e-15 * terms  # of the transform's powers
    return min(1.0, float(law[: observed + 1].sum()) + error), min(1.0, float(law[observed:].sum()) + error)


def normal_tail(z: float) -> float:
    """Return P(Z >= z)."""
    return float(special.ndtr(-z))


def student_two_sided(t: float, freedom: float) -> float:
    """Return P(|T| >= |t|) of Student's t."""
    return float(min(1.0, 2 * special.stdtr(freedom, -abs(t))))
