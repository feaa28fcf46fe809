"""Exact packed Bernoulli(p) bits: 64 neurons a word, each dropped with probability exactly p.

A double p is a finite binary fraction, so a comparison of p with a random binary fraction u, drawn as far as needed,
decides "dropped" (u < p) with probability p itself, not p rounded to some number of bits. Two ways lead there:

- `_Digits` compares 64 neurons at a time, digit by digit: one random word a digit. After 8 digits one neuron in 256
  is undecided; these few are compared with 64 digits more, and so on while a tie lasts. It serves a p of its own for
  each neuron, a p of few digits (one word at p = 0.5), and small samples.
- `_Table` looks up the pattern of 8 neurons at a random 16-bit index, and draws the 0.2 % that fall on the table's
  remainder exactly. It serves one p for many neurons: two random bits a neuron instead of eight.

Words come from ``Generator.integers``, which fills 64 bits with any BitGenerator (``random_raw`` of MT19937 fills 32)
and lets other threads run. They are laid out (slice, column, row): a column is 64 neurons, a row a mask. So a mask's
count adds contiguous runs, a neuron's p is constant along a run, and carry-save adders add the slices.
"""

import sys
from collections.abc import Iterator
from functools import lru_cache
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate

Words = NDArray[np.uint64]
Shape = tuple[int, int, int]

_ONE, _ALL = np.uint64(1), np.uint64(2**64 - 1)
# Words of a slice, slices of a tile: to start an operation takes NumPy 0.4 us, a draw 4 us, which should stay below the
# 2 and 120 us that 2^13 and 2^16 words take, while what is worked on stays in or near an L2 cache of 1 MiB.
_SLICE, _SLICES = 2**13, 8
_DRAWN = 2  # slices whose digits are drawn at once
# Columns of a tile: with 512, runs along rows are at least 16 words, and a count of 512 * 64 neurons fits in 16 bits.
_COLUMNS = 2**9
# Digits compared by words, the undecided one by one: 7, 8, 9, 10 took 0.49, 0.47, 0.48, 0.51 ns a neuron of own p.
_PREFIX = 8
# A p of more digits than this is looked up in a table (0.20 ns a neuron; 0.04 a digit) ...
_SHORT = 4
# ... if there are words enough to pay for making the table (0.2 ms).
_WORTH_A_TABLE = 2**12
_PATTERN = 8  # neurons of a pattern: with 16, the remainder grows from 0.2 % to 24 % at p = 0.3
_LOOKUPS = 2**14  # indices widened at a time: 128 KiB
_INDICES = 2**16

# bit b of a native word -> the neuron's place among the 64 of np.packbits' bytes, which have the first neuron on top
_PLACE = np.arange(64) ^ 7 if sys.byteorder == "little" else 63 - np.arange(64)
_PATTERNS = np.argsort(np.bitwise_count(np.arange(2**_PATTERN, dtype=np.uint8)), kind="stable").astype(np.uint8)
_PATTERNS_OF_WEIGHT = [comb(_PATTERN, weight) for weight in range(_PATTERN + 1)]


def _random_words(generator: np.random.Generator, size: int) -> Words:
    return generator.integers(0, 2**64 - 1, size, dtype=np.uint64, endpoint=True)


