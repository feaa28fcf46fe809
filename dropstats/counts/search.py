"""The smallest count that has reached a level: bracketed by doubling steps from a guess, then bisected."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def counts_between(low: int, high: int) -> Floats:
    """Return the counts low, low + 1, ..., high."""
    return np.arange(low, high + 1, dtype=np.float64)


def first(reached: Callable[[Any, Any], Any], level: Floats, guess: Floats, n: int, numbers: bool) -> Floats:
    """Return the smallest count in 0..n that has reached each level; n has, and `reached` may take single numbers."""
    if numbers and level.size == 1:
        return np.array([_first_of_one(reached, float(level[0]), int(guess[0]), n)])
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


def _first_of_one(reached: Callable[[Any, float], Any], level: float, guess: int, n: int) -> int:
    low, high, step = -1, n, 1
    if reached(guess, level):
        high = guess
        while high - step > low and reached(high - step, level):
            high, step = high - step, 2 * step
        low = max(low, high - step)
    else:
        low = guess
        while low + step < high and not reached(low + step, level):
            low, step = low + step, 2 * step
        high = min(high, low + step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle, level) else (middle, high)
    return high
