"""Test `lags`: the masks of different calls are independent of each other."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dropstats.auditing import nulls, words
from dropstats.auditing.checks.rate import surely_off
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small
from dropstats.auditing.histories import Carried, carried

# The lags that stand out most in the screen are judged exactly: more would add nothing, as one is enough to fail.
_JUDGED = 4
# Laws of unlike rates are convolved mask by mask up to this many neurons in all, beyond for so many distinct rates.
_CONVOLVED, _DISTINCT = 2**22, 64
# At most so many calls, the first ones, are looked at.
_CALLS = 2**23


def measure(case: Case) -> Finding:
    """Null: masks of different calls are independent. Exact on two halves of disjoint pairs of calls, Bonferroni.

    The correlation of masks k calls apart is computed for every k by FFT. The largest ones are then tested by the
    number of neurons dropped in both calls, given the drops, separately for calls with floor(t / k) even and odd. If
    rates differ, or exactly k of n neurons are dropped, the distribution of that number under the law is used; for
    other laws, independent neurons only. A second, conservative test (Markov) looks for neurons that repeat what
    another neuron did 1 to 8 calls before, among all pairs, by hashes of their histories. Catches sticky and repeated
    masks, and calls that overlap by a few neurons. Needs enough neurons to detect equal masks.
    """
    if case.trials > _CALLS:
        case = case.but(seen=Evidence(case.seen.recording.calls(0, _CALLS)))
    pairs, finding = carried(case), _of_lags(judgeable(case))
    if pairs is None or finding.pvalue is None:
        return finding
    numbers = {**finding.numbers, "carried": pairs if pairs.pvalue < finding.pvalue else None}
    return replace(finding, pvalue=nulls.bonferroni(finding.pvalue, pairs.pvalue), numbers=numbers)


def _of_lags(case: Case) -> Finding:
    seen, rate = case.seen, case.law.rate
    if not case.free or not 0 < seen.rate < 1:
        return not_applicable("all masks are alike at this rate")
    if case.trials < 2:
        return too_small("one mask")
    correlation = seen.lag_correlation(None if rate is not None else case.law.rates)
    error = 1 / np.sqrt(case.n * np.arange(case.trials, 0, -1, dtype=np.float64))
    standing_out = np.abs(correlation) / error
    standing_out[0] = 0
    judged = np.argsort(standing_out)[-_JUDGED:][::-1]
    tested = 2 * (case.trials - 1)
    best, lag = min((_pvalue(case, int(k)), int(k)) for k in judged if k)
    pvalue = min(1.0, best * tested)
    if case.mask_effect > 1:  # neurons of a mask that depend on each other agree, or not, together
        widened = nulls.normal_two_sided(float(correlation[lag] / error[lag]) / math.sqrt(case.mask_effect))
        pvalue = max(pvalue, min(1.0, widened * tested))
    detectable = _seen(case, case.level / tested)
    observed = float(correlation[lag])
    numbers = {"lag": lag, "neurons": case.n, "screened": seen.lag_columns.size, "calls": case.trials}
    fields: dict[str, Any] = {"pvalue": pvalue, "observed": observed, "expected": 0.0, "numbers": numbers}
    return too_small("neurons", **fields) if detectable > 1 else Finding(detectable=detectable, **fields)


def _seen(case: Case, level: float) -> float:
    """Return the smallest correlation, at a short lag, that is seen with power 0.9 by one of the two halves."""
    law, calls, tries = case.law, max(case.trials // 2, 1), min(case.trials - 1.0, 2.0)
    if law.rate is not None and law.independent:
        pairs, rarer = calls * case.n, min(case.seen.rate, 1 - case.seen.rate)
        mean, variance, most = pairs * rarer**2, pairs * (rarer * (1 - rarer)) ** 2, pairs * rarer
    else:
        one: Any = case.shared
        mean, variance, most = calls * float(one.mean()), calls * float(one.var()), calls * float(np.sum(law.rates))
        # both halves have the masks in common, and with them what is not the rates' own: how many each mask drops
        own = calls * float(np.sum((law.rates * (1 - law.rates)) ** 2))
        tries = min(tries, 1 + own / max(variance, own, 1e-300))  # of rates below 1e-150 both are 0
    seen = nulls.detectable_correlation(mean, variance, most, level, tries)
    if case.mask_effect == 1:
        return seen
    error = math.sqrt(case.mask_effect / (case.n * (case.trials - 1)))
    return max(seen, error * (nulls.normal_quantile(level / 2) + nulls.normal_quantile(1 - nulls.POWER)))


def judgeable(case: Case) -> Case:
    """Return the case of the neurons whose number dropped in both of two calls has a law."""
    if case.shared is None or (not case.law.independent and surely_off(case)):
        case = case.apart
    if case.law.rate is not None or case.n * case.trials <= _CONVOLVED:
        return case
    if case.law.independent and np.unique(case.law.rates).size > _DISTINCT:
        return case.of_neurons(np.linspace(0, case.n - 1, max(1, _CONVOLVED // case.trials)).astype(np.int64))
    return case


def _pvalue(case: Case, lag: int) -> float:
    """Return the smaller exact p-value of the two halves of disjoint pairs of calls `lag` apart."""
    pairs_of_calls = case.trials - lag
    packed, dropped = case.seen.recording.packed, case.seen.mask_drops
    kept_both = np.empty(pairs_of_calls, np.int64)
    for start in range(0, pairs_of_calls, 4096):
        stop = min(start + 4096, pairs_of_calls)
        together = packed[start:stop] & packed[start + lag : stop + lag]
        kept_both[start:stop] = np.bitwise_count(together).sum(axis=1, dtype=np.int64)
    drops = dropped[:pairs_of_calls] + dropped[lag:]
    both = kept_both - case.n + drops
    half = np.arange(pairs_of_calls) // lag % 2
    best = 1.0
    for side in (0, 1):
        chosen = half == side
        calls = int(chosen.sum())
        if not calls:
            continue
        if case.law.rate is not None and case.law.independent:
            pvalue = nulls.paired(calls * case.n, int(drops[chosen].sum()), int(both[chosen].sum()))
        else:
            pvalue = _by_law(case, calls, int(both[chosen].sum()))
            if pvalue <= case.level and case.law.independent:  # a wrong rate must not pass for dependence
                pvalue = max(pvalue, _by_law(case.at_observed_rates(), calls, int(both[chosen].sum())))
        best = min(best, pvalue)
    return best


def _by_law(case: Case, calls: int, both: int) -> float:
    """Return the exact p-value of the neurons dropped in both of two calls, over `calls` disjoint pairs of calls."""
    law = case.law
    if case.n * calls > _CONVOLVED and (every := law.shared(calls)) is not None:
        return float(nulls.two_sided(*nulls.count_tails(every, both)))
    one: Any = case.shared
    pmf = np.asarray(one.pmf(np.arange(case.n + 1)), dtype=np.float64)
    return float(nulls.two_sided(*nulls.count_sum_tails(pmf, calls, both)))


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say how masks of different calls are related."""
    if finding.numbers.get("why") == "one mask":
        return "a single mask has no other to compare with"
    if failed and finding.numbers.get("carried") is not None:
        return _carried(finding["carried"], case)
    if failed:
        text = departure(finding["lag"], float(finding.observed or 0), case)
    elif finding.state == "too small":
        return f"{case.trials * finding['neurons']:,} {case.unit.many} are too few to detect even equal masks"
    else:
        text = f"detects a correlation of masks of {finding.detectable:.2g} at a short lag (power 0.9)"
    if finding["neurons"] < case.n:
        text += f" (tested on {words.counted(finding['neurons'], case.unit.one)})"
    elif finding["calls"] < case.trials:
        text += f" (first {finding['calls']:,} calls)"
    elif finding["screened"] < case.n:
        text += f" (screened on {finding['screened']:,} {case.unit.many})"
    return text


