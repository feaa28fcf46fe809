"""The binomial law of a count, and the Bernoulli law of one neuron."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dropstats.counts.binomial_logs import BinomialLogs, entropy
from dropstats.counts.frozen import Count

Floats = NDArray[np.float64]

# Up to here the pmf, cdf and sf of scipy (Boost, as of scipy 1.17) are right to 7e-13 relative (measured on the
# reference values) and are the fastest; beyond, they lose digits with n, and exp of the logs is used. Next to the
# smallest doubles Boost reports overflow.
_BOOST_N, _BOOST_P = 2**20, 1e-280
# Below, its tails approach the end of the range of doubles.
_BOOST_TAIL = 1e-290

_Tail = Callable[[Floats], Floats]


class Binomial(Count):
    """Number of dropped among n neurons that are dropped independently with probability p.

    Examples
    --------
    >>> from scipy import stats
    >>> law = Binomial(1024, 0.5)
    >>> isinstance(law, type(stats.binom(1024, 0.5)))
    True
    >>> law.isf(1e-17), round(float(law.logpmf(0)), 4)
    (np.float64(647.0), -709.7827)
    """

    def __init__(self, n: int, p: float) -> None:
        super().__init__(n)
        self.p = p
        self._boost = n <= _BOOST_N and p >= _BOOST_P
        self._certain = None if 0 < p < 1 and n > 0 else (n if p == 1 else 0)

    @property
    def args(self) -> tuple[Any, ...]:
        """Shape parameters, as scipy has them."""
        return self.n, self.p

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        return stats.binom

    @property
    def parts(self) -> tuple[tuple[float, int], ...]:
        """Pairs (p, n) of the independent binomials that this is the sum of."""
        return ((self.p, self.n),)

    @cached_property
    def _logs(self) -> BinomialLogs:
        return BinomialLogs(self.n, self.p)

    def _pmf(self, k: Floats) -> Floats:
        if self._certain is not None:
            return np.asarray(k == self._certain, dtype=np.float64)
        if self._boost:
            return np.asarray(stats.binom._pmf(k, self.n, self.p))
        return np.exp(self._logs.pmf(k))

    def _logpmf(self, k: Floats) -> Floats:
        return _log_indicator(k == self._certain) if self._certain is not None else self._logs.pmf(k)

    def _cdf(self, k: Floats) -> Floats:
        if self._certain is not None:
            return (k >= self._certain).astype(np.float64)
        if self._boost:
            return np.asarray(stats.binom._cdf(k, self.n, self.p))
        return np.exp(self._logs.tails(k)[0])

    def _sf(self, k: Floats) -> Floats:
        if self._certain is not None:
            return (k < self._certain).astype(np.float64)
        if self._boost:
            return np.asarray(stats.binom._sf(k, self.n, self.p))
        return np.exp(self._logs.tails(k)[1])

    def _logcdf(self, k: Floats) -> Floats:
        if self._certain is not None:
            return _log_indicator(k >= self._certain)
        return self._log_tail(k, self._cdf, self._sf, 0)

    def _logsf(self, k: Floats) -> Floats:
        if self._certain is not None:
            return _log_indicator(k < self._certain)
        return self._log_tail(k, self._sf, self._cdf, 1)

    def _log_tail(self, k: Floats, tail: _Tail, other: _Tail, side: int) -> Floats:
        """Return the log of a tail: of scipy's where that has digits, a hundred times as fast as the integral."""
        if not self._boost:
            return self._logs.tails(k)[side]
        value = tail(k)
        out = np.empty(k.shape)
        small, large = value < _BOOST_TAIL, value > 0.5
        middle = ~(small | large)
        out[middle] = np.log(value[middle])
        if large.any():
            out[large] = np.log1p(-other(k[large]))
        if small.any():
            out[small] = self._logs.tails(k[small])[side]
        return out

    def _moments(self) -> tuple[float, float, float, float]:
        n, p, q = self.n, self.p, 1 - self.p
        variance = n * p * q
        if variance == 0:
            return n * p, 0.0, math.nan, math.nan
        return n * p, variance, (q - p) / math.sqrt(variance), (1 - 6 * p * q) / variance

    def _mean_kept(self) -> float:
        return self.n * (1 - self.p)

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats; within 1e-9 for every n."""
        return np.float64(0.0 if self._certain is not None else entropy(self.n, self.p))

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        return np.asarray(source.binomial(self.n, self.p, size))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args


class Bernoulli(Binomial):
    """Whether a neuron is dropped: 1 with probability p, else 0."""

    def __init__(self, p: float) -> None:
        super().__init__(1, p)

    def _pmf(self, k: Floats) -> Floats:
        return np.where(k == 1, self.p, 1 - self.p)

    def _cdf(self, k: Floats) -> Floats:
        return np.full(k.shape, 1 - self.p)

    def _sf(self, k: Floats) -> Floats:
        return np.full(k.shape, self.p)

    @property
    def args(self) -> tuple[Any, ...]:
        """Shape parameter, as scipy has it."""
        return (self.p,)

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        return stats.bernoulli


def _log_indicator(true: NDArray[np.bool_]) -> Floats:
    return np.where(true, 0.0, -np.inf)
