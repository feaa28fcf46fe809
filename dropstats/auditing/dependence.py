"""Tests of dependence among neurons and over calls: pairs, lags, the stream."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import dependent, nulls, wording
from dropstats.auditing.evidence import Evidence, independent, uniform_rate
from dropstats.auditing.report import Result
from dropstats.laws import Law
from dropstats.laws.base import has

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# All pairs of neurons are formed where this takes no more multiplications than about a second's.
_PAIRS_WORK = 2e10
_PAIRS_NEURONS = 4096
# Pairs at fixed strides are counted over the first masks, up to so many neurons in all.
_STRIDES_NEURONS = 2**28
# The lags that stand out most in the screen are judged exactly: more would add nothing, as one is enough to fail.
_LAGS_JUDGED = 4
# The sum of all squared correlations is judged where a pair is expected this often, on so many neurons.
_TOTAL_EXPECTED, _TOTAL_NEURONS = 5, 32
# Laws of unlike rates are convolved mask by mask up to this many neurons in all, beyond for so many distinct rates.
_CONVOLVED, _DISTINCT = 2**22, 64


@dataclass(frozen=True)
class Pairs:
    """Counts over masks for pairs of neurons: how often both were dropped, for neurons first and second."""

    first: Ints
    second: Ints
    both: Ints


def pairs(seen: Evidence, law: Law) -> Result:
    """Null: any two neurons j, k are dropped together Bin(trials, p_j p_k) times. Exact, two-sided, Bonferroni.

    The worst pair (of all up to a few thousand neurons; beyond, of neighbours, strides and a few thousand neurons),
    neurons with one and the same history, and the sum of all squared correlations. Pairs dropped together are counted
    for p < 1/4, kept together for p > 3/4, agreeing in between: the count with the most to say. Catches broadcast or
    copied neurons, whole channels, a common rate. Needs enough masks to see two equal neurons.
    """
    p = uniform_rate(law)
    if not independent(law) and not has(law, "covariance"):
        return Result("pairs", "not applicable", message="the law of pairs of this law is not known")
    if seen.n < 2 or p in (0.0, 1.0):
        return Result("pairs", "not applicable", message="no two neurons with a chance to differ")
    if not independent(law):
        return dependent.pairs(seen, law, *_gram(seen))
    rates = law.rates
    equal, equal_p = _equal_histories(seen, rates)
    gram, columns, trials = _gram(seen)
    counts = np.diagonal(gram).astype(np.int64)
    if p is not None:
        worst_p, worst, tested = _worst_of_equal_rates(gram, counts, p, trials)
    else:
        worst_p, worst, tested = _worst_of_unlike_rates(gram, rates[columns], trials)
    j, k = int(columns[worst[0]]), int(columns[worst[1]])
    both, expected = int(gram[worst]), trials * float(rates[j]) * float(rates[k])
    if columns.size < seen.n:
        stride_p, stride_pair, stride_both, more = _strides(seen, rates)
        tested += more
        if stride_p < worst_p:
            worst_p, (j, k), both = stride_p, stride_pair, stride_both
            expected = min(seen.trials, max(1, _STRIDES_NEURONS // seen.n)) * float(rates[j]) * float(rates[k])
    worst_p = min(1.0, worst_p * tested)
    total = _total(gram, counts, p, trials) if p is not None else None
    pvalue = nulls.bonferroni(worst_p, equal_p, total)
    sampled = "" if columns.size == seen.n and trials == seen.trials else f" ({tested:,} pairs looked at)"
    if pvalue <= seen.level:
        message = wording.pairs(seen, j, k, both, expected, equal, equal_p < worst_p) + sampled
    elif not _sees_equal(float(np.median(rates)), trials, seen.level / (3 * tested)):
        message = f"{trials} masks are too few to see even two neurons that always drop together"
        return Result("pairs", "inconclusive", pvalue, None, both, expected, None, message)
    else:
        message = f"most unusual: neurons {j} and {k}{sampled}"
    return Result("pairs", "pass", pvalue, None, both, expected, None, message)


def _gram(seen: Evidence) -> tuple[NDArray[np.float32], Ints, int]:
    """Return the matrix of how often neurons drop together, the neurons, and over how many masks."""
    n, trials = seen.n, seen.trials
    columns = np.arange(n)
    if n > _PAIRS_NEURONS:  # both ends and a spread over the rest
        third = int(min(_PAIRS_NEURONS, math.sqrt(_PAIRS_WORK / trials))) // 3
        columns = np.unique(
            np.concatenate([columns[:third], columns[-third:], np.linspace(0, n - 1, third).astype(np.int64)])
        )
    trials = int(min(trials, max(1000, _PAIRS_WORK // columns.size**2), 2**24))
    gram: NDArray[np.float32] = np.zeros((columns.size, columns.size), np.float32)
    step = max(1, 2**25 // columns.size)
    for start in range(0, trials, step):  # sums of up to 2^24 ones are exact in float32
        stop = min(start + step, trials)
        part = seen.drops_of(start, stop)
        block = (part if columns.size == n else part[:, columns]).astype(np.float32)
        gram += block.T @ block
    return gram, columns, trials


def _statistic(p: float) -> str:
    return "dropped" if p < 0.25 else "kept" if p > 0.75 else "agree"


def _pair_counts(both: Any, first: Any, second: Any, trials: int, what: str) -> Any:
    """Return how often two neurons are dropped together, kept together, or agree."""
    if what == "dropped":
        return both
    if what == "kept":
        return trials - first - second + both
    return trials - first - second + 2 * both


def _pair_chance(p: Any, r: Any, what: str) -> Any:
    if what == "dropped":
        return p * r
    if what == "kept":
        return (1 - p) * (1 - r)
    return p * r + (1 - p) * (1 - r)


def _worst_of_equal_rates(
    gram: NDArray[np.float32], counts: Ints, p: float, trials: int
) -> tuple[float, tuple[int, int], int]:
    """Return the smallest p-value of a pair, the pair, and how many there are; the extremes are the worst."""
    what = _statistic(p)
    single = counts.astype(np.float32)
    table = gram if what == "dropped" else _pair_counts(gram, single[:, None], single[None, :], trials, what)
    table = table.copy() if table is gram else table
    chance = float(_pair_chance(p, p, what))
    found: list[tuple[float, tuple[int, int]]] = []
    for fill, pick in ((-np.inf, np.argmax), (np.inf, np.argmin)):
        np.fill_diagonal(table, fill)
        at = np.unravel_index(int(pick(table)), table.shape)
        found.append((float(nulls.binomial(float(table[at]), trials, chance)), (int(min(at)), int(max(at)))))
    return *min(found), counts.size * (counts.size - 1) // 2


def _worst_of_unlike_rates(gram: NDArray[np.float32], rates: Floats, trials: int) -> tuple[float, tuple[int, int], int]:
    """Return the same where rates differ: the pairs that stand out most by the normal law, judged exactly."""
    chance = np.outer(rates, rates)
    deviation = np.sqrt(np.maximum(trials * chance * (1 - chance), 1e-300))
    # half a neuron keeps pairs that are never expected and occur once from filling the list
    z = np.abs(gram - trials * chance) / (deviation + 0.5)
    first, second = np.triu_indices(rates.size, 1)
    top = np.argsort(z[first, second])[-1000:]
    j, k = first[top], second[top]
    p = nulls.binomial(gram[j, k], trials, chance[j, k])
    at = int(np.argmin(p))
    return float(p[at]), (int(j[at]), int(k[at])), first.size


def _strides(seen: Evidence, rates: Floats) -> tuple[float, tuple[int, int], int, int]:
    """Return the worst pair of neurons 1, 2, 4, ... apart, of all neurons of a large layer, over its first masks."""
    best, pair, worst_both, tested = 1.0, (0, 1), 0, 0
    trials = min(seen.trials, max(1, _STRIDES_NEURONS // seen.n))
    sums = {2**i: np.zeros(seen.n - 2**i, np.int64) for i in range(int(math.log2(seen.n)))}
    counts = np.zeros(seen.n, np.int64)
    step = max(1, min(255, 2**25 // seen.n))  # 255 sums of bits fit a byte
    for start in range(0, trials, step):
        drops = seen.drops_of(start, min(start + step, trials))
        counts += drops.sum(axis=0, dtype=np.uint8)
        for s, total in sums.items():
            total += (drops[:, :-s] & drops[:, s:]).sum(axis=0, dtype=np.uint8)
    what = _statistic(float(rates[0]))
    for s, both in sums.items():
        tested += both.size
        count = _pair_counts(both, counts[:-s], counts[s:], trials, what)
        values = nulls.binomial(count, trials, _pair_chance(rates[:-s], rates[s:], what))
        at = int(np.argmin(values))
        if values[at] < best:
            best, pair, worst_both = float(values[at]), (at, at + s), int(both[at])
    return best, pair, worst_both, tested


def _equal_histories(seen: Evidence, rates: Floats) -> tuple[Ints, float]:
    """Return the classes of neurons with one history, and a bound on the chance of so many equal pairs.

    E(pairs) = sum over pairs of (p_j p_k + q_j q_k)^trials, and P(pairs >= c) <= E / c (Markov). Neurons never or
    always dropped are left to the test of positions.
    """
    constant = (seen.neuron_drops == 0) | (seen.neuron_drops == seen.trials)
    neurons = np.flatnonzero(~constant)
    _, where, sizes = np.unique(seen.neuron_hashes[neurons], return_inverse=True, return_counts=True)
    classes = np.full(seen.n, -1, np.int64)
    classes[neurons] = np.where(sizes[where] > 1, where, -1)
    pairs_equal = int((sizes * (sizes - 1) // 2).sum())
    if not pairs_equal:
        return classes, 1.0
    # a pair agrees most often where both rates are the most extreme one
    q = np.maximum(rates, 1 - rates)
    most = float(q.max())
    log_expected = math.log(seen.n) + math.log(max(seen.n - 1, 1)) - math.log(2)
    log_expected += seen.trials * math.log(most * most + (1 - most) * (1 - most)) if most < 1 else 0.0
    return classes, math.exp(min(0.0, log_expected - math.log(pairs_equal)))


def _total(gram: NDArray[np.float32], counts: Ints, p: float, trials: int) -> float | None:
    """Return a bound on the chance of so large (or small) a sum of squared correlations; None where it says nothing.

    U = trials * sum of r_jk^2 has mean C(n, 2) and variance C(n, 2)(2 + (k^2 - 3)/T) + n(n - 1)(n - 2)(k - 1)/T with
    k = (1 - 3pq)/(pq). Its tail is bounded by its sixth moment, taken as 4 times the normal law's 15: wide on purpose.
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
    chance = float(_pair_chance(p, p, what))
    together = {"dropped": p, "kept": 1 - p, "agree": 1.0}[what]
    # the count that equal neurons reach with power 0.9
    reached = trials if together == 1 else int(special.bdtrik(1 - nulls.POWER, trials, together))
    return bool(nulls.binomial(reached, trials, chance) <= level)


