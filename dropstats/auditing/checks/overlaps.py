"""Test `overlaps`: no long stretch of the masks occurs again at another position."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dropstats.auditing import words
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small
from dropstats.auditing.streams import Streams
from dropstats.auditing.stretches import Search, Stretch, equal_windows, follow, within_one
from dropstats.laws import Law
from dropstats.recording import Recording

# Calls that are looked at to see whether all of them overlap.
_LOOKED_AT = 256
# Beyond this rate gaps agree almost surely, and windows would have no end.
_LARGEST = 0.98


def measure(case: Case) -> Finding:
    """Null: no long stretch of the sequence of masks occurs again. Conservative (union bound), one-sided, linear time.

    Let s be the rate of the rarer outcome, dropped or kept. Two gaps between such neurons are equal with probability s
    / (2 - s), so that a window of m gaps occurs twice somewhere among N neurons with probability at most N^2 s^2 / 2 (s
    / (2 - s))^m. Windows with the m at which this equals the significance level are hashed; equal windows that do not
    overlap are extended in both directions, and the longest stretch gives the p-value. If rates differ, or neurons
    depend on each other, sequences of independent neurons of one rate are used (Bonferroni). Catches overlaps at any
    shift, a short period, and replayed masks. Needs a sequence of many windows.
    """
    streams = [one for one in case.streams if one.law.rate not in (0.0, 1.0)]
    if not streams:
        return not_applicable("all masks are alike at this rate")
    found = [_of_stream(one, len(streams)) for one in streams]
    judged = [one for one in found if one.state == "judged"]
    if not judged:
        return next((one for one in found if one.state == "too small"), found[0])
    return min(judged, key=lambda one: one.pvalue or 0.0)


def _of_stream(case: Case, streams: int) -> Finding:
    p, seen = case.law.rate, case.seen
    assert p is not None
    kind = 1 if p <= 0.5 else 0
    observed = seen.rate if kind else 1 - seen.rate
    # a rate above the declared one must not pass for repetition
    s = max(min(p, 1 - p), observed)
    if s > _LARGEST:
        return not_applicable("almost all neurons are alike")
    search = Search(case.trials * case.n, kind, s, case.level / streams)
    if search.window / min(p, 1 - p) > search.size / 4:
        return too_small("short", numbers={"size": search.size})
    positions, partners, sampled = equal_windows(seen, kind, search.window)
    numbers: dict[str, Any] = {"case": case, "sampled": sampled, "reach": search.reach(sampled)}
    if not positions.size:
        return Finding(1.0, 0.0, 0.0, numbers=numbers)
    longest = max(follow(seen, positions, partners), key=lambda stretch: stretch.length)
    numbers |= {"longest": longest, "positions": positions, "partners": partners}
    pvalue = min(1.0, search.pvalue(seen, longest) * streams)
    return Finding(pvalue, float(longest.length), 0.0, numbers=numbers)


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say which stretch of the stream occurs twice, and how often that happens."""
    if finding.state == "too small":
        return f"a stream of {words.counted(finding['size'], case.unit.one)} is too short"
    part: Case = finding["case"]
    note = f" (1 in {finding['sampled']} windows examined)" if finding["sampled"] > 1 else ""
    if part.n < case.n:
        note += f" (tested on {words.counted(part.n, case.unit.one)} of rate {part.law.rate:.4g})"
    if "longest" not in finding.numbers:
        return f"detects a repeated stretch of {finding['reach']:,} {case.unit.many} (power 0.9){note}"
    if failed:
        return _departure(finding, part) + note
    return f"the longest stretch that occurs twice has {finding['longest'].length:,} {case.unit.many}{note}"


