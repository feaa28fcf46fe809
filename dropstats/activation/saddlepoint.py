"""Saddlepoint approximation of a sum of independent two-valued terms, row by row.

H. E. Daniels (1954). Saddlepoint approximations in statistics. Annals of Mathematical Statistics 25, 631-650.
doi:10.1214/aoms/1177728652

R. Lugannani, S. Rice (1980). Saddle point approximation for the distribution of the sum of independent random
variables. Advances in Applied Probability 12, 475-490. doi:10.2307/1426607

H. E. Daniels (1987). Tail probability approximations. International Statistical Review 55, 37-48. doi:10.2307/1403269
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.special import expit, ndtr

Array = NDArray[np.float64]

# Below this |u| the difference 1/u - 1/w is taken from its series: the terms left out are of order u^4 / 5000 of the
# standardised seventh cumulant, while the direct difference loses digits as 1e-16 / u^2.
_SERIES = 0.05
# Of more points than this of one sum every eighth is solved first.
_SEVERAL = 16
# Newton's method takes about 10 steps; halving a bracket all the way down from 1e300 to 1e-300 takes 2000.
_ITERATIONS = 2200


@dataclass(frozen=True)
class Rows:
    """Sums z = sum_i terms[r, i] m_i, one a row, where m_i is 0 with probability rates[r, i], else 1.

    Of several points of one and the same sum a single row is kept, which all share.
    """

    terms: Array
    rates: Array

    @cached_property
    def random(self) -> NDArray[np.bool_]:
        """Whether a neuron may be dropped or kept."""
        return (self.rates > 0) & (self.rates < 1)

    @cached_property
    def free(self) -> Array:
        """The terms of these neurons; 0 for those that are always dropped, or always kept."""
        return np.where(self.random, self.terms, 0.0)

    @cached_property
    def largest(self) -> Array:
        """The largest |term| of each row that may be dropped or kept."""
        return np.asarray(np.abs(self.free).max(axis=1, initial=0.0))

    @cached_property
    def fixed(self) -> Array:
        """What the neurons that are always kept contribute, of shape (rows,)."""
        return np.asarray(np.where(self.rates == 0, self.terms, 0.0).sum(axis=1))

    @cached_property
    def safe(self) -> Array:
        """The probabilities of 0, 1/2 where nothing is random."""
        return np.where(self.random, self.rates, 0.5)

    @cached_property
    def log_odds(self) -> Array:
        """log((1 - p) / p); 0 where nothing is random."""
        return np.asarray(np.log1p(-self.safe) - np.log(self.safe))

    def ends(self) -> tuple[Array, Array]:
        """Smallest and largest value of each row."""
        fixed, free = self.fixed, self.free
        return fixed + np.minimum(free, 0).sum(axis=1), fixed + np.maximum(free, 0).sum(axis=1)

    def log_atoms(self) -> tuple[Array, Array]:
        """Natural logarithms of the probabilities of the smallest and the largest value of each row."""
        log_p, log_q = np.log(self.safe), np.log1p(-self.safe)
        low = np.where(self.free > 0, log_p, 0.0) + np.where(self.free < 0, log_q, 0.0)
        high = np.where(self.free > 0, log_q, 0.0) + np.where(self.free < 0, log_p, 0.0)
        return low.sum(axis=1), high.sum(axis=1)

    def take(self, rows: NDArray[np.intp]) -> "Rows":
        """Some of the rows; all that is known of them goes along."""
        if self.terms.shape[0] == 1 or rows.size == self.terms.shape[0]:
            return self
        some = Rows(self.terms[rows], self.rates[rows])
        some.__dict__.update(
            {name: value[rows] for name, value in self.__dict__.items() if name not in ("terms", "rates")}
        )
        return some


def cumulants_of_bit(q: Array, p: Array) -> tuple[Array, ...]:
    """First six cumulants of a bit that is 1 with probability q and 0 with probability p = 1 - q."""
    pq, skew = p * q, p - q
    return q, pq, pq * skew, pq * (1 - 6 * pq), pq * skew * (1 - 12 * pq), pq * (1 - 30 * pq + 120 * pq**2)


def cgf(rows: Rows, t: Array) -> Array:
    """Cumulant generating function K(t) = sum_i log(p_i + q_i exp(t a_i)) of each row."""
    exponent = t[:, None] * rows.free
    # near 0 by log1p, for its digits; far up with the exponential taken out, which could overflow
    up = exponent > 1
    share = np.where(up, rows.safe, 1 - rows.safe) * np.expm1(np.where(up, -exponent, exponent))
    values = np.log1p(share, out=share) + np.where(up, exponent, 0.0)
    # far down 1 - q (1 - exp(x)) has lost the digits of a p below 1e-16
    lost = exponent < -30
    if lost.any():
        log_p, log_q = np.log(rows.safe), np.log1p(-rows.safe)
        values = np.where(lost, np.logaddexp(log_p, log_q + exponent), values)
    return np.asarray(np.where(rows.random, values, 0.0).sum(axis=1) + t * rows.fixed)


def derivatives(rows: Rows, t: Array, order: int = 2) -> list[Array]:
    """Derivatives 1..order (at most 6) of the cumulant generating function: the cumulants of the tilted sum."""
    tilted = t[:, None] * rows.free
    tilted += rows.log_odds
    if order > 2:
        of_bit = cumulants_of_bit(expit(tilted), expit(-tilted))
        power, result = np.ones_like(rows.free), []
        for cumulant in of_bit[:order]:
            power = power * rows.free
            result.append((power * cumulant).sum(axis=1))
    else:
        small = np.exp(-np.abs(tilted))
        share = 1 / (1 + small)
        small *= share
        spread = small * share
        kept = np.where(tilted > 0, share, small)
        free = np.broadcast_to(rows.free, kept.shape)
        kept *= free
        result = [kept.sum(axis=1), np.einsum("ri,ri,ri->r", spread, free, free)]
    result[0] = result[0] + rows.fixed
    return result


def solve(rows: Rows, y: Array) -> Array:
    """Return the saddlepoint s of each row, K'(s) = y, for y strictly between the row's ends."""
    if rows.terms.shape[0] > 1 or y.size <= _SEVERAL:
        return _newton(rows, y, None)
    # of many points of one sum some are solved first, and the others begin between them
    order = np.argsort(y)
    some = np.unique(y[order[np.append(np.arange(0, y.size - 1, _SEVERAL // 2), y.size - 1)]])
    found = _newton(rows, some, None)
    if some.size < 2:
        return np.broadcast_to(found, y.shape)
    return _newton(rows, y, CubicHermiteSpline(some, found, 1 / derivatives(rows, found)[1])(y))


def _newton(rows: Rows, y: Array, start: Array | None) -> Array:
    """Return the saddlepoints by Newton's method within brackets, from the mean or from where it is told."""
    mean, variance = derivatives(rows, np.zeros(1) if rows.terms.shape[0] == 1 else np.zeros(y.shape))
    deviation = np.broadcast_to(np.sqrt(variance), y.shape)
    low, high = np.where(y >= mean, 0.0, -np.inf), np.where(y <= mean, 0.0, np.inf)
    # a saddlepoint further than a few units of 1/deviation is approached by doubling: K'' may vanish there
    point = np.clip((y - mean) / variance, -1 / deviation, 1 / deviation)
    if start is not None:
        point = np.where(np.isfinite(start) & (start > low) & (start < high), start, point)
    active, largest = np.arange(y.size), np.broadcast_to(rows.largest, y.shape)
    for _ in range(_ITERATIONS):
        if not active.size:
            break
        at = point[active]
        slope, curvature = derivatives(rows.take(active), at)
        excess = slope - y[active]
        upper = high[active] = np.where(excess >= 0, at, high[active])
        lower = low[active] = np.where(excess <= 0, at, low[active])
        bracketed = np.isfinite(lower) & np.isfinite(upper)
        doubled = 2 * at + np.sign(-excess) / deviation[active]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            new = at - excess / curvature
            middle = np.where(bracketed, 0.5 * lower + 0.5 * upper, doubled)
        inside = (new >= lower) & (new <= upper) & np.isfinite(new)
        by_newton = inside & (bracketed | (np.abs(new) <= np.abs(doubled)))
        new = np.where(by_newton, new, middle)
        new = np.where(excess == 0, at, new)
        point[active] = new
        # the next of Newton's steps is at most of the order of max |a| times the square of this one
        step = np.abs(new - at)
        done = by_newton & (largest[active] * step * step <= 1e-17 * np.abs(new))
        active = active[~done & (step > 1e-15 * np.abs(new)) & (np.abs(excess) > 0)]
    return point


