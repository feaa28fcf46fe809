"""Findings in words: what a failure looks like and what, in an implementation, gives it."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import noise, nulls
from dropstats.auditing.evidence import Evidence
from dropstats.laws import Law

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# A cause is named where the observed rate could come from it with at least this probability.
_CONSISTENT = 0.01

# Grids on which implementations compare, and what they compare with.
_GRIDS = (
    (7, "a comparison with bfloat16 uniforms"),
    (8, "an 8-bit threshold"),
    (10, "a comparison with float16 uniforms"),
    (16, "a 16-bit threshold"),
)


def few(judged: float, rarer: float) -> str:
    """Say that the rate cannot be judged."""
    return f"{judged:,} neurons, {rarer:.2g} of the rarer kind expected, are too few to judge the rate"


def shown_rate(rate: float, neurons: float) -> str:
    """Return a rate to as many decimals as its error leaves, four at least."""
    error = math.sqrt(max(rate * (1 - rate), 1e-12) / max(neurons, 1))
    return f"{rate:.{min(max(4, math.ceil(-math.log10(error))), 9)}f}"


def percent(share: float) -> str:
    """Return a share in percent, with its sign and two digits, in plain notation."""
    return f"{100 * share:+.2g}%" if abs(share) < 0.995 else f"{100 * share:+,.0f}%"


def rate(observed: float, p: float, neurons: float, seen: Evidence, elementwise: bool = True) -> str:
    """Say how far off a rate is, and what would give just that rate."""
    if elementwise and observed == 0 and noise.hint(seen.recording):
        return noise.hint(seen.recording)
    relative = f" ({percent(observed / p - 1)})" if p else ""
    text = f"drops {shown_rate(observed, neurons)} where {p:.6g} was declared{relative}"
    cause = rate_cause(observed, p, neurons, seen.recording.dtype) if elementwise else ""
    return f"{text}, {cause}" if cause else text


def rate_cause(observed: float, p: float, neurons: float, dtype: str | None = None) -> str:
    """Return the most familiar cause consistent with an observed rate, or an empty string.

    Where the outputs' dtype has uniforms of its own, a rounding that these give is put down to them alone.
    """
    if observed == 0:
        return "nothing is dropped: dropout is off, as in evaluation"
    if observed == 1:
        return "everything is dropped"
    count = round(observed * neurons)
    for candidate, cause in _rate_causes(p, dtype):
        if candidate != p and 0 < candidate < 1 and nulls.binomial(count, round(neurons), candidate) >= _CONSISTENT:
            return cause
    return ""


def _rate_causes(p: float, dtype: str | None) -> Iterator[tuple[float, str]]:
    """Yield rates that known mistakes turn p into, from the most familiar on."""
    yield 1 - p, "looks like keep probability given as p"
    roundings: dict[tuple[float, str], list[tuple[str, int, str]]] = {}
    for bits, how in _GRIDS:
        steps = 2**bits
        up, down = math.ceil(p * steps), math.floor(p * steps)
        if up == down:
            step = f"one step of 1/{steps}"
            yield (up + 1) / steps, f"consistent with {up + 1}/{steps}: {step} too many, as <= for < gives"
            yield (up - 1) / steps, f"consistent with {up - 1}/{steps}: {step} too few, as < for <= gives"
            continue
        for k, way in sorted(((up, "up"), (down, "down")), key=lambda pair: abs(pair[0] / steps - p)):
            roundings.setdefault((k / steps, way), []).append((f"{k}/{steps}", steps, how))
    for (candidate, way), grids in roundings.items():
        own = [grid for grid in grids if dtype and f" {dtype} " in grid[2]]
        fractions, steps_, hows = zip(*(own or grids)[:2], strict=True)
        multiple = " or ".join(f"1/{step}" for step in steps_)
        yield (
            candidate,
            f"consistent with {' = '.join(fractions)}: p rounded {way} to a multiple of {multiple}, "
            f"as {' or '.join(hows)} gives",
        )
    yield 1 - (1 - p) ** 2, "consistent with 1 - (1 - p)^2: dropout looks applied twice"
    yield (1 + p) / 2, "consistent with (1 + p)/2: looks like zeros of a ReLU counted as dropped"
    yield p * p, "consistent with p^2: two masks look combined"
    yield p / 2, "consistent with p/2"


def _span(first: int, last: int) -> str:
    return f"position {first}" if first == last else f"positions {first} to {last}"


def _places(places: Ints, what: str) -> str:
    """Say of a few places, or of one run of them, what they are."""
    first, last = int(places[0]), int(places[-1])
    if last - first + 1 == places.size:
        return f"{_span(first, last)} {'is' if first == last else 'are'} {what}"
    head = ", ".join(map(str, places[:3].tolist()))
    return f"{places.size:,} positions are {what}: {head}{', ...' if places.size > 3 else ''}"


def positions(
    seen: Evidence, law: Law, each: Floats, worst: int, run: Any, run_p: float, worst_p: float, spread: float
) -> str:
    """Say which positions are dropped too often or too rarely."""
    counts, trials = seen.neuron_drops, seen.neuron_trials
    rates = law.rates
    never = np.flatnonzero((counts == 0) & (rates > 0) & (trials > 0))
    always = np.flatnonzero((counts == trials) & (rates < 1) & (trials > 0))
    if seen.n > 1 and seen.trials > 1 and never.size + always.size == seen.n:
        return "every neuron is always or never dropped: the masks do not change"
    found = []
    for places, what in ((never, "never dropped"), (always, "always dropped")):
        # neurons that chance leaves untouched are not worth a word
        chance = float(((1 - rates) ** trials if what == "never dropped" else rates**trials).sum())
        if places.size > 3 * chance + 2 or (places.size and float(each[places].min()) <= seen.level):
            found.append(_places(places, what))
    if found:
        return "; ".join(found)
    if run is not None and run_p <= min(worst_p, spread):
        first, stop = run
        known = int(trials[first:stop].sum())
        observed = int(counts[first:stop].sum()) / known
        return f"{_span(first, stop - 1)} drop {shown_rate(observed, known)}, not {rates[first]:.6g}"
    if spread < worst_p:
        ratio = float(((counts - trials * rates) ** 2).sum() / (trials * rates * (1 - rates)).sum())
        more = "more" if ratio > 1 else "less"
        return f"the neurons' rates differ {more} than chance has it ({ratio:.3g} times the variance)"
    return f"position {worst} drops {counts[worst] / trials[worst]:.4g}, not {rates[worst]:.6g}"


def groups(seen: Evidence) -> str:
    """Return a sentence on neurons that always drop together: groups of neighbours, or a stride; empty if none."""
    kind, size = seen.together
    return {
        "neighbours": f"groups of {size} neighbours drop together",
        "all": "all neurons of a mask drop together",
        "stride": f"neurons {size:,} positions apart drop together",
    }.get(kind, "")


def dispersion(seen: Evidence, law: Law, ratio: float, value: int, by_frequency: bool) -> str:
    """Say how the counts of dropped neurons vary."""
    counts = seen.mask_drops
    if seen.trials > 1 and (counts == counts[0]).all():
        if np.unique(seen.mask_hashes).size == 1:
            return "every mask is the same"
        return f"every mask drops exactly {int(counts[0]):,} neurons: a fixed count"
    if by_frequency and law.dropped.pmf(value) == 0:
        return f"{int((counts == value).sum()):,} masks drop {value:,} neurons, which the law never does"
    together = groups(seen) if ratio > 1 else ""
    factor = f"counts vary {ratio:.3g} times as much as the law has it"
    if together:
        return f"{together}; {factor}"
    empty = np.flatnonzero(counts == 0)
    if empty.size > 3 * seen.trials * float(law.dropped.pmf(0)) + 1:
        where = f"call {int(empty[0])}" if empty.size == 1 else f"{empty.size:,} calls, the first {int(empty[0])}"
        return f"nothing is dropped in {where}; {factor}"
    for end, what in ((seen.n, "keeps nothing"), (0, "drops nothing")):
        expected = seen.trials * float(law.dropped.pmf(end))
        if expected > 5 and not (counts == end).any():
            return f"no mask {what}, where {expected:,.0f} should: masks are forced not to be empty"
    if by_frequency:
        expected = seen.trials * float(law.dropped.pmf(value))
        return f"{int((counts == value).sum()):,} masks drop {value:,} neurons, where {expected:,.1f} are expected"
    if ratio > 1:
        return f"{factor}: the rate differs from call to call, or neurons depend on each other"
    return f"{factor}: the counts are balanced"


def rows(seen: Evidence, mean: float, worst: int, worst_p: float, run: Any, run_p: float) -> str:
    """Say which calls drop too much or too little."""
    counts = seen.mask_drops
    head = int(np.argmax(counts > 0)) if counts.any() else seen.trials
    if head and mean * head > 10:
        if head == 1:
            return "call 0 drops nothing"
        return f"calls 0 to {head - 1} drop nothing: warm-up steps without dropout"
    if run is not None and run_p < worst_p:
        first, stop = run
        observed = float(counts[first:stop].mean())
        return f"calls {first} to {stop - 1} drop {observed:,.6g} neurons each, where {mean:,.6g} are expected: drift"
    return f"call {worst} drops {int(counts[worst]):,} neurons, where {mean:,.6g} are expected"


def pairs(seen: Evidence, j: int, k: int, both: int, expected: float, classes: Ints, by_history: bool) -> str:
    """Say which neurons drop together."""
    together = "every mask is the same" if period(seen) == 1 else groups(seen)
    if together:
        return together
    inside = classes >= 0
    if by_history and inside.any():
        order = np.argsort(classes, kind="stable")
        order = order[classes[order] >= 0]
        same = classes[order[1:]] == classes[order[:-1]]
        first, second = order[:-1][same], order[1:][same]
        apart = np.unique(second - first)
        text = f"neurons {int(first[0])} and {int(second[0])} always drop together"
        if first.size > 1:
            text += f" ({first.size:,} such pairs{f', all {int(apart[0]):,} apart' if apart.size == 1 else ''})"
        return text
    return f"neurons {j} and {k} drop together in {both:,} masks, where {expected:,.4g} are expected"


def period(seen: Evidence) -> int:
    """Return after how many calls all masks repeat, or 0."""
    hashes = seen.mask_hashes
    again = np.flatnonzero(hashes[1:] == hashes[0]) + 1
    for lag in again[:64].tolist():
        if (hashes[lag:] == hashes[:-lag]).all():
            return int(lag)
    return 0


def lags(seen: Evidence, lag: int, observed: float) -> str:
    """Say how masks of different calls are related."""
    every = period(seen)
    if every == 1:
        return "every mask is the same"
    if every:
        return f"masks repeat every {every} calls"
    if lag == 1:
        return f"a mask carries over to the next call: they correlate by {observed:.3g}"
    return f"masks {lag:,} calls apart correlate by {observed:.3g}"


def stream(seen: Evidence, lag: int, observed: float) -> str:
    """Say how neurons some way apart in the stream are related."""
    if lag < seen.n:
        together = groups(seen)
        if together:
            return f"{together} (correlation {observed:.3g} at {lag:,} neurons apart)"
    if lag % seen.n == 0:
        return lags(seen, lag // seen.n, observed)
    return f"neurons {lag:,} apart in the stream correlate by {observed:.3g}"


def duplicates(seen: Evidence, sizes: Ints, pairs_equal: int, expected: float) -> str:
    """Say which masks are equal."""
    every = period(seen)
    if every == 1:
        return "every mask is the same"
    if every:
        return f"masks repeat every {every} calls"
    hashes = seen.mask_hashes
    order = np.argsort(hashes, kind="stable")
    at = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    first, second = min((int(order[i]), int(order[i + 1])) for i in at.tolist())
    text = f"calls {first:,} and {second:,} have the same mask"
    if pairs_equal > 1:
        text += f" ({pairs_equal:,} equal pairs, {expected:.2g} expected)"
    lag = order[at + 1] - order[at]
    if at.size > 2 and (lag == 1).all():
        return f"{text}: calls in a row share a mask"
    if sizes.size >= 3 and at.size >= 3 and not (lag == lag[0]).all():
        # so many equal pairs of T masks come from T(T - 1)/2 / pairs equally likely masks
        states = seen.trials * (seen.trials - 1) / 2 / pairs_equal
        text += f": as if drawn from about {_round(states)} seeds"
    return text


def _round(value: float) -> str:
    """Return a number to two digits, or as a power of two where it is near one."""
    power = round(math.log2(value))
    if power >= 20:
        return f"2^{power}"
    digits = max(0, int(math.log10(value)) - 1)
    return f"{round(value / 10**digits) * 10**digits:,.0f}"


def repeats(seen: Evidence, longest: Any, positions_: Ints, partners: Ints) -> str:
    """Say which stretch of the stream occurs twice, and how often that happens."""
    n = seen.n
    every = period(seen)
    if every:
        return "every mask is the same" if every == 1 else f"masks repeat every {every} calls"
    shift = longest.second - longest.first
    # the calls that hold the stretch's middle: by chance it reaches a few neurons into the next one
    a, b = ((start + longest.length // 2) // n for start in (longest.first, longest.second))
    moved = abs(shift - (b - a) * n)
    if longest.length > 2 * n or a == b:
        return f"the stream repeats itself {shift:,} neurons on, over {longest.length:,} neurons"
    text = f"calls {a:,} and {b:,} share {min(longest.length, n - moved):,} elements"
    text += f", shifted by {moved:,}" if moved else ", at the same places"
    pairs_of_calls = np.unique(np.stack([positions_ // n, partners // n]), axis=1).shape[1]
    if pairs_of_calls > 1:
        text += f" ({pairs_of_calls:,} such pairs of calls)"
    return text
