"""Quantiles: the smallest count that has reached a level, bracketed by doubling steps from a guess, then bisected."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

_NORMAL = NormalDist()


def counts_between(low: int, high: int) -> Floats:
    """Return the counts low, low + 1, ..., high."""
    return np.arange(low, high + 1, dtype=np.float64)


def quantile(
    q: ArrayLike,
    upward: bool,
    n: int,
    of_one: Callable[[float, bool], float],
    of_many: Callable[[Floats, bool], Floats],
) -> Any:
    """Return the quantiles of a count in 0..n, as scipy has them at the ends; those of levels in (0, 1) as given."""
    if isinstance(q, float) or np.ndim(q) == 0:
        u = float(np.asarray(q, dtype=np.float64))
        return np.float64(of_one(u, upward) if 0 < u < 1 else -1 if u == upward else n if u == 1 - upward else math.nan)
    level = np.asarray(q, dtype=np.float64)
    out = np.full(level.shape, np.nan)
    out[level == upward] = -1.0
    out[level == 1 - upward] = n
    inside = (level > 0) & (level < 1)
    if inside.any():
        out[inside] = of_many(level[inside], upward)
    return out


def first(reached: Callable[[Any, Any], Any], level: Floats, guess: Floats, n: int) -> Floats:
    """Return the smallest count in 0..n that has reached each level; n has."""
    # (low, high] always holds the answer
    low, high = np.full_like(guess, -1.0), np.full_like(guess, float(n))
    hit = reached(guess, level)
    high[hit], low[~hit] = guess[hit], guess[~hit]
    step = np.ones_like(guess)
    active = np.ones(guess.shape, dtype=bool)
    while active.any():
        where = np.flatnonzero(active)
        probe = np.where(hit[where], high[where] - step[where], low[where] + step[where])
        outside = (probe <= low[where]) | (probe >= high[where])
        active[where[outside]] = False
        where, probe = where[~outside], probe[~outside]
        now = reached(probe, level[where])
        high[where[now]], low[where[~now]] = probe[now], probe[~now]
        active[where[now != hit[where]]] = False
        step[where] *= 2
    while True:
        where = np.flatnonzero(high - low > 1)
        if not where.size:
            return high
        middle = np.floor((low[where] + high[where]) / 2)
        now = reached(middle, level[where])
        high[where[now]], low[where[~now]] = middle[now], middle[~now]


def first_of_one(reached: Callable[[int], bool], guess: int, n: int) -> int:
    """Return the smallest count in 0..n that has reached a level; n has."""
    low, high, step = -1, n, 1
    if reached(guess):
        high = guess
        while high - step > low and reached(high - step):
            high, step = high - step, 2 * step
        low = max(low, high - step)
    else:
        low = guess
        while low + step < high and not reached(low + step):
            low, step = low + step, 2 * step
        high = min(high, low + step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def guesses(levels: Floats, upward: bool, cumulants: Sequence[float], n: int) -> Floats:
    """Return where a search for quantiles in 0..n may begin, from the first four cumulants.

    Source: E. A. Cornish, R. A. Fisher (1938). Moments and cumulants in the specification of distributions. Revue de
    l'Institut International de Statistique 5, 307-320, doi:10.2307/1400905.
    """
    out: Floats = np.clip(np.rint(_expansion((-1 if upward else 1) * ndtri(levels), cumulants)), 0, n)
    return out


def guess_of_one(level: float, upward: bool, cumulants: Sequence[float], n: int) -> float:
    """Return the same of one level."""
    return float(min(max(_expansion((-1 if upward else 1) * _NORMAL.inv_cdf(level), cumulants) + 0.5, 0), n))


def _expansion(z: Any, cumulants: Sequence[float]) -> Any:
    mean, variance, third, fourth = cumulants
    guess, sd = mean + math.sqrt(variance) * z, math.sqrt(variance)
    if variance < 1:  # the series is of no use
        return guess
    skew, square = third / variance, z * z
    more = (square - 3) * (fourth / variance) / 24 - (2 * square - 5) * skew * skew / 36
    return guess + (square - 1) / 6 * skew + z / sd * more
