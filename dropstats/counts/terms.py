"""Terms of sums of counts, whose laws can be tilted and convolved.

Below the range of doubles the law is tilted: under exp(theta k) P(X = k) / E exp(theta X) a remote count becomes the
mean, and log P(X = k) = log P_theta(X = k) - D - theta (k - m), where m is the tilted mean and D >= 0 the divergence of
the tilted law from X's: the terms of D are all of one sign, so that no digit is lost in their sum.

Source: F. Esscher (1932), On the probability function in the collective theory of risk, Skandinavisk Aktuarietidskrift
15, 175-195.
"""

import math
from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from dropstats import _validate
from dropstats.counts.binomial_logs import deviance
from dropstats.counts.convolution import SCALE, Pmf, convolve, product, trim
from dropstats.counts.odds import exact_products
from dropstats.counts.table import Logs, Table

Floats = NDArray[np.float64]


class Tilted(NamedTuple):
    """A term of a sum under a tilt: its table, its divergence from the term, and its mean as numbers that add up."""

    pmf: Pmf
    divergence: float
    mean: list[float]


class Term(Protocol):
    """An independent part of a sum, whose law can be tilted."""

    first: int
    last: int

    def log_end(self, top: bool) -> float:
        """Return the log probability of the first or the last possible count."""

    def rise(self, theta: float) -> float:
        """Return the tilted mean of X - first."""

    def fall(self, theta: float) -> float:
        """Return the tilted mean of last - X."""

    def tilted(self, theta: float) -> Tilted:
        """Return the tilted law."""


class Binomials:
    """Independent binomials, of which each neuron counts `step`."""

    step: int
    p: Floats
    n: Floats
    first: int
    last: int
    odds: Floats

    def __init__(self, step: int, p: Floats, n: Floats) -> None:
        inside = (p > 0) & (p < 1)
        self.step, self.p, self.n = step, p[inside], n[inside]
        self.first = step * int(n[p == 1].sum())
        self.last = self.first + step * int(self.n.sum())
        self.odds = logit(self.p)

    def log_end(self, top: bool) -> float:
        """Return the log probability of the first or the last possible count."""
        return math.fsum((self.n * (np.log(self.p) if top else np.log1p(-self.p))).tolist())

    def rise(self, theta: float) -> float:
        """Return the tilted mean of X - first."""
        return float(self.step * (self.n @ expit(self.odds + theta * self.step)))

    def fall(self, theta: float) -> float:
        """Return the tilted mean of last - X."""
        return float(self.step * (self.n @ expit(-(self.odds + theta * self.step))))

    def tilted(self, theta: float) -> Tilted:
        """Return the tilted law."""
        if not theta:
            return Tilted(self._spread(self.p, 1 - self.p), 0.0, [])
        up, down = expit(self.odds + theta * self.step), expit(-(self.odds + theta * self.step))
        # the smaller of a tilted p and q is taken as it is, the other as its complement
        rare = up <= down
        p, q = np.where(rare, up, 1 - down), np.where(rare, 1 - up, down)
        d = np.where(rare, up - self.p, (1 - self.p) - down)
        divergence = _deviance(p, d, self.p) + _deviance(q, -d, 1 - self.p)
        mean = [self.first, *(self.step * self.n[~rare]).tolist()]
        for part in exact_products(self.step * self.n, np.where(rare, up, -down)):
            mean += part.tolist()
        return Tilted(self._spread(up, down), math.fsum(self.n * divergence), mean)

    def _spread(self, p: Floats, q: Floats) -> Pmf:
        start, pmf = convolve(self.n, p, q)
        if self.step == 1:
            return Pmf(self.first + start, pmf)
        size = (pmf.size - 1) * self.step + 1
        _validate.memory(32 * size, f"the table of {size} probabilities")
        spread = np.zeros(size)
        spread[:: self.step] = pmf
        return Pmf(self.first + start * self.step, spread)


def _deviance(x: Floats, d: Floats, mean: Floats) -> Floats:
    """Return x log(x / m) + m - x for d = x - m, also where a remote tilt leaves nothing of x."""
    some = x > 0
    return np.where(some, deviance(np.where(some, x, mean), np.where(some, d, 0.0), mean), -d)


class Counted:
    """A count known by its table."""

    log_pmf: Floats
    first: int
    last: int
    k: Floats

    def __init__(self, count: Table) -> None:
        self.log_pmf = count.log_pmf
        self.first, self.last = count.start, count.start + count.log_pmf.size - 1
        self.k = np.arange(count.log_pmf.size, dtype=np.float64)

    def log_end(self, top: bool) -> float:
        """Return the log probability of the first or the last possible count."""
        return float(self.log_pmf[-1 if top else 0])

    def _weights(self, theta: float) -> tuple[int, float, Floats]:
        """Return the likeliest count under a tilt, the log of the sum of weights relative to it, and the law."""
        logs = self.log_pmf + theta * self.k
        top = int(np.argmax(logs))
        weights = np.exp(logs - logs[top])
        total = float(weights.sum())
        return top, math.log(total), weights / total

    def rise(self, theta: float) -> float:
        """Return the tilted mean of X - first."""
        return float(self._weights(theta)[2] @ self.k)

    def fall(self, theta: float) -> float:
        """Return the tilted mean of last - X."""
        return float(self._weights(theta)[2] @ self.k[::-1])

    def tilted(self, theta: float) -> Tilted:
        """Return the tilted law."""
        top, log_total, pmf = self._weights(theta)
        mean = float(pmf @ (self.k - top))
        divergence = theta * mean - float(self.log_pmf[top]) - log_total
        return Tilted(trim(Pmf(self.first, pmf * SCALE)), divergence, [self.first, top, mean])


def tilt(terms: Sequence[Term], k: int) -> Logs:
    """Return the logs around count k, which must lie strictly inside what is possible."""
    first, last = sum(term.first for term in terms), sum(term.last for term in terms)

    def excess(theta: float) -> float:
        # of the smaller of rise and fall, so that digits remain at the ends
        if k - first > (last - first) / 2:
            return (last - k) - sum(term.fall(theta) for term in terms)
        return sum(term.rise(theta) for term in terms) - (k - first)

    low, high = -1.0, 1.0
    while excess(low) > 0:
        low *= 4
    while excess(high) < 0:
        high *= 4
    from scipy.optimize import brentq  # whose import takes a tenth of a second

    theta = brentq(excess, low, high, xtol=1e-12, rtol=1e-14)
    tilted = [term.tilted(theta) for term in terms]
    start, pmf = reduce(product, sorted((each.pmf for each in tilted), key=lambda table: table.pmf.size))
    pmf = pmf / SCALE
    scale = math.fsum(each.divergence for each in tilted)
    from_mean = math.fsum([-part for each in tilted for part in each.mean] + [start]) + np.arange(pmf.size)
    # beyond the table's own floor the tail's missing terms matter less than a digit
    trusted = np.flatnonzero(pmf >= 1e-200)
    upward, fall = theta > 0, math.exp(-abs(theta))

    def logs(values: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(values) - scale - theta * from_mean)

    def tail() -> Floats:
        # P(X >= k) = exp(-D - theta (k - m)) sum over j >= k of P_theta(j) exp(-theta (j - k)), and so downward
        inward = (pmf[::-1] if upward else pmf).tolist()
        sums = np.array(list(accumulate(inward, lambda above, here: above * fall + here)))
        return logs(sums[::-1] if upward else sums)

    return Logs(start, logs(pmf), tail, start + int(trusted[0]), start + int(trusted[-1]))
