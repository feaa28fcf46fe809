"""How often two neurons are dropped together: sums over all pairs, and the pairs that stand out most."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import nulls
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Gram = NDArray[np.float32]

# All pairs of neurons are formed where this takes no more multiplications than about a second's.
_WORK = 2e10
# Neurons of which all pairs are formed.
NEURONS = 4096
# Pairs at fixed strides are counted over the first masks, up to so many neurons in all, in pieces of so many.
_STRIDES_NEURONS, _PIECE = 2**27, 2**22
# Pairs that stand out most by the normal distribution are judged exactly where rates differ.
_JUDGED = 1000
# Rows of the matrix of pairs gone through at a time, and pairs at strides whose p-values are computed to begin with.
_ROWS, _FIRST = 256, 64


@dataclass(frozen=True)
class Worst:
    """The pair of the smallest p-value: how often both were dropped, the expectation, and of how many pairs it is."""

    pvalue: float
    first: int
    second: int
    both: int
    expected: float
    tested: int


def joint_drops(case: Case) -> tuple[Gram, Ints, int]:
    """Return the matrix of how often neurons drop together, the neurons, and over how many masks."""
    n, trials = case.n, case.trials
    columns = np.arange(min(n, NEURONS))
    if n > NEURONS:  # both ends and a spread over the rest
        third = int(min(NEURONS, math.sqrt(_WORK / trials))) // 3
        middle = np.linspace(0, n - 1, third).astype(np.int64)
        columns = np.unique(np.concatenate([np.arange(third), np.arange(n - third, n), middle]))
    trials = int(min(trials, max(1000, _WORK // columns.size**2), 2**24))
    both: Gram = np.zeros((columns.size, columns.size), np.float32)
    step = max(1, 2**25 // columns.size)
    for start in range(0, trials, step):  # sums of up to 2^24 ones are exact in float32
        stop = min(start + step, trials)
        if columns.size == n:
            block = case.seen.drops_of(start, stop).astype(np.float32)
        else:
            block = case.seen.recording.calls(start, stop).neurons(columns).masks().astype(np.float32)
            np.subtract(1, block, out=block)
        both += block.T @ block
    return both, columns, trials


def statistic(p: float) -> str:
    """Return which count of a pair of neurons of rate p has the most to say."""
    return "dropped" if p < 0.25 else "kept" if p > 0.75 else "agree"


def _counted(both: Any, first: Any, second: Any, trials: int, what: str) -> Any:
    """Return how often two neurons are dropped together, kept together, or agree."""
    return both if what == "dropped" else trials - first - second + (1 if what == "kept" else 2) * both


def chance_of(p: Any, r: Any, what: str) -> Any:
    """Return the probability of that count's event, in one mask, for independent neurons of rates p and r."""
    dropped, kept = p * r, (1 - p) * (1 - r)
    return {"dropped": dropped, "kept": kept, "agree": dropped + kept}[what]


