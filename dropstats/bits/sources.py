"""Exact packed Bernoulli(p) bits: 64 neurons a word, each dropped with probability exactly p.

A double p is a finite binary fraction, so a comparison of p with a random binary fraction u, drawn as far as needed,
decides "dropped" (u < p) with probability p itself, not p rounded to some number of bits. Two ways lead there:

- `Digits` compares 64 neurons at a time, digit by digit: one random word a digit. After 8 digits one neuron in 256
  is undecided; these few are compared with 64 digits more, and so on while a tie lasts. It serves a p of its own for
  each neuron, a p of few digits (one word at p = 0.5), and small samples.
- `Table` looks up the pattern of 8 neurons at a random 16-bit index, and draws the 0.2 % that fall on the table's
  remainder exactly. It serves one p for many neurons: two random bits a neuron instead of eight.

Words come from ``Generator.integers``, which fills 64 bits with any BitGenerator (``random_raw`` of MT19937 fills 32)
and lets other threads run.
"""

import sys
from functools import lru_cache
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Shape = tuple[int, int, int]

_ONE, ALL = np.uint64(1), np.uint64(2**64 - 1)
_DRAWN = 2  # slices whose digits are drawn at once
# Digits compared by words, the undecided one by one: 7, 8, 9, 10 took 0.49, 0.47, 0.48, 0.51 ns a neuron of own p.
_PREFIX = 8
_PATTERN = 8  # neurons of a pattern: with 16, the remainder grows from 0.2 % to 24 % at p = 0.3
_LOOKUPS = 2**14  # indices widened at a time: 128 KiB
INDICES = 2**16

# bit b of a native word -> the neuron's place among the 64 of np.packbits' bytes, which have the first neuron on top
_PLACE = np.arange(64) ^ 7 if sys.byteorder == "little" else 63 - np.arange(64)
_PATTERNS = np.argsort(np.bitwise_count(np.arange(2**_PATTERN, dtype=np.uint8)), kind="stable").astype(np.uint8)
_PATTERNS_OF_WEIGHT = [comb(_PATTERN, weight) for weight in range(_PATTERN + 1)]


def random_words(generator: np.random.Generator, size: int) -> Words:
    """Return so many random words."""
    return generator.integers(0, 2**64 - 1, size, dtype=np.uint64, endpoint=True)


