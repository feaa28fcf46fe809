"""Binomial probabilities that keep their digits up to n = 2^53 and below 1e-308.

Logarithms of the pmf are Loader's saddle-point expansion with k - np formed without rounding error; logarithms of the
tails are the log pmf plus the log of a ratio that is the integral of a smooth, positive, decreasing function. Neither
step subtracts nearly equal numbers, so the results are right to a few units in the last place wherever they lie.

Sources: C. Loader (2000), Fast and accurate computation of binomial probabilities, Bell Laboratories; NIST Digital
Library of Mathematical Functions, 8.17 (incomplete beta function) and 5.11 (Stirling's series).
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropstats._numerics import log1mexp, panels
from dropstats.counts.one_binomial import LOG_2, STIRLING_ERRORS, OneBinomial
from dropstats.counts.one_binomial import series as _series

Floats = NDArray[np.float64]

_STIRLING_ERROR = np.array(STIRLING_ERRORS)
# 1/12k - 1/360k^3 + ...: from k = 16 on, nine terms are right to 1e-18
_STIRLING_SERIES = np.array(
    [
        1 / 12,
        -1 / 360,
        1 / 1260,
        -1 / 1680,
        1 / 1188,
        -691 / 360360,
        1 / 156,
        -3617 / 122400,
        43867 / 244188,
    ]
)
# The tail integrand falls from 1 to exp(-40) = 4e-18 on the range of integration. Three Gauss-Legendre panels of 16
# nodes, the first of them on a ninth of the range where Poisson-like laws bend, integrate it to 3e-15 (measured against
# 320 nodes over 4,000 random laws, n = 1 to 2^53; one panel of 32 nodes leaves 3e-11).
_TAIL_DEPTH = 40.0
_NODES, _WEIGHTS = panels(np.linspace(0, 1, 4) ** 2)
# Counts evaluated at a time: 1024 x 48 nodes are 0.4 MB an array, which stays in cache.
_CHUNK = 1024
# From 3 standard deviations off the mean on, one tail is had fastest by a continued fraction.
_FRACTION_FROM = 3.0**2


def log1pmx(x: Floats) -> Floats:
    """Return log(1 + x) - x without cancellation, for x > -1."""
    out = np.empty_like(x)
    small = np.abs(x) <= 0.5
    y = x[small]
    s = y / (2 + y)
    square = s * s
    total = np.zeros_like(s)
    for coefficient in _series(float(square.max(initial=0.0))):
        total *= square
        total += coefficient
    out[small] = s * (2 * square * total - y)
    y = x[~small]
    out[~small] = np.log1p(y) - y
    return out


def _stirling_error(k: Floats) -> Floats:
    """Return log(k!) minus Stirling's formula, for integers k >= 1."""
    k = np.asarray(k)
    inverse = 1 / k
    square = inverse * inverse
    series = np.zeros_like(inverse)
    for coefficient in _STIRLING_SERIES[::-1]:
        series *= square
        series += coefficient
    series *= inverse
    small = k < 16
    series[small] = _STIRLING_ERROR[k[small].astype(np.intp)]
    return series


def deviance(x: Floats, d: Floats, mean: ArrayLike, rest: ArrayLike = 0.0) -> Floats:
    """Return x log(x / m) + m - x >= 0 for d = x - m and m = mean + rest, where rest is less than a digit of mean."""
    out = np.empty(x.shape)
    near = d <= 0.5 * x
    y, e = x[near], d[near]
    out[near] = -y * log1pmx(-e / y)
    y, e, mean, rest = x[~near], d[~near], *(np.broadcast_to(m, x.shape)[~near] for m in (mean, rest))
    # log(x / m) is E log 2 + log1p of what is left, so that the rounding of x / m does not come in
    power = np.frexp(y)[1] - np.frexp(mean)[1]
    m = np.ldexp(mean, power)
    left = ((y - m) - np.ldexp(rest, power)) / m
    out[~near] = y * (power * LOG_2 + np.log1p(left)) - e
    return out


