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
    height, width = _sides(series.size // 2)
    matrix = series.view(np.complex64).reshape(height, width)
    matrix = fft.fft(matrix, axis=0, overwrite_x=True)
    _twist(matrix, -1)
    matrix = fft.fft(matrix, axis=1, overwrite_x=True)
    _square(matrix)
    matrix = fft.ifft(matrix, axis=1, overwrite_x=True)
    _twist(matrix, 1)
    matrix = fft.ifft(matrix, axis=0, overwrite_x=True)
    return np.asarray(matrix.reshape(-1).view(np.float32)[: series.size // 2 + 1])


def _sides(size: int) -> tuple[int, int]:
    """Return two factors of a smooth number, as nearly equal as can be."""
    height = next(factor for factor in range(math.isqrt(size), 0, -1) if size % factor == 0)
    return height, size // height


def _twist(matrix: NDArray[np.complex64], sign: int) -> None:
    """Multiply entry (k, j) by exp(sign 2 pi i k j / size), the step between columns and rows."""
    width = matrix.shape[1]
    unit = sign * 2j * np.pi / matrix.size
    near, far = np.arange(_TABLE), np.arange(0, width, _TABLE)
    for k, row in enumerate(matrix):
        factors = np.exp(unit * k * far).astype(np.complex64)[:, None] * np.exp(unit * k * near).astype(np.complex64)
        row *= factors.reshape(-1)[:width]


def _square(matrix: NDArray[np.complex64]) -> None:
    """Replace the transform of pairs of numbers by that of the pairs of their autocorrelation.

    With Z[f] the transform of x_(2t) + i x_(2t + 1), f = k + height j at entry (k, j), M of them, and R[f] = Z[M - f],
    that of the autocorrelation is E + i D exp(i a) at f and E + i D exp(-i a) at M - f, where a = pi f / M,
    E = (|Z|^2 + |R|^2) / 2 and D = cos(a) Im(Z R) - sin(a) (|Z|^2 - |R|^2) / 2.
    """
    height, width = matrix.shape
    turn = np.exp(1j * np.pi / width * np.arange(width))
    for k in range(height // 2 + 1):
        other = matrix[-k % height]
        z, r = matrix[k], np.roll(other[::-1], 1) if k == 0 else other[::-1]
        a = (turn * np.exp(1j * np.pi * k / matrix.size)).astype(np.complex64)
        first, second = np.square(z.real) + np.square(z.imag), np.square(r.real) + np.square(r.imag)
        even = (first + second) / 2
        odd = a.real * (z.real * r.imag + z.imag * r.real) - a.imag * (first - second) / 2
        at, across = even - odd * a.imag, even + odd * a.imag
        imaginary = odd * a.real
        if k:  # of the row across, which is this one where k = height / 2, the entries in reverse
            other.real, other.imag = across[::-1], imaginary[::-1]
        z.real, z.imag = at, imaginary
