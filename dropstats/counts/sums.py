"""Sums of independent counts of any kind, the Poisson-binomial among them, with digits in both tails."""

import math
from collections.abc import Iterable, Iterator
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats._numerics import log1mexp
from dropstats.counts.binomial import Binomial
from dropstats.counts.contour import LEAST_SD, Contour
from dropstats.counts.convolution import Pmf, convolve, product, scaled, trim, work
from dropstats.counts.frozen import Count
from dropstats.counts.odds import Rates, exact_sum, gathered
from dropstats.counts.table import LOG_FLOOR, Logs, Scaled, Table, Tabulated, log_sums
from dropstats.counts.terms import Binomials, Counted, Term, tilt
from dropstats.counts.wide import wide

Floats = NDArray[np.float64]

# Sums of more binomials than this are sampled by inversion of the cdf rather than by adding binomial variates.
_ADDED_VARIATES = 16
# Multiplications up to which a table is convolved: beyond, windows are faster (measured, of 3 to 100,000 rates).
_DIRECT = 4e7
# Standard deviation beyond which numbers are at first answered without a table: so many, and one more for each so many
# standard deviations, take about as long as the table, which is made for the next.
_LONG, _FIRST, _MORE = 20.0, 8, 40.0
# Standard deviation beyond which no table is made: it would hold a million probabilities or more.
_WIDE = 2e4


class Sum(Tabulated):
    """Sum of independent counts of any kind.

    The terms are convolved; all that is added is positive, so each probability keeps its relative accuracy.

    Examples
    --------
    >>> from dropstats.counts import Binomial, point_mass
    >>> law = Sum([Scaled(Binomial(2, 0.5), 3), point_mass(5, 1)])
    >>> law.n, law.pmf([1, 4, 7])
    (11, array([0.25, 0.5 , 0.25]))
    """

    counts: tuple[Count, ...]

    _made_from: Any = ("counts",)

    def __init__(self, counts: Iterable[Count]) -> None:
        self.counts = tuple(counts)
        super().__init__(sum(count.n for count in self.counts))

    @cached_property
    def _terms(self) -> list[Term]:
        binomials: dict[int, list[Binomial | PoissonBinomial]] = {}
        terms: list[Term] = []
        for count in self.counts:
            step = 1
            while isinstance(count, Scaled):
                step, count = step * count.size, count.count
            if isinstance(count, Binomial | PoissonBinomial):
                binomials.setdefault(step, []).append(count)
            else:
                terms.append(Counted(tabulate(Scaled(count, step) if step > 1 else count)))
        return terms + [Binomials(step, *_groups(alike)) for step, alike in sorted(binomials.items())]

    @cached_property
    def _table(self) -> Pmf:  # type: ignore[override]
        tables = sorted((term.tilted(0.0).pmf for term in self._terms), key=lambda table: table.pmf.size)
        return reduce(product, tables)

    def _remote(self, k: int) -> Logs:
        return tilt(self._terms, k)

    @cached_property
    def _possible(self) -> tuple[int, int]:  # type: ignore[override]
        """Smallest and largest count of positive probability."""
        return sum(term.first for term in self._terms), sum(term.last for term in self._terms)

    def _log_end(self, k: int) -> float:
        """Return the log pmf at the smallest or largest possible count, where it is a sum of logs."""
        return math.fsum(term.log_end(k == self._possible[1]) for term in self._terms)

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        first, second, third, fourth = map(math.fsum, zip(*(count._cumulants for count in self.counts), strict=True))
        return first, second, third, fourth

    def _mean_kept(self) -> float:
        return math.fsum(count._mean_kept() for count in self.counts)

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        drawn = np.zeros(size, dtype=np.int64)
        for count in self.counts:
            drawn = drawn + count._variates(size, source)
        return np.asarray(drawn)


