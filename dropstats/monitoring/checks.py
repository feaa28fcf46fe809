"""Checks of single neurons, of the numbers dropped in a mask, and of masks that come again."""

import math
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats import bits, counts
from dropstats.laws.base import rate_counts
from dropstats.monitoring import evidence
from dropstats.monitoring.evidence import Floats
from dropstats.monitoring.null import Null
from dropstats.monitoring.selections import Block
from dropstats.monitoring.words import WORD, Words, count, unpack

# Up to so many neurons are counted, and looked at, mask by mask; more are added up in words and looked at every ...
_EACH_MASK = 2**14
POSTPONED = 64
# Words whose sums are added up at a time: 64 KiB of neurons, which stay in cache.
_CHUNK = 2**10
# From so many nats below the limit on the bound by the neuron that is farthest off is replaced by a closer one.
_CLOSE = 1.0
# Dispersion: exp(-theta z^2), z the standardised number dropped. Above theta = -1/2 its mean is finite for a normal
# number; z^2 is cut there, or the far tail of a skewed one would outweigh all else.
_THETAS = np.array([-0.4, -0.2, -0.1, -0.05, -0.02, -0.01, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 20])
_LARGEST_SQUARE = 30.0
# Of numbers dropped that hardly ever vary nothing is asked.
_LEAST_VARIANCE = 1e-9
# Masks of more rates than are counted apart are summed over their first neurons, so that the exact law is feasible.
_COUNTED_UNLIKE = 2**12
# Standard deviations around the mean beyond which a binomial or Poisson-binomial has less than 1e-300.
_REACH = 40
# Duplicates: masks remembered, neurons hashed, and the largest probability of a mask that is worth remembering.
_HASHES, _HASHED = 2**14, 2**15
_RARE = 2.0**-30
_COLLISION = 2.0**-64


class Positions:
    """Each neuron against its own rate, from how often its event happened; the mean of the e-values of all."""

    null: Null
    each: bool
    trials: Any
    sums: Any
    rows: NDArray[Any]

    names: tuple[str, ...] = ("positions",)

    def __init__(self, null: Null) -> None:
        self.null, self.trials = null, 0
        self.sums = np.zeros(null.size, np.int64)
        self.each = null.size <= _EACH_MASK
        self.rows = self.sums[None]
        self._columns = bits.ColumnSums(null.words, 1)
        self._waiting = self._looked = 0  # masks not yet settled, and masks at the last look

    def see(self, block: Block) -> None:
        """Count the masks of a block; afterwards `rows` holds the counts after each of them, or after the last."""
        self.trials += block.events.shape[0]
        if self.each:
            self.rows = self.sums + np.cumsum(unpack(block.events, self.null.size), axis=0, dtype=np.int64)
            self.sums = self.rows[-1]
            return
        for events in block.events:
            self._columns.add(events[:, None].copy())
        self._waiting += block.events.shape[0]
        if self._waiting >= POSTPONED:
            self.settle()

    def settle(self) -> None:
        """Add to the counts what is still held in words."""
        if not self._waiting:
            return
        levels = list(zip(self._columns.totals, self._columns.waiting, strict=True))
        for start in range(0, self.null.words, _CHUNK):
            neurons = slice(start * WORD, min((start + _CHUNK) * WORD, self.null.size))
            sums = np.zeros(neurons.stop - neurons.start, np.uint8)  # at most POSTPONED
            for planes in reversed(levels):  # the highest digits first
                sums += sums
                for plane in planes:
                    if plane is not None:
                        sums += unpack(plane[start : start + _CHUNK, 0], sums.size)
            self.sums[neurons] += sums
        self.rows = self.sums[None]
        self._columns = bits.ColumnSums(self.null.words, 1)
        self._waiting = 0

    def resume(self) -> bool:
        """Go on from the counts that were set, if these fit together."""
        self.rows = self.sums[None]
        return bool((self.sums >= 0).all() and (self.sums <= self.trials).all())

    def log_bounds(self, shares: Mapping[str, float], limit: float) -> Floats:
        """Return what the log of the weighted e-value does not exceed, after each mask of the last block.

        Counts not yet at hand are left out: an e-value is never negative, so that this is valid.
        """
        if self._waiting and self.trials - self._looked < POSTPONED:
            return np.full(1, -np.inf)
        self.settle()
        self._looked = self.trials
        trials = self.trials - np.arange(self.rows.shape[0])[::-1]
        places, rates = self.null.counts.places, self.null.counts.event_rates
        if len(places):
            bound = np.zeros(trials.size)
            for place, rate in zip(places, rates, strict=False):
                of = self.rows[:, place]
                ends = np.stack([of.min(axis=1), of.max(axis=1)], axis=1)
                bound = np.maximum(bound, evidence.log_bound(ends, trials[:, None], rate).max(axis=1))
        else:
            bound = evidence.log_bound(self.rows, trials[:, None], rates).max(axis=1)
        bound += math.log(shares["positions"])
        for row in np.flatnonzero(bound > limit - _CLOSE).tolist():  # the mean over neurons, not the largest
            bounds, log_parts = self._logs(row, evidence.log_bound)
            bound[row] = evidence.log_mean(bounds, log_parts) + math.log(shares["positions"])
        return bound

    def _logs(self, row: int, of: Callable[..., Floats]) -> tuple[Floats, Floats]:
        """Return the log e-values (or bounds) of all neurons: of each distinct count and rate, and logs of its part."""
        trials = self.trials - (self.rows.shape[0] - 1 - row % self.rows.shape[0])
        places, rates = self.null.counts.places, self.null.counts.event_rates
        if not len(places):
            some = rates > 0
            return of(self.rows[row][some], trials, rates[some]), np.full(some.sum(), -math.log(some.sum()))
        logs, neurons = [np.zeros(0)], [np.zeros(0, np.int64)]
        for place, rate in zip(places, rates, strict=False):
            seen = self.rows[row][place]
            least = seen.min()
            times = np.bincount(seen - least)
            logs.append(of(least + np.flatnonzero(times), trials, rate))
            neurons.append(times[times > 0])
        parts = np.concatenate(neurons)
        return np.concatenate(logs), np.log(parts / max(int(parts.sum()), 1))

    def evidence(self, row: int = -1) -> dict[str, float]:
        """Return the log e-value after a mask of the last block."""
        self.settle()
        logs, log_parts = self._logs(row, evidence.log_evalue)
        return {"positions": float(evidence.log_mean(logs, log_parts)) if logs.size else 0.0}

    def finding(self, name: str, row: int = -1) -> str:
        """Return in words which neuron is farthest from its rate."""
        self.settle()
        trials = self.trials - (self.rows.shape[0] - 1 - row % self.rows.shape[0])
        if not trials:
            return "nothing to compare"
        happened = self.rows[row]
        neuron = int(np.argmax(evidence.log_bound(happened, trials, self.null.event_rates)))
        p, number = float(self.null.rates[neuron]), int(happened[neuron])
        dropped = number if p <= 0.5 else trials - number
        what = "neuron" if self.null.group_of is None else "group"
        return f"{what} {neuron} was dropped in {dropped:,} of {trials:,} masks, where {trials * p:,.5g} were expected"


