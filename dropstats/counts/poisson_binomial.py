"""The Poisson-binomial law of a count, and sums of independent counts."""

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dropstats.counts import convolution
from dropstats.counts.binomial import Binomial
from dropstats.counts.frozen import Count, counts_between

Floats = NDArray[np.float64]

# Sums of more binomials than this are sampled by inversion of the cdf rather than by adding binomial variates.
_ADDED_VARIATES = 16


class PoissonBinomial(Count):
    """Number of dropped among independent neurons whose probabilities differ.

    Parameters
    ----------
    parts : iterable of (p, n)
        Groups of n neurons that share a probability p, the p all different.

    Notes
    -----
    The table of the pmf is made at the first question that needs it and kept.
    """

    def __init__(self, parts: Iterable[tuple[float, int]]) -> None:
        self.parts = tuple(parts)
        super().__init__(sum(n for _, n in self.parts))
        self._groups = [convolution.Group(n, p, 1 - p) for p, n in self.parts]
        self._tilts: list[convolution.TiltedLogs] = []

    @cached_property
    def args(self) -> tuple[Any, ...]:
        """Shape parameter of ``scipy.stats.poisson_binom``: the drop probabilities, sorted."""
        return (np.repeat([p for p, _ in self.parts], [n for _, n in self.parts]),)

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        return stats.poisson_binom

    @cached_property
    def _table(self) -> convolution.Table:
        return convolution.convolve(self._groups)

    @cached_property
    def _tails(self) -> tuple[Floats, Floats]:
        """cdf and sf over the table, each summed from its own end and completed by the other's complement."""
        pmf = self._table.pmf
        cdf = np.cumsum(pmf)
        sf = np.append(np.cumsum(pmf[:0:-1])[::-1], 0.0)
        lower = cdf <= 0.5
        return np.where(lower, cdf, 1 - sf), np.where(lower, 1 - cdf, sf)

    def _lookup(self, values: Floats, k: Floats, below: float, above: float) -> Floats:
        index = k - self._table.start
        inside = (index >= 0) & (index < values.size)
        out = np.where(index < 0, below, above)
        out[inside] = values[index[inside].astype(np.intp)]
        return out

    def _pmf(self, k: Floats) -> Floats:
        return self._lookup(self._table.pmf, k, 0.0, 0.0)

    def _cdf(self, k: Floats) -> Floats:
        return self._lookup(self._tails[0], k, 0.0, 1.0)

    def _sf(self, k: Floats) -> Floats:
        return self._lookup(self._tails[1], k, 1.0, 0.0)

    def _logpmf(self, k: Floats) -> Floats:
        return self._log(k, self._pmf(k), lambda logs, index: logs.pmf[index], self._log_end)

    def _logcdf(self, k: Floats) -> Floats:
        return self._log_tail(k, self._cdf(k), self._sf(k), k, upward=False)

    def _logsf(self, k: Floats) -> Floats:
        return self._log_tail(k, self._sf(k), self._cdf(k), k + 1, upward=True)

    def _log_tail(self, k: Floats, tail: Floats, other: Floats, edge: Floats, upward: bool) -> Floats:
        """Return the log of a tail whose outermost term nearest the mean is `edge`."""
        out = self._log(edge, tail, lambda logs, index: logs.tail[index], self._log_end)
        large = tail > 0.5
        out[large] = np.log1p(-other[large])
        first, last = self._possible
        # beyond the last possible count on its own side a tail is empty; before the first it is everything
        out[edge > last if upward else edge < first] = -np.inf
        out[edge <= first if upward else edge >= last] = 0.0
        return out

    def _log(
        self,
        k: Floats,
        values: Floats,
        read: Callable[[convolution.TiltedLogs, NDArray[np.intp]], Floats],
        at_end: Callable[[int], float],
    ) -> Floats:
        """Return log(values), from tilted tables where the values are too small to have digits."""
        with np.errstate(divide="ignore"):
            out = np.log(values)
        first, last = self._possible
        out[(k < first) | (k > last)] = -np.inf
        small = (values < convolution.TABLE_FLOOR) & (k >= first) & (k <= last)
        for end in (first, last):
            at = small & (k == end)
            if at.any():
                out[at] = at_end(end)
                small &= ~at
        while small.any():
            pending = np.flatnonzero(small)
            logs = self._tilted(int(k[pending[0]]))
            ready = pending[(k[pending] >= logs.first) & (k[pending] <= logs.last)]
            out[ready] = read(logs, (k[ready] - logs.start).astype(np.intp))
            small[ready] = False
        return out

    def _tilted(self, k: int) -> convolution.TiltedLogs:
        for logs in self._tilts:
            if logs.first <= k <= logs.last:
                return logs
        self._tilts.append(convolution.tilt(self._groups, k))
        return self._tilts[-1]

    @cached_property
    def _possible(self) -> tuple[int, int]:
        """Smallest and largest count of positive probability."""
        return (
            sum(n for p, n in self.parts if p == 1),
            self.n - sum(n for p, n in self.parts if p == 0),
        )

    def _log_end(self, k: int) -> float:
        """Return the log pmf at the smallest or largest possible count, where it is a sum of logs."""
        dropped = k == self._possible[1]
        return math.fsum(n * (math.log(p) if dropped else math.log1p(-p)) for p, n in self.parts if 0 < p < 1)

    def _moments(self) -> tuple[float, float, float, float]:
        mean = math.fsum(n * p for p, n in self.parts)
        variance = math.fsum(n * p * (1 - p) for p, n in self.parts)
        if variance == 0:
            return mean, 0.0, math.nan, math.nan
        third = math.fsum(n * p * (1 - p) * (1 - 2 * p) for p, n in self.parts)
        fourth = math.fsum(n * p * (1 - p) * (1 - 6 * p * (1 - p)) for p, n in self.parts)
        # one division at a time: powers of a tiny variance underflow
        return mean, variance, third / variance / math.sqrt(variance), fourth / variance / variance

    def _mean_kept(self) -> float:
        return math.fsum(n * (1 - p) for p, n in self.parts)

    def _window(self) -> Floats:
        return self._table.start + counts_between(0, self._table.pmf.size - 1)

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        if len(self.parts) <= _ADDED_VARIATES:
            drawn = np.zeros(size, dtype=np.int64)
            for p, n in self.parts:
                drawn = drawn + source.binomial(n, p, size)
            return np.asarray(drawn)
        index = np.searchsorted(self._tails[0], source.random_sample(size) if _legacy(source) else source.random(size))
        return np.asarray(self._table.start + np.minimum(index, self._table.pmf.size - 1))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.parts,)


def _legacy(source: Any) -> bool:
    return isinstance(source, np.random.RandomState)


def of_rates(parts: Iterable[tuple[float, int]]) -> Count:
    """Return the law of the number dropped, from pairs (p, n) of groups of neurons that share a probability."""
    merged: dict[float, int] = {}
    for p, n in parts:
        merged[p] = merged.get(p, 0) + n
    groups = sorted((p, n) for p, n in merged.items() if n)
    if len(groups) == 1:
        return Binomial(groups[0][1], groups[0][0])
    return PoissonBinomial(groups) if groups else Binomial(0, next(iter(merged), 0.0))


def add(*counts: Count) -> Count:
    """Return the law of the sum of independent counts; equal probabilities are merged into one binomial."""
    parts: list[tuple[float, int]] = []
    for count in counts:
        if not isinstance(count, Binomial | PoissonBinomial):
            raise TypeError(f"the law of a sum needs binomial or Poisson-binomial counts; got {type(count).__name__}")
        parts += count.parts
    return of_rates(parts)