class PoissonBinomial(Sum):
    """Poisson-binomial distribution: number of dropped among independent neurons with different probabilities.

    Its table is a convolution where that is little work. Else it is put together from windows, each from the Fourier
    transform of a tilted law; and where the standard deviation is beyond 2e4, every count is answered for itself.

    Parameters
    ----------
    p : ndarray of shape (m,)
        The probabilities, all different, rising.
    number : ndarray of shape (m,)
        How many neurons have each.
    """

    p: Floats
    number: Floats

    _made_from: Any = ("p", "number")

    def __init__(self, p: Floats, number: Floats) -> None:
        self.p, self.number = p, number
        Tabulated.__init__(self, int(number.sum()))
        sd = math.sqrt(float(number @ (p * (1 - p)))) if self.n > 4 * _LONG**2 else 0.0  # is at most sqrt(n) / 2
        self._asked = _FIRST + int(sd / _MORE) if sd > _LONG else -1
        if sd > _WIDE:
            for name in ("_pmf", "_logpmf", "_cdf", "_logcdf", "_sf", "_logsf"):
                setattr(self, name, getattr(_Wide(self), name))

    @cached_property
    def parts(self) -> tuple[tuple[float, int], ...]:
        """Pairs (p, n) of the independent binomials that this is the sum of."""
        return tuple(zip(self.p.tolist(), self.number.astype(np.int64).tolist(), strict=True))

    @cached_property
    def args(self) -> tuple[Any, ...]:
        """Shape parameter of ``scipy.stats.poisson_binom``: the drop probabilities, sorted."""
        return (np.repeat(self.p, self.number.astype(np.int64)),)

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        from scipy import stats

        return stats.poisson_binom

    @cached_property
    def _terms(self) -> list[Term]:
        return [Binomials(1, self.p, self.number)]

    @cached_property
    def contour(self) -> Contour:
        """The law of what is uncertain."""
        return Contour(Rates(*self._uncertain))

    @cached_property
    def _uncertain(self) -> tuple[Floats, Floats]:
        """The probabilities strictly between 0 and 1, which rise, and how many neurons have each."""
        first, last = int(self.p[0] == 0), self.p.size - int(self.p[-1] == 1)
        return self.p[first:last], self.number[first:last]

    @cached_property
    def _possible(self) -> tuple[int, int]:  # type: ignore[override]
        """Smallest and largest count of positive probability."""
        first = int(self.number[-1]) if self.p[-1] == 1 else 0
        return first, self.n - (int(self.number[0]) if self.p[0] == 0 else 0)

    @cached_property
    def _by_windows(self) -> Pmf | None:
        """The table put together from windows; None where a convolution is the better way."""
        p, number = self._uncertain
        if self.n**2 < _DIRECT or work(number, p) < _DIRECT:
            return None
        table = self.contour.table()
        return None if table is None else trim(Pmf(self._possible[0] + table[0], scaled(table[1])))

    @cached_property
    def _table(self) -> Pmf:  # type: ignore[override]
        if self._by_windows is not None:
            return self._by_windows
        p, number = self._uncertain
        table = convolve(number, p, 1 - p)
        return Pmf(self._possible[0] + table.start, table.pmf)

    def _instead(self) -> "_Wide | None":
        """Return what answers a number while there is no table, and none is due."""
        if self._asked < 0 or "_table" in self.__dict__:
            return None
        self._asked -= 1
        return _Wide(self)

    def _value(self, which: int, k: Any) -> Any:
        if isinstance(k, float) and (wide := self._instead()) is not None:
            value = (wide._pmf, wide._cdf, wide._sf)[which](k)
            if value == 0 or value >= LOG_FLOOR:
                return value
        return super()._value(which, k)

    def _logpmf(self, k: Any) -> Any:
        if isinstance(k, float) and (wide := self._instead()) is not None:
            return wide._logpmf(k)
        return super()._logpmf(k)

    def _log_tail(self, k: Any, edge: Any, upward: bool) -> Any:
        if isinstance(k, float) and (wide := self._instead()) is not None:
            log = wide._logsf(k) if upward else wide._logcdf(k)
            if log == 0 or log <= -LOG_FLOOR:
                return log
        return super()._log_tail(k, edge, upward)

    def _level(self, level: float, upward: bool) -> float:
        waits = self._asked >= 0 and "_table" not in self.__dict__
        return Count._level(self, level, upward) if waits else super()._level(level, upward)

    def _remote(self, k: int) -> Logs:
        first, upward = self._possible[0], k > self._cumulants[0]
        sd = self.contour.sd(float(k - first))
        if sd < LEAST_SD:
            return super()._remote(k)
        if sd > _WIDE:
            at = np.array([float(k - first)])
            return Logs(k, self.contour.log_pmf(at), lambda: self.contour.log_tail(at, upward), k, k)
        begin, log_pmf = self.contour.window(float(k - first))

        def tail() -> Floats:
            last = float(begin + (log_pmf.size - 1 if upward else 0))
            beyond = self.contour.log_tail(np.array([last]), upward)
            inner = np.append(log_pmf[:-1], beyond) if upward else np.append(beyond, log_pmf[1:])
            return log_sums(inner, float(inner.max()), upward)

        return Logs(first + begin, log_pmf, tail, first + begin, first + begin + log_pmf.size - 1)

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        p, q = self.p, 1 - self.p
        each = self.number * p * q
        terms = self.number * p, each, each * (q - p), each * (1 - 6 * p * q)
        first, second, third, fourth = map(exact_sum, terms)
        return first, second, third, fourth

    def _mean_kept(self) -> float:
        return exact_sum(self.number * (1 - self.p))

    def entropy(self) -> Any:
        """Shannon entropy of the count, in nats.

        Of a variance above 4e8 it is had from the cumulants, log(2 pi e v) / 2 - k3^2 / (12 v^3), to 1e-16.

        Source: P. McCullagh (1987). Tensor Methods in Statistics. Chapman and Hall, section 5.2 (Edgeworth series).
        """
        _, variance, third, _ = self._cumulants
        if variance <= _WIDE**2:
            return super().entropy()
        return np.float64(0.5 * math.log(2 * math.pi * math.e * variance) - (third / variance) ** 2 / variance / 12)

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        if len(self.p) > _ADDED_VARIATES and self._cumulants[1] <= _WIDE**2:
            return Tabulated._variates(self, size, source)
        drawn = np.zeros(size, dtype=np.int64)
        for p, n in self.parts:
            drawn = drawn + source.binomial(n, p, size)
        return np.asarray(drawn)