class BinomialLogs(OneBinomial):
    """Natural logs of the pmf and the tails of binomial(n, p), for 0 < p < 1 and 1 <= n <= 2^53.

    With ``mirrored`` they are those of n - X: binomial(n, 1 - p) where 1 - p is never rounded.
    """

    @cached_property
    def mirror(self) -> "BinomialLogs":
        """The logs of n - X."""
        return BinomialLogs(int(self.n), self._declared, not self._mirrored)

    def _deviation(self, k: Floats) -> Floats:
        return (k - self._mean[0]) - self._mean[1]

    def pmf(self, k: Floats) -> Floats:
        """Return log P(X = k) for integers 0 <= k <= n."""
        n = self.n
        out = np.empty(k.shape)
        out[k == 0] = n * self._log_q
        out[k == n] = n * self._log_p
        inside = (k > 0) & (k < n)
        k = k[inside]
        if k.size:
            rest, d = n - k, self._deviation(k)
            each = np.ones_like(k)
            both = (
                deviance(x, e, m[0] * each, m[1] * each)
                for x, e, m in ((k, d, self._mean), (rest, -d, self._mean_kept))
            )
            errors = self._error - _stirling_error(k) - _stirling_error(rest)
            out[inside] = errors - sum(both) + 0.5 * np.log(n / (2 * np.pi * k) / rest)
        return out

    def tails(self, k: Floats) -> tuple[Floats, Floats]:
        """Return log P(X <= k) and log P(X > k) for integers 0 <= k < n.

        A tail is computed where k lies in it; the other one is its complement. Between the two, at the mean, both
        are computed: of a law that hardly varies either may be next to 1.
        """
        low, high = np.empty(k.shape), np.empty(k.shape)
        upper, lower = self._deviation(k + 1) >= 0, self._deviation(k) <= 0
        high[upper] = self._upper(k[upper] + 1)
        low[lower] = self.mirror._upper(self.n - k[lower])
        low[~lower], high[~upper] = log1mexp(high[~lower]), log1mexp(low[~upper])
        return low, high

    def tail_at(self, k: float, upward: bool) -> float:
        """Return log P(X > k), or log P(X <= k), of one integer 0 <= k < n."""
        if upward:
            near, far = (self, k + 1), (self.mirror, self.n - k)
        else:
            near, far = (self.mirror, self.n - k), (self, k + 1)
        if (near[1] - near[0]._mean[0]) - near[0]._mean[1] >= 0:
            return near[0].upper_at(near[1])
        # less than 1/2, for the median is the mean, rounded down or up
        return math.log1p(-math.exp(far[0].upper_at(far[1])))

    def upper_at(self, a: float) -> float:
        """Return log P(X >= a) of one integer np <= a <= n."""
        d = (a - self._mean[0]) - self._mean[1]
        if d * d < _FRACTION_FROM * self._mean[0] * self.q:
            return min(0.0, self.pmf_at(a) + math.log(self._upper_ratio_at(a, d))) if a < self.n else self.pmf_at(a)
        return min(0.0, self.pmf_at(a) + math.log(self._fraction(a, d))) if a < self.n else self.pmf_at(a)

    def _fraction(self, a: float, d: float) -> float:
        """Return P(X >= a) / P(X = a) by the continued fraction of the incomplete beta function, for d = a - np > 0.

        Source: A. R. DiDonato, A. H. Morris (1992). Algorithm 708: significant digit computation of the incomplete
        beta function ratios. ACM Transactions on Mathematical Software 18, 360-373, doi:10.1145/131766.131776.
        """
        n, x, b = self.n, self.p, self.n - a + 1
        first = d + self.q
        fraction = c = a * first / (a + 1)
        inverse = m = 0.0
        while True:
            m += 1
            at = a + 2 * m
            share = m * (b - m) * x / (at - 1)
            numerator = share * (a + m - 1) * (n + m) * x / (at - 1)
            denominator = m + share + (a + m) * (first + m * (2 - x)) / (at + 1)
            inverse = 1 / (denominator + numerator * inverse)
            c = denominator + numerator / c
            fraction *= c * inverse
            if abs(c * inverse - 1) < 4e-16:
                return a * self.q / fraction

    def _upper_ratio_at(self, a: float, d: float) -> float:
        """Return P(X >= a) / P(X = a) of one integer np <= a < n, ten times as fast as of an array."""
        n, p, q = self.n, self.p, self.q
        r, rest = p / q, n - a
        slope = d / q
        end = 2 * _TAIL_DEPTH / (slope + math.sqrt(slope**2 + 2 * _TAIL_DEPTH * rest * p / q**2))
        for _ in range(4):
            # digits lost to cancellation only move the end of the range a little
            y = -math.expm1(-end)
            h = rest * math.log1p(r * y) - a * end
            end -= (h + _TAIL_DEPTH) / (rest * (r * (1 - y) / (1 + r * y)) - a)
        s = end * _NODES
        x = np.empty((2, s.size))
        np.expm1(-s, out=x[0])
        np.multiply(x[0], -r, out=x[1])
        if -x[0, -1] > 0.5 or x[1, -1] > 0.5:
            return float(self._upper_ratio(np.array([a]))[0])
        half = x / (2 + x)
        square = half * half
        series: Any = 0.0
        for coefficient in _series(float(square[:, -1].max())):
            series = series * square + coefficient
        first, second = half * (2 * square * series - x)
        h = (n * p) * first + (n * q) * second - d * (s + (second + x[1]))
        return a * end * float(np.exp(h) @ _WEIGHTS)

    def _upper(self, a: Floats) -> Floats:
        """Return log P(X >= a) for integers np <= a <= n."""
        out = self.pmf(a)
        # where a < n, q >= 1 / n because a >= np: nothing below can overflow
        (several,) = np.nonzero(a < self.n)
        for start in range(0, several.size, _CHUNK):
            part = several[start : start + _CHUNK]
            out[part] += np.log(self._upper_ratio(a[part]))
        return np.minimum(out, 0.0)

    def _upper_ratio(self, a: Floats) -> Floats:
        """Return P(X >= a) / P(X = a) = a int_0^inf exp(h(s)) ds for integers np <= a < n.

        It is the incomplete beta integral int_0^p t^(a-1) (1-t)^(n-a) dt with t = p exp(-s) and the integrand's value
        at s = 0 taken out. h is concave, 0 at 0 and falls from there on.
        """
        n, p, q = self.n, self.p, self.q
        r, rest, d = p / q, n - a, self._deviation(a)
        # the parabola with h's slope and curvature at 0 crosses -depth here; Newton from any point lands right of
        # the crossing (h is concave), so the range is never cut short
        slope, curvature = d / q, rest * p / q**2
        end = 2 * _TAIL_DEPTH / (slope + np.sqrt(slope**2 + 2 * _TAIL_DEPTH * curvature))
        for _ in range(4):
            y = -np.expm1(-end)
            h = _exponent(end, y, r, n * p, n * q, d)
            end = end - (h + _TAIL_DEPTH) / (rest * (r * (1 - y) / (1 + r * y)) - a)
        s = end[:, None] * _NODES
        h = _exponent(s, -np.expm1(-s), r, n * p, n * q, d[:, None])
        ratio: Floats = a * end * (np.exp(h) @ _WEIGHTS)
        return ratio


