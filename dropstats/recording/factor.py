"""The one factor from inputs to kept outputs, known as far as rounded products tell."""

import numpy as np
from numpy.typing import NDArray

from dropstats import formats
from dropstats._numerics import product_error

Floats = NDArray[np.float64]

# Roundings of a product, of half a spacing each, that are allowed for. One is the rule; three where the input was
# rounded first; beyond four it is not one factor.
_ROUNDINGS = np.arange(1.0, 5.0)[:, None]
# A number that is rounded to float32 first, and then to a narrower format, ends up to 2^-13 beyond half a spacing.
_TWICE = 1 + 2.0**-12


class Factor:
    """Bounds on the one real factor from inputs to kept outputs, which every pair narrows.

    An output y is x s, rounded: s lies between (y - h) / x and (y + h) / x, where h is half the spacing of the dtype's
    numbers at y. The intersection over all pairs holds s for certain, whatever s is; it is about as wide as the
    spacing over the number of pairs. Residuals y - x s are formed without rounding error, so this holds in float64 as
    well. Where the intersection is empty, products were rounded more than once: h counts twice, and so on.

    Parameters
    ----------
    dtype : str
        dtype of the outputs.
    roundings : int
        Roundings of each product at least.
    """

    pairs: int

    def __init__(self, dtype: str, roundings: int = 1) -> None:
        self.pairs = 0
        self._resolution = formats.resolution(dtype)
        self._least = formats.smallest(dtype) / self._resolution if self._resolution else 0.0
        self._start = roundings - 1
        self._near = 0.0  # an observed ratio; bounds are held relative to it
        self._low = np.full(_ROUNDINGS.shape[0], -np.inf)
        self._high = np.full(_ROUNDINGS.shape[0], np.inf)
        self._powers = True

    def add(self, x: Floats, y: Floats) -> None:
        """Narrow the bounds by pairs of finite inputs and kept outputs, neither of them 0."""
        normal = np.minimum(np.abs(x), np.abs(y)) >= self._least  # subnormal numbers have few digits
        if normal.any():
            x, y = x[normal], y[normal]
        self.pairs += x.size
        mantissa, exponent = np.frexp(np.abs(x))
        y = np.ldexp(np.copysign(1.0, x) * y, -exponent)
        if not self._near:
            ratios = np.sort(y / mantissa)
            self._near = float(ratios[ratios.size // 2])
        half = self._resolution * np.ldexp(0.25, np.frexp(y)[1]) * _TWICE
        residual = _residual(y, mantissa, self._near)
        # others are no product of this factor; `_near` itself may be two half spacings off
        fits = np.abs(residual) <= (_ROUNDINGS[-1] + 2) * half
        residual, half, mantissa = residual[fits], half[fits], mantissa[fits]
        if not residual.size:
            return
        self._powers = self._powers and bool((mantissa == 0.5).all())
        self._low = np.maximum(self._low, ((residual - _ROUNDINGS * half) / mantissa).max(axis=1))
        self._high = np.minimum(self._high, ((residual + _ROUNDINGS * half) / mantissa).min(axis=1))

    def value(self) -> tuple[float, float]:
        """Return the factor and its relative uncertainty, that of a double that is compared with it included.

        Where all inputs are powers of two, products are as exact as the factor in the outputs' dtype: 0.
        """
        if self._powers or not self._near:
            return self._near, 0.0
        for low, high in zip(self._low[self._start :], self._high[self._start :], strict=True):
            if low <= high:
                middle = 0.0 if low <= 0 <= high else float(low + high) / 2
                least = min(abs(self._near + low), abs(self._near + high))  # relative to any factor between them
                # both the factor and what it is compared with are real numbers rounded to a double
                return self._near + middle, float(max(high - middle, middle - low) / least + 2 * 2.0**-53)
        return self._near, self._resolution


def _residual(y: Floats, x: Floats, factor: float) -> Floats:
    """Return y - x * factor, exact but for one rounding where they are nearly equal."""
    product = x * factor
    return np.asarray((y - product) - product_error(x, factor, product))
