"""Laws of whole numbers of steps: the wait until every neuron has been dropped, the longest run of drops."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _quadrature, _validate

Array = NDArray[np.float64]
# Rates that differ and how many neurons have each: (p, number).
Pieces = tuple[tuple[float, int], ...]

# A tail below exp(-50) = 2e-22 adds nothing to a sum of order 1 in doubles.
_LOG_NOTHING = 50.0
# A sum over more values than this is taken as an integral.
_ADDED = 2**18
# Values worked on at once.
_CHUNK = 2**16


class _Steps:
    """What follows for any law of a number of steps from its two tails, under scipy's names."""

    def _tails(self, k: Array) -> tuple[Array, Array]:
        """P(X < k) and P(X >= k) for k >= 0; k need not be whole."""
        raise NotImplementedError

    def _moments(self) -> tuple[float, float]:
        raise NotImplementedError

    def cdf(self, k: ArrayLike) -> Any:
        """Return P(X <= k)."""
        return self._at(k)[0]

    def sf(self, k: ArrayLike) -> Any:
        """Return P(X > k), with its own digits."""
        return self._at(k)[1]

    def pmf(self, k: ArrayLike) -> Any:
        """Return P(X = k); 0 where k is not whole."""
        at = np.asarray(k, dtype=np.float64)
        whole = (at == np.floor(at)) & (at >= 0)
        below, above = (np.asarray(tail) for tail in self._at(np.where(whole, at, 0) - 1))
        lower, upper = (np.asarray(tail) for tail in self._at(np.where(whole, at, 0)))
        # the difference of the smaller pair of tails keeps its digits
        return _unwrap(np.where(whole, np.where(upper < 0.5, above - upper, lower - below), 0.0))

    def _at(self, k: ArrayLike) -> tuple[Any, Any]:
        at = np.floor(np.asarray(k, dtype=np.float64)) + 1
        flat = np.maximum(at, 0).ravel()
        parts = [self._tails(flat[i : i + _CHUNK]) for i in range(0, max(flat.size, 1), _CHUNK)]
        lower, upper = (np.concatenate(side).reshape(at.shape) for side in zip(*parts, strict=True))
        return _unwrap(lower), _unwrap(upper)

    def ppf(self, q: ArrayLike) -> Any:
        """Return the smallest k with P(X <= k) >= q, for q in [0, 1]."""
        levels = np.asarray(q, dtype=np.float64)
        if not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(f"q must be in [0, 1]; got {q!r}")
        return _unwrap(np.array([self._quantile(level) for level in levels.ravel()]).reshape(levels.shape))

    def _quantile(self, q: float) -> float:
        def reached(k: float) -> bool:
            lower, upper = self._at(k)
            return bool(lower >= q) if q < 0.5 else bool(upper <= 1 - q)

        if reached(0):
            return 0.0
        low, high = 0.0, 1.0
        while not reached(high):
            low, high = high, 2 * high
            if high > _validate.MAX_NEURONS:  # beyond, neighbouring whole numbers are no longer doubles
                return math.inf
        while high - low > 1:
            middle = math.floor((low + high) / 2)
            low, high = (low, middle) if reached(middle) else (middle, high)
        return high

    def median(self) -> float:
        """Return the median."""
        return float(self.ppf(0.5))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the ends of the central interval that holds at least `confidence`."""
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


def _unwrap(array: Any) -> Any:
    return array if np.ndim(array) else float(array)


def _log_rates(p: float) -> tuple[float, float]:
    """Logarithms of p and 1 - p."""
    return (math.log(p) if p > 0 else -math.inf), (math.log1p(-p) if p < 1 else -math.inf)


def log1m_exp(x: Array) -> Array:
    """log(1 - exp(x)) for x <= 0, with the digits of both ends."""
    with np.errstate(divide="ignore"):
        return np.where(x > -math.log(2), np.log(-np.expm1(x)), np.log1p(-np.exp(x)))


@dataclass(frozen=True)
class WaitingTime(_Steps):
    """Law of the first step by which every neuron has been dropped, or kept, or both: a coupon collector's wait.

    P(X <= t) = prod_i (1 - q_i^t) for 'dropped', with p for 'kept', and prod_i (1 - p_i^t - q_i^t) for 'both'.
    `TrainingRun.steps_until_all` makes it. Its mean sum_t P(X > t) is added up term by term, or, where it is longer
    than 4096 terms, from there on by the Euler-Maclaurin formula.

    Attributes
    ----------
    pieces : tuple of (float, int)
        The drop probabilities, and how many neurons have each.
    what : {'dropped', 'kept', 'both'}
    """

    pieces: Pieces
    what: Literal["dropped", "kept", "both"]

    def _log_missing(self, t: Array) -> Array:
        """log P(X <= t): the sum over neurons of log(1 - P(not yet))."""
        total = np.zeros(t.shape)
        for p, number in self.pieces:
            log_p, log_q = _log_rates(p)
            with np.errstate(invalid="ignore", divide="ignore"):
                if self.what == "both":
                    slow, fast = max(log_p, log_q) * t, min(log_p, log_q) * t
                    # 1 - e^slow - e^fast is 0 at t = 1 and below
                    gap = np.where(t > 1, np.maximum(-np.expm1(slow) - np.exp(fast), 0), 0.0)
                    logarithm = np.where(gap < 0.5, np.log(gap), np.log1p(-(np.exp(slow) + np.exp(fast))))
                else:
                    rate = log_q if self.what == "dropped" else log_p
                    logarithm = np.where(t > 0, log1m_exp(np.where(t > 0, rate * t, 0.0)), -np.inf)
            total = total + number * logarithm
        return total

    def _tails(self, k: Array) -> tuple[Array, Array]:
        # X >= k means X > k - 1
        log_done = self._log_missing(np.ceil(k) - 1) if self._count() else np.zeros(k.shape)
        return np.where(k <= 0, 0.0, np.exp(log_done)), np.where(k <= 0, 1.0, -np.expm1(log_done))

    def _count(self) -> int:
        return sum(number for _, number in self.pieces)

    def _slowest(self) -> float:
        """Smallest rate at which a neuron's chance to be still missing decays."""
        logs = [_log_rates(p) for p, _ in self.pieces]
        if self.what == "both":
            return min(-max(pair) for pair in logs)
        return min(-pair[1 if self.what == "dropped" else 0] for pair in logs)

    def _moments(self) -> tuple[float, float]:
        if not self._count():
            return 0.0, 0.0
        slowest = self._slowest()
        if slowest == 0:  # some neuron is never dropped (or never kept)
            return math.inf, math.nan
        last = (math.log(self._count()) + _LOG_NOTHING + math.log(2)) / slowest
        direct = min(math.ceil(last) + 2, 4096)
        # of X - 1, so that the variance keeps its digits where all is done in the first step
        t = np.arange(1, direct, dtype=np.float64)
        sf = -np.expm1(self._log_missing(t))
        first, second = [float(np.sum(sf))], [float(np.sum((2 * t - 1) * sf))]
        if last > direct:
            # sum_{t >= M} g(t) = int_{M-1/2}^inf g + g'(M-1/2)/24 - ...; the next term is below 1e-13 of the mean for
            # M = 4096, where what has not decayed decays by less than 1% a step
            start = direct - 0.5
            nodes, weights = _quadrature.logarithmic(start, last)
            tail = -np.expm1(self._log_missing(nodes))
            around = -np.expm1(self._log_missing(start * (1 + np.array([-1e-4, 0, 1e-4]))))
            slope = (around[2] - around[0]) / (2e-4 * start)
            first += [float(np.sum(weights * tail)), slope / 24]
            second += [float(np.sum(weights * (2 * nodes - 1) * tail)), (2 * around[1] + (2 * start - 1) * slope) / 24]
        mean = math.fsum(first)
        return 1 + mean, max(math.fsum(second) - mean**2, 0.0)


