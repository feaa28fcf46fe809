"""Tests of how many neurons are dropped: in all, by position, by mask, over the calls."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import dependent, nulls, wording
from dropstats.auditing.evidence import Evidence, independent, uniform_rate
from dropstats.auditing.report import Result
from dropstats.laws import Law

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Fewest expected neurons of the rarer kind at which a rate is judged (they are fewer than 0 with probability 0.7 %).
_FEWEST = 5
# Fewest masks at which the spread of their counts is judged: the variance is then known to a third.
_FEWEST_MASKS = 20
# More distinct rates than this, and the sums over neurons of unlike rates are not convolved.
_DISTINCT = 256
# Largest support over which the law of a total is convolved; beyond, the normal law is taken.
_SUPPORT = 2**22


def total_tails(seen: Evidence, law: Law) -> tuple[float, float, str]:
    """Return both tails of the total of dropped neurons under the law, and how they were formed."""
    p, masks = uniform_rate(law), seen.trials
    if p is not None and independent(law):
        low, high = nulls.binomial_tails(seen.total, seen.judged, p)
        return float(low), float(high), "exact"
    if not dependent.has_counts(law):
        mean, variance = float(np.sum(law.rates)), dependent.variance(law)
        low, high = dependent.tails(seen.total, masks, seen.n, mean, variance)
        return float(low), float(high), "bounds"
    if seen.recording.known is not None:
        from dropstats.counts import of_rates

        pieces = zip(law.rates.tolist(), seen.neuron_trials.tolist(), strict=True)
        low, high = nulls.count_tails(of_rates(pieces), seen.total)
        return float(low), float(high), "exact"
    if masks * seen.n <= _SUPPORT:
        support, pmf = np.arange(seen.n + 1), np.asarray(law.dropped.pmf(np.arange(seen.n + 1)), dtype=np.float64)
        observed = nulls.histogram(seen.mask_drops, support)
        return *nulls.count_sum_tails(pmf, masks, int(support @ observed)), "exact"
    mean, variance = float(law.dropped.mean()) * masks, float(law.dropped.var()) * masks
    if variance <= 0:
        return float(seen.total <= mean), float(seen.total >= mean), "exact"
    z = (seen.total - mean) / math.sqrt(variance)
    return nulls.normal_tail(-z), nulls.normal_tail(z), "normal"


def rate(seen: Evidence, law: Law, inflation: float = 1.0) -> Result:
    """Null: the total of dropped neurons follows the law, Bin(trials * n, p) for a layer. Exact, two-sided.

    `inflation` is by how much dependence among neurons widens the total's variance; above 1 the test is the normal
    one with the effective number of neurons. Catches a wrong p. Needs 5 neurons of the rarer kind.
    """
    judged = seen.judged
    expected = float(np.mean(law.rates)) if uniform_rate(law) is None else uniform_rate(law)
    assert expected is not None
    rarer = judged * min(expected, 1 - expected)
    if seen.tolerance:
        return _tolerant_rate(seen, expected, inflation)
    if seen.recording.known is not None and not independent(law) and 0 < expected < 1:
        expected = float(seen.neuron_trials @ law.rates) / judged
        return _dependent_rate(seen, expected, max(inflation, law_inflation(law)))
    if inflation > 1 and 0 < expected < 1:
        return _dependent_rate(seen, expected, inflation)
    low, high, how = total_tails(seen, law)
    pvalue = float(nulls.two_sided(low, high))
    if how == "bounds":
        detectable = dependent.detectable_rate(law, seen.trials, seen.level)
    else:
        detectable = nulls.detectable_rate(expected, int(judged / law_inflation(law)), seen.level)
    observed = seen.rate
    if pvalue > seen.level and 0 < expected < 1 and (rarer < _FEWEST or detectable is None):
        return Result("rate", "inconclusive", pvalue, None, observed, expected, None, wording.few(judged, rarer))
    if detectable is None:
        message = "drops none" if expected == 0 else "drops all"
    else:
        message = f"would have seen p off by {detectable:.2g}"
    if pvalue <= seen.level:
        message = wording.rate(observed, expected, judged, seen, independent(law))
    return Result("rate", "pass", pvalue, None, observed, expected, detectable, message)


def _dependent_rate(seen: Evidence, expected: float, inflation: float) -> Result:
    """Judge the rate of dependent neurons by the effective number of them, with Student's t over masks."""
    effective = seen.judged / inflation
    error = math.sqrt(expected * (1 - expected) / effective)
    t = (seen.rate - expected) / error
    # masks are the units whose spread was measured
    pvalue = nulls.student_two_sided(t, max(min(seen.trials, effective) - 1, 1))
    detectable = error * (nulls.normal_quantile(seen.level / 2) + nulls.normal_quantile(1 - nulls.POWER))
    counted = f"neurons depend on each other: {seen.judged:,} count as {effective:,.0f}"
    if effective * min(expected, 1 - expected) < _FEWEST:
        message = f"{counted}, too few to judge the rate"
        return Result("rate", "inconclusive", None, None, seen.rate, expected, None, message)
    message = f"{counted}; would have seen p off by {detectable:.2g}"
    if pvalue <= seen.level:
        message = f"{wording.rate(seen.rate, expected, effective, seen)}; {counted}"
    return Result("rate", "pass", pvalue, None, seen.rate, expected, detectable, message)


