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
from dropstats.counts.convolution import Pmf, product, scaled, trim, work
from dropstats.counts.frozen import Count
from dropstats.counts.mixture import MOST, Mixture
from dropstats.counts.odds import Rates
from dropstats.counts.table import Logs, Scaled, Table, Tabulated, log_sums
from dropstats.counts.terms import Binomials, Counted, Term, tilt

Floats = NDArray[np.float64]

# Sums of more binomials than this are sampled by inversion of the cdf rather than by adding binomial variates.
_ADDED_VARIATES = 16
# Multiplications up to which a table is convolved: beyond, windows are faster (measured, of 3 to 100,000 rates).
_DIRECT = 3e7
# Standard deviation beyond which a first number is answered without a table.
_LONG = 300.0
# Probabilities of the longest table of a sum with a multiple, which takes a second.
_TABLE = 2**24
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
    """Number of dropped among independent neurons whose probabilities differ.

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
        self._variance = float(number @ (p * (1 - p)))
        if self._variance > _WIDE**2:
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
        inside = (self.p > 0) & (self.p < 1)
        return Contour(Rates(self.p[inside], self.number[inside]))

    @cached_property
    def _by_windows(self) -> Pmf | None:
        """The table put together from windows; None where a convolution is the better way."""
        inside = (self.p > 0) & (self.p < 1)
        if work(self.number[inside], self.p[inside]) < _DIRECT:
            return None
        table = self.contour.table()
        return None if table is None else trim(Pmf(self._possible[0] + table[0], scaled(table[1])))

    @cached_property
    def _table(self) -> Pmf:  # type: ignore[override]
        return self._terms[0].tilted(0.0).pmf if self._by_windows is None else self._by_windows

    def _value(self, which: int, k: Any, below: float, above: float) -> Any:
        # a single count does not wait for a long table
        if isinstance(k, float) and self._variance > _LONG**2 and "_numbers" not in self.__dict__:
            wide = _Wide(self)
            return (wide._pmf, wide._cdf, wide._sf)[which](k)
        return super()._value(which, k, below, above)

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
        first, second, third, fourth = (math.fsum(term.tolist()) for term in terms)
        return first, second, third, fourth

    def _mean_kept(self) -> float:
        return math.fsum((self.number * (1 - self.p)).tolist())

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
        upper = inside & (k >= self._law._cumulants[0])
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
    if len(pairs) > _ADDED_VARIATES:
        p, number = (np.array(x, dtype=np.float64) for x in zip(*pairs, strict=True))
        return of_groups(*_merged(p, number))
    merged: dict[float, int] = {}
    for rate, n in pairs:
        merged[rate] = merged.get(rate, 0) + n
    groups = sorted((rate, n) for rate, n in merged.items() if n)
    if len(groups) == 1:  # of any number of neurons, also beyond 2^53
        return Binomial(groups[0][1], groups[0][0])
    return of_groups(*np.array(groups).T) if groups else Binomial(0, next(iter(merged), 0.0))


def of_groups(p: Floats, number: NDArray[Any]) -> Count:
    """Return the same from probabilities that are all different and rise, and the numbers of neurons of each."""
    if p.size == 1:
        return Binomial(int(number[0]), float(p[0]))
    return PoissonBinomial(p, number.astype(np.float64)) if p.size else Binomial(0, 0.0)


def _groups(counts: "Iterable[Binomial | PoissonBinomial]") -> tuple[Floats, Floats]:
    """Return the probabilities of binomials and of their sums, all different and rising, and how many have each."""
    binomials = [
        (np.array([count.p]), np.array([float(count.n)])) if isinstance(count, Binomial) else (count.p, count.number)
        for count in counts
    ]
    p, number = map(np.concatenate, zip(*binomials, strict=True))
    return _merged(p, number)


def _merged(p: Floats, number: Floats) -> tuple[Floats, Floats]:
    """Return the different probabilities, rising, and how many neurons have each; those of none are left out."""
    values, where = np.unique(p, return_inverse=True)
    together = np.bincount(where, number, minlength=values.size)
    some = together > 0
    return values[some], np.asarray(together[some], dtype=np.float64)


def _flat(counts: Iterable[Count]) -> Iterator[Count]:
    for count in counts:
        if isinstance(count, Sum) and not isinstance(count, PoissonBinomial):
            yield from count.counts
        else:
            yield count


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
    return others[0] if len(others) == 1 else _mixture(others) or Sum(others)


def _mixture(counts: list[Count]) -> Mixture | None:
    """Return the sum as a mixture, where its table would be too long and one of two counts takes few values."""
    if len(counts) != 2:
        return None
    count, multiple = counts if isinstance(counts[1], Scaled) else counts[::-1]
    if not isinstance(multiple, Scaled) or isinstance(count, Scaled) or multiple.count.n >= MOST:
        return None
    # a table holds some 80 standard deviations
    length = 80 * multiple.size * math.sqrt(float(multiple.count.var()))
    return Mixture(count, multiple) if min(length, float(multiple.n)) > _TABLE else None
