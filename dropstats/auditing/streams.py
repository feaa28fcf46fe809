"""Several streams held against each other: how they agree neuron by neuron, and which of their masks are equal."""

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls
from dropstats.auditing.evidence import Evidence
from dropstats.laws import Layer

if TYPE_CHECKING:
    from dropstats.laws import Law
    from dropstats.recording import Recording

Pair = tuple[int, int]
Ints = NDArray[np.int64]

# Bytes of packed masks that are compared at a time.
_BLOCK = 2**24
# At most this many pairs of streams are compared element by element; of more, evenly spread ones.
_PAIRS = 20_000
# Of the neurons that are independent, those of these many rates are compared, the most frequent first.
_STRATA = 8
# Lags of calls at which it is looked at how streams agree anyway.
_LAGS = 64


@dataclass(frozen=True, eq=False)
class Streams:
    """Recordings to be held against each other.

    Attributes
    ----------
    names : tuple of str
    keys : tuple
        What the caller named them.
    given : tuple of Recording
        The masks as they are, of equally many calls.
    calls : tuple of int
        How many calls each stream made.
    laws : tuple of Law or None
        What each declares; None where it declares nothing.
    notes : tuple of str
        What was left out.
    level : float
        p-value at which a single test may fail.
    """

    names: tuple[str, ...]
    keys: tuple[Hashable, ...]
    given: tuple["Recording", ...]
    calls: tuple[int, ...]
    laws: tuple["Law | None", ...]
    notes: tuple[str, ...] = ()
    level: float = 1e-3

    @property
    def trials(self) -> int:
        """Number of masks of each stream."""
        return self.given[0].trials

    @cached_property
    def reduced(self) -> "tuple[tuple[Recording, Law | None], ...]":
        """The recordings with one bit a group, and the laws of these bits."""
        pairs = zip(self.given, self.laws, strict=True)
        return tuple((one, None) if law is None else law.reduce(one) for one, law in pairs)

    @cached_property
    def free(self) -> Ints | None:
        """The neurons that all streams have and that are independent of each other in each; None where all are."""
        width = min(one.n for one, _ in self.reduced)
        columns = None if all(one.n == width for one, _ in self.reduced) else np.arange(width)
        for _, law in self.reduced:
            if law is not None and law.apart is not None:
                columns = law.apart if columns is None else np.intersect1d(columns, law.apart)
        return columns

    @cached_property
    def recordings(self) -> tuple["Recording", ...]:
        """The masks of the neurons that are compared one by one."""
        whole = (one for one, _ in self.reduced)
        return tuple(whole) if self.free is None else tuple(one.neurons(self.free) for one in whole)

    @property
    def n(self) -> int:
        """Number of neurons that are compared in a mask."""
        return self.recordings[0].n

    @property
    def size(self) -> int:
        """Number of neurons of each stream that are compared."""
        return self.trials * self.n

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """Sums over each stream."""
        return tuple(map(Evidence, self.recordings))

    @property
    def alike(self) -> bool:
        """Whether all neurons of each stream are independent and of one rate, as far as is declared."""
        return all(law is None or (law.independent and law.rate is not None) for _, law in self.reduced)

    @property
    def one_width(self) -> bool:
        """Whether the masks of all streams are equally wide."""
        return len({one.n for one, _ in self.reduced}) == 1

    @cached_property
    def strata(self) -> "tuple[Streams, ...]":
        """The streams of the neurons that have one rate in each of them, the most frequent ones first."""
        laws = [law for _, law in self.reduced]
        if all(law is None or law.rate is not None for law in laws):
            return (self if self.free is None else self._of(None, [None if law is None else law.rate for law in laws]),)
        chosen = np.arange(self.n) if self.free is None else self.free
        rates = np.stack([np.full(chosen.size, np.nan) if law is None else law.rates[chosen] for law in laws])
        kinds, where, sizes = np.unique(rates, axis=1, return_inverse=True, return_counts=True, equal_nan=False)
        certain = ((kinds == 0) | (kinds == 1)).any(axis=0)
        order = np.argsort(-sizes * ~certain, kind="stable")[:_STRATA]
        where = where.reshape(-1)
        return tuple(
            self._of(np.flatnonzero(where == k), [None if math.isnan(p) else p for p in kinds[:, k].tolist()])
            for k in order.tolist()
            if not certain[k]
        )

    def _of(self, columns: Ints | None, rates: "list[float | None]") -> "Streams":
        """Return the streams of some of the neurons that are compared, of one rate in each stream."""
        given = self.recordings if columns is None else tuple(one.neurons(columns) for one in self.recordings)
        laws = tuple(None if p is None else Layer(given[0].n, p) for p in rates)
        return replace(self, given=given, laws=laws)

    @property
    def unknown(self) -> bool:
        """Whether it is not known of some neurons if they were dropped."""
        return any(recording.known is not None for recording in self.given)

    @cached_property
    def grid(self) -> tuple[Pair, ...]:
        """The streams (i, j) and (j, i), i < j, of keys (layer, step)."""
        places = grid_places(self.keys)
        if places is None:
            return ()
        at = {place: index for index, place in enumerate(places)}
        return tuple((index, at[j, i]) for (i, j), index in at.items() if i < j and (j, i) in at)

    @cached_property
    def mask_hashes(self) -> NDArray[np.uint64]:
        """A hash of every whole mask, shape (streams, trials)."""
        return np.stack([Evidence(one).mask_hashes for one, _ in self.reduced])


