"""Laws whose neurons depend on each other: pairs by their exact chance, counts by bounds from mean and variance."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats.auditing import nulls, wording
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.report import Result
from dropstats.laws import Law
from dropstats.laws.base import parts_of

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Fewest masks on which a spread of counts, or pairs of neurons, are judged.
_FEWEST_MASKS = 20


def has_counts(law: Law) -> bool:
    """Return whether the law of the number of dropped neurons can be had (DropBlock's cannot on large maps)."""
    try:
        law.dropped  # noqa: B018
    except ValueError:
        return False
    return True


def variance(law: Law) -> float:
    """Return the exact variance of the number of dropped neurons, also where their law cannot be had."""
    if parts_of(law):
        return math.fsum(map(variance, parts_of(law)))
    own = getattr(law, "variance", None)
    return float(law.dropped.var() if own is None else own)


def tails(total: ArrayLike, masks: ArrayLike, most: float, mean: float, variance: float) -> tuple[Floats, Floats]:
    """Return bounds on P(S <= total) and P(S >= total), S a sum of independent counts from 0 to `most`.

    Each is the smaller of Cantelli's v / (v + t^2) and Bernstein's exp(-t^2 / (2 v + 2 m t / 3)), v the variance of S
    and m the most by which a count lies on that side of its mean.

    Notes
    -----
    S. Boucheron, G. Lugosi, P. Massart (2013). Concentration inequalities. Oxford University Press, theorem 2.10 and
    exercise 2.3. doi:10.1093/acprof:oso/9780199535255.001.0001
    """
    masks = np.asarray(masks, dtype=np.float64)
    beyond, v = np.asarray(total, dtype=np.float64) - masks * mean, masks * variance

    def bound(t: Floats, reach: float) -> Floats:
        t = np.maximum(t, 0)
        safe = np.where(t > 0, 2 * v + 2 * reach * t / 3, 1.0)
        cantelli = np.where(t > 0, v / np.where(t > 0, v + t * t, 1.0), 1.0)
        return np.asarray(np.minimum(cantelli, np.exp(-t * t / np.where(safe > 0, safe, 1e-300))))

    return bound(-beyond, mean), bound(beyond, most - mean)


def detectable_rate(law: Law, masks: int, level: float) -> float | None:
    """Return the smallest shift of the rate that the bounds see with power 0.9, None where not even 1 is seen."""
    mean, spread = float(np.sum(law.rates)), math.sqrt(masks * variance(law))
    log, reach = math.log(2 / level), max(mean, law.n - mean)
    needed = log * reach / 3 + math.sqrt((log * reach / 3) ** 2 + 2 * log * spread**2)
    shift = (needed + nulls.normal_quantile(1 - nulls.POWER) * spread) / (masks * law.n)
    return shift if shift < 1 - mean / law.n else None


def _nothing(law: Law) -> float:
    """Return the probability that nothing is dropped, exact for every law."""
    if parts_of(law):
        return math.prod(map(_nothing, parts_of(law)))
    return law.prob(dropped=0)


def dispersion(seen: Evidence, law: Law) -> Result:
    """Null: the counts' squared deviations, and how many masks drop nothing, are the law's. Bounds, and exact.

    For a law of which the counts' exact variance is known and their probabilities are not. Needs 20 masks.
    """
    mean, spread, n = float(np.sum(law.rates)), variance(law), seen.n
    most = max(mean, n - mean) ** 2
    squares = (seen.mask_drops - mean) ** 2
    # a score X from 0 to m has E X^2 <= m E X
    bounds = tails(float(squares.sum()), seen.trials, most, spread, most * spread - spread**2)
    empty, chance = int((seen.mask_drops == 0).sum()), _nothing(law)
    empty_p = float(nulls.binomial(empty, seen.trials, chance))
    pvalue = nulls.bonferroni(float(nulls.two_sided(*bounds)), empty_p)
    ratio = float(squares.mean()) / spread
    sees_empty = float(nulls.binomial(0, seen.trials, chance)) <= seen.level / 2
    how = "by a bound from the exact variance, and by how many drop nothing"
    if pvalue <= seen.level:
        message = f"counts vary {ratio:.3g} times as much as the law has it"
        if empty_p <= pvalue:
            message = f"{empty:,} masks drop nothing, where {seen.trials * chance:,.1f} are expected; {message}"
    elif seen.trials < _FEWEST_MASKS or not sees_empty:
        message = f"{seen.trials} masks are too few to judge the spread of their counts {how}"
        return Result("dispersion", "inconclusive", pvalue, None, ratio, 1.0, None, message)
    else:
        message = f"judged {how}"
    return Result("dispersion", "pass", pvalue, None, ratio, 1.0, None, message)


def rows(seen: Evidence, law: Law) -> Result:
    """Null: the counts of the first, the worst and of runs of successive masks have the law's mean. Bounds.

    Runs of 2^k masks from either end on, two-sided; Bonferroni. For a law of which only the exact variance is known.
    """
    counts, trials, mean, spread = seen.mask_drops, seen.trials, float(np.sum(law.rates)), variance(law)
    each = nulls.two_sided(*tails(counts, 1, seen.n, mean, spread))
    worst = int(np.argmin(each))
    worst_p = min(1.0, float(each[worst]) * trials)
    sums, best, runs, run, size = np.concatenate([[0], np.cumsum(counts)]), 1.0, 0, None, 2
    while size <= trials // 2:
        for offset in {0, trials % size}:
            first = np.arange(offset, trials - size + 1, size)
            p = nulls.two_sided(*tails(sums[first + size] - sums[first], size, seen.n, mean, spread))
            at, runs = int(np.argmin(p)), runs + first.size
            if p[at] < best:
                best, run = float(p[at]), (int(first[at]), int(first[at]) + size)
        size *= 2
    run_p = min(1.0, runs * best) if run else None
    pvalue = nulls.bonferroni(worst_p, float(each[0]), run_p)
    if pvalue <= seen.level:
        message = wording.rows(seen, mean, worst, worst_p, run, 1.0 if run_p is None else run_p)
    else:
        message = f"the most unusual mask is that of call {worst}; by bounds from the exact variance"
    return Result("rows", "pass", pvalue, None, float(counts[worst]), mean, None, message)


def pairs(seen: Evidence, law: Law, gram: NDArray[np.float32], columns: Ints, trials: int) -> Result:
    """Null: neurons j, k are dropped together Bin(trials, p_j p_k + covariance) times. Exact, two-sided, Bonferroni."""
    rates = law.rates[columns]
    best: tuple[float, int, int, float] = (1.0, 0, 1, 0.0)
    for j in range(columns.size - 1):
        later = np.arange(j + 1, columns.size)
        covariance: Any = law.covariance(columns[j], columns[later])
        chance = np.clip(covariance + rates[j] * rates[later], 0, 1)
        both = gram[j, later].astype(np.float64)
        # the pair that stands out most by the normal law is judged exactly; half a neuron as for independent ones
        z = np.abs(both - trials * chance) / (np.sqrt(trials * chance * (1 - chance)) + 0.5)
        at = int(np.argmax(z))
        p = float(nulls.binomial(both[at], trials, chance[at]))
        best = min(best, (p, j, int(later[at]), trials * float(chance[at])))
    tested = columns.size * (columns.size - 1) // 2
    pvalue = min(1.0, best[0] * tested)
    j, k = int(columns[best[1]]), int(columns[best[2]])
    both_dropped, expected = float(gram[best[1], best[2]]), best[3]
    typical = float(np.median(rates))
    equal = float(nulls.binomial(round(trials * typical), trials, typical**2))
    sampled = "" if columns.size == seen.n and trials == seen.trials else f" ({tested:,} pairs looked at)"
    if pvalue <= seen.level:
        classes = np.full(seen.n, -1, np.int64)
        message = wording.pairs(seen, j, k, int(both_dropped), expected, classes, False) + sampled
    elif trials < _FEWEST_MASKS or equal * tested > seen.level:
        message = f"{trials} masks are too few to see even two neurons that always drop together"
        return Result("pairs", "inconclusive", pvalue, None, both_dropped, expected, None, message)
    else:
        message = f"most unusual: neurons {j} and {k}, by the law's own covariance{sampled}"
    return Result("pairs", "pass", pvalue, None, both_dropped, expected, None, message)
