"""E-values for Bernoulli counts: how strongly counts speak against a declared rate, whenever they are looked at.

An e-process is a running product of fair bets against the null: under the null its expectation is at most 1 whenever
it is looked at, so that it ever reaches 1/a with probability a at most (Ville, 1939). All values are natural logs.

Sources: A. Ramdas, P. Grunwald, V. Vovk, G. Shafer (2023), Game-theoretic statistics and safe anytime-valid inference,
arXiv:2210.01948; S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon (2021), Time-uniform, nonparametric, nonasymptotic
confidence sequences, Annals of Statistics 49, 1055-1080, doi:10.1214/20-AOS1991.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, rel_entr

from dropstats._numerics import product_error

Floats = NDArray[np.float64]

# Prior sizes of the mixture: c sees a shift of about sqrt(p q / c), so that these cover shifts from 1 to 1e-4 sd.
_CONCENTRATIONS = 10.0 ** np.arange(9)
# log gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2 = 1/12x - 1/360x^3 + ...: from x = 16 on, right to 1e-15
_STIRLING_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
_STIRLING_FROM = 16.0
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# Below this, quotients leave the range of doubles; a smaller rate is taken as this one, which none can tell apart.
_SMALLEST = 1e-300
# Counts evaluated at a time: with 9 prior sizes an array takes 1.2 MB.
_CHUNK = 2**14
# Tilts of the log odds for unlike rates, of either sign: a tilt t sees shifts from 2/3 to 4/3 of t almost as well.
TILTS = np.outer((-1.0, 1.0), 2.0 ** np.arange(3, -13, -1)).ravel()
# Bisections of an interval of rates: to the last digit of a double.
_HALVINGS = 60


def log_mean(logs: Floats, log_weights: Floats | None = None) -> Any:
    """Return the log of the mean of exp(logs) over the last axis, or of their sum with weights."""
    if log_weights is None:
        top = logs.max(axis=-1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        return np.log(np.exp(logs - top).mean(axis=-1)) + top[..., 0]
    return np.logaddexp.reduce(logs + log_weights, axis=-1)


def log_evalue(dropped: Any, counted: Any, p: Any) -> Floats:
    """Return the log e-value of `dropped` of `counted` neurons against a drop probability p.

    E = mean over c in {1, 10, ..., 10^8} of B(S + cp, N - S + cq) / B(cp, cq) p^-S q^-(N - S): the likelihood of a
    Beta(cp, cq)-binomial against the null's. Right to 1e-9 max(1, |log E|) for N up to 10^10.

    Parameters
    ----------
    dropped, counted : array_like of int
        S and N, broadcast with p.
    p : array_like of float
        Probability under the null, in [0, 1]. For p = 0 or 1 a single contrary neuron gives infinity.

    Examples
    --------
    >>> log_evalue([100, 130], 1000, 0.1).round(4)
    array([-0.3948,  1.511 ])
    """
    s, n, rate = (np.asarray(x, np.float64) for x in (dropped, counted, p))
    mirrored = rate > 0.5  # 1 - p is exact there
    if mirrored.any():
        s, rate = np.where(mirrored, n - s, s), np.where(mirrored, 1 - rate, rate)
    rate = np.where(rate > 0, np.maximum(rate, _SMALLEST), 0.0)
    if rate.ndim == 0 and rate > 0:  # what depends on p alone is computed once
        s, n = np.broadcast_arrays(s, n)
        return _mixtures(s.ravel(), n.ravel(), rate).reshape(s.shape)
    s, n, rate = np.broadcast_arrays(s, n, rate)
    out = np.where((s > 0) & (n > 0), np.inf, 0.0)  # what stands where nothing can be dropped
    free = rate > 0
    out[free] = _mixtures(s[free], n[free], rate[free])
    return out


def _mixtures(s: Floats, n: Floats, p: Floats) -> Floats:
    """Return the log e-values of many counts, a few at a time."""
    out = np.zeros(s.shape)
    for start in range(0, s.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        out[part] = _mixture(s[part, None], n[part, None], p[part, None] if p.ndim else p)
    return out


def _mixture(s: Floats, n: Floats, p: Floats) -> Floats:
    """Return the log mean over prior sizes, along the last axis, for 0 < p <= 1/2.

    Each log gamma(x + k) - log gamma(x) is written by Stirling's formula. With a = S + cp, b = N - S + cq, m = N + c
    and d = S - Np the leading terms add to a log(a / mp) + b log(b / mq), whose ratios are 1 + d / mp and 1 - d / mq.
    """
    c, q = _CONCENTRATIONS, 1 - p
    product = n * p
    d = (s - product) - product_error(n, p, product)
    a, b, m = s + c * p, (n - s) + c * q, n + c
    log_a, log_b = _log_ratio(a, m, p, d / (m * p)), _log_ratio(b, m, q, -d / (m * q))
    logs = a * log_a + b * log_b - 0.5 * (log_a + log_b + np.log1p(n / c))
    logs += _stirling_error(a) + _stirling_error(b) - _stirling_error(m)
    logs -= _stirling_error(c * p) + _stirling_error(c * q) - _stirling_error(c)
    return np.where(n[:, 0] > 0, log_mean(logs), 0.0)


def _log_ratio(part: Floats, whole: Floats, p: Floats, excess: Floats) -> Floats:
    """Return log(part / (whole p)), where that ratio is 1 + excess, from whichever of the two has the digits."""
    far = np.abs(excess) > 0.5
    if not far.any():
        return np.log1p(excess)
    return np.where(far, np.log(part / whole) - np.log(p), np.log1p(np.where(far, 0.0, excess)))


def _stirling_error(x: Any) -> Floats:
    """Return log gamma(x) minus Stirling's formula, for x > 0."""
    inverse = 1 / np.maximum(x, _STIRLING_FROM)
    square = inverse * inverse
    series: Floats = np.full_like(inverse, _STIRLING_SERIES[-1])
    for coefficient in _STIRLING_SERIES[-2::-1]:
        series *= square
        series += coefficient
    series *= inverse
    small = x < _STIRLING_FROM
    if small.any():
        y = x[small]
        series[small] = gammaln(y) - ((y - 0.5) * np.log(y) - y + _HALF_LOG_2PI)
    return series


