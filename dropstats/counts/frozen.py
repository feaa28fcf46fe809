"""Frozen scipy distributions of counts.

`Count` is a scipy frozen distribution whose methods answer directly: scipy's own machinery costs 60 us a call, and its
ppf, isf, median, entropy and stats fail or warn for large n. A law of a count supplies a few private methods on
integers inside its support; what scipy's methods promise beyond that (arrays, fractions, both tails, quantiles by
search, expectations) is written once, here.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats._distn_infrastructure import rv_discrete_frozen

from dropstats.counts.binomial_logs import log1mexp

Floats = NDArray[np.float64]

# Intervals of up to this many counts are summed term by term, with full relative accuracy.
_SUMMED = 2**16
# Terms of an expectation held at a time, and at most summed.
_EXPECT_CHUNK, _EXPECT_MAX = 2**18, 10**8


class Count(rv_discrete_frozen):  # type: ignore[misc]
    """Law of a count in 0..n: a frozen scipy distribution, exact in both tails.

    Supports what any frozen discrete distribution of scipy does, vectorised: ``pmf logpmf cdf logcdf sf logsf ppf isf
    mean var std stats median entropy interval expect moment support rvs``.
    """

    n: int
    kwds: dict[str, Any]
    _random_state: Any = None

    # What a law of a count supplies; k is a 1-d float array of integers in 0..n (below n for cdf and sf).
    _pmf: Callable[[Floats], Floats]
    _logpmf: Callable[[Floats], Floats]
    _cdf: Callable[[Floats], Floats]
    _sf: Callable[[Floats], Floats]
    _logcdf: Callable[[Floats], Floats]
    _logsf: Callable[[Floats], Floats]
    _moments: Callable[[], tuple[float, float, float, float]]
    _mean_kept: Callable[[], float]
    _variates: Callable[[Any, Any], NDArray[np.int64]]

    def __init__(self, n: int) -> None:
        self.n = n
        self.a, self.b = 0, n
        self.kwds = {}

    @property
    def args(self) -> tuple[Any, ...]:
        """Shape parameters, as scipy has them; none where scipy has no distribution of the kind."""
        return ()

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of; a nameless one where scipy has none of the kind."""
        from scipy import stats

        return stats.rv_discrete(a=0, b=self.n, name="count")

    @property
    def random_state(self) -> Any:
        """Default source of `rvs`; None means fresh entropy, never numpy's global state."""
        return self._random_state

    @random_state.setter
    def random_state(self, seed: Any) -> None:
        self._random_state = seed

    def _evaluate(self, function: Callable[[Floats], Floats], k: Any, below: float, above: float) -> Any:
        """Apply `function` to the counts inside the support; `above` holds from n on."""
        x = np.asarray(k, dtype=np.float64)
        if x.ndim == 0:
            if x < 0:
                return np.float64(below)
            if x >= self.n:
                return np.float64(above)
            return np.float64(np.nan) if x != x else function(np.floor(x.reshape(1)))[0]
        inside = (x >= 0) & (x < self.n)
        if inside.all():
            return function(np.floor(x).ravel()).reshape(x.shape)
        out = np.where(x < 0, below, above)
        out[np.isnan(x)] = np.nan
        if inside.any():
            out[inside] = function(np.floor(x[inside]))
        return out

    def _evaluate_at(self, function: Callable[[Floats], Floats], k: Any, elsewhere: float) -> Any:
        """Apply `function` to the integers in 0..n."""
        x = np.asarray(k, dtype=np.float64)
        if x.ndim == 0:
            if 0 <= x <= self.n and x == np.floor(x):
                return function(x.reshape(1))[0]
            return np.float64(np.nan if x != x else elsewhere)
        inside = (x >= 0) & (x <= self.n) & (x == np.floor(x))
        if inside.all():
            return function(x.ravel()).reshape(x.shape)
        out = np.full(x.shape, elsewhere)
        out[np.isnan(x)] = np.nan
        if inside.any():
            out[inside] = function(x[inside])
        return out

    def pmf(self, k: ArrayLike) -> Any:
        """P(X = k)."""
        return self._evaluate_at(self._pmf, k, 0.0)

    def logpmf(self, k: ArrayLike) -> Any:
        """Natural log of P(X = k)."""
        return self._evaluate_at(self._logpmf, k, -np.inf)

    def cdf(self, x: ArrayLike) -> Any:
        """P(X <= x)."""
        return self._evaluate(self._cdf, x, 0.0, 1.0)

    def sf(self, x: ArrayLike) -> Any:
        """P(X > x)."""
        return self._evaluate(self._sf, x, 1.0, 0.0)

    def logcdf(self, x: ArrayLike) -> Any:
        """Natural log of P(X <= x)."""
        return self._evaluate(self._logcdf, x, -np.inf, 0.0)

    def logsf(self, x: ArrayLike) -> Any:
        """Natural log of P(X > x)."""
        return self._evaluate(self._logsf, x, 0.0, -np.inf)

    def between(self, low: int | None, high: int | None, log: bool = False) -> float:
        """Return P(low <= X <= high), or its natural log; None leaves an end open."""
        low = 0 if low is None else max(low, 0)
        high = self.n if high is None else min(high, self.n)
        if low > high:
            return -math.inf if log else 0.0
        value = self._log_between(low, high) if log else self._between(low, high)
        return float(value)

    def _between(self, low: int, high: int) -> float:
        if low == 0:
            return float(self.cdf(high))
        if high == self.n:
            return float(self.sf(low - 1))
        if high - low < _SUMMED:
            return min(float(np.sum(self.pmf(counts_between(low, high)))), 1.0)
        below, above = float(self.cdf(low - 1)), float(self.sf(high))
        if below > 0.5:
            return float(self.sf(low - 1)) - above
        return float(self.cdf(high)) - below if above > 0.5 else 1 - below - above

    def _log_between(self, low: int, high: int) -> float:
        if low == 0:
            return float(self.logcdf(high))
        if high == self.n:
            return float(self.logsf(low - 1))
        if high - low < _SUMMED:
            return min(float(np.logaddexp.reduce(self.logpmf(counts_between(low, high)))), 0.0)
        below, above = float(self.logcdf(low - 1)), float(self.logsf(high))
        if below > -0.7:
            outer, inner = float(self.logsf(low - 1)), above
        elif above > -0.7:
            outer, inner = float(self.logcdf(high)), below
        else:
            outer, inner = 0.0, float(np.logaddexp(below, above))
        return outer if outer == -math.inf else outer + float(log1mexp(np.array([min(inner - outer, 0.0)]))[0])

    def ppf(self, q: ArrayLike) -> Any:
        """Smallest k with P(X <= k) >= q; -1 for q = 0, as in scipy."""
        return self._quantile(q, 1.0, lambda k, u: self.cdf(k) >= u, lambda u: u)

    def isf(self, q: ArrayLike) -> Any:
        """Smallest k with P(X > k) <= q; -1 for q = 1, as in scipy."""
        return self._quantile(q, 0.0, lambda k, u: self.sf(k) <= u, lambda u: -u)

    def _quantile(
        self, q: ArrayLike, top: float, reached: Callable[[Floats, Floats], NDArray[np.bool_]], sign: Any
    ) -> Any:
        """Return the smallest count that has `reached` each q; `top` is the q of n."""
        u = np.asarray(q, dtype=np.float64)
        out = np.full(u.shape, np.nan)
        out[u == 1 - top] = -1.0
        out[u == top] = self.n
        open_ = (u > 0) & (u < 1)
        if open_.any():
            level = u[open_]
            mean, variance, skewness, _ = self._moments()
            # Cornish and Fisher (1938), first order: only where the search begins, so a bad guess costs time alone
            z = math.copysign(1.0, sign(1.0)) * ndtri(level)
            guess = mean + math.sqrt(variance) * z
            if math.isfinite(skewness):
                guess = guess + math.sqrt(variance) * skewness * (z * z - 1) / 6
            out[open_] = self._search(reached, level, np.clip(np.rint(guess), 0, self.n))
        return out[()]

    def _search(self, reached: Callable[[Floats, Floats], NDArray[np.bool_]], level: Floats, guess: Floats) -> Floats:
        """Bracket by doubling steps from `guess`, then bisect; (low, high] always holds the answer."""
        low, high = np.full_like(guess, -1.0), np.full_like(guess, float(self.n))
        hit = reached(guess, level)
        high[hit], low[~hit] = guess[hit], guess[~hit]
        step = np.ones_like(guess)
        active = np.ones(guess.shape, dtype=bool)
        while active.any():
            where = np.flatnonzero(active)
            probe = np.where(hit[where], high[where] - step[where], low[where] + step[where])
            outside = (probe <= low[where]) | (probe >= high[where])
            active[where[outside]] = False
            where, probe = where[~outside], probe[~outside]
            now = reached(probe, level[where])
            high[where[now]], low[where[~now]] = probe[now], probe[~now]
            active[where[now != hit[where]]] = False
            step[where] *= 2
        while True:
            where = np.flatnonzero(high - low > 1)
            if not where.size:
                return high
            middle = np.floor((low[where] + high[where]) / 2)
            now = reached(middle, level[where])
            high[where[now]], low[where[~now]] = middle[now], middle[~now]

    def median(self) -> Any:
        """Smallest k with P(X <= k) >= 1/2."""
        return self.ppf(0.5)

    def interval(self, confidence: ArrayLike | None = None) -> tuple[Any, Any]:
        """Central interval: both ends are counts, with at most (1 - confidence) / 2 on either side of them."""
        level = np.asarray(confidence, dtype=np.float64)
        if not ((level >= 0) & (level <= 1)).all():
            raise ValueError(f"confidence must be in [0, 1]; got {confidence!r}")
        tail = (1 - level) / 2
        return self.ppf(tail), self.isf(tail)

    def mean(self) -> Any:
        """Expected count."""
        return np.float64(self._moments()[0])

    def var(self) -> Any:
        """Variance of the count."""
        return np.float64(self._moments()[1])

    def std(self) -> Any:
        """Standard deviation of the count."""
        return np.sqrt(self.var())

    def stats(self, moments: str = "mv") -> Any:
        """Mean, variance, skewness and excess kurtosis: those whose letters 'm', 'v', 's', 'k' are given."""
        values = dict(zip("mvsk", self._moments(), strict=True))
        chosen = tuple(np.float64(values[letter]) for letter in "mvsk" if letter in moments)
        return chosen[0] if len(chosen) == 1 else chosen

    def moment(self, order: int | None = None) -> Any:
        """E X^order."""
        if order is None or order != math.floor(order) or order < 0:
            raise ValueError(f"order must be an integer of 0 or more; got {order!r}")
        if order == 0:
            return np.float64(1.0)
        mean, variance, skewness, kurtosis = self._moments()
        if order == 1 or variance == 0:
            return np.float64(mean) ** order
        if order == 2:
            return np.float64(variance + mean**2)
        third = skewness * variance**1.5
        if order == 3:
            return np.float64(third + 3 * mean * variance + mean**3)
        if order == 4:
            return np.float64((kurtosis + 3) * variance**2 + 4 * mean * third + 6 * mean**2 * variance + mean**4)
        return self.expect(lambda k: k**order)

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats."""
        k = self._window()
        probability = self.pmf(k)
        probability = probability[probability > 0]
        return np.float64(0.0 - np.sum(probability * np.log(probability)))  # 0.0 - x: never -0.0

    def _window(self) -> Floats:
        """Return the counts outside which less than 1e-300 lies on either side."""
        low, high = (int(self.ppf(1e-300)), int(self.isf(1e-300))) if self.n else (0, 0)
        return counts_between(max(low, 0), high)

    def expect(
        self,
        func: Callable[[Floats], Any] | None = None,
        lb: float | None = None,
        ub: float | None = None,
        conditional: bool = False,
        **kwds: Any,
    ) -> Any:
        """E func(X) over lb <= X <= ub, by summing over the support; promised up to n = 1e7.

        `func` gets arrays of counts. Beyond 1e7 neurons the sum runs over the counts outside which less than 1e-300
        lies on either side. scipy's `maxcount`, `tolerance` and `chunksize` are accepted and not needed.
        """
        if unknown := sorted(set(kwds) - {"maxcount", "tolerance", "chunksize"}):
            raise TypeError(f"expect() got an unexpected keyword argument {unknown[0]!r}")
        low, high = 0, self.n
        if self.n > 10**7:
            low, high = max(int(self.ppf(1e-300)), 0), int(self.isf(1e-300))
        # clipped first, for an end may be infinite
        low = low if lb is None else math.ceil(min(max(low, lb), self.n + 1))
        high = high if ub is None else math.floor(max(min(high, ub), -1))
        if high - low >= _EXPECT_MAX:
            raise ValueError(f"expect would sum {high - low + 1} terms; it sums at most {_EXPECT_MAX}")
        total = 0.0
        for start in range(low, high + 1, _EXPECT_CHUNK):
            k = counts_between(start, min(start + _EXPECT_CHUNK - 1, high))
            total += float(np.sum((k if func is None else func(k)) * self.pmf(k)))
        if conditional:
            total = total / within if (within := self.between(low, high)) else math.nan
        return np.float64(total)

    def support(self) -> tuple[int, int]:
        """Smallest and largest count: 0 and n."""
        return 0, self.n

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Draw counts; `random_state` as for scipy, but None means fresh entropy (or the attribute of that name)."""
        source = self._random_state if random_state is None else random_state
        if not isinstance(source, np.random.Generator | np.random.RandomState):
            source = np.random.default_rng(source)
        drawn = self._variates(() if size is None else size, source)
        return drawn[()] if size is not None else int(drawn)

    def mirror(self) -> "Count":
        """Return the law of n - X, exactly."""
        return Mirror(self)


