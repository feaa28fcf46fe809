"""A binomial count's answers, one at a time, without scipy.stats, whose import takes longer than they do.

They are those of `Binomial` to 1e-12; the command line asks here for the count of a plain layer.
"""

import math
from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING

from dropstats.counts.one_binomial import OneBinomial

if TYPE_CHECKING:
    from dropstats.counts.binomial_logs import BinomialLogs

_LOG_HALF = -math.log(2)
# Intervals that are improbable and no longer than this are summed, one probability formed from the other.
_SUMMED = 2**16
# A tail that misses its level by less than its own rounding has reached it.
_ROUNDING = 1e-14


class QuickBinomial:
    """Number of dropped (or kept) among n neurons that are dropped independently, 0 < p < 1 and 1 <= n <= 2^53.

    Examples
    --------
    >>> count = QuickBinomial(1024, 0.5)
    >>> round(count.between(480, 544), 6), count.interval(0.99)
    (0.957823, (471, 553))
    """

    n: int
    p: float

    def __init__(self, n: int, p: float, kept: bool = False) -> None:
        self.n, self.p, self._kept = n, p, kept
        self._one = OneBinomial(n, p)

    @cached_property
    def _logs(self) -> "BinomialLogs":
        from dropstats.counts.binomial_logs import BinomialLogs

        return BinomialLogs(self.n, self.p, mirrored=self._kept)

    def mean(self) -> float:
        """Expected count."""
        return self.n * (1 - self.p if self._kept else self.p)

    def std(self) -> float:
        """Standard deviation of the count."""
        return math.sqrt(self.n * self.p * (1 - self.p))

    def between(self, low: int | None, high: int | None, log: bool = False) -> float:
        """Return P(low <= X <= high), or its natural log; None leaves an end open."""
        low = 0 if low is None else max(low, 0)
        high = self.n if high is None else min(high, self.n)
        if low > high:
            value = -math.inf
        elif low == high:
            value = self._one.pmf_at(float(self.n - low if self._kept else low))
        elif low == 0:
            value = self._below(high)
        elif high == self.n:
            value = self._above(low - 1)
        else:
            value = self._log_inside(low, high)
        return value if log else math.exp(value)

    def _below(self, k: int) -> float:
        return self._logs.tail_at(float(k), upward=False) if k < self.n else 0.0

    def _above(self, k: int) -> float:
        return self._logs.tail_at(float(k), upward=True)

    def _log_inside(self, low: int, high: int) -> float:
        """Return log P(low <= X <= high) from the tails: where they are most of it, from terms or the nearer two."""
        below, above = self._below(low - 1), self._above(high)
        outside = math.exp(below) + math.exp(above)
        if outside < 0.5:
            return math.log1p(-outside)
        if high - low < _SUMMED:
            return min(self._log_sum(low, high), 0.0)
        outer, inner = (self._above(low - 1), above) if below > _LOG_HALF else (self._below(high), below)
        return outer + math.log(-math.expm1(inner - outer))

    def _log_sum(self, low: int, high: int) -> float:
        """Return the log of the sum of all terms, from the likeliest one on, so that none is lost."""
        p, q = self._logs.p, self._logs.q
        top = min(max(math.floor(self.n * p), low), high)
        terms, term = [1.0], 1.0
        for k in range(top, high):
            term *= (self.n - k) / (k + 1) * p / q
            terms.append(term)
        term = 1.0
        for k in range(top, low, -1):
            term *= k / (self.n - k + 1) * q / p
            terms.append(term)
        return self._logs.pmf_at(float(top)) + math.log(math.fsum(terms))

    def ppf(self, q: float) -> int:
        """Smallest k with P(X <= k) >= q; -1 for q = 0, as in scipy."""
        if not 0 < q < 1:
            return -1 if q == 0 else self.n
        return bisect_left(range(self.n), math.log(q) - _ROUNDING, key=self._below)

    def isf(self, q: float) -> int:
        """Smallest k with P(X > k) <= q; -1 for q = 1, as in scipy."""
        if not 0 < q < 1:
            return -1 if q == 1 else self.n
        return bisect_left(range(self.n), -math.log(q) - _ROUNDING, key=lambda k: -self._above(k))

    def median(self) -> int:
        """Smallest k with P(X <= k) >= 1/2."""
        return self.ppf(0.5)

    def interval(self, confidence: float) -> tuple[int, int]:
        """Central interval: both ends are counts, with at most (1 - confidence) / 2 on either side of them."""
        tail = (1 - confidence) / 2
        return self.ppf(tail), self.isf(tail)
