"""Tables of probabilities of sums of independent binomials, with full relative accuracy in both tails.

All terms of a direct convolution are positive, so every probability keeps its relative accuracy however small it is
(a Fourier transform would leave an absolute error of 1e-16).

Sources: Y. Hong (2013), On computing the distribution function for the Poisson binomial distribution, Computational
Statistics & Data Analysis 59, 41-51, doi:10.1016/j.csda.2012.10.006; W. Biscarri, S. D. Zhao, R. J. Brunner (2018), A
simple and fast method for computing the Poisson binomial distribution function, Computational Statistics & Data
Analysis 122, 92-100, doi:10.1016/j.csda.2018.01.007.
"""

import math
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class Pmf(NamedTuple):
    """Probabilities of the counts start, start + 1, ...; those of all others are below the range of doubles."""

    start: int
    pmf: Floats


def convolve(groups: Sequence[Group]) -> Pmf:
    """Return the table of the sum of independent binomials."""
    singles = [group for group in groups if group.n <= _SINGLES]
    large = [(group, *_window(group)) for group in groups if group.n > _SINGLES]
    for size_a, size_b in pairwise(sorted(high - low + 1 for _, low, high in large)):
        _check_work(size_a, size_b)  # before any table is filled: the widest two meet in the end
    tables = [_binomial_table(*item) for item in large]
    if singles:
        repeats = [group.n for group in singles]
        p = np.repeat([group.p for group in singles], repeats)
        q = np.repeat([group.q for group in singles], repeats)
        tables += _multiply_many(np.stack([q, p], axis=1))
    if not tables:
        return Pmf(0, np.ones(1))
    # the two shortest first: fewest multiplications
    heap = [(table.pmf.size, index, table) for index, table in enumerate(tables)]
    heapify(heap)
    serial = len(heap)
    while len(heap) > 1:
        (_, _, a), (_, _, b) = heappop(heap), heappop(heap)
        table = product(a, b)
        heappush(heap, (table.pmf.size, serial, table))
        serial += 1
    return heap[0][2]


def product(a: Pmf, b: Pmf) -> Pmf:
    """Return the table of the sum of two independent counts."""
    if np.count_nonzero(a.pmf) > np.count_nonzero(b.pmf):
        a, b = b, a
    (points,) = np.nonzero(a.pmf)
    # tables of multiples of counts are mostly zeros; a pass over b for each point then costs less than all products
    if 8 * points.size < a.pmf.size:
        _check_work(points.size, b.pmf.size)
        out = np.zeros(a.pmf.size + b.pmf.size - 1)
        for point in points.tolist():
            out[point : point + b.pmf.size] += a.pmf[point] * b.pmf
        return trim(Pmf(a.start + b.start, out))
    _check_work(a.pmf.size, b.pmf.size)
    return trim(Pmf(a.start + b.start, np.convolve(a.pmf, b.pmf)))


def _check_work(size_a: int, size_b: int) -> None:
    """Raise where a convolution would take far too long."""
    if size_a * size_b > _MAX_WORK:
        raise ValueError(
            f"the exact law of this sum needs a convolution of {size_a} by {size_b} probabilities, beyond "
            f"{_MAX_WORK:.0e} multiplications; its mean, var, std and stats are available"
        )


def trim(table: Pmf) -> Pmf:
    """Return the table without the ends that are below the range of doubles."""
    large = np.flatnonzero(table.pmf >= _TINY)
    first, last = int(large[0]), int(large[-1])
    return Pmf(table.start + first, table.pmf[first : last + 1])


def _multiply_many(factors: Floats) -> list[Pmf]:
    """Return tables whose convolution is that of all rows, multiplying rows pairwise while they are short."""
    tables = []
    while factors.shape[0] > 1 and factors.shape[1] < _BATCH_LENGTH:
        if factors.shape[0] % 2:
            tables.append(trim(Pmf(0, factors[-1])))
        left, right = factors[:-1:2], factors[1::2]
        length = factors.shape[1]
        product = np.zeros((right.shape[0], 2 * length - 1))
        for shift in range(length):
            product[:, shift : shift + length] += left[: right.shape[0], shift : shift + 1] * right
        factors = product
    return tables + [trim(Pmf(0, row)) for row in factors]


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


def _binomial_table(group: Group, low: int, high: int) -> Pmf:
    """Return the table of a binomial over its window."""
    n, p, q = group
    if low == high:
        return Pmf(low, np.ones(1))
    _validate.memory(32 * (high - low + 1), f"the table of {high - low + 1} probabilities of binomial({n}, {p})")
    k = np.arange(low, high + 1, dtype=np.float64)
    return Pmf(low, np.exp(BinomialLogs(n, q).pmf(n - k) if p > q else BinomialLogs(n, p).pmf(k)))


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
