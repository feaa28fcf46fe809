"""Masks as 64-bit words, the first neuron in the highest bit of the first word: read, counted, shifted."""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.recording import arrays

Words = NDArray[np.uint64]
Bits = NDArray[np.bool_]

WORD = 64


def pack(bits: Any) -> Words:
    """Return bits of shape (..., n) as words of shape (..., ceil(n / 64)), padded with zeros."""
    return from_bytes(np.packbits(bits, axis=-1))


def from_bytes(packed: NDArray[np.uint8]) -> Words:
    """Return the words of bits packed as by `numpy.packbits`."""
    spare = -packed.shape[-1] % 8
    if spare:
        packed = np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, spare)])
    return np.ascontiguousarray(packed).view(">u8").astype(np.uint64)


def unpack(words: Words, n: int) -> NDArray[np.uint8]:
    """Return the first n bits along the last axis, one a byte."""
    return np.unpackbits(words.astype(">u8").view(np.uint8), axis=-1, count=n)


def count(words: Words) -> NDArray[np.int64]:
    """Return the number of set bits along the last axis."""
    # sums of uint32 take two thirds of the time of int64's
    dtype = np.uint32 if words.shape[-1] < 2**26 else np.int64
    sums: NDArray[Any] = np.add.reduce(np.bitwise_count(words), axis=-1, dtype=dtype)
    return sums.astype(np.int64)


def shift(words: Words, places: int, out: Words) -> None:
    """Write to `out` rows of words with their bits moved to the right by so many places; zeros move in."""
    whole, rest = divmod(places, WORD)
    kept = words.shape[-1] - whole
    out[:, :whole] = 0
    np.right_shift(words[:, :kept], np.uint64(rest), out=out[:, whole:])
    if rest:
        out[:, whole + 1 :] |= words[:, : kept - 1] << np.uint64(WORD - rest)


def masks(value: Any, n: int, most: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the masks in an array of any library, packed as by `numpy.packbits`, at most so many at a time.

    Accepted are one mask or several, (k, n), of 0 and 1; of one mask, or of several, also any other shape of n numbers
    each; and uint8 of shape (ceil(n / 8),) or (k, ceil(n / 8)), read as packed.
    """
    array = arrays.array(value)
    dtype, shape = arrays.dtype(array), tuple(map(int, array.shape))
    width = -(-n // 8)
    if dtype == "uint8" and len(shape) in (1, 2) and shape[-1] == width != n:
        packed = arrays.host(array).reshape(-1, width)
        if n % 8 and (packed[:, -1] & np.uint8(255 >> n % 8)).any():
            raise ValueError(f"packed masks must have zeros after the last of {n} neurons; got other bits there")
        yield from (packed[start : start + most] for start in range(0, packed.shape[0], most))
        return
    if not dtype.startswith(("bool", "int", "uint", "float", "bfloat")):
        raise TypeError(f"masks must be booleans, or 0 and 1; got dtype {dtype}")
    one = prod(shape) == n
    if not (one or (len(shape) > 1 and prod(shape) == shape[0] * n)):
        raise ValueError(f"masks must have shape ({n},) or (k, {n}); got shape {shape}")
    rows = array[None] if one else array
    for start in range(0, int(rows.shape[0]), most):
        yield np.packbits(_bits(arrays.flat(rows[start : start + most]), start), axis=1)


def _bits(values: Any, first: int) -> Bits:
    if arrays.dtype(values) == "bool":
        return arrays.host(values)
    wrong = arrays.host((values != 0) & (values != 1))  # NaN is wrong too
    if wrong.any():
        row, column = map(int, np.argwhere(wrong)[0])
        number = float(arrays.floats(values[row, column]))
        raise ValueError(
            f"masks must hold 0 (dropped) and 1 (kept) only; got {number!r} at index {(first + row, column)}; "
            "of dropout's outputs give y != 0"
        )
    return arrays.host(values != 0)
