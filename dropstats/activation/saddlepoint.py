"""Saddlepoint approximation of a sum of independent two-valued terms, row by row.

H. E. Daniels (1954). Saddlepoint approximations in statistics. Annals of Mathematical Statistics 25, 631-650.
doi:10.1214/aoms/1177728652

R. Lugannani, S. Rice (1980). Saddle point approximation for the distribution of the sum of independent random
variables. Advances in Applied Probability 12, 475-490. doi:10.2307/1426607

H. E. Daniels (1987). Tail probability approximations. International Statistical Review 55, 37-48. doi:10.2307/1403269
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

Array = NDArray[np.float64]

# Below this |u| the difference 1/u - 1/w is taken from its series: the terms left out are of order u^4 / 5000 of the
# standardised seventh cumulant, while the direct difference loses digits as 1e-16 / u^2.
_SERIES = 0.05
# Newton's method takes about 10 steps; halving a bracket all the way down from 1e300 to 1e-300 takes 2000.
_ITERATIONS = 2200


@dataclass(frozen=True)
class Rows:
    """Sums z = sum_i terms[r, i] m_i, one a row, where m_i is 0 with probability rates[r, i], else 1."""

    terms: Array
    rates: Array

    def __post_init__(self) -> None:
        # a neuron that is always dropped contributes nothing, one that is always kept a constant
        object.__setattr__(self, "terms", np.where(self.rates < 1, self.terms, 0.0))

    @property
    def fixed(self) -> Array:
        """What the neurons that are always kept contribute, of shape (rows,)."""
        total: Array = np.where(self.rates == 0, self.terms, 0.0).sum(axis=1)
        return total

    def free(self) -> "Rows":
        """The rows without the neurons that are always kept."""
        return Rows(np.where(self.rates == 0, 0.0, self.terms), self.rates)

    def ends(self) -> tuple[Array, Array]:
        """Smallest and largest value of each row."""
        random = self.free().terms
        fixed = self.fixed
        return fixed + np.minimum(random, 0).sum(axis=1), fixed + np.maximum(random, 0).sum(axis=1)

    def log_atoms(self) -> tuple[Array, Array]:
        """Natural logarithms of the probabilities of the smallest and the largest value of each row."""
        log_p, log_q = _logs(self.rates)
        random = self.free().terms
        low = np.where(random > 0, log_p, 0.0) + np.where(random < 0, log_q, 0.0)
        high = np.where(random > 0, log_q, 0.0) + np.where(random < 0, log_p, 0.0)
        return low.sum(axis=1), high.sum(axis=1)


def _logs(p: Array) -> tuple[Array, Array]:
    """Logarithms of p and 1 - p; 0 stands for p = 0 and p = 1, whose terms are taken out beforehand."""
    inside = (p > 0) & (p < 1)
    safe = np.where(inside, p, 0.5)
    return np.where(inside, np.log(safe), 0.0), np.where(inside, np.log1p(-safe), 0.0)


def cgf(rows: Rows, t: Array) -> Array:
    """Cumulant generating function K(t) = sum_i log(p_i + q_i exp(t a_i)) of each row."""
    free = rows.free()
    log_p, log_q = _logs(rows.rates)
    exponent = t[:, None] * free.terms
    # near 0 by log1p, for its digits; far out as a sum of two exponentials, which cannot overflow
    near = np.log1p((1 - rows.rates) * np.expm1(np.clip(exponent, -1, 1)))
    far = np.logaddexp(log_p, log_q + exponent)
    values = np.where(np.abs(exponent) <= 1, near, far)
    inside = (rows.rates > 0) & (rows.rates < 1)
    total: Array = np.where(inside, values, 0.0).sum(axis=1) + t * rows.fixed
    return total


def derivatives(rows: Rows, t: Array, order: int = 2) -> list[Array]:
    """Derivatives 1..order (at most 6) of the cumulant generating function: the cumulants of the tilted sum."""
    free = rows.free()
    log_p, log_q = _logs(rows.rates)
    shifted = log_q - log_p + t[:, None] * free.terms
    kept = expit(shifted)
    product = kept * expit(-shifted)
    contrast = 1 - 2 * kept
    shapes = (
        kept,
        product,
        product * contrast,
        product * (1 - 6 * product),
        product * contrast * (1 - 12 * product),
        product * (1 - 30 * product + 120 * product**2),
    )
    result = [(free.terms ** (r + 1) * shapes[r]).sum(axis=1) for r in range(order)]
    result[0] = result[0] + rows.fixed
    return result


def solve(rows: Rows, y: Array) -> Array:
    """Return the saddlepoint s of each row, K'(s) = y, for y strictly between the row's ends."""
    mean, variance = derivatives(rows, np.zeros(y.shape))
    deviation = np.sqrt(variance)
    low, high = np.where(y >= mean, 0.0, -np.inf), np.where(y <= mean, 0.0, np.inf)
    step = (y - mean) / variance
    # a saddlepoint further than a few units of 1/deviation is approached by doubling: K'' may vanish there
    point = np.clip(step, -1 / deviation, 1 / deviation)
    active = np.arange(y.size)
    for _ in range(_ITERATIONS):
        if not active.size:
            break
        part = Rows(rows.terms[active], np.broadcast_to(rows.rates, rows.terms.shape)[active])
        at = point[active]
        slope, curvature = derivatives(part, at)
        excess = slope - y[active]
        high[active] = np.where(excess >= 0, at, high[active])
        low[active] = np.where(excess <= 0, at, low[active])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            new = at - excess / curvature
        lower, upper = low[active], high[active]
        outside = ~((new >= lower) & (new <= upper)) | ~np.isfinite(new)
        bracketed = np.isfinite(lower) & np.isfinite(upper)
        doubled = 2 * at + np.sign(-excess) / deviation[active]
        far = ~bracketed & (np.abs(new) > np.abs(doubled))
        with np.errstate(invalid="ignore"):
            middle = np.where(bracketed, 0.5 * lower + 0.5 * upper, doubled)
        new = np.where(outside | far, middle, new)
        new = np.where(excess == 0, at, new)
        point[active] = new
        # 4 ulp: Newton's last step is of the size of the rounding error of K'
        active = active[(np.abs(new - at) > 1e-15 * np.abs(new)) & (np.abs(excess) > 0)]
    return point


@dataclass(frozen=True)
class Point:
    """What a saddlepoint approximation is made of, one value a row: s, w, u and the difference 1/u - 1/w."""

    s: Array
    w: Array
    u: Array
    difference: Array
    log_density: Array


def point(rows: Rows, y: Array, span: float = 0.0) -> Point:
    """Return the saddlepoint quantities for y strictly inside; a `span` > 0 is that of a lattice (Daniels 1987)."""
    s = solve(rows, y)
    cumulants = derivatives(rows, s, 6)
    deviation = np.sqrt(cumulants[1])
    exponent = s * y - cgf(rows, s)
    w = np.sign(s) * np.sqrt(2 * np.maximum(exponent, 0))
    u = s * deviation
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # near the mean: w^2 = u^2 (1 + e), e = -l3 u/3 + l4 u^2/12 - l5 u^3/60 + l6 u^4/360, so that
        # 1/u - 1/w = (1 - (1 + e)^(-1/2)) / u without a difference of large numbers
        l3, l4, l5, l6 = (cumulants[r] / deviation ** (r + 1) for r in range(2, 6))
        e_over_u = -l3 / 3 + l4 * u / 12 - l5 * u**2 / 60 + l6 * u**3 / 360
        small = np.abs(u) < _SERIES
        e = np.where(small, np.clip(u * e_over_u, -0.5, 0.5), 0.5)
        series = -np.expm1(-0.5 * np.log1p(e)) / e * e_over_u
        difference = np.where(small, np.where(e == 0, e_over_u / 2, series), 1 / u - 1 / w)
        if span:
            # 1/(2 sinh(s span / 2) / span * sqrt(K'')) in place of 1/u
            half = s * span / 2
            ratio = np.where(np.abs(half) < 1e-2, -half * (1 - 7 * half**2 / 60) / 6, (1 / np.sinh(half)) - 1 / half)
            difference = difference + ratio * span / (2 * deviation)
        log_density = -exponent - 0.5 * np.log(2 * math.pi * cumulants[1])
    return Point(s, w, u, difference, log_density)


def _tail(w: Array, difference: Array) -> Array:
    density = np.exp(-0.5 * w**2) / math.sqrt(2 * math.pi)
    result: Array = ndtr(-w) + density * difference
    return result


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
    upper = np.where(at < low, 1.0, 0.0)
    lower = np.where(at < low, 0.0, 1.0)
    log_low, log_high = rows.log_atoms()
    # at an end itself the atom there is known
    at_low = (at == low) & (low < high)
    upper = np.where(at_low, -np.expm1(log_low), upper)
    lower = np.where(at_low, np.exp(log_low), lower)
    index = np.flatnonzero(inside)
    if index.size:
        part = Rows(rows.terms[index], np.broadcast_to(rows.rates, rows.terms.shape)[index])
        found = point(part, at[index], span)
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
        part = Rows(rows.terms[index], np.broadcast_to(rows.rates, rows.terms.shape)[index])
        result[index] = np.exp(point(part, y[index]).log_density)
    return result
