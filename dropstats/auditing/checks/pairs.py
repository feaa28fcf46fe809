"""pairs: are any two neurons dropped together more, or less, often than the law has it?"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import nulls, words
from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Gram = NDArray[np.float32]

# All pairs of neurons are formed where this takes no more multiplications than about a second's.
_WORK = 2e10
_NEURONS = 4096
# Pairs at fixed strides are counted over the first masks, up to so many neurons in all, in pieces of so many.
_STRIDES_NEURONS, _PIECE = 2**27, 2**22
# The sum of all squared correlations is judged where a pair is expected this often, on so many neurons.
_TOTAL_EXPECTED, _TOTAL_NEURONS = 5, 32
# Pairs that stand out most by the normal distribution are judged exactly where rates differ.
_JUDGED = 1000
# Fewest masks on which pairs of neurons that depend on each other are judged.
_FEWEST_MASKS = 20
# Parts of the test, for which its p-value is corrected.
_PARTS = 3


@dataclass(frozen=True)
class Worst:
    """The pair of the smallest p-value: how often both were dropped, the expectation, and of how many pairs it is."""

    pvalue: float
    first: int
    second: int
    both: int
    expected: float
    tested: int


def measure(case: Case) -> Finding:
    """Null: any two neurons j, k are dropped together Bin(trials, p_j p_k) times. Exact, two-sided, Bonferroni.

    The worst pair (of all up to a few thousand neurons; beyond, of neighbours, strides and a few thousand neurons),
    neurons with one and the same history, and the sum of all squared correlations. Pairs dropped together are counted
    for p < 1/4, kept together for p > 3/4, agreeing in between: the count with the most to say. Of neurons that depend on
    each other the chance is p_j p_k plus the law's covariance. Catches broadcast or copied neurons, whole channels, a
    common rate. Needs enough masks to see two equal neurons.
    """
    if case.n < 2 or case.law.rate in (0.0, 1.0):
        return not_applicable(f"no two {case.unit.many} with a chance to differ")
    if case.n > _NEURONS and _hopeless(case):
        return too_small("masks", numbers={"trials": case.trials})
    gram, columns, trials = _gram(case)
    if not case.law.independent:
        return _of_dependent(case, gram, columns, trials)
    rates, rate = case.law.rates, case.law.rate
    equal, equal_p = _equal_histories(case, rates)
    counts = np.diagonal(gram).astype(np.int64)
    if rate is not None:
        worst = _worst_of_equal_rates(gram, counts, rate, trials)
    else:
        worst = _worst_of_unlike_rates(gram, rates[columns], trials)
    worst = Worst(worst.pvalue, int(columns[worst.first]), int(columns[worst.second]), *_rest(worst))
    if columns.size < case.n:
        other = _at_strides(case, rates)
        best = min(worst, other, key=lambda one: one.pvalue)
        worst = Worst(best.pvalue, best.first, best.second, best.both, best.expected, worst.tested + other.tested)
    worst_p = min(1.0, worst.pvalue * worst.tested)
    total = _total(gram, counts, rate, trials) if rate is not None else None
    pvalue = nulls.bonferroni(worst_p, equal_p, total)
    numbers = {
        "worst": worst, "classes": equal, "by_history": equal_p <= worst_p, "trials": trials,
        "sampled": worst.tested if columns.size < case.n or trials < case.trials else 0,
    }  # fmt: skip
    fields: dict[str, Any] = {"pvalue": pvalue, "observed": worst.both, "expected": worst.expected, "numbers": numbers}
    if not _sees_equal(float(np.median(rates)), trials, case.level / (_PARTS * worst.tested)):
        return too_small("masks", **fields)
    return Finding(**fields)


def _rest(worst: Worst) -> tuple[int, float, int]:
    return worst.both, worst.expected, worst.tested


def _hopeless(case: Case) -> bool:
    """Return whether so few masks can show nothing: no pair, and no sum of squared correlations."""
    rate = float(np.median(case.law.rates)) if case.law.rate is None else case.law.rate
    if case.trials * min(rate, 1 - rate) ** 2 >= _TOTAL_EXPECTED or not case.law.independent:
        return False
    return 2 * _chance(rate, rate, _statistic(rate)) ** case.trials * (case.n - 1) > case.level


def _gram(case: Case) -> tuple[Gram, Ints, int]:
    """Return the matrix of how often neurons drop together, the neurons, and over how many masks."""
    n, trials = case.n, case.trials
    columns = np.arange(min(n, _NEURONS))
    if n > _NEURONS:  # both ends and a spread over the rest
        third = int(min(_NEURONS, math.sqrt(_WORK / trials))) // 3
        middle = np.linspace(0, n - 1, third).astype(np.int64)
        columns = np.unique(np.concatenate([np.arange(third), np.arange(n - third, n), middle]))
    trials = int(min(trials, max(1000, _WORK // columns.size**2), 2**24))
    gram: Gram = np.zeros((columns.size, columns.size), np.float32)
    step = max(1, 2**25 // columns.size)
    for start in range(0, trials, step):  # sums of up to 2^24 ones are exact in float32
        stop = min(start + step, trials)
        if columns.size == n:
            block = case.seen.drops_of(start, stop).astype(np.float32)
        else:
            block = case.seen.recording.calls(start, stop).neurons(columns).masks().astype(np.float32)
            np.subtract(1, block, out=block)
        gram += block.T @ block
    return gram, columns, trials


def _statistic(p: float) -> str:
    return "dropped" if p < 0.25 else "kept" if p > 0.75 else "agree"


def _counted(both: Any, first: Any, second: Any, trials: int, what: str) -> Any:
    """Return how often two neurons are dropped together, kept together, or agree."""
    if what == "dropped":
        return both
    return trials - first - second + (1 if what == "kept" else 2) * both


def _chance(p: Any, r: Any, what: str) -> Any:
    if what == "dropped":
        return p * r
    if what == "kept":
        return (1 - p) * (1 - r)
    return p * r + (1 - p) * (1 - r)


def _worst_of_equal_rates(gram: Gram, counts: Ints, p: float, trials: int) -> Worst:
    """Return the worst pair where all rates are equal: the extremes of the count are the worst."""
    what = _statistic(p)
    single = counts.astype(np.float32)
    table = gram.copy() if what == "dropped" else _counted(gram, single[:, None], single[None, :], trials, what)
    chance = float(_chance(p, p, what))
    found: list[tuple[float, tuple[int, int]]] = []
    for fill, pick in ((-np.inf, np.argmax), (np.inf, np.argmin)):
        np.fill_diagonal(table, fill)
        at = np.unravel_index(int(pick(table)), table.shape)
        found.append((float(nulls.binomial(float(table[at]), trials, chance)), (int(min(at)), int(max(at)))))
    value, (j, k) = min(found)
    return Worst(value, j, k, int(gram[j, k]), trials * p * p, counts.size * (counts.size - 1) // 2)


def _worst_of_unlike_rates(gram: Gram, rates: Floats, trials: int) -> Worst:
    """Return the worst pair where rates differ: those that stand out most by the normal distribution, judged exactly."""
    chance = np.outer(rates, rates)
    deviation = np.sqrt(np.maximum(trials * chance * (1 - chance), 1e-300))
    # half a neuron keeps pairs that are never expected and occur once from filling the list
    z = np.abs(gram - trials * chance) / (deviation + 0.5)
    first, second = np.triu_indices(rates.size, 1)
    top = np.argsort(z[first, second])[-_JUDGED:]
    j, k = first[top], second[top]
    p = nulls.binomial(gram[j, k], trials, chance[j, k])
    at = int(np.argmin(p))
    j, k = int(j[at]), int(k[at])
    return Worst(float(p[at]), j, k, int(gram[j, k]), trials * float(chance[j, k]), first.size)


def _at_strides(case: Case, rates: Floats) -> Worst:
    """Return the worst pair of neurons 1, 2, 4, ... apart, of all neurons of a large layer, over its first masks."""
    n, rate = case.n, case.law.rate
    trials = min(case.trials, max(1, _STRIDES_NEURONS // n))
    drops = case.seen.drops_of(0, trials)
    what = _statistic(float(rates[0]))
    best, tested = Worst(1.0, 0, 1, 0, trials * float(rates[0] * rates[1]), 0), 0
    for stride in (2**i for i in range(int(math.log2(n)))):
        tested += n - stride
        for start in range(0, n - stride, _PIECE):
            left = slice(start, min(start + _PIECE, n - stride))
            right = slice(left.start + stride, left.stop + stride)
            both, first, second = _joint(drops[:, left], drops[:, right], what)
            count = _counted(both, first, second, trials, what)
            # where rates are equal, only the extremes can be the worst
            at = np.array([count.argmin(), count.argmax()]) if rate is not None else np.arange(count.size)
            j, k = at + left.start, at + right.start
            values = nulls.binomial(count[at], trials, _chance(rates[j], rates[k], what))
            worst = int(np.argmin(values))
            if values[worst] < best.pvalue:
                a, b = int(j[worst]), int(k[worst])
                expected = trials * float(rates[a] * rates[b])
                best = Worst(float(values[worst]), a, b, int(both[at[worst]]), expected, 0)
    return Worst(best.pvalue, best.first, best.second, best.both, best.expected, tested)


def _joint(left: NDArray[np.uint8], right: NDArray[np.uint8], what: str) -> tuple[Ints, Any, Any]:
    """Return how often neurons of two equally wide pieces were both dropped, and each of them where that is needed."""
    sums = [np.zeros(left.shape[1], np.int64) for _ in range(1 if what == "dropped" else 3)]
    for start in range(0, left.shape[0], 255):  # 255 sums of bits fit a byte
        a, b = left[start : start + 255], right[start : start + 255]
        for total, part in zip(sums, (a & b, a, b), strict=False):
            total += part.sum(axis=0, dtype=np.uint8)
    return (sums[0], 0, 0) if what == "dropped" else (sums[0], sums[1], sums[2])


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
    what = _statistic(p)
    together = {"dropped": p, "kept": 1 - p, "agree": 1.0}[what]
    # the count that equal neurons reach with power 0.9
    reached = trials if together == 1 else int(special.bdtrik(1 - nulls.POWER, trials, together))
    return bool(nulls.binomial(reached, trials, float(_chance(p, p, what))) <= level)


def _of_dependent(case: Case, gram: Gram, columns: Ints, trials: int) -> Finding:
    """Judge pairs of neurons that depend on each other by the chance that the law's covariance gives them."""
    law = case.law
    rates = law.rates[columns]
    best = Worst(1.0, 0, 1, 0, 0.0, 0)
    for j in range(columns.size - 1):
        later = np.arange(j + 1, columns.size)
        chance = np.clip(law.covariance(columns[j], columns[later]) + rates[j] * rates[later], 0, 1)
        both = gram[j, later].astype(np.float64)
        # the pair that stands out most by the normal distribution is judged exactly; half a neuron as for independent ones
        z = np.abs(both - trials * chance) / (np.sqrt(trials * chance * (1 - chance)) + 0.5)
        at = int(np.argmax(z))
        p = float(nulls.binomial(both[at], trials, chance[at]))
        if p < best.pvalue or j == 0:
            first, second = int(columns[j]), int(columns[later[at]])
            best = Worst(p, first, second, int(both[at]), trials * float(chance[at]), 0)
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
    if finding.state == "not applicable":
        return str(finding["why"])
    if finding.state == "too small" and not failed:
        few = "mask is" if finding["trials"] == 1 else "masks are"
        return f"{finding['trials']:,} {few} too few to see even two {case.unit.many} that always drop together"
    worst = finding["worst"]
    sampled = f" ({finding['sampled']:,} pairs looked at)" if finding["sampled"] else ""
    if failed:
        return _departure(finding, case) + sampled
    how = "" if case.law.independent else ", by the law's own covariance"
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


CHECK = Check("pairs", measure, explain, dependence=True, whole_masks=True, excused="by the rate")