class _Wide:
    """What a sum answers whose table would be too long: every count for itself, by the integral on a contour."""

    def __init__(self, law: PoissonBinomial) -> None:
        self._law = law

    def _pmf(self, k: Any) -> Any:
        return math.exp(self._logpmf(k)) if isinstance(k, float) else np.exp(self._logpmf(k))

    def _cdf(self, k: Any) -> Any:
        return math.exp(self._logcdf(k)) if isinstance(k, float) else np.exp(self._logcdf(k))

    def _sf(self, k: Any) -> Any:
        return math.exp(self._logsf(k)) if isinstance(k, float) else np.exp(self._logsf(k))

    def _logpmf(self, k: Any) -> Any:
        if isinstance(k, float):
            return float(self._logpmf(np.array([k]))[0])
        first, last = self._law._possible
        out, inside = np.full(k.shape, -np.inf), (k >= first) & (k <= last)
        out[inside] = self._law.contour.log_pmf(k[inside] - first)
        return out

    def _logcdf(self, k: Any) -> Any:
        return float(self._log_tails(np.array([k]))[0][0]) if isinstance(k, float) else self._log_tails(k)[0]

    def _logsf(self, k: Any) -> Any:
        return float(self._log_tails(np.array([k]))[1][0]) if isinstance(k, float) else self._log_tails(k)[1]

    def _log_tails(self, k: Floats) -> tuple[Floats, Floats]:
        """Return log P(X <= k) and log P(X > k): the tail in which k lies is computed, the other its complement."""
        first, last = self._law._possible
        low, high = np.where(k < first, -np.inf, 0.0), np.where(k < last, 0.0, -np.inf)
        inside = (k >= first) & (k < last)
        upper = inside & (k - first >= self._law.contour.mean)
        lower = inside & ~upper
        high[upper] = self._law.contour.log_tail(k[upper] + 1 - first, upward=True)
        low[lower] = self._law.contour.log_tail(k[lower] - first, upward=False)
        low[upper], high[lower] = log1mexp(high[upper]), log1mexp(low[lower])
        return low, high


