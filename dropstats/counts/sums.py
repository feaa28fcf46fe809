"""Sums of independent counts of any kind, the Poisson-binomial among them, with digits in both tails.

Below the range of doubles the law is tilted: under exp(theta k) P(X = k) / E exp(theta X) a remote count becomes the
mean, and log P(X = k) = log P_theta(X = k) - D - theta (k - m), where m is the tilted mean and D >= 0 the divergence of
the tilted law from X's: the terms of D are all of one sign, so that no digit is lost in their sum.

Source: F. Esscher (1932), On the probability function in the collective theory of risk, Skandinavisk Aktuarietidskrift
15, 175-195.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, reduce
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, logit

from dropstats import _validate
from dropstats.counts.binomial import Binomial
from dropstats.counts.binomial_logs import deviance
from dropstats.counts.convolution import Group, Pmf, convolve, product, trim
from dropstats.counts.frozen import Count
from dropstats.counts.table import Logs, Scaled, Table, Tabulated

Floats = NDArray[np.float64]

# Sums of more binomials than this are sampled by inversion of the cdf rather than by adding binomial variates.
_ADDED_VARIATES = 16


class _Tilted(NamedTuple):
    """A term of a sum under a tilt: its table, its divergence from the term, and its mean as numbers that add up."""

    pmf: Pmf
    divergence: float
    mean: list[float]


class _Term(Protocol):
    """An independent part of a sum, whose law can be tilted."""

    first: int
    last: int

    def log_end(self, top: bool) -> float:
        """Return the log probability of the first or the last possible count."""

    def rise(self, theta: float) -> float:
        """Return the tilted mean of X - first."""

    def fall(self, theta: float) -> float:
        """Return the tilted mean of last - X."""

    def tilted(self, theta: float) -> _Tilted:
        """Return the tilted law."""


class _Binomials:
    """Independent binomials, of which each neuron counts `step`."""

    def __init__(self, step: int, parts: Iterable[tuple[float, int]]) -> None:
        merged: dict[float, int] = {}
        for p, n in parts:
            merged[p] = merged.get(p, 0) + n
        self.step = step
        self.first = step * merged.get(1.0, 0)
        self.groups = [Group(n, p, 1 - p) for p, n in sorted(merged.items()) if 0 < p < 1 and n]
        self.n = np.array([group.n for group in self.groups], dtype=np.float64)
        self.p = np.array([group.p for group in self.groups])
        self.last = self.first + step * sum(group.n for group in self.groups)
        self.odds = logit(self.p)

    def log_end(self, top: bool) -> float:
        return math.fsum(self.n * (np.log(self.p) if top else np.log1p(-self.p)))

    def rise(self, theta: float) -> float:
        return float(self.step * (self.n @ expit(self.odds + theta * self.step)))

    def fall(self, theta: float) -> float:
        return float(self.step * (self.n @ expit(-(self.odds + theta * self.step))))

    def tilted(self, theta: float) -> _Tilted:
        if not theta:
            return _Tilted(self._spread(self.groups), 0.0, [])
        up, down = expit(self.odds + theta * self.step), expit(-(self.odds + theta * self.step))
        groups = [Group(group.n, float(p), float(q)) for group, p, q in zip(self.groups, up, down, strict=True)]
        # the smaller of a tilted p and q is taken as it is, the other as its complement
        rare = up <= down
        p, q = np.where(rare, up, 1 - down), np.where(rare, 1 - up, down)
        d = np.where(rare, up - self.p, (1 - self.p) - down)
        divergence = deviance(p, d, self.p) + deviance(q, -d, 1 - self.p)
        mean = [self.first, *(self.step * self.n[~rare]).tolist()]
        for part in _exact_products(self.step * self.n, np.where(rare, up, -down)):
            mean += part.tolist()
        return _Tilted(self._spread(groups), math.fsum(self.n * divergence), mean)

    def _spread(self, groups: Sequence[Group]) -> Pmf:
        start, pmf = convolve(groups)
        if self.step == 1:
            return Pmf(self.first + start, pmf)
        size = (pmf.size - 1) * self.step + 1
        _validate.memory(32 * size, f"the table of {size} probabilities")
        spread = np.zeros(size)
        spread[:: self.step] = pmf
        return Pmf(self.first + start * self.step, spread)


def _exact_products(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return a b without rounding, as a sum of two.

    Source: T. J. Dekker (1971). A floating-point technique for extending the available precision. Numerische
    Mathematik 18, 224-242, doi:10.1007/BF01397083.
    """
    (high_a, low_a), (high_b, low_b) = map(_halves, (a, b))
    both = a * b
    return both, low_a * low_b - (((both - high_a * high_b) - low_a * high_b) - high_a * low_b)