@dataclass(frozen=True)
class LongestRun(_Steps):
    """Law of the longest run of consecutive drops within a number of steps, of one neuron or the longest of many.

    `TrainingRun.longest_run` and `TrainingRun.longest_run_of_any` make it.

    Attributes
    ----------
    pieces : tuple of (float, int)
        The drop probabilities, and how many neurons have each.
    steps : int

    Notes
    -----
    P(L >= k) = sum_{j >= 1} (-1)^(j+1) p^(jk) q^(j-1) (C(T-jk, j-1) + q C(T-jk, j)) (A. de Moivre, 1738) while the
    expected number T q p^k of long runs is at most 4; beyond, the leading pole of the generating function, which is
    then exact to 1e-14 (W. Feller (1968). An Introduction to Probability Theory and Its Applications, vol. 1, 3rd ed.,
    section XIII.7).
    """

    pieces: Pieces
    steps: int

    def _tails(self, k: Array) -> tuple[Array, Array]:
        log_below = np.zeros(k.shape)
        for p, number in self.pieces:
            below, reaching = _run_tails(p, self.steps, k)
            with np.errstate(divide="ignore"):
                log_below = log_below + number * np.where(reaching < 0.5, np.log1p(-reaching), np.log(below))
        return np.exp(log_below), -np.expm1(log_below)

    def _moments(self) -> tuple[float, float]:
        top, total = max((p for p, _ in self.pieces), default=0.0), sum(number for _, number in self.pieces)
        if not total or top == 0:
            return 0.0, 0.0
        if top == 1:
            return float(self.steps), 0.0
        reach = (math.log(total) + math.log(self.steps + 1) + _LOG_NOTHING) / -math.log(top)
        last = min(self.steps, math.ceil(reach) + 1)
        mean = self._sum(last, last, lambda k, below, reaching: reaching)
        # around the mean, from both tails, so that a small variance keeps its digits
        centre = math.floor(mean)
        spread = self._sum(
            last,
            centre,
            lambda k, below, reaching: np.where(
                k < centre + 0.5, (2 * (centre - k) + 1) * below, (2 * (k - centre) - 1) * reaching
            ),
        )
        if last > _ADDED:
            spread += 1 / 12  # what the integral leaves out where the slope jumps by 2: Euler-Maclaurin's 2/24
        return mean, max(spread - (mean - centre) ** 2, 0.0)

    def _sum(self, last: int, edge: int, function: Callable[[Array, Array, Array], Array]) -> float:
        """Sum of function(k, P(L < k), P(L >= k)) over k = 1..last, where it may jump after k = edge."""
        if last <= _ADDED:
            k, weights = np.arange(1, last + 1, dtype=np.float64), np.ones(last)
        else:
            k, weights = self._nodes(last, edge)
        total = 0.0
        for start in range(0, k.size, _CHUNK):
            part = k[start : start + _CHUNK]
            total += float(np.sum(weights[start : start + _CHUNK] * function(part, *self._tails(part))))
        return total

    def _nodes(self, last: int, edge: int) -> tuple[Array, Array]:
        """Nodes and weights for sum_{k=1}^{last} g(k) = int_{1/2}^{last+1/2} g, smooth but at T/2, T/3, ..., edge."""
        low, high = 0.5, last + 0.5
        kinks = [edge + 0.5, *(self.steps / j for j in range(1, 13))]
        edges = np.concatenate([np.geomspace(low, high, 1 + 8 * math.ceil(math.log(high / low))), kinks])
        # runs as long as a large part of all steps: the geometric panels are too wide there
        edges = np.concatenate([edges, np.linspace(low, high, 65)])
        return _quadrature.panels(np.unique(edges[(edges >= low) & (edges <= high)]))