class Point(NamedTuple):
    """What a saddlepoint approximation is made of, one value a row; `difference` is 1/u - 1/w."""

    s: Array
    w: Array
    difference: Array
    log_density: Array


def point(rows: Rows, y: Array, span: float = 0.0) -> Point:
    """Return the saddlepoint quantities for y strictly inside; a `span` > 0 is that of a lattice (Daniels 1987)."""
    s = solve(rows, y)
    variance = derivatives(rows, s)[1]
    deviation = np.sqrt(variance)
    exponent = s * y - cgf(rows, s)
    w = np.sign(s) * np.sqrt(2 * np.maximum(exponent, 0))
    u = s * deviation
    (near,) = np.nonzero(np.abs(u) < _SERIES)
    e_over_u = np.zeros(y.shape)
    if near.size:
        cumulants = derivatives(rows.take(near), s[near], 6)
        l3, l4, l5, l6 = (cumulants[r] / deviation[near] ** (r + 1) for r in range(2, 6))
        v = u[near]
        e_over_u[near] = -l3 / 3 + l4 * v / 12 - l5 * v**2 / 60 + l6 * v**3 / 360
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # near the mean: w^2 = u^2 (1 + e), e = -l3 u/3 + l4 u^2/12 - l5 u^3/60 + l6 u^4/360, so that
        # 1/u - 1/w = (1 - (1 + e)^(-1/2)) / u without a difference of large numbers
        small = np.abs(u) < _SERIES
        e = np.where(small, np.clip(u * e_over_u, -0.5, 0.5), 0.5)
        series = -np.expm1(-0.5 * np.log1p(e)) / e * e_over_u
        difference = np.where(small, np.where(e == 0, e_over_u / 2, series), 1 / u - 1 / w)
        if span:
            # 1/(2 sinh(s span / 2) / span * sqrt(K'')) in place of 1/u
            half = s * span / 2
            ratio = np.where(np.abs(half) < 1e-2, -half * (1 - 7 * half**2 / 60) / 6, (1 / np.sinh(half)) - 1 / half)
            difference = difference + ratio * span / (2 * deviation)
        log_density = -exponent - 0.5 * np.log(2 * math.pi * variance)
    return Point(s, w, difference, log_density)


