"""Sums of multiples of binomials by the integral on a contour, where they are as smooth as one of a single step.

The characteristic function of s Y returns to 1 at all t = 2 pi j / s. The integral is taken over its first peak alone,
|t| <= T, and that only where it has no other: with v_i the variances of the Y_i under the tilt,

    log |phi(t)| <= -2 v_i sin^2(s_i t / 2) for each i,

and it is followed peak by peak, from the smallest step to the largest, where all of these bounds are above -60: what is
left out is then below exp(-60), 9e-27, everywhere. Where that fails the law is not smooth, and the caller has to go
through the values of some of the multiples instead; or, where these are too many, through all peaks (`through_peaks`),
which are then few: the wider the Y_i, the narrower the peaks that they have to share.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress
from dropstats._numerics import log1mexp
from dropstats.counts.contour import Contour, beyond, integrals
from dropstats.counts.odds import Rates, exact_dot

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# |phi| is followed down to exp(-60) = 9e-27.
_DEPTH = 60.0
# Peaks of a characteristic function that are looked at.
_PEAKS = 2**18
# All peaks that are looked at, and nodes on them at a time.
_MOST_PEAKS, _TOGETHER = 2**22, 2**16
# Beyond this tilt, and its log odds, a rate is 0 or 1 to 1e-26.
_SATURATED = 60.0
# From this variance on, the first peak ends where s t < 1.2, where the series of phi converge.
_SERIES_FROM = _DEPTH / (2 * math.sin(0.6) ** 2)


class SteppedRates(Rates):
    """What `Rates` answers, of several of them, each with the step that one of its groups counts.

    Parameters
    ----------
    steps : sequence of int
        The steps, all different, with greatest common divisor 1.
    rates : sequence of Rates
        The probabilities of each step.
    """

    steps: Sequence[int]
    rates: Sequence[Rates]
    n: float

    def __init__(self, steps: Sequence[int], rates: Sequence[Rates]) -> None:
        self.steps, self.rates = steps, rates
        self.n = sum(step * each.n for step, each in self)

    def __iter__(self) -> Iterator[tuple[int, Rates]]:
        return zip(self.steps, self.rates, strict=True)

    @property
    def size(self) -> int:
        """Number of terms of a sum."""
        return sum(each.size for each in self.rates)

    @cached_property
    def mean(self) -> tuple[float, float]:
        """The mean as an unevaluated sum of two doubles."""
        numbers = np.concatenate([step * each.number for step, each in self])
        return exact_dot(numbers, np.concatenate([each.p for each in self.rates]))

    def log_end(self, top: bool) -> float:
        """Return the log probability that none is dropped, or that all are."""
        return math.fsum(each.log_end(top) for each in self.rates)

    def curvature(self, theta: Floats) -> Floats:
        """Return the variance under tilts."""
        return np.asarray(sum(float(step) ** 2 * each.curvature(step * theta) for step, each in self))

    def mean_and_curvature(self, theta: Floats, upper: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return the mean number of dropped, or where `upper` of kept, neurons under tilts, and the variance."""
        mean, curvature = np.zeros_like(theta), np.zeros_like(theta)
        for step, each in self:
            one, two = each.mean_and_curvature(step * theta, upper)
            mean += step * one
            curvature += float(step) ** 2 * two
        return mean, curvature

    def log_phi(self, theta: Floats, t: Floats, series: bool) -> tuple[Floats, Floats]:
        """Return log |phi| and the angle of phi of the tilted law about its mean, at t of shape (tilts, points)."""
        log, angle = np.zeros(t.shape), np.zeros(t.shape)
        for step, each in self:
            wide = each.curvature(step * theta) >= _SERIES_FROM  # what is beyond 1.2 is then left out by the caller
            for some, at in ((wide, np.minimum(step * t, 1.2)), (~wide, step * t)):
                if some.any():
                    one, two = each.log_phi(step * theta[some], at[some], some is wide)
                    log[some] += one
                    angle[some] += two
        return log, angle


