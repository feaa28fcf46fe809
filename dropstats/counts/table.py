"""Laws of a count given by their probabilities, certain counts, and multiples of a count."""

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _validate
from dropstats.counts.binomial_logs import BinomialLogs, log1mexp
from dropstats.counts.frozen import Count, counts_between

Floats = NDArray[np.float64]

# The log of a probability in a table is right to 1e-13, and there may be 1e4 of them.
_SUM_TOLERANCE = 1e-9


class Table(Count):
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

    @cached_property
    def _log_tails(self) -> tuple[Floats, Floats]:
        """Log cdf and log sf over the table, each summed from its own end and completed by the other's complement."""
        low = np.minimum(np.logaddexp.accumulate(self.log_pmf), 0.0)
        high = np.append(np.minimum(np.logaddexp.accumulate(self.log_pmf[:0:-1])[::-1], 0.0), -np.inf)
        low[-1] = 0.0
        in_low = low < high
        return np.where(in_low, low, log1mexp(high)), np.where(in_low, log1mexp(low), high)

    def _lookup(self, values: Floats, k: Floats, below: float, above: float) -> Floats:
        index = k - self.start
        inside = (index >= 0) & (index < values.size)
        out = np.where(index < 0, below, above)
        out[inside] = values[index[inside].astype(np.intp)]
        return out

    def _logpmf(self, k: Floats) -> Floats:
        return self._lookup(self.log_pmf, k, -np.inf, -np.inf)

    def _logcdf(self, k: Floats) -> Floats:
        return self._lookup(self._log_tails[0], k, -np.inf, 0.0)

    def _logsf(self, k: Floats) -> Floats:
        return self._lookup(self._log_tails[1], k, 0.0, -np.inf)

    def _pmf(self, k: Floats) -> Floats:
        return np.exp(self._logpmf(k))

    def _cdf(self, k: Floats) -> Floats:
        return np.exp(self._logcdf(k))

    def _sf(self, k: Floats) -> Floats:
        return np.exp(self._logsf(k))

    def _moments(self) -> tuple[float, float, float, float]:
        pmf, k = np.exp(self.log_pmf), np.arange(self.log_pmf.size, dtype=np.float64)
        mean = float(pmf @ k)
        variance, third, fourth = (float(pmf @ (k - mean) ** order) for order in (2, 3, 4))
        if variance == 0:
            return self.start + mean, 0.0, math.nan, math.nan
        # divided one by one, for the square of a small variance is below the range of doubles
        return self.start + mean, variance, third / variance / math.sqrt(variance), fourth / variance / variance - 3

    def _mean_kept(self) -> float:
        return float(np.exp(self.log_pmf) @ (self.n - self.start - np.arange(self.log_pmf.size)))

    def _window(self) -> Floats:
        return counts_between(self.start, self.start + self.log_pmf.size - 1)

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        uniform = source.random_sample if isinstance(source, np.random.RandomState) else source.random
        index = np.searchsorted(np.exp(self._log_tails[0]), uniform(size))
        return np.asarray(self.start + np.minimum(index, self.log_pmf.size - 1))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.log_pmf, self.n, self.start)


def point_mass(n: int, k: int) -> Table:
    """Return the law of a count in 0..n that is always k.

    Examples
    --------
    >>> law = point_mass(10, 3)
    >>> law.pmf([2, 3]), law.var()
    (array([0., 1.]), np.float64(0.0))
    """
    return Table([0.0], n, k)


def tabulate(count: Count) -> Table:
    """Return the table of a law of a count."""
    _validate.memory(64 * (count.n + 1), f"the table of {count.n + 1} probabilities")
    return Table(count.logpmf(counts_between(0, count.n)), count.n)


class Scaled(Count):
    """A multiple of a count: `size` neurons are dropped for each that `count` counts.

    Examples
    --------
    >>> from scipy import stats
    >>> from dropstats.counts import Binomial
    >>> law = Scaled(Binomial(64, 0.2), 64)
    >>> law.n, law.var().round(2), law.pmf(640) == stats.binom(64, 0.2).pmf(10)
    (4096, np.float64(41943.04), np.True_)
    """

    def __init__(self, count: Count, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1; got {size}")
        super().__init__(count.n * size)
        self.count, self.size = count, size

    def _counted(self, k: Floats) -> Floats:
        return np.floor(k / self.size)

    def _at_points(self, k: Floats, values: Floats, elsewhere: float) -> Floats:
        return np.where(k % self.size == 0, values, elsewhere)

    def _pmf(self, k: Floats) -> Floats:
        return self._at_points(k, self.count._pmf(self._counted(k)), 0.0)

    def _logpmf(self, k: Floats) -> Floats:
        return self._at_points(k, self.count._logpmf(self._counted(k)), -np.inf)

    def _cdf(self, k: Floats) -> Floats:
        return self.count._cdf(self._counted(k))

    def _sf(self, k: Floats) -> Floats:
        return self.count._sf(self._counted(k))

    def _logcdf(self, k: Floats) -> Floats:
        return self.count._logcdf(self._counted(k))

    def _logsf(self, k: Floats) -> Floats:
        return self.count._logsf(self._counted(k))

    def _moments(self) -> tuple[float, float, float, float]:
        mean, variance, skewness, kurtosis = self.count._moments()
        return self.size * mean, self.size**2 * variance, skewness, kurtosis

    def _mean_kept(self) -> float:
        return self.size * self.count._mean_kept()

    def _window(self) -> Floats:
        return self.size * self.count._window()

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats: that of the count it is a multiple of."""
        return self.count.entropy()

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        return self.size * self.count._variates(size, source)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.count, self.size)


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
