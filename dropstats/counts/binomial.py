"""The binomial distribution of a count, and the Bernoulli distribution of one neuron."""

import math
from bisect import bisect_left
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import _ufuncs

from dropstats.counts.binomial_logs import BinomialLogs, entropy
from dropstats.counts.frozen import Count
from dropstats.counts.table import point_mass

Floats = NDArray[np.float64]

_beta_cdf, _beta_sf = _ufuncs._binom_cdf, _ufuncs._binom_sf
# The incomplete beta function of scipy (Boost, as of scipy 1.17) is the fastest. Up to this n, and not next to the
# smallest doubles, it is used where its error is below 1e-12: measured, it is at most c eps sqrt(n |log tail|), with
# c = 1.3 in tails above 1e-43 and 2.2 down to 1e-230, and beyond it is wrong. Elsewhere the logs serve.
_BETA_N, _BETA_P, _BETA_LEAST = 2**20, 1e-280, 1e-230
_DEEP, _BETA_ERROR, _BETA_ERROR_DEEP = 1e-43, 7e6, 3e6
# Where at most so many are dropped it sums powers of a rounded 1 - p, which beyond this n have lost digits (5e-11).
_FEW, _FEW_N = 40, 2**12
# So many log tails are computed one by one rather than together.
_ONE_BY_ONE = 128
# Probabilities of up to so many counts in a row are formed one from the other; each step costs some 2e-16.
_RATIOS = 500