def _halves(x: Floats) -> tuple[Floats, Floats]:
    scaled = (2.0**27 + 1) * x
    high = scaled - (scaled - x)
    return high, x - high


class _Counted:
    """A count known by its table."""

    def __init__(self, count: Table) -> None:
        self.log_pmf = count.log_pmf
        self.first, self.last = count.start, count.start + count.log_pmf.size - 1
        self.k = np.arange(count.log_pmf.size, dtype=np.float64)

    def log_end(self, top: bool) -> float:
        return float(self.log_pmf[-1 if top else 0])

    def _weights(self, theta: float) -> tuple[int, float, Floats]:
        """Return the likeliest count under a tilt, the log of the sum of weights relative to it, and the law."""
        logs = self.log_pmf + theta * self.k
        top = int(np.argmax(logs))
        weights = np.exp(logs - logs[top])
        total = float(weights.sum())
        return top, math.log(total), weights / total

    def rise(self, theta: float) -> float:
        return float(self._weights(theta)[2] @ self.k)

    def fall(self, theta: float) -> float:
        return float(self._weights(theta)[2] @ self.k[::-1])

    def tilted(self, theta: float) -> _Tilted:
        top, log_total, pmf = self._weights(theta)
        mean = float(pmf @ (self.k - top))
        divergence = theta * mean - float(self.log_pmf[top]) - log_total
        return _Tilted(trim(Pmf(self.first, pmf)), divergence, [self.first, top, mean])