def worst_of_equal_rates(gram: Gram, counts: Ints, p: float, trials: int) -> Worst:
    """Return the worst pair where all rates are equal: the extremes of the count are the worst."""
    what = statistic(p)
    single = counts.astype(np.float32)
    table = gram.copy() if what == "dropped" else _counted(gram, single[:, None], single[None, :], trials, what)
    chance = float(chance_of(p, p, what))
    found: list[tuple[float, tuple[int, int]]] = []
    for fill, pick in ((-np.inf, np.argmax), (np.inf, np.argmin)):
        np.fill_diagonal(table, fill)
        at = np.unravel_index(int(pick(table)), table.shape)
        found.append((float(nulls.binomial(float(table[at]), trials, chance)), (int(min(at)), int(max(at)))))
    value, (j, k) = min(found)
    return Worst(value, j, k, int(gram[j, k]), trials * p * p, counts.size * (counts.size - 1) // 2)


def worst_of_unlike_rates(gram: Gram, rates: Floats, trials: int) -> Worst:
    """Return the worst pair where rates differ, of those that stand out most by the normal distribution."""
    tops = []
    for start in range(0, rates.size - 1, _ROWS):
        rows = slice(start, start + _ROWS)
        expected = trials * np.outer(rates[rows], rates[start:])
        deviation = np.sqrt(np.maximum(expected * (1 - expected / trials), 1e-300))
        # half a neuron keeps pairs that are never expected and occur once from filling the list
        z = np.abs(gram[rows, start:] - expected) / (deviation + 0.5)
        z[np.tri(*z.shape, dtype=np.bool_)] = -1.0
        best = np.argpartition(z, -min(_JUDGED, z.size), axis=None)[-_JUDGED:]
        tops.append((z.ravel()[best], start + best // z.shape[1], start + best % z.shape[1]))
    z, j, k = map(np.concatenate, zip(*tops, strict=True))
    top = np.argsort(z)[-_JUDGED:]
    top = top[z[top] >= 0]
    j, k = j[top], k[top]
    p = nulls.binomial(gram[j, k], trials, rates[j] * rates[k])
    at = int(np.argmin(p))
    a, b = int(j[at]), int(k[at])
    tested = rates.size * (rates.size - 1) // 2
    return Worst(float(p[at]), a, b, int(gram[a, b]), trials * float(rates[a] * rates[b]), tested)


def at_strides(case: Case, rates: Floats) -> Worst:
    """Return the worst pair of neurons 1, 2, 4, ... apart, of all neurons of a large layer, over its first masks."""
    n, rate = case.n, case.law.rate
    trials = min(case.trials, max(1, _STRIDES_NEURONS // n))
    seen = case.seen if trials == case.trials else Evidence(case.seen.recording.calls(0, trials))
    histories, drops = seen.histories, seen.neuron_drops
    what = statistic(float(rates[0]))
    best, tested = Worst(1.0, 0, 1, 0, trials * float(rates[0] * rates[1]), 0), 0
    for stride in (2**i for i in range(int(math.log2(n)))):
        tested += n - stride
        for start in range(0, n - stride, _PIECE):
            left = slice(start, min(start + _PIECE, n - stride))
            right = slice(left.start + stride, left.stop + stride)
            both = _ones(histories[:, left] & histories[:, right])
            count = _counted(both, drops[left], drops[right], trials, what)
            j, k = (np.arange(side.start, side.stop) for side in (left, right))
            if rate is not None:  # only the extremes can be the worst
                at = np.array([count.argmin(), count.argmax()])
                values = nulls.binomial(count[at], trials, chance_of(rates[j[at]], rates[k[at]], what))
                worst, value = int(at[np.argmin(values)]), float(values.min())
            else:
                worst, value = least(count, trials, chance_of(rates[j], rates[k], what), best.pvalue)
            if value < best.pvalue:
                a, b = int(j[worst]), int(k[worst])
                best = Worst(value, a, b, int(both[worst]), trials * float(rates[a] * rates[b]), 0)
    return replace(best, tested=tested)


def least(count: Any, trials: int, chance: Floats, below: float) -> tuple[int, float]:
    """Return where the exact two-sided p-value of a count under Bin(trials, chance) is least, and that p-value.

    Neither tail is smaller than the probability of the count itself: only where twice that is below what was found
    already, or `below`, is a tail computed.
    """
    log_choose = -special.gammaln(np.arange(1.0, trials + 2)) - special.gammaln(np.arange(trials + 1.0, 0, -1))
    log_choose += special.gammaln(trials + 1.0)
    bound = log_choose[count] + special.xlogy(count, chance) + special.xlog1py(trials - count, -chance)
    bound += math.log(2) - 1e-9  # the logs are right to 1e-11
    some = np.argpartition(bound, min(_FIRST, bound.size - 1))[:_FIRST]
    values = nulls.binomial(count[some], trials, chance[some])
    best = min(below, float(values.min()))
    more = np.flatnonzero(bound < (math.log(best) if best else -np.inf))
    if more.size > some.size:
        some, values = more, nulls.binomial(count[more], trials, chance[more])
    at = int(np.argmin(values))
    return int(some[at]), float(values[at])


def _ones(packed: NDArray[np.uint8]) -> Ints:
    """Return the number of 1 bits in each column of bytes."""
    ones, sums = np.bitwise_count(packed), np.zeros(packed.shape[1], np.int64)
    for start in range(0, ones.shape[0], 31):  # 31 numbers up to 8 add up to a byte at most
        sums += np.add.reduce(ones[start : start + 31], axis=0, dtype=np.uint8)
    return sums
