"""Laws of sums of many, or of huge, unlike binomials: the integral of the tilted generating function on a contour.

With K the cumulant generating function of the sum and s real, P(X = k) = exp(K(s) - s k) P_s(X = k), where P_s is the
law tilted by s: each probability p becomes p exp(s) / (1 - p + p exp(s)). Near its mean the tilted law is had to full
relative accuracy from its Fourier integral, whose integrand is the tilted characteristic function phi:

    P_s(X = k) = 1 / M sum over m of phi(t_m) exp(-i t_m k),   t_m = 2 pi m / M,   |t_m| <= T.

*Aliasing.* The sum over all M nodes is that of P_s(X = k + j M) over all integers j. The tilted mean lies next to k, so
that by Bennett's inequality the terms other than j = 0 are at most exp(-x^2 / (2 sd^2 + 2 x / 3)) with x = M - 1 and sd
that of the tilted law: for the M = 19 sd + 40 used here below 1e-25.
*Truncation.* |phi(t)| <= exp(-sd^2 (1 - cos t)): what lies beyond sd^2 (1 - cos T) = 36 is below 1e-16 of the sum.
*Rounding.* K(s) - s K'(s) is minus the integral of u K''(u) from 0 to s; k minus the tilted mean is k minus the mean
less the integral of K''(u); and the leading terms of log phi are taken out beforehand. So no step subtracts nearly
equal numbers. Measured against 60 digits, the log of a probability above 1e-290 is right to 5e-13, of smaller ones to
1e-14 of the log, for up to 2^53 neurons.

A tail is the same sum with each term divided by 1 - exp(-(s + i t)). For it s is at least 2 / sd, so that the pole at 0
stays away and the aliases, at most exp(-s M), are below 1e-16.

Sources: H. E. Daniels (1987). Tail probability approximations. International Statistical Review 55, 37-48,
doi:10.2307/1403269; L. N. Trefethen, J. A. C. Weideman (2014). The exponentially convergent trapezoidal rule. SIAM
Review 56, 385-458, doi:10.1137/130932132.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from dropstats._numerics import panels
from dropstats.counts.odds import Rates

Floats = NDArray[np.float64]

# |phi| is followed down to exp(-36), 2e-16.
_DEPTH = 36.0
# One Gauss rule of 16 nodes integrates K'' over this length to 1e-17: it is analytic up to a distance of pi.
_PANEL = 4.0
# From this variance on the contour ends before 1.2, where the series of phi converge.
_SERIES_FROM = 60.0
# Entries of an array at a time.
_CHUNK = 2**20
# A window of a transform reaches as far as 1e-3 of the top, where the rounding of the transform, 1e-16 of it, is 1e-13.
_REACH = 3.7
# Laws that vary less are so near an end of what is possible that phi has to be followed up to its singularities.
LEAST_SD = math.sqrt(_SERIES_FROM)
# Least log probability in a table: below the smallest double.
_LEAST = -800.0


class Contour:
    """The law of a sum of independent binomials, of which every count is answered for itself.

    Parameters
    ----------
    rates : Rates
        Probabilities strictly between 0 and 1, and how many neurons have each.
    """

    n: float
    # How much one neuron, or group, counts at most.
    largest_step: int = 1

    def __init__(self, rates: Rates) -> None:
        self._rates, self.n = rates, rates.n
        self._variance = float(rates.curvature(np.zeros(1))[0])

    @property
    def mean(self) -> float:
        """Mean number of dropped."""
        return self._rates.mean[0]

    # --- the tilt ------------------------------------------------------------------------------------------------

    def _saddle(self, k: Floats) -> Floats:
        """Return the tilts under which counts 0 < k < n are next to the mean."""
        rates, rest = self._rates, self.n - k
        low, high = self._tilts(np.log(k / rest))
        theta = np.clip((k - rates.mean[0]) / self._variance, low, high)
        upper = k > rest
        target = np.where(upper, rest, k)
        for _ in range(100):
            mean, curvature = rates.mean_and_curvature(theta, upper)
            off = mean - target
            far = (off > 0) != upper
            low, high = np.where(far, low, theta), np.where(far, theta, high)
            # Newton's step for the log of the mean, which is nearly straight far out as well
            step = mean / curvature * np.log(mean / target)
            after = np.where(upper, theta + step, theta - step)
            after = np.where((after <= low) | (after >= high), (low + high) / 2, after)
            if (np.abs(off) <= 1e-3 * np.sqrt(curvature)).all():
                return theta
            theta = after
        return theta

    def _tilt(self, k: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Return the log of exp(K(theta) - theta k), and k minus the tilted mean."""
        rise, weighted = self._integrals(theta)
        residual = self._rates.from_mean(k) - rise
        return -weighted - theta * residual, residual

    def _tilts(self, odds: Floats) -> tuple[Floats, Floats]:
        """Return tilts under which a smaller, and a larger, share is dropped in the mean than with these log odds."""
        return odds - self._rates.largest, odds - self._rates.least

    def _integrals(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return the integrals of K''(u) and of u K''(u) from 0 to each tilt."""
        return integrals(self._rates, theta)

    # --- single counts -------------------------------------------------------------------------------------------

    def log_pmf(self, k: Floats) -> Floats:
        """Return log P(X = k) of integers 0 <= k <= n."""
        out = np.empty(k.shape)
        for part in self._parts(k, out):
            theta = self._saddle(k[part])
            scale, residual = self._tilt(k[part], theta)
            out[part] = scale + np.log(self._integral(theta, residual, None))
        return out

    def log_tail(self, k: Floats, upward: bool) -> Floats:
        """Return log P(X >= k), or log P(X <= k), of integers 0 <= k <= n on that side of the mean."""
        out = np.empty(k.shape)
        least = 2 / math.sqrt(self._variance)
        for part in self._parts(k, out):
            theta = self._saddle(k[part])
            theta = np.maximum(theta, least) if upward else np.minimum(theta, -least)
            scale, residual = self._tilt(k[part], theta)
            out[part] = scale + np.log(self._integral(theta, residual, upward))
        return np.minimum(out, 0.0)

    def _parts(self, k: Floats, out: Floats) -> Iterator[NDArray[np.intp]]:
        """Yield where the counts strictly between the ends stand, some at a time; at the ends, put the logs there."""
        inside = (k > 0) & (k < self.n)
        for end, top in ((0, False), (self.n, True)):
            if (k == end).any():
                out[k == end] = self._rates.log_end(top)
        (where,) = inside.nonzero()
        size = max(1, _CHUNK // (64 * self._rates.size))
        for start in range(0, where.size, size):
            yield where[start : start + size]

    def _integral(self, theta: Floats, residual: Floats, upward: bool | None) -> Floats:
        """Return P_theta(X = k), or the sum of P_theta(k + j) exp(-theta j) over j >= 0, or so downward."""
        variance = self._rates.curvature(theta)
        size = self._size(theta, variance, upward)
        step = 2 * np.pi / size
        last = np.minimum((size - 1) / 2, np.floor(self._end(theta, variance) / step))
        m = np.arange(1, last.max() + 1)
        t = step[:, None] * m
        log, angle = self._log_phi(theta, variance, t)
        angle -= t * residual[:, None]
        value = np.where(m <= last[:, None], np.exp(log), 0.0)
        if upward is None:
            return np.asarray((1 + 2 * np.sum(value * np.cos(angle), axis=1)) / size)
        away = np.abs(theta)[:, None]
        real, imaginary = beyond(away, t if upward else -t)
        terms = value * (np.cos(angle) * real + np.sin(angle) * imaginary) / (real**2 + imaginary**2)
        return np.asarray((-1 / np.expm1(-away[:, 0]) + 2 * np.sum(terms, axis=1)) / size)

    def _size(self, theta: Floats, variance: Floats, upward: bool | None) -> Floats:
        """Return how many nodes there are to the circle: an odd number, so large that what comes round is nothing."""
        size = 2 * np.ceil(9.5 * np.sqrt(variance) + 20 * self.largest_step) + 1
        if upward is not None:
            size = np.maximum(size, 2 * np.ceil(20 / np.abs(theta)) + 1)
        return np.asarray(size)

    def _end(self, theta: Floats, variance: Floats) -> Floats:
        """Return where the integrand has fallen to exp(-36), at most pi."""
        return np.asarray(np.arccos(np.maximum(1 - _DEPTH / variance, -1)))

    def _log_phi(self, theta: Floats, variance: Floats, t: Floats) -> tuple[Floats, Floats]:
        """Return log |phi| and the angle of phi about the tilted mean, at t of shape (tilts, nodes)."""
        wide = variance < _SERIES_FROM
        if wide.all() or not wide.any():
            return self._rates.log_phi(theta, t, series=not wide[0])
        log, angle = np.empty(t.shape), np.empty(t.shape)
        for some in (wide, ~wide):
            log[some], angle[some] = self._rates.log_phi(theta[some], t[some], series=not wide[some][0])
        return log, angle

    # --- windows and tables --------------------------------------------------------------------------------------

    def sd(self, k: float) -> float:
        """Return the standard deviation of the tilted law whose mean is next to an integer 0 < k < n."""
        return math.sqrt(self._rates.curvature(self._saddle(np.array([k])))[0])

    def window(self, k: float) -> tuple[int, Floats]:
        """Return the log pmf of the counts about an integer 0 < k < n, by one transform: the first of them, and all."""
        theta = self._saddle(np.array([k]))
        scale, residual = self._tilt(np.array([k]), theta)
        variance = self._rates.curvature(theta)
        sd = math.sqrt(variance[0])
        size = fft.next_fast_len(math.ceil(14 * sd + 40), real=True)
        last = min(size // 2, math.floor(self._end(theta, variance)[0] * size / (2 * np.pi)))
        t = 2 * np.pi / size * np.arange(last + 1)
        log, angle = self._log_phi(theta, variance, t[None])
        spectrum = np.exp(log[0] + 1j * (t * residual[0] - angle[0]))
        pmf = fft.irfft(spectrum, size)
        reach = math.floor(_REACH * sd)
        below, above = min(reach, int(k)), min(reach, int(self.n - k))
        offsets = np.arange(-below, above + 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # at the ends of what is possible
            return int(k) - below, np.log(np.concatenate([pmf[-below:] if below else pmf[:0], pmf[: above + 1]])) + (
                scale[0] - theta[0] * offsets
            )

    def table(self) -> tuple[int, Floats] | None:
        """Return the log pmf of all counts above the range of doubles, from windows side by side: the first, and all.

        None where an end of what is possible comes in, for there the tilted law varies too little.
        """
        centre = float(min(max(round(self._rates.mean[0]), 1), self.n - 1))
        start, log_pmf = self.window(centre)
        pieces = [log_pmf]
        for upward in (True, False):
            first, width, piece = start, pieces[0].size, pieces[0]
            last = first + width - 1
            while (piece[-1] if upward else piece[0]) > _LEAST:
                for share in (0.49, 0.4, 0.2):  # the next window may be narrower
                    k = math.floor(last + share * width if upward else first - share * width)
                    if not 1 <= k <= self.n - 1:
                        return None
                    begin, piece = self.window(float(k))
                    if begin <= last + 1 if upward else begin + piece.size >= first:
                        break
                width = piece.size
                if width < 2 * _REACH * LEAST_SD:
                    return None
                piece = piece[last + 1 - begin :] if upward else piece[: first - begin]
                if upward:
                    pieces.append(piece)
                    last += piece.size
                else:
                    pieces.insert(0, piece)
                    first -= piece.size
            start = first
        return start, np.concatenate(pieces)


def beyond(away: Floats, t: Floats) -> tuple[Floats, Floats]:
    """Return real and imaginary part of 1 - exp(-(away + i t)); for a lower tail t counts the other way."""
    return -np.expm1(-away) + 2 * np.exp(-away) * np.sin(t / 2) ** 2, np.exp(-away) * np.sin(t)


def integrals(rates: Rates, theta: Floats) -> tuple[Floats, Floats]:
    """Return the integrals of K''(u) and of u K''(u) from 0 to each tilt."""
    nodes, weights = panels(np.linspace(0, 1, 1 + math.ceil(float(np.abs(theta).max()) / _PANEL or 1)))
    curvature = rates.curvature(theta[:, None] * nodes)
    return theta * (curvature @ weights), theta**2 * (curvature @ (weights * nodes))
