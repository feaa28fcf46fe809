"""The terms of a sum that is gone through value by value, and what is asked once for each of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dropstats.counts.binomial import Binomial
from dropstats.counts.frozen import Count
from dropstats.counts.multiples import MultiplesContour, SteppedRates
from dropstats.counts.odds import Rates
from dropstats.counts.table import Scaled, Table
from dropstats.counts.terms import Binomials, Counted

Floats = NDArray[np.float64]

# What a question to a contour, or to a wide sum of binomials, costs, in values gone through.
_CONTOUR = 100.0
# A window of a table of this depth is all of it.
_WHOLE = 700.0


class Window(NamedTuple):
    """The values of a term that matter."""

    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """One term of a sum: `step` times a count; `rates` are those of a count of independent neurons, or groups."""

    step: int
    count: Count
    term: Any
    rates: Rates | None

    def in_units(self, unit: int) -> Self:
        """Return it in units of several neurons, which divide its step."""
        return replace(self, step=self.step // unit)

    @property
    def certain(self) -> bool:
        """Whether it takes one value only."""
        return bool(self.term.first == self.term.last)

    def moments(self, theta: float) -> tuple[float, float]:
        """Return mean and variance of the count, where the sum is tilted by theta."""
        if self.rates is not None:
            variance = float(self.rates.curvature(np.array(theta * self.step)))
            return self.term.first + self.term.rise(theta * self.step), variance
        weights, k = self._weights(theta), self.term.k
        mean = float(weights @ k)
        return self.term.first + mean, float(weights @ (k - mean) ** 2)

    def _weights(self, theta: float) -> Floats:
        return np.asarray(self.term._weights(theta * self.step)[2])

    def window(self, theta: float, depth: float) -> Window:
        """Return the values beyond which, on either side, the tilted count is less likely than exp(-depth)."""
        first, last = float(self.term.first), float(self.term.last)
        if self.rates is None:
            if depth >= _WHOLE:
                return Window(first, last)
            (large,) = np.nonzero(self._weights(theta) >= math.exp(-depth))
            return Window(first + float(large[0]), first + float(large[-1]))
        mean, variance = self.moments(theta)
        away = depth / 3 + math.sqrt((depth / 3) ** 2 + 2 * depth * variance)
        return Window(max(first, math.floor(mean - away)), min(last, math.ceil(mean + away)))

    def whole(self, window: Window) -> bool:
        """Return whether a window holds all possible values."""
        return bool(window.low <= self.term.first and window.high >= self.term.last)

    def log_mode(self, theta: float) -> tuple[float, float]:
        """Return a value next to the likeliest of the tilted count; its log pmf less that under the tilt, about."""
        mean, variance = self.moments(theta)
        at = float(round(mean))
        if self.rates is None:
            at = float(self.term.first + int(np.argmax(self._weights(theta))))
        return at, float(self.count.logpmf(at)) + math.log1p(2.5 * math.sqrt(variance))


class Core:
    """What is asked once for each way of going through the other terms: a single term, or a smooth sum of some."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.step = math.gcd(*(part.step for part in parts))
        self.first = sum(part.term.first * part.step for part in parts)
        self._count = parts[0].count
        self._contour: MultiplesContour | None = None
        if len(parts) > 1:
            steps = [part.step // self.step for part in parts]
            rates = [part.rates for part in parts if part.rates is not None]
            self._contour = MultiplesContour(SteppedRates(steps, rates))

    @staticmethod
    def cost(parts: Sequence[Part]) -> float:
        """Return what a question to a core of these terms costs, in values gone through."""
        return 1.0 if len(parts) == 1 and isinstance(parts[0].count, Binomial | Table) else _CONTOUR

    def smooth(self, theta: float, low: float, high: float) -> bool:
        """Return whether it can be asked under a tilt of the sum, and for values from low to high."""
        contour = self._contour
        if contour is None:
            return True
        ends = ((low - self.first) / self.step, (high - self.first) / self.step)
        return contour.smooth(theta * self.step) and (low == high or all(contour.smooth_at(end) for end in ends))

    def through_peaks(self, x: float, upward: bool | None, most: int, share: float) -> float | None:
        """Return the log of one of these from all peaks of the characteristic function; None where that cannot be."""
        if self._contour is None:
            return None
        k = math.ceil((x - self.first) / self.step) if upward else math.floor((x - self.first) / self.step)
        if 0 < k < self._contour.n and (upward is not None or k * self.step == x - self.first):
            return self._contour.through_peaks(k, upward, most, share)
        return float(self.log(np.array([x]), upward)[0])  # at the ends, beyond them, or between what is possible

    def log(self, x: Floats, upward: bool | None) -> Floats:
        """Return log P(X = x), of X >= x or of X <= x."""
        if self._contour is None:
            k = np.ceil(x / self.step) - 1 if upward else np.floor(x / self.step)
            if upward is not None:
                return np.asarray(self._count.logsf(k) if upward else self._count.logcdf(k))
            return np.where(k * self.step == x, self._count.logpmf(k), -np.inf)
        k = (x - self.first) / self.step
        if upward is not None:
            return self._contour.log_tails(np.ceil(k) - 1 if upward else np.floor(k))[int(upward)]
        out, inside = np.full(k.shape, -np.inf), (k == np.floor(k)) & (k >= 0) & (k <= self._contour.n)
        out[inside] = self._contour.log_pmf(k[inside])
        return out


def part(count: Count) -> Part:
    """Return a term of a sum."""
    step = 1
    while isinstance(count, Scaled):
        step, count = step * count.size, count.count
    if isinstance(count, Table):
        return Part(step, count, Counted(count), None)
    of: Any = count  # a binomial, or a sum of some
    p, number = np.atleast_1d(of.p), np.atleast_1d(getattr(of, "number", float(of.n)))
    inside = (p > 0) & (p < 1)
    rates = Rates(p[inside], number[inside]) if inside.any() else None
    return Part(step, count, Binomials(1, p, number), rates)