def tabulate(count: Count) -> Table:
    """Return the table of a law of a count."""
    if isinstance(count, Table):
        return count
    _validate.memory(64 * (count.n + 1), f"the table of {count.n + 1} probabilities")
    return Table(count.logpmf(np.arange(count.n + 1.0)), count.n)


def of_rates(parts: Iterable[tuple[float, int]]) -> Count:
    """Return the law of the number dropped, from pairs (p, n) of groups of neurons that share a probability."""
    pairs = list(parts)
    if len({p for p, _ in pairs}) <= 1:  # of any number of neurons, also beyond 2^53
        return Binomial(sum(n for _, n in pairs), pairs[0][0] if pairs else 0.0)
    return of_groups(*(np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True)))


def of_groups(p: Floats, number: NDArray[Any]) -> Count:
    """Return the same from probabilities, some perhaps equal, and the numbers of neurons of each."""
    each, numbers = gathered(p, number)
    if each.size > 1:
        return PoissonBinomial(each, numbers)
    return Binomial(int(numbers.sum()), float(each[0]) if each.size else float(p[0]) if p.size else 0.0)


def of_each(rates: Floats, times: int = 1) -> Count:
    """Return the same from the drop probability of each neuron, of so many masks; of a view of one by looking at it."""
    if rates.strides == (0,):
        return of_rates((float(p), rates.size * times) for p in rates[:1])
    p = np.sort(rates)
    if (p[1:] != p[:-1]).all():
        return of_groups(p, np.full(p.size, times))
    p, number = np.unique(p, return_counts=True)
    return of_groups(p, number * times)


def _groups(counts: "Iterable[Binomial | PoissonBinomial]") -> tuple[Floats, Floats]:
    """Return the probabilities of binomials and of their sums, all different and rising, and how many have each."""
    binomials = [
        (np.array([count.p]), np.array([float(count.n)])) if isinstance(count, Binomial) else (count.p, count.number)
        for count in counts
    ]
    p, number = map(np.concatenate, zip(*binomials, strict=True))
    return gathered(p, number)


def _flat(counts: Iterable[Count]) -> Iterator[Count]:
    for count in counts:  # those of a sum
        yield from getattr(count, "counts", (count,))


def _merged(counts: list[Count]) -> list[Count]:
    """Return terms of the same sum, multiples of the same size merged into one."""
    multiples: dict[int, list[Binomial | PoissonBinomial]] = {}
    terms: list[Count] = []
    for count in counts:
        if isinstance(count, Scaled) and isinstance(count.count, Binomial | PoissonBinomial):
            multiples.setdefault(count.size, []).append(count.count)
        else:
            terms.append(count)
    return terms + [Scaled(of_groups(*_groups(alike)), size) for size, alike in multiples.items()]


def add(*counts: Count) -> Count:
    """Return the law of the sum of independent counts; equal probabilities are merged into one binomial."""
    if not counts:
        return Binomial(0, 0.0)
    for count in counts:
        if not isinstance(count, Count):
            raise TypeError(f"the law of a sum needs laws of counts; got {count!r} of type {type(count).__name__}")
    binomials: list[Binomial | PoissonBinomial] = []
    others: list[Count] = []
    for count in _flat(counts):
        if isinstance(count, Binomial | PoissonBinomial):
            binomials.append(count)
        else:
            others.append(count)
    if binomials and (not others or any(count.n for count in binomials)):
        groups = _groups(binomials)
        others.append(of_groups(*groups) if groups[0].size else Binomial(0, binomials[0].parts[0][0]))
    return others[0] if len(others) == 1 else wide(_merged(others)) or Sum(others)
