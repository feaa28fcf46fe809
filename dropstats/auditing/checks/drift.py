"""Test `drift`: the number of dropped neurons stays the same over the calls, without trend, period or memory."""

from typing import Any

import numpy as np

from dropstats.auditing import nulls, order, words
from dropstats.auditing.checks.positions import widened, worst_run
from dropstats.auditing.finding import Case, Check, Finding, too_small
from dropstats.auditing.order import Departure, Spread

# Fewest neurons that calls without a drop must be expected to drop, before these are called dead.
_DEAD = 10


def measure(case: Case) -> Finding:
    """Null: the counts of dropped neurons are independent draws from their law. Counts: exact; order: bounds.

    Tested are (Bonferroni): the first mask; the most unusual mask (Sidak); the most unusual of the first and last 2, 4,
    8, ... masks; the linear trend, the largest line of the periodogram and the largest autocorrelation of the counts.
    The first three are two-sided and exact, or bounds from the exact variance if the count has no closed form; the
    others are conservative (Bennett, Freedman). Catches drift, warm-up, steps without dropout, a periodic rate, and
    calls that share their count. Needs 2 masks.
    """
    counts, trials = case.seen.mask_drops, case.trials
    if trials < 2:
        return too_small("one mask")
    law = case.law
    mean = float(law.dropped.mean()) if law.has_counts else float(np.sum(law.rates))
    first_p, worst, worst_p, run, run_p = _single(case, mean)
    found = _in_order(case, mean)
    pvalue = nulls.bonferroni(first_p, worst_p, run_p, *(one.pvalue for one in found.values()))
    single = {"worst": worst_p, "run": 1.0 if run_p is None else run_p}
    # of equally small p-values the plainest: an order of the calls says more than a single one
    kind = min([*found, *single], key=lambda name: found[name].pvalue if name in found else single[name])
    numbers = {"worst": worst, "run": run, "kind": kind, "order": found.get(kind), "mean": mean}
    return Finding(pvalue, float(counts[worst]), mean, numbers=numbers)


def _single(case: Case, mean: float) -> tuple[float, int, float, Any, float | None]:
    """Return p-values of the first mask, of the worst one and of the worst run of masks, with the places of these."""
    law, counts, trials = case.law, case.seen.mask_drops, case.trials
    values, _ = order.tabulated(counts)
    if not law.has_counts:
        each = nulls.two_sided(*nulls.bounded_tails(values, 1, case.n, mean, law.variance))
        worst_p = min(1.0, float(each.min()) * trials)
        run_p, run = _worst_run_by_bounds(case, mean)
    else:
        each = nulls.two_sided(*nulls.count_tails(law.dropped, values))
        each = widened(each, values, case.n, mean / case.n, case.design_effect)
        worst_p = nulls.sidak(float(each.min()), trials)
        run_p, run = None, None
        if law.rate is not None and law.independent:
            size, rates = np.broadcast_to(np.int64(case.n), (trials,)), np.broadcast_to(np.float64(law.rate), (trials,))
            run_p, run = worst_run(counts, size, rates, case.design_effect)
    first_p = float(each[np.searchsorted(values, counts[0])])
    return first_p, int(np.argmax(counts == values[np.argmin(each)])), worst_p, run, run_p


def _in_order(case: Case, mean: float) -> dict[str, Departure]:
    """Return the trend of the counts over the calls, their largest line and their largest autocorrelation."""
    law = case.law
    variance = float(law.variance) * case.mask_effect
    if not variance:
        return {}
    spread = Spread(mean, variance, 1.0 if law.independent else max(mean, case.n - mean))
    line, correlation = order.waves(case.seen.mask_drops, spread)
    return {"trend": order.trend(case.seen.mask_drops, spread), "line": line, "correlation": correlation}


def _worst_run_by_bounds(case: Case, mean: float) -> tuple[float | None, Any]:
    """Return the p-value of the worst run of 2^k masks from either end on, by bounds, and its ends."""
    trials, spread = case.trials, case.law.variance
    sums = np.concatenate([[0], np.cumsum(case.seen.mask_drops)])
    best, runs, run, size = 1.0, 0, None, 2
    while size <= trials // 2:
        for offset in {0, trials % size}:
            first = np.arange(offset, trials - size + 1, size)
            p = nulls.two_sided(*nulls.bounded_tails(sums[first + size] - sums[first], size, case.n, mean, spread))
            at, runs = int(np.argmin(p)), runs + first.size
            if p[at] < best:
                best, run = float(p[at]), (int(first[at]), int(first[at]) + size)
        size *= 2
    return (min(1.0, runs * best), run) if run else (None, None)


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say which calls drop too much or too little."""
    if finding.state == "too small":
        return "a single mask shows no drift"
    counts, worst, mean = case.seen.mask_drops, finding["worst"], finding["mean"]
    if not failed:
        how = "" if case.law.has_counts else "; by bounds from the exact variance"
        return f"the most unusual mask is that of call {worst}{how}"
    if not counts.any():
        return "no call drops anything"
    dead, full = int(np.argmax(counts > 0)), int(np.argmax(counts < case.n))
    if dead and mean * dead > _DEAD:
        return "call 0 drops nothing" if dead == 1 else f"{_calls(0, dead)} drop nothing: warm-up steps without dropout"
    alive = counts.size - int(np.argmax(counts[::-1] > 0))
    if mean * (counts.size - alive) > _DEAD:
        return (
            f"{_calls(alive, counts.size)} drop{'s' * (alive == counts.size - 1)} nothing: dropout is off from then on"
        )
    if full and (case.n - mean) * full > _DEAD:
        which = "call 0 drops" if full == 1 else f"{_calls(0, full)} drop"
        return f"{which} everything, where {mean:,.6g} {case.unit.many} are expected"
    if finding["order"] is not None:
        return _in_words(finding, case)
    if finding["kind"] == "run":
        first, stop = finding["run"]
        observed = f"calls {first} to {stop - 1} drop {float(counts[first:stop].mean()):,.6g} {case.unit.many} each"
        return f"{observed}, where {mean:,.6g} are expected: drift"
    return f"call {worst} drops {int(counts[worst]):,} {case.unit.many}, where {mean:,.6g} are expected"


def _calls(first: int, stop: int) -> str:
    return f"call {first}" if stop == first + 1 else f"calls {first} to {stop - 1}"


def _in_words(finding: Finding, case: Case) -> str:
    """Say how the counts change from call to call."""
    found: Departure = finding["order"]
    if finding["kind"] == "trend":
        middle, half = case.seen.rate, found.size / case.n / 2
        first, last = (
            words.shown_rate(rate, case.seen.judged) for rate in (max(middle - half, 0.0), min(middle + half, 1.0))
        )
        return f"the rate drifts from {first} at the first call to {last} at the last: a linear trend"
    if again := words.repeating(case):
        return again
    if finding["kind"] == "line":
        swing = words.percent(found.size / finding["mean"])[1:]
        return f"the rate oscillates by {swing} with a period of {found.at:,.4g} calls"
    which = "successive calls" if found.at == 1 else f"calls {found.at:,.0f} apart"
    return f"the counts of {which} have correlation {found.size:.3g}"


CHECK = Check(
    "drift",
    measure,
    explain,
    whole_masks=True,
    excused="by the rate",
    widened=True,
    about="whether the drop rate stays constant from the first call to the last",
    quantity="dropped neurons in the most unusual mask",
)