def _departure(finding: Finding, case: Case) -> str:
    n, longest = case.n, finding["longest"]
    if again := words.repeating(case):
        return again
    shift = longest.second - longest.first
    # the calls that hold the stretch's middle: by chance it reaches a few neurons into the next one
    a, b = ((start + longest.length // 2) // n for start in (longest.first, longest.second))
    moved = abs(shift - (b - a) * n)
    if longest.length > 2 * n or a == b:
        return f"the stream repeats after {shift:,} {case.unit.many}, over a stretch of {longest.length:,}"
    elements = "elements" if case.unit.one == "neuron" else case.unit.many
    text = f"calls {a:,} and {b:,} share {min(longest.length, n - moved):,} {elements}"
    text += f", shifted by {moved:,}" if moved else ", at the same positions"
    pairs = np.unique(np.stack([finding["positions"] // n, finding["partners"] // n]), axis=1).shape[1]
    drops = case.seen.drops_of(0, min(case.trials, _LOOKED_AT))
    if pairs > 1 and 0 < moved < n and np.array_equal(drops[1:, : n - moved], drops[:-1, moved:]):
        return f"calls overlap by {n - moved:,} {elements}: each begins with the last {elements} of the previous one"
    return f"{text} ({pairs:,} such pairs of calls)" if pairs > 1 else text


CHECK = Check(
    "overlaps",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    about="whether a long stretch of the masks occurs again at any other position",
    quantity="neurons in the longest repeated stretch",
)


# ---- several streams -------------------------------------------------------------------------------------------------


def measure_streams(seen: Streams) -> Finding:
    """Null: no long stretch of one stream occurs in another. Conservative (union bound), one-sided, linear time.

    The test is that of one stream, applied to all streams in sequence; masks may differ in the number of neurons. If
    rates differ, or neurons depend on each other, the independent neurons of each of the eight most frequent rates are
    used (Bonferroni).
    """
    if seen.one_width:
        strata = [(one.recordings, one.laws) for one in seen.strata]
    elif seen.alike:
        strata = [(tuple(one for one, _ in seen.reduced), tuple(law for _, law in seen.reduced))]
    else:
        return not_applicable("not defined where widths and rates differ")
    found = [_of_streams(recordings, laws, seen.level / len(strata)) for recordings, laws in strata]
    judged = [one for one in found if one.state == "judged"]
    if not judged:
        short = [one for one in found if one.state == "too small"]
        return short[0] if short else not_applicable("all masks are alike at this rate")
    worst = min(judged, key=lambda one: one.pvalue or 0.0)
    return replace(worst, pvalue=min(1.0, (worst.pvalue or 0.0) * len(strata)))


def _of_streams(recordings: Sequence[Recording], laws: Sequence[Law | None], level: float) -> Finding:
    ends = np.cumsum([one.trials * one.n for one in recordings])
    widths = [one.n for one in recordings]
    shortest = int(np.diff(ends, prepend=0).min())
    declared = [law.rate for law in laws if law is not None and law.rate is not None]
    rates = [*declared, *(one.dropped / one.judged for one in recordings)]
    if not min(rates) < 1 or not max(rates) > 0:
        return not_applicable("all masks are alike at this rate")
    kind = 1 if float(np.mean(rates)) <= 0.5 else 0
    # the largest of the declared and the observed rates: agreement is likeliest there
    s = max(rates) if kind else 1 - min(rates)
    if s > _LARGEST:
        return not_applicable("almost all neurons are alike")
    search = Search(int(ends[-1]), kind, s, level)
    if search.window / s > shortest / 4:
        return too_small("short", numbers={"size": shortest})
    evidence = Evidence(_joined(recordings))
    positions, partners, sampled = equal_windows(evidence, kind, search.window)
    stream = np.searchsorted(ends, np.stack([positions, partners]), side="right")
    across = stream[0] != stream[1]
    numbers: dict[str, Any] = {"sampled": sampled, "reach": search.reach(sampled)}
    if not across.any():
        return Finding(1.0, 0.0, 0.0, numbers=numbers)
    found = (within_one(one, ends) for one in follow(evidence, positions[across], partners[across]))
    longest = max(found, key=lambda stretch: stretch.length)
    numbers |= {"longest": longest, "ends": ends, "widths": widths}
    return Finding(search.pvalue(evidence, longest), float(longest.length), 0.0, numbers=numbers)


def _joined(recordings: Sequence[Recording]) -> Recording:
    """Return the recordings one after the other: as more calls, or where their widths differ as one long mask."""
    first = recordings[0]
    if len({one.n for one in recordings}) == 1:
        packed = np.concatenate([one.packed for one in recordings])
        return replace(first, trials=packed.shape[0], packed=packed)
    bits = np.concatenate([one.masks().reshape(-1) for one in recordings])
    return replace(first, trials=1, n=bits.size, shape=(bits.size,), packed=np.packbits(bits)[None])


def explain_streams(finding: Finding, seen: Streams, failed: bool) -> str:
    """Say which stretch is in two streams."""
    if finding.state == "too small":
        return f"streams of {finding['size']:,} neurons are too short"
    note = f" (1 in {finding['sampled']} windows examined)" if finding["sampled"] > 1 else ""
    longest: Stretch | None = finding.numbers.get("longest")
    if longest is None:
        return f"detects a stretch of {finding['reach']:,} neurons in two streams (power 0.9){note}"
    places = []
    for place in (longest.first, longest.second):
        stream = int(np.searchsorted(finding["ends"], place, side="right"))
        inside = place - (int(finding["ends"][stream - 1]) if stream else 0)
        call, neuron = divmod(inside, finding["widths"][stream])
        places.append(f"{seen.names[stream]} from call {call:,}, neuron {neuron:,}")
    return f"{places[0]}, and {places[1]}, share {longest.length:,} elements{note}"


STREAMS = Check(
    "overlaps",
    measure_streams,
    explain_streams,
    decides=True,
    whole_masks=True,
    about="whether a long stretch of one stream occurs anywhere in another",
    quantity="neurons in the longest shared stretch",
)
