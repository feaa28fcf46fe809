"""Audit of several recordings against each other: ranks, layers, seeds, forward and recomputed, eager and compiled."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from dropstats import _validate
from dropstats.auditing import comparing, nulls, stream_wording
from dropstats.auditing.copies import Stretch, _equal_windows, _follow
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.report import Report, Result, holm

if TYPE_CHECKING:
    pass


def audit_streams(
    streams: Mapping[Any, Any],
    expect: str = "independent",
    *,
    p: float | None = None,
    false_alarm: float = 1e-3,
) -> Report:
    """Decide whether the masks of several streams are independent of each other, or identical, as they should be.

    Independent should be the streams of data-parallel ranks, of layers, of seeds; identical those of
    a forward pass and its recomputation, of eager and compiled code, of tensor-parallel ranks.

    - `agreement`: two streams' masks of one call agree in Bin(N, p^2 + q^2) of N neurons (exact, two-sided; with a
      wrong rate, given the two rates), for every pair of streams;
    - `copies`: a mask of one stream is that of another at whatever call (conservative);
    - `overlaps`: a stretch of one stream occurs in another at whatever place (conservative, a union bound);
    - `transposed`, for streams with keys (layer, step): the masks of (i, j) and (j, i) agree as independent ones do;
    - `identical`, instead of all these, for streams that should be: not a bit differs.

    Parameters
    ----------
    streams : mapping of a name, or of a pair (layer, step), to a Recording or an array of masks
        At least two, of masks of one number of neurons. Of unequally many calls the first common ones are compared.
    expect : {'independent', 'identical'}
    p : float, optional
        Declared drop probability, in place of the recordings' own.
    false_alarm : float
        Probability, in (0, 1), that streams which are as expected fail.

    Returns
    -------
    Report
        Print it for a table.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two streams, or their masks differ in shape.

    Examples
    --------
    >>> from dropstats import Layer
    >>> layer = Layer(1000, 0.1)
    >>> ranks = {f"rank {k}": layer.sample(100, rng=seed) for k, seed in enumerate((1, 2, 1))}
    >>> print(audit_streams(ranks, p=0.1)["agreement"].message)
    rank 0 and rank 2 have identical masks
    """
    if expect not in ("independent", "identical"):
        raise ValueError(f"expect must be 'independent' or 'identical'; got {expect!r}")
    false_alarm = _validate.probability(false_alarm, "false_alarm")
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm must be in (0, 1); got {false_alarm!r}")
    seen = _streams(streams, p)
    if expect == "identical":
        results: tuple[Result, ...] = (_identical(seen),)
    else:
        tests = [agreement, equal_masks, overlaps] + ([transposed] if seen.grid else [])
        seen = replace(seen, level=false_alarm / len(tests))
        results = holm(tuple(test(seen) for test in tests), false_alarm)
    drops, judged = sum(r.dropped for r in seen.recordings), sum(r.judged for r in seen.recordings)
    rates = {recording.p for recording in seen.recordings}
    return Report(
        trials=seen.trials,
        n=seen.n,
        p=rates.pop() if len(rates) == 1 else None,
        observed_rate=drops / judged if judged else math.nan,
        false_alarm=false_alarm,
        results=results,
        source=f"{len(seen.names)} streams: {stream_wording.listed(seen.names)}",
        notes=seen.notes,
        evidence=seen,
    )


def _streams(streams: Any, p: float | None) -> comparing.Streams:
    """Return the recordings, made comparable."""
    from dropstats.recording import Recording

    if not isinstance(streams, Mapping):
        raise TypeError(f"streams must be a mapping of names to recordings; got {type(streams).__name__}")
    if len(streams) < 2:
        raise ValueError(f"streams must be at least two; got {len(streams)}")
    keys = tuple(streams)
    names = tuple(f"({', '.join(map(str, key))})" if isinstance(key, tuple) else str(key) for key in keys)
    given = [one if isinstance(one, Recording) else Recording.from_masks(one) for one in streams.values()]
    for name, one in zip(names, given, strict=True):
        if one.n != given[0].n or not one.n:
            raise ValueError(
                f"streams must have masks of one number of neurons, at least 1; got {given[0].n} in {names[0]!r} "
                f"and {one.n} in {name!r}"
            )
    if p is not None:
        p = _validate.probability(p)
        given = [replace(one, p=p) for one in given]
    notes: tuple[str, ...] = ()
    trials = min(one.trials for one in given)
    if any(one.trials > trials for one in given):
        longest = max(one.trials for one in given)
        notes = (f"compared over the first {trials:,} calls, which all streams have (the longest has {longest:,})",)
        given = [comparing.calls(one, trials) for one in given]
    return comparing.Streams(names, tuple(given), keys, comparing.transposed_pairs(keys), notes)


def _judge(seen: comparing.Streams, name: str, pairs: list[comparing.Pair]) -> tuple[Result, list[comparing.Agreement]]:
    """Return the worst agreement among pairs, by Bonferroni, and the agreements that are significant."""
    level = seen.level / len(pairs)
    found = [comparing.compare(seen, pair) for pair in pairs]
    pvalues = [comparing.agreement_pvalue(seen, one, level) for one in found]
    for k, one in enumerate(found):
        if pvalues[k] <= level and 0 < one.agree < one.size:
            pvalues[k] = comparing.agreement_pvalue(seen, one, level, comparing.inflation(seen, one.pair))
    # of equally small p-values the one farthest off
    worst = min(
        range(len(found)),
        key=lambda k: (pvalues[k], -abs(found[k].rate - (comparing.expected_agreement(seen, pairs[k]) or 0))),
    )
    one, pvalue = found[worst], min(1.0, pvalues[worst] * len(pairs))
    expected = comparing.expected_agreement(seen, one.pair)
    if expected is None:
        expected = one.expected_given
    if expected in (0.0, 1.0):
        return Result(name, "not applicable", message="all masks are alike at these rates"), []
    if one.size * math.log(max(expected, 1 - expected)) > math.log(level / 2):
        message = f"{one.size:,} neurons are too few: even complete agreement could be chance"
        return Result(name, "inconclusive", pvalue, None, one.rate, expected, None, message), []
    detectable = nulls.detectable_rate(expected, one.size, level)
    off = [agreement for agreement, value in zip(found, pvalues, strict=True) if value <= level]
    result = Result(name, "pass", pvalue, None, one.rate, expected, detectable)
    return result, off or [one]


def agreement(seen: comparing.Streams) -> Result:
    """Null: two streams' masks of one call are independent: Bin(N, p^2 + q^2) neurons agree. Exact, two-sided."""
    pairs, total = comparing.all_pairs(len(seen.names))
    result, off = _judge(seen, "agreement", pairs)
    if not off:
        return result
    if result.pvalue is not None and result.pvalue <= seen.level:
        return replace(result, message=stream_wording.agreement(seen, off))
    which = "the two streams" if total == 1 else f"{len(pairs):,} pairs of streams"
    message = f"{which} agree as independent ones do"
    if total > len(pairs):
        message += f" ({total:,} pairs in all)"
    return replace(result, message=message + _would_have_seen(result))


