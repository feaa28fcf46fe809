"""Vectors of bits over GF(2), the field of two elements in which xor is the sum: rank, relations, linear complexity."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Packed = NDArray[np.uint8]
Words = NDArray[np.uint64]

# At most this many vectors, of this many bits, are held against each other; fewer where the recording is small, so that
# they take a tenth of an audit.
_VECTORS, _BITS, _FEWEST = 2048, 2**14, 512
# Chance relations are expected e^-10 times as often as the level at which they are judged.
_SURE = 10.0


class Shape(NamedTuple):
    """So many vectors of so many bits, among which so many relations are expected by chance (its log)."""

    vectors: int
    bits: int
    log_expected: float


def log_relations(vectors: int, bits: int, bias: float) -> float:
    """Return the log of a bound on how many sets of 3 or more vectors add up to all zeros, or to all ones, by chance.

    Of w independent bits of rates p the xor is 0 with probability (1 + (1 - 2 p)^w) / 2, so that a set of w vectors
    does with probability at most ((1 + bias^w) / 2)^bits, bias the largest of |1 - 2 p|.
    """
    w = np.arange(3, vectors + 1, dtype=np.float64)
    sets = special.gammaln(vectors + 1) - special.gammaln(w + 1) - special.gammaln(vectors - w + 1)
    return math.log(2) + float(special.logsumexp(sets + bits * np.log1p(bias**w) - bits * math.log(2)))


def shape(vectors: int, bits: int, total: int, bias: float, level: float) -> Shape | None:
    """Return the largest shape within these many vectors, of these many bits, at which no relation is a chance.

    `total` bounds vectors times bits. None where even three vectors are too few.
    """
    k = min(vectors, _VECTORS, max(_FEWEST, math.isqrt(total) // 2))
    while k >= 3:
        low, high = 1, min(bits, _BITS, total // k)
        if high and log_relations(k, high, bias) <= math.log(level) - _SURE:
            while low < high:  # the fewest bits that suffice
                middle = (low + high) // 2
                enough = log_relations(k, middle, bias) <= math.log(level) - _SURE
                low, high = (low, middle) if enough else (middle + 1, high)
            return Shape(k, high, log_relations(k, high, bias))
        k = min(k - 1, int(0.9 * k))
    return None


def pvalue(nullity: int, log_expected: float) -> float:
    """Return Markov's bound on the probability of so large a nullity: it stands for 2^nullity - 1 relations."""
    if not nullity:
        return 1.0
    return math.exp(min(0.0, log_expected - nullity * math.log(2) - math.log1p(-(2.0**-nullity))))


def words(packed: Packed, bits: int) -> Words:
    """Return the first bits of packed vectors as words, complemented where the first bit is 1.

    So a vector and its complement are the same, and one that does not change is zero.
    """
    width = -(-bits // 64)
    out = np.zeros((packed.shape[0], 8 * width), np.uint8)
    part = packed[:, : -(-bits // 8)]
    out[:, : part.shape[1]] = np.where(part[:, :1] & 128, ~part, part)
    if bits % 8:
        out[:, bits // 8] &= np.uint8(256 - 2 ** (8 - bits % 8))
    out[:, -(-bits // 8) :] = 0
    return out.view(">u8").astype(np.uint64)


def nullity(vectors: Words) -> int:
    """Return how many vectors, of those that are distinct and not zero, are sums of others."""
    distinct = np.unique(vectors, axis=0)
    distinct = distinct[distinct.any(axis=1)]
    return int(distinct.shape[0]) - rank(distinct)


def rank(vectors: Words) -> int:
    """Return the rank of vectors of 64-bit words, by Gaussian elimination.

    Examples
    --------
    >>> rank(np.array([[5], [3], [6]], np.uint64))  # 6 is the xor of 5 and 3
    2
    """
    rows, done = vectors.copy(), 0
    for column in range(64 * rows.shape[1]):
        if done == rows.shape[0]:
            break
        word, shift = column // 64, np.uint64(63 - column % 64)
        having = np.flatnonzero(rows[done:, word] >> shift & np.uint64(1)) + done
        if having.size:
            pivot = rows[having[0], word:].copy()
            rows[having[0], word:] = rows[done, word:]
            rows[done, word:] = pivot
            rows[having[1:], word:] ^= pivot
            done += 1
    return done


def relation(vectors: Words) -> list[int]:
    """Return the fewest vectors found that add up to zero, or none.

    Examples
    --------
    >>> relation(np.array([[1], [5], [3], [6]], np.uint64))
    [1, 2, 3]
    """
    count = vectors.shape[0]
    names = np.eye(count, dtype=np.uint8)
    tagged = np.packbits(np.pad(names, ((0, 0), (0, -count % 64))), axis=1).view(">u8").astype(np.uint64)
    basis: list[tuple[int, int]] = []
    best: list[int] = []
    for vector, tag in zip(_integers(vectors), _integers(tagged), strict=True):
        for other, its in basis:
            if vector ^ other < vector:
                vector, tag = vector ^ other, tag ^ its
        if vector:
            basis.append((vector, tag))
            basis.sort(reverse=True)
        elif not best or tag.bit_count() < len(best):
            bits = f"{tag:0{64 * tagged.shape[1]}b}"
            best = [place for place in range(count) if bits[place] == "1"]
    return best


def _integers(vectors: Words) -> list[int]:
    return [int.from_bytes(row.astype(">u8").tobytes(), "big") for row in vectors]


def linear_complexity(bits: Sequence[int]) -> int:
    """Return the length of the shortest linear recurrence over GF(2) that makes these bits.

    Notes
    -----
    J. L. Massey (1969). Shift-register synthesis and BCH decoding. IEEE Transactions on Information Theory 15,
    122-127. doi:10.1109/TIT.1969.1054260

    Examples
    --------
    >>> linear_complexity([1, 0, 1, 1, 0, 1, 1, 0, 1])  # each the xor of the two before
    2
    """
    connection, previous, length, since, seen = 1, 1, 0, 1, 0
    for place, bit in enumerate(bits):
        seen = seen << 1 | int(bit)  # bit i is that of i places before
        if (connection & seen).bit_count() & 1:
            corrected = connection ^ previous << since
            if 2 * length <= place:
                previous, length, since = connection, place + 1 - length, 0
            connection = corrected
        since += 1
    return length
