"""p-values of counts, and what several p-values say together."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dropstats.counts import binomial_tails as binomial_tails

Floats = NDArray[np.float64]


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
