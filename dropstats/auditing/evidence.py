"""What the tests look at: sums over a recording, each formed once and when first asked for. They know no law."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from dropstats.auditing.autocorrelation import autocorrelation, length_for
from dropstats.recording.packing import transposed

if TYPE_CHECKING:
    from dropstats.recording import Recording

Drops = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

# Masks are unpacked in blocks of about this many neurons (bytes).
_BLOCK = 2**25
# Up to this many neurons a recording is also held unpacked; beyond, the stream is looked at in stretches.
_WHOLE = 2**27
# Correlation along the stream is formed for at most this many neurons, the first ones.
_STREAM = 2**26
# Correlation over calls is formed for at most this many neurons times calls; beyond, on evenly spread neurons.
_LAGS_WHOLE = 2**28
# Up to so many calls it is formed by products of their masks, beyond by Fourier transforms of the neurons' histories.
_CALLS = 512
# Neurons whose histories are hashed at a time.
_NEURONS = 2**15
# Odd 64-bit constants of Steele, Lea and Flood's SplitMix64 (2014), doi:10.1145/2660193.2660195
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def mix(words: Hashes) -> Hashes:
    """Return words with their bits well mixed, one to one (the finaliser of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * _MIX[1]
    words = (words ^ (words >> np.uint64(27))) * _MIX[2]
    return words ^ (words >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Evidence:
    """A recording with the sums over it that tests share."""

    recording: "Recording"

    @property
    def trials(self) -> int:
        """Number of masks."""
        return self.recording.trials

    @property
    def n(self) -> int:
        """Number of neurons in a mask."""
        return self.recording.n

    @property
    def whole(self) -> bool:
        """Whether all masks may be held unpacked."""
        return self.trials * self.n <= _WHOLE

    def blocks(self) -> Iterator[tuple[int, Drops]]:
        """Yield (first call, drops) of blocks of calls; drops are 1 where a neuron was dropped, of shape (k, n)."""
        if self.whole:
            yield 0, self.drops
            return
        step = max(8, _BLOCK // max(self.n, 1) // 8 * 8)
        for start in range(0, self.trials, step):
            yield start, self._unpacked(start, min(start + step, self.trials))

    def drops_of(self, start: int, stop: int) -> Drops:
        """Return the drops of calls start, ..., stop - 1, shape (k, n)."""
        return self.drops[start:stop] if self.whole else self._unpacked(start, stop)

    def _unpacked(self, start: int, stop: int) -> Drops:
        drops = self.recording.masks(start, stop).view(np.uint8) ^ 1
        if self.recording.known is not None:
            drops &= self.recording.known_masks(start, stop).view(np.uint8)
        return np.asarray(drops)

    @cached_property
    def drops(self) -> Drops:
        """All masks unpacked, 1 where a neuron was dropped, shape (trials, n)."""
        return self._unpacked(0, self.trials)

    @cached_property
    def judged(self) -> int:
        """Number of neurons, over all masks, known to be dropped or kept."""
        return self.recording.judged

    @cached_property
    def mask_drops(self) -> Ints:
        """Number of dropped neurons of each mask, shape (trials,)."""
        return self.recording.mask_drops()

    @cached_property
    def neuron_drops(self) -> Ints:
        """How often each neuron was dropped, shape (n,)."""
        return self.recording.neuron_drops()

    @cached_property
    def neuron_trials(self) -> Ints:
        """In how many masks it is known of each neuron whether it was dropped, shape (n,)."""
        return self.recording.neuron_trials()

    @cached_property
    def total(self) -> int:
        """Number of dropped neurons in all masks together."""
        return int(self.mask_drops.sum())

    @property
    def rate(self) -> float:
        """Observed drop rate."""
        return self.total / self.judged

    @cached_property
    def mask_hashes(self) -> Hashes:
        """A 64-bit hash of each mask: equal masks have equal hashes, shape (trials,)."""
        hashes = np.zeros(self.trials, np.uint64)
        packed = self.recording.packed
        width = -(-packed.shape[1] // 8)
        keys = mix(np.arange(1, width + 1, dtype=np.uint64) * _MIX[0]) | np.uint64(1)
        step = max(1, _BLOCK // (8 * width))
        for start in range(0, self.trials, step):
            part = packed[start : start + step]
            words = np.zeros((part.shape[0], 8 * width), np.uint8)
            words[:, : part.shape[1]] = part
            hashes[start : start + step] = (mix(words.view(np.uint64) + keys) * keys).sum(axis=1)
        return hashes

    @cached_property
    def histories(self) -> Drops:
        """Which calls dropped each neuron, eight calls a byte, the first on top, shape (ceil(trials / 8), n)."""
        recording = self.recording
        histories = transposed(recording.packed)[:, : self.n]
        # what is kept and what is not known: neither is dropped
        np.invert(histories, out=histories)
        histories[-1] &= np.uint8(256 - (1 << -self.trials % 8))
        if recording.known is not None:
            histories &= transposed(recording.known)[:, : self.n]
        return histories

    @cached_property
    def neuron_hashes(self) -> Hashes:
        """A 64-bit hash of each neuron's history: neurons always dropped together have equal hashes, shape (n,)."""
        hashes = np.zeros(self.n, np.uint64)
        for first in range(0, self.n, _NEURONS):
            part = hashes[first : first + _NEURONS]
            for start in range(0, self.histories.shape[0], 8):
                calls = self.histories[start : start + 8, first : first + _NEURONS]
                words = np.zeros((part.size, 8), np.uint8)
                words[:, : calls.shape[0]] = calls.T
                part[:] = mix((part ^ words.view(np.uint64)[:, 0]) * _MIX[0] + np.uint64(start + 1))
        return hashes

    def distinct_masks(self) -> Ints:
        """Return how often each distinct mask occurs; of narrow masks without a hash of each."""
        width = self.recording.packed.shape[1]
        if width <= 2:
            times = np.zeros(2**16, np.int64)
            for start in range(0, self.trials, _BLOCK // 8):
                part = self.recording.packed[start : start + _BLOCK // 8].astype(np.int64)
                times += np.bincount(part[:, 0] * 256 + (part[:, 1] if width == 2 else 0), minlength=times.size)
            return times[times > 0]
        ordered = np.sort(self.mask_hashes)
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        return np.diff(starts, append=ordered.size)

    @cached_property
    def period(self) -> int:
        """After how many calls all masks repeat, or 0."""
        narrow = self.recording.packed.shape[1] == 1
        hashes: NDArray[Any] = self.recording.packed[:, 0] if narrow else self.mask_hashes
        again: list[int] = []
        for start in range(1, self.trials, _BLOCK):
            again += (np.flatnonzero(hashes[start : start + _BLOCK] == hashes[0])[: 64 - len(again)] + start).tolist()
            if len(again) == 64:
                break
        lag = next((lag for lag in again if (hashes[lag:] == hashes[:-lag]).all()), 0)
        if lag <= 1 or self.n == 1:
            return lag if lag == 1 else 0
        # the last calls may all drop nothing, as the first ones do
        drops = self.mask_drops[lag:]
        return lag if ((drops > 0) & (drops < self.n)).any() else 0

    @cached_property
    def lag_columns(self) -> Ints:
        """The neurons on which correlation over calls is formed: all, or evenly spread ones of a large recording."""
        count = min(self.n, max(1, _LAGS_WHOLE // self.trials))
        return np.arange(self.n) if count == self.n else np.linspace(0, self.n - 1, count).astype(np.int64)

    def lag_correlation(self, rates: Floats | None = None) -> Floats:
        """Return the correlation of masks k calls apart, k = 0, ..., trials - 1.

        The mean of products of drops, standardised by each neuron's declared rate where `rates` are given, else by
        the observed one.
        """
        key = None if rates is None else rates.tobytes()
        if key not in self._lag_correlations:
            self._lag_correlations[key] = self._correlated(rates)
        return self._lag_correlations[key]

    @cached_property
    def _lag_correlations(self) -> dict[bytes | None, Floats]:
        return {}

    def _correlated(self, declared: Floats | None) -> Floats:
        columns = self.lag_columns
        if declared is None:
            rate = float(self.neuron_drops[columns].sum()) / (columns.size * self.trials)
            declared = np.broadcast_to(rate, (self.n,))
        rates = declared[columns].astype(np.float32)
        columns, rates = columns[(rates > 0) & (rates < 1)], rates[(rates > 0) & (rates < 1)]
        if not columns.size:
            return np.zeros(self.trials)
        sums = self._sums_by_products if self.trials <= _CALLS else self._sums_by_transforms
        pairs = columns.size * np.arange(self.trials, 0, -1, dtype=np.float64)
        return np.asarray(sums(columns, rates) / pairs)

    def _standardised(self, columns: Ints, rates: NDArray[np.float32], step: int) -> Iterator[NDArray[np.float32]]:
        """Yield the standardised drops of some neurons, so many at a time, shape (trials, step)."""
        deviations = np.sqrt(rates * (1 - rates))
        for start in range(0, columns.size, step):
            part = slice(start, start + step)
            chosen: Any = columns[part]
            if chosen[-1] - chosen[0] == chosen.size - 1:  # neighbours are had without copying one by one
                chosen = slice(int(chosen[0]), int(chosen[-1]) + 1)
            drops = self.drops[:, chosen] if self.whole else self.recording.neurons(chosen).masks().view(np.uint8) ^ 1
            yield (drops.astype(np.float32) - rates[part]) / deviations[part]

    def _sums_by_products(self, columns: Ints, rates: NDArray[np.float32]) -> Floats:
        both = np.zeros((self.trials, self.trials))
        for drops in self._standardised(columns, rates, max(1, _BLOCK // 8 // self.trials)):
            both += drops @ drops.T
        return np.array([np.trace(both, lag) for lag in range(self.trials)])

    def _sums_by_transforms(self, columns: Ints, rates: NDArray[np.float32]) -> Floats:
        length = fft.next_fast_len(2 * self.trials - 1, real=True)
        power = np.zeros(length // 2 + 1)
        for drops in self._standardised(columns, rates, max(1, _BLOCK // 8 // length)):
            transform = fft.rfft(drops.T, length, axis=1)
            power += (transform.real**2 + transform.imag**2).sum(axis=0, dtype=np.float64)
        return np.asarray(fft.irfft(power, length)[: self.trials])

    @cached_property
    def together(self) -> tuple[str, int]:
        """What neurons always drop together: ("neighbours", group size), ("stride", s), ("all", n) or ("", 0)."""
        if self.n < 2 or not 0 < self.rate < 1:
            return "", 0
        differ = np.zeros(self.n - 1, np.uint8)
        for _, drops in self.blocks():
            for start in range(0, drops.shape[0], 64):
                part = drops[start : start + 64]
                differ |= np.bitwise_or.reduce(part[:, :-1] ^ part[:, 1:], axis=0)
                if differ.all():
                    break
        breaks = np.flatnonzero(differ) + 1
        size = int(np.gcd.reduce(breaks)) if breaks.size else 0
        if size > 1 and breaks.size < self.n - 1:
            return "neighbours", size
        if not breaks.size:
            return "all", self.n
        stride = self._stride()
        return ("stride", stride) if stride else ("", 0)

    def _stride(self) -> int:
        """Return after how many positions every mask repeats itself, or 0."""
        # beyond half a mask only some neurons would repeat others, a few perhaps by chance
        correlation = self.stream_correlation[1 : self.n // 2 + 1]
        # neurons that repeat those a stride before correlate fully but for the first ones of a mask
        likely = correlation >= 0.9 * (1 - np.arange(1, correlation.size + 1) / self.n)
        for stride in (np.flatnonzero(likely)[:8] + 1).tolist():
            if all(np.array_equal(drops[:, :-stride], drops[:, stride:]) for _, drops in self.blocks()):
                return int(stride)
        return 0

    @cached_property
    def stream(self) -> Drops:
        """The masks one after the other, call by call, as one stream; the first part of a large recording."""
        return self.elements(0, min(_STREAM, self.trials * self.n))

    @cached_property
    def stream_correlation(self) -> NDArray[np.float32]:
        """Correlation of the stream with itself k neurons on, k = 0, ..., length / 2, circularly."""
        stream = self.stream
        rate = float(np.count_nonzero(stream)) / stream.size
        if not 0 < rate < 1:
            return np.zeros(stream.size // 2 + 1, np.float32)
        # what is padded is at the mean and adds nothing
        signal = np.zeros(length_for(stream.size), np.float32)
        np.subtract(stream, np.float32(rate), out=signal[: stream.size], dtype=np.float32)
        signal /= np.float32(math.sqrt(rate * (1 - rate) * stream.size))
        return autocorrelation(signal)[: stream.size // 2 + 1]

    def elements(self, start: int, stop: int) -> Drops:
        """Return the drops of neurons start, ..., stop - 1 of the stream."""
        first, last = start // self.n, -(-stop // self.n)
        return self.drops_of(first, last).reshape(-1)[start - first * self.n : stop - first * self.n]
