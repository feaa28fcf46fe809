"""Test `dispersion`: the number of dropped neurons varies from mask to mask as under the law."""

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Fewest masks at which the spread of their counts is judged: the variance is then known to a third.
_FEWEST = 20


def measure(case: Case) -> Finding:
    """Null: the counts of dropped neurons are independent draws from `law.dropped`. Exact.

    Two statistics are tested (Bonferroni): the sum of squared deviations from the law's mean, two-sided, by exact
    convolution; and the most unusual frequency of a count, P(count = k) against Bin(trials, pmf(k)). If the count has
    no closed form under the law, the first is a bound from its exact variance, and the second uses only the masks that
    drop nothing. Catches a fixed count, whole channels, a rate that differs from call to call, steps without dropout,
    and masks that are never empty. Needs 20 masks.
    """
    law, seen = case.law, case.seen
    if not law.has_counts:
        return _by_bounds(case)
    mean, variance = float(law.dropped.mean()), float(law.dropped.var())
    if variance == 0:
        return _of_fixed_count(case, mean)
    support, pmf = nulls.window(law.dropped, case.n)
    observed = nulls.histogram(seen.mask_drops, support)
    scores = nulls.squared_deviation(support, mean, variance)
    spread = float(nulls.two_sided(*nulls.score_sum_tails([(scores, pmf, observed)])))
    fit, value = _worst_frequency(observed, pmf, case.trials)
    pvalue = nulls.bonferroni(spread, fit)
    ratio = float(np.mean((seen.mask_drops - mean) ** 2)) / variance
    excess, most = float(pmf @ scores**2) - 1, float(scores.max())
    detectable = nulls.detectable_variance(case.trials, excess, case.level / 2, most)
    numbers = {"value": int(support[0]) + value, "by_frequency": fit <= spread}
    if case.trials < _FEWEST or detectable is None:
        return too_small("masks", pvalue=pvalue, observed=ratio, expected=1.0, numbers=numbers)
    return Finding(pvalue, ratio, 1.0, detectable, numbers=numbers)


def _of_fixed_count(case: Case, mean: float) -> Finding:
    """Judge the counts under a law that drops always the same number: one other count is one too many."""
    if case.law.independent:
        return not_applicable(f"no {case.unit.one} has a chance to differ")
    other = int(np.count_nonzero(case.seen.mask_drops != round(mean)))
    return Finding(float(not other), float(other), 0.0, numbers={"fixed": mean})


def _worst_frequency(observed: Ints, pmf: Floats, trials: int) -> tuple[float, int]:
    """Return the p-value of the least likely frequency among the counts, and the index of the count."""
    impossible = np.flatnonzero((pmf == 0) & (observed > 0))
    if impossible.size:
        return 0.0, int(impossible[0])
    likely = np.flatnonzero(pmf * trials >= 1)  # rarer counts are left to the squared deviation
    if not likely.size:
        return 1.0, 0
    p = nulls.binomial(observed[likely], trials, pmf[likely])
    at = int(np.argmin(p))
    return min(1.0, float(p[at]) * likely.size), int(likely[at])


def _by_bounds(case: Case) -> Finding:
    """Judge the counts by their exact variance, and by how many masks drop nothing."""
    law, n = case.law, case.n
    mean, spread = float(np.sum(law.rates)), float(law.variance)
    most = max(mean, n - mean) ** 2
    squares = (case.seen.mask_drops - mean) ** 2
    # a score X from 0 to m has E X^2 <= m E X
    bounds = nulls.bounded_tails(float(squares.sum()), case.trials, most, spread, most * spread - spread**2)
    empty, chance = int((case.seen.mask_drops == 0).sum()), float(np.exp(law.log_prob_mask(np.ones((1, n), bool))[0]))
    empty_p = float(nulls.binomial(empty, case.trials, chance))
    squares_p = float(nulls.two_sided(*bounds))
    ratio = float(squares.mean()) / spread
    sees_empty = float(nulls.binomial(0, case.trials, chance)) <= case.level / 2
    numbers = {"empty": empty, "expected_empty": case.trials * chance, "by_empty": empty_p <= squares_p}
    pvalue = nulls.bonferroni(squares_p, empty_p)
    if case.trials < _FEWEST or not sees_empty:
        return too_small("masks", pvalue=pvalue, observed=ratio, expected=1.0, numbers=numbers)
    return Finding(pvalue, ratio, 1.0, numbers=numbers)


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say how the counts of dropped neurons vary."""
    numbers = finding.numbers
    if "fixed" in numbers:
        count = f"{numbers['fixed']:,.6g} {case.unit.many}"
        return f"{finding.observed:,.0f} masks do not drop {count}" if failed else f"every mask drops {count}"
    how = " by a bound from the exact variance, and by the number that drop nothing" if "empty" in numbers else ""
    if failed:
        return _departure(finding, case)
    if finding.state == "too small":
        few = "mask is" if case.trials == 1 else "masks are"
        return f"{case.trials:,} {few} too few to test the variance of the counts{how}"
    if how:
        return f"tested{how}"
    return f"detects a change of the variance of the counts of {words.percent(finding.detectable or 0)[1:]} (power 0.9)"


def _departure(finding: Finding, case: Case) -> str:
    counts, law, ratio = case.seen.mask_drops, case.law, float(finding.observed or 0)
    factor = f"the variance of the counts is {ratio:.3g} times the law's"
    if "empty" in finding.numbers:
        if not finding["by_empty"]:
            return factor
        none = words.counted(finding["empty"], "mask")
        return f"{none} drop nothing, where {finding['expected_empty']:,.1f} are expected; {factor}"
    if case.trials > 1 and (counts == counts[0]).all():
        same = case.seen.period == 1
        return (
            "every mask is the same" if same else f"every mask drops exactly {int(counts[0]):,} neurons: a fixed count"
        )
    value, times = finding["value"], int((counts == finding["value"]).sum())
    if finding["by_frequency"] and law.dropped.pmf(value) == 0:
        return f"{words.counted(times, 'mask')} drop {value:,} {case.unit.many}, which the law rules out"
    together = words.together(case) if ratio > 1 else ""
    if together:
        return f"{together}; {factor}"
    empty = np.flatnonzero(counts == 0)
    if empty.size > 3 * case.trials * float(law.dropped.pmf(0)) + 1:
        where = f"call {int(empty[0])}" if empty.size == 1 else f"{empty.size:,} calls, the first {int(empty[0])}"
        return f"nothing is dropped in {where}; {factor}"
    for end, what in ((case.n, "drops everything"), (0, "drops nothing")):
        expected = case.trials * float(law.dropped.pmf(end))
        if expected > 5 and not (counts == end).any():
            return f"no mask {what}, where {expected:,.0f} are expected: such masks seem to be prevented"
    if finding["by_frequency"]:
        expected = case.trials * float(law.dropped.pmf(value))
        return f"{words.counted(times, 'mask')} drop {value:,} {case.unit.many}, where {expected:,.1f} are expected"
    if ratio > 1:
        return f"{factor}: the rate differs from call to call, or {case.unit.many} depend on each other"
    return f"{factor}: the counts are kept close to their mean"


CHECK = Check(
    "dispersion",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    excused="by the rate",
    about="whether the number of dropped neurons varies from mask to mask as under the law",
    quantity="variance of the counts, divided by the law's",
)
