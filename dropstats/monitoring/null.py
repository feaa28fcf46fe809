"""What a monitor holds masks against: the declared rates, and counts of selected neurons under them.

A neuron's *event* is the rarer of its two fates: dropped where p <= 1/2, kept above; its probability is min(p, 1 - p).
Both are the same question; the rarer one says more, for of neurons that were selected because of it most are at their
common fate again unless something is wrong.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.laws import Layer
from dropstats.laws.foreign import law_like
from dropstats.monitoring import evidence
from dropstats.monitoring.evidence import Floats
from dropstats.monitoring.words import WORD, Words, count, from_bytes, pack, unpack

# Up to so many different rates are counted apart, each with an e-value of its own; more share one, by tilts.
_APART = 8
# Neurons that selections look at: the first ones; with 64 masks remembered they take 32 MiB. With more than _APART
# rates a neuron costs one sum for each tilt, so that fewer are looked at.
_LOOKED_AT, _LOOKED_AT_UNLIKE = 2**22, 2**14


class Seen(NamedTuple):
    """Rate of events among selected neurons, observed and expected, of which neurons, and what the event is."""

    observed: float
    expected: float
    of: str
    event: str


class Null:
    """Independent bits, one a neuron or one a group of neurons, each dropped at its declared rate."""

    n: int
    rates: Floats
    group_of: NDArray[np.int64] | None
    law: str
    size: int
    words: int
    rate: float | None
    event_rates: NDArray[Any]

    def __init__(self, n: int, rates: Floats, group_of: NDArray[np.int64] | None, law: str) -> None:
        self.n, self.rates, self.group_of, self.law = n, rates, group_of, law
        self.size = int(rates.shape[0])
        self.words = -(-self.size // WORD)
        alike = rates.strides == (0,) or bool((rates == rates[0]).all())
        self.rate = float(rates[0]) if alike else None
        one = rates if self.rate is None else rates[:1]  # 1 - p is exact for p >= 1/2
        self.event_rates = np.broadcast_to(np.minimum(one, 1 - one), (self.size,))

    @classmethod
    def of(cls, law: Any) -> "Null":
        """Return the null of a law whose neurons, or groups of neurons, are dropped independently."""
        law = law_like(law)
        if law.is_noise or not law.reduced.independent:
            raise ValueError(
                "a monitor needs a law whose neurons, or groups of neurons, are dropped independently: Layer, Channels "
                f"or a Network of these; got {_validate.show(law)}"
            )
        if not law.n:
            raise ValueError(f"a monitor needs at least one neuron; got {_validate.show(law)}")
        _validate.memory(16 * law.n, f"a monitor of {law.n} neurons")
        return cls(law.n, law.reduced.rates, law.group_of, repr(law))

    @classmethod
    def at(cls, p: Any, n: int) -> "Null":
        """Return the null of n independent neurons."""
        return cls.of(Layer(n, p))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Null):
            return NotImplemented
        same_rates = self.n == other.n and np.array_equal(self.rates, other.rates)
        if self.group_of is None or other.group_of is None:
            return same_rates and self.group_of is other.group_of
        return same_rates and np.array_equal(self.group_of, other.group_of)

    @cached_property
    def _valid(self) -> Words:
        words = np.full(self.words, 2**64 - 1, np.uint64)
        if self.size % WORD:
            words[-1] <<= np.uint64(WORD - self.size % WORD)
        return words

    @cached_property
    def swapped(self) -> Words | None:
        """Bits of the neurons whose event is to be kept; None where there are none."""
        swapped = np.asarray(self.rates[:1] > 0.5) if self.rate is not None else self.rates > 0.5
        if not swapped.any():
            return None
        return self._valid if self.rate is not None else pack(swapped)

    @cached_property
    def certain(self) -> Words | None:
        """Bits of the neurons with p = 0 or p = 1, whose event never happens; None where there are none."""
        certain = self.event_rates[:1] == 0 if self.rate is not None else self.event_rates == 0
        if not certain.any():
            return None
        return self._valid if self.rate is not None else pack(certain)

    @cached_property
    def counted(self) -> Words:
        """Bits of the neurons that may be dropped or kept."""
        return self._valid if self.certain is None else self._valid & ~self.certain

    @cached_property
    def _turn(self) -> Words:
        return self._valid if self.swapped is None else self._valid ^ self.swapped

    def bits(self, packed: NDArray[np.uint8]) -> tuple[Words, dict[int, str]]:
        """Return the kept bits of packed masks, one a neuron or one a group, and which masks tear a group apart."""
        if self.group_of is None:
            return from_bytes(packed), {}
        kept = np.unpackbits(packed, axis=1, count=self.n)
        bits = kept[:, self._first]
        apart = kept != bits[:, self.group_of]
        torn = {}
        for row in np.flatnonzero(apart.any(axis=1)).tolist():
            neuron = int(np.argmax(apart[row]))
            first = int(self._first[self.group_of[neuron]])
            torn[row] = f"neurons {first} and {neuron} of one group are not dropped together"
        return pack(bits), torn

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """The first neuron of each group."""
        first = np.empty(self.size, np.int64)
        assert self.group_of is not None
        first[self.group_of[::-1]] = np.arange(self.n - 1, -1, -1)  # of equal indices the last assignment stays
        return first

    def events(self, kept: Words) -> Words:
        """Return the events of masks, shape (k, words), from the bits of kept neurons."""
        return kept ^ self._turn

    def dropped(self, events: Words, happened: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of dropped neurons of each mask, from its events and their number."""
        if self.swapped is None:
            return happened
        return self.size - happened if self.rate is not None else count(events ^ self.swapped)

    def rate_interval(self, seen: Sequence[tuple[int, int]], limit: float) -> tuple[float, float]:
        """Return the rates against which the mean e-value of (dropped, counted) pairs has a log below `limit`."""
        observed = sum(s for s, _ in seen) / sum(n for _, n in seen)
        if self.rate is not None:
            against = lambda p: evidence.mean(float(evidence.log_evalue(s, n, p)) for s, n in seen)  # noqa: E731
            return evidence.interval(against, observed, limit)
        p, neurons = np.unique(self.rates, return_counts=True)

        def tilted(place: float) -> Floats:
            """Return the rates with all odds multiplied by place / (1 - place)."""
            rates = p.copy()
            free = (p > 0) & (p < 1)
            rates[free] = p[free] * place / (p[free] * place + (1 - p[free]) * (1 - place))
            return np.asarray(rates)

        def tilted_mean(place: float) -> float:
            return float(tilted(place) @ neurons) / self.size

        def against_tilted(place: float) -> float:
            cumulants = evidence.cumulants_of(tilted(place), neurons)
            return evidence.mean(float(evidence.log_tilted(s, n / self.size * cumulants)) for s, n in seen)

        inside = evidence.bisect(lambda place: tilted_mean(place) < observed, 0.0, 1.0)[0]
        low, high = evidence.interval(against_tilted, inside, limit)
        return tilted_mean(low), tilted_mean(high)

    @cached_property
    def counts(self) -> "ByRate | ByTilt":
        """How neurons are counted: by rate where few differ, else by tilts."""
        rates = np.unique(self.rates[:1] if self.rate is not None else self.rates)
        rates = rates[(rates > 0) & (rates < 1)]
        return ByRate(self, rates) if rates.size <= _APART else ByTilt(self)


