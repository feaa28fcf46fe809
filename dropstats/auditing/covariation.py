"""How the counts of dropped neurons of two streams vary together, from call to call."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import nulls
from dropstats.auditing.streams import Pair, Streams
from dropstats.laws import Law, Layer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Counts are put into so many cells, from so many standard deviations below the mean to as many above.
_CELLS, _REACH = 64, 6.0
# Pairs of streams that stand out most are judged exactly.
_JUDGED = 8
# Calls apart at which it is looked at how counts correlate anyway.
_LAGS = 64


@dataclass(frozen=True)
class Covariation:
    """How the counts of a pair of streams vary together.

    Attributes
    ----------
    pvalue : float
        Corrected for the number of pairs.
    pair : tuple of int
    correlation : float
        Of the counts of the same calls.
    equal : bool
        Whether they are equal in every call.
    """

    pvalue: float
    pair: Pair
    correlation: float
    equal: bool


def worst(seen: Streams) -> Covariation | None:
    """Return the pair of streams whose counts vary together most, None where counts do not vary or have no law.

    Null: the counts of two streams are independent, call by call. The sum of products of the counts' deviations, in 64
    cells a stream, exact (convolution) and two-sided; where they are equal in all calls, the chance of that in a random
    order of the calls; Bonferroni over these and the pairs.
    """
    if seen.unknown or seen.trials < 2:
        return None
    drops = np.stack([one.mask_drops() for one, _ in seen.reduced])
    laws = [law if law is not None else _observed(seen, k, drops) for k, (_, law) in enumerate(seen.reduced)]
    varying = [k for k, law in enumerate(laws) if law.has_counts and law.variance > 0]
    if len(varying) < 2:
        return None
    means = np.array([float(laws[k].dropped.mean()) for k in varying])
    deviations = np.array([float(laws[k].dropped.std()) for k in varying])
    standard = (drops[varying] - means[:, None]) / deviations[:, None]
    first, second = np.triu_indices(len(varying), 1)
    correlation = (standard @ standard.T / seen.trials)[first, second]
    equal = np.array([np.mean(drops[varying[a]] == drops[varying[b]]) for a, b in zip(first, second, strict=True)])
    chosen = np.union1d(np.argsort(-np.abs(correlation))[:_JUDGED], np.argsort(-equal)[:_JUDGED])
    tried = 2 * first.size
    found = []
    for k in chosen.tolist():
        pair = varying[int(first[k])], varying[int(second[k])]
        pvalue = min(1.0, _pvalue(seen, laws, drops, pair, seen.level / tried) * tried)
        found.append(Covariation(pvalue, pair, _correlation(drops[list(pair)]), bool(equal[k] == 1)))
    return min(found, key=lambda one: (one.pvalue, -abs(one.correlation)))


def _correlation(drops: Ints) -> float:
    """Return the correlation of two streams' counts."""
    first, second = drops - drops.mean(axis=1, keepdims=True)
    spread = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / spread if spread else 0.0


def _observed(seen: Streams, index: int, drops: Ints) -> Law:
    """Return the layer of the rate that a stream shows."""
    n = seen.reduced[index][0].n
    return Layer(n, float(drops[index].mean()) / n)


def _pvalue(seen: Streams, laws: list[Law], drops: Ints, pair: Pair, level: float) -> float:
    """Return the smaller p-value of a pair: of the products of its counts, and of counts that are all equal."""
    counts = drops[list(pair)]
    equal = _all_equal(counts[0]) if (counts[0] == counts[1]).all() else 1.0
    pvalue = _of_products([laws[k] for k in pair], counts)
    if pvalue <= level:  # a wrong rate, or counts that vary more than the law's, must not pass for covariation
        observed = _of_products([_observed(seen, k, drops) for k in pair], counts)
        pvalue = max(pvalue, observed, _of_correlation(counts))
    return min(pvalue, equal)


def _of_products(laws: list[Law], drops: Ints) -> float:
    """Return the exact p-value of the sum of products of the counts' deviations."""
    (scores, pmf, at), (others, other_pmf, other_at) = map(_cells, laws, drops)
    joint = np.bincount(at * others.size + other_at, minlength=scores.size * others.size)
    products = np.outer(scores, others).reshape(-1), np.outer(pmf, other_pmf).reshape(-1), joint.astype(np.int64)
    return float(nulls.two_sided(*nulls.score_sum_tails([products])))


def _of_correlation(drops: Ints) -> float:
    """Return the p-value of the counts' own correlation, by as much wider as correlations some calls apart are."""
    calls = drops.shape[1]
    r = _correlation(drops)
    if calls < 3 or not r:
        return 1.0
    first, second = drops - drops.mean(axis=1, keepdims=True)
    spread = math.sqrt(float(first @ first) * float(second @ second))
    lags = range(1, min(_LAGS, calls // 2) + 1)
    squares = [calls * (float(first[lag:] @ second[:-lag]) / spread) ** 2 for lag in lags]
    r = min(max(r, -1 + 1e-15), 1 - 1e-15)
    t = r * math.sqrt((calls - 2) / (1 - r * r))
    return nulls.student_two_sided(t / math.sqrt(max(1.0, float(np.mean(squares)))), calls - 2)


def _all_equal(counts: Ints) -> float:
    """Return the probability that a random order of the calls leaves all counts equal to those of the other stream."""
    _, ties = np.unique(counts, return_counts=True)
    return math.exp(float(special.gammaln(ties + 1.0).sum() - special.gammaln(counts.size + 1.0)))


def _cells(law: Law, counts: Ints) -> tuple[Floats, Floats, Ints]:
    """Return the mean standardised count and the probability of each cell, and the cells of some counts."""
    mean, deviation = float(law.dropped.mean()), float(law.dropped.std())
    inner = np.unique(np.floor(mean + deviation * np.linspace(-_REACH, _REACH, _CELLS - 1)))
    edges = inner[(inner >= 0) & (inner < law.n)]
    # cells (edge, next edge], the outer ones open
    below = np.asarray(law.dropped.cdf(edges), dtype=np.float64)
    pmf = np.diff(np.concatenate([[0.0], below, [1.0]]))
    middles = np.concatenate([edges[:1], (edges[:-1] + 1 + edges[1:]) / 2, edges[-1:] + 1])
    scores = (middles - mean) / deviation
    scores -= float(pmf @ scores)  # of mean 0, so that products of independent ones have mean 0
    return scores, pmf, np.searchsorted(edges, counts, side="left")


def said(found: Covariation, seen: Streams) -> str:
    """Say which streams drop alike."""
    a, b = (seen.names[index] for index in found.pair)
    if found.equal:
        return f"{a} and {b} drop equally many neurons in every call: the one's masks are a permutation of the other's"
    return f"the counts of {a} and {b} have correlation {found.correlation:.3g}: they vary together from call to call"