def _would_have_seen(result: Result) -> str:
    return "" if result.detectable is None else f"; would have seen {result.detectable:.2g} more or less"


def transposed(seen: comparing.Streams) -> Result:
    """Null: the mask of layer i at step j is independent of that of layer j at step i. Exact, two-sided.

    Catches keys into which layer and step enter alike, such as a seed of layer + step.
    """
    result, off = _judge(seen, "transposed", list(seen.grid))
    if not off:
        return result
    if result.pvalue is not None and result.pvalue <= seen.level:
        same = [one for one in off if one.agree == one.size]
        a, b = (seen.keys[index] for index in (same or off)[0].pair)
        what = "are identical" if same else f"agree in {100 * off[0].rate:.4g}% of neurons"
        count = f" ({len(same or off):,} of {len(seen.grid):,} such pairs)"
        return replace(
            result, message=f"masks of (layer, step) {a} and {b} {what}{count}{stream_wording.seed(seen, same)}"
        )
    which = "the transposed pair agrees as an independent one does"
    if len(seen.grid) > 1:
        which = f"{len(seen.grid):,} transposed pairs agree as independent ones do"
    return replace(result, message=which + _would_have_seen(result))


def equal_masks(seen: comparing.Streams) -> Result:
    """Null: a mask of one stream equals one of another, at any two calls, as rarely as chance has it. Conservative.

    Given its number of drops y, each of the C(n, y) placings of a mask is equally likely, whatever the rate. So the
    expected number of equal pairs is the sum over y of the pairs with y drops each, divided by C(n, y), and the
    p-value is Markov's bound.
    """
    if comparing.unknown(seen):
        return Result("copies", "not applicable", message="some neurons are not known to be dropped or kept")
    drops = np.stack([Evidence(recording).mask_drops for recording in seen.recordings])
    expected = 0.0
    for y in np.unique(drops):
        per_stream = (drops == y).sum(axis=1).astype(np.float64)
        log_cells = special.gammaln(seen.n + 1) - special.gammaln(y + 1) - special.gammaln(seen.n - y + 1)
        expected += (per_stream.sum() ** 2 - (per_stream**2).sum()) / 2 * math.exp(-max(log_cells, 0.0))
    first, second = comparing.equal_pairs(comparing.mask_hashes(seen))
    pairs = len(seen.names) * (len(seen.names) - 1) // 2
    if expected > seen.level * pairs * seen.trials:
        message = f"masks of so few neurons are equal anyway: {expected:,.3g} pairs expected to"
        return Result("copies", "inconclusive", None, None, float(first.size), expected, None, message)
    pvalue = min(1.0, expected / first.size) if first.size else 1.0
    if pvalue <= seen.level:
        message = stream_wording.copies(seen, first, second)
    else:
        message = "no mask of one stream is one of another" if not first.size else "no more equal masks than by chance"
    return Result("copies", "pass", pvalue, None, float(first.size), expected, None, message)