def lags(seen: Evidence, law: Law, inflation: float = 1.0) -> Result:
    """Null: masks of different calls are independent. Exact on two halves of disjoint pairs of calls, Bonferroni.

    The correlation of masks k calls apart, for every k, screens by FFT; the lags that stand out most are judged by the
    number of neurons dropped in both calls, given the drops, over calls with floor(t / k) even, and odd. Catches
    sticky and repeated masks. Needs enough neurons to see equal masks.
    """
    p = uniform_rate(law)
    if not independent(law):
        return Result("lags", "not applicable", message="the law over pairs of calls is not known for this law")
    if p in (0.0, 1.0) or not 0 < seen.rate < 1:
        return Result("lags", "not applicable", message="all masks are alike at this rate")
    if seen.trials < 2:
        return Result("lags", "inconclusive", message="a single mask has no other to compare with")
    if p is None and seen.n * seen.trials > _CONVOLVED and np.unique(law.rates).size > _DISTINCT:
        return Result("lags", "not applicable", message=f"more than {_DISTINCT} distinct rates in a large recording")
    correlation = seen.lag_correlation
    error = 1 / np.sqrt(seen.n * np.arange(seen.trials, 0, -1, dtype=np.float64))
    standing_out = np.abs(correlation) / error
    standing_out[0] = 0
    judged = np.argsort(standing_out)[-_LAGS_JUDGED:][::-1]
    tested = 2 * (seen.trials - 1)
    best, lag = min((_lag_pvalue(seen, law, int(k)), int(k)) for k in judged if k)
    pvalue = min(1.0, best * tested)
    if inflation > 1:  # neurons of a mask that depend on each other agree, or not, together
        widened = nulls.normal_two_sided(float(correlation[lag] / error[lag]) / math.sqrt(inflation))
        pvalue = max(pvalue, min(1.0, widened * tested))
    pairs_judged = seen.n * max(seen.trials // 2, 1)
    detectable = nulls.detectable_correlation(pairs_judged / inflation, seen.level / tested)
    observed = float(correlation[lag])
    if pvalue <= seen.level:
        message = wording.lags(seen, lag, observed)
    elif detectable > 1:
        message = f"{seen.trials * seen.n} neurons are too few to see even equal masks"
        return Result("lags", "inconclusive", pvalue, None, observed, 0.0, None, message)
    else:
        message = f"would have seen masks correlated by {detectable:.2g} at a short lag"
    if seen.lag_columns.size < seen.n:
        message += f" (screened on {seen.lag_columns.size:,} neurons)"
    return Result("lags", "pass", pvalue, None, observed, 0.0, detectable, message)


def _lag_pvalue(seen: Evidence, law: Law, lag: int) -> float:
    """Return the smaller exact p-value of the two halves of disjoint pairs of calls `lag` apart."""
    pairs_of_calls = seen.trials - lag
    packed, dropped = seen.recording.packed, seen.mask_drops
    kept_both = np.empty(pairs_of_calls, np.int64)
    for start in range(0, pairs_of_calls, 4096):
        stop = min(start + 4096, pairs_of_calls)
        together = packed[start:stop] & packed[start + lag : stop + lag]
        kept_both[start:stop] = np.bitwise_count(together).sum(axis=1, dtype=np.int64)
    drops = dropped[:pairs_of_calls] + dropped[lag:]
    both = kept_both - seen.n + drops
    half = np.arange(pairs_of_calls) // lag % 2
    best = 1.0
    for side in (0, 1):
        chosen = half == side
        calls = int(chosen.sum())
        if not calls:
            continue
        if uniform_rate(law) is not None:
            pvalue = nulls.paired(calls * seen.n, int(drops[chosen].sum()), int(both[chosen].sum()))
        else:
            pvalue = _unlike_pvalue(law.rates, calls, int(both[chosen].sum()))
        best = min(best, pvalue)
    return best


def _unlike_pvalue(rates: Floats, calls: int, both: int) -> float:
    """Return the exact p-value of the neurons dropped in both of two calls, over `calls` disjoint pairs of calls."""
    from dropstats.counts import of_rates

    values, sizes = np.unique(rates, return_counts=True)
    squares = (values * values).tolist()
    if rates.size * calls <= _CONVOLVED:
        one = of_rates(zip(squares, sizes.tolist(), strict=True))
        pmf = np.asarray(one.pmf(np.arange(rates.size + 1)), dtype=np.float64)
        return float(nulls.two_sided(*nulls.count_sum_tails(pmf, calls, both)))
    every = of_rates(zip(squares, (calls * sizes).tolist(), strict=True))
    return float(nulls.two_sided(*nulls.count_tails(every, both)))


def stream(seen: Evidence, law: Law) -> Result:
    """Null: neurons k apart in the stream of all masks are independent. Exact on two halves, Bonferroni over lags.

    As `lags`, on the masks written one after the other: the correlation at every k up to half the stream, by FFT.
    Catches groups of neighbours, offsets of counters that overlap, periods of a generator. Needs 1,000 neurons.
    """
    if not independent(law) or uniform_rate(law) is None:
        reason = "neurons of unlike rates" if independent(law) else "a law whose neurons depend on each other"
        return Result("stream", "not applicable", message=f"not defined for {reason}")
    if uniform_rate(law) in (0.0, 1.0) or not 0 < seen.rate < 1:
        return Result("stream", "not applicable", message="no neuron differs from another at this rate")
    flat = seen.stream
    if flat.size < 1000:
        return Result("stream", "inconclusive", message=f"a stream of {flat.size} neurons is too short")
    correlation = np.abs(seen.stream_correlation)
    correlation[0] = 0
    judged = np.argpartition(correlation, -_LAGS_JUDGED)[-_LAGS_JUDGED:]
    tested = 2 * (correlation.size - 1)
    best, lag = min((_stream_pvalue(flat, int(k)), int(k)) for k in judged if k)
    pvalue = min(1.0, best * tested)
    observed = float(seen.stream_correlation[lag])
    detectable = nulls.detectable_correlation(flat.size / 2, seen.level / tested)
    if pvalue <= seen.level:
        message = wording.stream(seen, lag, observed)
    else:
        message = f"would have seen a correlation of {detectable:.2g}"
    if flat.size < seen.trials * seen.n:
        message += f" (first {flat.size:,} neurons of the stream)"
    return Result("stream", "pass", pvalue, None, observed, 0.0, detectable, message)


def _stream_pvalue(flat: NDArray[np.uint8], lag: int) -> float:
    """Return the smaller exact p-value of the two halves of disjoint pairs of neurons `lag` apart."""
    both, drops = flat[:-lag] & flat[lag:], flat[:-lag] + flat[lag:]
    best = 1.0
    for side in (0, 1):
        joint, single, size = _alternate(both, lag, side), _alternate(drops, lag, side), 0
        # the pairs i with floor(i / lag) even, or odd
        whole, rest = divmod(both.size, 2 * lag)
        size = whole * lag + min(max(rest - side * lag, 0), lag)
        if size:
            best = min(best, nulls.paired(size, single, joint))
    return best


def _alternate(values: NDArray[np.uint8], lag: int, side: int) -> int:
    """Return the sum of the values whose index i has floor(i / lag) even (side 0) or odd (side 1)."""
    whole = values.size // (2 * lag) * 2 * lag
    inner = values[:whole].reshape(-1, 2, lag)[:, side]
    rest = values[whole:][side * lag : (side + 1) * lag]
    return int(inner.sum(dtype=np.int64)) + int(rest.sum(dtype=np.int64))
