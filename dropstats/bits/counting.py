"""Counts of set bits at each place of a word, over many words."""

import numpy as np
from numpy.typing import NDArray

from dropstats.bits.sources import Words


class ColumnSums:
    """Counts of set bits at each place of a word, over many words: vertical counters by carry-save adders.

    A level holds planes of words whose bits count 2^level. Three of a level become one of it and one of the next in
    five operations, which is what a word costs in all; none is unpacked before the end.

    Source: W. Mula, N. Kurz, D. Lemire (2018). Faster population counts using AVX2 instructions. The Computer
    Journal 61, 111-120. doi:10.1093/comjnl/bxx046 (Harley-Seal)
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self.totals: list[Words] = []
        self.waiting: list[Words | None] = []

    def add(self, plane: Words, level: int = 0) -> None:
        """Add a plane of shape (columns, rows), which is then used as working space."""
        while True:
            if level == len(self.totals):
                self.totals.append(np.zeros((self.columns, self.rows), np.uint64))
                self.waiting.append(None)
            total, other = self.totals[level], self.waiting[level]
            if other is None:
                self.waiting[level] = plane
                return
            carry = total & other
            other ^= total
            np.bitwise_xor(other, plane, out=total)
            plane &= other
            carry |= plane
            self.waiting[level] = None
            plane, level = carry, level + 1

    def sums(self) -> NDArray[np.int64]:
        """Return the counts, of shape (64 * columns,)."""
        nothing = np.zeros((self.columns, self.rows), np.uint64)
        if not self.totals:
            return np.zeros(64 * self.columns, np.int64)
        planes = _add(self.totals, [nothing if plane is None else plane for plane in self.waiting])
        while planes[0].shape[1] > 8:  # from there on, unpacking is cheaper than halving
            half = planes[0].shape[1] // 2
            planes = _add([plane[:, :half] for plane in planes], [plane[:, half:] for plane in planes])
        bits = np.unpackbits(np.stack(planes).view(np.uint8).reshape(len(planes), self.columns, -1, 8), axis=-1)
        digits = np.add.reduce(bits, axis=2, dtype=np.uint8).astype(np.int64).reshape(len(planes), -1)
        total: NDArray[np.int64] = np.add.reduce(digits << np.arange(len(planes))[:, None], axis=0)
        return total


def _add(x: list[Words], y: list[Words]) -> list[Words]:
    """Add numbers held vertically, lowest digit first: word i of digit k is digit k of 64 numbers."""
    carry = np.zeros_like(x[0])
    total = []
    for a, b in zip(x, y, strict=True):
        odd = a ^ b
        total.append(odd ^ carry)
        carry = (a & b) | (odd & carry)
    return [*total, carry]