def _tolerant_rate(seen: Evidence, expected: float, inflation: float) -> Result:
    """Judge whether the rate is within the tolerance: fail, or pass, only where its interval leaves no doubt.

    D. J. Schuirmann (1987). A comparison of the two one-sided tests procedure and the power approach for assessing
    the equivalence of average bioavailability. Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
    """
    assert seen.tolerance is not None
    judged = int(seen.judged / inflation)
    count = round(seen.rate * judged)
    low, high = max(expected - seen.tolerance, 0.0), min(expected + seen.tolerance, 1.0)
    above = float(nulls.binomial_tails(count, judged, high)[1])
    below = float(nulls.binomial_tails(count, judged, low)[0])
    outside = min(1.0, 2 * min(above, below)) if not low <= seen.rate <= high else 1.0
    # to pass, the rate must be shown to lie above the lower and below the upper limit
    not_low = float(nulls.binomial_tails(count, judged, low)[1]) if low > 0 else 0.0
    not_high = float(nulls.binomial_tails(count, judged, high)[0]) if high < 1 else 0.0
    if outside <= seen.level:
        message = wording.rate(seen.rate, expected, judged, seen) + f"; more than the tolerance {seen.tolerance:g}"
    elif max(not_low, not_high) <= seen.level:
        message = f"off by {seen.rate - expected:+.2g}, surely less than the tolerance {seen.tolerance:g}"
    else:
        message = f"off by {seen.rate - expected:+.2g}; too few neurons to hold that to {seen.tolerance:g}"
        return Result("rate", "inconclusive", outside, None, seen.rate, expected, None, message)
    return Result("rate", "pass", outside, None, seen.rate, expected, seen.tolerance, message)


def positions(seen: Evidence, law: Law, inflation: float = 1.0) -> Result:
    """Null: each neuron's count of drops is Bin(trials, its rate), independently of the others'. Exact.

    The worst neuron (Sidak), the chi-square of all (exact convolution), the first and last neuron, and the worst
    run of neighbours, each side two-sided; Bonferroni over these. Catches dead tails, neurons that are never or always
    dropped, rates by position, and short periods. Needs enough masks to see a neuron that is never, or always, dropped.
    """
    counts, known, rates = seen.neuron_drops, seen.neuron_trials, law.rates
    each = nulls.binomial(counts, known, rates)
    worst = int(np.argmin(each))
    single = float(each[worst])
    loose = independent(law)
    alone = loose and inflation == 1  # neurons that depend on each other still have each its own exact law
    worst_p = nulls.sidak(single, seen.n) if alone else min(1.0, seen.n * single)
    complete = seen.recording.known is None
    spread = _position_spread(counts, seen.trials, law) if loose and complete else None
    spread = spread if inflation == 1 else 1.0
    run_p, run = _worst_run(counts, known, rates, inflation) if loose else (None, None)
    pvalue = nulls.bonferroni(worst_p, spread, run_p, float(each[0]), float(each[-1]))
    typical, masks = float(np.median(rates)), int(np.median(known))
    detectable = nulls.detectable_rate(typical, masks, seen.level / (5 * seen.n))
    observed, expected = float(counts[worst] / max(known[worst], 1)), float(rates[worst])
    message = f"would have seen a neuron's rate off by {detectable:.2g}" if detectable else "no neuron stands out"
    if pvalue <= seen.level:
        message = wording.positions(seen, law, each, worst, run, run_p or 1.0, worst_p, spread or 1.0)
    elif 0 < typical < 1 and min(typical**masks, (1 - typical) ** masks) * 5 * seen.n > seen.level / 2:
        message = f"{masks} masks are too few to see even a neuron that is always dropped"
        return Result("positions", "inconclusive", pvalue, None, observed, expected, None, message)
    return Result("positions", "pass", pvalue, None, observed, expected, detectable, message)


