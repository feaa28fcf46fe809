"""Exact distribution of a sum of two-valued terms on a lattice."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats import _progress
from dropstats._numerics import scalar

Array = NDArray[np.float64]

# A term w x / q carries up to five roundings of half an ulp, a ratio of two terms twice as many.
_TOLERANCE = 8 * np.finfo(np.float64).eps
# Ratios of terms are sought among fractions up to this denominator: decimals of five digits are found.
_DENOMINATOR = 10**5
# Largest table (128 MiB) and most additions (about half a minute) that an exact law may take.
_POINTS = 2**24
_ADDITIONS = 2 * 10**10
# Values are matched to lattice points within this fraction of the spacing: 2^24 points carry that much rounding.
_SLACK = 1e-7


@dataclass(frozen=True, eq=False)
class LatticeLaw:
    """Exact distribution of a variable on the lattice span * (start + k), k = 0, 1, ..., with scipy's method names.

    Attributes
    ----------
    span, start : float, int
        Spacing of the lattice, and index of the smallest value.
    masses : ndarray
        Probabilities of the values in increasing order, accurate in both tails.

    Examples
    --------
    >>> from dropstats import Layer, PreActivation
    >>> law = PreActivation([1] * 100, [1] * 100, Layer(100, 0.4), scaling=None).training.lattice()
    >>> round(law.pmf(60), 10), law.interval(0.95)
    (0.081219145, (50.0, 69.0))
    """

    span: float
    start: int
    masses: Array

    @property
    def values(self) -> Array:
        """Values of the lattice points, in the order of `masses`."""
        return self.span * (self.start + np.arange(self.masses.size, dtype=np.float64))

    @cached_property
    def _lower(self) -> Array:
        return np.append(0.0, np.minimum(np.cumsum(self.masses), 1.0))

    @cached_property
    def _upper(self) -> Array:
        return np.append(np.minimum(np.cumsum(self.masses[::-1])[::-1], 1.0), 0.0)

    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest value."""
        return self.span * self.start, self.span * (self.start + self.masses.size - 1)

    def pmf(self, x: ArrayLike) -> Any:
        """Return P(z = x); 0 between lattice points."""
        place = np.asarray(x, dtype=np.float64) / self.span - self.start
        k = np.round(place)
        on = (np.abs(place - k) <= _SLACK) & (k >= 0) & (k < self.masses.size)
        mass = np.where(on, self.masses[np.where(on, k, 0).astype(np.int64)], 0.0)
        return scalar(np.where(np.isnan(place), np.nan, mass))

    def _floor(self, x: ArrayLike) -> NDArray[np.int64]:
        place = np.nan_to_num(np.asarray(x, dtype=np.float64) / self.span - self.start, nan=-1)
        return np.clip(np.floor(place + _SLACK), -1, self.masses.size - 1).astype(np.int64)

    def cdf(self, x: ArrayLike) -> Any:
        """Return P(z <= x)."""
        return scalar(np.where(np.isnan(x), np.nan, self._lower[self._floor(x) + 1]))

    def sf(self, x: ArrayLike) -> Any:
        """Return P(z > x), accurate for small values too."""
        return scalar(np.where(np.isnan(x), np.nan, self._upper[self._floor(x) + 1]))

    def ppf(self, q: ArrayLike) -> Any:
        """Return the smallest value whose cdf is at least q."""
        # a cumulative sum that should be q may lie a few ulp below it
        k = np.searchsorted(self._lower[1:], np.asarray(q, dtype=np.float64) * (1 - 1e-14))
        return scalar(self.span * (self.start + np.minimum(k, self.masses.size - 1)))

    def median(self) -> float:
        """Return the median."""
        return float(self.ppf(0.5))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the ends of the central interval with probability at least `confidence`."""
        tail = (1 - confidence) / 2
        return float(self.ppf(tail)), float(self.ppf(1 - tail))

    def expect(self, function: Callable[[Array], Array]) -> float:
        """Return the expectation of `function`, called once with the array of all values."""
        return float(np.sum(function(self.values) * self.masses))

    def mean(self) -> float:
        """Return the mean."""
        return self.expect(lambda z: z)

    def var(self) -> float:
        """Return the variance."""
        mean = self.mean()
        return self.expect(lambda z: (z - mean) ** 2)

    def std(self) -> float:
        """Return the standard deviation."""
        return math.sqrt(self.var())


def span_of(terms: Array) -> tuple[float, NDArray[np.int64]] | None:
    """Return (span, multiples) with terms = span * multiples up to rounding, or None where there is no such lattice."""
    largest = np.abs(terms).max(initial=0.0)
    if not largest:
        return 1.0, np.zeros(terms.shape, np.int64)
    ratios, inverse = np.unique(terms / largest, return_inverse=True)
    fractions, common = [], 1
    for ratio in ratios.tolist():
        fraction = Fraction(ratio).limit_denominator(_DENOMINATOR)
        common = math.lcm(common, fraction.denominator)
        if abs(float(fraction) - ratio) > _TOLERANCE * abs(ratio) or common > _POINTS:
            return None
        fractions.append(fraction)
    multiples = np.array([int(fraction * common) for fraction in fractions], np.int64)
    return float(largest) / common, multiples[inverse.reshape(terms.shape)]


def exact_law(terms: Array, rates: Array, progress: Any = None) -> LatticeLaw:
    """Return the law of sum_i terms[i] m_i, m_i = 0 with probability rates[i], by convolution of positive terms."""
    found = span_of(np.where(rates < 1, terms, 0.0))
    if found is None:
        raise ValueError(
            "the terms w x of this sum lie on no common lattice, so its law has no table; "
            "cdf, sf and pdf answer by saddlepoint, expect by enumeration up to 20 neurons"
        )
    span, multiples = found
    random = (rates > 0) & (rates < 1) & (multiples != 0)
    start = int(multiples[rates == 0].sum()) + int(np.minimum(multiples[random], 0).sum())
    # a negative term is a constant plus its absolute value where the neuron is dropped
    kept_adds = multiples[random] > 0
    up = np.where(kept_adds, 1 - rates[random], rates[random])
    stay = np.where(kept_adds, rates[random], 1 - rates[random])
    pieces = sorted(Counter(zip(np.abs(multiples[random]).tolist(), up.tolist(), stay.tolist(), strict=True)).items())
    size, additions = 1, 0
    for (step, _, _), number in pieces:
        additions += size * (number + 1)
        size += step * number
    if size > _POINTS or additions > _ADDITIONS:
        raise ValueError(
            f"the exact law of this sum has {size} lattice points and takes {additions:.1e} additions; at most "
            f"{_POINTS} and {_ADDITIONS:.0e} are done: use cdf, sf and pdf, which answer by saddlepoint"
        )
    masses, work, filled = np.zeros(size), np.empty(size), 1
    masses[0] = 1.0
    for (step, rise, rest), number in _progress.shown(pieces, len(pieces), "adding terms", "term", progress, delay=1):
        filled = _add(masses, work, filled, step, _binomial(number, rise, rest))
    return LatticeLaw(span, start, masses)


def _binomial(number: int, rise: float, rest: float) -> Array:
    if number == 1:
        return np.array([rest, rise])
    from dropstats import counts

    k = np.arange(number + 1)
    # the smaller of the two probabilities carries the digits of both
    masses: Array = counts.of_rates([(min(rise, rest), number)]).pmf(k)
    return masses if rise <= rest else masses[::-1]


def _add(masses: Array, work: Array, filled: int, step: int, binomial: Array) -> int:
    """Add a multiple of a binomial count, in place, to a law of so many masses; return how many there are now."""
    before, weights = work[:filled], binomial.tolist()
    after = filled + step * (len(weights) - 1)
    if len(weights) == 2:
        np.multiply(masses[:filled], weights[1], out=before)
        masses[:filled] *= weights[0]
        masses[step:after] += before
        return after
    before[:] = masses[:filled]
    masses[:filled] *= weights[0]
    for j, weight in enumerate(weights[1:], start=1):
        if weight:
            masses[j * step : j * step + filled] += weight * before
    return after
