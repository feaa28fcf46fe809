"""Composite Gauss-Legendre rules, for integrals and for sums too long to add up; digits that rounding would lose."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def panels(edges: Array) -> tuple[Array, Array]:
    """Return nodes and weights of a 16-point rule on each interval between neighbouring edges."""
    half = np.diff(edges)[:, None] / 2
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    return (middle + half * _NODES).ravel(), (half * _WEIGHTS).ravel()


def logarithmic(low: float, high: float, width: float = 0.125) -> tuple[Array, Array]:
    """Return nodes and weights on [low, high], 0 < low < high, with panels of equal ratio exp(width)."""
    count = max(1, math.ceil(math.log(high / low) / width))
    u, weights = panels(np.linspace(math.log(low), math.log(high), count + 1))
    nodes = np.exp(u)
    return nodes, weights * nodes


def log1mexp(x: Array) -> Array:
    """Return log(1 - exp(x)) for x <= 0, -inf at 0.

    Source: M. Maechler (2012), Accurately computing log(1 - exp(-|a|)), Rmpfr vignette.
    """
    with np.errstate(divide="ignore"):
        return np.where(x > -math.log(2), np.log(-np.expm1(x)), np.log1p(-np.exp(x)))


def product_error(x: Any, y: Any, product: Any) -> Any:
    """Return x y - product, without rounding error where this is the rounded product, for numbers below 2^970.

    T. J. Dekker (1971). A floating-point technique for extending the available precision. Numerische Mathematik 18,
    224-242. doi:10.1007/BF01397083
    """
    (high_x, low_x), (high_y, low_y) = _halves(x), _halves(y)
    return ((high_x * high_y - product) + high_x * low_y + low_x * high_y) + low_x * low_y


def _halves(x: Any) -> tuple[Any, Any]:
    """Return two halves of the digits of a number, whose products are exact (Veltkamp)."""
    scaled = (2.0**27 + 1) * x
    high = scaled - (scaled - x)
    return high, x - high


def scalar(array: Any) -> Any:
    """Return a 0-d array as a Python float, for its repr; others as they are."""
    return float(array) if np.ndim(array) == 0 else array
