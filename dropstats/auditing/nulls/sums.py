"""Exact laws of sums of independent counts, and of scores of them, by convolution."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The lattice on which sums of scores are convolved: its fewest and most points, and points to a score's deviation.
_LATTICE, _LATTICE_MOST, _FINENESS = 2**14, 2**22, 8
# Probabilities that are left out add up to less than this; squared moduli of a transform to less than exp(-160).
_NEGLIGIBLE, _VANISHING = 1e-18, 160.0
# Values are counted so many at a time.
_PIECE = 2**22


def score_sum_tails(parts: Sequence[tuple[Floats, Floats, Ints]]) -> tuple[float, float]:
    """Return both tails of a sum of scores of independent counts, by exact convolution.

    Parameters
    ----------
    parts : sequence of (scores, pmf, histogram)
        Scores and probabilities of the values that a count can take, and how many of the observed counts took each;
        one entry for each law among the counts.

    Notes
    -----
    The scores are rounded to a lattice first, and the rounded statistic is the one observed, so its law is exact:
    a product of discrete Fourier transforms. What is added at the end bounds the rounding error of the transform.
    """
    variance = math.fsum(float(h.sum()) * max(float(pmf @ s**2) - float(pmf @ s) ** 2, 0) for s, pmf, h in parts)
    if variance <= 0:
        return 1.0, 1.0
    deviation, terms = math.sqrt(variance), sum(int(h.sum()) for _, _, h in parts)
    # 120 deviations of the sum; with scores clipped at 10 of them, less than 1e-12 lies outside
    length = 2 ** math.ceil(math.log2(120 * _FINENESS * math.sqrt(terms)))
    length = min(max(length, _LATTICE), _LATTICE_MOST)
    step, cap = 120 * deviation / length, 10 * deviation
    transform: Any = 1.0
    observed, centre = 0, 0.0
    for scores, pmf, histogram in parts:
        lattice = np.rint(np.clip(scores, -cap, cap) / step).astype(np.int64)
        observed += int(lattice @ histogram)
        centre += float(pmf @ lattice) * int(histogram.sum())
        mass = np.bincount(lattice % length, weights=pmf, minlength=length)
        transform = transform * _raised(fft.rfft(mass), int(histogram.sum()))
    law = np.maximum(fft.irfft(transform, length), 0)
    start = int(centre) - length // 2
    law = np.roll(law, -(start % length))
    return _tails(law, observed - start, terms)


def window(law: Any, n: int) -> tuple[Ints, Floats]:
    """Return the counts of `law` within 40 deviations of its mean, and their probabilities; the ends hold the tails."""
    mean, deviation = float(law.mean()), float(law.std())
    low = max(0, int(mean - 40 * deviation) - 40)
    high = min(n, int(mean + 40 * deviation) + 40)
    counts = np.arange(low, high + 1)
    pmf = np.asarray(law.pmf(counts), dtype=np.float64)
    if not (low == 0 and high == n):
        pmf[0], pmf[-1] = law.cdf(low), law.sf(high - 1)
    return counts, pmf


def histogram(values: Ints, counts: Ints) -> Ints:
    """Return how many `values` are equal to each of the consecutive `counts`; the ends take what lies beyond."""
    found = np.zeros(counts.size, np.int64)
    for start in range(0, values.size, _PIECE):  # many values, few of them different: no copy of all
        clipped = np.clip(values[start : start + _PIECE], counts[0], counts[-1]) - counts[0]
        found += np.bincount(clipped, minlength=counts.size)
    return found


def squared_deviation(counts: Ints, mean: float, variance: float) -> Floats:
    """Return the scores (count - mean)^2 / variance, whose sum is the chi-square statistic, at most 1e150."""
    with np.errstate(over="ignore"):  # of a variance below 1e-308; larger scores could not be squared
        return np.asarray(np.minimum((counts - mean) ** 2 / variance, 1e150), dtype=np.float64)


def count_sum_tails(pmf: Floats, terms: int, observed: int) -> tuple[float, float]:
    """Return both tails of a sum of `terms` independent counts with probabilities `pmf` on 0, 1, ..."""
    low, high = np.cumsum(pmf), np.cumsum(pmf[::-1])
    first, beyond = (int(np.searchsorted(sums, _NEGLIGIBLE / terms)) for sums in (low, high))
    pmf = pmf[first : pmf.size - beyond]
    # what is left of a count is its place in `pmf`; beyond `reach` of the mean their sum is negligible (Bernstein)
    places = np.arange(pmf.size)
    mean = float(pmf @ places)
    variance, log = float(pmf @ (places - mean) ** 2) * terms, math.log(2 / _NEGLIGIBLE)
    reach = pmf.size * log / 3 + math.sqrt((pmf.size * log / 3) ** 2 + 2 * log * variance)
    length = fft.next_fast_len(min((pmf.size - 1) * terms, 2 * math.ceil(reach) + 1) + 1, real=True)
    start = max(0, math.floor(mean * terms - reach))
    law = np.maximum(fft.irfft(_raised(fft.rfft(np.bincount(places % length, pmf, length)), terms), length), 0)
    return _tails(np.roll(law, -(start % length)), observed - first * terms - start, terms)


def _raised(transform: NDArray[np.complex128], times: int) -> NDArray[np.complex128]:
    """Return a power of a transform of probabilities; where it is negligible, as at most frequencies, 0."""
    powers = np.zeros_like(transform)
    some = np.flatnonzero(np.square(transform.real) + np.square(transform.imag) > math.exp(-_VANISHING / max(times, 1)))
    powers[some] = transform[some] ** times
    return powers


def _tails(law: Floats, at: int, terms: int) -> tuple[float, float]:
    """Return both tails of a convolution from its probabilities, which may not reach as far as `at`."""
    # the transform's powers carry a relative error of a few units in the last place times the exponent
    error = 1e-12 + 1e-15 * terms
    at = min(max(at, 0), law.size - 1)
    return min(1.0, float(law[: at + 1].sum()) + error), min(1.0, float(law[at:].sum()) + error)
