"""Formats of floating-point numbers: what a number becomes in each, correctly rounded.

Names are those of NumPy, ml_dtypes and torch. Formats differ in three numbers and in what is beyond their largest one.
"""

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Format:
    digits: int  # binary digits of the significand, the leading one included
    lowest: int  # exponent of the smallest normal number, 2^lowest
    largest: float
    infinite: bool = True  # whether numbers beyond the largest one become infinite; NaN otherwise


# IEEE 754-2019 for the first three; OCP 8-bit floating point (2023) for e5m2 and e4m3fn. "fn": no infinities;
# "uz": no negative zero; "b11": the bias of the exponent.
_FORMATS = {
    "float64": _Format(53, -1022, (2 - 2.0**-52) * 2.0**1023),
    "float32": _Format(24, -126, (2 - 2.0**-23) * 2.0**127),
    "float16": _Format(11, -14, 65504.0),
    "bfloat16": _Format(8, -126, (2 - 2.0**-7) * 2.0**127),
    "float8_e3m4": _Format(5, -2, 15.5),
    "float8_e4m3": _Format(4, -6, 240.0),
    "float8_e4m3fn": _Format(4, -6, 448.0, infinite=False),
    "float8_e4m3fnuz": _Format(4, -7, 240.0, infinite=False),
    "float8_e4m3b11fnuz": _Format(4, -10, 30.0, infinite=False),
    "float8_e5m2": _Format(3, -14, 57344.0),
    "float8_e5m2fnuz": _Format(3, -15, 57344.0, infinite=False),
}
DTYPES = tuple(_FORMATS)


def _format(dtype: str) -> _Format:
    if dtype not in _FORMATS:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    return _FORMATS[dtype]


def digits(dtype: str) -> int:
    """Return the number of binary digits of the dtype's significand, the leading one included.

    Examples
    --------
    >>> digits("float32"), digits("bfloat16"), digits("float8_e5m2")
    (24, 8, 3)
    """
    return _format(dtype).digits


def resolution(dtype: str) -> float:
    """Return the spacing of the dtype's numbers above 1, twice the largest relative rounding error.

    It is 0 for booleans and integers, which are exact.

    Examples
    --------
    >>> resolution("float16"), resolution("int64")
    (0.0009765625, 0.0)
    """
    return 0.0 if _exact(dtype) else 2.0 ** (1 - digits(dtype))


def smallest(dtype: str) -> float:
    """Return the smallest positive number of the dtype, the spacing of its numbers near 0; 0 for integers.

    Examples
    --------
    >>> smallest("float64"), smallest("float8_e4m3fn")
    (5e-324, 0.001953125)
    """
    return 0.0 if _exact(dtype) else 2.0 ** (_format(dtype).lowest + 1 - digits(dtype))


def _exact(dtype: str) -> bool:
    return dtype.startswith(("bool", "int", "uint"))


@overload
def rounded(values: float, dtype: str) -> float: ...
@overload
def rounded(values: Floats, dtype: str) -> Floats: ...
def rounded(values: float | Floats, dtype: str) -> float | Floats:
    """Return numbers as a dtype holds them: to nearest, ties to even, from the double itself.

    Parameters
    ----------
    values : float or ndarray of float64
    dtype : str
        One of `DTYPES`.

    Returns
    -------
    float or ndarray of float64
        Beyond the dtype's largest number infinite, or NaN where the dtype has no infinity.

    Raises
    ------
    ValueError
        If there is no such dtype.

    Examples
    --------
    >>> rounded(1 / 0.9, "bfloat16"), rounded(1 / 0.7, "float8_e4m3fn")
    (1.109375, 1.375)
    """
    form = _format(dtype)
    given = np.asarray(values, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # the exponent of the last digit that is kept; below the normal numbers it stays that of the smallest one
        last = np.maximum(np.frexp(given)[1], form.lowest + 1) - form.digits
        found = np.ldexp(np.rint(np.ldexp(given, -last)), last)
    beyond = np.copysign(np.inf, found) if form.infinite else np.nan
    found = np.where(np.abs(found) > form.largest, beyond, found)
    return float(found) if given.ndim == 0 else found
