"""Checks that select neurons by what happened before: all neurons, lags, neighbours, other streams."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats.monitoring import evidence
from dropstats.monitoring.evidence import Floats
from dropstats.monitoring.null import Null
from dropstats.monitoring.words import WORD, Words, shift

LAGS = 2 ** np.arange(7)
REMEMBERED = int(LAGS[-1])
# Of longer masks each call looks at one in so many of the lags and distances, the first of either always: a call has
# seen enough neurons, and time is short.
_ALL_AT_ONCE = 2**16
STREAMS = 64


class Block(NamedTuple):
    """Events of a few masks in a row of one stream, the first of which is its call number `first`, from 0."""

    events: Words
    stream: "Stream"
    first: int
    happened: NDArray[np.int64]  # number of events in each mask
    dropped: NDArray[np.int64]  # number of neurons dropped
    streams: Mapping[str, "Stream"]  # all of them
    torn: Mapping[int, str]  # masks in which a group was not dropped as one, and how


class Stream:
    """The last masks of one stream of calls."""

    name: str
    ring: NDArray[np.uint64]
    calls: int

    def __init__(self, name: str, room: int, words: int) -> None:
        self.name, self.calls = name, 0
        self.ring = np.zeros((room, words), np.uint64)

    def add(self, events: Words) -> None:
        """Remember the events of the next calls."""
        for mask in events:
            self.ring[self.calls % self.ring.shape[0]] = mask[: self.ring.shape[1]]
            self.calls += 1

    def of(self, calls: NDArray[np.int64]) -> Words:
        """Return the events of earlier calls, which must still be remembered."""
        remembered: Words = self.ring[calls % self.ring.shape[0]]
        return remembered


class Selections:
    """The selections of a monitor: a row of counts each, summed over all masks of all streams."""

    null: Null
    counts: Any
    distances: NDArray[np.int64]
    turns: int
    sums: NDArray[Any]
    rows: NDArray[Any]

    names: tuple[str, ...] = ("rate", "lags", "neighbours", "agreement")

    def __init__(self, null: Null) -> None:
        self.null, self.counts = null, null.counts
        reach = min(null.size, WORD * self.counts.words) // 2
        self.distances = 2 ** np.arange(reach.bit_length())
        self.pairs: list[tuple[str, str]] = []
        self.turns = -(-null.size // _ALL_AT_ONCE) | 1  # odd: seldom a divisor of a period
        rows = 1 + LAGS.size + self.distances.size
        self.sums = np.zeros((rows, self.counts.width), self.counts.dtype)
        self.rows = self.sums[None]
        self._all = (np.arange(LAGS.size), np.arange(self.distances.size))
        self._weights = np.zeros(0)

    def _ends(self) -> list[int]:
        """Return where the rows of each check begin and, at last, end."""
        return [0, 1, 1 + LAGS.size, 1 + LAGS.size + self.distances.size, self.sums.shape[0]]

    def _log_weights(self, shares: Mapping[str, float]) -> Floats:
        """Return the log of the share of each row, and at last of what is not bet, from the shares of the checks."""
        if self._weights.size != self.sums.shape[0] + 1:
            ends, unbet = self._ends(), 0.0
            weights = []
            for name, start, stop in zip(self.names, ends, ends[1:], strict=False):
                each, rest = _split(name, stop - start)
                weights.append(shares[name] * each)
                unbet += shares[name] * rest
            self._weights = np.log(np.append(np.concatenate(weights), unbet))
        return self._weights

    def see(self, block: Block) -> None:
        """Count the masks of a block; afterwards `rows` holds the sums after each of them."""
        events = block.events[:, : self.counts.words]
        calls = block.first + np.arange(events.shape[0])
        pairs = self._agreements(block, events, calls)
        added = np.zeros((calls.size, *self.sums.shape), self.counts.dtype)
        added[:, 0] = self.counts.all(block.events, block.happened)
        lags, distances = self._all if self.turns == 1 else self._chosen(block.first)
        chosen = np.empty((calls.size, lags.size + distances.size, events.shape[1]), np.uint64)
        before = calls[:, None] - LAGS[lags]
        chosen[:, : lags.size] = block.stream.of(before)
        if block.first < REMEMBERED:
            chosen[:, : lags.size][before < 0] = 0
        for place, distance in enumerate(self.distances[distances].tolist(), lags.size):
            shift(events, distance, chosen[:, place])
        chosen[:, lags.size :] &= self.null.counted[: events.shape[1]]
        rows = slice(1, self._ends()[3]) if self.turns == 1 else np.r_[1 + lags, 1 + LAGS.size + distances]
        added[:, rows] = self.counts.selected(chosen, events[:, None])
        for row, here, sums in pairs:
            added[here, row] = sums
        self.rows = self.sums + np.cumsum(added, axis=0)
        self.sums = self.rows[-1]

    def _chosen(self, call: int) -> tuple[NDArray[np.int64], ...]:
        """Return which lags and distances a call looks at: known before it, as a selection must be."""
        return tuple(index[(index == 0) | ((index + call) % self.turns == 0)] for index in self._all)

    def _agreements(
        self, block: Block, events: Words, calls: NDArray[np.int64]
    ) -> list[tuple[int, NDArray[np.bool_], NDArray[Any]]]:
        """Return (row, which calls, counts) for each other stream whose same calls are remembered."""
        found = []
        for other in block.streams.values():
            if other is block.stream:
                continue
            here = (calls < other.calls) & (calls >= other.calls - other.ring.shape[0])
            if not here.any():
                continue
            pair = (other.name, block.stream.name)
            pair = pair if pair in self.pairs else pair[::-1]
            if pair not in self.pairs:
                pair = (other.name, block.stream.name)
                self.pairs.append(pair)
                self.sums = np.concatenate([self.sums, np.zeros_like(self.sums[:1])])
            row = self._ends()[3] + self.pairs.index(pair)
            found.append((row, here, self.counts.selected(other.of(calls[here]), events[here])))
        return found

    def resume(self) -> bool:
        """Go on from the counts that were set, if these fit together."""
        self.pairs = [(str(first), str(second)) for first, second in self.pairs]
        self.rows = self.sums[None]
        return bool(self._ends()[3] + len(self.pairs) == self.sums.shape[0])

    def log_bounds(self, shares: Mapping[str, float], limit: float) -> Floats:
        """Return what the log of the e-values' weighted sum does not exceed, after each mask of the last block."""
        weights = self._log_weights(shares)
        bet = evidence.log_mean(self.counts.log_bound(self.rows), weights[:-1])
        return np.asarray(np.logaddexp(bet, weights[-1]))

    def evidence(self, row: int = -1) -> dict[str, float]:
        """Return the log e-value of each check after a mask of the last block."""
        logs, ends, found = self.counts.log_e(self.rows[row]), self._ends(), {}
        for name, start, stop in zip(self.names, ends, ends[1:], strict=False):
            each, rest = _split(name, stop - start)
            with np.errstate(divide="ignore"):
                parts = np.log(np.append(each, rest))
            found[name] = float(evidence.log_mean(np.append(logs[start:stop], 0.0), parts))
        return found

    def finding(self, name: str, row: int = -1) -> str:
        """Return in words what the strongest row of a check has seen."""
        ends, at = self._ends(), self.names.index(name)
        sums = self.rows[row][ends[at] : ends[at + 1]]
        counted = self.counts.counted(sums) > 0
        if not counted.any():
            return "nothing to compare"
        best = int(np.argmax(np.where(counted, self.counts.log_e(sums), -np.inf)))
        observed, expected, of, event = self.counts.seen(sums[best])
        if name == "rate":
            if event == "kept":
                observed, expected = 1 - observed, 1 - expected
            share, declared = _told_apart(observed, expected)
            return f"drops {share} of the neurons{of} where {declared} was declared"
        share, declared = _told_apart(observed, expected)
        if name == "lags":
            lag = int(LAGS[best])
            where = f"{share} of the neurons{of} {event} {lag} call{'s' * (lag > 1)} before are {event} again"
        elif name == "neighbours":
            apart = int(self.distances[best])
            places = f"{apart} place{'s' * (apart > 1)}"
            where = f"{share} of the neurons{of} whose neighbour {places} before is {event} are {event}"
        else:
            first, second = self.pairs[best]
            where = f"{share} of the neurons{of} {event} in stream {first!r} are {event} in {second!r} too"
        return f"{where}, where {declared} was declared"


def _told_apart(observed: float, expected: float) -> tuple[str, str]:
    """Return two numbers with four digits, or as many as tell them apart."""
    for digits in range(4, 16):
        shown = f"{observed:.{digits}g}", f"{expected:.{digits}g}"
        if shown[0] != shown[1]:
            break
    return shown


def _split(name: str, rows: int) -> tuple[Floats, float]:
    """Return the part that each row of a check gets, and what is not bet.

    The k-th lag, distance or pair of streams gets 1 / (k (k + 1)): however many there are, that adds to less than 1,
    and the first, the most frequent fault, gets half.
    """
    k = np.arange(1, rows + 1)
    each = np.ones(1) if name == "rate" else 1 / (k * (k + 1))
    return each, float(1 - each.sum()) if name != "rate" else 0.0
