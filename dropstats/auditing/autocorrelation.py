"""Autocorrelation of a long series, by Fourier transforms that stay in a cache."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Series = NDArray[np.float32]

# Shorter series fit in a cache, and are transformed as one.
_LONG = 2**21
# Factors of a row are outer products of tables of so many.
_TABLE = 64
# Rows that are worked on together with those across.
_ROWS = 16


def length_for(size: int) -> int:
    """Return the smallest even, smooth length of a series that holds `size` numbers."""
    return int(2 * fft.next_fast_len(-(-size // 2), real=True))


def autocorrelation(series: Series) -> Series:
    """Return the circular autocorrelation sums of a series of even length at lags 0 to length / 2; it is overwritten.

    The sum at lag k is that of x_t x_(t + k). A long series is taken as complex numbers, two values each, in a matrix,
    whose columns and rows are transformed in turn (the four-step transform), six times as fast as a single transform of
    5e7 numbers, which goes through main memory with each of its factors.

    Notes
    -----
    D. H. Bailey (1990). FFTs in external or hierarchical memory. Journal of Supercomputing 4, 23-35.
    doi:10.1007/BF00162341
    """
    if series.size < _LONG:
        transform: Any = fft.rfft(series)
        power = np.square(transform.real) + np.square(transform.imag)
        return np.asarray(fft.irfft(power, series.size)[: series.size // 2 + 1], dtype=np.float32)
    matrix = series.view(np.complex64).reshape(_sides(series.size // 2))
    matrix = fft.fft(matrix, axis=0, overwrite_x=True)
    _square_by_rows(matrix)
    matrix = fft.ifft(matrix, axis=0, overwrite_x=True)
    return np.asarray(matrix.reshape(-1).view(np.float32)[: series.size // 2 + 1])


def _sides(size: int) -> tuple[int, int]:
    """Return two factors of a smooth number, as nearly equal as can be."""
    height = next(factor for factor in range(math.isqrt(size), 0, -1) if size % factor == 0)
    return height, size // height


def _factors(rows: Any, matrix: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return exp(-2 pi i k j / size) for some rows k and all columns j: the step between columns and rows."""
    unit = np.asarray(rows)[:, None] * (-2j * np.pi / matrix.size)
    far, near = np.exp(unit * np.arange(0, matrix.shape[1], _TABLE)), np.exp(unit * np.arange(_TABLE))
    factors = far.astype(np.complex64)[:, :, None] * near.astype(np.complex64)[:, None, :]
    return np.asarray(factors.reshape(len(unit), -1)[:, : matrix.shape[1]])


def _square_by_rows(matrix: NDArray[np.complex64]) -> None:
    """Replace transforms of columns by those of the columns of the autocorrelation, a few rows at a time.

    Row height - k holds the frequencies across from those of row k, in reverse, so both are worked on together: what
    is left of the transform is done, squared and undone while they are in a cache.
    """
    height, width = matrix.shape
    several, step = _factors(range(_ROWS), matrix), _factors([height], matrix)
    angles = np.exp(1j * np.pi / width * np.arange(width))
    for first in (0, *range(1, height // 2 + 1, _ROWS)):
        count = min(_ROWS, height // 2 + 1 - first) if first else 1
        factors = _factors([first], matrix) * several[:count]
        rows, across = matrix[first : first + count], matrix[height - first : height - first - count : -1]
        z = fft.fft(rows * factors, axis=1, overwrite_x=True)
        turns = np.exp(1j * np.pi / matrix.size * np.arange(first, first + count))[:, None]
        turns = (turns * angles).astype(np.complex64)
        if first:
            of_across = step * factors.conj()
            r = fft.fft(across * of_across, axis=1, overwrite_x=True)[:, ::-1]
        else:
            r = np.roll(z[:, ::-1], 1, axis=1)
        _square(z, r, turns)
        if first:  # before the rows themselves: the middle one of an even number is across from itself
            np.multiply(fft.ifft(r[:, ::-1], axis=1), of_across.conj(), out=across)
        np.multiply(fft.ifft(z, axis=1, overwrite_x=True), factors.conj(), out=rows)


def _square(z: NDArray[np.complex64], r: NDArray[np.complex64], turns: NDArray[np.complex64]) -> None:
    """Replace the transform of pairs of numbers by that of the pairs of their autocorrelation.

    With Z[f] the transform of x_(2t) + i x_(2t + 1), M of them, and R[f] = Z[M - f], that of the autocorrelation is
    E + i D exp(i a) at f and E + i D exp(-i a) at M - f, where a = pi f / M, E = (|Z|^2 + |R|^2) / 2 and
    D = cos(a) Im(Z R) - sin(a) (|Z|^2 - |R|^2) / 2.
    """
    zr, zi, rr, ri, cos, sin = (np.ascontiguousarray(x) for y in (z, r, turns) for x in (y.real, y.imag))
    product = zr * ri + zi * rr
    first, second = zr * zr + zi * zi, rr * rr + ri * ri
    even, half = (first + second) * np.float32(0.5), (first - second) * np.float32(0.5)
    odd = cos * product - sin * half
    sin *= odd
    cos *= odd
    np.subtract(even, sin, out=z.real)
    np.add(even, sin, out=r.real)
    z.imag = r.imag = cos
