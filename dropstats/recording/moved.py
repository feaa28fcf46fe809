"""Kept values that belong to other neurons: in which order of its axes the input was read, or the output written."""

from collections.abc import Iterator
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from dropstats import formats

Shape = tuple[int, ...]
Floats = NDArray[np.float64]

# Neurons of a call at most, and axes longer than 1, among which an order is looked for.
LARGEST, _AXES = 2**20, 5
# Fewest kept values that tell one order from another; and as many are looked at first.
_FEWEST, _FIRST = 8, 64


def order(x: Floats, y: Floats, shape: Shape, dtype: str) -> tuple[Shape, Shape] | None:
    """Return a shape and axes such that kept outputs are one factor times x.reshape(shape).transpose(axes).

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
        Inputs and outputs of one call; outputs that are 0 are dropped.
    shape : tuple of int
        Shape of a mask. One axis is taken for any two whose product it is.
    dtype : str
        dtype of the outputs.

    Returns
    -------
    tuple or None
        None where no order fits, or too few neurons were kept to tell.

    Examples
    --------
    >>> x = np.arange(1.0, 13.0)
    >>> order(x, 2 * x.reshape(3, 4).T.reshape(-1), (12,), "float64")
    ((3, 4), (1, 0))
    """
    kept = np.flatnonzero((y != 0) & np.isfinite(y))
    if kept.size < _FEWEST or x.size > LARGEST:
        return None
    tolerance = 4 * formats.resolution(dtype) + 2.0**-50
    for one, axes in _orders(shape):
        source = x.reshape(one).transpose(axes).reshape(-1)
        if all(_fits(source[some], y[some], tolerance) for some in (kept[:_FIRST], kept)):
            return one, axes
    return None


def _fits(x: Floats, y: Floats, tolerance: float) -> bool:
    """Return whether outputs are one factor times inputs, within rounding."""
    if not (x != 0).all() or not np.isfinite(x).all():
        return False
    ratios = y / x
    return bool(np.ptp(ratios) <= tolerance * abs(ratios[0]))


def _orders(shape: Shape) -> Iterator[tuple[Shape, Shape]]:
    """Yield shapes and orders of their axes other than that of memory: of the input as it is, and of the output."""
    axes_of = tuple(length for length in shape if length > 1)
    if len(axes_of) == 1:
        n = axes_of[0]
        yield from (((k, n // k), (1, 0)) for k in range(2, n // 2 + 1) if n % k == 0)
    elif len(axes_of) <= _AXES:
        for axes in list(permutations(range(len(axes_of))))[1:]:
            yield axes_of, axes
            inverse = tuple(int(axis) for axis in np.argsort(axes))
            yield tuple(axes_of[axis] for axis in axes), inverse