class Binomial(Count):
    """Binomial distribution of the number of dropped among n independent neurons.

    Examples
    --------
    >>> from scipy import stats
    >>> law = Binomial(1024, 0.5)
    >>> isinstance(law, type(stats.binom(1024, 0.5)))
    True
    >>> law.isf(1e-17), round(float(law.logpmf(0)), 4)
    (np.float64(647.0), -709.7827)
    """

    _made_from: Any = ("n", "p")

    def __init__(self, n: int, p: float) -> None:
        super().__init__(n)
        self.p = p
        self._size = float(n)  # which ufuncs take faster than an int
        self._beta = n <= _BETA_N and p >= _BETA_P
        self._varies = 0 < p < 1 and n > 0
        if not self._varies:
            point = point_mass(n, n if p == 1 else 0)
            for name in ("_pmf", "_logpmf", "_cdf", "_logcdf", "_sf", "_logsf"):
                setattr(self, name, getattr(point, name))

    def __repr__(self) -> str:
        return f"Binomial(n={self.n}, p={float(self.p)!r})"

    @property
    def args(self) -> tuple[Any, ...]:
        """Shape parameters, as scipy has them."""
        return self.n, self.p

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        from scipy import stats

        return stats.binom

    @property
    def parts(self) -> tuple[tuple[float, int], ...]:
        """Pairs (p, n) of the independent binomials that this is the sum of."""
        return ((self.p, self.n),)

    @cached_property
    def _logs(self) -> BinomialLogs:
        return BinomialLogs(self.n, self.p)

    def _pmf(self, k: Any) -> Any:
        return math.exp(self._logs.pmf_at(k)) if isinstance(k, float) else np.exp(self._logs.pmf(k))

    def _logpmf(self, k: Any) -> Any:
        return self._logs.pmf_at(k) if isinstance(k, float) else self._logs.pmf(k)

    def _cdf(self, k: Any) -> Any:
        return self._tail(k, False)

    def _sf(self, k: Any) -> Any:
        return self._tail(k, True)

    def _logcdf(self, k: Any) -> Any:
        return self._log_tail(k, upward=False)

    def _logsf(self, k: Any) -> Any:
        return self._log_tail(k, upward=True)

    def _tail(self, k: Any, upward: bool) -> Any:
        """Return P(X > k), or P(X <= k)."""
        if isinstance(k, float):
            value = self._by_beta_at(k, upward)
            return math.exp(self._logs.tail_at(k, upward)) if value != value else value
        values = self._by_beta(k, upward)
        (lost,) = np.isnan(values).nonzero()
        if lost.size:
            nothing = k[lost] > self._ends[1] if upward else k[lost] < self._ends[0]
            values[lost[nothing]] = 0.0
            lost = lost[~nothing]
            values[lost] = np.exp(self._log_tails(k[lost], upward))
        return values

    def _log_tail(self, k: Any, upward: bool) -> Any:
        """Return the log of a tail, from the smaller of the two."""
        if isinstance(k, float):
            value = self._by_beta_at(k, upward)
            if value > 0.5:
                return math.log1p(-self._tail(k, not upward))
            return self._logs.tail_at(k, upward) if value != value else math.log(value)
        values = self._by_beta(k, upward)
        out = np.log(values)
        (large,), (lost,) = (values > 0.5).nonzero(), np.isnan(values).nonzero()
        if large.size:
            out[large] = np.log1p(-self._tail(k[large], not upward))
        if lost.size:
            out[lost] = self._log_tails(k[lost], upward)
        return out

    def _log_tails(self, k: Floats, upward: bool) -> Floats:
        if k.size > _ONE_BY_ONE:
            return self._logs.tails(k)[upward]
        return np.array([self._logs.tail_at(x, upward) for x in k.tolist()])

    @cached_property
    def _ends(self) -> tuple[int, int]:
        """Counts of which all below, and all above, have tails that are 0 in doubles."""
        logs, mode = self._logs, math.floor(self.n * self.p)
        least = math.log(5e-324) - 1
        low = bisect_left(range(mode), least, key=lambda k: logs.tail_at(k, upward=False))
        above = range(mode, self.n)
        return low, mode + bisect_left(above, -least, key=lambda k: -logs.tail_at(k, upward=True))

    @cached_property
    def _first(self) -> Floats:
        """P(X <= 0), P(X <= 1), ... of the few for which scipy's lose digits, as sums of positive terms."""
        low = np.cumsum(np.exp(self._logs.pmf(np.arange(_FEW, dtype=np.float64))))
        # beyond the mean the other tail is what is summed
        return low[: max(math.floor((self.n + 1) * self.p), 0)]

    def _by_beta_at(self, k: float, upward: bool) -> float:
        """Return the tail that the incomplete beta function, or a sum of few terms, has to 1e-12; else NaN."""
        if not self._beta:
            return math.nan
        if k < _FEW and self.n > _FEW_N and k < self._first.size:
            low = float(self._first[int(k)])
            return math.nan if low < _BETA_LEAST else 1 - low if upward else low
        value = float((_beta_sf if upward else _beta_cdf)(k, self._size, self.p))
        return value if value > self._beta_least else math.nan

    @cached_property
    def _beta_least(self) -> float:
        """Tails above this the incomplete beta function has to 1e-12: where n |log tail| is small enough."""
        least = math.exp(-_BETA_ERROR / self.n)
        if least < _DEEP:
            least = min(_DEEP, math.exp(-_BETA_ERROR_DEEP / self.n))
        return max(least, _BETA_LEAST)

    def _by_beta(self, k: Floats, upward: bool) -> Floats:
        """Return the same of many counts."""
        # the public functions are sixty times as slow for a number, or (betaincc) four times as slow for an array, and
        # a quantile of a cdf wants the same cdf of both
        function = _beta_sf if upward else _beta_cdf
        if not self._beta:
            return np.full(k.shape, np.nan)
        values: Floats = function(k, self.n, self.p)
        values[~(values > self._beta_least)] = np.nan
        few = k < self._first.size if self.n > _FEW_N else np.zeros(0, bool)
        if few.any():
            low = self._first[k[few].astype(np.intp)]
            values[few] = np.where(low < _BETA_LEAST, np.nan, 1 - low if upward else low)
        return np.asarray(values)

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        n, p, q = self.n, self.p, 1 - self.p
        variance = n * p * q
        return n * p, variance, variance * (q - p), variance * (1 - 6 * p * q)

    def _mean_kept(self) -> float:
        return self.n * (1 - self.p)

    def _sum(self, low: int, high: int) -> float:
        return math.exp(self._log_sum(low, high)) if self._varies else super()._sum(low, high)

    def _log_sum(self, low: int, high: int) -> float:
        if high - low > _RATIOS or not self._varies:
            return super()._log_sum(low, high)
        # from the likeliest one on, for from each count to the next the factor is a simple one
        top, odds = min(max(math.floor(self.n * self.p), low), high), self.p / (1 - self.p)
        total = 0.0
        if top < high:
            k = np.arange(top, high, dtype=np.float64)
            total += float(np.multiply.accumulate((self.n - k) / (k + 1) * odds).sum())
        if top > low:
            k = np.arange(top, low, -1, dtype=np.float64)
            total += float(np.multiply.accumulate(k / (self.n - k + 1) / odds).sum())
        return self._logs.pmf_at(float(top)) + math.log1p(total)

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats; within 1e-9 for every n."""
        return np.float64(entropy(self.n, self.p) if self._varies else 0.0)

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        return np.asarray(source.binomial(self.n, self.p, size))


class Bernoulli(Binomial):
    """Whether a neuron is dropped: 1 with probability p, else 0."""

    _made_from = ("p",)

    def __init__(self, p: float) -> None:
        super().__init__(1, p)

    def __repr__(self) -> str:
        return f"Bernoulli(p={float(self.p)!r})"

    @property
    def args(self) -> tuple[Any, ...]:
        """Shape parameter, as scipy has it."""
        return (self.p,)

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        from scipy import stats

        return stats.bernoulli
