"""What a finding about several streams means, in words."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import comparing
from dropstats.auditing.copies import Stretch


def listed(names: Iterable[str], most: int = 4) -> str:
    """Return names as a list in a sentence."""
    names = list(names)
    shown = names[:most]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    if more or len(shown) < 2:
        return ", ".join(shown) + more
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def agreement(seen: comparing.Streams, off: list[comparing.Agreement]) -> str:
    """Say which streams agree too much or too little, and how."""
    same = [one.pair for one in off if one.agree == one.size]
    if same:
        members = sorted({index for pair in same for index in pair})
        if len(members) == len(seen.names) and len(same) == len(members) * (len(members) - 1) // 2:
            return f"all {len(members)} streams have identical masks" if len(members) > 2 else _two(seen, same[0])
        more = f" ({len(same):,} such pairs)" if len(same) > 1 else ""
        return _two(seen, same[0]) + more
    worst = max(off, key=lambda one: abs(one.rate - (comparing.expected_agreement(seen, one.pair) or 0.5)))
    a, b = (seen.names[index] for index in worst.pair)
    if worst.agree == 0:
        return f"{a} keeps exactly what {b} drops"
    calls = _equal_calls(seen, worst.pair)
    more = f" ({len(off):,} such pairs of streams)" if len(off) > 1 else ""
    if calls.size:
        which = (
            f"call {calls[0]:,}" if calls.size == 1 else f"{calls.size:,} of {seen.trials:,} calls, first {calls[0]:,}"
        )
        return f"{a} and {b} have identical masks in {which}{more}"
    neurons = _equal_neurons(seen, worst.pair)
    if neurons.size:
        span = neurons.size == neurons[-1] - neurons[0] + 1
        which = (
            f"neurons {neurons[0]:,} to {neurons[-1]:,}" if span else f"{neurons.size:,} neurons, first {neurons[0]:,},"
        )
        return f"{a} and {b} agree in every call at {which}{more}"
    return f"{a} and {b} agree in {100 * worst.rate:.4g}% of neurons: a correlation of {worst.correlation:.3g}{more}"


def _two(seen: comparing.Streams, pair: comparing.Pair) -> str:
    return f"{seen.names[pair[0]]} and {seen.names[pair[1]]} have identical masks"


def _equal_calls(seen: comparing.Streams, pair: comparing.Pair) -> NDArray[np.int64]:
    a, b = (seen.recordings[index] for index in pair)
    return np.flatnonzero((a.packed == b.packed).all(axis=1))


def _equal_neurons(seen: comparing.Streams, pair: comparing.Pair) -> NDArray[np.int64]:
    """Return the neurons that agree in every call, where chance would not make them; none in few calls."""
    a, b = (seen.recordings[index] for index in pair)
    differ = np.bitwise_or.reduce(a.packed ^ b.packed, axis=0)
    neurons = np.flatnonzero(np.unpackbits(differ, count=seen.n) == 0)
    expected = comparing.expected_agreement(seen, pair) or 0.99
    return neurons if seen.n * expected**seen.trials < 0.01 else neurons[:0]


def copies(seen: comparing.Streams, first: NDArray[np.int64], second: NDArray[np.int64]) -> str:
    """Say which masks of different streams are equal, by the most common lag of calls."""
    trials = seen.trials
    found = np.stack([first // trials, second // trials, second % trials - first % trials], axis=1)
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    a, b, lag = kinds[int(np.argmax(counts))].tolist()
    count, common = int(counts.max()), trials - abs(lag)
    if count < 2 or count < common // 2:
        places = [(seen.names[place // trials], place % trials) for place in (int(first[0]), int(second[0]))]
        text = " and ".join(f"{name} at call {call:,}" for name, call in places)
        return f"{text} have the same mask ({first.size:,} such pairs)"
    behind, ahead = (b, a) if lag > 0 else (a, b)
    if lag == 0:
        text = f"{seen.names[a]} and {seen.names[b]} have the same masks"
    else:
        text = f"{seen.names[behind]} has {seen.names[ahead]}'s masks {abs(lag):,} calls later"
    more = f"; {first.size:,} equal pairs in all" if first.size > count else ""
    return f"{text} ({count:,} of {common:,}{more})"


def overlaps(seen: comparing.Streams, longest: Stretch) -> str:
    """Say which stretch is in two streams."""
    places = []
    for place in (longest.first, longest.second):
        stream, call, neuron = place // seen.size, place % seen.size // seen.n, place % seen.n
        places.append(f"{seen.names[stream]} from call {call:,}, neuron {neuron:,}")
    return f"{places[0]}, and {places[1]}, share {longest.length:,} elements"


def identical(seen: comparing.Streams, worst: comparing.Agreement, found: list[comparing.Agreement]) -> str:
    """Say how streams that should be identical differ."""
    a, b = (seen.names[index] for index in worst.pair)
    others = sum(one.agree < one.size for one in found)
    more = f" ({others:,} of {len(found):,} streams differ from {a})" if len(found) > 1 else ""
    if worst.agree == 0:
        return f"{b} keeps exactly what {a} drops{more}"
    first, second = comparing.equal_pairs(
        comparing.mask_hashes(replace(seen, recordings=tuple(seen.recordings[k] for k in worst.pair)))
    )
    lags, counts = np.unique(second % seen.trials - first % seen.trials, return_counts=True)
    if lags.size and not comparing.unknown(seen) and counts.max() > 1:
        lag = int(lags[np.argmax(counts)])
        if lag and counts.max() >= (seen.trials - abs(lag)) // 2:
            later, earlier = (b, a) if lag > 0 else (a, b)
            return f"{later} has {earlier}'s masks {abs(lag):,} calls later{more}"
    same = _equal_calls(seen, worst.pair)
    start = int(np.argmax(np.append(same, -1) != np.arange(same.size + 1)))
    if start:
        return f"{a} and {b} are the same up to call {start - 1:,} and differ from call {start:,} on{more}"
    pvalue = comparing.agreement_pvalue(seen, worst, 1.0)
    how = "as independent masks do" if pvalue > 1e-3 else f"{worst.size - worst.agree:,} differ"
    return f"{a} and {b} agree in {100 * worst.rate:.5g}% of neurons, {how}{more}"


# Ways to make one seed of two numbers that mix up different pairs of them, and how they are said.
_SEEDS: tuple[tuple[str, Callable[[int, int], int]], ...] = (
    ("layer + step", lambda i, j: i + j),
    ("layer * step", lambda i, j: i * j),
    ("layer ^ step", lambda i, j: i ^ j),
)


def seed(seen: comparing.Streams, same: list[comparing.Agreement]) -> str:
    """Say which seed of layer and step would make all the identical pairs, and no more, identical."""
    places = comparing.grid_places(seen.keys)
    if places is None or not same:
        return ""
    pairs = comparing.all_pairs(len(places))[0]
    found = (comparing.compare(seen, pair) for pair in pairs)
    identical = {one.pair for one in found if one.agree == one.size}
    for words, mix in _SEEDS:
        alike = {(a, b) for a, b in pairs if mix(*places[a]) == mix(*places[b])}
        if identical == alike:
            return f", as a seed of {words} gives"
    return ": layer and step enter the key alike"
