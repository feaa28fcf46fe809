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
        u = q if isinstance(q, float) else float(np.asarray(q, dtype=np.float64))
        if 0 < u < 1:
            return np.float64(of_one(u, upward))
        return np.float64(-1 if u == upward else n if u == 1 - upward else math.nan)
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


def first_of_one(tail: Callable[[float], float], level: float, upward: bool, guess: float, n: int) -> int:
    """Return the smallest count in 0..n whose tail has reached a level; n has, and the guess is below it."""
    low, high, step = -1, n, 1
    at = int(guess)
    value = tail(float(at))
    if value <= level if upward else value >= level:
        high = at
        while (at := high - step) > low:
            value = tail(float(at))
            if value > level if upward else value < level:
                break
            high, step = at, 2 * step
        low = max(low, at)
    else:
        low = at
        while (at := low + step) < high:
            value = tail(float(at))
            if value <= level if upward else value >= level:
                break
            low, step = at, 2 * step
        high = min(high, at)
    while high - low > 1:
        at = (low + high) // 2
        value = tail(float(at))
        low, high = (low, at) if (value <= level if upward else value >= level) else (at, high)
    return high


def guesses(levels: Floats, upward: bool, cubic: Sequence[float], n: int) -> Floats:
    """Return where a search for quantiles in 0..n may begin."""
    z = -ndtri(levels) if upward else ndtri(levels)
    return np.asarray(np.clip(np.rint(np.polyval(cubic, z)), 0, n))


def guess_of_one(level: float, upward: bool, cubic: Sequence[float], n: int) -> float:
    """Return the same of one level, below n."""
    z = -_NORMAL.inv_cdf(level) if upward else _NORMAL.inv_cdf(level)
    third, second, first, mean = cubic
    guess = ((third * z + second) * z + first) * z + mean + 0.5
    return max(guess if guess < n else n - 1, 0)


def expansion(cumulants: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the polynomial of a normal quantile that approximates a count's, highest power first.

    Source: E. A. Cornish, R. A. Fisher (1938). Moments and cumulants in the specification of distributions. Revue de
    l'Institut International de Statistique 5, 307-320, doi:10.2307/1400905.
    """
    mean, variance, third, fourth = cumulants
    sd = math.sqrt(variance)
    if variance < 1:  # the series is of no use
        return 0.0, 0.0, sd, mean
    skew, excess = third / variance / 6, fourth / variance / 24
    square = skew * skew
    return (excess - 2 * square) / sd, skew, sd + (5 * square - 3 * excess) / sd, mean - skew