class ByRate:
    """Counts of a few rates: events, then neurons counted, of each; the mean of their e-values.

    Such numbers are added up over selected neurons, `width` of them along a last axis; selections look at the first
    `words` words. `event_rates` are those of the classes of equal rates, `places` the neurons of each.
    """

    rates: Floats
    event_rates: NDArray[Any]
    words: int
    width: int

    dtype = np.int64

    def __init__(self, null: Null, rates: Floats) -> None:
        self.rates, self.event_rates = rates, np.minimum(rates, 1 - rates)
        self.words = min(null.words, _LOOKED_AT // WORD)
        self.width = 2 * rates.size
        self.places: Sequence[Any] = (slice(None),)
        self._sizes = [null.size][: rates.size]
        # of each class where its words begin and end, and its bits in these
        self._bits: list[tuple[slice, Words]] = []
        if null.rate is None:
            classes = [np.flatnonzero(null.rates == p) for p in rates]
            self.places, self._sizes = classes, [place.size for place in classes]
            for place in classes if rates.size > 1 else ():
                words = slice(int(place[0]) // WORD, int(place[-1]) // WORD + 1)
                self._bits.append((words, pack(np.isin(np.arange(null.size), place))[words]))

    def _split(self, bits: Words) -> NDArray[np.int64]:
        """Return the number of set bits of each class, along a new last axis."""
        if not self._bits:
            return count(bits)[..., None][..., : self.event_rates.size]
        parts = []
        for words, mask in self._bits:
            part = bits[..., words]
            parts.append(count(part & mask[: part.shape[-1]]))
        return np.stack(parts, axis=-1)

    def all(self, events: Words, happened: NDArray[np.int64]) -> NDArray[Any]:
        """Return the numbers of all neurons of each mask, of shape (k, width)."""
        numbers = np.empty((events.shape[0], self.width), np.int64)
        numbers[:, : len(self._sizes)] = self._split(events) if len(self._sizes) != 1 else happened[:, None]
        numbers[:, len(self._sizes) :] = self._sizes
        return numbers

    def selected(self, chosen: Words, events: Words) -> NDArray[Any]:
        """Return the numbers of the neurons chosen, of shape (..., width)."""
        return np.concatenate([self._split(chosen & events), self._split(chosen)], axis=-1)

    def _pairs(self, sums: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        half = self.event_rates.size
        return sums[..., :half], sums[..., half:]

    def log_e(self, sums: NDArray[Any]) -> Floats:
        """Return the log e-value, of shape (...)."""
        if not self.width:  # nothing is left to chance
            return np.zeros(sums.shape[:-1])
        return np.asarray(evidence.log_mean(evidence.log_evalue(*self._pairs(sums), self.event_rates)))

    def log_bound(self, sums: NDArray[Any]) -> Floats:
        """Return what the log e-value does not exceed."""
        if not self.width:
            return np.zeros(sums.shape[:-1])
        return np.asarray(evidence.log_bound(*self._pairs(sums), self.event_rates).max(axis=-1))

    def counted(self, sums: NDArray[Any]) -> NDArray[Any]:
        """Return how many neurons were counted."""
        return np.asarray(self._pairs(sums)[1].sum(axis=-1))

    def seen(self, sums: NDArray[Any]) -> Seen:
        """Return what to say of one selection: the rate that speaks most."""
        happened, counted = self._pairs(sums)
        best = int(np.argmax(evidence.log_evalue(happened, counted, self.event_rates)))
        p = float(self.rates[best])
        of = "" if len(self._sizes) == 1 else f" with p = {p:.6g}"
        observed = float(happened[best] / max(int(counted[best]), 1))
        return Seen(observed, float(self.event_rates[best]), of, "dropped" if p <= 0.5 else "kept")


class ByTilt:
    """Sums over neurons of many rates: events, neurons counted, their expected events, and their log cumulants.

    It does what `ByRate` does; `places` is empty, as each neuron has a rate of its own.
    """

    event_rates: NDArray[Any]
    words: int
    width: Any

    dtype = np.float64

    def __init__(self, null: Null) -> None:
        self._null = null
        self.places: Sequence[Any] = ()
        self.event_rates = null.event_rates
        looked_at = min(null.size, _LOOKED_AT_UNLIKE)
        self.words = -(-looked_at // WORD)
        rates = null.event_rates[:looked_at]
        self._each = np.column_stack([rates > 0, rates, evidence.log_cumulants(rates)])
        self.width = 1 + self._each.shape[1]
        # of whole masks the number dropped is asked, whose tilts go the same way for all neurons
        free, self._surely = null.rates[null.event_rates > 0], int((null.rates == 1).sum())
        cumulants = evidence.cumulants_of(*np.unique(free, return_counts=True))
        self._whole = np.concatenate([[free.size, free.sum()], cumulants])

    def all(self, events: Words, happened: NDArray[np.int64]) -> NDArray[Any]:
        """Return the numbers of all neurons of each mask, of shape (k, width): dropped ones in place of events."""
        dropped = self._null.dropped(events, happened) - self._surely
        return np.concatenate(
            [dropped[:, None], np.broadcast_to(self._whole, (dropped.size, self._whole.size))], axis=1
        )

    def selected(self, chosen: Words, events: Words) -> NDArray[Any]:
        """Return the numbers of the neurons chosen, of shape (..., width)."""
        bits = unpack(chosen, self._each.shape[0]).reshape(-1, self._each.shape[0])
        sums = bits.astype(np.float64) @ self._each  # one product of two matrices takes a tenth of many small ones
        happened = count(chosen & events)[..., None]
        return np.concatenate([happened, sums.reshape(*happened.shape[:-1], -1)], axis=-1)

    def log_e(self, sums: NDArray[Any]) -> Floats:
        """Return the log e-value, of shape (...)."""
        return np.asarray(evidence.log_tilted(sums[..., 0], sums[..., 3:]))

    log_bound = log_e

    def counted(self, sums: NDArray[Any]) -> NDArray[Any]:
        """Return how many neurons were counted."""
        return sums[..., 1]

    def seen(self, sums: NDArray[Any]) -> Seen:
        """Return what to say of one selection."""
        happened, counted, expected = sums[:3].tolist()
        event = "dropped" if self._null.swapped is None else "at the rarer of their two fates"
        return Seen(happened / max(counted, 1), expected / max(counted, 1), "", event)
