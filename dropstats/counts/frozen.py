"""Frozen scipy distributions of counts.

`Count` is a scipy frozen distribution whose methods answer directly: scipy's own machinery costs 60 us a call, and its
ppf, isf, median, entropy and stats fail or warn for large n. A law of a count supplies a few private methods on
integers inside its support; what scipy's methods promise beyond that is written once, here. See also `likeness`.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from dropstats import _progress
from dropstats._numerics import log1mexp
from dropstats.counts import likeness, search

Floats = NDArray[np.float64]

# Intervals of up to so many counts are summed term by term; terms of an expectation held at a time, and at most summed.
_SUMMED, _EXPECT_CHUNK, _EXPECT_MAX = 2**16, 2**18, 10**8


class Count:
    """Distribution of a count in 0..n: a frozen scipy distribution that is accurate in both tails.

    It has the vectorised methods of every frozen discrete scipy distribution: ``pmf logpmf cdf logcdf sf logsf ppf isf
    mean var std stats median entropy interval expect moment support rvs``.
    """

    a: int = 0
    kwds: dict[str, Any]
    _random_state: Any = None

    # What a law of a count supplies: functions of a 1-d float array of integers in 0..n (below n for cdf and sf), or of
    # a single float; and the first four cumulants.
    _pmf: Callable[[Any], Any]
    _logpmf: Callable[[Any], Any]
    _cdf: Callable[[Any], Any]
    _sf: Callable[[Any], Any]
    _logcdf: Callable[[Any], Any]
    _logsf: Callable[[Any], Any]
    _mean_kept: Callable[[], float]
    _variates: Callable[[Any, Any], NDArray[np.int64]]
    _cumulants: Any
    # Intervals of up to so many counts are summed term by term.
    _summed: int = _SUMMED
    # The names of the attributes that it is made from.
    _made_from: Any

    def __init__(self, n: int) -> None:
        self.n = n
        self.b = n
        self.kwds = {}

    @property
    def args(self) -> tuple[Any, ...]:
        """Shape parameters of the corresponding scipy distribution; empty if there is none."""
        return ()

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this one freezes; a nameless one if scipy has none of the kind."""
        from dropstats.counts.distribution import Distribution

        return Distribution(self)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What isinstance takes it for: its own class and, once scipy.stats is loaded, a frozen distribution."""
        return likeness.seen_as(type(self))

    @property
    def random_state(self) -> Any:
        """Default source of randomness of `rvs`, as in scipy; None means fresh entropy, never NumPy's global state."""
        return self._random_state

    @random_state.setter
    def random_state(self, seed: Any) -> None:
        self._random_state = None if seed is None else likeness.source_of(seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.n}, mean={self.mean():.6g}, variance={self.var():.6g})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"_random_state": self._random_state} if self._random_state is not None else None
        return type(self), tuple(getattr(self, name) for name in self._made_from), state

    def _evaluate(self, function: Callable[[Any], Any], k: Any, below: float, above: float) -> Any:
        """Apply `function` to the counts inside the support; `above` holds from n on."""
        x: Any = k if isinstance(k, int | float) else np.asarray(k, dtype=np.float64)
        if isinstance(x, int | float) or x.ndim == 0:
            return self._evaluate_one(function, x, below, above)
        inside = (x >= 0) & (x < self.n)
        if inside.all():
            return function(np.floor(x).ravel()).reshape(x.shape)
        out = np.where(x < 0, below, above)
        out[np.isnan(x)] = np.nan
        if inside.any():
            out[inside] = function(np.floor(x[inside]))
        return out

    def _evaluate_one(self, function: Callable[[Any], Any], k: float, below: float, above: float) -> np.float64:
        """Apply `function` to a single count: without NumPy it takes a few microseconds."""
        if 0 <= k < self.n:
            return np.float64(function(float(math.floor(k))))
        return np.float64(below if k < 0 else above if k >= self.n else math.nan)

    def _evaluate_at(self, function: Callable[[Any], Any], k: Any, elsewhere: float) -> Any:
        """Apply `function` to the integers in 0..n."""
        # a number is not made an array: that alone takes a microsecond
        x: Any = k if isinstance(k, int | float) else np.asarray(k, dtype=np.float64)
        if isinstance(x, int | float) or x.ndim == 0:
            if 0 <= x <= self.n and x == math.floor(x):
                return np.float64(function(float(x)))
            return np.float64(math.nan if x != x else elsewhere)
        inside = (x >= 0) & (x <= self.n)
        if getattr(k, "dtype", x.dtype).kind not in "iu":
            inside &= x == np.floor(x)
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
        if low == high:
            return float(self.logpmf(low) if log else self.pmf(low))
        if low == 0:
            return float(self.logcdf(high) if log else self.cdf(high))
        if high == self.n:
            return float(self.logsf(low - 1) if log else self.sf(low - 1))
        return self._log_inside(low, high) if log else self._inside(low, high)

    def _inside(self, low: int, high: int) -> float:
        below, above = float(self.cdf(low - 1)), float(self.sf(high))
        if below + above < 0.5:
            return 1 - (below + above)
        if high - low < self._summed:
            return min(self._sum(low, high), 1.0)
        if below > 0.5:
            return float(self.sf(low - 1)) - above
        return float(self.cdf(high)) - below if above > 0.5 else 1 - below - above

    def _log_inside(self, low: int, high: int) -> float:
        below, above = float(self.logcdf(low - 1)), float(self.logsf(high))
        outside = float(np.logaddexp(below, above))
        if outside < -0.7:
            outer, inner = 0.0, outside
        elif high - low < self._summed:
            return min(self._log_sum(low, high), 0.0)
        elif below > -0.7:
            outer, inner = float(self.logsf(low - 1)), above
        else:
            outer, inner = float(self.logcdf(high)), below
        return outer if outer == -math.inf else outer + float(log1mexp(np.array(min(inner - outer, 0.0))))

    def _sum(self, low: int, high: int) -> float:
        return float(np.sum(self._pmf(search.counts_between(low, high))))

    def _log_sum(self, low: int, high: int) -> float:
        logs = self.logpmf(search.counts_between(low, high))
        top = float(logs.max())
        return top if top == -math.inf else top + math.log(np.sum(np.exp(logs - top)))

    def ppf(self, q: ArrayLike) -> Any:
        """Smallest k with P(X <= k) >= q; -1 for q = 0, as in scipy."""
        return search.quantile(q, False, self.n, self._level, self._levels)

    def isf(self, q: ArrayLike) -> Any:
        """Smallest k with P(X > k) <= q; -1 for q = 1, as in scipy."""
        return search.quantile(q, True, self.n, self._level, self._levels)

    def _level(self, level: float, upward: bool) -> float:
        """Return the smallest count whose lower tail has reached a level in (0, 1), or the upper come down to it."""
        guess = search.guess_of_one(level, upward, self._expansion, self.n)
        return search.first_of_one(self._sf if upward else self._cdf, level, upward, guess, self.n)

    @cached_property
    def _expansion(self) -> tuple[float, float, float, float]:
        return search.expansion(self._cumulants)

    def _levels(self, levels: Floats, upward: bool) -> Floats:
        """Return the same of many levels."""

        def reached(k: Any, at: Any) -> Any:
            return self.sf(k) <= at if upward else self.cdf(k) >= at

        return search.first(reached, levels, search.guesses(levels, upward, self._expansion, self.n), self.n)

    def median(self) -> Any:
        """Smallest k with P(X <= k) >= 1/2."""
        return self.ppf(0.5)

    def interval(self, confidence: ArrayLike | None = None) -> tuple[Any, Any]:
        """Central interval of counts, with probability at most (1 - confidence) / 2 beyond each end."""
        level = np.asarray(confidence, dtype=np.float64)
        if not ((level >= 0) & (level <= 1)).all():
            raise ValueError(f"confidence must be in [0, 1]; got {confidence!r}")
        tail = (1 - level) / 2
        return self.ppf(tail), self.isf(tail)

    def mean(self) -> Any:
        """Expected count."""
        return np.float64(self._cumulants[0])

    def var(self) -> Any:
        """Variance of the count."""
        return np.float64(self._cumulants[1])

    def std(self) -> Any:
        """Standard deviation of the count."""
        return np.sqrt(self.var())

    def stats(self, moments: str = "mv") -> Any:
        """Mean, variance, skewness and excess kurtosis, as selected by the letters 'm', 'v', 's', 'k'."""
        mean, variance, third, fourth = self._cumulants
        # one division at a time: powers of a tiny variance underflow
        shape = (third / variance / math.sqrt(variance), fourth / variance / variance) if variance else (math.nan,) * 2
        values = dict(zip("mvsk", (mean, variance, *shape), strict=True))
        chosen = tuple(np.float64(values[letter]) for letter in "mvsk" if letter in moments)
        return chosen[0] if len(chosen) == 1 else chosen

    def moment(self, order: int | None = None) -> Any:
        """Moment E X^order about 0."""
        if order is None or order != math.floor(order) or order < 0:
            raise ValueError(f"order must be an integer of 0 or more; got {order!r}")
        mean, variance, third, fourth = self._cumulants
        if order <= 1 or variance == 0:
            return np.float64(mean) ** order
        if order == 2:
            return np.float64(variance + mean**2)
        if order == 3:
            return np.float64(third + 3 * mean * variance + mean**3)
        if order == 4:
            return np.float64(fourth + (3 * variance**2 + 4 * mean * third + 6 * mean**2 * variance + mean**4))
        return self.expect(lambda k: k**order)

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats."""
        return np.float64(np.sum(entr(self.pmf(self._window()))) + 0.0)  # + 0.0: never -0.0

    def _window(self) -> Floats:
        """Return the counts outside which less than 1e-300 lies on either side."""
        low, high = (int(self.ppf(1e-300)), int(self.isf(1e-300))) if self.n else (0, 0)
        return search.counts_between(max(low, 0), high)

    def expect(
        self,
        func: Callable[[Floats], Any] | None = None,
        lb: float | None = None,
        ub: float | None = None,
        conditional: bool = False,
        **kwds: Any,
    ) -> Any:
        """Expectation of func(X) over lb <= X <= ub, by summation over the support.

        `func` is called with arrays of counts; `progress=True` shows a bar. For n above 1e7, counts in tails of
        probability below 1e-300 are left out. scipy's `maxcount`, `tolerance` and `chunksize` are accepted and ignored.
        """
        if unknown := sorted(set(kwds) - {"maxcount", "tolerance", "chunksize", "progress"}):
            raise TypeError(f"expect() got an unexpected keyword argument {unknown[0]!r}")
        low, high = 0, self.n
        if self.n > 10**7:
            low, high = max(int(self.ppf(1e-300)), 0), int(self.isf(1e-300))
        # clipped first, for an end may be infinite
        low = low if lb is None else math.ceil(min(max(low, lb), self.n + 1))
        high = high if ub is None else math.floor(max(min(high, ub), -1))
        if high - low >= _EXPECT_MAX:
            raise ValueError(f"expect would sum {high - low + 1} terms; it sums at most {_EXPECT_MAX}")
        total = np.float64(0.0)
        starts = range(low, high + 1, _EXPECT_CHUNK)
        for start in _progress.shown(starts, len(starts), "summing", "block", kwds.get("progress"), delay=1):
            k = search.counts_between(start, min(start + _EXPECT_CHUNK - 1, high))
            total = total + np.sum((k if func is None else func(k)) * self.pmf(k))
        if conditional:
            total = total / within if (within := self.between(low, high)) else np.float64(math.nan)
        return total

    def support(self) -> tuple[int, int]:
        """Smallest and largest count: 0 and n."""
        return 0, self.n

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Draw counts; `random_state` as in scipy, but None means the attribute of that name, or fresh entropy."""
        source = likeness.source_of(self._random_state if random_state is None else random_state)
        drawn = self._variates(() if size is None else size, source)
        return drawn[()] if size is not None else int(drawn)

    def mirror(self) -> "Count":
        """Return the exact distribution of n - X."""
        return Mirror(self)


