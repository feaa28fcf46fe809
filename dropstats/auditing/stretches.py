"""Stretches of a stream that occur again, at any shift: found in linear time by hashes of windows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls
from dropstats.auditing.evidence import Evidence, mix

Ints = NDArray[np.int64]

# At most so many windows of the stream are kept and sorted; of a longer stream those with certain hashes.
_WINDOWS = 2**22
# The stream is hashed in pieces of so many neurons.
_PIECE = 2**23
# Candidates for the longest repeated stretch that are followed to their ends.
_FOLLOWED = 32


@dataclass(frozen=True)
class Stretch:
    """A stretch of the stream that occurs again: where it starts, both times, and its length in neurons."""

    first: int
    second: int
    length: int


@dataclass(frozen=True)
class Search:
    """How long windows must be not to occur twice by chance.

    The rarer kind of neuron (1 where that is a drop), of rate s, has gaps that agree with probability s / (2 - s); a
    window of m gaps occurs twice somewhere in a stream of N neurons with probability at most
    N^2 s^2 / 2 (s / (2 - s))^m, a union bound.
    """

    size: int
    kind: int
    s: float
    level: float

    @property
    def log_places(self) -> float:
        """Logarithm of the bound without its power."""
        return 2 * math.log(self.size) + 2 * math.log(self.s) - math.log(2)

    @property
    def log_agree(self) -> float:
        """Logarithm of the probability that two gaps agree."""
        return math.log(self.s) - math.log(2 - self.s)

    @property
    def window(self) -> int:
        """Number of gaps of a window at which the bound is the level."""
        return max(4, math.ceil((self.log_places - math.log(self.level)) / -self.log_agree))

    def reach(self, one_in: int) -> int:
        """Return of how many neurons a stretch must be to be found with power 0.9, by one window in `one_in`."""
        windows = math.log(1 - nulls.POWER) / math.log1p(-1 / one_in) if one_in > 1 else 1.0
        ends = self.window + windows  # so many neurons of the rarer kind hold so many windows
        return math.ceil((ends + nulls.normal_quantile(1 - nulls.POWER) * math.sqrt(ends * (1 - self.s))) / self.s)

    def pvalue(self, seen: Evidence, stretch: Stretch) -> float:
        """Return the bound for a stretch that was found."""
        drops = seen.elements(stretch.first, stretch.first + stretch.length)
        gaps = int(np.count_nonzero(drops == self.kind)) - 1
        return math.exp(min(0.0, self.log_places + gaps * self.log_agree))


def equal_windows(seen: Evidence, kind: int, window: int) -> tuple[Ints, Ints, int]:
    """Return where windows of gaps start that occur again, where they do, and the share of windows looked at.

    Only one window in 2^k, chosen by its hash, is looked at where there would be more than a few million: equal windows
    have equal hashes, so a long stretch is found all the same.
    """
    expected = seen.rate if kind else 1 - seen.rate
    one_in = 2 ** max(0, math.ceil(math.log2(max(1.0, seen.trials * seen.n * expected / _WINDOWS))))
    nothing = np.zeros(0, np.int64)
    hashes, starts, ranks = [nothing.astype(np.uint64)], [nothing], [nothing]
    carry, rank = nothing, 0
    for first, part in _pieces(seen):
        places = np.concatenate([carry, np.flatnonzero(part == kind) + first])
        h = _window_hashes(np.diff(places).astype(np.uint64), window)
        chosen = np.flatnonzero((h >> np.uint64(40)) % np.uint64(one_in) == 0) if one_in > 1 else np.arange(h.size)
        hashes.append(h[chosen])
        starts.append(places[chosen])
        ranks.append(chosen + rank)
        rank += h.size
        carry = places[h.size :]
    h, start, order_of = np.concatenate(hashes), np.concatenate(starts), np.concatenate(ranks)
    ordered = np.sort(h)  # ten times as fast as argsort, and as a rule all are distinct
    if not (ordered[1:] == ordered[:-1]).any():
        return nothing, nothing, one_in
    order = np.argsort(h, kind="stable")
    same = np.flatnonzero(h[order[1:]] == h[order[:-1]])
    a, b = order[same], order[same + 1]
    apart = order_of[b] - order_of[a] >= window  # windows that overlap may agree by being periodic
    return start[a[apart]], start[b[apart]], one_in


def _pieces(seen: Evidence) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (start, drops) of the stream, in pieces whose gaps and hashes take a few hundred MB."""
    for first, drops in seen.blocks():
        flat = drops.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            yield first * seen.n + start, flat[start : start + _PIECE]