def _position_spread(counts: Ints, trials: int, law: Law) -> float | None:
    """Return the exact two-sided p-value of the chi-square of the neurons' counts; None where rates are too many."""
    parts = []
    values, where = np.unique(law.rates, return_inverse=True) if uniform_rate(law) is None else (law.rates[:1], None)
    if values.size > _DISTINCT:
        return None
    for index, p in enumerate(values.tolist()):
        if not 0 < p < 1:
            continue
        from dropstats.counts import of_rates

        support, pmf = nulls.window(of_rates([(p, trials)]), trials)
        scores = nulls.squared_deviation(support, trials * p, trials * p * (1 - p))
        chosen = counts if where is None else counts[where == index]
        parts.append((scores, pmf, nulls.histogram(chosen, support)))
    return float(nulls.two_sided(*nulls.score_sum_tails(parts))) if parts else None


def _worst_run(
    counts: Ints, trials: Ints, rates: Floats, inflation: float
) -> tuple[float | None, tuple[int, int] | None]:
    """Return the p-value of the worst run of neighbours and its ends, over runs of 2^k from either end on.

    Neurons of unlike rates are compared run by run only where all rates within it are equal.
    """
    n = counts.size
    if n < 4:
        return None, None
    # the ends of runs of 2, 4, ... up to half of all, from the first neuron on and from the last one back
    sums, known = np.concatenate([[0], np.cumsum(counts)]), np.concatenate([[0], np.cumsum(trials)])
    uneven = np.concatenate([[0], np.cumsum(np.diff(rates, prepend=rates[0]) != 0)])
    best, ends, runs = 1.0, None, 0
    size = 2
    while size <= n // 2:
        for offset in {0, n % size}:
            first = np.arange(offset, n - size + 1, size)
            even = uneven[first + size] == uneven[first + 1]
            first = first[even]
            if not first.size:
                continue
            runs += first.size
            drops, of = sums[first + size] - sums[first], known[first + size] - known[first]
            p = _inflated(nulls.binomial(drops, of, rates[first]), drops, of, rates[first], inflation)
            at = int(np.argmin(p))
            if p[at] < best:
                best, ends = float(p[at]), (int(first[at]), int(first[at]) + size)
        size *= 2
    return (min(1.0, runs * best), ends) if runs else (None, None)


def _inflated(p: Floats, counts: Any, trials: Any, rates: Any, inflation: float) -> Floats:
    """Return p-values, none below the normal law's whose variance dependence has widened."""
    if inflation <= 1:
        return p
    deviation = np.sqrt(np.maximum(trials * rates * (1 - rates) * inflation, 1e-300))
    return np.asarray(np.maximum(p, special.erfc(np.abs(counts - trials * rates) / deviation / math.sqrt(2))))


def dispersion(seen: Evidence, law: Law) -> Result:
    """Null: the masks' counts of dropped neurons are independent draws from the law of `law.dropped`. Exact.

    Their squared deviation from the law's mean, two-sided (exact convolution), and the worst of the counts'
    frequencies, P(count = k) held against Bin(trials, pmf(k)) (Bonferroni). Catches a fixed count, whole channels, a
    rate that differs from call to call, dead steps, masks that are never empty. Needs 20 masks.
    """
    if not dependent.has_counts(law):
        return dependent.dispersion(seen, law)
    mean, variance = float(law.dropped.mean()), float(law.dropped.var())
    if variance == 0:
        return _fixed_count(seen, law, mean)
    support, pmf = nulls.window(law.dropped, seen.n)
    observed = nulls.histogram(seen.mask_drops, support)
    scores = nulls.squared_deviation(support, mean, variance)
    spread = float(nulls.two_sided(*nulls.score_sum_tails([(scores, pmf, observed)])))
    fit, value = _worst_frequency(observed, pmf, seen.trials)
    pvalue = nulls.bonferroni(spread, fit)
    ratio = float(np.mean((seen.mask_drops - mean) ** 2)) / variance
    detectable = nulls.detectable_variance(seen.trials, float(pmf @ scores**2) - 1, seen.level / 2)
    if pvalue <= seen.level:
        message = wording.dispersion(seen, law, ratio, int(support[0]) + value, fit <= spread)
    elif seen.trials < _FEWEST_MASKS or detectable is None:
        message = f"{seen.trials} masks are too few to judge the spread of their counts"
        return Result("dispersion", "inconclusive", pvalue, None, ratio, 1.0, None, message)
    else:
        message = f"would have seen the variance off by {100 * detectable:.2g}%"
    return Result("dispersion", "pass", pvalue, None, ratio, 1.0, detectable, message)


