"""p-values of counts, and what several p-values say together."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

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


def normal_quantile(tail: float) -> float:
    """Return z with P(Z > z) = tail."""
    return float(-special.ndtri(tail))


def normal_two_sided(z: float) -> float:
    """Return P(|Z| >= |z|)."""
    return float(special.erfc(abs(z) / math.sqrt(2)))


def student_two_sided(t: float, freedom: float) -> float:
    """Return P(|T| >= |t|) of Student's t."""
    return float(min(1.0, 2 * special.stdtr(freedom, -abs(t))))


def student_quantile(tail: float, freedom: float) -> float:
    """Return t with P(T > t) = tail, T of Student's t."""
    return float(-special.stdtrit(freedom, tail))
