"""Tables of probabilities of sums of independent binomials, with full relative accuracy in both tails.

All terms of a direct convolution are positive, so every probability keeps its relative accuracy however small it is
(a Fourier transform would leave an absolute error of 1e-16).

Sources: Y. Hong (2013), On computing the distribution function for the Poisson binomial distribution, Computational
Statistics & Data Analysis 59, 41-51, doi:10.1016/j.csda.2012.10.006; W. Biscarri, S. D. Zhao, R. J. Brunner (2018), A
simple and fast method for computing the Poisson binomial distribution function, Computational Statistics & Data
Analysis 122, 92-100, doi:10.1016/j.csda.2018.01.007.
"""

import math
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress, _validate
from dropstats.counts.binomial_logs import BinomialLogs

Floats = NDArray[np.float64]

# Tables hold probabilities times 2^140 down to the smallest normal double; what is smaller, 1e-350, is cut off. So sums
# have all their digits down to the smallest double, 5e-324: what is lost is 1e-26 of it for each term.
SCALE = 2.0**140
_TINY = np.finfo(np.float64).tiny
UNSCALE = 2.0**-140
# Binomials of up to this many neurons are taken apart and convolved many at a time.
_SINGLES = 8
# Tables of so many neurons are had first. Tables are multiplied many at a time where they are no longer than this and
# there are enough pairs, or more pairs than they are long. Measured from 20 to 20,000 rates.
_GROUP, _TOGETHER, _PAIRS = 16, 34, 8
# Tables of many neurons are cut at their ends from this length on.
_CUT = 256
# Where the shorter of two tables is so long, the product is had as one of matrices, with rows of so many.
_LONG, _ROW = 1000, 64
# Entries of such a matrix at a time.
_ENTRIES = 2**20
# Tables of up to this length are formed from one count to the next, each step within 3e-16, and longer ones from logs.
_RATIOS = 2000
# Of fewer dropped, or kept, than this in the mean a table is short, and reaches its end.
_NEAR_END = 2000.0
# A convolution runs at about 1e9 multiplications a second and cannot be interrupted: this is a minute or two.
_MAX_WORK = 1e11


class Group(NamedTuple):
    """`n` neurons dropped with one probability p; q = 1 - p."""

    n: int
    p: float
    q: float


class Pmf(NamedTuple):
    """Probabilities of the counts start, start + 1, ..., times 2^140; those of all others are below 1e-349."""

    start: int
    pmf: Floats


def work(n: Floats, p: Floats) -> float:
    """Return about how many multiplications the table of a sum of independent binomials takes."""
    total, mean = float(n.sum()), float(n @ p)
    # an end of what is possible, or 37 standard deviations, bound what is above the range of doubles
    width = min(total, 75 * math.sqrt(float(n @ (p * (1 - p)))) + 100)
    if min(mean, total - mean) < _NEAR_END:
        return 0.0
    return width * float(np.minimum(n, 75 * np.sqrt(n * p * (1 - p)) + 100).sum())


def convolve(n: Floats, p: Floats, q: Floats) -> Pmf:
    """Return the table of the sum of independent binomials; q = 1 - p is held apart, for p may be next to 1."""
    few = n <= _SINGLES
    tables = [_multiply_many(*_repeated(n[few], p[few], q[few]))] if few.any() else []
    if not few.all():
        groups = [Group(int(size), *pair) for size, *pair in zip(*(x[~few].tolist() for x in (n, p, q)), strict=True)]
        large = [(group, *_window(group)) for group in groups]
        for size_a, size_b in pairwise(sorted(high - low + 1 for _, low, high in large)):
            _check_work(size_a, size_b)  # before any table is filled: the widest two meet in the end
        tables += [_binomial_table(*item) for item in large]
    if not tables:
        return Pmf(0, np.full(1, SCALE))
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
        for point in _progress.shown(points.tolist(), points.size, "convolving", "point", delay=1):
            out[point : point + b.pmf.size] += a.pmf[point] / SCALE * b.pmf
        return trim(Pmf(a.start + b.start, out))
    _check_work(a.pmf.size, b.pmf.size)
    return trim(Pmf(a.start + b.start, _multiply(a.pmf, b.pmf) * UNSCALE))


def _check_work(size_a: int, size_b: int) -> None:
    """Raise where a convolution would take far too long."""
    if size_a * size_b > _MAX_WORK:
        raise ValueError(
            f"the exact law of this sum needs a convolution of {size_a} by {size_b} probabilities, beyond "
            f"{_MAX_WORK:.0e} multiplications; its mean, var, std and stats are available"
        )


def scaled(logs: Floats) -> Floats:
    """Return exp(logs), times 2^140."""
    half = np.exp(logs / 2)  # the log of 2^140 is not a double
    return half * SCALE * half


def trim(table: Pmf) -> Pmf:
    """Return the table without the ends that are too small for it."""
    if table.pmf[0] >= _TINY and table.pmf[-1] >= _TINY:
        return table
    large = np.flatnonzero(table.pmf >= _TINY)
    first, last = int(large[0]), int(large[-1])
    return Pmf(table.start + first, table.pmf[first : last + 1])


def _repeated(n: Floats, p: Floats, q: Floats) -> tuple[Floats, Floats]:
    """Return p and q of each neuron."""
    return (p, q) if n.max() == 1 else (np.repeat(p, n.astype(np.intp)), np.repeat(q, n.astype(np.intp)))