def _carried(found: Carried, case: Case) -> str:
    """Say which neurons do what others did some calls before."""
    if again := words.repeating(case):
        return again
    count, unit = found.first.size, case.unit
    later = "the next one" if found.lag == 1 else f"the one {found.lag} calls later"
    moved = np.unique(found.second - found.first)
    if moved.size == 1 and found.first[-1] - found.first[0] == count - 1:
        first, second = (words.span(int(at[0]), int(at[-1]), case) for at in (found.first, found.second))
        text = f"{first} of a call {'is' if count == 1 else 'are'} {second} of {later}"
        if found.first[-1] == found.case.n - 1 and found.second[0] == 0:
            text += f": calls overlap by {words.counted(count, unit.one)}"
    else:
        text = f"{unit.place} {int(found.first[0]):,} of a call is {unit.place} {int(found.second[0]):,} of {later}"
        text += f" ({count:,} such {unit.places})" if count > 1 else ""
    if found.case.n < case.n:
        text += f" (of {words.counted(found.case.n, unit.one)} of rate {found.case.law.rate:.4g})"
    return text


def departure(lag: int, observed: float, case: Case) -> str:
    """Say how masks some calls apart are related."""
    if again := words.repeating(case):
        return again
    if lag == 1:
        return f"masks of successive calls have correlation {observed:.3g}"
    return f"masks {lag:,} calls apart have correlation {observed:.3g}"


CHECK = Check(
    "lags",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    widened=True,
    about="whether masks of different calls are independent of each other",
    quantity="correlation of masks at the most unusual lag",
)
