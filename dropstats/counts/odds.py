"""Sums over many unlike rates: of tilted means, variances, and logs of characteristic functions."""

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Sums over more rates than this are had from nodes.
_MANY = 400
# Nodes for each unit of the log odds.
_NODES = 16
# Distance of log odds from 0 from which on nodes serve for all t: 1.9, and the width of a unit.
_AWAY = 2.9
# Rates, and entries of an array, at a time.
_RATES, _ENTRIES = 2**16, 2**21


class Rates:
    """Probabilities strictly between 0 and 1, and how many neurons have each.

    What is summed over the rates are functions of the log odds that are analytic up to a distance of 1.9 from the real
    axis. Of many rates they are summed over Chebyshev nodes instead, 16 for each unit of the log odds, whose weights
    give the sum of the polynomial through the nodes. Its error is of order 8^-16 = 4e-15 of the function on that unit
    (1.9 is 3.8 half units, and 3.8 + sqrt(3.8^2 + 1) = 7.7), and so on each unit relative to its own size.

    Parameters
    ----------
    p, number : ndarray, shape (m,)
        The probabilities, rising, and the numbers of neurons.
    """

    p: Floats
    number: Floats
    n: float
    odds: Floats
    least: float
    largest: float

    def __init__(self, p: Floats, number: Floats) -> None:
        self.p, self.number = p, number
        self.n = float(number.sum())
        self.odds = np.log(p) - np.log1p(-p)
        self.least, self.largest = float(self.odds[0]), float(self.odds[-1])
        few = p.size <= _MANY
        self._nodes: Floats
        self._weights: Floats
        self._nodes, self._weights = (self.odds, number) if few else nodes(self.odds, number)

    @property
    def size(self) -> int:
        """Number of terms of a sum."""
        return self._nodes.size

    @cached_property
    def mean(self) -> tuple[float, float]:
        """The mean as an unevaluated sum of two doubles."""
        return exact_dot(self.number, self.p)

    def from_mean(self, k: Floats) -> Floats:
        """Return k minus the mean."""
        return (k - self.mean[0]) - self.mean[1]

    def log_end(self, top: bool) -> float:
        """Return the log probability that none is dropped, or that all are."""
        return exact_sum(self.number * (np.log(self.p) if top else np.log1p(-self.p)))

    def curvature(self, theta: Floats) -> Floats:
        """Return the variance under tilts."""
        small = np.exp(-np.abs(self._nodes + theta[..., None]))
        return np.asarray(small / (1 + small) ** 2 @ self._weights)

    def mean_and_curvature(self, theta: Floats, upper: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return the mean number of dropped, or where `upper` of kept, neurons under tilts, and the variance."""
        x = self._nodes + theta[:, None]
        x = np.where(upper[:, None], -x, x)
        small = np.exp(-np.abs(x))
        share = 1 / (1 + small)
        return np.where(x > 0, share, small * share) @ self._weights, small * share * share @ self._weights

    def log_phi(self, theta: Floats, t: Floats, series: bool) -> tuple[Floats, Floats]:
        """Return log |phi| and the angle of phi of the tilted law about its mean, at t of shape (tilts, points).

        With `series` all t must be below 1.2. For p <= 1/2 the angle of a neuron is atan(x) - p t of
        x = p sin t / (1 - 2 p sin^2(t / 2)), and -p (t - sin t) + 2 p x sin^2(t / 2) - (x - atan x), where what is left
        of the leading terms is of their own order; for p > 1/2 it is that of 1 - p with its sign changed.
        """
        # next to t = pi the function has singularities about a log odds of 0, and nodes do not serve there
        away = max(float(-self.largest - theta.max()), float(self.least + theta.min()))
        odds, weights = (self._nodes, self._weights) if series or away > _AWAY else (self.odds, self.number)
        log, angle = np.zeros(t.shape), np.zeros(t.shape)
        half = 2 * np.sin(t / 2)[..., None] ** 2
        sine, excess = np.sin(t)[..., None], _less_sine(t)[..., None]
        step = max(1, _ENTRIES // t.size)
        for start in range(0, odds.size, step):
            x = odds[start : start + step] + theta[:, None]
            weight = weights[start : start + step]
            signed = np.copysign(weight, -x) * np.sign(weight)
            e = np.exp(-np.abs(x))
            p = (e / (1 + e))[:, None, :]
            spread = (e / (1 + e) ** 2)[:, None, :]
            log += 0.5 * (np.log1p(-2 * spread * half) @ weight)
            bent = p * half
            if series:
                x = p * sine / (1 - bent)
                parts = x * bent - _less_arctan(x) - p * excess
            else:
                parts = np.arctan2(p * sine, 1 - bent) - p * t[..., None]
            angle += (parts * signed[:, None, :]).sum(axis=-1)
        return log, angle


def nodes(odds: Floats, number: Floats, width: float = 1.0) -> tuple[Floats, Floats]:
    """Return nodes and weights for sums of functions of the log odds, which must rise, that are smooth on this width.

    Source: L. N. Trefethen (2013). Approximation Theory and Approximation Practice. SIAM, chapters 3 and 8.
    """
    odds = odds / width
    unit = np.floor(odds)
    (begins,) = np.nonzero(np.append(True, unit[1:] != unit[:-1]))
    first, sums = unit[begins], np.empty((_NODES, begins.size))
    ends = np.append(begins[1:], odds.size)
    at = 0
    while at < begins.size:
        until = max(at + 1, int(np.searchsorted(ends, begins[at] + _RATES, side="right")))
        part = slice(begins[at], ends[until - 1])
        x, where = 2 * (odds[part] - unit[part]) - 1, begins[at:until] - begins[at]
        before, here = number[part] * x, number[part]  # T(-1) = T(1)
        for order in range(_NODES):
            sums[order, at:until] = np.add.reduceat(here, where)
            before, here = here, 2 * x * here - before
        at = until
    angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    matrix = np.cos(np.outer(angles, np.arange(_NODES))) * (2 / _NODES)
    matrix[:, 0] /= 2
    places = first + (np.cos(angles)[:, None] + 1) / 2
    return width * places.T.ravel(), (matrix @ sums).T.ravel()


def exact_products(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return a b without rounding, as a sum of two.

    Source: T. J. Dekker (1971). A floating-point technique for extending the available precision. Numerische
    Mathematik 18, 224-242, doi:10.1007/BF01397083.
    """
    (high_a, low_a), (high_b, low_b) = map(_halves, (a, b))
    both = a * b
    return both, low_a * low_b - (((both - high_a * high_b) - low_a * high_b) - high_a * low_b)


def compensated_sum(x: Floats) -> tuple[float, float]:
    """Return the sum as that of two numbers, pair by pair, the rounding error of each addition kept and added up.

    Source: T. Ogita, S. M. Rump, S. Oishi (2005). Accurate sum and dot product. SIAM Journal on Scientific Computing
    26, 1955-1988, doi:10.1137/030601818.
    """
    low = 0.0
    while x.size > 1:
        half = (x.size + 1) // 2
        a, b = x[:half], np.zeros(half)
        b[: x.size - half] = x[half:]
        x = a + b
        of_b = x - a
        low += float(((a - (x - of_b)) + (b - of_b)).sum())
    return (float(x[0]) if x.size else 0.0), low


def exact_sum(x: Floats) -> float:
    """Return the sum, next to the double that is nearest to it."""
    return math.fsum(x.tolist()) if x.size <= _MANY else sum(compensated_sum(x))


def exact_dot(a: Floats, b: Floats) -> tuple[float, float]:
    """Return the sum of products as an unevaluated sum of two doubles."""
    products, errors = exact_products(a, b)
    high, low = compensated_sum(products)
    low += float(errors.sum())
    return high + low, low - ((high + low) - high)


def _halves(x: Floats) -> tuple[Floats, Floats]:
    scaled = (2.0**27 + 1) * x
    high = scaled - (scaled - x)
    return high, x - high


def _less_sine(t: Floats) -> Floats:
    """Return t - sin t."""
    square = t * t
    largest = float(square.max())
    if largest > 1.5:
        return t - np.sin(t)
    series = np.ones_like(t)
    for order in range(20 if largest > 1e-4 else 8, 2, -2):
        series = 1 - square / (order * (order + 1)) * series
    return t * square / 6 * series


def _less_arctan(x: Floats) -> Floats:
    """Return x - atan x."""
    square = x * x
    largest = float(square.max())
    if largest > 0.01:
        return x - np.arctan(x)
    series = np.full_like(x, 1 / 19)
    for order in range(17 if largest > 1e-6 else 7, 1, -2):
        series = 1 / order - square * series
    return x * square * series


def gathered(p: Floats, number: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the different probabilities, rising, and how many neurons have each; those of none are left out."""
    if (p[1:] > p[:-1]).all() and (number > 0).all():
        return p, np.asarray(number, dtype=np.float64)
    values, where = np.unique(p, return_inverse=True)
    together = np.bincount(where, number, minlength=values.size)
    some = together > 0
    return values[some], np.asarray(together[some], dtype=np.float64)