def _multiply_many(p: Floats, q: Floats) -> Pmf:
    """Return the table of the number of dropped among neurons, by products of pairs, all pairs of a step together.

    The neurons are dealt out to a power of two of groups, so that all tables of a step are alike.
    """
    groups = 1 << ((p.size - 1) // _GROUP).bit_length()
    size = -(-p.size // groups)
    tables = np.zeros((2, groups << (size - 1).bit_length()))
    tables[0] = SCALE  # who is missing in a group is kept for certain
    np.multiply(q, SCALE, out=tables[0, : p.size])
    np.multiply(p, SCALE, out=tables[1, : p.size])
    while tables.shape[1] > groups:
        tables = _columns(tables)
    tables = tables[: size + 1]
    while tables.shape[1] >= max(2 * _PAIRS, 0 if tables.shape[0] <= _TOGETHER else 2 * tables.shape[0]):
        tables = _columns(tables)
    start, rows = 0, np.ascontiguousarray(tables.T)
    while rows.shape[0] > 1:
        half, length = rows.shape[0] // 2, rows.shape[1]
        products, others = np.empty((half, 2 * length - 1)), rows[half:, ::-1]
        for row in range(half):
            if length < _LONG:
                products[row] = np.correlate(rows[row], others[row], "full")
            else:
                products[row] = _multiply(rows[row], rows[half + row])
        products *= UNSCALE
        rows = products
        start *= 2
        if rows.shape[1] > _CUT:
            (large,) = np.nonzero(rows.max(axis=0) >= _TINY)
            start, rows = start + int(large[0]), rows[:, large[0] : large[-1] + 1]
    return trim(Pmf(start, rows[0, : p.size + 1 - start]))


def _columns(tables: Floats) -> Floats:
    """Return the products of the columns in the left half and those in the right half."""
    length, half = tables.shape[0], tables.shape[1] // 2
    padded = np.zeros((3 * length - 2, half))
    padded[length - 1 : 2 * length - 1] = tables[:, half:]
    size = padded.itemsize
    strides = -half * size, half * size, size
    # shifted[j, k] is row k - j of the right half
    shape = length, 2 * length - 1, half
    shifted = np.ndarray(shape, np.float64, padded, (length - 1) * half * size, strides)
    out: Floats = np.einsum("jh,jkh->kh", tables[:, :half], shifted)
    out *= UNSCALE
    return out


def _multiply(a: Floats, b: Floats) -> Floats:
    """Return the convolution of positive numbers.

    Where both are long it is a product of matrices, which runs at several times the speed: one holds the shorter, in
    rows, and the other shifted copies of the longer.
    """
    if a.size > b.size:
        a, b = b, a
    if a.size < _LONG:
        return np.correlate(b, a[::-1], "full")
    width, number = _ROW, -(-a.size // _ROW)
    rows = np.zeros((number, width))
    rows.reshape(-1)[rows.size - a.size :] = a[::-1]
    out = np.zeros((number - 1) * width + b.size + width - 1)
    step = _ENTRIES // max(number, width)
    begins = range(0, b.size, step)
    for begin in _progress.shown(begins, len(begins), "convolving", "block", delay=1):
        part = b[begin : begin + step]
        padded = np.zeros(part.size + 2 * width - 2)
        padded[width - 1 : width - 1 + part.size] = part
        shape, size = (width, part.size + width - 1), padded.itemsize
        products = rows @ np.ndarray(shape, np.float64, padded, 0, (size, size)).copy()
        for row in range(number):
            at = begin + (number - 1 - row) * width
            out[at : at + shape[1]] += products[row]
    return out[: a.size + b.size - 1]


def _window(group: Group) -> tuple[int, int]:
    """Return the first and the last count whose probability a table can hold."""
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
        return Pmf(low, np.full(1, SCALE))
    _validate.memory(32 * (high - low + 1), f"the table of {high - low + 1} probabilities of binomial({n}, {p})")
    if high - low > _RATIOS:
        k = np.arange(low, high + 1, dtype=np.float64)
        return Pmf(low, scaled(BinomialLogs(n, q).pmf(n - k) if p > q else BinomialLogs(n, p).pmf(k)))
    if p > q:
        table = _binomial_table(Group(n, q, p), n - high, n - low)
        return Pmf(low, table.pmf[::-1])
    mode = min(max(int((n + 1) * p), low), high)
    up, down = np.arange(mode, high, dtype=np.float64), np.arange(mode, low, -1, dtype=np.float64)
    pmf = np.empty(high - low + 1)
    pmf[mode - low] = SCALE * math.exp(BinomialLogs(n, p).pmf_at(float(mode)))
    pmf[mode - low + 1 :] = np.multiply.accumulate((n - up) / (up + 1) * (p / q)) * pmf[mode - low]
    pmf[: mode - low] = (np.multiply.accumulate(down / (n - down + 1) * (q / p)) * pmf[mode - low])[::-1]
    return Pmf(low, pmf)


def _bisect(logs: BinomialLogs, low: int, high: int, rising: bool) -> int:
    """Return the outermost count between low and high whose probability a table can hold."""
    floor = math.log(_TINY) - math.log(SCALE)
    while high - low > 1:
        middle = (low + high) // 2
        inside = logs.pmf_at(float(middle)) >= floor
        if inside == rising:
            high = middle
        else:
            low = middle
    return high if rising else low