def grid_places(keys: tuple[Hashable, ...]) -> list[tuple[int, int]] | None:
    """Return the places (i, j) of keys (layer, step) in their grid: the numbers themselves, or where they come."""
    if not all(isinstance(key, tuple) and len(key) == 2 for key in keys):
        return None
    pairs: list[Any] = list(keys)
    if all(isinstance(part, int | np.integer) for pair in pairs for part in pair):
        return [(int(i), int(j)) for i, j in pairs]
    order: tuple[dict[Any, int], dict[Any, int]] = ({}, {})
    return [(order[0].setdefault(i, len(order[0])), order[1].setdefault(j, len(order[1]))) for i, j in pairs]


@dataclass(frozen=True)
class Agreement:
    """How two streams agree: of `size` neurons known in both, `agree`; dropped in the first, the second."""

    pair: Pair
    size: int
    agree: int
    first: int
    second: int

    @property
    def rate(self) -> float:
        """Share of neurons that agree."""
        return self.agree / self.size if self.size else math.nan

    @property
    def correlation(self) -> float:
        """Correlation of dropping in the one stream and in the other; 0 where one of them is constant."""
        return (self.rate - self.expected_given) / 2 / self.spread if self.spread else 0.0

    @property
    def spread(self) -> float:
        """Product of the standard deviations of a neuron of the one stream and of the other."""
        a, b = self.first / max(self.size, 1), self.second / max(self.size, 1)
        return math.sqrt(a * (1 - a) * b * (1 - b))

    @property
    def expected_given(self) -> float:
        """Expected share of neurons that agree, given how many each stream dropped."""
        a, b = self.first / max(self.size, 1), self.second / max(self.size, 1)
        return a * b + (1 - a) * (1 - b)


def compare(seen: Streams, pair: Pair) -> Agreement:
    """Return how the masks of two streams agree, call by call."""
    return compare_masks(pair, *(seen.recordings[index] for index in pair))


