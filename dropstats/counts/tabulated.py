"""Laws of counts that are known by a table of probabilities, tilted where these are too small for doubles."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.counts.convolution import TABLE_FLOOR, Table, TiltedLogs
from dropstats.counts.frozen import Count, counts_between

Floats = NDArray[np.float64]


class Tabulated(Count):
    """A count whose law is a table, made at the first question that needs it and kept.

    A subclass supplies the table, the table tilted to a remote count, and the ends of what is possible.
    """

    _table: Table
    _possible: tuple[int, int]
    _log_end: Callable[[int], float]
    _tilt: Callable[[int], TiltedLogs]

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._tilts: list[TiltedLogs] = []

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
        read: Callable[[TiltedLogs, NDArray[np.intp]], Floats],
        at_end: Callable[[int], float],
    ) -> Floats:
        """Return log(values), from tilted tables where the values are too small to have digits."""
        with np.errstate(divide="ignore"):
            out = np.log(values)
        first, last = self._possible
        out[(k < first) | (k > last)] = -np.inf
        small = (values < TABLE_FLOOR) & (k >= first) & (k <= last)
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

    def _tilted(self, k: int) -> TiltedLogs:
        for logs in self._tilts:
            if logs.first <= k <= logs.last:
                return logs
        self._tilts.append(self._tilt(k))
        return self._tilts[-1]

    def _window(self) -> Floats:
        return self._table.start + counts_between(0, self._table.pmf.size - 1)

    def _inverted(self, size: Any, source: Any) -> NDArray[np.int64]:
        """Draw counts by inversion of the cdf."""
        uniform = source.random_sample if isinstance(source, np.random.RandomState) else source.random
        index = np.searchsorted(self._tails[0], uniform(size))
        return np.asarray(self._table.start + np.minimum(index, self._table.pmf.size - 1))