def _random_indices(generator: np.random.Generator, size: int) -> NDArray[np.uint16]:
    return random_words(generator, -(-size // 4)).view(np.uint16)[:size]


def _split(x: NDArray[np.float64], digits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first binary digits of x in [0, 1) as an integer, and the fraction after them; both exact."""
    scaled = np.ldexp(x, digits)
    whole = np.floor(scaled)
    return whole, scaled - whole


def bernoulli(p: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return independent bits, True with probability exactly p, for an array of p in [0, 1).

    A random binary fraction is extended by 64 digits as long as it ties with p's, up to the last digit of p.
    """
    less = np.zeros(p.shape, np.bool_)
    tied, rest = np.flatnonzero(p), p[p > 0]
    while tied.size:
        whole, rest = _split(rest, 64)
        digits, word = whole.astype(np.uint64), random_words(generator, tied.size)
        less[tied] = word < digits
        still = (word == digits) & (rest > 0)
        tied, rest = tied[still], rest[still]
    return less


def pack(flags: NDArray[np.bool_]) -> Words:
    """Pack flags of neurons, a multiple of 64 of them, to a column of words."""
    return np.packbits(flags).view(np.uint64).reshape(-1, 1)


class Digits:
    """Random words by comparison with p's digits; p a number, or one per neuron of a multiple of 64 neurons."""

    def __init__(self, p: NDArray[np.float64]) -> None:
        self.scalar: bool = p.ndim == 0
        certain = p == 1
        prefix, rest = _split(np.where(certain, 0.0, p), _PREFIX)
        undecided = rest > 0
        self.exact: bool = not undecided.any()
        # the 64 digits after the prefix, and what follows these, in the order of a word's bits
        following, beyond = _split(self._by_lane(rest), 64)
        self.following: Words = following.astype(np.uint64)
        self.beyond: NDArray[np.float64] = beyond
        digits = prefix.astype(np.int64)
        last = int(np.bitwise_or.reduce(digits, axis=None)) if self.exact else 1
        skipped = (last & -last).bit_length() - 1 if last else _PREFIX  # digits that are 0 from there on
        self.planes: list[Words | np.uint64] = [
            self._words((digits >> place) & 1 == 1) for place in range(skipped, _PREFIX)
        ]
        self.undecided: Words | np.uint64 = self._words(undecided)
        self.certain: Words | np.uint64 | None = self._words(certain) if certain.any() else None

    def _by_lane(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self.scalar else values.reshape(-1, 64)[:, _PLACE].reshape(-1)

    def _words(self, flags: NDArray[np.bool_]) -> Words | np.uint64:
        if self.scalar:
            return ALL if flags else np.uint64(0)
        return pack(flags)

    def fill(self, generator: np.random.Generator, shape: Shape) -> Words:
        """Return random words of the given shape; neuron dropped = bit set."""
        if not self.planes:
            dropped = np.zeros(shape, np.uint64)
        elif len(self.planes) == 1 and self.scalar:  # p = 0.5: the random words themselves
            dropped = random_words(generator, prod(shape)).reshape(shape)
        else:
            dropped = self._compare(generator, shape)
        if self.certain is not None:
            dropped |= self.certain
        return dropped

    def _compare(self, generator: np.random.Generator, shape: Shape) -> Words:
        # From the last digit of the prefix to the first: where u differs from p, u < p if p's digit is 1, and what
        # later digits said no longer counts. "Differs" has probability 1/2 whatever p's digit, so it is drawn itself.
        depth = len(self.planes)
        dropped = np.empty(shape, np.uint64)
        decided = np.empty(shape, np.uint64)
        change = np.empty((_DRAWN, *shape[1:]), np.uint64)
        for start in range(0, shape[0], _DRAWN):
            part = dropped[start : start + _DRAWN]
            differs = random_words(generator, depth * part.size).reshape(depth, *part.shape)
            seen = decided[start : start + _DRAWN]
            if not self.exact:
                np.bitwise_or(differs[0], differs[1], out=seen)
            np.bitwise_and(differs[0], self.planes[0], out=part)
            for plane, differ in zip(self.planes[1:], differs[1:], strict=True):
                if not self.exact:
                    seen |= differ
                np.bitwise_xor(part, plane, out=change[: part.shape[0]])
                differ &= change[: part.shape[0]]
                part ^= differ
        if not self.exact:
            np.invert(decided, out=decided)
            decided &= self.undecided
            self._resolve(generator, dropped, decided)
        return dropped

    def _resolve(self, generator: np.random.Generator, dropped: Words, undecided: Words) -> None:
        """Compare the undecided lanes with the digits after the prefix, one lane of each word at a time."""
        _, columns, rows = dropped.shape
        flat = dropped.reshape(-1)
        where = np.flatnonzero(undecided != 0)
        words = undecided.reshape(-1).take(where)
        column = where // rows  # by divisions alone: NumPy's % takes ten times as long as its //
        column -= column // columns * columns
        column *= 64
        while where.size:
            lane = words & np.negative(words)  # the lowest of them
            neuron = None if self.scalar else column + np.bitwise_count(lane - _ONE)
            digits = self.following if neuron is None else self.following.take(neuron)
            word = random_words(generator, where.size)
            less = word < digits
            tie = np.flatnonzero(word == digits)
            if tie.size:
                rest = np.broadcast_to(self.beyond, tie.shape) if neuron is None else self.beyond[neuron[tie]]
                less[tie] = bernoulli(rest, generator)
            flat[where] |= lane * less
            words ^= lane
            more = np.flatnonzero(words != 0)
            where, words, column = where.take(more), words.take(more), column.take(more)


class Table:
    """Random words by looking up patterns of 8 neurons in a table with an exact remainder.

    A pattern with k dropped neurons has probability P = p^k (1 - p)^(8 - k), a fraction of two integers. It gets
    floor(2^16 P) of the 2^16 places of a table. An index beyond the table's end, of which there are fewer than 256,
    stands for the remainder: what the floors cut off, itself a distribution of fractions, drawn by the same means.

    Source: G. Marsaglia, W. W. Tsang, J. Wang (2004). Fast generation of discrete random variables. Journal of
    Statistical Software 11(3). doi:10.18637/jss.v011.i03
    """

    def __init__(self, p: float) -> None:
        numerator, denominator = p.as_integer_ratio()
        # of a pattern by its weight, in units of their sum over all patterns
        other = denominator - numerator
        self.weights: tuple[int, ...] = tuple(numerator**k * other ** (_PATTERN - k) for k in range(_PATTERN + 1))
        self.stages: dict[int, tuple[NDArray[np.uint8], tuple[int, ...]]] = {}

    def stage(self, index: int) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """Return the table of patterns (index 0), of its remainder (1), ..., and the weights of what it cuts off."""
        if index not in self.stages:
            weights = self.stage(index - 1)[1] if index else self.weights
            total = sum(map(int.__mul__, _PATTERNS_OF_WEIGHT, weights))
            places = [INDICES * weight // total for weight in weights]
            table = np.repeat(_PATTERNS, np.repeat(places, _PATTERNS_OF_WEIGHT))
            # threads share a table; whichever comes here last puts in what is there already
            self.stages[index] = table, tuple(INDICES * weight % total for weight in weights)
        return self.stages[index]

    def fill(self, generator: np.random.Generator, shape: Shape) -> Words:
        """Return random words of the given shape; neuron dropped = bit set."""
        words = np.empty(shape, np.uint64)
        patterns = words.reshape(-1).view(np.uint8)
        index = _random_indices(generator, patterns.size)
        table = self.stage(0)[0]
        wide = np.empty(min(_LOOKUPS, index.size), np.intp)
        for start in range(0, index.size, _LOOKUPS):
            part = index[start : start + _LOOKUPS]
            np.copyto(wide[: part.size], part)
            # clip, for which there is nothing to clip but the remainder, spares `take` a pass over the indices
            table.take(wide[: part.size], out=patterns[start : start + part.size], mode="clip")
        remaining = np.flatnonzero(index >= table.size) if table.size < INDICES else index[:0]
        depth = 0
        while remaining.size:
            depth += 1
            table = self.stage(depth)[0]
            index = _random_indices(generator, remaining.size)
            found = index < table.size
            patterns[remaining[found]] = table[index[found]]
            remaining = remaining[~found]
        return words


@lru_cache(maxsize=16)
def table_of(p: float) -> Table:
    """Return the table of p, kept for the next call."""
    return Table(p)
