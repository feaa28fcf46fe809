"""Sums of counts and multiples of counts whose table would be too long: every count is answered for itself.

The terms s_i Y_i are parted: the values of some are gone through, and for each of these the rest, the core, is asked
once: a single term, or several ones whose sum is smooth and is had from the integral on a contour (`multiples`). For
each question the parting of least work is chosen. All that is added is positive, so that tails keep their digits.
Where the least work is much, all peaks of the characteristic function may be less, or, for one probability, to go
through the values of either half of the terms and look up which of them add up to k.

Under the tilt exp(theta (S - k)) with which S has mean k, a term is gone through only where it is likelier than exp(-D)
(by Bernstein's inequality for sums of Bernoulli variables). What is left out is at most exp(-D) times the number of
terms times exp(K(theta) - theta k); where that is not below 1e-15 of the answer, the question is put again with a
larger D. For a tail, values beyond which the rest no longer matters are added up by the term's own tail.

Source: S. Boucheron, G. Lugosi, P. Massart (2013). Concentration Inequalities. Oxford University Press, section 2.8.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats import _progress
from dropstats._numerics import log1mexp
from dropstats.counts.frozen import Count
from dropstats.counts.halves import combined, log_sum, met
from dropstats.counts.parts import Core, Part, Window, part
from dropstats.counts.table import Scaled, Table

Floats = NDArray[np.float64]

# Probabilities, and multiplications, that a table of the sum may take, about three seconds.
_TABLE, _WORK = 2**24, 3e9
# Values gone through for one question at most, and at a time.
_MOST, _TOGETHER = 2e8, 2**20
# Values below which nothing quicker is looked for.
_LITTLE = 2.0**16
# Nodes on the peaks of a characteristic function that are gone through first, and at most.
_FEW_NODES, _MOST_NODES = 2**16, 2**22
# Values of terms that are known by tables for each of which these are gone through, at most.
_FEW_VALUES = 2**9
# Share of the terms' absolute sum that such a sum must keep, for 12 digits; that it may be left with, for 10, where
# nothing else answers.
_KEPT, _LEFT = 1e-2, 1e-5
# Depth of a first attempt, beyond the log of the standard deviation; digits asked of the answer, as a log.
_DEPTH, _DIGITS = 42.0, 35.0
# Fewer counts than this are asked one by one.
_FEW = 8
# The terms of the entropy's series may be so large; then those of the next order are below 1e-9.
_SMALL = 1e-6


class Question(NamedTuple):
    """The probability that is asked for: that the sum is k, at least k (`upward`), or at most k; under which tilt."""

    k: float
    upward: bool | None
    theta: float
    depth: float


class Level(NamedTuple):
    """A term whose values are gone through, and between what all that comes after it adds up to."""

    part: Part
    window: Window
    low: float
    high: float


class WideSum(Count):
    """Sum of independent counts and multiples of counts, of which every count is answered for itself.

    Examples
    --------
    >>> from dropstats.counts import Binomial
    >>> law = WideSum([Binomial(10**12, 0.1), Scaled(Binomial(10**6, 0.2), 10**5), Scaled(Binomial(10**7, 0.1), 10**3)])
    >>> law.n, round(float(law.sf(1.21e11)), 3)
    (1110000000000, 0.5)
    """

    counts: tuple[Count, ...]

    _made_from = ("counts",)

    def __init__(self, counts: Iterable[Count]) -> None:
        self.counts = tuple(counts)
        super().__init__(sum(count.n for count in self.counts))
        self._cores: dict[tuple[int, int], Core] = {}

    @cached_property
    def _lattice(self) -> tuple[int, int, list[Part]]:
        """What is certain, the unit in which the rest comes, and the terms that vary, by their steps in that unit."""
        parts = [part(count) for count in self.counts]
        certain = sum(each.step * each.term.first for each in parts if each.certain)
        parts = sorted((each for each in parts if not each.certain), key=lambda each: each.step)
        unit = math.gcd(*(each.step for each in parts)) or 1
        return certain, unit, [each.in_units(unit) for each in parts]

    @cached_property
    def _ends(self) -> tuple[int, int]:
        """Smallest and largest possible sum, in units above what is certain."""
        parts = self._lattice[2]
        return sum(each.step * each.term.first for each in parts), sum(each.step * each.term.last for each in parts)

    def _logpmf(self, k: Any) -> Any:
        if isinstance(k, float):
            return self._log(k, None)
        return self._each(self._logpmf, k) if (logs := self._together(k)) is None else logs

    def _together(self, k: Floats) -> Floats | None:
        """Return the log pmf of many counts from one contour; None where the sum is not smooth at all of them."""
        certain, unit, parts = self._lattice
        first, last = self._ends
        at = (k - certain) / unit
        some = (at == np.floor(at)) & (at >= first) & (at <= last)
        if not self._independent or some.sum() < _FEW:
            return None
        low, high = int(at[some].min()), int(at[some].max())
        core = self._core(0, len(parts))
        if low == first or high == last or not core.smooth(self._tilt(low), low, high):
            return None
        out = np.full(k.shape, -np.inf)
        out[some] = core.log(at[some], None)
        return out

    @cached_property
    def _independent(self) -> bool:
        """Whether it is a sum of multiples of independent neurons, of different steps."""
        parts = self._lattice[2]
        return len(parts) > 1 and all(each.rates is not None for each in parts)

    @cached_property
    def _summed(self) -> int:  # type: ignore[override]
        """Counts of an interval that are added up one by one."""
        return 2**16 if self._independent and self._core(0, len(self._lattice[2])).smooth(0.0, 0.0, 0.0) else 2**9

    def _logcdf(self, k: Any) -> Any:
        if not isinstance(k, float):
            return self._each(self._logcdf, k)
        upper = k >= self._cumulants[0]
        return float(log1mexp(np.array(self._log(k + 1, True)))) if upper else self._log(k, False)

    def _logsf(self, k: Any) -> Any:
        if not isinstance(k, float):
            return self._each(self._logsf, k)
        upper = k >= self._cumulants[0]
        return self._log(k + 1, True) if upper else float(log1mexp(np.array(self._log(k, False))))

    def _pmf(self, k: Any) -> Any:
        return np.exp(self._logpmf(k))

    def _cdf(self, k: Any) -> Any:
        return np.exp(self._logcdf(k))

    def _sf(self, k: Any) -> Any:
        return np.exp(self._logsf(k))

    def _each(self, function: Callable[[float], float], k: Floats) -> Floats:
        shown = _progress.shown(k.ravel().tolist(), k.size, "adding up", "count", delay=1)
        return np.array([function(one) for one in shown]).reshape(k.shape)

    # --- one question --------------------------------------------------------------------------------------------

    def _log(self, k: float, upward: bool | None) -> float:
        """Return log P(X = k), of X >= k or of X <= k; both of tails on their own side of the mean."""
        certain, unit, parts = self._lattice
        first, last = self._ends
        above = int(k) - certain
        if upward is None and above % unit:
            return -math.inf
        at = -(-above // unit) if upward else above // unit
        if not first <= at <= last:
            return -math.inf
        if at in (first, last):
            return math.fsum(each.term.log_end(at == last) for each in parts)
        theta = self._tilt(at)
        if upward is not None:
            theta = max(theta, 0.0) if upward else min(theta, 0.0)
        modes = [each.log_mode(theta) for each in parts]
        # about K(theta) - theta k
        level = math.fsum(log for _, log in modes)
        level += theta * (sum(each.step * int(y) for each, (y, _) in zip(parts, modes, strict=True)) - at)
        sd = math.sqrt(sum(each.step**2 * each.moments(theta)[1] for each in parts))
        depth = _DEPTH + math.log1p(sd)
        while True:
            value, everything = self._answer(Question(float(at), upward, theta, depth))
            if everything or value >= level - depth + _DIGITS:
                return min(value, 0.0)
            depth = max(2 * depth, level - value + _DIGITS + 5) if value > -math.inf else 4 * depth

    def _tilt(self, k: int) -> float:
        """Return the tilt under which k, strictly inside what is possible, is the mean."""
        parts, (first, last) = self._lattice[2], self._ends

        def excess(theta: float) -> float:
            # of the smaller of rise and fall, so that digits remain at the ends
            if k - first > (last - first) / 2:
                return (last - k) - math.fsum(each.step * each.term.fall(theta * each.step) for each in parts)
            return math.fsum(each.step * each.term.rise(theta * each.step) for each in parts) - (k - first)

        high = 1 / math.sqrt(sum(each.step**2 * each.moments(0.0)[1] for each in parts))
        low = -high
        while excess(low) > 0:
            low *= 4
        while excess(high) < 0:
            high *= 4
        from scipy.optimize import brentq  # whose import takes a tenth of a second

        return float(brentq(excess, low, high, xtol=1e-9 * min(high, -low), rtol=1e-12))

    def _answer(self, question: Question) -> tuple[float, bool]:
        """Return the log of the answer, and whether nothing was left out."""
        parts, (k, upward, theta, depth) = self._lattice[2], question
        windows = [each.window(theta, depth) for each in parts]
        around = windows if upward is None else [each.window(0.0, depth) for each in parts]
        lows = [each.step * min(a.low, b.low) for each, a, b in zip(parts, windows, around, strict=True)]
        highs = [each.step * max(a.high, b.high) for each, a, b in zip(parts, windows, around, strict=True)]
        everything = all(each.whole(window) for each, window in zip(parts, windows, strict=True))
        quicker = self._quicker(question, windows)
        for work, begin, end in self._partings(windows, lows, highs):
            if work > _LITTLE and (log := next(quicker, None)) is not None:
                return log, everything
            if work > _MOST:
                break
            core = self._core(begin, end)
            below, above = sum(lows[begin:end]), sum(highs[begin:end])
            others, levels = [*range(begin), *range(end, len(parts))], []
            ends = (k, k)
            if others:
                rest = sum(highs[i] for i in others), sum(lows[i] for i in others)
                ends = max(below, k - rest[0]), min(above, k - rest[1])
            if not core.smooth(theta, *ends):
                continue
            for i in others:
                levels.append(Level(parts[i], windows[i], below, above))
                below, above = below + lows[i], above + highs[i]
            value = _gone_through(levels[::-1], core, upward, np.array([k]), np.zeros(1))
            return value, not others or everything
        if (log := self._through_peaks(question, windows, _MOST_NODES, _LEFT)) is not None:
            return log, everything or self._independent
        raise ValueError(
            f"a probability of this sum of {len(parts)} counts of different steps would need more than {_MOST:.0e} "
            "terms; its mean, var, std, stats and rvs are available"
        )

    def _quicker(self, question: Question, windows: Sequence[Window]) -> Iterator[float]:
        """Yield the answer at most, where it can be had without going through the values of all terms but the core."""
        log = self._through_peaks(question, windows, _FEW_NODES, _KEPT)
        if log is None and question.upward is None:
            log = met(self._lattice[2], windows, int(question.k))
        if log is None:
            log = self._through_peaks(question, windows, _MOST_NODES, _KEPT)
        if log is not None:
            yield log

    @cached_property
    def _stepped(self) -> Core | None:
        """The sum of all terms that are independent neurons, where there are several."""
        stepped = [each for each in self._lattice[2] if each.rates is not None]
        return Core(stepped) if len(stepped) > 1 else None

    def _through_peaks(self, question: Question, windows: Sequence[Window], most: int, share: float) -> float | None:
        """Return the log of the answer from the peaks of independent neurons, for each value of all other terms."""
        tables = [(each, window) for each, window in zip(self._lattice[2], windows, strict=True) if each.rates is None]
        number = math.prod(int(window.high - window.low) + 1 for _, window in tables)
        if self._stepped is None or number > _FEW_VALUES:
            return None
        sums, logs = combined(tables, np.arange(number))
        for i in range(number):
            log = self._stepped.through_peaks(question.k - float(sums[i]), question.upward, most // number, share)
            if log is None:
                return None
            logs[i] += log
        return log_sum(logs)

    def _core(self, begin: int, end: int) -> Core:
        if (begin, end) not in self._cores:
            self._cores[begin, end] = Core(self._lattice[2][begin:end])
        return self._cores[begin, end]

    def _partings(
        self, windows: Sequence[Window], lows: Sequence[float], highs: Sequence[float]
    ) -> list[tuple[float, int, int]]:
        """Return the ways to part the terms: about how much work each is, and which terms are the core; least first."""
        parts, found = self._lattice[2], []
        for begin in range(len(parts)):
            for end in range(begin + 1, len(parts) + 1):
                core = parts[begin:end]
                if len(core) > 1 and any(each.rates is None for each in core):
                    break
                number, width = 1.0, sum(highs[begin:end]) - sum(lows[begin:end])
                for i in [*range(begin), *range(end, len(parts))]:
                    number *= min(windows[i].high - windows[i].low, width / parts[i].step) + 1
                    width += highs[i] - lows[i]
                found.append((number * Core.cost(core), begin, end))
        return sorted(found)

    # --- the whole law -------------------------------------------------------------------------------------------

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        first, second, third, fourth = map(math.fsum, zip(*(count._cumulants for count in self.counts), strict=True))
        return first, second, third, fourth

    def _mean_kept(self) -> float:
        return math.fsum(count._mean_kept() for count in self.counts)

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats, where the sum is smooth.

        With v the variance and k3, k4 the next cumulants, in the unit in which the sum comes, it is
        log(2 pi e v) / 2 - k3^2 / (12 v^3) - k4^2 / (48 v^4), where these terms are below 1e-6 and those of the next
        order below 1e-9.

        Source: P. McCullagh (1987). Tensor Methods in Statistics. Chapman and Hall, section 5.2 (Edgeworth series).
        """
        _, unit, parts = self._lattice
        _, variance, third, fourth = self._cumulants
        skewness, excess = third / variance / math.sqrt(variance), fourth / variance / variance
        small = skewness**2 / 12 < _SMALL and excess**2 / 48 < _SMALL
        if not (self._independent and small and self._core(0, len(parts)).smooth(0.0, 0.0, 0.0)):
            raise ValueError(
                "the entropy of this sum is not feasible: its table would be too long, and it is not smooth; "
                "entropy_bits() of the law is that of its masks, and mean, var, std and stats are available"
            )
        v = variance / unit / unit
        return np.float64(0.5 * math.log(2 * math.pi * math.e * v) - skewness**2 / 12 - excess**2 / 48)

    def _window(self) -> Floats:
        raise ValueError("this law has too many counts for a table; ask for single ones, or for its quantiles")

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        drawn = np.zeros(size, dtype=np.int64)
        for count in self.counts:
            drawn = drawn + count._variates(size, source)
        return np.asarray(drawn)


