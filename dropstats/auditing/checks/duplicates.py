"""Test `duplicates`: equal masks are as rare as under the law."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import nulls, words
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small
from dropstats.auditing.order import tabulated
from dropstats.auditing.streams import Streams, equal_pairs
from dropstats.laws import Law, Layer
from dropstats.recording import Recording

# Masks whose probability is formed at a time hold about this many neurons.
_BLOCK = 2**24


def measure(case: Case) -> Finding:
    """Null: masks are independent, so that equal masks are as rare as under the law. Conservative, one-sided.

    Given its number of drops y, a mask is equally likely to be any of C(n, y) masks. The number of masks that equal an
    earlier one is then at most a sum of independent Bernoulli variables with probabilities (i - 1) / C(n, y), where i
    counts the masks with y drops; its tail is bounded by Chernoff's method. A wrong rate, few neurons or a small p
    therefore cause no alarm, although equal masks may be common. If rates differ, Markov's bound on the number of equal
    pairs is used; if neurons depend on each other, a bound from the probability of each observed mask. Catches frozen
    seeds, periods, replayed steps and a small number of seeds. Needs masks that are rarely equal by chance.
    """
    if case.trials < 2:
        return too_small("one mask")
    law = case.law
    if not law.independent:
        return _of_dependent(case)
    sizes = case.seen.distinct_masks()
    pairs = float((sizes * (sizes - 1.0) / 2).sum())
    log_pairs = math.log(case.trials) + math.log(case.trials - 1) - math.log(2)
    expected = math.exp(min(log_pairs + law.log_prob_equal, 700.0))
    if law.rate is None:
        mean = expected
        pvalue = min(1.0, expected / pairs) if pairs else 1.0
    else:
        mean = expected_repeats(case.n, case.seen.mask_drops)
        pvalue = nulls.event_bound(int(case.trials - sizes.size), mean)
    fields: dict[str, Any] = {"pvalue": pvalue, "observed": pairs, "expected": expected}
    return too_small("common", **fields) if mean > case.trials / 4 else Finding(**fields)


def _of_dependent(case: Case) -> Finding:
    """Judge how many masks equal an earlier one by the probability that the law gives each mask, or a bound on it.

    Masks that drop nothing, or everything, are left to the test of dispersion. Where the law forbids a mask, its
    probability is taken as that of all masks with as many drops, equally likely.
    """
    drops = case.seen.mask_drops
    _, first, where = np.unique(case.seen.mask_hashes, return_index=True, return_inverse=True)
    ordinary = (drops > 0) & (drops < case.n)
    again = ordinary & (first[where] != np.arange(case.trials))
    log_chance = np.concatenate([case.law.log_prob_mask(masks) for masks in _blocks(case)])
    log_chance = np.where(np.isneginf(log_chance), -log_placings(case.n, drops.astype(np.float64)), log_chance)
    new = np.zeros(case.trials)
    new[first] = np.exp(log_chance[first]) * ordinary[first]
    # the conditional chance of each mask to equal an earlier one, given these
    expected = float(np.minimum(1.0, np.cumsum(new)[:-1]).sum())
    pvalue = nulls.repeats_bound(int(again.sum()), expected)
    fields: dict[str, Any] = {"pvalue": pvalue, "observed": float(again.sum()), "expected": expected}
    return too_small("common", **fields) if expected > case.trials / 4 else Finding(**fields)


def _blocks(case: Case) -> Iterator[NDArray[np.bool_]]:
    step = max(1, _BLOCK // case.n)
    for start in range(0, case.trials, step):
        yield case.seen.recording.masks(start, start + step)


def expected_repeats(n: int, mask_drops: NDArray[np.int64]) -> float:
    """Return the sum of min(1, (i - 1) / C(n, y)) over masks: a bound on the expected number of repeated masks."""
    drops, masks = tabulated(mask_drops)
    y = drops.astype(np.float64)
    cells = np.exp(np.minimum(log_placings(n, y), 700.0))
    # gammaln leaves C(n, 0) = C(n, n) = 1 off by its rounding
    cells = np.where((y == 0) | (y == n), 1.0, cells * (1 - 1e-9))
    h = masks.astype(np.float64)
    within = np.minimum(h, np.floor(cells) + 1)  # from here on each mask may repeat with certainty
    return float((within * (within - 1) / 2 / cells + (h - within)).sum())


def log_placings(n: int, drops: Any) -> Any:
    """Return log C(n, drops)."""
    return special.gammaln(n + 1.0) - special.gammaln(drops + 1) - special.gammaln(n - drops + 1)


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say which masks are equal."""
    if finding.state == "too small" and not failed:
        if finding["why"] == "one mask":
            return "a single mask has no other to compare with"
        return f"masks are too small: {finding.expected:,.0f} equal pairs are expected by chance"
    if failed:
        return _departure(finding, case)
    return "no two masks are equal" if not finding.observed else "no more equal masks than expected by chance"


def _departure(finding: Finding, case: Case) -> str:
    if again := words.repeating(case):
        return again
    hashes, pairs = case.seen.mask_hashes, int(finding.observed or 0)
    order = np.argsort(hashes, kind="stable")
    at = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    first, second = min(zip(order[at].tolist(), order[at + 1].tolist(), strict=True))
    text = f"calls {first:,} and {second:,} have the same mask"
    if pairs > 1:
        text += f" ({pairs:,} equal pairs, {finding.expected:.2g} expected)"
    lag = order[at + 1] - order[at]
    if at.size > 2 and (lag == 1).all():
        return f"{text}: successive calls share a mask"
    if np.unique(hashes[order[at]]).size >= 3 and at.size >= 3 and not (lag == lag[0]).all():
        seeds = case.trials * (case.trials - 1) / 2 / pairs  # so many, equally likely, leave so many equal pairs
        text += f": as if drawn from about {words.about(seeds)} seeds"
    return text


