"""A slow smooth function, piece by piece a polynomial."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Array = NDArray[np.float64]

# 16 Chebyshev points a piece; a piece is done when its last coefficients are below 1e-12, a tenth of what is promised.
_DEGREE = 15
_TOLERANCE = 1e-12
# No piece is halved where there would be more than this many; noise of the function itself is no reason to.
_PIECES = 2**12
# Pieces are halved at most this often: down to a kink, next to which a piece is too short to matter.
_HALVINGS = 48


def interpolant(
    function: Callable[[Array], Array], edges: Sequence[float], weigh: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """Return the piecewise Chebyshev interpolant of a function, to 1e-12 of its values where these are of order 1.

    The pieces between the edges are halved until they are smooth, or shorter than half a step; ``weigh(value)`` is what
    an error matters where the function has this value.
    """
    points = chebyshev.chebpts1(_DEGREE + 1)
    to_coefficients = np.linalg.inv(chebyshev.chebvander(points, _DEGREE))
    todo = np.array(list(itertools.pairwise(sorted(edges))))
    done: list[tuple[float, float, Array]] = []
    for halving in range(_HALVINGS + 1):
        middle, half = todo.mean(axis=1), np.diff(todo, axis=1)[:, 0] / 2
        values = function((middle[:, None] + half[:, None] * points).ravel()).reshape(-1, _DEGREE + 1)
        coefficients = values @ to_coefficients.T
        error = np.abs(coefficients[:, -3:]).sum(axis=1) * weigh(values).max(axis=1)
        fine = (error <= _TOLERANCE) | (half <= 0.25) | (halving == _HALVINGS)
        fine |= len(done) + 2 * len(todo) > _PIECES
        done += zip(middle[fine], half[fine], coefficients[fine], strict=True)
        left, centre = todo[~fine], middle[~fine]
        if not centre.size:
            break
        todo = np.concatenate([np.stack([left[:, 0], centre], axis=1), np.stack([centre, left[:, 1]], axis=1)])
    done.sort(key=lambda piece: float(piece[0]))
    middles, halves, series = (np.array(part) for part in zip(*done, strict=True))

    def value(x: Array) -> Array:
        piece = np.searchsorted((middles + halves)[:-1], x)
        at = (x - middles[piece]) / halves[piece]
        return np.asarray(chebyshev.chebval(at, series[piece].T, tensor=False))

    return value