def _exponent(s: Floats, y: Floats, r: float, kept_out: float, kept_in: float, d: Floats) -> Floats:
    """Return h(s) = -a s + (n - a) log(1 + r y), y = 1 - exp(-s), as a sum of terms that are all negative.

    With a = np + d and n - a = nq - d it is np (log(1-y) + y) + nq (log(1+ry) - ry) - d (s + log(1+ry)), for p = q r.
    """
    ry = r * y
    near = y <= 0.5
    first = np.where(near, log1pmx(np.where(near, -y, 0.0)), y - s)
    return kept_out * first + kept_in * log1pmx(ry) - d * (s + np.log1p(ry))


def entropy(n: int, p: float) -> float:
    """Return the entropy of binomial(n, p) in nats, in O(sd) operations, or O(1) where the variance is large.

    For a variance v = npq above 1e6 the first two terms of the asymptotic expansion are used, whose error is of order
    1/v^2 = 1e-12: log(2 pi e v) / 2 + (4pq - 1) / (12 v).

    Source: C. Knessl (1998), Integral representations and asymptotic expansions for Shannon and Renyi entropies,
    Applied Mathematics Letters 11(2), 69-74, doi:10.1016/S0893-9659(98)00013-5.
    """
    variance = n * p * (1 - p)
    if variance > 1e6:
        return 0.5 * math.log(2 * math.pi * math.e * variance) + (4 * p * (1 - p) - 1) / (12 * variance)
    # beyond 40 sd + 40 on either side of the mean the terms add less than 1e-17
    reach = 40 * (math.sqrt(variance) + 1)
    first, last = max(0, math.floor(n * p - reach)), min(n, math.ceil(n * p + reach))
    k = first + np.arange(last - first + 1.0)  # offsets, for at n = 2^53 the end n + 1 is no double
    log_pmf = BinomialLogs(n, p).pmf(k)
    return -float(np.sum(np.exp(log_pmf) * log_pmf))