class MultiplesContour(Contour):
    """The law of a sum of multiples of independent binomials, of which every count is answered for itself.

    Parameters
    ----------
    rates : SteppedRates
        Probabilities strictly between 0 and 1, how many groups have each, and how many neurons each group counts.
    """

    _rates: SteppedRates

    def __init__(self, rates: SteppedRates) -> None:
        super().__init__(rates)
        self.largest_step = max(rates.steps)

    def _tilts(self, odds: Floats) -> tuple[Floats, Floats]:
        each = [((odds - rates.largest) / step, (odds - rates.least) / step) for step, rates in self._rates]
        return np.min([low for low, _ in each], axis=0), np.max([high for _, high in each], axis=0)

    def _integrals(self, theta: Floats) -> tuple[Floats, Floats]:
        rise, weighted = np.zeros_like(theta), np.zeros_like(theta)
        for step, rates in self._rates:
            most = _SATURATED + max(abs(rates.least), abs(rates.largest))
            one, two = integrals(rates, np.clip(step * theta, -most, most))
            rise += step * one
            weighted += two
        return rise, weighted

    def _end(self, theta: Floats, variance: Floats) -> Floats:
        widths = [_width(step, rates.curvature(step * theta)) for step, rates in self._rates]
        return np.asarray(np.min(widths, axis=0))

    def log_tails(self, k: Floats) -> tuple[Floats, Floats]:
        """Return log P(X <= k) and log P(X > k): the tail in which k lies is computed, the other its complement."""
        low, high = np.where(k < 0, -np.inf, 0.0), np.where(k < self.n, 0.0, -np.inf)
        inside = (k >= 0) & (k < self.n)
        upper, lower = inside & (k >= self.mean), inside & (k < self.mean)
        high[upper] = self.log_tail(k[upper] + 1, upward=True)
        low[lower] = self.log_tail(k[lower], upward=False)
        low[upper], high[lower] = log1mexp(high[upper]), log1mexp(low[lower])
        return low, high

    def smooth_at(self, k: float) -> bool:
        """Return whether the tilted law whose mean is next to an integer has a single peak."""
        inside = np.array([min(max(k, 1.0), self.n - 1)])
        return self.smooth(float(self._saddle(inside)[0]))

    def smooth(self, theta: float) -> bool:
        """Return whether phi under a tilt has a single peak above exp(-60) in |t| <= pi."""
        variances = self._variances(theta)
        first = min(float(_width(step, v)) for step, v in zip(self._rates.steps, variances, strict=True))
        if not first < math.pi / self.largest_step or max(variances) < _SERIES_FROM:
            return False
        peaks = self._peaks(variances, first, _PEAKS)
        return peaks is not None and not peaks[0].size

    def _variances(self, theta: float) -> Floats:
        return np.array([float(rates.curvature(np.array(step * theta))) for step, rates in self._rates])

    def _peaks(self, variances: Floats, first: float, most: int) -> tuple[Floats, Floats] | None:
        """Return where, from `first` to pi, all bounds on |phi| are above exp(-60); None where there are too many."""
        low, high = np.array([first]), np.array([math.pi])
        for step, variance in sorted(zip(self._rates.steps, variances.tolist(), strict=True)):
            width = float(_width(step, np.array(variance)))
            if width >= math.pi / step:
                continue
            period = 2 * math.pi / step
            begin, end = np.ceil((low - width) / period), np.floor((high + width) / period)
            number = np.maximum(end - begin + 1, 0)
            if number.sum() > most:
                return None
            number = number.astype(np.intp)
            where = np.repeat(np.arange(low.size), number)
            centre = (begin[where] + np.arange(where.size) - np.repeat(np.cumsum(number) - number, number)) * period
            low, high = np.maximum(low[where], centre - width), np.minimum(high[where], centre + width)
            some = low < high
            low, high = low[some], high[some]
        return low, high

    def through_peaks(self, k: int, upward: bool | None, most: int, share: float) -> float | None:
        """Return log P(X = k), X >= k or X <= k from at most so many nodes on all peaks; None where that is not enough.

        None too where the terms cancel so that less than `share` of their absolute sum is left: it is right to some
        1e-15 of that. With t = 2 pi m / M the characteristic function of s Y stands at 2 pi (s m mod M) / M, and what
        whole numbers add to the angle is taken mod M too, so that it keeps its digits far from 0.
        """
        theta = self._saddle(np.array([float(k)]))
        if upward is not None:
            least = 2 / math.sqrt(self._variance)
            theta = np.maximum(theta, least) if upward else np.minimum(theta, -least)
        scale, residual = self._tilt(np.array([float(k)]), theta)
        size = int(self._size(theta, self._rates.curvature(theta), upward)[0])
        peaks = self._peaks(self._variances(float(theta[0])), 0.0, _MOST_PEAKS)
        if peaks is None or size * (sum(self._rates.steps) + abs(float(residual[0]))) >= 2**60:
            return None
        begin = np.maximum(np.ceil(peaks[0] * size / (2 * math.pi)), 1)
        number = np.maximum(np.floor(np.minimum(peaks[1] / (2 * math.pi) * size, (size - 1) / 2)) - begin + 1, 0)
        if number.sum() > most:
            return None
        total = -1 / math.expm1(-abs(float(theta[0]))) if upward is not None else 1.0
        absolute, ends = total, np.cumsum(number)
        starts = range(0, int(ends[-1]) if ends.size else 0, _TOGETHER)
        for start in _progress.shown(starts, len(starts), "adding up", "block", delay=1) if starts else ():
            at = np.arange(start, min(start + _TOGETHER, int(ends[-1])))
            row = np.searchsorted(ends, at, side="right")
            m = (begin[row] + (at - (ends - number)[row])).astype(np.int64)
            terms, sizes = self._at_nodes(m, size, k, theta, upward)
            total += 2 * float(terms.sum())
            absolute += 2 * float(sizes.sum())
        if not total > share * absolute:
            return None
        return float(scale[0]) + math.log(total / size)

    def _at_nodes(self, m: Ints, size: int, k: int, theta: Floats, upward: bool | None) -> tuple[Floats, Floats]:
        """Return the terms of the sum over nodes 2 pi m / size, and their absolute values."""
        log, angle, whole = np.zeros(m.size), np.zeros(m.size), -k
        for step, rates in self._rates:
            turn = step * m % size
            t = 2 * math.pi / size * np.where(turn > size // 2, turn - size, turn)
            tilt = step * theta
            wide = float(rates.curvature(tilt)[0]) >= _SERIES_FROM
            one, two = rates.log_phi(tilt, np.clip(t, -1.2, 1.2)[None] if wide else t[None], wide)
            mean = float(rates.mean_and_curvature(tilt, np.array([False]))[0][0])
            log += one[0]
            angle += two[0] + (mean - round(mean)) * t
            whole += step * round(mean)
        angle += 2 * math.pi / size * (m * whole % size)
        value = np.exp(log)
        if upward is None:
            return value * np.cos(angle), value
        real, imaginary = beyond(np.abs(theta), 2 * math.pi / size * (m if upward else -m).astype(np.float64))
        square = real**2 + imaginary**2
        return value * (np.cos(angle) * real + np.sin(angle) * imaginary) / square, value / np.sqrt(square)


def _width(step: int, variance: Floats) -> Floats:
    """Return how far from the middle of a peak the bound on |phi| has come down; the whole way where it never does."""
    with np.errstate(divide="ignore", over="ignore"):
        share = np.sqrt(_DEPTH / (2 * variance))
    return np.asarray(2 / step * np.arcsin(np.minimum(share, 1.0)))
