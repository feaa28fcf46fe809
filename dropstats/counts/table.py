"""Laws of a count given by their probabilities, certain counts, and multiples of a count."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _validate
from dropstats.counts.binomial_logs import BinomialLogs
from dropstats.counts.convolution import UNSCALE, Pmf, scaled, trim
from dropstats.counts.frozen import Count
from dropstats.counts.search import counts_between

Floats = NDArray[np.float64]

# Smaller numbers have fewer digits than their logs need.
LOG_FLOOR = 1e-290
# The log of a probability in a table is right to 1e-13, and there may be 1e4 of them.
_SUM_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Logs:
    """Logs of the pmf and of the tail away from the mean, around one remote count or of all on one side of the mean.

    ``tail`` holds log P(X >= k) on the upper side and log P(X <= k) on the lower one; both are right from `first` to
    `last`.
    """

    start: int
    pmf: Floats
    make_tail: Callable[[], Floats]
    first: int
    last: int

    @cached_property
    def tail(self) -> Floats:
        """Logs of the tail, made when they are asked for."""
        return self.make_tail()


def log_sums(logs: Floats, shift: float, upward: bool) -> Floats:
    """Return the logs of the sums of exp(logs) from each on upward, or downward, right to eps |log - shift|."""
    sums = np.logaddexp.accumulate((logs[::-1] if upward else logs) - shift) + shift
    return sums[::-1] if upward else sums


class Tabulated(Count):
    """A count whose law is a table, made at the first question that needs it and kept.

    A subclass supplies the table, the logs around a remote count, and the ends of what is possible.
    """

    _table: Pmf
    _possible: tuple[int, int]
    _log_end: Callable[[int], float]
    _remote: Callable[[int], Logs]

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._found: list[Logs] = []

    @cached_property
    def _mass(self) -> Floats:
        """The pmf over the table, with a 0 before and behind."""
        pmf = self._table.pmf
        mass = np.zeros(pmf.size + 2)
        np.multiply(pmf, UNSCALE, out=mass[1:-1])
        return mass

    @cached_property
    def _tails(self) -> tuple[Floats, Floats]:
        """cdf and sf from before the table to behind it, each summed from its own end up to the middle."""
        pmf = self._table.pmf
        cdf, sf = np.zeros(pmf.size + 2), np.zeros(pmf.size + 2)
        np.multiply(np.cumsum(pmf), UNSCALE, out=cdf[1:-1])
        np.multiply(np.cumsum(pmf[:0:-1])[::-1], UNSCALE, out=sf[1:-2])
        cdf[-1] = sf[0] = 1.0
        lower = cdf <= 0.5
        return np.where(lower, cdf, 1 - sf), np.where(lower, 1 - cdf, sf)

    def _value(self, which: int, k: Any) -> Any:
        """Return the pmf, cdf or sf from the table, whose ends hold for all counts beyond it."""
        values, before = self._mass if which == 0 else self._tails[which - 1], self._table.start - 1
        if isinstance(k, float):
            return float(values[min(max(int(k) - before, 0), values.size - 1)])
        return values.take((k - before).astype(np.intp), mode="clip")

    def _pmf(self, k: Any) -> Any:
        return self._value(0, k)

    def _cdf(self, k: Any) -> Any:
        return self._value(1, k)

    def _sf(self, k: Any) -> Any:
        return self._value(2, k)

    def _levels(self, levels: Floats, upward: bool) -> Floats:
        cdf, sf = (tail[1:-1] for tail in self._tails)
        found = cdf.size - np.searchsorted(sf[::-1], levels, side="right") if upward else np.searchsorted(cdf, levels)
        return np.minimum(self._table.start + found, self.n).astype(np.float64)

    def _level(self, level: float, upward: bool) -> float:
        cdf, sf = self._tails
        found = cdf.size - sf[::-1].searchsorted(level, "right") if upward else cdf.searchsorted(level)
        return float(min(max(self._table.start - 1 + int(found), 0), self.n))

    def _logpmf(self, k: Any) -> Any:
        if isinstance(k, float):
            value = self._pmf(k)
            return math.log(value) if value >= LOG_FLOOR else float(self._logpmf(np.array([k]))[0])
        return self._log(k, self._pmf(k), "pmf")

    def _logcdf(self, k: Any) -> Any:
        return self._log_tail(k, k, upward=False)

    def _logsf(self, k: Any) -> Any:
        return self._log_tail(k, k + 1, upward=True)

    def _log_tail(self, k: Any, edge: Any, upward: bool) -> Any:
        """Return the log of a tail whose outermost term nearest the mean is `edge`."""
        if isinstance(k, float):
            value = self._sf(k) if upward else self._cdf(k)
            if LOG_FLOOR <= value <= 0.5:
                return math.log(value)
            return float(self._log_tail(np.array([k]), np.array([edge]), upward)[0])
        tail, other = (self._sf(k), self._cdf(k)) if upward else (self._cdf(k), self._sf(k))
        out = self._log(edge, tail, "tail")
        large = tail > 0.5
        out[large] = np.log1p(-other[large])
        first, last = self._possible
        # beyond the last possible count on its own side a tail is empty; before the first it is everything
        out[edge > last if upward else edge < first] = -np.inf
        out[edge <= first if upward else edge >= last] = 0.0
        return out

    def _log(self, k: Floats, values: Floats, what: str) -> Floats:
        """Return log(values), from logs around remote counts where the values are too small to have digits."""
        with np.errstate(divide="ignore"):
            out = np.log(values)
        first, last = self._possible
        out[(k < first) | (k > last)] = -np.inf
        small = (values < LOG_FLOOR) & (k >= first) & (k <= last)
        for end in (first, last):
            at = small & (k == end)
            if at.any():
                out[at] = self._log_end(end)
                small &= ~at
        while small.any():
            pending = np.flatnonzero(small)
            logs = self._around(int(k[pending[0]]))
            ready = pending[(k[pending] >= logs.first) & (k[pending] <= logs.last)]
            out[ready] = getattr(logs, what)[(k[ready] - logs.start).astype(np.intp)]
            small[ready] = False
        return out

    def _around(self, k: int) -> Logs:
        for logs in self._found:
            if logs.first <= k <= logs.last:
                return logs
        self._found.append(self._remote(k))
        return self._found[-1]

    def _window(self) -> Floats:
        return self._table.start + counts_between(0, self._table.pmf.size - 1)

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        """Draw counts by inversion of the cdf."""
        uniform = source.random_sample if isinstance(source, np.random.RandomState) else source.random
        index = np.searchsorted(self._tails[0][1:-1], uniform(size))
        return np.asarray(self._table.start + np.minimum(index, self._table.pmf.size - 1))


class Table(Tabulated):
    """A count in 0..n with any probabilities.

    Parameters
    ----------
    log_pmf : array_like
        Natural logs of the probabilities of the counts start, start + 1, ...; -inf where a count cannot occur.
    n : int, optional
        Largest count in the support; by default the last of the table.
    start : int
        First count of the table. Counts outside the table cannot occur.

    Examples
    --------
    >>> law = Table(np.log([0.25, 0.5, 0.25]))
    >>> law.pmf([0, 1, 2]).round(3), law.var().round(3)
    (array([0.25, 0.5 , 0.25]), np.float64(0.5))
    """

    start: int
    log_pmf: NDArray[np.float64]

    _made_from = ("log_pmf", "n", "start")

    def __init__(self, log_pmf: ArrayLike, n: int | None = None, start: int = 0) -> None:
        table = np.array(log_pmf, dtype=np.float64)
        super().__init__(start + table.size - 1 if n is None else n)
        total = float(np.sum(np.exp(table)))
        if table.ndim != 1 or not abs(total - 1) < _SUM_TOLERANCE or start < 0 or start + table.size - 1 > self.n:
            raise ValueError(
                f"a table of a count in 0..{self.n} must hold logs of probabilities that sum to 1; got {table.size} "
                f"from {start} on, of sum {total!r}"
            )
        (possible,) = np.nonzero(table > -np.inf)
        self.start = start + int(possible[0])
        self.log_pmf = table[possible[0] : possible[-1] + 1]
        self.log_pmf.flags.writeable = False
        self._possible = self.start, self.start + self.log_pmf.size - 1

    @cached_property
    def _table(self) -> Pmf:  # type: ignore[override]
        return trim(Pmf(self.start, scaled(self.log_pmf)))

    def _log_end(self, k: int) -> float:
        return float(self.log_pmf[k - self.start])

    def _remote(self, k: int) -> Logs:
        """Return the logs of one side of the mean."""
        mode = int(np.argmax(self.log_pmf))
        upward = k - self.start > mode
        log_pmf = self.log_pmf[mode + 1 :] if upward else self.log_pmf[:mode]
        # about the smallest double, where they are needed as numbers, sums of logs keep their digits so
        shift = math.log(LOG_FLOOR)
        start = self.start + mode + 1 if upward else self.start
        return Logs(start, log_pmf, lambda: log_sums(log_pmf, shift, upward), start, start + log_pmf.size - 1)

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        pmf, k = np.exp(self.log_pmf), np.arange(self.log_pmf.size, dtype=np.float64)
        mean = float(pmf @ k)
        variance, third, fourth = (float(pmf @ (k - mean) ** order) for order in (2, 3, 4))
        return self.start + mean, variance, third, fourth - 3 * variance**2

    def _mean_kept(self) -> float:
        return float(np.exp(self.log_pmf) @ (self.n - self.start - np.arange(self.log_pmf.size)))


def point_mass(n: int, k: int) -> Table:
    """Return the law of a count in 0..n that is always k.

    Examples
    --------
    >>> law = point_mass(10, 3)
    >>> law.pmf([2, 3]), law.var()
    (array([0., 1.]), np.float64(0.0))
    """
    return Table([0.0], n, k)


class Scaled(Count):
    """A multiple of a count: `size` neurons are dropped for each that `count` counts.

    Examples
    --------
    >>> from dropstats.counts import Binomial
    >>> law = Scaled(Binomial(64, 0.2), 64)
    >>> law.n, law.var().round(2), law.pmf(640) == Binomial(64, 0.2).pmf(10)
    (4096, np.float64(41943.04), np.True_)
    """

    count: Count
    size: int

    _made_from = ("count", "size")

    def __init__(self, count: Count, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1; got {size}")
        super().__init__(count.n * size)
        self.count, self.size = count, size

    def __repr__(self) -> str:
        return f"{self.size} * {self.count!r}"

    def _at_points(self, k: Any, function: Callable[[Any], Any], elsewhere: float) -> Any:
        if isinstance(k, float):
            return elsewhere if k % self.size else function(k // self.size)
        return np.where(k % self.size == 0, function(k // self.size), elsewhere)

    def _pmf(self, k: Any) -> Any:
        return self._at_points(k, self.count._pmf, 0.0)

    def _logpmf(self, k: Any) -> Any:
        return self._at_points(k, self.count._logpmf, -np.inf)

    def _cdf(self, k: Any) -> Any:
        return self.count._cdf(k // self.size)

    def _sf(self, k: Any) -> Any:
        return self.count._sf(k // self.size)

    def _logcdf(self, k: Any) -> Any:
        return self.count._logcdf(k // self.size)

    def _logsf(self, k: Any) -> Any:
        return self.count._logsf(k // self.size)

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        mean, variance, third, fourth = self.count._cumulants
        return self.size * mean, self.size**2 * variance, self.size**3 * third, self.size**4 * fourth

    def _mean_kept(self) -> float:
        return self.size * self.count._mean_kept()

    def _sum(self, low: int, high: int) -> float:
        low, high = -(-low // self.size), high // self.size
        return self.count._sum(low, high) if low <= high else 0.0

    def _window(self) -> Floats:
        return self.size * self.count._window()

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats: that of the count it is a multiple of."""
        return self.count.entropy()

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        return self.size * self.count._variates(size, source)


def hypergeometric(n: int, k: int, m: int) -> Table:
    """Return the law of how many of m chosen neurons are among the k dropped of n.

    P(j) = b(j; k, m / n) b(m - j; n - k, m / n) / b(m; n, m / n) with binomial probabilities b, whose logs keep their
    digits for every n.

    Source: C. Loader (2000), Fast and accurate computation of binomial probabilities, Bell Laboratories.

    Examples
    --------
    >>> hypergeometric(4, 2, 2).pmf([0, 1, 2]).round(6)
    array([0.166667, 0.666667, 0.166667])
    """
    low, high = max(0, m + k - n), min(k, m)
    if low == high:
        return point_mass(m, low)
    _validate.memory(64 * (high - low + 1), f"the table of {high - low + 1} probabilities")
    j = counts_between(low, high)
    rate = m / n
    chosen, rest, all_ = (BinomialLogs(size, rate) for size in (k, n - k, n))
    return Table(chosen.pmf(j) + rest.pmf(m - j) - all_.pmf(np.array([float(m)])), m, low)