def overlaps(seen: comparing.Streams) -> Result:
    """Null: no long stretch of one stream occurs in another. Conservative (a union bound), one-sided, linear time.

    As in the test `repeats` of `audit`, over the streams one after the other.
    """
    if comparing.unknown(seen):
        return Result("overlaps", "not applicable", message="some neurons are not known to be dropped or kept")
    together = replace(
        seen.recordings[0],
        trials=seen.trials * len(seen.names),
        packed=np.concatenate([recording.packed for recording in seen.recordings]),
    )
    evidence = Evidence(together, seen.level)
    size = together.trials * seen.n
    rates = [r for one in seen.recordings for r in (one.p, one.dropped / max(one.judged, 1)) if r is not None]
    kind = 1 if float(np.mean(rates)) <= 0.5 else 0
    # the largest of the declared and the observed rates: agreement is likeliest there
    s = min(max(rates) if kind else 1 - min(rates), 0.75)
    if not min(rates) < 1 or not max(rates) > 0:
        return Result("overlaps", "not applicable", message="all masks are alike at this rate")
    log_places = 2 * math.log(size) + 2 * math.log(s) - math.log(2)
    log_agree = math.log(s / (2 - s))
    window = max(4, math.ceil((log_places - math.log(seen.level)) / -log_agree))
    if window / s > seen.size / 4:
        message = f"streams of {seen.size:,} neurons are too short"
        return Result("overlaps", "inconclusive", message=message)
    positions, partners, sampled = _equal_windows(evidence, kind, window)
    note = f" (one window in {sampled} looked at)" if sampled > 1 else ""
    across = positions // seen.size != partners // seen.size
    if not across.any():
        message = f"no stretch of {math.ceil(window / s):,} neurons is in two streams{note}"
        return Result("overlaps", "pass", 1.0, None, 0.0, 0.0, None, message)
    stretches = _follow(evidence, positions[across], partners[across])
    longest = max((_within(stretch, seen.size) for stretch in stretches), key=lambda stretch: stretch.length)
    drops = evidence.elements(longest.first, longest.first + longest.length)
    pvalue = math.exp(min(0.0, log_places + (int(np.count_nonzero(drops == kind)) - 1) * log_agree))
    message = stream_wording.overlaps(seen, longest) + note
    return Result("overlaps", "pass", pvalue, None, float(longest.length), 0.0, None, message)


def _within(stretch: Stretch, size: int) -> Stretch:
    """Return the longest part of a stretch that is in one stream, each time, and in two different ones."""
    ends = {0, stretch.length}
    for place in (stretch.first, stretch.second):
        ends |= set(range(-place % size, stretch.length, size))
    cuts = sorted(ends)
    parts = [Stretch(stretch.first + a, stretch.second + a, b - a) for a, b in pairwise(cuts)]
    return max(parts, key=lambda part: part.length * (part.first // size != part.second // size))


def _identical(seen: comparing.Streams) -> Result:
    """Null: all streams have the same masks. Not a bit may differ: there is no p-value."""
    found = [comparing.compare(seen, (0, k)) for k in range(1, len(seen.names))]
    worst = min(found, key=lambda one: one.rate)
    if not worst.size:
        return Result("identical", "inconclusive", message="no neuron is known in two streams")
    if worst.agree == worst.size:
        message = f"all {len(seen.names)} streams have the same {seen.trials:,} masks"
        return Result("identical", "pass", None, None, 1.0, 1.0, None, message)
    return Result("identical", "fail", None, None, worst.rate, 1.0, None, stream_wording.identical(seen, worst, found))
