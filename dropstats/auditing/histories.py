"""Neurons whose history over the calls is that of another neuron some calls later: found by hashes, in linear time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

# Up to this many calls later.
LATEST = 8
# Calls are looked at until chance is so many nats below the level.
_SURE = 40.0
# Pairs of equal hashes that are compared bit by bit.
_COMPARED = 256
# Bits of a hash by which most neurons are ruled out before any are sorted.
_TABLE = 24
# An odd constant: histories are polynomials in it, modulo 2^64.
_BASE = 0xD1342543DE82EF95
_MODULUS = 2**64


@dataclass(frozen=True)
class Carried:
    """Pairs of neurons (first, second), the second of which does what the first one did `lag` calls before.

    `pvalue` bounds the probability of as many; `case` is that of the neurons that were looked at.
    """

    pvalue: float
    first: Ints
    second: Ints
    lag: int
    case: Case


def carried(case: Case) -> Carried | None:
    """Return neurons that do what another one did 1 to 8 calls before; None where calls are too few to tell.

    Two independent neurons of rate p agree over m calls, at any lag, with probability (p^2 + q^2)^m, so that the
    number of such pairs at lag d is n (n - 1) (p^2 + q^2)^(T - d) on average; Markov's bound, over all lags. Histories
    that do not change are left to the test of positions. Of very many calls as many are looked at as tell for sure.
    """
    found = [one for one in map(_enough, case.streams) if one is not None]
    if not found:
        return None
    log_expected = float(
        np.logaddexp.reduce([_log_expected(one, lag) for one in found for lag in range(1, LATEST + 1)])
    )
    best = Carried(1.0, np.zeros(0, np.int64), np.zeros(0, np.int64), 0, case)
    for one in found:
        for lag, first, second in _equal(one.seen):
            pvalue = math.exp(min(0.0, log_expected - math.log(first.size)))
            best = min(best, Carried(pvalue, first, second, lag, one), key=lambda pairs: pairs.pvalue)
    return best


def _enough(case: Case) -> Case | None:
    """Return the case of as many calls as tell for sure; None where all are too few."""
    if case.n < 2 or case.trials <= 2 * LATEST:
        return None
    if _log_expected(case, LATEST) > math.log(case.level / LATEST):
        return None
    beyond = math.ceil((_log_expected(case, LATEST) - math.log(case.level / LATEST) + _SURE) / -_log_agree(case))
    calls = min(case.trials, case.trials + beyond)
    return case if calls == case.trials else case.but(seen=Evidence(case.seen.recording.calls(0, calls)))


def _log_agree(case: Case) -> float:
    """Return the log of the probability that two neurons agree in a call."""
    # a rate further from 1/2 than the declared one must not pass for repetition
    rarer = min(min(rate, 1 - rate) for rate in (case.law.rate or 0.0, case.seen.rate))
    return math.log1p(-2 * rarer * (1 - rarer))


def _log_expected(case: Case, lag: int) -> float:
    """Return the log of the number of pairs that are expected to agree at a lag."""
    return math.log(case.n) + math.log(case.n - 1) + (case.trials - lag) * _log_agree(case)


def _equal(seen: Evidence) -> Iterator[tuple[int, Ints, Ints]]:
    """Yield for each lag the neurons whose history is that of another one `lag` calls later, and that other one."""
    trials, first, last = seen.trials, seen.drops_of(0, LATEST), seen.drops_of(seen.trials - LATEST, seen.trials)
    whole = _polynomial(seen)
    head, tail = np.zeros_like(whole), np.zeros_like(whole)
    ones = sum(_power(call) for call in range(trials)) % _MODULUS
    for lag in range(1, LATEST + 1):
        head += first[lag - 1] * np.uint64(_power(lag - 1))
        tail += last[LATEST - lag] * np.uint64(_power(trials - lag))
        ones = (ones - _power(trials - lag)) % _MODULUS
        early, late = (whole - tail) * np.uint64(_power(lag)), whole - head
        changes = (early != 0) & (early != np.uint64(ones * _power(lag) % _MODULUS))
        j, k = _matches(early, late, changes)
        j, k = _confirmed(seen, j, k, lag)
        if j.size:
            yield lag, j, k


def _power(call: int) -> int:
    return pow(_BASE, call, _MODULUS)


def _polynomial(seen: Evidence) -> Hashes:
    """Return for each neuron the sum of _BASE^t over the calls t that drop it, modulo 2^64."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.uint64)
    of_byte = bits @ np.array([_power(call) for call in range(8)], np.uint64)
    sums = np.zeros(seen.n, np.uint64)
    for row, byte in enumerate(seen.histories):
        sums += of_byte[byte] * np.uint64(_power(8 * row))
    return sums


def _matches(early: Hashes, late: Hashes, changes: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return places j, k, j != k, with early[j] == late[k]: every j that has one, with one such k."""
    present = np.zeros(2**_TABLE, np.bool_)
    present[late >> np.uint64(64 - _TABLE)] = True
    j = np.flatnonzero(changes & present[early >> np.uint64(64 - _TABLE)])
    if not j.size:
        return j, j
    order = np.argsort(late, kind="stable")
    low, high = (np.searchsorted(late, early[j], side=side, sorter=order) for side in ("left", "right"))
    j, low, high = j[high > low], low[high > low], high[high > low]
    k = np.where(order[low] == j, order[high - 1], order[low])  # of equal ones the first and the last
    return j[k != j], k[k != j]


def _confirmed(seen: Evidence, j: Ints, k: Ints, lag: int) -> tuple[Ints, Ints]:
    """Return the pairs whose histories are equal bit by bit; of very many, the rest where the first ones all are."""
    pairs = zip(j[:_COMPARED], k[:_COMPARED], strict=True)
    same = [np.array_equal(_history(seen, a)[:-lag], _history(seen, b)[lag:]) for a, b in pairs]
    return (j, k) if all(same) else (j[:_COMPARED][same], k[:_COMPARED][same])


def _history(seen: Evidence, neuron: np.int64) -> NDArray[np.uint8]:
    return np.asarray(seen.recording.neurons(np.array([neuron])).masks()[:, 0].view(np.uint8))