class Mirror(Count):
    """Law of n - X, every answer taken from the law of X: nothing is rounded on the way."""

    _made_from = ("_count",)

    def __init__(self, count: Count) -> None:
        super().__init__(count.n)
        self._count = count

    def __repr__(self) -> str:
        return f"{self.n} - {self._count!r}"

    @property
    def args(self) -> tuple[Any, ...]:
        """Shape parameters of the nearest scipy distribution, p replaced by a rounded 1 - p."""
        args = self._count.args
        return (*args[:-1], 1 - args[-1]) if args else ()

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        return self._count.dist if self._count.args else super().dist

    def mirror(self) -> Count:
        """Return the law of X again."""
        return self._count

    def _pmf(self, k: Any) -> Any:
        return self._count._pmf(self.n - k)

    def _logpmf(self, k: Any) -> Any:
        return self._count._logpmf(self.n - k)

    def _cdf(self, k: Any) -> Any:
        return self._count._sf(self.n - k - 1)

    def _sf(self, k: Any) -> Any:
        return self._count._cdf(self.n - k - 1)

    def _logcdf(self, k: Any) -> Any:
        return self._count._logsf(self.n - k - 1)

    def _logsf(self, k: Any) -> Any:
        return self._count._logcdf(self.n - k - 1)

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        _, variance, third, fourth = self._count._cumulants
        return self._count._mean_kept(), variance, -third, fourth

    def _mean_kept(self) -> float:
        return float(self._count._cumulants[0])

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats: that of its mirror."""
        return self._count.entropy()

    def _sum(self, low: int, high: int) -> float:
        return self._count._sum(self.n - high, self.n - low)

    def _log_sum(self, low: int, high: int) -> float:
        return self._count._log_sum(self.n - high, self.n - low)

    def _window(self) -> Floats:
        return (self.n - self._count._window())[::-1]

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        return self.n - self._count._variates(size, source)
