"""Distribution of the longest run of consecutive drops."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dropstats import _numerics, _progress, counts
from dropstats.training.interpolation import interpolant
from dropstats.training.rate_counts import RateCounts
from dropstats.training.times import CHUNK, LOG_NOTHING, MANY_RATES, Steps

Array = NDArray[np.float64]
Tails = Callable[[Array], tuple[Array, Array]]

# A sum over more values than this is taken as an integral.
_ADDED = 2**18
# Up to this many different rates every term of a sum is evaluated; beyond, it is interpolated between the lengths.
_FEW_RATES = 16
# Sums over many rates, but for those next to 1, are had from nodes, for so many lengths at a time.
_NEAR_1, _LENGTHS = 0.999, 64
# Expected numbers of long runs up to which inclusion and exclusion is done; those alike need alike many terms.
_EXPECTED = (-1.0, 1e-9, 1e-3, 4.0)


@dataclass(frozen=True)
class LongestRun(Steps):
    """Distribution of the longest run of consecutive drops within T steps, of one neuron or of all neurons.

    Get it from `TrainingRun.longest_run` or `TrainingRun.longest_run_of_any`.

    Notes
    -----
    P(L >= k) = sum_{j >= 1} (-1)^(j+1) p^(jk) q^(j-1) (C(T-jk, j-1) + q C(T-jk, j)) (A. de Moivre, 1738) while the
    expected number T q p^k of long runs is at most 4; beyond, the leading pole of the generating function, which is
    then exact to 1e-14 (W. Feller (1968). An Introduction to Probability Theory and Its Applications, vol. 1, 3rd ed.,
    section XIII.7).
    """

    rates: RateCounts
    steps: int
    progress: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def _log_odds(self) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.rates.p) - np.log1p(-self.rates.p))

    def _end(self) -> float:
        return float(self.steps) if self.rates.p.max(initial=0.0) > 0 else 0.0

    def _tails(self, k: Array) -> tuple[Array, Array]:
        log_below = self._log_below(k)
        return np.exp(log_below), -np.expm1(log_below)

    def _log_below(self, k: Array) -> Array:
        """log P(L < k), the sum over neurons, for k >= 0; some lengths and rates at a time."""
        result, order = np.zeros(k.shape), np.argsort(k)
        start, p = 0, self.rates.p
        while start < k.size:
            columns = max(1, CHUNK // max(p.size, 1))
            if p.size > MANY_RATES:  # of lengths up to twice the least the same nodes will do
                columns = min(_LENGTHS, int(np.searchsorted(k[order[start:]], 2 * k[order[start]], side="right")))
            where = order[start : start + columns]
            part, (rates, number) = k[where], self._that_matter(k[where])
            firsts = range(0, rates.size, CHUNK)
            for first in _progress.shown(firsts, len(firsts), "runs of each rate", "block", self.progress, delay=1):
                some = rates[first : first + CHUNK, None]
                below, reaching = _run_tails(np.broadcast_to(some, (some.size, part.size)), self.steps, part)
                with np.errstate(divide="ignore"):
                    logs = np.where(reaching < 0.5, np.log1p(-reaching), np.log(below))
                # weights of nodes have either sign, so that what is impossible is kept out of the sum
                none = np.isneginf(logs).any(axis=0)
                result[where] += np.where(none, -np.inf, number[first : first + CHUNK] @ np.where(none, 0.0, logs))
            start += columns
        return result

    def _that_matter(self, k: Array) -> tuple[Array, Array]:
        """The rates that matter to runs of these lengths and the numbers of neurons, of many rates as nodes.

        log P(L < k) of a neuron is about -T q p^k: smooth in k log p, and so, on a width of 1 / (k q), in the
        log odds, whose derivative of log p is q.
        """
        first = self._first_that_matters(float(k[0]))
        p, number = self.rates.p[first:], self.rates.number[first:]
        if p.size <= MANY_RATES or p[0] == 0 or p[-1] > _NEAR_1:
            return p, number
        odds = self._log_odds[first:]
        width = 1 / max(float(k[-1]) * (1 - p[0]), 1.0)
        if 16 * (odds[-1] - odds[0]) / width > p.size / 4:
            return p, number
        odds, number = counts.nodes(odds, number, width)
        return expit(odds), number

    def _first_that_matters(self, k: float) -> int:
        """Index from which on rates matter to runs of k or more, to 1e-18 of the probability of one.

        The largest rate r reaches k with probability r^k at least, all n neurons of rate p with n (T + 1) p^k at most.
        """
        p, number = self.rates.p, self.rates.number
        if k <= 0 or not p.size or p[-1] == 0:
            return 0
        behind = (math.log(float(number.sum()) * (self.steps + 1)) + 18 * math.log(10)) / k
        return int(np.searchsorted(p, p[-1] * math.exp(-behind)))

    def _moments(self) -> tuple[float, float]:
        top, total = float(self.rates.p.max(initial=0.0)), float(self.rates.number.sum())
        if not total or top == 0:
            return 0.0, 0.0
        if top == 1:
            return float(self.steps), 0.0
        reach = (math.log(total) + math.log(self.steps + 1) + LOG_NOTHING) / -math.log(top)
        last = min(self.steps, math.ceil(reach) + 1)
        tails = self._tails if len(self.rates) <= _FEW_RATES else self._interpolated(last)
        mean = self._sum(tails, last, last, lambda k, below, reaching: reaching)
        centre = math.floor(mean)

        def squared(k: Array, below: Array, reaching: Array) -> Array:
            """Around the mean, from both tails, so that a small variance keeps its digits."""
            return np.where(k < centre + 0.5, (2 * (centre - k) + 1) * below, (2 * (k - centre) - 1) * reaching)

        spread = self._sum(tails, last, centre, squared)
        if last > _ADDED:
            spread += 1 / 12  # what the integral leaves out where the slope jumps by 2: Euler-Maclaurin's 2/24
        return mean, max(spread - (mean - centre) ** 2, 0.0)

    def _interpolated(self, last: int) -> Tails:
        """P(L < k) and P(L >= k) from log(-log P(L < k)), which is smooth in k but at T/2, T/3, ..."""
        low, high = 0.5, last + 0.5
        while high - low > 1:  # below low P(L < k) is under exp(-50)
            middle = (low + high) / 2
            low, high = (middle, high) if self._log_below(np.array([middle]))[0] < -LOG_NOTHING else (low, middle)
        inside = [self.steps / j for j in range(1, 13) if low < self.steps / j < last + 0.5]

        def log_minus_log(k: Array) -> Array:
            return np.log(-np.maximum(self._log_below(k), -LOG_NOTHING))

        # an error e of log S, S = -log P(L < k), is one of S exp(-S) e in P(L < k) and of e, relatively, in a small S
        smooth = interpolant(log_minus_log, [low, *inside, last + 0.5], lambda y: (1 + np.exp(y)) * np.exp(-np.exp(y)))

        def tails(k: Array) -> tuple[Array, Array]:
            with np.errstate(over="ignore"):
                log_below = np.where(k < low, -np.inf, -np.exp(smooth(np.maximum(k, low))))
            return np.exp(log_below), -np.expm1(log_below)

        return tails

    def _sum(self, tails: Tails, last: int, edge: int, function: Callable[[Array, Array, Array], Array]) -> float:
        """Sum of function(k, P(L < k), P(L >= k)) over k = 1..last, where it may jump after k = edge."""
        if last <= _ADDED:
            k, weights = np.arange(1, last + 1, dtype=np.float64), np.ones(last)
        else:
            k, weights = self._nodes(last, edge)
        total = 0.0
        for start in range(0, k.size, CHUNK):
            part = k[start : start + CHUNK]
            total += float(np.sum(weights[start : start + CHUNK] * function(part, *tails(part))))
        return total

    def _nodes(self, last: int, edge: int) -> tuple[Array, Array]:
        """Nodes and weights for sum_{k=1}^{last} g(k) = int_{1/2}^{last+1/2} g, smooth but at T/2, T/3, ..., edge."""
        low, high = 0.5, last + 0.5
        kinks = [edge + 0.5, *(self.steps / j for j in range(1, 13))]
        edges = np.concatenate([np.geomspace(low, high, 1 + 8 * math.ceil(math.log(high / low))), kinks])
        # runs as long as a large part of all steps: the geometric panels are too wide there
        edges = np.concatenate([edges, np.linspace(low, high, 65)])
        return _numerics.panels(np.unique(edges[(edges >= low) & (edges <= high)]))


def _run_tails(p: Array, steps: int, k: Array) -> tuple[Array, Array]:
    """P(L < k) and P(L >= k) for one neuron of rate p; k >= 0, whole or not."""
    p, k = np.broadcast_arrays(p, k)
    possible = (k > 0) & (k < steps + 1)
    reaching = np.where((k <= 0) | (possible & (p == 1)), 1.0, 0.0)
    below = 1 - reaching
    possible &= (p > 0) & (p < 1)
    with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
        log_p, q = np.log(p), 1 - p
        expected = np.where(possible, steps * q * np.exp(k * log_p), np.inf)
    for least, most in itertools.pairwise(_EXPECTED):
        rare = (expected > least) & (expected <= most)
        if rare.any():
            below[rare], reaching[rare] = _de_moivre(log_p[rare], q[rare], steps, k[rare])
    many = possible & (expected > _EXPECTED[-1])
    if many.any():
        below[many] = _leading_pole(p[many], q[many], steps, k[many])
        reaching[many] = 1 - below[many]
    return below, reaching


def _de_moivre(log_p: Array, q: Array, steps: int, k: Array) -> tuple[Array, Array]:
    """P(L < k) and P(L >= k) by inclusion and exclusion; its terms fall like 4^j / j!, so about 30 matter."""
    power = np.exp(k * log_p)
    # k may lie up to 1 above steps, where a sum over k is an integral
    room = np.maximum(steps - k, 0)
    reaching = power * (1 + q * room)
    below = -np.expm1(k * log_p + np.log1p(q * room))
    for j in range(2, 80):
        room = steps - j * k
        if not (room >= 0).any():
            break
        # C(room, j - 1) (q p^k)^(j-1), factor by factor
        product = np.where(room >= 0, power, 0.0)
        for i in range(j - 1):
            product = product * np.maximum(room - i, 0) * (q * power) / (i + 1)
        term = product * (1 + q * np.maximum(room - j + 1, 0) / j) * (-1) ** j
        reaching, below = reaching - term, below + term
        if (np.abs(term) <= 1e-18 * reaching).all():
            break
    return np.clip(below, 0.0, 1.0), np.clip(reaching, 0.0, 1.0)


def _leading_pole(p: Array, q: Array, steps: int, k: Array) -> Array:
    """P(L < k) = A x^-(T+1), x > 0 the root of (q/p) sum_{i=1}^k (p x)^i = 1, to an absolute error of 1e-14."""
    # in h = log(p x): f(h) = log(q/p) + log(sum_{i=1}^k e^(ih)) increases, and is solved by Newton within a bracket
    h = np.zeros(k.shape)
    low, high = np.log(p) - 1.0, 1.0 - np.log(q)
    for _ in range(200):
        size, slope = _geometric(h, k)
        excess = np.log(q / p) + np.log(size)
        low, high = np.where(excess < 0, h, low), np.where(excess < 0, high, h)
        with np.errstate(invalid="ignore"):
            new = h - excess * size / slope
        new = np.where((new > low) & (new < high), new, (low + high) / 2)
        done = np.abs(new - h) <= 1e-16 * (1 + np.abs(new))
        h = new
        if done.all():
            break
    size, slope = _geometric(h, k)
    # A x^-1 = S(y) / (-E'(x) x) with S = sum_{i<k} y^i = size / y and -E'(x) x = (q/p) sum i y^i, y = e^h
    amplitude = size * np.exp(-h) / (q / p * slope)
    log_x = h - np.log(p)
    # x - 1 = q p^k x^(k+1), where it is small, has the digits that the difference lacks and a large T asks for
    log_rise = np.log(np.expm1(np.maximum(log_x, 1e-300)))
    for _ in range(4):
        rise = np.exp(log_rise)
        share = (k + 1) * rise / (1 + rise)
        excess = log_rise - (k + 1) * np.log1p(rise) - np.log(q) - k * np.log(p)
        log_rise = log_rise - np.where(share < 0.5, excess / (1 - np.minimum(share, 0.5)), 0.0)
    log_x = np.where((k + 1) * np.exp(log_rise) < 0.5, np.log1p(np.exp(log_rise)), log_x)
    with np.errstate(under="ignore"):
        return np.clip(amplitude * np.exp(-steps * log_x), 0.0, 1.0)


def _geometric(h: Array, k: Array) -> tuple[Array, Array]:
    """sum_{i=1}^k e^(ih) and sum_{i=1}^k i e^(ih), for h of either sign and near 0."""
    near = np.abs(h) * k < 1e-4
    safe = np.where(near, 1.0, h)
    with np.errstate(over="ignore", invalid="ignore"):
        rise = np.expm1(k * safe)
        one = np.expm1(safe)
        size = np.exp(safe) * rise / one
        slope = (k * np.exp((k + 1) * safe) - size) / one
    # Taylor series in h of both sums, whose next terms are below 1e-13 of them
    size_near = k * (1 + h * (k + 1) / 2 + h**2 * (k + 1) * (2 * k + 1) / 12 + h**3 * k * (k + 1) ** 2 / 24)
    slope_near = k * (k + 1) / 2 + h * k * (k + 1) * (2 * k + 1) / 6 + h**2 * k**2 * (k + 1) ** 2 / 8
    return np.where(near, size_near, size), np.where(near, slope_near, slope)