CHECK = Check(
    "duplicates",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    about="whether masks of different calls are equal more often than by chance",
    quantity="pairs of equal masks",
)


# ---- several streams -------------------------------------------------------------------------------------------------


def measure_streams(seen: Streams) -> Finding:
    """Null: masks of different streams, at any two calls, are equal as rarely as by chance. Conservative.

    Given its number of drops y, a mask is equally likely to be any of C(n, y) masks, whatever the rate. The expected
    number of equal pairs is the sum over y of the pairs with y drops each, divided by C(n, y), and the p-value is
    Markov's bound. If rates differ, or neurons depend on each other, the probability of each mask of an earlier stream
    under the law is used instead.
    """
    if not seen.one_width:
        return not_applicable("masks of different widths are never equal")
    first, second = equal_pairs(seen.mask_hashes)
    fields: dict[str, Any] = {"observed": float(first.size)}
    if not seen.alike:
        repeated, expected = _across(seen)
        pvalue, common = nulls.repeats_bound(repeated, expected), expected > seen.trials / 4
    else:
        drops = np.stack([one.mask_drops() for one, _ in seen.reduced])
        width, count, expected = seen.reduced[0][0].n, len(seen.names), 0.0
        for y in np.unique(drops):
            per_stream = (drops == y).sum(axis=1).astype(np.float64)
            log_cells = float(log_placings(width, float(y)))
            expected += (per_stream.sum() ** 2 - (per_stream**2).sum()) / 2 * math.exp(-max(log_cells, 0.0))
        common = expected > seen.level * count * (count - 1) / 2 * seen.trials
        pvalue = min(1.0, expected / first.size) if first.size else 1.0
    if common:
        return too_small("common", expected=expected, **fields)
    return Finding(pvalue, expected=expected, numbers={"first": first, "second": second}, **fields)


def _across(seen: Streams) -> tuple[int, float]:
    """Return how many masks are those of an earlier stream, and the sum of the chances of that.

    A mask equals one of the earlier streams' with the probability that its own law gives to all of these; a stream that
    declares nothing has the rate that was observed. Masks that drop nothing, or everything, are left aside, as for one
    stream.
    """
    recordings = [recording for recording, _ in seen.reduced]
    laws = [Layer(one.n, one.dropped / one.judged) if law is None else law for one, law in seen.reduced]
    drops = np.stack([one.mask_drops() for one in recordings])
    ordinary = (drops > 0) & (drops < recordings[0].n)
    first = np.zeros(drops.size, bool)  # whether a mask occurs there for the first time
    first[np.unique(seen.mask_hashes, return_index=True)[1]] = True
    first = first.reshape(drops.shape) & ordinary
    repeated, expected = 0, 0.0
    sums: dict[Any, list[float]] = {}  # of the chances that a law gives to the new masks of each stream
    for place, law in enumerate(laws[1:], 1):
        own, earlier = (seen.mask_hashes[rows][ordinary[rows]] for rows in (place, slice(0, place)))
        repeated += int(np.isin(own, earlier).sum())
        known = sums.setdefault(law, [])
        known += [_chance(recordings[k], first[k], law) for k in range(len(known), place)]
        expected += seen.trials * min(1.0, math.fsum(known))
    return repeated, expected


def _chance(recording: Recording, some: NDArray[np.bool_], law: Law) -> float:
    """Return the probability that a law gives to some of the masks of a recording, all together."""
    case = Case(Evidence(recording), law)
    return float(np.exp(np.concatenate([law.log_prob_mask(masks) for masks in _blocks(case)]))[some].sum())


def explain_streams(finding: Finding, seen: Streams, failed: bool) -> str:
    """Say which masks of different streams are equal, by the most common lag of calls."""
    if finding.state == "too small":
        return f"masks are too small: {finding.expected:,.3g} equal pairs are expected by chance"
    if not failed:
        none = "no mask of one stream is one of another"
        return "no more equal masks than expected by chance" if finding.observed else none
    trials, first, second = seen.trials, finding["first"], finding["second"]
    found = np.stack([first // trials, second // trials, second % trials - first % trials], axis=1)
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    a, b, lag = kinds[int(np.argmax(counts))].tolist()
    count, common = int(counts.max()), trials - abs(lag)
    if count < 2 or count < common // 2:
        places = [(seen.names[place // trials], place % trials) for place in (int(first[0]), int(second[0]))]
        text = " and ".join(f"{name} at call {call:,}" for name, call in places)
        return f"{text} have the same mask ({words.counted(first.size, 'such pair')})"
    behind, ahead = (b, a) if lag > 0 else (a, b)
    if lag == 0:
        text = f"{seen.names[a]} and {seen.names[b]} have the same masks"
    else:
        text = f"{seen.names[behind]} has {seen.names[ahead]}'s masks {words.counted(abs(lag), 'call')} later"
    more = f"; {first.size:,} equal pairs in all" if first.size > count else ""
    return f"{text} ({count:,} of {common:,}{more})"


STREAMS = Check(
    "duplicates",
    measure_streams,
    explain_streams,
    decides=True,
    whole_masks=True,
    about="whether masks of different streams are equal more often than by chance",
    quantity="pairs of equal masks",
)
