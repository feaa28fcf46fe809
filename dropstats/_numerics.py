"""Composite Gauss-Legendre rules, for integrals and for sums too long to add up; logs of complements; scalars."""

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


def scalar(array: Any) -> Any:
    """Return a 0-d array as a Python float, for its repr; others as they are."""
    return float(array) if np.ndim(array) == 0 else array