def _window_hashes(gaps: NDArray[np.uint64], window: int) -> NDArray[np.uint64]:
    """Return a hash of each run of `window` gaps, by doubling: that of 2m gaps is that of m and of the next m."""
    if gaps.size < window:
        return np.zeros(0, np.uint64)
    factor = 0x9E3779B97F4A7C15  # odd, and another one for each doubling

    def joined(first: NDArray[np.uint64], then: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
        """Hashes of runs of `length` gaps, each followed by the run that begins where it ends."""
        return mix(first[: then.size - length] * np.uint64(factor) + then[length:])

    span, size = mix(gaps + np.uint64(1)), 1  # hashes of runs of 1, 2, 4, ... gaps
    result, length = span, 0  # of the binary digits of `window` so far
    while True:
        if window & size:
            result, length = joined(result, span, length) if length else span, length + size
        if 2 * size > window:
            return result
        span = joined(span, span, size)
        factor = (3 * factor + 2) % 2**64
        size *= 2


def follow(seen: Evidence, positions: Ints, partners: Ints) -> list[Stretch]:
    """Return the longest stretches around pairs of equal windows, each followed to both its ends."""
    shifts = partners - positions
    order = np.lexsort((positions, shifts))
    positions, partners = positions[order], partners[order]
    # windows of one shift that follow each other belong, as a rule, to one stretch
    _, new, sizes = np.unique(shifts[order], return_index=True, return_counts=True)
    found = []
    for index in np.argsort(sizes)[::-1][:_FOLLOWED].tolist():
        at, end = int(new[index]), int(new[index] + sizes[index])
        for _ in range(_FOLLOWED):
            if at >= end:
                break
            stretch = _extend(seen, int(positions[at]), int(partners[at]))
            found.append(stretch)
            at += max(1, int(np.searchsorted(positions[at:end], stretch.first + stretch.length)))
    return found


def _extend(seen: Evidence, first: int, second: int) -> Stretch:
    """Return the whole stretch that is equal around two places of the stream."""
    ahead = _agreement(seen, first, second, 1)
    behind = _agreement(seen, first - 1, second - 1, -1)
    return Stretch(first - behind, second - behind, ahead + behind)


def _agreement(seen: Evidence, first: int, second: int, direction: int) -> int:
    """Return over how many neurons the stream agrees from two places on, forwards or backwards."""
    room = seen.trials * seen.n - second if direction > 0 else first + 1
    total, step = 0, 1024
    while total < room:
        span = min(step, room - total)
        # the next `span` neurons that way, the nearest first
        start = total if direction > 0 else 1 - total - span
        a, b = (seen.elements(place + start, place + start + span)[::direction] for place in (first, second))
        differ = np.flatnonzero(a != b)
        if differ.size:
            return total + int(differ[0])
        total, step = total + span, min(2 * step, 2**22)
    return total


def within_one(stretch: Stretch, ends: Ints) -> Stretch:
    """Return the longest part of a stretch that is in one stream, each time, and in two different ones.

    `ends` are the ends of the streams that follow each other.
    """
    cuts = {0, stretch.length}
    for place in (stretch.first, stretch.second):
        cuts |= {end - place for end in ends.tolist() if 0 < end - place < stretch.length}
    parts = [Stretch(stretch.first + a, stretch.second + a, b - a) for a, b in pairwise(sorted(cuts))]

    def apart(part: Stretch) -> bool:
        first, second = np.searchsorted(ends, [part.first, part.second], side="right")
        return bool(first != second)

    return max(parts, key=lambda part: part.length * apart(part))