def counts_between(low: int, high: int) -> Floats:
    """Return the counts low, low + 1, ..., high."""
    return np.arange(low, high + 1, dtype=np.float64)


class Mirror(Count):
    """Law of n - X, every answer taken from the law of X: nothing is rounded on the way."""

    def __init__(self, count: Count) -> None:
        super().__init__(count.n)
        self._count = count

    @property
    def args(self) -> tuple[Any, ...]:
        """Shape parameters of the nearest scipy distribution, p replaced by a rounded 1 - p."""
        args = self._count.args
        return (*args[:-1], 1 - args[-1]) if args else ()

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        return self._count.dist

    def mirror(self) -> Count:
        """Return the law of X again."""
        return self._count

    def _pmf(self, k: Floats) -> Floats:
        return self._count._pmf(self.n - k)

    def _logpmf(self, k: Floats) -> Floats:
        return self._count._logpmf(self.n - k)

    def _cdf(self, k: Floats) -> Floats:
        return self._count._sf(self.n - k - 1)

    def _sf(self, k: Floats) -> Floats:
        return self._count._cdf(self.n - k - 1)

    def _logcdf(self, k: Floats) -> Floats:
        return self._count._logsf(self.n - k - 1)

    def _logsf(self, k: Floats) -> Floats:
        return self._count._logcdf(self.n - k - 1)

    def _moments(self) -> tuple[float, float, float, float]:
        _, variance, skewness, kurtosis = self._count._moments()
        return self._count._mean_kept(), variance, -skewness, kurtosis

    def _mean_kept(self) -> float:
        return self._count._moments()[0]

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats: that of its mirror."""
        return self._count.entropy()

    def _window(self) -> Floats:
        return (self.n - self._count._window())[::-1]

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        return self.n - self._count._variates(size, source)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._count,)
