"""Sums of independent counts of any kind, with digits in both tails."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, reduce
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from dropstats import _validate
from dropstats.counts.binomial import Binomial
from dropstats.counts.convolution import Group, Table, TiltedLogs, check_work, convolve, trim
from dropstats.counts.frozen import Count
from dropstats.counts.poisson_binomial import PoissonBinomial, of_rates
from dropstats.counts.table import Scaled, tabulate
from dropstats.counts.table import Table as Tabled
from dropstats.counts.tabulated import Tabulated

Floats = NDArray[np.float64]


class _Term(Protocol):
    """An independent part of a sum, whose law can be tilted: P(k) exp(theta k) / E exp(theta X)."""

    first: int
    last: int

    def log_end(self, top: bool) -> float:
        """Return the log probability of the first or the last possible count."""

    def log_scale(self, theta: float) -> float:
        """Return log E exp(theta (X - first))."""

    def rise(self, theta: float) -> float:
        """Return the tilted mean of X - first."""

    def fall(self, theta: float) -> float:
        """Return the tilted mean of last - X."""

    def table(self, theta: float) -> Table:
        """Return the tilted probabilities."""


class _Binomials:
    """Independent binomials, of which each neuron counts `step`."""

    def __init__(self, step: int, parts: Iterable[tuple[float, int]]) -> None:
        merged: dict[float, int] = {}
        for p, n in parts:
            merged[p] = merged.get(p, 0) + n
        self.step = step
        self.first = step * merged.get(1.0, 0)
        self.groups = [Group(n, p, 1 - p) for p, n in sorted(merged.items()) if 0 < p < 1 and n]
        self.n = np.array([group.n for group in self.groups], dtype=np.float64)
        self.last = self.first + step * sum(group.n for group in self.groups)
        rates = np.array([group.p for group in self.groups])
        self.log_p, self.log_q, self.odds = np.log(rates), np.log1p(-rates), logit(rates)

    def log_end(self, top: bool) -> float:
        logs: Floats = self.log_p if top else self.log_q
        return math.fsum(self.n * logs)

    def log_scale(self, theta: float) -> float:
        return float(self.n @ np.logaddexp(self.log_q, self.log_p + theta * self.step))

    def rise(self, theta: float) -> float:
        return float(self.step * (self.n @ expit(self.odds + theta * self.step)))

    def fall(self, theta: float) -> float:
        return float(self.step * (self.n @ expit(-(self.odds + theta * self.step))))

    def table(self, theta: float) -> Table:
        up, down = expit(self.odds + theta * self.step), expit(-(self.odds + theta * self.step))
        tilted = [
            Group(group.n, float(p), float(q)) if theta else group
            for group, p, q in zip(self.groups, up, down, strict=True)
        ]
        start, pmf = convolve(tilted)
        size = (pmf.size - 1) * self.step + 1
        _validate.memory(32 * size, f"the table of {size} probabilities")
        spread = np.zeros(size)
        spread[:: self.step] = pmf
        return Table(self.first + start * self.step, spread)


class _Counted:
    """A count known by its table."""

    def __init__(self, count: Tabled) -> None:
        self.log_pmf = count.log_pmf
        self.first, self.last = count.start, count.start + count.log_pmf.size - 1
        self.k = np.arange(count.log_pmf.size, dtype=np.float64)

    def log_end(self, top: bool) -> float:
        return float(self.log_pmf[-1 if top else 0])

    def log_scale(self, theta: float) -> float:
        return float(np.logaddexp.reduce(self.log_pmf + theta * self.k))

    def _tilted(self, theta: float) -> Floats:
        return np.exp(self.log_pmf + theta * self.k - self.log_scale(theta))

    def rise(self, theta: float) -> float:
        return float(self._tilted(theta) @ self.k)

    def fall(self, theta: float) -> float:
        return float(self._tilted(theta) @ self.k[::-1])

    def table(self, theta: float) -> Table:
        return trim(Table(self.first, self._tilted(theta)))


def _product(a: Table, b: Table) -> Table:
    if np.count_nonzero(a.pmf) > np.count_nonzero(b.pmf):
        a, b = b, a
    (points,) = np.nonzero(a.pmf)
    # tables of multiples of counts are mostly zeros; a pass over b for each point then costs less than all products
    if 8 * points.size < a.pmf.size:
        check_work(points.size, b.pmf.size)
        out = np.zeros(a.pmf.size + b.pmf.size - 1)
        for point in points.tolist():
            out[point : point + b.pmf.size] += a.pmf[point] * b.pmf
        return trim(Table(a.start + b.start, out))
    check_work(a.pmf.size, b.pmf.size)
    return trim(Table(a.start + b.start, np.convolve(a.pmf, b.pmf)))


def _tilt(terms: Sequence[_Term], k: int) -> TiltedLogs:
    """Return the logs around count k, which must lie strictly inside what is possible."""
    first, last = sum(term.first for term in terms), sum(term.last for term in terms)

    def excess(theta: float) -> float:
        # of the smaller of rise and fall, so that digits remain at the ends
        if k - first > (last - first) / 2:
            return (last - k) - sum(term.fall(theta) for term in terms)
        return sum(term.rise(theta) for term in terms) - (k - first)

    low, high = -1.0, 1.0
    while excess(low) > 0:
        low *= 4
    while excess(high) < 0:
        high *= 4
    theta = brentq(excess, low, high, xtol=1e-12, rtol=1e-14)
    start, pmf = reduce(_product, sorted((term.table(theta) for term in terms), key=lambda table: table.pmf.size))
    scale = sum(term.log_scale(theta) for term in terms)
    trusted = np.flatnonzero(pmf >= 1e-200)  # as in convolution.tilt
    with np.errstate(divide="ignore"):
        log_pmf = np.log(pmf) + (scale - theta * (start - first + np.arange(pmf.size)))
    upward = theta > 0
    tail = np.logaddexp.accumulate(log_pmf[::-1] if upward else log_pmf)
    ends = start + int(trusted[0]), start + int(trusted[-1])
    return TiltedLogs(start, log_pmf, tail[::-1] if upward else tail, upward, *ends)


class Sum(Tabulated):
    """Sum of independent counts of any kind.

    The terms are convolved; all that is added is positive, so each probability keeps its relative accuracy.

    Examples
    --------
    >>> from dropstats.counts import Binomial, point_mass
    >>> law = Sum([Scaled(Binomial(2, 0.5), 3), point_mass(5, 1)])
    >>> law.n, law.pmf([1, 4, 7])
    (11, array([0.25, 0.5 , 0.25]))
    """

    def __init__(self, counts: Iterable[Count]) -> None:
        self.counts = tuple(counts)
        super().__init__(sum(count.n for count in self.counts))

    @cached_property
    def _terms(self) -> list[_Term]:
        binomials: dict[int, list[tuple[float, int]]] = {}
        terms: list[_Term] = []
        for count in self.counts:
            step = 1
            while isinstance(count, Scaled):
                step, count = step * count.size, count.count
            if isinstance(count, Binomial | PoissonBinomial):
                binomials.setdefault(step, []).extend(count.parts)
            else:
                whole = Scaled(count, step) if step > 1 else count
                terms.append(_Counted(whole if isinstance(whole, Tabled) else tabulate(whole)))
        return terms + [_Binomials(step, parts) for step, parts in sorted(binomials.items())]

    @cached_property
    def _table(self) -> Table:  # type: ignore[override]
        tables = sorted((term.table(0.0) for term in self._terms), key=lambda table: table.pmf.size)
        return reduce(_product, tables, Table(0, np.ones(1)))

    def _tilt(self, k: int) -> TiltedLogs:
        return _tilt(self._terms, k)

    @cached_property
    def _possible(self) -> tuple[int, int]:  # type: ignore[override]
        """Smallest and largest count of positive probability."""
        return sum(term.first for term in self._terms), sum(term.last for term in self._terms)

    def _log_end(self, k: int) -> float:
        """Return the log pmf at the smallest or largest possible count, where it is a sum of logs."""
        return math.fsum(term.log_end(k == self._possible[1]) for term in self._terms)

    def _moments(self) -> tuple[float, float, float, float]:
        moments = [count._moments() for count in self.counts]
        mean, variance = (math.fsum(moment[order] for moment in moments) for order in (0, 1))
        if variance == 0:
            return mean, 0.0, math.nan, math.nan
        random = [(v, skewness, kurtosis) for _, v, skewness, kurtosis in moments if v > 0]
        # factors in this order: the square of a small variance is below the range of doubles
        third = math.fsum(skewness * math.sqrt(v) * v for v, skewness, _ in random)
        fourth = math.fsum(kurtosis * v * v for v, _, kurtosis in random)
        return mean, variance, third / variance / math.sqrt(variance), fourth / variance / variance

    def _mean_kept(self) -> float:
        return math.fsum(count._mean_kept() for count in self.counts)

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        drawn = np.zeros(size, dtype=np.int64)
        for count in self.counts:
            drawn = drawn + count._variates(size, source)
        return np.asarray(drawn)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.counts,)


def _flat(counts: Iterable[Count]) -> Iterator[Count]:
    for count in counts:
        if isinstance(count, Sum):
            yield from count.counts
        else:
            yield count


def add(*counts: Count) -> Count:
    """Return the law of the sum of independent counts; equal probabilities are merged into one binomial."""
    for count in counts:
        if not isinstance(count, Count):
            raise TypeError(f"the law of a sum needs laws of counts; got {count!r} of type {type(count).__name__}")
    parts: list[tuple[float, int]] = []
    others = []
    for count in _flat(counts):
        if isinstance(count, Binomial | PoissonBinomial):
            parts += count.parts
        else:
            others.append(count)
    if not others:
        return of_rates(parts)
    if any(n for _, n in parts):
        others.append(of_rates(parts))
    return others[0] if len(others) == 1 else Sum(others)
