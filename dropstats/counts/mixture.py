"""The sum of a count and a multiple of another one, where a table of it would be too long."""

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats._numerics import log1mexp
from dropstats.counts.frozen import Count
from dropstats.counts.table import Scaled

Floats = NDArray[np.float64]

# Values of the multiple that are gone through: at most so many, one query takes some tens of milliseconds of them.
_MOST = 2**17
# Probabilities of the longest table of a sum with a multiple, which takes a second.
_TABLE = 2**24
# Terms this far below the largest one add nothing to a sum of at most _MOST of them.
_BELOW = 60.0


class Mixture(Count):
    """Sum of a count X and of a multiple s Y: a mixture of the laws of X, shifted by s y, weighted by P(Y = y).

    All that is added is positive, so each answer keeps its digits, in the tails as well. Terms whose weight alone is
    below exp(-60) of the largest term are left out.

    Examples
    --------
    >>> from dropstats.counts import Binomial
    >>> law = Mixture(Binomial(10**10, 0.1), Scaled(Binomial(10**5, 0.1), 10**5))
    >>> law.n, round(float(law.cdf(2 * 10**9)), 3)
    (20000000000, 0.501)
    """

    count: Count
    multiple: Scaled

    _made_from = ("count", "multiple")

    def __init__(self, count: Count, multiple: Scaled) -> None:
        super().__init__(count.n + multiple.n)
        self.count, self.multiple = count, multiple

    @property
    def counts(self) -> tuple[Count, Count]:
        """What is added."""
        return self.count, self.multiple

    @cached_property
    def _weights(self) -> tuple[Floats, Floats]:
        """The values that the multiple can take, and the logs of their probabilities."""
        values = np.arange(self.multiple.count.n + 1.0)
        logs = np.asarray(self.multiple.count.logpmf(values), dtype=np.float64)
        possible = logs > -np.inf
        return values[possible] * self.multiple.size, logs[possible]

    def _mixed(self, function: Any, k: Any) -> Any:
        """Return the logs of the sums over y of P(Y = y) exp(function(k - s y)); `function` is at most 0."""
        if not isinstance(k, float):
            return np.array([self._mixed(function, float(one)) for one in k.ravel()]).reshape(k.shape)
        values, logs = self._weights
        # where X is near its mean, and where Y is: a lower bound on the largest term
        near = np.searchsorted(values, [k - self.count._cumulants[0], self.multiple._cumulants[0]])
        near = np.minimum(near, values.size - 1)
        least = float((logs[near] + function(k - values[near])).max())
        some = np.flatnonzero(logs >= least - _BELOW)
        terms = logs[some] + function(k - values[some])
        largest = float(terms.max())
        return largest if largest == -math.inf else largest + math.log(float(np.exp(terms - largest).sum()))

    def _logpmf(self, k: Any) -> Any:
        return self._mixed(self.count.logpmf, k)

    def _logcdf(self, k: Any) -> Any:
        return self._tail(k, upward=False)

    def _logsf(self, k: Any) -> Any:
        return self._tail(k, upward=True)

    def _tail(self, k: Any, upward: bool) -> Any:
        """Return the log of a tail: of the larger one as the complement of the other."""
        tails = (self.count.logcdf, self.count.logsf)
        asked, other = self._mixed(tails[upward], k), np.minimum(self._mixed(tails[not upward], k), 0.0)
        out = np.where(asked < -math.log(2), asked, log1mexp(np.asarray(other)))
        return float(out) if isinstance(k, float) else out

    def _pmf(self, k: Any) -> Any:
        return np.exp(self._logpmf(k))

    def _cdf(self, k: Any) -> Any:
        return np.exp(self._logcdf(k))

    def _sf(self, k: Any) -> Any:
        return np.exp(self._logsf(k))

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        first, second, third, fourth = map(sum, zip(self.count._cumulants, self.multiple._cumulants, strict=True))
        return first, second, third, fourth

    def _mean_kept(self) -> float:
        return self.count._mean_kept() + self.multiple._mean_kept()

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        return self.count._variates(size, source) + self.multiple._variates(size, source)


def mixture(counts: list[Count]) -> Mixture | None:
    """Return the sum as a mixture, where its table would be too long and one of two counts takes few values."""
    if len(counts) != 2:
        return None
    count, multiple = counts if isinstance(counts[1], Scaled) else counts[::-1]
    if not isinstance(multiple, Scaled) or isinstance(count, Scaled) or multiple.count.n >= _MOST:
        return None
    # a table holds some 80 standard deviations
    length = 80 * multiple.size * math.sqrt(float(multiple.count.var()))
    return Mixture(count, multiple) if min(length, float(multiple.n)) > _TABLE else None