def log_bound(dropped: Any, counted: Any, p: Any) -> Floats:
    """Return N KL(S/N, p), which no log e-value of S of N neurons exceeds, and which is quicker to have.

    A mixture of likelihood ratios is at most the largest of them, that of the observed rate.
    """
    s, n, rate = (np.asarray(x, np.float64) for x in (dropped, counted, p))
    bound: Floats = rel_entr(s, n * rate) + rel_entr(n - s, n * (1 - rate))
    return bound


def log_cumulants(p: Any) -> Floats:
    """Return log(1 - p + p exp(t)) for each tilt t, along a new last axis."""
    rate = np.asarray(p, np.float64)[..., None]
    # of the larger of exp(t) and 1 first, so that nothing overflows
    shift: Floats = np.log1p(rate * np.expm1(TILTS))
    return shift


def cumulants_of(p: Floats, neurons: Any) -> Floats:
    """Return the sum of `log_cumulants` over so many neurons of each rate."""
    total = np.zeros(TILTS.size)
    for start in range(0, p.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        total += neurons[part] @ log_cumulants(p[part])
    return total


def log_tilted(dropped: Any, cumulants: Floats) -> Any:
    """Return the log e-value of neurons of unlike rates, from the sum of their `log_cumulants` along the last axis.

    E = mean over t of exp(t S) / prod(1 - p_i + p_i exp(t)): the likelihood of rates whose odds are all multiplied by
    exp(t) against the null's.

    Examples
    --------
    >>> round(float(log_tilted(2, log_cumulants([0.1, 0.3]).sum(axis=0))), 3)
    1.151
    """
    return log_mean(np.asarray(dropped, np.float64)[..., None] * TILTS - cumulants)


def mean(logs: Iterable[float]) -> float:
    """Return the log of the mean of e-values, given their logs."""
    logs = list(logs)
    top = max(logs)
    if not math.isfinite(top):
        return top
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


def bisect(true: Callable[[float], bool], yes: float, no: float) -> tuple[float, float]:
    """Return where a condition changes, from both sides, given a place where it is true and one where it is not."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (yes + no)
        yes, no = (middle, no) if true(middle) else (yes, middle)
    return yes, no


def interval(log_e: Callable[[float], float], inside: float, limit: float) -> tuple[float, float]:
    """Return the ends of the places in [0, 1] around `inside` at which log e stays below `limit`; NaN for none."""

    def below(place: float) -> bool:
        return log_e(place) < limit

    if not below(inside):
        return math.nan, math.nan
    # the outer one of two neighbouring doubles: the interval is never cut short
    low, high = (end if below(end) else bisect(below, inside, end)[1] for end in (0.0, 1.0))
    return low, high