def compare_masks(pair: Pair, a: "Recording", b: "Recording") -> Agreement:
    """Return how masks of two recordings agree, call by call."""
    step = max(1, _BLOCK // max(a.packed.shape[1], 1))
    size = differ = first = second = 0
    for start in range(0, a.trials, step):
        rows = slice(start, start + step)
        x, y = a.packed[rows], b.packed[rows]
        known = None if a.known is None and b.known is None else _both(a.known, b.known, rows)
        if known is not None:
            x, y = x & known, y & known
        judged = x.shape[0] * a.n if known is None else _ones(known)
        size += judged
        differ += _ones(x ^ y)
        first += judged - _ones(x)
        second += judged - _ones(y)
    return Agreement(pair, size, size - differ, first, second)


def _both(a: NDArray[np.uint8] | None, b: NDArray[np.uint8] | None, rows: slice) -> NDArray[np.uint8]:
    parts = [known[rows] for known in (a, b) if known is not None]
    return parts[0] if len(parts) == 1 else parts[0] & parts[1]


def _ones(bits: NDArray[np.uint8]) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def expected_agreement(seen: Streams, pair: Pair) -> float | None:
    """Return the probability that a neuron agrees in two independent streams, or None where p is not declared."""
    laws = [seen.reduced[index][1] for index in pair]
    if any(law is None for law in laws):
        return None
    p, r = (np.asarray(law.rates if law.rate is None else law.rate) for law in laws if law is not None)
    if seen.free is not None:
        p, r = (rates if rates.ndim == 0 else rates[seen.free] for rates in (p, r))
    return float(np.mean(p * r + (1 - p) * (1 - r)))


def compare_apart(seen: Streams, pair: Pair, lag: int) -> Agreement:
    """Return how a mask of the first stream agrees with that of the second `lag` calls later."""
    a, b = (seen.recordings[index] for index in pair)
    first = a.calls(max(-lag, 0), seen.trials - max(lag, 0))
    second = b.calls(max(lag, 0), seen.trials - max(-lag, 0))
    return compare_masks((0, 1), first, second)


def design_effect(seen: Streams, pair: Pair) -> float:
    """Return by how much the agreement of two streams varies more than that of independent neurons.

    The mean squared correlation, in its variances, of masks of different calls, which nothing but dependence within the
    streams (channels dropped whole, frozen masks, dead neurons) makes large; 1 where that could be chance, or there are
    too few calls to tell.
    """
    lags = np.unique(np.linspace(1, seen.trials - 1, min(_LAGS, seen.trials - 1)).astype(np.int64))
    if lags.size < _LAGS // 4 or seen.unknown:
        return 1.0
    found = [compare_apart(seen, pair, -lag) for lag in lags.tolist()]
    if not all(one.spread for one in found):
        return 1.0
    squares = [one.size * one.correlation**2 for one in found]
    # a mean of squares of standard normals has standard deviation sqrt(2 / k)
    mean = float(np.mean(squares))
    return mean if mean > 1 + 5 * math.sqrt(2 / lags.size) else 1.0


def agreement_pvalue(found: Agreement, effect: float = 1.0) -> float:
    """Return the p-value of the number dropped in both streams, given how many each drops; exact whatever the rates.

    With `effect`, as of that many times fewer neurons.
    """
    size, first, second = int(found.size / effect), round(found.first / effect), round(found.second / effect)
    # agree = size - first - second + 2 both
    both = (round(found.agree / effect) - size + first + second) // 2
    return float(nulls.two_sided(*nulls.shared_tails(size, first, second, both)))


def all_pairs(streams: int) -> tuple[list[Pair], int]:
    """Return all pairs, or evenly spread ones of very many, and how many there are."""
    total = streams * (streams - 1) // 2
    if total <= _PAIRS:
        return list(combinations(range(streams), 2)), total
    first, second = np.triu_indices(streams, 1)
    chosen = np.linspace(0, total - 1, _PAIRS).astype(np.int64)
    return list(zip(first[chosen].tolist(), second[chosen].tolist(), strict=True)), total


def equal_pairs(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places (stream * trials + call) of equal masks of different streams, each with the one before."""
    flat = hashes.reshape(-1)
    order = np.argsort(flat, kind="stable")
    same = np.flatnonzero(flat[order[1:]] == flat[order[:-1]])
    first, second = order[same], order[same + 1]
    apart = np.flatnonzero(first // hashes.shape[1] != second // hashes.shape[1])
    apart = apart[np.argsort(first[apart], kind="stable")]
    return first[apart], second[apart]