def _run_tails(p: float, steps: int, k: Array) -> tuple[Array, Array]:
    """P(L < k) and P(L >= k) for one neuron; k >= 0, whole or not."""
    reaching = np.where(k <= 0, 1.0, 0.0)
    possible = (k > 0) & (k < steps + 1)
    if p in (0.0, 1.0):
        reaching = np.where(possible & (p == 1), 1.0, reaching)
        return 1 - reaching, reaching
    below = 1 - reaching
    log_p, q = math.log(p), 1 - p
    with np.errstate(under="ignore"):
        expected = steps * q * np.exp(k * log_p)
    rare, many = possible & (expected <= 4), possible & (expected > 4)
    below[rare], reaching[rare] = _de_moivre(log_p, q, steps, k[rare])
    below[many] = _leading_pole(p, q, steps, k[many])
    reaching[many] = 1 - below[many]
    return below, reaching


def _de_moivre(log_p: float, q: float, steps: int, k: Array) -> tuple[Array, Array]:
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


def _leading_pole(p: float, q: float, steps: int, k: Array) -> Array:
    """P(L < k) = A x^-(T+1), x > 0 the root of (q/p) sum_{i=1}^k (p x)^i = 1, to an absolute error of 1e-14."""
    # in h = log(p x): f(h) = log(q/p) + log(sum_{i=1}^k e^(ih)) increases, and is solved by Newton within a bracket
    h = np.zeros(k.shape)
    low, high = np.full(k.shape, math.log(p) - 1.0), np.full(k.shape, math.log(1 / q) + 1.0)
    for _ in range(200):
        size, slope = _geometric(h, k)
        excess = math.log(q / p) + np.log(size)
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
    log_x = h - math.log(p)
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
