"""Tables of probabilities of sums of independent binomials, with full relative accuracy in both tails.

All terms of a direct convolution are positive, so every probability keeps its relative accuracy however small it is
(a Fourier transform would leave an absolute error of 1e-16). Below the range of doubles the law is tilted: under
exp(theta k) P(X = k) / E exp(theta X) a remote count becomes the mean, and its probability follows from the tilted one.

Sources: Y. Hong (2013), On computing the distribution function for the Poisson binomial distribution, Computational
Statistics & Data Analysis 59, 41-51, doi:10.1016/j.csda.2012.10.006; W. Biscarri, S. D. Zhao, R. J. Brunner (2018), A
simple and fast method for computing the Poisson binomial distribution function, Computational Statistics & Data
Analysis 122, 92-100, doi:10.1016/j.csda.2018.01.007; F. Esscher (1932), On the probability function in the collective
theory of risk, Skandinavisk Aktuarietidskrift 15, 175-195 (tilting).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from dropstats import _validate
from dropstats.counts.binomial_logs import BinomialLogs

Floats = NDArray[np.float64]

# The smallest normal double: smaller entries at the ends of a table have lost digits and are cut off. What is lost so
# is below 1e-302 of any probability of up to 1e6 binomials, i.e. 1e-12 relative at 1e-290.
_TINY = np.finfo(np.float64).tiny
# Tables are trusted to full relative accuracy from here on.
TABLE_FLOOR = 1e-290
# Binomials of up to this many neurons are taken apart and convolved many at a time.
_SINGLES = 8
# Polynomials are multiplied many at a time up to this length, pair by pair beyond: measured fastest at 20,000 rates.
_BATCH_LENGTH = 128
# A convolution runs at about 1e9 multiplications a second and cannot be interrupted: this is a minute or two.
_MAX_WORK = 1e11


class Group(NamedTuple):
    """`n` neurons dropped with one probability p; q = 1 - p is held apart, since a tilted p may be next to 1."""

    n: int
    p: float
    q: float


class Table(NamedTuple):
    """Probabilities of the counts start, start + 1, ...; those of all others are below the range of doubles."""

    start: int
    pmf: Floats


def convolve(groups: Sequence[Group]) -> Table:
    """Return the table of the sum of independent binomials."""
    singles = [group for group in groups if group.n <= _SINGLES]
    large = [(group, *_window(group)) for group in groups if group.n > _SINGLES]
    for size_a, size_b in pairwise(sorted(high - low + 1 for _, low, high in large)):
        check_work(size_a, size_b)  # before any table is filled: the widest two meet in the end
    tables = [_binomial_table(*item) for item in large]
    if singles:
        repeats = [group.n for group in singles]
        p = np.repeat([group.p for group in singles], repeats)
        q = np.repeat([group.q for group in singles], repeats)
        tables += _multiply_many(np.stack([q, p], axis=1))
    if not tables:
        return Table(0, np.ones(1))
    # the two shortest first: fewest multiplications
    heap = [(table.pmf.size, index, table) for index, table in enumerate(tables)]
    heapify(heap)
    serial = len(heap)
    while len(heap) > 1:
        (size_a, _, a), (size_b, _, b) = heappop(heap), heappop(heap)
        check_work(size_a, size_b)
        table = trim(Table(a.start + b.start, np.convolve(a.pmf, b.pmf)))
        heappush(heap, (table.pmf.size, serial, table))
        serial += 1
    return heap[0][2]


def check_work(size_a: int, size_b: int) -> None:
    """Raise where a convolution would take far too long."""
    if size_a * size_b > _MAX_WORK:
        raise ValueError(
            f"the exact law of this sum needs a convolution of {size_a} by {size_b} probabilities, beyond "
            f"{_MAX_WORK:.0e} multiplications; its mean, var, std and stats are available"
        )


def trim(table: Table) -> Table:
    """Return the table without the ends that are below the range of doubles."""
    large = np.flatnonzero(table.pmf >= _TINY)
    first, last = int(large[0]), int(large[-1])
    return Table(table.start + first, table.pmf[first : last + 1])


def _multiply_many(factors: Floats) -> list[Table]:
    """Return tables whose convolution is that of all rows, multiplying rows pairwise while they are short."""
    tables = []
    while factors.shape[0] > 1 and factors.shape[1] < _BATCH_LENGTH:
        if factors.shape[0] % 2:
            tables.append(trim(Table(0, factors[-1])))
        left, right = factors[:-1:2], factors[1::2]
        length = factors.shape[1]
        product = np.zeros((right.shape[0], 2 * length - 1))
        for shift in range(length):
            product[:, shift : shift + length] += left[: right.shape[0], shift : shift + 1] * right
        factors = product
    return tables + [trim(Table(0, row)) for row in factors]


def _window(group: Group) -> tuple[int, int]:
    """Return the first and the last count whose probability is a normal double."""
    n, p, q = group
    if p == 0 or q == 0:
        certain = n if q == 0 else 0
        return certain, certain
    if p > q:  # the rounded of the two is then the one that does no harm
        low, high = _window(Group(n, q, p))
        return n - high, n - low
    logs, mode = BinomialLogs(n, p), min(n, int((n + 1) * p))
    return _bisect(logs, -1, mode, rising=True), _bisect(logs, mode, n + 1, rising=False)


def _binomial_table(group: Group, low: int, high: int) -> Table:
    """Return the table of a binomial over its window."""
    n, p, q = group
    if low == high:
        return Table(low, np.ones(1))
    _validate.memory(32 * (high - low + 1), f"the table of {high - low + 1} probabilities of binomial({n}, {p})")
    k = np.arange(low, high + 1, dtype=np.float64)
    return Table(low, np.exp(BinomialLogs(n, q).pmf(n - k) if p > q else BinomialLogs(n, p).pmf(k)))


def _bisect(logs: BinomialLogs, low: int, high: int, rising: bool) -> int:
    """Return the outermost count between low and high whose probability is a normal double."""
    floor = math.log(_TINY)
    while high - low > 1:
        middle = (low + high) // 2
        inside = bool(logs.pmf(np.array([float(middle)]))[0] >= floor)
        if inside == rising:
            high = middle
        else:
            low = middle
    return high if rising else low


@dataclass(frozen=True)
class TiltedLogs:
    """Logs of the pmf and of the tail away from the mean, around one remote count.

    ``tail`` holds log P(X >= k) for an upward tilt and log P(X <= k) for a downward one.
    """

    start: int
    pmf: Floats
    tail: Floats
    upward: bool
    first: int
    last: int


def tilt(groups: Sequence[Group], k: int) -> TiltedLogs:
    """Return the logs around count k, which must lie strictly inside the support of the sum.

    With pi = p exp(t) / (q + p exp(t)), t such that the tilted mean is k,
    log P(X = j) = log P_t(X = j) + sum log(q + p exp(t)) - t j.
    """
    # neurons that are always or never dropped shift the sum and cannot be tilted
    random = [group for group in groups if group.p > 0 and group.q > 0]
    shift = sum(group.n for group in groups if group.q == 0)
    n = np.array([group.n for group in random], dtype=np.float64)
    log_p = np.log([group.p for group in random])
    log_q = np.array([math.log1p(-g.p) if g.p < g.q else math.log(g.q) for g in random])
    odds = np.where(log_p > log_q, -logit([g.q for g in random]), logit([g.p for g in random]))
    goal = float(k - shift)

    def excess(theta: float) -> float:
        # of the smaller of dropped and kept, so that digits remain at the ends
        if goal > n.sum() / 2:
            return float((n.sum() - goal) - n @ expit(-(odds + theta)))
        return float(n @ expit(odds + theta) - goal)

    # |logit p| <= 745 for doubles, so at 1600 all tilted probabilities are 0 or 1
    theta = brentq(excess, -1600.0, 1600.0, xtol=1e-12, rtol=1e-14)
    tilted = [
        Group(int(size), float(up), float(down))
        for size, up, down in zip(n, expit(odds + theta), expit(-(odds + theta)), strict=True)
    ]
    start, pmf = convolve(tilted)
    start += shift
    scale = float(n @ np.logaddexp(log_q, log_p + theta))
    # beyond the table's own floor the tail's missing terms matter less than a digit
    trusted = np.flatnonzero(pmf >= 1e-200)
    log_pmf = np.log(pmf) + (scale - theta * (start - shift + np.arange(pmf.size)))
    upward = theta > 0
    ordered = log_pmf[::-1] if upward else log_pmf
    tail = np.logaddexp.accumulate(ordered)
    return TiltedLogs(
        start,
        log_pmf,
        tail[::-1] if upward else tail,
        upward,
        start + int(trusted[0]),
        start + int(trusted[-1]),
    )
