"""Test `drift`: the counts stay at the law's from the first call to the last."""

from typing import Any

import numpy as np

from dropstats.auditing import nulls
from dropstats.auditing.checks.positions import widened, worst_run
from dropstats.auditing.finding import Case, Check, Finding, too_small

# Fewest neurons that calls without a drop must be expected to drop, before these are called dead.
_DEAD = 10


def measure(case: Case) -> Finding:
    """Null: the counts of the first, the worst and of runs of successive masks follow the law. Exact.

    The first mask, the worst one (Sidak), and the worst of runs of 2, 4, 8, ... masks from either end on, two-sided;
    Bonferroni. Bounds from the exact variance where the law of the count has no closed form. Catches drift, warm-up and
    dead steps. Needs 2 masks.
    """
    law, counts, trials = case.law, case.seen.mask_drops, case.trials
    if trials < 2:
        return too_small("one mask")
    mean = float(law.dropped.mean()) if law.has_counts else float(np.sum(law.rates))
    if law.has_counts:
        values, where = np.unique(counts, return_inverse=True)
        each = nulls.two_sided(*nulls.count_tails(law.dropped, values))
        each = widened(each, values, case.n, mean / case.n, case.design_effect)[where]
        worst_p = nulls.sidak(float(each.min()), trials)
        run_p, run = None, None
        if law.rate is not None and law.independent:
            size, rates = np.broadcast_to(np.int64(case.n), (trials,)), np.broadcast_to(np.float64(law.rate), (trials,))
            run_p, run = worst_run(counts, size, rates, case.design_effect)
    else:
        each = nulls.two_sided(*nulls.bounded_tails(counts, 1, case.n, mean, law.variance))
        worst_p = min(1.0, float(each.min()) * trials)
        run_p, run = _worst_run_by_bounds(case, mean)
    worst = int(np.argmin(each))
    pvalue = nulls.bonferroni(worst_p, float(each[0]), run_p)
    numbers = {"worst": worst, "worst_p": worst_p, "run": run, "run_p": 1.0 if run_p is None else run_p, "mean": mean}
    return Finding(pvalue, float(counts[worst]), mean, numbers=numbers)


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
    dead = int(np.argmax(counts > 0)) if counts.any() else case.trials
    if dead == case.trials:
        return "no call drops anything"
    if dead and mean * dead > _DEAD:
        return (
            "call 0 drops nothing"
            if dead == 1
            else f"calls 0 to {dead - 1} drop nothing: warm-up steps without dropout"
        )
    if finding["run"] is not None and finding["run_p"] < finding["worst_p"]:
        first, stop = finding["run"]
        observed = f"calls {first} to {stop - 1} drop {float(counts[first:stop].mean()):,.6g} {case.unit.many} each"
        return f"{observed}, where {mean:,.6g} are expected: drift"
    return f"call {worst} drops {int(counts[worst]):,} {case.unit.many}, where {mean:,.6g} are expected"


CHECK = Check("drift", measure, explain, whole_masks=True, excused="by the rate", widened=True)