def _fixed_count(seen: Evidence, law: Law, mean: float) -> Result:
    """Judge the counts under a law that drops always the same number: one other count is one too many."""
    if independent(law):
        return Result("dispersion", "not applicable", message="no neuron has a chance to differ")
    other = int(np.count_nonzero(seen.mask_drops != round(mean)))
    message = f"{other:,} masks do not drop {mean:,.6g} neurons" if other else f"every mask drops {mean:,.6g} neurons"
    return Result("dispersion", "pass", float(not other), None, float(other), 0.0, None, message)


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


def rows(seen: Evidence, law: Law, inflation: float = 1.0) -> Result:
    """Null: the counts of the first, the worst and of runs of successive masks follow the law. Exact.

    The first mask, the worst one (Sidak), and the worst of runs of 2, 4, 8, ... masks from either end on, two-sided;
    Bonferroni. Catches drift, warm-up and dead steps. Needs 2 masks.
    """
    trials, n = seen.trials, seen.n
    if trials < 2:
        return Result("rows", "inconclusive", message="a single mask shows no drift")
    if not dependent.has_counts(law):
        return dependent.rows(seen, law)
    values, where = np.unique(seen.mask_drops, return_inverse=True)
    mean = float(law.dropped.mean())
    each = nulls.two_sided(*nulls.count_tails(law.dropped, values))
    each = _inflated(each, values, n, mean / n, inflation)
    worst_value = int(np.argmin(each))
    worst = int(np.flatnonzero(where == worst_value)[0])
    worst_p = nulls.sidak(float(each[worst_value]), trials)
    p = uniform_rate(law)
    run_p, run = (None, None)
    if p is not None and independent(law):
        run_p, run = _worst_run(
            seen.mask_drops, np.broadcast_to(n, (trials,)), np.broadcast_to(p, (trials,)), inflation
        )
    pvalue = nulls.bonferroni(worst_p, float(each[where[0]]), run_p)
    observed, expected = float(seen.mask_drops[worst]), mean
    if pvalue <= seen.level:
        message = wording.rows(seen, mean, worst, worst_p, run, 1.0 if run_p is None else run_p)
    else:
        message = f"the most unusual mask is that of call {worst}"
    return Result("rows", "pass", pvalue, None, observed, expected, None, message)


def inflation(seen: Evidence) -> float:
    """Return by how much dependence widens the variance of the total, from the recording itself.

    The spread of the masks' counts about their mean, times that of the neurons' counts, and where larger the sum of
    the stream's plain correlations; at the observed rate, so that a wrong p does not pass for dependence.
    """
    p = seen.rate
    if not 0 < p < 1:
        return 1.0  # nothing varies: the total itself says all
    by_neuron = float(np.var(seen.neuron_drops, ddof=1)) / (seen.trials * p * (1 - p)) if seen.n > 1 else 1.0
    correlation = np.asarray(seen.stream_correlation[1:], dtype=np.float64)
    # twenty errors: far beyond what chance leaves at any of so many lags
    plain = correlation[correlation > 20 / math.sqrt(max(seen.stream.size, 1))]
    return max(1.0, mask_inflation(seen) * max(by_neuron, 1.0), 1 + 2 * float(plain.sum()))


def mask_inflation(seen: Evidence) -> float:
    """Return by how much dependence within masks widens the variance of their counts, at least 1."""
    p = seen.rate
    if seen.trials < 2 or not 0 < p < 1:
        return 1.0
    return max(1.0, float(np.var(seen.mask_drops, ddof=1)) / (seen.n * p * (1 - p)))


def observed_law(seen: Evidence, law: Law) -> Any:
    """Return the law with its rates replaced by those observed, one for each distinct declared rate."""
    from dropstats.laws import Layer

    p = uniform_rate(law)
    if p is not None:
        return Layer(seen.n, seen.rate)
    _, where = np.unique(law.rates, return_inverse=True)
    sums = np.bincount(where, weights=seen.neuron_drops)
    sizes = np.bincount(where, weights=seen.neuron_trials)
    return Layer(seen.n, (sums / sizes)[where])


def law_inflation(law: Law) -> float:
    """Return by how much dependence within a mask widens the variance of its count, by the law; at least 1."""
    rates = law.rates
    independent_variance = float((rates * (1 - rates)).sum())
    return max(1.0, dependent.variance(law) / independent_variance) if independent_variance else 1.0
