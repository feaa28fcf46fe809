"""The counts of dropped neurons in the order of the calls: trend, spectrum and autocorrelation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from dropstats.auditing import nulls

Ints = NDArray[np.int64]

# Spectrum and autocorrelation are formed over at most this many calls, the first ones; trend and alternation over all.
_CALLS = 2**23
# Sums over all calls are formed in blocks of so many.
_BLOCK = 2**20
# Lags of calls that stand out most in the screen are judged.
_JUDGED = 4
# A wave less its mean over the calls nowhere exceeds 1 + 2 / pi.
_REACH = 1 + 2 / np.pi


@dataclass(frozen=True)
class Spread:
    """How far the counts of a law are from their mean: E exp(s (count - mean)) <= exp(v / m^2 (exp(m s) - 1 - m s)).

    Attributes
    ----------
    mean, variance : float
        Of a count.
    most : float
        1 where a count is a sum of independent Bernoulli variables; else the most by which a count is off its mean.
    """

    mean: float
    variance: float
    most: float


@dataclass(frozen=True)
class Departure:
    """How the counts change over the calls, in one way.

    Attributes
    ----------
    pvalue : float
        Corrected for what was looked at.
    at : float
        The period, or the lag, in calls; 0 of a trend.
    size : float
        By how many neurons the count changes from the first call to the last, or up and down; the correlation at a lag.
    """

    pvalue: float
    at: float
    size: float


def tabulated(counts: Ints) -> tuple[Ints, Ints]:
    """Return the distinct counts and how often each occurs; where they lie close together, without sorting."""
    first, last = int(counts.min()), int(counts.max())
    if last - first > 4 * _BLOCK:
        return np.unique(counts, return_counts=True)
    times = np.zeros(last - first + 1, np.int64)
    for start in range(0, counts.size, _BLOCK):
        times += np.bincount(counts[start : start + _BLOCK] - first, minlength=times.size)
    found = np.flatnonzero(times)
    return found + first, times[found]


def variance(counts: Ints) -> float:
    """Return the sample variance of counts, without a copy of them in floating point.

    >>> variance(np.array([1, 1, 4]))
    3.0
    """
    values, times = tabulated(counts)
    mean = float(values @ times) / counts.size
    return float((values - mean) ** 2 @ times) / (counts.size - 1)


def trend(counts: Ints, law: Spread) -> Departure:
    """Return the linear trend of the counts. Conservative (Bennett), two-sided; their mean does not matter."""
    trials = counts.size
    squares = trials * (float(trials) ** 2 - 1) / 12
    total = 0.0
    for start in range(0, trials, _BLOCK):
        block = counts[start : start + _BLOCK]
        total += float((np.arange(start, start + block.size) - (trials - 1) / 2) @ block)
    pvalue = nulls.weighted_bound(total, law.variance * squares, law.most * (trials - 1) / 2)
    return Departure(pvalue, 0.0, total / squares * (trials - 1))


def waves(counts: Ints, law: Spread) -> tuple[Departure, Departure]:
    """Return the largest line of the periodogram of the counts, and their largest autocorrelation.

    The periodogram is that of the deviations from the observed mean, at every multiple of half the smallest frequency,
    so that no period falls between two lines; Bonferroni, half of it for the alternation of two calls. Autocorrelations
    screen by the same transform; those of the lags that stand out most are judged, Bonferroni, half of it for short
    lags.
    """
    alternation = _alternation(counts, law)
    counts = counts[:_CALLS]
    trials, mean = counts.size, float(counts.mean())
    transform = fft.rfft(counts - mean, 2 * trials)
    power = transform.real**2 + transform.imag**2
    del transform
    line = min(alternation, _line(power, trials, law), key=lambda one: one.pvalue)
    correlation = fft.irfft(power, 2 * trials)[1:trials] / np.sqrt(np.arange(trials - 1, 0, -1))
    judged = np.argpartition(np.abs(correlation), -min(_JUDGED, trials - 1))[-_JUDGED:] + 1
    return line, min((_at_lag(counts, lag, law) for lag in {1, *judged.tolist()}), key=lambda one: one.pvalue)


def _alternation(counts: Ints, law: Spread) -> Departure:
    """Return by how much every second count differs from those between them, over all calls: their mean cancels."""
    trials = counts.size // 2 * 2
    total = float(counts[:trials:2].sum() - counts[1:trials:2].sum())
    pvalue = nulls.weighted_bound(total, law.variance * trials, law.most)
    return Departure(min(1.0, 2 * pvalue), 2.0, abs(total) / max(trials, 1))


def _line(power: NDArray[np.float64], trials: int, law: Spread) -> Departure:
    """Return the line of the periodogram, of two phases, that stands out most."""
    if trials < 3:
        return Departure(1.0, 0.0, 0.0)
    at = int(np.argmax(power[1:trials])) + 1
    amplitude = float(np.sqrt(power[at]))
    pvalue = nulls.amplitude_bound(amplitude, law.variance * trials / 2, _REACH * law.most)
    return Departure(min(1.0, 2 * (trials - 1) * pvalue), _period(2 * trials / at, trials), 2 * amplitude / trials)


def _period(period: float, trials: int) -> float:
    """Return the period of a line, a whole number of calls where the line is the nearest to it."""
    return float(round(period)) if abs(round(period) - period) <= period**2 / (4 * trials) else period


def _at_lag(counts: Ints, lag: int, law: Spread) -> Departure:
    """Return the autocorrelation of the counts at a lag. Conservative (Freedman, Markov), two-sided."""
    values, times = tabulated(counts[:-lag])
    pvalue = 0.0
    # about the observed mean as well, so that a wrong rate, the same in every call, does not pass for autocorrelation
    for mean in (law.mean, float(counts.mean())):
        deviations = counts - mean
        total = float(deviations[:-lag] @ deviations[lag:])
        before = np.asarray(values - mean, dtype=np.float64)
        bound = nulls.product_bound(total, before, times, law.variance, law.variance, law.most)
        pvalue = max(pvalue, bound)
    # half of what may go wrong by chance is for short lags, where it is likeliest: the shares of all add up to 1
    share = 0.5 / (lag * (lag + 1)) + 0.5 / (counts.size - 1)
    spread = float(deviations @ deviations) / counts.size
    return Departure(min(1.0, pvalue / share), float(lag), total / (counts.size - lag) / spread if spread else 0.0)