class Dispersion:
    """The spread of the number dropped in a mask: a product over masks for each theta, and the mean over these."""

    sums: Any
    rows: NDArray[Any]

    names: tuple[str, ...] = ("dispersion",)

    def __init__(self, null: Null) -> None:
        self.null = null
        looked_at = null.size if len(null.counts.places) else min(null.size, _COUNTED_UNLIKE)
        self._words = -(-looked_at // WORD)
        looked_at = min(null.size, self._words * WORD)
        rates = null.rates[:looked_at]
        p, number = rate_counts(rates)
        self._mean, self._variance = float(number @ p), float(number @ (p * (1 - p)))
        self.sums = np.zeros(3)  # masks, sum of z^2, sum of z^2 cut off
        self.rows = self.sums[None]
        if self._variance < _LEAST_VARIANCE:
            self._variance = 0.0
            return
        law, sd = counts.of_each(rates), math.sqrt(self._variance)
        low, high = self._mean - _REACH * (sd + 1), self._mean + _REACH * (sd + 1)
        number = np.arange(max(0, math.floor(low)), min(looked_at, math.ceil(high)) + 1)
        square = (number - self._mean) ** 2 / self._variance
        square = np.where(_THETAS[:, None] < 0, np.minimum(square, _LARGEST_SQUARE), square)
        self._log_means = evidence.log_mean(-_THETAS[:, None] * square, np.asarray(law.logpmf(number)))

    def see(self, block: Block) -> None:
        """Add the masks of a block."""
        added = np.zeros((block.events.shape[0], 3))
        if self._variance:
            dropped = block.dropped
            if self._words < self.null.words:
                events = block.events[:, : self._words]
                swapped = self.null.swapped
                dropped = count(events if swapped is None else events ^ swapped[: self._words])
            added[:, 0] = 1
            added[:, 1] = (dropped - self._mean) ** 2 / self._variance
            np.minimum(added[:, 1], _LARGEST_SQUARE, out=added[:, 2])
        self.rows = self.sums + np.cumsum(added, axis=0)
        self.sums = self.rows[-1]

    def resume(self) -> bool:
        """Go on from the sums that were set."""
        self.rows = self.sums[None]
        return True

    def _logs(self) -> Floats:
        """Return the log e-value after each mask of the last block."""
        if not self._variance:
            return np.zeros(self.rows.shape[0])
        squares = np.where(_THETAS < 0, self.rows[:, 2:], self.rows[:, 1:2])
        return np.asarray(evidence.log_mean(-_THETAS * squares - self.rows[:, :1] * self._log_means))

    def log_bounds(self, shares: Mapping[str, float], limit: float) -> Floats:
        """Return the log of the weighted e-value after each mask of the last block."""
        return self._logs() + math.log(shares["dispersion"])

    def evidence(self, row: int = -1) -> dict[str, float]:
        """Return the log e-value after a mask of the last block."""
        return {"dispersion": float(self._logs()[row])}

    def finding(self, name: str, row: int = -1) -> str:
        """Return in words how the numbers dropped vary."""
        trials, square = self.rows[row][:2]
        if not trials:
            return "nothing to compare"
        return f"the variance of the number dropped in a mask is {square / trials:.4g} times the law's"


class Duplicates:
    """Masks seen before: a bet against the next mask's being one of those remembered, call after call.

    Of the t-th bet 1 / (t + 1) of what is there is set: without a hit t / (t + 1) of it is left each time, 1 / (t + 1)
    in all; a hit multiplies by about 1 / ((t + 1) chance), where the chance is at most the sum of the probabilities of
    the masks remembered, and 2^-64 for each for equal hashes. Masks that are not rare are not remembered.
    """

    hashed: int
    keys: NDArray[np.uint64]
    probs: NDArray[np.float64]
    calls: NDArray[np.int64]
    streams: NDArray[np.int16]
    rows: NDArray[Any]
    bets: int
    log_wealth: float
    remembered: int
    chance: float

    names: tuple[str, ...] = ("duplicates",)

    def __init__(self, null: Null) -> None:
        self._words = min(null.words, _HASHED // WORD)
        self.hashed = min(null.size, self._words * WORD)
        self._whole = self.hashed == null.size
        rates = null.event_rates[:1] if null.rate is not None else null.event_rates[: self.hashed]
        with np.errstate(divide="ignore"):
            self._odds = np.where(rates > 0, np.log(rates) - np.log1p(-rates), 0.0)
        self._log_none = float(np.log1p(-rates).sum()) * (self.hashed if null.rate is not None else 1)
        self.keys = np.zeros(1, np.uint64)  # of the masks remembered: hash, probability, call and stream
        self.probs, self.calls, self.streams = np.zeros(1), np.zeros(1, np.int64), np.zeros(1, np.int16)
        self.remembered = 0  # in all, of which the last _HASHES are at hand
        self.stream_names: list[str] = []
        self.chance, self.bets, self.log_wealth = 0.0, 0, 0.0
        # of the first hit: stream and call of both masks, and whether these drop nothing
        self.hit: tuple[str, int, str, int, bool] | None = None
        self.rows = np.zeros(1)

    def _log_probs(self, events: Words) -> Floats:
        if self._odds.size == 1:
            return np.asarray(count(events) * self._odds[0] + self._log_none)
        return np.asarray(unpack(events, self.hashed) @ self._odds + self._log_none)

    def see(self, block: Block) -> None:
        """Bet on the masks of a block, one after another, and remember them."""
        events = np.ascontiguousarray(block.events[:, : self._words])
        probs = np.exp(self._log_probs(events)).tolist()
        self.rows = np.empty(len(probs))
        for row, prob in enumerate(probs):
            held = min(self.remembered, _HASHES)
            if held or prob <= _RARE:
                digest = blake2b(events[row].tobytes(), digest_size=8).digest()
                key = np.uint64(int.from_bytes(digest, "little"))
                (hits,) = np.nonzero(self.keys[:held] == key)
                if held:
                    self._bet(hits, block.stream.name, block.first + row, not block.dropped[row])
                if not hits.size and prob <= _RARE:
                    self._remember(key, prob, block.stream.name, block.first + row)
            self.rows[row] = self.log_wealth

    def resume(self) -> bool:
        """Go on from what was set, if it fits together."""
        if self.hit is not None:
            before, earlier, stream, call, empty = self.hit
            self.hit = str(before), int(earlier), str(stream), int(call), bool(empty)
        self.rows = np.full(1, self.log_wealth)
        lengths = {self.keys.size, self.probs.size, self.calls.size, self.streams.size}
        known = self.streams.min() >= 0 and self.streams.max() < max(len(self.stream_names), 1)
        return len(lengths) == 1 and min(self.remembered, _HASHES) <= self.keys.size and bool(known)

    def _bet(self, hits: NDArray[np.int64], stream: str, call: int, empty: bool) -> None:
        self.bets += 1
        part = 1 / (self.bets + 1)
        self.log_wealth += math.log(1 - part + (part / self.chance if hits.size else 0.0))
        if hits.size and self.hit is None:
            slot = int(hits[0])
            self.hit = (self.stream_names[self.streams[slot]], int(self.calls[slot]), stream, call, empty)

    def _remember(self, key: np.uint64, prob: float, stream: str, call: int) -> None:
        slot = self.remembered % _HASHES
        if self.remembered == self.keys.size < _HASHES:
            for name in ("keys", "probs", "calls", "streams"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
        if stream not in self.stream_names:
            self.stream_names.append(stream)
        gone = self.probs[slot] + _COLLISION if self.remembered >= _HASHES else 0.0
        self.keys[slot], self.probs[slot] = key, prob
        self.calls[slot], self.streams[slot] = call, self.stream_names.index(stream)
        self.remembered += 1
        self.chance += prob + _COLLISION - gone
        if slot == _HASHES - 1:  # roundings of so many sums and differences do not add up
            self.chance = float(self.probs.sum()) + _HASHES * _COLLISION

    def log_bounds(self, shares: Mapping[str, float], limit: float) -> Floats:
        """Return the log of the weighted e-value after each mask of the last block."""
        return self.rows + math.log(shares["duplicates"])

    def evidence(self, row: int = -1) -> dict[str, float]:
        """Return the log e-value after a mask of the last block."""
        return {"duplicates": float(self.rows[row])}

    def finding(self, name: str, row: int = -1) -> str:
        """Return in words which mask came again."""
        if self.hit is None:
            held = min(self.remembered, _HASHES)
            return f"none of the {held:,} remembered masks was repeated" if held else "nothing to compare"
        before, earlier, stream, call, empty = self.hit
        part = "mask" if self._whole else f"first {self.hashed:,} neurons of the mask"
        first, second = (f" of stream {name!r}" if name else "" for name in (before, stream))
        if empty:
            return f"step {call + 1:,}{second} drops nothing, as step {earlier + 1:,}{first} did"
        return f"the {part} of step {call + 1:,}{second} repeats that of step {earlier + 1:,}{first}"


class Certain:
    """What cannot happen under the law: groups that are not dropped as one, neurons with p = 0 dropped."""

    names: tuple[str, ...]
    rows: NDArray[Any]

    def __init__(self, null: Null) -> None:
        self.null = null
        self.found: dict[str, str] = {}
        has = {"groups": null.group_of is not None, "edges": null.certain is not None}
        self.names = tuple(name for name in has if has[name])
        self.rows = np.zeros((1, len(self.names)))

    def see(self, block: Block) -> None:
        """Look for what cannot happen."""
        self.rows = np.zeros((block.events.shape[0], len(self.names)))
        for column, name in enumerate(self.names):
            happened = dict(block.torn) if name == "groups" else self._edges(block.events)
            if happened and name not in self.found:
                first = min(happened)
                self.found[name] = happened[first]
                self.rows[first:, column] = np.inf
            elif name in self.found:
                self.rows[:, column] = np.inf

    def _edges(self, events: Words) -> dict[int, str]:
        assert self.null.certain is not None
        wrong = events & self.null.certain
        rows = np.flatnonzero(wrong.any(axis=1))
        if not rows.size:
            return {}
        neuron = int(np.argmax(unpack(wrong[rows[0]], self.null.size)))
        p = self.null.rates[neuron]
        what = "neuron" if self.null.group_of is None else "group"
        return {int(rows[0]): f"{what} {neuron} is {'kept' if p else 'dropped'} where p = {p:g} was declared"}

    def resume(self) -> bool:
        """Go on from what was found."""
        self.rows = np.array([[np.inf if name in self.found else 0.0 for name in self.names]])
        return set(self.found) <= set(self.names)

    def log_bounds(self, shares: Mapping[str, float], limit: float) -> Floats:
        """Return infinity from the mask on at which something happened that cannot."""
        return np.where(np.any(self.rows > 0, axis=1), np.inf, -np.inf)

    def evidence(self, row: int = -1) -> dict[str, float]:
        """Return the log e-value of each check, 0 or infinity."""
        return dict(zip(self.names, self.rows[row].tolist(), strict=True))

    def finding(self, name: str, row: int = -1) -> str:
        """Return in words what happened."""
        return self.found.get(name, "as declared")