def _tilt(terms: Sequence[_Term], k: int) -> Logs:
    """Return the logs around count k, which must lie strictly inside what is possible."""
    first, last = sum(term.first for term in terms), sum(term.last for term in terms)

    def excess(theta: float) -> float:
        # of the smaller of rise and fall, so that digits remain at the ends
        if k - first > (last - first) / 2:
            return (last - k) - sum(term.fall(theta) for term in terms)
        return sum(term.rise(theta) for term in terms) - (k - first)

    low, high = -1.0, 1.0
    while excess(low) > 0:
        low *= 4
    while excess(high) < 0:
        high *= 4
    theta = brentq(excess, low, high, xtol=1e-12, rtol=1e-14)
    tilted = [term.tilted(theta) for term in terms]
    start, pmf = reduce(product, sorted((each.pmf for each in tilted), key=lambda table: table.pmf.size))
    scale = math.fsum(each.divergence for each in tilted)
    from_mean = math.fsum([-part for each in tilted for part in each.mean] + [start]) + np.arange(pmf.size)
    # P(X >= k) = exp(-D - theta (k - m)) sum over j >= k of P_theta(j) exp(-theta (j - k)), and so downward
    upward, fall = theta > 0, math.exp(-abs(theta))
    sums = np.array(list(accumulate((pmf[::-1] if upward else pmf).tolist(), lambda above, here: above * fall + here)))
    # beyond the table's own floor the tail's missing terms matter less than a digit
    trusted = np.flatnonzero(pmf >= 1e-200)
    with np.errstate(divide="ignore"):
        log_pmf, log_tail = (np.log(x) - scale - theta * from_mean for x in (pmf, sums[::-1] if upward else sums))
    return Logs(start, log_pmf, log_tail, start + int(trusted[0]), start + int(trusted[-1]))


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

    _made_from = ("counts",)

    def __init__(self, counts: Iterable[Count]) -> None:
        self.counts = tuple(counts)
        super().__init__(sum(count.n for count in self.counts))

    @cached_property
    def _terms(self) -> list[_Term]:
        binomials: dict[int, list[tuple[float, int]]] = {}
        terms: list[_Term] = []
        for count in self.counts:
            step = 1
            while isinstance(count, Scaled):
                step, count = step * count.size, count.count
            if isinstance(count, Binomial | PoissonBinomial):
                binomials.setdefault(step, []).extend(count.parts)
            else:
                terms.append(_Counted(tabulate(Scaled(count, step) if step > 1 else count)))
        return terms + [_Binomials(step, parts) for step, parts in sorted(binomials.items())]

    @cached_property
    def _table(self) -> Pmf:  # type: ignore[override]
        tables = sorted((term.tilted(0.0).pmf for term in self._terms), key=lambda table: table.pmf.size)
        return reduce(product, tables)

    def _remote(self, k: int) -> Logs:
        return _tilt(self._terms, k)

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

    Parameters
    ----------
    parts : iterable of (p, n)
        Groups of n neurons that share a probability p, the p all different.
    """

    parts: tuple[tuple[float, int], ...]

    _made_from = ("parts",)

    def __init__(self, parts: Iterable[tuple[float, int]]) -> None:
        self.parts = tuple(parts)
        Tabulated.__init__(self, sum(n for _, n in self.parts))

    @cached_property
    def args(self) -> tuple[Any, ...]:
        """Shape parameter of ``scipy.stats.poisson_binom``: the drop probabilities, sorted."""
        return (np.repeat([p for p, _ in self.parts], [n for _, n in self.parts]),)

    @cached_property
    def dist(self) -> Any:
        """The scipy distribution that this is a frozen one of."""
        return stats.poisson_binom

    @cached_property
    def _terms(self) -> list[_Term]:
        return [_Binomials(1, self.parts)]

    @cached_property
    def _cumulants(self) -> tuple[float, float, float, float]:
        groups = [(p, 1 - p, n * p * (1 - p), n) for p, n in self.parts]
        return (
            math.fsum(n * p for p, _, _, n in groups),
            math.fsum(v for _, _, v, _ in groups),
            math.fsum(v * (q - p) for p, q, v, _ in groups),
            math.fsum(v * (1 - 6 * p * q) for p, q, v, _ in groups),
        )

    def _mean_kept(self) -> float:
        return math.fsum(n * (1 - p) for p, n in self.parts)

    def _variates(self, size: Any, source: Any) -> NDArray[np.int64]:
        if len(self.parts) > _ADDED_VARIATES:
            return Tabulated._variates(self, size, source)
        drawn = np.zeros(size, dtype=np.int64)
        for p, n in self.parts:
            drawn = drawn + source.binomial(n, p, size)
        return np.asarray(drawn)


def tabulate(count: Count) -> Table:
    """Return the table of a law of a count."""
    if isinstance(count, Table):
        return count
    _validate.memory(64 * (count.n + 1), f"the table of {count.n + 1} probabilities")
    return Table(count.logpmf(np.arange(count.n + 1.0)), count.n)


def of_rates(parts: Iterable[tuple[float, int]]) -> Count:
    """Return the law of the number dropped, from pairs (p, n) of groups of neurons that share a probability."""
    merged: dict[float, int] = {}
    for p, n in parts:
        merged[p] = merged.get(p, 0) + n
    groups = sorted((p, n) for p, n in merged.items() if n)
    if len(groups) == 1:
        return Binomial(groups[0][1], groups[0][0])
    return PoissonBinomial(groups) if groups else Binomial(0, next(iter(merged), 0.0))


def _flat(counts: Iterable[Count]) -> Iterator[Count]:
    for count in counts:
        if isinstance(count, Sum) and not isinstance(count, PoissonBinomial):
            yield from count.counts
        else:
            yield count


def add(*counts: Count) -> Count:
    """Return the law of the sum of independent counts; equal probabilities are merged into one binomial."""
    for count in counts:
        if not isinstance(count, Count):
            raise TypeError(f"the law of a sum needs laws of counts; got {count!r} of type {type(count).__name__}")
    parts: list[tuple[float, int]] = []
    others = []
    for count in _flat(counts):
        if isinstance(count, Binomial | PoissonBinomial):
            parts += count.parts
        else:
            others.append(count)
    if not others:
        return of_rates(parts)
    if any(n for _, n in parts):
        others.append(of_rates(parts))
    return others[0] if len(others) == 1 else Sum(others)
