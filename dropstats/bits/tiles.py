"""Tiles of random words: the masks of some columns of a layer.

Words are laid out (slice, column, row): a column is 64 neurons, a row a mask. So a mask's count adds contiguous runs, a
neuron's p is constant along a run, and carry-save adders add the slices. Of a layer of 32 neurons or fewer a word holds
several masks, side by side in lanes of 8, 16 or 32 neurons.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dropstats.bits.sources import ALL, Digits, Table, Words, pack, table_of

# Words of a slice, slices of a tile: to start an operation takes NumPy 0.4 us, a draw 4 us, which should stay below the
# 2 and 120 us that 2^13 and 2^16 words take, while what is worked on stays in or near an L2 cache of 1 MiB.
_SLICE, _SLICES = 2**13, 8
# Columns of a tile: with 512, runs along rows are at least 16 words, and a count of 512 * 64 neurons fits in 16 bits.
_COLUMNS = 2**9
# A p of more digits than this is looked up in a table (0.20 ns a neuron; 0.04 a digit) ...
_SHORT = 4
# ... if there are words enough to pay for making the table (0.2 ms).
_WORTH_A_TABLE = 2**12


class Chunk:
    """Up to 512 columns of a layer: draws tiles of words, of a layer of few neurons with several masks a word."""

    def __init__(self, rates: NDArray[np.float64], masks: int, lane: int = 64) -> None:
        self.neurons: int = rates.shape[0]
        self.columns: int = -(-self.neurons // 64)
        self.lane: int = lane
        self.each: int = 64 // lane
        self.words: int = -(-masks // self.each)  # of a column
        # a power of two, so that halves can be added until few are left
        self.rows: int = 2 ** min((_SLICE // self.columns).bit_length() - 1, max(self.words, 1).bit_length())
        places = np.arange(self.columns * 64)
        self.tail: np.uint64 = pack((places % lane if self.each > 1 else places) < self.neurons)[-1, 0]
        self.masks = masks
        self.source: Digits | Table
        if rates.strides == (0,):
            self.source = Digits(np.asarray(rates[0]))
            long = not self.source.exact or len(self.source.planes) > _SHORT
            if long and self.words * self.columns >= _WORTH_A_TABLE:
                self.source = table_of(float(rates[0]))
        else:
            padded = np.zeros((self.each, self.columns * 64 // self.each))
            padded[:, : self.neurons] = rates
            self.source = Digits(padded.reshape(-1))

    def tiles(self, generator: np.random.Generator) -> Iterator[tuple[int, Words]]:
        """Yield (first mask, words of shape (slices, columns, rows)) for all masks in turn; bits set are dropped."""
        word = 0
        while word < self.words:
            left = self.words - word
            slices = min(_SLICES, left // self.rows)
            shape = (slices, self.columns, self.rows) if slices else (1, self.columns, left)
            words = self.source.fill(generator, shape)
            if self.tail != ALL:
                words[:, -1] &= self.tail
            if self.each > 1 and shape[0] * shape[2] == left:  # no mask after the last one
                words.reshape(-1).view(np.uint8)[(self.masks - word * self.each) * self.lane // 8 :] = 0
            yield word * self.each, words
            word += shape[0] * shape[2]


def lane_of(n: int) -> int:
    """Return the bits of a word that a mask of n neurons takes up: 8, 16 or 32 of a few, else all of a column's."""
    return next((lane for lane in (8, 16, 32) if 0 < n <= lane), 64)


def chunks(rates: NDArray[np.float64], masks: int) -> Iterator[tuple[int, Chunk]]:
    """Yield (first neuron, chunk) of a layer."""
    # glibc gives freed arrays of over 128 KiB back to the system, and faulting in the next takes as long as filling it;
    # once one of a few MiB has been freed, it keeps smaller ones.
    np.empty(2**22, np.uint8)
    step = 64 * _COLUMNS
    for start in range(0, rates.shape[0], step):
        yield start, Chunk(rates[start : start + step], masks, lane_of(rates.shape[0]))
