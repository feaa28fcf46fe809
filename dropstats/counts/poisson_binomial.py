"""The Poisson-binomial law of a count."""

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dropstats.counts import convolution
from dropstats.counts.binomial import Binomial
from dropstats.counts.frozen import Count
from dropstats.counts.tabulated import Tabulated

Floats = NDArray[np.float64]

# Sums of more binomials than this are sampled by inversion of the cdf rather than by adding binomial variates.
_ADDED_VARIATES = 16


class PoissonBinomial(Tabulated):
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

    @cached_property
    def args(self) -> tuple[Any, ...]:
        """Shape parameter of ``scipy.stats.poisson_binom``: the drop probabilities, sorted."""
        return (np.repeat([p for p, _ in self.parts], [n for _, n in self.parts]),)

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        return stats.poisson_binom

    @cached_property
    def _table(self) -> convolution.Table:  # type: ignore[override]
        return convolution.convolve(self._groups)

    def _tilt(self, k: int) -> convolution.TiltedLogs:
        return convolution.tilt(self._groups, k)

    @cached_property
    def _possible(self) -> tuple[int, int]:  # type: ignore[override]
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

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        if len(self.parts) <= _ADDED_VARIATES:
            drawn = np.zeros(size, dtype=np.int64)
            for p, n in self.parts:
                drawn = drawn + source.binomial(n, p, size)
            return np.asarray(drawn)
        return self._inverted(size, source)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.parts,)


def of_rates(parts: Iterable[tuple[float, int]]) -> Count:
    """Return the law of the number dropped, from pairs (p, n) of groups of neurons that share a probability."""
    merged: dict[float, int] = {}
    for p, n in parts:
        merged[p] = merged.get(p, 0) + n
    groups = sorted((p, n) for p, n in merged.items() if n)
    if len(groups) == 1:
        return Binomial(groups[0][1], groups[0][0])
    return PoissonBinomial(groups) if groups else Binomial(0, next(iter(merged), 0.0))
