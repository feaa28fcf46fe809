"""The probability of one value of a sum of several terms, from the combinations of values of either half of the terms.

Those of one half are sorted, and each of the other looks up what it lacks (E. Horowitz, S. Sahni (1974). Computing
partitions with applications to the knapsack problem. Journal of the ACM 21, 277-292, doi:10.1145/321812.321823). All
that is added is positive, so that no digits are lost, however unlikely the value is.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress
from dropstats.counts.parts import Part, Window

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Combinations of values of half the terms at most, and at a time.
_MOST, _TOGETHER = 2**24, 2**20


def met(parts: Sequence[Part], windows: Sequence[Window], k: int) -> float | None:
    """Return the log probability that terms whose values lie in windows add up to k; None where there are too many."""
    halves = _halves(parts, windows)
    sizes = [math.prod(int(window.high - window.low) + 1 for _, window in half) for half in halves]
    if max(sizes) > _MOST:
        return None
    tables = [_tables(half) for half in halves]
    sums, logs = _gathered(*_combined(tables[0], np.arange(sizes[0])))
    total, starts = -math.inf, range(0, sizes[1], _TOGETHER)
    for start in _progress.shown(starts, len(starts), "adding up", "block", delay=1):
        others, other_logs = _combined(tables[1], np.arange(start, min(start + _TOGETHER, sizes[1])))
        at = np.minimum(np.searchsorted(sums, k - others), sums.size - 1)
        some = sums[at] == k - others
        if some.any():
            total = float(np.logaddexp(total, log_sum(logs[at[some]] + other_logs[some])))
    return total


def combined(terms: Sequence[tuple[Part, Window]], at: Ints) -> tuple[Ints, Floats]:
    """Return the sums of some combinations of the values that terms have in windows, by number, and their log pmf."""
    return _combined(_tables(terms), at)


def _tables(terms: Sequence[tuple[Part, Window]]) -> list[tuple[Ints, Floats]]:
    tables = []
    for term, window in terms:
        values = np.arange(window.low, window.high + 1)
        tables.append((term.step * values.astype(np.int64), np.asarray(term.count.logpmf(values))))
    return tables


def _combined(tables: Sequence[tuple[Ints, Floats]], at: Ints) -> tuple[Ints, Floats]:
    """Return the sums of some of the combinations of the terms' values, by their numbers, and their log pmf."""
    sums, logs = np.zeros(at.size, dtype=np.int64), np.zeros(at.size)
    for values, log_pmf in tables:
        at, which = np.divmod(at, values.size)
        sums += values[which]
        logs += log_pmf[which]
    return sums, logs


def _gathered(sums: Ints, logs: Floats) -> tuple[Ints, Floats]:
    """Return the different sums, rising, and the log probability of each."""
    order = np.argsort(sums)
    sums, logs = sums[order], logs[order]
    (begins,) = np.nonzero(np.append(True, sums[1:] != sums[:-1]))
    tops = np.maximum.reduceat(logs, begins)
    number = np.diff(np.append(begins, sums.size))
    safe = np.where(tops > -math.inf, tops, 0.0)
    with np.errstate(divide="ignore"):
        return sums[begins], safe + np.log(np.add.reduceat(np.exp(logs - np.repeat(safe, number)), begins))


def _halves(parts: Sequence[Part], windows: Sequence[Window]) -> list[list[tuple[Part, Window]]]:
    """Return the terms in two groups with about as many combinations of values each."""
    halves: list[list[tuple[Part, Window]]] = [[], []]
    sizes = [1.0, 1.0]
    for one in sorted(zip(parts, windows, strict=True), key=lambda each: each[1].low - each[1].high):
        less = sizes.index(min(sizes))
        halves[less].append(one)
        sizes[less] *= one[1].high - one[1].low + 1
    return halves


def log_sum(logs: Floats) -> float:
    """Return the log of the sum of exponentials."""
    top = float(logs.max())
    return top if top == -math.inf else top + math.log(math.fsum(np.exp(logs - top).tolist()))