def _random_indices(generator: np.random.Generator, size: int) -> NDArray[np.uint16]:
    return _random_words(generator, -(-size // 4)).view(np.uint16)[:size]


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
        digits, word = whole.astype(np.uint64), _random_words(generator, tied.size)
        less[tied] = word < digits
        still = (word == digits) & (rest > 0)
        tied, rest = tied[still], rest[still]
    return less


def _pack(flags: NDArray[np.bool_]) -> Words:
    """Pack flags of neurons, a multiple of 64 of them, to a column of words."""
    return np.packbits(flags).view(np.uint64).reshape(-1, 1)


class _Digits:
    """Random words by comparison with p's digits; p a number, or one per neuron of a multiple of 64 neurons."""

    def __init__(self, p: NDArray[np.float64]) -> None:
        self.scalar = p.ndim == 0
        certain = p == 1
        prefix, rest = _split(np.where(certain, 0.0, p), _PREFIX)
        undecided = rest > 0
        self.exact = not undecided.any()
        # the 64 digits after the prefix, and what follows these, in the order of a word's bits
        following, self.beyond = _split(self._by_lane(rest), 64)
        self.following = following.astype(np.uint64)
        digits = prefix.astype(np.int64)
        last = int(np.bitwise_or.reduce(digits, axis=None)) if self.exact else 1
        skipped = (last & -last).bit_length() - 1 if last else _PREFIX  # digits that are 0 from there on
        self.planes = [self._words((digits >> place) & 1 == 1) for place in range(skipped, _PREFIX)]
        self.undecided = self._words(undecided)
        self.certain = self._words(certain) if certain.any() else None

    def _by_lane(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self.scalar else values.reshape(-1, 64)[:, _PLACE].reshape(-1)

    def _words(self, flags: NDArray[np.bool_]) -> Words | np.uint64:
        if self.scalar:
            return _ALL if flags else np.uint64(0)
        return _pack(flags)

    def fill(self, generator: np.random.Generator, shape: Shape) -> Words:
        """Return random words of the given shape; neuron dropped = bit set."""
        if not self.planes:
            dropped = np.zeros(shape, np.uint64)
        elif len(self.planes) == 1 and self.scalar:  # p = 0.5: the random words themselves
            dropped = _random_words(generator, prod(shape)).reshape(shape)
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
            differs = _random_words(generator, depth * part.size).reshape(depth, *part.shape)
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
            word = _random_words(generator, where.size)
            less = word < digits
            tie = np.flatnonzero(word == digits)
            if tie.size:
                rest = np.broadcast_to(self.beyond, tie.shape) if neuron is None else self.beyond[neuron[tie]]
                less[tie] = bernoulli(rest, generator)
            flat[where] |= lane * less
            words ^= lane
            more = np.flatnonzero(words != 0)
            where, words, column = where.take(more), words.take(more), column.take(more)


class _Table:
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
        self.weights = tuple(numerator**k * (denominator - numerator) ** (_PATTERN - k) for k in range(_PATTERN + 1))
        self.stages: dict[int, tuple[NDArray[np.uint8], tuple[int, ...]]] = {}

    def stage(self, index: int) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """Return the table of patterns (index 0), of its remainder (1), ..., and the weights of what it cuts off."""
        if index not in self.stages:
            weights = self.stage(index - 1)[1] if index else self.weights
            total = sum(map(int.__mul__, _PATTERNS_OF_WEIGHT, weights))
            places = [_INDICES * weight // total for weight in weights]
            table = np.repeat(_PATTERNS, np.repeat(places, _PATTERNS_OF_WEIGHT))
            # threads share a table; whichever comes here last puts in what is there already
            self.stages[index] = table, tuple(_INDICES * weight % total for weight in weights)
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
        remaining = np.flatnonzero(index >= table.size) if table.size < _INDICES else index[:0]
        depth = 0
        while remaining.size:
            depth += 1
            table = self.stage(depth)[0]
            index = _random_indices(generator, remaining.size)
            found = index < table.size
            patterns[remaining[found]] = table[index[found]]
            remaining = remaining[~found]
        return words


_table = lru_cache(maxsize=16)(_Table)


class _Chunk:
    """Up to 512 columns of a layer: draws tiles of words."""

    def __init__(self, rates: NDArray[np.float64], masks: int) -> None:
        self.neurons = rates.shape[0]
        self.columns = -(-self.neurons // 64)
        # a power of two, so that halves can be added until few are left
        self.rows = 2 ** min((_SLICE // self.columns).bit_length() - 1, max(masks, 1).bit_length())
        self.tail = _pack(np.arange(self.columns * 64) < self.neurons)[-1, 0]
        self.masks = masks
        self.source: _Digits | _Table
        if rates.strides == (0,):
            self.source = _Digits(np.asarray(rates[0]))
            long = not self.source.exact or len(self.source.planes) > _SHORT
            if long and masks * self.columns >= _WORTH_A_TABLE:
                self.source = _table(float(rates[0]))
        else:
            padded = np.zeros(self.columns * 64)
            padded[: self.neurons] = rates
            self.source = _Digits(padded)

    def tiles(self, generator: np.random.Generator) -> Iterator[tuple[int, Words]]:
        """Yield (first mask, words of shape (slices, columns, rows)) for all masks in turn; bits set are dropped."""
        mask = 0
        while mask < self.masks:
            left = self.masks - mask
            slices = min(_SLICES, left // self.rows)
            shape = (slices, self.columns, self.rows) if slices else (1, self.columns, left)
            words = self.source.fill(generator, shape)
            if self.tail != _ALL:
                words[:, -1] &= self.tail
            yield mask, words
            mask += shape[0] * shape[2]


def _chunks(rates: NDArray[np.float64], masks: int) -> Iterator[tuple[int, _Chunk]]:
    # glibc gives freed arrays of over 128 KiB back to the system, and faulting in the next takes as long as filling it;
    # once one of a few MiB has been freed, it keeps smaller ones.
    np.empty(2**22, np.uint8)
    step = 64 * _COLUMNS
    for start in range(0, rates.shape[0], step):
        yield start, _Chunk(rates[start : start + step], masks)


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


def count_drops(
    rates: NDArray[np.float64], masks: int, generator: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the number of dropped neurons in each of so many masks, and how often each neuron was dropped.

    They are the sums of what `packed_masks` returns for the same generator.
    """
    counts = np.zeros(masks, np.intp)
    drops = np.empty(rates.shape[0], np.int64)
    for start, chunk in _chunks(rates, masks):
        sums = ColumnSums(chunk.columns, chunk.rows)
        for mask, words in chunk.tiles(generator):
            slices, _, rows = words.shape
            ones = np.add.reduce(np.bitwise_count(words), axis=1, dtype=np.uint16).reshape(-1)
            counts[mask : mask + slices * rows] += ones
            if rows < chunk.rows:
                words = np.pad(words, ((0, 0), (0, 0), (0, chunk.rows - rows)))
            for plane in words:
                sums.add(plane)
        drops[start : start + chunk.neurons] = sums.sums()[: chunk.neurons]
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
    packed = np.empty((masks, -(-n // 64)), np.uint64)
    for start, chunk in _chunks(rates, masks):
        columns = slice(start // 64, start // 64 + chunk.columns)
        for mask, words in chunk.tiles(generator):
            slices, _, rows = words.shape
            np.invert(words, out=words)
            words[:, -1] &= chunk.tail
            packed[mask : mask + slices * rows, columns] = words.transpose(0, 2, 1).reshape(slices * rows, -1)
    return packed.view(np.uint8).reshape(masks, 8 * packed.shape[1])[:, : -(-n // 8)]


def kept_masks(rates: NDArray[np.float64], masks: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return masks of shape (masks, n), True where a neuron is kept."""
    return np.unpackbits(packed_masks(rates, masks, generator), axis=1, count=rates.shape[0]).view(np.bool_)
