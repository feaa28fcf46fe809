"""Tests for what occurs twice: whole masks, and stretches of the stream at any shift."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import wording
from dropstats.auditing.evidence import Evidence, independent, mix, uniform_rate
from dropstats.auditing.report import Result
from dropstats.laws import Law

Ints = NDArray[np.int64]

# At most so many windows of the stream are kept and sorted; of a longer stream those with certain hashes.
_WINDOWS = 2**22
# The stream is hashed in pieces of so many neurons.
_PIECE = 2**24
# Candidates for the longest repeated stretch that are followed to their ends.
_FOLLOWED = 32


def duplicates(seen: Evidence, law: Law) -> Result:
    """Null: masks are independent, so equal ones are as rare as the law has it. Conservative, one-sided.

    Given the number of drops y of a mask, its C(n, y) placings are equally likely; the number of masks that equal an
    earlier one is then at most a sum of independent Bernoulli variables of (i - 1) / C(n, y), i the i-th mask with y
    drops, whose tail is bounded after Chernoff. So neither a wrong rate nor few neurons or a small p (when equal masks
    are common) raise an alarm. Where rates differ: Markov's bound on the number of equal pairs, whose mean is
    C(trials, 2) prod(p^2 + q^2). Catches frozen seeds, periods, replayed steps, few seeds. Needs that equal masks be
    rare.
    """
    if not independent(law):
        return Result("duplicates", "not applicable", message="the chance of equal masks is not known for this law")
    if seen.trials < 2:
        return Result("duplicates", "inconclusive", message="a single mask has no other to compare with")
    _, sizes = np.unique(seen.mask_hashes, return_counts=True)
    pairs = float((sizes * (sizes - 1.0) / 2).sum())
    repeated = int(seen.trials - sizes.size)
    rates = law.rates
    log_equal = float(np.log(rates**2 + (1 - rates) ** 2).sum())
    expected = math.exp(math.log(seen.trials) + math.log(seen.trials - 1) - math.log(2) + log_equal)
    if uniform_rate(law) is None:
        mean = expected
        pvalue = min(1.0, expected / pairs) if pairs else 1.0
    else:
        mean = _expected_repeats(seen)
        pvalue = _poisson_binomial_bound(repeated, mean)
    if pvalue <= seen.level:
        message = wording.duplicates(seen, sizes, int(pairs), expected)
    elif mean > seen.trials / 4:
        message = f"masks repeat anyway at this size: {expected:,.0f} equal pairs are expected"
        return Result("duplicates", "inconclusive", pvalue, None, pairs, expected, None, message)
    else:
        message = "no two masks are equal" if not pairs else "no more equal masks than chance has it"
    return Result("duplicates", "pass", pvalue, None, pairs, expected, None, message)


def _expected_repeats(seen: Evidence) -> float:
    """Return the sum of min(1, (i - 1) / C(n, y)) over masks: a bound on the expected number of repeated masks."""
    drops, masks = np.unique(seen.mask_drops, return_counts=True)
    y, n = drops.astype(np.float64), float(seen.n)
    log_cells = special.gammaln(n + 1) - special.gammaln(y + 1) - special.gammaln(n - y + 1)
    cells = np.exp(np.minimum(log_cells, 700.0))
    # gammaln leaves C(n, 0) = C(n, n) = 1 off by its rounding
    cells = np.where((y == 0) | (y == n), 1.0, cells * (1 - 1e-9))
    h = masks.astype(np.float64)
    within = np.minimum(h, np.floor(cells) + 1)  # from here on each mask may repeat with certainty
    return float((within * (within - 1) / 2 / cells + (h - within)).sum())


def _poisson_binomial_bound(count: int, mean: float) -> float:
    """Return a bound on P(X >= count) of a sum of independent Bernoulli variables: Markov's, and Chernoff's.

    H. Chernoff (1952). A measure of asymptotic efficiency for tests of a hypothesis based on the sum of observations.
    Annals of Mathematical Statistics 23, 493-507. doi:10.1214/aoms/1177729330
    """
    if count <= mean:
        return 1.0
    if mean == 0:
        return 0.0
    return min(mean / count, math.exp(count - mean + count * math.log(mean / count)))


@dataclass(frozen=True)
class Stretch:
    """A stretch of the stream that occurs again: where it starts, both times, and its length in neurons."""

    first: int
    second: int
    length: int


def repeats(seen: Evidence, law: Law) -> Result:
    """Null: no long stretch of the stream occurs again elsewhere. Conservative (a union bound), one-sided, linear time.

    The rarer kind of neuron, of rate s, has gaps that agree with probability s / (2 - s); a window of m gaps occurs
    twice somewhere with probability at most N^2 s^2 / 2 (s / (2 - s))^m. Windows of the m that makes this the level are
    hashed; equal ones that do not overlap are followed to both ends, and the longest gives the p-value. Catches streams
    that overlap, at any shift, a short period, replayed masks. Needs a stream of many windows.
    """
    if not independent(law) or uniform_rate(law) is None:
        reason = "neurons of unlike rates" if independent(law) else "a law whose neurons depend on each other"
        return Result("repeats", "not applicable", message=f"not defined for {reason}")
    p = uniform_rate(law)
    assert p is not None
    size = seen.trials * seen.n
    if p in (0.0, 1.0):
        return Result("repeats", "not applicable", message="all masks are alike at this rate")
    rare = min(p, 1 - p)
    kind = 1 if p <= 0.5 else 0
    observed = seen.rate if kind else 1 - seen.rate
    # a rate above the declared one must not pass for repetition
    s = min(max(rare, observed), 0.75)
    agree = s / (2 - s)
    log_places = 2 * math.log(size) + 2 * math.log(s) - math.log(2)
    window = max(4, math.ceil((log_places - math.log(seen.level)) / -math.log(agree)))
    if window / rare > size / 4:
        message = f"a stream of {size:,} neurons is too short"
        return Result("repeats", "inconclusive", message=message)
    positions, partners, sampled = _equal_windows(seen, kind, window)
    note = f" (one window in {sampled} looked at)" if sampled > 1 else ""
    if not positions.size:
        reach = math.ceil(window / rare)
        message = f"no stretch of {reach:,} neurons occurs twice{note}"
        return Result("repeats", "pass", 1.0, None, 0.0, 0.0, None, message)
    stretches = _follow(seen, positions, partners)
    longest = max(stretches, key=lambda stretch: stretch.length)
    gaps = int(np.count_nonzero(seen.elements(longest.first, longest.first + longest.length) == kind)) - 1
    pvalue = math.exp(min(0.0, log_places + gaps * math.log(agree)))
    if pvalue <= seen.level:
        message = wording.repeats(seen, longest, positions, partners) + note
    else:
        message = f"the longest stretch that occurs twice has {longest.length:,} neurons{note}"
    return Result("repeats", "pass", pvalue, None, float(longest.length), 0.0, None, message)


def _equal_windows(seen: Evidence, kind: int, window: int) -> tuple[Ints, Ints, int]:
    """Return where windows of gaps start that occur again, where they do, and the share of windows looked at.

    Only one window in 2^k, chosen by its hash, is looked at where there would be more than a few million: equal windows
    have equal hashes, so a long stretch is found all the same.
    """
    expected = seen.rate if kind else 1 - seen.rate
    one_in = 2 ** max(0, math.ceil(math.log2(max(1.0, seen.trials * seen.n * expected / _WINDOWS))))
    hashes, starts, ranks = [], [], []
    carry = np.zeros(0, np.int64)
    rank = 0
    for first, part in _pieces(seen):
        flat = np.flatnonzero(part == kind) + first
        places = np.concatenate([carry, flat])
        if places.size > window:
            h = _window_hashes(np.diff(places).astype(np.uint64), window)
            chosen = np.flatnonzero((h >> np.uint64(40)) % np.uint64(one_in) == 0) if one_in > 1 else np.arange(h.size)
            hashes.append(h[chosen])
            starts.append(places[chosen])
            ranks.append(chosen + rank)
            rank += h.size
            carry = places[h.size :]
        else:
            carry = places
    if not hashes:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), one_in
    h, start, order_of = np.concatenate(hashes), np.concatenate(starts), np.concatenate(ranks)
    ordered = np.sort(h)  # ten times as fast as argsort, and as a rule all are distinct
    if not (ordered[1:] == ordered[:-1]).any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64), one_in
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
    factor = 0x9E3779B97F4A7C15  # odd, and another one for each doubling
    span = mix(gaps + np.uint64(1))  # hashes of runs of 1, 2, 4, ... gaps
    result: NDArray[np.uint64] | None = None
    length = 0
    remaining, size = window, 1
    while remaining:
        if remaining & 1:
            if result is None:
                result, length = span, size
            else:  # append a run of `size` gaps to one of `length`
                count = gaps.size - length - size + 1
                shifted = span[length : length + count]
                result = mix(result[:count] * np.uint64(factor) + shifted)
                length += size
        remaining >>= 1
        if remaining:
            count = gaps.size - 2 * size + 1
            span = mix(span[:count] * np.uint64(factor) + span[size : size + count])
            factor = (3 * factor + 2) % 2**64
            size *= 2
    assert result is not None
    return result[: gaps.size - window + 1]


def _follow(seen: Evidence, positions: Ints, partners: Ints) -> list[Stretch]:
    """Return the longest stretches around pairs of equal windows, each followed to both its ends."""
    shifts = partners - positions
    order = np.lexsort((positions, shifts))
    positions, partners, shifts = positions[order], partners[order], shifts[order]
    # windows of one shift that follow each other belong, as a rule, to one stretch
    new = np.flatnonzero(np.diff(shifts, prepend=shifts[0] - 1) != 0)
    sizes = np.diff(np.append(new, shifts.size))
    found = []
    for index in np.argsort(sizes)[::-1][:_FOLLOWED].tolist():
        at, end = int(new[index]), int(new[index] + sizes[index])
        tried = 0
        while at < end and tried < _FOLLOWED:
            stretch = _extend(seen, int(positions[at]), int(partners[at]))
            found.append(stretch)
            at += max(1, int(np.searchsorted(positions[at:end], stretch.first + stretch.length)))
            tried += 1
    return found


def _extend(seen: Evidence, first: int, second: int) -> Stretch:
    """Return the whole stretch that is equal around two places of the stream."""
    ahead = _agreement(seen, first, second, 1)
    behind = _agreement(seen, first - 1, second - 1, -1)
    return Stretch(first - behind, second - behind, ahead + behind)


def _agreement(seen: Evidence, first: int, second: int, direction: int) -> int:
    """Return over how many neurons the stream agrees from two places on, forwards or backwards."""
    size, total, step = seen.trials * seen.n, 0, 1024
    while True:
        room = size - second if direction > 0 else first + 1
        span = min(step, room - total)
        if span <= 0:
            return total
        if direction > 0:
            a, b = (seen.elements(place + total, place + total + span) for place in (first, second))
        else:
            a, b = (seen.elements(place - total - span + 1, place - total + 1)[::-1] for place in (first, second))
        differ: Any = np.flatnonzero(a != b)
        if differ.size:
            return total + int(differ[0])
        total, step = total + span, min(2 * step, 2**22)
