"""Distributions of numbers of steps: the waiting time until every neuron has been dropped."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _numerics, _progress, _validate, counts
from dropstats.counts import search
from dropstats.training.rate_counts import RateCounts

Array = NDArray[np.float64]

# A tail below exp(-50) = 2e-22 adds nothing to a sum of order 1 in doubles.
LOG_NOTHING = 50.0
# Values worked on at once.
CHUNK = 2**16
# Sums over more different rates than this are had from nodes.
MANY_RATES = 2**13


class Steps:
    """Methods of a distribution of a number of steps, with scipy's names."""

    def _tails(self, k: Array) -> tuple[Array, Array]:
        """P(X < k) and P(X >= k) for k >= 0; k need not be whole."""
        raise NotImplementedError

    def _moments(self) -> tuple[float, float]:
        raise NotImplementedError

    def _end(self) -> float:
        """Largest possible value."""
        raise NotImplementedError

    def cdf(self, k: ArrayLike) -> Any:
        """Return P(X <= k)."""
        return self._at(k)[0]

    def sf(self, k: ArrayLike) -> Any:
        """Return P(X > k), accurate for small values too."""
        return self._at(k)[1]

    def pmf(self, k: ArrayLike) -> Any:
        """Return P(X = k); 0 if k is not an integer."""
        at = np.asarray(k, dtype=np.float64)
        whole = (at == np.floor(at)) & (at >= 0)
        safe = np.where(whole, at, 0)
        (below, above), (lower, upper) = self._at(safe - 1), self._at(safe)
        # the difference of the smaller pair of tails keeps its digits
        mass = np.where(whole, np.where(np.less(upper, 0.5), above - upper, lower - below), 0.0)
        return _numerics.scalar(np.where(np.isnan(at), np.nan, mass))

    def _at(self, k: ArrayLike) -> tuple[Any, Any]:
        """P(X <= k) and P(X > k)."""
        at = np.floor(np.asarray(k, dtype=np.float64)) + 1
        flat = np.maximum(at, 0).ravel()
        parts = [self._tails(flat[i : i + CHUNK]) for i in range(0, max(flat.size, 1), CHUNK)]
        sides = (np.concatenate(side).reshape(at.shape) for side in zip(*parts, strict=True))
        lower, upper = (np.where(np.isnan(at), np.nan, side) for side in sides)
        return _numerics.scalar(lower), _numerics.scalar(upper)

    def ppf(self, q: ArrayLike) -> Any:
        """Return the smallest k with P(X <= k) >= q, for q in [0, 1]."""
        levels = np.asarray(q, dtype=np.float64)
        if not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(f"q must be in [0, 1]; got {q!r}")

        def reached(k: Array, level: Array) -> Array:
            lower, upper = self._at(k)
            return np.asarray(np.where(level < 0.5, lower >= level, upper <= 1 - level))

        largest = _validate.MAX_NEURONS  # beyond, neighbouring whole numbers are no longer doubles
        found = search.first(reached, levels.ravel(), np.zeros(levels.size), 2 * largest)
        found = np.where(found > largest, math.inf, found).reshape(levels.shape)
        return _numerics.scalar(np.where(levels == 1, self._end(), found))  # tails below 1e-308 are not the end

    def median(self) -> float:
        """Return the median."""
        return float(self.ppf(0.5))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the ends of the central interval with probability at least `confidence`."""
        tail = (1 - _validate.probability(confidence, "confidence")) / 2
        return float(self.ppf(tail)), float(self.ppf(1 - tail))

    def mean(self) -> float:
        """Return the mean."""
        return self._moments()[0]

    def var(self) -> float:
        """Return the variance."""
        return self._moments()[1]

    def std(self) -> float:
        """Return the standard deviation."""
        return math.sqrt(self._moments()[1])


@dataclass(frozen=True)
class WaitingTime(Steps):
    """Distribution of the first step by which every neuron has been dropped, or kept, or both.

    P(X <= t) = prod_i (1 - q_i^t) for 'dropped', with p_i for 'kept', and prod_i (1 - p_i^t - q_i^t) for 'both'. Get it
    from `TrainingRun.steps_until_all`. The mean is sum_t P(X > t), by the Euler-Maclaurin formula beyond 4096 terms.
    """

    rates: RateCounts
    what: Literal["dropped", "kept", "both"]
    progress: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def _decays(self) -> tuple[Array, Array]:
        """Rates at which a neuron's chance to be still missing decays, rising, and how many neurons have each."""
        p, number = self.rates.p, self.rates.number
        with np.errstate(divide="ignore"):
            log_p, log_q = np.log(p), np.log1p(-p)
        rate = 0.0 - {"dropped": log_q, "kept": log_p, "both": np.maximum(log_p, log_q)}[self.what]
        order = np.argsort(rate)
        return rate[order], number[order]

    def _that_matter(self, least: float, most: float) -> tuple[Array, Array]:
        """The decays that matter from one time to another, to 1e-18 of the sum, of many rates as nodes.

        The summand is smooth in the log of the decay r, on a width of 1 / (r t); beyond r t = r_0 t + 42 + log n, with
        r_0 the slowest, all n of them are 1e-18 of the slowest one.
        """
        rate, number = self._decays
        reach = math.log(max(float(number.sum()), 1.0)) + 42
        end = int(np.searchsorted(rate, rate[0] + reach / least, side="right"))
        rate, number = rate[:end], number[:end]
        if rate.size <= MANY_RATES or rate[0] == 0 or rate[-1] == math.inf:
            return rate, number
        width = 5 / (float(rate[0]) * most + reach)
        if 16 * math.log(rate[-1] / rate[0]) / width > rate.size / 4:
            return rate, number
        places, weights = counts.nodes(np.log(rate), number, width)
        return np.exp(places), weights

    def _log_missing(self, t: Array) -> Array:
        """log P(X <= t): the sum over neurons of log(1 - P(not yet)); some at a time."""
        total = np.zeros(t.shape)
        if not len(self.rates):
            return total
        # both cannot have been in one step
        late = t > (1 if self.what == "both" else 0)
        total[~late] = -np.inf
        if not late.any():
            return total
        times = t[late]
        rates, numbers = self._that_matter(float(times.min()), float(times.max()))
        size, found = max(1, CHUNK // times.size), np.zeros(times.size)
        starts = range(0, rates.size, size)
        for start in _progress.shown(starts, len(starts), "waiting for all", "block", self.progress, delay=1):
            rate = rates[start : start + size, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                if self.what == "both":
                    slow, fast = -rate * times, _numerics.log1mexp(-rate) * times
                    gap = np.maximum(-np.expm1(slow) - np.exp(fast), 0)
                    logs = np.where(gap < 0.5, np.log(gap), np.log1p(-(np.exp(slow) + np.exp(fast))))
                else:
                    logs = _numerics.log1mexp(-rate * times)
            # weights of nodes have either sign, so that what is impossible is kept out of the sum
            none = np.isneginf(logs).any(axis=0)
            found += np.where(none, -np.inf, numbers[start : start + size] @ np.where(none, 0.0, logs))
        total[late] = found
        return total

    def _tails(self, k: Array) -> tuple[Array, Array]:
        # X >= k means X > k - 1
        log_done = self._log_missing(np.ceil(k) - 1)
        return np.where(k <= 0, 0.0, np.exp(log_done)), np.where(k <= 0, 1.0, -np.expm1(log_done))

    def _count(self) -> int:
        return self.rates.n

    def _end(self) -> float:
        certain = {"dropped": 1.0, "kept": 0.0, "both": math.nan}[self.what]
        return math.inf if (self.rates.p != certain).any() else float(self._count() > 0)

    def _moments(self) -> tuple[float, float]:
        if not self._count():
            return 0.0, 0.0
        slowest = float(self._decays[0][0])
        if slowest == 0:  # some neuron is never dropped (or never kept)
            return math.inf, math.nan
        last = (math.log(self._count()) + LOG_NOTHING + math.log(2)) / slowest
        direct = min(math.ceil(last) + 2, 4096)
        # of X - 1, so that the variance keeps its digits where all is done in the first step
        t = np.arange(1, direct, dtype=np.float64)
        sf = -np.expm1(self._log_missing(t))
        first, second = [float(np.sum(sf))], [float(np.sum((2 * t - 1) * sf))]
        if last > direct:
            # sum_{t >= M} g(t) = int_{M-1/2}^inf g + g'(M-1/2)/24 - ...; the next term is below 1e-13 of the mean for
            # M = 4096, where what has not decayed decays by less than 1% a step
            start = direct - 0.5
            nodes, weights = _numerics.logarithmic(start, last)
            tail = -np.expm1(self._log_missing(nodes))
            around = -np.expm1(self._log_missing(start * (1 + np.array([-1e-4, 0, 1e-4]))))
            slope = (around[2] - around[0]) / (2e-4 * start)
            first += [float(np.sum(weights * tail)), slope / 24]
            second += [float(np.sum(weights * (2 * nodes - 1) * tail)), (2 * around[1] + (2 * start - 1) * slope) / 24]
        mean = math.fsum(first)
        return 1 + mean, max(math.fsum(second) - mean**2, 0.0)
