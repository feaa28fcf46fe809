"""The different drop probabilities of a law, and how many neurons have each."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dropstats.counts.odds import gathered

Array = NDArray[np.float64]


class RateCounts:
    """The different drop probabilities `p`, rising, and the `number` of neurons that have each; a value, like a tuple.

    Going through them yields pairs (p, number).
    """

    p: Array
    number: Array

    def __init__(self, p: Array, number: NDArray[np.int64]) -> None:
        """`p` in any order, each any number of times."""
        self.p, self.number = gathered(p, number)

    @property
    def n(self) -> int:
        """Number of neurons."""
        return int(self.number.sum())

    def __len__(self) -> int:
        return self.p.size

    def __iter__(self) -> Iterator[tuple[float, int]]:
        return zip(self.p.tolist(), map(int, self.number.tolist()), strict=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RateCounts):
            return NotImplemented
        return np.array_equal(self.p, other.p) and np.array_equal(self.number, other.number)

    def __hash__(self) -> int:
        return hash((self.p.tobytes(), self.number.tobytes()))

    def __repr__(self) -> str:
        return repr(tuple(self)) if len(self) <= 3 else f"({len(self)} rates of {self.n} neurons)"