def _gone_through(levels: Sequence[Level], core: Core, upward: bool | None, k: Floats, logs: Floats) -> float:
    """Return the log of the sum of exp(logs) times the probability that levels and core add up to k.

    Where a tail is asked for they add up to at least, or at most, k.
    """
    if not levels:
        return log_sum(logs + core.log(k, upward))
    (part, window, below, above), count = levels[0], levels[0].part.count
    least, most = np.ceil((k - above) / part.step), np.floor((k - below) / part.step)
    low, high = np.maximum(least, window.low), np.minimum(most, window.high)
    total = -math.inf
    if upward is not None:  # what lies beyond, the rest reaches for certain
        total = log_sum(logs + (count.logsf(most) if upward else count.logcdf(least - 1)))
    number = np.maximum(high - low + 1, 0).astype(np.int64)
    ends = np.cumsum(number)
    starts = range(0, int(ends[-1]), _TOGETHER)
    blocks = _progress.shown(starts, len(starts), "adding up", "block", delay=1) if len(starts) > 1 else starts
    for start in blocks:
        at = np.arange(start, min(start + _TOGETHER, int(ends[-1])))
        row = np.searchsorted(ends, at, side="right")
        y = low[row] + (at - (ends - number)[row])
        weights = logs[row] + _log_pmf(count, y)
        some = weights > -np.inf
        if some.any():
            rest = (k[row] - part.step * y)[some]
            total = float(np.logaddexp(total, _gone_through(levels[1:], core, upward, rest, weights[some])))
    return total


def _log_pmf(count: Count, y: Floats) -> Floats:
    """Return the log pmf of integers, most of which come again."""
    low, high = float(y.min()), float(y.max())
    if high - low >= y.size:
        return np.asarray(count.logpmf(y))
    return np.asarray(count.logpmf(np.arange(low, high + 1))[(y - low).astype(np.intp)])


def wide(counts: Sequence[Count]) -> WideSum | None:
    """Return the sum as one of which every count is answered for itself, where its table would be too much work."""
    points, length = [], 0.0
    for count in counts:
        step, base = 1, count
        while isinstance(base, Scaled):
            step, base = step * base.size, base.count
        if not (isinstance(base, Table) or hasattr(base, "parts")):
            return None
        size = base.log_pmf.size if isinstance(base, Table) else min(base.n, 80 * float(base.std()) + 100) + 1
        points.append(float(size))
        length += step * points[-1]
    # a product takes as many passes over one table as there are points in the other
    return WideSum(counts) if length > _TABLE or sorted(points)[-2] * length > _WORK else None
