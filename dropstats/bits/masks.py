"""Masks of independent neurons, and their counts, from tiles of random words."""

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.bits.counting import ColumnSums
from dropstats.bits.tiles import chunks, lane_of


def count_drops(
    rates: NDArray[np.float64], masks: int, generator: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the number of dropped neurons in each of so many masks, and how often each neuron was dropped.

    They are the sums of what `packed_masks` returns for the same generator.
    """
    counts = np.zeros(masks, np.intp)
    drops = np.empty(rates.shape[0], np.int64)
    for start, chunk in chunks(rates, masks):
        sums = ColumnSums(chunk.columns, chunk.rows)
        for mask, words in chunk.tiles(generator):
            if chunk.each > 1:
                ones = np.bitwise_count(words.reshape(-1).view(f"u{chunk.lane // 8}"))[: masks - mask]
                counts[mask : mask + ones.size] = ones
            else:
                ones = np.add.reduce(np.bitwise_count(words), axis=1, dtype=np.uint16).reshape(-1)
                counts[mask : mask + ones.size] += ones
            rows = words.shape[2]
            if rows < chunk.rows:
                words = np.pad(words, ((0, 0), (0, 0), (0, chunk.rows - rows)))
            for plane in words:
                sums.add(plane)
        of_lanes = sums.sums().reshape(chunk.each, -1)
        drops[start : start + chunk.neurons] = of_lanes.sum(axis=0)[: chunk.neurons]
    return counts, drops


def packed_masks(rates: NDArray[np.float64], masks: int, rng: _validate.RNG = None) -> NDArray[np.uint8]:
    """Return random masks of independent neurons, eight neurons a byte as by ``np.packbits(masks, axis=1)``.

    Parameters
    ----------
    rates : ndarray, shape (n,)
        Probability that a neuron is dropped, such as ``law.rates`` of a layer, or of a network of layers.
    masks : int
        Number of masks.
    rng : None, int, SeedSequence or Generator
        Source of randomness; the same one gives the same masks.

    Returns
    -------
    ndarray of uint8, shape (masks, ceil(n / 8))
        A set bit keeps a neuron, as 1 does in a mask; the bits after the last neuron are 0.

    Examples
    --------
    >>> from dropstats import Layer
    >>> packed = packed_masks(Layer(100, 0.1).rates, 3, rng=0)
    >>> packed.shape, np.unpackbits(packed, axis=1, count=100).shape
    ((3, 13), (3, 100))
    """
    generator = _validate.generator(rng)
    n = rates.shape[0]
    lane = lane_of(n)
    packed = np.empty((masks, -(-n // lane) * lane // 8), np.uint8)
    for start, chunk in chunks(rates, masks):
        for mask, words in chunk.tiles(generator):
            np.invert(words, out=words)
            words[:, -1] &= chunk.tail
            width = chunk.columns * lane // 8
            rows = np.ascontiguousarray(words.transpose(0, 2, 1)).reshape(-1).view(np.uint8).reshape(-1, width)
            packed[mask : mask + len(rows), start // 8 : start // 8 + width] = rows[: masks - mask]
    return packed[:, : -(-n // 8)]


def kept_masks(rates: NDArray[np.float64], masks: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return masks of shape (masks, n), True where a neuron is kept."""
    return np.unpackbits(packed_masks(rates, masks, generator), axis=1, count=rates.shape[0]).view(np.bool_)