def _tail(w: Array, difference: Array) -> Array:
    return np.asarray(ndtr(-w) + np.exp(-0.5 * w**2) / math.sqrt(2 * math.pi) * difference)


def _inside(rows: Rows, y: Array) -> tuple[NDArray[np.bool_], Array, Array]:
    low, high = rows.ends()
    return (y > low) & (y < high), low, high


def tails(rows: Rows, y: Array, span: float = 0.0) -> tuple[Array, Array]:
    """Return (P(z <= y), P(z > y)) of each row by Lugannani and Rice, exact at and beyond the ends.

    Without a span both are mid-probabilities where z has an atom at y.
    """
    # on a lattice z > y is z >= y + span, judged half-way
    at = y + span / 2
    inside, low, high = _inside(rows, at)
    lower, upper = np.where(at < low, 0.0, 1.0), np.where(at < low, 1.0, 0.0)
    log_low, log_high = (np.broadcast_to(log, y.shape) for log in rows.log_atoms())
    # at an end itself the atom there is known
    at_low = (at == low) & (low < high)
    upper = np.where(at_low, -np.expm1(log_low), upper)
    lower = np.where(at_low, np.exp(log_low), lower)
    index = np.flatnonzero(inside)
    if index.size:
        found = point(rows.take(index), at[index], span)
        # Two exact bounds hold the approximation where it breaks down, near an end with a heavy atom: neither tail is
        # smaller than the atom at its end, nor the tail away from the mean larger than Chernoff's exp(-w^2/2), which
        # meets that atom at the end itself.
        first, last = np.exp(log_low[index]), np.exp(log_high[index])
        chernoff, rest = np.exp(-0.5 * found.w**2), -np.expm1(-0.5 * found.w**2)
        above = found.w > 0
        upper[index] = np.clip(
            _tail(found.w, found.difference),
            np.where(above, last, np.maximum(last, rest)),
            np.where(above, np.minimum(chernoff, 1 - first), 1 - first),
        )
        lower[index] = np.clip(
            _tail(-found.w, -found.difference),
            np.where(above, np.maximum(first, rest), first),
            np.where(above, 1 - last, np.minimum(chernoff, 1 - last)),
        )
    return lower, upper


def density(rows: Rows, y: Array) -> Array:
    """Return the saddlepoint density exp(K(s) - s y) / sqrt(2 pi K''(s)) of each row; 0 at and beyond the ends."""
    inside, low, high = _inside(rows, y)
    result = np.where((low == high) & (y == low), np.inf, 0.0)
    index = np.flatnonzero(inside)
    if index.size:
        result[index] = np.exp(point(rows.take(index), y[index]).log_density)
    return result
