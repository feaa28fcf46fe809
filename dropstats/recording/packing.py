"""Packed bits, eight neurons a byte in the order of `numpy.packbits`: written, summed, selected."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate

Packed = NDArray[np.uint8]
Bits = NDArray[np.bool_]
Ints = NDArray[np.int64]

# Neurons unpacked at a time: a few MiB, which stay in the cache.
_BLOCK = 2**22
# Bytes of a row worked on at a time: 255 such rows unpacked are one block of 8 MiB. From 2^10 to 2^13 a neuron took
# 0.12 to 0.15 ns, with whole rows of a million neurons 1 ns.
_WIDTH = 2**12
# Of a word of 8 rows of 8 bits: by how much bits, pairs and fours of bits move when rows become columns, and which do.
_EXCHANGES = [
    (np.uint64(9), np.uint64(0x0055005500550055)),
    (np.uint64(18), np.uint64(0x0000333300003333)),
    (np.uint64(36), np.uint64(0x000000000F0F0F0F)),
]


class Rows:
    """Masks of n neurons, packed as they are written, and of which neurons they are known."""

    def __init__(self, n: int, trials: int) -> None:
        self.n: int = n
        self._packed = self._room(trials)
        self._known: Packed | None = None

    def _room(self, trials: int) -> Packed:
        width = -(-self.n // 8)
        _validate.memory(trials * width, f"a recording of {trials} masks of {self.n} neurons")
        return np.zeros((trials, width), np.uint8)

    def write(self, rows: slice, columns: slice, kept: Bits, known: Bits) -> None:
        """Write a piece of masks: which neurons were kept, and of which it is known; columns start at a whole byte.

        Every piece is written once, rows in turn; beyond those that there was room for, room doubles.
        """
        if rows.stop > self._packed.shape[0]:
            self._grow(rows.stop)
        place = (rows, slice(columns.start // 8, -(-columns.stop // 8)))
        self._packed[place] = np.packbits(kept, axis=1)
        sure = bool(known.all())
        if self._known is None and not sure:
            self._known = np.zeros_like(self._packed)
            self._known[: rows.stop] = np.packbits(np.ones((1, self.n), bool), axis=1)
        if self._known is not None:
            self._known[place] = np.packbits(np.broadcast_to(known, kept.shape), axis=1)

    def _grow(self, trials: int) -> None:
        # what was read from a smaller array keeps that array, so no recording changes when rows are added
        room = max(trials, 2 * self._packed.shape[0])
        for name in ("_packed", "_known"):
            old = getattr(self, name)
            if old is not None:
                new = self._room(room)
                new[: old.shape[0]] = old
                setattr(self, name, new)

    def resize(self, n: int) -> None:
        """Keep the first n neurons of each mask; those that it did not have are zeros, and known if all are."""
        self.n = n
        for name in ("_packed", "_known"):
            old = getattr(self, name)
            if old is not None:
                new = self._room(old.shape[0])
                stop = min(old.shape[1], new.shape[1])
                new[:, :stop] = old[:, :stop]
                setattr(self, name, new)

    def read(self, trials: int) -> tuple[Packed, Packed | None]:
        """Return the first masks and where they are known (None: everywhere), both read-only."""
        packed = _frozen(self._packed[:trials])
        return packed, None if self._known is None else _frozen(self._known[:trials])


def _frozen(packed: Packed) -> Packed:
    packed = packed.view()
    packed.flags.writeable = False
    return packed


def unpack(packed: Packed, n: int) -> Bits:
    """Return packed bits as booleans of shape (k, n)."""
    return np.unpackbits(packed, axis=1, count=n).view(np.bool_)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def row_sums(packed: Packed) -> Ints:
    """Return the number of 1 bits in each row."""
    sums = np.zeros(packed.shape[0], np.int64)
    for columns in _slices(packed.shape[1], _BLOCK):
        for rows in _slices(packed.shape[0], max(1, _BLOCK // packed.shape[1])):
            sums[rows] += np.bitwise_count(packed[rows, columns]).sum(axis=1, dtype=np.int64)
    return sums


def column_sums(packed: Packed, n: int) -> Ints:
    """Return the number of 1 bits in each of the n columns."""
    sums = np.zeros(8 * packed.shape[1], np.int64)
    for columns in _slices(packed.shape[1], _WIDTH):
        for rows in _slices(packed.shape[0], 255):  # 255 sums of bits fit a byte: many times faster than int64
            part = np.unpackbits(packed[rows, columns], axis=1).sum(axis=0, dtype=np.uint8)
            sums[8 * columns.start : 8 * columns.stop] += part
    return sums[:n]


def take(packed: Packed, columns: slice | Ints) -> Packed:
    """Return packed bits of some columns only: a slice of step 1, or indices."""
    chosen = range(columns.start, columns.stop) if isinstance(columns, slice) else columns
    taken = np.empty((packed.shape[0], -(-len(chosen) // 8)), np.uint8)
    for part in _slices(len(chosen), _BLOCK):
        for rows in _slices(packed.shape[0], max(1, _BLOCK // (part.stop - part.start))):
            bits = _columns(packed[rows], chosen[part])
            taken[rows, part.start // 8 : -(-part.stop // 8)] = np.packbits(bits, axis=1)
    return _frozen(taken)


def _columns(packed: Packed, columns: range | Ints) -> NDArray[np.uint8]:
    if isinstance(columns, range):
        skipped = columns.start // 8 * 8
        bits = np.unpackbits(packed[:, columns.start // 8 : -(-columns.stop // 8)], axis=1)
        return bits[:, columns.start - skipped : columns.stop - skipped]
    return (packed[:, columns // 8] >> (7 - columns % 8).astype(np.uint8)) & np.uint8(1)


def transposed(packed: Packed) -> Packed:
    """Return packed rows packed along columns, shape (ceil(rows / 8), 8 * width): eight rows a byte, first on top.

    Of eight rows and eight columns a word is formed, in which three exchanges of halves turn rows into columns.

    Source: H. S. Warren (2012). Hacker's Delight, 2nd ed. Addison-Wesley, section 7-3.
    """
    rows, width = packed.shape
    turned = np.empty((-(-rows // 8), 8 * width), np.uint8)
    for eight, out in enumerate(turned):
        for columns in _slices(width, _WIDTH):
            part = packed[8 * eight : 8 * eight + 8, columns]
            block = np.zeros((part.shape[1], 8), np.uint8)
            block[:, : part.shape[0]] = part.T
            words = block.view("<u8")
            for shift, halves in _EXCHANGES:
                change = (words ^ (words >> shift)) & halves
                words ^= change
                words ^= change << shift
            out[8 * columns.start : 8 * columns.stop] = block.reshape(-1)
    return turned


def groups(group_of: Any, n: int) -> tuple[Ints, Ints]:
    """Return the group of each of n neurons, and how many neurons each group has."""
    group_of = np.asarray(group_of)
    if group_of.shape != (n,) or not n:
        raise ValueError(f"group_of must have one group for each of {n} neurons; got shape {group_of.shape}")
    group_of = _validate.indices(group_of, n, "group_of")
    sizes = np.bincount(group_of)
    if not sizes.all():
        raise ValueError(f"group_of must leave no group empty; got none in group {int(sizes.argmin())}")
    return group_of, sizes


def by_group(packed: Packed, known: Packed | None, group_of: Ints, groups: int) -> tuple[Packed, Packed | None]:
    """Return packed bits of groups of columns: the first known one of each, and of which groups one is known."""
    n = group_of.shape[0]
    if known is None:
        first = np.empty(groups, np.int64)
        first[group_of[::-1]] = np.arange(n - 1, -1, -1)  # of equal indices the last assignment stays
        return take(packed, first), None
    order = np.argsort(group_of, kind="stable")
    starts = np.searchsorted(group_of[order], np.arange(groups))
    rank = np.arange(n)
    found, sure = (np.empty((packed.shape[0], -(-groups // 8)), np.uint8) for _ in range(2))
    for rows in _slices(packed.shape[0], max(1, _BLOCK // (8 * n))):
        kept = unpack(packed[rows], n)[:, order]
        first = np.minimum.reduceat(np.where(unpack(known[rows], n)[:, order], rank, n), starts, axis=1)
        sure[rows] = np.packbits(first < n, axis=1)
        found[rows] = np.packbits(np.take_along_axis(kept, np.minimum(first, n - 1), axis=1) & (first < n), axis=1)
    return _frozen(found), _frozen(sure)
