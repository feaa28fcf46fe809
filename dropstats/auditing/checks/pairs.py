"""Test `pairs`: any two neurons are dropped together as often as under the law."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing import nulls, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small
from dropstats.auditing.joint import (
    NEURONS,
    Gram,
    Worst,
    at_strides,
    chance_of,
    joint_drops,
    statistic,
    worst_of_equal_rates,
    worst_of_unlike_rates,
)
from dropstats.counts import Binomial

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# The sum of all squared correlations is judged where a pair is expected this often, on so many neurons.
_TOTAL_EXPECTED, _TOTAL_NEURONS = 5, 32
# Fewest masks on which pairs of neurons that depend on each other are judged.
_FEWEST_MASKS = 20
# Pairs of neurons that depend on each other are looked at so many at a time.
_ENTRIES = 2**18
# Parts of the test, for which its p-value is corrected.
_PARTS = 3


def measure(case: Case) -> Finding:
    """Null: any two neurons j, k are dropped together Bin(trials, p_j p_k) times. Exact, two-sided, Bonferroni.

    Tested are: the most unusual pair (of all pairs up to a few thousand neurons; beyond that, of neighbours, strides
    and a sample of a few thousand neurons); neurons with identical histories; and the sum of all squared correlations.
    The count is that of joint drops for p < 1/4, of joint keeps for p > 3/4, and of agreements in between, whichever is
    most informative. If neurons depend on each other, the probability is p_j p_k plus the covariance under the law.
    Catches broadcast or copied neurons, whole channels, and a shared random rate. Needs enough masks to detect two
    equal neurons.
    """
    if case.free < 2:
        return not_applicable(f"fewer than two {case.unit.many} with 0 < p < 1")
    if case.n > NEURONS and _hopeless(case):
        return too_small("masks", numbers={"trials": case.trials})
    gram, columns, trials = joint_drops(case)
    if not case.law.independent:
        try:
            return _of_dependent(case, gram, columns, trials)
        except NotImplementedError:
            return not_applicable("the law of pairs has no closed form here")
    rates, rate = case.law.rates, case.law.rate
    equal, equal_p = _equal_histories(case, rates)
    counts = np.diagonal(gram).astype(np.int64)
    if rate is not None:
        worst = worst_of_equal_rates(gram, counts, rate, trials)
    else:
        worst = worst_of_unlike_rates(gram, rates[columns], trials)
    worst = replace(worst, first=int(columns[worst.first]), second=int(columns[worst.second]))
    if columns.size < case.n:
        other = at_strides(case, rates)
        tested = worst.tested + other.tested
        worst = replace(min(worst, other, key=lambda one: one.pvalue), tested=tested)
    worst_p = min(1.0, worst.pvalue * worst.tested)
    total = _total(gram, counts, rate, trials) if rate is not None else None
    pvalue = nulls.bonferroni(worst_p, equal_p, total)
    numbers = {
        "worst": worst, "classes": equal, "by_history": equal_p <= max(worst_p, case.level / _PARTS), "trials": trials,
        "sampled": worst.tested if columns.size < case.n or trials < case.trials else 0,
    }  # fmt: skip
    fields: dict[str, Any] = {"pvalue": pvalue, "observed": worst.both, "expected": worst.expected, "numbers": numbers}
    if not _sees_equal(float(np.median(rates)), trials, case.level / (_PARTS * worst.tested)):
        return too_small("masks", **fields)
    return Finding(**fields)


def _hopeless(case: Case) -> bool:
    """Return whether so few masks can show nothing: no pair, and no sum of squared correlations."""
    rate = float(np.median(case.law.rates)) if case.law.rate is None else case.law.rate
    if case.trials * min(rate, 1 - rate) ** 2 >= _TOTAL_EXPECTED or not case.law.independent:
        return False
    return bool(2 * chance_of(rate, rate, statistic(rate)) ** case.trials * (case.n - 1) > case.level)


def _equal_histories(case: Case, rates: Floats) -> tuple[Ints, float]:
    """Return the classes of neurons with one history, and a bound on the chance of so many equal pairs.

    E(pairs) = sum over pairs of (p_j p_k + q_j q_k)^trials, and P(pairs >= c) <= E / c (Markov). Neurons never or
    always dropped are left to the test of positions.
    """
    seen = case.seen
    constant = (seen.neuron_drops == 0) | (seen.neuron_drops == case.trials)
    neurons = np.flatnonzero(~constant)
    classes = np.full(case.n, -1, np.int64)
    _, where, sizes = np.unique(seen.neuron_hashes[neurons], return_inverse=True, return_counts=True)
    classes[neurons] = np.where(sizes[where] > 1, where, -1)
    pairs_equal = int((sizes * (sizes - 1) // 2).sum())
    if not pairs_equal:
        return classes, 1.0
    # a pair agrees most often where both rates are the most extreme one
    most = float(np.maximum(rates, 1 - rates).max())
    log_expected = math.log(case.n) + math.log(max(case.n - 1, 1)) - math.log(2)
    log_expected += case.trials * math.log(most * most + (1 - most) * (1 - most)) if most < 1 else 0.0
    return classes, math.exp(min(0.0, log_expected - math.log(pairs_equal)))


def _total(gram: Gram, counts: Ints, p: float, trials: int) -> float | None:
    """Return a bound on the chance of so large (or small) a sum of squared correlations; None where it says nothing.

    U = trials * sum of r_jk^2 has mean C(n, 2) and variance C(n, 2)(2 + (k^2 - 3)/T) + n(n - 1)(n - 2)(k - 1)/T with
    k = (1 - 3pq)/(pq). Its tail is bounded by its sixth moment, taken as 4 times the normal distribution's 15: wide on
    purpose.
    """
    n, pq = counts.size, p * (1 - p)
    if n < _TOTAL_NEURONS or trials * min(p, 1 - p) ** 2 < _TOTAL_EXPECTED:
        return None
    single = counts.astype(np.float64)
    squares = 0.0
    for j in range(n):  # row by row, so that no second matrix is held
        row = gram[j, j + 1 :] - p * (single[j] + single[j + 1 :]) + trials * p * p
        squares += float(row @ row)
    total = squares / (pq * pq * trials)
    k = (1 - 3 * pq) / pq
    half = n * (n - 1) / 2
    variance = half * (2 + (k * k - 3) / trials) + n * (n - 1) * (n - 2) * (k - 1) / trials
    z = (total - half) / math.sqrt(variance)
    return min(1.0, 60 / max(abs(z), 1) ** 6)


def _sees_equal(p: float, trials: int, level: float) -> bool:
    """Return whether two equal neurons would be seen with power 0.9."""
    if not 0 < p < 1:
        return True
    what = statistic(p)
    together = {"dropped": p, "kept": 1 - p, "agree": 1.0}[what]
    # a count that equal neurons exceed with power 0.9, or reach if they do in every mask
    reached = trials if together == 1 else max(int(Binomial(trials, together).ppf(1 - nulls.POWER)) - 1, 0)
    return bool(nulls.binomial(reached, trials, float(chance_of(p, p, what))) <= level)


def _of_dependent(case: Case, gram: Gram, columns: Ints, trials: int) -> Finding:
    """Judge pairs of neurons that depend on each other by the chance that the law's covariance gives them."""
    law = case.law
    rates = law.rates[columns]
    found = []
    for start in range(0, columns.size - 1, step := max(1, _ENTRIES // columns.size)):
        first, second = np.arange(start, min(start + step, columns.size - 1)), np.arange(start + 1, columns.size)
        chance = law.covariance(columns[first, None], columns[second]) + rates[first, None] * rates[second]
        chance = np.clip(chance, 0, 1)
        both = gram[first[0] : first[-1] + 1, start + 1 :].astype(np.float64)
        # the pair that stands out most by the normal distribution is judged exactly, as for independent neurons
        z = np.abs(both - trials * chance) / (np.sqrt(trials * chance * (1 - chance)) + 0.5)
        z[second <= first[:, None]] = -1
        row, at = np.arange(first.size), np.argmax(z, axis=1)
        found.append(np.stack([first, second[at], both[row, at], chance[row, at]]))
    first, second, both, chance = np.concatenate(found, axis=1)
    p = nulls.binomial(both, trials, chance)
    k = int(np.argmin(p))
    places = int(columns[int(first[k])]), int(columns[int(second[k])])
    best = Worst(float(p[k]), *places, int(both[k]), trials * float(chance[k]), 0)
    tested = columns.size * (columns.size - 1) // 2
    pvalue = min(1.0, best.pvalue * tested)
    typical = float(np.median(rates))
    equal = float(nulls.binomial(round(trials * typical), trials, typical**2))
    sampled = tested if columns.size < case.n or trials < case.trials else 0
    numbers = {"worst": best, "classes": None, "by_history": False, "trials": trials, "sampled": sampled}
    fields: dict[str, Any] = {"pvalue": pvalue, "observed": best.both, "expected": best.expected, "numbers": numbers}
    if trials < _FEWEST_MASKS or equal * tested > case.level:
        return too_small("masks", **fields)
    return Finding(**fields)


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say which neurons drop together."""
    if finding.state == "too small" and not failed:
        few = "mask is" if finding["trials"] == 1 else "masks are"
        return f"{finding['trials']:,} {few} too few to detect even two {case.unit.many} that always drop together"
    worst = finding["worst"]
    sampled = f" ({finding['sampled']:,} pairs examined)" if finding["sampled"] else ""
    if failed:
        return _departure(finding, case) + sampled
    how = "" if case.law.independent else ", given the covariance of the law"
    return f"most unusual: {case.unit.many} {worst.first} and {worst.second}{how}{sampled}"


def _departure(finding: Finding, case: Case) -> str:
    together = "every mask is the same" if case.seen.period == 1 else words.together(case)
    if together:
        return together
    worst, classes = finding["worst"], finding["classes"]
    if finding["by_history"] and (classes >= 0).any():
        order = np.argsort(classes, kind="stable")
        order = order[classes[order] >= 0]
        same = classes[order[1:]] == classes[order[:-1]]
        first, second = order[:-1][same], order[1:][same]
        apart = np.unique(second - first)
        text = f"{case.unit.many} {int(first[0])} and {int(second[0])} always drop together"
        if first.size > 1:
            text += f" ({first.size:,} such pairs{f', all {int(apart[0]):,} apart' if apart.size == 1 else ''})"
        return text
    text = f"{case.unit.many} {worst.first} and {worst.second} drop together in {words.counted(worst.both, 'mask')}"
    return f"{text}, where {worst.expected:,.4g} are expected"


CHECK = Check(
    "pairs",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    excused="by the rate",
    about="whether any two neurons are dropped together as often as under the law",
    quantity="masks that drop both neurons of the most unusual pair",
)
